"""The end of a command: its exit code, and one sentence about an error."""

from __future__ import annotations

import errno
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from deeprl.errors import (
    FAILED,
    FINISHED,
    STOPPED,
    WRONG,
    CheckpointError,
    ConfigError,
    Failed,
    MachineError,
    NotFinite,
    RankError,
    RunFolderError,
    traceback_hint,
)
from deeprl.system import terminal
from deeprl.system.files import full, replace_file
from deeprl.system.terminal import brief, described, described_trace, from_here, plain_warnings, print_end, say

if TYPE_CHECKING:
    from deeprl.running.training.trainer import Trainer


def guarded(command: Callable[[], int], run: Path | None = None) -> int:
    """Call a command, print its error if it raises one, and return its exit code.

    Args:
        run: the folder where the command trains. An unexpected exception is then reported as a failure of this run.
    """
    plain_warnings()
    code = caught(command, run)
    if run is not None and code != WRONG:
        from deeprl.cli.on_end import tell  # here, because --help is asked more often than anything

        tell(run, code)
    return code


def caught(command: Callable[[], int], run: Path | None) -> int:
    try:
        return command()
    except ConfigError as error:
        return complain(WRONG, str(error))
    except (RunFolderError, CheckpointError, RankError, MachineError) as error:
        return complain(FAILED, str(error))
    except SystemExit:
        raise
    except BaseException as error:  # a panic of safetensors is a BaseException
        if run is not None:
            return complain(FAILED, failure(error, run))
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
            return complain(WRONG, f"{error.filename!s:.60}… is too long for the file system: most take 255 bytes in a name")
        return complain(WRONG if isinstance(error, ValueError) else FAILED, unexpected(error))


REPEATED = "A resume of this run would repeat the fault"


def complain(code: int, text: str) -> int:
    if os.environ.get("DEEPRL_DEBUG"):
        say(described_trace(), urgent=True)
    text = brief(text)
    say(f"deeprl, rank {terminal.rank}: {text}" if terminal.rank else f"deeprl: {text}", urgent=True)
    return code


def unexpected(error: BaseException) -> str:
    """One sentence about an exception that no command expects."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, (ValueError, FileNotFoundError)):
        return str(error)
    if isinstance(error, IsADirectoryError) and error.filename:
        return f"{error.filename2 or error.filename} is a folder where a file belongs: remove it to go on."
    if full(error) and error.filename:
        return f"{error.strerror}: {error.filename} cannot be written. Make space, then repeat the command."
    return f"{described(error)}.{traceback_hint()}"


def failure(error: BaseException, path: Path) -> str:
    """What failed, why, and what can be done, a line each. The traceback is written to the folder of the run."""
    if isinstance(error, FileNotFoundError) and not (path / "lock").exists():  # which a run keeps as long as it has its folder
        return f"{path} is gone: it was moved or removed in mid-run. Where it is now, it can be resumed: deeprl resume FOLDER"
    saved, shown = any((path / "checkpoints").glob("step_*")), from_here(path)
    again = f"deeprl resume {shlex.quote(str(shown))}{trusted(path)}"
    resumable = f"Its last checkpoint can be resumed: {again}" if saved else "No checkpoint was saved."
    if isinstance(error, KeyboardInterrupt):
        return f"interrupted. {resumable}"
    try:
        replace_file(path / "traceback.txt", described_trace())
        where = f"The traceback is in {shown / 'traceback.txt'}."
    except OSError:
        where = ""
    parts = (described(error), "", "")
    if isinstance(error, NotFinite):
        parts, resumable = (described(error), "", error.remedy or smaller_steps(path)), REPEATED
        if saved:
            named = shlex.quote(f"{shown}@STEP")
            resumable = f"{REPEATED}; another run starts from the weights of an earlier checkpoint with init_from={named}"
    if isinstance(error, Failed):
        parts = (f"{type(error).__name__}: {error.what}", brief(error.why), error.remedy)
    what, why, remedy = (f"{text.rstrip('.')}. " if text else "" for text in parts)
    return "\n  ".join(line.rstrip() for line in (f"the run failed: {what}", why + where, remedy + resumable) if line)


def smaller_steps(path: Path) -> str:
    """What to change in a run whose numbers are not finite any more; empty if its configuration has no optimizer."""
    from deeprl.running.runs.config_file import flatten
    from deeprl.running.runs.folder import RunFolder

    try:
        leaves = dict(flatten(RunFolder(path).read_config()["agent"], "agent."))
    except (ConfigError, RunFolderError, OSError, LookupError, TypeError, AttributeError):  # what failed must be told in any case
        return ""
    rates = [key for key in leaves if key.endswith("optimizer.lr") and leaves[key] is not None]
    free = [key for key in leaves if key.endswith("optimizer.max_grad_norm") and leaves[key] is None]
    clips = f", or clip gradients ({' '.join(f'{key}=10' for key in free)})" if free else ""
    return f"Take smaller steps ({', '.join(rates)}){clips}" if rates else ""


def trusted(path: Path) -> str:
    """Words with which `deeprl resume` accepts what the run names and where it connects; none, if its configuration cannot be read."""
    from deeprl.running.config.connections import words_of_resume
    from deeprl.running.runs.folder import RunFolder

    try:
        return words_of_resume(RunFolder(path).read_config())
    except (ConfigError, RunFolderError, OSError, LookupError, TypeError, AttributeError):  # what failed must be told in any case
        return ""


def ended(outcome: str, trainer: Trainer, path: Path) -> int:
    """The last lines of a run that trained, and its exit code."""
    from deeprl.cli.farewell import farewell

    if trainer.ranks.first:  # it has written what is told here
        print_end(farewell(outcome, trainer, path))
    return FINISHED if outcome == "finished" else STOPPED
