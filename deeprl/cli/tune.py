"""`deeprl tune key=interval(a,b) ...`: a search for good settings. `deeprl tune resume DIR`: goes on with it."""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deeprl.cli.arguments import allow_connection, allow_package, counting, natural
from deeprl.cli.sweep import allowed_to, read_configs, tell_edited, words_to_resume
from deeprl.errors import FAILED, FINISHED, STOPPED, ConfigError, RunFolderError
from deeprl.running.config.rules import get
from deeprl.running.config.trust import Allowed
from deeprl.running.runs.config_file import Config
from deeprl.running.runs.places import STAMP, make_place, new_folder
from deeprl.system.files import replace_file
from deeprl.system.machine import extra, lacking, usable_cores
from deeprl.system.progress import significant
from deeprl.system.signals import Signals
from deeprl.system.terminal import print_end, say
from deeprl.tools.sweep.conduct import conduct
from deeprl.tools.sweep.folder import SweepFolder, require_empty
from deeprl.tools.sweep.grid import Job
from deeprl.tools.sweep.launcher import Local
from deeprl.tools.sweep.plan import SweepPlan, check, side_by_side
from deeprl.tools.sweep.table import TableView
from deeprl.tools.tune.scores import Grid
from deeprl.tools.tune.settings import PRUNERS, Settings, exists, resume_command

if TYPE_CHECKING:
    import optuna

    from deeprl.tools.tune.space import Space

DEFAULTS = {"seeds": 3, "last": 3, "pruner": "median", "sampler_seed": 0}
"""Of flags that belong to the study, so that its first command alone takes them."""
NEEDS = ("optuna", "matplotlib", "scipy")


def arguments(parser: argparse.ArgumentParser) -> None:
    text = "settings as for `deeprl train`; one with several values is searched:"
    text += " a,b · interval(0,1) · int(interval(1,5)) · tag(log,interval(1e-5,1e-2))"
    parser.add_argument("overrides", nargs="*", metavar="key=interval(a,b)", help=f"{text}. Or: resume DIR")
    parser.add_argument("--trials", type=counting, metavar="N", help="trials of the study, with those it has already (default: 20)")
    parser.add_argument("--seeds", type=counting, metavar="N", help="runs of a trial: seed, seed + 1 ... (default: 3)")
    parser.add_argument(
        "--jobs", type=counting, metavar="N", help="runs side by side; the default fills the cores with runtime.threads each"
    )
    parser.add_argument("--dir", type=Path, help="folder of the study; the default is runs/tune_<date>-<time>")
    parser.add_argument("--pruner", choices=PRUNERS, help="stops trials that lag behind (default: median)")
    text = "a trial is worth the mean over its seeds of their last N evaluations (default: 3)"
    parser.add_argument("--last", type=counting, metavar="N", help=text)
    text = "value of a parameter in the first trial; may be given several times. The sampler chooses the others"
    parser.add_argument("--start", action="append", default=[], metavar="KEY=VALUE", help=text)
    parser.add_argument("--sampler-seed", type=natural, metavar="N", help="seed of the sampler (default: 0)")
    parser.add_argument("--config-dir", type=Path, metavar="FOLDER", help="an additional folder of configurations")
    allow_package(parser)
    allow_connection(parser)


def run(options: argparse.Namespace) -> int:
    if missing := lacking(NEEDS):
        raise ConfigError(f"deeprl tune needs {', '.join(missing)}: {extra('tune')}")
    from deeprl.tools.tune import results
    from deeprl.tools.tune import space as spaces
    from deeprl.tools.tune.trials import Trials, open_study, pruner

    path, settings = chosen(options)
    allowed = allowed_to(options)
    read_configs(settings.config_dir, allowed)
    space = spaces.parse(settings.overrides)
    space.start(settings.start)
    corners = space.corners()
    runs = SweepFolder(path or Path("runs"), settings.overrides, [], settings.config_dir, settings.cwd)
    try:
        with runs.at_home():
            plan = check(corners, here=True, allowed=allowed)
    except ConfigError as error:
        raise ConfigError(f"{error}{space.remedy(str(error))}") from error
    trusted = words_to_resume(settings.config_dir, plan)
    configs = plan.configs
    grid = comparable({job.name: config for job, config in zip(corners, configs)})
    usual = max(usable_cores() // max(config["runtime"]["threads"] or usable_cores() for config in configs), 1)
    slots = side_by_side(SweepPlan(configs, [max(plan.bytes)] * (options.jobs or usual)), options.jobs, usual)
    path = path or new_folder(Path("runs", f"tune_{time.strftime(STAMP)}"))
    make_place(path, "the folder of the study", "--dir FOLDER")
    if not exists(path):
        settings = replace(settings, together=min(slots, settings.seeds))
    runs.path = path.absolute()
    with runs.lock():
        results.require_own(path)
        settings = settings.store(path)
        study = open_study(path, pruner(settings, grid))
        trials = Trials(study, space, settings, runs, grid)
        runs.require_own(runs.jobs)
        runs.require_free(runs.jobs)
        tell_edited(runs, trials.complete()[:: settings.seeds], allowed)  # one of each trial; the next ones would be compared with them
        say(f"{runs.path}: {len(trials.open)} trials to go on with, {max(settings.trials - trials.asked, 0)} to sample")
        stopped = False
        view, launcher = TableView(runs, dict.fromkeys((job.name for job in runs.jobs), grid.steps), slots), Local(slots)
        try:
            with Signals() as signals:
                conduct(runs, looked_at(trials.jobs(), runs, allowed), launcher, signals, view, trials.watch)
        except (KeyboardInterrupt, OSError):
            say(f"Each trial goes on from its last checkpoints with:  {resume_command(path)}{trusted}")
            raise
        except RunFolderError as error:  # of `Trials.watch`
            say(f"deeprl: {error}", urgent=True)
            stopped = True
        finally:
            view.close()
        code = ended(path, study, space, settings, trusted)
        return FAILED if stopped else code  # STOPPED would start the study again, and the fault with it


def looked_at(jobs: Iterable[Job], runs: SweepFolder, allowed: Allowed) -> Iterator[Job]:
    """The jobs of a study, each checked before it starts: `check` saw every value once, and two may name together what neither does.

    Args:
        allowed: what jobs of a stored study may name; None: the study is the user's.

    Raises:
        ConfigError: a job names something else.
    """
    from deeprl.running.config.compose import compose
    from deeprl.running.config.connections import require_allowed
    from deeprl.running.config.stored import require_trusted

    for job in jobs:
        if allowed is not None:
            with runs.at_home():
                config, _, _ = compose(job.overrides)
                require_trusted(config, "", allowed)
                require_allowed(config, allowed)
        yield job


def chosen(options: argparse.Namespace) -> tuple[Path | None, Settings]:
    """The study that a command line means: a new one, or one that a folder holds. The folder is None if it is still to be made.

    Raises:
        ConfigError: the folder holds something else.
    """
    words = options.overrides
    if words[:1] == ["resume"]:
        if len(words) != 2 or any(getattr(options, name) not in (None, []) for name in (*DEFAULTS, "start", "dir", "config_dir")):
            raise ConfigError("deeprl tune resume takes the folder of a study and no more: deeprl tune resume DIR [--trials N] [--jobs N].")
        found = Settings.read(Path(words[1]))
        return Path(words[1]), replace(found, trials=options.trials or found.trials)
    config_dir = str(options.config_dir.absolute()) if options.config_dir else None
    flags: dict[str, Any] = {
        name: value if (value := getattr(options, name)) is not None else default for name, default in DEFAULTS.items()
    }
    shared: dict[str, Any] = {"start": tuple(options.start), "trials": options.trials or 20, "together": 1, "cwd": str(Path.cwd())}
    given = Settings(tuple(words), config_dir, **shared, **flags)
    if options.dir is None:
        return None, given
    if exists(options.dir):
        found = Settings.read(options.dir)
        found.require_same(given, options.dir)
        return options.dir, replace(found, trials=options.trials or found.trials)
    require_empty(options.dir, "study")
    return options.dir, given


def comparable(configs: dict[str, Config]) -> Grid:
    """When all runs of a study are evaluated.

    Raises:
        ConfigError: trials would differ in environment, steps or evaluations, or have evaluations that cannot be told apart.
    """
    (first, config), *rest = configs.items()
    lengths = ("env.max_episode_steps", "env.protocol.max_episode_steps")  # a return over longer episodes is another one
    for key in ("names.env", "env.id", "env.game", *lengths, "steps", "evaluation.every"):
        for name, other in rest:
            if (ours := get(config, key)) != (theirs := get(other, key)):
                key = key.removeprefix("names.")
                raise ConfigError(
                    f"{key} is {ours} with {first} and {theirs} with {name}, so trials cannot be compared: give one, {key}=..."
                )
    every = config["evaluation"]["every"]
    for name, other in configs.items():
        if every is not None and every < (num := other["env"]["num"]):
            raise ConfigError(
                f"evaluation.every={every} is less than env.num={num} with {name}, so that one step of the environments passes several "
                f"evaluations: set evaluation.every to at least {num}."
            )
    return Grid(config["steps"], every)


def ended(path: Path, study: optuna.Study, space: Space, settings: Settings, trusted: str) -> int:
    """Write the results of a study, print its last lines, and return its exit code.

    Args:
        trusted: words with which a command resumes it.

    Raises:
        RunFolderError: the results cannot be written.
    """
    from deeprl.tools.report.figures import png
    from deeprl.tools.tune import figures, results

    found = figures.importances(study)
    drawn = {"history.png": figures.history(study)} | ({"importance.png": figures.importance(found)} if found else {})
    try:
        results.write(path, study, space, settings)
        for name, figure in drawn.items():
            replace_file(path / name, png(figure))
    except OSError as error:
        raise RunFolderError(f"{path}: the results cannot be written: {error}") from error
    counts = Counter(results.OPEN if trial.state.name == "RUNNING" else trial.state.name.lower() for trial in study.trials)
    counts["not sampled"] = max(settings.trials - len(study.trials), 0)
    words = [f"{counts[word]} {word}" for word in ("complete", "pruned", "fail", results.OPEN, "not sampled") if counts[word]]
    print_end(f"{path}: {', '.join(words)}; trials.csv and history.png list them")
    if found:
        print_end("importance (importance.png): " + ", ".join(f"{name} {value:.2f}" for name, value in found.items()))
    elif counts["complete"]:
        print_end(f"no importance.png: it needs {figures.FEWEST} complete trials of unequal return")
    if trial := results.best(study):
        print_end(f"best: trial {trial.number}, return {significant(trial.values[0])}, {' '.join(space.settings(trial.params))}")
        print_end(f"Train with it, on a seed that no trial has seen:\n  {results.command(path, settings, space)}")
    if counts[results.OPEN] or counts["not sampled"]:
        print_end(f"Go on with:  {resume_command(path)}{trusted}")
        return STOPPED
    return FINISHED if trial else FAILED
