"""Integral reinforcement learning (Cao, Pan, "Impact of Computation in Integral Reinforcement Learning for Continuous-Time Control", ICLR
2024): the values of a policy from V(x(t)) − V(x(t + T)) = ∫ l dt along a trajectory, where the integral comes from N samples.

    V(x) = w·φ(x),    l = |x|² + u²,    row i of the least squares: φ(x(t_i)) − φ(x(t_i + T)),    its right side: quadrature of l
    next policy       u = −½ g(x)ᵀ ∇φ(x)ᵀ w

Policy iteration is Newton's method on the HJB equation, so that the error of the quadrature is what is left in the end. The trajectory goes
on under the next policy. Plants are integrated by Runge and Kutta's method of order 4 with steps of about T / 200; the authors have RK45.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Vector = np.ndarray


@dataclass(frozen=True, eq=False)
class Plant:
    """ẋ = f(x) + g(x) u with one control.

    Args:
        f, g: (n,) -> (n,).
        features, slope: φ (n,) -> (d,), and its Jacobian (d, n).
        start: x(0).
        first: w (d,) of the first policy.
        truth: w of the best values; of features that depend on each other the shortest.
        windows: T between two rows of the least squares, and rows to an iteration.
    """

    f: Callable[[Vector], Vector]
    g: Callable[[Vector], Vector]
    features: Callable[[Vector], Vector]
    slope: Callable[[Vector], Vector]
    start: Vector
    first: Vector
    truth: Vector
    length: float = 0.1
    windows: int = 20

    def control(self, w: Vector, x: Vector) -> float:
        return float(-0.5 * self.g(x) @ (self.slope(x).T @ w))

    def cost(self, w: Vector, x: Vector) -> float:
        return float(x @ x + self.control(w, x) ** 2)

    def moved(self, w: Vector, x: Vector, step: float) -> Vector:
        """x after a step under the policy of w."""

        def speed(x: Vector) -> Vector:
            return self.f(x) + self.g(x) * self.control(w, x)

        a = speed(x)
        b = speed(x + step / 2 * a)
        c = speed(x + step / 2 * b)
        d = speed(x + step * c)
        return x + step / 6 * (a + 2 * b + 2 * c + d)


def evaluated(plant: Plant, w: Vector, x: Vector, weights: Vector, substeps: int) -> tuple[Vector, Vector]:
    """w of the values of the policy of w, and where the trajectory has come to.

    Args:
        weights: (N,) of the quadrature of one window.
        substeps: steps of the integrator between two samples.
    """
    rows, right, step = [], [], plant.length / (len(weights) - 1) / substeps
    for _ in range(plant.windows):
        before, costs = x, [plant.cost(w, x)]
        for _ in range(len(weights) - 1):
            for _ in range(substeps):
                x = plant.moved(w, x, step)
            costs.append(plant.cost(w, x))
        rows.append(plant.features(before) - plant.features(x))
        right.append(weights @ np.array(costs))
    return np.linalg.pinv(np.array(rows), rcond=1e-10) @ np.array(right), x


def policy_iteration(plant: Plant, weights: Vector, iterations: int = 30, tolerance: float = 1e-12, resolution: int = 200) -> list[Vector]:
    """w after each iteration, until it changes by less than the tolerance.

    Args:
        resolution: least steps of the integrator in a window.
    """
    substeps = max(1, -(-resolution // (len(weights) - 1)))
    w, x, found = plant.first, plant.start, list[Vector]()
    for _ in range(iterations):
        before, (w, x) = w, evaluated(plant, w, x, weights, substeps)
        found.append(w)
        if np.linalg.norm(w - before) < tolerance:
            break
    return found


def linear_plant() -> Plant:
    """The authors' system of order three: ẋ₃ = −0.1 x₁ − 0.5 x₂ − 0.7 x₃ + u, φ = x ⊗ x. The truth solves Riccati's equation."""
    a, b = np.array([[0, 1, 0], [0, 0, 1], [-0.1, -0.5, -0.7]]), np.array([0.0, 0.0, 1.0])
    eye = np.eye(3)
    return Plant(
        f=lambda x: a @ x,
        g=lambda x: b,
        features=lambda x: np.outer(x, x).ravel(),
        slope=lambda x: (np.einsum("ik,j->ijk", eye, x) + np.einsum("i,jk->ijk", x, eye)).reshape(9, 3),
        start=np.array([2.0, -2.0, 3.0]),
        first=np.zeros(9),
        truth=riccati(a, b[:, None]).ravel(),
        windows=10,
    )


def nonlinear_plant() -> Plant:
    """ẋ₁ = −x₁ + x₂, ẋ₂ = −½ (x₁ + x₂) + ½ x₂ sin² x₁ + sin(x₁) u: V = ½ x₁² + x₂², u = −x₂ sin x₁."""
    return Plant(
        f=lambda x: np.array([-x[0] + x[1], -0.5 * (x[0] + x[1]) + 0.5 * x[1] * np.sin(x[0]) ** 2]),
        g=lambda x: np.array([0.0, np.sin(x[0])]),
        features=lambda x: np.array([x[0] ** 2, x[0] * x[1], x[1] ** 2]),
        slope=lambda x: np.array([[2 * x[0], 0.0], [x[1], x[0]], [0.0, 2 * x[1]]]),
        start=np.array([1.0, 1.0]),
        first=np.array([-1.0, 3.0, 1.5]),
        truth=np.array([0.5, 0.0, 1.0]),
    )


def riccati(a: Vector, b: Vector) -> Vector:
    """P of AᵀP + PA − P B Bᵀ P + I = 0, from the stable subspace of the Hamiltonian matrix."""
    n = len(a)
    values, vectors = np.linalg.eig(np.block([[a, -b @ b.T], [-np.eye(n), -a.T]]))
    stable = vectors[:, values.real < 0]
    return np.real(stable[n:] @ np.linalg.inv(stable[:n]))
