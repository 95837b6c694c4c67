"""Evaluation: environments and seeds of its own, whole episodes, raw rewards. Training does not depend on it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from deeprl.learning.agent import Agent
from deeprl.noise import NoiseStream, seed_sequence
from deeprl.running.runs.archive import packed_as_best
from deeprl.running.runs.folder import read_lines
from deeprl.types import AgentStep

SHORTEST, LONGEST = 10_000, 100_000
"""Least and most steps after which an episode is cut off where no time limit is known, because a greedy policy may never end one"""
LARGEST_LIMIT = 1_000_000
"""A declared time limit above it is none to an evaluation, because some environments declare 10⁹ steps where they have none"""
BEYOND = 10
"""Times the longest of the last episodes of training, where that is between them"""


def cut_off(lengths: Iterable[int]) -> int:
    """Steps after which an episode of an evaluation is cut off.

    Args:
        lengths: of the last episodes of training. Where none ended, it is soon told that none does.
    """
    return min(max(SHORTEST, BEYOND * max(lengths, default=0)), LONGEST)


def evaluation_seed(seed: int, step: int, part: str = "run") -> int:
    """The seed of a run's evaluation at `step`, which evaluations.jsonl records.

    Args:
        part: "run"; "final" for the last evaluation of a run that ended early; "fresh" for `deeprl eval` of the best checkpoint.
            Those two would otherwise repeat the episodes by whose result the weights were chosen.
    """
    return int(seed_sequence(seed, "evaluation", part, step).generate_state(1)[0] >> 1)


def repeated_seed(run: Path, seed: int, step: int, checkpoint: str) -> int:
    """Seed with which a checkpoint is evaluated again: the seed of the run's own last evaluation at this step, so that the result is
    repeated. For the best checkpoint a new seed, because that checkpoint was chosen by the result of the run's own; and for the only one
    of an archive that was packed as the best.

    Args:
        run: its folder.
        seed: of the run.
        checkpoint: "best", "last" or a step, as the user named it.
    """
    if checkpoint == "best" or (checkpoint == "last" and packed_as_best(run)):
        return evaluation_seed(seed, step, "fresh")
    lines = read_lines(run / "evaluations.jsonl")
    found = [line["seed"] for _, line in lines if line["step"] == step and type(line.get("seed")) is int and line["seed"] >= 0]
    return found[-1] if found else evaluation_seed(seed, step)


class Recorded(NamedTuple):
    """How a run evaluated itself."""

    episodes: int
    num: int
    longest: int
    """See `cut_off`; `LONGEST` where no episode was cut off."""


def recorded(run: Path, step: int, seed: int, settings: Mapping[str, Any]) -> Recorded:
    """How the run evaluated itself with this seed at this step, so that the evaluation is repeated. For a seed of no such evaluation: what
    `settings` say, and the cut-off of another one of this step that cut off an episode; else of its last one that did; else `LONGEST`.

    Args:
        run: its folder.
        settings: `evaluation` of its configuration, which a resume may have changed.
    """
    lines = [line for _, line in read_lines(run / "evaluations.jsonl")]
    cut = {line["step"]: line["cut_off"] for line in lines if type(line.get("cut_off")) is int}
    for line in lines:
        returns, num = line.get("returns"), line.get("num")
        if line["step"] == step and line.get("seed") == seed and isinstance(returns, list) and returns:
            longest = line["cut_off"] if type(line.get("cut_off")) is int else LONGEST
            return Recorded(len(returns), num if type(num) is int and num > 0 else settings["num"], max(1, longest))
    return Recorded(settings["final_episodes"], settings["num"], max(1, cut.get(step, next(reversed(cut.values()), LONGEST))))


def evaluate(
    agent: Agent,
    make,
    episodes: int,
    num: int,
    seed: int,
    step: int,
    device: str = "cpu",
    each_tick: Callable[[int, int], None] = lambda played, steps: None,
    listeners: Sequence[Callable[[AgentStep, Any, Sequence[bool], Sequence[int]], None]] = (),
    longest: int = LONGEST,
) -> dict:
    """Run `episodes` episodes on at most `num` environments side by side.

    Environment i plays a fixed number of episodes, because taking the first ones that end would under-represent long episodes. Where no
    time limit is known, or one above `LARGEST_LIMIT`, an episode counts with its first `longest` steps. In a vector that resets by itself,
    the rest of such an episode is played and does not count.

    Args:
        make: `make(seed, num)` -> environment layer with evaluation seeds.
        seed: all random numbers are a function of it, of `episodes` and of `num`.
        step: environment step, for schedules.
        each_tick: called before each step with the number of episodes that are over and of steps so far; it may raise to end the
            evaluation.
        listeners: called after each step with the actions, the environments' `VectorStep`, whether each episode counts, (M,), and the
            environments whose episode a failure cut off.
        longest: see `cut_off`.

    Returns:
        {"seed", "returns", "lengths", "info", "cut_off"}: one entry per episode, ordered by environment, then time; "info" has the numbers
        of the task (`log.info`) by name, and stands there if an episode told some; "cut_off" is `longest`, if that cut off an episode.

    Raises:
        RuntimeError: more episodes than are wanted were cut off by failures (`env.on_error=restart`), or the rest of an episode that was
            cut off does not end.
    """
    num = max(1, min(num, episodes))
    envs = make(seed, num)
    ticks = 0
    truncated = 0  # episodes that a failure cut off: they are no results, and others are played for them
    limit = envs.backend.limit
    most = longest if limit is None or limit > LARGEST_LIMIT else math.inf
    more: dict[str, Any] = {}
    try:
        noise = NoiseStream(seed, "evaluation", "act", lambda ticks, g: agent.act_noise((ticks, num), g), block=64)
        quota = np.array([episodes // num + (i < episodes % num) for i in range(num)])
        returns: list[list[float]] = [[] for _ in range(num)]
        lengths: list[list[int]] = [[] for _ in range(num)]
        infos: list[list[Mapping[str, float]]] = [[] for _ in range(num)]
        running, length = np.zeros(num), np.zeros(num, dtype=np.int64)
        rest = np.zeros(num, dtype=bool)  # what follows a cut that the vector could not reset
        obs, first = envs.reset(), np.ones(num, dtype=bool)
        memory: dict = {}
        while any(owes := np.array([len(r) < q for r, q in zip(returns, quota)])):
            counts = (owes & ~rest).tolist()
            each_tick(sum(map(len, returns)), ticks * num)
            ticks += 1
            acted = agent.act(torch.from_numpy(obs).to(device), torch.from_numpy(first), memory, step, noise.next(), explore=False)
            memory = acted.memory
            after = envs.step(acted.action.numpy())
            length += 1
            late = np.flatnonzero((length >= most) & ~after.ended & owes).tolist()
            goes_on = late if late and not envs.backend.one_by_one and len(late) < num else []
            if late:
                remedy = (
                    "a function of your own can put gymnasium.wrappers.TimeLimit(env, STEPS) around its environments, a game of your own "
                    "truncate its episodes and tell its `limit`; other environments have the key env.max_episode_steps"
                )
                if rest[late].any():
                    raise RuntimeError(f"an episode of {envs.name}, which cannot be reset alone, does not end: {remedy}")
                after = counted_as_ended(envs, after, late) if goes_on else envs.truncate_episodes(after, late)
                known = "no time limit" if limit is None else f"no time limit but one of {limit:,} steps"
                cause = f"an episode of an evaluation was cut off after {longest:,} steps, because {known} of {envs.name} is known"
                warnings.warn(f"{cause}: {remedy}", RuntimeWarning, stacklevel=2)
                more["cut_off"] = longest
            for listen in listeners:
                listen(acted, after, counts, envs.restarted)
            running += after.reward
            truncated += len(envs.restarted)
            if truncated > max(episodes, 10):
                raise RuntimeError(
                    f"{truncated} episodes of an evaluation were cut off by failures of {envs.name}, which the warnings above name: "
                    "the others may be too easy, so mend the environment. Resumed with another evaluation.every, a run leaves this "
                    "evaluation out"
                )
            for i in np.flatnonzero(after.ended):
                if counts[i] and i not in envs.restarted:
                    returns[i].append(float(running[i]))
                    lengths[i].append(int(length[i]))
                    infos[i].append(after.info[i])
                running[i], length[i], rest[i] = 0.0, 0, i in goes_on
            obs, first = after.obs, after.ended
    finally:
        envs.close()
    given = [info for r in infos for info in r]
    names = sorted({name for info in given for name in info})
    info = {"info": {name: [each.get(name) for each in given] for name in names}} if names else {}
    return {"seed": seed, "returns": [x for r in returns for x in r], "lengths": [x for r in lengths for x in r], **info, **more}


def counted_as_ended(envs: Any, after: Any, which: list[int]) -> Any:
    """The tick `after`, in which the episodes of `which` count as truncated; they go on."""
    told = dict(zip(which, envs.backend.told(which)))
    info = [told.get(i, each) for i, each in enumerate(after.info)]
    return after._replace(ended=after.ended | np.isin(np.arange(len(info)), which), info=info)


class Tape:
    """A listener of `evaluate` that records the first episode of environment 0 that no failure cuts off."""

    def __init__(self) -> None:
        self.actions: list[np.ndarray] = []
        """One action per step, (1,) int64 or (1, D) float32"""
        self.returned = 0.0
        self.ended = False
        self.resets = 1
        """Number of seeded resets up to the start of this episode"""

    def __call__(self, acted: AgentStep, after: Any, counts: Sequence[bool], restarted: Sequence[int]) -> None:
        if self.ended:
            return
        if 0 in restarted:
            self.actions, self.returned, self.resets = [], 0.0, self.resets + 1
            return
        self.actions.append(acted.action.numpy()[:1].copy())
        self.returned += float(after.reward[0])
        self.ended = bool(after.ended[0])


def interval(returns: Sequence[float]) -> list[float] | None:
    """Lower and upper bound of Student's 95 % interval of the mean; None of a single return.

    The quantile of n − 1 degrees of freedom is its expansion around the normal one (Abramowitz and Stegun, 26.7.5), to 0.2 %; with one and
    two degrees, where that is too coarse, it is the exact number.
    """
    freedom = len(returns) - 1
    if freedom == 0:
        return None
    z = 1.959963984540054
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    series = z + sum(term / freedom**power for power, term in enumerate(terms, 1))
    half = {1: 12.7062, 2: 4.3027}.get(freedom, series) * float(np.std(returns, ddof=1)) / len(returns) ** 0.5
    mean = float(np.mean(returns))
    return [mean - half, mean + half]


def summarise(returns: list[float]) -> dict[str, float]:
    """Mean, interquartile mean (the mean of the middle half), standard deviation, number of episodes."""
    values = np.sort(np.asarray(returns, dtype=np.float64))
    rest = len(values) // 4
    return {
        "mean": float(values.mean()),
        "iqm": float(values[rest : len(values) - rest].mean()),
        "std": float(values.std()),
        "episodes": len(values),
    }


def task_means(result: dict) -> dict[str, float]:
    """The mean of each number of the task over the episodes of `evaluate` that told it."""
    given = {name: [value for value in values if value is not None] for name, values in result.get("info", {}).items()}
    return {name: float(np.mean(values)) for name, values in given.items()}
