"""A process that acts and steps environments, and sends what it saw in chunks."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from deeprl.running.collect.weights import Weights
from deeprl.running.training.collector import Collector
from deeprl.system.machine import flush_denormals, keep_memory
from deeprl.types import Rows, State


class Chunk(NamedTuple):
    """L ticks of M environments of one actor."""

    rows: Rows
    """Each array with the axes (L, M, ...)"""
    info: list[list[Mapping[str, float]]]
    """(L, M) numbers of the episodes that ended (`log.info`)"""
    truncated: list[int]
    """Environments whose episode before the first tick could not be continued, so that it ended one tick earlier"""
    restarts: int
    """Episodes that failures have truncated so far, see `Environments.num_restarts`"""


def joined(chunks: Sequence[Chunk], envs: int) -> Chunk:
    """The chunks of all actors, M environments each, as one of all environments."""
    rows = Rows(*(np.concatenate(parts, 1) for parts in zip(*(chunk.rows for chunk in chunks))))
    truncated = [actor * envs + i for actor, chunk in enumerate(chunks) for i in chunk.truncated]
    info = [[each for tick in ticks for each in tick] for ticks in zip(*(chunk.info for chunk in chunks))]
    return Chunk(rows, info, truncated, sum(chunk.restarts for chunk in chunks))


class RemoteActor:
    """The part of a run that an actor has: a copy of the agent, M environments and their collector.

    Args:
        build: gives the collector, whose rows go to the function that it is called with. Its agent acts alone, and learns nothing.
        threads: of torch.
        folder: of the learner, where relative paths of an environment are meant; None: on other machines that is the one of their Ray.
    """

    def __init__(self, build: Callable[[Callable[[Rows], None]], Collector], threads: int = 1, folder: str | None = None):
        if folder is not None:
            os.chdir(folder)
        keep_memory()
        flush_denormals()  # as in the process that learns, because the same game might round differently otherwise
        torch.set_num_threads(threads)
        self.ticks: list[Rows] = []
        # copies, because an agent may return the same tensor at every tick
        self.collector = build(lambda rows: self.ticks.append(Rows(*map(np.array, rows))))
        self.weights = Weights(self.collector.agent)

    def ready(self) -> None:
        """Called once, to learn of errors in the constructor."""

    def collect(self, weights: Sequence[np.ndarray], step: int, stride: int, ticks: int, state: State | None = None) -> tuple[Chunk, State]:
        """A chunk, and the state after it.

        Args:
            weights: of `Weights.read`.
            step: environment step of the first tick.
            stride: environment steps of the run in a tick: those of all actors.
            ticks: L.
            state: of a collector in another process, from which this one goes on; None: it goes on from its own.
        """
        # a copy, because what comes from the object store is read-only
        truncated = [] if state is None else self.collector.load_state_dict(copy.deepcopy(state))
        self.weights.write(weights)
        self.ticks.clear()
        info = []
        for tick in range(ticks):
            self.collector.tick(step + tick * stride)
            info.append(list(self.collector.info))
        self.collector.episodes.finished.clear()
        rows = Rows(*(np.stack(parts) for parts in zip(*self.ticks)))
        return Chunk(rows, info, truncated, self.collector.envs.num_restarts), self.collector.state_dict()

    def close(self) -> None:
        """End the environments and their processes."""
        self.collector.envs.close()
