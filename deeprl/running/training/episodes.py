"""Returns and lengths of the episodes of M environments, counted as their rows arrive."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

WINDOW = 100
"""Episodes over which `rollout/ep_rew_mean` is taken."""


class Episode(NamedTuple):
    step: int
    reward: float
    """Sum of raw rewards, also if the agent clips them."""
    length: int
    info: Mapping[str, float] = {}
    """Numbers of the task that it told (`log.info`)"""


class Episodes:
    """
    Args:
        num: M.

    Attributes:
        finished: the newest episodes since the last log line; the trainer empties it. Not all of them, because a checkpoint holds them.
    """

    def __init__(self, num: int):
        self.num = num
        self.returns = [0.0] * num
        self.lengths = [0] * num
        self.recent: deque[Episode] = deque(maxlen=WINDOW)
        self.finished: deque[Episode] = deque(maxlen=WINDOW)
        self.number = 0

    def add(self, step: int, reward: np.ndarray, ended: np.ndarray, info: Sequence[Mapping[str, float]]) -> bool:
        """Count one tick, which began at `step`. Returns whether an episode ended in it.

        Args:
            reward, ended: (M,) of `Rows`.
            info: (M,) of the environment's `Step`.
        """
        self.returns = [sum + value for sum, value in zip(self.returns, reward.tolist())]
        self.lengths = [length + 1 for length in self.lengths]
        ending = True in ended.tolist()
        if ending:
            for i in np.flatnonzero(ended).tolist():
                self.end(Episode(step + self.num, self.returns[i], self.lengths[i], info[i]))
                self.drop(i)
        return ending

    def end(self, episode: Episode) -> None:
        """Count an episode."""
        self.recent.append(episode)
        self.finished.append(episode)
        self.number += 1

    def drop(self, index: int) -> None:
        """Forget the running episode of an environment."""
        self.returns[index], self.lengths[index] = 0.0, 0

    def metrics(self) -> dict[str, float]:
        """Means over the last episodes."""
        if not self.recent:
            return {}
        info = means([e.info for e in self.recent])
        return {
            "rollout/ep_rew_mean": float(np.mean([e.reward for e in self.recent])),
            "rollout/ep_len_mean": float(np.mean([e.length for e in self.recent])),
            **{f"rollout/info/{name}": mean for name, mean in info.items()},
            **success_rate("rollout/success_rate", info),
        }

    def state_dict(self) -> dict:
        return {
            "returns": np.array(self.returns),
            "lengths": np.array(self.lengths),
            "recent": [list(e) for e in self.recent],
            "finished": [list(e) for e in self.finished],
            "episodes": self.number,
        }

    def load_state_dict(self, state: dict) -> None:
        """
        Raises:
            ValueError: the state is that of another number of environments, or holds a number that is not finite.
        """
        for name in ("returns", "lengths"):
            if state[name].shape != (self.num,) or not np.isfinite(state[name]).all():
                raise ValueError(f"the collector's {name} has shape {state[name].shape}, not {(self.num,)}, or is not finite")
        self.returns, self.lengths = state["returns"].tolist(), state["lengths"].tolist()
        self.recent, self.finished = (deque((episode(*entry) for entry in state[name]), maxlen=WINDOW) for name in ("recent", "finished"))
        self.number = int(state["episodes"])


def episode(step: int, reward: float, length: int, info: Mapping[str, float] | None = None) -> Episode:
    """An episode of a checkpoint; those of older ones have no numbers of the task."""
    return Episode(int(step), float(reward), int(length), {str(name): float(value) for name, value in (info or {}).items()})


def success_rate(name: str, info: Mapping[str, float]) -> dict[str, float]:
    """The metric `name`, of means of episodes that tell `is_success` or, as some tasks of Gymnasium-Robotics, `success`."""
    found = [info[name] for name in ("is_success", "success") if name in info]
    return {name: found[0]} if found else {}


def means(infos: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each number over the episodes that tell it."""
    names = sorted({name for info in infos for name in info})
    return {name: float(np.mean([info[name] for info in infos if name in info])) for name in names}
