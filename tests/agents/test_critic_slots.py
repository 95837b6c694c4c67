"""Weighting and auxiliary losses on critics: the parts of the discrete agent, over pairs (observation, action)."""

from __future__ import annotations

import copy
import math
from functools import partial
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

from deeprl.agents.dvw import InverseVariance
from deeprl.agents.gi_dqn import GradientCorrection
from deeprl.agents.idqn import Iterated
from deeprl.agents.random_rewards import RandomRewards
from deeprl.agents.self_prediction import Bidirectional, SelfPrediction
from deeprl.errors import ConfigError
from deeprl.learning.backups.actor import PolicyBackup
from deeprl.learning.networks.torsos import MLPTorso
from deeprl.learning.optim.adam import Adam
from deeprl.learning.parts.chains import Single
from deeprl.learning.parts.polyak import Polyak
from deeprl.learning.parts.resets import Resets
from deeprl.learning.parts.target_free import TargetFree
from deeprl.running.accelerate.modes import apply
from deeprl.running.config.build import build_agent
from deeprl.running.training.learner import CompiledLearner, Learner
from deeprl.types import Batch, Rows, Spec
from tests.agents.test_td3 import constants
from tests.builders import CONTINUOUS, actor_critic, equal, made_up, make_batch, sac, same, settled, snapshot, update
from tests.pairwise import once

B, T, D = 11, 4, 2
IMAGES = Spec((4, 10, 10), torch.uint8, 0, 2)
TARGETS = {
    "one": partial(Single, target_update_period=T),
    "shared": partial(Iterated, length=3, shift_period=T, sync_period=D, torso="shared"),
    "separate": partial(Iterated, length=2, shift_period=T, sync_period=D, torso="separate"),
}
CHAINS = {"polyak": partial(Polyak, tau=0.25), "none": TargetFree, **TARGETS}
LOSSES = {
    "random_rewards": partial(RandomRewards, discount=0.9, heads=4),
    "self_prediction": partial(SelfPrediction, latent=6, hidden=(5,)),
    "self_prediction_of_the_target": partial(SelfPrediction, latent=None, hidden=(), goal="target"),
    "bidirectional": partial(Bidirectional, latent=6, hidden=(5,)),
}
EXTRAS = ("successor", "terminated")


def batch_of(agent, seed: int) -> Batch:
    """With the columns of every auxiliary loss, whatever the agent asks for."""
    batch = made_up(agent, agent.spec, size=B, seed=seed)
    generator = torch.Generator().manual_seed(100 + seed)
    successor = torch.randn(batch.obs.shape, generator=generator) if batch.obs.is_floating_point() else batch.next_obs
    return batch._replace(extra={**batch.extra, "successor": successor, "terminated": torch.arange(B) % 3 == 0})


def updates(agent, count: int, first: int = 1, learner: Learner | None = None) -> None:
    learner = learner or Learner(agent, lambda batch: batch)
    for step in range(first, first + count):
        learner.update(batch_of(agent, step))
        agent.tick(step - 1, step)


def without(state: dict[str, Tensor], *names: str) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if not any(part in name for part in names)}


# ---- neutral elements


@pytest.mark.parametrize("make", [actor_critic, sac], ids=["td3", "sac"])
@pytest.mark.parametrize("chain", TARGETS)
def test_with_weights_of_one_it_is_the_plain_agent(make, chain):
    """η at zero and a floor of one: ω and η go on learning, critics and actor take no notice, bit for bit."""
    weighting = partial(InverseVariance, log_scale=-30.0, least_weight=1.0)
    one, plain = make(chain=TARGETS[chain], weighting=weighting), make(chain=TARGETS[chain])
    other = make(chain=TARGETS[chain], weighting=InverseVariance)
    start = snapshot(one.weighting.net)
    for agent in (one, other, plain):
        updates(agent, T + 3)
    assert same(without(snapshot(one), "weighting"), snapshot(plain))
    for name in ("critic", "actor"):
        assert equal(one.state()["optimizers"][name], plain.state()["optimizers"][name])
    assert not any(torch.equal(value, start[name]) for name, value in one.weighting.net.state_dict().items())
    assert not same(without(snapshot(other), "weighting"), snapshot(plain))


TARGETLESS = ("none", "self_prediction_of_the_target")
"""Refused, because there is no target network"""


@pytest.mark.parametrize(("chain", "loss"), [pair for pair in product(CHAINS, LOSSES) if pair != TARGETLESS])
def test_at_scale_zero_the_agent_is_the_plain_one(chain, loss):
    """Bit for bit, also where gradients are clipped by their norm: what is beside the heads has groups of its own."""
    slots = {"chain": CHAINS[chain], "optimizer": Adam(lr=0.01, max_grad_norm=0.5)}
    plain, one, other = (actor_critic(**slots, **more) for more in (
        {}, {"auxiliary": partial(LOSSES[loss], scale=0.0)}, {"auxiliary": LOSSES[loss]}
    ))  # fmt: skip
    for agent in (plain, one, other):
        updates(agent, T + 1)
    assert same(without(snapshot(one), "beside", "auxiliary"), snapshot(plain))
    assert equal(one.objectives["critic"].optimizer.groups[0].state_dict(), plain.objectives["critic"].optimizer.state_dict())
    assert not same(without(snapshot(other), "beside", "auxiliary"), snapshot(plain))


def test_parts_without_work_add_nothing():
    agent = sac()
    assert (agent.needs, agent.due(1)) == (frozenset(), ("critic", "actor", "target"))
    assert list(agent.objectives) == ["critic", "actor"]
    assert not any("beside" in name for name in agent.state_dict())
    assert set(agent.views(made_up(agent, CONTINUOUS))[2].extra) == {"next_log_prob"}


# ---- what is trained


@pytest.mark.parametrize("spec", [CONTINUOUS, IMAGES], ids=["vectors", "images"])
@pytest.mark.parametrize("loss", LOSSES)
def test_an_auxiliary_loss_trains_the_torsos_of_the_online_critics_and_the_encoder(spec, loss):
    agent = actor_critic(spec, auxiliary=LOSSES[loss], chain=TARGETS["separate"])
    updates(agent, 2)
    for parameter in agent.parameters():
        parameter.requires_grad_(True)
    online, target, batch = agent.views(batch_of(agent, 9))
    total = agent.auxiliary(online, target, batch).loss
    gradients = torch.autograd.grad(total, list(agent.parameters()), allow_unused=True)
    touched = {name for (name, _), g in zip(agent.named_parameters(), gradients) if g is not None and bool(g.abs().sum() > 0)}
    names = {name for name, _ in agent.named_parameters()}
    assert touched == {name for name in names if name.startswith(("chain.online.torso", "chain.online.beside", "encoder."))}
    trained = [id(parameter) for parameter in agent.objectives["critic"].parameters]
    own = [*agent.chain.online.parameters(), *([] if agent.encoder is None else agent.encoder.parameters())]
    assert len(trained) == len(set(trained))
    assert set(trained) == {id(parameter) for parameter in own}


def test_the_objectives_of_a_weighting_come_first_and_at_every_update():
    agent = actor_critic(chain=TARGETS["one"], weighting=InverseVariance)
    assert [agent.due(k) for k in (1, 2)] == [("variance", "scale", "critic"), ("variance", "scale", "critic", "actor", "target")]


# ---- the batch as critics see it


@pytest.mark.parametrize("make", [actor_critic, sac], ids=["td3", "sac"])
def test_where_the_successor_is_the_next_observation_both_pairs_are_one(make):
    agent = make(auxiliary=LOSSES["self_prediction"])
    batch = batch_of(agent, 1)
    seen = agent.views(batch._replace(extra={**batch.extra, "successor": batch.next_obs}))[2]
    assert torch.equal(seen.extra["successor"], seen.next_obs)
    assert seen.obs.shape == seen.next_obs.shape == (B, 7)
    assert torch.equal(seen.extra["observed"], batch.obs)


@pytest.mark.parametrize("ensemble", [1, 2])
def test_features_are_those_of_the_torsos_also_where_heads_share_them(ensemble):
    """K = 3 heads for each critic, on one torso each; its target has two."""
    agent = actor_critic(chain=TARGETS["shared"], ensemble=ensemble, auxiliary=LOSSES["random_rewards"])
    online, target, batch = agent.views(batch_of(agent, 1))
    assert online.now.mean().shape[0] == 3 * ensemble
    assert torch.equal(online.now.features, online.network.features(batch.obs))
    assert online.now.features.shape == (ensemble, B, 7)
    assert target.now.features.shape == (2 * ensemble, B, 7)


# ---- by hand


def linear(auxiliary, **slots):
    """Two numbers of state and one of action; features are the pair; the actor answers tanh(1) everywhere."""
    spec = Spec((2,), torch.float32, 0, 1)
    agent = actor_critic(
        spec, torso=MLPTorso(hidden=()), ensemble=1, backup=PolicyBackup(smoothing=0.0), auxiliary=auxiliary, **slots
    )  # fmt: skip
    for parameter in agent.target_actor.parameters():
        parameter.zero_()
    agent.target_actor.last.bias_0.fill_(1.0)
    return agent


def transitions(agent, **extra) -> Batch:
    size = 3
    noise = made_up(agent, agent.spec, size=size).noise
    obs, action, after = torch.tensor([[1.0, 0.0]] * size), torch.full((size, 1), -0.5), torch.tensor([[3.0, 4.0]] * size)
    batch = make_batch(obs, action, [9.0] * size, 0.9, 7 * after, noise=noise)
    return batch._replace(extra={"successor": after, "terminated": torch.tensor([False, True, False])})


TANH = math.tanh(1.0)


def test_the_latent_of_the_next_pair_is_predicted():
    """Φ(s', a') = (3, 4, tanh 1), and the predictor answers Φ(s, a) = (1, 0, −0.5)."""
    agent = linear(partial(SelfPrediction, latent=None, hidden=(), loss="squared", scale=0.5))
    forth = agent.chain.online.beside["forth"]
    assert forth.weight_0.shape == (1, 3, 3)  # the action is in Φ, and no other input tells it
    forth.weight_0.copy_(torch.eye(3)[None])
    forth.bias_0.zero_()
    term = agent.auxiliary(*agent.views(transitions(agent)))
    expected = 2.0**2 + 4.0**2 + (TANH + 0.5) ** 2
    assert term.metrics["train/auxiliary_loss"].item() == pytest.approx(expected)
    assert term.loss.item() == pytest.approx(0.5 * expected)


def test_the_values_of_random_rewards_are_those_of_pairs_and_the_rewards_those_of_observations():
    """V̄(s', a') = 3 + 2 · 4 + 4 tanh 1, V(s, a) = 2 · 1 − 6 · 0.5, and the reward is the first component of s."""
    agent = linear(partial(RandomRewards, discount=0.5, heads=1, scale=0.1))
    for network, weight in ((agent.chain.online, [2.0, 3.0, 6.0]), (agent.chain.target, [1.0, 2.0, 4.0])):
        network.beside.weight_0.copy_(torch.tensor(weight).view(1, 3, 1))
        network.beside.bias_0.zero_()
    agent.auxiliary.rewards = lambda obs: obs[:, :1]
    total = agent.auxiliary(*agent.views(transitions(agent))).loss
    going_on, terminated = 1 + 0.5 * (11 + 4 * TANH) - (2 - 3), 1 - (2 - 3)
    assert total.item() == pytest.approx(0.1 * (2 * going_on**2 + terminated**2) / 3)


@pytest.mark.parametrize("spec", [CONTINUOUS, IMAGES], ids=["vectors", "images"])
def test_random_rewards_do_not_change_while_features_are_learned(spec):
    """They are a function of the observation, for images too, and their statistics those of what was collected."""
    agent = actor_critic(spec, auxiliary=LOSSES["random_rewards"])
    batch = batch_of(agent, 1)
    raw = agent.auxiliary.raw(batch.obs)
    reward, flags = np.zeros(B, np.float32), np.zeros(B, bool)
    agent.observe(Rows(batch.obs.numpy(), batch.action.numpy(), reward, batch.next_obs.numpy(), flags, flags, reward))
    torch.testing.assert_close(agent.auxiliary.mean.float(), raw.mean(0))
    updates(agent, 2)
    assert torch.equal(agent.auxiliary.raw(batch.obs), raw)


def test_the_variance_is_the_mean_over_the_critics_that_are_fitted_to_one_target():
    """y = 1 + 0.5 · min(10, 9) with Q̄⁻, critics Q̄ at 4 and 8: v = ((5.5 − 4)² + (5.5 − 8)²) / 2 = 4.25, and F = 1."""
    agent = actor_critic(chain=TARGETS["one"], weighting=partial(InverseVariance, least_variance=0.0))
    part = agent.weighting
    constants(agent.chain.target, 4.0, 8.0)
    constants(part.previous, 10.0, 9.0)
    for parameter in part.net.parameters():
        parameter.zero_()
    batch = batch_of(agent, 1)._replace(reward=torch.ones(B), discount=torch.full((B,), 0.5))
    term = agent.objectives["variance"].loss(batch)
    assert term.loss.item() == pytest.approx(4.25 - 1.0 - 0.5)  # Huber at one
    assert term.error.tolist() == pytest.approx([2.0] * B)  # (1.5 + 2.5) / 2
    assert term.metrics["train/variance"].shape == (1, B)  # one number for each iteration


def test_the_weight_of_a_sample_multiplies_the_losses_of_all_critics():
    agent, plain = actor_critic(chain=TARGETS["one"], weighting=InverseVariance), actor_critic(chain=TARGETS["one"])
    batch = batch_of(agent, 1)
    variance = 1.0 + torch.arange(B) % 4
    agent.weighting.variance = lambda net, batch: variance.view(1, B)
    agent.weighting.log_scale.zero_()
    weighted = plain.critic_loss(batch._replace(weight=1.0 / variance)).loss
    torch.testing.assert_close(agent.critic_loss(batch).loss, weighted)
    assert agent.critic_loss(batch).loss != plain.critic_loss(batch).loss


# ---- upkeep


@pytest.mark.parametrize("chain", TARGETS)
def test_weights_are_renewed_before_the_targets_at_a_new_iteration(chain):
    agent = actor_critic(chain=TARGETS[chain], weighting=InverseVariance)
    updates(agent, T - 1)
    update(agent, batch_of(agent, T))
    target, net = snapshot(agent.chain.target), snapshot(agent.weighting.net)
    agent.tick(T - 1, T)
    assert same(snapshot(agent.weighting.previous), target)
    assert same(snapshot(agent.weighting.frozen), net)
    assert not same(snapshot(agent.chain.target), target)


@pytest.mark.parametrize("chain", ["polyak", "separate"])
def test_what_is_beside_the_heads_moves_with_the_critics(chain):
    agent = actor_critic(chain=CHAINS[chain], auxiliary=LOSSES["random_rewards"], actor_period=1)
    updates(agent, T - 1)
    before = agent.chain.target.beside.weight_0.clone()
    update(agent, batch_of(agent, T))
    online = agent.chain.online.beside.weight_0.clone()
    agent.tick(T - 1, T)
    target = agent.chain.target.beside.weight_0
    assert target.shape[0] == (2 if chain == "polyak" else 4)  # K·E
    torch.testing.assert_close(target[:2], before.lerp(online, 0.25) if chain == "polyak" else online[:2])
    if chain == "separate":  # Q_1 ← Q_2, both critics of it
        assert torch.equal(agent.chain.online.beside.weight_0[:2], online[2:])


def test_a_reset_renews_weighting_and_auxiliary():
    slots = {"chain": TARGETS["one"], "weighting": InverseVariance, "auxiliary": LOSSES["self_prediction"], "resets": Resets(period=2)}
    one, other = actor_critic(**slots), actor_critic(**slots)
    start = snapshot(one)
    updates(one, 2)
    updates(other, 2, first=51)
    assert same(snapshot(one), snapshot(other))
    assert not torch.equal(one.weighting.net.torso.weight_0, start["weighting.net.torso.weight_0"])
    assert not torch.equal(one.chain.online.beside["forth"].weight_0, start["chain.online.beside.forth.weight_0"])


@pytest.mark.parametrize(("loss", "chain"), once(tuple(LOSSES), ("one", "shared")))
def test_a_restored_agent_goes_on_bit_for_bit(chain, loss):
    slots = {"chain": TARGETS[chain], "auxiliary": LOSSES[loss], "weighting": InverseVariance}
    agent, other = (sac(seed=seed, **slots) for seed in (0, 1))
    updates(agent, T + 1)
    other.load_state(copy.deepcopy(agent.state()))
    for each in (agent, other):
        updates(each, T, first=T + 2)
    assert same(snapshot(agent), snapshot(other))
    assert equal(agent.state()["optimizers"], other.state()["optimizers"])


# ---- modes


MODES = {("vectors", "random_rewards")}


@pytest.mark.parametrize(
    ("kind", "loss"),
    [
        pytest.param(kind, loss, marks=() if (kind, loss) in MODES else pytest.mark.exhaustive)
        for kind in ("vectors", "images")
        for loss in LOSSES
    ],
)
def test_other_modes_are_the_reference(kind, loss):
    spec = CONTINUOUS if kind == "vectors" else IMAGES
    weights = {}
    for mode in ("reference", "fast", "compiled"):
        agent = sac(spec, chain=TARGETS["shared"], auxiliary=LOSSES[loss], weighting=InverseVariance, optimizer=Adam(lr=0.01, eps=1e-3))
        start = torch.cat([parameter.flatten() for parameter in agent.parameters()]).clone()
        apply(agent, mode)
        kind = partial(CompiledLearner, backend="eager") if mode == "compiled" else Learner
        learner = kind(agent, lambda batch: batch)
        updates(agent, T + 1, learner=learner)
        weights[mode] = torch.cat([parameter.flatten() for parameter in agent.parameters()])
    moved = (weights["reference"] - start).norm()
    for mode in ("fast", "compiled"):
        assert (weights[mode] - weights["reference"]).norm() < 1e-4 * moved


# ---- refusals


@pytest.mark.parametrize(
    ("option", "provider"),
    [
        ("weighting=inverse_variance", "chain=polyak"),
        ("auxiliary=gradient_correction", "actor=deterministic"),
        ("backup=max", "actor=deterministic"),
        ("backup=rbis", "actor=deterministic"),
        ("backup=peng", "actor=deterministic"),
    ],
)
def test_what_critics_cannot_have_is_refused_by_the_table(option, provider):
    with pytest.raises(ConfigError, match=f"agent/{option} needs .*, and agent/{provider} offers none"):
        build_agent(settled("agent=td3", "env=classic/pendulum", f"agent/{option}"), CONTINUOUS)


def test_a_gradient_through_a_maximum_is_refused_from_python_too():
    with pytest.raises(ValueError, match="agent/backup=max, double or mellowmax, not method"):
        actor_critic(chain=TargetFree, auxiliary=GradientCorrection)
