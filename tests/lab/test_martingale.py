"""Policy evaluation in continuous time: exact expectations on a mesh, which follow from a few nodes of Gauss and Hermite."""

from __future__ import annotations

import numpy as np
import pytest

from deeprl_lab.envs.diffusions import Brownian, GeometricBrownian, OrnsteinUhlenbeckDiffusion, Sine
from deeprl_lab.mathematics.martingale import MartingaleLoss, Orthogonality, SquaredError, solved
from tests.conformance import a_single_one_is_the_first_of_many, resumes_exactly

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(6)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


def expected(criterion, world, spreads) -> np.ndarray:
    """w from expected sums, where X_i is normal with these standard deviations.

    A row counts with its probability if all of its numbers are multiplied by the root of it, because the sums are bilinear."""
    left = right = 0.0
    noise, p = np.repeat(NODES, 6), np.sqrt(np.kron(WEIGHTS, WEIGHTS))
    for i, spread in enumerate(spreads):
        x = spread * np.tile(NODES, 6)
        after, over = world.after(x, noise), world.ends and i + 1 == len(spreads)
        reward = world.reward(x) * world.step + (world.final(after) if over else 0.0)
        now, later = (world.features(x, np.full_like(x, t * world.step)) for x, t in ((x, i), (after, i + 1)))
        _, a, b = criterion(np.zeros_like(now), p[:, None] * now, p[:, None] * later * (not over), p * reward, world.gamma, world.step)
        left, right = left + a, right + b
    return solved(left, right)


def brownian(criterion, step: float) -> np.ndarray:
    world = Brownian(step=step)
    return expected(criterion, world, np.sqrt(step * np.arange(world.steps)))


def stationary(criterion, step: float) -> np.ndarray:
    world = OrnsteinUhlenbeckDiffusion(step=step, horizon=100 * step)
    return expected(criterion, world, [world.spread])


def test_orthogonality_finds_the_value_on_every_mesh():
    for step in (0.1, 0.005):
        assert brownian(Orthogonality(), step) == pytest.approx([1.0, 1.0], abs=1e-9)


def test_the_squared_error_finds_three_fifths():
    kappa, theta = brownian(SquaredError(), 0.005)
    assert kappa == pytest.approx(0.6, abs=5e-3)
    assert theta == pytest.approx(1.0, abs=1e-2)


def test_the_value_of_an_ornstein_uhlenbeck_process_is_reached_linearly_in_the_mesh():
    assert OrnsteinUhlenbeckDiffusion().truth == pytest.approx([1 / 3, 1 / 12])
    steps = (0.2, 0.1, 0.05, 0.02)
    errors = [np.abs(stationary(Orthogonality(), step) - [1 / 3, 1 / 12]).max() for step in steps]
    assert np.polyfit(np.log(steps), np.log(errors), 1)[0] == pytest.approx(1.0, abs=0.05)
    assert stationary(Orthogonality(), 0.02) == pytest.approx([0.3434, 0.0833], abs=5e-5)


def test_the_squared_error_grows_as_the_mesh_gets_finer():
    slopes = [stationary(SquaredError(), step)[0] for step in (0.2, 0.05, 0.0125)]
    assert 0.2 > slopes[0] > 2 * slopes[1] > 4 * slopes[2] > 0
    assert stationary(SquaredError(), 0.02) == pytest.approx([0.0151, 0.1244], abs=5e-5)


@pytest.mark.parametrize("criterion", [MartingaleLoss(), Orthogonality(lam=0.5)])
def test_traces_sum_over_whole_paths(criterion):
    world, random, paths = Brownian(step=0.05), np.random.default_rng(0), 4000
    x, trace, left, right = np.zeros(paths), np.zeros((paths, 2)), np.zeros((2, 2)), np.zeros(2)
    for i in range(world.steps):
        after, over = world.after(x, random.standard_normal(paths)), i + 1 == world.steps
        now, later = (world.features(x, np.full_like(x, t * world.step)) for x, t in ((x, i), (after, i + 1)))
        trace, a, b = criterion(trace, now, later * (not over), world.final(after) * over, world.gamma, world.step)
        x, left, right = after, left + a, right + b
    assert solved(left, right) == pytest.approx([1.0, 1.0], abs=0.06)


@pytest.mark.parametrize("world", [OrnsteinUhlenbeckDiffusion(), GeometricBrownian(), Sine()], ids=lambda each: type(each).__name__)
def test_the_truth_solves_the_equation_of_the_generator(world):
    """β V = r + drift · V' + ½ diffusion² · V'', by a short step: e^(−βΔ) E V(X_Δ) − V(X) = −r Δ to first order."""
    short = type(world)(step=1e-4, horizon=1.0)
    for x in (-0.7, 0.3, 1.1):
        after = short.after(x, NODES)
        value, later = (short.features(np.asarray(x), np.zeros(np.shape(x))) @ short.truth for x in (x, after))
        assert value - short.gamma * (WEIGHTS @ later) == pytest.approx(short.reward(x) * short.step, abs=1e-7)


def test_a_diffusion_is_an_environment():
    world = Brownian(step=0.25)
    a_single_one_is_the_first_of_many(world)
    resumes_exactly(world)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Brownian(step=0.3), "horizon must be a multiple of step"),
        (lambda: Brownian(rate=1.0), "rate must be 0"),
        (lambda: GeometricBrownian(drift=1.0), "rate must be above drift"),
        (lambda: Orthogonality(lam=2.0), "lam must be between"),
    ],
)
def test_values_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
