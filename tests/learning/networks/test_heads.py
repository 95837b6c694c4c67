"""Every head in the agent: with every backup, any chain, shared and separate torsos; what IQN draws; what a bounded head refuses."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from deeprl.agents.idqn import Iterated
from deeprl.envs.toy import value_iteration
from deeprl.errors import ConfigError
from deeprl.learning.backups.bellman import Double, Max
from deeprl.learning.networks.bounded import EDGE, Bounded
from deeprl.learning.networks.distributional import Categorical, ImplicitQuantile, Quantile, cosines, midpoints
from deeprl.learning.networks.heads import Scalar
from deeprl.learning.networks.torsos import MLPTorso, Nature
from deeprl.learning.networks.value_network import ValueNetwork, quiet
from deeprl.learning.optim.adam import Adam
from deeprl.learning.parts.chains import Single, follow_
from deeprl.learning.parts.exploration import EpsilonGreedy
from deeprl.learning.transforms.rewards import Clip, Raw
from deeprl.learning.values.distributions import QuantileValues
from deeprl.learning.values.losses import huber, project_atoms
from deeprl.learning.values.returns import Returns
from deeprl.noise import map_tensors
from deeprl.running.config.build import build_agent
from deeprl.running.training.learner import gradient
from deeprl.schedules import Constant, Linear
from deeprl.types import QUIET, NetworkNoise, Spec
from tests.builders import (
    DISCRETE,
    assert_close32,
    entry,
    flat,
    made_up,
    random_batch,
    same,
    settled,
    snapshot,
    spec_of,
    traced_gradient,
    update,
    value_agent,
)
from tests.running.training.test_learning import GAMMA, TABLE, WORLDS, enumerated, table
from tests.running.training.test_learning import spec_of as spec_of_mdp

B, K = 11, 3
ENDS = [(side, end) for side in ("online", "target") for end in ("now", "next")]
IQN = ImplicitQuantile(samples=6, target_samples=5, policy_samples=4, cosines=8)
HEADS = {
    "scalar": Scalar(),
    "bounded": Bounded(low=-8.0, high=9.0),
    "categorical": Categorical(atoms=7, low=-5.0, high=5.0),
    "quantile": Quantile(quantiles=6),
    "implicit": IQN,
}
HEAD = pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
TORSO = pytest.mark.parametrize("torso", ["shared", "separate"])


def noise_of(agent, seed: int = 0) -> dict:
    return entry(agent.noise((1, B), torch.Generator().manual_seed(seed)), 0)


def batch_of(agent, seed: int = 0):
    return random_batch(DISCRETE, B, seed, noise_of(agent, seed))


def agent_of(head, length: int = K, torso: str = "shared", **slots):
    slots.setdefault("torso", MLPTorso(hidden=(7,), head_hidden=(9,)))
    return value_agent(head=head, chain=partial(Iterated, length=length, torso=torso, shift_period=6, sync_period=2), **slots)


# ---- every combination


@HEAD
@TORSO
@pytest.mark.parametrize("backup", [Max(), Double()], ids=["max", "double"])
@pytest.mark.parametrize("length", [1, K])
def test_every_head_with_every_backup_and_chain(head, backup, length, torso):
    """Finite losses, (K, B) of them, and gradients that reach every entry of every trained parameter."""
    agent = agent_of(head, length, torso, backup=backup)
    objective = agent.objectives["value"]
    for step in (1, 2):
        batch = batch_of(agent, step)
        gradients, _ = gradient(agent, "value", batch)
        for (name, parameter), found in zip(agent.chain.online.named_parameters(), gradients):
            assert found.isfinite().all()
            assert found.flatten(1).abs().amax(1).gt(0).all(), name  # each entry of the stack
            assert any(parameter is trained for trained in objective.parameters)
        learned = update(agent, batch)
        agent.tick(step - 1, step)
        assert learned.metrics["train/loss"].shape == (length, B)
        assert learned.error.shape == (B,)
        assert all(value.isfinite().all() for value in (*learned.metrics.values(), learned.error))


def test_a_noisy_head_takes_no_initialiser_of_its_last_layer():
    with pytest.raises(ValueError, match="last_init must be null in a noisy head, not 'small'"):
        Scalar(noisy=True, last_init="small")


@HEAD
@pytest.mark.parametrize("more", [{"dueling": True}, {"noisy": True}, {"dueling": True, "noisy": True}], ids=["dueling", "noisy", "both"])
def test_every_head_can_be_dueling_and_noisy(head, more):
    head = type(head)(**{**{f: getattr(head, f) for f in head.__dataclass_fields__}, **more})
    agent = agent_of(head)
    names = {name for name, _ in agent.chain.online.head.named_parameters()}
    assert any(name.startswith("value.") for name in names) == head.dueling
    assert any("sigma" in name for name in names) == head.noisy
    batch = batch_of(agent)
    gradients, _ = gradient(agent, "value", batch)
    assert all(gradient.isfinite().all() and gradient.abs().max() > 0 for gradient in gradients)
    if head.noisy:
        losses = [gradient(agent, "value", batch._replace(noise=noise_of(agent, seed)))[1].metrics["train/loss"] for seed in (1, 2)]
        assert not torch.equal(*losses)


@HEAD
@TORSO
@pytest.mark.parametrize("backup", [Max(), Double()], ids=["max", "double"])
def test_a_chain_of_one_is_the_single_target_network(head, backup, torso):
    """An invariant of docs/algorithms/idqn.md, for every head: bit for bit, moments included."""
    one = value_agent(head=head, backup=backup, chain=partial(Iterated, length=1, shift_period=5, sync_period=2, torso=torso))
    plain = value_agent(head=head, backup=backup, chain=partial(Single, target_update_period=5))
    for agent in (one, plain):
        for step in range(1, 13):
            update(agent, batch_of(agent, step))
            agent.tick(step - 1, step)
    assert same(snapshot(one), snapshot(plain))
    assert same(one.objectives["value"].optimizer.state_dict(), plain.objectives["value"].optimizer.state_dict())
    assert not same(snapshot(one.chain.online), snapshot(one.chain.target))


@HEAD
def test_separate_networks_know_of_no_other(head):
    """An invariant of docs/algorithms/idqn.md: another network changes neither ℓ_k nor its gradient until the next sync."""

    def losses_and_gradients(agent):
        gradients, learned = gradient(agent, "value", batch_of(agent))
        return learned.metrics["train/loss"], gradients

    agent, other = agent_of(head, torso="separate"), agent_of(head, torso="separate")
    for parameter in other.chain.online.parameters():
        parameter[1] += 0.5
    for moment in ("at first", "after a sync"):
        (loss, gradients), (changed, changed_gradients) = losses_and_gradients(agent), losses_and_gradients(other)
        feels = [1] if moment == "at first" else [1, 2]
        assert [not torch.equal(loss[k], changed[k]) for k in range(K)] == [k in feels for k in range(K)]
        for old, new in zip(gradients, changed_gradients):
            assert all(torch.equal(old[k], new[k]) for k in range(K) if k not in feels)
        for chain in (agent.chain, other.chain):
            follow_(chain.target, chain.online)


@HEAD
def test_actions_not_taken_have_no_part_in_the_loss(head):
    """Raising any Q(s, ·) but that of the action taken leaves the loss unchanged."""
    agent = value_agent(head=head)
    batch = batch_of(agent)._replace(action=torch.zeros(B, dtype=torch.int64))
    before = gradient(agent, "value", batch)[1].metrics["train/loss"]
    last = agent.chain.online.head.advantage
    getattr(last, f"bias_{last.depth - 1}").unflatten(-1, (3, -1))[:, :, 1:] += 0.5
    assert torch.equal(gradient(agent, "value", batch)[1].metrics["train/loss"], before)


@HEAD
def test_what_the_agent_learns_is_its_head_s_loss_of_the_backup(head):
    """The error is a difference of means in the units of returns, the mean over K."""
    agent = agent_of(head)
    batch = batch_of(agent)
    with torch.no_grad():
        learned = agent.loss(batch)
        online, target = agent.chain.views(batch)
        returns = Max()(online, target, batch)
        chosen = online.now.at(batch.action)
    if isinstance(head, Categorical):  # cuts off what lies beyond its support
        support = chosen.support
        returns = Returns(support.expand(K, B, -1), project_atoms(returns.atoms, returns.probs, -5, 5, 7))
    torch.testing.assert_close(learned.error, (returns.mean() - chosen.mean()).abs().mean(0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(learned.metrics["train/loss"], chosen.loss(returns)[0])
    assert learned.metrics["train/q_values"].shape == (K, B)


@dataclass(frozen=True)
class LogCosh(Scalar):
    """D(e) = ln cosh e, between the square and the absolute value."""

    @property
    def distance(self):
        return lambda error: error + F.softplus(-2 * error) - math.log(2)


def test_a_distance_of_ones_own():
    agent = agent_of(LogCosh())
    batch = batch_of(agent)
    with torch.no_grad():
        learned = agent.loss(batch)
        online, target = agent.chain.views(batch)
        error = Max()(online, target, batch).mean() - online.now.at(batch.action).mean()
    torch.testing.assert_close(learned.metrics["train/loss"], error.cosh().log())
    assert "residual" not in LogCosh().offers  # which is of the square alone
    assert "residual" in Scalar().offers


@HEAD
def test_rows_of_sequences_are_rows(head):
    """(T, B) observations give what their rows give; a sequence shares its fractions."""
    agent = agent_of(head)
    noise = quiet(agent.chain.online.noise((1, B), torch.Generator().manual_seed(3), "prediction"))
    noise = entry(noise, 0)
    obs = torch.randn(4, B, 5)
    values = agent.chain.online(obs, noise)
    assert values.mean().shape == (K, 4, B, 3)
    for t in range(4):
        row = agent.chain.online(obs[t], noise)
        torch.testing.assert_close(values.mean()[:, t], row.mean())
        torch.testing.assert_close(values.expect(values.mean().argmax(-1)).atoms[:, t], row.expect(row.mean().argmax(-1)).atoms)


@HEAD
def test_every_head_traces_as_one_graph(head):
    agent = agent_of(head, backup=Double())
    batch = batch_of(agent)
    found, learned = traced_gradient(agent, "value", batch)
    expected, plain = gradient(agent, "value", batch)
    assert_close32(flat(found), flat(expected))
    torch.testing.assert_close(learned.error, plain.error)
    assert learned.metrics.keys() == plain.metrics.keys()


# ---- they learn


@pytest.mark.parametrize(
    ("head", "world", "tolerance"),
    [
        (Bounded(discount=GAMMA, reward=(-3.0, 3.0)), "random", 1e-2),
        (Bounded(discount=GAMMA, reward=(-3.0, 3.0), loss="squared"), "random", 1e-2),
        (Categorical(atoms=101, low=-8.0, high=12.0), "random", 5e-2),
        # the median under a wide Huber is the mean
        pytest.param(Quantile(quantiles=1, kappa=100.0), "random", 1e-2, marks=pytest.mark.exhaustive),
        (Quantile(quantiles=5), "chain", 1e-2),  # where nothing is random, all quantiles are the value
    ],
    ids=["log-loss", "squared", "categorical", "one quantile", "quantiles"],
)
def test_tabular_heads_reach_the_values_of_value_iteration(head, world, tolerance):
    """The reduction of FQI-LOG to FQI among them (docs/algorithms/bounded.md): in a table, log-loss and squares have the same minimum."""
    mdp, updates = WORLDS[world], 800 if isinstance(head, Categorical) else 450
    optimizer = Adam(lr=0.08, schedule=Linear(start=1.0, end=0.0, duration=updates))
    agent = value_agent(spec_of_mdp(mdp), torso=TABLE, head=head, chain=partial(Single, target_update_period=10), optimizer=optimizer)
    batch = enumerated(mdp, GAMMA)
    for step in range(updates):
        update(agent, batch)
        agent.tick(step, step + 1)
    optimal = value_iteration(mdp, GAMMA)[~mdp.terminal]
    assert np.abs(table(agent.chain.online, mdp)[0] - optimal).max() < tolerance
    assert np.ptp(optimal) > 0.3


def test_an_implicit_head_learns_a_distribution():
    """One state, reward −1 or 3 as often: quantiles at fractions below ½ are −1 and above 3, their mean is 1."""
    spec = Spec((1,), torch.float32, 1, 0)
    head = ImplicitQuantile(samples=16, target_samples=1, policy_samples=16, cosines=16, kappa=0.1)
    optimizer = Adam(lr=0.01, schedule=Linear(start=1.0, end=0.0, duration=500))
    agent = value_agent(spec, torso=MLPTorso(hidden=(), head_hidden=(32,)), head=head, optimizer=optimizer)
    ones = torch.ones(32, 1)
    for step in range(500):
        noise = entry(agent.noise((1, 32), torch.Generator().manual_seed(step)), 0)
        batch = random_batch(spec, 32, 0, noise)
        reward = torch.tensor([-1.0, 3.0]).repeat(16)
        update(agent, batch._replace(obs=ones, next_obs=ones, reward=reward, discount=torch.zeros(32)))
        agent.tick(step, step + 1)
    fractions = torch.tensor([[0.1, 0.3, 0.7, 0.9]])
    said = agent.chain.online(ones[:1], NetworkNoise({}, {"samples": fractions})).expect(torch.zeros(1, 1, dtype=torch.int64)).atoms
    torch.testing.assert_close(said[0, 0], torch.tensor([-1.0, -1.0, 3.0, 3.0]), rtol=0, atol=0.3)
    assert agent.chain.online(ones[:1]).mean().item() == pytest.approx(1.0, abs=0.2)


# ---- QR-DQN and C51: layers


def test_outputs_are_ordered_by_action_then_atom():
    network = Quantile(quantiles=4).build(5, (), 3, 2, "torch")
    network.advantage.weight_0.zero_()
    network.advantage.bias_0.copy_(torch.arange(12.0))
    assert network(torch.zeros(1, B, 5), QUIET).quantiles[1, 0].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert network.midpoints.tolist() == [0.125, 0.375, 0.625, 0.875]


def test_a_dueling_stream_adds_to_each_atom():
    """Rainbow's form: advantages have mean zero over actions, for each atom."""
    network = Categorical(atoms=4, dueling=True).build(5, (), 3, 2, "torch")
    for parameter in network.parameters():
        parameter.normal_()
    x = torch.randn(1, B, 5)
    said, advantage, value = network.streams(x, {}), network.advantage(x).unflatten(-1, (3, 4)), network.value(x)
    torch.testing.assert_close(said.mean(2), value)
    torch.testing.assert_close(said - said.mean(2, keepdim=True), advantage - advantage.mean(2, keepdim=True))
    assert network.support.tolist() == pytest.approx([-10, -10 / 3, 10 / 3, 10])


def test_one_quantile_is_half_a_huber_dqn():
    """N = 1 and τ = ½. Times 2 the loss, and so the gradient, is that of the Huber head."""
    one, scalar = value_agent(head=Quantile(quantiles=1, init=None)), value_agent(head=Scalar(loss="huber"))
    assert same(snapshot(one.chain.online), {**snapshot(scalar.chain.online)})
    batch = batch_of(one)
    ours, theirs = (gradient(agent, "value", batch)[0] for agent in (one, scalar))
    for a, b in zip(ours, theirs):
        torch.testing.assert_close(2 * a, b)


# ---- IQN


def test_the_cosines_of_a_quarter():
    """docs/algorithms/iqn.md: i = 1 … 4 in Dopamine, 0 … 3 in the paper."""
    root = math.sqrt(0.5)
    torch.testing.assert_close(cosines(torch.tensor(0.25), 4, 1), torch.tensor([root, 0.0, -root, -1.0]), rtol=0, atol=1e-6)
    torch.testing.assert_close(cosines(torch.tensor(0.25), 4, 0), torch.tensor([1.0, root, 0.0, -root]), rtol=0, atol=1e-6)


@TORSO
def test_an_implicit_head_in_plain_pytorch(torso):
    """head(ψ(s) ⊙ ReLU(W c(τ) + b)), written anew, for networks of one or several torsos."""
    agent = agent_of(IQN, torso=torso)
    follow_(agent.chain.target, agent.chain.online)
    noise = noise_of(agent)
    obs = torch.randn(B, 5)
    for side, network, drawn in (("online", agent.chain.online, noise["online"].now), ("target", agent.chain.target, noise["target"].next)):
        policy, samples = (drawn.fractions[name] for name in ("policy", "samples"))
        values = network(obs, drawn)
        body, embedding, top = network.torso, network.fractions.embedding, network.head.advantage
        for k in range(K):
            t = k if torso == "separate" else (0 if side == "online" else min(k, 1))
            psi = (obs @ body.weight_0[t] + body.bias_0[t]).relu()

            def quantiles(fractions, k=k, t=t, psi=psi, embedding=embedding, top=top):
                c = torch.stack([torch.cos(math.pi * i * fractions) for i in range(1, 9)], -1)
                phi = (c @ embedding.weight_0[t] + embedding.bias_0[t]).relu()  # (B, n, F)
                hidden = ((psi.unsqueeze(1) * phi) @ top.weight_0[k] + top.bias_0[k]).relu()
                return hidden @ top.weight_1[k] + top.bias_1[k]  # (B, n, A)

            torch.testing.assert_close(values.mean()[k], quantiles(policy).mean(1))
            chosen = values.expect(torch.full((K, B), 2))
            torch.testing.assert_close(chosen.atoms[k], quantiles(samples)[..., 2])


def test_what_each_evaluation_draws():
    agent = agent_of(IQN)
    drawn = agent.noise((7, B), torch.Generator().manual_seed(0))
    noise = {(side, end, name): value for side, end in ENDS for name, value in getattr(drawn[side], end).fractions.items()}
    sizes = {
        ("online", "now"): 6,
        ("online", "next"): 5,
        ("target", "now"): 5,
        ("target", "next"): 5,
    }  # N of what is regressed, N' of targets
    expected = {(*end, "samples"): (7, B, n) for end, n in sizes.items()}
    expected.update({(*end, "policy"): (7, B, 4) for end in sizes})
    assert {name: tuple(value.shape) for name, value in noise.items()} == expected
    assert all(value.min() >= 0 and value.max() < 1 for value in noise.values())
    numbers = torch.cat([value.flatten() for value in noise.values()])
    assert len(numbers.unique()) > 0.999 * len(numbers)  # all apart: fresh for each sample, set and evaluation
    assert numbers.mean().item() == pytest.approx(0.5, abs=0.02)
    acting = agent.act_noise((7, 2), torch.Generator().manual_seed(0))
    assert {name: tuple(value.shape) for name, value in acting["network"].fractions.items()} == {"policy": (7, 2, 4)}


@pytest.mark.parametrize("backup", [Max(), Double()], ids=["max", "double"])
def test_which_fractions_pick_the_action_and_which_rate_it(backup):
    """a* over the policy set of the network that picks, T_j from another set of the target network, and only of a*."""
    agent = value_agent(head=IQN, backup=backup)
    generator = torch.Generator().manual_seed(1)
    for parameter in agent.chain.parameters():
        parameter.normal_(generator=generator)  # far from each other, and from constant in the fraction
    batch = batch_of(agent)
    noise = map_tensors(torch.Tensor.clone, batch.noise)
    picks = "target" if backup == Max() else "online"

    def returns(*unused: str):
        """With one set of fractions, named by its side, end and name, at zero."""
        changed = map_tensors(torch.Tensor.clone, noise)
        if unused:
            side, end, name = unused
            getattr(changed[side], end).fractions[name].zero_()
        views = agent.chain.views(batch._replace(noise=changed))
        with torch.no_grad():
            return backup(*views, batch)

    def values(side: str, fractions: torch.Tensor) -> torch.Tensor:
        network = getattr(agent.chain, side)
        atoms = [network(batch.next_obs, NetworkNoise({}, {"samples": fractions})).expect(torch.full((1, B), a)).atoms[0] for a in range(3)]
        return torch.stack(atoms, 1)  # (B, A, n)

    best = values(picks, noise[picks].next.fractions["policy"]).mean(-1).argmax(-1)
    rated = values("target", noise["target"].next.fractions["samples"])[torch.arange(B), best]
    torch.testing.assert_close(returns().atoms[0], batch.reward.unsqueeze(1) + batch.discount.unsqueeze(1) * rated)
    used = {(picks, "next", "policy"), ("target", "next", "samples")}
    for path in ((*end, name) for end in ENDS for name in ("policy", "samples")):
        assert torch.equal(returns(*path).atoms, returns().atoms) == (path not in used), path


def test_all_iterations_share_the_fractions_of_a_sample():
    """Fractions are the same for all k, so two equal heads give the same quantiles."""
    agent = agent_of(IQN)
    for parameter in agent.chain.online.head.parameters():
        parameter[1] = parameter[0]
    noise = entry(agent.chain.online.noise((1, B), torch.Generator(), "prediction"), 0)
    values = agent.chain.online(torch.randn(B, 5), noise)
    assert_close32(values.mean()[0], values.mean()[1])
    assert not torch.equal(values.mean()[0], values.mean()[2])


def test_the_loss_is_over_the_samples_of_the_prediction():
    agent = value_agent(head=IQN)
    batch = batch_of(agent)
    chosen = agent.chain.views(batch)[0].now.at(batch.action)
    assert isinstance(chosen, QuantileValues)
    assert chosen.quantiles.shape == (1, B, 6)
    assert torch.equal(chosen.fractions, batch.noise["online"].now.fractions["samples"])


def test_acting_draws_fractions_also_in_evaluation_and_noisy_layers_keep_quiet_there():
    head = ImplicitQuantile(samples=6, target_samples=5, policy_samples=4, cosines=8, noisy=True, sigma=5.0)
    agent = value_agent(head=head, explore=EpsilonGreedy(Constant(0.0)))
    obs, first = torch.randn(60, 5), torch.zeros(60, dtype=torch.bool)
    drawn = agent.act_noise((2, 60), torch.Generator().manual_seed(1))
    assert drawn["network"].layers
    assert quiet(drawn["network"]) == NetworkNoise({}, drawn["network"].fractions)
    ticks = [entry(drawn, t) for t in range(2)]
    acted = [agent.act(obs, first, {}, 0, noise, explore=False).action for noise in ticks]
    for action, noise in zip(acted, ticks):
        said = agent.chain.online(obs, quiet(noise["network"])).mean()[0]
        assert torch.equal(action, said.argmax(-1))
    exploring = agent.act(obs, first, {}, 0, ticks[0], explore=True).action
    assert not torch.equal(exploring, acted[0])


def test_without_noise_midpoints_stand_in():
    agent = value_agent(head=IQN)
    obs = torch.randn(B, 5)
    torch.testing.assert_close(
        agent.chain.online(obs).mean(), agent.chain.online(obs, NetworkNoise({}, {"policy": midpoints(4).expand(B, 4)})).mean()
    )


def test_the_anchor_acts_with_the_same_fractions():
    """`acting=uniform_with_target`"""
    agent = value_agent(head=IQN, chain=partial(Iterated, length=K, acting="uniform_with_target"))
    noise = entry(agent.act_noise((1, B), torch.Generator().manual_seed(0)), 0)
    values = agent.chain.acting_values(torch.randn(B, 5), noise["network"])
    assert values.shape == (K + 1, B, 3)
    assert_close32(values[0], values[1])  # at first Q̄_0 is a copy of Q_1


def test_the_embedding_moves_with_the_torso():
    """Two copies, frozen and trained; the anchor's waits for the shift."""
    chain = agent_of(IQN).chain
    assert (chain.online.fractions.embedding.n, chain.target.fractions.embedding.n) == (1, 2)
    weight = lambda network: network.fractions.embedding.weight_0[:, 0, 0].tolist()  # noqa: E731
    old = weight(chain.online)[0]
    chain.online.fractions.embedding.weight_0.fill_(5.0)
    follow_(chain.target, chain.online)
    assert weight(chain.target) == [old, 5.0]
    chain.shift()
    assert weight(chain.target) == [5.0, 5.0]


def count(module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_iiqn_on_atari_has_17_036_760_parameters():
    """The authors count one network of two torsos, two embeddings and K + 1 heads: ours online, and the anchor."""
    head, torso, spec = ImplicitQuantile(), Nature(), Spec((4, 84, 84), torch.uint8, 6, 0)

    def atari(place="", stack=1, torsos=1, index=None):
        with torch.device("meta"):
            body = torso.build(spec, torsos)
            top = head.build(body.features, torso.head_hidden, 6, stack, torso.init)
            return ValueNetwork(body, top, 3, index, head.share(body.features, torsos, torso.init))

    chain = Iterated(atari, length=3)
    anchor = sum(p[:1].numel() for p in chain.target.parameters())
    assert count(chain.online) + anchor == 17_036_760
    assert [count(chain.online.torso), count(chain.online.fractions), count(chain.online.head)] == [77_984, 503_360, 3 * 3_968_518]


# ---- bounded returns


@pytest.mark.parametrize(
    ("choice", "bounds"),
    [
        (Bounded(discount=0.9), (-10.0, 10.0)),
        (Bounded(discount=0.75, reward=(0.0, 2.0)), (0.0, 8.0)),
        (Bounded(discount=1.0, low=0.0, high=1.0), (0.0, 1.0)),
        (Bounded(discount=0.5, low=-3.0), (-3.0, 2.0)),
    ],
)
def test_bounds_follow_from_rewards_or_are_given(choice, bounds):
    assert choice.bounds == pytest.approx(bounds)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"discount": 1.0}, "^low must be given where the discount is 1"),
        ({"discount": 1.0, "low": 0.0}, "^high must be given where the discount is 1"),
        ({"low": 1.0, "high": 1.0}, "^high must be above low, both finite, not 1.0 and 1.0"),
        ({"low": 0.0, "high": math.inf}, "^high must be a number and finite, not inf"),
        ({"reward": (1.0, 2.0)}, "^reward must be two numbers"),
        ({"reward": (-1.0, 0.0, 1.0)}, "^reward must be a list of 2 finite numbers"),
        ({"loss": "huber"}, "^loss must be one of log, squared, not 'huber'"),
        ({"discount": 1.5}, "^discount must be between 0 and 1"),
        ({"sigma": -1.0}, "^sigma must be at least 0"),
    ],
)
def test_bounds_that_are_none_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Bounded(**fields)


@pytest.mark.parametrize(
    ("choice", "field", "value"),
    [
        (Categorical, "atoms", 1), (Categorical, "high", -20.0), (Quantile, "quantiles", 0), (Quantile, "kappa", -1.0),
        (ImplicitQuantile, "samples", 0), (ImplicitQuantile, "target_samples", 0), (ImplicitQuantile, "policy_samples", 0),
        (ImplicitQuantile, "cosines", 0), (ImplicitQuantile, "first", -1), (ImplicitQuantile, "kappa", -0.1),
    ],
)  # fmt: skip
def test_fields_out_of_range_are_refused_by_name(choice, field, value):
    with pytest.raises(ValueError, match=f"^{field} must be"):
        choice(**{field: value})


def test_discount_one_is_refused_with_the_key_on_the_command_line_and_allowed_with_bounds():
    words = ("agent=dqn", "agent/head=bounded", "env=toy/chain", "discount=1")
    with pytest.raises(ConfigError, match=r"^agent\.head\.low must be given where the discount is 1"):
        build_agent(settled(*words), spec_of("toy/chain"))
    agent = build_agent(settled(*words, "agent.head.low=0", "agent.head.high=1"), spec_of("toy/chain"))
    assert (agent.chain.online.head.low, agent.chain.online.head.high) == (0.0, 1.0)


def test_bounds_follow_the_discount_of_the_configuration():
    agent = build_agent(settled("agent=dqn", "agent/head=bounded", "env=toy/chain", "discount=0.95"), spec_of("toy/chain"))
    assert agent.chain.online.head.high == pytest.approx(20.0)


def test_clipped_rewards_that_the_bounds_do_not_cover_are_refused():
    """Only what is known: a clip that lets more pass than the larger end of the bounds was made for."""
    clip = lambda bound: partial(Clip, bound=bound)  # noqa: E731
    for head, rewards in (
        (Bounded(), clip(1.0)),
        (Bounded(), clip(None)),
        (Bounded(), Raw),
        (Bounded(reward=(0.0, 1.0)), clip(1.0)),
        (Bounded(low=-10.0, high=10.0), clip(1.0)),
    ):
        value_agent(head=head, rewards=rewards)
    for head, bound, covered in ((Bounded(), 5.0, "1"), (Bounded(low=0.0, high=0.5), 1.0, "0.5")):
        with pytest.raises(ValueError, match=f"^head has bounds .* up to {covered}, and agent/rewards=clip lets {bound:g} pass"):
            value_agent(head=head, rewards=clip(bound))
    words = ("agent=dqn", "agent/head=bounded", "env=toy/chain", "agent/rewards=clip", "agent.rewards.bound=2")
    with pytest.raises(ConfigError, match=r"^agent\.head has bounds"):
        build_agent(settled(*words), spec_of("toy/chain"))
    Scalar().check(Clip(bound=9.0))  # no other head minds


@pytest.mark.parametrize("dueling", [False, True])
@pytest.mark.parametrize(
    ("low", "high", "start"), [(-10.0, 10.0, 0.0), (0.0, 50.0, EDGE * 50), (-40.0, 10.0, 0.0), (-50.0, 0.0, -EDGE * 50)]
)
def test_a_bounded_head_starts_at_a_return_of_zero(dueling, low, high, start):
    """And not in the middle of the range. Clamped where zero is an end."""
    agent = value_agent(head=Bounded(low=low, high=high, dueling=dueling))
    for layer in ("weight_0", "bias_0"):
        getattr(agent.chain.online.torso, layer).zero_()
    if dueling:
        agent.chain.online.head.advantage.bias_0.zero_()
    values = agent.chain.online(torch.zeros(B, 5))
    torch.testing.assert_close(values.mean(), torch.full((1, B, 3), start), rtol=1e-4, atol=1e-4)


def test_clamped_targets_are_logged():
    agent = value_agent(head=Bounded(low=-0.5, high=0.5))
    learned = update(agent, batch_of(agent)._replace(reward=torch.tensor([2.0] * 4 + [0.0] * 7), discount=torch.zeros(B)))
    assert agent.read(learned.metrics)["train/clamped_targets"] == pytest.approx(4 / 11)
    assert agent.read(learned.metrics)["train/excess_loss"] > 0


# ---- presets


def test_experiments_say_what_the_papers_say():
    """The tables of docs/algorithms/c51.md, qrdqn.md, iqn.md and idqn.md."""
    c51, qrdqn, iqn, iiqn = (settled(f"experiment={name}_atari") for name in ("c51", "qrdqn", "iqn", "iiqn"))
    for config in (c51, qrdqn, iqn, iiqn):
        assert (config["replay"]["learning_starts"], config["replay"]["batch_size"], config["replay"]["capacity"]) == (
            20_000,
            32,
            1_000_000,
        )
        assert (config["replay"]["ratio"], config["discount"], config["steps"]) == (0.25, 0.99, 50_000_000)
        schedule = config["agent"]["explore"]["schedule"]
        assert (schedule["start"], schedule["end"], schedule["duration"], schedule["begin"]) == (1.0, 0.01, 250_000, 20_000)
        assert config["agent"]["torso"] == {
            "_target_": "deeprl.learning.networks.torsos.Nature", "padding": "same", "head_hidden": [512], "init": "quantile",
            "layer_norm": False, "weight_norm": "none",
        }  # fmt: skip
        assert config["agent"]["head"]["init"] == "quantile"
        assert config["env"]["protocol"]["sticky"] == 0.25
        assert config["agent"]["rewards"]["bound"] == 1.0
    adam = {name: (c["agent"]["optimizer"]["lr"], c["agent"]["optimizer"]["eps"]) for name, c in (("c51", c51), ("qrdqn", qrdqn))}
    assert adam == {"c51": (2.5e-4, 3.125e-4), "qrdqn": (5e-5, 3.125e-4)}
    assert [c["agent"]["optimizer"] for c in (iqn, iiqn)] == [qrdqn["agent"]["optimizer"]] * 2
    assert [c["replay"]["n_step"] for c in (c51, qrdqn, iqn, iiqn)] == [1, 3, 3, 3]
    assert [c["agent"]["chain"].get("target_update_period") for c in (c51, qrdqn, iqn)] == [8000] * 3
    assert [c51["agent"]["head"][key] for key in ("atoms", "low", "high")] == [51, -10.0, 10.0]
    assert [qrdqn["agent"]["head"][key] for key in ("quantiles", "kappa")] == [200, 1.0]
    assert qrdqn["replay"]["sampler"]["_target_"].endswith("Prioritized")
    beta = qrdqn["replay"]["sampler"]["beta"]
    assert beta["start"] == beta["end"] == 0.0  # gradients are unweighted
    for config in (iqn, iiqn):
        keys = ("samples", "target_samples", "policy_samples", "cosines", "first", "kappa")
        assert [config["agent"]["head"][key] for key in keys] == [64, 64, 32, 64, 1, 1.0]
    chain = iiqn["agent"]["chain"]
    assert [chain[key] for key in ("length", "shift_period", "sync_period", "torso")] == [3, 6000, 30, "shared"]


@pytest.mark.parametrize("name", ["bounded", "categorical", "quantile", "implicit_quantile"])
def test_options_list_every_field_with_its_default(name):
    node = settled("agent=dqn", f"agent/head={name}", "env=toy/chain")["agent"]["head"]
    kind = {"bounded": Bounded, "categorical": Categorical, "quantile": Quantile, "implicit_quantile": ImplicitQuantile}[name]
    plain = kind()
    listed = {key: tuple(value) if isinstance(value, list) else value for key, value in node.items() if key != "_target_"}
    assert listed == {field: getattr(plain, field) for field in kind.__dataclass_fields__}


def test_values_are_signed_where_the_returns_of_a_head_are():
    """What backups with a bonus ask for: below 0 a support that starts there would cut it off."""
    for head in (Scalar(), Quantile(), ImplicitQuantile(), Categorical(), Bounded(), Bounded(low=-100.0), Categorical(low=-1.0, high=9.0)):
        assert "signed" in head.offers
        assert "returns" in head.offers
    for head in (Categorical(low=0.0, high=100.0), Categorical(low=-9.0, high=0.0), Bounded(low=0.0), Bounded(reward=(0.0, 1.0))):
        assert "signed" not in head.offers
        assert "returns" in head.offers
    assert {name for name, head in HEADS.items() if "scalar" in head.offers} == {"scalar", "bounded"}


def test_huber_is_where_the_quantile_loss_comes_from():
    assert huber(torch.tensor(0.5), 0.0).item() == 0.0  # why κ = 0 is a case of its own


def test_priorities_of_bounded_returns_are_errors_and_no_losses():
    """Log-loss has a minimum above zero."""
    agent = value_agent(head=Bounded(low=0.0, high=1.0))
    batch = made_up(agent, DISCRETE, B)
    learned = update(agent, batch)
    assert learned.error.max() <= 1.0
    assert not torch.allclose(learned.error, learned.metrics["train/loss"][0])
