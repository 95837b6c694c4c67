"""An audit hook: what the commands of a trial start, connect to, import or write."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STARTS = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen", "pty.spawn", "os.kill", "webbrowser.open")
CONNECTS = ("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto")
CHANGES = {"os.remove": 1, "os.rename": 2, "os.rmdir": 1, "os.mkdir": 1, "os.truncate": 1, "os.chmod": 1, "os.link": 2, "os.symlink": 2}
"""Events whose first so many arguments are paths that they change"""
CODE = ("canary", "this", "antigravity")
OWN = (
    "/dev/null", "/proc/self", *map(os.path.expanduser, ("~/.cache/", "~/.config/matplotlib")),
    os.path.join(tempfile.gettempdir(), "torchinductor_"),
)  # fmt: skip
"""Where a process writes that leaves no trace, and caches that libraries make when they are imported"""
OUR_PROGRAMS = ("git", "ffmpeg")
"""git in deeprl's own folder, for the commit in system.json; ffmpeg for the videos of `deeprl record`"""

_seen: list[str] | None = None
_home = ""
_hooked = False


def _hook(event: str, args: tuple) -> None:
    if _seen is None:
        return
    if event in STARTS or event in CONNECTS:
        if event == "subprocess.Popen" and Path(str(args[0])).name.startswith(OUR_PROGRAMS):
            return
        _seen.append(f"{event} {args!r:.200}")
    elif event == "import" and args[0] in CODE:
        _seen.append(f"import {args[0]}")
    elif event == "open" and isinstance(args[0], str | bytes) and (args[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):
        _note(event, args[0])
    elif event in CHANGES:
        for path in args[: CHANGES[event]]:
            if isinstance(path, str | bytes):
                _note(event, path)


def _note(event: str, path: str | bytes) -> None:
    full = os.path.abspath(os.fsdecode(path))
    temporary = full == tempfile.gettempdir()  # a file without a name in it
    if not full.startswith((_home, *OWN)) and not temporary and "__pycache__" not in full and _seen is not None:
        _seen.append(f"{event} {full}")


@contextmanager
def watched(home: Path) -> Iterator[list[str]]:
    """What happens in the block beyond reading, and writing below `home`."""
    global _seen, _home, _hooked
    if not _hooked:
        sys.addaudithook(_hook)  # for good: none can be removed
        _hooked = True
    _seen, _home = [], str(home)
    try:
        yield _seen
    finally:
        _seen = None
