"""Words to people. No word is worth a run: what cannot be printed is lost, and training goes on."""

from __future__ import annotations

import errno
import os
import re
import sys
import warnings
from typing import TextIO

COLOUR = re.compile(r"\x1b\[[\d;]*m")


def printable(text: str) -> str:
    """`text` for a terminal, without the escape sequences that a stranger's names may hold: they move the cursor and hide text."""
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def say(text: str, stream: TextIO | None = None) -> None:
    """Print a line to stderr, or to another stream, with escape sequences shown instead of obeyed.

    The reader of a pipe may have left, the terminal may be gone, the stream may be closed, and the disk of a log file may be full.
    """
    stream = sys.stderr if stream is None else stream
    if stream is None:  # Python was started with a closed stderr
        return
    try:
        print(printable(text), file=stream, flush=True)
    except OSError as error:
        if error.errno in (errno.EPIPE, errno.EIO, errno.EBADF):
            mute(stream)
    except ValueError:  # closed
        pass


def answer(text: str) -> None:
    """Print what a command was asked for, to stdout. Every command prints through here, because names and numbers out of a run folder may
    hold escape sequences."""
    say(text, sys.stdout)


def plain_warnings() -> None:
    """Print every warning of this process as an escaped sentence, those of libraries included.

    Python's own form adds a line of source code, and some libraries add colours.
    """

    def plain(message, *rest, **named) -> str:
        return printable(COLOUR.sub("", f"warning: {message}\n"))

    warnings.formatwarning = plain


def mute(stream: TextIO) -> None:
    """Lead a stream without a reader to nowhere, because Python's last flush would otherwise fail and change the exit code."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    except (OSError, ValueError):  # it has no descriptor
        pass


def alert(text: str) -> None:
    """Write a line to stderr from a signal handler or a thread, past Python's buffers, whose lock the interrupted code may hold."""
    try:
        os.write(2, f"\n{text}\n".encode())
    except OSError:
        pass
