"""Evaluation of a checkpoint on fresh environments, by `deeprl eval` and from Python. The replay is never allocated."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from deeprl.errors import ConfigError
from deeprl.running.runs.folder import read_lines
from deeprl.running.training.evaluation import evaluate, interval, recorded_cut_off, repeated_seed, summarise
from deeprl.running.training.overestimation import Overestimation
from deeprl.system import generators
from deeprl.system.strict_json import JsonObject

if TYPE_CHECKING:
    from deeprl.running.session.run import Run


def evaluated(
    run: Run, episodes: int | None, seed: int | None, each_tick: Callable[[int, int, int], None] = lambda episodes, played, steps: None
) -> JsonObject:
    """See `deeprl.running.session.run.Run.evaluate`.

    Args:
        each_tick: called before each step with the number of episodes, of those that are over, and of steps so far.
    """
    if seed is None:
        seed = repeated_seed(run.folder, run.config["seed"], run.step, run.checkpoint)
    if episodes is None:
        episodes = recorded(run.folder, run.step, seed, run.config["evaluation"]["final_episodes"])
    for name, value, least in (("episodes", episodes, 1), ("seed", seed, 0)):
        if value < least:
            raise ConfigError(f"{name} must be at least {least}, not {value}")
    num, device, longest = run.config["evaluation"]["num"], run.config["device"], recorded_cut_off(run.folder, run.step)
    values, tick = Overestimation.of_run(run.agent.rewards, run.config), partial(each_tick, episodes)
    with generators.kept():  # an environment may draw from the generators of the caller's process
        result = evaluate(run.agent, run.env.make_evaluation, episodes, num, seed, run.step, device, tick, (values,), longest)
    numbers = {**summarise(result["returns"]), "interval": interval(result["returns"])}
    return {"step": run.step, **numbers, **result, "diagnostics": values.metrics()}


def recorded(path: Path, step: int, seed: int, default: int) -> int:
    """Number of episodes that the run itself played with this seed at this step, so that its evaluation is repeated; else `default`."""
    lines = read_lines(path / "evaluations.jsonl")
    found = (line.get("returns") for _, line in lines if line.get("seed") == seed and line["step"] == step)
    return next((len(returns) for returns in found if isinstance(returns, list) and returns), default)
