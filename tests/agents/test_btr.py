"""BTR: spectral norm beside torch's, the pool, the fading ε, the online network's bonus, and updates of a reference in plain PyTorch."""

from __future__ import annotations

import copy
import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from deeprl.agents.btr import Fading, OnlineMunchausen, SpectralImpala, pooled, power_iteration, spectrally_normalised
from deeprl.agents.harpg import Corrected
from deeprl.agents.idqn import Iterated
from deeprl.agents.munchausen import Munchausen
from deeprl.learning.networks.distributional import ImplicitQuantile
from deeprl.learning.networks.policies import PolicyChoice
from deeprl.learning.networks.residual import halved
from deeprl.learning.networks.torsos import Impala
from deeprl.learning.optim.adam import Adam
from deeprl.learning.parts.chains import Single
from deeprl.learning.trajectory_policy import TrajectoryPolicy
from deeprl.learning.transforms.observations import Plain as Unchanged
from deeprl.learning.transforms.rewards import Raw
from deeprl.learning.values.losses import quantile_huber
from deeprl.running.accelerate.modes import apply, set_products
from deeprl.running.session.warm_start import agree_
from deeprl.running.training.learner import CompiledLearner, gradient
from deeprl.types import Spec
from tests.builders import assert_close32, flat, made_up, same, snapshot, traced_gradient, transition, update, value_agent, view
from tests.learning.networks.test_blocks import built
from tests.running.accelerate.test_compile import needs_compiler

SMALL = Spec((2, 10, 13), torch.uint8, 3, 0)
NARROW = SpectralImpala(channels=(3, 4), blocks=1, pool=2, head_hidden=(6,))
CLOSE = partial(torch.testing.assert_close, rtol=1e-4, atol=1e-5)


def matrix(*rows: list[float]) -> torch.Tensor:
    """As the weights of a convolution 1 x 1, (1, out, in, 1, 1)."""
    return torch.tensor(rows)[None, :, :, None, None]


def images(size: int = 5) -> torch.Tensor:
    return torch.randint(0, 256, (size, *SMALL.obs_shape), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


# ---- spectral norm


def test_one_power_iteration_by_hand():
    """W = diag(3, 1) from v = (1, 1)/√2: u = (3, 1)/√10, v = (9, 1)/√82, uᵀWv = 82/√820."""
    weight = matrix([3.0, 0.0], [0.0, 1.0])
    left, right = power_iteration(weight, torch.full((1, 1, 2, 1, 1), 0.5**0.5))
    assert left.flatten().tolist() == pytest.approx([3 / 10**0.5, 1 / 10**0.5])
    assert right.flatten().tolist() == pytest.approx([9 / 82**0.5, 1 / 82**0.5])
    found = spectrally_normalised(weight, left, right)
    assert (weight / found)[weight != 0].tolist() == pytest.approx([2.863564] * 2, abs=1e-5)
    for _ in range(20):
        left, right = power_iteration(weight, right)
    CLOSE(spectrally_normalised(weight, left, right), matrix([1.0, 0.0], [0.0, 1 / 3]))
    # an average of vectors has another length
    CLOSE(spectrally_normalised(weight, 0.5 * left, 3.0 * right), matrix([1.0, 0.0], [0.0, 1 / 3]))


def test_torchs_spectral_norm_has_the_same_weights_and_gradients_over_updates():
    torso = built(SpectralImpala(channels=(3, 4), blocks=2).build(SMALL, 1))
    assert torso.residual == [1, 2, 3, 4, 6, 7, 8, 9]  # 0 and 5 are the first of their stages
    x = torch.randn(2, 4, 6, 5, generator=torch.Generator().manual_seed(1))
    for layer in (6, 9):
        plain = nn.Conv2d(4, 4, 3, padding=1)
        plain.weight.data.copy_(getattr(torso, f"weight_{layer}")[0])
        plain.bias.data.copy_(getattr(torso, f"bias_{layer}")[0])
        spectral_norm(plain)
        left, right = torso.vectors(layer)
        torch.manual_seed(0)
        for number in range(4):
            if number == 0:  # torch draws its first vectors
                plain.eval()
                plain.parametrizations.weight[0]._u.copy_(left.flatten())
                plain.parametrizations.weight[0]._v.copy_(right.flatten())
            expected = plain(x).square().mean()
            theirs = torch.autograd.grad(expected, [plain.parametrizations.weight.original, plain.bias])
            own = [getattr(torso, f"{name}_{layer}") for name in ("weight", "bias")]
            for parameter in own:
                parameter.requires_grad_(True)
            found = torso.convolution(layer, 0, x, torch.contiguous_format, padding=(1, 1)).square().mean()
            mine = torch.autograd.grad(found, own)
            CLOSE(found, expected)
            for i, (my, their) in enumerate(zip(mine, theirs)):
                CLOSE(my[0], their)
                own[i].requires_grad_(False)
                own[i][0].sub_(0.5 * their)
                [plain.parametrizations.weight.original, plain.bias][i].data.sub_(0.5 * their)
            torso.project_()
            plain.train()  # from now on each of its passes iterates, as one update does here


def test_the_norm_of_new_weights_is_nearly_one_and_many_updates_make_it_one():
    torso = built(SpectralImpala(channels=(8, 16), blocks=1).build(SMALL, 3))
    for layer in torso.residual:
        norms = torch.linalg.matrix_norm(torso.weight(layer).flatten(2), ord=2)
        assert ((norms > 1 - 1e-5) & (norms < 1.1)).all()  # power iterations find the largest singular value from below
    for _ in range(2000):
        torso.project_()
    for layer in torso.residual:
        CLOSE(torch.linalg.matrix_norm(torso.weight(layer).flatten(2), ord=2), torch.ones(3), rtol=1e-3)


def test_vectors_are_state_and_go_with_the_weights():
    """A shift of a chain moves them as it does weights, a copy makes the target the online network, and a new run finds them anew."""
    agent = value_agent(SMALL, torso=NARROW, chain=partial(Iterated, length=3, shift_period=2, sync_period=1, torso="separate"))
    online, target = agent.chain.online.torso, agent.chain.target.torso
    names = {name for name in agent.state_dict() if "left_" in name or "right_" in name}
    assert len(names) == 2 * 2 * len(online.residual)
    for step in range(3):
        update(agent, made_up(agent, SMALL, seed=step))
    before = online.right_1.clone()
    agent.chain.shift()
    assert online.right_1[:2].equal(before[1:])
    assert target.right_1[1:].equal(online.right_1[:2])
    single = value_agent(SMALL, torso=NARROW, optimizer=Adam(lr=0.1))
    for step in range(3):
        update(single, made_up(single, SMALL, seed=step))
    online, target = single.chain.online.torso, single.chain.target.torso
    assert not online(images()).equal(target(images()))
    single.chain.move_anchor()
    assert online(images()).equal(target(images()))
    assert torch.equal(
        built(copy.deepcopy(online), place="online.torso")(images()), value_agent(SMALL, torso=NARROW).chain.online.torso(images())
    )


def test_vectors_of_loaded_weights_are_those_of_the_source_or_are_found_for_them():
    """`init_from` moved vectors of the source by one iteration, and made a single one from vectors of other weights."""
    source, agent, other = (value_agent(SMALL, torso=NARROW, optimizer=Adam(lr=0.1), seed=seed) for seed in (0, 1, 1))
    for step in range(3):
        update(source, made_up(source, SMALL, seed=step))
    state = {name: value.clone() for name, value in source.state_dict().items()}
    agent.load_state_dict(state)
    agree_(agent, state)
    assert same(snapshot(agent), state)
    weights = {name: value for name, value in state.items() if not ("left_" in name or "right_" in name)}  # as of agent/torso=impala
    other.load_state_dict({**other.state_dict(), **weights})
    agree_(other, weights)
    for layer in NARROW.build(SMALL, 1).residual:
        norm = torch.linalg.matrix_norm(other.chain.online.torso.weight(layer).flatten(2), 2).item()
        assert norm == pytest.approx(1.0, abs=0.01)
    assert same(snapshot(other.chain.target), snapshot(other.chain.online))


def test_a_policy_that_collects_elsewhere_takes_the_vectors_along():
    """Those of HARPG's second policy stayed at their first values."""
    parts = {"torso": NARROW, "policy": PolicyChoice(), "rewards": Raw, "normalize": Unchanged}
    made = TrajectoryPolicy(spec=SMALL, seed=0, ascent=Corrected, **parts)
    flat = made.ascent.optimizer.flat
    flat.add_(torch.randn(flat.shape, generator=torch.Generator().manual_seed(0)))
    made.ascent.collect_at_(flat)
    made.policy.torso.project_()
    assert same(snapshot(made.ascent.sampler), snapshot(made.policy))


def test_a_stack_is_its_entries():
    three = built(NARROW.build(SMALL, 3))
    one = built(NARROW.build(SMALL, 1))
    assert_close32(one(images())[0], three(images())[0])
    for layer in three.residual:
        for name in ("weight", "bias", "left", "right"):
            getattr(one, f"{name}_{layer}").copy_(getattr(three, f"{name}_{layer}")[2:])
    for layer in (0, 3):
        for name in ("weight", "bias"):
            getattr(one, f"{name}_{layer}").copy_(getattr(three, f"{name}_{layer}")[2:])
    assert_close32(one(images())[0], three(images())[2])


@pytest.mark.parametrize("mode", ["reference", "fast"])
def test_with_norms_of_one_and_a_pool_as_large_as_the_image_it_is_impala(mode):
    sizes = {"channels": (3, 4), "blocks": 1, "init": "torch", "residual_init": "torch"}
    torso, plain = (
        built(choice.build(SMALL._replace(obs_shape=(2, 12, 12)), 2)) for choice in (SpectralImpala(pool=3, **sizes), Impala(**sizes))
    )
    for layer in torso.residual:
        getattr(plain, f"weight_{layer}").copy_(torso.weight(layer))
    for block in (torso, plain):
        apply(block, mode)
    x = torch.randint(0, 256, (4, 2, 12, 12), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    assert torso(x).shape == (2, 4, torso.features) == (2, 4, 4 * 9)
    CLOSE(torso(x), plain(x))


@pytest.mark.parametrize(("height", "width", "side"), [(11, 11, 6), (5, 7, 3), (2, 3, 6), (4, 4, 1)])
def test_the_pool_is_torchs(height, width, side):
    x = torch.randn(3, 2, height, width, generator=torch.Generator().manual_seed(0), requires_grad=True)
    weight = torch.randn(3, 2, side, side, generator=torch.Generator().manual_seed(1))
    found, expected = pooled(x, side), F.adaptive_max_pool2d(x, side)
    assert found.equal(expected)
    CLOSE(*(torch.autograd.grad((y * weight).sum(), x)[0] for y in (found, expected)))


def test_what_is_refused():
    for wrong, message in (({"channels": ()}, "channels must name"), ({"pool": 0}, "pool must be"), ({"blocks": -1}, "blocks must be")):
        with pytest.raises(ValueError, match=message):
            SpectralImpala(**wrong)
    with pytest.raises(ValueError, match="decay must be at least 1"):
        Fading(1.0, 0.01, 0.0, 5)


# ---- ε and the bonus


def test_epsilon_fades_and_stops_at_half_of_the_run():
    epsilon = Fading(start=1.0, end=0.01, decay=2e6, duration=25_000_000)
    assert [round(epsilon(step), 4) for step in (0, 2_000_000, 10_000_000)] == [1.0, 0.3742, 0.0167]
    assert epsilon(24_999_999) > 0.01
    assert epsilon(25_000_000) == epsilon(50_000_000) == 0.0


def test_the_bonus_is_that_of_the_online_network():
    """τ log π is −0.032431 of the online and −0.012431 of the target network."""
    online, target, batch = view(now=[[1.0, 1.02]]), view(now=[[1.0, 0.98]], next=[[0.5, 0.4]]), transition(0.0, 0.0)
    found, usual = (backup(online, target, batch).mean().item() for backup in (OnlineMunchausen(), Munchausen()))
    assert found == pytest.approx(-0.9 * 0.032431, abs=1e-6)
    assert usual == pytest.approx(-0.9 * 0.012431, abs=1e-6)
    assert OnlineMunchausen()(target, target, batch).atoms.equal(Munchausen()(target, target, batch).atoms)


# ---- the update


class Block(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.convolutions = nn.ModuleList(spectral_norm(nn.Conv2d(channels, channels, 3, padding=1)) for _ in range(2))

    def forward(self, x):
        y = x
        for convolution in self.convolutions:
            y = convolution(y.relu())
        return x + y


class Plain(nn.Module):
    """The network in torch's layers, with the values of an agent's: fractions in, quantiles (B, A, N) out."""

    def __init__(self, network):
        super().__init__()
        torso, head = network.torso, network.head
        self.stages, inputs = nn.ModuleList(), SMALL.obs_shape[0]
        for channels in torso.channels:
            self.stages.append(nn.ModuleList([nn.Conv2d(inputs, channels, 3, padding=1), Block(channels)]))
            inputs = channels
        flat = [layer for first, block in self.stages for layer in (first, *block.convolutions)]
        for number, layer in enumerate(flat):
            if number in torso.residual:
                spectral, (left, right) = layer.parametrizations.weight, torso.vectors(number)
                spectral.original.data.copy_(getattr(torso, f"weight_{number}")[0])
                spectral[0]._u.copy_(left.flatten())
                spectral[0]._v.copy_(right.flatten())
            else:
                layer.weight.data.copy_(getattr(torso, f"weight_{number}")[0])
            layer.bias.data.copy_(getattr(torso, f"bias_{number}")[0])
        self.embedding = self.dense(network.fractions.embedding, 0)
        self.value, self.advantage = (nn.ModuleList(self.dense(mlp, i) for i in range(2)) for mlp in (head.value, head.advantage))

    @staticmethod
    def dense(mlp, i):
        weight, bias = getattr(mlp, f"weight_{i}")[0], getattr(mlp, f"bias_{i}")[0]
        layer = nn.Linear(*weight.shape)
        layer.weight.data.copy_(weight.T)
        layer.bias.data.copy_(bias.flatten())
        return layer

    def forward(self, obs, *fractions):
        x = obs.float() / 255
        for first, block in self.stages:
            x = block(halved(first(x)))
        x = F.adaptive_max_pool2d(x.relu(), 2).permute(0, 2, 3, 1).flatten(1)
        found = []
        for tau in fractions:
            cosines = torch.cos(math.pi * tau[..., None] * torch.arange(self.embedding.in_features))
            z = x[:, None] * self.embedding(cosines).relu()
            value, advantage = (last(first(z).relu()) for first, last in (self.value, self.advantage))
            found.append((value + advantage - advantage.mean(-1, keepdim=True)).transpose(1, 2))
        return found


def test_updates_agree_with_plain_pytorch():
    """Two copies to the target network; torch's power iterations are those of the one pass that each update has in training mode."""
    head = ImplicitQuantile(dueling=True, init=None, samples=5, target_samples=4, policy_samples=3, cosines=7, first=0, error="pairs")
    optimizer = Adam(lr=1e-3, eps=1e-5, max_grad_norm=10.0)
    chain = partial(Single, target_update_period=3)
    agent = value_agent(SMALL, torso=NARROW, head=head, backup=OnlineMunchausen(), chain=chain, optimizer=optimizer)
    online, target = Plain(agent.chain.online).eval(), Plain(agent.chain.target).eval()
    adam = torch.optim.Adam(online.parameters(), lr=1e-3, eps=1e-5)
    rows, tau, alpha, weights = torch.arange(4), 0.03, 0.9, torch.tensor([0.5, 1.0, 2.0, 1.5])
    for step in range(8):
        batch = made_up(agent, SMALL, size=4, seed=step)._replace(weight=weights)
        now, then = batch.noise["online"].now.fractions, batch.noise["target"].next.fractions
        theta, policy = online(batch.obs, now["samples"], now["policy"])
        later, later_policy = target(batch.next_obs, then["samples"], then["policy"])
        theta = theta[rows, batch.action]
        with torch.no_grad():
            log_now, log_later = (tau * (z.mean(-1) / tau).log_softmax(-1) for z in (policy, later_policy))
            bonus = alpha * log_now[rows, batch.action].clamp(min=-1.0)
            soft = ((log_later / tau).exp()[..., None] * (later - log_later[..., None])).sum(1)
            atoms = (batch.reward + bonus)[:, None] + batch.discount[:, None] * soft
            error = (atoms[:, None, :] - theta[:, :, None]).abs().mean(-1).sum(-1)
        loss = quantile_huber(theta, now["samples"], atoms)
        adam.zero_grad()
        (weights * loss).mean().backward()
        nn.utils.clip_grad_norm_(online.parameters(), 10.0)
        adam.step()
        learned = update(agent, batch)
        agent.tick(step, step + 1)
        CLOSE(learned.error, error, rtol=1e-3)
        CLOSE(learned.metrics["train/loss"][0], loss.detach(), rtol=1e-3)
        online.train()
        if (step + 1) % 3 == 0:
            with torch.no_grad():
                online(batch.obs)  # the iteration that ours makes after the update
            target.load_state_dict(online.state_dict())
            online.eval()  # and which the next pass must not make again
    CLOSE(agent.chain.online.torso.weight_1[0], online.stages[0][1].convolutions[0].parametrizations.weight.original.detach(), rtol=1e-3)


@pytest.mark.exhaustive
def test_a_graph_holds_the_vectors_as_constants():
    agent = value_agent(SMALL, torso=NARROW, chain=partial(Iterated, length=2, shift_period=2, sync_period=1, torso="separate"))
    batch = made_up(agent, SMALL)
    (found, _), (expected, _) = traced_gradient(agent, "value", batch), gradient(agent, "value", batch)
    assert_close32(flat(found), flat(expected))


@pytest.mark.exhaustive
@needs_compiler
def test_a_compiled_loss_in_bfloat16_is_finite():
    """`amax` in the pool gave NaN: its gradient looked for the maximum, rounded in one place, among numbers that were not."""
    agent = value_agent(SMALL._replace(obs_shape=(2, 20, 22)), torso=NARROW)
    apply(agent, "compiled")
    set_products(agent, "bfloat16")
    learned = CompiledLearner(agent, lambda batch: batch).update(made_up(agent, agent.spec))  # which compares it with the operators
    assert learned.error.isfinite().all()


def test_a_norm_is_exact_where_a_loss_multiplies_in_bfloat16():
    torso = built(NARROW.build(SMALL, 2))
    exact = torso.weight(1)
    with torch.autocast("cpu", torch.bfloat16):
        assert torso.weight(1).equal(exact)
