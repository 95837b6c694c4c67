"""What agents that remember are measured by: players of bandits with known totals, and predictors whose memory is emptied."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.memory import SEEDS, STEPS, Beliefs, Counts, of, played, table
from benchmarks.mixtures import LENGTH, Predictor, since
from benchmarks.recipes import MEMORY, SETS
from deeprl.learning.networks.cores import LSTM
from deeprl_lab.mathematics.mixtures import kt

TASKS = 6000


@pytest.mark.parametrize("known", [Counts(TASKS), Beliefs(TASKS, 0.1)], ids=["counts", "beliefs"])
def test_a_player_that_knows_what_can_be_known_gets_the_optimum(known):
    random = np.random.default_rng(0)
    swap = 0.0 if isinstance(known, Counts) else 0.1
    good = random.integers(2, size=TASKS)
    arms = random.random((TASKS, 2)) if isinstance(known, Counts) else np.where(good[:, None] == np.arange(2), 0.8, 0.2)
    found = played(lambda obs: known.values().argmax(-1), arms, swap, known, random)
    assert found["decisions"] == 1
    assert found["total"] == pytest.approx(found["optimum"], abs=4 * found["error"])


def test_a_player_that_does_not_ask_gets_half_and_sees_its_last_pull():
    seen = []

    def first(obs):
        seen.append(obs)
        return np.zeros(len(obs), int)

    random = np.random.default_rng(1)
    found = played(first, random.random((TASKS, 2)), 0.0, Counts(TASKS), random)
    assert found["total"] == pytest.approx(STEPS / 2, abs=4 * found["error"])
    assert found["decisions"] < 0.8
    assert (seen[0] == [0, 0, 0, 1]).all()
    assert (seen[1][:, [0, 1, 3]] == [1, 0, 0]).all()
    assert sum(obs[:, 2].mean() for obs in seen[1:]) == pytest.approx(found["total"] * (STEPS - 1) / STEPS, abs=0.1)


def test_every_set_has_seeds_and_its_runs_are_told_from_those_of_other_lengths():
    assert {agent for name in SEEDS for agent in SETS[name][2]} == set(MEMORY)
    line = {"name": "bandit_lstm", "env": "memory/bandit", "seed": 0, "steps": 1250000, "final": {"mean": 12.0}}
    assert of("memory_bandit", line)
    assert not of("memory_bandit_cores", line)
    cells = {"0": {"total": 12.4, "error": 0.02, "optimum": 12.4313, "decisions": 0.9}}
    assert "mean 12.400 ± 0.000 = 99.7%  decisions 90.0%" in table("memory_bandit", [{**line, "tasks": cells}])


def test_a_memory_that_is_emptied_knows_the_bits_since():
    """And the exact loss of such a memory is that of KT on these; of one that is never emptied, KT's own."""
    predictor, bits = Predictor(LSTM(8), 0), torch.randint(2, (3, LENGTH), generator=torch.Generator().manual_seed(0)).float()
    with torch.no_grad():
        found = predictor(bits, 8)
        torch.testing.assert_close(found[:, 8:16], predictor(bits[:, 8:17], 8))
        assert not torch.allclose(predictor(bits, LENGTH)[:, 8:16], found[:, 8:16])
    words = bits.long().numpy()
    assert since(words, LENGTH) == pytest.approx(-(kt(words)[:, -1] - kt(words)[:, 1]).mean())
    by_hand = [-(kt(words[:, a : a + 9])[:, -1] - kt(words[:, a : a + 1])[:, -1]).mean() for a in (0, 8, 16, 24)]
    assert since(words, 8) == pytest.approx(sum(by_hand))
