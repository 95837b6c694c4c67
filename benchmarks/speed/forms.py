"""Whole loops with a form that stands for its speed, and with the plain one in its place.

    python -m benchmarks.speed.forms [tanh ...] [--rounds 3]

Processor time of a step in one process of one thread: runs with the form and without alternate, and the best slice of all rounds counts.
The first slices of a run, in which its functions are compiled, do not. `saves` is the share of the time without the form.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor

import deeprl
from deeprl.envs.tensor_minatar.world import MinAtarWorld
from deeprl.envs.vector.worlds import State
from deeprl.replay.rollout import Rollout
from deeprl.running.accelerate import graph, modes

PQN = "agent=pqn env=tensor/minatar_breakout accelerate=compiled"
PPO = "agent=ppo env=tensor/cartpole env.num=1024 replay.minibatches=16 accelerate=compiled"
"""`benchmarks.speed ppo_tensor_1024`: passes of 32,768 transitions in batches of 2,048"""
SLICE, SLICES, FIRST = {PPO: 32_768 * 4, PQN: 4_096 * 4}, 12, 3
"""Steps of a slice, slices of a run, and those that are not counted"""


aten = torch.ops.aten


def as_it_is(*arguments: Any) -> Any:
    """An operator as it is."""
    return NotImplemented


def stacked(world: MinAtarWorld, state: State) -> Tensor:
    """Observations of `MinAtarWorld`, without the way through int32."""
    return torch.stack(world.layers(state), 1).to(torch.uint8)


PLANES = "planes of bytes through int32"
FORMS: dict[str, Callable[[], Any]] = {
    "the rational tanh of compiled rollouts": lambda: mock.patch.dict(graph.QUICK, {aten.tanh.default: as_it_is}),
    "products of one network without its stack": lambda: mock.patch.dict(graph.QUICK, {aten.bmm.default: as_it_is}),
    "numbers of ten operators stored": lambda: mock.patch.object(graph, "WORTH_STORING", 30),
    "oneDNN for batches of many rows": lambda: mock.patch.object(modes, "MANY_ROWS", 1 << 60),
    "passes sorted by packed keys": lambda: mock.patch.object(Rollout, "_sorted", Rollout._shuffled),
    PLANES: lambda: mock.patch.object(MinAtarWorld, "observe", stacked),
}
"""What puts the plain form in the place of each"""
LOOPS = {PLANES: PQN}
"""Where the loop is not that of PPO"""


def slices(words: str) -> Iterator[float]:
    """Microseconds of processor time a step, in each slice of a run."""
    times: list[float] = []
    size = SLICE[words]
    common = f"steps={size * SLICES} log.every={size} evaluation.every=null evaluation.final_episodes=1 checkpoint.every=null"
    with tempfile.TemporaryDirectory() as folder:
        deeprl.train(
            [*words.split(), *common.split(), "runtime.threads=1"],
            folder=Path(folder) / "run",
            on_log=lambda step, metrics: times.append(time.process_time()),
        )
    yield from (1e6 * float(spent) / size for spent in np.diff(times)[FIRST:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("forms", nargs="*", help="words in the names of some")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    for name, plain in FORMS.items():
        if given.forms and not any(word in name for word in given.forms):
            continue
        loop = LOOPS.get(name, PPO)
        having, lacking = float("inf"), float("inf")
        for _ in range(given.rounds):
            having = min(having, *slices(loop))
            with plain():
                lacking = min(lacking, *slices(loop))
        print(
            json.dumps({"form": name, "us": round(having, 3), "without": round(lacking, 3), "saves": round(1 - having / lacking, 3)}),
            flush=True,
        )


if __name__ == "__main__":
    main()
