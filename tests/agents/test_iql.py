"""IQL and AWAC: worked numbers, neutral elements, and twenty updates beside references."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from deeprl.agents.awac import AdvantageWeighted
from deeprl.agents.cql import SampledConservative
from deeprl.agents.iql import Expectile, expectile
from deeprl.extend import ActorView
from deeprl.learning.backups.actor import PolicyBackup
from deeprl.learning.networks.batch_renorm import BatchRenormMLP
from deeprl.learning.networks.gaussian_actor import Gaussian
from deeprl.learning.networks.torsos import MLPTorso
from deeprl.learning.optim.adam import Adam
from deeprl.learning.parts.improvement import Improvement
from deeprl.learning.parts.polyak import JointPolyak, Polyak
from deeprl.learning.parts.state_value import StateValue
from deeprl.learning.parts.target_free import TargetFree
from deeprl.learning.values.reduce import Minimum
from tests.agents.test_td3 import batches
from tests.builders import CONTINUOUS, actor_critic, random_batch, same, snapshot, update
from tests.references.awac import AWAC
from tests.references.iql import IQL
from tests.references.test_references import ACTOR_LR, EPS, LR, TAU, agrees, close, critics_agree, critics_of, mlp

LEARNING = {
    "actor_torso": MLPTorso(hidden=(7, 6)), "torso": MLPTorso(hidden=(9, 8)), "chain": partial(Polyak, tau=TAU), "actor_period": 1,
    "backup": PolicyBackup(target_actor=False, smoothing=0.0), "actor_reduce": Minimum(),
    "optimizer": Adam(lr=LR, eps=EPS), "actor_optimizer": Adam(lr=ACTOR_LR, eps=EPS),
}  # fmt: skip
"""Slots in which IQL and AWAC here are the same"""


@pytest.mark.parametrize(
    ("tau", "losses"), [(0.5, (0.5, 2.0, 0.125)), (0.7, (0.7, 1.2, 0.175)), (0.9, (0.9, 0.4, 0.225))], ids=["mean", "0.7", "0.9"]
)
def test_the_asymmetric_square(tau, losses):
    assert expectile(torch.tensor([1.0, -2.0, 0.5]), tau).tolist() == pytest.approx(losses)


@pytest.mark.parametrize(("tau", "found"), [(0.5, 5 / 3), (0.7, 2.384615), (0.9, 3.363636), (0.99, 3.930693)])
def test_its_minimum_goes_from_the_mean_to_the_maximum(tau, found):
    data, v = torch.tensor([0.0, 1.0, 4.0], dtype=torch.float64), torch.tensor(found, dtype=torch.float64)
    slope = torch.func.grad(lambda v: expectile(data - v, tau).sum())(v)
    assert slope.item() == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize(
    ("torso", "remedy"),
    [(BatchRenormMLP(hidden=(9,)), "choose another agent/torso"), (MLPTorso(hidden=(9,), dropout=0.5), r"set agent\.torso\.dropout=0")],
    ids=["statistics", "dropout"],
)
def test_a_torso_whose_modes_the_value_does_not_have_is_refused(torso, remedy):
    """Its running averages stayed those of the start, and nothing was dropped. The former has no key dropout."""
    with pytest.raises(ValueError, match=f"neither running averages nor dropout, as .* has: {remedy}$"):
        actor_critic(torso=torso, chain=JointPolyak, state_value=Expectile)


def weights(improvement, advantages):
    """Weight of each likelihood."""
    count = len(advantages)
    batch = random_batch(CONTINUOUS, count)
    view = ActorView(batch.action, None, lambda action: -torch.ones(count), lambda: torch.tensor(advantages))
    return improvement.loss(view, batch).tolist()


def test_worked_weights():
    assert weights(AdvantageWeighted(beta=3.0), [-0.5, 0.0, 0.5, 1.0, 2.0]) == pytest.approx([0.223130, 1.0, 4.481689, 20.085537, 100.0])
    assert weights(AdvantageWeighted(beta=1 / 0.3333), [-0.5, 0.0, 0.5, 2.0]) == pytest.approx([0.223097, 1.0, 4.482361, 100.0], rel=1e-5)
    assert weights(AdvantageWeighted(beta=0.0), [5.0, -5.0]) == [1.0, 1.0]  # cloning


@pytest.mark.parametrize("field", ["beta", "limit"])
def test_negative_weights_are_refused(field):
    with pytest.raises(ValueError, match=f"{field} must be at least 0"):
        AdvantageWeighted(**{field: -1.0})


def test_half_is_the_regression_on_the_mean():
    u = torch.randn(50, generator=torch.Generator().manual_seed(0))
    assert torch.equal(expectile(u, 0.5), 0.5 * u.square())


def test_twenty_updates_of_iql_are_those_of_the_reference():
    agent = actor_critic(
        seed=1, actor=Gaussian(log_std=-0.5), improvement=AdvantageWeighted(beta=3.0), state_value=partial(Expectile, tau=0.7), **LEARNING
    )
    networks = mlp(agent.actor, 0), agent.actor.log_std(), mlp(agent.state_value.network, 0), critics_of(agent.chain.online, 2)
    plain = IQL(*networks, LR, ACTOR_LR, expectile=0.7, beta=3.0, tau=TAU, eps=EPS)
    for batch in batches(agent, 20):
        loss = plain.update(batch)
        close(update(agent, batch).metrics["train/critic_loss"].mean(), loss)
    agrees(agent.actor, 0, plain.actor)
    agrees(agent.state_value.network, 0, plain.value)
    close(agent.actor.log_std(), plain.log_std.detach())
    critics_agree(agent, plain)


class Unasked(PolicyBackup):
    def next_action(self, actor, obs, noise):
        raise AssertionError("a' is not read")


def test_no_next_action_of_the_policy_is_asked_for_where_none_is_read():
    slots = {**LEARNING, "backup": Unasked(target_actor=False, smoothing=0.0), "actor": Gaussian(), "improvement": AdvantageWeighted()}
    agent = actor_critic(state_value=Expectile, **slots)
    update(agent, next(batches(agent, 1)))
    for reader in ({"chain": TargetFree}, {"auxiliary": SampledConservative}):  # both ends in one batch; actions at s'
        assert actor_critic(state_value=Expectile, **{**slots, **reader}).follows


def test_twenty_updates_of_awac_are_those_of_the_reference():
    agent = actor_critic(seed=1, actor=Gaussian(mean="linear", log_std=-0.5), improvement=AdvantageWeighted(beta=2.0), **LEARNING)
    plain = AWAC(mlp(agent.actor, 0), agent.actor.log_std(), critics_of(agent.chain.online, 2), LR, ACTOR_LR, 0.5, tau=TAU, eps=EPS)
    for batch in batches(agent, 20):
        loss = plain.update(batch, batch.noise["next_action"], batch.noise["action"])
        close(update(agent, batch).metrics["train/critic_loss"].mean(), loss)
    agrees(agent.actor, 0, plain.actor)
    close(agent.actor.log_std(), plain.log_std.detach())
    critics_agree(agent, plain)


def test_a_reset_renews_the_value_of_states():
    agent = actor_critic(state_value=Expectile, **LEARNING)
    start = snapshot(agent.state_value)
    for batch in batches(agent, 2):
        update(agent, batch)
    agent.reset(0)
    assert not same(snapshot(agent.state_value), start)
    other = actor_critic(state_value=Expectile, **LEARNING)
    other.reset(0)
    assert same(snapshot(agent.state_value), snapshot(other.state_value))


def test_without_a_value_of_states_nothing_changes():
    one, other = actor_critic(), actor_critic(state_value=StateValue, improvement=Improvement())
    for batch in batches(one, 4):
        update(one, batch)
        update(other, batch)
    assert same(snapshot(one), snapshot(other))


def test_a_deviation_beyond_its_bounds_goes_back_to_them():
    """Its gradient was 0 for the rest of the run."""
    agent = actor_critic(actor=Gaussian(low=-1.0, high=0.5), improvement=AdvantageWeighted(beta=2.0), **LEARNING)
    log_std = agent.actor.deviations.log_std
    with torch.no_grad():
        log_std.copy_(torch.tensor([[0.7, -1.2]]))
    for project in agent.projections("actor"):
        project()
    assert log_std.tolist() == [pytest.approx([0.5, -1.0])]
