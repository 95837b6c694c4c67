"""How an agent leaves the greedy path while it collects data. Random numbers come in as data, on the CPU."""

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
    """With probability ε a uniformly random action.

    Args:
        schedule: ε as a function of the environment step; published schedules hold ε = 1 until learning starts.
        evaluation: ε while evaluating (0.001 on Atari).
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
        """`explore` uniform in [0, 1), `action` the random action itself: it need not be made at every step."""
        explore, action = (torch.rand(size, generator=generator, dtype=torch.float64) for _ in range(2))
        return {"explore": explore, "action": (action * num_actions).long()}

    def __call__(
        self, greedy: Callable[[], Tensor], num_actions: int, epsilon: float, noise: dict[str, Tensor], exact: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Actions and their probabilities, both (M,).

        Args:
            greedy: -> (M,). With ε = 1 it is not asked; its answer is then missing from the probability, which is 1/A all the same.
            exact: somebody reads the probabilities. If not, they are zeros, and `greedy` is asked only if some environment does not
                explore.
        """
        random = noise["action"]
        explores = [u < epsilon for u in noise["explore"].tolist()]
        everybody = all(explores)
        if everybody and not exact:
            return random, unknown(len(explores))
        if everybody and epsilon >= 1.0:
            return random, torch.full(random.shape, epsilon / num_actions)
        best = greedy().cpu()
        if everybody:
            action = random
        else:
            action = torch.where(torch.tensor(explores), random, best) if any(explores) else best
        return action, (1.0 - epsilon) * (action == best).float() + epsilon / num_actions if exact else unknown(len(explores))


@lru_cache
def unknown(count: int) -> Tensor:
    """Zeros in place of probabilities that nobody reads: to be read only."""
    return torch.zeros(count)


@lru_cache
def certain(count: int) -> Tensor:
    """Ones in place of densities that nobody computes: to be read only."""
    return torch.ones(count)


@dataclass(frozen=True)
class GaussianNoise(Choice):
    """π(s) plus independent Gaussian noise, cut off at the bounds; uniform actions at first (Fujimoto et al., 2018).

    Args:
        std: in units of the half-range of the actions.
        random_steps: environment steps with uniformly random actions.
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
        """Actions (M, D) and their density (M,), reported as one: no part that is built so far asks for it."""
        if step < self.random_steps:
            action = noise["uniform"]
        else:
            # NumPy: in so few numbers quicker than tensors, and the same float32 arithmetic
            wanted = policy().cpu().numpy() + self.std * noise["normal"].numpy()
            action = torch.from_numpy(np.minimum(np.maximum(wanted, -1.0), 1.0))
        return action, certain(action.shape[0])
