"""Auxiliary losses on the features (docs/algorithms/representation.md): their flows, their numbers, their neutral elements."""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from benchmarks import tabular_representation as flows
from benchmarks.tabular_dvw import LinearTorso
from deeprl.agents.dvw import InverseVariance
from deeprl.agents.idqn import Iterated
from deeprl.agents.is_dqn import IteratedShared
from deeprl.agents.random_rewards import RandomRewards
from deeprl.agents.self_prediction import Bidirectional, SelfPrediction
from deeprl.learning.networks.batch_renorm import BatchRenormMLP
from deeprl.learning.networks.torsos import MLPTorso
from deeprl.learning.optim.adam import Adam, FlatAdam
from deeprl.learning.optim.flat import Groups
from deeprl.learning.parts.chains import Single
from deeprl.learning.parts.target_free import TargetFree
from deeprl.learning.transforms.observations import Running
from deeprl.replay.replay import Replay
from deeprl.running.accelerate.modes import apply
from deeprl.running.config.build import build_agent
from deeprl.running.config.dry_run import dry_run
from deeprl.running.training.learner import CompiledLearner, Learner, gradient
from deeprl.types import Batch, Rows, Spec
from tests.builders import DISCRETE, draw, made_up, make_batch, random_batch, same, settled, snapshot, spec_of, train, update, value_agent
from tests.pairwise import once

B, T, D = 11, 5, 2
N, WIDTH, GAMMA = flows.STATES, flows.WIDTH, flows.GAMMA

CHAINS = {
    "one": partial(Single, target_update_period=T),
    "shared": partial(Iterated, length=3, shift_period=T, sync_period=D, torso="shared"),
    "separate": partial(Iterated, length=3, shift_period=T, sync_period=D, torso="separate"),
}
LOSSES = {
    "random_rewards": partial(RandomRewards, discount=0.9, heads=4),
    "self_prediction": partial(SelfPrediction, latent=6, hidden=(5,)),
    "self_prediction_of_features": partial(SelfPrediction, latent=None, hidden=(), loss="squared"),
    "self_prediction_of_the_target": partial(SelfPrediction, latent=6, hidden=(5,), goal="target"),
    "bidirectional": partial(Bidirectional, latent=6, hidden=(5,)),
    "bidirectional_of_the_target": partial(Bidirectional, latent=None, hidden=(), goal="target"),
}


def with_successor(batch: Batch, seed: int = 0) -> Batch:
    successor = torch.randn(batch.obs.shape, generator=torch.Generator().manual_seed(seed))
    return batch._replace(extra={"successor": successor, "terminated": batch.discount == 0})


def updates(agent, count: int, first: int = 1, learner: Learner | None = None) -> None:
    learner = learner or Learner(agent, lambda batch: batch)
    for step in range(first, first + count):
        learner.update(with_successor(random_batch(agent.spec, B, step), step))
        agent.tick(step - 1, step)


def seen(agent, batch: Batch):
    batch = agent.normalized(batch)
    return *agent.chain.views(batch), batch


def without(state: dict, *names: str) -> dict:
    return {name: value for name, value in state.items() if not any(part in name for part in names)}


# ---- neutral: scale 0 is the agent without it


@pytest.mark.parametrize(("loss", "chain"), once(tuple(LOSSES), tuple(CHAINS)))
def test_at_scale_zero_the_agent_is_the_plain_one(chain, loss):
    """Bit for bit, also where gradients are clipped by their norm: what is beside the head has groups of its own."""
    optimizer = Adam(lr=0.01, max_grad_norm=0.5)
    one, other, plain = (
        value_agent(chain=CHAINS[chain], optimizer=optimizer, **slots)
        for slots in ({"auxiliary": partial(LOSSES[loss], scale=0.0)}, {"auxiliary": LOSSES[loss]}, {})
    )
    for agent in (one, other, plain):
        updates(agent, 2 * T + 3)
    assert same(without(snapshot(one.chain), "beside"), snapshot(plain.chain))
    first = one.objectives["value"].optimizer.groups[0]
    assert same(first.state_dict(), plain.objectives["value"].optimizer.state_dict())
    assert not same(without(snapshot(other.chain), "beside"), snapshot(plain.chain))


@pytest.mark.parametrize("loss", LOSSES)
def test_one_part_more_changes_no_initial_weight_and_no_noise(loss):
    one, plain = value_agent(auxiliary=LOSSES[loss], weighting=InverseVariance), value_agent()
    assert same(without(snapshot(one.chain), "beside"), snapshot(plain.chain))
    assert one.noise((2, B), torch.Generator()) == plain.noise((2, B), torch.Generator())
    own = {"successor", "terminated"} if loss == "random_rewards" else {"successor"}
    assert one.needs - plain.needs == own | InverseVariance.needs
    assert not any("beside" in name for name, _ in one.weighting.net.named_parameters())


# ---- what is trained, and how fast


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("loss", LOSSES)
def test_the_loss_trains_the_online_network_alone_and_everything_has_a_group(chain, loss):
    """No gradient through a target: 7.2, "zero through the target"; 7.3, the stop-gradient."""
    agent = value_agent(chain=CHAINS[chain], auxiliary=LOSSES[loss])
    updates(agent, T + 1)
    for parameter in agent.parameters():
        parameter.requires_grad_(True)
    batch = with_successor(random_batch(DISCRETE, B), 99)
    total = agent.auxiliary(*seen(agent, batch)).loss
    gradients = torch.autograd.grad(total, list(agent.parameters()), allow_unused=True)
    touched = {name for (name, _), g in zip(agent.named_parameters(), gradients) if g is not None and bool(g.abs().sum() > 0)}
    names = {name for name, _ in agent.named_parameters()}
    online = {name for name in names if name.startswith(("chain.online.torso", "chain.online.beside"))}
    assert touched == online
    trained = agent.objectives["value"].parameters
    assert len(trained) == len({id(p) for p in trained}) == len(list(agent.chain.online.parameters()))
    beside = {id(p) for p in agent.chain.online.beside.parameters()}
    optimizer = Adam(lr=0.01)
    groups = agent.auxiliary.groups(agent.chain.online.beside, optimizer)
    assert beside == {id(p) for group, _ in groups for p in group}
    assert {round(choice.lr / optimizer.lr, 9) for _, choice in groups} <= {1.0, 10.0}


def test_predictors_are_quick_and_encoders_are_not():
    """Adam's first step is its learning rate."""
    agent = value_agent(auxiliary=partial(Bidirectional, latent=6, hidden=(5,), lr_multiple=4.0), optimizer=Adam(lr=0.01))
    before = snapshot(agent.chain.online.beside)
    update(agent, with_successor(random_batch(DISCRETE, B)))
    for name, value in agent.chain.online.beside.state_dict().items():
        step = (value - before[name]).abs().max().item()
        assert step == pytest.approx(0.04 if name.startswith(("forth", "back")) else 0.01, rel=1e-3), name
    assert agent.learning_rates(0) == {"train/learning_rate": 0.01}
    heads = value_agent(auxiliary=partial(RandomRewards, discount=0.9), optimizer=Adam(lr=0.01))
    (group,) = heads.auxiliary.groups(heads.chain.online.beside, Adam(lr=0.01))
    assert group[1].lr == 0.1
    assert heads.objectives["value"].optimizer.groups[1].choice == Adam(lr=0.1)


def test_groups_are_the_optimizers_they_are_made_of():
    """Each clipped by its own norm; the first one speaks for all."""
    generator = torch.Generator().manual_seed(0)

    def make():
        generator.manual_seed(0)
        return [torch.nn.Parameter(torch.randn(shape, generator=generator), requires_grad=False) for shape in ((3, 2), (4,), (5,))]

    choice = Adam(lr=0.1, max_grad_norm=0.5)
    a, b, c = make()
    whole = Groups([([a, b], choice), ([c], replace(choice, lr=3 * choice.lr))])
    x, y, z = make()
    parts = [FlatAdam(choice, [x, y]), FlatAdam(Adam(lr=0.1 * 3.0, max_grad_norm=0.5), [z])]
    for step in range(4):
        gradients = [torch.randn(p.shape, generator=generator) for p in (a, b, c)]
        norm = whole.step(gradients, step)
        assert torch.equal(norm, parts[0].step(gradients[:2], step))
        parts[1].step(gradients[2:], step)
    assert all(torch.equal(one, other) for one, other in zip((a, b, c), (x, y, z)))
    assert whole.rate(0) == 0.1
    copied = Groups([(make()[:2], choice), (make()[2:], replace(choice, lr=3 * choice.lr))])
    copied.load_state_dict(copy.deepcopy(whole.state_dict()))
    assert all(same(one.state_dict(), other.state_dict()) for one, other in zip(copied.groups, parts))
    with pytest.raises(ValueError, match="4 gradients for 3"):
        whole.step([*gradients, torch.zeros(1)], 0)
    with pytest.raises(ValueError, match="shapes"):
        whole.step(gradients[:2], 0)


# ---- what is beside the head moves with the torso


@pytest.mark.parametrize("loss", ["random_rewards", "bidirectional"])
@pytest.mark.parametrize("torso", ["shared", "separate"])
def test_a_chain_moves_what_is_beside_the_head_with_the_torso(loss, torso):
    agent = value_agent(chain=CHAINS[torso], auxiliary=LOSSES[loss])
    updates(agent, T - 1)
    update(agent, with_successor(random_batch(DISCRETE, B), 7))
    online = [p.clone() for p in agent.chain.online.beside.parameters()]
    before = [p.clone() for p in agent.chain.target.beside.parameters()]
    agent.tick(T - 1, T)  # a shift
    for now, then, target, old in zip(agent.chain.online.beside.parameters(), online, agent.chain.target.beside.parameters(), before):
        assert now.shape[0] == (1 if torso == "shared" else 3)
        assert torch.equal(target[0], then[0])  # the anchor takes Q_1's
        assert not torch.equal(target[0], old[0])
        if torso == "separate":
            assert torch.equal(now[:-1], then[1:])  # the window moves on
            assert torch.equal(target[1:], now[:-1])
        else:
            assert torch.equal(target[1], now[0])  # the follower


@pytest.mark.parametrize("loss", ["random_rewards", "self_prediction_of_the_target", "bidirectional_of_the_target"])
def test_of_the_two_target_torsos_of_a_shared_one_the_first_is_asked(loss):
    """That of Q̄_0, which moves as slowly as a target network does."""
    agent = value_agent(chain=CHAINS["shared"], auxiliary=LOSSES[loss])
    batch, before = with_successor(random_batch(DISCRETE, B)), None
    for entry, differs in ((1, False), (0, True)):
        before = agent.auxiliary(*seen(agent, batch)).loss
        for name, parameter in agent.chain.target.named_parameters():
            if not name.startswith("head"):
                assert parameter.shape[0] == 2
                parameter[entry] += 0.1 * torch.arange(parameter[entry].numel()).view(parameter[entry].shape).sin()
        assert (not torch.equal(agent.auxiliary(*seen(agent, batch)).loss, before)) == differs


# ---- 7.2 random rewards


def world(seed: int, kind) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
    rng = np.random.default_rng(seed)
    transition = kind(rng)
    return transition, flows.orthonormal(rng), rng


def tensor(array) -> torch.Tensor:
    return torch.as_tensor(array, dtype=torch.float32)


def linear_agent(features: np.ndarray, auxiliary, actions: int = 1):
    """One-hot states, features Φ as given, no biases, target equal to online."""
    agent = value_agent(Spec((N,), torch.float32, actions, 0), torso=LinearTorso(WIDTH), auxiliary=auxiliary)
    for parameter in agent.chain.online.parameters():
        parameter.zero_()
    agent.chain.online.torso.weight_0.copy_(tensor(features)[None])
    agent.chain.reset_target()
    return agent


def pairs(transition: np.ndarray) -> Batch:
    """All (s, s'), weighted by their probability under uniform s."""
    x, y = (grid.ravel() for grid in np.indices((N, N)))
    eye = torch.eye(N)
    batch = make_batch(eye[x], torch.zeros(N * N, dtype=torch.long), torch.zeros(N * N), GAMMA, eye[y])
    return batch._replace(
        weight=tensor(transition[x, y] * N), extra={"successor": eye[y], "terminated": torch.zeros(N * N, dtype=torch.bool)}
    )


def auxiliary_gradient(agent, batch: Batch, *parameters) -> list[np.ndarray]:
    for parameter in parameters:
        parameter.requires_grad_(True)
    total = agent.auxiliary(*seen(agent, batch)).loss
    found = torch.autograd.grad(total, parameters)
    for parameter in parameters:
        parameter.requires_grad_(False)
    return [gradient[0].numpy() for gradient in found]


def test_the_gradient_of_random_values_is_the_papers_flow():
    """dΦ/dt = D (R − (I − γP) Φ W*) W*ᵀ, times −2/h, and none for the heads, which are at their fixed point."""
    h = 5
    for kind in (flows.symmetric_chain, flows.chain):
        transition, features, rng = world(3, kind)
        rewards = rng.standard_normal((N, h))
        agent = linear_agent(features, partial(RandomRewards, discount=GAMMA, heads=h, scale=1.0))
        agent.auxiliary.rewards = lambda obs, table=tensor(rewards): obs @ table
        weights = flows.solve_values(features, transition, rewards)
        agent.chain.online.beside.weight_0.copy_(tensor(weights)[None])
        agent.chain.reset_target()
        found, heads = auxiliary_gradient(agent, pairs(transition), agent.chain.online.torso.weight_0, agent.chain.online.beside.weight_0)
        expected = -2 / h * flows.values_flow(features, transition, rewards)
        np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max() + 1e-6)
        np.testing.assert_allclose(heads, 0.0, atol=1e-4)
        assert np.abs(expected).max() > 1e-2


def test_along_that_flow_nothing_is_lost_and_the_error_falls():
    """ΦᵀΦ is conserved up to the error of Euler's steps; the error of the values falls to nothing with one reward."""
    coarse, fine = flows.one(1, 500, 0.04)["random_rewards"], flows.one(1, 2000, 0.01)["random_rewards"]
    assert fine["falls"]
    assert fine["error"][0] > 0.1 > 10 * fine["error"][1]
    assert fine["drift"] < 0.01
    assert coarse["drift"] == pytest.approx(4 * fine["drift"], rel=0.5)  # of the first order: the flow itself does not drift


def test_the_loss_of_random_values_by_hand():
    """Two heads. No bootstrap where the first step terminated; one where only the end of a window did, or where the run's discount is 0."""
    agent = value_agent(
        Spec((2,), torch.float32, 3, 0), torso=MLPTorso(hidden=()), auxiliary=partial(RandomRewards, discount=0.5, heads=2, scale=0.1)
    )
    part, online, target = agent.auxiliary, agent.chain.online.beside, agent.chain.target.beside
    for block, weight in ((online, [[1.0, 2.0], [3.0, 4.0]]), (target, [[10.0, 20.0], [30.0, 40.0]])):
        block.weight_0.copy_(torch.tensor([weight]))
        block.bias_0.zero_()
    part.rewards = lambda obs: torch.tensor([[1.0, -1.0]]).expand(len(obs), 2)
    obs, after = torch.tensor([[1.0, 0.0]] * 4), torch.tensor([[0.0, 1.0]] * 4)
    batch = make_batch(obs, [0] * 4, [9.0] * 4, torch.tensor([0.0, 0.0, 0.0, 0.9]), 7 * after, valid=torch.tensor([1, 1, 1, 0]))
    batch = batch._replace(
        extra={"successor": after, "terminated": torch.tensor([0, 1, 0, 0]) > 0}, weight=torch.tensor([1.0, 2.0, 1.0, 9.0])
    )
    bootstrapped = ((1 + 15 - 1) ** 2 + (-1 + 20 - 2) ** 2) / 2
    ended = ((1 - 1) ** 2 + (-1 - 2) ** 2) / 2
    term = part(*seen(agent, batch))
    expected = (bootstrapped + 2 * ended + bootstrapped) / 3
    assert term.metrics["train/auxiliary_loss"].item() == pytest.approx(expected)
    assert term.loss.item() == pytest.approx(0.1 * expected)


def ticks(obs: np.ndarray) -> Rows:
    m = len(obs)
    no = np.zeros(m, dtype=bool)
    return Rows(obs, np.zeros(m, np.int64), np.zeros(m, np.float32), obs, no, no, np.ones(m, np.float32))


def test_random_rewards_are_fixed_and_standardised_over_what_was_collected():
    agent = value_agent(auxiliary=partial(RandomRewards, discount=0.9, heads=4), normalize=Running)
    rng = np.random.default_rng(0)
    obs = torch.from_numpy(rng.normal(2.0, 3.0, (600, 5)).astype(np.float32))
    part = agent.auxiliary
    weights = snapshot(part.reward)
    torch.testing.assert_close(part.rewards(obs), part.raw(obs) / np.sqrt(1 + 1e-8))  # nothing is known yet
    assert part.raw(obs).abs().max() <= 1
    agent.normalize.observe(ticks(obs.numpy()))
    for chunk in obs.split(50):  # many ticks; only the part, so that the statistics of the observations stay
        part.observe(ticks(chunk.numpy()))
    found = part.rewards(agent.normalize(obs))
    assert found.shape == (600, 4)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.var(0, unbiased=False), torch.ones(4), atol=1e-4, rtol=0)
    updates(agent, 3)
    assert same(snapshot(part.reward), weights)


def test_the_agent_shows_its_auxiliary_what_it_collects():
    agent = value_agent(auxiliary=LOSSES["random_rewards"])
    agent.observe(ticks(np.ones((3, 5), np.float32)))
    assert agent.auxiliary.count == 3


# ---- 7.3 self-prediction


def place(block, matrix: np.ndarray) -> None:
    """A linear predictor without bias, blind to the action."""
    block.weight_0.zero_()
    block.weight_0[0, :WIDTH] = tensor(matrix)


LINEAR = {"latent": None, "hidden": (), "loss": "squared"}


def test_the_gradient_of_self_prediction_is_the_papers_flow():
    """(PΦ − ΦF*) F*ᵀ, times −2/n: without the stop-gradient it would be another, as the flow shows."""
    for kind in (flows.symmetric_chain, flows.chain):
        transition, features, _ = world(5, kind)
        agent = linear_agent(features, partial(SelfPrediction, **LINEAR))
        beside = agent.chain.online.beside
        place(beside["forth"], flows.fit(features, transition @ features))
        found, predictor = auxiliary_gradient(agent, pairs(transition), agent.chain.online.torso.weight_0, beside["forth"].weight_0)
        expected = -2 / N * flows.prediction_flow(features, transition)
        np.testing.assert_allclose(found, expected, atol=1e-6)
        np.testing.assert_allclose(predictor[:WIDTH], 0.0, atol=1e-6)
        assert np.abs(expected).max() > 1e-3
        unstopped = -2 / N * flows.prediction_flow(features, transition, stopped=False)
        assert np.abs(unstopped - expected).max() > 1e-2


def test_the_gradient_of_the_unstopped_loss_is_that_of_the_collapsing_flow():
    """The control itself: the same loss by hand, with and without the gradient through its target."""
    transition, features, _ = world(5, flows.symmetric_chain)
    predictor = flows.fit(features, transition @ features)
    for stopped in (True, False):
        phi = torch.tensor(features, requires_grad=True)
        target = phi.detach() if stopped else phi
        off = (phi @ torch.tensor(predictor))[:, None] - target[None]  # (x, y, k)
        loss = (torch.tensor(transition) * off.square().sum(-1)).sum() / N
        (gradient,) = torch.autograd.grad(loss, phi)
        np.testing.assert_allclose(gradient, -2 / N * flows.prediction_flow(features, transition, stopped), atol=1e-12)


def test_along_that_flow_the_features_find_the_leading_eigenvectors_and_do_not_collapse():
    """‖ΦᵀPΦ‖² rises to the sum of the three largest squared eigenvalues; singular values stay at one. Without the
    stop-gradient all but one go to zero: what is left is the constant function."""
    result = flows.one(0, 2000, 0.05)
    kept, lost = result["self_prediction"], result["without_stop_gradient"]
    assert kept["rises"]
    assert kept["drift"] < 0.02
    assert kept["trace"][1] > 0.95 * kept["maximum"] > 2 * kept["trace"][0]
    assert kept["singular_values"] == pytest.approx([1.0] * WIDTH, abs=0.01)
    first, *others = lost["singular_values"]
    assert first > 0.1 > 1e4 * max(others)
    assert not lost["rises"]


def test_the_real_loss_does_not_collapse_where_the_unstopped_one_does():
    """The regression test: plain gradient steps on the agent's own loss, the predictor solved for. Singular values of Φ stay at one;
    those of the same loss without stop-gradient fall."""
    transition, features, _ = world(0, flows.symmetric_chain)
    agent = linear_agent(features, partial(SelfPrediction, **LINEAR))
    torso, forth, batch = agent.chain.online.torso.weight_0, agent.chain.online.beside["forth"], pairs(transition)
    control = features.copy()
    for _ in range(300):
        phi = torso[0].double().numpy()
        place(forth, flows.fit(phi, transition @ phi))
        torso -= 0.2 * tensor(auxiliary_gradient(agent, batch, torso)[0])[None]
        control = control + 0.2 * 2 / N * flows.prediction_flow(control, transition, stopped=False)
    assert torch.linalg.svdvals(torso[0]).tolist() == pytest.approx([1.0] * WIDTH, abs=0.02)
    assert np.linalg.svd(control, compute_uv=False)[1] < 0.01
    trained = np.linalg.norm(torso[0].numpy().T @ transition @ torso[0].numpy()) ** 2
    assert trained > 1.5 * np.linalg.norm(features.T @ transition @ features) ** 2


def doubly_stochastic(rng: np.random.Generator) -> np.ndarray:
    """Not symmetric; s' is uniform if s is, as the paper's flow backwards in time has it."""
    matrix = rng.random((N, N)) ** 3
    for _ in range(2000):
        matrix = matrix / matrix.sum(1, keepdims=True)
        matrix = matrix / matrix.sum(0)
    return matrix


def test_the_gradients_of_the_bidirectional_form_are_the_papers_flow():
    """dΦ/dt = (PΨ − ΦF*) F*ᵀ and dΨ/dt = (PᵀΦ − ΨB*) B*ᵀ, times −2/n."""
    transition, first, rng = world(6, doubly_stochastic)
    second = flows.orthonormal(rng)
    assert np.abs(transition - transition.T).max() > 0.1
    agent = linear_agent(first, partial(Bidirectional, **LINEAR))
    beside = agent.chain.online.beside
    beside["second"].weight_0.copy_(tensor(second)[None])
    place(beside["forth"], flows.fit(first, transition @ second))
    place(beside["back"], flows.fit(second, transition.T @ first))
    found = auxiliary_gradient(agent, pairs(transition), agent.chain.online.torso.weight_0, beside["second"].weight_0)
    for each, expected in zip(found, flows.bidirectional_flow(first, second, transition)):
        np.testing.assert_allclose(each, -2 / N * expected, atol=1e-6)
        assert np.abs(expected).max() > 1e-2


def test_the_bidirectional_flow_finds_the_leading_singular_vectors_of_any_chain():
    """‖ΦᵀPΨ‖² rises up to the sum of the three largest squared singular values, and Euler's drift above it."""
    result = flows.one(0, 2000, 0.02)["bidirectional"]
    assert result["trace"][0] < 0.5 * result["maximum"]
    assert result["trace"][1] == pytest.approx(result["maximum"], rel=0.02)
    assert result["drift"] < 0.02


def test_the_table_of_the_benchmark_names_every_flow():
    text = flows.table([flows.one(seed, 5) for seed in (0, 1)])
    assert [line.split()[0] for line in text.splitlines()[1:]] == [
        "random_rewards", "self_prediction", "without_stop_gradient", "bidirectional",
    ]  # fmt: skip


def test_the_loss_of_self_prediction_by_hand():
    """2 − 2 cos: orthogonal 2, opposite 4; the predictor sees the action taken, and rows that are no transition do not count."""
    agent = value_agent(
        Spec((2,), torch.float32, 3, 0), torso=MLPTorso(hidden=()), auxiliary=partial(SelfPrediction, latent=None, hidden=(), scale=0.5)
    )
    forth = agent.chain.online.beside["forth"]
    forth.bias_0.zero_()
    forth.weight_0.copy_(torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [-2.0, 0.0], [-1.0, 1.0]]]))  # identity, and by action
    obs, after = torch.tensor([[1.0, 0.0]] * 4), torch.tensor([[3.0, 0.0]] * 4)
    batch = make_batch(obs, [0, 1, 2, 1], [0.0] * 4, 0.9, -after, valid=torch.tensor([1, 1, 1, 0]))._replace(extra={"successor": after})
    term = agent.auxiliary(*seen(agent, batch))
    assert term.metrics["train/auxiliary_loss"].item() == pytest.approx((0 + 4 + 2) / 3, abs=1e-6)
    assert term.loss.item() == pytest.approx(1.0, abs=1e-6)
    heavy = agent.auxiliary(*seen(agent, batch._replace(weight=torch.tensor([1.0, 1.0, 4.0, 1.0])))).loss
    assert heavy.item() == pytest.approx(0.5 * (4 + 8) / 3, abs=1e-6)


def test_dead_features_give_finite_gradients():
    agent = value_agent(auxiliary=partial(Bidirectional, latent=6, hidden=()))
    for parameter in agent.chain.online.parameters():
        parameter.zero_()
    gradients, learned = gradient(agent, "value", with_successor(random_batch(DISCRETE, B)))
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)
    assert learned.metrics["train/auxiliary_loss"].item() == pytest.approx(4.0)


@pytest.mark.parametrize("kind", [SelfPrediction, Bidirectional])
def test_the_goal_comes_from_the_online_encoder_or_from_the_target(kind):
    made = [value_agent(auxiliary=partial(kind, latent=4, hidden=(), goal=encoder)) for encoder in ("online", "target")]
    batch = with_successor(random_batch(DISCRETE, B), 3)
    losses = [agent.auxiliary(*seen(agent, batch)).loss for agent in made]
    assert torch.equal(*losses)  # the target is a copy at the start
    for agent in made:
        for parameter in agent.chain.target.parameters():
            parameter.mul_(1.5).add_(0.1)
    after = [agent.auxiliary(*seen(agent, batch)).loss for agent in made]
    assert torch.equal(after[0], losses[0])
    assert not torch.equal(after[1], losses[1])


# ---- episode ends: pairs come from the replay


@pytest.mark.parametrize("n", [1, 3])
def test_pairs_do_not_cross_an_episodes_end(n):
    """Observation s is followed by s + 1, at an end by the true last observation and never by the first of the next episode."""
    spec = Spec((1,), torch.float32, 2, 0)
    agent = value_agent(spec, auxiliary=LOSSES["self_prediction"])
    replay = Replay(capacity=40, batch_size=64, n_step=n, spec=spec, num=1, discount=0.9, needs=agent.needs)
    at = 0.0
    for episode, length in enumerate([3, 1, 4, 5, 2]):
        at = 100.0 * episode
        for step in range(length):
            last = step == length - 1
            flags = np.array([last and episode % 2 == 0]), np.array([last])
            row = (np.array([[at]], np.float32), np.zeros(1, np.int64), np.zeros(1, np.float32), np.array([[at + 1]], np.float32))
            replay.append(Rows(*row, *flags, np.ones(1, np.float32)))
            at += 1
    batch = draw(replay)
    assert torch.equal(batch.extra["successor"], batch.obs + 1)
    assert bool(batch.ended.any())
    if n > 1:
        assert not torch.equal(batch.extra["successor"], batch.next_obs)


def test_the_successor_is_normalised_like_every_observation():
    agent = value_agent(normalize=Running, auxiliary=LOSSES["self_prediction"])
    agent.normalize.shift += 3.0
    batch = with_successor(random_batch(DISCRETE, B))._replace()
    batch.extra["behavior_probability"] = torch.ones(B)
    found = agent.normalized(batch)
    assert torch.equal(found.extra["successor"], agent.normalize(batch.extra["successor"]))
    assert torch.equal(found.extra["behavior_probability"], torch.ones(B))


# ---- checkpoints, graphs, configurations


@pytest.mark.parametrize("chain", ["one", "separate"])
@pytest.mark.parametrize("loss", ["random_rewards", "self_prediction", "bidirectional"])
def test_a_restored_agent_goes_on_bit_for_bit(chain, loss):
    agent, other = (value_agent(chain=CHAINS[chain], seed=seed, auxiliary=LOSSES[loss], weighting=InverseVariance) for seed in (0, 1))
    rng = np.random.default_rng(0)
    agent.observe(ticks(rng.standard_normal((6, 5)).astype(np.float32)))
    updates(agent, T + 2)
    other.load_state(copy.deepcopy(agent.state()))
    for each in (agent, other):
        updates(each, T, first=T + 3)
    assert same(snapshot(agent), snapshot(other))


TRACED = {
    ("one", "random_rewards"),
    ("shared", "self_prediction_of_the_target"),
    ("separate", "bidirectional"),
    ("separate", "bidirectional_of_the_target"),
}
"""Every chain, and every line of the losses but for the distance, between them"""


@pytest.mark.parametrize(
    ("chain", "loss"),
    [pytest.param(*pair, marks=() if pair in TRACED else pytest.mark.exhaustive) for pair in itertools.product(CHAINS, LOSSES)],
)
def test_it_traces(chain, loss):
    weighted = {"weighting": InverseVariance} if chain == "shared" else {}  # its objective is traced in test_dvw.py
    plain, traced = (value_agent(chain=CHAINS[chain], auxiliary=LOSSES[loss], **weighted) for _ in range(2))
    for agent in (plain, traced):
        apply(agent, "reference")
    compiled = CompiledLearner(traced, lambda batch: batch, backend="eager")
    updates(plain, 3)
    updates(traced, 3, learner=compiled)
    assert [len(each) for each in compiled.steps.values()] == [1] * len(traced.objectives)
    torch.testing.assert_close(snapshot(traced), snapshot(plain))


@pytest.mark.parametrize("env", ["toy/chain", "minatar/breakout"])
@pytest.mark.parametrize("auxiliary", ["random_rewards", "self_prediction", "bidirectional"])
def test_every_option_composes(env, auxiliary):
    config = settled("agent=dqn", f"env={env}", f"agent/auxiliary={auxiliary}")
    agent = build_agent(config, spec_of(env))
    dry_run(agent, agent.spec, "cpu")
    batch = made_up(agent, agent.spec)
    metrics = update(agent, batch._replace(extra={**batch.extra, "successor": batch.next_obs})).metrics
    assert np.isfinite(agent.read(metrics)["train/auxiliary_loss"])
    if auxiliary == "random_rewards":
        assert agent.auxiliary.discount == config["discount"]


def test_sequences_keep_their_axes():
    """(T, B) rows give what the flat batch gives."""
    for loss in LOSSES.values():
        agent = value_agent(chain=CHAINS["separate"], auxiliary=loss)
        flat = with_successor(random_batch(DISCRETE, 8))
        fields = {"obs", "action", "reward", "discount", "next_obs", "valid", "weight"}
        parts = {name: value.unflatten(0, (4, 2)) for name, value in flat._asdict().items() if name in fields}
        batch = flat._replace(**parts, extra={name: value.unflatten(0, (4, 2)) for name, value in flat.extra.items()})
        torch.testing.assert_close(agent.auxiliary(*seen(agent, batch)).loss, agent.auxiliary(*seen(agent, flat)).loss)


def test_a_whole_run_takes_successors_from_the_replay(tmp_path):
    """n-step returns, and pairs one step apart."""
    trainer = train(
        tmp_path / "run", "agent=dqn", "env=toy/chain", "agent/auxiliary=bidirectional", "agent/weighting=inverse_variance", "steps=150",
        "replay.learning_starts=50", "replay.n_step=3", "replay.batch_size=8", "replay.capacity=200", "agent.torso.hidden=[8]",
        "agent.auxiliary.latent=5", "agent.chain.target_update_period=20", "evaluation.final_episodes=1", "runtime.threads=1",
        "log.every=50", "agent.explore.schedule.duration=100", "evaluation.every=100", "evaluation.episodes=1",
    )  # fmt: skip
    assert "successor" in trainer.source.rule.extras
    assert trainer.agent.updates > 10
    assert np.isfinite(trainer.agent.read(trainer.standing.learned)["train/auxiliary_loss_back"])


def test_a_run_over_rollouts_takes_successors_too(tmp_path):
    trainer = train(
        tmp_path / "run", "agent=pqn", "env=toy/chain", "agent/auxiliary=self_prediction", "steps=96", "env.num=2", "replay.length=8",
        "replay.minibatches=2", "agent.torso.hidden=[8]", "agent.auxiliary.latent=5", "evaluation.final_episodes=1", "runtime.threads=1",
        "log.every=50", "evaluation.every=100", "evaluation.episodes=1",
    )  # fmt: skip
    assert trainer.agent.updates > 10
    assert np.isfinite(trainer.agent.read(trainer.standing.learned)["train/auxiliary_loss"])


@pytest.mark.parametrize("part", [SelfPrediction, Bidirectional])
@pytest.mark.parametrize("chain", [TargetFree, IteratedShared])
def test_a_goal_without_a_network_of_its_own_is_refused(part, chain):
    with pytest.raises(ValueError, match=r"agent\.auxiliary\.goal must be online where the chain has no target network"):
        value_agent(chain=chain, auxiliary=partial(part, goal="target"))


def test_a_second_encoder_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="whose running averages nothing would renew"):
        value_agent(chain=TargetFree, torso=BatchRenormMLP(hidden=(7,)), auxiliary=Bidirectional)
    shared = partial(Iterated, torso="shared_hidden")
    with pytest.raises(ValueError, match=r"auxiliary\.latent must be a width and not null, because the two encoders have 6 and 7 features"):
        value_agent(chain=shared, torso=MLPTorso(hidden=(7,), head_hidden=(6,)), auxiliary=partial(Bidirectional, latent=None))


@pytest.mark.parametrize(
    ("part", "settings", "message"),
    [
        (RandomRewards, {"discount": 1.5}, "discount must be between 0 and 1"),
        (RandomRewards, {"discount": 0.9, "heads": 0}, "heads must be at least 1"),
        (SelfPrediction, {"latent": 0}, "latent must be at least 1"),
        (SelfPrediction, {"loss": "huber"}, "loss must be one of cosine, squared"),
        (Bidirectional, {"goal": "first"}, "goal must be one of online, target"),
        (Bidirectional, {"scale": -1.0}, "scale must be at least 0"),
    ],
)
def test_settings_out_of_range_are_refused(part, settings, message):
    with pytest.raises(ValueError, match=message):
        value_agent(auxiliary=partial(part, **settings))
