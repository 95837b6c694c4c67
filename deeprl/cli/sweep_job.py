"""One job of a sweep: `deeprl train`, stopped saved when the process that started it has ended. `deeprl.sweep.process` starts it."""

from __future__ import annotations

import os
import signal
import sys
import threading

from deeprl.errors import STOPPED
from deeprl.system.signals import HANDLED
from deeprl.system.terminal import alert


def main() -> None:
    """Train with the words of `sys.argv` as the command line."""
    leave_at_signals()
    threading.Thread(target=follow, args=(0,), daemon=True).start()
    sys.argv[:] = ["deeprl", "train", *sys.argv[1:]]  # as system.json shall record it
    from deeprl.cli.train import main as train

    train()


def leave_at_signals() -> None:
    """Until training has its own handlers there is nothing to save. A signal that nohup ignores stays ignored."""
    for number in HANDLED:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda *_: os._exit(STOPPED))


def follow(pipe: int) -> None:
    """Wait until the other end of a pipe closes. The system closes it when its process ends in any way."""
    while os.read(pipe, 1):
        pass
    alert("the process that started this job has ended")
    os.kill(os.getpid(), signal.SIGTERM)
