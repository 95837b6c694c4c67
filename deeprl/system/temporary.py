"""Folders for files that are not finished, which no end of a command leaves behind but one that nothing can handle (SIGKILL)."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from deeprl.system.signals import interrupting
from deeprl.system.terminal import say, some

UNFINISHED = ".deeprl-unfinished-"
"""How the names of folders begin that lie beside what they become"""


@contextlib.contextmanager
def temporary(beside: Path | None = None) -> Iterator[Path]:
    """A new folder, which is removed with all that is in it when the block ends, at an error, SIGTERM and SIGHUP too.

    Args:
        beside: the folder where it lies, so that what is made can be renamed; those of processes that were killed are named. None: where
            this machine has its temporary files.

    Raises:
        OSError: it cannot be made.
    """
    if beside is not None and (left := sorted(str(path) for path in beside.glob(f"{UNFINISHED}*"))):
        say(f"left by a command that was killed; remove it if no command writes there: {some(left, 3)}")
    prefix = "deeprl-" if beside is None else UNFINISHED
    with interrupting(), tempfile.TemporaryDirectory(dir=beside, prefix=prefix, ignore_cleanup_errors=True) as made:
        yield Path(made)
