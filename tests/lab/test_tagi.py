"""Networks of normal weights: worked numbers, exact Bayesian regression, and an optimum that is inferred without gradients."""

from __future__ import annotations

import numpy as np
import pytest

from deeprl_lab.mathematics.tagi import BayesianLayer, IndependentNormal, backward, derivative, forward, inferred, network, observed, uphill


def normal(mean, var) -> IndependentNormal:
    return IndependentNormal(np.array(mean, float), np.array(var, float))


def test_one_layer_and_its_update():
    layer = BayesianLayer(normal([[0.5, -0.2]], [[0.04, 0.09]]), normal([0.1], [0.02]), "identity")
    units = forward([layer], normal([[1.0, 2.0]], [[0.01, 0.0]]))
    assert units[-1].z.mean.item() == pytest.approx(0.2)
    assert units[-1].z.var.item() == pytest.approx(0.4229)
    (after,), _ = backward([layer], units, observed(units[-1], np.array([[1.0]]), 0.05))
    assert after.weight.mean[0] == pytest.approx([0.567668, -0.2 + 0.304504], abs=1e-6)
    assert after.weight.var[0] == pytest.approx([0.036617, 0.021487 + 0.0], abs=1e-6)
    assert (after.bias.mean.item(), after.bias.var.item()) == pytest.approx((0.133834, 0.019154), abs=1e-6)


def test_a_linear_layer_is_the_diagonal_of_exact_regression():
    prior, x, noise = np.array([0.5, 2.0, 1.0]), np.array([1.5, -1.0, 1.0]), 0.3  # the last is the bias
    layer = BayesianLayer(normal([[0.2, 0.1]], [prior[:2]]), normal([0.0], [prior[2]]), "identity")
    units = forward([layer], normal([x[:2]], [[0.0, 0.0]]))
    (after,), _ = backward([layer], units, observed(units[-1], np.array([[2.0]]), noise))
    gain = prior * x / (x @ (prior * x) + noise)
    mean = np.array([0.2, 0.1, 0.0]) + gain * (2.0 - x[:2] @ [0.2, 0.1])
    assert [*after.weight.mean[0], after.bias.mean[0]] == pytest.approx(mean)
    assert [*after.weight.var[0], after.bias.var[0]] == pytest.approx(prior - gain * x * prior)
    (same,), _ = backward([layer], units, observed(units[-1], np.array([[2.0]]), 1e12))
    assert same.weight.mean == pytest.approx(layer.weight.mean, abs=1e-9)


def test_the_derivative_and_the_input_that_it_infers():
    layers = [
        BayesianLayer(normal([[0.8]], [[0.01]]), normal([0.1], [0.01]), "tanh"),
        BayesianLayer(normal([[1.5]], [[0.04]]), normal([0.0], [0.0]), "identity"),
    ]
    x = normal([[0.2]], [[0.05]])
    units = forward(layers, x)
    found = derivative(layers, units)
    assert units[1].derivative.mean.item() == pytest.approx(0.897803, abs=1e-6)
    assert found.g.mean.item() == pytest.approx(1.075936, abs=1e-6)
    assert found.g.var.item() == pytest.approx(0.054664, abs=1e-6)
    assert found.covariance.item() == pytest.approx(-0.022834, abs=1e-6)
    after = inferred(x, found)
    assert (after.mean.item(), after.var.item()) == pytest.approx((0.649429, 0.040462), abs=2e-6)
    assert uphill(x, found).mean.item() == pytest.approx(after.mean.item())


def test_certain_weights_have_the_usual_derivative():
    random, kinds = np.random.default_rng(0), ("tanh", "tanh", "relu", "identity")
    layers = [
        BayesianLayer(w._replace(var=0 * w.var), b._replace(var=0 * b.var), kind) for w, b, kind in network((2, 5, 4, 3, 1), kinds, random)
    ]

    def value(x: np.ndarray) -> float:
        return forward(layers, IndependentNormal(x, 0 * x))[-1].z.mean.item()

    x, h = np.array([[0.3, -0.4]]), 1e-6
    found = derivative(layers, forward(layers, IndependentNormal(x, 0 * x)))
    numeric = [(value(x + h * e) - value(x - h * e)) / (2 * h) for e in np.eye(2)]
    assert found.g.mean[0] == pytest.approx(numeric, abs=1e-8)
    assert found.g.var[0] == pytest.approx([0.0, 0.0])


def test_with_relu_alone_nothing_is_inferred():
    layers = network((1, 6, 1), ("relu", "identity"), np.random.default_rng(0))
    x = normal([[0.3]], [[0.1]])
    assert derivative(layers, forward(layers, x)).covariance.item() == 0.0


@pytest.fixture(scope="module")
def cubic():
    """x³ − 3x from 100 points with noise 0.1."""
    random = np.random.default_rng(0)
    x = np.linspace(-2, 2, 100)[:, None]
    y = x**3 - 3 * x + 0.1 * random.standard_normal(x.shape)
    layers = network((1, 64, 64, 1), ("tanh", "relu", "identity"), random)
    for _ in range(60):
        for part in random.permutation(100).reshape(25, 4):
            units = forward(layers, IndependentNormal(x[part], np.zeros((4, 1))))
            layers, _ = backward(layers, units, observed(units[-1], y[part], 0.1))
    return layers


def test_a_derivative_is_learned_from_values(cubic):
    x = np.linspace(-1.5, 1.5, 61)[:, None]
    found = derivative(cubic, forward(cubic, IndependentNormal(x, np.full_like(x, 1e-3))))
    assert np.abs(found.g.mean - (3 * x**2 - 3)).mean() < 0.5


@pytest.mark.parametrize(("sign", "optimum"), [(1.0, -1.0), (-1.0, 1.0)])
def test_an_optimum_is_inferred(cubic, sign, optimum):
    """From the side of the inflection on which it lies; the other side is in benchmarks.tagi."""
    at = normal([[0.25 * optimum]], [[1e-3]])
    for _ in range(100):
        at = uphill(at._replace(var=np.full((1, 1), 1e-3)), derivative(cubic, forward(cubic, at)), sign)
    assert at.mean.item() == pytest.approx(optimum, abs=0.15)
