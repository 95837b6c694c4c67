"""Where run folders lie: the names of new ones, which folders are those of runs, and what may be in one before its run."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from deeprl.errors import ConfigError, MachineError, RunFolderError
from deeprl.running.runs.config_file import CHANGEABLE_ONCE, DATA, Config, config_hash, container, instead, no_folder, without_changeable
from deeprl.running.runs.folder import holder
from deeprl.running.runs.moved import automatic
from deeprl.system.files import full, passing, read_regular, sole, utf8
from deeprl.system.terminal import say, some

STAMP = "%y%m%d-%H%M%S"
"""When a folder was made, as its name has it: 260131-120000 on 31 January 2026 at noon. It sorts by time, and is short, because TensorBoard
shows the name beside each curve."""


def new_folder(root: Path) -> Path:
    """Create `root`, or root-2, root-3 … where it exists. Two processes never get the same folder."""
    root = Path(root)
    root.parent.mkdir(parents=True, exist_ok=True)
    folder, number = root, 1
    while True:
        try:
            folder.mkdir()
            return folder
        except FileExistsError:
            number += 1
            folder = root.with_name(f"{root.name}-{number}")


@contextlib.contextmanager
def making(what: str, remedy: str) -> Iterator[None]:
    """Make a folder or a file in a place that the user chose.

    Args:
        what: it is, with its article.
        remedy: words that name another place.

    Raises:
        ConfigError, RunFolderError: as in `unmakeable`.
    """
    try:
        yield
    except OSError as error:
        raise unmakeable(what, error, remedy) from error


def make_place(path: Path, what: str, remedy: str) -> None:
    """Make a folder that the user chose, and those above it, unless it is there. Arguments and errors are those of `making`."""
    with making(what, remedy):
        path.mkdir(parents=True, exist_ok=True)


def unmakeable(what: str, error: OSError, remedy: str) -> ConfigError | RunFolderError:
    """The error of a place where nothing can be made. A full disk, or one that does not answer, is no fault of the command."""
    if full(error) or passing(error):
        return RunFolderError(f"{what} cannot be made: {error}")
    return ConfigError(f"{what} cannot be made: {error}. Name another one: {remedy}.")


def unusable(key: str, value: object, error: Exception) -> ConfigError | MachineError:
    """The error of a run that a key names and that cannot be used. What the machine could not read now is no fault of the key."""
    return (MachineError if passing(error) else ConfigError)(f"{key}={value}: {error}")


def run_path(root: str | Path, env: str, agent: str, last: str) -> Path:
    """`root/<env>/<agent>/<last>`. In the names, signs become "_": "/" would add a level, and ":" means a host or a name to scp, rsync and
    TensorBoard. Leading dots, which would make a hidden or a parent folder, are removed, and "__main__" is: function_make."""
    return Path(root) / _plain(env) / _plain(agent) / last


def _plain(name: str) -> str:
    words = re.findall(r"[\w.=@+-]+", str(name).replace("__main__:", ""))
    return "_".join(words).lstrip(".") or "_"


def claim(root: str | Path, env: str, agent: str, seed: int) -> Path:
    """Create the folder of a run that starts now: `root/<env>/<agent>/<date>-<time>_seed<seed>`."""
    return new_folder(run_path(root, env, agent, f"{time.strftime(STAMP)}_seed{seed}"))


def discard(path: Path) -> None:
    """Remove the folder of a run that never started, if it holds nothing but Hydra's record of the command line and a lock that nobody
    holds."""
    if path.is_dir() and holder(path) is None and all(entry.name in (".hydra", "lock") for entry in path.iterdir()):
        shutil.rmtree(path)
        discard_above(path.absolute())


def discard_above(path: Path) -> None:
    """Remove the folders above one of `run_path` that hold nothing, or Hydra's record of -m alone. One that the user named stays."""
    if not re.match(r"\d{6}-\d{6}_seed|auto_", path.name):
        return
    for folder in path.parents[:3]:
        if folder == Path.cwd() or any(entry.name != "multirun.yaml" for entry in folder.iterdir()):
            return
        try:
            (folder / "multirun.yaml").unlink(missing_ok=True)
            folder.rmdir()
        except OSError:  # another run has made its folder there meanwhile
            return


def auto_folder(config: object, root: str | Path = "runs", env: str | None = None, agent: str | None = None) -> Path:
    """The folder of `resume=auto`: `root/<env>/<agent>/auto_<hash of the configuration>_seed<seed>`. It is not created.

    Args:
        env, agent: names as on the command line; by default those under `names` in the configuration.
    """
    resolved = container(config)
    env, agent = env or resolved["names"]["env"], agent or resolved["names"]["agent"]
    forms = (without_prior(resolved), resolved, automatic(resolved))
    hashes = [config_hash(without_changeable(each, CHANGEABLE_ONCE)) for each in forms]
    path, *earlier = (run_path(root, env, agent, f"auto_{each}_seed{resolved['seed']}") for each in hashes)
    name = env.replace("/", "_").lstrip(".") or "_"  # with the colon of a function's name
    older = [Path(root) / name / each.parent.name / each.name for each in (path, *earlier)]
    return next((each for each in (path, *earlier, *older) if holds_run(each)), path)


def without_prior(config: Config) -> Config:
    """A configuration without the agent that `agent.baseline.run` names, whose folder may be gone when its run goes on."""
    baseline = config.get("agent", {}).get("baseline") or {}
    if "network" not in baseline:
        return config
    return {**config, "agent": {**config["agent"], "baseline": {**baseline, "network": None}}}


def holds_run(path: Path) -> bool:
    """Whether a run was ever started in this folder. Its first file is config.yaml."""
    return (Path(path) / "config.yaml").is_file()


def require_new(path: Path, key: str = "hydra.run.dir=", continues: str = "resume=auto") -> None:
    """A run starts in a folder that does not exist or is empty, because it would remove or overwrite files with the names of its own, and
    because runs below a run folder are not found. What `beside` names may be there.

    Args:
        key, continues: words of the message: the argument that gave the folder, and the one that goes on with a run.

    Raises:
        ConfigError: a run was already started in this folder, or it holds other files, or its path is no UTF-8.
    """
    if not utf8(path.absolute()):
        raise ConfigError(f"{key}{path}: the path {path.absolute()} is no UTF-8, as checkpoints need it: put the run elsewhere.")
    if holds_run(path):
        raise ConfigError(
            f"{key}{path} already holds a run: choose another folder, or go on with "
            f"`deeprl resume {shlex.quote(str(path))}` or {continues}."
        )
    if found := sorted(entry.name for entry in os.scandir(path) if not beside(entry)) if path.is_dir() else []:
        new = f"a run starts in a new or empty folder, such as {key}{path / 'mine'}"
        raise ConfigError(f"{key}{path} is not empty ({some(found, 3)}): {new}.")


def beside(entry: os.DirEntry) -> bool:
    """Whether an entry may be in a folder before the run: Hydra's record of the command line, the lock, a log, or what a start left that
    failed before there was a run."""
    if entry.name == ".hydra":  # Hydra would write where a link points
        return entry.is_dir(follow_symlinks=False) and all(sole(each.stat(follow_symlinks=False)) for each in os.scandir(entry.path))
    log = entry.name in ("traceback.txt", "stacks.txt", "status.json") or entry.name.endswith((".log", ".out", ".err", ".partial"))
    return entry.name == "lock" or (log and entry.is_file())


def find_runs(path: Path, note: Callable[[str], object] = say) -> list[Path]:
    """`path` if it is a run folder, or else all run folders below it, sorted. Links to run folders are found; other links are not followed.

    Args:
        note: called with a sentence about each folder that cannot be read.

    Raises:
        RunFolderError: there is none.
    """

    def unread(error: OSError) -> None:
        if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
            note(f"{error.filename} is left out: {error.strerror}")

    if path.is_file():
        raise no_folder(path)
    if not path.exists():
        raise RunFolderError(f"{path} is no run folder: {instead(path)}")
    found, strange = [], []
    for folder, names, _ in os.walk(path, onerror=unread):
        if holds_run(Path(folder)):
            found.append(Path(folder))
            if foreign(Path(folder)):
                strange.append(found.pop())
            else:
                names.clear()
        names[:] = sorted(name for name in names if not name.startswith("."))  # .hydra has a config.yaml of its own
        found += [link for name in names if (link := Path(folder, name)).is_symlink() and holds_run(link)]
    if not (found := found or strange):
        if (path / DATA).exists():
            raise RunFolderError(f"{path} is no run folder: {instead(path)}")
        if (path / "checkpoints").is_dir():
            raise RunFolderError(f"{path} has checkpoints, and its config.yaml is missing, which says what the run is")
        raise RunFolderError(f"{path} is no run folder and holds none: name a folder with a config.yaml, or one above it")
    return sorted(found)


def foreign(path: Path) -> bool:
    """Whether the config.yaml of a folder is another program's: no run was started beside it, and it has no section `names`. There may be
    runs below."""
    if (path / "status.json").is_file():
        return False
    try:
        return re.search(rb"^names:", read_regular(path / "config.yaml", 1 << 20), re.MULTILINE) is None
    except (OSError, ValueError):
        return False  # the reader of a configuration says what is wrong
