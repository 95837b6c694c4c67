"""One job of a sweep: `deeprl train`, stopped saved when the process that started it has ended. `deeprl.tools.sweep.process` starts it."""

from __future__ import annotations

import os
import signal
import sys
import threading

from deeprl.system.signals import leave_at_signals
from deeprl.system.terminal import alert


def main() -> None:
    """Train with the words of `sys.argv` as the command line."""
    leave_at_signals()
    threading.Thread(target=follow, args=(0,), daemon=True).start()
    sys.argv[:] = ["deeprl", "train", *sys.argv[1:]]  # as system.json shall record it
    from deeprl.cli.train import main as train

    train()


def follow(pipe: int) -> None:
    """Wait until the other end of a pipe closes. The system closes it when its process ends in any way."""
    while os.read(pipe, 1):
        pass
    alert("the process that started this job has ended")
    os.kill(os.getpid(), signal.SIGTERM)
