"""The processes of one run that learn together, its *ranks*, and what they tell each other through `torch.distributed`.

All ranks make the same calls in the same order, because each call waits for all of them. So whatever decides whether a call is made must be
the same everywhere: a number of steps, or what the first rank found (`broadcast`, `run_on_first`), never a clock or the data of one rank.

Other processes of the same run are no strangers: what they send is unpickled.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from deeprl.errors import RankError
from deeprl.system.torchrun import place

T = TypeVar("T")

PERIOD = 8
"""Steps between two exchanges of signals. Each waits for the slowest rank, so a larger period costs less and stops later."""


def digest(tensors: Iterable[Tensor]) -> str:
    """Hash of the bits of some tensors."""
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


OWN = (torch.AcceleratorError,) if hasattr(torch, "AcceleratorError") else ()
"""Errors of this rank's own device, which surface at a later call than the one that made them; older torch has no type for them"""

SAME_START = "they need the same command line, packages and kind of processor"


class Ranks:
    """The processes of a run, here a single one. Every method is neutral: what all ranks would agree on is what this one has.

    Attributes:
        rank, size: number of this process, from 0, and of all.
        first: whether it is the one that writes to the run folder.
        home: the run folder.
        command: what starts `deeprl` as this run was started.
    """

    rank, size, first, command = 0, 1, True, "deeprl"

    def __init__(self, home: Path = Path()):
        self.home = home

    def named(self, part: str) -> str:
        """Name of this rank's own stream of noise (`deeprl.noise`); the first rank has that of a single process."""
        return part if self.first else f"{part} {self.rank}"

    def mean(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        """The mean of each tensor over the ranks, without autograd; a compiled update contains it. Integers stay as they are, because they
        count updates and are equal on all ranks."""
        return tensors

    def waiting(self, what: str) -> AbstractContextManager:
        """A block that waits for other ranks.

        Raises:
            RankError: a rank ended, or did not come within `learner.timeout` minutes.
        """
        return contextlib.nullcontext()

    def signalled(self, number: int) -> int:
        """Called at every step. Number of a signal that one of the ranks has received, 0 for none.

        Args:
            number: signal that this rank has received, 0 for none.
        """
        return number

    def broadcast(self, value: T) -> T:
        """The value of the first rank."""
        return value

    def gather(self, value: T) -> list[T]:
        """The values of all ranks, in their order."""
        return [value]

    def run_on_first(self, function: Callable[[], T], step: Callable[[], object]) -> T:
        """Result of a function that only the first rank calls.

        Args:
            step: called by the function now and then, and by the other ranks while they wait. It calls `signalled`, and may raise on
                account of its answer, which then ends the function and the wait alike.
        """
        return function()

    def in_order(self, write: Callable[[], object]) -> None:
        """Call `write` on all ranks, on the first one after all others.

        Raises:
            OSError: on all ranks, if one of them raised it. The first one did not write if another one failed.
        """
        write()

    def require_same(self, what: str, value: str, remedy: str = SAME_START) -> None:
        """
        Args:
            remedy: what to do about it, the end of the error.

        Raises:
            RankError: the ranks have different values.
        """

    def leave(self) -> None:
        """End the exchange, once all ranks have finished."""


ALONE = Ranks()


class TorchrunRanks(Ranks):
    """Several processes, started by torchrun, each with its environments and its part of the replay.

    Args:
        backend: of `torch.distributed`.
        minutes: longest wait for another rank.
        home: the run folder; None on all ranks but the first, which tells them.

    Raises:
        RankError: not all ranks came.
    """

    def __init__(self, backend: str, minutes: float, home: Path | None):
        import torch.distributed as dist
        from torch.distributed._functional_collectives import all_reduce, wait_tensor  # slow to import; these can be traced

        self.rank, self.size = place()
        self.first, self.dist, self.minutes = self.rank == 0, dist, minutes
        self.command = f"torchrun --nproc-per-node={self.size} -m deeprl"
        self.home = home or Path()
        self._calls = 0
        self._over = False
        """Whether the first rank has finished what it leads"""
        with self.waiting("addresses"):
            limit = timedelta(minutes=minutes)
            store, *_ = next(dist.rendezvous("env://", timeout=limit))
            # other keys after a restart by torchrun, because its store still has the addresses of the processes that are gone
            store = dist.PrefixStore(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), store)
            dist.init_process_group(backend, timeout=limit, store=store, rank=self.rank, world_size=self.size)
        everyone = dist.group.WORLD
        assert everyone is not None
        self._sum = lambda tensor: wait_tensor(all_reduce(tensor, "sum", everyone))
        self.home = self.broadcast(home) or Path()

    def mean(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        ours = [tensor for tensor in tensors if tensor.is_floating_point()]
        with torch.no_grad(), self.waiting("gradients"):
            flat = torch.cat([tensor.reshape(-1) for tensor in ours])  # one tensor, because every collective costs a wait
            parts = iter((self._sum(flat) / self.size).split([tensor.numel() for tensor in ours]))
            return [next(parts).view(t.shape).to(t.dtype) if t.is_floating_point() else t for t in tensors]

    @contextlib.contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        try:
            yield
        except (torch.OutOfMemoryError, *OWN):
            raise
        except RuntimeError as error:  # gloo and compiled code raise no type of their own
            reason = re.sub(r"^\[\S*\] ", "", str(error).strip().partition("\n")[0]).partition(". ")[0]
            again = f"{self.command} resume {shlex.quote(str(self.home))}"
            raise RankError(
                f"the exchange of {what} failed, because another rank ended or did not come within {self.minutes:g} minutes "
                f"({reason:.200}). That rank's own output has the reason. The last checkpoint, if there is one, can be resumed: {again}"
            ) from error

    def signalled(self, number: int) -> int:
        self._calls += 1
        return self._exchange(number) if self._calls >= PERIOD else 0

    def _exchange(self, number: int, over: bool = False) -> int:
        self._calls = 0
        number, ending = self._largest(number, over)
        self._over = bool(ending)
        return 0 if self._over else number  # a signal that comes with the end is found at the next exchange, on all ranks

    def _largest(self, *numbers: int) -> list[int]:
        found = torch.tensor(numbers)
        with self.waiting("signals"):
            self.dist.all_reduce(found, self.dist.ReduceOp.MAX)
        return found.tolist()

    def broadcast(self, value: T) -> T:
        values = [value]
        with self.waiting("results"):
            self.dist.broadcast_object_list(values)
        return values[0]

    def run_on_first(self, function: Callable[[], T], step: Callable[[], object]) -> T:
        self._calls, self._over, result = 0, False, None
        if self.first:
            result = function()
            self._exchange(0, over=True)
        while not self._over:
            step()
        return self.broadcast(result)  # type: ignore[return-value]

    def in_order(self, write: Callable[[], object]) -> None:
        for mine in (not self.first, self.first):
            error = None
            try:
                if mine:
                    write()
            except OSError as caught:
                error = caught
            (number,) = self._largest((error.errno or errno.EIO) if error else 0)
            if number:
                raise error or OSError(number, f"{os.strerror(number)} (on another rank)")

    def gather(self, value: T, what: str = "results") -> list[T]:
        found = [value] * self.size
        with self.waiting(what):
            self.dist.all_gather_object(found, value)
        return found

    def require_same(self, what: str, value: str, remedy: str = SAME_START) -> None:
        if len(set(self.gather(value, what))) > 1:
            raise RankError(f"{what} differ between the ranks: {remedy}")

    def leave(self) -> None:
        self._largest(0)  # the first rank may still write
        self.dist.destroy_process_group()
