"""Gymnasium's Box2D tasks: LunarLander, BipedalWalker."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from .gym import Registered
from .vector.backend import Game


@dataclass(frozen=True, kw_only=True)
class Box2D(Registered):
    def build(self, evaluation: bool = False) -> Game:
        if find_spec("Box2D") is None:
            raise ValueError(f'env.id={self.id} needs the package box2d: pip install -e ".[box2d]"')
        return super().build(evaluation)
