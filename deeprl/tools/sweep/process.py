"""One job as a process: the train command with `resume=auto`, which stops saved when the process that started it ends in any way."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import deeprl
from deeprl.running.config.overrides import quoted
from deeprl.system.files import appending, tail

PROGRAM = """
import sys
if sys.argv[1] not in sys.path:
    sys.path.insert(0, sys.argv[1])
del sys.argv[1]
from deeprl.cli.sweep_job import main
main()
"""
"""Instead of `python -m`, which would search the working directory for modules first. The first argument is the folder of this very
package, which may be a checkout beside an installed one."""


class Task(NamedTuple):
    """All that another process, or another machine on the same file system, needs to start a job."""

    overrides: tuple[str, ...]
    run: Path
    log: Path
    cwd: Path
    config_dir: str | None = None

    def words(self) -> list[str]:
        """The command line behind `deeprl train`."""
        flags = ["--config-dir", self.config_dir] if self.config_dir else []
        return [*flags, *self.overrides, "resume=auto", f"hydra.run.dir={quoted(str(self.run))}"]

    def begin(self) -> subprocess.Popen:
        """Start the process. Its standard input is a pipe whose other end only this process has, so that it notices this process's end,
        by SIGKILL too. It stays in this process group, so that a terminal suspends and ends them together."""
        package = str(Path(deeprl.__file__).absolute().parents[1])  # spelt as in sys.path
        with appending(self.log) as file:
            file.write(f"\n$ deeprl train {shlex.join(self.words())}\n\n")
            file.flush()
            command = [sys.executable, "-P", "-c", PROGRAM, package, *self.words()]
            return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=file, stderr=file, cwd=self.cwd)


def wait(process: subprocess.Popen) -> int:
    """Exit code. It polls, because a signal handler that waits for the same process would find Python's own lock taken."""
    while (code := process.poll()) is None:
        time.sleep(0.1)
    return code


def stop(process: subprocess.Popen) -> None:
    """Ask for a stop at the next step, saved. It is no SIGINT, because a terminal's Ctrl-C reaches the job too, and a second SIGINT ends it
    at once."""
    process.send_signal(signal.SIGTERM)


def last_words(log: Path) -> str:
    """The last paragraph of a log: the error of deeprl, if there is one, or the lines behind the last empty one, ten at most."""
    try:
        lines = tail(log, 8192).decode(errors="replace").rstrip().splitlines()
    except OSError:
        return ""
    starts = [place for place, line in enumerate(lines) if line.startswith("deeprl: ")]
    blanks = [place + 1 for place, line in enumerate(lines) if not line.strip()]
    first = starts[-1] if starts and starts[-1] >= (blanks or [0])[-1] else (blanks or [0])[-1]
    return "\n".join(lines[first:][-10:])
