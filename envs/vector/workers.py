"""One process for each environment.

Workers are started by a fork server, a process without torch threads, so that they share its imports and start fast. They ignore the
signals that stop a run, because these reach the whole process group and would kill a worker during a step. A worker ends when its pipe
closes, and is killed if it does not end.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import pickle
import signal
import threading
import time
import traceback
import weakref
from contextlib import AbstractContextManager
from functools import partial

import torch

from deeprl.system.signals import HANDLED
from deeprl.system.variables import variable

from .backend import NOTHING, Backend, Failure, Game, advance, told

_START = 120.0  # seconds on top of `env.timeout` for imports on a busy machine
CLOSING = 2.0
"""Seconds that a worker has to close its environment"""


_open: weakref.WeakSet[Workers] = weakref.WeakSet()


def _follow(parent) -> None:
    parent.join()
    os._exit(1)


def _safe_path() -> AbstractContextManager[None]:
    """Python processes started in this block do not search the working directory, where a user's `selectors.py` would replace the
    library's.

    The fork server and its resource tracker start as `python -c`, for which the working directory otherwise comes first.
    """
    return variable("PYTHONSAFEPATH", "1")


def serve(build, pipe) -> None:
    """Main function of a worker: build the game, then answer requests until the pipe closes."""
    for number in HANDLED:
        signal.signal(number, signal.SIG_IGN)
    torch.set_flush_denormal(True)  # as in the process that trains, because the same game might round differently otherwise
    parent = multiprocessing.parent_process()
    if parent is not None:  # a game that hangs never reads the pipe: without this thread it would outlive a killed run
        threading.Thread(target=_follow, args=(parent,), daemon=True).start()
    try:
        game = build()
        pipe.send((game.spec, game.actions, game.limit))
    except BaseException as error:  # see `own`; signals are ignored here
        pipe.send(Failure(f"{type(error).__name__}: {error}\n{traceback.format_exc()}"))
        return
    while True:
        try:
            kind, action, seed = pipe.recv()
        except (EOFError, OSError):
            break
        try:
            answer = game.reset(seed) if kind == "reset" else told(game) if kind == "told" else advance(game, action, seed)
        except BaseException as error:  # see `own`; signals are ignored here
            where = traceback.extract_tb(error.__traceback__)[-1]
            answer = Failure(f"{type(error).__name__}: {error} ({where.filename}:{where.lineno})")
        if isinstance(answer, Failure):
            answer = answer._replace(error=None)  # an exception may hold what cannot be pickled
        try:
            pipe.send(answer)
        except OSError:
            break
    game.close()


class Workers(Backend):
    """Backend with one process for each environment, see the module.

    Args:
        build: a partial of a choice's `build`, called in the worker, hence pickled.
        timeout: seconds after which a worker that does not answer counts as hanging.
    """

    def __init__(self, build: partial[Game], num: int, timeout: float):
        try:
            pickle.dumps(build)
        except Exception as error:
            raise ValueError(f"env.vector=async cannot send this environment to another process ({error}): use env.vector=sync") from error
        self.build, self.num, self.timeout = build, num, timeout
        server = "forkserver" in multiprocessing.get_all_start_methods()  # Windows has none, and starts a new Python for each
        self.context = multiprocessing.get_context("forkserver") if server else multiprocessing.get_context("spawn")
        if server:
            self.context.set_forkserver_preload(["deeprl.envs.vector.backend", type(getattr(build.func, "__self__", self)).__module__])
        self.processes: list = [None] * num
        self.pipes: list = [None] * num
        self.answered = [True] * num
        """Whether each worker has answered its last request: one that has not is asked nothing more, and killed at once"""
        _open.add(self)
        try:
            for index in range(num):
                self._launch(index)
            for index in range(num):
                self.spec, self.actions, self.limit = self._ready(index)
        except BaseException:
            self.close()
            raise

    def _launch(self, index: int) -> None:
        ours, theirs = self.context.Pipe()
        process = self.context.Process(target=serve, args=(self.build, theirs), daemon=True, name=f"environment {index}")
        with _safe_path():
            process.start()
        theirs.close()
        self.processes[index], self.pipes[index], self.answered[index] = process, ours, True

    def _ready(self, index: int):
        answer = self._receive(index, time.monotonic() + self.timeout + _START)
        if isinstance(answer, Failure):
            raise RuntimeError(f"environment {index} could not be started: {answer.cause}{self._unguarded(index, answer)}")
        return answer

    def _unguarded(self, index: int, failure: Failure) -> str:
        """What an end with 1 before the first answer mostly means: `serve` sends all other errors."""
        if not (failure.lost and self.processes[index].exitcode == 1):
            return ""
        return ' while it imported the script: put all that the script calls below if __name__ == "__main__":'

    def _send(self, index: int, message: tuple) -> None:
        try:
            self.pipes[index].send(message)
        except OSError:
            pass  # the worker is dead: `_receive` reports it

    def _receive(self, index: int, deadline: float):
        if not self.answered[index]:  # what it sends now may be its answer to the request before
            return Failure("it owes an answer", lost=True)
        pipe, self.answered[index] = self.pipes[index], False
        try:
            if pipe.poll(max(0.0, deadline - time.monotonic())):
                answer = pipe.recv()
                self.answered[index] = True
                return answer
        except (EOFError, OSError):
            process = self.processes[index]
            process.join(1.0)
            return Failure(f"its process died (exit code {process.exitcode})", lost=True)
        return Failure(f"no answer within env.timeout={self.timeout:g} seconds", lost=True)

    def reset(self, seeds):
        for index, seed in seeds.items():
            self._send(index, ("reset", None, seed))
        deadline = time.monotonic() + self.timeout
        return {index: self._receive(index, deadline) for index in seeds}

    def step(self, actions, seeds, only=None):
        indices = range(self.num) if only is None else only
        for index in indices:
            self._send(index, ("step", actions[index], seeds[index]))
        deadline = time.monotonic() + self.timeout
        answers: list = [None] * self.num
        for index in indices:
            answers[index] = self._receive(index, deadline)
        return answers

    def told(self, which):
        for index in which:
            self._send(index, ("told", None, None))
        deadline = time.monotonic() + self.timeout
        answers = [self._receive(index, deadline) for index in which]
        return [NOTHING if isinstance(answer, Failure) else answer for answer in answers]  # what failed is met at the reset that follows

    def rebuild(self, index):
        self._end(index, patience=CLOSING if self.answered[index] else 0.0)
        self._launch(index)
        self._ready(index)

    def _end(self, index: int, patience: float) -> None:
        process, pipe = self.processes[index], self.pipes[index]
        if process is None:
            return
        pipe.close()
        process.join(patience)
        process.kill()
        process.join()
        self.processes[index] = None

    def close(self):
        for pipe in self.pipes:
            if pipe is not None:
                pipe.close()  # all pipes first, so that the workers end in parallel
        deadline = time.monotonic() + CLOSING
        for index in range(self.num):
            self._end(index, patience=max(0.0, deadline - time.monotonic()))
        _open.discard(self)


@atexit.register
def _close_all() -> None:
    # registered after multiprocessing's own handler, hence called before it, which would wait for ever for workers that ignore SIGTERM
    for workers in list(_open):
        workers.close()
