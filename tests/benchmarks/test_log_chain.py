"""benchmarks/log_chain.py and benchmarks/tabular_log.py: numbers of docs/algorithms/log_dqn.md."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from benchmarks import log_chain, tabular_log
from deeprl.agents.log_dqn import Log
from deeprl.envs.toy import value_iteration
from deeprl.learning.backups.policies import greedy
from deeprl.learning.values.losses import squared
from deeprl.learning.values.mapped import MappedValues, Units
from deeprl.learning.values.returns import Returns

SMALL = 7


def reference_sweep(theta: torch.Tensor, features: torch.Tensor, units: Units, gamma: float, order, slipped, rate: float) -> None:
    """One sweep of the linear form over features, with the agent's own map and targets. theta: (C, 2, F), in place."""
    states = len(features)

    def said(state: int) -> MappedValues:
        return MappedValues((theta @ features[state])[None, :, None], units, squared)  # (1, C, 1, A)

    for pair in order.tolist():
        state, action = divmod(pair, 2)
        goes_left = bool(slipped[pair]) == bool(action)
        after = state + (-1 if goes_left else 1)
        if 0 <= after < states:
            following = said(after)
            best = (following.mean().flip(-1).argmax(-1) - 1).abs()  # greedy, but ties to action 1
            returns = following.expect(best).bootstrap(torch.zeros(2, 1), torch.tensor([gamma], dtype=torch.float64))
        else:
            won = 1.0 if after < 0 else 0.0
            returns = Returns(torch.tensor([won, 1.0 - won], dtype=torch.float64).reshape(1, 2, 1, 1))
        now = said(state).at(torch.tensor([action]))
        mapped_target, _ = units.regression_target(units.ordinary(now.mapped), returns.mean())
        theta[:, action] += rate * (mapped_target - now.mapped)[0] * features[state]


@pytest.mark.parametrize("width", [1, 2, 3, 5])
@pytest.mark.parametrize("c", [1.0, 0.37])
def test_the_table_of_the_benchmark_is_the_linear_learner_of_the_paper(width, c):
    """Values of a table with a kernel, without c, against weights of tilings with the agent's own map: ten sweeps of every kind of step."""
    gamma, k, random = 0.8, 30, np.random.default_rng(width)
    fast = log_chain.Log(np.array([gamma]), np.array([width]), SMALL, k=k)
    features = torch.from_numpy(log_chain.tilings(width, SMALL))
    theta = torch.zeros(2, 2, features.shape[1], dtype=torch.float64)
    for averaging, rate in ((1.0, 1.0), (0.6, 0.7), (0.3, 0.4)) * 4:
        slipped, order = random.random((2 * SMALL, 1)) < 0.25, random.permutation(2 * SMALL)
        mapping = Log(
            c=c, shift=gamma**k, k=None, discount=gamma, initial=(0.0, 0.0), averaging=averaging,
            clip_bootstrap=False, clip_target=True, bound=1.0,
        )  # fmt: skip
        units = Units(mapping, (1.0, -1.0))
        fast.sweep(order, slipped, averaging, rate)
        reference_sweep(theta, features, units, gamma, order, slipped[:, 0], rate)
    slow = units.total(units.ordinary((theta @ features.T)[None]))  # (1, A, S)
    np.testing.assert_allclose(fast.values()[..., 0], slow[0].numpy(), rtol=1e-7, atol=1e-12)
    assert np.ptp(slow.numpy()) > 0.5
    assert greedy(slow.mT).shape == (1, SMALL)


@pytest.mark.parametrize("width", [1, 2, 3, 5])
def test_the_table_of_q_learning_is_the_linear_learner(width):
    gamma, random = 0.8, np.random.default_rng(width)
    fast = log_chain.Regular(np.array([gamma]), np.array([width]), SMALL)
    features = log_chain.tilings(width, SMALL)
    theta = np.zeros((2, features.shape[1]))
    for alpha in (1.0, 0.6, 0.3) * 4:
        slipped, order = random.random((2 * SMALL, 1)) < 0.25, random.permutation(2 * SMALL)
        fast.sweep(order, slipped, alpha)
        for pair in order:
            state, action = divmod(pair, 2)
            after = state + (-1 if bool(slipped[pair, 0]) == bool(action) else 1)
            target = 1.0 if after < 0 else -1.0 if after == SMALL else gamma * (theta @ features[after]).max()
            theta[action] += alpha * (min(target, 1.0) - theta[action] @ features[state]) * features[state]
    np.testing.assert_allclose(fast.values()[..., 0], theta @ features.T, atol=1e-12)
    assert np.ptp(theta) > 0.5


def test_features():
    """Width w: w tilings of ⌈50 / w⌉ + 1 tiles, w active features of √(1/w); inner products fall linearly with the distance."""
    for width, tiles in ((1, 51), (2, 26), (3, 18), (5, 11)):
        features = log_chain.tilings(width)
        assert features.shape == (50, width * tiles)
        assert ((features > 0).sum(1) == width).all()
        assert features.max() == pytest.approx((1 / width) ** 0.5)
        distance = np.abs(np.subtract.outer(np.arange(50), np.arange(50)))
        np.testing.assert_allclose(features @ features.T, np.maximum(0, 1 - distance / width), atol=1e-12)


@pytest.mark.parametrize(("gamma", "ratio"), [(0.9, 5092), (0.96, 159), (0.99, 71)])
def test_action_gaps_of_the_chain(gamma, ratio):
    values = value_iteration(log_chain.chain(), gamma)[:50]
    gaps = values[:, 0] - values[:, 1]
    assert (gaps > 0).all()
    assert gaps.max() / gaps.min() == pytest.approx(ratio, rel=0.005)


def test_step_sizes():
    """β_reg 1 → 0.1, β_log 1 → 0.01, α 1 → 0.001, geometric over the decay, then constant."""
    assert log_chain.step_sizes("log", 0, 10_000) == [1.0, 1.0]
    assert log_chain.step_sizes("log", 9_999, 10_000) == pytest.approx([0.1, 0.01])
    assert log_chain.step_sizes("log", 50_000, 10_000) == [0.1, 0.01]
    assert log_chain.step_sizes("regular", 9_999, 10_000) == pytest.approx([0.001])
    first, second, third = (log_chain.step_sizes("regular", i, 10_000)[0] for i in range(3))
    assert second / first == pytest.approx(third / second)


def test_every_discount_has_a_published_score():
    assert all(len(part) == len(log_chain.GAMMAS) for parts in log_chain.PUBLISHED.values() for part in parts)


@pytest.mark.exhaustive  # its sweeps, its step sizes and its values are those of the tests above
def test_the_map_learns_low_discounts_and_q_learning_does_not():
    """Width 2, γ = 0.8, here in 1,400 sweeps. The decay covers half of them: in strict proportion, 182
    sweeps, both methods stop moving before values have come through the chain."""
    rows = log_chain.main(["--quick", "--sweeps", "1400", "--runs", "1"])
    regular, log = ({row["gamma"]: row for row in rows if row["method"] == method} for method in ("regular", "log"))
    assert regular[0.8]["last"] == 0.0
    assert log[0.8]["last"] >= 0.9


def test_the_program_of_the_chain_writes_what_it_finds(monkeypatch, capsys, tmp_path):
    """Q-learning that does not learn, because the values of all actions tie at 0, which counts; the step sizes of each sweep."""
    steps = []
    monkeypatch.setattr(log_chain, "EVALUATE_EVERY", 10)
    monkeypatch.setattr(log_chain.Regular, "sweep", lambda self, order, slipped, alpha: steps.append(alpha))
    files = {name: tmp_path / f"found.{name}" for name in ("json", "svg")}
    rows = log_chain.main(["--quick", "--sweeps", "60", "--runs", "1", "--json", str(files["json"]), "--plot", str(files["svg"])])
    assert steps == [log_chain.step_sizes("regular", sweep, 30)[0] for sweep in range(60)]
    assert [row["last"] for row in rows if row["method"] == "regular"] == [1.0, 1.0]
    assert all(0 <= row["last"] <= 1 for row in rows)
    assert json.loads(files["json"].read_text())["rows"] == rows
    assert files["svg"].read_text().count("<polyline") == 4
    assert "| published | 0.77/1.00 | 0.75/1.00 |" in capsys.readouterr().out


# ---- the bias of the average


@pytest.mark.parametrize(
    ("row", "paper"), [(0, 0.508), *(pytest.param(*each, marks=pytest.mark.exhaustive) for each in ((1, 0.506), (2, 0.483))), (3, 0.140)]
)
def test_averaging_in_ordinary_units_removes_the_bias(row, paper):
    """The target is 0.02 or 1; each expected number is one simulation."""
    averaging, rate = tabular_log.PAIRS[row]
    assert averaging * rate == pytest.approx(0.001)
    assert tabular_log.settled(averaging) == pytest.approx(paper, abs=0.003)
    assert tabular_log.simulated(averaging, rate, steps=6000, runs=200) == pytest.approx(paper, abs=0.01)


def test_the_bias_of_the_fixed_point_grows_with_the_average():
    """The limits: geometric mean at 1, mean at 0."""
    assert tabular_log.settled(1.0) == pytest.approx((0.02 * 1.0) ** 0.5, abs=1e-9)
    assert tabular_log.settled(1e-6) == pytest.approx(0.51, abs=1e-6)
    mdp = log_chain.chain(4)
    optimal = value_iteration(mdp, 0.9)[:4]
    errors = [np.abs(tabular_log.fixed_point(mdp, 0.9, averaging) - optimal).max() for averaging in (1.0, 0.1, 0.01)]
    assert errors[0] > 5 * errors[1] > 25 * errors[2]
    assert errors[2] < 0.005


def test_the_program_writes_what_it_finds(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tabular_log, "simulated", lambda averaging, rate: averaging)
    monkeypatch.setattr(tabular_log, "AVERAGING", (1.0,))
    found = tabular_log.main(["--json", str(tmp_path / "found.json")])
    assert [row["fixed_point"] for row in found["two_points"]] == [0.5098, 0.5076, 0.4853, 0.1414]
    assert found["chain_of_eight"][0]["optimal_policy"]
    assert json.loads((tmp_path / "found.json").read_text())["two_points"] == found["two_points"]
    assert "largest_error" in capsys.readouterr().out
