"""Neural networks whose weights are independent normal numbers, updated in closed form, without gradients (TAGI: Goulet, Nguyen, Amiri,
2021), and inference of an input from the derivative of a network (Nguyen, Goulet, "Analytically Tractable Hidden-States Inference in
Bayesian Neural Networks", JMLR 2022; read in the authors' code).

Everything is a mean and a variance. A layer z = W a + b with activation a = φ(z), J = φ'(μ_z):

    forward       μ_z = μ_W μ_a + μ_b,    s_z = s_W s_a + s_W μ_a² + μ_W² s_a + s_b,    μ_a = φ(μ_z),    s_a = J² s_z
    observed      δμ = J (y − μ_a) / (s_a + R),  δs = −J² / (s_a + R)                   R: variance of y
    below         δμ_i = J_i Σ_o μ_w δμ_o,       δs_i = J_i² Σ_o μ_w² δs_o
    parameters    Δμ = c δμ,    Δs = c² δs,      c = s_w μ_a for weights, s_b for biases

A batch adds up its Δ, all from one prior. The derivative g of the output with respect to the input is a sum of products of weights and of
φ', whose moments are followed downwards; its covariance with the input says what g = 0 would tell of it:

    Δμ = cov / var · (0 − g),    Δs = −cov² / var

A layer of ReLU has a φ' without variance: with ReLU alone the covariance is 0, and nothing can be inferred. So the first hidden layer is
tanh, as the authors have it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

FLOOR = 1e-8
"""Least variance, because rounding may leave less than none"""


class IndependentNormal(NamedTuple):
    """Independent normal numbers."""

    mean: np.ndarray
    var: np.ndarray

    def moved(self, mean: np.ndarray, var: np.ndarray) -> IndependentNormal:
        return IndependentNormal(self.mean + mean, np.maximum(self.var + var, FLOOR))


class BayesianLayer(NamedTuple):
    """Weights (out, in) and biases (out,)."""

    weight: IndependentNormal
    bias: IndependentNormal
    kind: str
    """tanh, relu or identity"""


class HiddenStates(NamedTuple):
    """What one layer says, (B, n)."""

    z: IndependentNormal
    a: IndependentNormal
    slope: np.ndarray
    """J"""
    kind: str

    @property
    def derivative(self) -> IndependentNormal:
        """φ'(z)."""
        if self.kind == "tanh":
            return IndependentNormal(1 - self.a.mean**2 - self.a.var, 2 * self.a.var * (self.a.var + 2 * self.a.mean**2))
        return IndependentNormal(self.slope, np.zeros_like(self.slope))


Innovation = tuple[np.ndarray, np.ndarray]
"""δμ and δs (B, n) of the units of a layer"""


def network(widths: Sequence[int], kinds: Sequence[str], random: np.random.Generator) -> list[BayesianLayer]:
    """Layers with He's variances, 1 / fan_in, of weights and biases, and with means drawn by them."""
    layers = []
    for fan, out, kind in zip(widths[:-1], widths[1:], kinds, strict=True):
        scale = 1 / fan
        parts = [IndependentNormal(random.normal(0.0, np.sqrt(scale), shape), np.full(shape, scale)) for shape in ((out, fan), (out,))]
        layers.append(BayesianLayer(parts[0], parts[1], kind))
    return layers


def activated(z: IndependentNormal, kind: str) -> HiddenStates:
    mean = np.tanh(z.mean) if kind == "tanh" else np.maximum(z.mean, 0.0) if kind == "relu" else z.mean
    slope = 1 - mean**2 if kind == "tanh" else (z.mean > 0).astype(float) if kind == "relu" else np.ones_like(mean)
    return HiddenStates(z, IndependentNormal(mean, slope**2 * z.var), slope, kind)


def forward(layers: Sequence[BayesianLayer], x: IndependentNormal) -> list[HiddenStates]:
    """Units of all layers for inputs (B, n), the inputs first."""
    found = [activated(x, "identity")]
    for weight, bias, kind in layers:
        a = found[-1].a
        mean = a.mean @ weight.mean.T + bias.mean
        var = (a.var + a.mean**2) @ weight.var.T + a.var @ (weight.mean**2).T + bias.var
        found.append(activated(IndependentNormal(mean, var), kind))
    return found


def observed(units: HiddenStates, y: np.ndarray, var: np.ndarray | float) -> Innovation:
    """Innovations of a layer, of observations (B, n) of its activations with this variance."""
    total = units.a.var + var
    return units.slope * (y - units.a.mean) / total, -(units.slope**2) / total


def backward(
    layers: Sequence[BayesianLayer], units: Sequence[HiddenStates], innovation: Innovation
) -> tuple[list[BayesianLayer], Innovation]:
    """The layers after an observation, and the innovations of the inputs."""
    mean, var = innovation
    found = []
    for layer, below in zip(reversed(layers), reversed(units[:-1])):
        (weight, bias), a = layer[:2], below.a.mean
        moved = weight.moved(weight.var * (mean.T @ a), weight.var**2 * (var.T @ a**2))
        found.append(BayesianLayer(moved, bias.moved(bias.var * mean.sum(0), bias.var**2 * var.sum(0)), layer.kind))
        mean, var = below.slope * (mean @ weight.mean), below.slope**2 * (var @ weight.mean**2)
    return found[::-1], (mean, var)


class Derivative(NamedTuple):
    """Of the one output with respect to each input, (B, n)."""

    g: IndependentNormal
    covariance: np.ndarray
    """With that input"""


def derivative(layers: Sequence[BayesianLayer], units: Sequence[HiddenStates]) -> Derivative:
    """Moments of the derivative of a network with one output, and at least one hidden layer."""
    last = layers[-1].weight  # (1, o)
    d = units[-2].derivative
    product = product_of(IndependentNormal(last.mean[0], last.var[0]), d)  # (B, o)
    g, terms = product, product.mean[..., None]  # terms (B, o, o') of which g.mean is the sum
    above = np.ones((len(d.mean), 1))  # mean of g' (B, o')
    covariance = np.zeros_like(g.mean)
    for at in range(len(layers) - 2, -1, -1):
        i, o, w = units[at], units[at + 1], IndependentNormal(layers[at].weight.mean.T, layers[at].weight.var.T)  # (i, o)
        upper = layers[at + 1].weight.mean.T * above[:, None, :]  # μ_w' g' (B, o, o')
        one, two, mixed, square = upper.sum(-1), (upper**2).sum(-1), (upper * terms).sum(-1), (terms**2).sum(-1)  # (B, o)
        d = i.derivative
        p = product_of(w, IndependentNormal(d.mean[..., None], d.var[..., None]))  # w φ'_i (B, i, o)
        c = with_slope_above(i, o, w, d)
        single = p.mean * g.mean[:, None] + c * one[:, None]
        var = p.var * g.var[:, None] + g.var[:, None] * p.mean**2 + p.var * square[:, None]
        var = (var + c**2 * two[:, None] + 2 * c * mixed[:, None] * p.mean).sum(-1)
        spread = (i.slope * i.z.var)[..., None] * w.mean  # cov(z_i, z_o)
        above_tanh = -2 * (o.a.mean * o.slope * (o.kind == "tanh") * one)[:, None] * spread * p.mean
        own = -2 * (i.a.mean * (i.kind == "tanh"))[..., None] * spread * g.mean[:, None]
        covariance = (above_tanh + own).sum(-1)
        above, terms, g = g.mean, single, IndependentNormal(single.sum(-1), var)
    return Derivative(g, covariance)


def product_of(one: IndependentNormal, other: IndependentNormal) -> IndependentNormal:
    """Of independent numbers."""
    return IndependentNormal(one.mean * other.mean, one.var * other.var + one.var * other.mean**2 + other.var * one.mean**2)


def with_slope_above(i: HiddenStates, o: HiddenStates, w: IndependentNormal, d: IndependentNormal) -> np.ndarray:
    """cov(w φ'_i, φ'_o), (B, i, o)."""
    if o.kind != "tanh":
        return np.zeros((len(i.a.mean), *w.mean.shape))
    by_weight = -2 * o.a.mean[:, None] * (w.var * i.a.mean[..., None] * o.slope[:, None]) * d.mean[..., None]
    if i.kind != "tanh":
        return by_weight
    c = w.mean * i.a.var[..., None] * o.slope[:, None]
    return by_weight + (2 * c**2 + 4 * c * i.a.mean[..., None] * o.a.mean[:, None]) * w.mean


def inferred(x: IndependentNormal, found: Derivative) -> IndependentNormal:
    """The input after the observation that the derivative is 0: a stationary point, of whatever kind."""
    gain = found.covariance / np.maximum(found.g.var, FLOOR)
    return x.moved(-gain * found.g.mean, -gain * found.covariance)


def uphill(x: IndependentNormal, found: Derivative, sign: float = 1.0) -> IndependentNormal:
    """The same size of step, always in the direction in which the output grows (sign = −1: falls), as the authors take it."""
    gain = found.covariance / np.maximum(found.g.var, FLOOR)
    return x.moved(sign * np.abs(gain * found.g.mean) * np.sign(found.g.mean), -gain * found.covariance)
