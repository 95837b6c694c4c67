"""Gymnasium's MuJoCo v5 tasks. Actions are rescaled from [-1, 1] and clipped by the layer: Gymnasium does not clip, and its control costs
would see the raw action. The MuJoCo library's version changes trajectories bit by bit; only HalfCheetah and Swimmer compare to v4."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import ClassVar

from .gym import Registered
from .vector.backend import Game


def redirect_warnings() -> None:
    """MuJoCo's warnings go to Python's log instead of MUJOCO_LOG.TXT in the user's folder and stderr, except the one that every HalfCheetah
    causes ('settotalmass' is deprecated). The log keeps the others because MuJoCo resets an unstable simulation without a trace in the
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

    def build(self, evaluation: bool = False) -> Game:
        try:
            redirect_warnings()
        except ImportError as error:
            raise ValueError(f'env.id={self.id} needs the package mujoco: pip install "gymnasium[mujoco]"') from error
        return super().build(evaluation)
