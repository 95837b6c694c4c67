"""Unrolls of an LSTM over sequences, forward and backward: operators and processor time of ours as it is, compiled, and as `torch.nn.LSTM`.

    python -m benchmarks.unroll_cost [--compile 16] [--json benchmarks/results/unroll_cost.json]

`torch.nn.LSTM` (one kernel for all steps) is a bound: it neither starts anew in mid-sequence nor tells the cell's state after each row,
from which the value of an episode's last observation follows. `index` takes rows by index, as `unroll` did once: the gradient of an index
is as large as all rows. Batch 32, 64 inputs, 64 units, one thread, the best of all rounds; time is that of this process.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode

from deeprl.learning.networks.blocks import initialise
from deeprl.learning.networks.cores import LSTM, Core, unroll
from deeprl.system.machine import flush_denormals, system_entry

BATCH, WIDTH = 32, 64
Gradients = Callable[[], list[Tensor]]


class Operators(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.number = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.number += 1
        return function(*args, **(kwargs or {}))


def by_index(core: Core, x: Tensor, state: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
    prepared = core.prepare(x.flatten(1, 2)).unflatten(1, x.shape[1:3])
    going, ys = (~first)[None, :, :, None].to(state.dtype), []
    for t in range(x.shape[1]):
        y, state = core.step(prepared[:, t], state * going[:, t])
        ys.append(y)
    return torch.stack(ys, 1), state


def kernel(core: Core, x: Tensor, state: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
    h, c = state.chunk(2, -1)
    weights = [core.weight_x[0].mT, core.weight_h[0].mT, core.bias_x[0, 0], core.bias_h[0, 0]]
    y, h, c = torch.lstm(x[0], (h, c), weights, True, 1, 0.0, True, False, False)
    return y[None], torch.cat([h, c], -1)


def forms(length: int, compile_it: bool) -> dict[str, Gradients]:
    core = LSTM(WIDTH).build(WIDTH, 1)
    initialise(core, 0, "core")
    parameters = list(core.parameters())
    for parameter in parameters:
        parameter.requires_grad_()
    x = torch.randn(1, length, BATCH, WIDTH, generator=torch.Generator().manual_seed(0))
    state, first = core.start(BATCH), torch.zeros(length, BATCH, dtype=torch.bool)

    def gradients(form: Callable) -> list[Tensor]:
        return list(torch.autograd.grad(form(core, x, state, first)[0].square().sum(), parameters))

    found: dict[str, Gradients] = {
        name: lambda form=form: gradients(form) for name, form in (("index", by_index), ("ours", unroll), ("torch.nn.LSTM", kernel))
    }
    if compile_it:
        from torch._inductor import compile as inductor

        graph = make_fx(lambda: gradients(unroll), tracing_mode="real")()
        found["compiled"] = inductor(graph, [])
    return found


def measured(run: Gradients, rounds: int) -> dict[str, float]:
    start = time.process_time()
    run()
    first, best = time.process_time() - start, float("inf")
    with Operators() as operators:
        run()
    for _ in range(rounds):
        start = time.process_time()
        run()
        best = min(best, time.process_time() - start)
    return {"operators": operators.number, "ms": round(1000 * best, 2), "first_ms": round(1000 * first, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=[16, 80])
    parser.add_argument("--compile", type=int, nargs="*", default=[16], help="lengths that are compiled, which takes minutes for long ones")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    flush_denormals()
    rows = []
    for length in options.lengths:
        start = time.process_time()
        runs = forms(length, length in options.compile)
        compiling = time.process_time() - start
        reference = runs["ours"]()
        for name, run in runs.items():
            cost = measured(run, options.rounds)
            apart = max(((a - b).abs().max() / b.abs().max()).item() for a, b in zip(run(), reference))
            row = {"length": length, "form": name, **cost, "apart": apart}
            if name == "compiled":
                row["compile_seconds"] = round(compiling, 1)
            rows.append(row)
            print(json.dumps(row), flush=True)
    if options.json:
        system = system_entry()
        options.json.write_text(json.dumps({"machine": f"{system['cpu']}, {system['cpus']} cores", "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
