"""Deep variance weighting: the numbers of docs/algorithms/dvw.md, and the order of its copies."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import torch

from benchmarks import tabular_dvw
from deeprl.agents.dvw import InverseVariance
from deeprl.agents.idqn import Iterated
from deeprl.agents.munchausen import Munchausen
from deeprl.choice import Choice
from deeprl.learning.backups.bellman import Double, Max
from deeprl.learning.backups.peng import Peng
from deeprl.learning.networks.torsos import MLPTorso
from deeprl.learning.optim.adam import Adam
from deeprl.learning.parts.chains import Single
from deeprl.learning.values.losses import huber
from deeprl.learning.values.returns import Returns
from deeprl.learning.values.view import View
from deeprl.running.accelerate.modes import apply
from deeprl.running.config.build import build_agent
from deeprl.running.training.learner import CompiledLearner, Learner, gradient
from deeprl.types import Batch
from tests.builders import DISCRETE, Table, entry, make_batch, random_batch, same, settled, snapshot, spec_of, update, value_agent

B, T, D = 11, 5, 2

CHAINS = {
    "one": partial(Single, target_update_period=T),
    "shared": partial(Iterated, length=3, shift_period=T, sync_period=D, torso="shared"),
    "separate": partial(Iterated, length=3, shift_period=T, sync_period=D, torso="separate"),
}


@dataclass(frozen=True)
class Bonus(Choice):
    """A backup that looks at both ends of the batch, as Munchausen's does."""

    def __call__(self, online: View, target: View, batch: Batch) -> Returns:
        now = target.now.at(batch.action).mean()
        return target.next.expect(target.next.mean().softmax(-1)).bootstrap(batch.reward + 0.3 * now.clamp(-1.0, 0.0), batch.discount)


def weighted(chain="one", seed=0, **settings):
    slots = {name: settings.pop(name) for name in ("backup", "optimizer") if name in settings}
    return value_agent(seed=seed, chain=CHAINS[chain], weighting=partial(InverseVariance, **settings), **slots)


def updates(agent, count: int, first: int = 1, learner: Learner | None = None) -> None:
    learner = learner or Learner(agent, lambda batch: batch)
    for step in range(first, first + count):
        noise = entry(agent.noise((1, B), torch.Generator().manual_seed(step)), 0)
        learner.update(random_batch(DISCRETE, B, step, noise))
        agent.tick(step - 1, step)


def seen(agent, batch: Batch):
    batch = agent.normalized(batch)
    return *agent.chain.views(batch), batch


def test_a_backup_over_rollouts_is_refused():
    """Its targets need the order of a rollout, which the shuffled batches of the variance have not."""
    with pytest.raises(ValueError, match="choose another agent/backup"):
        weighted(backup=Peng(0.65))


class Averaged(Single):
    """Targets are the mean of two networks, as those of Averaged-DQN are."""

    def views(self, batch: Batch):
        return super().views(batch)


def test_a_chain_whose_targets_are_made_of_several_networks_is_refused():
    """The variance was that of another operator: it compared the old network's own values with a mean of several."""
    with pytest.raises(ValueError, match="the chain Averaged has none, or makes its targets of more"):
        value_agent(chain=partial(Averaged, target_update_period=T), weighting=InverseVariance)


# ---- neutral


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("backup", [Max(), Double(), Bonus()])
def test_with_weights_of_one_it_is_the_plain_agent(chain, backup):
    """η at zero and a floor of one make every weight exactly one: ω and η go on learning, and Q takes no notice, bit for bit."""
    one = weighted(chain, backup=backup, log_scale=-30.0, least_weight=1.0)
    plain = value_agent(chain=CHAINS[chain], backup=backup)
    assert plain.weighting.objectives() == {}
    start = snapshot(one.weighting)
    for agent in (one, plain):
        updates(agent, 3 * T + 2)
    assert same(snapshot(one.chain), snapshot(plain.chain))
    assert same(one.objectives["value"].optimizer.state_dict(), plain.objectives["value"].optimizer.state_dict())
    assert not any(torch.equal(value, start[name]) for name, value in one.weighting.net.state_dict(prefix="net.").items())


@pytest.mark.parametrize("chain", CHAINS)
def test_without_the_floor_it_is_another_agent(chain):
    one, plain = weighted(chain), value_agent(chain=CHAINS[chain])
    assert same(snapshot(one.chain), snapshot(plain.chain))  # one part more changes no initial weight
    for agent in (one, plain):
        updates(agent, 3)
    assert not same(snapshot(one.chain), snapshot(plain.chain))


# ---- constant variance


@pytest.mark.parametrize("chain", ["one", "shared"])
def test_under_a_constant_variance_the_scale_is_that_variance_and_the_gradient_is_unweighted(chain):
    c = 0.7
    one, plain = weighted(chain, least_variance=0.0, scale_lr=0.05), value_agent(chain=CHAINS[chain])
    net = one.weighting.frozen.state_dict()
    one.weighting.frozen.load_state_dict({name: torch.zeros_like(value) for name, value in net.items()})
    last = next(name for name in net if name.endswith("advantage.bias_0"))
    one.weighting.frozen.get_parameter(last).fill_(math.log(c))
    batch = random_batch(DISCRETE, B)
    objective = one.objectives["scale"]
    for step in range(400):
        objective.optimizer.step(gradient(one, "scale", batch)[0], step)
    assert one.weighting.log_scale.exp().tolist() == pytest.approx([c] * one.chain.length, rel=1e-4)
    weight, _ = one.weighting(*seen(one, batch))
    torch.testing.assert_close(weight, torch.ones_like(weight), rtol=1e-4, atol=0)
    torch.testing.assert_close(gradient(one, "value", batch)[0], gradient(plain, "value", batch)[0], rtol=1e-3, atol=1e-5)


# ---- the scale


def given(agent, spread, log_scale=1.0):
    """F_ω̄ as numbers, (K, B)."""
    agent.weighting.variance = lambda net, batch: torch.as_tensor(spread, dtype=torch.float32)
    agent.weighting.log_scale.fill_(log_scale)
    size = len(spread[0])
    return make_batch(torch.zeros(size, 5), [0] * size, [0.0] * size, 0.9, torch.zeros(size, 5))


EXAMPLES = [
    ((1.0, 2.0, 4.0), 1.714286, (1.714286, 0.857143, 0.428571), (1.714286, 0.857143, 0.428571), 1.0),
    ((0.1, 10.0, 100.0), 0.296736, (2.967359, 0.029674, 0.002967), (2.967359, 0.1, 0.1), 1.0558),
]


@pytest.mark.parametrize(("spread", "scale", "plain", "floored", "mean"), EXAMPLES)
def test_the_best_scale_is_the_harmonic_mean(spread, scale, plain, floored, mean):
    agent = weighted(scale_lr=0.1)
    batch = given(agent, [spread])
    objective = agent.objectives["scale"]
    for step in range(800):
        objective.optimizer.step(gradient(agent, "scale", batch)[0], step)
    found = agent.weighting.log_scale.exp().item()
    assert found == pytest.approx(scale, rel=1e-4)
    assert found == pytest.approx(len(spread) / sum(1 / s for s in spread), rel=1e-4)
    assert agent.weighting.weights(batch).flatten().tolist() == pytest.approx(plain, rel=5e-4)
    weight, metrics = agent.weighting(*seen(agent, batch))
    assert weight.flatten().tolist() == pytest.approx(floored, rel=1e-4)
    assert metrics["train/weight_mean"].mean().item() == pytest.approx(mean, rel=1e-4)  # the floor lifts it above one
    assert metrics["train/weight_min"].item() == min(weight.flatten().tolist())
    assert metrics["train/weight_max"].item() == max(weight.flatten().tolist())


def test_each_iteration_has_its_own_scale():
    agent = weighted("shared")
    batch = given(agent, [[1.0, 2.0, 4.0, 8.0], [0.5] * 4, [10.0, 10.0, 1.0, 1.0]])
    agent.weighting.log_scale.copy_(torch.tensor([0.0, math.log(0.5), math.log(10.0)]))
    expected = [[1.0, 0.5, 0.25, 0.125], [1.0] * 4, [1.0, 1.0, 10.0, 10.0]]
    assert agent.weighting(*seen(agent, batch))[0].tolist() == [pytest.approx(row) for row in expected]
    loss = agent.loss_of("scale", batch).loss
    assert loss.item() == pytest.approx((1.875 / 4 - 1) ** 2 + 0.0 + (22 / 4 - 1) ** 2, rel=1e-5)
    (found,), _ = gradient(agent, "scale", batch)
    assert found.tolist() == pytest.approx([2 * (1.875 / 4 - 1) * 1.875 / 4, 0.0, 2 * 4.5 * 5.5], abs=1e-5)


def test_importance_weights_multiply_and_rows_that_are_no_transition_do_not_count():
    agent = weighted()
    batch = given(agent, [[1.0, 2.0, 4.0]], log_scale=0.0)._replace(weight=torch.tensor([1.0, 3.0, 1.0]))
    assert agent.weighting(*seen(agent, batch))[0].tolist() == [[1.0, 1.5, 0.25]]
    masked = batch._replace(valid=torch.tensor([True, True, False]))
    assert agent.loss_of("scale", masked).loss.item() == pytest.approx((0.75 - 1) ** 2)


def test_over_sequences_the_weight_has_their_axes():
    agent = weighted("shared")
    agent.weighting.log_scale.copy_(torch.tensor([0.0, 1.0, 2.0]))
    flat = random_batch(DISCRETE, 8)
    fields = {"obs", "action", "reward", "discount", "next_obs", "valid", "weight"}
    batch = flat._replace(**{name: value.unflatten(0, (4, 2)) for name, value in flat._asdict().items() if name in fields})
    weight = agent.weighting.weights(batch)
    assert weight.shape == (3, 4, 2)
    torch.testing.assert_close(weight.flatten(1), agent.weighting.weights(flat))


# ---- before any sync


@pytest.mark.parametrize("chain", CHAINS)
def test_at_the_start_the_residual_is_the_initial_networks_own(chain):
    """θ̄⁻ = θ̄; F ≈ 1.1 if the net says zero, and w ≈ e / 1.1 = 2.47."""
    agent = weighted(chain)
    assert same(snapshot(agent.weighting.previous), snapshot(agent.chain.target))
    assert same(snapshot(agent.weighting.frozen), snapshot(agent.weighting.net))
    batch = random_batch(DISCRETE, B)
    online, target = agent.chain.views(batch)
    bellman = Max()(online, target, batch).mean() - target.now.at(batch.action).mean()
    found = agent.weighting.variance_loss(online, target, batch)
    torch.testing.assert_close(found.error, bellman.abs().mean(0))
    for parameter in agent.weighting.frozen.parameters():
        parameter.zero_()
    weight, _ = agent.weighting(online, target, batch)
    assert weight.flatten().tolist() == pytest.approx([math.e / 1.1] * weight.numel())
    assert math.e / 1.1 == pytest.approx(2.47, abs=2e-3)


# ---- the variance, by hand


@pytest.mark.parametrize("length", [1, 3])
def test_the_variance_regresses_on_the_target_of_the_previous_target(length):
    """y with θ̄⁻ minus Q̄, squared, Huber at one. Double also asks the online network, at s' alone."""
    q = torch.arange(length).view(-1, 1, 1)
    previous = Table(torch.tensor([[[0.0, 0.0], [1.0, 3.0]]]) + q)  # (K, S, A): state 1 is worth 3 (+ k)
    target = Table(torch.tensor([[[2.0, 5.0], [9.0, 9.0]]]) + q)
    online = Table(torch.tensor([[[7.0, 7.0], [1.0, 0.0]]]) + q)  # prefers action 0 there
    batch = make_batch([0, 0], [0, 1], [1.0, 1.0], [0.5, 0.0], [1, 1])
    agent = weighted("one" if length == 1 else "shared", least_variance=0.25)
    part = agent.weighting
    part.previous, part.net = previous, Table(torch.zeros(length, 2, 2))  # F = 1 + 1/4
    for backup, value in ((Max(), 3.0), (Double(), 1.0)):
        part.backup = backup
        term = part.variance_loss(View(online, batch, "online"), View(target, batch, "target"), batch)
        k = np.arange(length)
        residual = np.stack([1 + 0.5 * (value + k) - (2 + k), 1 - (5 + k)], 1)  # (K, B)
        np.testing.assert_allclose(term.error, np.abs(residual).mean(0), rtol=1e-6)
        off = torch.tensor(1.25 - residual**2)
        assert term.loss.item() == pytest.approx(huber(off).mean(1).sum().item(), rel=1e-6)
        assert term.metrics["train/variance"].flatten().tolist() == [1.25] * 2 * length
    assert not any(1 in states for states, _ in target.asked)  # the present target is asked at s alone


def test_the_threshold_and_the_importance_weight_are_in_the_loss_of_the_variance():
    batch = make_batch([0, 0], [0, 1], [3.0, 1.0], 0.0, [0, 0], weight=[1.0, 4.0])
    agent = weighted(threshold=0.5, least_variance=0.0)
    part = agent.weighting
    part.net = Table(torch.zeros(1, 1, 2))  # F = 1
    target = View(Table(torch.zeros(1, 1, 2)), batch, "target")
    part.previous = target.network
    loss = part.variance_loss(target, target, batch).loss
    assert loss.item() == pytest.approx((0.5 * (8 - 0.25) + 4 * 0.0) / 2)


# ---- the order of copies


def mark(module, value: float) -> None:
    for parameter in module.parameters():
        parameter.fill_(value)


def says(module) -> set[float]:
    return {number for parameter in module.parameters() for number in parameter.unique().tolist()}


def test_after_one_sync_the_previous_target_is_the_old_one_and_after_two_the_first_copy():
    agent = weighted()
    part, target = agent.weighting, agent.chain.target
    mark(target, 1.0)
    mark(part.previous, 0.0)
    for number, (step, theta, omega) in enumerate([(T, 2.0, 20.0), (2 * T, 3.0, 30.0), (3 * T, 4.0, 40.0)]):
        agent.clock.update()
        mark(agent.chain.online, theta)
        mark(part.net, omega)
        agent.tick(step - 2, step - 1)  # nothing is due
        assert says(part.previous) == {float(number)}
        agent.tick(step - 1, step)
        assert says(part.previous) == {theta - 1} != says(target)  # θ̄ before it moved
        assert says(target) == {theta}
        assert says(part.frozen) == {omega}


@pytest.mark.parametrize("torso", ["shared", "separate"])
def test_in_a_chain_only_shifts_count(torso):
    """Syncs move Q̄_1 … Q̄_{K−1}: at the shift the previous target is the whole stack as it stood, followers included."""
    agent = weighted(torso)
    part, target = agent.weighting, agent.chain.target
    agent.clock.updates = 1
    first, frozen = snapshot(part.previous), snapshot(part.frozen)
    mark(agent.chain.online, 2.0)
    mark(part.net, 20.0)
    agent.tick(D - 1, D)  # a sync
    assert same(snapshot(part.previous), first)
    assert same(snapshot(part.frozen), frozen)
    assert not same(snapshot(target), first)
    stood = snapshot(target)
    agent.tick(T - 1, T)  # a shift
    assert same(snapshot(part.previous), stood)
    assert not same(snapshot(target), stood)
    assert says(part.frozen) == {20.0}


def test_nothing_moves_before_the_first_update():
    agent = weighted()
    mark(agent.chain.target, 7.0)
    before = snapshot(agent.weighting)
    agent.tick(0, 10 * T)
    assert same(snapshot(agent.weighting), before)


def test_the_objectives_come_in_the_order_of_the_paper_and_the_weight_uses_the_frozen_net():
    """Step 3 sees the η of step 2 and not the ω of step 1."""
    agent = weighted()
    assert agent.due(1) == (*agent.objectives, "target") == ("variance", "scale", "value", "target")
    learner, tape = Learner(agent, lambda batch: batch), []
    step = learner.update_objective

    def taped(name, batch):
        part = agent.weighting
        weight = part(*seen(agent, batch))[0]
        tape.append((name, part.log_scale.item(), weight.clone(), copy.deepcopy(part.net.state_dict())))
        return step(name, batch)

    learner.update_objective = taped
    learner.update(random_batch(DISCRETE, B))
    (_, eta0, w0, omega0), (_, eta1, w1, omega1), (_, eta2, w2, omega2) = tape
    assert [name for name, *_ in tape] == ["variance", "scale", "value"]
    assert not same(omega0, omega1)
    assert same(omega1, omega2)
    assert torch.equal(w0, w1)  # ω̄ did not move with ω
    assert eta0 == eta1 != eta2
    torch.testing.assert_close(w2, w0 * math.exp(eta2 - eta0))
    assert eta2 == pytest.approx(1.0 - 1e-3, abs=1e-6)  # Adam's first step: its learning rate, downwards since w ≈ 2.5


# ---- the bandit; and a linear MDP


@pytest.mark.exhaustive  # the weights and their gradients are those of the tests above
def test_where_noise_differs_weights_bring_the_estimates_closer(monkeypatch):
    """Noise 1 and 10 on two actions over one shared feature."""
    monkeypatch.setattr(tabular_dvw, "ARMS", ("uniform", "dvw"))
    errors = tabular_dvw.compare("bandit", False, seeds=range(4), updates=300)
    assert np.mean(errors["dvw"]) < 0.8 * np.mean(errors["uniform"])
    found = tabular_dvw.summary(errors)
    assert found["dvw"]["better_than_uniform"] >= 3
    assert found["uniform"]["better_than_uniform"] == 0


def test_the_linear_mdp_is_what_it_says():
    """Quick form of the benchmark: the oracle's weights average one, and the three arms start from the same weights."""
    problem = tabular_dvw.linear_mdp(0, False)
    oracle = problem.batch.extra["oracle"]
    assert oracle.mean().item() == pytest.approx(1.0, rel=1e-5)
    assert oracle.max() / oracle.min() > 50
    assert tabular_dvw.linear_mdp(0, True).batch.extra["oracle"].std() < 0.1 * oracle.std()
    start = {arm: tabular_dvw.learn(problem, arm, 0, 1) for arm in tabular_dvw.ARMS}
    assert max(start.values()) - min(start.values()) < 0.1
    assert tabular_dvw.learn(problem, "dvw", 0, 80) < 0.5 * start["dvw"]


def test_errors_of_arms_are_summed_up_over_seeds():
    errors = tabular_dvw.compare("bandit", False, seeds=range(2), updates=2)
    assert {arm: len(each) for arm, each in errors.items()} == dict.fromkeys(tabular_dvw.ARMS, 2)
    found = tabular_dvw.summary({**errors, "dvw": [error - shift for error, shift in zip(errors["uniform"], (-1.0, 0.5))]})
    assert [found[arm]["better_than_uniform"] for arm in ("uniform", "dvw")] == [0, 1]
    assert found["dvw"]["mean"] == pytest.approx(found["uniform"]["mean"] + 0.25)


# ---- no gradient, and the floor


@pytest.mark.parametrize("chain", CHAINS)
def test_the_losses_train_nothing_but_their_own(chain):
    agent = weighted(chain)
    updates(agent, T + 1)  # so that ω, ω̄, θ̄⁻ and θ̄ differ
    for parameter in agent.parameters():
        parameter.requires_grad_(True)
    batch = random_batch(DISCRETE, B)
    own = {
        "variance": {id(p) for p in agent.weighting.net.parameters()},
        "scale": {id(agent.weighting.log_scale)},
        "value": {id(p) for p in agent.chain.online.parameters()},
    }
    for name, expected in own.items():
        gradients = torch.autograd.grad(agent.loss_of(name, batch).loss, list(agent.parameters()), allow_unused=True)
        touched = {id(p) for p, g in zip(agent.parameters(), gradients) if g is not None}
        assert touched == expected == {id(p) for p in agent.objectives[name].parameters}, name


def test_the_variance_is_never_below_its_least():
    agent = weighted(least_variance=0.1)
    batch = random_batch(DISCRETE, B)
    last = [p for name, p in agent.weighting.net.named_parameters() if "advantage" in name and "bias" in name]
    last[-1].fill_(-200.0)
    assert agent.weighting.variance(agent.weighting.net, batch).flatten().tolist() == pytest.approx([0.1] * B)


# ---- what the framework must get from it


def test_the_priority_is_the_error_of_the_values_and_the_learning_rate_theirs():
    one, plain = weighted(log_scale=-30.0, least_weight=1.0, lr=0.5), value_agent(chain=CHAINS["one"])
    for agent in (one, plain):
        updates(agent, T + 2)
    batch = random_batch(DISCRETE, B)
    learned = update(one, batch)
    assert torch.equal(learned.error, update(plain, batch).error)
    assert one.learning_rates(0) == {"train/learning_rate": 0.01, "train/variance_learning_rate": 0.5, "train/scale_learning_rate": 1e-3}
    logged = one.read(learned.metrics)
    ours = ("weight_mean", "weight_min", "weight_max", "weight_scale", "variance", "variance_loss", "variance_grad_norm")
    names = (*ours, "loss", "q_values")
    assert {f"train/{name}" for name in names} <= set(logged)


@pytest.mark.parametrize("chain", CHAINS)
def test_a_restored_agent_goes_on_bit_for_bit(chain):
    agent, other = weighted(chain), weighted(chain, seed=1)
    updates(agent, 2 * T + 2)
    other.load_state(copy.deepcopy(agent.state()))
    for each in (agent, other):
        updates(each, 2 * T, first=2 * T + 3)
    assert same(snapshot(agent), snapshot(other))
    for name, objective in agent.objectives.items():
        assert same(objective.optimizer.state_dict(), other.objectives[name].optimizer.state_dict())


def test_the_agent_contains_its_weighting_once():
    """No part keeps the agent: the tree of modules has no cycle, and every parameter one name."""
    agent = weighted("shared")
    assert len(list(agent.named_parameters())) == len(list(agent.named_parameters(remove_duplicate=False)))
    assert {name.split(".")[1] for name, _ in agent.named_parameters() if name.startswith("weighting.")} == {
        "net", "frozen", "previous", "log_scale",
    }  # fmt: skip


BACKUPS = (Max(), Double(), Bonus())


@pytest.mark.parametrize(
    ("chain", "backup"),
    # what a trace loses of the weights it loses with one network too; chains of several are traced in test_compile.py
    [
        pytest.param(chain, backup, marks=() if (chain, backup) == ("one", BACKUPS[2]) else pytest.mark.exhaustive)
        for chain in CHAINS
        for backup in BACKUPS
    ],
)
def test_it_traces_and_follows_what_moves_under_it(chain, backup):
    plain, traced = (weighted(chain, backup=backup) for _ in range(2))
    for agent in (plain, traced):
        apply(agent, "reference")
    compiled = CompiledLearner(traced, lambda batch: batch, backend="eager")
    updates(plain, T + 3)
    updates(traced, T + 3, learner=compiled)
    assert [len(each) for each in compiled.steps.values()] == [1] * len(traced.objectives)
    torch.testing.assert_close(snapshot(traced), snapshot(plain))


def test_the_networks_have_the_torso_of_the_agent():
    agent = value_agent(chain=CHAINS["separate"], torso=MLPTorso(hidden=(7, 6)), weighting=InverseVariance)
    ours, theirs = agent.weighting.net, agent.chain.online
    assert [p.shape for p in ours.parameters()] == [p.shape for p in theirs.parameters()]
    assert not torch.equal(next(ours.parameters()), next(theirs.parameters()))
    assert agent.weighting.net(torch.zeros(2, 5)).mean().shape == (3, 2, 3)


def test_the_variance_network_takes_the_agents_optimizer_or_its_own_rate():
    adam = Adam(lr=0.02, eps=1e-4, max_grad_norm=3.0)
    assert weighted(optimizer=adam).objectives["variance"].optimizer.choice == adam
    own = weighted(optimizer=adam, lr=0.5).objectives
    assert own["variance"].optimizer.choice == Adam(lr=0.5, eps=1e-4, max_grad_norm=3.0)
    assert own["value"].optimizer.choice == adam
    assert own["scale"].optimizer.choice == Adam(lr=1e-3)


@pytest.mark.parametrize("field", ["least_variance", "least_weight", "threshold", "scale_lr"])
def test_negative_settings_are_refused(field):
    with pytest.raises(ValueError, match=f"{field} must be at least 0"):
        weighted(**{field: -1.0})


def test_a_threshold_of_zero_is_refused():
    with pytest.raises(ValueError, match="threshold must be above 0"):
        weighted(threshold=0.0)


# ---- configurations


def test_the_experiments_say_what_the_paper_says():
    minatar = settled("experiment=dvw_minatar")
    assert (minatar["steps"], minatar["replay"]["learning_starts"], minatar["replay"]["ratio"], minatar["discount"]) == (
        10_000_000,
        10_000,
        0.25,
        0.99,
    )
    assert (minatar["replay"]["capacity"], minatar["replay"]["batch_size"]) == (100_000, 32)
    agent = minatar["agent"]
    assert agent["chain"]["target_update_period"] == 1000
    assert (agent["optimizer"]["lr"], agent["optimizer"]["eps"], agent["weighting"]["scale_lr"]) == (2.5e-4, 1e-8, 1e-3)
    assert agent["weighting"]["lr"] is None
    assert (agent["weighting"]["least_variance"], agent["weighting"]["least_weight"]) == (0.1, 0.1)
    assert agent["weighting"]["log_scale"] == 1.0
    assert (agent["explore"]["schedule"]["end"], agent["explore"]["schedule"]["duration"]) == (0.1, 1_000_000)
    assert agent["explore"]["evaluation"] == 0.0
    assert (minatar["env"]["sticky"], minatar["env"]["max_episode_steps"], minatar["env"]["minimal_action_set"]) == (0.1, 10_000, False)
    classic = settled("experiment=dvw_classic")
    assert (classic["steps"], classic["agent"]["chain"]["target_update_period"]) == (500_000, 500)
    assert classic["agent"]["torso"]["hidden"] == [120, 84]
    assert classic["agent"]["explore"]["schedule"]["duration"] == 50_000


def built(*words: str):
    """An agent of a configuration on the toy chain, after a few updates and moves of its targets."""
    config, spec = settled(*words, "env=toy/chain"), spec_of("toy/chain")
    agent = build_agent(config, spec)
    start = snapshot(agent.weighting)
    for step in range(1, 7):
        noise = entry(agent.noise((1, B), torch.Generator().manual_seed(step)), 0)
        update(agent, random_batch(spec, B, step, noise))
        agent.tick(step - 1, step)
    assert all(torch.isfinite(value).all() for value in snapshot(agent).values())
    assert not same(snapshot(agent.weighting), start)
    return agent


@pytest.mark.parametrize("torso", ["shared", "separate"])
def test_it_composes_with_the_chain_of_iqn_in_one_override(torso):
    agent = built(
        "agent=idqn", "agent/weighting=inverse_variance", "agent.chain.length=3", f"agent.chain.torso={torso}",
        "agent.chain.shift_period=4", "agent.chain.sync_period=2",
    )  # fmt: skip
    assert agent.weighting.log_scale.shape == (3,)
    first = agent.weighting.previous.state_dict()
    assert any(not torch.equal(value, first[name]) for name, value in agent.chain.target.state_dict().items())


def test_the_preset_of_dvw_on_munchausen_is_both_with_squared_errors():
    agent = built("agent=dvw_munchausen", "agent.chain.target_update_period=4")
    assert agent.backup == Munchausen(temperature=0.03, scale=0.9, floor=-1.0)
    assert isinstance(agent.weighting, InverseVariance)
    assert agent.weighting.backup is agent.backup
    for env in ("classic/cartpole", "toy/chain"):
        both, plain, dvw = (settled(f"agent={name}", f"env={env}")["agent"] for name in ("dvw_munchausen", "munchausen_dqn", "dvw"))
        assert both == {**plain, "weighting": dvw["weighting"], "head": {**plain["head"], "loss": "squared"}}
