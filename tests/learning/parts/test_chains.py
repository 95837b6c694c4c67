"""Chains of Bellman iterations: who is copied to where and when, which parts of a chain know of each other, and a reference in plain
PyTorch for separate networks (authors' `main`) and for shared torsos (their Atari branch)."""

from __future__ import annotations

import copy
import itertools
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from deeprl.agents.idqn import Iterated
from deeprl.learning.networks.heads import Scalar
from deeprl.learning.networks.torsos import Nature
from deeprl.learning.networks.value_network import ValueNetwork
from deeprl.learning.optim.adam import Adam
from deeprl.learning.parts.chains import Single, anchor_, follow_, roll_
from deeprl.running.training.learner import gradient
from deeprl.schedules import Clock, crossed
from deeprl.types import Spec
from tests.builders import DISCRETE, Weights, random_batch, same, snapshot, update, value_agent

K = 3
TORSOS = ("shared", "separate")


def heads(network) -> list[float]:
    return network.head[:, 0].tolist()


def torsos(network) -> list[float]:
    return network.torso[:, 0].tolist()


def chain_of(torso: str, **options) -> Iterated:
    """Heads 10 20 30. Torsos 1 2 3, or 1 if shared."""
    chain = Iterated(Weights, length=K, torso=torso, **options)
    chain.online.head.copy_(torch.tensor([[10.0], [20.0], [30.0]]))
    chain.online.torso.copy_(torch.tensor([[1.0], [2.0], [3.0]])[: len(chain.online.torso)])
    chain.reset_target()
    return chain


# ---- the moves


def test_the_three_moves_of_slices():
    online, target = Weights("", K, K, None), Weights("", K, K, None)
    for network, numbers in ((online, [1.0, 2.0, 3.0]), (target, [7.0, 8.0, 9.0])):
        network.head.copy_(torch.tensor(numbers).view(3, 1))
    anchor_(target, online)
    assert (heads(target), heads(online)) == ([1, 8, 9], [1, 2, 3])
    follow_(target, online)
    assert (heads(target), heads(online)) == ([1, 1, 2], [1, 2, 3])
    roll_(online)
    assert (heads(target), heads(online)) == ([1, 1, 2], [2, 3, 3])


@pytest.mark.parametrize("torso", TORSOS)
def test_the_table_of_moves(torso):
    """docs/algorithms/idqn.md"""
    chain = chain_of(torso)
    table = [(heads(chain.online), heads(chain.target))]
    for move in (lambda: follow_(chain.target, chain.online), chain.shift, lambda: follow_(chain.target, chain.online)):
        move()
        table.append((heads(chain.online), heads(chain.target)))
    assert table == [
        ([10, 20, 30], [10, 20, 30]),
        ([10, 20, 30], [10, 10, 20]),
        ([20, 30, 30], [10, 20, 30]),
        ([20, 30, 30], [10, 20, 30]),
    ]


def test_separate_torsos_move_like_heads():
    chain = chain_of("separate")
    follow_(chain.target, chain.online)
    assert torsos(chain.target) == [1, 1, 2]
    chain.shift()
    assert (torsos(chain.online), torsos(chain.target)) == ([2, 3, 3], [1, 2, 3])


def test_a_shared_torso_has_an_anchor_that_waits_for_the_shift_and_a_follower():
    chain = chain_of("shared")
    assert (torsos(chain.online), torsos(chain.target)) == ([1], [1, 1])
    assert chain.target.index == [0, 1, 1]  # Q̄_0 reads the anchor, all others the follower
    chain.online.torso.fill_(5.0)
    follow_(chain.target, chain.online)
    assert torsos(chain.target) == [1, 5]
    chain.online.torso.fill_(6.0)
    chain.shift()
    assert (torsos(chain.online), torsos(chain.target)) == ([6], [6, 6])


def test_a_sync_right_after_a_shift_does_nothing():
    for torso in TORSOS:
        chain = chain_of(torso)
        chain.shift()
        before = snapshot(chain)
        follow_(chain.target, chain.online)
        assert same(before, snapshot(chain))


def test_a_new_chain_starts_with_copies():
    for torso in TORSOS:
        agent = value_agent(chain=partial(Iterated, length=K, torso=torso))
        online, target = agent.chain.online, agent.chain.target
        for name, parameter in target.named_parameters():
            assert torch.equal(parameter, dict(online.named_parameters())[name].expand_as(parameter))
        weight = online.head.advantage.weight_0
        assert not torch.equal(weight[0], weight[1])  # and the K networks are independent


# ---- the clocks


def tape(chain, ticks, updates=lambda step: 1) -> list[str]:
    """What happens at every tick; `ticks` are environment steps."""
    events, clock = [], Clock(chain.periods)
    for before, after in itertools.pairwise(ticks):
        target = chain.target.head.clone()
        chain.online.head += torch.tensor([[1.0], [3.0], [9.0]])  # an update that keeps all heads apart
        updated = chain.online.head.clone()
        chain.on_period(clock.tick(before, after), updates(after))
        shifted = torch.equal(chain.online.head[:-1], updated[1:])
        synced = torch.equal(chain.target.head[1:], updated[:-1])
        still = torch.equal(chain.target.head, target) and torch.equal(chain.online.head, updated)
        synced = synced and torch.equal(chain.target.head[:1], target[:1])
        events.append("shift" if shifted else "sync" if synced else "-" if still else "?")
    return events


@pytest.mark.parametrize("torso", TORSOS)
def test_the_timeline_of_syncs_and_shifts(torso):
    chain = chain_of(torso, shift_period=6, sync_period=2)
    assert tape(chain, range(13)) == ["-", "sync", "-", "sync", "-", "shift", "-", "sync", "-", "sync", "-", "shift"]


def test_several_environments_and_missed_multiples_cross_all_the_same():
    chain = chain_of("separate", shift_period=10, sync_period=4)
    assert tape(chain, range(0, 33, 3)) == ["-", "sync", "sync", "shift", "-", "sync", "shift", "sync", "-", "shift"]
    assert tape(chain_of("separate", shift_period=5, sync_period=3), range(0, 32, 8)) == ["shift"] * 3


def test_nothing_moves_before_the_first_update_but_the_clocks_run():
    chain = chain_of("separate", shift_period=6, sync_period=2)
    assert tape(chain, range(13), updates=lambda step: int(step > 7)) == ["-"] * 7 + ["sync", "-", "sync", "-", "shift"]


@pytest.mark.parametrize(
    ("period", "before", "after", "expected"),
    [(4, 0, 3, False), (4, 3, 4, True), (4, 4, 7, False), (4, 4, 8, True), (4, 3, 17, True), (1, 5, 6, True), (7, 6, 7, True)],
)
def test_crossed_counts_the_multiples_after_the_first_and_up_to_the_last(period, before, after, expected):
    assert crossed(period, before, after) is expected
    assert Clock({"it": period}).tick(before, after) == ("it",) * expected


def test_a_single_target_is_copied_on_its_own_period():
    chain = Single(Weights, target_update_period=4)
    seen, clock = [], Clock(chain.periods)
    for step in range(1, 13):
        chain.online.head.fill_(step)
        chain.on_period(clock.tick(step - 1, step), updates=step > 5)  # and not before the first update
        seen.append(chain.target.head.item())
    assert seen == [0, 0, 0, 0, 0, 0, 0, 8, 8, 8, 8, 12]


@pytest.mark.parametrize("field", ["length", "shift_period", "sync_period"])
def test_numbers_below_one_are_refused_by_name(field):
    with pytest.raises(ValueError, match=f"^{field} must be at least 1, not 0"):
        Iterated(Weights, **{field: 0})


def test_more_iterations_than_anybody_means_are_refused():
    with pytest.raises(ValueError, match="^length must be at most 256, not 1,000"):
        Iterated(Weights, length=1000)


@pytest.mark.parametrize("field", ["torso", "acting", "head_reduction"])
def test_words_are_refused_with_the_menu(field):
    with pytest.raises(ValueError, match=f"^{field} must be one of .*, not 'both'"):
        Iterated(Weights, **{field: "both"})


# ---- what an agent's chain must keep to


def agent_of(torso: str, **options):
    reduction = options.pop("head_reduction", "sum")
    chain = partial(Iterated, length=K, torso=torso, shift_period=6, sync_period=2, head_reduction=reduction)
    return value_agent(chain=chain, **options)


def losses_and_gradients(agent, batch):
    """Per iteration: ℓ_k, and the gradients of Σ_k ℓ_k cut into slices of the stack."""
    kept = {}
    combine = agent.chain.combine
    agent.chain.combine = lambda losses: combine(kept.setdefault("losses", losses))
    gradients, _ = gradient(agent, "value", batch)
    agent.chain.combine = combine
    return kept["losses"].detach(), gradients


def test_a_network_knows_of_no_other_until_the_next_sync():
    agent, batch = agent_of("separate"), random_batch(DISCRETE, 11)
    losses, gradients = losses_and_gradients(agent, batch)
    for j in range(K):
        other = agent_of("separate")
        for parameter in other.chain.online.parameters():
            parameter[j] += 1.0
        changed, changed_gradients = losses_and_gradients(other, batch)
        for k in range(K):
            assert torch.equal(changed[k], losses[k]) == (k != j)
            assert all(torch.equal(new[k], old[k]) for new, old in zip(changed_gradients, gradients)) == (k != j)
        if j < K - 1:  # after the sync the next one feels it, the others still do not
            follow_(other.chain.target, other.chain.online)
            follow_(agent.chain.target, agent.chain.online)
            changed, _ = losses_and_gradients(other, batch)
            reference, _ = losses_and_gradients(agent, batch)
            assert [torch.equal(a, b) for a, b in zip(changed, reference)] == [k not in (j, j + 1) for k in range(K)]
            agent.chain.reset_target()


def test_heads_over_a_shared_torso_meet_there_only():
    agent, other, batch = agent_of("shared"), agent_of("shared"), random_batch(DISCRETE, 11)
    for parameter in other.chain.online.head.parameters():
        parameter[1] += 1.0
    losses, gradients = losses_and_gradients(agent, batch)
    changed, changed_gradients = losses_and_gradients(other, batch)
    assert [torch.equal(a, b) for a, b in zip(losses, changed)] == [True, False, True]
    names = [name for name, _ in agent.chain.online.named_parameters()]
    for name, old, new in zip(names, gradients, changed_gradients):
        if name.startswith("head"):
            assert [torch.equal(old[k], new[k]) for k in range(K)] == [True, False, True]
        else:
            assert not torch.equal(old, new)


@pytest.mark.parametrize("torso", TORSOS)
def test_anchors_stand_still_between_shifts_and_targets_between_syncs(torso):
    agent = agent_of(torso)
    for step in range(1, 19):
        before = {name: p.clone() for name, p in agent.chain.target.named_parameters()}
        update(agent, random_batch(DISCRETE, 11, seed=step))
        assert all(torch.equal(p, before[name]) for name, p in agent.chain.target.named_parameters())
        agent.tick(step - 1, step)
        for name, p in agent.chain.target.named_parameters():
            assert torch.equal(p[0], before[name][0]) == (step % 6 != 0)
            assert torch.equal(p[1:], before[name][1:]) == (step % 2 != 0)


@pytest.mark.parametrize("torso", TORSOS)
def test_identities_of_a_shift(torso):
    agent = agent_of(torso)
    for step in range(1, 6):
        update(agent, random_batch(DISCRETE, 11, seed=step))
    online = {name: p.clone() for name, p in agent.chain.online.named_parameters()}
    update(agent, random_batch(DISCRETE, 11, seed=6))
    before = {name: p.clone() for name, p in agent.chain.online.named_parameters()}
    moments = agent.objectives["value"].optimizer.moment.clone()
    agent.tick(5, 6)
    after, target = dict(agent.chain.online.named_parameters()), dict(agent.chain.target.named_parameters())
    for name, old in before.items():
        assert not torch.equal(old, online[name])
        for k in range(len(old)):
            assert torch.equal(after[name][k], old[min(k + 1, len(old) - 1)])  # θ_k ← θ_{k+1}, θ_K stays
        if len(old) == K:  # Q̄_k ← Q_{k+1}, k = 0 … K − 1
            assert torch.equal(target[name], old)
        else:
            assert torch.equal(target[name], old.expand_as(target[name]))
    assert torch.equal(agent.objectives["value"].optimizer.moment, moments)  # Adam's moments stay with the place


def test_the_frozen_torso_is_not_trained_and_no_target_is_given_a_gradient():
    agent = agent_of("shared")
    trained = {id(p) for p in agent.objectives["value"].parameters}
    assert trained == {id(p) for p in agent.chain.online.parameters()}
    losses_and_gradients(agent, random_batch(DISCRETE, 11))
    assert all(p.grad is None and not p.requires_grad for p in agent.parameters())


def test_the_mean_over_heads_is_the_sum_divided_by_their_number():
    summed, mean, batch = agent_of("shared"), agent_of("shared", head_reduction="mean"), random_batch(DISCRETE, 11)
    for one, other in zip(losses_and_gradients(summed, batch)[1], losses_and_gradients(mean, batch)[1]):
        torch.testing.assert_close(other * K, one)


def test_the_loss_of_each_iteration_is_logged_and_how_far_they_are_apart():
    agent = agent_of("shared")
    learned = update(agent, random_batch(DISCRETE, 11))
    read = agent.read(learned.metrics)
    each = [read[f"train/chain_loss/{k}"] for k in (1, 2, 3)]
    assert each == pytest.approx(learned.metrics["train/loss"].mean(1).tolist())
    assert read["train/loss"] == pytest.approx(sum(each) / K)
    assert read["train/chain_spread"] == pytest.approx(float(np.std(learned.metrics["train/q_values"].numpy(), axis=0).mean()))
    assert read["train/chain_spread"] > 0
    alone = value_agent()
    assert not any("chain" in name for name in alone.read(update(alone, random_batch(DISCRETE, 11)).metrics))


# ---- parameter counts of the released checkpoints


def count(network, entries: int | None = None) -> int:
    return sum(p[:entries].numel() for p in network.parameters())


def atari(place="", stack=1, torsos=1, index=None, padding="same"):
    spec = Spec((4, 84, 84), torch.uint8, 18, 0)
    with torch.device("meta"):
        torso = Nature(padding=padding)
        body = torso.build(spec, torsos)
        return ValueNetwork(body, Scalar().build(body.features, torso.head_hidden, 18, stack, torso.init), 3, index)


def test_nature_networks():
    assert count(atari()) == 4_052_658
    assert count(atari(padding="valid")) == 1_693_362
    assert count(atari().torso) == 77_984


def test_idqn_on_atari_has_24_004_012_parameters():
    """The authors count one network of two torsos and K + 1 heads: ours online, and the anchor."""
    chain = Iterated(atari, length=5)
    assert count(chain.online) + count(chain.target, entries=1) == 24_004_012
    assert count(chain.target) == count(chain.online) + 77_984  # the follower's torso is the second one
    assert [count(chain.online.torso), count(chain.online.head)] == [77_984, 5 * 3_974_674]


# ---- references in plain PyTorch

UPDATES, T, D, LR, EPS = 20, 6, 2, 0.01, 1e-3


def layer(weight, bias) -> nn.Linear:
    """(in, out) and (1, out), as blocks hold them."""
    made = nn.Linear(*weight.shape)
    made.weight.data.copy_(weight.T)
    made.bias.data.copy_(bias[0])
    return made


def close(ours, k: int, theirs: nn.Linear, name: str) -> None:
    weight, bias = getattr(ours, f"weight_{name}")[k], getattr(ours, f"bias_{name}")[k]
    torch.testing.assert_close(weight.T, theirs.weight.detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(bias[0], theirs.bias.detach(), rtol=1e-5, atol=1e-6)


def regress(online, target, batch):
    with torch.no_grad():
        bellman_target = batch.reward + batch.discount * target(batch.next_obs).max(1).values
    return (bellman_target - online(batch.obs).gather(1, batch.action[:, None])[:, 0]).pow(2).mean()


def test_separate_networks_agree_with_k_plain_ones():
    """Authors' `main`: K networks with K optimizers whose moments stay with the place; two clocks."""
    agent = agent_of("separate", optimizer=Adam(lr=LR, eps=EPS))
    body, top = agent.chain.online.torso, agent.chain.online.head.advantage
    online = [nn.Sequential(layer(body.weight_0[k], body.bias_0[k]), nn.ReLU(), layer(top.weight_0[k], top.bias_0[k])) for k in range(K)]
    target = copy.deepcopy(online)
    optimizers = [torch.optim.Adam(network.parameters(), lr=LR, eps=EPS) for network in online]
    for step in range(1, UPDATES + 1):
        batch = random_batch(DISCRETE, 11, seed=step)
        losses = [regress(online[k], target[k], batch) for k in range(K)]
        for optimizer, loss in zip(optimizers, losses):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if step % T == 0:
            weights = [copy.deepcopy(network.state_dict()) for network in online]
            for k in range(K):
                target[k].load_state_dict(weights[k])
                online[k].load_state_dict(weights[min(k + 1, K - 1)])
        elif step % D == 0:
            for k in range(1, K):
                target[k].load_state_dict(online[k - 1].state_dict())
        learned = update(agent, batch)
        agent.tick(step - 1, step)
        torch.testing.assert_close(learned.metrics["train/loss"].mean(1), torch.stack(losses).detach(), rtol=1e-5, atol=1e-6)
    for ours, theirs in ((agent.chain.online, online), (agent.chain.target, target)):
        for k in range(K):
            close(ours.torso, k, theirs[k][0], "0")
            close(ours.head.advantage, k, theirs[k][2], "0")


def test_a_shared_torso_agrees_with_the_authors_layout():
    """Two torsos and K + 1 heads in one optimizer; head 0 over torso 0 is frozen. A sync copies all into the target; at a shift
    torso 0 ← torso 1, head k ← head k + 1, and then the target is copied. Q̄_0 = head 0 over torso 0, Q̄_k = head k over torso 1."""
    agent = agent_of("shared", optimizer=Adam(lr=LR, eps=EPS))
    body, top = agent.chain.online.torso, agent.chain.online.head.advantage
    # In ours Q̄_k starts as Q_{k+1}; the authors' follower starts as Q_k. A sync before the first update makes them the same.
    follow_(agent.chain.target, agent.chain.online)
    torsos_ = nn.ModuleList([layer(body.weight_0[0], body.bias_0[0]) for _ in range(2)])
    heads_ = nn.ModuleList([layer(top.weight_0[k], top.bias_0[k]) for k in (0, *range(K))])
    network = nn.ModuleDict({"torsos": torsos_, "heads": heads_})
    target = copy.deepcopy(network)
    optimizer = torch.optim.Adam(network.parameters(), lr=LR, eps=EPS)

    def q(net, k):
        return lambda obs: net["heads"][k](net["torsos"][min(k, 1)](obs).relu())

    for step in range(1, UPDATES + 1):
        batch = random_batch(DISCRETE, 11, seed=step)
        optimizer.zero_grad()
        sum(regress(q(network, k), q(target, k - 1), batch) for k in range(1, K + 1)).backward()
        optimizer.step()
        if step % T == 0:
            network["torsos"][0].load_state_dict(network["torsos"][1].state_dict())
            for k in range(K):
                network["heads"][k].load_state_dict(network["heads"][k + 1].state_dict())
        if step % D == 0:
            target.load_state_dict(network.state_dict())
        update(agent, batch)
        agent.tick(step - 1, step)
    close(body, 0, network["torsos"][1], "0")
    for k in range(K):
        close(top, k, network["heads"][k + 1], "0")
        close(agent.chain.target.head.advantage, k, target["heads"][k], "0")
    for i in range(2):
        close(agent.chain.target.torso, i, target["torsos"][i], "0")
