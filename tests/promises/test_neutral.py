"""Every choice has a neutral element, bit for bit. Each test also shows that the choice does something when it is not neutral."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from deeprl.agents.idqn import Iterated
from deeprl.learning.backups.bellman import Double, Max
from deeprl.learning.networks.heads import Scalar
from deeprl.learning.optim.adam import Adam
from deeprl.learning.parts.chains import Single, anchor_
from deeprl.learning.parts.polyak import Polyak
from deeprl.learning.transforms.observations import Running
from deeprl.learning.transforms.rewards import Clip, Raw
from deeprl.learning.values.reduce import First, Mean, Minimum
from deeprl.running.training.learner import gradient
from deeprl.schedules import Constant, Linear
from tests.builders import DISCRETE, actor_critic, entry, random_batch, same, snapshot, train, update, value_agent

B, T = 11, 5


def updates(agent, count: int, first: int = 1) -> None:
    """Whole updates with their clocks, one environment step each."""
    for step in range(first, first + count):
        noise = agent.noise((1, B), torch.Generator().manual_seed(step))
        update(agent, random_batch(agent.spec, B, step, entry(noise, 0)))
        agent.tick(step - 1, step)


def dqn(**slots):
    return value_agent(chain=partial(Single, target_update_period=T), **slots)


# ---- K = 1 is DQN


@pytest.mark.parametrize("torso", ["shared", "separate"])
@pytest.mark.parametrize("backup", [Max(), Double()])
def test_a_chain_of_one_is_dqn(torso, backup):
    """Whatever D, the reduction over heads and the rule of acting are."""
    chain = partial(Iterated, length=1, shift_period=T, sync_period=2, torso=torso, head_reduction="mean")
    one, plain = value_agent(chain=chain, backup=backup), dqn(backup=backup)
    for agent in (one, plain):
        updates(agent, 3 * T + 2)
    assert same(snapshot(one), snapshot(plain))
    assert same(one.objectives["value"].optimizer.state_dict(), plain.objectives["value"].optimizer.state_dict())
    assert not same(snapshot(one.chain.online), snapshot(one.chain.target))


@pytest.mark.parametrize("acting", ["uniform", "first", "last", "mean", "episode"])
def test_a_chain_of_one_acts_like_dqn(acting):
    one, plain = value_agent(chain=partial(Iterated, length=1, acting=acting)), dqn()
    obs, first = torch.randn(4, 5), torch.ones(4, dtype=torch.bool)
    for agent in (one, plain):
        agent.explore = type(agent.explore)(Constant(0.3))
    acted = []
    for agent in (one, plain):
        noise = agent.act_noise((1, 4), torch.Generator().manual_seed(0))
        acted.append(agent.act(obs, first, {}, 0, entry(noise, 0), True))
    assert torch.equal(acted[0].action, acted[1].action)
    assert torch.equal(acted[0].probability, acted[1].probability)


TOY = ("env=toy/chain", "env.num=2", "env.slip=0.2", "steps=140", "replay.learning_starts=50", "replay.capacity=100", "agent/torso=mlp",
       "env.max_episode_steps=20", "agent.torso.hidden=[16]", "evaluation.every=null", "evaluation.final_episodes=2", "log.every=100",
       "checkpoint.every=null")  # fmt: skip
DQN = ("agent=dqn", "agent.chain.target_update_period=20")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """DQN on a slippery chain: 90 updates, and a replay that wraps around."""
    trainer = train(tmp_path_factory.mktemp("neutral") / "dqn", *TOY, *DQN)
    assert trainer.agent.updates == 90
    return trainer.agent


def equal(one, other) -> bool:
    """Weights, targets, Adam's moments."""
    pairs = zip(one.objectives.values(), other.objectives.values())
    return same(snapshot(one), snapshot(other)) and all(same(a.optimizer.state_dict(), b.optimizer.state_dict()) for a, b in pairs)


def test_a_chain_of_one_trains_like_dqn(trained, tmp_path):
    chain = ("agent=idqn", "agent.chain.length=1", "agent.chain.shift_period=20")
    assert equal(train(tmp_path / "one", *TOY, *chain).agent, trained)
    two = train(tmp_path / "two", *TOY, "agent=idqn", "agent.chain.length=2", "agent.chain.shift_period=20").agent
    assert not torch.equal(two.chain.online.torso.weight_0, trained.chain.online.torso.weight_0)


@pytest.mark.parametrize("more", [("replay.sampler.normalization=global",), ("replay.sampler.initial=one", "replay.sampler.epsilon=0.5")])
def test_prioritised_replay_without_priorities_trains_like_uniform_replay(trained, tmp_path, more):
    uniform = train(tmp_path / "run", *TOY, *DQN, "replay=prioritized", "replay.sampler.alpha=0", *more)
    assert uniform.source.prioritized
    assert equal(uniform.agent, trained)


def test_priorities_matter_if_there_are_any(trained, tmp_path):
    assert not equal(train(tmp_path / "run", *TOY, *DQN, "replay=prioritized").agent, trained)


def test_watching_a_run_does_not_change_it(trained, tmp_path):
    watched = ("evaluation.every=40", "evaluation.episodes=3", "checkpoint.every=60", "log.every=8", "evaluation.num=2")
    assert equal(train(tmp_path / "run", *TOY, *DQN, *watched).agent, trained)


def test_rewards_cut_off_at_no_bound_are_raw(trained, tmp_path):
    raw = train(tmp_path / "raw", *TOY, *DQN, "agent/rewards=raw").agent
    assert equal(train(tmp_path / "clip", *TOY, *DQN, "agent/rewards=clip", "agent.rewards.bound=null").agent, raw)
    assert equal(raw, trained)
    assert not equal(train(tmp_path / "half", *TOY, *DQN, "agent/rewards=clip", "agent.rewards.bound=0.5").agent, raw)


def test_clip_without_bound_gives_the_very_tensor():
    reward = torch.tensor([-1e9, 3.0])
    assert Clip(bound=None)(reward) is reward is Raw()(reward)
    assert torch.equal(Clip(bound=1e9)(reward), reward)


# ---- ensembles and targets


def test_one_critic_is_its_minimum_and_its_mean():
    states = []
    for reduce in (First(), Minimum(), Mean()):
        agent = actor_critic(ensemble=1, reduce=reduce, actor_reduce=reduce)
        updates(agent, 6)
        states.append(snapshot(agent))
    assert same(states[0], states[1])
    assert same(states[0], states[2])


def test_of_two_critics_minimum_mean_and_first_differ():
    states = []
    for reduce in (First(), Minimum(), Mean()):
        agent = actor_critic(seed=1, reduce=reduce)  # with seed 0 the first critic is the lower one everywhere
        updates(agent, 2)
        states.append(snapshot(agent.chain.online))
    assert not any(same(states[i], states[j]) for i, j in ((0, 1), (0, 2), (1, 2)))


def test_a_polyak_step_of_one_is_a_copy():
    """lerp is exact at 1; q + 1 · (target − q) is not."""
    agent = actor_critic(chain=partial(Polyak, tau=1.0), actor_period=1)
    for parameter in agent.chain.target.parameters():
        parameter *= -3.0  # far from the online one: of near numbers, differences are exact
    start = snapshot(agent.chain.target)
    updates(agent, 1)
    assert same(snapshot(agent.chain.target), snapshot(agent.chain.online))
    assert not same(snapshot(agent.chain.online), start)


def test_double_is_max_while_both_networks_are_the_same():
    batch = random_batch(DISCRETE, B)
    agents = [dqn(backup=backup) for backup in (Max(), Double())]
    gradients = []
    for agent in agents:
        updates(agent, 2 * T - 1)
        gradients.append(gradient(agent, "value", batch)[0])
    assert not all(map(torch.equal, *gradients))  # networks differ: so do the backups
    gradients = []
    for agent in agents:
        agent.load_state_dict(agents[0].state_dict())
        anchor_(agent.chain.target, agent.chain.online)
        gradients.append(gradient(agent, "value", batch)[0])
    assert all(map(torch.equal, *gradients))


# ---- smaller choices


def test_statistics_before_any_data_and_schedules_that_stand_still():
    plain = dqn()
    updates(plain, 7)
    for slots in (
        {"normalize": Running},  # nothing observed: mean 0, scale 1
        {"optimizer": Adam(lr=0.01, schedule=Linear(start=1.0, end=1.0, duration=3))},
        {"optimizer": Adam(lr=0.01, schedule=Constant(1.0))},
        {"optimizer": Adam(lr=0.01, max_grad_norm=1e9)},
    ):
        other = dqn(**slots)
        updates(other, 7)
        assert same(snapshot(other.chain), snapshot(plain.chain)), slots


def test_noisy_layers_without_scale_are_those_without_noise():
    """Noise times σ = 0 adds nothing, and nothing drives the means apart."""
    quiet = dqn(head=Scalar(noisy=True, sigma=0.0))
    loud = dqn(head=Scalar(noisy=True, sigma=0.5))
    batch = random_batch(DISCRETE, B)
    for agent, expected in ((quiet, True), (loud, False)):
        noise = entry(agent.noise((1, B), torch.Generator().manual_seed(1)), 0)
        with torch.no_grad():
            drawn, bare = agent.loss(batch._replace(noise=noise)).loss, agent.loss(batch).loss
        assert torch.equal(drawn, bare) == expected


def test_weights_of_one_and_a_batch_that_is_all_valid():
    agent, batch = dqn(), random_batch(DISCRETE, B)
    with torch.no_grad():
        loss = agent.loss(batch).loss
        error = agent.chain.online(batch.obs).at(batch.action).q[0] - (
            batch.reward + batch.discount * agent.chain.target(batch.next_obs).mean()[0].max(-1).values
        )
    torch.testing.assert_close(loss, error.square().mean())
