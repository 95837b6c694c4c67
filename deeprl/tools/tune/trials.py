"""The trials of a study: sampled when a slot is free, reported to the pruner evaluation by evaluation, and told to Optuna once."""

from __future__ import annotations

import builtins
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

import numpy as np
import optuna
from optuna.pruners import BasePruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from deeprl.errors import FINISHED, STOPPED, WRONG, RunFolderError, on_one_line
from deeprl.running.runs.folder import RunFolder
from deeprl.system.files import machine_fault, read_regular, truncate_file
from deeprl.system.terminal import say
from deeprl.tools.sweep.folder import SweepFolder, unread
from deeprl.tools.sweep.grid import Job
from deeprl.tools.sweep.launcher import LaunchedJob
from deeprl.tools.sweep.process import last_words
from deeprl.tools.tune.scores import Evaluations, Grid, read, reports, score
from deeprl.tools.tune.settings import Settings
from deeprl.tools.tune.space import Space

STARTUP = 5
"""Trials that are sampled at random and not pruned by the median, because there is too little to compare with."""
NAME = "tune"
STUDY_LIMIT = 1 << 27
"""Largest bytes of study.log; a trial has some thousand."""
FAULTS = 2
"""Runs that fail by the machine, one after the other, until the study stops"""
MACHINE = (
    *(name for name, kind in vars(builtins).items() if isinstance(kind, type) and issubclass(kind, OSError)),
    "MemoryError", "OutOfMemoryError", "MachineError", "RunFolderError", "CheckpointError", "UnreadableError", "RankError",
    "ActorsFailed", "KeyboardInterrupt", "no progress",
)  # fmt: skip
"""How the error in status.json begins where the machine is the reason: a full disk, a folder in use, a step that hung"""


def pruner(settings: Settings, grid: Grid) -> BasePruner:
    """median: a trial stops whose best value is below the median of earlier trials at the same step; not in the first quarter of a run.

    halving: at a ninth and at a third of all steps of a trial, a trial stops unless it is among the best third so far.
    """
    if settings.pruner == "median":
        return MedianPruner(n_startup_trials=STARTUP, n_warmup_steps=grid.steps // 4)
    if settings.pruner == "halving":
        waves = math.ceil(settings.seeds / settings.together)
        return SuccessiveHalvingPruner(min_resource=max(waves * grid.steps // 9, 1), reduction_factor=3)
    return NopPruner()


def open_study(path: Path, by: BasePruner | None = None) -> optuna.Study:
    """The study in a folder, made if there is none. The caller holds the lock of the folder, so whatever a killed process left is removed.

    Raises:
        RunFolderError: study.log is damaged, or no plain file, to which Optuna would append, or cannot be read now.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    file = path.absolute() / "study.log"
    try:
        file.with_name("study.log.lock").unlink(missing_ok=True)
        if os.path.lexists(file):
            truncate_file(file, read_regular(file, STUDY_LIMIT).rfind(b"\n") + 1)
        storage = JournalStorage(JournalFileBackend(str(file)))
        study = optuna.create_study(storage=storage, study_name=NAME, direction="maximize", pruner=by, load_if_exists=True)
        require_numbers(study.get_trials(deepcopy=False))
        return study
    except Exception as error:  # Optuna's own are of many kinds
        if fault := machine_fault(error):
            raise unread(file, fault) from error
        raise RunFolderError(f"{file} is damaged: {type(error).__name__}: {on_one_line(error)}") from error


def require_numbers(trials: list[FrozenTrial]) -> None:
    """
    Raises:
        TypeError, ValueError: a trial has values that no study writes, as one in the folder of a stranger may.
    """
    optuna.create_study(direction="maximize").add_trials(trials)  # Optuna checks what it is given, not what it reads
    for trial in trials:
        for value in (*(trial.values or ()), *trial.intermediate_values, *trial.intermediate_values.values()):
            if not isinstance(value, (int, float)):
                raise ValueError(f"trial {trial.number} has the value {value!r:.50}")


def by_settings(run: Path) -> bool:
    """Whether the settings of a failed run are the reason, as far as its folder tells: a number that is not finite, an environment that
    raised."""
    try:
        status = RunFolder(run).read_status()
    except RunFolderError:
        return False
    return status is not None and status["state"] == "failed" and not str(status.get("error")).startswith(MACHINE)


@dataclass
class Open:
    """A trial that is not over."""

    trial: FrozenTrial
    jobs: list[Job]
    """One a seed."""
    finished: dict[str, Evaluations] = field(default_factory=dict)
    """Runs that need not be read again."""
    judged: set[int] = field(default_factory=set)
    """Positions at which the pruner has been asked by this process."""


class Trials:
    """
    Args:
        runs: the folder of the runs. Its jobs are those of trials that are not over, and this class keeps them so.
    """

    def __init__(self, study: optuna.Study, space: Space, settings: Settings, runs: SweepFolder, grid: Grid):
        self.study, self.space, self.settings, self.runs, self.grid = study, space, settings, runs, grid
        self.faults: dict[str, str] = {}
        """Runs that failed by the machine since the last trial that ended, with their last words"""
        self.told: set[str] = set()
        """All runs that have been among them: each counts once"""
        found = study.get_trials(deepcopy=False)
        self._require_own(found)
        self.open = {trial.number: self._opened(trial) for trial in found if trial.state is TrialState.RUNNING}
        self.asked = len(found)
        waiting = [Job(name, ()) for number in range(self.asked, settings.trials) for name in self._names(number)]
        runs.jobs = [job for each in self.open.values() for job in each.jobs] + waiting

    def complete(self) -> list[Job]:
        """The runs of trials that are complete."""
        found = [trial for trial in self.study.get_trials(deepcopy=False) if trial.state is TrialState.COMPLETE]
        return [job for trial in found for job in self._opened(trial).jobs]

    def jobs(self) -> Iterator[Job]:
        """The runs to start, in order: those of interrupted trials, then those of new ones. A trial is sampled when its first run is asked
        for, so that the sampler knows the results of all trials that are over by then."""
        self.watch({}, {})  # what a killed process did not get to
        for each in list(self.open.values()):
            yield from self._unfinished(each)
        while self.asked < self.settings.trials:
            yield from self._unfinished(self._ask())

    def watch(self, running: Mapping[str, LaunchedJob], codes: Mapping[str, int]) -> None:
        """Report evaluations, and end trials that are pruned, have failed or are complete. A run that was stopped or killed from outside,
        or that failed by the machine, leaves its trial open, because its settings are not the reason.

        Args:
            codes: exit codes of runs that have ended.

        Raises:
            RunFolderError: `FAULTS` runs have failed by the machine since one has not: further trials would fail alike.
        """
        for number, each in list(self.open.items()):
            failed = [job for job in each.jobs if codes.get(job.name, FINISHED) > 0 and codes[job.name] != STOPPED]
            try:
                curves = [self._curve(each, job) for job in each.jobs]
                ended = self._pruned(each, curves)
                if not ended and not any(job.name in running for job in each.jobs):
                    ended = self._complete(each, curves)
            except RunFolderError as error:
                self._fault(f"trial {number}", str(error))
                continue
            for job in failed if not ended else ():
                words = last_words(self.runs.log(job))
                if codes[job.name] == WRONG or by_settings(self.runs.run(job)):
                    ended = self._fail(each, words)
                    break
                self._fault(job.name, words)
            if ended:
                del self.open[number]
                self.faults.clear()
                for job in each.jobs:
                    if job.name in running:
                        running[job.name].stop()
                never = {job.name for job in each.jobs} - running.keys() - codes.keys()
                self.runs.jobs = [job for job in self.runs.jobs if job.name not in never]
                say(f"trial {number}: {ended}")

    def _pruned(self, each: Open, curves: list[Evaluations]) -> str:
        """Report what is new, in the order of positions, and ask the pruner after each value but the last one of the trial. An answer is
        stored at once, before the runs have stopped, so that a killed process need not ask again."""
        end = math.ceil(len(curves) / self.settings.together) * self.grid.steps
        for position, value in reports(curves, self.settings.together, self.grid):
            if position in each.judged:
                continue
            each.judged.add(position)
            live = Trial(self.study, each.trial._trial_id)
            if position not in each.trial.intermediate_values:
                live.report(value, position)
            if position < end and live.should_prune():
                self.study.tell(each.trial.number, state=TrialState.PRUNED)
                return f"pruned after {position:,} of {end:,} steps, return {value:.4g}"
        return ""

    def _complete(self, each: Open, curves: list[Evaluations]) -> str:
        if not all(curve.finished for curve in curves):
            return ""
        scores = [score(curve, self.settings.last, self.grid) for curve in curves]
        value = fmean(scores)
        if not math.isfinite(value):
            return self._fail(each, f"its return is {value}")
        Trial(self.study, each.trial._trial_id).set_user_attr("scores", scores)
        self.study.tell(each.trial.number, value)
        return f"return {value:.4g}" + (", the best so far" if self.study.best_trial.number == each.trial.number else "")

    def _fault(self, where: str, why: str) -> None:
        """A failure that says nothing of the settings. The trial stays open, for a study that is resumed."""
        if where in self.told:
            return
        self.told.add(where)
        self.faults[where] = why
        say(f"{where}: {why}")
        if len(self.faults) >= FAULTS:
            raise RunFolderError(
                f"{self.runs.path}: {' and '.join(self.faults)} failed by the machine and not by their settings, so that the study stops "
                "here. Mend the fault, then resume it: these trials go on."
            )

    def _fail(self, each: Open, why: str) -> str:
        Trial(self.study, each.trial._trial_id).set_user_attr("error", why)
        self.study.tell(each.trial.number, state=TrialState.FAIL)
        return f"failed. {why}"

    def _ask(self) -> Open:
        """Sample a trial, and store it with all of its values at once, so that a killed process leaves no half of one.

        The sampler's random numbers are a function of its seed and the trial's number, so that a resumed study goes on as it would have.
        """
        number = self.asked
        seed = int(np.random.SeedSequence([self.settings.sampler_seed, number]).generate_state(1)[0])
        copy = optuna.create_study(direction="maximize", sampler=TPESampler(n_startup_trials=STARTUP, seed=seed))
        copy.add_trials(self.study.get_trials(deepcopy=False))
        if number == 0 and self.settings.start:
            copy.enqueue_trial(self.space.start(self.settings.start))
        params = copy.ask(self.space.distributions).params
        self.study.add_trial(optuna.create_trial(state=TrialState.RUNNING, params=params, distributions=self.space.distributions))
        self.asked += 1
        self.open[number] = self._opened(self.study.get_trials(deepcopy=False)[number])
        say(f"trial {number}: {' '.join(self.space.settings(params))}")
        return self.open[number]

    def _require_own(self, trials: list[FrozenTrial]) -> None:
        """
        Raises:
            RunFolderError: study.log has other values for a trial than the study searches: they would be words of a command line, or those
                of best.yaml.
        """
        for trial in trials:
            if not self.space.holds(trial.params):
                log = self.runs.path / "study.log"
                raise RunFolderError(f"{log} is damaged: the values of trial {trial.number} are not of this study")

    def _opened(self, trial: FrozenTrial) -> Open:
        names = self._names(trial.number)
        return Open(trial, [self.space.job(name, trial.params, self.space.seed + place) for place, name in enumerate(names)])

    def _names(self, number: int) -> list[str]:
        return [f"trial={number:03},seed={self.space.seed + place}" for place in range(self.settings.seeds)]

    def _unfinished(self, each: Open) -> Iterator[Job]:
        for job in each.jobs:
            try:
                if each.trial.number not in self.open or self._curve(each, job).finished:
                    continue
            except RunFolderError as error:
                self._fault(f"trial {each.trial.number}", str(error))
                return
            yield job

    def _curve(self, each: Open, job: Job) -> Evaluations:
        curve = each.finished.get(job.name) or read(self.runs.run(job), self.grid)
        if curve.finished:
            each.finished[job.name] = curve
        return curve
