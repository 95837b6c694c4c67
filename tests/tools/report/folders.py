"""Run folders that no training wrote: the files that `deeprl report` reads, by the writer of run folders itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deeprl.running.runs.folder import RunFolder
from deeprl.running.runs.loggers import JsonLines

SYSTEM = {
    "command": "train.py agent=dqn",
    "git": {"commit": "0123456789abcdef0123456789abcdef01234567", "dirty": False},
    "packages": {"python": "3.11.7", "torch": "2.6.0"},
    "cpu": "CPU",
    "gpu": None,
    "threads": 1,
}


def write_run(
    path: Path,
    rewards: Sequence[float] = (1.0, 2.0, 3.0, 4.0, 5.0),
    *,
    agent: str = "dqn",
    env: str = "toy/chain",
    seed: int = 0,
    state: str = "finished",
    period: int = 100,
    speed: float = 10.0,
    error: str | None = None,
    system: dict[str, Any] | None = SYSTEM,
    config: dict[str, Any] | None = None,
    **keys: Any,
) -> Path:
    """A run with one evaluation of two episodes, of returns m − 1 and m + 1, for each m of `rewards`. One update every second step.

    Args:
        speed: environment steps a second.
        state: a finished run has a summary.json.
        config: top-level keys to add to the configuration, or to replace.
        keys: of the agent's part of the configuration.
    """
    folder, steps = RunFolder(path), period * len(rewards)
    path.mkdir(parents=True)
    folder.write_config(
        {
            "env": {"_target_": "deeprl.envs.toy.Chain", "num": 1},
            "agent": {"_target_": "deeprl.learning.value_agent.ValueAgent", "name": agent, "optimizer": {"lr": 0.001}, **keys},
            "seed": seed,
            "steps": steps,
            "evaluation": {"every": period, "episodes": 2, "final_episodes": 2},
            "device": "cpu",
            "runtime": {"threads": 1},
            "names": {"env": env, "agent": agent, "replay": "uniform"},
            **(config or {}),
        }
    )
    if system is not None:
        folder.append_system(system)
    metrics = JsonLines(path)
    for number, mean in enumerate(rewards, 1):
        step = number * period
        folder.append_evaluation({"step": step, "seed": 7, "returns": [mean - 1, mean + 1], "lengths": [10, 10]})
        metrics.scalars(step, {"eval/mean_reward": mean, "train/n_updates": step / 2}, step / speed)
    metrics.close()
    folder.write_status(state, steps, steps // 2, error=error)
    if state == "finished" and rewards:
        final = {"mean": rewards[-1], "step": steps, "episodes": 2}
        folder.write_summary({"final": final, "best": final, "steps": steps, "updates": steps // 2, "wall_seconds": steps / speed})
    return path
