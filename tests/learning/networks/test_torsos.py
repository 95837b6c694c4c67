"""The IMPALA torso against plain PyTorch, and layer normalisation in torsos and heads."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from deeprl.agents.idqn import Iterated
from deeprl.learning.networks.blocks import initialise
from deeprl.learning.networks.convolutions import ConvStack
from deeprl.learning.networks.heads import Scalar
from deeprl.learning.networks.layers import Init
from deeprl.learning.networks.mlp import MLP
from deeprl.learning.networks.residual import ResidualStacks, halved
from deeprl.learning.networks.torsos import Auto, Impala, MinAtarTorso, MLPTorso, Nature
from deeprl.running.accelerate.modes import apply
from deeprl.running.config.build import build_agent
from deeprl.running.config.instantiate import instantiate
from deeprl.running.training.learner import gradient
from deeprl.types import Spec
from tests.builders import assert_close32, flat, made_up, same, settled, snapshot, spec_of, traced_gradient, update, value_agent
from tests.learning.networks.test_blocks import ATARI, VECTOR, built, close

SMALL = Spec((4, 13, 10), torch.uint8, 3, 0)
FIVE = Spec((5,), torch.float32, 3, 0)


def small(n: int, blocks: int = 2, **more) -> ResidualStacks:
    return built(ResidualStacks(n, SMALL.obs_shape, (5, 6), blocks=blocks, init="glorot_uniform", residual_init="lecun_normal", **more))


def images(count: int = 3) -> torch.Tensor:
    return torch.randint(0, 256, (count, *SMALL.obs_shape), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


class PlainStack(nn.Module):
    """One stack, written anew after the authors' description: convolution, pooling with TensorFlow's SAME, residual blocks."""

    def __init__(self, inputs: int, outputs: int, blocks: int):
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.inner = nn.ModuleList(nn.Conv2d(outputs, outputs, 3, padding=1) for _ in range(2 * blocks))

    def forward(self, x):
        x = self.first(x)
        height, width = x.shape[2:]
        # SAME with stride 2: an even side gets its one row of padding at the end, an odd side one at each end
        x = F.pad(x, (width % 2, 1, height % 2, 1), value=-1e30)
        x = F.max_pool2d(x, 3, 2)
        for one, two in zip(self.inner[::2], self.inner[1::2]):
            x = x + two(one(x.relu()).relu())
        return x


def plain(tower: ResidualStacks, entry: int) -> nn.Sequential:
    stacks, inputs = [], tower.shape[0]
    layer = 0
    for outputs in tower.channels:
        stack = PlainStack(inputs, outputs, tower.blocks)
        for convolution in (stack.first, *stack.inner):
            convolution.weight.data.copy_(getattr(tower, f"weight_{layer}")[entry])
            convolution.bias.data.copy_(getattr(tower, f"bias_{layer}")[entry])
            layer += 1
        stacks.append(stack)
        inputs = outputs
    return nn.Sequential(*stacks)


@pytest.mark.parametrize("choice", [Nature(), MinAtarTorso(scale=1 / 255), Impala()])
def test_the_scale_of_pixels_is_not_that_of_floats(choice):
    """An image of floats in [0, 1] is the image of uint8 in [0, 255]."""
    pixels = Spec((4, 16, 16), torch.uint8, 3, 0)
    torsos = [choice.build(spec, 2) for spec in (pixels, pixels._replace(obs_dtype=torch.float32))]
    for torso in torsos:
        initialise(torso, 0, "torso")
    image = torch.randint(0, 256, (3, 4, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    with torch.no_grad():
        found, expected = torsos[1](image / 255), torsos[0](image)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert expected.std() > 0


@pytest.mark.parametrize("blocks", [0, 1, 2])
@pytest.mark.parametrize("mode", ["reference", "fast"])
def test_impala_is_a_stack_of_plain_towers(blocks, mode):
    tower = small(3, blocks, scale=1 / 255)
    for parameter in tower.parameters():
        parameter += 0.1  # biases too
    apply(tower, mode)
    tower.requires_grad_(True)
    out = tower(images())
    assert out.shape == (3, 3, tower.features) == (3, 3, 6 * 4 * 3)
    weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    oracles = [plain(tower, i) for i in range(3)]
    expected = torch.stack([oracle(images().float() / 255).relu().permute(0, 2, 3, 1).flatten(1) for oracle in oracles])
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)
    found = torch.autograd.grad((out * weight).sum(), list(tower.parameters()))
    wanted = torch.autograd.grad((expected * weight).sum(), [p for oracle in oracles for p in oracle.parameters()])
    for i in range(3):
        for mine, theirs in zip(found, wanted[i * len(found) :]):
            # of two nearly equal cells each side may pool another one
            assert torch.isclose(mine[i], theirs, rtol=1e-3, atol=1e-4).float().mean() >= 0.99
    assert all(g.any() for g in found)


def test_a_stack_of_three_is_three_single_ones():
    three = small(3)
    outs = three(images())
    for i in range(3):
        one = small(1)
        for mine, theirs in zip(one.parameters(), three.parameters()):
            mine.copy_(theirs[i : i + 1])
        assert_close32(one(images())[0], outs[i])
    assert_close32(small(1)(images())[0], outs[0])  # entry 0 starts as a stack of one
    assert not torch.equal(outs[0], outs[1])


def test_pooling_pads_with_less_than_every_number():
    """-1 is the maximum of a negative image, borders included, and sides are halved upwards."""
    for height, width in ((84, 42), (21, 11), (5, 8)):
        pooled = halved(-torch.ones(2, 3, height, width))
        assert pooled.shape == (2, 3, -(-height // 2), -(-width // 2))
        assert (pooled == -1).all()
    rows = torch.arange(6.0).view(1, 1, 1, 6)
    assert halved(rows).flatten().tolist() == [2, 4, 5]  # windows 0-2, 2-4, 4-5: the padding of an even side is at the end
    assert halved(rows[..., :5]).flatten().tolist() == [1, 3, 4]  # windows 0-1, 1-3, 3-4


def test_sizes_of_the_impala_network():
    """Convolutions of 16, 32, 32 channels; 84 -> 42 -> 21 -> 11, so 3872 features; Nature's 84x84 observations."""
    net = Impala().build(ATARI, 1)
    assert net.features == 32 * 11 * 11 == 3872
    assert sum(p.numel() for p in net.parameters()) == 97_744
    head = MLP(1, (net.features, *Impala().head_hidden, 18), activate_last=False)
    assert sum(p.numel() for p in head.parameters()) == 3872 * 256 + 256 + 256 * 18 + 18


def test_initialisers_of_the_impala_network():
    """Glorot-uniform first convolutions, LeCun-normal inside residual blocks, biases zero."""
    net = built(Impala(channels=(32, 64)).build(ATARI, 1))
    first, inner = net.weight_5, net.weight_6  # 32 -> 64 and 64 -> 64
    bound = (6 / (9 * 32 + 9 * 64)) ** 0.5
    assert 0.95 * bound < first.abs().max() <= bound
    assert inner.std().item() == pytest.approx((9 * 64) ** -0.5, rel=0.03)
    assert inner.abs().max() > bound
    assert net.initial["weight_5"].scheme == "glorot_uniform"
    assert [net.initial[f"weight_{i}"].scheme for i in (1, 2, 3, 4, 6)] == ["lecun_normal"] * 5
    assert not any(getattr(net, f"bias_{i}").any() for i in range(10))


def test_impala_checks_its_fields():
    for wrong, message in (
        ({"channels": ()}, "channels must name at least one"),
        ({"channels": (0,)}, "positive integers"),
        ({"blocks": -1}, "blocks must be at least 0"),
        ({"residual_init": "he"}, "residual_init must be one of"),
        ({"weight_norm": "some"}, "weight_norm must be one of none, hidden, all"),
    ):
        with pytest.raises(ValueError, match=message):
            Impala(**wrong)
    with pytest.raises(ValueError, match="agent/torso"):
        Impala().build(VECTOR, 1)
    with pytest.raises(ValueError, match="init must be one of"):
        ConvStack(1, SMALL.obs_shape, ((5, 3, 1),), padding="same", init="he")
    with pytest.raises(ValueError, match="expected"):
        small(1)(torch.zeros(2, 10, 13, 4))


@pytest.mark.parametrize("torso", [pytest.param("shared", marks=pytest.mark.exhaustive), "separate"])
def test_impala_in_a_chain_updates_and_traces(torso):
    chain = partial(Iterated, length=3, shift_period=2, sync_period=1, torso=torso)
    agent = value_agent(SMALL, torso=Impala(channels=(3, 4), blocks=1, head_hidden=(6,)), chain=chain)
    batch = made_up(agent, SMALL)
    found, learned = traced_gradient(agent, "value", batch)
    expected, plain_learned = gradient(agent, "value", batch)
    assert_close32(flat(found), flat(expected))
    torch.testing.assert_close(learned.error, plain_learned.error)
    before = snapshot(agent.chain.online)
    for step in (1, 2, 3):
        update(agent, batch)
        agent.tick(step - 1, step)
    after = snapshot(agent.chain.online)
    assert not any(torch.equal(before[name], after[name]) for name in before if "weight" in name)


# ---- layer normalisation


def test_convolutions_with_layer_normalisation():
    """Over the channels of each pixel, before the ReLU, with a scale and a shift for each channel."""
    net = built(MinAtarTorso(channels=5, layer_norm=True).build(SMALL, 2))
    net.norm_scale_0 += torch.rand(2, 5)
    net.norm_shift_0 += torch.rand(2, 5)
    x = images().float()
    for mode in ("reference", "fast"):
        apply(net, mode)
        for i in range(2):
            pixels = F.conv2d(x, net.weight_0[i], net.bias_0[i]).permute(0, 2, 3, 1)
            centred = pixels - pixels.mean(-1, keepdim=True)
            normal = centred / (pixels.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
            close(net(images())[i], (normal * net.norm_scale_0[i] + net.norm_shift_0[i]).relu().flatten(1))


@pytest.mark.parametrize(
    ("torso", "spec"),
    [(MinAtarTorso(channels=3, layer_norm=True, head_hidden=(6,)), SMALL), (MLPTorso(hidden=(7,), layer_norm=True), FIVE)],
)
def test_layer_normalisation_from_torso_to_head(torso, spec):
    agent = value_agent(spec, torso=torso, head=Scalar(layer_norm=True, dueling=True))
    assert any("norm_scale" in name for name, _ in agent.chain.online.torso.named_parameters())
    assert sum("norm_scale" in name for name, _ in agent.chain.online.head.named_parameters()) == 2 * len(torso.head_hidden)
    batch = made_up(agent, spec)
    found, _ = traced_gradient(agent, "value", batch)
    expected, _ = gradient(agent, "value", batch)
    assert_close32(flat(found), flat(expected))
    assert all(g.any() for g in expected)


def test_noisy_heads_take_layer_normalisation():
    agent = value_agent(SMALL, torso=MinAtarTorso(channels=3, head_hidden=(6,)), head=Scalar(layer_norm=True, noisy=True))
    assert agent.chain.online.head.advantage.layer_norm
    assert torch.isfinite(update(agent, made_up(agent, SMALL)).error).all()


def test_without_layer_normalisation_nothing_changes():
    one, other = (value_agent(SMALL, torso=torso, head=head) for torso, head in (
        (MinAtarTorso(channels=3), Scalar()), (MinAtarTorso(channels=3, layer_norm=False), Scalar(layer_norm=False))))  # fmt: skip
    assert same(snapshot(one), snapshot(other))
    assert not any("norm" in name for name in snapshot(one))


# ---- configurations


@pytest.mark.parametrize(
    ("option", "cls"), [("impala", Impala), ("nature", Nature), ("minatar", MinAtarTorso), ("mlp", MLPTorso), ("auto", Auto)]
)
def test_files_say_what_the_classes_say(option, cls):
    node = settled("agent=dqn", "env=toy/chain", f"agent/torso={option}")["agent"]["torso"]
    assert instantiate(node, "torso") == cls()
    assert set(node) - {"_target_"} == set(cls.__dataclass_fields__) - {"scale"}


def test_impala_from_a_configuration():
    overrides = ("agent.torso.channels=[3,4,5]", "agent.torso.head_hidden=[6]", "agent.torso.blocks=1")
    agent = build_agent(settled("agent=dqn", "env=atari/pong", "agent/torso=impala", *overrides), spec_of("atari/pong"))
    assert isinstance(agent.chain.online.torso, ResidualStacks)
    assert agent.chain.online.torso.features == 5 * 11 * 11
    assert torch.isfinite(update(agent, made_up(agent, agent.spec)).error).all()


def test_a_torso_without_the_stack_axis_is_refused():
    """A chain would copy the first output unit in place of the first network."""

    class Plain(torch.nn.Module):
        features = 4

        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(4, 5), requires_grad=False)
            self.initial = {"weight": Init("torch", 5, 4)}

    class Choice(MLPTorso):
        def build(self, spec, n):
            return Plain()

    with pytest.raises(ValueError, match=r"torso\.weight .*\(4, 5\).* 1"):
        value_agent(torso=Choice())
