"""A torso of torch's own layers: its numbers, its initial values, its place in a chain, and what is refused."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from deeprl.agents.idqn import Iterated
from deeprl.errors import ConfigError
from deeprl.learning.networks.copies import Copies
from deeprl.learning.networks.torsos import TorsoChoice
from deeprl.running.config.dry_run import dry_run
from deeprl.running.training.learner import gradient
from deeprl.types import Spec
from tests.builders import assert_close32, flat, made_up, snapshot, traced_gradient, update, value_agent
from tests.learning.networks.test_blocks import built

SPEC = Spec((5,), torch.float32, 3, 0)


def tanh() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Sequential(nn.Linear(7, 6), nn.Tanh()))


def copies(n: int, seed: int = 0) -> Copies:
    return built(Copies(n, tanh, (5,)), seed)


@dataclass(frozen=True)
class Tanh(TorsoChoice):
    def build(self, spec: Spec, n: int) -> nn.Module:
        return Copies(n, tanh, spec.obs_shape)


@dataclass(frozen=True)
class Listed(TorsoChoice):
    """Without the stack axis: one module for each entry."""

    def build(self, spec: Spec, n: int) -> nn.Module:
        module = nn.ModuleList(tanh() for _ in range(n))
        module.features = 6
        return module


def test_each_entry_is_the_plain_network():
    net, x = copies(3), torch.randn((4, 5), generator=torch.Generator().manual_seed(0))
    assert net.features == 6
    found = net(x)
    for i in range(3):
        one = tanh()
        one.load_state_dict({name.replace("/", "."): parameter[i] for name, parameter in net.named_parameters()})
        assert_close32(found[i], one(x).detach())


def test_initial_values_are_those_of_the_layers_and_follow_from_the_seed():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    many, single, other = copies(4), copies(1), copies(1, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    for name, parameter in many.named_parameters():
        assert torch.equal(parameter[:1], single.get_parameter(name))
        assert not torch.equal(parameter[0], parameter[1])
        assert not torch.equal(parameter[0], other.get_parameter(name)[0])
        assert not parameter.requires_grad
    bound = 5**-0.5  # torch's own for a linear layer of five inputs
    assert bound / 2 < many.get_parameter("0/weight").abs().max() <= bound


@pytest.mark.parametrize("torso", ["shared", "separate"])
def test_in_a_chain_they_learn_and_trace(torso):
    chain = partial(Iterated, length=3, shift_period=2, sync_period=1, torso=torso)
    agent = value_agent(SPEC, torso=Tanh(), chain=chain)
    batch = made_up(agent, SPEC)
    found, _ = traced_gradient(agent, "value", batch)
    expected, _ = gradient(agent, "value", batch)
    assert_close32(flat(found), flat(expected))
    before = snapshot(agent.chain.online)
    for step in (1, 2, 3):
        update(agent, batch)
        agent.tick(step - 1, step)
    after = snapshot(agent.chain.online)
    assert not any(torch.equal(before[name], after[name]) for name in before)


class Related(nn.Module):
    """Initial values that belong together: a gain of the length of its weights, a copy, and a layer that is used twice."""

    def __init__(self):
        super().__init__()
        self.normed, self.one, self.tied = weight_norm(nn.Linear(5, 4)), nn.Linear(4, 4), nn.Linear(4, 4)
        self.copied = deepcopy(self.one)
        self.tied.weight = self.one.weight

    def forward(self, x):
        return self.tied(self.copied(self.one(self.normed(x))))


def test_initial_values_that_belong_together_stay_together():
    """Each parameter was drawn from a network of its own, and a tied one was two."""
    net = built(Copies(2, Related, (5,)), seed=0)
    found = dict(net.named_parameters())
    gain, direction = (found[f"normed/parametrizations/weight/original{k}"] for k in (0, 1))
    torch.testing.assert_close(gain, direction.norm(dim=-1, keepdim=True))
    assert torch.equal(found["copied/bias"], found["one/bias"])
    assert not torch.equal(gain[0], gain[1])  # of two entries
    assert "tied/weight" not in found
    one, x = Related(), torch.randn((3, 5), generator=torch.Generator().manual_seed(0))
    one.load_state_dict({name.replace("/", "."): it[1] for name, it in found.items()} | {"tied.weight": found["one/weight"][1]})
    assert_close32(net(x)[1], one(x).detach())


def test_what_is_not_to_be_trained_is_refused():
    """It was trained."""
    with pytest.raises(ValueError, match=r"Copies: 0\.weight has requires_grad=False, and all parameters of a torso are trained"):
        Copies(1, lambda: nn.Sequential(nn.Linear(5, 5).requires_grad_(False), nn.Linear(5, 5)), (5,))


@pytest.mark.parametrize("layer", [nn.BatchNorm1d(5), nn.Dropout()])
def test_layers_that_are_no_functions_are_refused(layer):
    with pytest.raises(ValueError, match="buffers or dropout"):
        Copies(1, lambda: nn.Sequential(nn.Linear(5, 5), layer), (5,))


class Fourier(nn.Module):
    """Random features: a tensor that is neither a parameter nor a buffer."""

    def __init__(self):
        super().__init__()
        self.frequencies, self.layer = torch.randn(5, 5), nn.Linear(5, 6)

    def forward(self, x):
        return self.layer(torch.sin(x @ self.frequencies))


class Calls(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.calls = nn.Linear(5, 6), 0

    def forward(self, x):
        self.calls += 1
        return self.layer(x) * (1 + 1e-4 * self.calls)


@dataclass(frozen=True)
class Of(TorsoChoice):
    make: type[nn.Module]

    def build(self, spec: Spec, n: int) -> nn.Module:
        return Copies(n, self.make, spec.obs_shape)


def test_what_a_network_draws_beside_its_parameters_is_the_same_in_every_run():
    """No checkpoint holds it: a resumed run had another network, and so had its evaluation."""
    torch.manual_seed(1)
    one = Copies(1, Fourier, (5,)).one[0].frequencies
    torch.manual_seed(2)
    assert torch.equal(one, Copies(2, Fourier, (5,)).one[0].frequencies)


def test_a_network_that_counts_its_calls_is_refused():
    """The check of what acting and losses change did not look behind the stack: evaluations changed the training."""
    dry_run(value_agent(spec=SPEC, torso=Of(Fourier)), SPEC, "cpu")
    with pytest.raises(ConfigError, match=r"online\.torso\S*one\.0\.calls"):
        dry_run(value_agent(spec=SPEC, torso=Of(Calls)), SPEC, "cpu")


def test_a_torso_without_the_stack_axis_is_told_the_remedy():
    with pytest.raises(ValueError, match=r"torso\.0\.0\.weight has shape \(7, 5\).*`Copies\(n, make, shape\)`"):
        value_agent(SPEC, torso=Listed())
