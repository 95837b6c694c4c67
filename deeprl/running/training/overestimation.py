"""Overestimation: the acting network's value at each step of an evaluation, minus the return from there.

    value − return  =  Q(s_t, a_t) − Σ_{i ≥ t} γ^(i−t) r_i

r are the rewards that the agent learns from (clipped, scaled, Σ_c λ_c r_c of channels) and γ is the run's discount, because value and
return must have the same units under every mapping. Q is the value that acts: that of the chain's head that chose the action, the mean of
a distribution, or the critic that trains TD3's actor. The return is that of the evaluation's policy, its ε included.

All states of an episode that terminates count. Of a truncated episode, a state h steps before the end counts if γ^h, the weight of the
missing rewards, is at most 1/100: with γ = 0.99 the last 458 steps before a time limit are left out. The agent's own value never completes
a return, because it would hide the error that is measured.

Where a lost life is terminal for the learner (Atari's protocols `nature` and `atari100k`), Q ends with the life and the evaluation's
return does not. The two cannot be compared, and only the action gap is logged.

A soft or Munchausen backup learns values that contain entropies and log-policies, which no return does: the difference then shows the
regularisation too, and should be compared between runs of one agent rather than with zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deeprl.learning.transforms.channels import channel_scales
from deeprl.running.config.rules import get
from deeprl.running.runs.config_file import Config
from deeprl.types import AgentStep

NEGLIGIBLE = 0.01
"""Largest discount of the rewards that are missing after the end of a truncated episode."""


def discounted(rewards: np.ndarray, discount: float) -> np.ndarray:
    """(T,) rewards -> (T,) discounted returns, each from its step to the end."""
    returns, following = np.empty(len(rewards)), 0.0
    for t in reversed(range(len(rewards))):
        returns[t] = following = rewards[t] + discount * following
    return returns


def learned(rewards: Callable[[Tensor], Tensor], raw: np.ndarray) -> np.ndarray:
    """(T,) raw rewards -> (T,) learned rewards, Σ_c λ_c r_c of channels."""
    split = rewards(torch.from_numpy(raw)).double().numpy()  # (T,) or (C, T)
    return split if split.ndim == 1 else np.asarray(channel_scales(rewards)) @ split


class Overestimation:
    """Statistics of overestimation: a listener of `deeprl.running.training.evaluation.evaluate`.

    Args:
        rewards: `Agent.rewards`.
        discount: γ, of one step.
        lives: whether a lost life is terminal for the learner.
    """

    def __init__(self, rewards: Callable[[Tensor], Tensor], discount: float, lives: bool = False):
        self.rewards, self.discount, self.lives = rewards, discount, lives
        self.running: dict[int, list[tuple[float, float, float]]] = {}
        """environment -> (value, action gap, raw reward) of each step of its episode"""
        self.values: list[np.ndarray] = []
        self.returns: list[np.ndarray] = []
        self.gaps: list[np.ndarray] = []

    @classmethod
    def of_run(cls, rewards: Callable[[Tensor], Tensor], config: Config) -> Overestimation:
        return cls(rewards, config["discount"], get(config, "env.protocol.life_loss_terminal", False))

    def __call__(self, acted: AgentStep, after: Any, counts: Sequence[bool], restarted: Sequence[int] = ()) -> None:
        """
        Args:
            after: `deeprl.envs.vector.environments.VectorStep`.
            counts: (M,) whether each episode belongs to the evaluation.
            restarted: environments whose episode a failure cut off; it does not count.
        """
        nan = [np.nan] * len(counts)
        values = nan if acted.value is None or self.lives else acted.value.tolist()
        gaps = nan if acted.gap is None else acted.gap.tolist()
        for i, (value, gap, counted) in enumerate(zip(values, gaps, counts)):
            if i in restarted:
                self.running.pop(i, None)
            elif counted:
                self.running.setdefault(i, []).append((value, gap, float(after.reward[i])))
                if after.ended[i]:
                    self._finish(self.running.pop(i), bool(after.terminated[i]))

    def _finish(self, episode: list[tuple[float, float, float]], terminated: bool) -> None:
        values, gaps, raw = np.array(episode).T  # (T,) each
        returns = discounted(learned(self.rewards, raw.astype(np.float32)), self.discount)
        left = self.discount ** np.arange(len(values), 0, -1.0)
        kept = ~np.isnan(values) & (terminated | (left <= NEGLIGIBLE))
        self.gaps.append(gaps[~np.isnan(gaps)])
        self.values.append(values[kept])
        self.returns.append(returns[kept])

    def metrics(self) -> dict[str, float]:
        """Means over all states that count, under the names after "eval/"; empty without such states."""
        values, returns, gaps = (np.concatenate([np.empty(0), *parts]) for parts in (self.values, self.returns, self.gaps))
        found = {"action_gap": float(gaps.mean())} if len(gaps) else {}
        if len(values):
            value, returned = float(values.mean()), float(returns.mean())
            found.update(value=value, discounted_return=returned, overestimation=value - returned)
        return found
