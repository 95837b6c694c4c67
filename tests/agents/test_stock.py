"""Utilities of the stock and the return: worked examples, the neutral element, and what is refused."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from deeprl.agents.munchausen import Munchausen
from deeprl.agents.random_rewards import RandomRewards
from deeprl.agents.stock import CVaRActionSelection, CVaRUtility, ExponentialUtility, MeanVarianceUtility, TargetReturn
from deeprl.agents.stocked import Stocked
from deeprl.errors import ConfigError
from deeprl.learning.backups.bellman import Double, Max
from deeprl.learning.networks.distributional import Categorical, ImplicitQuantile, Quantile
from deeprl.learning.parts.preference import START
from deeprl.learning.transforms.rewards import Clip
from deeprl.learning.transforms.stock import Stock, stock_of
from deeprl.learning.values.distributions import QuantileValues
from deeprl.learning.values.returns import Returns
from deeprl.learning.values.utility import Preferred
from deeprl.packing import packed_spec
from deeprl.running.config.build import require_of_run
from deeprl.types import ObsPart, Rows
from tests.builders import random_batch, transition, update, value_agent, view

SPEC = packed_spec([ObsPart("observation", (2,), torch.float32), ObsPart("stock", (3,), torch.float32, scaled=False, stock=True)], 3, 0)
RANGE = {"starts": (-3.0, 0.0)}


class Linear(Stocked):
    """f(x) = x."""

    def of_total(self, total):
        return total


def with_stock(now: float, first: float, growth: float) -> torch.Tensor:
    return torch.tensor([[0.5, -0.5, now, first, growth]])


def preferring(quantiles: list, utility, stock: float) -> Preferred:
    """Two actions at one state."""
    atoms = torch.tensor([[quantiles]])  # (1, 1, A, N)
    return Preferred(QuantileValues(atoms, torch.tensor([0.25, 0.75]), 1.0, atoms), utility, torch.tensor([stock]))


def test_cvar_of_four_returns():
    law, cvar = Returns(torch.tensor([0.0, 1.0, 2.0, 3.0])[None]), CVaRUtility(tau=0.5, starts=(-3.0, 0.0), points=7)
    promised = torch.stack([cvar(law, -budget) + budget for budget in torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0])]).flatten()
    assert promised.tolist() == [0.0, 0.25, 0.5, 0.5, 0.5, 0.0]
    worth = torch.stack([cvar(law, start).flatten() for start in cvar.candidates])
    assert cvar.candidates[cvar.start(worth)].item() in (-2.0, -1.5, -1.0)


def test_the_choice_depends_on_what_was_collected():
    """0 or 2 were collected and 1 is wanted, c_0 = -1: then +1 or -1."""
    for stock, action in ((-1.0, 0), (1.0, 1)):
        target = view(next=None)
        target.next = preferring([[1.0, 1.0], [-1.0, -1.0]], TargetReturn(), stock)
        y = Max()(None, target, transition(reward=0.0, discount=1.0))
        assert target.next.mean().argmax(-1).item() == action
        assert y.mean().item() == (1.0, -1.0)[action]  # the target itself is the return


def test_an_edited_stock_is_that_of_an_episode_with_another_start():
    stock, gamma, reward = Stock(2), 0.5, 1.0
    now, later = with_stock(0.75, 0.25, 2.0), with_stock((0.75 + reward) / gamma, 0.25, 2.0 / gamma)
    same = torch.tensor([0.25])
    assert stock.begun(now, same).equal(now)
    a, b = stock.begun(now, torch.tensor([-1.0])), stock.begun(later, torch.tensor([-1.0]))
    assert a[0, 2].item() == 0.75 + 2.0 * (-1.0 - 0.25)
    assert b[0, 2].item() == (a[0, 2].item() + reward) / gamma


def test_networks_see_the_stock_alone():
    seen, now = Stock(2).read(with_stock(-(torch.e - 1), -3.0, 4.0))
    assert seen[0, 3:].tolist() == [0.0, 0.0]
    assert seen[0, 2].item() == pytest.approx(-1.0)
    assert now.item() == pytest.approx(1 - torch.e)
    assert stock_of(SPEC) == Stock(2)
    theirs = [part._replace(stock=False) for part in SPEC.parts]
    assert stock_of(packed_spec(theirs, 3, 0)) is None  # a user's own part of that name and shape
    agent, obs = value_agent(SPEC), torch.cat([with_stock(-1.0, -3.0, 4.0), with_stock(-1.0, 2.0, 1e9)])
    values = agent.greedy_values(obs)
    assert values[0].equal(values[1])  # by the mean, too


def test_a_linear_utility_is_the_mean():
    batch = random_batch(SPEC, 8)
    plain, linear = (value_agent(SPEC, head=Quantile(quantiles=5), **given) for given in ({}, {"utility": Linear(share=0.0)}))
    assert plain.loss(batch).loss.item() == linear.loss(batch).loss.item()
    assert plain.greedy(batch.obs).equal(linear.greedy(batch.obs))


def test_targets_are_of_the_action_that_the_edited_stock_prefers():
    """Action 0 returns 1, and action 1 returns -1, with total 0 wanted. An edited c = -1 and r = 2 make c' = 1, which prefers action 1:
    y = 2 - 1 = Q(s, 0). With c, or with the c' = -1 that was stored, it would prefer action 0: y = 3."""
    agent = value_agent(SPEC, head=Quantile(quantiles=2), utility=TargetReturn(share=0.5, starts=(-1.0, -1.0)))
    with torch.no_grad():
        for network in (agent.chain.online, agent.chain.target):
            *others, bias = network.parameters()
            for weight in others:
                weight.zero_()
            bias.copy_(torch.tensor([1.0, 1.0, -1.0, -1.0, 9.0, 9.0]).view_as(bias))
    batch = transition(reward=2.0, discount=1.0)._replace(obs=with_stock(-3.0, -3.0, 1.0), next_obs=with_stock(-1.0, -3.0, 1.0))
    edited, as_stored = (batch._replace(noise={"stock": torch.tensor([uniform])}) for uniform in (0.0, 0.9))
    assert agent.loss(edited).error.item() == 0.0
    assert agent.loss(as_stored).error.item() == 2.0


UTILITIES = [
    CVaRUtility(**RANGE),
    MeanVarianceUtility(**RANGE),
    TargetReturn(**RANGE),
    TargetReturn(target=2.0),
    ExponentialUtility(),
    CVaRActionSelection(),
]


@pytest.mark.parametrize("utility", UTILITIES, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize(
    "head", [Categorical(atoms=5, low=-1, high=1), Quantile(quantiles=5), ImplicitQuantile(cosines=4)], ids=lambda each: type(each).__name__
)
def test_every_utility_goes_with_every_distribution(head, utility):
    agent = value_agent(SPEC, head=head, utility=utility, backup=Double())
    noise = agent.noise((1, 8), torch.Generator().manual_seed(0))
    batch = random_batch(SPEC, 8, noise=torch.utils._pytree.tree_map(lambda x: x[0], noise))
    assert update(agent, batch).error.isfinite().all()
    assert agent.greedy(batch.obs).shape == (8,)


def test_updates_see_other_first_stocks():
    utility = TargetReturn(share=0.5, **RANGE)
    start, where = utility.edited({"stock": torch.tensor([0.0, 0.25, 0.75])})
    assert where.tolist() == [True, True, False]
    assert start[:2].tolist() == [-3.0, -1.5]
    assert TargetReturn(share=0.0, **RANGE).noise((4,), torch.Generator()) == {}


def test_evaluation_begins_with_the_best_stock_and_keeps_it():
    agent = value_agent(SPEC, head=Quantile(quantiles=5), utility=CVaRUtility(points=4, **RANGE))
    obs = with_stock(-1.0, -1.0, 1.0).repeat(2, 1)
    first, noise = torch.tensor([True, True]), agent.act_noise((1, 2), torch.Generator().manual_seed(0))
    noise = torch.utils._pytree.tree_map(lambda x: x[0], noise)
    acted = agent.act(obs, first, {}, 0, noise, explore=False)
    begun = acted.memory
    assert acted.value is None  # a utility is no estimate of a return
    assert acted.gap.shape == (2,)
    starts = agent.utility.candidates
    worth = torch.stack([agent.greedy_values(Stock(2).begun(obs, start.expand(2))).amax(-1) - start for start in starts])
    assert begun[START].equal(starts[worth.argmax(0)])
    later = agent.act(obs + 7, ~first, begun, 0, noise, explore=False).memory
    assert later[START].equal(begun[START])
    assert START not in agent.act(obs, first, {}, 0, noise, explore=True).memory


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"utility": CVaRUtility(), "spec": SPEC._replace(parts=())}, "agent/utility=CVaRUtility needs observations with a stock"),
        ({"utility": TargetReturn(), "backup": Munchausen()}, "agent/backup=max or double, not Munchausen"),
        ({"utility": TargetReturn(), "rewards": partial(Clip, bound=1.0)}, "agent/rewards=raw, not Clip"),
    ],
)
def test_what_does_not_go_with_a_utility_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        value_agent(given.pop("spec", SPEC), head=Quantile(), **given)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CVaRUtility(tau=0.0), "tau must be between"),
        (lambda: TargetReturn(starts=(1.0, 0.0)), "starts must be the smallest and the largest"),
        (
            lambda: CVaRUtility(starts=(0.0, 0.0)),
            r"starts must be a range for points=101.*set env.starts to the range of -total, such as \[-500,0\]",
        ),
        (lambda: ExponentialUtility(discount=None), "discount must be between 0 and 1, not None"),
        (lambda: MeanVarianceUtility(discount="1"), "discount must be between 0 and 1, not '1'"),
        (lambda: ExponentialUtility(discount=0.99), "discount must be 1 with agent/utility=ExponentialUtility.*: set discount=1$"),
        (lambda: MeanVarianceUtility(discount=0.99), "discount must be 1 with agent/utility=MeanVarianceUtility"),
    ],
)
def test_values_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("utility", [ExponentialUtility(), MeanVarianceUtility()])
def test_its_discount_is_that_of_the_run(utility):
    require_of_run(utility, "agent.utility", {"discount": 1})
    with pytest.raises(ConfigError, match=r"agent.utility.discount=1.0 must be that of the run, discount=0.9: leave agent.utility.disc"):
        require_of_run(utility, "agent.utility", {"discount": 0.9})


def test_every_observation_of_a_batch_has_the_stock_that_networks_see():
    """The successor and the burn-in kept the three numbers as they were stored."""
    stock, later = Stock(2), with_stock(-1.0, -3.0, 4.0)
    batch = transition(reward=2.0, discount=1.0)._replace(obs=with_stock(0.0, -3.0, 2.0), next_obs=later)
    batch = batch._replace(extra={"successor": later, "burn_in": later.expand(2, 1, 5)})
    kept = stock.divided(batch, None)
    assert kept.extra["successor"].equal(kept.next_obs)
    assert kept.extra["burn_in"].equal(kept.next_obs.expand(2, 1, 5))
    edit = torch.tensor([0.5]), torch.tensor([True])
    edited = stock.divided(batch._replace(extra={"successor": later}), edit)
    assert edited.extra["successor"].equal(edited.next_obs)
    assert not edited.next_obs.equal(kept.next_obs)


def test_statistics_are_of_observations_as_networks_see_them():
    """Random rewards were standardised by those of the raw stock."""
    agent = value_agent(SPEC, auxiliary=partial(RandomRewards, discount=0.9, heads=4))
    obs, no = torch.cat([with_stock(-1.0, -3.0, 4.0), with_stock(-1.0, 2.0, 9.0)]).numpy(), np.zeros(2, bool)
    agent.observe(Rows(obs, np.zeros(2, np.int64), np.zeros(2, np.float32), obs, no, no, np.ones(2, np.float32)))
    assert agent.auxiliary.count == 2
    assert not agent.auxiliary.m2.any()
    assert agent.auxiliary.rewards(agent.preference.read(torch.from_numpy(obs))[0]).abs().max() < 1e-3
