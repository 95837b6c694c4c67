"""The checkpoints of a run, and the replay segments that they share.

    checkpoints/last, best                  one line, the name of a checkpoint folder
    replay/segment_<8 digits>.safetensors   rows of the replay, written once and shared by the checkpoints that list them
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import struct
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
import safetensors.torch
import torch
from torch import Tensor
from deeprl.system.files import plain, regular_size, replace_file, sha256, strict_json, sync_folder, write_synced
from deeprl.system.machine import available_memory
from deeprl.runs.state import pack, unpack
from deeprl.runs.checkpoint import STEP, SEGMENT, REPLACED, save, load, read_folder, existing, read_manifest, blame, verify, write_tensors, read_tensors
from deeprl.errors import CheckpointError, CheckpointWarning


def _alive(segment: dict[str, Any], live_from: list[int]) -> bool:
    """Whether the ring still holds a row of it."""
    return any(stop > live for stop, live in zip(segment["stop"], live_from, strict=True))


class Checkpoints:
    """The checkpoints of one run, and the replay segments that they share.

    Args:
        run: the run folder.
        keep: how many of the newest to keep, besides the best.
    """

    def __init__(self, run: Path, keep: int = 2):
        if keep < 1:
            raise ValueError(f"checkpoint.keep must be at least 1, not {keep}: a run without a checkpoint cannot be resumed")
        self.folder, self.replay, self.keep = Path(run) / "checkpoints", Path(run) / "replay", keep
        self._segments: list[dict[str, Any]] = []  # of the checkpoint this process stands on, in order
        self._ahead: list[dict[str, Any]] = []  # written since, for the next one
        self._verified: set[tuple] = set()

    def save(
        self,
        step: int,
        parts: dict[str, Any],
        segments: dict[str, Tensor] | None = None,
        start: list[int] | None = None,
        stop: list[int] | None = None,
        live_from: list[int] | None = None,
        score: float | None = None,
    ) -> dict[str, float]:
        """Write a checkpoint, make it the last one, then remove what is no longer needed.

        Args:
            segments: replay rows added since the last checkpoint saved or loaded here: of each environment e those with the running
                numbers from `start[e]` up to, but not including, `stop[e]`.
            start, stop: by default the tensors of these names in `segments`, as `Replay.rows` returns them.
            live_from: running number of the oldest row still in the ring, per environment. Segments that end before are dropped.
                With neither rows nor this, the replay is left out of the checkpoint.
            score: kept in the manifest for people; `mark_best` decides.

        Returns:
            {"bytes": written, "seconds": taken}

        Raises:
            OSError: it could not be written. The checkpoints that were there are untouched, and the next call writes all that is missing.
        """
        began, written = time.perf_counter(), sum(entry["bytes"] for entry in self._ahead)
        self._refuse_links()
        self.folder.mkdir(parents=True, exist_ok=True)
        listed = [] if segments is None and live_from is None else [*self._segments, *self._ahead]
        if segments is not None:
            start, stop = (
                [int(n) for n in (segments[key] if given is None else given)] for key, given in (("start", start), ("stop", stop))
            )
            if start != stop:  # something is new
                listed.append(self._write_segment(segments, start, stop))
                written += listed[-1]["bytes"]
        if live_from is not None:
            listed = [entry for entry in listed if _alive(entry, live_from)]
        name = f"step_{step:012d}"
        try:
            written += save(self.folder / name, parts, step=step, score=plain(score), segments=listed)
        except OSError:
            if segments is not None and start != stop:  # nobody needs it, and a full disk stays full otherwise
                (self.replay / listed[-1]["file"]).unlink(missing_ok=True)
            raise
        replace_file(self.folder / "last", name + "\n")
        self._segments, self._ahead = listed, []
        self._clean(step)
        return {"bytes": written, "seconds": time.perf_counter() - began}

    def write_ahead(self, rows: dict[str, Tensor], start: list[int], stop: list[int], live_from: list[int]) -> None:
        """Write replay rows of the next checkpoint now, so that it will not stall training for long. A process that ends before that
        checkpoint leaves a file that nothing lists, and the next checkpoint of the run removes it.

        Args:
            rows, start, stop: `segments`, `start` and `stop` of `save`, which is then called with the rows after these.
            live_from: as `save` takes it. What was written ahead and is overwritten in the ring before any checkpoint came is removed.

        Raises:
            OSError: it could not be written; the rows still belong to the next call.
        """
        self._refuse_links()
        self._ahead.append(self._write_segment(rows, start, stop))
        for entry in [entry for entry in self._ahead if not _alive(entry, live_from)]:
            self._ahead.remove(entry)
            (self.replay / entry["file"]).unlink(missing_ok=True)

    def _refuse_links(self) -> None:
        for folder in (self.folder, self.replay):
            if folder.is_symlink():  # what is no longer needed would be removed elsewhere
                raise CheckpointError(f"{folder} is a link, which is refused: put the whole run folder where there is space")

    def mark_best(self, step: int) -> None:
        """`best` names this checkpoint from now on; it is kept whatever its age."""
        name = f"step_{step:012d}"
        if not (self.folder / name / "manifest.json").exists():
            raise CheckpointError(f"{self.folder / name} cannot be the best checkpoint: it is missing, save it first")
        replace_file(self.folder / "best", name + "\n")

    def steps(self) -> list[int]:
        """Steps that have a checkpoint, readable or not, in order."""
        names = [path.name.removesuffix(REPLACED) for path in self.folder.iterdir()] if self.folder.is_dir() else []
        return sorted({int(match[1]) for match in map(STEP.fullmatch, names) if match})

    def pointed(self, which: str) -> int | None:
        """The step that the file `last` or `best` names."""
        path = self.folder / which
        with contextlib.suppress(OSError, UnicodeDecodeError):
            match = STEP.fullmatch(path.read_text().strip()) if regular_size(path) < 100 else None
            return int(match[1]) if match else None
        return None

    def load(
        self, which: str | int = "last", only: set[str] | None = None, most: dict[str, int] | None = None
    ) -> tuple[int, dict[str, Any]]:
        """(step, parts) of the last checkpoint, the best one, or that of a step.

        If the last one is damaged, a `CheckpointWarning` names the file and the one before it is loaded; asked for any other,
        another one is no answer. Replay segments are checked too, unless `only` some parts are wanted.

        Raises:
            CheckpointError: none is readable; it says why for each.
        """
        candidates = self._candidates(which)
        reasons = []
        for i, step in enumerate(candidates):
            try:
                manifest, parts = self._load(step, only, most)
            except CheckpointError as error:
                reasons.append(str(error))
                if i + 1 < len(candidates):
                    warnings.warn(f"{error}. Trying the checkpoint of step {candidates[i + 1]} instead.", CheckpointWarning, stacklevel=2)
            else:
                self._segments, self._ahead = list(manifest.get("segments", [])) if only is None else [], []
                return step, parts
        raise CheckpointError("; ".join(reasons))

    def segments(self, step: int) -> Iterator[dict[str, Tensor]]:
        """The replay rows that the checkpoint of `step` needs, oldest first, each segment read when asked for."""
        for entry in read_manifest(self._at(step)).get("segments", []):
            self._verify_segment(entry)
            yield read_tensors(self.replay / entry["file"])

    def _candidates(self, which: str | int) -> list[int]:
        steps = self.steps()
        if not steps:
            raise CheckpointError(f"{self.folder} holds no checkpoint: the run stopped before its first one, or this is no run folder")
        wanted = self.pointed(which) if isinstance(which, str) else int(which)
        if which == "last":  # those after it are from a save cut short or a future given up: better than nothing, so at the end
            newest = steps[-1] if wanted is None else wanted
            return [newest, *(step for step in steps[::-1] if step < newest), *(step for step in steps[::-1] if step > newest)]
        if wanted is None:
            raise CheckpointError(f"{self.folder / str(which)} names no checkpoint; there are the steps {', '.join(map(str, steps))}")
        if wanted not in steps:
            raise CheckpointError(f"{self.folder} has no checkpoint of step {wanted}; it has {', '.join(map(str, steps))}")
        return [wanted]

    def _at(self, step: int) -> Path:
        return existing(self.folder / f"step_{step:012d}")

    def _load(self, step: int, only: set[str] | None, most: dict[str, int] | None) -> tuple[dict, dict[str, Any]]:
        manifest = read_manifest(self._at(step))
        if manifest.get("step") != step:
            raise CheckpointError(f"{self._at(step)} is damaged: its manifest is that of step {manifest.get('step')}")
        if only is None:
            for entry in manifest.get("segments", []):
                self._verify_segment(entry)
        return read_folder(self._at(step), only, most)

    def _verify_segment(self, entry: dict[str, Any]) -> None:
        path = self.replay / entry["file"]
        with blame(path):
            info = path.lstat()
            mark = (entry["file"], entry["sha256"], entry["bytes"], info.st_size, info.st_mtime_ns, info.st_ino)
        if mark not in self._verified:  # hashing a whole replay takes seconds; once is enough
            verify(path, entry)
            self._verified.add(mark)

    def _write_segment(self, rows: dict[str, Tensor], start: list[int], stop: list[int]) -> dict[str, Any]:
        self.replay.mkdir(parents=True, exist_ok=True)
        taken = [int(match[1]) for match in map(SEGMENT.fullmatch, os.listdir(self.replay)) if match]
        name = f"segment_{max(taken, default=0) + 1:08d}.safetensors"
        partial = self.replay / f".{name}.partial"
        try:
            ready = {key: torch.as_tensor(row).detach().cpu().contiguous() for key, row in rows.items()}
            entry = {"file": name, **write_tensors(partial, ready), "start": start, "stop": stop}
            os.rename(partial, self.replay / name)
        finally:
            partial.unlink(missing_ok=True)
        sync_folder(self.replay)
        return entry

    def _clean(self, step: int) -> None:
        """Remove checkpoints beyond `keep`, those of a future that was given up, leftovers of crashes, and unneeded segments."""
        best = self.pointed("best")
        kept = {step, *([] if best is None else [best]), *[old for old in self.steps() if old <= step][-self.keep :]}
        names = {f"step_{old:012d}" for old in kept}
        names |= {name + REPLACED for name in names if not (self.folder / name).exists()}
        for path in list(self.folder.iterdir()):
            if path.is_dir() and path.name not in names and path.name.lstrip(".").startswith("step_"):
                shutil.rmtree(path, ignore_errors=True)
        if not self.replay.is_dir():
            return
        needed: set[str] = set()
        for old in kept:
            with contextlib.suppress(CheckpointError):  # one that cannot be read needs nothing
                needed |= {entry["file"] for entry in read_manifest(self._at(old)).get("segments", [])}
        for path in list(self.replay.iterdir()):
            if path.name not in needed and path.name.lstrip(".").startswith("segment_"):
                path.unlink(missing_ok=True)
