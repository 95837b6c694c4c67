"""Agents with a core: `keep`, which ignores its state, is the agent without one, bit for bit; what is replayed is what acted."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
import torch

from deeprl import load
from deeprl.agents.idqn import Iterated
from deeprl.agents.is_dqn import IteratedShared
from deeprl.agents.iterated_polyak import IteratedPolyak
from deeprl.choice import grouped
from deeprl.learning.backups.bellman import Double
from deeprl.learning.networks.cores import GRU, LSTM, Keep, Memoryless
from deeprl.learning.networks.critics import pair
from deeprl.learning.networks.distributional import ImplicitQuantile, Quantile
from deeprl.learning.optim.differentiated import differentiated
from deeprl.learning.parts.chains import Single
from deeprl.learning.parts.pairs import sequences_of_pairs
from deeprl.learning.parts.target_free import TargetFree
from deeprl.learning.values.reduce import First, Minimum
from deeprl.noise import map_tensors
from deeprl.packing import packed_spec
from deeprl.replay.rollout import Rollout
from deeprl.replay.sequences import Sequences
from deeprl.running.config.dry_run import made_up_batch
from deeprl.tools.export.build import export
from deeprl.types import Rows, Spec
from tests.agents.test_ppo import agent_of as policy_agent
from tests.builders import CONTINUOUS, actor_critic, below, changed_by, entry, sac, same, snapshot, train, update, value_agent
from tests.learning.test_several_parts import HIDDEN, IMAGE, PLAN, VECTOR

M, T, B = 2, 6, 4


class Played:
    """Rows of a random world of 2 environments, whose episodes end after 3, 4 … steps, acted by an agent and stored."""

    def __init__(self, agent, steps: int = 40, **replay):
        self.agent, generator = agent, np.random.default_rng(0)
        needs = {"needs": agent.needs, "state_size": agent.state_size} if agent.state_size else {}
        sizes = {"capacity": 100, "batch_size": B, "length": T, "num": M, "discount": 0.9, **needs, **replay}
        self.replay = Sequences(spec=agent.spec, **grouped(Sequences, sizes))
        obs, first, memory, lasted = generator.normal(size=(M, 5)).astype(np.float32), np.ones(M, bool), {}, np.zeros(M, int)
        self.values, self.states, self.seen = [], [], []
        noise = agent.act_noise((steps, M), torch.Generator().manual_seed(1))
        for step in range(steps):
            acted = agent.act(torch.from_numpy(obs), torch.from_numpy(first), memory, 10**6, entry(noise, step), False)
            memory, lasted = acted.memory, lasted + 1
            self.seen.append(obs)
            self.values.append(acted.value)
            self.states.append(acted.state)
            after, ended = generator.normal(size=(M, 5)).astype(np.float32), lasted >= 3 + (step + np.arange(M)) % 4
            terminated = ended & (generator.random(M) < 0.5)
            state = np.zeros((M, 0), np.float32) if acted.state is None else acted.state.numpy()
            reward = generator.normal(size=M).astype(np.float32)
            self.replay.append(Rows(obs, acted.action.numpy(), reward, after, terminated, ended, np.ones(M, np.float32), state))
            fresh = generator.normal(size=(M, 5)).astype(np.float32)
            obs, first, lasted = np.where(ended[:, None], fresh, after), ended, np.where(ended, 0, lasted)

    def batch(self, seed: int = 0):
        generator = torch.Generator().manual_seed(seed)
        drawn = self.replay.draw(torch.rand(B, generator=generator, dtype=torch.float64))
        noise = map_tensors(lambda tensor: tensor[0], self.agent.noise((1, T, B), generator))
        return self.replay.batch(drawn)._replace(noise=noise)


CHAINS = {
    "single": partial(Single, target_update_period=2),
    "iterated": partial(Iterated, length=3, shift_period=4, sync_period=2),
    "hidden": partial(Iterated, length=2, shift_period=4, torso="shared_hidden"),
    "shared": partial(IteratedShared, length=3, shift_period=4),
    "none": TargetFree,
}


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
@pytest.mark.parametrize("head", [None, Quantile(quantiles=5), ImplicitQuantile(samples=4, target_samples=4, policy_samples=4)])
def test_a_core_that_keeps_nothing_is_the_agent_without_one(chain, head):
    slots = {"chain": chain, "backup": Double(), **({} if head is None else {"head": head})}
    agents = [value_agent(core=core, **slots) for core in (Memoryless(), Keep())]
    played = [Played(agent) for agent in agents]
    assert torch.equal(torch.stack(played[0].values), torch.stack(played[1].values))
    for step in range(1, 7):
        for each in played:
            update(each.agent, each.batch(step))
            each.agent.tick(step - 1, step)
    assert same(snapshot(agents[0]), snapshot(agents[1]))


def test_a_run_with_a_core_that_keeps_nothing_is_the_run_without_one(tmp_path):
    words = ("agent=dqn", "env=memory/recall", "env.delay=2", "env.num=2", "steps=160", "replay.learning_starts=40",
        "agent.torso.hidden=[8]",
             "replay.batch_size=3", "replay.length=4", "replay.capacity=100", "agent.chain.target_update_period=20",
             "evaluation.final_episodes=2", "checkpoint.every=null")  # fmt: skip
    plain = train(tmp_path / "plain", *words, "replay=recurrent").agent
    kept = train(tmp_path / "kept", *words, "agent/core=keep").agent
    assert plain.updates == kept.updates > 100
    assert same(snapshot(plain), snapshot(kept))


def test_a_run_that_is_loaded_remembers_until_it_is_reset(tmp_path):
    """And its exported policy takes the state and gives the next."""
    words = ("agent=dqn", "agent/core=gru", "agent.core.width=5", "env=memory/recall", "env.delay=2", "steps=20",
             "replay.learning_starts=20",
             "evaluation.final_episodes=1", "checkpoint.every=20")  # fmt: skip
    agent = train(tmp_path / "run", *words).agent
    run = load(tmp_path / "run")
    rows = np.eye(6, dtype=np.float32)[[[1, 2], [4, 4], [5, 5]]]  # 3 steps of 2 episodes
    memory, expected = {}, []
    for step, obs in enumerate(rows):
        noise = entry(agent.act_noise((1, 2), torch.Generator().manual_seed(0)))
        acted = agent.act(torch.from_numpy(obs), torch.full((2,), step == 0), memory, 0, noise, False)
        memory = acted.memory
        expected.append(acted.action.tolist())
    assert [run.act(obs).tolist() for obs in rows] == expected
    assert torch.equal(run._state, memory["core"])
    for wrong in ([True], True, [1, 0]):  # the first one forgot both
        with pytest.raises(ValueError, match=r"ended must be \(2,\) of true and false"):
            run.reset(wrong)
    run.reset([True, False])
    assert run._state.any(-1).tolist() == [False, True]
    run.reset()
    assert [run.act(obs).tolist() for obs in rows] == expected
    with pytest.raises(ValueError, match="1 observations after 2"):
        run.act(rows[0, 0])
    written = export(run, ("torch",))
    (checked,) = written.values()
    assert checked.equal > 0.99
    about = json.loads((tmp_path / "run" / "exports" / "policy.json").read_text())
    assert about["state"]["shape"] == ["M", 5]


@pytest.mark.parametrize("core", [LSTM(6), GRU(6)], ids=["lstm", "gru"])
def test_what_is_replayed_is_what_acted(core):
    """With the stored state, and weights that stand still."""
    agent = value_agent(core=core)
    played = Played(agent)
    batch = played.batch()
    found = agent.views(batch)[0].now.mean()[0].amax(-1)
    tick, env = batch.index // M, batch.index % M
    acted = torch.stack(played.values)[tick, env]
    torch.testing.assert_close(found[batch.valid], acted[batch.valid], rtol=0, atol=1e-6)
    stored = torch.stack(played.states)[tick[0], env[0]]
    assert torch.equal(batch.extra["state"], stored)
    assert stored.any(-1).sum() > 1
    wrong = batch._replace(extra={"state": torch.zeros_like(stored)})
    assert not torch.allclose(agent.views(wrong)[0].now.mean()[0].amax(-1), found)


@pytest.mark.parametrize("core", [LSTM(6), GRU(6)], ids=["lstm", "gru"])
def test_what_is_replayed_is_what_acted_bit_for_bit_in_batches_of_that_size(core):
    """The tolerance above is for products of other shapes, which round in another way."""
    agent = value_agent(core=core)
    played = Played(agent)
    batch = played.batch()
    columns = {
        name: getattr(batch, name)[:1, :M] for name in ("action", "discount", "next_obs", "steps", "ended", "valid", "weight", "index")
    }
    for obs, state, value in zip(played.seen, played.states, played.values):
        one = batch._replace(**columns, obs=torch.from_numpy(obs)[None], reward=batch.reward[..., :1, :M], extra={"state": state})
        assert torch.equal(agent.views(one)[0].now.mean()[0, 0].amax(-1), value)


def test_what_follows_an_episode_is_its_last_observation_and_no_other():
    """`next` of a row that ends an episode reads `next_obs` with the state after that row; the next episode starts from zeros."""
    agent = value_agent(core=LSTM(6))
    batch = Played(agent).batch(3)
    online = agent.views(batch)[0]
    now, later = online.now.mean()[0], online.next.mean()[0]
    goes_on = batch.valid[:-1] & ~batch.ended[:-1]
    assert goes_on.any()
    assert batch.ended.any()
    torch.testing.assert_close(later[:-1][goes_on], now[1:][goes_on])
    fresh = torch.nonzero(~batch.valid[:-1])
    assert len(fresh)
    for t, b in fresh.tolist():
        alone = agent.infer(batch.obs[t + 1, b : b + 1], entry(batch.noise["online"]), torch.zeros(1, agent.state_size))[0]
        torch.testing.assert_close(now[t + 1, b], alone[0, 0])


@pytest.mark.parametrize("start", ["stored", "zero"])
def test_a_burn_in_moves_the_state_and_nothing_else(start):
    agent = value_agent(core=GRU(6))
    warm, cold = Played(agent, burn_in=3, length=T - 3, start=start), Played(agent, start=start)
    long = cold.batch()
    short = warm.batch()._replace(noise=long.noise)
    assert torch.equal(short.obs, long.obs[3:])
    assert torch.equal(short.index, long.index[3:])
    found, expected = agent.views(short)[0], agent.views(long)[0]
    torch.testing.assert_close(found.now.mean(), expected.now.mean()[:, 3:])
    torch.testing.assert_close(found.next.mean(), expected.next.mean()[:, 3:])
    moved = short._replace(extra={**short.extra, "burn_in": short.extra["burn_in"] + 1})
    assert not torch.equal(agent.views(moved)[0].now.mean(), found.now.mean())


def test_the_gradient_ends_where_the_burn_in_does():
    agent = value_agent(core=GRU(6))
    batch = Played(agent, burn_in=3, length=T - 3).batch()
    before, obs = batch.extra["burn_in"].requires_grad_(), batch.obs.requires_grad_()
    agent.views(batch)[0].now.mean().sum().backward()
    assert before.grad is None
    assert obs.grad.abs().sum(-1).gt(0).all()


def test_a_core_remembers_while_exploration_does_not_ask():
    """With ε = 1 the network chooses no action, and must see the observation all the same."""
    from deeprl.schedules import Constant

    agent = value_agent(core=LSTM(6))
    agent.explore = type(agent.explore)(Constant(1.0))
    noise = entry(agent.act_noise((1, M), torch.Generator().manual_seed(0)))
    obs, first = torch.randn(M, 5), torch.ones(M, dtype=torch.bool)
    acted = agent.act(obs, first, {}, 0, noise, True)
    assert not acted.state.any()
    assert acted.memory["core"].any(-1).all()
    one = torch.tensor([True, False])
    assert agent.act(obs, one, acted.memory, 0, noise, True).state.any(-1).tolist() == [False, True]


def test_parts_that_see_single_observations_are_refused():
    from deeprl.agents.dvw import InverseVariance
    from deeprl.agents.self_prediction import SelfPrediction

    with pytest.raises(ValueError, match="agent/core must be none beside a part that looks at single"):
        value_agent(core=LSTM(6), weighting=InverseVariance)
    with pytest.raises(ValueError, match="agent/core must be none beside a part that looks at single"):
        sac(core=LSTM(6), auxiliary=partial(SelfPrediction, latent=3, hidden=(3,)))
    with pytest.raises(ValueError, match="chain.acting must not be uniform_with_target"):
        value_agent(core=LSTM(6), chain=partial(Iterated, length=2, acting="uniform_with_target"))
    with pytest.raises(ValueError, match=r"agent/core goes with chains of one torso, .*: set agent\.chain\.torso=shared$"):
        value_agent(core=LSTM(6), chain=partial(Iterated, length=2, torso="separate"))  # Q̄_k started from the state of Q_{k+1}
    with pytest.raises(ValueError, match=r"choose another chain, agent/chain=iterated agent\.chain\.torso=shared say$"):
        value_agent(core=LSTM(6), chain=partial(IteratedPolyak, length=2))  # was told to set a key that it lacks


# ---- policies on rollouts


def rolled_out(agent, seed: int = 3, ticks: int = 5, minibatches: int = 1):
    """A rollout in mid-episode of 4 environments, which the agent acts, and its batches."""
    generator, num = np.random.default_rng(seed), 4
    sizes = {"length": ticks, "epochs": 1, "minibatches": minibatches, "num": num, "discount": 0.9}
    rollout = Rollout(spec=agent.spec, needs=agent.needs, **sizes, **({"state_size": agent.state_size} if agent.state_size else {}))
    rollout.connect(0, "test", agent.observe, agent.prepare)
    noise = agent.act_noise((2 * ticks, num), torch.Generator().manual_seed(1))
    obs, first, memory, acted = generator.normal(size=(num, 5)).astype(np.float32), np.ones(num, bool), {}, None
    for tick in range(2 * ticks):
        acted = agent.act(torch.from_numpy(obs), torch.from_numpy(first), memory, 10**6, entry(noise, tick), True)
        memory, after = acted.memory, generator.normal(size=(num, 5)).astype(np.float32)
        ended, fresh = generator.random(num) < 0.3, generator.normal(size=(num, 5)).astype(np.float32)
        state = np.zeros((num, 0), np.float32) if acted.state is None else acted.state.numpy()
        row = Rows(obs, acted.action.numpy(), after[:, 0], after, ended & (after[:, 1] > 0), ended, acted.probability.numpy(), state)
        if tick >= ticks:
            rollout.append(row)
        obs, first = np.where(ended[:, None], fresh, after), ended
    return list(rollout.updates(0, 1))


@pytest.mark.parametrize("shared", [False, True])
def test_a_policy_whose_core_keeps_nothing_is_the_policy_without_one(shared):
    """In a batch of the whole rollout, whose rows have another order."""
    agents = [policy_agent(core=core, shared=shared) for core in (Memoryless(), Keep())]
    batches = [rolled_out(agent)[0] for agent in agents]
    order = batches[0].index.argsort()
    assert torch.equal(batches[0].action[order], batches[1].action.flatten())
    assert torch.equal(batches[0].extra["advantage"][order], batches[1].extra["advantage"].flatten())
    terms = [agent.loss(batch) for agent, batch in zip(agents, batches)]
    torch.testing.assert_close(terms[0].loss, terms[1].loss)
    for agent, batch in zip(agents, batches):
        update(agent, batch)
    for name, tensor in snapshot(agents[0]).items():
        torch.testing.assert_close(tensor, snapshot(agents[1])[name])


@pytest.mark.parametrize("shared", [False, True])
def test_rows_in_the_same_order_make_the_same_updates_bit_for_bit(shared):
    """Of a policy whose core keeps nothing, and of one without."""
    plain, kept = (policy_agent(core=core, shared=shared) for core in (Memoryless(), Keep()))
    for seed in range(4):
        (batch,) = rolled_out(kept, seed)
        extra = {name: column.flatten(0, 1) for name, column in batch.extra.items() if name != "state"}
        flat = {name: getattr(batch, name).flatten(0, 1) for name in batch._fields if name not in ("reward", "noise", "extra")}
        update(plain, batch._replace(**flat, reward=batch.reward.flatten(-2), extra=extra))
        update(kept, batch)
    assert same(snapshot(plain), snapshot(kept))


@pytest.mark.parametrize("shared", [False, True])
def test_before_its_first_update_the_policy_is_the_one_that_acted(shared):
    """With the state at the rollout's start; a zero state would be another policy."""
    agent = policy_agent(core=GRU(6), shared=shared)
    batches = rolled_out(agent, minibatches=2)
    assert [batch.obs.shape[:2] for batch in batches] == [(5, 2)] * 2
    assert torch.cat([batch.index for batch in batches], 1).flatten().sort().values.tolist() == list(range(20))
    for batch in batches:
        assert agent.loss(batch).metrics["train/approx_kl"].abs().max() < 1e-6
    assert all(batch.extra["state"].any() for batch in batches)
    wrong = batches[0]._replace(extra={**batches[0].extra, "state": torch.zeros_like(batches[0].extra["state"])})
    assert agent.loss(wrong).metrics["train/approx_kl"].abs().max() > 1e-6


def test_environments_that_minibatches_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="minibatches must divide the 4 environments, not be 3, because agent/core"):
        rolled_out(policy_agent(core=GRU(6)), minibatches=3)


# ---- actors and critics


def pairs_batch(agent, seed: int):
    """Random sequences with ends of episodes, the same for an agent with a core and for one without."""
    batch = made_up_batch(agent, agent.spec, (T, B), seed=seed)
    ended = torch.rand(T, B, generator=torch.Generator().manual_seed(seed)) < 0.3
    return batch._replace(ended=ended)


SEEN = {"vector": CONTINUOUS, "image": Spec((3, 6, 5), torch.uint8, 0, 2), "parts": packed_spec((VECTOR, HIDDEN, IMAGE, PLAN), 0, 2)}


@pytest.mark.parametrize("make", [actor_critic, sac], ids=["td3", "sac"])
@pytest.mark.parametrize(("head", "seen"), [(None, "vector"), (Quantile(quantiles=5), "vector"), (None, "image"), (None, "parts")], ids=str)
def test_actor_and_critics_whose_cores_keep_nothing_are_those_without(make, head, seen):
    slots = {"actor_reduce": Minimum(), "spec": SEEN[seen], **({} if head is None else {"head": head})}
    plain, kept = (make(core=core, **slots) for core in (Memoryless(), Keep()))
    for agent in (plain, kept):
        for step in range(1, 6):
            update(agent, pairs_batch(agent, step))
            agent.tick(step - 1, step)
    assert same(snapshot(plain), snapshot(kept))


def test_the_actor_is_trained_where_the_critics_remember_what_was_played():
    """The value of the actor's own action at the action that was played is the critics' value of the pair."""
    agent = sac(core=LSTM(6), actor_reduce=First())
    batch = pairs_batch(agent, 0)
    pairs = sequences_of_pairs(batch, agent.chain.online.core)
    value = agent.actor_value(pair(batch.obs, batch.action), batch.noise, pairs)
    online = agent.views(batch)[0]
    torch.testing.assert_close(value, online.now.mean()[0, ..., 0])
    wrong = agent.actor_value(pair(batch.obs, batch.action), batch.noise, pairs._replace(obs=pairs.obs + 1))
    assert (wrong != value)[1:].any()
    assert torch.equal(wrong[0], value[0])  # zeros before the first row


@pytest.mark.parametrize("seen", ["image", "parts"])
def test_actor_and_critics_of_images_are_those_of_the_features(seen):
    """The encoder by hand, then the agent that has the features as its observations: the same losses, hence the same gradient of the
    encoder by the chain rule, also with a burn-in, whose images are not moved."""
    agent = sac(SEEN[seen], core=LSTM(6))
    encoder, spec = agent.encoder, agent.encoder.encoded(SEEN[seen])
    beyond = sac(spec, core=LSTM(6))
    beyond.load_state_dict({name: value for name, value in agent.state_dict().items() if not name.startswith("encoder.")})
    batch, earlier = pairs_batch(agent, 0), pairs_batch(agent, 1)
    extra = {
        "state": torch.randn(B, agent.state_size),
        "burn_in": earlier.obs[:3],
        "burn_in_action": earlier.action[:3],
        "burn_in_ends": earlier.ended[:3],
    }
    batch = batch._replace(extra=extra)

    def features(obs, shift=None):
        flat = None if shift is None else shift.flatten(0, 1)
        return encoder(agent.normalize(obs.flatten(0, 1)), flat).unflatten(0, obs.shape[:2])

    now, later = batch.noise["shift"].split(2, -1)
    with torch.no_grad():
        still = {**extra, "burn_in": features(batch.extra["burn_in"])}
        ends = batch._replace(next_obs=features(batch.next_obs, later), extra=still)
        seen_still = ends._replace(obs=features(batch.obs))
    with differentiated([*encoder.parameters()]):
        losses = agent.critic_loss(batch).loss, beyond.critic_loss(ends._replace(obs=features(batch.obs, now))).loss
        gradients = [torch.autograd.grad(loss, [*encoder.parameters()]) for loss in losses]
    torch.testing.assert_close(*losses)
    for one, other in zip(*gradients):
        assert one.any()
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(agent.actor_loss(batch).loss, beyond.actor_loss(seen_still).loss)
    assert changed_by(agent, "actor", batch) == below(agent, "actor.", "temperature.")


def test_an_actor_replays_as_it_acted():
    agent = actor_critic(core=GRU(6))
    obs, memory, acted = torch.randn(T, B, 5, generator=torch.Generator().manual_seed(0)), {}, []
    for t in range(T):
        acted.append(agent.act(obs[t], torch.full((B,), t == 0), memory, 0, {}, False))
        memory = acted[-1].memory
    batch = pairs_batch(agent, 0)._replace(obs=obs, ended=torch.zeros(T, B, dtype=torch.bool))
    features = agent.actor.unrolled(batch, acted[0].state).now
    torch.testing.assert_close(agent.actor.at(features, (T, B)).sample(obs, None)[0], torch.stack([each.action for each in acted]))
    assert torch.equal(agent.recalled(memory, torch.ones(B, dtype=torch.bool))[0], torch.zeros(B, agent.state_size))
