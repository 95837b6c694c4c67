"""Gymnasium's Box2D tasks: LunarLander, BipedalWalker, CarRacing."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from deeprl.system.machine import extra

from .gym import GymGame, Registered, make
from .vector.parts import Form


class WalkerGame(GymGame):
    """BipedalWalker with a new physical world for each episode, as Gymnasium's LunarLander has it.

    Gymnasium keeps the world of BipedalWalker, whose contacts of earlier episodes change the rounding of later ones, so that an episode
    would not follow from its seed and its actions.
    """

    def reset(self, seed):
        walker: Any = self.env.unwrapped
        walker._destroy()
        walker.world = type(walker.world)()
        return super().reset(seed)


@dataclass(frozen=True, kw_only=True)
class Box2D(Registered):
    def build(self, evaluation: bool = False) -> GymGame:
        if find_spec("Box2D") is None:
            raise ValueError(f"env.id={self.id} needs the package box2d: {extra('box2d')}")
        if self.id.startswith("CarRacing"):  # images, channels last
            return GymGame(make(self.id, self.max_episode_steps, self.kwargs), Form("last"))
        game = super().build(evaluation)
        return WalkerGame(game.env) if self.id.startswith("BipedalWalker") else game
