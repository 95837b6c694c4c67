"""XQC: the torso, its projection, the actor's running averages, and twenty updates of a reference in plain PyTorch."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from torch.distributions import Normal
from torch.nn import functional as F

from deeprl.agents.xqc import UnitBatchNorm
from deeprl.learning.networks.actors import SquashedGaussian
from deeprl.learning.networks.distributional import Categorical
from deeprl.learning.optim.adam import Adam
from deeprl.learning.parts.polyak import JointPolyak
from deeprl.learning.parts.temperature import LearnedTemperature
from deeprl.learning.values.reduce import Minimum
from deeprl.running.training.learner import gradient
from deeprl.types import Spec
from tests.agents.test_td3 import batches
from tests.builders import changed_by, entry, random_batch, sac, update
from tests.learning.networks.test_blocks import built

ATOMS, LOW, HIGH, TAU, EPS, ALPHA = 7, -2.0, 2.0, 0.25, 1e-5, 0.1
ONE = Spec((1,), torch.float32, 3, 0)


def xqc(actor_period: int = 3):
    return sac(
        torso=UnitBatchNorm(hidden=(9, 8), momentum=0.75),
        actor_torso=UnitBatchNorm(hidden=(7, 6), momentum=0.75, every_update=True),
        head=Categorical(atoms=ATOMS, low=LOW, high=HIGH, init=None, unit=True),
        actor=SquashedGaussian(low=-10.0, unit=True), actor_period=actor_period, target_period=1, chain=partial(JointPolyak, tau=TAU),
        reduce=Minimum(), temperature=partial(LearnedTemperature, value=ALPHA, target_entropy=-0.5, form="exp"),
        optimizer=Adam(lr=0.01, eps=EPS), actor_optimizer=Adam(lr=0.003, eps=EPS),
    )  # fmt: skip


def test_a_layer_by_hand():
    """Observations 1 and 5 become ∓ 1. W = (3, 4) is projected to (0.6, 0.8), whatever the norm after it makes of its size."""
    torso = built(UnitBatchNorm(hidden=(2,), epsilon=0.0).build(ONE, 1))
    torso.weight_0.copy_(torch.tensor([[[3.0, -4.0]]]))
    before, _ = torso.learn(torch.tensor([[1.0], [5.0]]))
    torso.project_()
    assert torso.weight_0.flatten().tolist() == [1.0, -1.0]  # one input: columns of one number
    features, _ = torso.learn(torch.tensor([[1.0], [5.0]]))
    assert features.flatten().tolist() == pytest.approx([0.0, 1.0, 1.0, 0.0])
    torch.testing.assert_close(features, before)


def test_targets_are_averages_of_projected_weights_and_not_projected():
    """(0.6, 0.8) and (1, 0) have the average (0.8, 0.4), of length 0.894."""
    agent = xqc()
    for network in (agent.chain.online, agent.chain.target):
        network.torso.weight_1.zero_()
    agent.chain.online.torso.weight_1[:, 0, 0], agent.chain.target.torso.weight_1[:, :2, 0] = 1.0, torch.tensor([0.6, 0.8])
    agent.chain.move_anchor(0.5)
    assert agent.chain.target.torso.weight_1[0, :2, 0].tolist() == pytest.approx([0.8, 0.4])


def test_the_key_of_actors_is_refused_in_a_critic():
    with pytest.raises(ValueError, match=r"^agent\.torso\.every_update=true is of actors"):
        sac(torso=UnitBatchNorm(every_update=True), chain=partial(JointPolyak, tau=TAU))


@pytest.mark.parametrize("update_of", ["critic", "actor"])
def test_the_actors_averages_move_with_the_critics(update_of):
    agent = xqc()
    batch = random_batch(agent.spec, 5, noise=entry(agent.noise((1, 5), torch.Generator().manual_seed(0))))
    _, learned = gradient(agent, update_of, batch)
    assert any(name.startswith("actor.torso.running") for name in learned.statistics) == (update_of == "critic")
    assert not {name for name in changed_by(agent, update_of, batch) if "running" in name}  # a learner writes them


class Network:
    """One network of a stack: BN, then W, BN and ReLU of each layer, then an affine layer. `learn` says whose moments the norms use."""

    def __init__(self, torso, last, entry: int):
        self.weights = [getattr(torso, f"weight_{i}")[entry].clone() for i in range(2)]
        self.last, self.bias = last.weight_0[entry].clone(), last.bias_0[entry, 0].clone()
        widths = [self.weights[0].shape[0], *(weight.shape[1] for weight in self.weights)]
        self.scales, self.shifts = [torch.ones(width) for width in widths], [torch.zeros(width) for width in widths]
        self.means, self.variances = [torch.zeros(width) for width in widths], [torch.ones(width) for width in widths]
        self.parameters = [*self.weights, self.last, self.bias, *self.scales, *self.shifts]
        for parameter in self.parameters:
            parameter.requires_grad_()

    def __call__(self, x, learn: bool):
        self.seen = []

        def norm(i, x):
            self.seen.append((x.mean(0).detach(), x.var(0, correction=0).detach()))
            mean, variance = (x.mean(0), x.var(0, correction=0)) if learn else (self.means[i], self.variances[i])
            return (x - mean) / (variance + 1e-3).sqrt() * self.scales[i] + self.shifts[i]

        x = norm(0, x)
        for i, weight in enumerate(self.weights):
            x = norm(i + 1, x @ weight).relu()
        return x @ self.last + self.bias

    def settle(self):
        for i, (mean, variance) in enumerate(self.seen):
            self.means[i], self.variances[i] = self.means[i].lerp(mean, 0.25), self.variances[i].lerp(variance, 0.25)

    def project(self):
        with torch.no_grad():
            for weight in (*self.weights, self.last):
                weight /= weight.norm(dim=0, keepdim=True)


class Plain:
    """The authors' order: critics, projection, averages; target; actor with the new critics, projection; α."""

    def __init__(self, agent):
        online = agent.chain.online
        self.critics = [Network(online.torso, online.head.advantage, e) for e in range(2)]
        self.targets, self.actor = copy.deepcopy(self.critics), Network(agent.actor.torso, agent.actor.last, 0)
        self.log_alpha = torch.tensor([ALPHA]).log().requires_grad_(True)
        self.critic_adam = torch.optim.Adam([p for critic in self.critics for p in critic.parameters], lr=0.01, eps=EPS)
        self.actor_adam = torch.optim.Adam(self.actor.parameters, lr=0.003, eps=EPS)
        self.alpha_adam = torch.optim.Adam([self.log_alpha], lr=0.003, eps=EPS)
        self.grid = torch.linspace(LOW, HIGH, ATOMS)

    def policy(self, obs, noise, learn):
        mean, log_std = self.actor(obs, learn).chunk(2, -1)
        log_std = log_std.clamp(-10, 2)
        u = mean + log_std.exp() * noise
        return u.tanh(), (Normal(mean, log_std.exp()).log_prob(u) - torch.log1p(-u.tanh().square())).sum(-1)

    def mean(self, logits):
        return (logits.softmax(-1) * self.grid).sum(-1)

    def train(self, batch, number):
        size, alpha = len(batch.reward), self.log_alpha.detach().exp()
        with torch.no_grad():
            self.actor(batch.obs, learn=True)
            moments = self.actor.seen
            next_action, log_prob = self.policy(batch.next_obs, batch.noise["next_action"], learn=False)
            both = torch.cat([torch.cat([batch.obs, batch.action], 1), torch.cat([batch.next_obs, next_action], 1)])
            answers = torch.stack([target(both, learn=True)[size:] for target in self.targets])
            low = self.mean(answers).argmin(0)
            probs = answers.softmax(-1)[low, torch.arange(size)]
            atoms = batch.reward[:, None] + batch.discount[:, None] * (self.grid - alpha * log_prob[:, None])
            near = (1 - (atoms.clamp(LOW, HIGH)[..., None] - self.grid).abs() / (self.grid[1] - self.grid[0])).clamp(min=0)
            goal = (probs[..., None] * near).sum(1)
        losses = [-(goal * F.log_softmax(critic(both, learn=True)[:size], -1)).sum(-1).mean() for critic in self.critics]
        self.critic_adam.zero_grad()
        sum(losses).backward()
        self.critic_adam.step()
        for critic, target in zip(self.critics, self.targets):
            critic.project(), critic.settle()
            for p, q in zip(critic.parameters, target.parameters):
                q.data.lerp_(p.data, TAU)
        self.actor.seen = moments
        self.actor.settle()
        if number % 3 == 0:
            action, log_prob = self.policy(batch.obs, batch.noise["action"], learn=True)
            pair = torch.cat([batch.obs, action], 1)
            value = torch.stack([self.mean(critic(pair, learn=False)) for critic in self.critics]).amin(0)
            self.actor_adam.zero_grad()
            (alpha * log_prob - value).mean().backward()
            self.actor_adam.step()
            self.actor.project()
            self.alpha_adam.zero_grad()
            (-self.log_alpha.exp() * (log_prob.detach() - 1.0)).mean().backward()  # H̄ = −½ · 2
            self.alpha_adam.step()
        return sum(losses).detach()


def test_twenty_updates_agree_with_plain_pytorch():
    agent = xqc()
    plain = Plain(agent)
    for number, batch in enumerate(batches(agent, 20), start=1):
        loss = plain.train(batch, number)
        learned = update(agent, batch)
        torch.testing.assert_close(learned.metrics["train/critic_loss"].mean(), loss, rtol=1e-4, atol=1e-5)
    close = partial(torch.testing.assert_close, rtol=1e-3, atol=1e-4)
    close(agent.temperature(), plain.log_alpha.detach().exp())
    networks = [(agent.actor.torso, agent.actor.last, 0, plain.actor)]
    for ours, theirs in ((agent.chain.online, plain.critics), (agent.chain.target, plain.targets)):
        networks += [(ours.torso, ours.head.advantage, e, network) for e, network in enumerate(theirs)]
    for torso, last, e, theirs in networks:
        for i, weight in enumerate(theirs.weights):
            close(getattr(torso, f"weight_{i}")[e], weight.detach())
        close(last.weight_0[e], theirs.last.detach())
    for i, mean in enumerate(plain.actor.means):
        close(getattr(agent.actor.torso, f"running_mean_{i}")[0, 0], mean)
    for i, mean in enumerate(plain.critics[1].means):
        close(getattr(agent.chain.online.torso, f"running_mean_{i}")[1, 0], mean)
