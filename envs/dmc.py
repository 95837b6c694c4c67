"""Tasks of dm_control's suite, from numbers: `env=dmc/cheetah_run`. Rewards are between 0 and 1, and every episode has 1,000 steps of its
control, which a time limit cuts (Tassa and others, 2018)."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass, replace
from typing import Any

import gymnasium

from deeprl.choice import counts
from deeprl.system.machine import extra

from .gym import GymGame, limited
from .vector.choice import EnvChoice


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
    """

    pictures = True
    render_remedy = "Without a display, MUJOCO_GL=egl or MUJOCO_GL=osmesa before the command draws. Or leave videos out"

    domain: str
    task: str
    repeat: int = 1
    max_episode_steps: int | None = None
    render_mode: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        counts(self, repeat=1)
        if self.max_episode_steps is not None:
            counts(self, max_episode_steps=1)

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
        try:
            task = suite.load(self.domain, self.task)
        except AttributeError as error:
            raise ValueError(f"domain={self.domain}: dm_control does not go with this MuJoCo ({error}): {extra('dmc')}") from error
        limit = -(-int(task._step_limit) // self.repeat)
        env = ActionRepeat(DmControlCompatibilityV0(task, render_mode=self.render_mode), self.repeat)
        return limited(gymnasium.wrappers.FlattenObservation(env), limit, self.max_episode_steps)

    def rendering(self) -> EnvChoice:
        return replace(self, render_mode="rgb_array")
