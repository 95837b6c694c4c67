"""Where a training step's time goes.

    python -m benchmarks.profile agent=td3 env=mujoco/half_cheetah replay.learning_starts=1000 [overrides] [--steps 2000] [--operators 12]

Trains a while and measures from outside, by wrapping what the loop calls. "self" is a row's own time without that of the rows below it.
Timers cost about half a microsecond a call. `--operators` adds the most expensive torch operators of the updates.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.speed.ours import sample
from deeprl.running.config.compose import compose
from deeprl.running.runs.folder import RunFolder
from deeprl.running.session.assemble import assemble
from deeprl.running.session.complete import complete
from deeprl.running.training.learner import Learner
from deeprl.running.training.trainer import Trainer


class Clock:
    """Nested timers: each name's calls, seconds, and seconds spent in names below it."""

    def __init__(self):
        self.total: dict[str, list[float]] = {}
        self.stack: list[str] = []
        self.below: dict[str, float] = {}
        self.depth: dict[str, int] = {}

    def wrap(self, owner: object, attribute: str, name: str) -> None:
        setattr(owner, attribute, self.timed(getattr(owner, attribute), name))

    def timed(self, function: Callable, name: str) -> Callable:
        def call(*args, **kwargs):
            entry = self.total.setdefault(name, [0, 0.0])
            self.depth.setdefault(name, len(self.stack))
            self.stack.append(name)
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                seconds = time.perf_counter() - start
                self.stack.pop()
                entry[0] += 1
                entry[1] += seconds
                if self.stack:
                    self.below[self.stack[-1]] = self.below.get(self.stack[-1], 0.0) + seconds

        return call

    def clear(self) -> None:
        for entry in self.total.values():
            entry[:] = [0, 0.0]
        self.below.clear()


def attach(clock: Clock, trainer: Trainer) -> Callable[[int], None]:
    """Put timers around everything that one step calls; returns that step."""
    agent, collector = trainer.agent, trainer.collector
    clock.wrap(collector.noise, "next", "noise for acting")
    clock.wrap(agent, "act", "act")
    clock.wrap(trainer.envs, "step", "environments")
    collector.append = clock.timed(collector.append, "append to replay")
    clock.wrap(trainer.source, "observe", "observe")
    clock.wrap(collector, "tick", "collect")
    clock.wrap(trainer.source.uniforms, "next", "noise for sampling")
    clock.wrap(trainer.update_noise, "next", "noise of the loss")
    clock.wrap(trainer.source, "draw", "draw from replay")
    clock.wrap(trainer.guard.learner, "batch", "make the batch")  # a compiled step does it itself
    learner = trainer.guard.learner
    plain = learner.update_objective
    timed = {name: clock.timed(plain, f"step of {name}") for name in agent.objectives}
    learner.update_objective = lambda name, batch: timed[name](name, batch)
    if type(learner) is Learner:  # else all of it is one compiled function
        for name, objective in agent.objectives.items():
            clock.wrap(objective.optimizer, "step", f"optimizer of {name}")
    clock.wrap(agent, "after_update", "targets that follow")
    clock.wrap(learner, "update", "update")
    clock.wrap(trainer.source, "priorities", "priorities")
    clock.wrap(trainer, "learn", "learn")
    clock.wrap(agent, "on_period", "targets at their periods")

    def step(number: int) -> None:
        after = number + trainer.envs.num
        collector.tick(number)
        for drawn in trainer.source.updates(number, after):
            trainer.learn(drawn)
        agent.tick(number, after)

    return clock.timed(step, "step")


def table(clock: Clock) -> str:
    whole = clock.total["step"][1]
    lines = [f"{'':34}{'calls':>9}{'us/call':>10}{'% of step':>11}{'self %':>8}"]
    for name, depth in clock.depth.items():
        calls, seconds = clock.total[name]
        if calls:
            own = seconds - clock.below.get(name, 0.0)
            label = "  " * depth + name
            lines.append(f"{label:34}{calls:9,.0f}{1e6 * seconds / calls:10,.1f}{100 * seconds / whole:11.1f}{100 * own / whole:8.1f}")
    return "\n".join(lines)


def option(words: list[str], name: str, default: int) -> int:
    if name not in words:
        return default
    at = words.index(name)
    value = int(words[at + 1])
    del words[at : at + 2]
    return value


def main() -> None:
    words = sys.argv[1:]
    steps, operators = option(words, "--steps", 2000), option(words, "--operators", 0)
    config, user, _ = compose(words)
    config = complete(config, user)
    trainer = assemble(config, RunFolder(Path(tempfile.mkdtemp()) / "run"))
    clock = Clock()
    step, num = attach(clock, trainer), trainer.envs.num
    number = 0
    while number < config["replay"]["learning_starts"] + 200 * num:
        step(number)
        number += num
    clock.clear()
    stop = number + steps * num
    while number < stop:
        step(number)
        number += num
    names, chosen = config["names"], config["accelerate"]
    seconds = clock.total["step"][1]
    mode = f"{chosen['mode']}, {chosen['matmul_precision']}"
    print(f"{names['agent']} on {names['env']}: {steps * num / seconds:,.0f} steps/s, {mode}, ", end="")
    print(f"{torch.get_num_threads()} thread{'s' * (torch.get_num_threads() > 1)}")
    print(table(clock))
    if operators:
        with torch.profiler.profile() as profile:
            for _ in range(50):
                trainer.learn(sample(trainer))
        print(profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=operators, max_name_column_width=40))


if __name__ == "__main__":
    main()
