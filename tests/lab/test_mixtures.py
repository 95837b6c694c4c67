"""Exact mixtures over sources that change: worked numbers, and each predictor is the best on its own source."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from deeprl_lab.mathematics.mixtures import PREDICTORS, changes, kt, lin, losses, ptw, sequence


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
    found = np.exp([kt(bits)[-1], ptw(bits)[-1], lin(bits)[-1]])
    assert found == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("name", ["kt", "ptw", "lin"])
def test_probabilities_of_all_words_sum_to_one(name):
    words = np.array(list(product((0, 1), repeat=6)))
    assert np.exp(-losses(words, name).sum(-1)).sum() == pytest.approx(1)


@pytest.mark.parametrize("predictor", [kt, ptw, lin])
def test_beginnings_of_a_word_are_words_and_words_do_not_meet(predictor):
    words = np.random.default_rng(0).integers(2, size=(2, 3, 8))
    found = predictor(words)
    assert found.shape == (2, 3, 9)
    for t in range(9):
        alone = predictor(words[1, 2, :t], 3) if predictor is ptw else predictor(words[1, 2, :t])
        assert found[1, 2, t] == pytest.approx(alone[-1], abs=1e-12)


def test_more_bits_than_a_depth_holds_are_refused():
    with pytest.raises(ValueError, match="5 bits do not fit in an interval of 4: a depth of 3 does"):
        ptw(np.zeros(5, int), 2)


@pytest.mark.parametrize(("steps", "expected"), [(4, 2.2503), (8, 4.0544), (10, 4.9165), (16, 7.4306)])
def test_the_least_loss_on_a_static_source(steps, expected):
    words = np.array(list(product((0, 1), repeat=steps)))
    assert -(np.exp(kt(words)) * kt(words))[:, -1].sum() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("source", "predictor", "steps", "expected"),
    [
        ("ptw", "ptw", 4, 2.5579),
        ("ptw", "kt", 4, 2.6422),
        ("ptw", "lin", 4, 2.5746),
        ("lin", "lin", 4, 2.6089),
        ("ptw", "ptw", 8, 4.7206),
        ("ptw", "kt", 8, 4.9138),
        ("ptw", "lin", 8, 4.8005),
        ("lin", "lin", 8, 4.9581),
        ("ptw", "ptw", 16, 8.6539),
        ("ptw", "kt", 16, 9.1794),
    ],
)
def test_expected_losses_on_sources_that_change(source, predictor, steps, expected):
    """The exact mixture says how likely a word is under its source."""
    words = np.array(list(product((0, 1), repeat=steps)))
    likely = np.exp(PREDICTORS[source](words)[:, -1])
    assert (likely * losses(words, predictor).sum(-1)).sum() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name", ["ptw", "lin"])
def test_samples_of_a_source_cost_its_mixture_what_is_expected(name):
    random = np.random.default_rng(3)
    drawn = losses(np.stack([sequence(name, 4, random)[0] for _ in range(4000)]), name).sum(-1).mean()
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
