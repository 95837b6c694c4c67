"""The flows of features that the auxiliary losses follow, with exact expectations: what is conserved, what is found, what collapses.

Random-reward values (Tang and Munos, 2023), self-prediction and its bidirectional form (Tang et al., 2023) on a Markov chain of n states,
uniform distribution, heads and predictors solved for at each step, Euler steps in float64. tests/agents/test_representation.py checks that
the losses of agents/random_rewards.py and agents/self_prediction.py have these gradients.

python -m benchmarks.tabular_representation [--seeds 10] [--steps 20000] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.linalg import eigvalsh, norm, solve, svd

STATES, WIDTH, GAMMA, STEP = 8, 3, 0.9, 0.01


def symmetric_chain(rng: np.random.Generator) -> np.ndarray:
    """(n, n) symmetric and doubly stochastic, by scaling a random symmetric matrix."""
    matrix = rng.random((STATES, STATES)) ** 2
    matrix = matrix + matrix.T
    for _ in range(1000):
        scale = 1.0 / np.sqrt(matrix.sum(1))
        matrix = matrix * scale[:, None] * scale
    return matrix


def chain(rng: np.random.Generator) -> np.ndarray:
    """(n, n) stochastic, not symmetric; every row a Dirichlet(0.3) draw."""
    return rng.dirichlet(np.full(STATES, 0.3), STATES)


def orthonormal(rng: np.random.Generator) -> np.ndarray:
    """(n, k) with ΦᵀΦ = 1."""
    return np.linalg.qr(rng.standard_normal((STATES, WIDTH)))[0]


def fit(features: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """argmin_F ‖ΦF − goal‖², for features that may have lost rank."""
    return np.linalg.lstsq(features, goal, rcond=None)[0]


def solve_values(features: np.ndarray, transition: np.ndarray, rewards: np.ndarray) -> np.ndarray:
    """W* = [Φᵀ D (I − γP) Φ]⁻¹ Φᵀ D R: the TD fixed point (k, h)."""
    operator = (np.eye(STATES) - GAMMA * transition) / STATES
    return solve(features.T @ operator @ features, features.T @ rewards / STATES)


def values_flow(features: np.ndarray, transition: np.ndarray, rewards: np.ndarray) -> np.ndarray:
    """dΦ/dt = D (R − (I − γP) Φ W*) W*ᵀ."""
    weights = solve_values(features, transition, rewards)
    return (rewards - (np.eye(STATES) - GAMMA * transition) @ features @ weights) @ weights.T / STATES


def values_error(features: np.ndarray, transition: np.ndarray, rewards: np.ndarray) -> float:
    """½ tr (V − ΦW*)ᵀ D (I − γP) (V − ΦW*)."""
    operator = np.eye(STATES) - GAMMA * transition
    off = solve(operator, rewards) - features @ solve_values(features, transition, rewards)
    return float(0.5 * np.trace(off.T @ operator @ off) / STATES)


def prediction_flow(features: np.ndarray, transition: np.ndarray, stopped: bool = True) -> np.ndarray:
    """dΦ/dt = (PΦ − ΦF*) F*ᵀ; not `stopped`, with the gradient through the goal, E y (Φᵀy − F*ᵀΦᵀx)ᵀ, which also shrinks the spread
    of the goals."""
    goal = transition @ features
    predictor = fit(features, goal)
    through = np.diag(transition.sum(0)) @ features - transition.T @ features @ predictor
    return (goal - features @ predictor) @ predictor.T - (0.0 if stopped else through)


def bidirectional_flow(first: np.ndarray, second: np.ndarray, transition: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """dΦ/dt = (PΨ − ΦF*) F*ᵀ, dΨ/dt = (PᵀΦ − ΨB*) B*ᵀ."""
    later, earlier = transition @ second, transition.T @ first
    forth, back = fit(first, later), fit(second, earlier)
    return (later - first @ forth) @ forth.T, (earlier - second @ back) @ back.T


def drift(features: np.ndarray) -> float:
    """How far ΦᵀΦ is from where it started, 1."""
    return float(norm(features.T @ features - np.eye(WIDTH)))


def one(seed: int, steps: int, step: float = STEP) -> dict:
    """All four flows from one seed."""
    rng = np.random.default_rng(seed)
    symmetric, general, start = symmetric_chain(rng), chain(rng), orthonormal(rng)
    rewards = rng.standard_normal((STATES, 1))
    result: dict = {"seed": seed}

    features, errors = start.copy(), [values_error(start, symmetric, rewards)]
    for _ in range(steps):
        features = features + step * values_flow(features, symmetric, rewards)
        errors.append(values_error(features, symmetric, rewards))
    # below 1e-13 the error is rounding
    falls = bool(all(after <= before or after < 1e-13 for before, after in pairwise(errors)))
    result["random_rewards"] = {"drift": drift(features), "error": [errors[0], abs(errors[-1])], "falls": falls}

    for name, stopped in (("self_prediction", True), ("without_stop_gradient", False)):
        features, traces = start.copy(), []
        for _ in range(steps):
            traces.append(norm(features.T @ symmetric @ features) ** 2)
            features = features + step * prediction_flow(features, symmetric, stopped)
        traces.append(norm(features.T @ symmetric @ features) ** 2)
        top = float(np.sort(eigvalsh(symmetric) ** 2)[-WIDTH:].sum())
        rises = bool(np.diff(traces).min() > -1e-9)
        result[name] = {
            "drift": drift(features), "trace": [float(traces[0]), float(traces[-1])], "maximum": top, "rises": rises,
            "singular_values": svd(features, compute_uv=False).tolist(),
        }  # fmt: skip

    first, second = start.copy(), orthonormal(rng)
    before = norm(first.T @ general @ second) ** 2
    for _ in range(steps):
        more, other = bidirectional_flow(first, second, general)
        first, second = first + step * more, second + step * other
    top = float((svd(general, compute_uv=False)[:WIDTH] ** 2).sum())
    after = norm(first.T @ general @ second) ** 2
    result["bidirectional"] = {"drift": max(drift(first), drift(second)), "trace": [float(before), float(after)], "maximum": top}
    return result


def table(results: list[dict]) -> str:
    """Medians over seeds, and the worst where it matters."""
    rows = [f"{'flow':24}{'drift of ΦᵀΦ':>14}{'from':>10}{'to':>12}{'maximum':>10}   singular values of Φ at the end"]
    for name in ("random_rewards", "self_prediction", "without_stop_gradient", "bidirectional"):
        each = [result[name] for result in results]
        pair = np.median([e.get("error", e.get("trace")) for e in each], axis=0)
        top = np.median([e.get("maximum", np.nan) for e in each])
        ends = np.median([e.get("singular_values", [np.nan] * WIDTH) for e in each], axis=0)
        shown = "" if np.isnan(ends[0]) else "  ".join(f"{s:.3f}" for s in ends)
        limit = "" if np.isnan(top) else f"{top:.3f}"
        rows.append(f"{name:24}{max(e['drift'] for e in each):>14.4f}{pair[0]:>10.3g}{pair[1]:>12.3g}{limit:>10}   {shown}")
    return "\n".join(rows)


def worst(results: list[dict]) -> str:
    """The seed that says least for the claims of docs/claims.md."""
    error = max(result["random_rewards"]["error"][1] for result in results)
    kept = min(min(result["self_prediction"]["singular_values"]) for result in results)
    collapsed = max(min(result["without_stop_gradient"]["singular_values"]) for result in results)
    return (
        f"worst of {len(results)} seeds: error of the values at the end {error:.2g}; smallest singular value of Φ at the end"
        f" {kept:.3f} with the stopped gradient, {collapsed:.2g} without"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=20000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results = [one(seed, options.steps) for seed in range(options.seeds)]
    print(table(results))
    print(worst(results))
    print("from, to: error of the values (random_rewards), ‖ΦᵀPΦ‖² or ‖ΦᵀPΨ‖²; medians; the worst drift of all seeds")
    if options.json:
        options.json.write_text(json.dumps({"steps": options.steps, "step": STEP, "seeds": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
