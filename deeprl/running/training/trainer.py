"""Training loop: collect, learn, maintain; and on their own periods log, evaluate, save.

The order depends on the step alone, never on the clock, so that a run can be repeated and resumed. Two keys read the clock and change no
number: `checkpoint.minutes` saves, `stop.hours` ends the run.
"""

from __future__ import annotations

import contextlib
import shlex
import time
from functools import partial
from typing import Any

from torch import Tensor

from deeprl.errors import RunFolderError, Stopped
from deeprl.noise import NoiseStream
from deeprl.replay.gather import Sample
from deeprl.replay.source import Source
from deeprl.running.accelerate.modes import precision
from deeprl.running.config.stateless import UnsavedState
from deeprl.running.runs.checkpoints import Checkpoints
from deeprl.running.runs.folder import RunFolder
from deeprl.running.runs.loggers import Loggers
from deeprl.running.training.distributed import require_same_weights
from deeprl.running.training.evaluation import cut_off
from deeprl.running.training.evaluator import Evaluator, evaluation_metrics, way_past
from deeprl.running.training.guard import Guard
from deeprl.running.training.learner import Learner
from deeprl.running.training.listeners import Listeners
from deeprl.running.training.metrics import metrics_of, summary_of
from deeprl.running.training.saving import Saver
from deeprl.running.training.snapshot import Restored, Snapshot
from deeprl.running.training.standing import Standing
from deeprl.running.training.stopwatch import Stopwatch
from deeprl.schedules import crossed
from deeprl.system.global_draws import GlobalDraws
from deeprl.system.machine import freeze_objects, thaw_objects
from deeprl.system.progress import Progress
from deeprl.system.ranks import ALONE, Ranks
from deeprl.system.signals import Signals
from deeprl.system.watchdog import Watchdog
from deeprl.types import Batch, Report

CLOCK_PERIOD = 100
"""Steps between two looks at the clock, where a key depends on it: a log line may be due only every few minutes"""


class Trainer:
    """Training loop of one run: order and frequency of all its parts.

    Args:
        config: resolved; configs/train.yaml explains its keys.
        learner: updates the agent.
        collector: a `Collector`, or a part with its interface, such as `deeprl.running.collect.collector.RemoteCollector`.
        folder: the run folder, claimed.
        make_evaluation: `make(seed, num, render=False)` -> environments for evaluation.
        checkpoints: of the run folder; on a rank that is not the first, those of its own part.
        ranks: the processes of the run. All of them go through this loop at the same time and decide alike; the first one logs, evaluates
            and writes to the run folder.
    """

    def __init__(
        self,
        config: dict,
        learner: Learner,
        collector,
        source: Source,
        make_evaluation,
        folder: RunFolder,
        checkpoints: Checkpoints,
        ranks: Ranks = ALONE,
    ):
        self.ranks = ranks
        self.config, self.agent, self.collector, self.envs, self.source = config, learner.agent, collector, collector.envs, source
        self.folder, self.checkpoints = folder, checkpoints
        agent, seed, device = learner.agent, config["seed"], config["device"]
        self.guard = Guard(learner, precision(config["accelerate"]["matmul_precision"]), folder, config, lambda: self.step, source.intact)
        self.evaluator = Evaluator(config, agent, make_evaluation, folder)
        self.saver = Saver(config, checkpoints, source)
        self.stopwatch, self.draws, self.unsaved = Stopwatch(), GlobalDraws(), UnsavedState(agent)
        self.update_noise = NoiseStream(
            seed, "update", ranks.named("agent"), lambda updates, g: agent.noise((updates, *source.batch_shape), g), 64, device
        )
        source.connect(seed, ranks.named("index"), agent.observe, self.prepare)
        self.snapshot = Snapshot(
            config, ranks, folder, checkpoints, agent, collector, source, self.evaluator, self.update_noise, self.stopwatch, self.saver
        )
        self.standing = Standing()
        self.restored: Restored | None = None
        self.stop: str | None = None
        """Reason of the signal that ended `run`, such as "stopped by SIGTERM" """
        self.loggers: Loggers | None = None
        self.listeners = Listeners()

    @property
    def step(self) -> int:
        """Environment steps so far."""
        return self.standing.step

    def restore(self) -> None:
        """Go on from the newest checkpoint that all ranks can read. Errors are those of `Snapshot.restore`."""
        self.restored = self.snapshot.restore()
        self.standing = self.restored.standing

    # ---- the loop -----------------------------------------------------------------------------------------------------

    def run(self, loggers: Loggers, progress: Progress, signals: Signals, watchdog: Watchdog, listeners: Listeners = Listeners()) -> str:
        """Train until `steps`, a stop criterion or a signal. Returns "finished" or "stopped"."""
        self.loggers, self.progress, self.signals, self.watchdog, self.listeners = loggers, progress, signals, watchdog, listeners
        self.source.beat = watchdog.beat
        signals.arm()
        self.stopwatch.start()
        freeze_objects()
        try:
            if not self.standing.done:
                self._train()
            self._finish()
        except Stopped as stopped:
            self.save()
            self.stop = str(stopped)
            self.write_status("stopped", self.stop)
            return "stopped"
        finally:
            thaw_objects()
        return "finished"

    def _train(self) -> None:
        """
        Raises:
            Stopped: by a signal, at the boundary of a step.
        """
        steps, num, lag = self.config["steps"], self.envs.num * self.ranks.size, self.config["runtime"].get("lag", 0)
        if self.standing.pending is not None and self._on_period(self.standing.pending, self.step):
            return
        if self.standing.stopped_early is not None:  # restored from the checkpoint of the evaluation that met the criterion
            return
        due_next, standing, offline = self._next_due(), self.standing, self.source.offline_steps
        while (before := standing.step) < steps:
            self.signals.raise_if_stopped()
            self.watchdog.beat()
            if before >= offline:
                self.collector.tick(before)
            standing.step = after = before + num
            if lag and after >= offline:  # before the updates, which a device computes while environments make a step
                self.collector.choose(after)
            for drawn in self.source.updates(before, after):
                self.watchdog.beat()
                self.learn(drawn)
            self.agent.tick(before, after)
            self.saver.write_ahead(after)
            if after >= due_next:
                if self._on_period(before, after):
                    return
                due_next = self._next_due()

    def prepare(self, batch: Batch) -> dict[str, Tensor]:
        """See `Agent.prepare`."""
        with self.guard.matmul_precision:
            if self.source.on_device and self.agent.prepares_alike:
                return self.guard.learner.compute(self.agent.prepare, batch)
            return self.agent.prepare(batch)

    def learn(self, drawn: Sample) -> None:
        """One update from a sample of the source: update the agent, set priorities."""
        drawn = drawn._replace(noise=self.update_noise.next())

        def set_priorities(report: Report) -> None:
            self.source.priorities(drawn, report.error)

        report = self.guard.update(drawn, set_priorities)  # in the guard, because a priority may be what is not finite
        shown = self.standing.learned or {}  # an objective may not be due, such as the actor's: its last numbers stay in the log
        self.standing.learned = {**shown, **report.metrics} if len(shown) > len(report.metrics) else report.metrics
        if not self.stopwatch.running:
            freeze_objects()  # again, because the first update loads a compiler
            self.stopwatch.measure(self.step, self.agent.updates)

    # ---- on their periods ---------------------------------------------------------------------------------------------

    def _next_due(self) -> int:
        """Next step at which a log line, an evaluation, a checkpoint or a look at the clock is due; at most the last step."""
        config = self.config
        clocked = config["checkpoint"]["minutes"] is not None or config["stop"]["hours"] is not None
        periods = [config["log"]["every"], config["evaluation"]["every"], config["checkpoint"]["every"], CLOCK_PERIOD if clocked else None]
        return min([(self.step // period + 1) * period for period in periods if period] + [config["steps"]])

    def _on_period(self, before: int, after: int) -> bool:
        """Evaluate, log, save, in this order, because a checkpoint covers the log of its step. Returns whether to stop early.

        Raises:
            Stopped: in an evaluation. Nothing has been logged; a resumed run repeats the whole call.
        """
        self.guard.check()
        self.standing.pending, best = before, self.evaluator.best
        metrics, better = self._measure(before, after)
        self._log(before, after, metrics)
        self.standing.pending = None
        self.progress.update(after, returned=metrics.get("rollout/ep_rew_mean"))
        overdue, over = self.ranks.broadcast(self.stopwatch.past(self.config["checkpoint"]["minutes"], self.config["stop"]["hours"]))
        if after < self.config["steps"]:  # the last step has a checkpoint of its own
            due = overdue or better or crossed(self.config["checkpoint"]["every"], before, after)
            if due and not self.save(better, must=False) and better:
                self.evaluator.best = best  # the one that has a checkpoint
            if over:
                self.standing.stopped_early = f"stop.hours={self.config['stop']['hours']:g} have passed"
        return self.standing.stopped_early is not None

    def _measure(self, before: int, after: int) -> tuple[dict[str, float], bool]:
        """Metrics of the log and of an evaluation, where due, and whether this evaluation is the best so far. Sets `stopped_early` where it
        met `stop.return`."""
        config, metrics, better = self.config, {}, False
        if crossed(config["log"]["every"], before, after):
            metrics.update(metrics_of(self))
        if after < config["steps"] and crossed(config["evaluation"]["every"], before, after):
            result, better = self.evaluate(config["evaluation"]["episodes"])
            metrics.update(evaluation_metrics(result) | self.tell("on_evaluation", result))
            if config["stop"]["return"] is not None and result["mean"] >= config["stop"]["return"]:
                self.standing.stopped_early = f"stop.return={config['stop']['return']:g} was reached"
        return metrics, better

    def _log(self, before: int, after: int, metrics: dict[str, float]) -> None:
        """Write the metrics, if there are any. Episodes wait for the next line of the log, which tells the newest of them."""
        if not metrics:
            return
        assert self.loggers is not None
        added = self.tell("on_log", metrics)
        if twice := added.keys() & metrics.keys():
            raise ValueError(f"on_log and on_evaluation answered with the same name {', '.join(sorted(twice))} at step {after}")
        self.loggers.scalars(after, metrics | added)
        if crossed(self.config["log"]["every"], before, after):
            self.collector.episodes.finished.clear()

    def tell(self, listener: str, what: Any) -> dict[str, float]:
        """Call a listener of the user, which may stop the run before its last step. Returns its numbers for the log."""
        try:
            reason, numbers = self.listeners.tell(listener, self.step, what)
        except (SystemExit, KeyboardInterrupt):
            if self.signals.stop is None:
                raise
            reason, numbers = None, {}  # a signal has ended a run that the listener trained, and ends this one at its next step
        reason = self.ranks.broadcast(reason)
        if reason and self.step < self.config["steps"] and not self.standing.done:
            self.standing.stopped_early = reason
        return numbers

    def evaluate(self, episodes: int, part: str = "run") -> tuple[dict, bool]:
        """The summary of an evaluation, and whether it is the best. `part`: see `evaluation_seed`."""

        def tick(played: int, steps: int) -> None:
            self._evaluation_tick()
            self.progress.evaluating(self.step, episodes, played, steps)

        hang = f"the evaluation of step {self.step:,}", way_past(self.config, self.standing.done)
        with self.stopwatch.pause(), self.watchdog.during(*hang):
            longest = cut_off(episode.length for episode in self.collector.episodes.recent)
            evaluation = partial(self.evaluator, self.step, episodes, tick, self.progress.say, part, longest)
            summary, better = self.ranks.run_on_first(evaluation, self._evaluation_tick)
            self.signals.arm()  # because it has made environments
            if self.evaluator.filmed is not None:
                assert self.loggers is not None
                self.loggers.animation(self.step, "video/evaluation", self.evaluator.filmed)
            self.progress.update(self.step, evaluated=summary["mean"])
        return summary, better

    def _evaluation_tick(self) -> None:
        self.watchdog.beat()
        self.signals.raise_if_stopped()

    def _finish(self) -> None:
        """The last evaluation, checkpoint, and summary.json."""
        assert self.loggers is not None
        speeds = self.stopwatch.speeds(self.step, self.agent.updates)
        self.standing.done = True
        if self.standing.final is None or self.standing.final["step"] != self.step:  # a resumed run may have made it already
            self.save(must=False)  # the last evaluation may take long
            # an evaluation that met `stop.return` was selected by its result, so the final one has episodes of its own
            part = "run" if self.standing.stopped_early is None else "final"
            self.standing.final, better = self.evaluate(self.config["evaluation"]["final_episodes"], part)
            added = self.tell("on_evaluation", self.standing.final)
            self.loggers.scalars(self.step, evaluation_metrics(self.standing.final) | added)
            self.save(better)
        if self.ranks.first:
            self.folder.write_summary(summary_of(self, speeds))
        best = self.evaluator.best or self.standing.final
        self.loggers.hparams(self.config, {"final/mean_reward": self.standing.final["mean"], "best/mean_reward": best["mean"]})
        with contextlib.suppress(OSError):  # a full disk; `close` tries again
            self.loggers.flush()  # before the status, because a finished run is not resumed to write them
        self.write_status("finished")

    # ---- checkpoints --------------------------------------------------------------------------------------------------

    def save(self, best: bool = False, must: bool = True) -> bool:
        """Write a checkpoint: everything that the rest of the run depends on. The first rank writes last, because its checkpoint is the
        run's own: the parts of the other ranks count only with it. Older parts are removed after that. Returns false if the disk was full.

        Args:
            must: a full disk raises. Otherwise it is only reported; training continues, and the next checkpoint holds the missing rows.

        Raises:
            NotFinite: a weight is NaN or Inf.
            RankError: the weights of the ranks differ.
            RunFolderError: the disk is full.
        """
        with self.stopwatch.pause():
            self.draws.tell()
            self.unsaved.tell()
            self.guard.check(weights=True)
            require_same_weights(self.ranks, self.agent)
            try:
                self.ranks.in_order(lambda: self._write(best))
                if not self.ranks.first:
                    self.checkpoints.clean(self.step)
            except OSError as error:
                problem = self.saver.full_disk(self.step, error)
                if must:
                    raise RunFolderError(
                        f"{problem}. Make space, then: {self.ranks.command} resume {shlex.quote(str(self.folder.path))}"
                    ) from error
                self.progress.say(f"{problem}. Training goes on; make space before the next one is due")
                return False
            else:
                self.tell("on_checkpoint", self.checkpoints.at(self.step))
                return True
            finally:
                self.stopwatch.saved = time.monotonic()

    def _write(self, best: bool) -> None:
        assert self.loggers is not None
        self.loggers.flush()
        self.folder.flush()
        parts = self.snapshot.take(self.standing)
        if self.ranks.first:
            parts = {"agent": self.agent.state(), **parts, "loggers": self.loggers.state_dict()}
        self.saver.save(self.step, parts, best)
        self.write_status("running")

    def write_status(self, state: str, error: str | None = None) -> None:
        if self.ranks.first:
            saved = self.checkpoints.pointed("last")
            self.folder.write_status(state, self.step, self.agent.updates, error, self.standing.stopped_early, saved)
