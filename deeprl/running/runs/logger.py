"""A logger: where the lines of a run go, beside its own folder. A package of one's own adds one with a class and a file of
`configs/logger/also`."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from deeprl.choice import Choice
from deeprl.errors import RunFolderError
from deeprl.running.runs.config_file import Config
from deeprl.system.files import read_regular, replace_file


class Logger(Protocol):
    """A destination of log lines. A subclass inherits the empty methods that it does not need."""

    def scalars(self, step: int, values: dict[str, float], elapsed: float) -> None:
        """All metrics of a step, by name, after `elapsed` seconds of training."""

    def text(self, step: int, name: str, text: str) -> None:
        return

    def animation(self, step: int, name: str, gif: bytes) -> None:
        return

    def hparams(self, config: Config, final: dict[str, float] | None) -> None:
        """Keys of the configuration, joined by dots: whenever the run starts or goes on; and at its end, with the final metrics."""
        return

    def flush(self, durable: bool) -> None:
        return

    def ended(self, state: str) -> None:
        """How the run has ended, before `close`: "finished"; "stopped" by a signal, so that it may go on; or "failed"."""
        return

    def close(self) -> None: ...


@dataclass(frozen=True)
class LoggerChoice(Choice):
    """An option of `logger/also`. The logger works in a thread of its own: an error, a server that does not answer, or a full disk, cost
    its lines, and not the run.

    Args:
        enabled: `deeprl resume` wants it again, because a stored configuration may be a stranger's.
    """

    package: ClassVar[str | None] = None
    """In Python; a run asks at its start whether it is installed. The extra of the same name installs it."""

    enabled: bool = True

    def open(self, folder: Path, resumed: bool) -> Logger:
        """
        Args:
            folder: of the run.
            resumed: the run goes on, and may have had this logger before. It goes on from its last checkpoint: steps that came after it are
                made, and told, again.
        """
        raise NotImplementedError


def own_id(folder: Path, file_name: str, resumed: bool) -> str | None:
    """The id under which a run is known elsewhere, which it keeps in a file of its folder; None if it has none to go on with.

    Raises:
        RunFolderError: the file holds no id. It may be a stranger's.
    """
    file = folder / file_name
    if not resumed or not file.exists():
        return None
    found = read_regular(file, 200).decode(errors="replace").strip()
    if not found or "/" in found or not found.isprintable():
        raise RunFolderError(f"{file} holds {found!r:.100}, which is no id of a run; remove it to go on")
    return found


def keep_id(folder: Path, file_name: str, own: str) -> None:
    """Write it for `own_id`."""
    replace_file(folder / file_name, f"{own}\n")


def new_id(folder: Path) -> str:
    """An id by the folder's name, with letters that servers take, and a random end, because folders of different runs may have one name."""
    return f"{re.sub(r'[^A-Za-z0-9_.=,-]', '_', folder.resolve().name)[-80:]}-{secrets.token_hex(4)}"
