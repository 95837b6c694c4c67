"""The stock as a part of each observation: what was collected so far, for agents that prefer more than the mean (agent/utility).

    c_{t+1} = (c_t + r_t) / γ        c_0 uniform in an interval, drawn at each reset

It stands in the environment, behind everything that changes rewards, so that stored rows, successors and evaluation have it without a word,
and an environment that is restored repeats its actions, which restores the stock too. See `deeprl.learning.transforms.stock`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
import torch

from deeprl.choice import counts, in_range, numbers
from deeprl.packing import packed_spec
from deeprl.types import ObsPart, Spec

from .coins import CoinGame
from .gym import Gym
from .vector.backend import Game
from .vector.choice import EnvChoice

LARGEST = 1e30
"""Of a stock and of its growth, because observations are float32"""


class StockGame(Game):
    """A game whose observations have the parts `observation` and `stock`, (c_t, c_0, γ^(−t)).

    Args:
        starts: smallest and largest c_0.
        discount: γ.

    Episodes tell `off_target`, |c_0 + Σ γ^t r_t|, to those who ask (log.info).

    Raises:
        ValueError: observations of the game are no vectors of one part; or the stock of its longest episode is above `LARGEST`.
    """

    def __init__(self, game: Game, starts: Sequence[float], discount: float):
        spec = game.spec
        if len(spec.obs_shape) != 1 or spec.obs_dtype != torch.float32 or spec.parts:
            raise ValueError(
                f"a stock goes with vectors, and these observations are {spec.obs_dtype} of shape {spec.obs_shape}"
                + (f" with the parts {[part.name for part in spec.parts]}: set env.parts=flat" if spec.parts else "")
            )
        self.game, self.starts, self.discount = game, tuple(starts), discount
        self.mask = spec.mask_size if spec.masked else 0
        own = ObsPart("observation", (spec.obs_shape[0] - self.mask,), torch.float32)
        stock = ObsPart("stock", (3,), torch.float32, scaled=False, stock=True)
        self.spec = packed_spec([own, stock], spec.num_actions, spec.action_dim, spec.masked, spec.choices)
        self.actions, self.fps, self.limit = game.actions, game.fps, game.limit
        columns = f"c_t, c_0, g**-t with g = {discount:g}; c_0 is chosen, and c_(t+1) = (c_t + reward) / g"
        self.observation = f"{game.observation}; stock: {columns}"
        if self.limit is not None and -self.limit * math.log(discount) > math.log(LARGEST):
            raise ValueError(
                f"discount={discount:g} makes the stock of {self.limit:,} steps overflow, which grows by 1 / discount in each: set it "
                f"to at least {math.ceil(1e5 * LARGEST ** (-1 / self.limit)) / 1e5:g}, or shorten episodes"
            )
        self.random = np.random.default_rng()
        self.first = self.now = 0.0
        self.growth = 1.0

    def layers(self):
        return [type(self).__name__, *self.game.layers()]

    def reset(self, seed):
        self.game.info = self.info
        if self.info:
            self.info.begin()
        if seed is not None:
            self.random = np.random.default_rng([seed, 1])  # not the numbers of the game
        self.first = self.now = float(self.random.uniform(self.starts[0], self.starts[1]))
        self.growth = 1.0
        return self.shown(self.game.reset(seed))

    def step(self, action):
        obs, reward, terminated, ended = self.game.step(action)
        self.now, self.growth = (self.now + reward) / self.discount, self.growth / self.discount
        if LARGEST < max(self.growth, abs(self.now)) < math.inf:
            raise ValueError(
                f"the stock is {self.now:g}, and grows by 1 / discount in each step: raise discount={self.discount:g}, or shorten episodes"
            )
        if self.info:
            self.info.newest = {**self.info.newest, "off_target": abs(self.now / self.growth)}
        return self.shown(obs), reward, terminated, ended

    def shown(self, obs: np.ndarray) -> np.ndarray:
        at = len(obs) - self.mask
        return np.concatenate([obs[:at], [self.now, self.first, self.growth], obs[at:]], dtype=np.float32)

    def frame(self):
        return self.game.frame()

    def close(self):
        self.game.close()


@dataclass(frozen=True, kw_only=True)
class WithStock(EnvChoice):
    """Base of environments with a stock; the other base makes their games.

    Args:
        starts: smallest and largest first stock.
        discount: γ of the agent.
    """

    of_run: ClassVar[tuple[str, ...]] = ("discount",)

    starts: Sequence[float] = (0.0, 0.0)
    discount: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        in_range(self, discount=(1e-6, 1))
        low, high = numbers(self, "starts", 2)
        if low > high:
            raise ValueError(f"starts must be the smallest and the largest first stock, not {[low, high]}")

    def build(self, evaluation: bool = False) -> Any:
        return StockGame(super().build(evaluation), self.starts, self.discount)


@dataclass(frozen=True, kw_only=True)
class GymStock(WithStock, Gym):
    """An environment of Gymnasium with a stock, which is that of its rewards behind wrappers of the user."""

    def spec(self) -> Spec:
        Gym(**{each.name: getattr(self, each.name) for each in fields(Gym)}).spec()  # tells what was guessed
        return EnvChoice.spec(self)

    def terminates(self) -> None:
        """A rule of the environment reads observations without the stock, so that a model learns terminations."""


@dataclass(frozen=True, kw_only=True)
class Coins(EnvChoice):
    """`CoinGame`."""

    max_episode_steps: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        counts(self, max_episode_steps=1)

    def build(self, evaluation: bool = False) -> Game:
        return CoinGame(self.max_episode_steps)


@dataclass(frozen=True, kw_only=True)
class StockCoins(WithStock, Coins):
    """The same with a stock."""
