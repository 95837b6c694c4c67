"""What a table learns behind a logarithm: the fixed point, and its bias as the step of the ordinary average grows.

python -m benchmarks.tabular_log [--json FILE]

Two questions, answered by the agent's own maps, values and backup (`deeprl.learning.values.mapped`, `deeprl.agents.log_dqn`, `Max`):

1. One state, whose target is 0.02 or 1 with probability ½: mean 0.51, geometric mean 0.1414. Where does Q̃ ← Q̃ + β_log (f(U) − Q̃)
   settle? For small β_log at the root of E ln(1 + β_reg (T / q − 1)) = 0: the mean as β_reg → 0, the geometric mean at β_reg = 1.
2. A slippery chain of eight states with gains and losses: fixed points of the expected update, their distance to the optimal values, and
   whether they still have the optimal policy.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from benchmarks import log_chain
from deeprl.agents.log_dqn import Log
from deeprl.envs.toy import TabularMDP, value_iteration
from deeprl.learning.backups.bellman import Max
from deeprl.learning.values.losses import squared
from deeprl.learning.values.mapped import MappedValues, Units

TARGETS = (0.02, 1.0)
PAIRS = ((0.001, 1.0), (0.01, 0.1), (0.1, 0.01), (1.0, 0.001))
"""(β_reg, β_log) whose product, the learning rate, is the same"""
AVERAGING = (1.0, 0.3, 0.1, 0.03, 0.01)


def units(averaging: float, gamma: float = 0.9) -> Units:
    """The tabular form: ln(x + γᵏ) with γᵏ about 1e-9, targets at most 1."""
    k = 9 * np.log(10) / -np.log(gamma)
    mapping = Log(c=0.5, shift=gamma**k, k=None, discount=gamma, initial=(0.0, 0.0), averaging=averaging, clip_bootstrap=False)
    return Units(mapping, (1.0, -1.0))


def simulated(averaging: float, rate: float, steps: int = 8000, runs: int = 1000, seed: int = 0) -> float:
    """Mean of q over runs and the second half of the steps, the target drawn anew in each; starts at ½."""
    mapping = Units(Log(averaging=averaging, clip_bootstrap=False, initial=None), (1.0,))
    random = torch.Generator().manual_seed(seed)
    table = mapping.mapped(torch.full((1, 1, runs), 0.5, dtype=torch.float64))
    total = 0.0
    for step in range(steps):
        target = torch.where(torch.rand(runs, generator=random) < 0.5, *TARGETS).double()
        mapped_target, _ = mapping.regression_target(mapping.ordinary(table), target.expand_as(table))
        table = table + rate * (mapped_target - table)
        if step >= steps // 2:
            total += float(mapping.ordinary(table).mean())
    return total / (steps - steps // 2)


def settled(averaging: float) -> float:
    """Limit of small β_log: the root of E f(U) = f(q), by bisection."""
    mapping = Units(Log(averaging=averaging, clip_bootstrap=False, initial=None), (1.0,))
    target = torch.tensor(TARGETS, dtype=torch.float64).reshape(1, 1, 2)
    low, high = min(TARGETS), max(TARGETS)
    for _ in range(60):
        middle = (low + high) / 2
        q = torch.full_like(target, middle)
        drift = float((mapping.regression_target(q, target)[0] - mapping.mapped(q)).mean())
        low, high = (middle, high) if drift > 0 else (low, middle)
    return (low + high) / 2


def fixed_point(mdp: TabularMDP, gamma: float, averaging: float, iterations: int = 6000) -> np.ndarray:
    """(S', A) of the states that are not terminal: the table at which the expected update stands still.

    Rewards of a state's action are paid for leaving to the left (1) or right (−1), so rows are (s, a, s') with probabilities.
    """
    alive = int((~mdp.terminal).sum())
    s, a, t = map(torch.from_numpy, np.argwhere(mdp.transition[:alive] > 0).T)
    probability = torch.from_numpy(mdp.transition)[s, a, t]
    gains, losses = (t == alive).double(), (t == alive + 1).double()
    batch = SimpleNamespace(reward=torch.stack([gains, losses]), discount=torch.where(t < alive, gamma, 0.0).double())
    scheme = units(averaging, gamma)
    table = torch.zeros(1, 2, alive + 2, 2, dtype=torch.float64)  # (K, C, S, A); both ends have rows that nobody reads
    pair = s * 2 + a
    for _ in range(iterations):
        target = SimpleNamespace(next=MappedValues(table[:, :, t], scheme, squared))
        returns = Max()(None, target, batch).mean()  # (1, 2, rows)
        said = table[:, :, s, a]
        mapped_target, _ = scheme.regression_target(scheme.ordinary(said), returns)
        drift = torch.zeros(1, 2, (alive + 2) * 2, dtype=torch.float64).index_add_(2, pair, probability * (mapped_target - said))
        # a step of 1/β, cut off, reaches the same fixed point as one of 1, and in as many iterations for every β
        table = table + (drift * 0.5 / averaging).clamp(-0.5, 0.5).unflatten(2, (alive + 2, 2))
        if drift.abs().max() < 1e-13:
            break
    return MappedValues(table, scheme, squared).mean()[0, :alive].numpy()


def two_points() -> list[dict]:
    return [
        {"averaging": reg, "rate": log, "simulated": round(simulated(reg, log), 4), "fixed_point": round(settled(reg), 4)}
        for reg, log in PAIRS
    ]


def chains(gamma: float = 0.9, states: int = 8) -> list[dict]:
    mdp = log_chain.chain(states)
    optimal = value_iteration(mdp, gamma)[:states]
    rows = []
    for averaging in AVERAGING:
        found = fixed_point(mdp, gamma, averaging)
        rows.append(
            {
                "averaging": averaging,
                "largest_error": round(float(np.abs(found - optimal).max()), 6),
                "optimal_policy": bool((found.argmax(-1) == optimal.argmax(-1)).all()),
            }
        )
    return rows


def main(arguments: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    results = {"targets": TARGETS, "two_points": two_points(), "chain_of_eight": chains()}
    for name in ("two_points", "chain_of_eight"):
        print(name)
        for row in results[name]:
            print("  " + "  ".join(f"{key} {value}" for key, value in row.items()))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    return results


if __name__ == "__main__":
    main()
