"""`deeprl train ...` and `python train.py ...`: compose and check, claim the folder, train.

main → read_command_line        checks the words before Hydra reads them; resume=auto and --cfg may end the process here
     → launch → job → start     Hydra makes the run folder and calls `job`; `start` calls `deeprl.running.session.session.train`, read on
     there
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import hydra
from hydra._internal.utils import get_args_parser  # the parser of hydra.main, so that all of its flags are known here
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from deeprl.cli.arguments import foreign
from deeprl.cli.exits import FINISHED, ended, guarded
from deeprl.cli.leave import leave
from deeprl.cli.page import help_page, version_page
from deeprl.errors import ConfigError, RunFolderError, on_one_line
from deeprl.running.config import folders
from deeprl.running.config.by_hydra import FAULTS, prepare, run_once
from deeprl.running.config.compose import compose, compose_with_folder, one_run, unresolved
from deeprl.running.config.menu import groups
from deeprl.running.config.overrides import REQUIRED, RUNS, by_name, first_of, for_hydra, key_of, quoted, swept
from deeprl.running.config.resolve import resolve
from deeprl.running.config.rules import FIXED
from deeprl.running.config.rules import check as check_keys
from deeprl.running.runs.config_file import Config, folder_of
from deeprl.running.runs.folder import RunFolder, holder
from deeprl.running.runs.places import auto_folder, discard, holds_run, require_new, unmakeable, unusable
from deeprl.system import terminal
from deeprl.system.terminal import front_door, print_end, print_result, say
from deeprl.system.torchrun import place

FIRST = ("stop.return=475",)
"""Overrides of a command that has none: whoever tries it first sees the run end once CartPole is solved, which Gymnasium says of 475. Any
word of its own gives all steps of the settings, because runs that are compared should be of one length."""
PAGES = {"--help": help_page, "-h": help_page, "--version": version_page}
"""Flags that print a page of deeprl instead of Hydra's."""


def main() -> None:
    """Train with the command line in `sys.argv`, where Hydra reads it. The word "train" of `deeprl train` is removed for that time."""
    given = list(sys.argv)
    del sys.argv[1 : 1 + (given[1:2] == ["train"])]

    def job(cfg: DictConfig) -> None:
        """One run. Hydra calls it after it has made the run folder."""
        hydra_says = HydraConfig.get()
        if hydra_says.mode is RunMode.MULTIRUN:
            say(f"job {hydra_says.job.num}: {' '.join(hydra_says.overrides.task)}")
        sys.argv[:] = given  # because system.json records the command as it was given, not as Hydra reads it
        if code := start(cfg, Path(hydra_says.runtime.output_dir)):
            sys.exit(code)

    if {*PAGES} & {*sys.argv[1:]}:
        leave(guarded(page))
        return
    terminal.rank, _ = place()
    try:
        code = guarded(read_command_line)
        if not code:
            code = guarded(train_other_rank if terminal.rank else lambda: launch(job))
    except SystemExit as stop:  # raised by the job
        code = stop.code if isinstance(stop.code, int) else int(bool(stop.code))
    leave(code)


def page() -> int:
    """Print what the first flag of `PAGES` asks for."""
    print_result(next(PAGES[word] for word in sys.argv[1:] if word in PAGES)())
    if settings := [word for word in sys.argv[1:] if "=" in word]:
        say(f"with these settings every key has the value that this command prints: {front_door()} {shlex.join(settings)} --cfg job")
    return FINISHED


def train_other_rank() -> int:
    """The run as a rank beside the first one, which makes the run folder. Hydra is left out, because it would make another."""
    from deeprl.running.session.complete import complete
    from deeprl.running.session.session import train
    from deeprl.running.training.distributed import join

    config, user, _ = compose(split(sys.argv[1:])[1])
    config = complete(config, user)
    ranks = join(config, None)
    return guarded(lambda: ended(*train(config, ranks.home, ranks=ranks), ranks.home), ranks.home)


def launch(job: Callable[[DictConfig], None]) -> int:
    """Leave the command line to Hydra, which makes the run folder and calls the job.

    Raises:
        ConfigError: Hydra, OmegaConf or the file system raised an error outside of the job.
        RunFolderError: the disk is full.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # without it Hydra prints its errors itself, in many lines, and leaves with 1
    flags, overrides = split(sys.argv[1:])
    try:
        plain = not any(flag for name, flag in vars(flags).items() if name not in ("overrides", "config_name"))
        if config := one_run(overrides) if plain else None:
            run_once(job, config)
        else:
            hydra.main(version_base="1.3", config_path=str(folders.CONFIGS), config_name="train")(job)()
    except (*FAULTS, OSError) as error:
        system = refusal(error)
        if system is None or isinstance(error, HydraException):
            raise ConfigError(on_one_line(error)) from error
        raise unmakeable("the run folder", system, "hydra.run.dir=FOLDER") from error
    return FINISHED


def refusal(error: BaseException | None) -> OSError | None:
    """The error of the file system behind another one. OmegaConf puts several of its own around that of a resolver."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error


def read_command_line() -> int:
    """Check the command line before Hydra reads it, and put flags before overrides, as Hydra expects. Commands that need no Hydra end the
    process here: printing a configuration, and resume=auto where the run exists."""
    if not sys.argv[1:]:
        sys.argv += FIRST
        say(f"a first run, which ends once an evaluation reaches 475 ({FIRST[0]}); with a setting, such as seed=0, it takes all steps")
    flags, overrides = split(sys.argv[1:])
    if flags.config_dir:
        folders.add(Path(flags.config_dir))
    sys.argv[1:] = [word for word in sys.argv[1:] if word not in flags.overrides] + overrides
    if flags.cfg == "job" and not flags.multirun:
        print_result(configuration(overrides, flags.resolve, flags.package))
        sys.exit(FINISHED)
    if flags.cfg:
        compose([first for o in overrides if (first := first_of(o))] if flags.multirun else overrides)
    elif not (flags.hydra_help or flags.info or flags.shell_completion):
        wanted = check(overrides, sweep=flags.multirun)
        if wanted:
            continue_if_found(*wanted)
    prepare()
    return FINISHED


def configuration(overrides: list[str], resolved: bool, place: str | None) -> str:
    """The page of `--cfg job`. Hydra's would have lines of files that are for options and budgets, and values that these replace.

    Args:
        resolved: as config.yaml has it, not with interpolations as they are written.
        place: the only part that is printed, as agent.torso.

    Raises:
        ConfigError: the configuration is wrong, or has no such part.
    """
    from deeprl.running.session.complete import complete

    config, user, _ = compose(overrides)
    page = OmegaConf.create(complete(config, user)) if resolved else unresolved(overrides)
    if place not in (None, "_global_"):
        if OmegaConf.select(page, place, default=None) is None:
            raise ConfigError(f"--package {place}: the configuration has no such part. It has {', '.join(map(str, page))}.")
        page = OmegaConf.select(page, place)
    return OmegaConf.to_yaml(page).rstrip() if OmegaConf.is_config(page) else str(page)


def without_dashes(words: list[str]) -> str:
    """The first setting that was written as a flag, as a word of ours."""
    for word, after in zip(words, [*words[1:], ""], strict=True):
        key, equals, value = word.removeprefix("--").partition("=")
        if word.startswith("--") and key in (*FIXED, *REQUIRED):
            return f"{key}={value if equals else after or 'value'}"
    return "key=value"


def split(words: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Hydra's flags, and the overrides as Hydra's grammar has them.

    Raises:
        ConfigError: Hydra does not know a flag, or a flag lacks its value.
    """

    def error(message: str) -> NoReturn:
        for word, after in zip(words, [*words[1:], ""]):
            flag, _, file = word.partition("=")
            if flag in ("--config", "--config-file"):
                raise ConfigError(f"{flag}: there is no such flag. {by_name(file or after or 'mine')}.")
        raise ConfigError(f"{message}{foreign(words)}. A setting has no dashes: {without_dashes(words)} (see --help).")

    parser = get_args_parser()
    parser.error = error  # type: ignore[method-assign]
    flags = parser.parse_intermixed_args(words)
    if flags.config_path or flags.config_name not in (None, "train"):
        given = f"--config-path={flags.config_path}" if flags.config_path else f"--config-name={flags.config_name}"
        raise ConfigError(f"{given}: every run is composed from configs/train.yaml. {by_name(flags.config_name or 'mine')}.")
    return flags, [for_hydra(word) for word in flags.overrides]


def check(overrides: list[str], sweep: bool) -> tuple[Path, dict] | None:
    """Compose and check a run. Of a sweep, the first job and one job for each option of a slot are composed.

    Returns:
        with resume=auto, the folder that the run has if it exists, and its settled configuration.

    Raises:
        ConfigError: the command line is wrong.
    """
    for given in [o.partition("=")[2].strip("'\"") for o in overrides if key_of(o) == "hydra.run.dir"]:
        if given.startswith("~"):  # Hydra would call it a fault of grammar
            raise ConfigError(f"hydra.run.dir={given}: the shell leaves this ~ as it is. Write hydra.run.dir={Path(given).expanduser()}")
    if sweep:
        say("-m runs one job after the other; `deeprl sweep` with the same overrides runs them side by side and can be resumed")
        for slot, options in ((o, swept(o)) for o in overrides if key_of(o) in groups()):
            for option in options:
                compose([first for o in overrides if (first := option if o == slot else first_of(o))])
        overrides = [first for o in overrides if (first := first_of(o))]
    config, user, chosen, folder = compose_with_folder(overrides)
    check_keys(config)
    check_folder(folder, resumes=config["resume"] == "auto")
    if sweep and folder:
        raise ConfigError(f"hydra.run.dir={folder} is the folder of one run. The runs of -m lie under hydra.sweep.dir={folder}")
    if sweep and place()[1] > 1:
        raise ConfigError("-m starts one run after the other, torchrun the processes of one run: leave one of them out.")
    if sweep and config["resume"] == "auto":
        raise ConfigError("resume=auto goes on with one run: leave -m out, or start each run of the sweep with a command of its own.")
    if config["resume"] != "auto":
        require_source(config["init_from"])
        return None
    from deeprl.running.session.complete import complete

    final = complete(config, user)
    return Path(folder) if folder else auto_folder(final, env=chosen["env"], agent=chosen["agent"]), final


def check_folder(folder: str | None, resumes: bool) -> None:
    """
    Args:
        folder: of the command line, if it names one.
        resumes: a run in this folder goes on.

    Raises:
        ConfigError: no run can start there.
        RunFolderError: another process works there.
    """
    if folder is not None and Path(folder).resolve() == Path.cwd():
        raise ConfigError(f"hydra.run.dir={folder} is the current folder: name a folder of its own, such as hydra.run.dir=runs/mine.")
    if folder and (who := holder(Path(folder))):
        raise RunFolderError(f"hydra.run.dir={folder} is in use by {who}: wait for it, stop it, or give this run another folder.")
    if folder and not (resumes and holds_run(Path(folder))):
        require_new(Path(folder))  # before Hydra writes into it
    root = Path(folder or "runs")
    for parent in [root, *root.parents]:
        if parent.exists() and not parent.is_dir():
            raise ConfigError(f"hydra.run.dir={root}: {parent} is a file, so no run folder can be made there. Choose another folder.")


def require_source(source: str | None) -> None:
    """Ask early, without torch, whether there is the run of `init_from`. A run that goes on has its weights already.

    Raises:
        ConfigError: there is none.
        MachineError: it could not be read now.
    """
    try:
        if source is not None:
            RunFolder(Path(folder_of(source)).expanduser()).read_config()
    except RunFolderError as error:
        raise unusable("init_from", source, error) from error


def continue_if_found(path: Path, config: Config) -> None:
    """With resume=auto: continue the run in `path` and end the process; or else, let `path` be the folder that Hydra makes."""
    sys.argv = [sys.argv[0], *[a for a in sys.argv[1:] if key_of(a) != "hydra.run.dir"], f"hydra.run.dir={quoted(str(path))}"]
    if holds_run(path):
        sys.exit(go_on(path, config))
    require_new(path)  # before Hydra writes into it


def go_on(path: Path, config: Config) -> int:
    """Continue the run that resume=auto found in its folder."""
    from deeprl.cli.resume import resume
    from deeprl.running.config.connections import connections
    from deeprl.running.config.rules import get
    from deeprl.running.config.stored import continued
    from deeprl.running.runs.config_file import CHANGEABLE

    stored = continued(path, config)
    status = RunFolder(path).read_status() or {}
    if status.get("state") == "finished":
        print_end(f"{path}: this run is finished at step {status['step']:,}; nothing to do")
        return FINISHED
    places = {key: get(stored, key, stored) for key in CHANGEABLE}
    overrides = [f"{key}={'null' if place is None else place}" for key, place in places.items() if place is not stored]
    overrides += [word for word in connections(config) if word not in overrides]  # this very command names them
    return resume(path, overrides, None, {key: get(stored, key) for key in RUNS})


def start(cfg: DictConfig, path: Path) -> int:
    """Train in `path`. Returns the exit code."""
    full = cfg.copy()
    OmegaConf.set_struct(full, False)
    with open_dict(full):
        full["hydra"] = HydraConfig.get()

    def trained() -> int:
        from deeprl.running.session.complete import complete
        from deeprl.running.session.session import train

        try:
            config, user = resolve(full)
            return ended(*train(complete(config, user), path, asked=user), path)
        except ConfigError:
            discard(path)
            raise

    return guarded(trained, path)


if __name__ == "__main__":
    main()
