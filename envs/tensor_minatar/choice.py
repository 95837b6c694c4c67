"""MinAtar's five games (Young and Tian, 2019) as tensor worlds: the package's state by state from the same start, actions and draws.

The rules are those of the package, which is not needed here. Starts of episodes, what appears in them, and which actions stick, have its
distribution and not its generator.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from deeprl.choice import in_range, one_of
from deeprl.envs.vector.tensors import TensorChoice

from .asterix import Asterix
from .breakout import Breakout
from .freeway import Freeway
from .seaquest import Seaquest
from .space_invaders import SpaceInvaders
from .world import MinAtarWorld

WORLDS: dict[str, type[MinAtarWorld]] = {
    "asterix": Asterix,
    "breakout": Breakout,
    "freeway": Freeway,
    "seaquest": Seaquest,
    "space_invaders": SpaceInvaders,
}


@dataclass(frozen=True, kw_only=True)
class TensorMinAtar(TensorChoice):
    """
    Args:
        game: one of `WORLDS`.
        sticky, difficulty_ramping, minimal_action_set: as in `deeprl.envs.minatar.MinAtar`.
    """

    pictures: ClassVar[bool] = True

    game: str
    sticky: float = 0.1
    difficulty_ramping: bool = True
    minimal_action_set: bool = False
    max_episode_steps: int = 10_000

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of(self, game=tuple(WORLDS))
        in_range(self, sticky=(0, 1))

    @property
    def name(self) -> str:
        return f"minatar {self.game}"

    def world(self) -> MinAtarWorld:
        return WORLDS[self.game](self.max_episode_steps, self.sticky, self.difficulty_ramping, self.minimal_action_set)
