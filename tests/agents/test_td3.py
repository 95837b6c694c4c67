"""TD3 and DDPG: what moves when, and what knows of what."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from deeprl.learning.backups.actor import PolicyBackup
from deeprl.learning.optim.adam import Adam
from deeprl.learning.parts.polyak import Polyak
from deeprl.learning.values.reduce import First
from deeprl.running.training.learner import gradient
from tests.builders import CONTINUOUS, DISCRETE, actor_critic, entry, lines, random_batch, same, snapshot, train, update

B = 11


def batches(agent, count: int, first: int = 1):
    """With the noise that the agent asks for."""
    for seed in range(first, first + count):
        noise = agent.noise((1, B), torch.Generator().manual_seed(1000 + seed))
        yield random_batch(CONTINUOUS, B, seed, entry(noise, 0))


def constants(critics, *values: float) -> None:
    """Critic e answers values[e], whatever it is asked."""
    for name, parameter in critics.named_parameters():
        parameter.zero_()
        if name == "head.advantage.bias_0":
            parameter.copy_(torch.tensor(values).view(parameter.shape))


def said(critics, obs, action):
    """(K·E, B)"""
    return critics(torch.cat([obs, action], -1)).mean()[..., 0]


# ---- the target


@pytest.mark.parametrize(("discount", "y"), [(0.99, 10.405), (0.0, 1.0)], ids=["running or truncated", "terminated"])
def test_the_target_is_the_reward_and_the_discounted_minimum(discount, y):
    agent = actor_critic()
    constants(agent.chain.target, 10.0, 9.5)
    constants(agent.chain.online, 0.0, 0.0)
    (batch,) = batches(agent, 1)
    batch = batch._replace(reward=torch.ones(B), discount=torch.full((B,), discount))
    with torch.no_grad():
        term = agent.critic_loss(batch)
    assert term.error.tolist() == pytest.approx([y] * B)  # both critics say 0
    assert term.loss.item() == pytest.approx(2 * y**2)  # the sum over the critics, not their mean


def test_smoothing_noise_is_one_number_for_each_sample_and_dimension():
    noise = actor_critic().noise((3, 4000), torch.Generator().manual_seed(0))["smoothing"]
    assert noise.shape == (3, 4000, 2)
    correlation = torch.corrcoef(noise[0].T)[0, 1]
    assert abs(correlation) < 0.05
    assert noise.std() == pytest.approx(1.0, abs=0.02)


def test_smoothed_actions_stay_near_the_actors_and_within_bounds():
    agent = actor_critic(backup=PolicyBackup(smoothing=10.0, clip=0.3))
    (batch,) = batches(agent, 1)
    backup = agent.backup
    action, _ = backup.next_action(agent.target_actor, batch.next_obs, batch.noise)
    bare = agent.target_actor(batch.next_obs)
    assert action.shape == (B, 2)
    assert (action - bare).abs().max() <= 0.3 + 1e-6
    assert action.abs().max() <= 1.0
    assert ((action - bare).abs() > 0.29).float().mean() > 0.5  # with σ̃ = 10 nearly every draw is cut off


# ---- what moves when


@pytest.mark.parametrize("period", [1, 2, 3])
def test_actor_and_targets_move_on_delayed_updates_only(period):
    agent = actor_critic(actor_period=period)
    for k, batch in enumerate(batches(agent, 9), 1):
        names = ("chain.online", "chain.target", "actor", "target_actor")
        before = {name: snapshot(agent.get_submodule(name)) for name in names}
        update(agent, batch)
        changed = {name: not same(old, snapshot(agent.get_submodule(name))) for name, old in before.items()}
        delayed = k % period == 0
        assert changed == {"chain.online": True, "chain.target": delayed, "actor": delayed, "target_actor": delayed}
    assert agent.objectives["critic"].optimizer.count == 9
    assert agent.objectives["actor"].optimizer.count == 9 // period  # ⌊k / d⌋


def test_the_order_of_an_update():
    agent = actor_critic()
    assert [agent.due(k) for k in (1, 2, 3, 4)] == [("critic",), ("critic", "actor", "target")] * 2


def test_targets_move_by_tau_towards_what_the_networks_are_now():
    agent = actor_critic(chain=partial(Polyak, tau=0.25))
    for batch in batches(agent, 2):
        old = [snapshot(agent.chain.target), snapshot(agent.target_actor)]
        update(agent, batch)
    for target, online, before in zip((agent.chain.target, agent.target_actor), (agent.chain.online, agent.actor), old):
        new = snapshot(online)
        for name, tensor in target.state_dict().items():
            torch.testing.assert_close(tensor, 0.75 * before[name] + 0.25 * new[name], rtol=1e-6, atol=1e-7)


def test_a_target_starts_as_a_copy_and_stays_within_a_flat_tensor():
    agent = actor_critic()
    assert same(snapshot(agent.chain.online), snapshot(agent.chain.target))
    agent.load_state(agent.state())
    before = snapshot(agent.chain.target)
    for batch in batches(agent, 2):
        update(agent, batch)
    assert not same(before, snapshot(agent.chain.target))  # loading a checkpoint does not cut the views


def test_two_critics_start_apart():
    weight = actor_critic().chain.online.torso.weight_0
    assert not torch.equal(weight[0], weight[1])


# ---- what knows of what


def test_the_critics_loss_gives_no_gradient_to_actor_or_targets():
    agent = actor_critic()
    (batch,) = batches(agent, 1)
    others = [*agent.actor.parameters(), *agent.target_actor.parameters(), *agent.chain.target.parameters()]
    trained = agent.objectives["critic"].parameters
    for parameter in (*others, *trained):
        parameter.requires_grad_(True)
    loss = agent.critic_loss(batch).loss
    assert all(g is None for g in torch.autograd.grad(loss, others, allow_unused=True, retain_graph=True))
    assert all(g.abs().sum() > 0 for g in torch.autograd.grad(loss, trained))


def step(agent, name, batch):
    gradients, _ = gradient(agent, name, batch)
    agent.objectives[name].optimizer.step(gradients, 0)
    return gradients


@pytest.mark.parametrize(("name", "other"), [("actor", "critic"), ("critic", "actor")])
def test_a_step_of_one_leaves_the_other_bit_for_bit(name, other):
    agent = actor_critic()
    (batch,) = batches(agent, 1)
    before = snapshot(agent)
    step(agent, name, batch)
    for key, tensor in agent.state_dict().items():
        trained = {"critic": "chain.online.", "actor": "actor."}[name]
        assert torch.equal(tensor, before[key]) != key.startswith(trained), key
    assert all(not p.requires_grad for p in agent.parameters())


def test_the_actor_climbs_the_first_critic_and_not_the_minimum():
    agent, other = actor_critic(), actor_critic()
    (batch,) = batches(agent, 1)
    for parameter in other.chain.online.parameters():
        parameter[1] -= 5.0  # the second critic
    assert all(torch.equal(a, b) for a, b in zip(step(agent, "actor", batch), step(other, "actor", batch)))
    for parameter in other.chain.online.parameters():
        parameter[0] *= -1.0
    third = actor_critic()
    assert not all(torch.equal(a, b) for a, b in zip(step(third, "actor", batch), step(other, "actor", batch)))


def test_a_step_of_the_actor_raises_its_value():
    agent = actor_critic(actor_optimizer=Adam(lr=1e-3))
    (batch,) = batches(agent, 1)

    def value():
        return said(agent.chain.online, batch.obs, agent.actor(batch.obs))[0].mean().item()

    before = value()
    step(agent, "actor", batch)
    assert value() > before


def test_weights_scale_the_critics_rows_and_invalid_rows_do_not_count():
    agent = actor_critic()
    (batch,) = batches(agent, 1)
    whole, _ = gradient(agent, "critic", batch)
    doubled, _ = gradient(agent, "critic", batch._replace(weight=torch.full((B,), 2.0)))
    for one, two in zip(whole, doubled):
        torch.testing.assert_close(2 * one, two)
    first = batch._replace(**{
        name: getattr(batch, name)[:4] for name in batch._fields if isinstance(getattr(batch, name), torch.Tensor)
    }, noise={**batch.noise, "smoothing": batch.noise["smoothing"][:4]})  # fmt: skip
    masked = batch._replace(valid=torch.arange(B) < 4)
    for name in ("critic", "actor"):
        for one, two in zip(*(gradient(agent, name, b)[0] for b in (first, masked))):
            torch.testing.assert_close(one, two)


# ---- DDPG is TD3 without its three additions

UPDATES, EPS = 20, 1e-3
"""A large ε: with 1e-8 the first step of Adam is the sign of a gradient, and rounding may turn the sign of one that is nearly zero."""


def test_td3_with_equal_critics_no_smoothing_and_no_delay_is_ddpg():
    adam = Adam(lr=0.01, eps=EPS)
    bare = {"backup": PolicyBackup(smoothing=0.0), "actor_period": 1, "optimizer": adam, "actor_optimizer": adam}
    td3, ddpg = actor_critic(**bare), actor_critic(**bare, ensemble=1, reduce=First())
    for network in (td3.chain.online, td3.chain.target):
        for parameter in network.parameters():
            parameter[1] = parameter[0]
    for batch in batches(td3, UPDATES):
        update(td3, batch)
        update(ddpg, batch)
    for (name, one), other in zip(td3.chain.named_parameters(), ddpg.chain.parameters()):
        torch.testing.assert_close(one, other.expand_as(one), rtol=1e-5, atol=1e-6, msg=name)


# ---- state and refusals


@pytest.mark.parametrize("at", [4, 5])
def test_a_checkpoint_in_the_middle_of_a_delay_goes_on_bit_for_bit(at):
    whole, resumed = actor_critic(), actor_critic(seed=9)
    for batch in batches(whole, at):
        update(whole, batch)
    state = whole.state()
    resumed.load_state({**state, "module": {name: t.clone() for name, t in state["module"].items()}})
    for batch in batches(whole, 4, first=at + 1):
        update(whole, batch)
        update(resumed, batch)
    assert same(snapshot(whole), snapshot(resumed))
    assert whole.updates == resumed.updates == at + 4


def test_spaces_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="takes continuous actions, and the environment's actions are discrete"):
        actor_critic(DISCRETE)
    with pytest.raises(ValueError, match="^actor_period must be a whole number of at least 1"):
        actor_critic(actor_period=0)
    with pytest.raises(ValueError, match="^tau must be above 0 and at most 1"):
        actor_critic(chain=partial(Polyak, tau=1.5))
    with pytest.raises(ValueError, match="^ensemble must be a whole number of at least 1"):
        actor_critic(ensemble=0)


def test_numbers_of_the_actor_are_logged_where_the_last_update_was_of_the_critics_alone(tmp_path):
    small = ("agent.torso.hidden=[4]", "agent.actor_torso.hidden=[4]", "replay.batch_size=4", "replay.capacity=200", "runtime.threads=1")
    pendulum = "env=classic/pendulum", "env.max_episode_steps=20"
    short = ("steps=100", "log.every=50", "evaluation.every=null", "evaluation.final_episodes=1", "checkpoint.every=null")
    for name, starts in (("even", 20), ("odd", 21)):
        train(tmp_path / name, "agent=td3", *pendulum, f"replay.learning_starts={starts}", *small, *short)
        logged = [line for line in lines(tmp_path / name, "metrics.jsonl") if "train/critic_loss" in line]
        assert len(logged) == 2
        assert all("train/actor_loss" in line for line in logged)
