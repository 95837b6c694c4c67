"""SimbaV2's torso: the worked block, unit weights after every update, and targets that are averages of them."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from deeprl.agents.idqn import Iterated
from deeprl.learning.networks.blocks import initialise
from deeprl.learning.networks.hyperspherical import Hyperspherical, HypersphericalBlocks, Learnt, shifted, towards, unit, unit_columns
from deeprl.learning.networks.mlp import MLP
from deeprl.learning.networks.torsos import MLPTorso
from deeprl.learning.optim.adam import Adam
from deeprl.running.accelerate.modes import apply
from deeprl.running.training.learner import CompiledLearner, Learner
from deeprl.types import Spec
from tests.builders import CONTINUOUS, actor_critic, made_up, same, snapshot, value_agent
from tests.learning.networks.test_blocks import VECTOR, built, close

FIVE = Spec((5,), torch.float32, 3, 0)
SMALL = Hyperspherical(width=6, blocks=2, expansion=3)
LEARNERS = {"plain": Learner, "compiled": partial(CompiledLearner, backend="eager")}


def off(module) -> float:
    """Largest deviation of a column's length from 1, in float64."""
    weights = [p for name, p in module.named_parameters() if name.rpartition(".")[2].startswith("weight_")]
    return max((weight.double().norm(dim=1) - 1).abs().max().item() for weight in weights)


def lengths(module) -> torch.Tensor:
    return torch.cat([p.double().norm(dim=1).flatten() for name, p in module.named_parameters() if "weight_" in name])


def learner(kind: str, agent):
    return LEARNERS[kind](agent, lambda batch: batch)


# ---- the functions


def test_the_constant_keeps_the_length_of_an_observation():
    """(4, 0) and the constant 3 have length 5; without the constant (4, 0) and (8, 0) are the same."""
    close(shifted(torch.tensor([4.0, 0.0]), 3.0), torch.tensor([0.8, 0.0, 0.6]))
    close(shifted(torch.tensor([[4.0, 0.0], [8.0, 0.0]]), 0.0), torch.tensor([[1.0, 0.0, 0.0]] * 2))


def test_a_step_on_the_sphere():
    """From (1, 0) towards (0, 1): half way is the diagonal, α = 0 and 1 are the ends."""
    x, other = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    for alpha, expected in ((0.0, x), (0.5, torch.full((2,), 0.5**0.5)), (1.0, other)):
        close(towards(x, other, torch.tensor(alpha)), expected)
    close(towards(x, other, torch.tensor([0.25, 0.75])), torch.tensor([0.5**0.5, 0.5**0.5]))  # (0.75, 0.75), a rate for each feature


def test_zeros_have_no_direction_and_finite_gradients():
    x = torch.zeros(2, 3, requires_grad=True)
    assert not unit(x).any()
    assert torch.isfinite(torch.autograd.grad(unit(x).sum(), x)[0]).all()
    assert not unit_columns(torch.zeros(1, 3, 2)).any()


def test_columns_are_projected_one_by_one():
    weight = torch.tensor([[[3.0, 0.0], [4.0, 2.0]]])  # (1, in, out): columns (3, 4) and (0, 2)
    close(unit_columns(weight), torch.tensor([[[0.6, 0.0], [0.8, 1.0]]]))
    wide = 0.03 * torch.randn(2, 2048, 64, generator=torch.Generator().manual_seed(0))
    assert (unit_columns(wide).double().norm(dim=1) - 1).abs().max() < 5e-7


def test_the_worked_block():
    """s = 4: |(4, 3)| = (0.8, 0.6), W₀ = 1, σ₀ = (3, 4): (2.4, 2.4), x = (r, r) with r = √½. In the block W₁ x = (r, 0), and σ = 2 does
    not matter, because W₂ turns it to the first axis: (1, 0). α = ½: ½ (r + 1, r), of length cos(π/8): features cos(π/8), sin(π/8)."""
    block = HypersphericalBlocks(1, 1, 2, 2, 1, constant=3.0, init="torch", scaler=Learnt(1.0, 1.0), alpha=Learnt(0.5, 0.25))
    assert block.factors == {"scaler_0": 1.0, "scaler_1": 1.0, "alpha_0": 2.0}
    numbers = {
        "weight_0": [[1, 0], [0, 1]],
        "scaler_0": [3, 4],
        "weight_1": [[1, 0], [0, 0]],
        "scaler_1": [2, 2],
        "weight_2": [[1, 0], [0, 1]],
        "alpha_0": [0.25, 0.25],
    }
    for name, value in numbers.items():
        parameter = block.get_parameter(name)
        parameter.copy_(torch.tensor(value, dtype=torch.float32).view(parameter.shape))
    eighth = torch.tensor(torch.pi / 8)
    close(block(torch.tensor([[4.0]])).flatten(), torch.stack([eighth.cos(), eighth.sin()]))


# ---- the module


def test_initial_values_and_sizes():
    """σ and α of the authors' critic: √(2/512) and √(2/2048), stored as such; α = 1/3, stored as 1/√512. Bias-free."""
    critic = built(Hyperspherical().build(Spec((23,), torch.float32, 1, 0), 1))
    assert sum(p.numel() for p in critic.parameters()) == 24 * 512 + 512 + 2 * (2 * 512 * 2048 + 2048 + 512)
    for name, stored, start in (
        ("scaler_0", (2 / 512) ** 0.5, (2 / 512) ** 0.5),
        ("scaler_3", (2 / 2048) ** 0.5, (2 / 2048) ** 0.5),
        ("alpha_1", 512**-0.5, 1 / 3),
    ):
        assert critic.get_parameter(name).mean().item() == pytest.approx(stored)
        close(critic.vector(name), torch.full_like(critic.vector(name), start))
    assert off(critic) < 1e-6  # (24, 512) is wide: its rows were orthonormal, not its columns
    features = critic(torch.randn(7, 23))
    close(features.norm(dim=-1), torch.ones(1, 7))


def test_keys_of_the_learnt_vectors():
    torso = Hyperspherical(width=8, blocks=1, expansion=4, alpha=0.25, alpha_scale=0.5, scaler=3.0, scaler_scale=6.0)
    block = built(torso.build(VECTOR, 2))
    for name, stored, start in (("scaler_0", 6.0, 3.0), ("scaler_1", 3.0, 1.5), ("alpha_0", 0.5, 0.25)):
        assert block.get_parameter(name).unique().tolist() == [stored]
        assert block.vector(name).unique().tolist() == [start]
    for wrong, message in (
        ({"alpha": 2.0}, "alpha must be between 0 and 1, not 2.0"),
        ({"alpha_scale": 0.0}, "alpha_scale must be positive, or null for its default, not 0.0"),
        ({"scaler": -1.0}, "scaler must be positive, or null"),
        ({"constant": -3.0}, "constant must be at least 0, not -3.0"),
        ({"expansion": 0}, "expansion must be a whole number of at least 1, not 0"),
    ):
        with pytest.raises(ValueError, match=message):
            Hyperspherical(**wrong)


def test_without_rate_a_block_changes_nothing():
    still, none = (built(Hyperspherical(width=6, blocks=blocks, alpha=0.0).build(FIVE, 2)) for blocks in (2, 0))
    x = torch.randn(4, 5)
    close(still(x), none(x))


# ---- the projection


@pytest.mark.parametrize("kind", LEARNERS)
def test_weights_have_length_one_after_every_update(kind):
    """Of critics and actor, plain and compiled, although the rate is large; a target is an average that is not projected."""
    rate = Adam(lr=0.05)
    agent = actor_critic(torso=SMALL, actor_torso=Hyperspherical(width=4, blocks=1), optimizer=rate, actor_optimizer=rate)
    online, target = agent.chain.online.torso, agent.chain.target.torso
    assert max(map(off, (online, target, agent.actor.torso, agent.target_actor.torso))) < 1e-6
    apply(agent, "reference")
    made = learner(kind, agent)
    for step in range(1, 7):
        slow = snapshot(target)
        made.update(made_up(agent, CONTINUOUS, size=8, seed=step))
        assert max(off(online), off(agent.actor.torso)) < 1e-6
        moved = agent.due(step) == ("critic", "actor", "target")
        for name, parameter in target.named_parameters():
            close(parameter, torch.lerp(slow[name], online.get_parameter(name), 0.25) if moved else slow[name])
    assert lengths(target).max() < 1 + 1e-6
    assert off(target) > 1e-4
    assert off(agent.target_actor.torso) > 1e-4


def test_compiled_updates_are_plain_ones():
    plain, traced = (value_agent(FIVE, torso=SMALL) for _ in range(2))
    for step in range(1, 6):
        batch = made_up(plain, FIVE, size=8, seed=step)
        for kind, agent in (("plain", plain), ("compiled", traced)):
            apply(agent, "reference")
            learner(kind, agent).update(batch)
    torch.testing.assert_close(plain.state_dict(), traced.state_dict(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("torso", ["shared", "separate"])
def test_copies_of_a_chain_stay_on_the_sphere(torso):
    agent = value_agent(FIVE, torso=SMALL, chain=partial(Iterated, length=3, shift_period=2, sync_period=1, torso=torso))
    made = learner("plain", agent)
    for step in range(1, 6):
        made.update(made_up(agent, FIVE, size=8, seed=step))
        agent.tick(step - 1, step)
        assert max(off(agent.chain.online.torso), off(agent.chain.target.torso)) < 1e-6


def test_a_learner_projects_what_it_trains_and_nothing_else():
    agent = actor_critic(torso=SMALL, actor_torso=MLPTorso(hidden=(4,)))
    assert learner("plain", agent).projections == {"critic": [agent.chain.online.torso.project_], "actor": []}
    assert agent.projections("critic") == [agent.chain.online.torso.project_]  # not that of the target
    assert learner("plain", actor_critic()).projections == {"critic": [], "actor": []}


def test_networks_start_projected():
    """Whatever their initialiser, and without changing other blocks."""
    spheres, plain = SMALL.build(FIVE, 2), MLP(2, (5, 3), activate_last=True)
    both = torch.nn.ModuleDict({"sphere": spheres, "plain": plain})
    initialise(both, 0, "place")
    assert off(spheres) < 1e-6
    again = MLP(2, (5, 3), activate_last=True)
    initialise(torch.nn.ModuleDict({"plain": again}), 0, "place")
    assert same(snapshot(again), snapshot(plain))
