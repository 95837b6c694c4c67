"""Weight normalisation on the numbers of docs/algorithms/representation.md, and its neutral element."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from deeprl.agents.idqn import Iterated
from deeprl.learning.networks.heads import Scalar
from deeprl.learning.networks.layers import lengths, rescaled
from deeprl.learning.networks.mlp import MLP, NoisyMLP
from deeprl.learning.networks.torsos import Auto, Impala, MinAtarTorso, MLPTorso, Nature
from deeprl.learning.networks.weight_norm import weight_normalise
from deeprl.running.accelerate.modes import apply
from deeprl.running.config.build import build_agent
from deeprl.running.training.learner import gradient
from deeprl.types import Spec
from tests.builders import (
    assert_close32,
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
from tests.learning.networks.test_blocks import built
from tests.learning.networks.test_torsos import SMALL
from tests.promises.test_neutral import dqn, updates


def unit(v=(3.0, 4.0), g=2.0):
    """One output unit with two inputs."""
    return torch.tensor(v).view(1, 2, 1).requires_grad_(True), torch.tensor(g).view(1, 1, 1).requires_grad_(True)


def test_weights_and_gradients():
    v, g = unit()
    w = rescaled(v, g)
    assert w.flatten().tolist() == pytest.approx([1.2, 1.6])
    for_v, for_g = torch.autograd.grad(w, (v, g), torch.tensor([1.0, -2.0]).view(1, 2, 1))
    assert for_g.item() == pytest.approx(-1.0)
    assert for_v.flatten().tolist() == pytest.approx([0.64, -0.48])
    assert (v * for_v).sum().item() == pytest.approx(0.0, abs=1e-6)


def test_weights_that_start_with_zeros_have_no_direction():
    with pytest.raises(ValueError, match=r"^agent\.torso\.weight_norm=all divides by the length .*agent\.mapping\.zero_negative=false"):
        build_agent(settled("agent=log_dqn", "env=toy/chain", "agent.torso.weight_norm=all"), spec_of("toy/chain"))
    words = "agent=log_dqn env=toy/chain agent.torso.weight_norm=all agent.mapping.zero_negative=false"
    build_agent(settled(*words.split()), spec_of("toy/chain"))


def test_gradients_follow_the_formula_of_the_paper():
    """∂L/∂g = ∇_w L · v/‖v‖ and ∂L/∂v = (g/‖v‖) ∇_w L − (g ∂L/∂g / ‖v‖²) v, for each unit of linear and convolutional weights."""
    for shape, axes in (((2, 5, 3), (1,)), ((2, 3, 4, 3, 2), (2, 3, 4))):
        v = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_(True)
        length = v.detach().pow(2).sum(axes, keepdim=True).sqrt()
        torch.testing.assert_close(lengths(v.detach()), length)
        g = (0.5 + torch.rand(length.shape, dtype=torch.float64)).requires_grad_(True)
        down = torch.randn(shape, dtype=torch.float64)
        for_v, for_g = torch.autograd.grad((rescaled(v, g) * down).sum(), (v, g))
        expected = (down * v / length).sum(axes, keepdim=True).detach()
        torch.testing.assert_close(for_g, expected)
        torch.testing.assert_close(for_v, (g / length * down - g * expected / length**2 * v).detach())
        torch.testing.assert_close((for_v * v).sum(axes), torch.zeros_like(for_v.sum(axes)))


def test_the_length_of_v_does_not_matter_and_never_shrinks_under_plain_gradient_descent():
    v, g = unit()
    torch.testing.assert_close(rescaled(5 * v, g), rescaled(v, g))
    x = torch.randn((20, 2), generator=torch.Generator().manual_seed(0))
    y, length = x @ torch.tensor([-1.0, 2.0]), 5.0  # a direction to turn to
    for _ in range(50):
        loss = (((x @ rescaled(v, g)[0]).squeeze(-1) - y) ** 2).mean()
        with torch.no_grad():
            for p, down in zip((v, g), torch.autograd.grad(loss, (v, g))):
                p -= 0.3 * down  # a large step, so that lengths move
        assert lengths(v).item() >= length - 1e-6
        length = lengths(v).item()
    assert length > 5.05


TORSOS = [
    (MLPTorso(hidden=(7, 6)), Spec((5,), torch.float32, 3, 0)),
    (MinAtarTorso(channels=3, head_hidden=(6,)), SMALL),
    (Impala(channels=(3, 4), blocks=1, head_hidden=(16,)), SMALL),
]


def agents(torso, spec, *options, **slots):
    return [value_agent(spec, torso=type(torso)(**{**vars(torso), "weight_norm": option}), **slots) for option in options]


@pytest.mark.parametrize(("torso", "spec"), TORSOS)
@pytest.mark.parametrize("mode", ["reference", "fast"])
def test_the_first_function_is_unchanged_bit_for_bit(torso, spec, mode):
    """g = ‖v‖, so g/‖v‖ is one exactly."""
    plain, hidden, everywhere = agents(torso, spec, "none", "hidden", "all")
    obs = made_up(plain, spec, size=6).obs
    outs = []
    for agent in (plain, hidden, everywhere):
        apply(agent, mode)
        outs.append(agent.chain.online(obs).mean())
        assert torch.equal(agent.chain.target(obs).mean(), outs[-1])
    assert torch.equal(outs[0], outs[1])
    assert torch.equal(outs[0], outs[2])
    weights = {name for name in snapshot(plain.chain.online) if "weight" in name}
    gains = {name for name in snapshot(everywhere.chain.online) if "gain" in name}
    assert {name.replace("gain", "weight") for name in gains} == weights
    last = f"head.advantage.gain_{len(torso.head_hidden)}"
    assert {name for name in snapshot(hidden.chain.online) if "gain" in name} == gains - {last}
    assert not any("gain" in name for name in snapshot(plain))


def test_none_is_the_network_without_the_option():
    none, plain = (dqn(torso=torso) for torso in (MLPTorso(hidden=(7,), weight_norm="none"), MLPTorso(hidden=(7,))))
    normalised = dqn(torso=MLPTorso(hidden=(7,), weight_norm="hidden"))
    for agent in (none, plain, normalised):
        updates(agent, 12)
    assert same(snapshot(none), snapshot(plain))
    assert not torch.allclose(normalised.chain.online.torso.weight_0, plain.chain.online.torso.weight_0)


@pytest.mark.parametrize(("torso", "spec"), TORSOS)
@pytest.mark.parametrize("mode", ["reference", "fast"])
def test_a_normalised_layer_is_that_of_pytorch(torso, spec, mode):
    """After some updates, against plain weights w = g v/‖v‖ written into a network without gains."""
    plain, normalised = agents(torso, spec, "none", "all")
    for agent in (plain, normalised):
        apply(agent, mode)
    batch = made_up(normalised, spec, size=6)
    for _ in range(3):
        update(normalised, batch)
    for block, own in zip(plain.chain.online.modules(), normalised.chain.online.modules()):
        for name, parameter in block.named_parameters(recurse=False):
            if name.startswith("weight"):
                g = getattr(own, name.replace("weight", "gain"))
                axes = (1,) if parameter.dim() == 3 else (2, 3, 4)
                v = getattr(own, name)
                parameter.copy_(g * v / v.pow(2).sum(axes, keepdim=True).sqrt())
                assert not torch.allclose(g, v.pow(2).sum(axes, keepdim=True).sqrt())
            else:
                parameter.copy_(getattr(own, name))
    torch.testing.assert_close(plain.chain.online(batch.obs).mean(), normalised.chain.online(batch.obs).mean(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shared", ["shared", "separate"])
@pytest.mark.parametrize("which", ["hidden", "all"])
def test_chains_copy_gains_with_directions(shared, which):
    """Copying only the directions would be the trap: after a shift target and online say the same."""
    chain = partial(Iterated, length=3, shift_period=4, sync_period=2, torso=shared)
    agent = value_agent(torso=MLPTorso(hidden=(7,), weight_norm=which), chain=chain)
    start = snapshot(agent.chain.online)
    updates(agent, 3)
    batch = random_batch(agent.spec, 6)
    assert any(not torch.equal(value, start[name]) for name, value in snapshot(agent.chain.online).items() if "gain" in name)
    expected = agent.chain.online(batch.obs).mean()[0].clone()
    assert not torch.allclose(agent.chain.target(batch.obs).mean()[0], expected)
    agent.chain.shift()
    torch.testing.assert_close(agent.chain.target(batch.obs).mean()[0], expected)


@pytest.mark.parametrize(("torso", "spec"), TORSOS)
def test_normalised_networks_trace_and_train_everything(torso, spec):
    (agent,) = agents(torso, spec, "all", head=Scalar(dueling=True))
    batch = made_up(agent, spec)
    found, _ = traced_gradient(agent, "value", batch)
    expected, _ = gradient(agent, "value", batch)
    # a traced graph has the norms in simpler operators, which round otherwise
    assert_close32(flat(found), flat(expected))
    assert all(g.any() for name, g in zip(snapshot(agent.chain.online), expected) if "gain" in name)


def test_entries_of_a_stack_have_gains_of_their_own():
    three, one = built(MLP(3, (5, 4, 2), activate_last=False)), built(MLP(1, (5, 4, 2), activate_last=False))
    for block in (three, one):
        weight_normalise(block, "all")
        block.gain_0 *= 2
    assert three.gain_0.shape == (3, 1, 4)
    x = torch.randn(6, 5)
    assert_close32(three(x)[0], one(x)[0])
    assert not torch.equal(three.gain_0[0], three.gain_0[1])


def test_a_state_dict_brings_the_gains_back():
    torso = MLPTorso(hidden=(7,), weight_norm="all")
    one, other = dqn(torso=torso), dqn(torso=torso, seed=5)
    updates(one, 7)
    other.load_state(one.state())
    batch = random_batch(one.spec, 6)
    assert torch.equal(one.chain.online(batch.obs).mean(), other.chain.online(batch.obs).mean())


def test_noisy_layers_are_refused():
    with pytest.raises(ValueError, match="weight_norm does not work with NoisyMLP"):
        weight_normalise(NoisyMLP(1, (3, 2), activate_last=False), "hidden")
    with pytest.raises(ValueError, match="weight_norm does not work with NoisyMLP"):
        value_agent(torso=MLPTorso(hidden=(7,), weight_norm="hidden"), head=Scalar(noisy=True))


def test_what_is_no_block_is_left_alone():
    module = nn.ModuleDict({"plain": nn.Linear(2, 3), "block": MLP(1, (3, 2), activate_last=True)})
    weight_normalise(module, "hidden")
    assert [name for name, _ in module.named_parameters() if "gain" in name] == ["block.gain_0"]


def test_auto_hands_the_option_on():
    auto, image = Auto(weight_norm="hidden"), Spec((4, 84, 84), torch.uint8, 6, 0)
    assert auto.resolve(image) == Nature(weight_norm="hidden")
    assert auto.resolve(Spec((4, 10, 10), torch.uint8, 6, 0)) == MinAtarTorso(weight_norm="hidden")
    assert auto.resolve(Spec((3,), torch.float32, 6, 0)) == MLPTorso(weight_norm="hidden")
    for choice in (Auto, Nature, MinAtarTorso, MLPTorso):
        with pytest.raises(ValueError, match="weight_norm must be one of none, hidden, all, not 'yes'"):
            choice(weight_norm="yes")


def test_from_a_configuration():
    agent = build_agent(settled("agent=dqn", "env=toy/chain", "agent.torso.weight_norm=hidden"), spec_of("toy/chain"))
    assert agent.chain.online.torso.gained == {0, 1}
    assert agent.chain.online.head.advantage.gained == set()
