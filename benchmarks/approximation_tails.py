"""Linear stochastic approximation with a fixed step has heavy tails, however light those of its data.

    θ ← θ − α (a_n θ − b_n),    a_n ∈ {−1, 3} evenly, b_n ~ N(0, 1),    fixed point E b / E a = 0

python -m benchmarks.approximation_tails [--json FILE]

TD(0) with features is of this form. The stationary law has P(|θ| > x) ~ x^−p, where E |1 − α a|^p = 1: p falls like 1/α as α grows, and
moments of order p and higher are infinite. Two tables:

1. p, and Hill's estimate of it from the largest of many independent iterates.
2. n times the mean squared error of the average of n iterates: the same for all small α, so averages do not mind the step size.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

OUTCOMES = np.array([-1.0, 3.0])
"""Values of a, equally likely"""
STEPS = (0.3, 0.2, 0.1, 0.05, 0.01)


def tail_index(alpha: float) -> float:
    """The p > 0 with E |1 − α a|^p = 1, by bisection.

    Raises:
        ValueError: there is none, because the iteration is unstable or bounded.
    """
    log = np.log(np.abs(1.0 - alpha * OUTCOMES))
    if log.mean() >= 0 or log.max() <= 0:
        raise ValueError(f"alpha={alpha:g}: the law has no power tail")
    low, high = 1e-9, 1.0
    while np.exp(high * log).mean() < 1:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if np.exp(middle * log).mean() < 1 else (low, middle)
    return low


def iterates(alpha: float, chains: int, steps: int, random: np.random.Generator) -> np.ndarray:
    """Last iterates (chains,) of independent runs from 0."""
    theta = np.zeros(chains)
    for _ in range(steps):
        theta -= alpha * (random.choice(OUTCOMES, chains) * theta - random.standard_normal(chains))
    return theta


def hill(sample: np.ndarray, share: float) -> float:
    """Hill's estimate of the tail index of |sample| (n,) from the largest `share` of them."""
    largest = np.sort(np.abs(sample))[-int(share * len(sample)) - 1 :]
    return float(1.0 / np.log(largest[1:] / largest[0]).mean())


def averaged_error(alpha: float, chains: int, steps: int, random: np.random.Generator) -> float:
    """n E θ̄_n², θ̄_n the average of n iterates after n steps of burn-in."""
    theta, total = iterates(alpha, chains, steps, random), np.zeros(chains)
    for _ in range(steps):
        theta -= alpha * (random.choice(OUTCOMES, chains) * theta - random.standard_normal(chains))
        total += theta
    return float(steps * ((total / steps) ** 2).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found: dict[str, dict] = {"tail": {}, "average": {}}
    print(f"{'alpha':>8}{'p':>10}{'Hill':>10}")
    for alpha in STEPS:
        random = np.random.default_rng(0)
        estimate = hill(iterates(alpha, 2_000_000, int(20 / alpha), random), 1e-4) if alpha >= 0.1 else float("nan")
        found["tail"][str(alpha)] = {"p": round(tail_index(alpha), 4), "hill": None if np.isnan(estimate) else round(estimate, 3)}
        print(f"{alpha:>8}{tail_index(alpha):>10.4f}{estimate:>10.3f}", flush=True)
    print(f"\n{'alpha':>8}{'n':>8}{'n E mean^2':>14}")
    for alpha in STEPS[1:]:
        for steps in (2000, 8000):
            error = averaged_error(alpha, 2000, steps, np.random.default_rng(0))
            found["average"][f"{alpha} {steps}"] = round(error, 4)
            print(f"{alpha:>8}{steps:>8}{error:>14.3f}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
