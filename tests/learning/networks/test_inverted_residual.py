"""FlashSAC's torso, weights of length 1 and critics that see both ends of a batch with a target network."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch import nn

from deeprl.errors import ConfigError
from deeprl.learning.networks.actors import SquashedGaussian
from deeprl.learning.networks.batch_renorm import BatchRenormMLP
from deeprl.learning.networks.distributional import Categorical
from deeprl.learning.networks.heads import Scalar
from deeprl.learning.networks.hyperspherical import Hyperspherical
from deeprl.learning.networks.inverted_residual import InvertedResidual, InvertedResidualBlocks, rms_normalised
from deeprl.learning.networks.residual_mlp import BroNet, Simba
from deeprl.learning.networks.torsos import MLPTorso
from deeprl.learning.networks.unit_norm import UnitMLP
from deeprl.learning.parts.polyak import JointPolyak, Polyak
from deeprl.running.accelerate.modes import apply
from deeprl.running.config.build import build_agent
from deeprl.running.session.computation import widest
from deeprl.running.training.learner import CompiledLearner, gradient
from deeprl.types import Spec
from tests.builders import CONTINUOUS, flat, made_up, sac, same, settled, snapshot, spec_of, update, value_agent
from tests.learning.networks.test_blocks import built

ONE = Spec((1,), torch.float32, 3, 0)
FIVE = Spec((5,), torch.float32, 3, 0)


def worked() -> InvertedResidualBlocks:
    """One number in, two features, one block of width two inside; no ε."""
    torso = built(InvertedResidual(width=2, blocks=1, expansion=1, epsilon=0.0, momentum=0.75).build(ONE, 1))
    torso.weight_0.copy_(torch.tensor([[[3.0, 1.0]]]))
    torso.weight_1.copy_(torch.eye(2))
    torso.weight_2.copy_(torch.tensor([[[1.0, 0.0], [0.0, -1.0]]]))
    return torso


def test_the_worked_block():
    """Observations 1 and 5 are normalised to ∓ 1, x = ∓ (3, 1). Inside, BN gives ∓ (1, 1) and ReLU 0 or 1; W₂ makes (0, 0) and (1, −1), BN
    (∓ 1, ± 1), ReLU (0, 1) and (1, 0): x = (−3, 0) and (4, 1), divided by √(9 / 2) and √(17 / 2)."""
    features, new = worked().learn(torch.tensor([[1.0], [5.0]]))
    expected = torch.tensor([[-3.0, 0.0], [4.0, 1.0]]) / torch.tensor([[4.5], [8.5]]).sqrt()
    torch.testing.assert_close(features[0], expected)
    assert new["running_mean_0"].item() == pytest.approx(0.75)  # 0.25 · 3
    assert new["running_variance_0"].item() == pytest.approx(1.75)  # 0.75 · 1 + 0.25 · 4
    assert new["running_variance_1"].flatten().tolist() == pytest.approx([3.0, 1.0])  # of ∓ 3 and ∓ 1


def test_features_outside_of_the_loss_are_those_of_the_running_averages():
    """At the start the averages are 0 and 1, so that s = 2 gives x = (6, 2), inside (6, 2), after W₂ (6, −2): x = (12, 2)."""
    features = worked()(torch.tensor([[2.0]]))
    torch.testing.assert_close(features[0, 0], torch.tensor([12.0, 2.0]) / math.sqrt(74.0))


def test_the_square_of_features_has_mean_one():
    x = torch.randn((3, 4, 50), generator=torch.Generator().manual_seed(0)) * 9
    torch.testing.assert_close(rms_normalised(x).square().mean(-1), torch.ones(3, 4))
    assert torch.equal(rms_normalised(torch.zeros(1, 2)), torch.zeros(1, 2))


class Plain(nn.Module):
    """The same network of torch's layers, in training."""

    def __init__(self, torso: InvertedResidualBlocks, entry: int):
        super().__init__()
        self.layers, self.norms = nn.ModuleList(), nn.ModuleList()
        for i, width in enumerate(torso.norms):
            weight = torso.of("weight", i)[entry].mT
            self.layers.append(nn.Linear(weight.shape[1], weight.shape[0], bias=False))
            self.norms.append(nn.BatchNorm1d(width))
            self.layers[i].weight.data.copy_(weight)
            self.norms[i].weight.data.copy_(torso.of("norm_scale", i)[entry, 0])
            self.norms[i].bias.data.copy_(torso.of("norm_shift", i)[entry, 0])
        self.rms = nn.RMSNorm(torso.features, eps=1e-6)
        self.rms.weight.data.copy_(torso.rms_scale[entry, 0])

    def forward(self, x):
        x = self.layers[0](self.norms[0](x))
        for i in range(1, len(self.layers), 2):
            inner = self.norms[i](self.layers[i](x)).relu()
            x = x + self.norms[i + 1](self.layers[i + 1](inner)).relu()
        return self.rms(x)


def test_against_torch():
    torso = built(InvertedResidual(width=6, blocks=2, expansion=3).build(FIVE, 2))
    generator = torch.Generator().manual_seed(1)
    for parameter in torso.parameters():
        parameter.add_(torch.rand(parameter.shape, generator=generator))
    x = torch.randn((16, 5), generator=generator)
    features, statistics = torso.learn(x)
    for entry in range(2):
        torch.testing.assert_close(features[entry], Plain(torso, entry)(x))
    for name, value in statistics.items():
        torso.get_buffer(name).copy_(value)
    assert not torch.allclose(torso(x), features)


def test_projection():
    """Columns of length 1; scale and shift of a norm over d units together √d: (3, 4, 0, 0) and (0, 0, 0, 12) become 2 / 13 of it."""
    torso = built(InvertedResidual(width=4, blocks=1, expansion=2).build(FIVE, 2))
    torso.weight_1.mul_(7.0)
    torso.norm_scale_2[1, 0] = torch.tensor([3.0, 4.0, 0.0, 0.0])
    torso.norm_shift_2[1, 0] = torch.tensor([0.0, 0.0, 0.0, 12.0])
    torso.rms_scale[0, 0] = torch.tensor([0.0, 3.0, 0.0, 4.0])
    torso.project_()
    for i in range(3):
        torch.testing.assert_close(torso.of("weight", i).norm(dim=1), torch.ones(2, torso.of("weight", i).shape[2]))
    torch.testing.assert_close(torso.norm_scale_2[1, 0], torch.tensor([6.0, 8.0, 0.0, 0.0]) / 13)
    torch.testing.assert_close(torso.norm_shift_2[1, 0], torch.tensor([0.0, 0.0, 0.0, 24.0]) / 13)
    torch.testing.assert_close(torso.norm_scale_2[0, 0], torch.ones(4))
    torch.testing.assert_close(torso.rms_scale[0, 0], torch.tensor([0.0, 1.2, 0.0, 1.6]))


def test_no_blocks_are_the_normalised_embedding():
    torso = built(InvertedResidual(width=4, blocks=0, epsilon=0.0).build(FIVE, 2))
    x = torch.randn((3, 5), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(torso(x), rms_normalised(x @ torso.weight_0))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"width": 0}, "width must be a whole number"),
        ({"momentum": 2}, "momentum must be between 0 and 1"),
        ({"init": "he"}, "init must be"),
    ],
)
def test_fields_are_checked(wrong, message):
    with pytest.raises(ValueError, match=message):
        InvertedResidual(**wrong)


# ---- weights of length 1 after the torso


@pytest.mark.parametrize("head", [Scalar(unit=True), Categorical(unit=True, dueling=True)])
def test_unit_weights_of_heads_and_actors_keep_their_length(head):
    """In every projected layer, hidden ones and streams of duelling heads included; biases are free."""
    torso = MLPTorso(hidden=(7,), head_hidden=(6,))
    if head.dueling:
        agent, name = value_agent(torso=torso, head=head), "value"
    else:
        agent, name = sac(torso=torso, head=head, actor=SquashedGaussian(unit=True), actor_torso=torso), "critic"
    for seed in range(3):
        update(agent, made_up(agent, agent.spec, seed=seed))
    found = [module for module in agent.modules() if isinstance(module, UnitMLP)]
    target = set(agent.chain.target.modules())
    assert len(found) == (4 if head.dueling else 3)
    for mlp in found:
        for i in range(mlp.depth):
            length = mlp.weight(i).norm(dim=1)
            torch.testing.assert_close(length, torch.ones_like(length), **({"rtol": 0.0, "atol": 0.05} if mlp in target else {}))
    assert agent.objectives[name].optimizer.groups[0].taken == 3
    assert any(mlp.bias_1.abs().max() > 0 for mlp in found)


@pytest.mark.parametrize("make", [partial(sac, head=Scalar(unit=True)), partial(sac, actor=SquashedGaussian(unit=True))])
def test_units_of_length_one_have_no_gains(make):
    torso = MLPTorso(hidden=(7,), weight_norm="all")
    with pytest.raises(ValueError, match="weight_norm of the torso must be none where units have weights of length 1"):
        make(torso=torso, actor_torso=torso, chain=partial(Polyak, tau=1.0))


def test_a_noisy_head_has_no_unit_weights():
    with pytest.raises(ValueError, match="unit must be false in a noisy head"):
        Scalar(unit=True, noisy=True)


# ---- both ends in one batch, with a target network


@pytest.mark.parametrize("make", [sac, value_agent])
def test_for_a_torso_without_statistics_the_chain_is_polyak(make):
    one, other = (make(chain=partial(chain, tau=0.25)) for chain in (Polyak, JointPolyak))
    for seed in range(3):
        batch = made_up(one, one.spec, size=4, seed=seed)
        for agent in (one, other):
            update(agent, batch)
    torch.testing.assert_close(flat(one.parameters()), flat(other.parameters()))


def test_target_and_online_network_see_both_ends_with_moments_of_their_own():
    """The values are those of one batch with (s, a) first; each network's averages are reported, and stored."""
    torso = InvertedResidual(width=6, blocks=1, expansion=2)
    agent = sac(chain=JointPolyak, torso=torso)
    for seed in range(2):
        update(agent, made_up(agent, agent.spec, size=4, seed=seed))
    space = agent.spec.obs_shape[0] + agent.spec.action_dim
    x = torch.randn((8, space), generator=torch.Generator().manual_seed(0))
    batch = made_up(agent, agent.spec, size=4)._replace(obs=x[:4], next_obs=x[4:])
    for view, side in zip(agent.chain.views(batch), ("online", "target")):
        torso = getattr(agent.chain, side).torso
        features, statistics = torso.learn(x)
        torch.testing.assert_close(torch.cat([view.now.features, view.next.features], 1), features)
        torch.testing.assert_close(view.statistics, {f"chain.{side}.torso.{name}": value for name, value in statistics.items()})
        assert not torch.equal(torso.running_mean_0, torch.zeros(2, 1, space))


def test_a_chain_that_sees_the_ends_apart_is_refused():
    words = ("agent=flash_sac", "env=classic/pendulum", "agent/chain=polyak")
    with pytest.raises(ConfigError, match="both ends of a batch in one evaluation"):
        build_agent(settled(*words), spec_of("classic/pendulum"))


# ---- whole agents


SMALL = ("agent=flash_sac", "env=classic/pendulum", "agent.torso.width=6", "agent.actor_torso.width=5")


@pytest.mark.parametrize(
    "torso",
    [
        InvertedResidual(width=6),
        BatchRenormMLP(hidden=(9,)),
        MLPTorso(hidden=(9,)),
        Simba(width=6),
        BroNet(width=6),
        Hyperspherical(width=6),
    ],
)
def test_the_widest_layer_is_known(torso):
    """By the rule for threads, which is why the width inside of a block counts."""
    agent = sac(torso=torso, actor_torso=MLPTorso(hidden=(4,)), chain=partial(JointPolyak, tau=0.01))
    assert widest(agent) == max(max(weight.shape[1:]) for weight in agent.chain.online.parameters() if weight.dim() == 3)


def flash_sac(*words: str):
    return build_agent(settled(*SMALL, *words), CONTINUOUS)


def test_an_update_moves_and_projects_critics_then_actor_and_temperature():
    agent = flash_sac()
    before = snapshot(agent)
    update(agent, made_up(agent, agent.spec, size=8))
    after = snapshot(agent)
    moved = {name for name in after if not torch.equal(after[name], before[name])}
    assert not any(name.startswith(("actor.", "temperature.")) for name in moved)
    assert "chain.target.head.advantage.weight_0" in moved
    for name in ("torso.weight_0", "torso.weight_3", "head.advantage.weight_0"):
        length = after[f"chain.online.{name}"].norm(dim=1)
        torch.testing.assert_close(length, torch.ones_like(length))
    update(agent, made_up(agent, agent.spec, size=8, seed=1))
    last = snapshot(agent)
    assert not same(below(last, "actor.torso.running"), below(after, "actor.torso.running"))
    torch.testing.assert_close(last["actor.last.weight_0"].norm(dim=1), torch.ones(1, 4))
    assert last["temperature.log_value"] != after["temperature.log_value"]


def below(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name: value for name, value in state.items() if name.startswith(prefix)}


def test_the_loss_is_the_cross_entropy_of_the_projected_soft_target():
    """Written down once more with loops: the distribution of the critic with the lower mean, moved by r + γ (z − α log π), each atom's
    probability shared between its neighbours."""
    agent = flash_sac("agent.head.atoms=5")
    for seed in range(4):
        update(agent, made_up(agent, agent.spec, size=6, seed=seed))
    batch = made_up(agent, agent.spec, size=4, seed=9)
    found = agent.critic_loss(batch).loss
    obs, after = agent.seen(batch.obs), agent.seen(batch.next_obs)
    action, log_prob = agent.actor.sample(after, batch.noise["next_action"])
    pairs = torch.cat([torch.cat([obs, batch.action], -1), torch.cat([after, action], -1)])

    def logits(network):
        return network.head.advantage(network.torso.learn(pairs)[0])  # (2, 8, 5)

    prediction, target = logits(agent.chain.online).log_softmax(-1)[:, :4], logits(agent.chain.target).softmax(-1)[:, 4:]
    support = torch.tensor([-5.0, -2.5, 0.0, 2.5, 5.0])
    total = 0.0
    for row in range(4):
        lowest = int((target[:, row] @ support).argmin())
        projected = [0.0] * 5
        for atom in range(5):
            value = batch.reward[row] + batch.discount[row] * (support[atom] - agent.temperature() * log_prob[row])
            place = float((value.clamp(-5.0, 5.0) + 5.0) / 2.5)
            lower = min(int(place), 3)
            share = float(target[lowest, row, atom])
            projected[lower] += share * (lower + 1 - place)
            projected[lower + 1] += share * (place - lower)
        total += sum(-float(prediction[critic, row] @ torch.tensor(projected)) for critic in range(2)) / 4
    assert found.item() == pytest.approx(total, rel=1e-5)


def test_compiled_updates_store_averages_and_project():
    plain, compiled = (flash_sac("agent.optimizer.eps=0.001", "agent.actor_optimizer.eps=0.001") for _ in range(2))
    apply(compiled, "compiled")
    learner = CompiledLearner(compiled, lambda batch: batch, backend="eager")
    for seed in range(4):
        batch = made_up(plain, plain.spec, size=6, seed=seed)
        update(plain, batch)
        learner.update(batch)
    for name, value in snapshot(plain).items():
        torch.testing.assert_close(snapshot(compiled)[name], value, rtol=1e-4, atol=1e-5, msg=name)


def test_batch_renormalisation_takes_the_chain_with_a_target():
    agent = sac(chain=JointPolyak, torso=BatchRenormMLP(hidden=(6,)))
    gradients, learned = gradient(agent, "critic", made_up(agent, agent.spec, size=4))
    assert flat(gradients).isfinite().all()
    assert learned.statistics["chain.online.torso.taken"] == 1


def test_renormalisation_of_the_target_settles_with_that_of_the_online_network():
    agent = sac(chain=JointPolyak, torso=BatchRenormMLP(hidden=(6,), settle=2))
    for seed in range(3):
        update(agent, made_up(agent, agent.spec, size=4, seed=seed))
    online, target = (side.torso for side in (agent.chain.online, agent.chain.target))
    assert online.taken == target.taken == 3
    assert not torch.equal(target.running_mean_0, torch.zeros_like(target.running_mean_0))
