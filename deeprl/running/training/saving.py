"""Writing the checkpoints of a run, and what follows from a full disk."""

from __future__ import annotations

import math
import time

from deeprl.replay.source import Source
from deeprl.running.runs.checkpoints import Checkpoints
from deeprl.system.files import full

SEGMENT_BYTES = 8 << 20
"""Bytes of replay rows in one write between checkpoints, so that few rows are left for the checkpoint. A large replay writes a 256th of
itself, because each checkpoint lists every segment."""


class Saver:
    """Writer of checkpoints, with the rows of the replay if `checkpoint.replay` is true.

    Attributes:
        cost: metrics of the last checkpoint, its size and duration.
    """

    def __init__(self, config: dict, checkpoints: Checkpoints, source: Source):
        self.checkpoints, self.source = checkpoints, source
        self.with_replay = config["checkpoint"]["replay"]
        periodic = config["checkpoint"]["every"] or config["checkpoint"]["minutes"] is not None
        ahead = max(int(checkpoints.segment_bytes * source.capacity / max(source.bytes, 1)), source.num)
        self.ahead_steps = ahead if periodic and self.with_replay else math.inf
        """Steps after which rows are written ahead of their checkpoint"""
        self.segment_from = 0
        self.marks = [0] * len(source.marks())
        """Rows of each environment that are on disk: none yet, although some may be there from the start"""
        self.stall = 0.0
        """Longest wait of training for the disk since the last checkpoint, in seconds"""
        self.cost: dict[str, float] = {}

    def write_ahead(self, step: int) -> None:
        """Write rows for the next checkpoint, once there are enough. A full disk is ignored here, because the checkpoint reports it."""
        if step - self.segment_from < self.ahead_steps:
            return
        began, marks, rows, self.segment_from = time.monotonic(), self.source.marks(), self.source.rows(self.marks), step
        if rows is None:
            return
        try:
            self.checkpoints.write_ahead(rows, self.source.live_from())
            self.marks = marks
        except OSError as error:
            if not full(error):
                raise
        self.stall = max(self.stall, time.monotonic() - began)

    def save(self, step: int, parts: dict, best: bool) -> None:
        """Write the checkpoint of `step`, from the state of every part but the replay.

        Raises:
            OSError: it could not be written; see `full_disk`.
        """
        if self.with_replay:
            marks = self.source.marks()
            parts = {**parts, "replay": self.source.state_dict()}
            done = self.checkpoints.save(step, parts, self.source.rows(self.marks), self.source.live_from(), best=best)
            self.marks = marks
        else:
            done = self.checkpoints.save(step, parts, best=best)
        self.cost = {
            "time/checkpoint_bytes": float(done["bytes"]),
            "time/checkpoint_seconds": done["seconds"],
            "time/checkpoint_stall": max(self.stall, done["seconds"]),
        }
        self.segment_from, self.stall = step, 0.0

    def full_disk(self, step: int, error: OSError) -> str:
        """Message about the full disk that prevented the checkpoint of `step`.

        Raises:
            OSError: `error` itself, if it has another cause.
        """
        if not full(error):
            raise error
        last = self.checkpoints.pointed("last")
        before = "and there is none before it" if last is None else f"the one of step {last:,} is untouched"
        return f"{error.strerror}: the checkpoint of step {step:,} could not be written, {before}"

    def restored(self, step: int) -> None:
        """Record that the replay holds the rows of the checkpoint of `step`."""
        self.marks, self.segment_from = self.source.marks(), step
