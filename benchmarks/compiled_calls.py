"""Compiled code beside the operators that it was compiled from: both compute every call of short runs, from the same numbers.

    python -m benchmarks.compiled_calls [NAME ...] [--calls 200]    trains the named runs, or all; half a minute each
    python -m benchmarks.compiled_calls --table

Of each compiled function the table has its calls and the largest difference of a tensor, in units of the largest number that the operators
give there, or of 1e-3 where that is smaller. Rows of integers and truths that differ are counted; chosen actions may, where two values
round to another order. A difference above 1e-3, or more than one row of a thousand, is marked. Results are in
benchmarks/results/compiled_calls.json. In front of batch normalisation (CrossQ, XQC) some gradients are 0 but for rounding, which Adam
divides by its own size: weights differ by a few steps of the learning rate there, up to 6e-3 of the largest weight.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.learning import RESULTS, stored, written
from benchmarks.trained import trained
from deeprl.running.accelerate import graph as compiling
from deeprl.system.machine import own_commit

FILE = RESULTS / "compiled_calls.json"
FEW = "seed=0 runtime.threads=1 accelerate=compiled evaluation.every=null evaluation.final_episodes=1 checkpoint.every=null"
ROLLOUTS = f"{FEW} steps=4096 env.num=32 replay.length=16"
MEMORY = f"{FEW} steps=700 replay.learning_starts=200 replay.capacity=1000 replay.ratio=0.5"
WORLDS = ("cartpole", "acrobot", "pendulum", "mountain_car", *(f"minatar_{game}" for game in (
    "breakout", "asterix", "space_invaders", "freeway", "seaquest")))  # fmt: skip
RUNS = {
    **{f"ppo {world}": f"agent=ppo env=tensor/{world} {ROLLOUTS}" for world in WORLDS},
    "pqn cartpole": f"agent=pqn env=tensor/cartpole {ROLLOUTS}",
    "pqn minatar_breakout": f"agent=pqn env=tensor/minatar_breakout {ROLLOUTS}",
    "ppo hopper": f"agent=ppo env=mujoco/hopper {ROLLOUTS}",
    **{name: f"agent={name} env=classic/cartpole {MEMORY}" for name in (
        "dqn", "idqn", "mvi", "munchausen_dqn", "log_dqn", "c51", "qrdqn", "iqn", "dvw", "r2d2")},
    "dqn minatar": f"agent=dqn env=minatar/breakout {MEMORY}",
    **{name: f"agent={name} env=classic/pendulum {MEMORY}" for name in ("td3", "itd3", "sac", "tqc", "crossq", "xqc")},
}  # fmt: skip


class Compared:
    """A backend that compiles, and has the operators compute each of the first calls too."""

    def __init__(self, calls: int):
        self.calls, self.functions = calls, []
        self.compile = compiling.BACKENDS["inductor"]

    def __call__(self, graph: torch.fx.GraphModule, inputs: list[Tensor], lasting: list[bool]) -> Callable:
        plain, run = copy.deepcopy(graph), self.compile(graph, inputs, lasting)
        found = {"inputs": len(inputs), "calls": 0, "difference": 0.0, "rows": 0, "rows that differ": 0}
        self.functions.append(found)

        def call(values: list[Tensor]) -> Sequence[Tensor]:
            if found["calls"] == self.calls:
                return run(values)
            copies, written = [value.clone() for value in values], list(values)
            expected = [*plain(*copies), *copies]
            outputs = run(values)
            found["calls"] += 1
            for one, other in zip(expected, [*outputs, *written]):
                self.compare(one, other, found)
            return outputs

        return call

    @staticmethod
    def compare(expected: Tensor, got: Tensor, found: dict) -> None:
        if not expected.is_floating_point():
            found["rows"] += len(expected) if expected.dim() else 1
            differ = (expected != got).reshape(len(expected) if expected.dim() else 1, -1).any(1)
            found["rows that differ"] += int(differ.sum())
        elif expected.numel():
            scale = expected.abs().max().clamp(min=1e-3)  # a mean of normalised advantages is 0 but for rounding
            found["difference"] = max(found["difference"], float((expected - got).abs().max() / scale))


def compared(words: str, calls: int) -> list[dict]:
    """The compiled functions of a run."""
    backend = Compared(calls)
    compiling.BACKENDS["inductor"] = backend
    try:
        with tempfile.TemporaryDirectory() as folder:
            trained(words.split(), Path(folder) / "run")
    finally:
        compiling.BACKENDS["inductor"] = backend.compile
    return backend.functions


def table(lines: list[dict]) -> str:
    rows = ["| run | functions | calls | largest difference | integer rows that differ | |", "|---|---|---|---|---|---|"]
    for line in sorted(lines, key=lambda line: list(RUNS).index(line["run"])):
        of = line["functions"]
        differ, all_rows = (sum(each[name] for each in of) for name in ("rows that differ", "rows"))
        most = max((each["difference"] for each in of), default=0.0)
        mark = "**look here**" if most > 1e-3 or 1000 * differ > all_rows or not of else ""
        rows.append(
            f"| {line['run']} | {len(of)} | {sum(each['calls'] for each in of):,} | {most:.1e} | {differ:,} of {all_rows:,} | {mark} |"
        )
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(RUNS))
    parser.add_argument("--calls", type=int, default=200, help="compared of each function")
    parser.add_argument("--table", action="store_true", help="only print the table")
    given = parser.parse_args()
    if unknown := set(given.names) - {*RUNS}:
        parser.error(f"no such run: {', '.join(sorted(unknown))}")
    for name in () if given.table else given.names or RUNS:
        functions = compared(RUNS[name], given.calls)
        line = {"run": name, "overrides": RUNS[name], "git": own_commit(), "functions": functions}
        written(FILE, lambda lines, line=line: [*(each for each in lines if each["run"] != line["run"]), line])
        print(table([{"run": name, "functions": functions}]).splitlines()[-1], flush=True)
    print(table(stored(FILE)))


if __name__ == "__main__":
    main()
