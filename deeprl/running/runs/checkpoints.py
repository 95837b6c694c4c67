"""The checkpoints of a run, and the replay segments that they share.

checkpoints/last, best                  one line, the name of a checkpoint folder
replay/segment_<8 digits>.safetensors   rows of the replay, written once and shared by the checkpoints that list them
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from deeprl.errors import CheckpointError, CheckpointWarning, UnreadableError
from deeprl.running.runs import checkpoint
from deeprl.running.runs.checkpoint import (
    REPLACED,
    SEGMENT_NAME,
    STEP,
    existing,
    read_manifest,
    read_tensors,
    step_folder,
    verify,
    write_tensors,
)
from deeprl.running.runs.segments import follows, joined, size, still_needed
from deeprl.system.files import full, partial, read_regular, regular_size, remove, replace_file
from deeprl.system.strict_json import JsonObject
from deeprl.types import State

HEADER = 1 << 14
"""Bytes up to which a segment is always joined with new rows, because the header is most of such a file."""

OURS = re.compile(rf"{STEP.pattern}({REPLACED})?|{SEGMENT_NAME.pattern}|\.(step|segment)_.*\.partial")
"""Names that this program gives, finished or not: what else is there may be a user's copy."""


class Checkpoints:
    """All checkpoints of a run: saving, loading, and removing old ones.

    Args:
        run: the run folder.
        keep: number of the newest checkpoints to keep, besides the best.
        segment_bytes: largest size in bytes of a segment that is joined from smaller ones.
        clean_later: `save` removes nothing; `clean` does, once the checkpoint that this one belongs to is written.
    """

    def __init__(self, run: Path, keep: int = 2, segment_bytes: int = 1 << 23, clean_later: bool = False):
        if keep < 1:
            raise ValueError(f"checkpoint.keep must be at least 1, not {keep}: a run without a checkpoint cannot be resumed")
        self.folder, self.replay, self.keep = Path(run) / "checkpoints", Path(run) / "replay", keep
        self.segment_bytes, self.clean_later = segment_bytes, clean_later
        self._segments: list[JsonObject] = []
        """Segments of the checkpoint that was saved or loaded last, as manifest entries, oldest first"""
        self._ahead: list[JsonObject] = []
        """Segments written ahead for the next checkpoint, as manifest entries"""
        self._best_due: int | None = None
        """Step of a new best checkpoint that the file `best` does not name yet"""
        self._verified: set[tuple] = set()

    # -- writing

    def save(
        self,
        step: int,
        parts: State,
        rows: dict[str, Tensor] | None = None,
        live_from: list[int] | None = None,
        best: bool = False,
    ) -> dict[str, float]:
        """Write a checkpoint, write its name to the file `last`, then remove files that no checkpoint needs any more.

        Args:
            rows: segment of the replay rows added since the last checkpoint saved or loaded here, as `Replay.rows` returns it.
            live_from: for each environment, the number of the oldest row in the ring. Segments that end before it are dropped. If `rows`
                and `live_from` are both None, the replay is left out of the checkpoint.
            best: write the name to the file `best` too. If the disk is full, the checkpoint is kept, and the next call tries again.

        Returns:
            {"bytes": written, "seconds": taken}

        Raises:
            OSError: the checkpoint could not be written. Earlier ones are untouched, and the next call writes all that is missing.
        """
        began, listed, new = time.perf_counter(), [], None
        self._refuse_links(self.folder, self.replay)
        self._make(self.folder)
        written = sum(entry["bytes"] for entry in self._ahead)
        if rows is not None or live_from is not None:
            listed = [*self._segments, *self._ahead]
        if rows is not None and not torch.equal(rows["start"], rows["stop"]):
            new = self._write_segment(self._with_tail(rows, listed))
            listed.append(new)
            written += new["bytes"]
        if live_from is not None:
            listed = [entry for entry in listed if still_needed(entry, live_from)]
        try:
            written += checkpoint.save(self.folder / step_folder(step), parts, step=step, segments=listed)
        except OSError:
            if new is not None and not self._may_list(step, new):  # otherwise a full disk stays full
                self._remove(new)
            raise
        replace_file(self.folder / "last", step_folder(step) + "\n")
        self._segments, self._ahead = listed, []
        if best:
            self._best_due = step
        self._mark_due()
        if not self.clean_later:
            self.clean(step)
        return {"bytes": written, "seconds": time.perf_counter() - began}

    def write_ahead(self, rows: dict[str, Tensor], live_from: list[int]) -> None:
        """Write replay rows of the next checkpoint now, so that the checkpoint stops training for a shorter time. A process that ends
        before that checkpoint leaves a file that no manifest lists, and the next checkpoint of the run removes it.

        Args:
            rows: as in `save`. The next call gets the rows that follow these.
            live_from: as in `save`. Segments written ahead are removed once the ring has overwritten all their rows.

        Raises:
            OSError: the rows could not be written; the next call must contain them.
        """
        self._refuse_links(self.folder, self.replay)
        self._ahead.append(self._write_segment(rows))
        for entry in [entry for entry in self._ahead if not still_needed(entry, live_from)]:
            self._ahead.remove(entry)
            self._remove(entry)

    def _mark_due(self) -> None:
        if self._best_due is None:
            return
        try:
            self.mark_best(self._best_due)
            self._best_due = None
        except OSError as error:
            if not full(error):
                raise

    def mark_best(self, step: int) -> None:
        """Write the name of the checkpoint of `step` to the file `best`. That checkpoint is then kept whatever its age."""
        if not self.holds(step):
            raise CheckpointError(f"{self.folder / step_folder(step)} cannot be the best checkpoint: it is missing, save it first")
        replace_file(self.folder / "best", step_folder(step) + "\n")

    def _make(self, folder: Path) -> None:
        """Make a folder of checkpoints. A run folder that is gone is not made anew, because its other files are where it is now."""
        folder.mkdir(parents=self.clean_later, exist_ok=True)

    def _refuse_links(self, *folders: Path) -> None:
        own = self.folder.parent
        for folder in (*folders, *((own, own.parent) if self.clean_later else ())):
            if folder.is_symlink():  # because files of another folder would be read, or removed
                raise CheckpointError(f"{folder} is a link, which is refused: put the whole run folder where there is space")
            if folder.exists() and not folder.is_dir():
                raise CheckpointError(f"{folder} is no folder: remove it to go on")

    def _with_tail(self, rows: dict[str, Tensor], listed: list[JsonObject]) -> dict[str, Tensor]:
        """`rows`, joined with the newest segments of `listed`, which are removed from that list.

        Only segments up to twice the size of the rows (or up to `HEADER`) are joined. Thus segments double in size up to `segment_bytes`
        bytes, and their number stays small, because a manifest lists each one.
        """
        while listed and follows(rows, listed[-1]):
            large, old = size(rows), listed[-1]["bytes"]
            if old > max(2 * large, HEADER) or old + large > self.segment_bytes:
                break
            try:
                self._verify_segment(listed[-1])
                rows = joined(read_tensors(self.replay / listed[-1]["file"]), rows)
            except CheckpointError:  # a damaged segment is not copied into this one
                break
            listed.pop()
        return rows

    def _write_segment(self, rows: dict[str, Tensor]) -> JsonObject:
        """Write a segment under the next number. Returns its manifest entry."""
        self._make(self.replay)
        taken = [int(match[1]) for match in map(SEGMENT_NAME.fullmatch, os.listdir(self.replay)) if match]
        name = f"segment_{max(taken, default=0) + 1:08d}.safetensors"
        with partial(self.replay / name) as new:
            written = write_tensors(new, {key: row.detach().cpu().contiguous() for key, row in rows.items()})
        return {"file": name, **written, "start": rows["start"].tolist(), "stop": rows["stop"].tolist()}

    def _may_list(self, step: int, entry: JsonObject) -> bool:
        """Whether the checkpoint of a step may list a segment: a save that failed late has put it in its place."""
        folder = self.at(step)
        try:
            return folder.exists() and any(each["file"] == entry["file"] for each in read_manifest(folder)["segments"])
        except CheckpointError:
            return True  # unknown; `clean` removes it later

    def _remove(self, entry: JsonObject) -> None:
        remove(self.replay / entry["file"])

    def clean(self, step: int) -> None:
        """Remove checkpoints beyond `keep`, checkpoints after `step` (the run was resumed before them), leftovers of crashes, and segments
        that no manifest lists."""
        best = self.pointed("best") if self._best_due is None else self._best_due
        kept = {step, *([] if best is None else [best]), *[old for old in self.steps() if old <= step][-self.keep :]}
        names = {step_folder(old) for old in kept}
        names |= {name + REPLACED for name in names if not (self.folder / name).exists()}
        for path in list(self.folder.iterdir()):
            if path.is_dir() and path.name not in names and OURS.fullmatch(path.name):
                shutil.rmtree(path, ignore_errors=True)
        if not self.replay.is_dir():
            return
        try:
            needed = {entry["file"] for old in kept for entry in read_manifest(self.at(old))["segments"]}
        except CheckpointError:  # no segment is removed while a damaged manifest is kept, because its segments are unknown
            return
        for path in list(self.replay.iterdir()):
            if path.name not in needed and OURS.fullmatch(path.name):
                remove(path)

    # -- reading

    def steps(self) -> list[int]:
        """Steps that have a checkpoint, readable or not, in order."""
        names = [path.name.removesuffix(REPLACED) for path in self.folder.iterdir()] if self.folder.is_dir() else []
        return sorted({int(match[1]) for match in map(STEP.fullmatch, names) if match})

    def holds(self, step: int) -> bool:
        """Whether a checkpoint of `step` was written to its end."""
        return (self.at(step) / "manifest.json").exists()

    def largest(self, part: str) -> int:
        """Bytes of the largest file of a part in any checkpoint: an upper bound of its tensors.

        Raises:
            CheckpointError: there is no checkpoint.
        """
        found = [0]
        for step in self.candidates("last"):
            with contextlib.suppress(OSError):
                found.append(regular_size(self.at(step) / f"{part}.safetensors"))
        return max(found)

    def pointed(self, which: str) -> int | None:
        """The step that the file `last` or `best` names."""
        with contextlib.suppress(OSError, ValueError):
            match = STEP.fullmatch(read_regular(self.folder / which, 100).decode().strip())
            return int(match[1]) if match else None
        return None

    def load(
        self,
        which: str | int = "last",
        only: set[str] | None = None,
        most: dict[str, int] | None = None,
        replaced: bool = True,
        also: frozenset[str] = frozenset(),
    ) -> tuple[int, State]:
        """Step and parts of a checkpoint.

        If the last checkpoint is damaged, a `CheckpointWarning` names the file and another checkpoint is loaded: the one before it, if
        there is one. The best checkpoint, or that of a given step, has no such replacement.

        Args:
            which: "last", "best" or a step.
            only: names of the parts to load; None loads all, and checks the replay segments too.
            most, also: as in `checkpoint.load`.
            replaced: false: no other checkpoint is loaded in place of a damaged one.

        Raises:
            CheckpointError: none is readable; the message gives the reason for each.
            UnreadableError: the machine cannot read one now, which may be whole.
        """
        if only is None:
            self._refuse_links(self.replay)
        candidates = self.candidates(which)[: None if replaced else 1]
        reasons = []
        for i, step in enumerate(candidates):
            try:
                segments, parts = self._load(step, only, most, also)
            except CheckpointError as error:
                if step not in self.steps() and self.candidates(which)[: len(candidates)] != candidates:
                    return self.load(which, only, most, replaced, also)  # its run has saved another one and removed this
                if isinstance(error, UnreadableError):  # a run that goes on from another one would remove this one
                    raise
                reasons.append(str(error))
                if i + 1 < len(candidates):
                    warnings.warn(f"{error}. Trying the checkpoint of step {candidates[i + 1]} instead.", CheckpointWarning, stacklevel=2)
            else:
                self._segments, self._ahead = segments, []
                return step, parts
        raise CheckpointError("; ".join(reasons))

    def segments(self, step: int) -> Iterator[dict[str, Tensor]]:
        """The replay segments of the checkpoint of `step`, oldest first. A segment is read when the iterator reaches it."""
        for entry in read_manifest(self.at(step))["segments"]:
            self._verify_segment(entry)
            yield read_tensors(self.replay / entry["file"])

    def candidates(self, which: str | int) -> list[int]:
        """Steps of the checkpoints to try, one after the other.

        Raises:
            CheckpointError: there is none, or their folder is refused.
        """
        self._refuse_links(self.folder)
        steps = self.steps()
        if not steps:
            raise CheckpointError(f"{self.folder} holds no checkpoint: the run stopped before its first one, or this is no run folder")
        wanted = self.pointed(which) if isinstance(which, str) else int(which)
        if which == "last":  # later checkpoints come at the end: they are from an interrupted save, or from before the run was resumed
            newest = steps[-1] if wanted is None else wanted
            return [newest, *(step for step in steps[::-1] if step < newest), *(step for step in steps[::-1] if step > newest)]
        if wanted is None:
            names = [name for name in ("last", "best") if self.pointed(name) is not None]
            there = ", ".join([*names, *map(str, steps)])
            raise CheckpointError(f"{self.folder / str(which)} names no checkpoint; there are {there}")
        if wanted not in steps:
            raise CheckpointError(f"{self.folder} has no checkpoint of step {wanted}; it has {', '.join(map(str, steps))}")
        return [wanted]

    def at(self, step: int) -> Path:
        """The folder of a checkpoint."""
        return existing(self.folder / step_folder(step))

    def _load(self, step: int, only: set[str] | None, most: dict[str, int] | None, also: frozenset[str]) -> tuple[list[JsonObject], State]:
        """Manifest entries of the segments (none if `only` is given), and the parts."""
        folder = self.at(step)
        if folder.is_symlink():
            raise CheckpointError(f"{folder} is a link, which is refused")
        manifest = read_manifest(folder)
        if manifest.get("step") != step:
            raise CheckpointError(f"{folder} is damaged: its manifest is that of step {manifest.get('step')}")
        segments = manifest["segments"] if only is None else []
        for entry in segments:
            self._verify_segment(entry)
        return segments, checkpoint.load(folder, only, most, also)

    def _verify_segment(self, entry: JsonObject) -> None:
        path = self.replay / entry["file"]
        with checkpoint.blame(path):
            info = path.lstat()
            mark = (entry["file"], entry["sha256"], entry["bytes"], info.st_size, info.st_mtime_ns, info.st_ino)
        if mark not in self._verified:  # once for each file, because hashing a whole replay takes seconds
            verify(path, entry)
            self._verified.add(mark)
