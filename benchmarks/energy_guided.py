"""Eight Gaussians whose density is multiplied by e^{β e}: masses of the modes by contrastive energy prediction, and by regression.

    python -m benchmarks.energy_guided [--seeds 0 1 2] [--updates 1500] [--again]
    python -m benchmarks.energy_guided --table

The score of the eight Gaussians is exact, so that only the energy is learned (`deeprl.agents.diffusion`). The measure is the total
variation between the masses of 5,000 samples of 31 evaluations and the exact ones. What is stored in
benchmarks/results/energy_guided.json is not made again.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.learning import interval, keep, stored
from deeprl.agents.diffusion import LAST, Predict, alpha, contrastive, guided, noisy, sample, sigma

FILE = Path(__file__).parent / "results" / "energy_guided.json"
LOSSES = ("contrastive", "regression")
BETAS = (3.0, 10.0)
TIMES, POINTS, WIDTH = 8, 128, 128
"""Sets of an update, each with a time of its own; points of a set; of the network"""
SAMPLES, EVALUATIONS = 5_000, 31
RATE = 3e-3


# ---- eight Gaussians on a circle, with the energies 0, 1/7 … 1

MODES = np.array([(0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1)], dtype=np.float64)
CENTRES = 4.0 / math.sqrt(2.0) * MODES / np.linalg.norm(MODES, axis=1, keepdims=True)
SPREAD = 0.5 / math.sqrt(2.0)
"""Standard deviation of each, as all coordinates are divided by √2"""
ENERGIES = np.arange(8) / 7.0


def nearest(points: np.ndarray) -> np.ndarray:
    """Mode of each point, (n, 2) -> (n,)."""
    return np.square(points[:, None] - CENTRES).sum(-1).argmin(1)


def masses(points: np.ndarray) -> np.ndarray:
    """Share of the points at each mode, (8,)."""
    return np.bincount(nearest(points), minlength=8) / len(points)


def exact_masses(beta: float) -> np.ndarray:
    """Of p(x) e^{β e(x)}, (8,)."""
    weights = np.exp(beta * ENERGIES)
    return weights / weights.sum()


def total_variation(one: np.ndarray, other: np.ndarray) -> float:
    return 0.5 * float(np.abs(one - other).sum())


def mixture_score(x: Tensor, t: float) -> Tensor:
    """∇ log p_t of the eight Gaussians, (n, 2)."""
    centres = alpha(t) * torch.as_tensor(CENTRES, dtype=x.dtype)
    variance = (alpha(t) * SPREAD) ** 2 + sigma(t) ** 2
    apart = centres - x[:, None]  # (n, 8, 2)
    mine = (-0.5 * apart.square().sum(-1) / variance).softmax(-1)
    return (mine.unsqueeze(-1) * apart).sum(1) / variance


def slope_of(energy: Callable[[Tensor, float], Tensor]) -> Predict:
    """∇f of f, points (n, D) at a time -> (n)."""

    def slope(x: Tensor, t: float) -> Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_(True)
            return torch.autograd.grad(energy(x, t).sum(), x)[0]

    return slope


# ---- what is learned, and measured


class Energy(nn.Module):
    """f(x_t, t) with sixteen fixed frequencies of t, (..., 2) and (..., 1) -> (...)."""

    def __init__(self):
        super().__init__()
        self.register_buffer("frequencies", 2.0 * math.pi * 30.0 * torch.randn(16))
        layers = list[nn.Module]()
        for wide in (34, WIDTH, WIDTH):
            layers += [nn.Linear(wide, WIDTH), nn.SiLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(WIDTH, 1))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        angles = t * self.frequencies
        return self.layers(torch.cat([x, angles.sin(), angles.cos()], -1)).squeeze(-1)


def learned(loss: str, beta: float, updates: int) -> Energy:
    network = Energy()
    adam = torch.optim.Adam(network.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, updates)
    centres, energies = torch.as_tensor(CENTRES, dtype=torch.float32), beta * torch.as_tensor(ENERGIES, dtype=torch.float32)
    for _ in range(updates):
        mode = torch.randint(8, (TIMES, POINTS))
        points = centres[mode] + SPREAD * torch.randn(TIMES, POINTS, 2)
        t = (LAST + (1.0 - LAST) * torch.rand(TIMES, 1, 1)).expand(-1, POINTS, -1)
        predicted = network(noisy(points, torch.randn_like(points), t.squeeze(-1)), t)
        found = contrastive(energies[mode], predicted) if loss == "contrastive" else (predicted - energies[mode]).square()
        adam.zero_grad()
        found.mean().backward()
        adam.step()
        schedule.step()
    return network


def measured(loss: str, beta: float, seed: int, updates: int) -> dict:
    torch.manual_seed(seed)
    began, network = time.process_time(), learned(loss, beta, updates)
    predict = guided(mixture_score, slope_of(lambda x, t: network(x, torch.full((len(x), 1), t))))
    found = masses(sample(predict, torch.randn(SAMPLES, 2), EVALUATIONS).numpy())
    return {
        "loss": loss, "beta": beta, "seed": seed, "updates": updates, "distance": round(total_variation(found, exact_masses(beta)), 4),
        "masses": [round(mass, 4) for mass in found.tolist()], "processor_seconds": round(time.process_time() - began, 1),
    }  # fmt: skip


def table(lines: list[dict]) -> str:
    """Mean distance with Student's 95 % interval, and each seed."""
    rows = ["| β | " + " | ".join(LOSSES) + " |", "|---" * (len(LOSSES) + 1) + "|"]
    for beta in BETAS:
        cells = []
        for loss in LOSSES:
            values = [line["distance"] for line in lines if (line["loss"], line["beta"]) == (loss, beta)]
            each = ", ".join(f"{value:.3f}" for value in values)
            cells.append(f"{np.mean(values):.3f} ± {interval(values):.3f} ({each})" if values else "")
        rows.append(f"| {beta:g} | {' | '.join(cells)} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--updates", type=int, default=1500)
    parser.add_argument("--again", action="store_true", help="print what is measured, and store nothing")
    parser.add_argument("--table", action="store_true", help="of what is stored")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for seed in () if options.table else options.seeds:
        for beta in BETAS:
            for loss in LOSSES:
                own = {"loss": loss, "beta": beta, "seed": seed, "updates": options.updates}
                if options.again:
                    print(json.dumps(measured(loss, beta, seed, options.updates)), flush=True)
                elif not any(own.items() <= line.items() for line in stored(FILE)):
                    keep(measured(loss, beta, seed, options.updates), FILE)
    print(table(stored(FILE)))


if __name__ == "__main__":
    main()
