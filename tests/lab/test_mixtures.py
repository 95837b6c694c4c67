"""Exact mixtures over sources that change: worked numbers, and each predictor is the best on its own source."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from deeprl_lab.mathematics.mixtures import changes, kt, lin, losses, ptw, sequence


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("00", (0.375, 0.3125, 0.3125)),
        ("01", (0.125, 0.1875, 0.1875)),
        ("0011", (0.0234375, 0.0605469, 0.0512695)),
        ("0000", (0.2734375, 0.1855469, 0.1645508)),
        ("0101", (0.0234375, 0.0292969, 0.0317383)),
        ("00001111", (0.0010681, 0.0177479, 0.0076054)),
    ],
)
def test_worked_probabilities(word, expected):
    bits = np.array([int(letter) for letter in word])
    found = np.exp([kt(bits), ptw(bits, (len(bits) - 1).bit_length()), lin(bits)])
    assert found == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("name", ["kt", "ptw", "lin"])
def test_probabilities_of_all_words_sum_to_one(name):
    words = [np.array(word) for word in product((0, 1), repeat=6)]
    assert sum(np.exp(-losses(word, name).sum()) for word in words) == pytest.approx(1)


@pytest.mark.parametrize(("steps", "expected"), [(4, 2.2503), (8, 4.0544)])
def test_the_least_loss_on_a_static_source(steps, expected):
    words = np.array(list(product((0, 1), repeat=steps)))
    assert -sum(np.exp(kt(word)) * kt(word) for word in words) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("source", "predictor", "steps", "expected"),
    [("ptw", "ptw", 4, 2.5579), ("ptw", "kt", 4, 2.6422), ("ptw", "lin", 4, 2.5746), ("ptw", "ptw", 8, 4.7206), ("lin", "lin", 8, 4.9581)],
)
def test_expected_losses_on_sources_that_change(source, predictor, steps, expected):
    """The exact mixture says how likely a word is under its source."""
    exact = {"ptw": lambda word: ptw(word, (steps - 1).bit_length()), "lin": lin}[source]
    words = [np.array(word) for word in product((0, 1), repeat=steps)]
    assert sum(np.exp(exact(word)) * losses(word, predictor).sum() for word in words) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name", ["ptw", "lin"])
def test_samples_of_a_source_cost_its_mixture_what_is_expected(name):
    random = np.random.default_rng(3)
    drawn = np.mean([losses(sequence(name, 4, random)[0], name).sum() for _ in range(4000)])
    assert drawn == pytest.approx({"ptw": 2.5579, "lin": 2.6089}[name], abs=0.05)


def test_segments_have_fresh_parameters_and_every_sequence_its_own_changes():
    random = np.random.default_rng(1)
    found = [tuple(changes("ptw", 8, random)) for _ in range(200)]
    assert len(set(found)) > 20
    bits, theta = sequence("static", 50, random)
    assert len(set(theta)) == 1
    assert set(bits) <= {0, 1}
    with pytest.raises(ValueError, match="static, ptw or lin"):
        changes("random", 3, random)
