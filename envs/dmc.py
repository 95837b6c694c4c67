"""Tasks of dm_control's suite, from numbers or from pictures: `env=dmc/cheetah_run env.pixels=84`. Rewards are between 0 and 1, and each
episode has 1,000 steps of its control, which a time limit cuts (Tassa and others, 2018)."""

from __future__ import annotations

import logging
import os
import warnings
from dataclasses import dataclass, replace
from typing import Any

import gymnasium

from deeprl.choice import counts, in_range
from deeprl.system.machine import extra

from .gym import GymGame, limited
from .pictures import Pictures
from .vector.choice import EnvChoice
from .vector.parts import Form


class ActionRepeat(gymnasium.Wrapper):
    """Every action is taken `count` times, or until the episode ends. The reward is the sum."""

    def __init__(self, env: gymnasium.Env, count: int):
        super().__init__(env)
        self.count = count

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        total = 0.0
        for _ in range(self.count):
            obs, reward, terminated, truncated, info = self.env.step(action)
            total += float(reward)
            if terminated or truncated:
                break
        return obs, total, terminated, truncated, info


def is_news(record: logging.LogRecord) -> bool:
    """False of what MuJoCo says at each start of the cheetah."""
    return "settotalmass" not in record.getMessage()


@dataclass(frozen=True, kw_only=True)
class DMControl(EnvChoice):
    """A task of the suite.

    Args:
        domain, task: as in `dm_control.suite.load`.
        repeat: steps of control for each action. 2 is usual where steps are counted in millions (MR.Q, TD-MPC2, SimbaV2); a step of ours is
            then two of theirs.
        max_episode_steps: in steps of ours; None: the suite's limit, 1,000 steps of control.
        pixels: side of the square pictures that are seen in place of the numbers; None: numbers.
        stack, camera: of them, the newest that an observation has, and the number of the task's camera.
    """

    pictures = True
    render_remedy = "Without a display, MUJOCO_GL=egl or MUJOCO_GL=osmesa before the command draws. Or leave videos out"

    domain: str
    task: str
    repeat: int = 1
    max_episode_steps: int | None = None
    pixels: int | None = None
    stack: int = 3
    camera: int = 0
    render_mode: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        counts(self, repeat=1, stack=1)
        in_range(self, camera=(0, None))
        for name, least in (("max_episode_steps", 1), ("pixels", 8)):
            if getattr(self, name) is not None:
                counts(self, **{name: least})

    def build(self, evaluation: bool = False) -> GymGame:
        """
        Raises:
            ValueError: dm_control is not installed, or does not go with the MuJoCo that is; or it has no such task.
        """
        logging.getLogger("absl").addFilter(is_news)
        try:
            with warnings.catch_warnings():  # their import shows each DeprecationWarning of any library from then on
                from dm_control import suite
                from shimmy import DmControlCompatibilityV0
        except ImportError as error:
            raise ValueError(f"domain={self.domain} needs dm_control ({error}): {extra('dmc')}") from error
        except Exception as error:  # of a graphics library, which raises what it likes
            what, how = f"{type(error).__name__}: {error}", os.environ.get("MUJOCO_GL", "")
            remedy = f"MUJOCO_GL={how} names what draws: leave it out, or name another, such as egl"
            raise ValueError(f"domain={self.domain}: dm_control cannot be imported ({what}). {remedy}") from error
        try:
            task = suite.load(self.domain, self.task)
        except AttributeError as error:
            raise ValueError(f"domain={self.domain}: dm_control does not go with this MuJoCo ({error}): {extra('dmc')}") from error
        limit = -(-int(task._step_limit) // self.repeat)
        if self.pixels is None:
            env = ActionRepeat(DmControlCompatibilityV0(task, self.render_mode), self.repeat)
            return limited(gymnasium.wrappers.FlattenObservation(env), limit, self.max_episode_steps)
        size = {"height": self.pixels, "width": self.pixels, "camera_id": self.camera}
        env = ActionRepeat(DmControlCompatibilityV0(task, "rgb_array", size), self.repeat)
        try:
            seen = Pictures(env, self.stack)
        except Exception as error:  # of graphics libraries, which raise what they like
            raise ValueError(
                f"pixels={self.pixels}: {self.domain} cannot be drawn ({error}). Without a display, set MUJOCO_GL=egl or osmesa"
            ) from error
        game = limited(seen, limit, self.max_episode_steps, Form(channels="first"))
        game.spec = game.spec._replace(frame_stack=self.stack)
        return game

    def rendering(self) -> EnvChoice:
        return replace(self, render_mode="rgb_array")
