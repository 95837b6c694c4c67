"""`deeprl sweep key=a,b ...`: a grid, jobs side by side. `deeprl sweep resume DIR`: the jobs of a sweep that are unfinished."""

from __future__ import annotations

import argparse
import contextlib
import io
import shlex
import textwrap
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from deeprl.cli.arguments import allow_connection, allow_package, counting
from deeprl.errors import FAILED, FINISHED, STOPPED, ConfigError, RunFolderError
from deeprl.running.config import connections, folders, trust
from deeprl.running.config.connections import RAY, unasked
from deeprl.running.config.trust import Allowed, require_file
from deeprl.running.runs.folder import holder
from deeprl.running.runs.places import STAMP, make_place, making, new_folder
from deeprl.system.machine import usable_cores
from deeprl.system.signals import Signals
from deeprl.system.terminal import print_end, say, some
from deeprl.tools.sweep.conduct import conduct
from deeprl.tools.sweep.folder import PLACES, Place, SweepFolder, require_empty
from deeprl.tools.sweep.grid import Job, expand
from deeprl.tools.sweep.job_status import look
from deeprl.tools.sweep.launcher import Launcher, Local
from deeprl.tools.sweep.plan import SweepPlan, check, side_by_side
from deeprl.tools.sweep.process import last_words
from deeprl.tools.sweep.table import TableView

OF_SWEEP = "the folder of the sweep", "--dir FOLDER"


def arguments(parser: argparse.ArgumentParser) -> None:
    text = "settings as for `deeprl train`; one with several values (agent=dqn,idqn seed=range(0,5)) makes a job of each. Or: resume DIR"
    parser.add_argument("overrides", nargs="*", metavar="key=a,b", help=text)
    parser.add_argument(
        "--jobs", type=counting, metavar="N", help="jobs side by side; the default fills the cores with runtime.threads each"
    )
    text = "where the jobs run; the default is this machine, of a sweep that goes on where it ran before"
    parser.add_argument("--on", choices=PLACES, help=text)
    parser.add_argument("--dir", type=Path, help="folder of the sweep; the default is runs/sweep_<date>-<time>")
    parser.add_argument("--config-dir", type=Path, metavar="FOLDER", help="an additional folder of configurations")
    text = "a parameter of submitit, such as partition=gpu, timeout_min=600 or mem_gb=8; cluster=local tries the jobs here; may be repeated"
    parser.add_argument("--slurm", action="append", default=[], metavar="KEY=VALUE", help=text)
    parser.add_argument("--ray-address", metavar="ADDRESS", help="an existing Ray cluster, or auto; the default starts one on this machine")
    allow_package(parser)
    allow_connection(parser)


def run(options: argparse.Namespace) -> int:
    folder = chosen(options)
    if len(folder.jobs) == 1 and options.overrides[:1] != ["resume"]:
        say("no setting has several values, so this sweep is one job; seed=0,1,2 makes three")
    folder.place = placed(options, folder.place)
    allowed = allowed_to(options)
    read_configs(folder.config_dir, allowed)
    made = options.dir is None and options.overrides[:1] != ["resume"]
    todo = [job for job in folder.jobs if made or unfinished(folder, job)]
    if not todo:
        print_end(f"{folder.path}: all {len(folder.jobs)} jobs are finished; nothing to do")
        return FINISHED
    with folder.at_home():
        begun = {job.name: folder.run(job) for job in todo if not made and (folder.run(job) / "checkpoints" / "last").exists()}
        plan = check(todo, here=folder.place.on == "local", begun=begun, allowed=allowed)
    tell_edited(folder, [job for job in folder.jobs if job not in todo], allowed)
    folder.trust = words_to_resume(folder.config_dir, plan)
    with making(*OF_SWEEP):
        folder.path = new_folder(folder.path) if made else folder.path
    try:
        launcher = launcher_for(options, folder, plan)
    except ConfigError:
        if made:
            folder.path.rmdir()
        raise
    make_place(folder.path, *OF_SWEEP)
    with folder.lock():
        folder.require_own(todo)
        if launcher.stays:  # a job in the queue may well train
            folder.require_free([job for job in todo if holder(folder.run(job)) and not waits(folder, job)])
        else:
            folder.require_free(todo)
            require_none_queued(folder, todo)
        folder.store()  # now, because a refused command leaves the place of the one before
        say(f"{folder.path}: {len(todo)} of {len(folder.jobs)} jobs to run")
        view = TableView(folder, {job.name: config["steps"] for job, config in zip(todo, plan.configs)}, launcher.slots)
        try:
            with Signals() as signals:
                codes = conduct(folder, todo, launcher, signals, view)
        except (KeyboardInterrupt, OSError, RunFolderError) as error:
            say(f"Each job goes on from its last checkpoint with:  {folder.resume_command()}")
            if isinstance(error, RunFolderError) and (left := launcher.farewell()):
                say(left)
            raise
        finally:
            view.close()
    return ended(folder, todo, codes, launcher.farewell())


def allowed_to(options: argparse.Namespace) -> Allowed:
    """What the jobs of a sweep or a study may name: anything if this very command gives their overrides.

    Raises:
        ConfigError: the command allows something, and nothing needs it.
    """
    if options.overrides[:1] == ["resume"]:
        return folders.packages(*options.allow_package)
    if options.allow_package:
        raise ConfigError(
            "--allow-package, --allow-file and --allow-connection are for resume, because what a command itself names is allowed: leave "
            "them out."
        )
    return None


def read_configs(config_dir: str | None, allowed: Allowed) -> None:
    """Search the additional folder of a sweep or a study.

    Raises:
        ConfigError: only its folder names it, which may be a stranger's.
    """
    if config_dir is None:
        return
    if allowed is not None:
        require_file("this takes configurations from", config_dir, allowed)
    folders.add(Path(config_dir))


def words_to_resume(config_dir: str | None, plan: SweepPlan) -> str:
    """Words with which a command resumes what it has begun."""
    words = "".join(dict.fromkeys(trust.words_of_trust(config) for config in plan.configs))
    connects = dict.fromkeys(word for config in plan.configs for word in connections.connections(config))
    words += "".join(f" {connections.allow_with(word)}" for word in connects)
    return words + (f" --allow-file {shlex.quote(config_dir)}" if config_dir else "")


def placed(options: argparse.Namespace, before: Place) -> Place:
    """Where the jobs of this command run.

    Args:
        before: where those of the command before ran. Its words count where the command line has none.

    Raises:
        ConfigError: a flag belongs to another place, the jobs connect to what this command has not named, or they would execute stored
            commands.
    """
    on = options.on or before.on
    for flag, given, owner in (("--slurm", options.slurm, "slurm"), ("--ray-address", options.ray_address, "ray")):
        if given and on != owner:
            raise ConfigError(f"{flag} is for --on {owner}.")
    kept = before if on == before.on else Place()
    if on == "slurm" and kept.slurm and not options.slurm:
        from deeprl.tools.sweep.slurm import executes

        if commands := [word for word in kept.slurm if executes(word)]:
            raise ConfigError(
                f"{shlex.join(commands)} of sweep.json is executed by each job: if you trust it, give it again: "
                f"{' '.join(f'--slurm {shlex.quote(word)}' for word in kept.slurm)}"
            )
    place = Place(on, tuple(options.slurm) or kept.slurm, options.ray_address or kept.ray_address, options.jobs or kept.jobs)
    if (words := place.connects()) and options.ray_address is None:
        raise unasked(words, RAY, f"repeat {words}, or say --on local, or --ray-address auto for the cluster of this machine")
    return place


def unfinished(folder: SweepFolder, job: Job) -> bool:
    """Whether a job is to run. One whose folder is damaged fails by itself, and keeps no other from its turn."""
    try:
        return look(folder.run(job)).state != "finished"
    except RunFolderError:
        return True


def tell_edited(folder: SweepFolder, finished: Sequence[Job], allowed: Allowed) -> None:
    """Say which finished jobs were trained with other settings than the files of the additional folder give today. Those that have begun
    are refused when they go on."""
    if folder.config_dir is None:
        return
    from deeprl.running.config.compose import compose
    from deeprl.running.config.stored import continued, require_trusted
    from deeprl.running.session.complete import complete

    edited = dict[str, str]()
    for job in finished:
        # what it began from may be gone, which says nothing of its settings, and no look at what is finished ends a sweep
        with contextlib.suppress(ValueError, RuntimeError, OSError), contextlib.redirect_stderr(io.StringIO()), folder.at_home():
            config, user, _ = compose(job.overrides)
            if allowed is not None:
                require_trusted(config, "", allowed)
            config = complete(config, user)
            try:
                continued(folder.run(job), config)
            except ConfigError as error:
                edited[job.name] = str(error).partition(": choose")[0]
    if edited:
        say(f"{some([*edited], 3)} finished with other settings than {folder.config_dir} gives now: {next(iter(edited.values()))}")


def require_none_queued(folder: SweepFolder, jobs: Sequence[Job]) -> None:
    """
    Raises:
        RunFolderError: jobs of an earlier command are still in Slurm's queue, and would meet these ones in their folders.
    """
    if queued := [job.name for job in jobs if waits(folder, job)]:
        raise RunFolderError(
            f"{folder.path}: in Slurm's queue there are still jobs for {', '.join(queued)}. Resume with --on slurm, which finds them, or "
            "cancel them (scancel). If they are gone, remove the files NAME.slurm."
        )


def waits(folder: SweepFolder, job: Job) -> bool:
    """Whether a job of an earlier command may still be in Slurm's queue."""
    if not folder.note(job).exists():
        return False
    from deeprl.tools.sweep import slurm

    return slurm.queued(folder.path / "submitit", folder.note(job))


def chosen(options: argparse.Namespace) -> SweepFolder:
    """The sweep that a command line means: a new one, or one that a folder holds.

    Raises:
        ConfigError: the grid is wrong, or the folder holds another one.
    """
    words = options.overrides
    if words[:1] == ["resume"]:
        if len(words) != 2 or options.dir or options.config_dir:
            raise ConfigError("deeprl sweep resume takes the folder of a sweep and nothing else of it: deeprl sweep resume DIR [--jobs N].")
        return SweepFolder.read(Path(words[1]))
    if not words:
        raise ConfigError("deeprl sweep takes a grid, as in deeprl sweep agent=dqn,idqn seed=0,1, or resume DIR.")
    jobs, config_dir = expand(words), str(options.config_dir.absolute()) if options.config_dir else None
    path = options.dir or Path("runs", f"sweep_{time.strftime(STAMP)}")
    folder = SweepFolder(path, words, jobs, config_dir)
    if options.dir and folder.exists():
        return SweepFolder.read(path).grown(folder)
    if options.dir:
        require_empty(path, "sweep")
    return folder


def launcher_for(options: argparse.Namespace, folder: SweepFolder, plan: SweepPlan) -> Launcher:
    most = max(config["runtime"]["threads"] or usable_cores() for config in plan.configs)
    if folder.place.on == "slurm":
        from deeprl.tools.sweep import slurm

        executor = slurm.executor(folder.path / "submitit", folder.place.slurm, most)
        if not slurm.has_queue(executor):
            return slurm.Slurm(executor, side_by_side(plan, folder.place.jobs, max(usable_cores() // most, 1)))
        return slurm.Slurm(executor, folder.place.jobs)
    if folder.place.on == "ray":
        from deeprl.tools.sweep import ray

        return ray.Ray(folder.place.ray_address, most, folder.place.jobs)
    return Local(side_by_side(plan, folder.place.jobs, max(usable_cores() // most, 1)))


def ended(folder: SweepFolder, todo: Sequence[Job], codes: Mapping[str, int], farewell: str) -> int:
    """The last lines of a sweep, and its exit code."""
    failed = [job for job in todo if codes.get(job.name, FINISHED) not in (FINISHED, STOPPED)]
    open_jobs = [job for job in todo if codes.get(job.name, STOPPED) == STOPPED]
    for job in failed:
        print_end(f"{job.name} failed; the end of {folder.log(job)}:\n{textwrap.indent(last_words(folder.log(job)), '  ')}")
    done = len(folder.jobs) - len(failed) - len(open_jobs)
    counts = [(done, "finished"), (len(failed), "failed"), (len(open_jobs), "unfinished")]
    print_end(f"{folder.path}: " + ", ".join(f"{count} {word}" for count, word in counts if count))
    if farewell:
        print_end(farewell)
    if failed or open_jobs:
        print_end(f"Run the jobs that are unfinished, failed ones too, with:  {folder.resume_command()}")
    return STOPPED if open_jobs else FAILED if failed else FINISHED
