"""Log-loss and squared loss through a sigmoid, mountain car, and fitted Q iteration against dynamic programming."""

from functools import partial

import numpy as np
import pytest

from deeprl.running.training.collector import Collector
from deeprl_lab.agents.fqi_log import FQILog, fourier, iterate
from deeprl_lab.envs.mountain_car import START, MountainCar, cost, moved
from deeprl_lab.envs.worlds import RiskLadder
from deeprl_lab.mathematics.sigmoid import LogLoss, SquaredLoss, fitted, sigmoid

LOSSES = LogLoss(), SquaredLoss()


@pytest.mark.parametrize("loss", LOSSES)
def test_both_losses_have_the_mean_as_their_minimum(loss):
    y = np.array([0.0, 0.0, 1.0, 0.5])
    w = fitted(loss, np.ones((4, 1)), y, lam=1e-12, tolerance=1e-10)
    assert sigmoid(w)[0] == pytest.approx(0.375)
    if isinstance(loss, LogLoss):
        assert loss(np.full(4, w[0]), y)[0].mean() == pytest.approx(0.66156, abs=5e-6)


def test_the_derivative_of_log_loss_does_not_vanish():
    slopes = [float(loss(np.array([-3.0]), np.zeros(1))[1][0]) for loss in LOSSES]
    assert slopes == pytest.approx([0.04743, 0.00429], abs=5e-6)


@pytest.mark.parametrize("loss", LOSSES)
def test_derivatives_are_those_of_the_loss(loss):
    z, y, step = np.linspace(-4, 4, 9), np.full(9, 0.3), 1e-5
    np.testing.assert_allclose(loss(z, y)[1], (loss(z + step, y)[0] - loss(z - step, y)[0]) / (2 * step), atol=1e-9)


def test_targets_of_zero_and_one_are_logistic_regression():
    """Its score equations: Σ (p − y) φ + n λ w = 0."""
    random = np.random.default_rng(0)
    phi, y = random.normal(size=(200, 3)), random.integers(2, size=200) * 1.0
    w = fitted(LogLoss(), phi, y, lam=1e-3, tolerance=1e-12)
    np.testing.assert_allclose((sigmoid(phi @ w) - y) @ phi / 200 + 1e-3 * w, 0.0, atol=1e-11)


def test_no_data_is_no_weights():
    assert not fitted(LogLoss(), np.zeros((0, 4)), np.zeros(0), 1e-6).any()


@pytest.mark.parametrize("loss", LOSSES)
def test_a_table_is_dynamic_programming(loss):
    """Two states, three actions, two steps; only action 2 of state 1 at the last step is free of cost, which a minimum over two actions
    would not see. Each episode starts in a state, moves to the state of its first action's parity, and pays what the last pair costs."""
    first, one, two = (x.ravel() for x in np.meshgrid(range(2), range(3), range(3), indexing="ij"))
    states, price = np.stack([first, one % 2, 0 * one], 1), np.array([[0.9, 0.6, 0.7], [0.8, 0.5, 0.1]])
    w = iterate(loss, np.eye(2)[states], np.stack([one, two], 1), price[one % 2, two], 3, lam=1e-12)
    values = sigmoid(w)  # (H, A, S)
    np.testing.assert_allclose(values[1], price.T, atol=1e-3)
    np.testing.assert_allclose(values[0, :, 0], [0.6, 0.1, 0.6], atol=2e-3)


def test_one_step_of_the_car_by_hand():
    """From (−0.5, 0) with full throttle: v = 0.001 − 0.0025 cos(−1.5) = 0.000823."""
    np.testing.assert_allclose(moved(START, np.array(2)), [-0.499177, 0.000823], atol=5e-7)
    np.testing.assert_allclose(moved(np.array([0.59, 0.069]), np.array([2])[0]), [0.6, 0.07], atol=1e-3)
    assert cost(np.array([[0.6, 0.0], [0.5, 0.0]])).tolist() == [0.0, 1.0]


def test_the_goal_can_be_reached_and_held_but_not_in_110_steps():
    def pump(state: np.ndarray, step: int) -> int:
        return 2 if state[1] >= 0 else 0

    assert [MountainCar(horizon=h).episode_cost(pump) for h in (110, 150, 400)] == [1.0, 0.0, 0.0]


def test_features_by_hand():
    bounds = np.array([[0.0, 0.0], [2.0, 4.0]])
    np.testing.assert_allclose(fourier(np.array([1.0, 4.0]), bounds, 1), [1.0, -1.0, 0.0, 0.0], atol=1e-12)  # cos of 0, π, π/2, 3π/2


def agent_of(world, loss=LOSSES[0], episodes: int = 8, fits: int = 2, hold: int = 3) -> FQILog:
    return FQILog(spec=world.spec(), seed=0, world=world, loss=loss, order=2, lam=1e-4, episodes=episodes, fits=fits, hold=hold)


@pytest.mark.parametrize("num", [1, 2])
def test_it_collects_then_fits_then_plays(num):
    world = MountainCar(horizon=7, num=num)
    agent = agent_of(world)
    collector = Collector(agent, partial(agent.act, explore=True), world.make(0), agent.observe, 0)
    for tick in range(7 * 8 // num):
        collector.tick(tick)
        assert bool(agent.weights.any()) == (agent.number[0] >= 4)
    assert (agent.taken[:, 0:3] == agent.taken[:, :1]).all()  # held for three steps
    for state, action, after in zip(agent.states[:, 0], agent.taken[:, 0], agent.states[:, 1]):
        np.testing.assert_allclose(moved(state, action), after, atol=1e-6)
    np.testing.assert_array_equal(agent.cost, 1.0)
    data, before = agent.states.copy(), agent.weights.copy()
    for tick in range(21):
        collector.tick(tick)
    np.testing.assert_array_equal(agent.states, data)
    np.testing.assert_array_equal(agent.weights, before)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="env=lab/"):
        agent_of(RiskLadder())
    with pytest.raises(ValueError, match="hold must be a whole number"):
        agent_of(MountainCar(), hold=0)
