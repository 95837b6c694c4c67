"""The end of a process that trained."""

from __future__ import annotations

import os
import sys
import threading

from deeprl.system.terminal import say


def leave(code: int) -> None:
    """End this process with `code`, even if threads of an environment still run, because Python would wait for them for ever."""
    left = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread() and not thread.daemon]
    if not left:
        if code:
            sys.exit(code)
        return
    say(f"ended without waiting for threads that still run: {', '.join(left)}")
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            pass
    os._exit(code)
