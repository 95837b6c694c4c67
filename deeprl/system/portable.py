"""What POSIX has and Windows lacks, or names otherwise. No other file asks which system this is.

Nobody has run deeprl on Windows: `tests/system/test_portable.py` takes these calls away, and trains without them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

try:
    import fcntl
    import resource
except ImportError:  # Windows
    POSIX = False
else:
    POSIX = True
NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
PLAIN = NO_FOLLOW | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
"""Flags to open a plain file: no link is followed, no pipe is waited for, no line end is translated"""
FOLDERS_OPEN = hasattr(os, "O_DIRECTORY")
"""Whether a folder can be opened, and flushed to disk"""
LOCKED_BYTE = 1 << 30
"""Position of the byte that a lock of Windows covers, which nobody else may read: behind all content"""


def open_plain(path: str | os.PathLike[str], flags: int, mode: int = 0o666) -> int:
    """`os.open` without following a link.

    Raises:
        OSError: the name is a link.
    """
    if not NO_FOLLOW and Path(path).is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), os.fspath(path))
    return os.open(path, flags | PLAIN, mode)


def try_lock(handle: int, shared: bool = False) -> bool:
    """Lock an open file until it is closed, or until this process ends; false if another process holds the lock. Windows knows no shared
    lock, and takes one that excludes others.

    Raises:
        OSError: the file system has no locks.
    """
    if POSIX:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            return True
        return False
    import msvcrt  # of Windows alone

    os.lseek(handle, LOCKED_BYTE, os.SEEK_SET)
    with contextlib.suppress(PermissionError):
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        return True
    return False


def read_start(handle: int, size: int) -> bytes:
    """The first bytes of an open file."""
    os.lseek(handle, 0, os.SEEK_SET)
    return os.read(handle, size)


def write_anew(handle: int, data: bytes) -> None:
    """Replace the content of an open file."""
    os.ftruncate(handle, 0)
    os.lseek(handle, 0, os.SEEK_SET)
    os.write(handle, data)


def after_fork(function: Callable[[], None]) -> None:
    """Call a function in each forked child. Windows forks none."""
    register = getattr(os, "register_at_fork", None)
    if register is not None:
        register(after_in_child=function)


def end_group(process: subprocess.Popen) -> None:
    """End a process that leads a session of its own, and what it has started."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL) if POSIX else process.kill()
        process.wait()


def signals(*names: str) -> tuple[signal.Signals, ...]:
    """Those signals that this system has."""
    return tuple(getattr(signal, name) for name in names if hasattr(signal, name))


def peak_memory() -> int:
    """Largest resident size of this process so far in bytes; 0 where the system does not tell."""
    if not POSIX:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
