"""iS-QL and target-free DQN: the shift of heads, one gradient by hand, sizes, neutral elements, i-PQN, refusals."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import pytest
import torch

from deeprl.agents.dvw import InverseVariance
from deeprl.agents.gi_dqn import IteratedLive
from deeprl.agents.idqn import Iterated
from deeprl.agents.is_dqn import IteratedShared
from deeprl.learning.backups.bellman import Double, Max
from deeprl.learning.backups.peng import Peng
from deeprl.learning.networks.heads import Scalar
from deeprl.learning.networks.torsos import MLPTorso, Nature
from deeprl.learning.networks.value_network import Networks
from deeprl.learning.optim.adam import Adam
from deeprl.learning.parts.chains import Single
from deeprl.learning.parts.target_free import TargetFree
from deeprl.running.training.learner import gradient
from deeprl.types import Spec
from tests.builders import DISCRETE, Weights, actor_critic, entry, make_batch, random_batch, same, snapshot, train, update, value_agent
from tests.replay.test_rollout import returns

SHARED, LIVE = (partial(chain, torso="shared") for chain in (IteratedShared, IteratedLive))
EMBEDDED = MLPTorso(hidden=(7,), head_hidden=(6,))


def iterated(chain=SHARED, length: int = 3, period: int = 5, **slots):
    return value_agent(**{"chain": partial(chain, length=length, shift_period=period), **slots})


def updates(agent, count: int) -> None:
    for step in range(1, count + 1):
        noise = agent.noise((1, 11), torch.Generator().manual_seed(step))
        update(agent, random_batch(agent.spec, 11, step, entry(noise)))
        agent.tick(step - 1, step)


# ---- K + 1 heads


def test_a_shift_moves_every_head_by_one():
    chain = SHARED(Weights, length=3)
    chain.online.head.copy_(torch.tensor([[10.0], [20.0], [30.0], [40.0]]))
    chain.on_period(("shift",), updates=1)
    assert chain.online.head[:, 0].tolist() == [20, 30, 40, 40]
    assert (chain.periods, set(chain.state_dict())) == ({"shift": 6000}, {"online.head", "online.torso"})
    chain.after_update(("value", "target"), 1)
    assert chain.online.head[:, 0].tolist() == [20, 30, 40, 40]


def test_one_gradient_by_hand():
    """φ(s) = 2, φ(s') = 1, w = (0.5, 1, 1.5), r = 1, γ = 0.9: y = (1.45, 1.9), δ = (−0.55, −1.1). The features are a layer on (1, 0) and
    (0, 1), so that the gradient of φ(s) and that of φ(s') are different weights."""
    agent = iterated(length=2, spec=Spec((2,), torch.float32, 1, 0), torso=MLPTorso(hidden=(1,)))
    network = agent.chain.online
    for parameter in network.parameters():
        parameter.zero_()
    network.torso.weight_0.copy_(torch.tensor([2.0, 1.0]).view(1, 2, 1))
    network.head.advantage.weight_0.copy_(torch.tensor([0.5, 1.0, 1.5]).view(3, 1, 1))
    batch = make_batch([[1.0, 0.0]], [0], [1.0], [0.9], [[0.0, 1.0]])
    found = dict(zip([name for name, _ in network.named_parameters()], gradient(agent, "value", batch)[0]))
    assert found["torso.weight_0"].flatten().tolist() == pytest.approx([4.4, 0.0])  # ∂L/∂φ(s), ∂L/∂φ(s')
    assert found["head.advantage.weight_0"].flatten().tolist() == pytest.approx([0.0, 2.2, 4.4])


def test_the_anchor_is_never_trained_but_moves_with_the_torso():
    agent, batch = iterated(period=4), random_batch(DISCRETE, 11)
    head = agent.chain.online.head.advantage.weight_0
    start, values = head[0].clone(), agent.chain.online(batch.obs).mean()[0]
    updates(agent, 3)
    assert torch.equal(head[0], start)
    assert not torch.equal(agent.chain.online(batch.obs).mean()[0], values)
    (group,) = agent.objectives["value"].optimizer.groups
    place = [id(p) for p in group.parameters].index(id(head))
    moment = group.moment.split([p.numel() for p in group.parameters])[place].view_as(head)
    assert [bool(part.any()) for part in moment] == [False, True, True, True]
    before, moments = head.clone(), group.moment.clone()
    agent.tick(3, 4)
    assert torch.equal(head, before[[1, 2, 3, 3]])
    assert torch.equal(group.moment, moments)  # they stay with the place


@pytest.mark.parametrize("backup", [Max(), Double()])
def test_heads_on_one_torso_are_networks_that_share_it(backup):
    """The same numbers as with copies of the torso in a target network."""
    one, two = iterated(backup=backup), iterated(partial(LIVE, torso="shared"), backup=backup)
    for (_, heads), (_, mine) in zip(one.chain.online.named_parameters(), two.chain.online.named_parameters()):
        mine.copy_(heads[1:] if heads.shape[0] > 1 else heads)
    for (_, heads), (_, mine) in zip(one.chain.online.named_parameters(), two.chain.target.named_parameters()):
        mine.copy_(heads[:-1] if heads.shape[0] > 1 else heads.expand_as(mine))
    batch = random_batch(DISCRETE, 11)
    for ours, theirs in zip(gradient(one, "value", batch)[0], gradient(two, "value", batch)[0]):
        torch.testing.assert_close(ours[1:] if ours.shape[0] > 1 else ours, theirs)


@pytest.mark.parametrize(("acting", "heads"), [("uniform", 3), ("mean", 3), ("uniform_with_target", 4)])
def test_the_online_heads_act(acting, heads):
    agent = iterated(partial(SHARED, acting=acting))
    obs = torch.randn(5, 5)
    values = agent.chain.online(obs).mean()
    assert torch.equal(agent.infer(obs, agent.chain.act_noise((1, 5), None)["network"]), values[4 - heads :])


# ---- sizes


def test_the_hidden_layers_are_shared():
    """Atari, 18 actions, K = 9: convolutions, one layer of 512, ten linear heads."""
    spec = Spec((4, 84, 84), torch.uint8, 18, 0)
    with torch.device("meta"):
        torso = Nature()
        body = torso.build(spec, 1)
        trunk = Scalar().trunk(body.features, torso.head_hidden, 1, torso.init)
        head = Scalar().build(trunk.features, (), 18, 10, torso.init)
    sizes = [sum(p.numel() for p in module.parameters()) for module in (body, trunk, head)]
    assert sizes == [77_984, 3_965_440, 10 * 9_234]
    assert sum(sizes) == 4_135_764


def test_a_chain_builds_one_trunk_or_a_hidden_layer_for_each_head():
    deep = iterated(partial(SHARED, torso="shared_hidden"), torso=EMBEDDED).chain.online
    wide = iterated(torso=EMBEDDED).chain.online
    assert [p.shape for p in deep.head.parameters()] == [(4, 6, 3), (4, 1, 3)]
    assert (deep.torso.features, wide.torso.features) == (6, 7)
    assert [p.shape[0] for p in deep.torso.parameters()] == [1] * 4
    target = iterated(partial(LIVE, torso="shared_hidden"), torso=EMBEDDED).chain.target
    assert [p.shape[0] for p in target.torso.parameters()] == [2] * 4  # of the anchor and of the followers


def test_a_trunk_over_a_torso_with_dropout_is_refused():
    networks = Networks(DISCRETE, MLPTorso(hidden=(7,), dropout=0.1, head_hidden=(6,)), 0)
    with pytest.raises(ValueError, match=r"torso\.head_hidden must be \[\]"):
        networks.chained(Scalar(), Scalar().share, lambda *_: None, "online", 3, 1, trunk=True)


# ---- neutral elements


@pytest.mark.parametrize("backup", [Max(), Double()])
def test_without_target_is_a_copy_after_every_update(backup):
    free, single = value_agent(chain=TargetFree, backup=backup), value_agent(chain=partial(Single, target_update_period=1), backup=backup)
    for agent in (free, single):
        updates(agent, 7)
    assert same(snapshot(free.chain.online), snapshot(single.chain.online))


def test_one_iteration_that_shifts_after_every_update_is_target_free():
    one, free = iterated(length=1, period=1), value_agent(chain=TargetFree)
    one.chain.shift()
    for (_, heads), (_, mine) in zip(one.chain.online.named_parameters(), free.chain.online.named_parameters()):
        heads.copy_(mine.expand_as(heads))
    for agent in (one, free):
        updates(agent, 7)
    for (_, heads), (_, mine) in zip(one.chain.online.named_parameters(), free.chain.online.named_parameters()):
        torch.testing.assert_close(heads[-1:], mine, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("torso", ["shared", "separate"])
def test_live_followers_are_copies_after_every_update(torso):
    live, copies = (iterated(partial(chain, torso=torso)) for chain in (LIVE, partial(Iterated, sync_period=1)))
    copies.chain.on_period(("sync",), 1)  # a chain with copies starts with those of Q_{k+1}
    for agent in (live, copies):
        updates(agent, 12)
    assert same(snapshot(live), snapshot(copies))


# ---- i-PQN


def test_returns_of_two_iterations():
    """G¹ from the values 0.5, 0.4, 0.3, 0.6 and 0.2 after them, G² from twice these and 0.7 (docs/algorithms/is_dqn.md)."""
    assert returns(0.5) == pytest.approx([1.8079525, 1.39545, 2.801, 1.18])
    assert returns(0.5, following=(0.9, 0.8, 1.1, 0.7)) == pytest.approx([2.2207713, 1.812825, 3.2285, 1.63])


ROLLOUTS = ("agent=pqn", "env=classic/cartpole", "env.num=2", "agent.torso.hidden=[16]", "replay.length=10", "replay.minibatches=5",
            "steps=120", "evaluation.every=null", "evaluation.final_episodes=1", "checkpoint.every=null", "log.every=100",
            "runtime.threads=1")  # fmt: skip


def chained(length: int, period: int) -> tuple[str, ...]:
    return "agent/chain=iterated_live", f"agent.chain.length={length}", f"agent.chain.shift_period={period}"


def test_one_iteration_that_shifts_after_every_rollout_is_pqn(tmp_path):
    """L · M = 20 steps."""
    pqn = snapshot(train(tmp_path / "pqn", *ROLLOUTS).agent.chain.online)
    assert same(pqn, snapshot(train(tmp_path / "one", *ROLLOUTS, *chained(1, 20)).agent.chain.online))
    assert not same(pqn, snapshot(train(tmp_path / "old", *ROLLOUTS, *chained(1, 60)).agent.chain.online))  # an old target
    two = train(tmp_path / "two", *ROLLOUTS, *chained(2, 40)).agent
    assert two.chain.online.head.advantage.weight_0.shape[0] == 2
    assert two.updates == 6 * 4 * 5


def test_followers_are_the_heads_at_the_start_of_a_rollout():
    agent = value_agent(backup=Peng(0.65), chain=partial(LIVE, length=3, shift_period=100))
    update(agent, random_batch(DISCRETE, 6)._replace(extra={"returns": torch.zeros(3, 6)}))
    rollout = random_batch(DISCRETE, 6)
    rollout = rollout._replace(**{n: getattr(rollout, n).unsqueeze(1) for n in rollout._fields if n not in ("noise", "extra")})
    found = agent.prepare(rollout)["returns"]
    live = Peng(0.65)(None, SimpleNamespace(next=agent.chain.online(rollout.next_obs)), rollout).mean()
    assert found.shape == live.shape == (3, 6, 1)
    torch.testing.assert_close(found[1:], live[:-1])
    assert not torch.allclose(found[0], live[0])  # the anchor's are older than Q_1


# ---- refusals


def test_a_head_as_the_anchor_has_no_torso_of_its_own():
    with pytest.raises(ValueError, match="^torso must be one of shared, shared_hidden, not 'separate'"):
        IteratedShared(Weights, torso="separate")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (partial(iterated, optimizer=Adam(lr=0.01, weight_decay=0.1)), "optimizer.weight_decay must be 0"),
        (partial(iterated, weighting=InverseVariance), "the chain IteratedShared has none"),
        (partial(actor_critic, chain=SHARED), "chain=iterated_shared has no target network, which critics"),
    ],
)
def test_parts_that_a_head_as_the_anchor_does_not_fit(build, message):
    with pytest.raises(ValueError, match=message):
        build()
