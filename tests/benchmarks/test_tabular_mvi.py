"""Action gaps of Munchausen value iteration, exactly, through the real backups: laws of docs/algorithms/munchausen.md and mvi.md."""

from __future__ import annotations

import json
import sys

import pytest
import torch

from benchmarks import tabular_mvi
from benchmarks.tabular_mvi import DISCOUNT, MDPS, SCALE, TEMPERATURE, far, gaps, iterate, laws, optimal
from deeprl.agents.munchausen import Munchausen
from deeprl.agents.mvi import Tsallis
from deeprl.envs.toy import random_mdp
from deeprl.learning.backups.bellman import Max, Soft

RANDOM, CHAIN = MDPS.values()


def test_the_operator_of_max_is_value_iteration():
    for mdp in MDPS.values():
        live = torch.from_numpy(~mdp.terminal)
        assert far(iterate(Max(), mdp)[live], optimal(mdp)[live]) < 1e-11


@pytest.mark.parametrize("temperature", [TEMPERATURE])
def test_the_laws_hold_to_the_last_digits(temperature):
    """Times 10.000000 and plus .270000, on 6 states and 3 actions with γ = .9, τ = .3, α = .9."""
    found = laws(RANDOM, temperature)
    assert found.pop("smallest gap*") >= found.pop("gap* needed") == pytest.approx(0.03)
    assert len(found) == 5
    assert all(deviation < 1e-9 for deviation in found.values()), found


def test_gaps_of_the_two_terms():
    best, own = gaps(optimal(RANDOM), RANDOM), {"temperature": TEMPERATURE, "scale": SCALE, "floor": None}
    for term, expected in (("gap", 10 * best), ("logq", best + 0.27)):
        q = iterate(Tsallis(**own, term=term), RANDOM)
        assert far(gaps(q, RANDOM), expected) < 1e-9
        assert far(q.amax(-1)[:-1], optimal(RANDOM).amax(-1)[:-1]) < 1e-9
        policy = Tsallis(**own).policy(q)[0]
        assert policy[:-1].amax(-1).tolist() == [1.0] * 5


def test_the_prediction_of_the_gap_term_is_a_fixed_point_and_need_not_be_the_only_one():
    """On the slippery chain value iteration from zero ends in another one; with the plain bootstrap it does not."""
    found = laws(CHAIN)
    assert found["smallest gap*"] > found["gap* needed"]
    for law in (name for name in found if "prediction" in name or "munchausen" in name or "logq, from zero" in name):
        assert found[law] < 1e-9, law
    assert found["tsallis gap, from zero: gaps - gap* / (1 - alpha)"] > 0.1
    plain = Tsallis(temperature=TEMPERATURE, scale=SCALE, floor=None, bootstrap="expected")
    assert far(gaps(iterate(plain, CHAIN), CHAIN), 10 * gaps(optimal(CHAIN), CHAIN)) < 1e-9


def test_munchausen_is_implicit_kl_regularisation():
    """With Q' = Q − ατ ln π each sweep is the maximum of ⟨π, Q'⟩ − ατ KL(π‖π_k) + (1 − α) τ H(π)."""
    mdp = random_mdp(3)
    probability, alive = torch.from_numpy(mdp.transition), torch.from_numpy(~mdp.terminal).double()
    q = torch.randn(mdp.reward.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    backup = Munchausen(temperature=TEMPERATURE, scale=SCALE, floor=None)
    for _ in range(20):
        log = (q / TEMPERATURE).log_softmax(-1)
        prior = q - SCALE * TEMPERATURE * log  # Q'
        best = TEMPERATURE * (prior / TEMPERATURE + SCALE * log).logsumexp(-1)  # the maximum, in closed form
        policy = (prior / TEMPERATURE + SCALE * log).softmax(-1)  # where it is attained
        torch.testing.assert_close(policy, log.exp())
        divergence, entropy = (policy * (policy.log() - log)).sum(-1), torch.special.entr(policy).sum(-1)
        attained = (policy * prior).sum(-1) - SCALE * TEMPERATURE * divergence + (1 - SCALE) * TEMPERATURE * entropy
        assert far(attained, best) < 1e-12
        after = iterate(backup, mdp, q, sweeps=1)
        regularised = torch.from_numpy(mdp.reward) + DISCOUNT * (probability * (alive * best)).sum(-1)
        assert far(after - SCALE * TEMPERATURE * log, regularised) < 1e-13
        q = after


def test_the_fixed_point_of_munchausen_is_soft_optimal_at_a_lower_temperature():
    q = iterate(Munchausen(temperature=TEMPERATURE, scale=SCALE, floor=None), RANDOM)
    soft = iterate(Soft(temperature=(1 - SCALE) * TEMPERATURE), RANDOM)
    prior = q - SCALE * TEMPERATURE * (q / TEMPERATURE).log_softmax(-1)
    assert far(prior[:-1], soft[:-1]) < 1e-10
    assert far(gaps(q, RANDOM), 10 * gaps(soft, RANDOM)) < 1e-10


def test_the_clip_bounds_what_the_bonus_adds_to_a_gap():
    best = gaps(optimal(RANDOM), RANDOM)
    q = gaps(iterate(Tsallis(temperature=TEMPERATURE, scale=SCALE, floor=-1.0), RANDOM), RANDOM)
    assert ((q - best) <= 0.9 + 1e-9).all()
    assert far(q, best + 0.9) < 1e-9  # every gap here is wide enough for the clip


def test_the_command_prints_tables_and_writes_json(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(tabular_mvi, "MDPS", {"random": RANDOM})
    monkeypatch.setattr(iterate, "__defaults__", (None, 3, DISCOUNT))
    monkeypatch.setattr(sys, "argv", ["tabular_mvi", "--json", str(tmp_path / "results" / "mvi.json")])
    tabular_mvi.main()
    printed = capsys.readouterr().out
    results = json.loads((tmp_path / "results" / "mvi.json").read_text())["mdps"]["random"]
    assert [row["backup"] for row in results["rows"]] == list(tabular_mvi.backups())
    assert all(f"| {row['backup']} | {row['mean_gap']:.6g} |" in printed for row in results["rows"])
    assert all(f"{law}: " in printed for law in results["laws"])
