"""QGPO: the slope of the energy beside autograd, twenty updates beside plain PyTorch, and neutral elements."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from deeprl.agents.diffusion_network import FREQUENCIES
from deeprl.agents.qgpo import Guidance, GuidedDiffusion
from deeprl.learning.networks.torsos import MLPTorso
from deeprl.learning.optim.adam import Adam
from deeprl.learning.transforms.observations import Plain
from deeprl.learning.transforms.rewards import Raw
from deeprl.running.config.sources import planned_updates
from deeprl.types import NetworkNoise, ObsPart
from tests.builders import CONTINUOUS, DISCRETE, made_up, same, settled, update
from tests.references.qgpo import QGPO
from tests.references.test_references import EPS, LR, agrees, close, critics_of

FEW = Guidance(candidates=3, evaluations=3, clone=0)


def diffusion(guidance: Guidance = FEW, spec=CONTINUOUS, **slots: Any) -> GuidedDiffusion:
    adam = Adam(lr=LR, eps=EPS)
    parts = {
        "torso": MLPTorso(hidden=(7, 6)),
        "hidden": (8, 9),
        "frequency": 1.0,
        "tau": 0.3,
        "optimizer": adam,
        "score_optimizer": adam,
        **slots,
    }
    return GuidedDiffusion(spec=spec, seed=0, guidance=guidance, rewards=Raw, normalize=Plain, **parts)


def plain_of(network) -> nn.Sequential:
    net, made = network.layers, list[nn.Module]()
    for i in range(net.depth):
        layer = nn.Linear(*net.weight(i)[0].shape)
        layer.weight.data.copy_(net.weight(i)[0].T)
        layer.bias.data.copy_(getattr(net, f"bias_{i}")[0, 0])
        made += [layer, nn.SiLU()]
    return nn.Sequential(*made[:-1])


def test_the_slope_is_that_of_autograd():
    energy = diffusion().energy
    action, obs = torch.randn(4, 3, 2, requires_grad=True), torch.randn(4, 1, 5)
    (expected,) = torch.autograd.grad(energy(action, 0.3, obs).sum(), action)
    torch.testing.assert_close(energy.slope(action, 0.3, obs), expected, rtol=1e-5, atol=1e-7)


def test_twenty_updates_are_those_of_the_reference():
    agent = diffusion(Guidance(candidates=3, evaluations=3, clone=0, beta=2.0, target_beta=0.5))
    score, energy, critics = plain_of(agent.score), plain_of(agent.energy), critics_of(agent.critic, 2)
    plain = QGPO(score, energy, critics, FREQUENCIES, LR, beta=2.0, target_beta=0.5, tau=0.3, eps=EPS)
    for seed in range(20):
        batch = made_up(agent, CONTINUOUS, size=11, seed=seed)
        metrics = update(agent, batch).metrics
        found = [metrics[f"train/{name}_loss"].mean() for name in ("score", "critic", "energy")]
        close(torch.stack(found), torch.stack(plain.update(batch, 3)))
    for ours, theirs in ((agent.score, score), (agent.energy, energy)):
        close(plain_of(ours)[0].weight.detach(), theirs[0].weight.detach())
        close(plain_of(ours)[-1].bias.detach(), theirs[-1].bias.detach())
    for e in range(2):
        agrees(agent.critic, e, critics[e])
        agrees(agent.target, e, plain.targets[e])


def test_without_a_scale_it_is_the_behaviour_whatever_the_energy():
    one, other = diffusion(Guidance(evaluations=3, scale=0.0)), diffusion(Guidance(evaluations=3))
    obs, z = torch.randn(6, 5), torch.randn(6, 2)
    for parameter in other.energy.parameters():
        parameter.add_(1.0)
    assert torch.equal(one.infer(obs, NetworkNoise({"action": z}, {})), other.sampled(obs, z, 0.0))


def test_of_one_candidate_the_energy_learns_nothing():
    agent = diffusion(Guidance(candidates=1, evaluations=2, clone=0))
    before = [p.clone() for p in agent.energy.parameters()]
    update(agent, made_up(agent, CONTINUOUS, size=7))
    assert all(map(torch.equal, agent.energy.parameters(), before))


def test_the_behaviour_alone_is_learned_first():
    agent = diffusion(Guidance(clone=2))
    assert [agent.due(i) for i in (1, 2, 3)] == [("score",), ("score",), ("score", "critic", "energy", "target")]


@pytest.mark.exhaustive
def test_it_learns_two_modes_and_moves_to_the_better_one():
    """Actions of the data are −½ and ½ alike, worth 0 and 1: 0.731 of the samples should be the better ones, and the energy of so small a
    network is not yet steep enough for it."""
    spec = CONTINUOUS._replace(obs_shape=(1,), action_dim=1)
    quick = Adam(lr=3e-3)
    slots = {"hidden": (32, 32), "torso": MLPTorso(hidden=(16,)), "optimizer": quick, "score_optimizer": quick}
    agent = diffusion(Guidance(beta=1.0, candidates=8, clone=400), spec, **slots)
    generator = torch.Generator().manual_seed(0)
    for seed in range(1000):
        batch = made_up(agent, spec, size=128, seed=seed)
        action = torch.where(torch.rand(128, 1, generator=generator) < 0.5, -0.5, 0.5)
        reward = (action[:, 0] > 0).float()
        zeros = torch.zeros(128)
        update(agent, batch._replace(obs=torch.zeros(128, 1), action=action, reward=reward, discount=zeros))
    z = torch.randn(2000, 1, generator=generator)
    share = [(agent.sampled(torch.zeros(2000, 1), z, scale) > 0).float().mean().item() for scale in (0.0, 1.0)]
    assert share[0] == pytest.approx(0.5, abs=0.06)
    assert 0.58 < share[1] < 0.79


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (DISCRETE, "takes continuous actions"),
        (CONTINUOUS._replace(obs_shape=(3, 9, 9), obs_dtype=torch.uint8), "reads vectors"),
        (CONTINUOUS._replace(parts=(ObsPart("a", (5,), torch.float32, privileged=True),)), "reads vectors"),
        (CONTINUOUS._replace(parts=(ObsPart("a", (1, 5, 1), torch.uint8, image=True),)), "reads vectors"),
    ],
)
def test_what_it_cannot_read_is_refused(spec, words):
    with pytest.raises(ValueError, match=words):
        diffusion(spec=spec)


def test_critics_take_the_normalised_weights_of_their_torso_or_refuse_them():
    """They were left out without a word."""
    torso = MLPTorso(hidden=(7, 6), weight_norm="hidden")
    with pytest.raises(ValueError, match="weight_norm must be none where target networks are averages"):
        diffusion(torso=torso)
    agent = diffusion(torso=torso, tau=1.0)
    assert agent.critic.torso.gained
    assert same(agent.critic.state_dict(), agent.target.state_dict())


def test_its_recipe_composes_and_a_tiny_run_is_guided():
    config = settled("agent=qgpo", "env=classic/pendulum", "budget=tiny")
    assert planned_updates(config) > config["agent"]["guidance"]["clone"]


@pytest.mark.parametrize("hidden", ["abc", None, 64, [0]])
def test_widths_are_checked(hidden):
    with pytest.raises(ValueError, match="hidden must be a list of positive integers"):
        diffusion(hidden=hidden)
