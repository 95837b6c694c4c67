"""Residual torsos of dense layers: worked examples, plain torch layers, neutral elements, and agents that train with them."""

from __future__ import annotations

from dataclasses import fields
from functools import partial

import pytest
import torch
from torch import nn

from deeprl.agents.idqn import Iterated
from deeprl.errors import ConfigError
from deeprl.learning.networks.hyperspherical import Hyperspherical, HypersphericalBlocks
from deeprl.learning.networks.residual_mlp import BroNet, BroNetBlocks, Simba, SimbaBlocks
from deeprl.learning.networks.torsos import MLPTorso
from deeprl.running.accelerate.modes import apply
from deeprl.running.config.build import build_agent
from deeprl.running.config.instantiate import instantiate
from deeprl.running.training.learner import CompiledLearner, Learner, gradient
from deeprl.types import Spec
from tests.builders import CONTINUOUS, assert_close32, flat, made_up, sac, same, settled, snapshot, spec_of, traced_gradient, value_agent
from tests.learning.networks.test_blocks import ATARI, VECTOR, built, close
from tests.pairwise import once

FIVE = Spec((5,), torch.float32, 3, 0)
TORSOS = {"simba": Simba, "bronet": BroNet, "hyperspherical": Hyperspherical}
SMALL = {
    "simba": {"width": 6, "blocks": 2, "expansion": 3},
    "bronet": {"width": 6, "blocks": 2},
    "hyperspherical": {"width": 6, "blocks": 2, "expansion": 3},
}


def small(name: str, **fields):
    return TORSOS[name](**{**SMALL[name], **fields})


def filled(block, **parameters):
    """A block of one network with these numbers; parameters that are not named stay 0, or 1 if they scale a norm."""
    for name, numbers in parameters.items():
        parameter = block.get_parameter(name)
        parameter.copy_(torch.as_tensor(numbers, dtype=torch.float32).view(parameter.shape))
    return block


def shaken(module, amount: float = 0.1):
    """Every parameter away from its initial value, so that biases and norms count."""
    generator = torch.Generator().manual_seed(3)
    for parameter in built(module).parameters():
        parameter += amount * torch.randn(parameter.shape, generator=generator)
    return module


def linear_of(block, layer: int, entry: int) -> nn.Linear:
    weight = getattr(block, f"weight_{layer}")[entry]
    linear = nn.Linear(*weight.shape)
    linear.weight.data.copy_(weight.mT)
    linear.bias.data.copy_(getattr(block, f"bias_{layer}")[entry, 0])
    return linear


def norm_of(block, name: int, entry: int) -> nn.LayerNorm:
    scale = getattr(block, f"norm_scale_{name}")[entry, 0]
    norm = nn.LayerNorm(scale.shape)
    norm.weight.data.copy_(scale)
    norm.bias.data.copy_(getattr(block, f"norm_shift_{name}")[entry, 0])
    return norm


class Residual(nn.Module):
    def __init__(self, *layers: nn.Module):
        super().__init__()
        self.inner = nn.Sequential(*layers)

    def forward(self, x):
        return x + self.inner(x)


def plain_simba(block: SimbaBlocks, entry: int) -> nn.Sequential:
    linear, norm = (partial(make, block, entry=entry) for make in (linear_of, norm_of))
    residuals = [Residual(norm(b), linear(2 * b + 1), nn.ReLU(), linear(2 * b + 2)) for b in range(block.blocks)]
    return nn.Sequential(linear(0), *residuals, norm(block.blocks))


def plain_bronet(block: BroNetBlocks, entry: int) -> nn.Sequential:
    def dense(layer: int) -> tuple[nn.Module, nn.Module]:
        return linear_of(block, layer, entry), norm_of(block, layer, entry)

    residuals = [Residual(*dense(2 * b + 1), nn.ReLU(), *dense(2 * b + 2)) for b in range(block.blocks)]
    return nn.Sequential(*dense(0), nn.ReLU(), *residuals)


class PlainSphere(nn.Module):
    """SimbaV2's torso, with every division by a length written out."""

    def __init__(self, block: HypersphericalBlocks, entry: int):
        super().__init__()
        vectors = {name: (getattr(block, name)[entry, 0] * factor).detach() for name, factor in block.factors.items()}
        self.weights = [getattr(block, f"weight_{layer}")[entry].detach() for layer in range(2 * block.blocks + 1)]
        self.scalers = [vectors["scaler_0"], *(vectors[f"scaler_{2 * b + 1}"] for b in range(block.blocks))]
        self.alphas = [vectors[f"alpha_{b}"] for b in range(block.blocks)]

    def forward(self, x):
        def unit(x):
            return x / x.norm(dim=-1, keepdim=True)

        x = unit(torch.cat([x, torch.full((len(x), 1), 3.0)], -1))
        x = unit((x @ self.weights[0]) * self.scalers[0])
        for b, alpha in enumerate(self.alphas):
            inner = torch.relu((x @ self.weights[2 * b + 1]) * self.scalers[b + 1])
            x = unit(x + alpha * (unit(inner @ self.weights[2 * b + 2]) - x))
        return x


PLAIN = {"simba": plain_simba, "bronet": plain_bronet, "hyperspherical": PlainSphere}


# ---- every torso


@pytest.mark.parametrize("name", TORSOS)
@pytest.mark.parametrize("n", [1, 3])
def test_a_stack_is_plain_networks_side_by_side(name, n):
    block = shaken(small(name).build(FIVE, n)).requires_grad_(True)
    x = torch.randn(7, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    oracles = [PLAIN[name](block, i) for i in range(n)]
    out, expected = block(x), torch.stack([oracle(x) for oracle in oracles])
    assert out.shape == (n, 7, block.features) == (n, 7, 6)
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)
    weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    found, *mine = torch.autograd.grad((out * weight).sum(), [x, *block.parameters()])
    (wanted,) = torch.autograd.grad((expected * weight).sum(), [x])
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)
    assert all(g.any() for g in mine)


@pytest.mark.parametrize("name", TORSOS)
def test_entry_zero_of_a_stack_is_the_stack_of_one(name):
    one, three = (built(small(name).build(FIVE, n)) for n in (1, 3))
    assert all(parameter.shape[0] == 3 for parameter in three.parameters())
    assert all(torch.equal(a[0], b[0]) for a, b in zip(one.parameters(), three.parameters()))
    assert not torch.equal(three.weight_0[0], three.weight_0[1])
    close(one(torch.ones(2, 5))[0], three(torch.ones(2, 5))[0])


@pytest.mark.parametrize("name", TORSOS)
def test_only_vectors_are_taken(name):
    with pytest.raises(ValueError, match=rf"agent/torso={name} takes vectors, not .* shape \(4, 84, 84\): choose auto"):
        TORSOS[name]().build(ATARI, 1)
    with pytest.raises(ValueError, match=r"expected \(B, 5\), not \(2, 6\)"):
        small(name).build(FIVE, 1)(torch.zeros(2, 6))
    out = built(small(name).build(FIVE._replace(obs_dtype=torch.uint8), 1))(torch.ones(2, 5, dtype=torch.uint8))
    assert out.dtype == torch.float32


@pytest.mark.parametrize("name", TORSOS)
def test_fields_are_checked(name):
    for wrong, message in (
        ({"width": 0}, "width must be a whole number of at least 1, not 0"),
        ({"width": 2.5}, "width must be a whole number of at least 1, not 2.5"),
        ({"blocks": -1}, "blocks must be a whole number of at least 0, not -1"),
        ({"init": "he"}, "init must be one of torch.*, not 'he'"),
        ({"head_hidden": 8}, "head_hidden must be a list of positive integers"),
    ):
        with pytest.raises(ValueError, match=message):
            TORSOS[name](**wrong)


@pytest.mark.parametrize("name", TORSOS)
def test_files_say_what_the_classes_say(name):
    node = settled("agent=dqn", "env=toy/chain", f"agent/torso={name}")["agent"]["torso"]
    assert instantiate(node, "torso") == TORSOS[name]()
    assert set(node) - {"_target_"} == {field.name for field in fields(TORSOS[name])}


def test_images_are_refused_from_a_configuration():
    with pytest.raises(ConfigError, match=r"agent/torso=simba takes vectors.*choose auto"):
        build_agent(settled("agent=dqn", "env=atari/pong", "agent/torso=simba"), spec_of("atari/pong"))


# ---- agents


def words(name: str, slot: str) -> list[str]:
    return [f"agent.{slot}.{key}={value}" for key, value in SMALL[name].items()]


def agent_of(kind: str, name: str, mode: str = "reference"):
    """`agent=sac` or `agent=dqn` from the command line, with this torso for every network."""
    env = {"sac": "classic/pendulum", "dqn": "classic/cartpole"}[kind]
    overrides = [f"agent={kind}", f"env={env}", f"agent/torso={name}", *words(name, "torso")]
    if kind == "sac":
        overrides += [f"agent/torso@agent.actor_torso={name}", *words(name, "actor_torso"), "agent.actor_torso.blocks=1"]
    agent = build_agent(settled(*overrides), spec_of(env))
    apply(agent, mode)
    return agent


AGENTS = [
    *once(("sac", "dqn"), ("simba", "bronet")),
    *(pytest.param(kind, "hyperspherical", marks=pytest.mark.exhaustive) for kind in ("sac", "dqn")),
]
"""Compiled updates of the last are in test_hyperspherical.py, those that project critics and actor in the comparisons of flash_sac."""


@pytest.mark.parametrize(("kind", "name"), AGENTS)
def test_agents_train_plain_and_compiled(kind, name):
    """Every weight moves in a few updates, and the traced update gives the same numbers."""
    plain, traced = (agent_of(kind, name) for _ in range(2))
    before = snapshot(plain)
    batch = made_up(plain, plain.spec, size=16)
    learners = Learner(plain, lambda batch: batch), CompiledLearner(traced, lambda batch: batch, backend="eager")
    for _ in range(5):
        expected, found = (learner.update(batch).error for learner in learners)
        assert torch.isfinite(expected).all()
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    # Adam divides by the root of squares, so that gradients near 0, whose rounding differs, may move a weight by a part of its rate
    torch.testing.assert_close(plain.state_dict(), traced.state_dict(), rtol=1e-4, atol=1e-5)
    trained = {id(parameter) for objective in plain.objectives.values() for parameter in objective.parameters}
    moved = {key: not torch.equal(before[key], parameter) for key, parameter in plain.named_parameters() if id(parameter) in trained}
    assert all(moved.values()), moved


@pytest.mark.exhaustive
@pytest.mark.parametrize(("kind", "name"), AGENTS)
def test_traced_gradients_are_the_plain_ones(kind, name):
    agent = agent_of(kind, name)
    batch = made_up(agent, agent.spec)
    for objective in agent.objectives:
        found, learned = traced_gradient(agent, objective, batch)
        expected, plain = gradient(agent, objective, batch)
        assert_close32(flat(found), flat(expected))
        torch.testing.assert_close(learned.error, plain.error)


@pytest.mark.parametrize("name", TORSOS)
def test_chains_and_ensembles(name):
    """K = 3 iterations of i-DQN, with one torso and with three; two critics for each of three iterations."""
    for torso in ("shared", "separate"):
        chain = partial(Iterated, length=3, shift_period=2, sync_period=1, torso=torso)
        agent = value_agent(FIVE, torso=small(name), chain=chain)
        for step in (1, 2, 3):
            Learner(agent, lambda batch: batch).update(made_up(agent, FIVE))
            agent.tick(step - 1, step)
        assert agent.chain.online.torso.weight_0.shape[0] == (1 if torso == "shared" else 3)
    agent = sac(CONTINUOUS, torso=small(name), actor_torso=small(name, width=4, blocks=1))
    Learner(agent, lambda batch: batch).update(made_up(agent, CONTINUOUS))
    assert agent.chain.online.torso.weight_0.shape == (2, 7 + (name == "hyperspherical"), 6)


# ---- SimBa


def worked_simba() -> SimbaBlocks:
    """One observation, two features, one block of two units."""
    block = SimbaBlocks(1, 1, 2, 2, 1, init="torch", residual_init="torch")
    return filled(
        block,
        weight_0=[1, -1], bias_0=[2, 2],
        weight_1=[[1, 0], [0, 1]],
        weight_2=[[2, 4], [7, 7]], bias_2=[0, 1],
        norm_scale_0=[1, 1], norm_scale_1=[1, 3], norm_shift_1=[10, 10],
    )  # fmt: skip


def test_the_worked_simba_block():
    """s = 1: x = (3, 1), LN(x) = (1, −1), relu = (1, 0), MLP = (2, 5), x = (5, 6), features (10 − 1, 10 + 3)."""
    features = worked_simba()(torch.tensor([[1.0]]))
    assert features.flatten().tolist() == pytest.approx([9.0, 13.0], abs=1e-4)


def test_blocks_that_add_nothing_are_no_blocks():
    """Bit for bit, because 0 is added to x; blocks=0 has the first layer and the last norm, which start as here."""
    with_blocks, without = (shaken(small("simba", blocks=blocks).build(FIVE, 2)) for blocks in (2, 0))
    for layer in (2, 4):
        with_blocks.get_parameter(f"weight_{layer}").zero_()
        with_blocks.get_parameter(f"bias_{layer}").zero_()
    for mine, theirs in (
        ("weight_0", "weight_0"),
        ("bias_0", "bias_0"),
        ("norm_scale_2", "norm_scale_0"),
        ("norm_shift_2", "norm_shift_0"),
    ):
        with_blocks.get_parameter(mine).copy_(without.get_parameter(theirs))
    x = torch.randn(4, 5)
    assert torch.equal(with_blocks(x), without(x))


def test_sizes_and_initial_values_of_simba():
    """The authors' critic on 17 observations and 6 actions: 512 wide, 2 blocks of 2048. Their actor: 128 wide, 1 block of 512."""
    critic, actor = Simba().build(Spec((23,), torch.float32, 1, 0), 2), Simba(width=128, blocks=1).build(VECTOR, 1)
    block = 2 * 512 + (512 * 2048 + 2048) + (2048 * 512 + 512)
    assert sum(p.numel() for p in critic.parameters()) == 2 * (23 * 512 + 512 + 2 * block + 2 * 512)
    assert sum(p.numel() for p in actor.parameters()) == 17 * 128 + 128 + 2 * 128 + (128 * 512 + 512) + (512 * 128 + 128) + 2 * 128
    built(actor)
    rows = actor.weight_0[0]  # (17, 128)
    close(rows @ rows.mT, torch.eye(17))
    assert actor.weight_1.std().item() == pytest.approx((2 / 128) ** 0.5, rel=0.02)
    assert actor.weight_2.std().item() == pytest.approx((2 / 512) ** 0.5, rel=0.02)
    assert not any(actor.get_parameter(f"bias_{layer}").any() for layer in range(3))


# ---- BroNet


def test_the_worked_bronet_block():
    """s = 1: W s + b = (3, 1), LN = (1, −1), times 2 and relu: x = (2, 0). In the block W₁ x = (2, 6), LN = (−1, 1), relu = (0, 1);
    W₂ = (4, 0), LN = (1, −1), plus 5: (6, 4). Features (8, 4)."""
    block = filled(
        BroNetBlocks(1, 1, 2, 1, init="torch"),
        weight_0=[1, -1], bias_0=[2, 2], norm_scale_0=[2, 2],
        weight_1=[[1, 3], [9, 9]], norm_scale_1=[1, 1],
        weight_2=[[9, 9], [4, 0]], norm_scale_2=[1, 1], norm_shift_2=[5, 5],
    )  # fmt: skip
    assert block(torch.tensor([[1.0]])).flatten().tolist() == pytest.approx([8.0, 4.0], abs=1e-4)


def test_bronet_without_blocks_is_a_normalised_mlp():
    """The whole agent, bit for bit: parameters have the same names, so that they start the same."""
    torsos = BroNet(width=6, blocks=0), MLPTorso(hidden=(6,), layer_norm=True, init="orthogonal_relu")
    agents = [sac(CONTINUOUS, torso=torso, actor_torso=torso) for torso in torsos]
    batch = made_up(agents[0], CONTINUOUS)
    for agent in agents:
        for _ in range(3):
            Learner(agent, lambda batch: batch).update(batch)
    assert same(*map(snapshot, agents))


def test_sizes_and_initial_values_of_bronet():
    """512 wide and 2 blocks for a critic; every layer is orthogonal with gain √2, its head too."""
    critic = BroNet().build(Spec((23,), torch.float32, 1, 0), 2)
    assert sum(p.numel() for p in critic.parameters()) == 2 * (23 * 512 + 512 + 4 * (512 * 512 + 512) + 5 * 2 * 512)
    agent = value_agent(FIVE, torso=BroNet(width=8))
    for weight in (*(agent.chain.online.torso.get_parameter(f"weight_{i}") for i in (1, 4)), agent.chain.online.head.advantage.weight_0):
        columns = weight[0].mT
        close(columns @ columns.mT, 2 * torch.eye(len(columns)))
