"""The last lines of a run: its result, its folder, and commands to try next."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from deeprl.cli.report import NEEDS
from deeprl.running.config import folders
from deeprl.running.config.connections import connections
from deeprl.running.config.instantiate import instantiate
from deeprl.running.config.overrides import key_of
from deeprl.running.config.trust import words_of_trust
from deeprl.running.config.tuned import family
from deeprl.running.training.trainer import Trainer
from deeprl.system.machine import lacking
from deeprl.system.terminal import from_here, front_door

ANOTHER = ("agent=td3 env=mujoco/hopper steps=200000", "agent=sac env=classic/pendulum", "agent=dqn env=classic/acrobot")
"""Overrides for the next run, in order of preference. None needs an extra."""


def farewell(outcome: str, trainer: Trainer, path: Path) -> str:
    """The last lines of a run: its result, its folder, and commands to try next."""
    shown = from_here(path)
    quoted, trusted = shlex.quote(str(shown)), words_of_trust(trainer.config)
    connects = "".join(f" {shlex.quote(word)}" for word in connections(trainer.config))
    resume = f"{trainer.ranks.command} resume {quoted}{connects}"
    if outcome == "stopped":
        return f"stopped at step {trainer.step:,} and saved. Go on with:  {resume}{trusted}"
    summary = trainer.folder.read_summary() or {}
    final, names = summary["final"], trainer.config["names"]
    several = final["episodes"] != 1
    score = f"{final['mean']:.1f}{' ± {:.1f} (std)'.format(final['std']) if several else ''}"
    episodes = f"{final['episodes']} evaluation episode{'s' if several else ''}"
    early = f"stopped early at step {trainer.step:,} of {trainer.config['steps']:,}, because {trainer.standing.stopped_early}"
    if str(trainer.standing.stopped_early).startswith("stop.return"):
        early += f". On to the last step:  {resume} stop.return=null{trusted}"
    above = shlex.quote(str(above_runs(shown)))
    return "\n".join(
        [
            f"{names['agent']} on {names['env']}: return {score} over {episodes}"
            f" after {trainer.step:,} steps and {trainer.agent.updates:,} updates ({summary['wall_seconds']:.0f} s)",
            *([early] if trainer.standing.stopped_early else []),
            f"run folder: {quoted}",
            "try next:",
            *([f"  deeprl record {quoted}{trusted}"] if instantiate(trainer.config["env"], "env", None).pictures else []),
            *([f"  deeprl report {above}"] if not lacking(NEEDS) else []),
            f"  tensorboard --logdir {above}",
            f"  deeprl eval {quoted} --episodes 100{trusted}",
            *(f"  {front_door()} {words}" for words in following(names, trainer.config["seed"], sys.argv[1:])),
        ]
    )


def above_runs(run: Path) -> Path:
    """The folder with all runs beside one, as far as its name tells: that which is named runs, or the one above it."""
    parts = run.parts
    if run.is_absolute() or len(parts) < 2:
        return run
    return Path(*parts[: parts.index("runs") + 1]) if "runs" in parts[:-1] else run.parent


def following(names: dict[str, str], seed: int, words: list[str]) -> list[str]:
    """Words of a command for the next run: another agent and environment; where the environment is the user's own, another seed.

    Args:
        names: of the run.
        words: of this process. Only those of a training command are a run's.
    """
    if is_ours(names["env"]):
        return [another(names["agent"], names["env"])]
    words = words[1:] if words[:1] == ["train"] else words
    if not words or "=" not in words[0] or {"-m", "--multirun"} & {*words}:
        return []
    kept = [word for word in words if key_of(word) not in ("seed", "hydra.run.dir", "resume")]
    return [shlex.join([*kept, f"seed={seed + 1}"])]


def is_ours(env: str) -> bool:
    """Whether an environment is one of the tasks that come with deeprl, and neither the user's own nor an extension's."""
    found = folders.file("env", env) or folders.file("env", f"_{family(env)}")
    return "/" in env and found is not None and found.is_relative_to(folders.CONFIGS)


def another(agent: str, env: str) -> str:
    """The first of `ANOTHER` whose agent and environment both differ from those of the run."""
    return next(words for words in ANOTHER if f"agent={agent} " not in f"{words} " and f"env={env}" not in words.split())
