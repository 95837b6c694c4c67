"""How many actors can one learner use? Measured on this machine with Ray, and computed from a model of the costs.

    python -m benchmarks.actors [--cases cartpole half_cheetah atari] [--actors 1 2 4] [--seconds 20] [--json FILE]
    python -m benchmarks.actors --model benchmarks/results/actor_costs.json     only the model, from costs that were measured

Parts of a run, measured in one process:

    tick     act and step the environments of one actor           store    append one row, observe it
    update   one gradient update                                  send     read the weights and put them into the object store
    chunk    put and get the rows of one chunk                    take     get the weights in an actor and write them

A round is one chunk of each of N actors: L ticks of M environments. With r updates a step,

    learner    N·M·L·(store + r·update) + send + N·chunk           actor    take + L·tick + chunk

On paper a round takes the longer of the two if actors are a round ahead, and their sum otherwise; and never less than the work of all
N + 1 processes divided by the cores. More than N* = (actor's time) / (learner's time for one chunk) actors wait for the learner.

The simulation repeats the recursion of `deeprl.running.collect.collector` round by round, with chunks whose durations scatter as the
measured ones: round r begins when the learner has finished round r − 1 and all its chunks are there, and a chunk begins when its actor is
free and its round is ordered.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.speed.ours import sample
from deeprl.running.collect.actor import RemoteActor
from deeprl.running.collect.choice import chosen
from deeprl.running.collect.cluster import cluster_for
from deeprl.running.config.compose import compose
from deeprl.running.runs.folder import RunFolder, read_lines
from deeprl.running.session.actors import collector_of_actor
from deeprl.running.session.assemble import assemble
from deeprl.running.session.complete import complete

ROOT = Path(__file__).resolve().parent.parent
QUICK = ("evaluation.every=null", "evaluation.final_episodes=1", "checkpoint.every=null", "checkpoint.replay=false", "runtime.threads=1")
CASES = {
    "cartpole": ("agent=dqn", "env=classic/cartpole", "replay.ratio=0.25"),
    "half_cheetah": ("agent=td3", "env=mujoco/half_cheetah", "replay.ratio=1", "agent.explore.random_steps=0"),
    "atari": ("agent=dqn", "env=atari/breakout", "replay.ratio=0.25", "replay.capacity=20000"),
}
ENVS, TICKS = 4, 64
"""M and L"""
NEVER = 1 << 40
IDLE, LEARNING = "idle", "learning"


class Costs(NamedTuple):
    """Seconds, see the module."""

    tick: float
    scatter: float
    """Standard deviation of the duration of a chunk, as a share of it"""
    store: float
    update: float
    send: float
    chunk: float
    take: float
    chunk_bytes: int
    weight_bytes: int


class Setting(NamedTuple):
    actors: int
    ratio: float
    cores: int
    ahead: int = 1

    def learner(self, costs: Costs) -> float:
        """Seconds of the learner's work in a round."""
        steps = self.actors * ENVS * TICKS
        return steps * (costs.store + self.ratio * costs.update) + costs.send + self.actors * costs.chunk

    def actor(self, costs: Costs) -> float:
        """Seconds of an actor's work in a round."""
        return costs.take + TICKS * costs.tick + costs.chunk

    def on_paper(self, costs: Costs) -> float:
        """Steps a second."""
        learner, actor = self.learner(costs), self.actor(costs)
        alone = max(learner, actor) if self.ahead else learner + actor
        return self.actors * ENVS * TICKS / max(alone, (learner + self.actors * actor) / self.cores)

    def most(self, costs: Costs) -> float:
        """N*: actors of which none waits for the learner, on a machine with cores enough."""
        return self.actor(costs) / (self.learner(costs) / self.actors)

    def simulated(self, costs: Costs, rounds: int = 2000) -> float:
        """Steps a second. With fewer cores than processes all are slower by the same factor while they work."""
        learner, actor = self.learner(costs), self.actor(costs)
        share = max(1.0, (learner + self.actors * actor) / max(learner, actor) / self.cores)
        random = np.random.default_rng(0)
        durations = actor * np.maximum(1 + costs.scatter * random.standard_normal((rounds, self.actors)), 0.1) * share
        finished, free = np.zeros(rounds), np.zeros(self.actors)
        now = 0.0
        for r in range(rounds):
            ordered = finished[r - 1 - self.ahead] if r > self.ahead else 0.0
            free = np.maximum(free, ordered) + durations[r]
            now = finished[r] = max(now, float(free.max())) + learner * share
        return rounds * self.actors * ENVS * TICKS / now


def timed(call, seconds: float = 0.5) -> list[float]:
    """Seconds of each call, after one that is not counted."""
    call()
    took: list[float] = []
    began = time.perf_counter()
    while time.perf_counter() - began < seconds or len(took) < 3:
        start = time.perf_counter()
        call()
        took.append(time.perf_counter() - start)
    return took


def settled(*words: str) -> dict[str, Any]:
    composed, user, _ = compose(words)
    return complete(composed, user)


def measured_costs(name: str, seconds: float) -> Costs:
    """The parts of a run, one after the other in this process, with Ray beside it for what goes through the object store."""
    words = (*CASES[name], *QUICK, f"steps={NEVER}", "replay.learning_starts=1000", "accelerate=compiled")
    with tempfile.TemporaryDirectory() as folder:
        trainer = assemble(settled(*words, f"env.num={ENVS}"), RunFolder(Path(folder)))
        try:
            while trainer.step < 1200:
                trainer.collector.tick(trainer.step)
                trainer.standing.step += ENVS
            rows: list = []
            keep, trainer.collector.append = trainer.collector.append, rows.append
            trainer.collector.tick(trainer.step)
            trainer.collector.append = keep
            learn = lambda: trainer.learn(sample(trainer))  # noqa: E731
            learn()
            updates = timed(learn, seconds)
            stores = timed(lambda: trainer.source.append(rows[0]), seconds / 4)
        finally:
            trainer.envs.close()
    config = settled(*words, "collect=ray", "collect.actors=1", f"collect.envs={ENVS}", f"collect.ticks={TICKS}")
    config["runtime"]["threads"] = 1
    actor = RemoteActor(lambda append: collector_of_actor(config, None, {}, ENVS, 0, append))
    try:
        weights = actor.weights.read()
        chunk, _ = actor.collect(weights, 10_000, ENVS, TICKS)
        chunks = timed(lambda: actor.collect(weights, 10_000, ENVS, TICKS), seconds)
        takes = timed(lambda: actor.weights.write(weights), seconds / 4)
        with cluster_for(chosen(config)) as cluster:
            assert cluster is not None
            sends = timed(lambda: cluster.put(actor.weights.read()), seconds / 4)
            moves = timed(lambda: cluster.fetch(cluster.put(chunk)), seconds / 4)
    finally:
        actor.close()
    middle = statistics.median
    take = middle(takes)
    return Costs(
        tick=(middle(chunks) - take) / TICKS,
        scatter=statistics.stdev(chunks) / statistics.mean(chunks),
        store=middle(stores) / ENVS,
        update=middle(updates),
        send=middle(sends),
        chunk=middle(moves),
        take=take,
        chunk_bytes=sum(part.nbytes for part in chunk.rows),
        weight_bytes=sum(part.nbytes for part in weights),
    )


def measured(name: str, actors: int, mode: str, seconds: float) -> float:
    """Steps a second of a whole run, from its log lines without the first third; no actors: one process that collects itself."""
    where = ["collect=ray", f"collect.actors={actors}", f"collect.envs={ENVS}", f"collect.ticks={TICKS}"] if actors else [f"env.num={ENVS}"]
    starts = NEVER if mode == IDLE else 1000
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        words = [
            *CASES[name],
            *QUICK,
            *where,
            f"steps={NEVER}",
            f"replay.learning_starts={starts}",
            "log.every=1024",
            "accelerate=compiled",
        ]
        call = [sys.executable, str(ROOT / "train.py"), f"hydra.run.dir={run}", *words]
        process = subprocess.Popen(call, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            while not (run / "metrics.jsonl").exists() or len(list(read_lines(run / "metrics.jsonl"))) < 4:
                if process.poll() is not None:
                    raise RuntimeError(f"{' '.join(call)} ended with {process.returncode}")
                time.sleep(0.2)
            time.sleep(seconds)
        finally:
            process.terminate()
            process.wait()
        log = [(line["step"], line["time/time_elapsed"]) for _, line in read_lines(run / "metrics.jsonl")]
    (first, began), (last, ended) = log[max(len(log) // 3, 2)], log[-1]
    return (last - first) / (ended - began)


def ratio_of(name: str) -> float:
    return float(next(word for word in CASES[name] if word.startswith("replay.ratio=")).partition("=")[2])


def table(cases: dict[str, Any], cores: int) -> str:
    rows = ["| case | learner | actors | on paper | simulated | measured | one process |", "|---|---|---|---|---|---|---|"]
    for name, case in cases.items():
        costs = Costs(**case["costs"])
        for mode in (IDLE, LEARNING):
            for actors in (1, 2, 4):
                setting = Setting(actors, ratio_of(name) if mode == LEARNING else 0.0, cores)
                found = case.get(mode, {})
                shown = [found.get(str(each)) for each in (actors, 0)]
                numbers = [setting.on_paper(costs), setting.simulated(costs), *shown]
                rows.append(f"| {name} | {mode} | {actors} | " + " | ".join(f"{n:,.0f}" if n else "" for n in numbers) + " |")
    rows += [
        "",
        "| case | learner | N* | steps/s with N* actors, cores enough | chunk, bytes | weights, bytes |",
        "|---|---|---|---|---|---|",
    ]
    for name, case in cases.items():
        costs = Costs(**case["costs"])
        for mode, ratio in ((IDLE, 0.0), (LEARNING, ratio_of(name))):
            most = Setting(1, ratio, NEVER).most(costs)
            best = Setting(max(round(most), 1), ratio, NEVER).on_paper(costs)
            rows.append(f"| {name} | {mode} | {most:.1f} | {best:,.0f} | {costs.chunk_bytes:,} | {costs.weight_bytes:,} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--actors", nargs="+", type=int, default=[1, 2, 4])
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement")
    parser.add_argument("--json", type=Path, default=None, help="write the figures there")
    parser.add_argument("--model", type=Path, default=None, help="only the tables, from this file")
    options = parser.parse_args()
    if options.model is not None:
        kept = json.loads(options.model.read_text())
        print(table(kept["cases"], kept["cores"]))
        return
    os.environ["OMP_NUM_THREADS"] = "1"
    found: dict[str, Any] = {"cores": len(os.sched_getaffinity(0)), "envs": ENVS, "ticks": TICKS, "cases": {}}
    for name in options.cases:
        case = found["cases"][name] = {"costs": measured_costs(name, options.seconds / 10)._asdict()}
        for mode in (IDLE, LEARNING):
            case[mode] = {str(actors): measured(name, actors, mode, options.seconds) for actors in (0, *options.actors)}
        print(name, json.dumps(case), flush=True)
        if options.json is not None:
            options.json.write_text(json.dumps(found, indent=1) + "\n")
    print(table(found["cases"], found["cores"]))


if __name__ == "__main__":
    main()
