"""One checkpoint: a folder. A crash while it is saved leaves the old content readable; a damaged or changed checkpoint is refused.

    checkpoints/step_<12 digits>/    manifest.json, state.json, <part>.safetensors

The folder is written under another name, flushed to disk and renamed. Its manifest holds size and hash of every file, and a hash of itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from deeprl.errors import CheckpointError, UnreadableError
from deeprl.running.runs.state import pack, unpack
from deeprl.system.files import (
    create,
    machine_fault,
    opened,
    read_regular,
    regular_size,
    remove,
    sha256,
    sync_file,
    sync_folder,
    utf8,
)
from deeprl.system.machine import available_memory
from deeprl.system.strict_json import JsonObject, strict_json
from deeprl.types import State

FORMAT = 1
PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")
STEP = re.compile(r"step_(\d{12})")
SEGMENT_NAME = re.compile(r"segment_(\d{8})\.safetensors")
SMALL = 1 << 20
"""Bytes that any machine has free: for smaller files the kernel is not asked, whose answer takes longer than they do"""
REPLACED = "~replaced"
MANIFEST_LIMIT, STATE_LIMIT, HEADER_LIMIT = 1 << 24, 1 << 25, 1 << 24
"""Largest files in bytes that are read, and therefore also written."""
DAMAGE = (
    OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, MemoryError, RuntimeError, AssertionError,
    struct.error, safetensors.SafetensorError,
)  # fmt: skip
"""Exceptions that code may raise when it reads content that no run writes."""


def step_folder(step: int) -> str:
    """Name of the folder of a checkpoint; `STEP` matches it."""
    return f"step_{step:012d}"


# ---- the folder


def save(folder: Path, parts: State, **about: object) -> int:
    """Write `parts` to `folder`, replacing its content, and return the number of bytes. `about` goes into the manifest.

    Raises:
        TypeError: a part holds an object that cannot be saved; nothing was changed.
        ValueError: the name of a part cannot be a file name, or two names differ only in case.
        CheckpointError: a file would be too large to be read back; nothing was changed.
    """
    folder = Path(folder)
    if len({name.lower() for name in parts}) < len(parts) or not all(PART.fullmatch(name) for name in parts):
        raise ValueError(f"names of parts become file names: letters, digits, - and _, not equal but for case; not {list(parts)}")
    partial = folder.with_name(f".{folder.name}.partial")
    clear(partial)
    partial.mkdir(parents=True)
    try:
        files, state = {}, {}
        for name, part in parts.items():
            state[name], tensors = pack(part, name)
            if tensors:
                files[f"{name}.safetensors"] = write_tensors(partial / f"{name}.safetensors", tensors)
        text = json.dumps(state, allow_nan=False).encode()
        create(partial / "state.json", limited(text, STATE_LIMIT, "state.json"))
        files["state.json"] = {"bytes": len(text), "sha256": hashlib.sha256(text).hexdigest()}
        manifest = {"format": FORMAT, **about, "files": files}
        text = json.dumps({**manifest, "sha256": _digest(manifest)}, allow_nan=False).encode()
        written = sum(entry["bytes"] for entry in files.values())
        written += create(partial / "manifest.json", limited(text, MANIFEST_LIMIT, "manifest.json"))
        sync_folder(partial)
        _publish(partial, folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)  # otherwise a full disk stays full
        raise
    return written


def limited(text: bytes, limit: int, name: str) -> bytes:
    """`text`, after a check of its length.

    Raises:
        CheckpointError: `text` is longer than `limit`, so the file `name` could not be read back.
    """
    if len(text) > limit:
        raise CheckpointError(f"{name} of this checkpoint would have {len(text):,} bytes, more than the {limit:,} that can be read back")
    return text


def load(folder: Path, only: set[str] | None = None, most: dict[str, int] | None = None, also: frozenset[str] = frozenset()) -> State:
    """The parts saved in `folder`, or `only` some of them. Tensors of the other parts are neither checked nor read.

    Args:
        most: for some parts, the largest allowed size of their file in bytes. No file may be larger than the available memory either.
        also: names of parts to load beside `only` where the checkpoint has them.

    Raises:
        CheckpointError: a file is missing or damaged; the message names it.
        UnreadableError: the machine cannot read a file now.
    """
    folder = existing(Path(folder))
    files, path = read_manifest(folder)["files"], folder / "state.json"
    verify(path, files.get("state.json"), STATE_LIMIT)
    with blame(path):
        state = strict_json(read_regular(path, STATE_LIMIT))
        if not isinstance(state, dict):
            raise ValueError("it holds no parts")
    for name in files:
        if name != "state.json" and name.removesuffix(".safetensors") not in state:
            raise CheckpointError(f"{folder / name} is damaged: no part of state.json has this name")
    missing = set(only or ()) - set(state)
    if missing:
        raise CheckpointError(f"{folder} has no part {', '.join(sorted(missing))}; it has {', '.join(sorted(state))}")
    parts = {}
    for name in state if only is None else [name for name in state if name in only | also]:
        entry, tensors = files.get(f"{name}.safetensors"), {}
        if entry is not None:
            verify(folder / f"{name}.safetensors", entry, (most or {}).get(name))
            tensors = read_tensors(folder / f"{name}.safetensors")
        with blame(path):
            parts[name] = unpack(state[name], tensors)
    return parts


def _publish(partial: Path, folder: Path) -> None:
    # The old folder is first renamed to a name that `existing` knows, because no single call replaces a folder that is not empty.
    aside = folder.with_name(folder.name + REPLACED)
    if os.path.lexists(folder):
        clear(aside)
        os.rename(folder, aside)
    os.rename(partial, folder)
    sync_folder(folder.parent)
    clear(aside)


def clear(path: Path) -> None:
    """Remove a file, folder or link. The target of a link stays, because in a stranger's folder it may be any folder of the user."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        remove(path)


def existing(folder: Path) -> Path:
    """`folder`, or the folder that holds its old content if a crash interrupted the replacement."""
    aside = folder.with_name(folder.name + REPLACED)
    return aside if aside.is_dir() and not folder.exists() else folder


# ---- the manifest


def read_manifest(folder: Path) -> JsonObject:
    """The manifest of a checkpoint folder. Every name in it is checked; `segments` is empty if the file lists none.

    Raises:
        CheckpointError: the manifest is missing or damaged.
    """
    path = folder / "manifest.json"
    with blame(path):
        manifest = strict_json(read_regular(path, MANIFEST_LIMIT))
        if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
            raise ValueError(f"its format is not {FORMAT}: it needs another version of deeprl")
        if manifest.pop("sha256", None) != _digest(manifest):
            raise ValueError("its own hash does not fit: it was changed after it was written")
        files, segments = manifest["files"], manifest.setdefault("segments", [])
        if not isinstance(files, dict) or not isinstance(segments, list):
            raise ValueError("its lists of files are not lists")
        for name in files:
            if name != "state.json" and not PART.fullmatch(name.removesuffix(".safetensors")):
                raise ValueError(f"{name!r} is not the name of a part's file; absolute paths and '..' are refused")
        for entry in segments:
            start, stop = entry["start"], entry["stop"]
            if not (len(start) == len(stop) and all(type(n) is int and 0 <= n < 1 << 62 for n in (*start, *stop))):
                raise ValueError("the row numbers of a replay segment are not whole numbers of at least 0")
        names: set[str] = set()
        for name in (entry["file"] for entry in segments):
            if not SEGMENT_NAME.fullmatch(name) or name in names:
                raise ValueError(f"{name!r} is not the name of a replay segment, or is listed twice")
            names.add(name)
    return manifest


def _digest(manifest: JsonObject) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


# ---- the files that a manifest lists


@contextlib.contextmanager
def blame(path: Path) -> Iterator[None]:
    """Name `path` in the error if the block raises one of `DAMAGE`.

    Raises:
        UnreadableError: the machine could not read the file.
        CheckpointError: the file is missing or damaged.
    """
    try:
        yield
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing") from None
    except DAMAGE as error:
        if fault := machine_fault(system_error(error, path) or error):
            raise UnreadableError(f"{path} cannot be read: {fault}. It may be whole, so try again") from error
        raise CheckpointError(f"{path} is damaged: {error or type(error).__name__}") from error


def system_error(error: BaseException, path: Path) -> OSError | None:
    """The error of the system that safetensors has put into its own text."""
    number = re.search(r"(?:os error|code:) (\d+)", str(error)) if isinstance(error, safetensors.SafetensorError) else None
    return None if number is None else OSError(int(number[1]), os.strerror(int(number[1])), str(path))


def verify(path: Path, entry: Any, limit: int | None = None) -> None:
    """Compare a file with its entry in the manifest: first its size, then its hash, in constant memory.

    Raises:
        CheckpointError: the file differs, or is larger than `limit` (bytes).
        UnreadableError: it is larger than the available memory, or the machine cannot read it.
    """
    with blame(path):
        if entry is None:
            raise ValueError("the manifest does not list it")
        size = regular_size(path)
        if size != entry["bytes"]:
            raise ValueError(f"it has {size} bytes instead of {entry['bytes']}")
        if limit is not None and size > limit:
            raise ValueError(f"it has more than {limit} bytes")
    free = available_memory() if size > SMALL else None
    if free is not None and size > free:
        raise UnreadableError(f"{path} cannot be read: it has {size:,} bytes, and {free:,} are free in memory")
    with blame(path):
        if sha256(path) != entry["sha256"]:
            raise ValueError("its hash differs from the manifest's")


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> JsonObject:
    """Write tensors to a new file, flush it to disk and return the manifest's entry.

    Names are sorted and metadata is left out, because equal tensors must give equal hashes.

    Raises:
        CheckpointError: the path is no UTF-8, as safetensors wants it.
    """
    if not utf8(path):
        raise CheckpointError(f"{path} cannot be written: its path is no UTF-8; put the run elsewhere")
    seen: set[int] = set()
    ready = {}
    for name in sorted(tensors):
        tensor = tensors[name]
        place = tensor.untyped_storage().data_ptr()
        ready[name] = tensor.clone() if place in seen else tensor  # safetensors refuses two tensors in one storage
        seen.add(place)
    create(path)
    mode = path.stat().st_mode
    try:
        safetensors.torch.save_file(ready, path)
    except safetensors.SafetensorError as error:
        raise system_error(error, path) or error from None
    with contextlib.suppress(OSError):  # some file systems have no modes
        os.chmod(path, mode)  # because safetensors makes the file readable by its owner only
    with opened(path) as file:
        (length,) = struct.unpack("<Q", file.read(8))
    if length > HEADER_LIMIT:
        raise CheckpointError(f"{path.name} would have {len(ready):,} tensors, more than can be read back")
    sync_file(path)
    return {"bytes": path.stat().st_size, "sha256": sha256(path)}


def read_tensors(path: Path) -> dict[str, Tensor]:
    """
    Raises:
        CheckpointError: the file is missing or damaged.
        UnreadableError: its path is no UTF-8, as safetensors wants it.
    """
    if not utf8(path):
        raise UnreadableError(f"{path} cannot be read: its path is no UTF-8; rename the folder")
    with blame(path):
        with opened(path) as file:  # checked here, because the library accepts a repeated name and a larger header
            (length,) = struct.unpack("<Q", file.read(8))
            if length > HEADER_LIMIT:
                raise ValueError(f"its header claims {length} bytes")
            strict_json(file.read(length))
        # Copies, because the library returns mapped memory, which changes or vanishes with the file.
        return {name: tensor.clone() for name, tensor in safetensors.torch.load_file(path).items()}
