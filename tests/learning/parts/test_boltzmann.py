"""Boltzmann exploration: probabilities by hand, and the limits of the temperature."""

from __future__ import annotations

import math

import pytest
import torch

from deeprl.learning.parts.boltzmann import Boltzmann, probabilities
from deeprl.learning.parts.exploration import Tick
from deeprl.learning.values.masked import INVALID, masked
from deeprl.schedules import Constant

VALUES = torch.tensor([0.0, math.log(2.0), math.log(5.0)])  # at temperature 1: 1/8, 2/8, 5/8


def acted(temperature: float, values: torch.Tensor, valid=None, exact=True, seed: int = 0):
    """Actions and probabilities for values (M, A)."""
    rule, (m, actions) = Boltzmann(Constant(temperature)), values.shape
    noise = {name: drawn[0] for name, drawn in rule.noise((1, m), torch.Generator().manual_seed(seed), actions).items()}
    return rule(lambda: values, Tick(0, torch.zeros(m, dtype=torch.bool), noise, actions, valid, exact), {})[:2]


def test_an_action_is_as_frequent_as_its_probability_says():
    action, probability = acted(1.0, VALUES.expand(40_000, 3))
    assert torch.bincount(action).div(40_000).tolist() == pytest.approx([1 / 8, 2 / 8, 5 / 8], abs=0.01)
    assert probability.tolist() == pytest.approx((torch.tensor([1, 2, 5])[action] / 8).tolist())


def test_the_temperature_is_in_units_of_the_values():
    assert probabilities(2.0 * VALUES.double(), 2.0).tolist() == pytest.approx([1 / 8, 2 / 8, 5 / 8])
    assert probabilities(1e300 * VALUES.double(), 1e-300).tolist() == [0.0, 0.0, 1.0]


@pytest.mark.parametrize("temperature", [0.0, 1e-300])
def test_without_temperature_the_largest_value_decides(temperature):
    values = torch.tensor([[1.0, 3.0, 2.0], [0.5, 0.5, 0.5 - 1e-3], [-7.0, -8.0, INVALID]])
    if temperature:
        values[1, 1] = 0.4
    action, probability = acted(temperature, values)
    assert action.tolist() == values.argmax(-1).tolist() == [1, 0, 0]
    assert probability.tolist() == [1.0, 1.0, 1.0]


def test_actions_that_are_not_valid_are_never_taken():
    valid = torch.tensor([[True, False, True]]).expand(4000, 3)
    action, probability = acted(1e25, masked(VALUES.expand(4000, 3), valid), valid)
    assert action.unique().tolist() == [0, 2]
    assert probability.tolist() == pytest.approx([0.5] * 4000)


def test_a_number_of_zero_is_an_ordinary_draw(monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda size, **_: torch.zeros(size, dtype=torch.float64))
    assert Boltzmann().noise((1, 2), None, 3)["gumbel"].isfinite().all()


def test_probabilities_that_no_part_reads_are_not_computed():
    assert acted(1.0, VALUES[None], exact=False)[1].tolist() == [0.0]


def test_the_log_names_the_temperature_and_a_negative_one_is_refused():
    assert Boltzmann(Constant(0.25)).diagnostics(7) == {"rollout/temperature": 0.25}
    with pytest.raises(ValueError, match="^temperature.value must be at least 0, not -1"):
        Boltzmann(Constant(-1.0))
