"""Learning of many agents on the same tasks: whole training runs, one after the other, kept as a table.

python -m benchmarks.learning --folder FOLDER --set minatar [--seeds 0] [--agents dqn mvi] [--tasks minatar/breakout] [--minutes 60]
python -m benchmarks.learning --table [--into learning] [--at 150000 --agents td3 itd3]

Finished runs are written to benchmarks/results/learning.json (or --into another) with the overrides and the commit that made them, and
are not made again; a run that was interrupted is resumed from its folder. Several of these may run at once (`--reverse`: from the end):
the folder of a run is claimed by the process that trains it.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from scipy.stats import t as student

from benchmarks.curves import read
from deeprl.runs.folder import RunFolder

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"

AGENTS = {
    "dqn": "agent=dqn",
    "idqn": "agent=idqn",
    "munchausen_dqn": "agent=munchausen_dqn",
    "mvi": "agent=mvi",
    "log_dqn": "agent=log_dqn",
    "dvw": "agent=dvw",
    "dvw_munchausen": "agent=dvw_munchausen",
    "c51": "agent=c51",
    "qrdqn": "agent=qrdqn",
    "iqn": "agent=iqn",
    "retrace_dqn": "agent=retrace_dqn",
    "rbis_dqn": "agent=rbis_dqn",
    "loglin_dqn": "agent=loglin_dqn",
    "munchausen_iqn": "agent=munchausen_iqn",
    "iiqn": "agent=iiqn",
    "bounded": "agent=dqn agent/head=bounded agent.head.reward=[0,1]",
    "double_dqn": "agent=double_dqn",
    "dueling_dqn": "agent=dueling_dqn",
    "noisy_dqn": "agent=noisy_dqn",
    "random_rewards": "agent=dqn agent/auxiliary=random_rewards",
    "self_prediction": "agent=dqn agent/auxiliary=self_prediction",
}
CONTINUOUS = {
    "td3": "agent=td3",
    "sac": "agent=sac",
    "itd3": "agent=itd3 agent.chain.length=3",
    "isac": "agent=isac agent.chain.length=3",
    "tqc": "agent=tqc",
    "aro_ddpg": "agent=aro_ddpg",
    "rvi_sac": "agent=rvi_sac",
    "sac_simba": "agent=sac agent/normalize=running agent/torso=simba agent.torso.width=256 agent.torso.blocks=1",
}
ROLLOUTS = {
    "ppo": "agent=ppo",
    "a2c": "agent=a2c",
    "pqn": "agent=pqn",
    "ppo_running": "agent=ppo agent/normalize=running agent/rewards=scaled",
}
SUCCESSORS = {
    "is_dqn": "agent=is_dqn",
    "gi_dqn": "agent=gi_dqn",
    "target_free_dqn": "agent=target_free_dqn",
}
CHAINED = "agent=pqn agent/chain=iterated_live"
ROLLOUT_CHAINS = {  # a rollout has 512 steps
    "ipqn": f"{CHAINED} agent.chain.length=3 agent.chain.shift_period=512",
    "ipqn_old": f"{CHAINED} agent.chain.length=3 agent.chain.shift_period=2048",
    "ipqn_short": f"{CHAINED} agent.chain.length=3 agent.chain.shift_period=512 agent.backup.lam=0.3",
    "pqn_old": f"{CHAINED} agent.chain.length=1 agent.chain.shift_period=2048",
}
CANDIDATES = {
    "c51_eps": "agent=c51 agent.optimizer.eps=1e-8",
    "qrdqn_eps": "agent=qrdqn agent.optimizer.eps=1e-8",
    "iqn_eps": "agent=iqn agent.optimizer.eps=1e-8",
}
DOUBLE = "agent/backup=double agent.head.init=null"  # as Tianshou chooses actions of targets, and draws weights
CONTROL = {f"{name}_double": f"agent={name} {DOUBLE}" for name in ("dqn", "qrdqn", "iqn", "c51")}  # beside benchmarks.control
DISCOUNTS = {  # low discounts with and without the logarithmic mapping
    f"{name}_{discount}": f"agent={name} discount={discount}" for discount in (0.84, 0.96, 0.99) for name in ("dqn", "log_dqn")
}
HUBER = "agent.head.loss=huber"
QUANTILE = "agent/head=quantile agent.head.quantiles=32"
COMPOSITIONS = {  # what is added to a chain of iterations, alone and together
    "is_munchausen": f"agent=is_dqn agent/backup=munchausen {HUBER}",
    "is_mvi": f"agent=is_dqn agent/backup=tsallis {HUBER}",
    "is_quantile": f"agent=is_dqn {QUANTILE}",
    "is_three": "agent=is_dqn replay.n_step=3",
    "is_layer_norm": "agent=is_dqn agent.torso.layer_norm=true agent.head.layer_norm=true",
    "is_self_prediction": "agent=is_dqn agent/auxiliary=self_prediction",
    "is_random_rewards": "agent=is_dqn agent/auxiliary=random_rewards",
    "idqn_dvw": "agent=idqn agent/weighting=inverse_variance",
    "is_munchausen_three": f"agent=is_dqn agent/backup=munchausen {HUBER} replay.n_step=3",
    "is_quantile_three": f"agent=is_dqn {QUANTILE} replay.n_step=3",
    "is_munchausen_quantile": f"agent=is_dqn agent/backup=munchausen {QUANTILE}",
    "is_munchausen_quantile_three": f"agent=is_dqn agent/backup=munchausen {QUANTILE} replay.n_step=3",
}
LAYER_NORM = "agent=sac agent.torso.layer_norm=true agent.actor_period=2"
QUANTILES = "agent/head=quantile agent.head.quantiles=25 agent.head.init=null agent/reduce=truncate"
STRONG = {  # candidates for configs/experiment/strong_mujoco.yaml, all within twice TD3's multiply-adds (benchmarks.update_cost)
    "strong_crossq": "agent=crossq agent.torso.hidden=[304,304]",
    "strong_crossq_quantiles": f"agent=crossq agent.torso.hidden=[304,304] {QUANTILES} agent/reduce@agent.actor_reduce=mean",
    "strong_quantiles": f"{LAYER_NORM} {QUANTILES} agent/reduce@agent.actor_reduce=mean",
    "strong_quantiles_three": f"{LAYER_NORM} {QUANTILES} agent/reduce@agent.actor_reduce=mean replay.n_step=3",
    "strong_simba": "agent=sac agent.actor_period=2 agent/normalize=running agent/torso=simba agent.torso.width=112 agent.torso.blocks=1",
}
ACTORS = {
    "dqn_actors": "agent=dqn collect=ray collect.actors=2",
    "td3_actors": "agent=td3 collect=ray collect.actors=2",
}
RECIPES = {
    **AGENTS,
    **CONTINUOUS,
    **ROLLOUTS,
    **SUCCESSORS,
    **ROLLOUT_CHAINS,
    **CANDIDATES,
    **CONTROL,
    **DISCOUNTS,
    **COMPOSITIONS,
    **STRONG,
    **ACTORS,
}
LOG_MAPPED = ("log_dqn", "loglin_dqn")
"""Not for CartPole, because a reward in every step is not what a logarithm is for (docs/algorithms/log_dqn.md)."""
SETS = {
    "cartpole": (("classic/cartpole",), "steps=150000", AGENTS),
    "holds": (("classic/cartpole",), "steps=150000", ("dqn", "iqn", "c51", "munchausen_dqn", "mvi")),
    "holds_pendulum": (("classic/pendulum",), "steps=20000", ("td3", "sac")),
    "actors": (("classic/cartpole",), "steps=150000", ("dqn_actors",)),
    "actors_pendulum": (("classic/pendulum",), "steps=20000", ("td3_actors",)),
    "mujoco": (("mujoco/hopper", "mujoco/half_cheetah"), "steps=150000", CONTINUOUS),
    "strong_choice": (("mujoco/half_cheetah", "mujoco/hopper"), "steps=100000", STRONG),
    "mujoco_three": (("mujoco/hopper", "mujoco/half_cheetah", "mujoco/walker2d"), "steps=200000", ("td3", "sac")),
    "mujoco_million": (("mujoco/half_cheetah", "mujoco/hopper"), "steps=1000000 evaluation.every=10000", ("td3", "sac")),
    "mujoco_half_million": (("mujoco/walker2d",), "steps=500000 evaluation.every=10000", ("td3", "sac")),
    "minatar": (("minatar/breakout", "minatar/asterix"), "steps=300000 evaluation.every=30000", AGENTS),
    "minatar_choice": (
        ("minatar/seaquest",), "steps=300000 evaluation.every=30000", ("dqn", "c51", "c51_eps", "qrdqn", "qrdqn_eps", "iqn", "iqn_eps"),
    ),
    "minatar_main": (
        ("minatar/asterix", "minatar/breakout", "minatar/space_invaders"),
        "steps=500000 evaluation.every=25000",
        ("dqn", "idqn", "munchausen_dqn", "mvi", "qrdqn", "iqn", "c51", "dvw", "log_dqn"),
    ),
    "control": (("minatar/breakout",), "steps=200000 evaluation.every=20000", CONTROL),
    "discounts": (("minatar/breakout", "minatar/asterix"), "steps=300000 evaluation.every=30000", DISCOUNTS),
    "composition": (("minatar/seaquest", "minatar/freeway"), "steps=300000 evaluation.every=30000", ("dqn", "is_dqn", *COMPOSITIONS)),
    "auxiliary": (
        ("minatar/breakout", "minatar/asterix"), "steps=200000 evaluation.every=20000", ("dqn", "random_rewards", "self_prediction"),
    ),
    "pong": (("atari/pong",), "steps=1000000 evaluation.every=50000", ("dqn", "idqn")),
    "atari_breakout": (("atari/breakout",), "steps=1000000 evaluation.every=50000", ("dqn",)),
    "rollouts": (("classic/cartpole", "classic/acrobot"), "steps=500000 evaluation.every=25000", ("ppo", "a2c")),
    "rollouts_mujoco": (("mujoco/half_cheetah",), "steps=1000000 evaluation.every=50000", ("ppo", "ppo_running")),
    "rollouts_minatar": (("minatar/breakout", "minatar/asterix"), "steps=2000000 evaluation.every=100000", ("pqn",)),
    "rollouts_minatar_short": (("minatar/breakout", "minatar/asterix"), "steps=500000 evaluation.every=25000", ("pqn",)),
    "rollouts_atari": (
        ("atari/pong",), "steps=2000000 evaluation.every=200000 agent/torso=nature agent.torso.padding=valid", ("pqn",),
    ),
    "ipqn": (("classic/cartpole",), "steps=300000 evaluation.every=15000", ("pqn", *ROLLOUT_CHAINS)),
    "successors": (
        ("minatar/breakout", "minatar/asterix"), "steps=200000 evaluation.every=20000", ("dqn", "idqn", "is_dqn", "target_free_dqn"),
    ),
}  # fmt: skip
"""Tasks, budget, and the agents that are trained unless --agents names others."""


def command(agent: str, env: str, seed: int, budget: str, mode: str) -> list[str]:
    return [*RECIPES[agent].split(), f"env={env}", f"seed={seed}", *budget.split(), f"accelerate={mode}", "runtime.threads=1"]


def stored(results: Path) -> list[dict]:
    return json.loads(results.read_text()) if results.exists() else []


def keep(line: dict, results: Path) -> None:
    """Add one run to the results, under a lock, because several processes write."""
    with open(__file__) as lock:  # a file that is there anyway: nothing is left behind
        fcntl.flock(lock, fcntl.LOCK_EX)
        lines = [*stored(results), line]
        part = results.with_suffix(".partial")
        part.write_text("[\n" + ",\n".join(json.dumps(each) for each in lines) + "\n]\n")
        part.replace(results)


def train(folder: Path, words: list[str]) -> bool:
    """Start or resume; returns whether it finished. `resume=auto` makes the same command do both."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{folder}.log", "a") as log:
        line = [sys.executable, str(ROOT / "train.py"), f"hydra.run.dir={folder}", "resume=auto", *words]
        return subprocess.run(line, cwd=ROOT, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"}).returncode == 0


def commits(folder: Path) -> str:
    """Commits that trained a run, in order: more than one if it was resumed by a later one."""
    found = [entry["git"]["commit"][:7] for entry in RunFolder(folder).read_system() if entry["git"]]
    return ", ".join(dict.fromkeys(found))


def table(lines: list[dict]) -> str:
    """Final means, one row an agent, one column a task, budget and seed."""
    tasks = sorted({(line["env"], line["steps"], line["seed"]) for line in lines})
    rows = [
        "| agent | " + " | ".join(f"{env}, {steps:,} steps, seed {seed}" for env, steps, seed in tasks) + " |",
        "|---|" + "---|" * len(tasks),
    ]
    for name in RECIPES:
        found = {(line["env"], line["steps"], line["seed"]): line["final"]["mean"] for line in lines if line["name"] == name}
        if found:
            rows.append(f"| {name} | " + " | ".join(f"{found[task]:.1f}" if task in found else "" for task in tasks) + " |")
    return "\n".join(rows)


def interval(values: list[float]) -> float:
    """Half of Student's 95 % interval of the mean; 0 for one value."""
    if len(values) < 2:
        return 0.0
    return float(student.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5)


def compared(lines: list[dict], at: int) -> str:
    """Mean over seeds, with Student's 95 % interval, of the mean of the last four evaluations up to step `at`; each seed behind it.

    Runs with a larger budget count as far as they have gone. Of a seed that was trained with several budgets, the smallest one counts.
    """
    found: dict[tuple[str, str], dict[int, tuple[int, float]]] = {}
    for line in lines:
        curve = [mean for step, mean in line["curve"] if step <= at]
        every = line["curve"][0][0]
        if line["steps"] >= at and line["curve"][-1][0] >= at and len(curve) >= 4 and at % every == 0:
            seeds = found.setdefault((line["name"], line["env"]), {})
            if line["seed"] not in seeds or seeds[line["seed"]][0] > line["steps"]:
                seeds[line["seed"]] = (line["steps"], float(np.mean(curve[-4:])))
    envs = sorted({env for _, env in found})
    rows = [f"| up to {at:,} steps | " + " | ".join(envs) + " |", "|---|" + "---|" * len(envs)]
    for name in [name for name in RECIPES if any(name == each for each, _ in found)]:
        cells = []
        for env in envs:
            values = [value for _, (_, value) in sorted(found.get((name, env), {}).items())]
            mean = float(np.mean(values)) if values else 0.0
            half = interval(values)
            each = ", ".join(f"{value:,.0f}" for value in values)
            cells.append((f"{mean:,.0f} ± {half:,.0f} ({each})" if half else f"{mean:,.0f}") if values else "")
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def planned(name: str, agents: Sequence[str] | None, seeds: Iterable[int]) -> list[tuple[str, str, int]]:
    """Agent, task and seed of every run of a set."""
    envs, _, usual = SETS[name]
    runs = [(agent, env, seed) for seed in seeds for agent in agents or usual for env in envs]
    return [run for run in runs if name != "cartpole" or run[0] not in LOG_MAPPED]


def train_all(
    name: str, runs: Iterable[tuple[str, str, int]], folder: Path, results: Path, mode: str, minutes: float | None = None
) -> None:
    """Train what is not in the table yet, and is not trained by another process.

    Args:
        minutes: begin no run after so many.
    """
    began = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    for agent, env, seed in runs:
        if minutes is not None and time.monotonic() - began > 60 * minutes:
            break
        words = command(agent, env, seed, SETS[name][1], mode)
        steps = int(next(word for word in words if word.startswith("steps=")).partition("=")[2])
        path = folder.resolve() / f"{agent}-{env.replace('/', '_')}-{seed}-{steps}"
        claim = open(f"{path}.claim", "w")  # noqa: SIM115 (held while the run trains)
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue  # another process is training it
        if any((line["name"], line["env"], line["seed"], line["steps"]) == (agent, env, seed, steps) for line in stored(results)):
            continue
        if not RunFolder(path).read_summary() and not train(path, words):  # a finished run is only read
            print(f"{path.name}: did not finish, see {path}.log", flush=True)
            continue
        assert RunFolder(path).read_summary(), f"{path} has no summary.json"
        line = {"name": agent, **read(path), "overrides": words, "commit": commits(path)}
        keep(line, results)
        print(f"{path.name}: {line['final']['mean']:.1f}, {line['steps_per_second']:.0f} steps/s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="of the run folders")
    parser.add_argument("--set", choices=SETS, default="minatar")
    parser.add_argument("--agents", nargs="+", choices=RECIPES, default=None)
    parser.add_argument("--tasks", nargs="+", default=None, help="some of those of the set")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--into", default="learning", help="the table benchmarks/results/INTO.json")
    parser.add_argument("--mode", default="compiled", help="accelerate=…")
    parser.add_argument("--reverse", action="store_true", help="from the end of the list")
    parser.add_argument("--minutes", type=float, default=None, help="begin no run after so many")
    parser.add_argument("--table", action="store_true", help="only print the table, of all sets")
    parser.add_argument("--at", type=int, default=None, help="with --table: last four evaluations up to this step, over seeds")
    options = parser.parse_args()
    if options.folder is None and not options.table:
        parser.error("--folder says where the run folders go; or print what there is with --table")
    results = RESULTS / f"{options.into}.json"
    if not options.table:
        unknown = set(options.tasks or ()) - set(SETS[options.set][0])
        if unknown:
            parser.error(f"--tasks: {', '.join(unknown)} is not in the set {options.set}: {', '.join(SETS[options.set][0])}")
        runs = [run for run in planned(options.set, options.agents, options.seeds) if not options.tasks or run[1] in options.tasks]
        train_all(options.set, runs[::-1] if options.reverse else runs, options.folder, results, options.mode, options.minutes)
    if options.at is not None:
        print(compared([line for line in stored(results) if options.agents is None or line["name"] in options.agents], options.at))
        return
    print(table([line for line in stored(results) if options.table or line["env"] in SETS[options.set][0]]))


if __name__ == "__main__":
    main()
