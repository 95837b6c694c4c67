"""Files that a crash or a full disk cannot tear, files that may come from a stranger, and JSON with one meaning."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import secrets
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def sync_folder(folder: Path) -> None:
    """Flush a folder to disk, because a rename is on disk only once its folder is."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def create(path: Path, data: bytes = b"") -> int:
    """Write a new file, flush it to disk and return the number of bytes. No link is followed, and the umask decides who may read it.

    Raises:
        FileExistsError: there is something of this name, be it a dangling link.
    """
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
    with open(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(handle)
    return len(data)


@contextlib.contextmanager
def partial(path: Path) -> Iterator[Path]:
    """A name beside `path` for content that is being written. At the end it is renamed to `path`, so that a reader finds either the old or
    the new content, also after a crash at any instant.

    The name is random, because in a stranger's folder a link of a known name would lead the content to any file of the user.
    """
    name = path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")
    try:
        yield name
        os.replace(name, path)
    finally:
        name.unlink(missing_ok=True)
    sync_folder(path.parent)


def replace_file(path: Path, content: str | bytes) -> None:
    with partial(path) as name:
        create(name, content.encode() if isinstance(content, str) else content)


def remove_partials(folder: Path) -> None:
    """Remove what killed processes left, links too."""
    for left in folder.glob(".*.partial"):
        if left.is_symlink() or left.is_file():
            left.unlink()


def full(error: BaseException) -> bool:
    """Whether an exception means that the disk, or the user's share of it, is full."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


class Appender:
    """A file that grows. Bytes that a full disk refuses stay in memory for a later flush, and no byte is written twice.

    Each flush opens the file again, so that a file removed meanwhile is created anew. Links are not followed.

    Args:
        start: bytes that every such file begins with.
    """

    def __init__(self, path: Path, start: bytes = b""):
        self.path, self.start = path, start
        self._waiting, self._began = bytearray(), False

    def write(self, data: bytes) -> None:
        self._waiting += data

    def flush(self, durable: bool = False) -> None:
        """
        Args:
            durable: wait until the bytes are on disk.

        Raises:
            OSError: the bytes not written stay in memory.
        """
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)  # a pipe would wait
        try:
            if not os.fstat(handle).st_size:
                if self._began:
                    warnings.warn(
                        f"{self.path} was removed while the run writes it: what was in it is lost, a new one begins", stacklevel=2
                    )
                self._waiting[:0] = self.start
            while self._waiting:
                del self._waiting[: os.write(handle, self._waiting)]
                self._began = True
            if durable:
                os.fsync(handle)
        finally:
            os.close(handle)

    def close(self) -> None:
        """The last flush. Where it fails, only the bytes still in memory are lost."""
        try:
            self.flush()
        except OSError as error:
            warnings.warn(f"the last {len(self._waiting):,} bytes of {self.path} are lost: {error.strerror}", stacklevel=2)
            self._waiting.clear()


def regular_size(path: Path) -> int:
    """Size of a plain file. In a stranger's folder a link may name any file of the user, and reading a pipe may never end.

    Raises:
        OSError: the file is missing, or is a link, a pipe or a device.
    """
    info = path.lstat()
    if not stat.S_ISREG(info.st_mode):
        raise OSError("it is not a plain file")
    return info.st_size


def read_regular(path: Path, limit: int) -> bytes:
    """Content of a plain file of at most `limit` bytes.

    Raises:
        OSError: as `regular_size`.
        ValueError: the file is larger.
    """
    if regular_size(path) > limit:
        raise ValueError(f"it has more than {limit} bytes")
    return path.read_bytes()


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def strict_json(text: str | bytes) -> Any:
    """Parse JSON, and refuse what parsers disagree about: a key given twice, NaN, Infinity and 1e999.

    Raises:
        ValueError: with the reason.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            seen: set[str] = set()
            raise ValueError(f"the key {next(name for name, _ in pairs if name in seen or seen.add(name))!r} is given twice")  # type: ignore[func-returns-value]
        return found

    def never(name: str) -> None:
        raise ValueError(f"{name} is no JSON")

    def finite(text: str) -> float:
        if math.isinf(value := float(text)):
            raise ValueError(f"{text:.20} is no number that a computer holds")
        return value

    try:
        return json.loads(text, object_pairs_hook=once, parse_constant=never, parse_float=finite)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def plain(value: Any) -> Any:
    """`value` as JSON for people and other tools: numbers out of tensors and arrays, null for NaN and Inf, text for the rest."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):  # tensors, arrays and their scalars; np.float64 is a float too
        return plain(value.tolist())
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return str(value)
