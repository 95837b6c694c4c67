"""Cloning of behaviour: a worked number, and twenty updates beside plain PyTorch, for discrete and continuous actions."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Categorical, Normal

from deeprl.agents.bc import Cloning
from deeprl.learning.networks.policies import PolicyChoice
from deeprl.learning.networks.torsos import MLPTorso
from deeprl.learning.optim.adam import Adam
from deeprl.learning.transforms.observations import Plain
from deeprl.learning.transforms.rewards import Raw
from deeprl.running.config.instantiate import accepted
from tests.builders import CONTINUOUS, DISCRETE, random_batch, update
from tests.references.test_references import EPS, LR, agrees, close, mlp


def cloning(spec, **slots) -> Cloning:
    parts = {"torso": MLPTorso(hidden=(7, 6)), "policy": PolicyChoice(last_init=None), "optimizer": Adam(lr=LR, eps=EPS)}
    return Cloning(spec=spec, seed=0, rewards=Raw, normalize=Plain, **{**parts, **slots})


def test_a_policy_of_zeros_has_the_likelihood_of_its_distribution():
    """Three equally likely actions: log 3. A Gaussian of deviation 1 around 0: ½ |a|² + log 2π of two dimensions."""
    for spec, expected in (
        (DISCRETE, lambda a: math.log(3.0)),
        (CONTINUOUS, lambda a: 0.5 * a.square().sum(1).mean() + math.log(2 * math.pi)),
    ):
        agent, batch = cloning(spec), random_batch(spec, 9)
        for parameter in agent.policy.parameters():
            parameter.zero_()
        assert agent.loss(batch).loss.item() == pytest.approx(float(expected(batch.action)), rel=1e-5)


@pytest.mark.parametrize("spec", [DISCRETE, CONTINUOUS], ids=["discrete", "continuous"])
def test_twenty_updates_are_those_of_the_reference(spec):
    agent = cloning(spec)
    plain, log_std = mlp(agent.policy, 0), torch.zeros(2, requires_grad=True)
    adam = torch.optim.Adam([*plain.parameters(), *([] if spec.num_actions else [log_std])], lr=LR, eps=EPS)
    for seed in range(20):
        batch = random_batch(spec, 11, seed)
        said = plain(batch.obs)
        if spec.num_actions:
            loss = -Categorical(logits=said).log_prob(batch.action).mean()
        else:
            loss = -Normal(said, log_std.exp()).log_prob(batch.action).sum(1).mean()
        adam.zero_grad(), loss.backward(), adam.step()
        close(update(agent, batch).metrics["train/policy_loss"].mean(), loss.detach())
    agrees(agent.policy, 0, plain)
    if not spec.num_actions:
        close(agent.policy.log_std, log_std.detach())


def test_it_takes_the_keys_of_what_acts_by_a_policy_but_no_core():
    assert accepted(Cloning).keys() == {"spec", "seed", "torso", "policy", "rewards", "normalize", "optimizer"}


def test_rewards_are_not_read():
    one, other, batch = cloning(CONTINUOUS), cloning(CONTINUOUS), random_batch(CONTINUOUS, 9)
    update(one, batch)
    update(other, batch._replace(reward=100.0 * batch.reward, discount=torch.zeros(9)))
    assert all(map(torch.equal, one.parameters(), other.parameters()))


def test_only_valid_actions_have_a_likelihood():
    """A policy of zeros, and two of three actions valid: log 2; it takes no invalid one."""
    spec = DISCRETE._replace(obs_shape=(DISCRETE.obs_shape[0] + 3,), masked=True)
    agent, batch = cloning(spec), random_batch(spec, 9)
    for parameter in agent.policy.parameters():
        parameter.zero_()
    batch.obs[:, -3:] = torch.tensor([0.0, 1.0, 1.0])
    batch = batch._replace(action=1 + batch.action % 2)
    assert agent.loss(batch).loss.item() == pytest.approx(math.log(2.0))
    assert agent.greedy(batch.obs).min() == 1
