"""`deeprl clean [DIR...]`: remove what trials leave behind: runs that failed before their first checkpoint, and very short ones."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from deeprl.cli.arguments import natural
from deeprl.errors import FAILED, FINISHED, ConfigError, RunFolderError
from deeprl.running.config.rules import get
from deeprl.running.runs.config_file import folder_of
from deeprl.running.runs.folder import RunFolder, holder
from deeprl.running.runs.places import find_runs
from deeprl.system.files import passing, said
from deeprl.system.terminal import amount, one_line, print_result, say

FILES = re.compile(
    r"config\.yaml|(system|status|summary)\.json|lock|(metrics|evaluations)\.jsonl|events\.out\.tfevents\..*|traceback\.txt|stacks\.txt"
    r"|(wandb|mlflow|trackio)_id|.*\.(log|out|err|partial)"
)
FOLDERS = {
    "checkpoints": r"last|best|\..*\.partial", "replay": r"\..*\.partial", "videos": r".*\.mp4", "ranks": r"\d+", "crash": r"step_\d+.*",
    ".hydra": ".*", "wandb": ".*", ".wandb": ".*",
}  # fmt: skip
"""What a run writes, and what its folders hold beside checkpoints and segments (`OURS`). A run with anything else stays, an exported policy
among it."""
SOURCES = ("replay.data", "init_from", "agent.baseline.run")
"""Keys that name a run from which another one reads: its data, which are needed whenever that one goes on, and its weights"""


def arguments(parser: argparse.ArgumentParser) -> None:
    text = "run folders, and folders above several (default: runs)"
    parser.add_argument("folders", nargs="*", type=Path, default=[Path("runs")], metavar="DIR", help=text)
    text = "finished runs of at most so many steps are removed too (default: 1000; 0: none)"
    parser.add_argument("--below", type=natural, default=1000, metavar="STEPS", help=text)
    parser.add_argument("--yes", action="store_true", help="remove without asking")


def run(options: argparse.Namespace) -> int:
    chosen, kept = sorted_out(options)
    for path, user in kept.items():
        say(f"{one_line(str(path))} stays: {one_line(str(user))} goes on with its data or its weights")
    if not chosen:
        print_result("nothing to remove: no run has failed before its first checkpoint, and none is that short")
        return FINISHED
    for path, (why, _) in chosen.items():
        print_result(f"{one_line(str(path))}   {why}, {amount(size(path))}")
    if not options.yes:
        if not agreed(f"Remove these {len(chosen)} runs?"):
            print_result("nothing was removed")
            return FINISHED
        still, _ = sorted_out(options)  # what has started while the question was open may read a run
        for path in [path for path in chosen if path not in still]:
            say(f"{one_line(str(path))} stays: it has changed meanwhile, or a run that has started reads it")
            del chosen[path]
    left = [not remove(path, why, options.below, folder) for path, (why, folder) in chosen.items()]
    return FAILED if any(left) else FINISHED


def sorted_out(options: argparse.Namespace) -> tuple[dict[Path, tuple[str, Path]], dict[Path, Path]]:
    """The runs to remove, with the reason and the folder of the command where they were found; and those that stay because another run or
    a waiting job reads them, with the folder of that one."""
    chosen: dict[Path, tuple[str, Path]] = {}
    seen: set[Path] = set()  # two folders of the command may hold a run
    stay: list[Path] = []
    for folder in options.folders:
        for path in find_runs(folder):
            if path.resolve() in seen:
                continue
            seen.add(path.resolve())
            if holder(path) is None and (why := reason(path, options.below)):
                chosen[path] = why, folder
            else:
                stay.append(path)
    kept = dict[Path, Path]()
    if not chosen:
        return chosen, kept
    readers = [(plan, source) for folder in options.folders for plan, source in read_by_jobs(folder)]
    readers += [(path, source) for path in stay for source in read_by(path)]
    places = {path.resolve(): path for path in chosen}
    for user, source in readers:  # which grows: a run that stays may read another one
        if source.resolve() in places:
            path = places.pop(source.resolve())
            kept[path] = user
            del chosen[path]
            readers += [(path, source) for source in read_by(path)]
    return chosen, kept


def read_by(path: Path) -> Iterator[Path]:
    """What a run reads when it goes on: its `replay.data`, and before its first checkpoint the run that it starts from. A relative path is
    meant from where the run was started, hence there is one for each start, and one for a start from here.

    Raises:
        RunFolderError: its files cannot be read now, so that nobody knows. A run whose files are damaged goes on with nothing.
    """
    try:
        run = RunFolder(path)
        config, starts = run.read_config(), run.read_system()
    except RunFolderError as error:
        if passing(error):
            raise
        return
    keys = SOURCES if not any((path / "checkpoints").glob("step_*")) else SOURCES[:1]
    homes = {Path.cwd(), *(Path(start["folder"]) for start in starts if isinstance(start, dict) and isinstance(start.get("folder"), str))}
    for source in (get(config, key) for key in keys):
        if isinstance(source, str):
            yield from (home / Path(folder_of(source)).expanduser() for home in homes)


def read_by_jobs(folder: Path) -> Iterator[tuple[Path, Path]]:
    """What runs will read that sweeps and studies below a folder have not begun yet, each with the sweep or the study. Of a study it is
    what any run of it reads, because the number of its trials may grow. Errors are those of `read_by`."""

    def unlisted(error: OSError) -> None:
        if passing(error):  # a folder that is closed to this user is left out, as everywhere
            raise RunFolderError(f"{error.filename} cannot be read: {said(error)}. A run in it may read others, so try again") from error

    for place, names, files in os.walk(folder, onerror=unlisted):
        if "config.yaml" in files:  # a run
            names.clear()
        names[:] = [name for name in names if not name.startswith(".")]
        path, jobs = Path(place), list[tuple[str | None, tuple[str, ...]]]()
        try:
            if "sweep.json" in files:
                from deeprl.tools.sweep.folder import SweepFolder

                sweep = SweepFolder.read(path)
                jobs = [(sweep.cwd, job.overrides) for job in sweep.jobs if not (sweep.run(job) / "config.yaml").exists()]
            elif "tune.json" in files:
                from deeprl.tools.tune.settings import Settings

                study = Settings.read(path)
                jobs = [(study.cwd, study.overrides)]
        except RunFolderError as error:
            if passing(error):
                raise
            continue  # one that is damaged begins no run
        for home, overrides in jobs:
            for value in (each for override in overrides for each in values(override)):
                yield path, Path(home or "") / Path(folder_of(value)).expanduser()


def values(override: str) -> list[str]:
    """Values of an override that names a run, or several, over which a study searches."""
    if override.split("=", 1)[0].lstrip("+") not in SOURCES:
        return []
    from hydra.core.override_parser.types import ValueType
    from hydra.errors import HydraException

    from deeprl.running.config.overrides import parsed, swept  # with Hydra, for which the question of --yes does not wait

    try:
        if parsed(override).value_type is ValueType.RANGE_SWEEP:  # numbers, as many as a stranger's file says, and no runs
            return []
        return [str(parsed(each).value()) for each in swept(override, glob=True)]
    except (ConfigError, HydraException):  # a file that somebody has changed
        return []


def agreed(question: str) -> bool:
    """
    Raises:
        ConfigError: nobody can be asked.
    """
    if not sys.stdin.isatty():
        raise ConfigError("deeprl clean asks before it removes anything, and there is no terminal: say --yes.")
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")


def reason(path: Path, below: int) -> str:
    """Why a run is removed; empty if it stays. One that could go on, or that belongs to a sweep or a study, stays."""
    if path.is_symlink() or any((above / name).exists() for above in path.absolute().parents for name in ("sweep.json", "study.log")):
        return ""
    try:
        status = RunFolder(path).read_status() or {}
        whole = all(is_of_a_run(entry) for entry in path.iterdir())
    except (RunFolderError, OSError):
        return ""
    if not whole:
        return ""
    if status.get("state") == "failed" and status.get("saved") is None and not any((path / "checkpoints").glob("step_*")):
        return "failed before its first checkpoint"
    if status.get("state") == "finished" and status["step"] <= below:
        return f"finished after {status['step']:,} steps"
    return ""


def is_of_a_run(entry: Path) -> bool:
    """Whether a run writes an entry of its folder."""
    if entry.is_symlink() or not entry.is_dir():
        return bool(FILES.fullmatch(entry.name)) and not entry.is_symlink()
    if entry.name not in FOLDERS:
        return False
    from deeprl.running.runs.checkpoints import OURS  # with torch, for which the question of --yes does not wait

    names = [each.name for each in entry.iterdir()]
    kept = entry.name in ("checkpoints", "replay")
    return all(re.fullmatch(FOLDERS[entry.name], name) or (kept and OURS.fullmatch(name)) for name in names)


def size(path: Path) -> int:
    return sum(file.lstat().st_size for file in path.rglob("*") if not file.is_dir())


def remove(path: Path, why: str, below: int, folder: Path) -> bool:
    """Remove a run under its lock, if `why` is still the reason. Folders between it and `folder` that are empty then go too. Returns
    whether nothing failed."""
    try:
        with RunFolder(path).lock():
            if reason(path, below) != why:  # another command has gone on with it while the question was open
                say(f"{path} stays: it has changed meanwhile")
                return True
            shutil.rmtree(path)
    except RunFolderError as error:  # of the lock: nothing is removed yet
        say(f"{path} stays: {error}")
        return False
    except OSError as error:
        say(f"{path} could not be removed whole: {error}")
        return False
    for above in path.parents:
        if above == folder or not above.is_relative_to(folder):
            break
        try:
            above.rmdir()
        except OSError:  # it holds something else
            break
    return True
