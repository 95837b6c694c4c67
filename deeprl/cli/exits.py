"""How a command ends: its exit code, and one sentence for what went wrong."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from deeprl.errors import CheckpointError, ConfigError, RunFolderError
from deeprl.system.files import printable, replace_file

FINISHED, FAILED, WRONG, STOPPED = 0, 1, 2, 75


def complain(code: int, text: str) -> int:
    print(printable(f"deeprl: {text}"), file=sys.stderr, flush=True)
    return code


def leave(code: int, text: str) -> NoReturn:
    sys.exit(complain(code, text))


def ended(run: Callable[[], tuple[str, Any]], path: Path, refused: Callable[[], object] = lambda: None) -> int:
    """Train, and say how it ended. Returns the exit code.

    Args:
        run: trains in `path`; answers as `deeprl.session.session.train`.
        refused: called where the configuration turns out to be wrong.
    """
    from deeprl.session.session import farewell

    try:
        outcome, trainer = run()
    except ConfigError as error:
        refused()
        return complain(WRONG, str(error))
    except (RunFolderError, CheckpointError) as error:
        return complain(FAILED, str(error))
    except KeyboardInterrupt:
        return complain(FAILED, f"interrupted. What was saved before can be resumed: deeprl resume {path}")
    except Exception as error:
        return complain(FAILED, failure(error, path))
    print(farewell(outcome, trainer, path))
    return FINISHED if outcome == "finished" else STOPPED


def failure(error: Exception, path: Path) -> str:
    """One paragraph; the traceback goes to the run folder, or to the screen if DEEPRL_DEBUG is set."""
    text = traceback.format_exc()
    try:
        replace_file(path / "traceback.txt", text)
        where = f" The traceback is in {path / 'traceback.txt'}."
    except OSError:
        where = ""
    if os.environ.get("DEEPRL_DEBUG"):
        print(text, file=sys.stderr)
    return f"the run failed: {type(error).__name__}: {error}.{where} What was saved before can be resumed: deeprl resume {path}"
