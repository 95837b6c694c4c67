"""The folder of a run: its lock, and the small files in it that people and other tools read."""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from deeprl.errors import RunFolderError
from deeprl.running.runs import config_file
from deeprl.running.runs.config_file import Config
from deeprl.system.files import (
    Appender,
    ends_line,
    full,
    machine_fault,
    opened,
    own_folder,
    read_regular,
    regular_size,
    remove_partials,
    replace_file,
    said,
    sole,
    truncate_file,
)
from deeprl.system.machine import now
from deeprl.system.portable import after_fork, open_plain, read_start, try_lock, write_anew
from deeprl.system.strict_json import JsonObject, plain, strict_json
from deeprl.system.terminal import brief

GROWING = ("metrics.jsonl", "evaluations.jsonl")
JSON_LIMIT, LINE_LIMIT, LINES_LIMIT = 1 << 24, 1 << 22, 1 << 30
"""Largest bytes of a JSON file; of one line of a file that grows, which is enough for an evaluation of 150,000 episodes; and of such a
file, which is enough for millions of lines of metrics."""
STARTS = 1000
"""Starts that system.json tells of"""
STATES = ("running", "finished", "failed", "stopped")

# ---- lock

LOCKS: set[int] = set()
"""Open files of the locks that this process holds"""


def _close_locks() -> None:
    """Called in a forked child, for example a helper of an environment, because the lock would stay as long as the child lives."""
    for handle in LOCKS:
        with contextlib.suppress(OSError):
            os.close(handle)
    LOCKS.clear()


after_fork(_close_locks)


def _holder_of(handle: int) -> str:
    """What the holder of a lock has written into it."""
    return read_start(handle, 200).decode(errors="replace").strip() or "another process"


def holder(path: Path) -> str | None:
    """Who works in a run folder now, as in "pid 12 on host"; None if nobody does."""
    try:
        handle = open_plain(path / "lock", os.O_RDONLY)
    except OSError:
        return None
    try:
        return None if try_lock(handle, shared=True) else _holder_of(handle)
    except OSError:  # a file system without locks
        return None
    finally:
        os.close(handle)


# ---- content


class RunFolder:
    """The lock and the small files of one run. Checkpoints and event files have classes of their own."""

    def __init__(self, path: Path):
        self.path = Path(path)
        self._lock: int | None = None
        self._evaluations = Appender(self.path / "evaluations.jsonl")

    # -- lock

    def acquire(self) -> None:
        """Lock the folder until `release`, or until this process ends in any way.

        Raises:
            RunFolderError: another process holds the lock (the message gives its number and machine), or the folder cannot be locked.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            handle = open_plain(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o644)  # a link's target would be emptied
        except OSError as error:
            raise RunFolderError(f"{self.path / 'lock'} cannot be opened: {error.strerror}") from error
        if not sole(os.fstat(handle)):
            os.close(handle)
            raise RunFolderError(f"{self.path / 'lock'} is not a plain file, or has a second name: remove it to go on")
        try:
            for _ in range(20):  # because `holder` takes the lock for a moment
                if free := try_lock(handle):
                    break
                time.sleep(0.01)
        except OSError as error:
            os.close(handle)
            raise RunFolderError(f"{self.path / 'lock'} cannot be locked ({said(error)}): put runs on a file system with locks") from error
        if not free:
            holder = _holder_of(handle)
            os.close(handle)
            raise RunFolderError(
                f"{self.path} is in use by {holder}: wait for it, stop it, or give this run another folder (hydra.run.dir=…)"
            )
        try:
            write_anew(handle, f"pid {os.getpid()} on {socket.gethostname()}\n".encode())
        except OSError as error:  # such as a full disk
            os.close(handle)
            raise RunFolderError(f"{self.path / 'lock'} cannot be written: {error.strerror}. Mend that, then repeat the command") from error
        self._lock = handle
        LOCKS.add(handle)
        remove_partials(self.path)
        for name in ("checkpoints", "replay"):
            with contextlib.suppress(OSError):  # of a link, which `Checkpoints` refuses
                remove_partials(own_folder(self.path / name))

    def release(self) -> None:
        handle, self._lock = self._lock, None
        if handle in LOCKS:  # not in a forked child, where it is closed, and its number may be another file's
            LOCKS.discard(handle)
            os.ftruncate(handle, 0)
            os.close(handle)  # the file stays, because without it two processes could lock two files of this name

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        self.acquire()
        try:
            yield
        finally:
            self.release()

    # -- configuration

    def write_config(self, config: object) -> None:
        config_file.write_config(self.path / "config.yaml", config)

    def read_config(self) -> Config:
        return config_file.read_config(self.path / "config.yaml")

    # -- status and records

    def write_status(
        self,
        state: str,
        step: int,
        updates: int,
        error: str | None = None,
        stopped_early: str | None = None,
        saved: int | None = None,
    ) -> None:
        """
        Args:
            saved: step of the last checkpoint; None: there is none.
        """
        if state not in STATES:
            raise ValueError(f"state must be {', '.join(STATES)}, not {state!r}")
        counts = {"step": int(step), "updates": int(updates), "saved": saved}
        error = error and brief(error)  # a reader refuses a large file
        self._write("status.json", {"state": state, **counts, "error": error, "stopped_early": stopped_early, "time": now()})

    def read_status(self) -> JsonObject | None:
        """None before the first `write_status`."""
        found = self._read("status.json", dict)
        if found is not None and not (found.get("state") in STATES and all(type(found.get(n)) is int for n in ("step", "updates"))):
            raise RunFolderError(f"{self.path / 'status.json'} is damaged: it holds no state, step or updates; move it away to go on")
        return found

    def append_system(self, entry: JsonObject) -> None:
        """Append the `system_entry` of one start to system.json. Of many starts, the first and the newest stay."""
        found = self.read_system()
        self._write("system.json", [*found[:1], *found[1:][2 - STARTS :], entry])

    def read_system(self) -> list[Any]:
        """One entry for each start of the run."""
        return self._read("system.json", list) or []

    def write_summary(self, summary: JsonObject) -> None:
        self._write("summary.json", summary)

    def read_summary(self) -> JsonObject | None:
        """None unless the run has finished: the file stays where a finished run goes on for more steps."""
        status = self.read_status()
        return self._read("summary.json", dict) if status is not None and status["state"] == "finished" else None

    def append_evaluation(self, evaluation: JsonObject) -> None:
        """Append a line to evaluations.jsonl. On a full disk it stays in memory until the next call or `flush`.

        Args:
            evaluation: {"step", "seed", "returns", "lengths"}
        """
        self._evaluations.write(json.dumps(plain(evaluation)).encode() + b"\n")
        try:
            self.flush()
        except OSError as error:
            if not full(error):
                raise

    def flush(self) -> None:
        """Write all evaluations to disk. Called before a checkpoint, because all lines up to its step must then be on disk.

        Raises:
            OSError: the lines could not be written and stay in memory.
        """
        self._evaluations.flush(durable=True)

    def read_evaluations(self) -> list[JsonObject]:
        return [found for _, found in read_lines(self.path / "evaluations.jsonl")]

    def sizes(self) -> dict[str, int]:
        """Bytes of the files that grow line by line, 0 without one. A checkpoint stores them."""
        return {name: (self.path / name).stat().st_size if plain_file(self.path / name) else 0 for name in GROWING}

    def truncate_after(self, step: int, sizes: dict[str, int] | None = None) -> None:
        """Remove lines that were logged after the checkpoint of `step`, and an incomplete line that a crash left.

        Args:
            step: step of the checkpoint; -1 removes every line, for a run that was killed before its first checkpoint.
            sizes: `sizes()` at the checkpoint, to which files are cut. If no line ends there, lines up to `step` are kept instead.
        """
        for name in GROWING:
            path = self.path / name
            if not plain_file(path):
                continue
            size = (sizes or {}).get(name, -1)
            if ends_line(path, size):
                truncate_file(path, size)
            else:
                replace_file(path, (line.encode() for line, entry in read_lines(path) if entry["step"] <= step))

    def _write(self, name: str, content: object) -> None:
        replace_file(self.path / name, json.dumps(plain(content), indent=1, allow_nan=False) + "\n")

    def _read(self, name: str, kind: type) -> Any:
        path = self.path / name
        try:
            found = strict_json(read_regular(path, JSON_LIMIT))
            if not isinstance(found, kind):
                raise ValueError(f"it holds a {type(found).__name__} instead of a {kind.__name__}")
            return found
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            if fault := machine_fault(error):
                raise RunFolderError(f"{path} cannot be read: {fault}. It may be whole, so try again") from error
            raise RunFolderError(f"{path} is damaged: {said(error)}; move it away to go on") from None


def plain_file(path: Path) -> bool:
    """Whether the file exists.

    Raises:
        RunFolderError: it is a link, a pipe or a device, because reading might never end and writing would change another file.
    """
    try:
        regular_size(path)
        return True
    except FileNotFoundError:
        return False
    except OSError as error:
        raise RunFolderError(f"{path} is refused: {said(error)}") from None


def read_lines(path: Path, skipped: Callable[[int], object] = lambda number: None) -> Iterator[tuple[str, JsonObject]]:
    """The lines that have a step, each as text and parsed. Incomplete and overlong lines are skipped; a missing file has no lines.

    Args:
        skipped: called with the number of each line that is skipped, from 1; an overlong line counts as several.

    Raises:
        RunFolderError: as in `plain_file`, or it has more than `LINES_LIMIT` bytes.
    """
    if not plain_file(path):
        return
    try:
        lines = opened(path, LINES_LIMIT)
    except ValueError as error:
        raise RunFolderError(f"{path} is refused: {said(error)}; move it away to go on") from None
    with io.TextIOWrapper(lines, "utf-8", "replace") as file:
        for number, line in enumerate(iter(lambda: file.readline(LINE_LIMIT), ""), 1):
            found = None
            with contextlib.suppress(ValueError):
                found = strict_json(line)
            if line.endswith("\n") and isinstance(found, dict) and isinstance(found.get("step"), (int, float)):
                yield line, found
            else:
                skipped(number)
