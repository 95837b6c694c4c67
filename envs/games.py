"""Atari games of the installed ale-py, by ROM name (`pong`, `space_invaders`). This file imports neither torch nor ale-py, because every
command needs the names: they are the options of `env=atari/<game>`."""

from importlib.util import find_spec
from pathlib import Path

_TWO_PLAYERS = {"combat", "joust", "maze_craze", "warlords"}  # no single-player mode; Gymnasium registers none of them either


def _games() -> tuple[str, ...]:
    package = find_spec("ale_py")
    if package is None or package.origin is None:
        return ()
    names = {path.stem for path in (Path(package.origin).parent / "roms").glob("*.bin")}
    return tuple(sorted(names - _TWO_PLAYERS))


GAMES = _games()
