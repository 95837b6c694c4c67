"""Monotone curves, power laws and frontiers, as functions of arrays. Equations are those of "Value-Based Deep RL Scales Predictably".

    (1, 2)   B*(σ) = a σ^b,  η*(σ) = a σ^b                      σ: updates an environment step, the replay ratio
    (3)      D_J(σ) = D_min + (β/σ)^α                           environment steps to the first return J
    (4)      C_J(σ) = 10 · N · B*(σ) · σ · D_J(σ)               floating-point operations; N: parameters of all networks. Steps before
                                                                the first update cost nothing here; the paper counts them

Slopes b are printed with their sign: the paper writes σ^(−α). Its code fits (3) as m(c + (σ/b)^(−a)), which is the same family with
D_min = m·c and (β/σ)^α = m (σ/b)^(−a); here the two factors are solved for in closed form at each α, so that no start has to be searched.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy  # `scipy.optimize` is imported by its first use

ALPHAS = np.geomspace(0.02, 8.0, 600)
"""Exponents of (3) among which the best is searched, then refined between its neighbours"""
FREE = 4
"""Replay ratios from which (3) has its floor D_min; with fewer it is a power law, because three numbers fit three points exactly"""
OPERATIONS = 10.0
"""Floating-point operations a parameter and sample of an update, forward and backward, as in the paper"""


class PowerLaw(NamedTuple):
    """y = scale · x^slope"""

    scale: float
    slope: float
    r2: float
    """Of log y; 1 where y does not vary and is hit"""
    points: int

    def __call__(self, x: np.ndarray | float) -> np.ndarray:
        return self.scale * np.asarray(x, float) ** self.slope


class DataLaw(NamedTuple):
    """D(σ) = floor + factor · σ^(−alpha), which is (3) with β = factor^(1/α)"""

    floor: float
    factor: float
    alpha: float
    error: float
    """Root of the mean squared relative error on the points of the fit"""
    points: int

    def __call__(self, sigma: np.ndarray | float) -> np.ndarray:
        return self.floor + self.factor * np.asarray(sigma, float) ** -self.alpha


# ---- from a learning curve to the data that a return takes


def isotonic(values: np.ndarray) -> np.ndarray:
    """The non-decreasing sequence with the least squared distance to (E,) values: neighbours that fall are replaced by their mean."""
    found: np.ndarray = scipy.optimize.isotonic_regression(values).x
    return found


def falling(values: np.ndarray) -> float:
    """How far a curve is from monotone: the root of the mean squared distance to `isotonic`, as a share of its range."""
    span = float(np.ptp(values))
    return float(np.sqrt(np.mean((values - isotonic(values)) ** 2))) / span if span else 0.0


def reached(steps: np.ndarray, returns: np.ndarray, threshold: float) -> float:
    """The first step at which the monotone curve has a return of `threshold`, with straight lines between evaluations; NaN: never. Before
    the first evaluation nothing is known, so a curve that begins above the threshold reaches it there.

    Args:
        steps, returns: (E,) in the order of steps.
    """
    curve = isotonic(returns)
    if not len(curve) or not curve[-1] >= threshold:
        return float("nan")
    place = int(np.argmax(curve >= threshold))
    if place == 0:
        return float(steps[0])
    low, high = curve[place - 1], curve[place]
    return float(steps[place - 1] + (threshold - low) / (high - low) * (steps[place] - steps[place - 1]))


# ---- laws


def power_law(x: np.ndarray, y: np.ndarray) -> PowerLaw:
    """Least squares of log y on log x.

    Args:
        x, y: (n,) positive, with two values of x or more.

    Raises:
        ValueError: fewer, or a value that is not positive.
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    if len(np.unique(x)) < 2 or not ((x > 0) & (y > 0)).all():
        raise ValueError("a power law takes positive numbers at two places or more")
    u, v = np.log(x), np.log(y)
    slope = float(np.sum((u - u.mean()) * (v - v.mean())) / np.sum((u - u.mean()) ** 2))
    scale = float(v.mean() - slope * u.mean())
    left, all_of_it = float(np.sum((v - scale - slope * u) ** 2)), float(np.sum((v - v.mean()) ** 2))
    return PowerLaw(float(np.exp(scale)), slope, 1.0 if all_of_it < 1e-12 else 1 - left / all_of_it, len(x))


def data_law(sigma: np.ndarray, data: np.ndarray) -> DataLaw:
    """(3) with the least mean squared relative error: at each α, floor and factor are a linear problem with both at least 0.

    Args:
        sigma, data: (n,) positive. With fewer than `FREE` different σ the floor is 0.

    Raises:
        ValueError: as in `power_law`.
    """
    sigma, data = np.asarray(sigma, float), np.asarray(data, float)
    if len(np.unique(sigma)) < FREE:
        law = power_law(sigma, data)
        found = DataLaw(0.0, law.scale, -law.slope, 0.0, len(sigma))
        return found._replace(error=relative_error(found(sigma), data))
    power_law(sigma, data)  # its checks
    alphas = ALPHAS
    for _ in range(3):  # the grid, and twice between the neighbours of the best
        floors, factors, errors = _factors(sigma, data, alphas)
        best = int(errors.argmin())
        alpha, floor, factor = float(alphas[best]), float(floors[best]), float(factors[best])
        alphas = np.linspace(alphas[max(best - 1, 0)], alphas[min(best + 1, len(alphas) - 1)], 101)
    found = DataLaw(floor, factor, alpha, 0.0, len(sigma))
    return found._replace(error=relative_error(found(sigma), data))


def _factors(sigma: np.ndarray, data: np.ndarray, alphas: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For exponents (A,) the floor and the factor, both at least 0, with the least squared relative error, and that error, (A,) each."""
    one, power = 1 / data, sigma ** -alphas[:, None] / data  # (n,), (A, n): what a floor of 1, and a factor of 1, are of each point
    aa, ab, bb, a, b = (one**2).sum(), (power * one).sum(1), (power**2).sum(1), one.sum(), power.sum(1)
    determinant = np.maximum(aa * bb - ab**2, 1e-12 * aa * bb)
    both = (a * bb - b * ab) / determinant, (b * aa - a * ab) / determinant
    alone = (np.full_like(b, a / aa), np.zeros_like(b)), (np.zeros_like(b), b / bb)
    choices = [(floor, factor, ((floor[:, None] * one + factor[:, None] * power - 1) ** 2).sum(1)) for floor, factor in (both, *alone)]
    choices[0][2][(both[0] < 0) | (both[1] < 0)] = np.inf
    best = np.stack([error for *_, error in choices]).argmin(0)
    floor, factor, error = (np.choose(best, column) for column in zip(*choices))
    return floor, factor, error


def relative_error(predicted: np.ndarray, observed: np.ndarray) -> float:
    """Root of the mean squared relative error."""
    return float(np.sqrt(np.mean((np.asarray(predicted) / np.asarray(observed) - 1) ** 2)))


def operations(
    parameters: float, batch: np.ndarray | float, sigma: np.ndarray | float, data: np.ndarray | float, starts: float = 0.0
) -> np.ndarray:
    """(4): floating-point operations of `data` environment steps, of which the first `starts` have no update."""
    return OPERATIONS * parameters * np.asarray(batch) * np.asarray(sigma) * np.maximum(np.asarray(data) - starts, 0.0)


# ---- choices


def frontier(data: np.ndarray, compute: np.ndarray) -> np.ndarray:
    """(n,) bool, the Pareto front: points such that no other has at most as much of both and less of one."""
    better = (data[None] <= data[:, None]) & (compute[None] <= compute[:, None])
    strictly = (data[None] < data[:, None]) | (compute[None] < compute[:, None])
    return np.logical_not((better & strictly).any(axis=1))


def cheapest(sigmas: np.ndarray, cost: np.ndarray) -> tuple[float, float]:
    """The σ of the least cost on a grid, and that cost. Costs of NaN are ignored; if every cost is NaN, both results are NaN."""
    if np.isnan(cost).all():
        return float("nan"), float("nan")
    place = int(np.nanargmin(cost))
    return float(sigmas[place]), float(cost[place])
