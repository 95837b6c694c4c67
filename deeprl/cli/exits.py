"""How a command ends: its exit code, and one sentence on what went wrong."""

from __future__ import annotations

import os
import shlex
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from deeprl.errors import CheckpointError, ConfigError, RunFolderError
from deeprl.system.files import replace_file
from deeprl.system.terminal import printable

if TYPE_CHECKING:
    from deeprl.training.trainer import Trainer

FINISHED, FAILED, WRONG, STOPPED = 0, 1, 2, 75


def guarded(command: Callable[[], int], run: Path | None = None) -> int:
    """The exit code of a command.

    Args:
        run: the folder where the command trains. Any exception is then a failure of that run, and can be resumed.
    """
    warnings.formatwarning = as_line
    try:
        return command()
    except ConfigError as error:
        return complain(WRONG, str(error))
    except (RunFolderError, CheckpointError) as error:
        return complain(FAILED, str(error))
    except (Exception, KeyboardInterrupt) as error:
        if run is not None:
            return complain(FAILED, failure(error, run))
        if isinstance(error, BrokenPipeError):  # `deeprl list envs | head` has read enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return FINISHED
        if isinstance(error, (ValueError, FileNotFoundError)):
            return complain(WRONG if isinstance(error, ValueError) else FAILED, str(error))
        raise


def as_line(message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None) -> str:
    """A warning as a sentence; Python's own form adds a line of source code."""
    return f"warning: {message}\n"


def complain(code: int, text: str) -> int:
    print(printable(f"deeprl: {text}"), file=sys.stderr, flush=True)
    return code


def failure(error: BaseException, path: Path) -> str:
    """One paragraph; the traceback goes to the run folder, and to the screen if DEEPRL_DEBUG is set."""
    saved = any((path / "checkpoints").glob("step_*"))
    resumable = f"What was saved before can be resumed: deeprl resume {shlex.quote(str(path))}" if saved else "Nothing was saved before."
    if isinstance(error, KeyboardInterrupt):
        return f"interrupted. {resumable}"
    text = traceback.format_exc()
    try:
        replace_file(path / "traceback.txt", text)
        where = f" The traceback is in {path / 'traceback.txt'}."
    except OSError:
        where = ""
    if os.environ.get("DEEPRL_DEBUG"):
        print(text, file=sys.stderr)
    return f"the run failed: {type(error).__name__}: {error}.{where} {resumable}"


def ended(outcome: str, trainer: Trainer, path: Path) -> int:
    """The last lines of a run that trained, and its exit code."""
    from deeprl.session.session import farewell

    print(farewell(outcome, trainer, path))
    return FINISHED if outcome == "finished" else STOPPED
