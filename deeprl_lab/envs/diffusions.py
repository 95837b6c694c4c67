"""Diffusions on the line whose values are known: for policy evaluation in continuous time. There is one action, which does nothing.

    brownian               dX = σ dW               V(t, x) of X_T² at the end T:      x² + σ² (T − t)
    ornstein_uhlenbeck     dX = −κ X dt + σ dW     rewards x², rate β:                x² / (β + 2κ) + σ² / (β (β + 2κ))
    linear                 dX = a X dt + b X dW    rewards x, rate β:                 x / (β − a)
    sine                   dX = σ dW               rewards sin x, rate β:             sin x / (β + σ²/2)

Steps of width Δ are drawn from the exact transition, so that a mesh has no error but that of its sums. A step earns r(x) Δ and is
discounted by γ = e^(−βΔ).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from deeprl.extend import Actions, EnvChoice, Game, Spec, in_range


class DiffusionGame(Game):
    """Observations are (x, t)."""

    def __init__(self, world: Diffusion):
        self.world, self.limit = world, world.steps
        self.spec, self.actions = Spec((2,), torch.float32, 1, 0), Actions(1)
        self.random = np.random.default_rng()
        self.x, self.elapsed = 0.0, 0

    def reset(self, seed):
        if seed is not None:
            self.random = np.random.default_rng(seed)
        self.x, self.elapsed = self.world.first(self.random), 0
        return self._obs()

    def step(self, action):
        world, before = self.world, self.x
        self.x = world.after(before, self.random.standard_normal())
        self.elapsed += 1
        over = self.elapsed >= world.steps
        reward = world.reward(before) * world.step + (world.final(self.x) if over else 0.0)
        return self._obs(), reward, over and world.ends, over

    def _obs(self) -> np.ndarray:
        return np.array([self.x, self.elapsed * self.world.step], np.float32)


@dataclass(frozen=True, kw_only=True)
class Diffusion(EnvChoice):
    """Base of the worlds.

    Args:
        step: Δ, in units of time.
        horizon: T, at which an episode ends.
        rate: β.
    """

    step: float = 0.02
    horizon: float = 8.0
    rate: float = 1.0
    ends: ClassVar[bool] = False
    """Whether the horizon is the end of the task, and no time limit"""

    def __post_init__(self) -> None:
        super().__post_init__()
        in_range(self, step=(1e-6, None), horizon=(1e-6, None), rate=(0, None))
        if abs(self.horizon / self.step - self.steps) > 1e-6 * self.steps or not self.steps:
            raise ValueError(f"horizon must be a multiple of step={self.step:g}, not {self.horizon:g}")

    @property
    def steps(self) -> int:
        return round(self.horizon / self.step)

    @property
    def gamma(self) -> float:
        return math.exp(-self.rate * self.step)

    def build(self, evaluation: bool = False) -> Game:
        return DiffusionGame(self)

    def first(self, random: np.random.Generator) -> float:
        """X_0."""
        return 0.0

    def after(self, x: float, normal: float) -> float:
        """X_{t+Δ} from X_t and a standard normal number."""
        raise NotImplementedError

    def reward(self, x: float) -> float:
        return 0.0

    def final(self, x: float) -> float:
        """What X_T earns."""
        return 0.0

    def features(self, x: np.ndarray, t: np.ndarray) -> np.ndarray:
        """φ (..., d)."""
        raise NotImplementedError

    @property
    def truth(self) -> np.ndarray:
        """w (d,) of the value in continuous time."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Brownian(Diffusion):
    """φ = (x², T − t)."""

    horizon: float = 1.0
    step: float = 0.005
    rate: float = 0.0
    sigma: float = 1.0
    ends = True

    def __post_init__(self) -> None:
        super().__post_init__()
        in_range(self, sigma=(1e-6, None))
        if self.rate:
            raise ValueError(f"rate must be 0 in this world, not {self.rate:g}")

    def after(self, x, normal):
        return x + self.sigma * math.sqrt(self.step) * normal

    def final(self, x):
        return x * x

    def features(self, x, t):
        return np.stack([x**2, self.horizon - t], -1)

    @property
    def truth(self):
        return np.array([1.0, self.sigma**2])


@dataclass(frozen=True, kw_only=True)
class OrnsteinUhlenbeckDiffusion(Diffusion):
    """φ = (x², 1). X_0 has the stationary law."""

    kappa: float = 1.0
    sigma: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        in_range(self, kappa=(1e-6, None), sigma=(1e-6, None), rate=(1e-6, None))

    @property
    def spread(self) -> float:
        """Standard deviation of the stationary law."""
        return self.sigma / math.sqrt(2 * self.kappa)

    def first(self, random):
        return self.spread * random.standard_normal()

    def after(self, x, normal):
        kept = math.exp(-self.kappa * self.step)
        return kept * x + self.spread * math.sqrt(1 - kept**2) * normal

    def reward(self, x):
        return x * x

    def features(self, x, t):
        return np.stack([x**2, np.ones_like(x)], -1)

    @property
    def truth(self):
        slope = 1 / (self.rate + 2 * self.kappa)
        return np.array([slope, self.sigma**2 * slope / self.rate])


@dataclass(frozen=True, kw_only=True)
class GeometricBrownian(Diffusion):
    """φ = (x, 1). X_0 = 1."""

    drift: float = -0.5
    noise: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        in_range(self, drift=(None, None), noise=(0, None))
        if self.rate <= self.drift:
            raise ValueError(f"rate must be above drift={self.drift:g}, not {self.rate:g}, because the value is infinite otherwise")

    def first(self, random):
        return 1.0

    def after(self, x, normal):
        return x * np.exp((self.drift - self.noise**2 / 2) * self.step + self.noise * math.sqrt(self.step) * normal)

    def reward(self, x):
        return x

    def features(self, x, t):
        return np.stack([x, np.ones_like(x)], -1)

    @property
    def truth(self):
        return np.array([1 / (self.rate - self.drift), 0.0])


@dataclass(frozen=True, kw_only=True)
class Sine(Diffusion):
    """φ = (sin x, cos x). X_0 is uniform over a period."""

    sigma: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        in_range(self, sigma=(1e-6, None))

    def first(self, random):
        return random.uniform(-math.pi, math.pi)

    def after(self, x, normal):
        return x + self.sigma * math.sqrt(self.step) * normal

    def reward(self, x):
        return math.sin(x)

    def features(self, x, t):
        return np.stack([np.sin(x), np.cos(x)], -1)

    @property
    def truth(self):
        return np.array([1 / (self.rate + self.sigma**2 / 2), 0.0])
