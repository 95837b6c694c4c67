"""HDF5 files that another library writes with h5py, where the disk may fill."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deeprl.system.files import opened, replace_file

PIECE = 1 << 24


@contextlib.contextmanager
def written_at_once() -> Iterator[None]:
    """In this block a file that is opened by `h5py.File` is in memory until it is closed, and then written as a whole, so that a full disk
    is an OSError. HDF5 itself goes on trying to write what a disk has refused, until the process ends in a segmentation fault."""
    import h5py

    plain: Any = h5py.File

    class InMemory(plain):
        def __init__(self, name: Any, mode: str = "r", **given: Any):
            self._memory: io.BytesIO | None = None
            if mode == "r":
                super().__init__(name, mode, **given)
                return
            self._path = Path(name)
            before = b""
            if self._path.exists() and not mode.startswith("w"):
                with opened(self._path) as file:
                    before = file.read()
            self._memory = io.BytesIO(before)
            super().__init__(self._memory, "r+" if before else "w", **given)

        def __exit__(self, *error: Any) -> None:
            if error[0] is not None:
                self._memory = None
            super().__exit__(*error)

        def close(self) -> None:
            memory, self._memory = self._memory, None
            super().close()
            if memory is not None:
                whole = memory.getbuffer()
                replace_file(self._path, (bytes(whole[at : at + PIECE]) for at in range(0, len(whole), PIECE)))

    h5py.File = InMemory
    try:
        yield
    finally:
        h5py.File = plain
