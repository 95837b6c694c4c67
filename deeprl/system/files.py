"""Files that stay whole after a crash or on a full disk, and files that may come from a stranger."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import secrets
import stat
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO, TypeGuard

from deeprl.errors import RunFolderError
from deeprl.system.portable import FOLDERS_OPEN, open_plain

LACKING = (errno.EINVAL, errno.EBADF, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
"""Errors of a file system that lacks a call, as some network and FUSE mounts do"""
NAMING = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG)
"""Errors that tell something about a name. All others tell something about the machine, or about who may do what there."""


def sync_folder(folder: Path) -> None:
    """Flush a folder to disk, because without it a rename in the folder may be lost in a crash. Some file systems cannot flush a folder,
    which is ignored, as databases do."""
    if not FOLDERS_OPEN:
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in LACKING:
            raise
    finally:
        os.close(handle)


def machine_fault(error: BaseException) -> str | None:
    """What kept the machine from reading a file that may be whole, such as a disk or a server that does not answer, or missing memory.
    None if the error is one of the content or of the name."""
    if isinstance(error, MemoryError):
        return "there is too little memory"
    if isinstance(error, OSError) and error.errno is not None and error.errno not in NAMING:
        return os.strerror(error.errno)
    return None


PASSING = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOMEM, errno.EMFILE, errno.ENFILE)
"""Errors of a disk, a server or a system that may be another one at the next try. Permissions and read-only places are none of them."""


def passing(error: BaseException) -> bool:
    """Whether an exception, or the cause of it, is one of `PASSING`, so that the command may be right."""
    return any(isinstance(each, OSError) and each.errno in PASSING for each in (error, error.__cause__))


def said(error: BaseException) -> str:
    """Its words, for a message that names the file: without Python's number and that name. Its type where it has no words."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def remove(path: Path) -> None:
    """Remove a file or a link, if it is there.

    Raises:
        RunFolderError: it is a folder, or nobody may remove files there.
    """
    try:
        path.unlink(missing_ok=True)
    except IsADirectoryError:
        raise RunFolderError(f"{path} is a folder, where a file belongs; move it away to go on") from None
    except PermissionError as error:
        raise RunFolderError(f"{path} cannot be removed ({error.strerror}): put runs where files can be removed") from error


def sync_file(path: Path) -> None:
    """Flush to disk a file that another library wrote."""
    handle = open_plain(path, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def create(path: Path, data: bytes | Iterable[bytes] = b"") -> int:
    """Write a new file, flush it to disk and return the number of bytes. No link is followed, and the umask decides who may read it.

    Args:
        data: the content, or its pieces, of which only one is in memory at a time.

    Raises:
        FileExistsError: the name exists, even if only as a dangling link.
    """
    handle = open_plain(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    with open(handle, "wb") as file:
        written = sum(file.write(piece) for piece in ((data,) if isinstance(data, bytes) else data))
        file.flush()
        os.fsync(handle)
    return written


def appending(path: Path) -> TextIO:
    """Open a file to append text. What is no plain file, such as a link or a pipe in a stranger's folder, is replaced, and so is a file
    with a second name, because that may be any file of the user."""
    if os.path.lexists(path) and not sole(path.lstat()):
        remove(path)
    handle = open_plain(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    return open(handle, "a", encoding="utf-8", errors="backslashreplace")


def sole(info: os.stat_result) -> bool:
    """Whether a plain file has no second name (a hard link), so that writing into it changes nothing elsewhere."""
    return stat.S_ISREG(info.st_mode) and info.st_nlink <= 1


def own_folder(path: Path) -> Path:
    """A name for a folder inside of one that may be a stranger's. What a link names may be any folder of the user.

    Raises:
        OSError: it is a link, or a file.
    """
    if path.is_symlink():
        raise OSError(errno.ELOOP, "it is a link, which is refused", str(path))
    if path.exists() and not path.is_dir():
        raise OSError(errno.ENOTDIR, "it is no folder", str(path))
    return path


def make_folder(path: Path) -> Path:
    """Make a folder inside of one that may be a stranger's, unless it is there.

    Raises:
        OSError: as in `own_folder`, or it cannot be made.
    """
    own_folder(path).mkdir(exist_ok=True)
    return own_folder(path)


@contextlib.contextmanager
def partial(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` for new content. At the end of the block it is renamed to `path`, so that a reader finds either the
    old or the new content, even after a crash.

    The name is random, because a stranger's folder could hold a link of a known name, and the content would replace the file behind it.
    """
    name = path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")
    try:
        yield name
        os.replace(name, path)
    except BaseException as error:
        if full(error) and not error.filename:  # a write does not know its file
            error.filename = str(path)
        with contextlib.suppress(OSError):  # what happened first is told
            name.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def replace_file(path: Path, content: str | bytes | Iterable[bytes]) -> None:
    with partial(path) as name:
        create(name, content.encode() if isinstance(content, str) else content)


def remove_partials(folder: Path) -> None:
    """Remove temporary files that killed processes left, and links with such names."""
    for left in folder.glob(".*.partial"):
        if left.is_symlink() or left.is_file():
            remove(left)


def utf8(path: Path) -> bool:
    """Whether the bytes of a path are UTF-8, as safetensors wants them."""
    return os.fsencode(path) == str(path).encode(errors="replace")


def full(error: BaseException) -> TypeGuard[OSError]:
    """Whether an exception means that the disk, or the user's quota, is full, or that a file has the size that `ulimit -f` allows."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Appender:
    """A file that grows. Bytes that a full disk refuses stay in memory for a later flush, and no byte is written twice.

    Each flush opens the file again, so that a file removed meanwhile is created anew. Links are not followed.

    Args:
        start: first bytes of every new file.
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
            OSError: bytes could not be written and stay in memory.
        """
        handle = open_plain(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            new = not os.fstat(handle).st_size
            if new and self._began:
                warnings.warn(f"{self.path} was removed during the run: its content is lost, and a new file is started", stacklevel=2)
            first = self.start if new else b""
            while rest := bytearray(first) + self._waiting:
                self._waiting = rest[os.write(handle, rest) :]
                self._began, first = True, b""
            if durable:
                os.fsync(handle)
        finally:
            os.close(handle)

    def close(self) -> None:
        """Flush once more. If that fails, the bytes in memory are lost, with a warning."""
        try:
            self.flush()
        except OSError as error:
            if self._waiting:
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


def opened(path: Path, limit: int | None = None) -> io.BufferedReader:
    """Open a plain file to read it. Every file that may be a stranger's is opened here.

    Args:
        limit: largest size in bytes.

    Raises:
        OSError: as in `regular_size`.
        ValueError: the file is larger.
    """
    size = regular_size(path)
    if limit is not None and size > limit:
        raise ValueError(f"it has more than {limit} bytes")
    file = open(open_plain(path, os.O_RDONLY), "rb")  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):  # exchanged since
        file.close()
        raise OSError("it is not a plain file")
    return file


def read_regular(path: Path, limit: int) -> bytes:
    """Content of a plain file of at most `limit` bytes.

    Raises:
        OSError, ValueError: as in `opened`.
    """
    with opened(path, limit) as file:
        return file.read(limit)


def tail(path: Path, most: int) -> bytes:
    """The last `most` bytes of a plain file.

    Raises:
        OSError: as in `regular_size`.
    """
    with opened(path) as file:
        file.seek(max(file.seek(0, os.SEEK_END) - most, 0))
        return file.read(most)


def ends_line(path: Path, size: int) -> bool:
    """Whether a plain file has `size` bytes or more, and a line ends there.

    Raises:
        OSError: as in `regular_size`.
    """
    with opened(path) as file:
        if not 0 < size <= file.seek(0, os.SEEK_END):
            return size == 0
        file.seek(size - 1)
        return file.read(1) == b"\n"


def truncate_file(path: Path, size: int) -> None:
    """Keep the first `size` bytes of a plain file, in constant memory. A file with a second name is copied, so that what is appended later
    changes nothing elsewhere.

    Raises:
        OSError: as in `regular_size`.
    """

    def kept() -> Iterator[bytes]:
        left = size
        with opened(path) as file:
            while left and (piece := file.read(min(left, 1 << 20))):
                left -= len(piece)
                yield piece

    if regular_size(path) != size or not sole(path.lstat()):
        replace_file(path, kept())


def sha256(path: Path) -> str:
    """
    Raises:
        OSError: as in `regular_size`.
    """
    with opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
