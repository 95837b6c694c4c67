"""A policy in one file, to hand on: a ZIP of a run's configuration, its records and the weights of one checkpoint, without code, replay and
optimizers.

    config.yaml, status.json, summary.json, evaluations.jsonl, metrics.jsonl, README.md, checkpoints/last, checkpoints/step_<12 digits>/

The best checkpoint has `checkpoints/best` in place of `checkpoints/last`, because an evaluation must not repeat the one that chose it.

An archive may come from a stranger: only these names are written, as plain files in a new folder, and no more bytes than `LIMIT`.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from deeprl.errors import RunFolderError
from deeprl.running.runs import checkpoint
from deeprl.running.runs.checkpoint import step_folder
from deeprl.running.runs.config_file import Config, written
from deeprl.running.runs.folder import LINES_LIMIT, RunFolder
from deeprl.running.runs.places import holds_run, make_place, making, require_new
from deeprl.system.files import create, opened, read_regular, replace_file, said
from deeprl.system.temporary import temporary
from deeprl.types import State

RECORDS = ("config.yaml", "status.json", "summary.json", "evaluations.jsonl", "metrics.jsonl")
"""Files of a run folder that an archive has. system.json, which tells of the machine, is none of them."""
CARD = "README.md"
NAME = re.compile(
    "|".join(map(re.escape, (*RECORDS, CARD)))
    + r"|checkpoints/(last|best)|checkpoints/step_\d{12}/(manifest\.json|state\.json|agent\.safetensors)"
)
LIMIT = 1 << 32
"""Most bytes of an archive's files together"""
COMPRESSED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Others are inflated by `zipfile` without a bound, whatever size an entry says"""
PIECE = 1 << 20
WRONG = (zipfile.BadZipFile, zlib.error, ValueError, NotImplementedError, RuntimeError, EOFError, KeyError, OverflowError, UnicodeError)
"""What Python raises at a file that is no archive, or a damaged or encrypted one"""


def pack(folder: Path, step: int, agent: State, card: str, out: Path, best: bool = False) -> Path:
    """Write an archive. The same run gives the same bytes.

    Args:
        agent: of the checkpoint of `step`, as `Agent.state`. Its optimizers are left out.
        card: text for whoever gets it.
        out: the file, which must not exist.
        best: the checkpoint was asked for as the best one.

    Raises:
        RunFolderError: `out` exists.
    """
    if os.path.lexists(out):
        raise RunFolderError(f"{out} exists: name another file (--out FILE), or remove it")
    slim = {name: part for name, part in agent.items() if name != "optimizers"}
    best = best or packed_as_best(folder)
    with temporary() as made:
        checkpoint.save(made / "step", {"agent": slim}, step=step)
        files = {CARD: card.encode(), f"checkpoints/{'best' if best else 'last'}": f"{step_folder(step)}\n".encode()}
        for path in (made / "step").iterdir():
            files[f"checkpoints/{step_folder(step)}/{path.name}"] = path.read_bytes()
    for name in RECORDS:
        try:
            files[name] = read_regular(folder / name, LINES_LIMIT)
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise RunFolderError(f"{folder / name} cannot be packed: {said(error)}") from None
    files["config.yaml"] = written(public(RunFolder(folder).read_config())).encode()
    make_place(out.parent, str(out.parent), "--out FILE")
    with tempfile.SpooledTemporaryFile(max_size=1 << 28) as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in sorted(files):
                archive.writestr(zipfile.ZipInfo(name), files[name], zipfile.ZIP_DEFLATED)  # with ZIP's first date, 1980
        file.seek(0)
        with making(str(out), "--out FILE"):
            replace_file(out, iter(lambda: file.read(PIECE), b""))
    return out


def packed_as_best(run: Path) -> bool:
    """Whether a run folder was made of an archive of the best checkpoint."""
    return not (run / "checkpoints" / "last").exists() and (run / "checkpoints" / "best").exists()


def public(config: Config) -> Config:
    """The configuration without where its numbers went and what it connected to: these may hold names, addresses and passwords."""
    found = {**config, "logger": {"_target_": "deeprl.running.runs.loggers.Logging", "wandb": False}}
    collect = config.get("collect") or {}
    if collect.get("address") not in (None, "auto"):
        found["collect"] = {**collect, "address": "auto"}
    return found


def unpack(file: Path, folder: Path) -> None:
    """Write the files of an archive to a new folder; on an error nothing of it stays.

    Raises:
        RunFolderError: it is no archive of a policy, or damaged, or too large; or `folder` is not new.
    """
    if holds_run(folder):
        raise RunFolderError(f"{folder} already holds a run: name another folder")
    require_new(folder, key="")
    if folder.is_dir() and any(folder.iterdir()):  # a run may begin beside a log, and a folder cannot be put in the place of another
        raise RunFolderError(f"{folder} is not empty: name another folder")
    try:
        with opened(file) as stream, zipfile.ZipFile(stream) as archive:
            entries = checked(archive)
            folder.parent.mkdir(parents=True, exist_ok=True)
            with temporary(folder.parent) as made:
                for entry in entries:
                    path = made / "run" / entry.filename
                    path.parent.mkdir(parents=True, exist_ok=True)
                    create(path, _pieces(archive, entry))
                os.replace(made / "run", folder)
    except WRONG as error:
        raise RunFolderError(f"{file} is no archive of a policy that is whole: {error}") from None
    except OSError as error:
        raise RunFolderError(f"{file} cannot be unpacked to {folder}: {error.strerror or error}") from None


def checked(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The entries of an archive.

    Raises:
        ValueError: one has another name than those of a policy, or stands twice; or the archive is too large, or lacks a configuration.
    """
    entries = archive.infolist()
    names = [entry.filename for entry in entries]
    for entry in entries:
        if not NAME.fullmatch(entry.filename):
            raise ValueError(f"it holds {entry.filename!r:.100}, which no policy has")
        if entry.compress_type not in COMPRESSED or entry.flag_bits & 1:
            raise ValueError(f"{entry.filename} is encrypted, or compressed in another way than deeprl does")
    if len({*names}) < len(names) or "config.yaml" not in names:
        raise ValueError("it holds a name twice" if "config.yaml" in names else "it has no config.yaml")
    if sum(entry.file_size for entry in entries) > LIMIT:
        raise ValueError(f"its files have more than {LIMIT:,} bytes")
    return entries


def _pieces(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Iterator[bytes]:
    """The content of an entry, a piece at a time. `zipfile` gives no more than the size that it says, and checks its sum."""
    with archive.open(entry) as file:
        while piece := file.read(PIECE):
            yield piece


def as_folder(path: Path) -> Path:
    """A run folder as it is; an archive unpacked, to a folder that lives as long as this process.

    Raises:
        RunFolderError: as in `unpack`.
    """
    if not path.is_file() or not (path.suffix == ".zip" or zipfile.is_zipfile(path)):
        return path
    made = tempfile.mkdtemp(prefix="deeprl_")
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    unpack(path, folder := Path(made) / path.stem)
    return folder
