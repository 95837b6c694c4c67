"""Exploration while data is collected. Random numbers are arguments, on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from deeprl.choice import Choice, in_range
from deeprl.schedules import Constant


@dataclass(frozen=True)
class EpsilonGreedy(Choice):
    """ε-greedy exploration: with probability ε a uniformly random action.

    Args:
        schedule: ε as a function of the environment step; in published schedules ε is 1 until learning starts.
        evaluation: ε in evaluation (0.001 on Atari).
    """

    schedule: Callable[[int], float] = field(default_factory=lambda: Constant(0.05))
    evaluation: float = 0.0

    def __post_init__(self):
        in_range(self, evaluation=(0, 1))
        if not callable(self.schedule):
            raise ValueError(f"schedule must have a _target_, such as deeprl.schedules.Constant with its value, not {self.schedule!r}")
        for end in ("value", "start", "end"):  # of whatever schedule it is
            if not 0 <= getattr(self.schedule, end, 0) <= 1:
                raise ValueError(f"schedule.{end} is a probability, between 0 and 1, not {getattr(self.schedule, end)}")

    def epsilon(self, step: int, explore: bool) -> float:
        return self.schedule(step) if explore else self.evaluation

    def noise(self, size: tuple[int, ...], generator, num_actions: int) -> dict[str, Tensor]:
        """`explore`, uniform in [0, 1), and `action`, the random actions, made here once for many steps."""
        explore, action = (torch.rand(size, generator=generator, dtype=torch.float64) for _ in range(2))
        return {"explore": explore, "action": (action * num_actions).long()}

    def __call__(
        self, greedy: Callable[[], Tensor], num_actions: int, epsilon: float, noise: dict[str, Tensor], exact: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Actions and their probabilities, both (M,).

        Args:
            greedy: gives the greedy actions (M,). It is not called with ε = 1, where every action has probability 1/A.
            exact: whether a part of the agent reads the probabilities. If not, they are zeros, and `greedy` is called only if an
                environment does not explore.
        """
        random = noise["action"]
        explores = [u < epsilon for u in noise["explore"].tolist()]
        all_explore = all(explores)
        if all_explore and not exact:
            return random, unknown(len(explores))
        if all_explore and epsilon >= 1.0:
            return random, torch.full(random.shape, epsilon / num_actions)
        best = greedy().cpu()
        if all_explore:
            action = random
        else:
            action = torch.where(torch.tensor(explores), random, best) if any(explores) else best
        return action, (1.0 - epsilon) * (action == best).float() + epsilon / num_actions if exact else unknown(len(explores))


@lru_cache
def unknown(count: int) -> Tensor:
    """Zeros in place of probabilities that no part reads. The tensor is shared: do not write into it."""
    return torch.zeros(count)


@lru_cache
def certain(count: int) -> Tensor:
    """Ones in place of densities that are not computed. The tensor is shared: do not write into it."""
    return torch.ones(count)


@dataclass(frozen=True)
class GaussianNoise(Choice):
    """Gaussian exploration: π(s) plus independent noise, cut off at the bounds; uniform actions at first (Fujimoto et al., 2018).

    Args:
        std: standard deviation in units of the half-range of the actions.
        random_steps: number of first environment steps with uniform actions.
    """

    std: float = 0.1
    random_steps: int = 25_000

    def __post_init__(self):
        in_range(self, std=(0, None), random_steps=(0, None))

    def noise(self, size: tuple[int, ...], generator) -> dict[str, Tensor]:
        return {
            "normal": torch.randn(size, generator=generator),
            "uniform": torch.rand(size, generator=generator) * 2.0 - 1.0,
        }

    def __call__(self, policy: Callable[[], Tensor], step: int, noise: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Actions (M, D), and ones (M,) in place of their density, because no part reads it."""
        if step < self.random_steps:
            action = noise["uniform"]
        else:
            # NumPy, because it is faster than tensors for few numbers; float32 arithmetic is the same
            wanted = policy().cpu().numpy() + self.std * noise["normal"].numpy()
            action = torch.from_numpy(np.minimum(np.maximum(wanted, -1.0), 1.0))
        return action, certain(action.shape[0])
