"""Batch renormalisation and target-free critics: worked examples, torch's own layer, neutral elements, and whole agents."""

from __future__ import annotations

import math
from dataclasses import fields
from functools import partial

import pytest
import torch
from torch import nn

from deeprl.errors import ConfigError, NotFinite
from deeprl.learning.backups.actor import PolicyBackup
from deeprl.learning.networks.batch_renorm import BatchRenormMLP
from deeprl.learning.networks.torsos import MLPTorso
from deeprl.learning.parts.chains import Single
from deeprl.learning.parts.polyak import JointPolyak
from deeprl.learning.parts.target_free import TargetFree
from deeprl.learning.values.reduce import First
from deeprl.running.config.build import build_agent
from deeprl.running.config.dry_run import made_up_batch
from deeprl.running.config.instantiate import instantiate
from deeprl.running.training.learner import CompiledLearner, Learner, gradient
from deeprl.types import Spec
from tests.builders import CONTINUOUS, assert_close32, flat, made_up, sac, same, settled, snapshot, spec_of, traced_gradient, value_agent
from tests.learning.networks.test_blocks import built

ONE = Spec((1,), torch.float32, 3, 0)
FIVE = Spec((5,), torch.float32, 3, 0)


def norm_alone(**fields) -> nn.Module:
    """One observation of one number, and no layer: features are the normalised observation."""
    return built(BatchRenormMLP(hidden=(), epsilon=0.0, **fields).build(ONE, 1))


def stored(torso: nn.Module, statistics: dict[str, torch.Tensor]) -> None:
    for name, value in statistics.items():
        torso.get_buffer(name).copy_(value)


def test_the_worked_batch():
    """x = (1, 5): μ = 3, σ = 2. Running μ̄ = 0, σ̄ = 1, so that r = 2 and d = 3: x̂ = (−1, 1), and (1, 5) = x with the corrections. A
    momentum of 0.75 leaves μ̄ = 0.75 and σ̄² = 0.75 · 1 + 0.25 · 4 = 1.75."""
    x = torch.tensor([[1.0], [5.0]])
    for settle, expected in ((1, [-1.0, 1.0]), (0, [1.0, 5.0])):
        features, new = norm_alone(momentum=0.75, settle=settle).learn(x)
        assert features.flatten().tolist() == pytest.approx(expected, abs=1e-6)
        assert new["taken"] == 1
        assert new["running_mean_0"].item() == pytest.approx(0.75)
        assert new["running_variance_0"].item() == pytest.approx(1.75)


def test_corrections_are_cut_off():
    """r = 2 becomes 1.5 and d = 3 becomes 0.5: x̂ = ∓ 1.5 + 0.5."""
    torso = norm_alone(settle=0, largest_ratio=1.5, largest_shift=0.5)
    assert torso.learn(torch.tensor([[1.0], [5.0]]))[0].flatten().tolist() == pytest.approx([-1.0, 2.0])


def test_corrections_have_no_gradient():
    """With r and d constant the gradient of Σ x̂ is that of Σ (x − μ) / σ, which is 0; through r and d it would be that of Σ x."""
    x = torch.tensor([[1.0], [5.0]], requires_grad=True)
    norm_alone(settle=0).learn(x)[0].sum().backward()
    assert x.grad is not None
    assert x.grad.flatten().tolist() == pytest.approx([0.0, 0.0], abs=1e-6)


def test_settled_features_are_the_same_in_the_loss_and_outside():
    torso = built(BatchRenormMLP(hidden=(6, 4), settle=0, largest_ratio=1e9, largest_shift=1e9).build(FIVE, 2))
    x = torch.randn((16, 5), generator=torch.Generator().manual_seed(0)) * 3 + 1
    for _ in range(3):
        features, statistics = torso.learn(x)
        torch.testing.assert_close(features, torso(x))
        stored(torso, statistics)


def test_before_it_settles_it_is_batch_normalisation():
    """Torch's layers with the same weights, both in training and in evaluation; its running variance has Bessel's correction."""
    torso = built(BatchRenormMLP(hidden=(6,), momentum=0.9).build(FIVE, 2))
    for name, parameter in torso.named_parameters():
        if name.startswith("norm"):
            parameter.add_(torch.rand(parameter.shape, generator=torch.Generator().manual_seed(1)))
    batches = torch.randn((4, 8, 5), generator=torch.Generator().manual_seed(2)) * 2 - 1
    for entry in range(2):
        torso.restart_()
        linear, norms = nn.Linear(5, 6), [nn.BatchNorm1d(width, eps=1e-3, momentum=0.1) for width in (5, 6)]
        linear.weight.data.copy_(torso.weight_0[entry].mT)
        linear.bias.data.copy_(torso.bias_0[entry, 0])
        for i, norm in enumerate(norms):
            norm.weight.data.copy_(torso.of("norm_scale", i)[entry, 0])
            norm.bias.data.copy_(torso.of("norm_shift", i)[entry, 0])
        plain = nn.Sequential(norms[0], linear, nn.ReLU(), norms[1])
        for x in batches:
            features, statistics = torso.learn(x)
            torch.testing.assert_close(features[entry], plain(x))
            stored(torso, statistics)
        for i, norm in enumerate(norms):
            torch.testing.assert_close(torso.of("running_mean", i)[entry, 0], norm.running_mean)
            assert norm.running_var is not None
            norm.running_var.copy_(torso.of("running_variance", i)[entry, 0])
        torch.testing.assert_close(torso(batches[0])[entry], plain.eval()(batches[0]))


def test_fields_are_checked():
    for wrong, message in (
        ({"hidden": 8}, "hidden must be a list of positive integers"),
        ({"momentum": 1.5}, "momentum must be between 0 and 1, not 1.5"),
        ({"settle": -1}, "settle must be a whole number of at least 0, not -1"),
        ({"largest_ratio": 0.5}, "largest_ratio must be at least 1, not 0.5"),
        ({"init": "he"}, "init must be one of torch.*, not 'he'"),
    ):
        with pytest.raises(ValueError, match=message):
            BatchRenormMLP(**wrong)


def test_the_file_says_what_the_class_says():
    node = settled("agent=dqn", "env=toy/chain", "agent/chain=online_target", "agent/torso=batch_renorm")["agent"]["torso"]
    assert instantiate(node, "torso") == BatchRenormMLP()
    assert set(node) - {"_target_"} == {field.name for field in fields(BatchRenormMLP)}


def test_target_networks_are_refused_beside_it():
    with pytest.raises(ConfigError, match="agent/torso=batch_renorm needs both ends of a batch in one evaluation.*agent/chain=polyak"):
        build_agent(settled("agent=sac", "env=classic/pendulum", "agent/torso=batch_renorm"), spec_of("classic/pendulum"))


# ---- target-free critics


@pytest.mark.parametrize("kind", ["sac", "dqn"])
def test_without_statistics_target_free_is_a_target_that_is_never_behind(kind):
    """Loss and gradient of a target network that is a fresh copy."""

    def make(chain):
        return sac(CONTINUOUS, chain=chain) if kind == "sac" else value_agent(FIVE, chain=chain)

    free, copied = make(TargetFree), make(partial(Single, target_update_period=1))
    batch = made_up(copied, copied.spec)
    for step in range(3):
        for name in free.objectives:
            (mine, one), (theirs, other) = (gradient(agent, name, batch) for agent in (free, copied))
            torch.testing.assert_close(flat(mine), flat(theirs), rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(one.error, other.error)
        for agent in (free, copied):
            Learner(agent, lambda batch: batch).update(batch)
            agent.tick(step, step + 1)
    assert not any(name.startswith("chain.target") for name in free.state_dict())


def crossq(**fields):
    return sac(
        CONTINUOUS, chain=TargetFree, torso=BatchRenormMLP(hidden=(7, 6), **fields), actor_torso=BatchRenormMLP(hidden=(5,), **fields)
    )


def test_statistics_are_those_of_both_ends():
    """The critics' first norm sees (s, a) and (s', a') of one batch: its new mean is a hundredth of the mean of both."""
    agent = crossq()
    batch = made_up(agent, CONTINUOUS, size=8)
    learned = agent.loss_of("critic", batch)
    mean = learned.statistics["chain.online.torso.running_mean_0"][0, 0, :5]
    torch.testing.assert_close(mean, 0.01 * torch.cat([batch.obs, batch.next_obs]).mean(0))
    assert {name.rpartition(".")[0] for name in learned.statistics} == {"chain.online.torso"}
    learned = agent.loss_of("actor", batch)
    assert {name.rpartition(".")[0] for name in learned.statistics} == {"actor.torso"}


def test_the_loss_is_that_of_one_evaluation_of_both_ends():
    """Written down once more: (s, a) and (s', a') in one batch, both by its moments, the minimum of the second half as target; a' by the
    actor's averages."""
    agent = crossq()
    for seed in range(3):
        Learner(agent, lambda batch: batch).update(made_up(agent, CONTINUOUS, size=8, seed=seed))
    batch = made_up(agent, CONTINUOUS, size=8, seed=9)
    action, log_prob = agent.actor.sample(batch.next_obs, batch.noise["next_action"])
    assert log_prob is not None
    pairs = torch.cat([torch.cat([batch.obs, batch.action], -1), torch.cat([batch.next_obs, action], -1)])
    network = agent.chain.online
    now, later = network.head.advantage(network.torso.learn(pairs)[0])[..., 0].chunk(2, 1)  # (2, 8) each
    target = batch.reward + batch.discount * (later.amin(0) - agent.temperature() * log_prob)
    torch.testing.assert_close(agent.critic_loss(batch).loss, (now - target).square().mean(1).sum())


@pytest.mark.parametrize("kind", ["sac", "dqn"])
def test_moments_are_those_of_transitions(kind):
    """What a row of a sequence that is no transition holds, changes neither a loss nor a statistic; a batch of sequences without such rows
    has the moments of its rows."""
    torso = BatchRenormMLP(hidden=(7,))
    agent = crossq() if kind == "sac" else value_agent(FIVE, chain=TargetFree, torso=torso)
    batch = made_up_batch(agent, agent.spec, (3, 4))
    valid = torch.ones(3, 4, dtype=torch.bool)
    valid[1, 2] = False
    batch = batch._replace(valid=valid, discount=batch.discount * valid)
    strange = batch._replace(obs=batch.obs.clone(), next_obs=batch.next_obs.clone())
    strange.obs[1, 2], strange.next_obs[1, 2] = 1000.0, -1000.0
    for name in agent.objectives:
        one, other = agent.loss_of(name, batch), agent.loss_of(name, strange)
        torch.testing.assert_close(one.loss, other.loss)
        assert one.statistics
        for place, value in one.statistics.items():
            torch.testing.assert_close(other.statistics[place], value, msg=place)
    rows = torch.randn((12, 5), generator=torch.Generator().manual_seed(0))
    block = built(torso.build(FIVE, 1))
    (plain, new), (counted, same_new) = block.learn(rows), block.learn(rows, torch.ones(12, dtype=torch.bool))
    torch.testing.assert_close(counted, plain)
    torch.testing.assert_close(same_new["running_variance_1"], new["running_variance_1"])


def test_each_loss_changes_the_statistics_of_its_own_networks():
    agent = crossq()
    batch = made_up(agent, CONTINUOUS, size=8)
    for number in (1, 2):
        Learner(agent, lambda batch: batch).update(batch)
        assert agent.chain.online.torso.taken == agent.actor.torso.taken == number
    before = snapshot(agent)
    agent.act(batch.obs, torch.ones(8, dtype=torch.bool), {}, 0, {}, explore=False)
    assert same(before, snapshot(agent))


@pytest.mark.parametrize("settle", [0, pytest.param(100, marks=pytest.mark.exhaustive)])
def test_the_traced_update_is_the_plain_one(settle):
    """Gradients of every objective, and all statistics after one update and after three. Weights are not compared, because Adam scales up
    gradients that are rounding alone: those of biases before a norm, which then move its mean, so that later statistics are only near."""
    plain, traced = crossq(settle=settle), crossq(settle=settle)
    batch = made_up(plain, CONTINUOUS, size=16)
    for name in plain.objectives:
        found, learned = traced_gradient(plain, name, batch)
        expected, other = gradient(plain, name, batch)
        assert_close32(flat(found), flat(expected))
        torch.testing.assert_close(learned.error, other.error)
    learners = Learner(plain, lambda batch: batch), CompiledLearner(traced, lambda batch: batch, backend="eager")
    for number in range(3):
        for learner in learners:
            learner.update(batch)
        for name, buffer in plain.named_buffers():
            torch.testing.assert_close(buffer, traced.get_buffer(name), rtol=1e-3, atol=1e-3 if number else 1e-6)
    assert plain.actor.torso.taken == 3


@pytest.mark.parametrize("compiled", [False, True])
def test_an_update_that_is_not_finite_changes_no_statistics(compiled):
    agent = crossq()
    batch = made_up(agent, CONTINUOUS, size=8)
    learner = CompiledLearner(agent, lambda batch: batch, backend="eager") if compiled else Learner(agent, lambda batch: batch)
    learner.update(batch)
    before = snapshot(agent)
    with pytest.raises(NotFinite):
        learner.update(batch._replace(reward=torch.full_like(batch.reward, math.nan)))
    assert same(before, snapshot(agent))


def test_a_reset_forgets_the_statistics():
    agent = crossq()
    Learner(agent, lambda batch: batch).update(made_up(agent, CONTINUOUS, size=8))
    agent.reset(1)
    for torso in (agent.chain.online.torso, agent.actor.torso):
        assert torso.taken == 0
        assert not torso.of("running_mean", 0).any()
        assert torso.of("running_variance", 0).eq(1).all()


def test_a_reset_forgets_the_statistics_of_the_target_too():
    """After a reset nothing is left of the batches: agents that saw different data are the same."""
    agents = [
        sac(CONTINUOUS, chain=JointPolyak, torso=BatchRenormMLP(hidden=(7,)), actor_torso=BatchRenormMLP(hidden=(5,))) for _ in range(2)
    ]
    for seed, agent in enumerate(agents):
        Learner(agent, lambda batch: batch).update(made_up(agent, CONTINUOUS, size=8, seed=seed))
        assert agent.chain.target.torso.taken == 1
        agent.reset(1)
    assert agents[0].chain.target.torso.taken == 0
    assert same(snapshot(agents[0]), snapshot(agents[1]))


def test_a_target_actor_copies_the_statistics():
    """At tau = 1, with which a target-free chain moves its companions, the target actor is the actor."""
    agent = sac(CONTINUOUS, chain=TargetFree, actor_torso=BatchRenormMLP(hidden=(5,)), backup=PolicyBackup(smoothing=0.0))
    batch = made_up(agent, CONTINUOUS, size=8)
    Learner(agent, lambda batch: batch).update(batch)
    assert agent.target_actor is not None
    assert torch.equal(agent.target_actor(batch.obs), agent.actor(batch.obs))


def test_one_critic_of_two_serves_the_actor():
    """TD3's actor sees the first critic only; with statistics all critics are evaluated, and the value is the same."""
    agent = sac(CONTINUOUS, chain=TargetFree, torso=BatchRenormMLP(hidden=(7,)), actor_reduce=First())
    batch = made_up(agent, CONTINUOUS, size=8)
    x = torch.cat([batch.obs, batch.action], -1)
    torch.testing.assert_close(agent.actor_value(x, batch.noise), agent.chain.online(x).q[0, :, 0])


def test_plain_torsos_have_no_statistics():
    agent = sac(CONTINUOUS, chain=TargetFree, torso=MLPTorso(hidden=(7,)))
    assert agent.loss_of("critic", made_up(agent, CONTINUOUS)).statistics == {}
