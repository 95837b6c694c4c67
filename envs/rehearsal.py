"""Rehearsal of a vector environment before a run: whether its episodes start where they should.

All environments get the same seeds and actions in every episode, so that each of their episodes must be the first one again, row for row. A
reset that is late, comes twice, or takes another environment with it shows as a difference. Without determinism this proves nothing.
"""

from __future__ import annotations

import numpy as np

from .vector.backend import Backend, Failure, usable
from .vector.observations import fault_of_shown

STEPS = 1000
"""Environment steps of all environments together, at most"""
TICKS = 16
"""Ticks that are compared after a reset"""


def rehearse(backend: Backend) -> str:
    """Resets and steps all environments.

    Returns:
        What could not be tried, as a sentence; empty if all was.

    Raises:
        ValueError: an environment failed, or an episode after a reset is not the first one again.
    """
    stage = Stage(backend)
    for _ in range(2):  # the same episodes twice, if the environments are functions of seeds and actions
        stage.start()
        stage.play(TICKS)
    if backend.one_by_one and backend.num > 1:
        stage.start()
        stage.play(TICKS // 2)
        stage.restart(0)  # in the middle of all episodes
        stage.play(TICKS // 2)
    while not stage.ends and stage.ticks * backend.num < STEPS:
        stage.play(1)
    stage.play(TICKS)
    if stage.unlike:
        return f"after a reset of all with the same seeds {stage.unlike}, so that later resets cannot be tried"
    if stage.late:
        raise ValueError(
            f"after a reset alone, with the same seed and the same actions, {stage.late}: a reset by options="
            '{"reset_mask": mask} must start these environments only, and leave no reset for their next step'
        )
    if stage.again and not backend.one_by_one:
        return (
            "the last observation of an episode was the first one of the next: if its environments write all observations into one array, "
            "the vector must not reset them in the same step"
        )
    limit = "" if backend.limit else ", and no time limit is known: give its environments gymnasium.wrappers.TimeLimit if they need one"
    return "" if stage.ends else f"no episode ended in the {stage.ticks} ticks of the rehearsal, so that an end was not tried{limit}"


class Stage:
    """Environments that repeat one episode each.

    Attributes:
        unlike: the first difference between two episodes of an environment that a reset of all started; empty if there is none.
        late: the first difference of any other episode.
        ends: episodes that ended.
        again: an episode's last observation was also the first one of the next.
    """

    def __init__(self, backend: Backend):
        self.backend, self.num, self.spec = backend, backend.num, backend.spec
        self.seeds: list[int | None] = [1000 + i for i in range(self.num)]
        self.random = np.random.default_rng(0)
        self.actions: list[np.ndarray] = []  # of tick t of an episode, (M,) or (M, D)
        self.seen: list[list[tuple]] = [[] for _ in range(self.num)]
        self.clock = [0] * self.num
        self.strange = [False] * self.num  # the episode has a seed that is not known
        self.disturbed = False  # an environment was reset alone since the last reset of all
        self.obs: list[np.ndarray] = []
        self.unlike, self.late, self.ends, self.ticks, self.again = "", "", 0, 0, False

    def start(self) -> None:
        """Reset all environments together."""
        self.strange, self.disturbed = [False] * self.num, False
        self.obs = [np.zeros(0)] * self.num
        self._begin(self.backend.reset(dict(enumerate(self.seeds))))

    def restart(self, index: int) -> None:
        """Reset one environment in the middle of its episode."""
        self.disturbed = True
        self._begin(self.backend.reset({index: self.seeds[index]}))

    def _begin(self, firsts: dict[int, np.ndarray | Failure]) -> None:
        for i, first in firsts.items():
            cause = first.cause if isinstance(first, Failure) else fault_of_shown(first, self.spec)
            if cause:
                raise ValueError(f"environment {i} failed at a reset: {cause}")
            self.clock[i] = 0
            self._show(i, first, ())

    def _show(self, index: int, obs, rest: tuple) -> None:
        row, seen, t = (obs.tobytes(), *rest), self.seen[index], self.clock[index]
        if t == len(seen):
            seen.append(row)
        elif row != seen[t] and not self.strange[index]:
            where = f"environment {index} differed at step {t} of its episode"
            self.unlike, self.late = (self.unlike, self.late or where) if self.disturbed else (self.unlike or where, self.late)
        self.obs[index] = obs.copy()

    def play(self, ticks: int) -> None:
        """Steps of all environments."""
        for _ in range(ticks):
            self._tick()

    def _tick(self) -> None:
        answers = self.backend.step(self.backend.actions.to_env(np.stack([self._action(i) for i in range(self.num)])), self.seeds)
        self.ticks += 1
        for i, answer in enumerate(answers):
            used = usable(answer, self.spec)
            if isinstance(used, Failure):
                raise ValueError(f"environment {i} failed at step {self.clock[i]} of an episode: {used.cause}") from used.error
            first, last, *rest, ended, _ = used
            self.clock[i] += 1
            self._show(i, last, (*rest, ended))
            if ended:
                self.ends += 1
                self.again |= np.array_equal(first, last)
                self.clock[i] = 0
                self.disturbed = True
                self.strange[i] = not self.backend.one_by_one
                self._show(i, first, ())

    def _action(self, index: int) -> np.ndarray:
        spec, t = self.spec, self.clock[index]
        while len(self.actions) <= t:
            self.actions.append(
                self.random.integers(0, spec.num_actions, self.num)
                if spec.num_actions
                else self.random.uniform(-1, 1, (self.num, spec.action_dim)).astype(np.float32)
            )
        action = self.actions[t][index]
        if spec.masked:
            valid = np.flatnonzero(self.obs[index][-spec.num_actions :])
            action = valid[action % len(valid)]
        return action
