"""Tasks of Meta-World, version 3, a robot arm alone with one of them: `env=metaworld/reach`. An episode has 500 steps, which a time limit
cuts, rewards are between 0 and 10, and an episode is a success if some step of it is (Yu and others, 2020; McLean and others, 2025)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import gymnasium

from deeprl.choice import counts, one_of
from deeprl.system.machine import extra

from .dmc import ActionRepeat
from .gym import GymGame, limited
from .vector.choice import EnvChoice


class Seeded(gymnasium.Wrapper):
    """`reset(seed)` decides where objects and the goal are, which Meta-World's own ignores; `is_success` tells whether some step of the
    episode was a success.

    Args:
        env: a task, whose positions are drawn anew in every episode.
    """

    def __init__(self, env: gymnasium.Env):
        super().__init__(env)
        self.solved = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        if seed is not None:
            self.env.seed(seed)  # type: ignore[attr-defined]  # a method of the task
        self.solved = False
        return self.env.reset()

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        obs, reward, terminated, truncated, info = self.env.step(action)
        self.solved |= bool(info["success"])
        return obs, reward, terminated, truncated, {**info, "is_success": self.solved}


@dataclass(frozen=True, kw_only=True)
class MetaWorld(EnvChoice):
    """One task. Objects and goal have other places in every episode, by its seed; the benchmark MT1 draws 50 places once.

    Args:
        task: as in `metaworld.ALL_V3_ENVIRONMENTS`, such as "reach-v3".
        goal: "visible", in the last 3 numbers of an observation, as in MT1; or "hidden", zeros there, as in ML1.
        reward: "v2", or "v1", the rewards of the first version.
        repeat: control steps for each action; 2 in TD-MPC2.
        max_episode_steps: in steps of ours; None: Meta-World's limit, 500 control steps.
        camera: what videos look through, a camera of the model, of which corner, corner2 and corner3 stand on their heads; None: MuJoCo's
            free one.
    """

    pictures = True
    render_remedy = "Without a display, MUJOCO_GL=egl or MUJOCO_GL=osmesa before the command draws. Or leave videos out"

    task: str
    goal: str = "visible"
    reward: str = "v2"
    repeat: int = 1
    max_episode_steps: int | None = None
    camera: str | None = None
    render_mode: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        counts(self, repeat=1)
        one_of(self, goal=("visible", "hidden"), reward=("v1", "v2"))
        if self.max_episode_steps is not None:
            counts(self, max_episode_steps=1)

    def build(self, evaluation: bool = False) -> GymGame:
        """
        Raises:
            ValueError: Meta-World is not installed, or MuJoCo 3.3.0 over a newer one; or it has no such task.
        """
        try:
            from metaworld import ALL_V3_ENVIRONMENTS
        except ImportError as error:
            raise ValueError(f"task={self.task} needs Meta-World ({error}): {extra('metaworld')}") from error
        except OSError as error:  # of a library that MuJoCo 4 has left beside the older one
            raise ValueError(f"MuJoCo does not load ({error}): in a new virtual environment, {extra('metaworld')}") from error
        if self.task not in ALL_V3_ENVIRONMENTS:
            raise ValueError(f"task={self.task!r:.100} is none of {', '.join(ALL_V3_ENVIRONMENTS)}")
        camera = self.camera if self.render_mode else None
        arm = ALL_V3_ENVIRONMENTS[self.task](render_mode=self.render_mode, reward_function_version=self.reward, camera_name=camera)
        # what Meta-World's own benchmarks set in a task, by the names that they use
        arm._partially_observable = self.goal == "hidden"
        arm.__dict__.pop("sawyer_observation_space", None)  # bounds to which observations are cut, those of a hidden goal
        arm._freeze_rand_vec, arm.seeded_rand_vec, arm._set_task_called = False, True, True
        limit = -(-int(arm.max_path_length) // self.repeat)
        return limited(ActionRepeat(Seeded(arm), self.repeat), limit, self.max_episode_steps)

    def rendering(self) -> EnvChoice:
        return replace(self, render_mode="rgb_array")
