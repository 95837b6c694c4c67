"""Logarithmic Q-learning and what mapped values share. Numbers: docs/algorithms/log_dqn.md and loglin_dqn.md."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from deeprl.agents.idqn import Iterated
from deeprl.agents.log_dqn import Log
from deeprl.agents.reward_channels import Bands
from deeprl.agents.value_mapping import LogLinear, PerChannel
from deeprl.learning.backups.bellman import Double, Max
from deeprl.learning.networks.heads import Scalar
from deeprl.learning.networks.mapped import wrapped
from deeprl.learning.networks.torsos import MLPTorso, Nature
from deeprl.learning.optim.adam import Adam
from deeprl.learning.parts.chains import Single
from deeprl.learning.transforms.channels import Polar
from deeprl.learning.transforms.rewards import Clip, Raw
from deeprl.learning.values.losses import huber, squared
from deeprl.learning.values.mapped import MappedValues, Units
from deeprl.learning.values.mapping import Identity
from deeprl.learning.values.returns import Returns
from deeprl.running.training.learner import gradient
from tests.builders import (
    DISCRETE,
    assert_close32,
    draw,
    entry,
    flat,
    make_batch,
    random_batch,
    same,
    snapshot,
    traced_gradient,
    train,
    update,
    value_agent,
)

GAMMA, K, C = 0.96, 100, 0.5
FLOOR = GAMMA**K
LOG = Log(c=C, k=K, discount=GAMMA)
BOTH = Units(LOG, (1.0, -1.0))


def column(*numbers: float) -> torch.Tensor:
    """(1, C, 1)"""
    return torch.tensor(numbers, dtype=torch.float64).reshape(1, -1, 1)


def mapped_target(units: Units, mapped, target) -> list[float]:
    found, _ = units.regression_target(units.ordinary(column(*mapped)), column(*target))
    return found.flatten().tolist()


# ---- numbers


def test_constants():
    assert pytest.approx(0.0168703, abs=1e-7) == FLOOR
    assert LOG.limit == pytest.approx(25)
    assert replace(LOG, n_step=3).limit == pytest.approx(1 / (1 - GAMMA**3))
    assert LOG.lowest(1) == FLOOR
    start = BOTH.ordinary(column(0.0, 0.0)).flatten().tolist()
    assert start == pytest.approx([1.0, FLOOR])
    assert (-BOTH.offsets).tolist() == pytest.approx([0.0, 2.0410997], abs=1e-7)  # d⁺ and d⁻


@pytest.mark.parametrize(
    ("channel", "reward", "following", "target", "average", "mapped"),
    [
        (0, 0.0, None, 0.0168703, 0.9016870, -0.0517439),
        (0, 1.0, None, 1.0, 1.0, 0.0),
        (0, 0.0, 1.0, 0.96, 0.996, -0.0020040),
        (0, 1.0, 40.0, 25.0, 3.4, 0.6118877),
        (1, -1.0, None, 1.0, 0.1151833, 0.9604844),
    ],
)
def test_the_table_of_targets(channel, reward, following, target, average, mapped):
    """Through the backup: Q̃ = 0, β_reg = 0.1, and the next state's channel value, None at a terminal state."""
    after = [1.0, FLOOR]
    after[channel] = following if following is not None else after[channel]
    said = MappedValues(BOTH.mapped(column(*after)).unsqueeze(-1), BOTH)  # (1, C, 1, A = 1)
    assert said.units.ordinary(said.mapped).flatten().tolist() == pytest.approx(after)
    rewards = Polar()(torch.tensor([reward], dtype=torch.float64))
    batch = SimpleNamespace(reward=rewards, discount=torch.tensor([0.0 if following is None else GAMMA], dtype=torch.float64))
    returns = Max()(None, SimpleNamespace(next=said), batch).mean()
    here = column(1.0, FLOOR)
    assert LOG.floored(returns)[0, channel, 0].item() == pytest.approx(target, abs=1e-7)
    assert torch.lerp(here, LOG.floored(returns), 0.1)[0, channel, 0].item() == pytest.approx(average, abs=1e-7)
    now = MappedValues(column(0.0, 0.0).requires_grad_(), BOTH, huber)
    assert BOTH.regression_target(here, returns)[0][0, channel, 0].item() == pytest.approx(mapped, abs=1e-7)
    loss, error = now.loss(Returns(returns.unsqueeze(-1)))
    targets = BOTH.regression_target(here, returns)[0]
    assert loss.item() == pytest.approx(float(0.5 * targets.square().sum() if targets.abs().max() < 1 else huber(targets).sum()))
    assert error.item() == pytest.approx(abs(float((LOG.floored(returns) - here)[0, 0, 0] - (LOG.floored(returns) - here)[0, 1, 0])))
    # the target's graph ends at the mapped target, so that the gradient is the error in mapped units
    (gradient,) = torch.autograd.grad(loss.sum(), now.mapped)
    torch.testing.assert_close(gradient, -targets.clamp(-1, 1))


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("mapping", [LOG, replace(LOG, shift=GAMMA**200, k=None, initial=(0.0, 0.0))])
def test_forward_and_inverse_cancel(mapping, precision):
    """To 1e-12 in float64 on [γᵏ, 1/(1 − γ)]."""
    units = Units(replace(mapping, precision=precision), (1.0, -1.0))
    value = torch.linspace(FLOOR, 25, 4001, dtype=units.dtype).expand(1, 2, -1)
    tolerance = 1e-12 if precision == "float64" else 1e-4
    assert (units.ordinary(units.mapped(value)) - value).abs().max() < tolerance
    assert units.mapped(value).dtype == units.dtype


@pytest.mark.parametrize("mapping", [LOG, replace(LOG, initial=None), Log(c=2.0, shift=0.3, k=None, initial=(0.0, 0.0))])
def test_a_table_that_goes_all_the_way_is_q_learning(mapping):
    """With β_log = 1 the table in ordinary units is lerp(Q, T, β_reg) for each channel, floor apart."""
    units = Units(replace(mapping, averaging=0.3, clip_bootstrap=False), (1.0, -1.0))
    generator = torch.Generator().manual_seed(0)
    mapped, plain = column(0.2, -0.1), units.ordinary(column(0.2, -0.1))
    for _ in range(30):
        target = torch.rand(1, 2, 1, generator=generator, dtype=torch.float64) + 0.05
        mapped, _ = units.regression_target(units.ordinary(mapped), target)
        plain = plain + 0.3 * (target - plain)
        torch.testing.assert_close(units.ordinary(mapped), plain, rtol=1e-12, atol=1e-12)


def test_without_losses_the_negative_channel_stands_still_at_the_floor():
    """T⁻ = max(γᵏ, 0 + γ·γᵏ) = γᵏ, so target and prediction agree and no error is reported."""
    for following in (FLOOR, 0.0):
        found, error = BOTH.regression_target(BOTH.ordinary(column(0.0, 0.0)), column(1.0, GAMMA * following))
        assert found.flatten().tolist() == pytest.approx([0.0, 0.0], abs=1e-15)
        assert error.item() == pytest.approx(0.0, abs=1e-15)


def test_no_gradient_reaches_the_target_network():
    agent = log_agent()
    for parameter in agent.parameters():
        parameter.requires_grad_(True)
    loss = agent.loss(random_batch(DISCRETE, 6)._replace(reward=agent.rewards(torch.randn(6)))).loss
    loss.backward()
    assert all(parameter.grad is None for parameter in agent.chain.target.parameters())
    assert all(parameter.grad is not None for parameter in agent.chain.online.parameters())


def test_the_shared_action_is_greedy_for_the_difference():
    """A maximum in each head would take 3 − 2 here; the shared a* takes action 1, 2.5 − 1. Double asks the online network."""
    values = torch.tensor([[[[3.0, 2.5]], [[2.0, 1.0]]]], dtype=torch.float64)
    said = MappedValues(BOTH.mapped(values), BOTH)
    assert said.mean().flatten().tolist() == pytest.approx([1.0, 1.5])
    batch = SimpleNamespace(reward=torch.zeros(2, 1), discount=torch.ones(1))
    assert Max()(None, SimpleNamespace(next=said), batch).atoms.flatten().tolist() == pytest.approx([2.5, 1.0])
    other = MappedValues(BOTH.mapped(values.flip(-1)), BOTH)
    assert Double()(SimpleNamespace(next=other), SimpleNamespace(next=said), batch).atoms.flatten().tolist() == pytest.approx([3.0, 2.0])


# ---- values: axes and units


def test_axes_of_mapped_values():
    """(K, C, *B, A) with sizes that all differ, flat and in sequences; an average over actions is taken in ordinary units."""
    k, c, t, b, a = 2, 4, 5, 3, 6
    units = Units(replace(LOG, clip_bootstrap=False), (1.0, 10.0, -1.0, -10.0))
    values = torch.rand(k, c, t * b, a, dtype=torch.float64) + 0.1
    flat = MappedValues(units.mapped(values), units, features=torch.zeros(1, t * b, 7))
    assert flat.mean().shape == (k, t * b, a)
    total = values[:, 0] + 10 * values[:, 1] - values[:, 2] - 10 * values[:, 3]
    torch.testing.assert_close(flat.mean(), total)
    action, policy = torch.randint(a, (k, t * b)), torch.rand(k, t * b, a, dtype=torch.float64)
    chosen = flat.expect(action).atoms
    assert chosen.shape == (k, c, t * b, 1)
    for i in range(k):
        torch.testing.assert_close(chosen[i, :, :, 0], values[i][:, torch.arange(t * b), action[i]])
    torch.testing.assert_close(flat.expect(policy).atoms[..., 0], (values * policy[:, None]).sum(-1))
    series = flat.unflatten(torch.Size((t, b)))
    assert series.mapped.shape == (k, c, t, b, a)
    assert series.features.shape == (1, t, b, 7)
    torch.testing.assert_close(series.mean().flatten(1, 2), flat.mean())
    taken = torch.randint(a, (t, b))
    assert series.at(taken).mean().shape == (k, t, b)
    torch.testing.assert_close(series.at(taken).mean().flatten(1), flat.at(taken.flatten()).mean())
    loss, error = series.at(taken).loss(Returns(torch.rand(k, c, t, b, 1)))
    assert loss.shape == error.shape == (k, t, b)
    with pytest.raises(AssertionError, match="differ"):
        series.at(taken).loss(Returns(torch.rand(k, t, b, 1)))


def test_what_targets_may_use_is_cut_off_but_values_for_acting_are_not():
    said = MappedValues(BOTH.mapped(column(40.0, 0.5).unsqueeze(-1)), BOTH)
    assert said.mean().item() == pytest.approx(39.5)
    assert said.expect(torch.zeros(1, 1, dtype=torch.int64)).atoms.flatten().tolist() == pytest.approx([25.0, 0.5])
    signed = Units(Identity(bound=2.0, clip_bootstrap=True), (1.0,), signed=True)
    assert signed.clipped_bootstrap(column(-3.0)).item() == -2.0
    assert Units(Identity(bound=2.0, clip_bootstrap=True), (1.0,)).clipped_bootstrap(column(-3.0)).item() == 0.0


def test_small_differences_of_large_values_survive_in_float64_only():
    """Why maps are float64: 1 and 1 + 1e-9 differ."""
    value = torch.tensor([1.0, 1.0 + 1e-9], dtype=torch.float64)
    for precision, seen in (("float64", True), ("float32", False)):
        units = Units(replace(LOG, precision=precision, initial=None), (1.0,))
        mapped = units.mapped(value.to(units.dtype).reshape(1, 1, 1, 2))
        assert bool((units.ordinary(mapped).diff() > 0).item()) == seen


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_head_that_says_too_much_gives_large_numbers_and_no_infinities(precision):
    units = Units(replace(LOG, precision=precision), (1000.0, -1000.0))
    values = MappedValues(torch.full((1, 2, 1, 3), 1e6), units)
    assert values.mean().isfinite().all()


def test_the_channels_of_the_batch_meet_the_channels_of_the_head():
    agent = log_agent()
    batch = random_batch(DISCRETE, 6)
    with pytest.raises(RuntimeError, match="must match"), torch.no_grad():
        agent.loss(batch._replace(reward=torch.rand(3, 6)))


# ---- the agent


def log_agent(mapping=LOG, rewards=Polar, seed: int = 0, **slots):
    head = slots.pop("head", Scalar(loss="huber", init="glorot_uniform"))
    return value_agent(seed=seed, mapping=mapping, rewards=rewards, head=head, **slots)


def test_asymmetric_start():
    """Q⁻ = γᵏ exactly and Q⁺ about 1; `zero_negative` off draws both."""
    batch = random_batch(DISCRETE, 50)
    values = log_agent().chain.online(batch.obs)
    assert values.mapped.shape == (1, 2, 50, 3)
    value = values.units.ordinary(values.mapped)
    assert (value[:, 1] - FLOOR).abs().max() < 1e-15
    assert value[:, 0].log().abs().max() > 0.1  # drawn
    assert value[:, 0].log().mean().abs() < 1.5
    drawn = log_agent(replace(LOG, zero_negative=False)).chain.online(batch.obs)
    assert not (drawn.mapped[:, 1] == 0).all()
    torch.testing.assert_close(drawn.mapped[:, 0], values.mapped[:, 0])


@pytest.mark.parametrize("head", [Scalar(dueling=True), Scalar(noisy=True), Scalar(dueling=True, noisy=True)])
def test_duelling_and_noisy_heads_in_channels(head):
    agent = log_agent(head=head, torso=MLPTorso(hidden=(7,), head_hidden=(4,)))
    noise = entry(agent.noise((1, 6), torch.Generator().manual_seed(1)), 0)
    assert bool(noise["online"].now.layers) == head.noisy
    batch = random_batch(DISCRETE, 6, noise=noise)
    batch = batch._replace(reward=agent.rewards(batch.reward))
    with torch.no_grad():
        loss, quiet = agent.loss(batch).loss, agent.loss(batch._replace(noise={})).loss
        start = agent.chain.online(batch.obs)
    assert (start.mapped[:, 1] == 0).all()  # the last layers of both streams
    assert loss.isfinite()
    assert (loss != quiet) == head.noisy


def test_what_channels_share():
    """Hidden layers of the head: in common for LogDQN, one for each channel in MapDQN; the gradient into what is shared can be scaled."""
    torso = MLPTorso(hidden=(7,), head_hidden=(4,))

    def shapes(**keys):
        agent = log_agent(replace(LOG, **keys), torso=torso)
        return {name: tuple(p.shape) for name, p in agent.chain.online.head.named_parameters()}, agent

    common, one = shapes()
    assert common["common.weight_0"] == (1, 7, 4)
    assert common["channels.1.advantage.weight_0"] == (1, 4, 3)
    normed = log_agent(LOG, torso=torso, head=Scalar(layer_norm=True)).chain.online.head.common
    assert normed.layer_norm
    unit = log_agent(replace(LOG, zero_negative=False), torso=torso, head=Scalar(unit=True)).chain.online.head.common
    torch.testing.assert_close(unit.weight_0.norm(dim=1), torch.ones(1, 4))
    apart, _ = shapes(shared=False)
    assert "common.weight_0" not in apart
    assert [apart[f"channels.{c}.advantage.weight_{i}"] for c in (0, 1) for i in (0, 1)] == [(1, 7, 4), (1, 4, 3)] * 2
    _, scaled = shapes(scale_gradient=True)
    batch = random_batch(DISCRETE, 6)
    batch = batch._replace(reward=one.rewards(batch.reward))
    names = [name for name, _ in one.chain.online.named_parameters()]
    plain, less = (dict(zip(names, gradient(agent, "value", batch)[0])) for agent in (one, scaled))
    for name in names:
        factor = 2**-0.5 if "channels" not in name else 1.0
        torch.testing.assert_close(less[name], factor * plain[name])
    assert plain["head.common.weight_0"].abs().max() > 0
    with pytest.raises(ValueError, match=r"agent\.chain\.torso must not be shared_hidden with agent\.mapping\.shared=false"):
        log_agent(replace(LOG, shared=False), torso=torso, chain=partial(Iterated, torso="shared_hidden"))


@pytest.mark.parametrize("length", [1, 3])
@pytest.mark.parametrize("backup", [Max(), Double()])
def test_channels_in_a_chain(length, backup):
    """K iterations of C channels: every channel of a slice moves with it, and each entry alone is a chain of one."""
    chain = partial(Iterated, length=length, shift_period=4, sync_period=2, acting="mean")
    agent = log_agent(chain=chain, backup=backup, rewards=partial(Bands, count=2))
    batch = random_batch(DISCRETE, 6)
    batch = batch._replace(reward=agent.rewards(5 * batch.reward))
    for step in range(9):
        learned = update(agent, batch)
        if step < 8:
            agent.tick(step, step + 1)
        assert learned.error.shape == (6,)
        assert learned.error.dtype == torch.float32
    values = agent.chain.online(batch.obs)
    assert values.mapped.shape == (length, 4, 6, 3)
    noise = entry(agent.act_noise((1, 6), torch.Generator().manual_seed(0)), 0)
    acted = agent.act(batch.obs, torch.ones(6, dtype=torch.bool), {}, 10**9, noise, False)
    assert torch.equal(acted.action, values.mean().mean(0).argmax(-1))
    before = [p.clone() for p in agent.chain.online.parameters()]
    agent.tick(11, 12)
    for parameter, old in zip(agent.chain.online.parameters(), before):
        assert torch.equal(parameter[:-1], old[1:])
    names = [name for name, _ in agent.chain.online.named_parameters()]
    anchor = agent.chain.target.head.channels[3].advantage.weight_0[0]
    assert torch.equal(anchor, before[names.index("head.channels.3.advantage.weight_0")][0])


def test_the_values_of_each_channel_are_logged():
    """Mapped values of channel c, (K, C, B) = (1, 2, 2), that mean 1 and 3, and 10 and 20; λ = (1, −1)."""
    ordinary = torch.tensor([[[1.0, 3.0], [10.0, 20.0]]], dtype=torch.float64)
    values = MappedValues(BOTH.mapped(ordinary), BOTH)
    (shown,) = values.metrics(Returns(ordinary.unsqueeze(-1))).values()
    torch.testing.assert_close(shown, ordinary)
    agent = log_agent(chain=partial(Iterated, length=3), rewards=partial(Bands, count=2))
    batch = random_batch(DISCRETE, 6)
    shown = update(agent, batch._replace(reward=agent.rewards(batch.reward))).metrics
    read = agent.read(shown)
    each = [read[f"train/channel_value/{c}"] for c in (1, 2, 3, 4)]
    assert sum(scale * value for scale, value in zip(agent.rewards.scales, each)) == pytest.approx(read["train/q_values"], rel=1e-6)
    assert "train/channel_values" not in read
    alone = log_agent(Identity(averaging=0.5), Raw)
    assert not any("channel" in name for name in alone.read(update(alone, batch._replace(reward=batch.reward[None])).metrics))


@pytest.mark.parametrize(
    ("mapping", "rewards"),
    [
        (LOG, Polar), (LogLinear(), partial(Bands, count=2)), (PerChannel(maps=(LogLinear(), Log(floor=0.01))), Polar),
        pytest.param(Identity(), Polar, marks=pytest.mark.exhaustive),
        pytest.param(Identity(averaging=0.5), Raw, marks=pytest.mark.exhaustive),
    ],
    ids=["log", "loglinear", "per channel", "identity in channels", "identity averaged"],
)  # fmt: skip
@pytest.mark.parametrize("length", [pytest.param(1, marks=pytest.mark.exhaustive), 3])
def test_every_map_traces_as_one_graph(mapping, rewards, length):
    agent = log_agent(mapping, rewards, chain=partial(Iterated, length=length))
    batch = random_batch(DISCRETE, 6)
    batch = batch._replace(reward=agent.rewards(batch.reward))
    found, learned = traced_gradient(agent, "value", batch)
    expected, plain = gradient(agent, "value", batch)
    assert_close32(flat(found), flat(expected))
    torch.testing.assert_close(learned.error, plain.error)


# ---- neutral elements


def updates(agent, count: int = 12) -> None:
    for step in range(1, count + 1):
        batch = random_batch(DISCRETE, 6, step)
        update(agent, batch._replace(reward=agent.rewards(batch.reward)))
        agent.tick(step - 1, step)


def test_the_identity_is_the_plain_agent():
    """The head itself, whatever the bound that nothing uses."""
    head = Scalar()
    assert wrapped(head, Identity(), Raw()) is head is wrapped(head, Identity(discount=0.9, bound=3.0, n_step=2), Clip(bound=1.0))
    assert wrapped(head, Identity(), Polar()) is not head
    one, plain = value_agent(mapping=Identity(discount=0.99)), value_agent()
    for agent in (one, plain):
        updates(agent)
    assert same(snapshot(one), snapshot(plain))


@pytest.mark.parametrize("loss", ["squared", "huber"])
@pytest.mark.parametrize("backup", [Max(), Double()])
@pytest.mark.parametrize("length", [1, 3])
def test_one_mapped_channel_of_the_identity_is_the_plain_agent_bit_for_bit(loss, backup, length):
    """Loss and gradients, and so twelve updates. A floor, taken away again, forces the mapped head."""
    slots = {"chain": partial(Iterated, length=length, shift_period=5, sync_period=2), "head": Scalar(loss=loss), "backup": backup}
    one, plain = value_agent(mapping=Identity(floor=0.0, clip_target=False, shared=False), **slots), value_agent(**slots)
    one.chain.online.head.units.mapping = one.chain.target.head.units.mapping = Identity()
    assert type(one.chain.online.head).__name__ == "MappedHead"
    for ours, theirs in ((one.chain.online, plain.chain.online), (one.chain.target, plain.chain.target)):
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            a.copy_(b)  # the same weights from other places' generators
    batch = random_batch(DISCRETE, 11)
    (found, learned), (expected, known) = (gradient(agent, "value", batch) for agent in (one, plain))
    assert all(map(torch.equal, found, expected))
    assert torch.equal(learned.error, known.error)
    assert all(torch.equal(learned.metrics[name], known.metrics[name]) for name in known.metrics)
    for agent in (one, plain):
        updates(agent)
    assert all(map(torch.equal, one.chain.parameters(), plain.chain.parameters()))
    assert not torch.equal(one.chain.online.head.channels[0].advantage.weight_0, one.chain.target.head.channels[0].advantage.weight_0)


def test_an_identity_that_averages_moves_the_hubers_threshold():
    """Gradient β · clip(e, ± 1/β)."""
    q, step = torch.linspace(-20, 20, 41).reshape(1, 1, 41).requires_grad_(), 0.25
    values = MappedValues(q, Units(Identity(averaging=step), (1.0,), signed=True), huber)
    loss, error = values.loss(Returns(torch.zeros(1, 1, 41, 1)))
    (gradient,) = torch.autograd.grad(loss.sum(), q)
    torch.testing.assert_close(gradient, step * q.detach().clamp(-1 / step, 1 / step))
    torch.testing.assert_close(error, q.detach()[:, 0].abs())


def test_channels_of_the_identity_add_up_to_the_plain_values():
    """Q-decomposition: linear, so that on one action the λ-weighted sum of both channels learns as the plain value does."""
    units = Units(Identity(), (1.0, -1.0))
    agent = value_agent(mapping=Identity(), rewards=partial(Polar, bound=None))
    assert agent.chain.online.head.units.low == 0.0
    q, reward = column(2.0, 0.5).float(), torch.tensor([-3.0])
    following = MappedValues(torch.tensor([[[[1.0]], [[4.0]]]]), units, squared)
    batch = SimpleNamespace(reward=agent.rewards(reward), discount=torch.tensor([0.9]))
    returns = Max()(None, SimpleNamespace(next=following), batch)
    loss, error = MappedValues(q, units, squared).loss(returns)
    plain = -3.0 + 0.9 * (1.0 - 4.0) - (2.0 - 0.5)
    assert error.item() == pytest.approx(abs(plain))
    assert loss.item() == pytest.approx((0.9 - 2.0) ** 2 + (3.0 + 3.6 - 0.5) ** 2)


def test_mapdqn_with_two_logarithms_is_logdqn_up_to_its_four_differences():
    theirs = PerChannel(maps=(Log(floor=0.01687), Log(floor=0.01687)))
    ours = Log(
        floor=0.01687, initial=None, zero_negative=False, floor_on="average", clip_prediction=True, shared=False
    )  # d⁻ = 0 and a drawn start; the floor on U; q cut off
    for rewards in (Polar, partial(Bands, count=1)):
        one, other = log_agent(theirs, rewards), log_agent(ours, rewards)
        for agent in (one, other):
            updates(agent)
        assert all(map(torch.equal, one.parameters(), other.parameters()))
    plain = log_agent(Log(floor=0.01687), Polar)
    updates(plain)
    assert not all(map(torch.equal, one.parameters(), plain.parameters()))
    assert one.chain.online.head.units.ordinary(column(0.0, 0.0)).flatten().tolist() == pytest.approx([1.0, 1.0])


# ---- choices


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"c": 0.0}, "c must be positive, not 0.0"),
        ({"k": None}, "floor must be above 0, or null with k above 0 and a discount below 1, or shift above 0: ln 0 is no value"),
        ({"floor": 0.0}, "floor must be above 0"),
        ({"discount": 1.0, "bound": 9.0}, "floor must be above 0"),
        ({"discount": 1.0, "floor": 0.01}, "bound must be given where the discount is 1"),
        ({"averaging": 0.0}, "averaging must be above 0"),
        ({"averaging": 1.5}, "averaging must be between 0 and 1"),
        ({"n_step": 0}, "n_step must be at least 1"),
        ({"floor_on": "reward"}, "floor_on must be one of target, average"),
        ({"precision": "half"}, "precision must be one of float32, float64"),
        ({"bound": -1.0}, "bound must be at least 0"),
        ({"discount": 1.1}, "discount must be between 0 and 1"),
        ({"initial": (1.0,)}, "initial must be a list of 2 finite numbers"),
        ({"shift": -1.0}, "shift must be at least 0"),
    ],
)
def test_wrong_values_are_refused(keys, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        Log(**keys)


def test_floor_and_start_follow_gamma_and_n():
    """d uses γᵏ, the floor on T uses γ_nᵏ, the bound 1/(1 − γ_n)."""
    mapping = Log(discount=0.9, k=20, n_step=3)
    assert mapping.floored(torch.zeros(1)).item() == pytest.approx(0.9**60)
    assert mapping.start(-1.0) == pytest.approx(0.9**20)
    assert mapping.start(1.0) == 1.0
    assert mapping.limit == pytest.approx(1 / (1 - 0.9**3))
    assert Log(floor=0.01, discount=1.0, bound=7.0).start(-2.0) == 0.01
    assert replace(mapping, initial=None).start(1.0) is None
    assert mapping.start(5.0) == pytest.approx(0.2)  # each channel contributes the same to Q: ours, the papers have |λ| = 1
    free = Log(shift=0.1, k=None)
    assert free.floored(torch.tensor([-0.05])).item() == pytest.approx(-0.05)


def test_over_several_steps_the_default_bound_cuts_off_values_that_occur():
    """A reward of 1 each step, γ = 0.96, n = 3: R = 1 + 0.96 + 0.9216, and 25 is its return. At 8.676 the fixed point is 10.557."""
    earned, value = 1 + 0.96 + 0.96**2, column(25.0)
    cut = Units(Log(n_step=3, k=None, floor=0.01), (1.0,))
    assert earned + 0.96**3 * cut.clipped_bootstrap(value).item() == pytest.approx(10.5573, abs=1e-4)
    kept = Units(Log(n_step=3, k=None, floor=0.01, bound=25.0), (1.0,))
    assert earned + 0.96**3 * kept.clipped_bootstrap(value).item() == pytest.approx(25.0)


def test_rewards_of_either_sign_are_refused_with_the_way_out():
    with pytest.raises(ValueError, match="^mapping Log takes no negative values, and agent/rewards=Raw has them: .*agent/rewards=polar"):
        wrapped(Scalar(), LOG, Raw())
    with pytest.raises(ValueError, match=r"mapping Log maps one number for each action: agent/head=scalar, not agent/head=Nature"):
        wrapped(Nature(), LOG, Polar())
    for mapping in (Identity(), LOG):  # the former was told to take the identity alone; the latter takes no raw rewards
        with pytest.raises(ValueError, match=r"; or agent/mapping=identity without keys of its own and agent/rewards=raw, with any head$"):
            wrapped(Nature(), mapping, Polar())
    with pytest.raises(ValueError, match="mapping LogLinear takes no negative values"):
        value_agent(mapping=LogLinear())
    with pytest.raises(ValueError, match="^agent.head.unit=true projects .*: set agent.mapping.zero_negative=false"):
        log_agent(LOG, head=Scalar(unit=True))  # the first update made units of the zeros, and a reward's size of the least value
    assert wrapped(Scalar(), LOG, Polar()).offers == frozenset()
    assert wrapped(Scalar(), Identity(averaging=0.5), Raw()).offers == {"signed", "scalar"}


# ---- end to end


TOY = ("env=toy/chain", "env.num=2", "steps=800", "replay.learning_starts=50", "replay.ratio=0.5", "replay.capacity=2000",
    "agent/torso=mlp",
       "agent.torso.hidden=[16]", "evaluation.final_episodes=2", "evaluation.every=null", "log.every=500", "checkpoint.every=null",
       "agent.optimizer.lr=0.02", "agent.optimizer.schedule.end=0", "discount=0.9", "agent.explore.schedule.end=0.5",
       "agent.explore.schedule.duration=300")  # fmt: skip
SINGLE = "agent.chain.target_update_period=20"
THREE = ("agent/chain=iterated", "agent.chain.length=3", "agent.chain.shift_period=20", "agent.chain.sync_period=4")


@pytest.mark.parametrize(
    ("more", "channels"),
    [
        pytest.param(("agent=log_dqn", SINGLE), 2, marks=pytest.mark.exhaustive),
        (("agent=loglin_dqn", SINGLE, "replay=prioritized", "replay.n_step=3"), 2),
        (("agent=log_dqn", *THREE, "agent/rewards=layers", "agent.rewards.count=2"), 4),
    ],
    ids=["log", "log-linear, priorities, three steps", "log, layers, chain of three"],
)
def test_mapped_agents_learn_the_chain_from_their_replay(more, channels, tmp_path):
    """q*(s, right) = γ^(3 − s), through replay, n-step folding and priorities, in the first channel of gains."""
    trainer = train(tmp_path / "run", *more, *TOY)
    agent, batch = trainer.agent, draw(trainer.source)
    assert batch.reward.shape == (channels, trainer.config["replay"]["batch_size"])
    assert max(draw(trainer.source, seed=seed).reward[0].max() for seed in range(20)) > 0
    assert (batch.reward[1:] == 0).all()  # rewards are 0 and 1
    values = agent.chain.online(torch.eye(5)[:4]).mean()  # (K, 4, A)
    assert values.shape == (agent.chain.length, 4, 2)
    for each in values:
        assert each[:, 1].tolist() == pytest.approx([0.729, 0.81, 0.9, 1.0], abs=0.25)
    if channels == 2:
        assert values[0].argmax(-1).tolist() == [1, 1, 1, 1]
    if trainer.source.prioritized:
        assert batch.weight.unique().numel() > 1


def test_replay_folds_channels_after_each_reward_is_split():
    """n-step sums of +1 and −1 stay apart, 1 and γ; split after the sum they would be 1 − γ and 0."""
    from deeprl.replay.fold import fold

    reward = torch.tensor([[1.0, -1.0]])
    alive, going_on, powers = torch.ones(1, 2), torch.ones(1, 2), torch.tensor([1.0, 0.9, 0.81])
    earned, discount, steps = fold(Polar()(reward), going_on, alive, powers)
    assert earned.shape == (2, 1)
    assert earned.flatten().tolist() == pytest.approx([1.0, 0.9])
    assert (discount.item(), steps.item()) == (pytest.approx(0.81), 2)


def test_a_checkpoint_holds_weights_only():
    """Offsets and λ follow from the configuration."""
    assert not any("units" in name for name in log_agent().state_dict())
    assert {"head.units.scales", "head.units.offsets"} <= {name for name, _ in log_agent().chain.online.named_buffers()}


def test_errors_are_priorities_in_ordinary_units():
    """|Σ λ (T − Q)|, comparable across channels and maps, after the floor on T."""
    agent = log_agent(chain=partial(Single, target_update_period=10), optimizer=Adam(lr=0.0))
    batch = make_batch(torch.zeros(2, 5), [0, 1], [1.0, -1.0], 0.0, torch.zeros(2, 5))
    batch = batch._replace(reward=agent.rewards(batch.reward))
    with torch.no_grad():
        learned = agent.loss(batch)
        q = agent.chain.online(batch.obs).at(batch.action).mean()[0]
    expected = torch.tensor([1.0 - FLOOR, FLOOR - 1.0]).double() - q
    torch.testing.assert_close(learned.error.double(), expected.abs(), rtol=1e-5, atol=1e-6)
    assert math.isfinite(float(learned.metrics["train/loss"].sum()))
