"""Returns and lengths of the episodes of M environments, counted as their rows arrive."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np

WINDOW = 100
"""Episodes over which `rollout/ep_rew_mean` is taken."""


class Episode(NamedTuple):
    step: int
    reward: float
    """Sum of raw rewards, also if the agent clips them."""
    length: int


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

    def add(self, step: int, reward: np.ndarray, ended: np.ndarray) -> bool:
        """Count one tick, which began at `step`. Returns whether an episode ended in it.

        Args:
            reward, ended: (M,) of `Rows`.
        """
        self.returns = [sum + value for sum, value in zip(self.returns, reward.tolist())]
        self.lengths = [length + 1 for length in self.lengths]
        ending = True in ended.tolist()
        if ending:
            for i in np.flatnonzero(ended).tolist():
                episode = Episode(step + self.num, self.returns[i], self.lengths[i])
                self.recent.append(episode)
                self.finished.append(episode)
                self.number += 1
                self.drop(i)
        return ending

    def drop(self, index: int) -> None:
        """Forget the running episode of an environment."""
        self.returns[index], self.lengths[index] = 0.0, 0

    def metrics(self) -> dict[str, float]:
        """Means over the last episodes."""
        if not self.recent:
            return {}
        return {
            "rollout/ep_rew_mean": float(np.mean([e.reward for e in self.recent])),
            "rollout/ep_len_mean": float(np.mean([e.length for e in self.recent])),
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
        self.recent, self.finished = (
            deque((Episode(int(step), float(reward), int(length)) for step, reward, length in state[name]), maxlen=WINDOW)
            for name in ("recent", "finished")
        )
        self.number = int(state["episodes"])
