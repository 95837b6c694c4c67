"""DTR bandit: the optimum and its threshold, exact values of policies, forced pulls, fits, regret."""

from functools import partial

import numpy as np
import pytest
import torch

from deeprl.running.training.collector import Collector
from deeprl_lab.agents.dtr import DTRBandit, Fixed
from deeprl_lab.agents.dtr_arms import EpsilonGreedy, ForcedPulls, Optimism
from deeprl_lab.envs.dtr import DTR, LAWS, Always, Best, value


def agent(optimism, lam: float = 1e-6, capacity: int = 400) -> DTRBandit:
    return DTRBandit(spec=DTR().spec(), seed=0, world=DTR(), optimism=optimism, lam=lam, capacity=capacity)


def played(agent: DTRBandit, episodes: int, num: int = 1, seed: int = 0) -> DTRBandit:
    collector = Collector(agent, partial(agent.act, explore=True), DTR(num=num).make(seed), agent.observe, seed)
    for tick in range(2 * episodes // num):
        collector.tick(tick)
    return agent


class Moved(Best):
    """First threshold moved."""

    def __init__(self, at: float):
        self.at = at

    def probability(self, x, stage):
        return super().probability(x, stage) if stage else (x < self.at) * 1.0

    def breaks(self, stage):
        return super().breaks(stage) if stage else np.array([self.at])


def test_values_that_are_known():
    assert value(Best()) == pytest.approx(2.033631, abs=5e-7)
    assert value(Always(0)) == pytest.approx(1.914583, abs=5e-7)
    assert value(Always(1)) == pytest.approx(1.647917, abs=5e-7)


def test_the_first_threshold_is_five_fourteenths():
    near = {step: value(Moved(5 / 14 + step)) for step in (-1e-3, 0.0, 1e-3)}
    assert max(near, key=near.get) == 0.0


def test_values_after_the_first_action_are_lines_that_meet_there():
    """The expectation of max(1 + x₂, 3 x₂) is 2.4125 and 1.416667 under the two laws of action 0, 1.2125 and 2.083333 under those of
    action 1, so that the lines of x₁ meet at 0.666667 / 1.866667."""
    draws = np.random.default_rng(0)
    best = [[np.maximum(1 + (x := draws.beta(*law, 400_000)), 3 * x).mean() for law in pair] for pair in LAWS]
    assert best == [pytest.approx([2.4125, 1.416667], abs=3e-3), pytest.approx([1.2125, 2.083333], abs=3e-3)]
    rise, gap = np.diff([one - other for one, other in best])[0], best[1][1] - best[0][1]
    assert gap / -rise == pytest.approx(5 / 14, abs=3e-3)


def test_forced_pulls_come_in_rounds_that_grow_apart():
    pulls = ForcedPulls(pulls=1)
    assert [episode for episode in range(40) if pulls.forced(episode) is not None] == [
        0,
        1,
        2,
        3,
        4,
        5,
        6,
        7,
        12,
        13,
        14,
        15,
        28,
        29,
        30,
        31,
    ]
    assert [pulls.forced(episode) for episode in range(4)] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert [ForcedPulls(pulls=2).forced(episode) for episode in (0, 1, 2, 7)] == [(0, 0), (0, 0), (0, 1), (1, 1)]


@pytest.mark.parametrize("optimism", [ForcedPulls(2, 0.3), EpsilonGreedy(0.2), Optimism(0.3, 100)])
def test_the_value_of_the_policy_played_is_exact(optimism):
    """More breaks change nothing, and neither does a fine grid beyond its own error."""
    learned = played(agent(optimism, lam=1.0), 100)
    exact = learned.value()
    random = np.random.default_rng(0)

    class Broken:
        probability = staticmethod(learned.probability)

        def __init__(self, extra):
            self.extra = extra

        def breaks(self, stage):
            return np.concatenate([learned.breaks(stage), self.extra])

    assert value(Broken(random.uniform(size=50))) == pytest.approx(exact, abs=1e-12)
    learned.breaks = lambda stage: np.linspace(0, 1, 4001)
    assert learned.value() == pytest.approx(exact, abs=2e-3)


def test_fits_are_those_of_least_squares():
    """Of all episodes that took a second action; stage 1 on the predicted value of the better second action, not on the reward."""
    learned = played(agent(ForcedPulls(3, 0.2), lam=1e-9), 60)
    x, first, then, forced = learned.history[:60].T
    for fit, mask in enumerate((forced > 0, forced >= 0)):
        better = np.max([learned.fits[1, fit, a, 0] + learned.fits[1, fit, a, 1] * then for a in (0, 1)], axis=0)
        for action in (0, 1):
            chosen = mask & (first == action)
            slope, level = np.polyfit(x[chosen], better[chosen], 1)
            np.testing.assert_allclose(learned.fits[0, fit, action], [level, slope], rtol=1e-6)


def test_regret_is_counted_by_the_policy_played():
    """The first 4 q episodes are forced, whatever the fits say; several environments count the same episodes."""
    best = value(Best())
    expected = 3 * sum(best - value(Fixed((first, second))) for first in (0, 1) for second in (0, 1))
    for num in (1, 4):
        regret, episodes, _ = played(agent(ForcedPulls(3, 0.2)), 12, num).meter
        assert (regret, episodes) == (pytest.approx(expected), 12)


def test_regret_stays_below_that_of_a_tenth_of_random_actions():
    arms = {"forced": agent(ForcedPulls(3, 1.0), capacity=800), "epsilon": agent(EpsilonGreedy(0.1), capacity=800)}
    late = {}
    for name, arm in arms.items():
        collector = Collector(arm, partial(arm.act, explore=True), DTR().make(1), arm.observe, 1)
        with torch.no_grad():
            for tick in range(1600):
                collector.tick(tick)
                if tick == 799:
                    late[name] = -arm.meter[0]
        late[name] += arm.meter[0]
    assert late["forced"] < late["epsilon"] / 2


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"agent\.capacity"):
        played(agent(EpsilonGreedy(), capacity=3), 4)
    with pytest.raises(ValueError, match="epsilon must be between 0 and 1"):
        EpsilonGreedy(1.5)
    with pytest.raises(ValueError, match="world"):
        DTRBandit(spec=DTR().spec(), seed=0, world=object(), optimism=EpsilonGreedy(), lam=1.0, capacity=1)
