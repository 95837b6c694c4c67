"""Measures of risk, recursive and static planning, and the two tabular agents that learn them."""

from functools import partial
from itertools import pairwise, product

import numpy as np
import pytest
import torch

from deeprl.running.training.collector import Collector
from deeprl_lab.agents.recursive_oce import RecursiveOCE
from deeprl_lab.agents.static_cvar import StaticCVaR
from deeprl_lab.envs.linear import LinearMDP
from deeprl_lab.envs.stock import StockLadder
from deeprl_lab.envs.worlds import RandomMDP, RiskLadder, TwoStates
from deeprl_lab.mathematics import budget
from deeprl_lab.mathematics.mdp import FiniteMDP
from deeprl_lab.mathematics.optimism import Bernstein, Bonus, Hoeffding
from deeprl_lab.mathematics.planners import backward_induction
from deeprl_lab.mathematics.risk import CVaR, Entropic, Mean, MeanVariance, Piecewise, Risk

P, X = np.array([0.25, 0.75]), np.array([0.0, 1.0])
MEASURES = {
    Mean(): 0.75,
    CVaR(0.5): 0.5,
    Entropic(1.0): 0.642626,
    Entropic(2.0): 0.522771,
    MeanVariance(0.5): 0.65625,
    Piecewise(0.5, 1.5): 0.625,
}


@pytest.mark.parametrize("risk", MEASURES, ids=str)
def test_certainty_equivalents_that_are_known(risk):
    assert risk.worth(P, X) == pytest.approx(MEASURES[risk], abs=5e-7)


@pytest.mark.parametrize("risk", MEASURES, ids=str)
def test_closed_forms_are_the_maximum_over_levels(risk):
    random = np.random.default_rng(0)
    p, x = random.dirichlet(np.ones(5), (3, 2)), random.normal(size=(3, 2, 5))
    found = risk.worth(p, x)
    np.testing.assert_allclose(found, Risk.worth(risk, p, x), atol=1e-9)
    levels = np.linspace(-3, 3, 6001)
    brute = (levels + (p[..., None, :] * risk.utility(x[..., None, :] - levels[:, None])).sum(-1)).max(-1)
    np.testing.assert_allclose(found, brute, atol=2e-3)
    np.testing.assert_allclose(risk.worth(p, x + 2), found + 2, atol=1e-9)  # a sure amount is worth itself
    assert (found <= Mean().worth(p, x) + 1e-12).all()


def test_cvar_goes_from_the_mean_to_the_worst():
    p, x = np.array([0.2, 0.5, 0.3]), np.array([3.0, 1.0, 2.0])
    shares = [CVaR(tau).worth(p, x) for tau in (1.0, 0.8, 0.5, 1e-6)]
    assert shares == [pytest.approx(1.7), pytest.approx((0.5 + 0.6) / 0.8), pytest.approx(1.0), pytest.approx(1.0)]


def independent(probability: float, horizon: int = 3) -> FiniteMDP:
    """H independent rewards of 0 or 1, and nothing to choose."""
    kernel = np.tile([1 - probability, probability], (2, 1, 1))
    return FiniteMDP(kernel, np.broadcast_to([0.0, 1.0], (2, 1, 2)), np.array([1.0, 0.0]), horizon)


def test_entropic_risk_of_independent_steps_adds_up():
    assert backward_induction(independent(0.75), Entropic(1.0).worth)[1][0, 0] == pytest.approx(1.927878, abs=5e-7)
    law = np.array([0.25**3, 3 * 0.25**2 * 0.75, 3 * 0.25 * 0.75**2, 0.75**3])
    assert Entropic(1.0).worth(law, np.arange(4.0)) == pytest.approx(1.927878, abs=5e-7)


@pytest.mark.parametrize(("tau", "iterated", "static"), [(1.0, 2.7, 2.7), (0.5, 2.4, 2.4), (0.25, 1.8, 1.884)])
def test_iterated_and_static_cvar_of_independent_steps(tau, iterated, static):
    mdp = independent(0.9)
    assert backward_induction(mdp, CVaR(tau).worth)[1][0, 0] == pytest.approx(iterated)
    u, _ = budget.plan(mdp.transition, budget.indices(mdp.reward, 1.0), 1.0, 4)
    assert budget.best_budget(u[0], 1.0, tau)[1] == pytest.approx(static)


LADDER = {(3, 1.0): 1.8, (3, 0.75): 1.504, (3, 0.5): 1.2624, (3, 0.25): 1.2, (2, 0.75): 0.973333, (2, 0.5): 0.8, (1, 0.75): 0.466667}


def static(world=None, tau=0.5, grid=0.2, optimism=Bernstein(0.05)) -> StaticCVaR:
    world = world or RiskLadder()
    return StaticCVaR(spec=world.spec(), seed=0, world=world, tau=tau, grid=grid, optimism=optimism)


def recursive(risk, world=None, optimism=Hoeffding(0.05)) -> RecursiveOCE:
    world = world or RiskLadder()
    return RecursiveOCE(spec=world.spec(), seed=0, world=world, risk=risk, optimism=optimism)


def test_a_stock_is_no_state():
    """Its columns were read as the step and the sum of rewards."""
    with pytest.raises(ValueError, match="observations of one part, and a stock is one more"):
        recursive(Mean(), StockLadder())


def test_noisy_rewards_are_no_function_of_the_transition():
    """The last draw stood for the reward, so that no amount of data made the error smaller."""
    with pytest.raises(ValueError, match="without noise"):
        recursive(Mean(), LinearMDP(noise=(1.0, 1.0)))


def test_the_bonus_of_bernstein_is_for_the_mean_alone():
    recursive(Mean(), optimism=Bernstein(0.05))
    with pytest.raises(ValueError, match="optimism must be hoeffding or none with risk=CVaR"):
        recursive(CVaR(0.5), optimism=Bernstein(0.05))


def played(agent, episodes: int, num: int = 1, seed: int = 0):
    collector = Collector(agent, partial(agent.act, explore=True), type(agent.world)(num=num).make(seed), agent.observe, seed)
    for tick in range(episodes * agent.world.mdp.horizon // num):
        collector.tick(tick)
    return agent


@pytest.mark.parametrize(("horizon", "tau"), LADDER)
def test_the_ladder_of_static_cvar(horizon, tau):
    assert static(RiskLadder(horizon=horizon), tau).optimum == pytest.approx(LADDER[horizon, tau], abs=5e-7)


def test_iterated_cvar_of_the_ladder():
    assert recursive(CVaR(0.75)).optimum == pytest.approx(1.4)
    assert recursive(CVaR(0.5)).optimum == pytest.approx(1.2)


def test_the_budget_planner_against_every_policy():
    """A small ladder, two steps: every choice at the start, and then after each total. CVaR of each law by hand."""
    best = -np.inf
    for first, *then in product((0, 1), repeat=4):  # then: after a total of 0, 0.4 and 1
        law = np.zeros(11)
        for total, p in ((2, 1.0),) if not first else ((0, 0.4), (5, 0.6)):
            again = then[{0: 0, 2: 1, 5: 2}[total]]
            for reward, q in ((2, 1.0),) if not again else ((0, 0.4), (5, 0.6)):
                law[total + reward] += p * q
        best = max(best, CVaR(0.75).worth(law, 0.2 * np.arange(11)))
    assert static(RiskLadder(horizon=2), 0.75).optimum == pytest.approx(best)


def test_the_budget_planner_with_tau_one_is_backward_induction():
    mdp = RandomMDP(instance=3).mdp
    assert static(RandomMDP(instance=3), 1.0, 0.5).optimum == pytest.approx(backward_induction(mdp)[1][0, 0])


def test_the_policy_that_reaches_the_optimum_watches_its_budget():
    """The best budget for τ = 1/2 is 1.8; two risky wins leave nothing to insure, two losses make a risk worth while."""
    world = RiskLadder()
    index = budget.indices(world.mdp.reward, 0.2)
    u, actions = budget.plan(world.mdp.transition, index, 0.2, 16)
    start, promised = budget.best_budget(u[0], 0.2, 0.5)
    law = budget.total_law(world.mdp, index, actions, start)
    assert start * 0.2 == pytest.approx(1.8)
    assert budget.static_cvar(law, 0.2, 0.5) == pytest.approx(promised)
    assert len({int(action) for action in actions[2, 0]}) == 2


@pytest.mark.parametrize("make", [lambda: static(optimism=Hoeffding(0.02)), static, lambda: recursive(Piecewise(0.5, 1.5))])
def test_the_agents_learn_the_ladder(make):
    agent = played(make(), 1200)
    assert agent.suboptimality() < 0.1  # the next best policies are 0.06 below
    assert agent.meter[0] < 1200 * 0.08


def test_exact_value_is_the_mean_of_what_is_collected():
    """At τ = 1 the value is a mean: 1,000 episodes of the evaluation's policy come near."""
    agent = played(static(RandomMDP(instance=1), 1.0, 0.5, Bernstein(0.01)), 60)
    policy, total = agent.value(), []
    agent.replan = lambda: None
    collector = Collector(agent, partial(agent.act, explore=True), RandomMDP(instance=1).make(5), agent.observe, 5)
    for tick in range(1000 * 4):
        collector.tick(tick)
    total = [episode.reward for episode in collector.episodes.finished]
    assert abs(np.mean(total) - policy) < 4 * np.std(total) / np.sqrt(len(total))


def test_bonuses_by_hand():
    """n = 4, size 3, variance 1/2, L = 2."""
    n, variance = np.array([4.0]), np.array([0.5])
    assert Hoeffding(0.5).width(n, 3.0, variance, 2.0) == pytest.approx(0.5 * 3 * np.sqrt(0.5))
    assert Bernstein(0.5).width(n, 3.0, variance, 2.0) == pytest.approx(0.5 * (np.sqrt(0.5) + 1.5))
    assert Bonus().width(n, 3.0, variance, 2.0) == 0
    assert CVaR(0.25).loss(3) == 12


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"grid=0\.3"):
        static(grid=0.3)
    with pytest.raises(ValueError, match="world must have a horizon"):
        recursive(Mean(), TwoStates())
    with pytest.raises(ValueError, match="tau must be between"):
        CVaR(0.0)


def test_an_action_is_a_function_of_its_own_row():
    agent = played(static(optimism=Bonus()), 60)
    obs = np.array([[1, 0, h, total] for h, total in ((0, 0.0), (1, 1.0), (2, 0.4), (2, 2.0))], np.float32)
    assert agent.choose(obs, None).tolist() == [agent.choose(row[None], None)[0] for row in obs]


def test_a_switch_of_policy_is_counted_where_its_actions_change(monkeypatch):
    """A plan after every episode; most choose the actions of the one before."""
    tables, plain = [], RecursiveOCE.replan

    def replan(self):
        plain(self)
        tables.append([parameter.clone() for parameter in self.parameters()])

    agent = recursive(Mean())
    tables.append([parameter.clone() for parameter in agent.parameters()])
    monkeypatch.setattr(RecursiveOCE, "replan", replan)
    told = played(agent, 200).diagnostics(0)
    changed = [not all(map(torch.equal, before, after)) for before, after in pairwise(tables)]
    assert len(changed) == told["rollout/episodes"] == 200
    assert 0 < sum(changed) < 200
    assert told["rollout/policy_switches"] == sum(changed)
