"""CQL: worked numbers, neutral elements, and twenty updates beside references, for discrete and continuous actions."""

from __future__ import annotations

import math
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from deeprl.agents.btr import OnlineMunchausen
from deeprl.agents.cql import ActorTemperature, Conservative, SampledConservative
from deeprl.agents.edac import Diversity
from deeprl.agents.idqn import Iterated
from deeprl.learning.networks.batch_renorm import BatchRenormMLP
from deeprl.learning.networks.distributional import ImplicitQuantile, Quantile
from deeprl.learning.networks.torsos import MLPTorso
from deeprl.learning.optim.adam import Adam
from deeprl.learning.optim.differentiated import differentiated
from deeprl.learning.parts.chains import Single
from deeprl.learning.parts.polyak import JointPolyak, Polyak
from deeprl.learning.parts.temperature import LearnedTemperature
from tests.agents.test_td3 import batches
from tests.builders import DISCRETE, made_up, random_batch, sac, same, snapshot, transition, update, value_agent, view
from tests.references.dqn import DQN
from tests.references.sac import SAC
from tests.references.td3 import values
from tests.references.test_references import ACTOR_LR, EPS, LR, TAU, agrees, close, critics_agree, critics_of, mlp

N = 3


@pytest.mark.parametrize(("action", "term"), [(0, 2.126928), (1, 0.126928)])
def test_a_worked_number(action, term):
    """Q = (1, 3): their log-sum-exp is 3.126928, and the gradient softmax less one-hot."""
    found = Conservative(plan=None, weight=1.0)(view(now=[[1.0, 3.0]]), None, transition(0.0, 0.0, action))
    assert found.loss.item() == pytest.approx(term, abs=1e-6)


def test_a_worked_number_of_samples():
    """One action of each kind, D = 1: uniform Q = 1, next Q = 2 with log π = 0.1, own Q = 3 with log π = −0.2; the data's Q is 2.5."""
    term = SampledConservative(plan=SimpleNamespace(action_dim=1), weight=10.0, actions=1)
    each = torch.tensor([1.0 + math.log(2.0), 3.0 + 0.2, 2.0 - 0.1])
    found = term.term(each.logsumexp(0).view(1, 1), torch.tensor([[2.5]]), transition(0.0, 0.0))
    assert found.loss.item() == pytest.approx(11.01550, abs=1e-4)


class ReferenceDQN(DQN):
    def __init__(self, *arguments, **others):
        super().__init__(*arguments, **others)
        self.distance = self.with_term

    def with_term(self, q, y, reduction):
        everything = self.q(self.batch.obs)
        return (q - y).square() + 0.7 * (everything.logsumexp(1) - q)

    def update(self, batch):
        self.batch = batch
        return super().update(batch)


def test_twenty_updates_of_discrete_actions_are_those_of_the_reference():
    agent = value_agent(
        chain=partial(Single, target_update_period=5), auxiliary=partial(Conservative, weight=0.7), optimizer=Adam(lr=LR, eps=EPS)
    )
    plain = ReferenceDQN(mlp(agent.chain.online, 0), LR, sync_period=5, eps=EPS)
    for step in range(1, 21):
        batch = random_batch(DISCRETE, 11, step)._replace(weight=torch.linspace(0.5, 2.0, 11))
        close(update(agent, batch).error, plain.update(batch))
        agent.tick(step - 1, step)
    agrees(agent.chain.online, 0, plain.q)


class Reference(SAC):
    def critic_loss(self, batch, y):
        noise, loss, found = batch.noise, super().critic_loss(batch, y), []
        uniform = torch.full((len(y),), -2 * math.log(2.0))
        for i in range(N):
            with torch.no_grad():
                proposed = [
                    (noise["uniform_actions"][:, i], uniform),
                    self.policy(batch.obs, noise["policy_actions"][:, i]),
                    self.policy(batch.next_obs, noise["next_policy_actions"][:, i]),
                ]
            found += [values(self.critics, batch.obs, action) - log_density for action, log_density in proposed]
        gap = torch.stack(found).logsumexp(0) - values(self.critics, batch.obs, batch.action)  # (E, B)
        return loss + 5.0 * gap.mean(1).sum()


def test_twenty_updates_of_continuous_actions_are_those_of_the_reference():
    agent = sac(
        actor_torso=MLPTorso(hidden=(7, 6)), torso=MLPTorso(hidden=(9, 8)), chain=partial(Polyak, tau=TAU),
        temperature=partial(LearnedTemperature, value=0.5, lr=0.02), auxiliary=partial(SampledConservative, weight=5.0, actions=N),
        optimizer=Adam(lr=LR, eps=EPS), actor_optimizer=Adam(lr=ACTOR_LR, eps=EPS),
    )  # fmt: skip
    plain = Reference(
        mlp(agent.actor, 0), critics_of(agent.chain.online, 2), LR, ACTOR_LR, 0.02, 0.5, target_entropy=-2.0, tau=TAU, eps=EPS
    )
    for batch in batches(agent, 20):
        plain.update(batch, batch.noise["next_action"], batch.noise["action"])
        update(agent, batch)
    agrees(agent.actor, 0, plain.actor)
    critics_agree(agent, plain)


@pytest.mark.parametrize(
    ("make", "part", "next_batches"),
    [
        (value_agent, Conservative, lambda agent: (random_batch(DISCRETE, 11, seed) for seed in range(4))),
        (partial(value_agent, head=Quantile(quantiles=3)), Conservative, lambda agent: (random_batch(DISCRETE, 11, 1),)),
        (sac, SampledConservative, lambda agent: batches(agent, 4)),
    ],
    ids=["dqn", "qrdqn", "sac"],
)
def test_weight_zero_is_the_agent_without_it(make, part, next_batches):
    one, other, more = make(auxiliary=partial(part, weight=0.0)), make(), make(auxiliary=partial(part, weight=1.0))
    for mine, theirs, conservative in zip(next_batches(one), next_batches(other), next_batches(more)):
        update(one, mine)
        update(other, theirs)
        update(more, conservative)
    assert same(snapshot(one), snapshot(other))
    assert not same(snapshot(more), snapshot(other))


def test_targets_have_no_entropy_where_the_temperature_is_the_actors_alone():
    agent, hard = sac(temperature=partial(ActorTemperature, value=0.5)), sac(temperature=partial(LearnedTemperature, value=1e-12))
    (batch,) = batches(agent, 1)
    assert torch.equal(agent.critic_loss(batch).loss, hard.critic_loss(batch).loss)
    assert not torch.equal(agent.actor_loss(batch).loss, hard.actor_loss(batch).loss)


class OfData(SampledConservative):
    """Values the uniform actions alone, as if each had the density 1."""

    def proposed(self, online, obs, next_obs, noise):
        actions = noise["uniform_actions"].movedim(-2, 0)
        return actions, torch.zeros(actions.shape[:-1])


def test_both_sides_are_values_of_one_mode():
    """With batch statistics one side was read with the batch's moments, the other with running averages: updates learned to part the two,
    and the loss of nothing fell below zero."""
    agent = sac(torso=BatchRenormMLP(hidden=(9,)), chain=JointPolyak, auxiliary=partial(OfData, weight=1.0, actions=1))
    (batch,) = batches(agent, 1)
    batch = batch._replace(noise={**batch.noise, "uniform_actions": batch.action.unsqueeze(1)})
    assert agent.auxiliary(*agent.views(batch)).loss.item() == 0.0


def test_values_that_a_target_has_read_have_their_gradient():
    """The bonus of an online policy reads them without one first, and the term raised the action of the data alone."""
    agent = value_agent(head=ImplicitQuantile(), backup=OnlineMunchausen(), auxiliary=Conservative)
    batch = made_up(agent, DISCRETE)
    with differentiated(agent.objectives["value"].parameters):
        online, target, batch = agent.views(batch)
        with torch.no_grad():
            agent.backup(online, target, batch)
        assert online.now.mean().requires_grad
        assert online.now.mean() is online.now.mean()


@pytest.mark.parametrize(
    ("make", "term"),
    [
        (partial(value_agent, chain=partial(Iterated, length=3)), Conservative),
        (partial(sac, chain=partial(Iterated, length=3)), partial(SampledConservative, actions=1)),
        (partial(sac, chain=partial(Iterated, length=3)), Diversity),
    ],
    ids=["cql_dqn", "cql", "edac"],
)
def test_beside_a_mean_over_iterations_the_term_is_their_mean(make, term):
    """It stayed a sum, K times as large beside the other losses."""
    agents = [make(auxiliary=term) for _ in range(2)]
    agents[1].chain.head_reduction = "mean"
    agents[1].auxiliary.bind(agents[1].chain)
    losses = []
    for agent in agents:
        batch = made_up(agent, agent.spec, 11)
        losses.append(agent.auxiliary(*agent.views(batch)).loss.item())
    assert losses[0] == pytest.approx(3 * losses[1])
