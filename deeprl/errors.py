"""Errors that cross module borders. Each ends a command with an exit code of its own, see `deeprl.cli`."""

from __future__ import annotations

import os
import sys
import traceback

FINISHED, FAILED, WRONG, STOPPED = 0, 1, 2, 75
"""Exit codes of every command: it did its work, it failed, its configuration is wrong, a signal stopped it after saving."""


class NotFinite(ValueError):
    """A loss, a gradient, a weight or an action is NaN or Inf. `objective` is the name of its objective, once it is known, `remedy` what to
    change (`Agent.remedy`)."""

    objective: str | None = None
    remedy: str = ""


class ConfigError(ValueError):
    """The configuration is wrong: exit code 2. The message names the key, the value and the remedy."""


class DataError(ValueError):
    """Stored data that are not there, or are damaged. Of a run that has read them before it is no fault of its configuration."""


class UnknownNameError(ConfigError):
    """A key that is missing or not known, or a class that is not there. In a stored configuration it may be a name of another commit."""


class MachineError(RuntimeError):
    """The machine, or a server, fails where the configuration may be right: exit code 1, so that a scheduler tries again."""


class RunFolderError(RuntimeError):
    """A run folder that is in use, is not a run, or holds a file that is refused."""


class CheckpointError(RuntimeError):
    """A checkpoint that is missing, damaged or not of this program; the message names the file and the reason."""


class UnreadableError(CheckpointError):
    """A checkpoint that the machine could not read now. It may be whole, so no other one is taken in its place."""


class RankError(RuntimeError):
    """A process of a run with several cannot go on without the others."""


class CheckpointWarning(UserWarning):
    """A damaged checkpoint was skipped."""


class ActorsFailed(RuntimeError):
    """Processes that collect data died too often, or could not be started."""


class Failed(RuntimeError):
    """A failure of a run that is told in three lines: what failed, why, and what can be done."""

    def __init__(self, what: str, why: str = "", remedy: str = ""):
        super().__init__(what + (f": {why}" if why else "") + (f"; {remedy}" if remedy else ""))
        self.what, self.why, self.remedy = what, why, remedy


class Stopped(Exception):
    """A request to stop, raised at a point where the state can be saved."""


def origin(error: BaseException) -> str:
    """Type of an exception and the line outside of torch that raised it, "RuntimeError in my_agents/parts.py:7"; of a syntax error the
    wrong line."""
    frames = [(each.filename, each.lineno) for each in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError):
        frames.append((error.filename or "", error.lineno))
    written = [f"{file}:{line}" for file, line in frames if file and not file.startswith("<frozen ")]  # the import system is not its cause
    written = [place for place in written if "/site-packages/torch/" not in place] or written  # torch was called wrongly
    return f"{type(error).__name__} in {written[-1]}" if written else type(error).__name__


def line_of_users(error: BaseException, installed: bool = True) -> str:
    """File and line of the deepest call that is neither of deeprl nor of a library below it, from where the exception was caught; ""
    without one.

    Args:
        installed: the call may be of an installed package.
    """
    frames = [(str(frame.f_globals.get("__name__")).split(".")[0], frame, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    below = {"deeprl", "torch", "numpy", *sys.stdlib_module_names}
    found = [f"{frame.f_code.co_filename}:{line}" for package, frame, line in frames if package not in below]
    return next((place for place in reversed(found) if installed or "-packages/" not in place), "")


def on_one_line(error: BaseException) -> str:
    """The text of an exception, which may be another library's."""
    return " ".join(str(error).split())


def located(error: BaseException) -> str:
    """Sentences about an exception of a part, which may be the user's."""
    text = on_one_line(error).rstrip(".")
    return f"{origin(error)}{text and f': {text}'}.{traceback_hint()}"


def traceback_hint() -> str:
    """How to see the traceback, for the end of a message; empty where it is printed anyway."""
    return "" if os.environ.get("DEEPRL_DEBUG") else " DEEPRL_DEBUG=1 before the command prints the traceback."
