"""Commands of `benchmarks.wrong_commands` that need an environment, a file or a shell of their own, and oddities that must work."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
TINY = ("env=toy/chain", "agent=dqn", "steps=40", "replay.learning_starts=20", "replay.capacity=100", "evaluation.final_episodes=1")
SHORT = (
    "steps=40 replay.learning_starts=20 replay.capacity=100 evaluation.final_episodes=1 evaluation.episodes=1 evaluation.num=1 "
    "runtime.threads=1"
)
"""Ends after `TINY`'s steps in any environment"""
FAULTS = {
    1: [
        "NanObs", "NanReward", "InfReward", "HugeReward", "UintFloat", "WrongShape", "DictMissing", "DiscreteOut", "ObsString", "OldApi",
        "NoSeed", "OldStep", "ResetObsOnly", "RewardNone", "RewardArray", "RewardText", "TextFlag", "Crash", "MaskGone env.mask=true",
        "HardExit env.vector=async",
        "Hang env.vector=async env.timeout=3",
    ],
    2: [
        "FreeAction agent=sac", "HalfFree agent=sac", "IntAction agent=sac", "NoSpace", "NoActionSpace", "InitRaises", "raises",
        "returns_none", "returns_class", "not_callable", "nothing", "needs", "Base env.kwargs.level=3", "MaskShort env.mask=true",
        "MaskZero env.mask=true", "Base env.mask=true", "TextObs", "BigPixels",
    ],
    0: [
        "Crash env.vector=async env.on_error=restart", "Pixels agent=sac", "OneAction", "EndsAtOnce", "OutOfBox", "Global", "Alias",
        "ListObs", "NegativeAction", "InfObs", "Noisy", "Endless env.vector=async evaluation.every=null",
    ],
}  # fmt: skip
"""Of `benchmarks.badenv`, by exit code"""
OWN = {
    2: [
        "experiment=tab", "experiment=twice", "agent/backup=unknown_field", "agent/backup=wrong_class", "agent/backup=foreign_class",
        "experiment=wrong_option", "agent/backup=no_target", "agent/backup=empty", "experiment=latin", "experiment=circular",
        "experiment=list", "agent/backup=raises", "--config-dir {typo}",
    ],
    0: ["plugin deeprl list agents", "plugin train"],
}  # fmt: skip
FILES = {
    "experiment/tab": "steps:\t3\n\tseed: 1", "experiment/twice": "# @package _global_\nsteps: 3\nsteps: 4",
    "agent/backup/unknown_field": "_target_: deeprl.learning.backups.bellman.Max\nalpha: 3",
    "agent/backup/wrong_class": "_target_: deeprl.learning.backups.bellman.Nothing", "agent/backup/foreign_class": "_target_: pathlib.Path",
    "experiment/wrong_option": "# @package _global_\ndefaults: [override /replay: nothing]", "agent/backup/no_target": "alpha: 3",
    "agent/backup/empty": "", "experiment/circular": "defaults: [circular, _self_]", "experiment/list": "- steps",
    "agent/backup/raises": "_target_: benchmarks.badenv.BrokenBackup",
}  # fmt: skip
"""Configurations of one's own, one fault each"""
WORKS = [
    "steps=1_000 budget=tiny", "steps=1e2", "init_from={run}", "init_from={run} env=classic/cartpole replay.batch_size=32",
    "env=classic/cartpole env.id=CartPole-v0 replay.batch_size=32",
    "env=gym env.id=CartPole-v1 'env.wrappers=[{{path: gymnasium.wrappers.TimeLimit, kwargs: {{max_episode_steps: 10}}}}]'",
    "hydra.run.dir=runs/größe", "hydra.run.dir=runs/Ω", "hydra.run.dir=runs/😀", "'hydra.run.dir=runs/my run (1)'",
    "\"hydra.run.dir=runs/it's\"", "hydra.run.dir=runs/a,b", "'hydra.run.dir=runs/two words'", "'hydra.run.dir=\"quoted run\"'",
    "'hydra.run.dir=runs/$HOME'", "deeprl list algos", "deeprl list env/atari", "deeprl help", "deeprl sweep {tiny} --dir {empty}/sweep",
    "deeprl resume {run}", "deeprl check {tiny} --seconds 0.0001", "deeprl report {run} --out {empty}/report",
]  # fmt: skip
REFUSED = [
    "agent=idqn agent.chain.length=1000",
    "experiment=dqn_atari env=classic/cartpole",
    "experiment=sac_mujoco env=classic/pendulum agent=sac",
]
"""Experiments that set nothing here, and a thousand networks"""
SHELL = [
    "OMP_NUM_THREADS=abc {deeprl} train {tiny}", "env -u HOME {deeprl} train {tiny}", "LC_ALL=C {deeprl} train {tiny}",
    "env -u TMPDIR {deeprl} train {tiny}", "TERM=dumb {deeprl} train {tiny}", "PYTHONWARNINGS=error {deeprl} train {tiny}",
    "cd {decoys} && {deeprl} train {tiny}", "{deeprl} train {tiny} > /dev/full", "{deeprl} train {tiny} | head -1",
]  # fmt: skip
PYTHON = [
    "deeprl.train('agent=dqn')", "deeprl.train(['agent=dqn'], env='CartPole-v1')", "deeprl.train(['steps=nope'])",
    "import gymnasium; deeprl.train(['agent=dqn'], env=gymnasium.make('CartPole-v1'))", "deeprl.train(['agent=dqn'], folder='{run}')",
    "deeprl.train({{'steps': None}})", "deeprl.load('{empty}')", "deeprl.load('{run}', 'latest')", "deeprl.load('{run}').act('text')",
    "import numpy; deeprl.load('{run}').act(numpy.zeros(99))", "import numpy; deeprl.load('{run}').act(numpy.full(10, numpy.nan))",
    "deeprl.train(agent='dqn')", "deeprl.train(['agent=dqn'], on_evaluation=lambda one: None)",
]  # fmt: skip
GROUPS = ("faulty environments", "files of one's own", "works", "silent", "shells", "from Python")


class Case(NamedTuple):
    group: str
    code: int
    text: str

    def words(self, names: dict[str, object]) -> list[str]:
        """The command of a case of `GROUPS`."""
        train, deeprl = [sys.executable, str(ROOT / "train.py")], [sys.executable, "-m", "deeprl"]
        tiny = " ".join((*TINY, "runtime.threads=1"))
        if self.group == "faulty environments":
            fault, *more = self.text.split()
            agent = [] if any(word.startswith("agent=") for word in more) else ["agent=dqn"]
            return [*train, *agent, "env=function", f"env.function=benchmarks.badenv:{fault}", *SHORT.split(), *more]
        if self.group == "from Python":
            return [sys.executable, "-c", f"import deeprl; {self.text.format(**names)}"]
        if self.group == "shells":
            script = shlex.join([sys.executable, "-P", "-m", "deeprl"])  # -P: as the installed script, without the current folder
            return ["bash", "-o", "pipefail", "-c", self.text.format(**names, tiny=tiny, deeprl=script)]
        words = shlex.split(self.text.format(**names, tiny=tiny))
        if words[0] == "plugin":
            return [*deeprl, *words[2:]] if words[1] == "deeprl" else [*train, *TINY]
        if words[0] == "deeprl":
            return [*deeprl, *words[1:]]
        own = ["--config-dir", str(names["own"])] if self.group == "files of one's own" and "--config-dir" not in words else []
        keys = {word.partition("=")[0] for word in words}
        short = [] if "budget=tiny" in words else [word for word in TINY if word.partition("=")[0] not in keys]
        return [*train, *short, *own, *words]

    def paths(self, names: dict[str, object]) -> list[str]:
        """Folders of packages."""
        return [str(names["plugin"])] if self.text.startswith("plugin") else []


def cases() -> Iterator[Case]:
    for group, table in (("faulty environments", FAULTS), ("files of one's own", OWN)):
        yield from (Case(group, code, text) for code, texts in table.items() for text in texts)
    yield from (Case("works", 0, text) for text in WORKS)
    yield from (Case("silent", 2, text) for text in REFUSED)
    yield from (Case("shells", 0, text) for text in SHELL)
    yield from (Case("from Python", 1, text) for text in PYTHON)


def lay_out(folder: Path) -> dict[str, object]:
    """The files and folders that the braces of a command name."""
    names: dict[str, object] = {name: folder / name for name in ("file", "run", "broken", "empty", "own", "typo", "plugin", "decoys")}
    contents = {"file": "not a folder", "broken/tuned/toy/dqn.yaml": "steps: [3\nseed: {", "decoys/torch.py": "raise SystemExit(7)"}
    contents |= {f"own/{name}.yaml": text for name, text in FILES.items()}
    contents["typo/tuned/toy/dqn.yaml"] = "agent: {optimzer: {lr: 1e-3}}"
    contents["plugin/broken_agents/__init__.py"] = 'raise RuntimeError("my plugin is broken")'
    contents["plugin/broken_agents-0.1.dist-info/METADATA"] = "Metadata-Version: 2.1\nName: broken-agents\nVersion: 0.1\n"
    contents["plugin/broken_agents-0.1.dist-info/entry_points.txt"] = "[deeprl.configs]\nbroken = broken_agents.configs\n"
    for name, text in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "own" / "experiment" / "latin.yaml").write_bytes("# größe\nsteps: 3".encode("latin-1"))
    (folder / "empty").mkdir()
    return {**names, "long": "n" * 300}
