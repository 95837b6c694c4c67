"""Table behind `deeprl.running.accelerate.modes.product`: one forward and backward pass of a stack of MLPs under both float32 products.

    python -m benchmarks.product [threads]

Rows whose ratio and rule disagree are marked. "error" is the largest deviation of a 256-term product from float64, per product: were it
near 1e-2, "medium" would be computing in bfloat16 and the rule would be wrong for this processor.
"""

from __future__ import annotations

import itertools
import sys
import time

import torch

from deeprl.learning.networks.blocks import initialise
from deeprl.learning.networks.mlp import MLP
from deeprl.running.accelerate.modes import precision, product
from deeprl.system.machine import keep_memory, this_cpu

PRODUCTS = "highest", "medium"
SHAPES = [
    (n, sizes, batch)
    for n in (1, 2, 5)
    for sizes, batch in (
        ((4, 64, 64, 2), 128),
        ((17, 128, 128, 6), 256),
        ((4, 120, 84, 2), 128),
        ((1024, 128, 6), 32),
        ((400, 128, 6), 32),
        ((23, 256, 256, 1), 256),
        ((3136, 512, 6), 32),
    )
]


def gradient(mlp: MLP, x: torch.Tensor) -> None:
    parameters = list(mlp.parameters())
    torch.autograd.grad(mlp(x).square().mean(), parameters)


def measure(n: int, sizes: tuple[int, ...], batch: int, rounds: int = 12) -> dict[str, float]:
    """Best microseconds of a pass, products interleaved. One thread: its own time, which a busy machine disturbs less."""
    mlp = MLP(n, sizes, activate_last=False)
    initialise(mlp, 0, "mlp")
    mlp.requires_grad_(True)
    x = torch.randn(batch, sizes[0])
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    repeats = max(2, int(2e8 / (n * batch * sum(a * b for a, b in itertools.pairwise(sizes)))))
    best = dict.fromkeys(PRODUCTS, float("inf"))
    for _ in range(rounds):
        for choice in PRODUCTS:
            with precision(choice):
                gradient(mlp, x)
                start = clock()
                for _ in range(repeats):
                    gradient(mlp, x)
                best[choice] = min(best[choice], (clock() - start) / repeats * 1e6)
    return best


def error(choice: str) -> float:
    a, b = torch.randn(2, 256, 256), torch.randn(2, 256, 256)
    with precision(choice):
        return (torch.bmm(a, b).double() - torch.bmm(a.double(), b.double())).abs().max().item()


def main() -> None:
    if len(sys.argv) > 1:
        torch.set_num_threads(int(sys.argv[1]))
    keep_memory()
    print(f"{this_cpu()}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    print("error  " + ", ".join(f"{choice} {error(choice):.1e}" for choice in PRODUCTS))
    print(f"{'n':>2} {'sizes':22} {'batch':>5} {'highest':>9} {'medium':>9} {'ratio':>6}  rule")
    for n, sizes, batch in SHAPES:
        best, rule = measure(n, sizes, batch), product(n, max(sizes))
        ratio = best["highest"] / best["medium"]
        wrong = (rule == "medium" and ratio < 0.97) or (rule == "highest" and ratio > 1.03)
        times = f"{best['highest']:6.0f} us {best['medium']:6.0f} us {ratio:6.2f}"
        print(f"{n:2} {'-'.join(map(str, sizes)):22} {batch:5} {times}  {rule}{' !' if wrong else ''}")


if __name__ == "__main__":
    main()
