"""Gymnasium's classic control tasks as tensor worlds, in float64 as theirs: equal to them to rounding, from the same states
(of Pendulum to that of float32, in which Gymnasium takes its torque).

Starts of episodes have their distribution and not their generator.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import gymnasium
import numpy as np
import torch
from torch import Tensor

from deeprl.types import Spec

from .vector.actions import actions_of
from .vector.tensors import TensorChoice
from .vector.worlds import State, TensorWorld


class ClassicWorld(TensorWorld):
    """One state (M, S) named "state", which Gymnasium's environment has too.

    Attributes:
        id: of Gymnasium.
    """

    id: ClassVar[str]

    def __init__(self, limit: int):
        self.limit = limit
        env = gymnasium.make(self.id)
        space: Any = env.action_space
        self.actions = actions_of(space)
        (size,) = env.observation_space.shape or ()
        self.spec = Spec((size,), torch.float32, self.actions.num, 0 if self.actions.num else 1)

    @cached_property
    def painter(self) -> Any:
        env = gymnasium.make(self.id, render_mode="rgb_array")
        env.reset()
        return env.unwrapped

    def frame(self, state: State) -> np.ndarray:
        self.painter.state = state["state"][0].numpy()
        picture: np.ndarray = self.painter.render()
        return picture

    def observe(self, state: State) -> Tensor:
        return state["state"].float()


class CartPoleWorld(ClassicWorld):
    """State: position, velocity, angle, angular velocity. Barto, Sutton and Anderson (1983), by Euler's method."""

    id, draws = "CartPole-v1", 4

    def begin(self, draws: Tensor) -> State:
        return {"state": 0.1 * draws - 0.05}

    def advance(self, state: State, action: Tensor, noise: Tensor) -> tuple[State, Tensor, Tensor]:
        x, speed, angle, turning = state["state"].unbind(1)
        sine, cosine = angle.sin(), angle.cos()
        push = (20.0 * action - 10.0 + 0.05 * turning**2 * sine) / 1.1
        bend = (9.8 * sine - cosine * push) / (0.5 * (4.0 / 3.0 - 0.1 * cosine**2 / 1.1))
        pull = push - 0.05 * bend * cosine / 1.1
        after = torch.stack([x + 0.02 * speed, speed + 0.02 * pull, angle + 0.02 * turning, turning + 0.02 * bend], 1)
        terminal = (after[:, 0].abs() > 2.4) | (after[:, 2].abs() > 12 * 2 * math.pi / 360)
        return {"state": after}, torch.ones(len(x), device=x.device), terminal


class MountainCarWorld(ClassicWorld):
    """State: position, velocity. Moore (1990)."""

    id, draws = "MountainCar-v0", 1

    def begin(self, draws: Tensor) -> State:
        return {"state": torch.cat([0.2 * draws - 0.6, torch.zeros_like(draws)], 1)}

    def advance(self, state: State, action: Tensor, noise: Tensor) -> tuple[State, Tensor, Tensor]:
        position, velocity = state["state"].unbind(1)
        velocity = (velocity + (action.double() - 1) * 0.001 - 0.0025 * (3 * position).cos()).clamp(-0.07, 0.07)
        position = (position + velocity).clamp(-1.2, 0.6)
        velocity = velocity.where((position > -1.2) | (velocity > 0), 0.0)
        terminal = (position >= 0.5) & (velocity >= 0)
        return {"state": torch.stack([position, velocity], 1)}, torch.full_like(position, -1.0), terminal


class PendulumWorld(ClassicWorld):
    """State: angle from the upright, angular velocity."""

    id, draws = "Pendulum-v1", 2

    def begin(self, draws: Tensor) -> State:
        angle, turning = (2 * draws - 1).unbind(1)
        return {"state": torch.stack([math.pi * angle, turning], 1)}

    def advance(self, state: State, action: Tensor, noise: Tensor) -> tuple[State, Tensor, Tensor]:
        angle, turning = state["state"].unbind(1)
        torque = action.squeeze(1).double().clamp(-2, 2)
        lean = (angle + math.pi) % (2 * math.pi) - math.pi
        cost = lean**2 + 0.1 * turning**2 + 0.001 * torque**2
        turning = (turning + (15.0 * angle.sin() + 3.0 * torque) * 0.05).clamp(-8, 8)
        after = torch.stack([angle + turning * 0.05, turning], 1)
        return {"state": after}, -cost, torch.zeros_like(angle, dtype=torch.bool)

    def observe(self, state: State) -> Tensor:
        angle, turning = state["state"].unbind(1)
        return torch.stack([angle.cos(), angle.sin(), turning], 1).float()

    def frame(self, state: State) -> np.ndarray:
        self.painter.last_u = None  # it draws no arrow of a torque
        return super().frame(state)


class AcrobotWorld(ClassicWorld):
    """State: the two angles, their velocities. Sutton (1996), with the equations of Sutton and Barto's book, by one Runge-Kutta step."""

    id, draws = "Acrobot-v1", 4

    def begin(self, draws: Tensor) -> State:
        return {"state": (0.2 * draws - 0.1).float().double()}  # Gymnasium rounds them too

    def advance(self, state: State, action: Tensor, noise: Tensor) -> tuple[State, Tensor, Tensor]:
        before, torque, step = state["state"], action.double() - 1, 0.2
        one = self.change(before, torque)
        two = self.change(before + step / 2 * one, torque)
        three = self.change(before + step / 2 * two, torque)
        four = self.change(before + step * three, torque)
        first, second, turn, bend = (before + step / 6 * (one + 2 * two + 2 * three + four)).unbind(1)
        after = torch.stack(
            [wrapped(first), wrapped(second), turn.clamp(-4 * math.pi, 4 * math.pi), bend.clamp(-9 * math.pi, 9 * math.pi)], 1
        )
        terminal = -after[:, 0].cos() - (after[:, 1] + after[:, 0]).cos() > 1
        return {"state": after}, terminal.double() - 1, terminal

    @staticmethod
    def change(state: Tensor, torque: Tensor) -> Tensor:
        """Derivative by time: links of length 1 and mass 1, with their centres at ½ and moments of inertia 1, g = 9.8."""
        first, second, turn, bend = state.unbind(1)
        sine, cosine = second.sin(), second.cos()
        inertia, coupling = 3.5 + cosine, 1.25 + 0.5 * cosine
        fall = 4.9 * (first + second - math.pi / 2).cos()
        load = -0.5 * bend**2 * sine - bend * turn * sine + 14.7 * (first - math.pi / 2).cos() + fall
        second_change = (torque + coupling / inertia * load - 0.5 * turn**2 * sine - fall) / (1.25 - coupling**2 / inertia)
        return torch.stack([turn, bend, -(coupling * second_change + load) / inertia, second_change], 1)

    def observe(self, state: State) -> Tensor:
        first, second, turn, bend = state["state"].unbind(1)
        return torch.stack([first.cos(), first.sin(), second.cos(), second.sin(), turn, bend], 1).float()


def wrapped(angle: Tensor) -> Tensor:
    """An angle in [-π, π]; one that is there already stays as it is, bit for bit."""
    above, below = (angle - math.pi) / (2 * math.pi), (angle + math.pi) / (2 * math.pi)
    return angle - 2 * math.pi * (above.ceil().clamp(min=0) + below.floor().clamp(max=0))


WORLDS: dict[str, type[ClassicWorld]] = {world.id: world for world in (CartPoleWorld, MountainCarWorld, PendulumWorld, AcrobotWorld)}


@dataclass(frozen=True, kw_only=True)
class TensorClassic(TensorChoice):
    """
    Args:
        id: of Gymnasium, one of `WORLDS`.
        obs_scale: as in `deeprl.envs.classic.Classic`.
    """

    pictures: ClassVar[bool] = True

    id: str
    obs_scale: list[float] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.id not in WORLDS:
            raise ValueError(f"id must be one of {', '.join(WORLDS)}, not {self.id}")

    def world(self) -> TensorWorld:
        return WORLDS[self.id](self.max_episode_steps)
