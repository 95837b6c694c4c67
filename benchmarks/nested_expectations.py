"""READ: unbiased estimates of nested expectations (Syed, Wang, "Optimal Randomized Multilevel Monte Carlo for Repeatedly Nested
Expectations", ICML 2023), for Bellman's optimality equation with sampled next states.

    value of depth D    V_0(s) = max_a { r(s, a) + E V_1(s') },    V_D = 0
    READ                N with P(N = n) ∝ 2^(−rn), 1 < r < 2;  2^(N+1) unbiased estimates of the inner expectation;
                        g(first) + Δ_N / P(N),   Δ_N = g(mean of all) − ½ g(mean of the even) − ½ g(mean of the odd)
    plug-in             g(mean of n estimates) in every level: biased, here upwards, because g is a maximum

python -m benchmarks.nested_expectations [--json FILE]

From memory: the estimator is the paper's. The Δ of `deeprl_lab/agents/robust_rvi.py` is the same, one level deep.
The table has, for equal numbers of sampled next states, the mean error ± its standard error, and the root mean
squared error of one estimate.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from deeprl_lab.envs.worlds import RandomMDP
from deeprl_lab.mathematics.mdp import FiniteMDP
from deeprl_lab.mathematics.planners import backward_induction

Outer = Callable[[np.ndarray], np.ndarray]
"""g: means (..., *shape) -> (...)"""
Inner = Callable[[int, np.random.Generator], np.ndarray]
"""Number -> so many unbiased estimates (n, *shape) of the inner expectation"""


def read(outer: Outer, inner: Inner, r: float, random: np.random.Generator) -> float:
    """One unbiased estimate of g(E X). The expected cost is finite for r > 1, the variance for r < 2 and a g smooth at E X."""
    ratio = 2.0**-r
    level = int(random.geometric(1 - ratio)) - 1
    sample = inner(2 ** (level + 1), random)
    means = np.stack([sample[0], sample.mean(0), sample[::2].mean(0), sample[1::2].mean(0)])
    first, whole, even, odd = outer(means)
    return float(first + (whole - (even + odd) / 2) / ((1 - ratio) * ratio**level))


def model(depth: int) -> FiniteMDP:
    """A random MDP whose best two actions are close (1.70 and 1.64 at depth 2, 2.39 and 2.34 at depth 3) in the first state, so that either
    may be the maximum of sampled means, which is biased."""
    return RandomMDP(horizon=depth, instance={2: 3, 3: 2}[depth]).mdp


class Sampled:
    """A finite MDP of which next states are only sampled, and counted."""

    def __init__(self, depth: int, r: float, random: np.random.Generator):
        self.mdp, self.depth, self.r, self.random, self.cost = model(depth), depth, r, random, 0
        self.reward, self.cumulative = self.mdp.expected_reward(), self.mdp.transition.cumsum(-1)

    def successors(self, h: int, state: int, number: int) -> np.ndarray:
        """(number, A) next states, one for each action."""
        self.cost += number * self.mdp.num_actions
        drawn = self.random.random((number, self.mdp.num_actions, 1))
        return (drawn >= self.cumulative[h, state, :, :-1]).sum(-1)

    def read(self, h: int, state: int) -> float:
        """Unbiased estimate of V_h(s)."""
        if h == self.depth - 1:
            return float(self.reward[h, state].max())

        def inner(number: int, random: np.random.Generator) -> np.ndarray:
            return np.array([[self.read(h + 1, after) for after in row] for row in self.successors(h, state, number)])

        return read(lambda mean: (self.reward[h, state] + mean).max(-1), inner, self.r, self.random)

    def plug_in(self, h: int, state: int, number: int) -> float:
        """Estimate with `number` next states of each pair in every level."""
        if h == self.depth - 1:
            return float(self.reward[h, state].max())
        mean = np.mean([[self.plug_in(h + 1, after, number) for after in row] for row in self.successors(h, state, number)], 0)
        return float((self.reward[h, state] + mean).max())


def compared(depth: int, runs: int, r: float = 1.5) -> dict[str, dict]:
    exact, rows = float(backward_induction(model(depth))[1][0, 0]), {}
    arms: dict[str, Callable[[Sampled], float]] = {f"READ, r = {r}": lambda world: world.read(0, 0)}
    arms |= {f"plug-in, n = {n}": lambda world, n=n: world.plug_in(0, 0, n) for n in (1, 2, 4)}
    for name, estimate in arms.items():
        began, world = time.perf_counter(), Sampled(depth, r, np.random.default_rng(0))
        errors = np.array([estimate(world) for _ in range(runs)]) - exact
        rows[name] = {"error": float(errors.mean()), "standard_error": float(errors.std(ddof=1) / np.sqrt(runs)), "cost": world.cost / runs,
                      "rmse": float(np.sqrt((errors**2).mean())), "seconds": time.perf_counter() - began}  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = {}
    for depth in (2, 3):
        print(f"\ndepth {depth}, {options.runs} estimates\n{'':16}{'mean error':>24}{'rmse':>10}{'samples':>10}")
        found[str(depth)] = compared(depth, options.runs)
        for name, row in found[str(depth)].items():
            print(f"{name:16}{row['error']:>+14.4f} ± {row['standard_error']:.4f}{row['rmse']:>10.3f}{row['cost']:>10.1f}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
