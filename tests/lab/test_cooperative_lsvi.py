"""Asynchronous cooperative LSVI: the regression, the trigger, and what is communicated."""

import numpy as np
import pytest

from deeprl_lab.agents.cooperative_lsvi import CooperativeLSVI, lsvi
from deeprl_lab.envs.linear import EndlessLinearMDP, LinearMDP
from deeprl_lab.envs.linear_tabular import SimplexMDP
from deeprl_lab.envs.worlds import RandomMDP
from deeprl_lab.mathematics.counts import Counts
from deeprl_lab.mathematics.mdp import FiniteMDP
from deeprl_lab.mathematics.planners import backward_induction
from tests.lab.playing import played

WORLD = SimplexMDP(states=5, d=3, horizon=3)


def agent(agents: int = 3, alpha: float | None = None, c: float = 0.01, world=WORLD) -> CooperativeLSVI:
    return CooperativeLSVI(spec=world.spec(), seed=0, world=world, agents=agents, alpha=alpha, bonus_scale=c, confidence=0.1, lam=0.01)


def test_the_world_is_a_linear_mdp():
    features, measures, theta = WORLD.drawn
    for rows in (features, measures):
        np.testing.assert_allclose(rows.sum(-1), 1)
    np.testing.assert_allclose(WORLD.mdp.expected_reward(), np.einsum("sai,hi->hsa", features, theta), atol=1e-12)
    assert WORLD.mdp.transition.shape == (3, 5, 3, 5)


def test_one_hot_features_without_a_bonus_plan_on_the_counted_model():
    """Λ = n for λ = 0, so that w is the mean of r + V(s') of a pair."""
    random, mdp = np.random.default_rng(0), RandomMDP(states=3, num_actions=2, horizon=3).mdp
    number = random.integers(1, 9, mdp.transition.shape).astype(float)
    gram = np.stack([np.diag(n.ravel()) for n in number.sum(-1)])
    q = lsvi(gram, Counts(number, mdp.reward), np.eye(6).reshape(3, 2, 6), 0.0)
    counted = FiniteMDP(number / number.sum(-1, keepdims=True), mdp.reward, mdp.start, 3)
    np.testing.assert_allclose(q, backward_induction(counted)[0], atol=1e-10)


def test_without_data_values_are_the_bonus():
    """Λ = I and w = 0: Q = c β ‖φ‖, at most H − h."""
    features = np.eye(2).reshape(2, 1, 2) * [[[0.5]], [[2.0]]]
    data = Counts(np.zeros((2, 2, 1, 2)), np.zeros((2, 2, 1, 2)))
    assert lsvi(np.tile(np.eye(2), (2, 1, 1)), data, features, 1.2)[:, :, 0].tolist() == [[0.6, 2.0], [0.6, 1.0]]


def test_all_data_are_at_the_server_or_with_their_agent():
    learned = played(agent(alpha=1.0), 40)
    everything = learned.server.number.sum((1, 2, 3)) + learned.local.number.sum((0, 2, 3, 4))
    assert everything.tolist() == [40.0, 40.0, 40.0]
    assert learned.uploaded[0] == learned.server.number[0].sum()
    np.testing.assert_allclose(
        learned.gram, 0.01 * np.eye(3) + np.einsum("hsa,sai,saj->hij", learned.server.number.sum(-1), WORLD.features, WORLD.features)
    )


def test_the_trigger_is_the_growth_of_a_determinant():
    """α = 0 communicates in every episode, a large α never; between, an upload leaves det(Λ_m) grown by more than 1 + α."""
    assert played(agent(alpha=0.0), 30).uploaded.tolist() == [30.0, 60.0]
    silent = played(agent(alpha=1e9), 30)
    assert silent.uploaded.tolist() == [0.0, 0.0]
    assert not silent.policies.any()
    one = agent(agents=1, alpha=1.0)
    grams = [one.gram.copy()]
    for episode in range(1, 40):
        played(one, episode)
        if not np.array_equal(one.gram, grams[-1]):
            grams.append(one.gram.copy())
    dets = np.linalg.det(np.stack(grams))
    assert (dets[1:] / dets[:-1]).max(1).min() > 2.0
    assert len(grams) - 1 == one.uploaded[1] / 2 < 20


def test_an_agent_that_has_not_communicated_keeps_its_policy():
    learned = played(agent(agents=2, alpha=0.0), 25)
    m, other = int(learned.active[0]), 1 - int(learned.active[0])
    before = learned.policies[other].copy()
    while learned.active[0] == m:
        played(learned, int(learned.meter[1]) + 1)
    np.testing.assert_array_equal(learned.policies[other], before)


def test_one_agent_learns_and_four_agents_learn_together():
    for agents in (1, 4):
        learned = played(agent(agents), 200)
        assert learned.suboptimality() < 0.1 * agent(agents).suboptimality() + 0.02
    assert learned.diagnostics(0)["rollout/messages"] == learned.uploaded[1]


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="features"):
        agent(world=RandomMDP())
    with pytest.raises(ValueError, match="agents must be"):
        agent(agents=0)
    with pytest.raises(ValueError, match="horizon"):
        agent(world=EndlessLinearMDP())
    with pytest.raises(ValueError, match=r"without noise.*env\.noise=\[0,0\]"):  # of which the last draw was learned
        agent(world=LinearMDP(noise=(1.0, 0.0)))
