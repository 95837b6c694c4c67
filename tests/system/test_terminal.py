"""Words to people: shown without escape sequences, and never the end of a run."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import subprocess
import sys

import pytest

from deeprl.errors import MachineError
from deeprl.system import terminal
from deeprl.system.progress import Progress


class Broken(io.StringIO):
    """A stream whose every write fails."""

    def __init__(self, error: BaseException):
        super().__init__()
        self.error = error

    def write(self, text):
        raise self.error

    def isatty(self):
        return False


ERRORS = [OSError(number, os.strerror(number)) for number in (errno.EPIPE, errno.EIO, errno.ENOSPC)] + [ValueError("closed file")]


@pytest.mark.parametrize("error", ERRORS, ids=str)
def test_what_cannot_be_printed_is_lost(error):
    terminal.say("a line", Broken(error))
    progress = Progress(100, stream=Broken(error), live=False)
    progress.say("a line")
    progress.update(100)
    progress.close()


@pytest.mark.parametrize("error", ERRORS, ids=str)
def test_a_bar_whose_terminal_has_gone_is_given_up(error):
    stream = io.StringIO()
    progress = Progress(100, stream=stream, live=True)
    stream.write = Broken(error).write  # type: ignore[method-assign]
    for step in range(1, 4):
        progress.say("a line")
        progress.update(step)
    progress.close()


@pytest.mark.parametrize("error", ERRORS, ids=str)
def test_a_result_that_is_not_whole_is_an_error_and_the_last_lines_of_a_run_are_none(error, monkeypatch):
    """`deeprl eval RUN --json` to a file on a full disk once ended with 0 and half a number."""
    monkeypatch.setattr(sys, "stdout", Broken(error))
    terminal.print_end("a line")
    whole = contextlib.nullcontext() if getattr(error, "errno", None) != errno.ENOSPC else pytest.raises(MachineError, match="not whole")
    with whole:
        terminal.print_result("a line")


def test_a_process_without_stderr_has_progress(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    terminal.say("a line")
    Progress(100).close()


def test_escape_sequences_are_shown(capsys):
    terminal.say("\x1b[2Jname\u202e")
    assert capsys.readouterr().err == "\\x1b[2Jname\\u202e\n"


def test_a_pipe_whose_reader_left_does_not_change_the_exit_code():
    """Python's own last flush of stdout would fail and leave with 120."""
    code = "import sys, time; from deeprl.system.terminal import say; sys.stdin.read(); say('a', sys.stdout); say('b', sys.stdout)"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    process.stdin.close()
    assert process.wait(60) == 0
    assert process.stderr.read() == b""


def test_what_an_encoding_lacks_is_shown_by_its_number():
    """A locale of ASCII lost the whole result of a command, with exit code 0."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    assert terminal.put("1 ± 2", stream) is None
    assert stream.buffer.getvalue() == b"1 \\xb1 2\n"
