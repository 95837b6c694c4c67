"""Output for people. Text that cannot be printed is lost without an error, because output must not end a run."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import sys
import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from deeprl.errors import MachineError

rank = 0
"""Number of this process among those of its run (`deeprl.system.ranks`). Only the first one prints what is not urgent."""

ERROR_LIMIT, LINE_LIMIT, TRACE_LIMIT = 4000, 1000, 20_000
"""Most characters of an error, of a line of a traceback and of a traceback that are printed or written"""
COLOUR = re.compile(r"\x1b\[[\d;]*m")


def printable(text: str, kept: str = "\n\t") -> str:
    """`text` with escape sequences, and bytes that are no UTF-8, made visible. Names from a stranger may hold some, which would change the
    cursor, hide text, or be refused by an encoder."""
    return "".join(c if c.isprintable() or c in kept else c.encode("unicode_escape").decode() for c in text)


def one_line(text: str) -> str:
    """`printable`, where a line break would make a row of its own."""
    return printable(text, kept="")


def brief(text: str, most: int = ERROR_LIMIT) -> str:
    """`printable`, without the middle of a text of more than `most` characters: an environment may raise with all that it holds."""
    if len(text) > most:
        text = f"{text[: most // 2]} … {len(text) - most:,} characters are left out … {text[-most // 2 :]}"
    return printable(text)


def described(error: BaseException) -> str:
    """Type and text of an exception, `brief`."""
    try:
        return brief(f"{type(error).__name__}: {error}")
    except Exception as fault:  # of the exception's own code
        return f"{type(error).__name__}, whose text cannot be made ({type(fault).__name__})"


def described_trace() -> str:
    """The traceback of the exception that is handled now, each line and the whole of it `brief`."""
    import traceback  # only for errors, because a signal in the imports before the first handler ends a process with another code

    return brief("\n".join(brief(line, LINE_LIMIT) for line in traceback.format_exc().split("\n")), TRACE_LIMIT)


def say(text: str, stream: TextIO | None = None, urgent: bool = False) -> None:
    """Print a line to stderr, or to another stream, with escape sequences made visible.

    Errors are ignored: a pipe without a reader, a terminal that is gone, a closed stream, a log file on a full disk.
    """
    stream = sys.stderr if stream is None else stream
    if stream is not None and (urgent or not rank):  # Python was started with a closed stderr
        put(text, stream)


def put(text: str, stream: TextIO) -> OSError | None:
    """Print a line. Returns the error of a stream that may have taken a part of it; None if nobody reads the stream."""
    shown, encoding = printable(text), getattr(stream, "encoding", None)
    if encoding:  # of a locale without ± or →: they are shown as their numbers
        shown = shown.encode(encoding, "backslashreplace").decode(encoding)
    try:
        print(shown, file=stream, flush=True)
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.EIO, errno.EBADF):
            return error
        mute(stream)
    except ValueError:  # closed
        pass
    return None


def print_result(text: str) -> None:
    """Print the result of a command to stdout. Every command uses this function, because text from a run folder may hold escape
    sequences.

    Raises:
        MachineError: the disk of a file that stdout is sent to is full.
    """
    if sys.stdout is not None and not rank and (error := put(text, sys.stdout)):
        mute(sys.stdout)  # Python would write the rest as it ends, fail again, and say so in its own words
        raise MachineError(f"stdout cannot be written, so that the result is not whole: {error}")


def print_end(text: str) -> None:
    """Print the last lines of what has its result in a folder: nothing is lost where stdout does not take them."""
    say(text, sys.stdout)


def clear() -> None:
    """Empty the terminal, if there is one."""
    if sys.stdout.isatty():
        sys.stdout.write("\x1b[2J\x1b[H")


def front_door() -> str:
    """The command that trains, as this process was started: an installed deeprl has no train.py."""
    return "python train.py" if os.path.basename(sys.argv[0]) == "train.py" else "deeprl train"


def from_here(path: Path) -> Path:
    """The path as a user would write it: relative if it lies below the current folder."""
    with contextlib.suppress(OSError, ValueError):  # the current folder was removed; it is no part of the path
        return path.relative_to(Path.cwd())
    return path


def amount(size: float) -> str:
    """Bytes for people: 512 B, 3.4 MB, 7.07 GB."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= unit:
            return f"{size / unit:.3g} {name}"
    return f"{size:.0f} B"


def counted(number: int, noun: str) -> str:
    """ "1 step", "2 steps"."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def some(names: Sequence[str], most: int) -> str:
    """A list for a line: its first entries, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def columns(rows: list[tuple[str, str]]) -> list[str]:
    """Two columns. The second one is wrapped to the terminal, or to 100 characters if that is less, because long lines are hard to read.
    The first one takes two fifths of a line at most: the text of a longer name begins below it."""
    width = min(shutil.get_terminal_size((100, 24)).columns, 100)
    left = min(max(len(name) for name, _ in rows) + 4, max(2 * width // 5, 8))
    lines = []
    for name, text in rows:
        wrapped = textwrap.wrap(text, max(width - left, 20), break_long_words=False, break_on_hyphens=False) or [""]
        first = wrapped.pop(0) if len(name) + 4 <= left else ""
        lines += [f"  {name:<{left - 2}}{first}".rstrip(), *(" " * left + line for line in wrapped if line)]
    return lines


def plain_warnings() -> None:
    """Print every warning of this process as an escaped sentence, those of libraries included.

    Python's own form adds a line of source code, and some libraries add colours.
    """

    def plain(message, *rest, **named) -> str:
        return f"warning: {brief(COLOUR.sub('', str(message)))}\n"

    warnings.formatwarning = plain


def is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # the stream is closed
        return False


def console(stream: TextIO) -> Any:
    """A console of rich. If its terminal is gone it raises BrokenPipeError, where rich itself would end the process."""
    from rich.console import Console  # takes 0.1 s, and only a terminal needs it

    class PlainConsole(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return PlainConsole(file=stream, force_terminal=True)


def mute(stream: TextIO) -> None:
    """Redirect a stream without a reader to the null device, because Python's last flush would otherwise fail and change the exit code."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    except (OSError, ValueError):  # the stream has no descriptor
        pass


def alert(text: str) -> None:
    """Write a line to stderr from a signal handler or a thread. It bypasses Python's buffers, because the interrupted code may hold their
    lock."""
    try:
        os.write(2, f"\n{printable(text)}\n".encode())
    except OSError:
        pass
