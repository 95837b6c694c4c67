"""A sampler saved and loaded in a small replay of nothing but numbers, before its run: state that no checkpoint holds would show after a
resume alone, and nobody would see it."""

from __future__ import annotations

from copy import deepcopy

import numpy as np

from deeprl.replay.samplers import Draws, Live, Sampler

SIZE, BATCH, BATCHES = 64, 8, 4
KEPT = frozenset({"columns", "ticks", "count", "oldest", "fresh", "pending", "pending_frames", "began", "parts", "data"})
"""Names in the saved state of a replay, beside those of its sampler"""


def require_resumes(sampler: Sampler) -> None:
    """Let a sampler draw, save it, and compare its next draws with those of a second one that has loaded what was saved. Whatever else it
    raises here is left to the run, because a sampler may ask for more transitions than these.

    Raises:
        ValueError: they differ, or the second one cannot go on, or a name in what it saves is one of the replay's own.
    """
    try:
        one, live = sampler.over(SIZE), Live(20, 84, SIZE)
        played(one, Live(0, 40, SIZE), 0)
        played(one, live, 1)
        saved = deepcopy(one.state_dict(live))
        other, later = sampler.over(SIZE), Live(30, 94, SIZE)
        wanted = played(one, later, 2)
    except Exception:
        return
    if taken := KEPT.intersection(saved):
        raise ValueError(f"sampler must save under names of its own, and {type(one).__name__} has {min(taken)}, which the replay has too")
    name = f"sampler must draw after a resume as if it had never stopped, and {type(one).__name__}"
    try:
        other.load(saved, live)
        found = played(other, later, 2)
    except Exception as error:
        raise ValueError(f"{name} cannot go on from what it has saved: {type(error).__name__}: {error}") from error
    if found != wanted:
        raise ValueError(
            f"{name} does not: what it keeps goes to `state_dict` and comes back in `load`, and `u` is all the randomness that it has"
        )


def played(draws: Draws, live: Live, seed: int) -> list[list[float]]:
    """What is drawn in a few batches, whose errors are reported."""
    random, found = np.random.default_rng(seed), list[list[float]]()
    for step in range(BATCHES):
        number, weight = draws.draw(random.random(BATCH), live, step)
        found += [number.tolist(), [] if weight is None else weight.tolist()]
        if draws.takes_errors:
            draws.update(number, random.random(BATCH), live)
    return found
