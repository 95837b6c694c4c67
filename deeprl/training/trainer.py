"""The loop: collect, learn, maintain; and on their own periods log, evaluate, save.

What happens when depends on the step alone, never on the clock, so that a run can be repeated and resumed. The two exceptions
change no number: `checkpoint.minutes` saves, `stop.hours` ends.
"""

from __future__ import annotations

import contextlib
import gc
import math
import time

import torch

from deeprl.accelerate.compiled import CompiledStep
from deeprl.accelerate.modes import precision
from deeprl.agent import Agent
from deeprl.config.rules import get
from deeprl.errors import CheckpointError, NotFinite, RunFolderError, Stopped
from deeprl.noise import NoiseStream
from deeprl.replay.gather import Drawn
from deeprl.replay.replay import Replay
from deeprl.runs.checkpoint import DAMAGE
from deeprl.runs.checkpoints import Checkpoints
from deeprl.runs.folder import RunFolder
from deeprl.runs.loggers import Loggers
from deeprl.schedules import crossed
from deeprl.system.files import full
from deeprl.system.machine import peak_memory, settle_memory
from deeprl.system.progress import Progress, say
from deeprl.system.signals import Signals
from deeprl.system.watchdog import Watchdog
from deeprl.training import crash
from deeprl.training.collector import Collector
from deeprl.training.evaluation import Tape, evaluate, evaluation_seed, summarise
from deeprl.training.overestimation import Overestimation
from deeprl.types import Batch, Learned

SEGMENT = 8 << 20
"""Bytes of replay rows that are written at once, between checkpoints, so that a checkpoint does not have to write all of its own."""


class Trainer:
    """
    Args:
        config: resolved; what it means is in configs/train.yaml.
        folder: the run folder, claimed.
        product: float32 product of the learner, `deeprl.accelerate.modes.precision`.
        make_evaluation: `make(seed, num, render=False)` -> environments for evaluation.
    """

    def __init__(
        self, config: dict, agent: Agent, envs, replay: Replay, make_evaluation, folder: RunFolder, checkpoints: Checkpoints, product: str
    ):
        self.config, self.agent, self.envs, self.replay = config, agent, envs, replay
        self.make_evaluation, self.folder, self.checkpoints, self.product = make_evaluation, folder, checkpoints, precision(product)
        seed, device, batch = config["seed"], config["device"], replay.batch_shape
        self.collector = Collector(agent, envs, replay.append, seed, device)
        self.update_noise = NoiseStream(seed, "update", "agent", lambda updates, g: agent.noise((updates, *batch), g), 64, device)
        self.replay_noise = NoiseStream(seed, "replay", "index", replay.noise, 64)
        self.compiled = False
        """Whether the agent takes what the replay draws, and makes the batch itself"""
        if isinstance(agent.descend, CompiledStep):
            agent.descend.unpack, self.compiled = replay.batch, True
        self.step = 0
        self.filled_from = 0
        """Step at which the replay was empty: 0, or later if a resumed run had to do without it."""
        self.learned: Learned | None = None
        self.suspects: list[Batch | Drawn] = []
        """Batches of the updates that nobody has looked at since; on a CPU the last one."""
        self.best: dict | None = None
        self.final: dict | None = None
        """The last evaluation, once it is made."""
        self.pending: int | None = None
        """Where the tick began whose logging and evaluation are not done: a signal may cut an evaluation short, it is then repeated."""
        self.done = False
        """Training is over, and the last evaluation is due or made."""
        self.loggers_state: dict = {}
        self.lines: dict[str, int] = {}
        """Both of the checkpoint that was restored: the loggers' clock, and how long metrics.jsonl and evaluations.jsonl were."""
        self.saved_marks = [0] * envs.num
        """How many rows of each environment are on disk."""
        periodic = config["checkpoint"]["every"] or config["checkpoint"]["minutes"] is not None
        ahead = periodic and config["checkpoint"]["replay"]
        self.segment = max(int(SEGMENT * replay.capacity / replay.bytes), envs.num) if ahead else math.inf
        """Steps after which rows are written ahead of their checkpoint"""
        self.segment_from = 0
        self.stall = 0.0
        """The longest that training has waited for a disk since the last checkpoint, seconds"""
        self.checkpoint_cost: dict[str, float] = {}
        """Of the last checkpoint: bytes and seconds."""
        self.loggers: Loggers | None = None
        self.seconds_before = 0.0
        """Wall time of earlier starts of this run."""
        self.training_from: tuple[float, int, int] | None = None
        """Clock, steps and updates when warm-up ended in this process."""

    # ---- the loop -----------------------------------------------------------------------------------------------------

    def run(self, loggers: Loggers, progress: Progress, signals: Signals, watchdog: Watchdog) -> str:
        """Train until `steps`, a stop criterion or a signal. Returns "finished" or "stopped"."""
        self.loggers, self.progress, self.signals, self.watchdog = loggers, progress, signals, watchdog
        self.started = time.monotonic()
        self.last_save = self.started
        settle_memory()
        try:
            if not self.done:
                self._train()
            self._finish()
        except Stopped as stopped:
            self.save()
            self.write_status("stopped", str(stopped))
            return "stopped"
        finally:
            gc.unfreeze()
        return "finished"

    def _train(self) -> None:
        """
        Raises:
            Stopped: by a signal, at the boundary of a step.
        """
        steps, num = self.config["steps"], self.envs.num
        if self.pending is not None and self._on_period(self.pending, self.step):
            return
        due_next = self._next_due()
        while self.step < steps:
            self.signals.heed()
            self.watchdog.beat()
            before = self.step
            self.collector.tick(before)
            self.step = after = before + num
            for _ in range(self.updates_due(before, after)):
                self.learn()
            self.agent.maintain(before, after)
            if after - self.segment_from >= self.segment:
                self._write_ahead()
            if after >= due_next:
                if self._on_period(before, after):
                    return
                due_next = self._next_due()

    def updates_due(self, before: int, after: int) -> int:
        """Gradient updates after the steps (before, after]: `replay_ratio` each, once there is enough to learn from."""
        starts = self.filled_from + self.config["learning_starts"]
        if after <= starts:
            return 0
        ratio = self.config["replay_ratio"]
        due = int(after * ratio) - int(max(before, starts) * ratio)
        return due if due and len(self.replay) else 0

    def learn(self) -> None:
        """One update."""
        drawn = self.replay.draw(self.replay_noise.next()["u"])
        # a compiled step takes what was drawn, and has the rest of `sample` inside
        batch = (drawn if self.compiled else self.replay.batch(drawn))._replace(noise=self.update_noise.next())
        if self.agent.watch.immediate:
            self.suspects.clear()
        elif len(self.suspects) >= crash.LOOK:
            self.look()
        self.suspects.append(batch)
        try:
            with self.product:
                self.learned = self.agent.update(batch)
            if self.replay.prioritized:
                self.replay.update_priorities(batch.index, self.learned.error)
        except NotFinite as error:
            raise self._crashed(error) from error
        if self.training_from is None:
            settle_memory()  # once more: a compiler came with the first update
            self.training_from = (time.monotonic(), self.step, self.agent.updates)

    def look(self, weights: bool = False) -> None:
        """Whether all updates so far were finite, and with `weights` all weights too: nothing else may reach a checkpoint.

        Raises:
            NotFinite: they were not; a crash bundle was written.
        """
        try:
            self.agent.watch.look()
            found = crash.weights_fault(self.agent) if weights else None
            if found:
                raise NotFinite(found)
        except NotFinite as error:
            raise self._crashed(error) from error
        self.suspects.clear()

    def _crashed(self, error: NotFinite) -> NotFinite:
        """Save the bundle and say what is in it."""
        agent, batch, objective, found = self.agent, None, error.objective, None
        suspects = [self.replay.batch(each) for each in self.suspects]
        with self.product:
            if objective is not None:
                batch, found = suspects[-1], crash.fault(agent, suspects[-1], objective)
            elif suspects:
                batch, objective, found = crash.locate(agent, suspects)
        found = found or str(error)
        failure = {"step": self.step, "update": agent.updates, "objective": objective, "tensor": found}
        failure["product"] = self.product.choice
        bundle = crash.write(self.folder, self.config, agent, batch, failure)
        whose = f"the loss {objective!r}" if objective else "the agent"
        return NotFinite(
            f"update {agent.updates:,} (step {self.step:,}) of {whose} is not finite: {found}. The batch, its noise and the weights are in "
            f"{bundle}, `deeprl replay-crash {bundle}` repeats it; checkpoints are untouched"
        )

    # ---- on their periods ---------------------------------------------------------------------------------------------

    def _periods(self) -> list[int]:
        config = self.config
        every = [config["log"]["every"], config["evaluation"]["every"], config["checkpoint"]["every"]]
        return [period for period in every if period]

    def _next_due(self) -> int:
        """The next step at which something but training happens; at most the end."""
        return min([(self.step // period + 1) * period for period in self._periods()] + [self.config["steps"]])

    def _on_period(self, before: int, after: int) -> bool:
        """Log, evaluate, save, in this order: what is logged at a checkpoint's step belongs to it. Returns whether to stop early.

        Raises:
            Stopped: in an evaluation. Nothing has been logged then, and all of this is done again after resuming.
        """
        self.look()
        self.pending = before
        config, stop, better = self.config, False, False
        metrics: dict[str, float] = {}
        if crossed(config["log"]["every"], before, after):
            metrics.update(self.metrics())
        every = config["evaluation"]["every"]
        if every and crossed(every, before, after) and after < config["steps"]:
            result, better = self.evaluate(config["evaluation"]["episodes"])
            metrics.update(self._evaluation_metrics(result))
            stop = config["stop"]["return"] is not None and result["mean"] >= config["stop"]["return"]
        if metrics:
            assert self.loggers is not None
            self.loggers.scalars(after, metrics)
            if crossed(config["log"]["every"], before, after):
                self.collector.finished.clear()
        self.pending = None
        self.progress.update(after, returned=metrics.get("rollout/ep_rew_mean"))
        now = time.monotonic()
        minutes, hours = config["checkpoint"]["minutes"], config["stop"]["hours"]
        period = config["checkpoint"]["every"]
        overdue = minutes is not None and now - self.last_save > 60 * minutes
        if after < config["steps"] and ((period and crossed(period, before, after)) or overdue or better):
            self.save(better, must=False)
        return stop or (hours is not None and self.seconds_before + now - self.started > 3600 * hours)

    def metrics(self) -> dict[str, float]:
        """Everything there is to say at this step. Numbers of the last update are read here, not when they arise."""
        values: dict[str, float] = {**self.collector.metrics(), **self.agent.diagnostics(self.step)}
        if self.collector.finished:
            values["rollout/episodic_return"] = self.collector.finished[-1].reward
        if self.learned is not None:
            values.update(self.agent.read(self.learned.metrics))
        values["train/n_updates"] = float(self.agent.updates)
        values.update(self.agent.learning_rates(self.step))
        elapsed = time.monotonic() - self.started + self.seconds_before
        values.update(self.checkpoint_cost)
        frames = get(self.config, "env.protocol.frame_skip")
        if frames:
            values["time/frames"] = float(frames * self.step)
        values["time/time_elapsed"] = elapsed
        if self.training_from is not None:
            clock, step, updates = self.training_from
            passed = max(time.monotonic() - clock, 1e-9)
            values["time/fps"] = (self.step - step) / passed
            values["time/updates_per_second"] = (self.agent.updates - updates) / passed
        return values

    def evaluate(self, episodes: int) -> tuple[dict, bool]:
        """Own environments and seeds; written to evaluations.jsonl. Returns the summary of the returns, and whether it is the best."""
        began = time.monotonic()
        seed = evaluation_seed(self.config["seed"], self.step)
        num, device = self.config["evaluation"]["num"], self.config["device"]
        honesty, tape = Overestimation.of_run(self.agent.rewards, self.config), Tape()
        heard = (honesty, tape)
        result = evaluate(self.agent, self.make_evaluation, episodes, num, seed, self.step, device, self._evaluation_tick, heard)
        if get(self.config, "evaluation.video", False):
            self._film(seed, tape)
        self.folder.append_evaluation({"step": self.step, **result})
        length = sum(result["lengths"]) / len(result["lengths"])
        summary = {**summarise(result["returns"]), "step": self.step, "length": length, "diagnostics": honesty.metrics()}
        self.progress.update(self.step, evaluated=summary["mean"])
        better = self.best is None or summary["mean"] > self.best["mean"]
        if better:
            self.best = summary
        if self.training_from is not None:  # speeds are those of training alone
            clock, step, updates = self.training_from
            self.training_from = (clock + time.monotonic() - began, step, updates)
        return summary, better

    def _film(self, seed: int, tape: Tape) -> None:
        """videos/step_….mp4. Whatever goes wrong is a warning: no run is lost over a video.

        Raises:
            Stopped: by a signal. The evaluation is not written down yet, and is made again with its video after resuming.
        """
        from deeprl.training.video import film  # OpenCV: a tenth of a second that only videos need to pay

        path = self.folder.path / "videos" / f"step_{self.step:012d}.mp4"
        try:
            with contextlib.closing(self.make_evaluation(seed, 1, render=True)) as envs:
                returned = film(envs, tape, path, self._evaluation_tick)
            if returned != tape.returned:
                self.progress.say(
                    f"{path} shows an episode of return {returned:.4g}, in the evaluation it was {tape.returned:.4g}: "
                    "this environment does not repeat itself when it is drawn"
                )
        except Stopped:
            raise
        except Exception as error:
            self.progress.say(f"no video of step {self.step:,} ({type(error).__name__}: {error}). Training goes on")

    def _evaluation_tick(self) -> None:
        self.watchdog.beat()
        self.signals.heed()

    @staticmethod
    def _evaluation_metrics(result: dict) -> dict[str, float]:
        more = {f"eval/{name}": value for name, value in result["diagnostics"].items()}
        return {"eval/mean_reward": result["mean"], "eval/mean_ep_length": result["length"], **more}

    def _finish(self) -> None:
        """The last evaluation, checkpoint, and summary.json."""
        assert self.loggers is not None
        speeds = self.metrics()
        self.done = True
        if self.final is None or self.final["step"] != self.step:  # a resumed run may have made it already
            self.save(must=False)  # the last evaluation may take long
            self.final, better = self.evaluate(self.config["evaluation"]["final_episodes"])
            self.loggers.scalars(self.step, self._evaluation_metrics(self.final))
            self.save(better)
        final = self.final
        seconds = time.monotonic() - self.started + self.seconds_before
        summary = {
            "final": final,
            "best": self.best,
            "steps": self.step,
            "updates": self.agent.updates,
            "wall_seconds": seconds,
            "steps_per_second": speeds.get("time/fps"),
            "updates_per_second": speeds.get("time/updates_per_second"),
            "peak_memory_bytes": peak_memory(),
        }
        self.folder.write_summary(summary)
        self.loggers.hparams(
            self.config, {"final/mean_reward": final["mean"], "best/mean_reward": self.best["mean"] if self.best else final["mean"]}
        )
        self.write_status("finished")

    # ---- checkpoints --------------------------------------------------------------------------------------------------

    def save(self, best: bool = False, must: bool = True) -> None:
        """Everything that the future of this run depends on.

        Args:
            must: without it, a full disk is only complained about: training goes on, and the next checkpoint holds what this one lacks.

        Raises:
            NotFinite: there is a weight that is NaN or Inf.
            RunFolderError: the disk is full.
        """
        began = time.monotonic()
        self.look(weights=True)
        try:
            done = self._save(best)
            self.checkpoint_cost = {
                "time/checkpoint_bytes": float(done["bytes"]),
                "time/checkpoint_seconds": done["seconds"],
                "time/checkpoint_stall": max(self.stall, done["seconds"]),
            }
            self.segment_from, self.stall = self.step, 0.0
        except OSError as error:
            if not full(error):
                raise
            last = self.checkpoints.pointed("last")
            words = f"{error.strerror}: the checkpoint of step {self.step:,} could not be written, " + (
                "and there is none before it" if last is None else f"the one of step {last:,} is untouched"
            )
            if must:
                raise RunFolderError(f"{words}. Make space, then: deeprl resume {self.folder.path}") from error
            self.progress.say(f"{words}. Training goes on; make space before the next one is due")
        self.last_save = time.monotonic()
        if self.training_from is not None:
            clock, step, updates = self.training_from
            self.training_from = (clock + self.last_save - began, step, updates)

    def _write_ahead(self) -> None:
        """Rows for the next checkpoint. On a full disk it is left to the checkpoint to complain."""
        began, marks = time.monotonic(), self.replay.marks()
        self.segment_from = self.step
        try:
            self.checkpoints.write_ahead(self.replay.rows(self.saved_marks), self.replay.live_from())
            self.saved_marks = marks
        except OSError as error:
            if not full(error):
                raise
        self.stall = max(self.stall, time.monotonic() - began)

    def _save(self, best: bool) -> dict[str, float]:
        assert self.loggers is not None
        self.loggers.flush()
        self.folder.flush()
        parts = {
            "agent": self.agent.state(),
            "collector": self.collector.state_dict(),
            "trainer": self.state_dict(),
            "loggers": self.loggers.state_dict(),
        }
        if self.config["checkpoint"]["replay"]:
            marks = self.replay.marks()
            rows = self.replay.rows(self.saved_marks) if marks != self.saved_marks else None
            parts["replay"] = self.replay.state_dict()
            done = self.checkpoints.save(self.step, parts, rows, self.replay.live_from())
            self.saved_marks = marks
        else:
            done = self.checkpoints.save(self.step, parts)
        if best:
            self.checkpoints.mark_best(self.step)
        self.write_status("running")
        return done

    def write_status(self, state: str, error: str | None = None) -> None:
        """status.json"""
        self.folder.write_status(state, self.step, self.agent.updates, error=error)

    def state_dict(self) -> dict:
        return {
            "step": self.step,
            "filled_from": self.filled_from,
            "update_noise": self.update_noise.state_dict(),
            "replay_noise": self.replay_noise.state_dict(),
            "best": self.best,
            "final": self.final,
            "pending": self.pending,
            "done": self.done,
            "lines": self.folder.sizes(),
            "learned": None if self.learned is None else {k: v.clone() for k, v in self.learned.metrics.items()},
            "seconds": time.monotonic() - self.started + self.seconds_before,
        }

    def restore(self, which: str | int = "last") -> None:
        """Go on from a checkpoint.

        Raises:
            CheckpointError: none is readable, or what it holds is no state of this run.
        """
        bound = {"agent": self.agent.state_bytes()}
        step, parts = self.checkpoints.load(which, most=bound)
        try:
            self._take(step, parts)
        except DAMAGE as error:
            raise CheckpointError(f"the checkpoint of step {step:,} does not fit this run: {type(error).__name__}: {error}") from error

    def _take(self, step: int, parts: dict) -> None:
        state = parts["trainer"]
        self.step = int(state["step"])
        if self.step != step or not 0 <= self.filled_from <= step:
            raise ValueError(f"it holds the state of step {self.step}")
        for result in (state["best"], state["final"]):
            if result is not None and not 0 <= int(result["step"]) <= step + 0 * float(result["mean"]):
                raise ValueError(f"it knows an evaluation of step {result['step']}")
        self.best, self.final, self.pending, self.done = (state[name] for name in ("best", "final", "pending", "done"))
        if self.best is not None and self.best["step"] == self.step:  # killed between saving and marking
            self.checkpoints.mark_best(self.step)
        self.loggers_state, self.lines = parts["loggers"], state["lines"]
        self.seconds_before = float(state["seconds"])
        self.update_noise.load_state_dict(state["update_noise"])
        self.replay_noise.load_state_dict(state["replay_noise"])
        self.agent.load_state(parts["agent"])
        if state["learned"] is not None:
            self.agent.read(state["learned"])  # as the next log line will
            self.learned = Learned(torch.zeros(0), state["learned"])
        if "replay" in parts:
            self.filled_from = int(state["filled_from"])
            self.replay.load(parts["replay"], self.checkpoints.segments(self.step))
            self.saved_marks, self.segment_from = self.replay.marks(), self.step
        else:
            self.filled_from = self.step
            say(f"the checkpoint holds no replay: updates wait for {self.config['learning_starts']:,} more steps")
        broken = self.collector.load_state_dict(parts["collector"])
        if "replay" in parts:
            for index in broken:
                self.replay.cut(index)
