"""Gymnasium's MuJoCo v5 tasks. The environment layer rescales actions from [-1, 1] and clips them, because Gymnasium does not clip and its
control costs would count the raw action. Trajectories depend on the version of the MuJoCo library. Only HalfCheetah and Swimmer are
comparable to v4."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from .gym import GymGame, Registered
from .terminations import rule_of


def redirect_warnings() -> None:
    """Send MuJoCo's warnings to Python's log instead of MUJOCO_LOG.TXT in the user's folder and stderr, and drop the one that every
    HalfCheetah causes ('settotalmass' is deprecated). The others matter, because MuJoCo resets an unstable simulation without a sign in the
    observations."""
    import mujoco

    mujoco.set_mju_user_warning(_log)


def _log(message: str) -> None:
    if "settotalmass" not in message:
        logging.getLogger(__name__).warning("MuJoCo: %s", message.strip())


@dataclass(frozen=True, kw_only=True)
class MuJoCo(Registered):
    render_remedy: ClassVar[str] = (
        "Without a display, say how to draw: MUJOCO_GL=egl (a GPU's driver, or Mesa's) or MUJOCO_GL=osmesa (the package libosmesa6) "
        "before the command. Or leave videos out"
    )

    def terminates(self) -> Callable[[Tensor], Tensor] | None:
        return rule_of(self.id, self.kwargs)

    def build(self, evaluation: bool = False) -> GymGame:
        try:
            redirect_warnings()
        except ImportError as error:
            raise ValueError(f'env.id={self.id} needs the package mujoco: pip install "gymnasium[mujoco]"') from error
        return super().build(evaluation)
