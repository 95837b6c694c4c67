"""Exact optima of the bandits of `env=memory/…`: the largest expected total reward of an agent that remembers all pulls, by dynamic
programming over what it knows, and the value of each pull.

    bandit                       Q(t; n, w, v) over pulls n and wins w of the first arm and wins v of the second; p ~ Beta(1, 1) each
    switching, latent bandit     Q(t; b) over the belief b that the first arm is the good one, with known arms and a known swap:
                                 b ← Bayes(b; pull, win), then b ← b (1 − swap) + (1 − b) swap
    swaps that nobody tells      the same, over beliefs in swap and good arm, for all histories
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class CountedArms:
    """Optimum of two arms with uniform priors.

    Args:
        steps: T, pulls of a task.
    """

    steps: int

    def values(self) -> np.ndarray:
        """Q (T, T + 1, T + 1, T + 1, 2) by pulls before, pulls and wins of the first arm, wins of the second, and the arm that is pulled.
        Entries that cannot be are of no meaning."""
        steps, after = self.steps, np.zeros((self.steps + 2,) * 3)
        n, w, v = np.meshgrid(*[np.arange(steps + 1)] * 3, indexing="ij")
        found = np.zeros((steps, *n.shape, 2))
        for t in reversed(range(steps)):
            first, second = (w + 1) / (n + 2), (v + 1) / np.maximum(t - n + 2, 1)
            same, pulled = after[:-1, :-1, :-1], after[1:, :-1, :-1]
            found[t, ..., 0] = first * (1 + after[1:, 1:, :-1]) + (1 - first) * pulled
            found[t, ..., 1] = second * (1 + after[:-1, :-1, 1:]) + (1 - second) * same
            after[:-1, :-1, :-1] = found[t].max(-1)
        return found

    def optimum(self) -> float:
        """Expected total reward."""
        return float(self.values()[0, 0, 0, 0].max())


@dataclass(frozen=True)
class Believed:
    """Optimum of two arms, a good one and a bad one, which are known but for their places.

    Args:
        steps: T, pulls of a task.
        swap: probability that the arms change places after a pull.
        good, bad: probabilities of a reward.
        grid: beliefs at which values are computed, between them they are interpolated; 10,001 have an error below 1e-4 for 20 pulls.
    """

    steps: int
    swap: float = 0.0
    good: float = 0.8
    bad: float = 0.2
    grid: int = 10_001

    def after(self, belief: np.ndarray, arm: np.ndarray | int, win: np.ndarray | bool) -> np.ndarray:
        """The belief in the first arm after a pull and a swap."""
        likely = np.where(np.equal(arm, 0), self.good, self.bad), np.where(np.equal(arm, 0), self.bad, self.good)
        first, second = (np.where(win, p, 1 - p) for p in likely)
        belief = belief * first / (belief * first + (1 - belief) * second)
        return belief * (1 - self.swap) + (1 - belief) * self.swap

    def values(self) -> np.ndarray:
        """Q (T, grid, 2) by pulls before, belief and arm."""
        belief, best = np.linspace(0, 1, self.grid), np.zeros(self.grid)
        found = np.zeros((self.steps, self.grid, 2))
        for t in reversed(range(self.steps)):
            for arm, (first, second) in enumerate(((self.good, self.bad), (self.bad, self.good))):
                p = belief * first + (1 - belief) * second
                won, lost = (np.interp(self.after(belief, arm, win), belief, best) for win in (True, False))
                found[t, :, arm] = p * (1 + won) + (1 - p) * lost
            best = found[t].max(-1)
        return found

    def optimum(self) -> float:
        """Expected total reward, from a belief of ½."""
        return float(self.values()[0, self.grid // 2].max())


@dataclass(frozen=True)
class UntoldSwap:
    """Optimum of a good and a bad arm that change places with a probability that is drawn for each task and not told.

    Rewards have probabilities `good` and 1 − `good`, so that a win of one arm tells what a loss of the other does. No pull tells more than
    another then, so that the best one is what is likelier to win now; what is told does not depend on pulls, and all 2^(steps − 1)
    histories are summed.

    Args:
        steps: T, pulls of a task.
        swaps: probabilities, equally likely.
    """

    steps: int
    swaps: tuple[float, ...]
    good: float = 0.8

    def optima(self) -> np.ndarray:
        """Expected total reward for each of `swaps`, of the agent whose mean over them is largest."""
        swap, total = np.array(self.swaps)[:, None], np.zeros(len(self.swaps))
        joint = np.full((1, len(self.swaps), 2), 0.5)  # P(history, the arm that is good now | swap)
        told = np.array([[self.good, 1 - self.good], [1 - self.good, self.good]])  # P(for the first arm, for the second | good arm)
        for _ in range(self.steps):
            pulled = joint.sum(1).argmax(-1)[:, None, None]
            right = np.take_along_axis(joint, pulled, -1).sum((0, 2))
            total += self.good * right + (1 - self.good) * (1 - right)
            each = [joint * of_arm for of_arm in told]
            joint = np.concatenate([one * (1 - swap) + one[..., ::-1] * swap for one in each])
        return total
