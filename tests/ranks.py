"""Processes as torchrun starts them, without its command, which takes seconds."""

from __future__ import annotations

import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from functools import partial

SECONDS = 300
"""Until a process counts as hanging"""


def in_ranks(size: int, work: Callable[[int], int | None]) -> list[int]:
    """Exit codes of `size` forked processes; the negative number of a signal that ended one.

    Args:
        work: called in each with its rank; gives the exit code, None for 0.
    """
    import torch._dynamo  # as the first exchange of a process does, which takes longer than its run
    import torch.distributed._functional_collectives  # noqa: F401

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    world = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}

    def member(rank: int) -> int | None:
        os.environ.update(world, RANK=str(rank), LOCAL_RANK=str(rank))
        return work(rank)

    return ended([forked(partial(member, rank)) for rank in range(size)])


def forked(work: Callable[[], int | None]) -> int:
    """Start `work` in a copy of this process, which need not import anything again, and give its number. It ends with what `work` gives,
    99 if that raises; see `ended`."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        code = 99
        try:
            signal.alarm(SECONDS)
            code = work() or 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return child


def ended(children: list[int]) -> list[int]:
    """Exit codes, waited for; the negative number of a signal that ended one."""
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
