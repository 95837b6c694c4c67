"""Latent MDPs: known optima, the tree of beliefs against enumeration of histories, hindsight, and the learner."""

import itertools

import numpy as np
import pytest

from deeprl_lab.agents.latent_mdp import LatentMDP
from deeprl_lab.envs.latent import LatentBandit, LatentRandom
from deeprl_lab.envs.worlds import RandomMDP
from deeprl_lab.mathematics import belief
from deeprl_lab.mathematics.optimism import Bernstein, Bonus
from tests.lab.playing import played


def agent(world, optimism=Bernstein(0.01)) -> LatentMDP:
    return LatentMDP(spec=world.spec(), seed=0, world=world, optimism=optimism)


@pytest.mark.parametrize(("horizon", "best"), [(1, 0.5), (2, 1.32), (3, 2.14), (5, 3.8952), (10, 8.376426)])
def test_the_best_totals_of_the_bandit(horizon, best):
    assert agent(LatentBandit(horizon=horizon)).optimum == pytest.approx(best, abs=1e-6)


def test_histories_with_the_same_belief_share_a_node():
    """In the bandit only (successes of arm 0 + failures of arm 1) minus the others matters, and the last outcome."""
    world = LatentBandit(horizon=4)
    sizes = [len(layer.state) for layer in belief.tree(world.contexts.transition, world.contexts.prior, 4)]
    assert sizes == [1, 4, 6, 8, 10]


def test_a_plan_is_best_among_all_policies_of_histories():
    """H = 2 with 2 states and 2 actions: an action first, and one after each of the 2 outcomes."""
    world = LatentRandom(instance=3, states=2, horizon=2)
    p, r, prior = world.contexts.transition, world.contexts.reward, world.contexts.prior
    found = []
    for first, *second in itertools.product(range(2), repeat=3):
        later = np.stack([(p[:, s, second[s]] * r[s, second[s]]).sum(-1) for s in range(2)], 1)  # (M, S)
        found.append(float(prior @ (p[:, 0, first] * (r[0, first] + later)).sum(-1)))
    assert agent(world).optimum == pytest.approx(max(found))


def test_a_plan_evaluated_in_its_own_model_is_worth_what_it_says():
    world = LatentRandom(instance=1, number=3, horizon=3)
    true = world.contexts
    layers = belief.tree(true.transition, true.prior, 3)
    actions, alpha = belief.plan(layers, true.transition, true.reward)
    np.testing.assert_allclose(belief.evaluate(layers, actions, true.transition, true.reward), alpha)


def test_the_context_is_shown_at_the_end_and_only_there():
    game = LatentBandit(horizon=3).build()
    obs = game.reset(7)
    for action in (0, 1, 1):
        assert not obs[-2:].any()
        obs, _, terminated, ended = game.step(action)
    assert terminated
    assert ended
    assert obs[-2:].tolist() == np.eye(2)[game.context].tolist()
    assert [int(code - 1) // 2 for code in obs[4:7]] == [0, 1, 1]


def test_value_is_the_mean_return_of_the_policy():
    learned = played(agent(LatentBandit(horizon=4)), 30)
    value, total, game = learned.value(), 0.0, LatentBandit(horizon=4).build()
    for episode in range(3000):
        obs, over = game.reset(episode), False
        while not over:
            obs, reward, _, over = game.step(int(learned.choose(obs[None], None)[0]))
            total += reward
    assert total / 3000 == pytest.approx(value, abs=4 * 2 / np.sqrt(3000))


def test_what_was_counted_is_what_happened():
    learned = played(agent(LatentRandom(horizon=3)), 21, num=3)
    assert learned.number.sum() == learned.meter[1] * 3
    true, seen = learned.contexts.reward, learned.number.sum(0) > 0
    assert (learned.reward[seen] == true[seen]).all()


@pytest.mark.parametrize("world", [LatentBandit(horizon=5), LatentRandom(), LatentRandom(noise=0.0)])
def test_it_learns(world):
    fresh, learned = agent(world).suboptimality(), played(agent(world), 200)
    assert learned.suboptimality() < 0.1 * fresh + 0.05
    assert learned.meter[2] < 60  # plans only when a count has doubled


def test_values_are_optimistic_before_any_data():
    """Every α is the number of steps left, to which it is clipped, because a pair without data has the bonus H."""
    fresh = agent(LatentBandit(horizon=3))
    layers, _ = fresh.plan()
    number = np.zeros((2, 2, 2))
    _, alpha = belief.plan(layers, np.full((2, 2, 2, 2), 0.5), np.zeros((2, 2, 2)), fresh.bonus(number))
    assert alpha.tolist() == [3.0, 3.0]


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="contexts"):
        agent(RandomMDP(), Bonus())
