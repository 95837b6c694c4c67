"""Gi-TD: one sample by hand, Baird's counterexample as an exact oracle, categories, neutral elements, refusals."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from deeprl.agents.gi_dqn import GradientCorrection, IteratedLive, divergence_correction, square_correction
from deeprl.agents.idqn import Iterated
from deeprl.agents.is_dqn import IteratedShared
from deeprl.errors import ConfigError
from deeprl.learning.backups.bellman import Double, Max, Soft
from deeprl.learning.backups.mellowmax import Mellowmax
from deeprl.learning.networks.distributional import Categorical
from deeprl.learning.networks.heads import Scalar
from deeprl.learning.networks.torsos import MLPTorso
from deeprl.learning.optim.adam import Adam
from deeprl.learning.optim.rmsprop import RMSProp
from deeprl.learning.parts.chains import Single
from deeprl.learning.parts.target_free import TargetFree
from deeprl.running.config.build import build_agent
from deeprl.running.training.learner import gradient
from deeprl.types import Spec
from tests.builders import DISCRETE, make_batch, random_batch, settled, snapshot, spec_of, transition, update, value_agent, view


def gi(chain=None, spec=DISCRETE, decay=1.0, **slots):
    chain = chain or partial(IteratedLive, length=3, shift_period=5)
    return value_agent(spec, chain=chain, auxiliary=partial(GradientCorrection, decay=decay), **slots)


# ---- one sample


def test_one_sample_by_hand():
    """K = 2: y = 1 + 0.9 · (0.5, 1.5), δ = (0.45, 0.35), h = (0, 0.3). Our loss is twice that of δ² / 2."""
    now = torch.tensor([1.0, 2.0], requires_grad=True)
    after = torch.tensor([1.5, 1.0], requires_grad=True)  # Q_1(s', ·)
    h = torch.tensor([0.0, 0.3], requires_grad=True)
    target = 1.0 + 0.9 * torch.stack([torch.tensor(0.5), after.max()])
    loss, error = square_correction(target, now, h)
    ((target.detach() - now).square() + loss).sum().backward()
    assert error.tolist() == pytest.approx([0.45, 0.35])
    assert (now.grad / 2).tolist() == pytest.approx([-0.45, -0.35])
    assert (after.grad / 2).tolist() == pytest.approx([0.27, 0.0])  # 0.9 · 0.3, by the maximising action alone
    assert (h.grad / 2).tolist() == pytest.approx([-0.45, -0.05], abs=1e-6)


def test_with_mellowmax_the_gradient_goes_to_every_action():
    """The sample above with ω = 5: y = 1 + 0.9 · mm(0, 0.5) and 1 + 0.9 · mm(1.5, 1), gradient 0.27 · softmax(5 · (1.5, 1))."""
    after = torch.tensor([[[0.0, 0.5]], [[1.5, 1.0]]], requires_grad=True)
    target = Mellowmax(5.0)(None, view(next=after), transition(reward=1.0, discount=0.9)).mean()  # (K, B)
    loss, _ = square_correction(target, torch.tensor([[1.0], [2.0]]), torch.tensor([[0.0], [0.3]]))
    loss.sum().backward()
    assert target.flatten().tolist() == pytest.approx([1.339434, 2.239434], abs=1e-6)
    assert (after.grad[1] / 2).flatten().tolist() == pytest.approx([0.249518, 0.020482], abs=1e-6)


def test_where_the_anchor_is_a_head_the_gradient_goes_through_every_target():
    """φ(s) = 2, φ(s') = 1, heads (0.5, 1, 1.5), r = 1, γ = 0.9: δ = (−0.55, −1.1). h = 0.1 · φ(s) = 0.2, so that 2 · 0.2 · 0.9 = 0.36 comes
    to each head that gives a target. The features are a layer on (1, 0) and (0, 1), whose weights are φ(s) and φ(s')."""
    spec, torso = Spec((2,), torch.float32, 1, 0), MLPTorso(hidden=(1,))
    agent = gi(partial(IteratedShared, length=2, shift_period=5, torso="shared"), spec=spec, torso=torso)
    network = agent.chain.online
    for parameter in network.parameters():
        parameter.zero_()
    network.torso.weight_0.copy_(torch.tensor([2.0, 1.0]).view(1, 2, 1))
    network.head.advantage.weight_0.copy_(torch.tensor([0.5, 1.0, 1.5]).view(3, 1, 1))
    network.beside.weight_0.fill_(0.1)
    batch = make_batch([[1.0, 0.0]], [0], [1.0], [0.9], [[0.0, 1.0]])
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    parameters = [names[id(parameter)] for parameter in agent.objectives["value"].parameters]
    found = dict(zip(parameters, gradient(agent, "value", batch)[0]))
    assert found["head.advantage.weight_0"].flatten().tolist() == pytest.approx([0.36, 4 * 0.55 + 0.36, 4 * 1.1])
    assert found["torso.weight_0"].flatten().tolist() == pytest.approx([2 * 0.55 * 1.0 + 2 * 1.1 * 1.5, 0.36 * (0.5 + 1.0)])
    assert found["beside.weight_0"].flatten().tolist() == pytest.approx([0.0, 4 * (0.2 + 0.55), 4 * (0.2 + 1.1)])  # h_0 is not read


def test_the_divergence_is_the_maximum_of_its_dual():
    m, q = torch.tensor([0.2, 0.5, 0.3]), torch.tensor([0.4, 0.4, 0.2])
    divergence = (m * (m / q).log()).sum()
    assert divergence.item() == pytest.approx(0.0945819, abs=1e-7)
    best = (m / q).log().requires_grad_()
    # Σ m sg(h) − dual
    loss = divergence_correction(m, q.log(), best)
    assert ((m * best).sum() - loss).item() == pytest.approx(divergence.item())
    loss.backward()
    assert best.grad.abs().max() < 1e-7
    h = torch.tensor([0.1, 0.0, -0.1], requires_grad=True)
    loss = divergence_correction(m, q.log(), h)
    assert ((m * h).sum() - loss).item() == pytest.approx(-0.0327745, abs=1e-7)
    loss.backward()
    assert (-h.grad).tolist() == pytest.approx([-0.2321142, 0.1090069, 0.1231074], abs=1e-7)


# ---- Baird's counterexample

ROWS = np.zeros((7, 8))
ROWS[np.arange(6), np.arange(6)], ROWS[:6, 7], ROWS[6, 6:] = 2.0, 1.0, (1.0, 2.0)
ALPHA, START = 0.01, [1.0] * 6 + [10.0, 1.0]
BATCH = make_batch(torch.tensor(ROWS, dtype=torch.float32), [0] * 7, [0.0] * 7, 0.99, torch.tensor(ROWS[[6] * 7], dtype=torch.float32))


class Baird:
    """Seven states, one action, every next state the seventh, reward 0. Linear heads without bias, plain gradient steps on δ² / 2."""

    def __init__(self, chain, corrected: bool, decay: float = 1.0):
        auxiliary = {"auxiliary": partial(GradientCorrection, decay=decay)} if corrected else {}
        spec = Spec((8,), torch.float32, 1, 0)
        self.agent = value_agent(spec, chain=chain, torso=MLPTorso(hidden=()), **auxiliary)
        self.chain, self.decay = self.agent.chain, decay if corrected else 0.0
        names = {id(p): name for name, p in self.chain.online.named_parameters()}
        self.trained = [names[id(p)] for p in self.agent.objectives["value"].parameters]
        self.weights = {name: p for name, p in self.chain.named_parameters() if "weight" in name}  # (K, 8, 1) each
        for name, p in self.chain.named_parameters():
            p.copy_(torch.tensor(START).view(1, 8, 1) if "head" in name and name in self.weights else torch.zeros(()))

    def update(self) -> None:
        gradients = dict(zip(self.trained, gradient(self.agent, "value", BATCH)[0]))
        for name, p in self.chain.online.named_parameters():
            if "weight" in name:
                keep = 1.0 - ALPHA * self.decay if name.startswith("beside") else 1.0
                p.copy_(keep * p - 0.5 * ALPHA * gradients[name])
        self.chain.after_update(("value", "target"), 1)

    def head(self, k: int) -> list[float]:
        return self.chain.online.head.advantage.weight_0[k - 1, :, 0].tolist()

    def state(self) -> np.ndarray:
        return torch.cat([p.flatten() for p in self.weights.values()]).numpy().astype(np.float64)

    def matrix(self, move) -> np.ndarray:
        """Of a move that is linear in all weights. Its entries are multiples of α / 700, so that rounding to them removes the errors of
        float32."""
        size, columns = len(self.state()), []
        for column in torch.eye(size):
            for p, part in zip(self.weights.values(), column.split([p.numel() for p in self.weights.values()])):
                p.copy_(part.view(p.shape))
            move()
            columns.append(self.state())
        return np.round(np.stack(columns, 1) * 700 / ALPHA) * ALPHA / 700

    def radii(self, *windows: int) -> dict[int, float]:
        """Spectral radius of T updates and a shift for each T, in the row space of Φ, because values do not see the rest."""
        basis = np.linalg.svd(ROWS)[2][:7].T  # (8, 7)
        once = self.matrix(self.update)
        shift = self.matrix(lambda: self.chain.on_period(("shift",), 1))
        inside = np.kron(np.eye(len(once) // 8), basis)
        powers = {window: np.linalg.matrix_power(once, window) for window in windows}
        return {window: abs(np.linalg.eigvals(inside.T @ shift @ power @ inside)).max() for window, power in powers.items()}

    def radius(self, window: int) -> float:
        return self.radii(window)[window]


def of_length(length: int) -> partial:
    return partial(IteratedLive, length=length, shift_period=1)


@pytest.mark.parametrize(
    ("length", "corrected", "radii"),
    [
        (1, False, {10: 1.01892, 50: 1.01609, 100: 0.97980}),
        (2, False, {10: 1.02372, 50: 1.03086, 100: 0.96715}),
        (5, False, {1: 1.00239, 10: 1.02418, 25: 1.06096, 50: 1.04248, 100: 0.98889}),
        (2, True, {10: 1.01565, 50: 0.98237, 100: 0.99143}),
        (5, True, {1: 1.00239, 10: 1.01530, 25: 1.00536, 50: 0.98235, 100: 0.99261}),
    ],
)
def test_the_live_chain_diverges_where_the_gradient_converges(length, corrected, radii):
    """At T = 50. At T = 1 both are TD(0), and at T = 100 both converge."""
    assert Baird(of_length(length), corrected).radii(*radii) == pytest.approx(radii, abs=5.1e-6)


def test_without_decay_of_h():
    radii = {1: 1.00239, 10: 1.01013, 25: 0.99472, 50: 0.99438, 100: 0.99554}
    assert Baird(partial(IteratedLive, length=5, shift_period=1), True, decay=0.0).radii(*radii) == pytest.approx(radii, abs=5.1e-6)


@pytest.mark.parametrize(
    ("corrected", "norms"), [(False, (11.7779, 111.885, 4409.03, 2.34656e9)), (True, (10.3292, 28.9042, 25.3456, 0.149293))]
)
def test_values_after_windows_of_fifty_updates(corrected, norms):
    """Root mean square of Q_5 after 1, 10, 100 and 400 windows."""
    baird = Baird(of_length(5), corrected)
    start = baird.state()
    whole = baird.matrix(lambda: baird.chain.on_period(("shift",), 1)) @ np.linalg.matrix_power(baird.matrix(baird.update), 50)
    place = list(baird.weights).index("online.head.advantage.weight_0") * 40 + 32
    found = [np.sqrt(np.square(ROWS @ (np.linalg.matrix_power(whole, n) @ start)[place : place + 8]).mean()) for n in (0, 1, 10, 100, 400)]
    assert found == pytest.approx((5.318432, *norms), rel=1e-5)


def test_three_updates_of_two_iterations():
    def shape(six, seventh, eighth):
        return pytest.approx([six] * 6 + [seventh, eighth], abs=2e-6)

    for corrected, expected in ((False, shape(1.075036, 9.998842, 1.222792)), (True, shape(1.075044, 9.995021, 1.215173))):
        baird = Baird(of_length(2), corrected)
        baird.update()
        assert baird.head(1) == baird.head(2) == shape(1.025371, 9.999829, 1.075771)
        baird.update()
        baird.update()
        assert baird.head(1) == expected
    assert baird.head(2) == shape(1.076286, 9.999465, 1.227788)
    assert baird.chain.online.beside.weight_0[1, :, 0].tolist() == shape(0.074455, -0.00117, 0.221025)


def test_without_an_anchor_it_is_qrc():
    baird = Baird(TargetFree, True)
    baird.update()
    baird.update()
    assert baird.head(1) == pytest.approx([1.05081] * 6 + [9.998367, 1.149163], abs=2e-6)
    for decay, radius in ((1.0, 0.999991), (0.0, 1.0)):
        assert Baird(TargetFree, True, decay).radius(1) == pytest.approx(radius, abs=1e-6)
    stalled = Baird(TargetFree, True, decay=0.0)
    start = stalled.state()
    after = np.linalg.matrix_power(stalled.matrix(stalled.update), 10_000) @ start
    place = 8 * list(stalled.weights).index("online.head.advantage.weight_0")
    assert np.sqrt(np.square(ROWS @ after[place : place + 8]).mean()) == pytest.approx(1.933177, abs=1e-6)


# ---- neutral elements


def updates(agent, count: int) -> None:
    for step in range(1, count + 1):
        update(agent, random_batch(agent.spec, 11, step))
        agent.tick(step - 1, step)


@pytest.mark.parametrize("head", [Scalar(), Categorical(atoms=7, low=-3.0, high=3.0)])
@pytest.mark.parametrize(("kind", "torso"), [(IteratedLive, "shared"), (IteratedLive, "separate"), (IteratedShared, "shared_hidden")])
def test_without_scale_it_is_the_chain_alone(head, kind, torso):
    chain = partial(kind, length=3, shift_period=4, torso=torso)
    plain, zero = value_agent(chain=chain, head=head), value_agent(chain=chain, head=head, auxiliary=partial(GradientCorrection, scale=0.0))
    whole = gi(chain, head=head)
    for agent in (plain, zero, whole):
        updates(agent, 6)
    expected, found, corrected = (snapshot(agent.chain) for agent in (plain, zero, whole))
    assert all(torch.equal(value, found[name]) for name, value in expected.items())
    assert not all(torch.equal(value, corrected[name]) for name, value in expected.items())


def test_one_iteration_on_a_frozen_target_is_dqn():
    one, dqn = gi(partial(IteratedLive, length=1, shift_period=5)), value_agent(chain=partial(Single, target_update_period=5))
    for agent in (one, dqn):
        updates(agent, 12)
    found = snapshot(one.chain)
    assert all(torch.equal(found[name], value) for name, value in snapshot(dqn.chain).items())


def test_h_rolls_with_its_iteration_and_decays_alone():
    agent = gi(optimizer=Adam(lr=0.01, weight_decay=0.0))
    plain, of_h = agent.objectives["value"].optimizer.groups
    assert (plain.choice.weight_decay, of_h.choice.weight_decay) == (0.0, 1.0)
    assert {id(p) for p in of_h.parameters} == {id(p) for p in agent.chain.online.beside.parameters()}
    updates(agent, 4)
    before = agent.chain.online.beside.weight_0.clone()
    agent.chain.on_period(("shift",), 4)
    assert torch.equal(agent.chain.online.beside.weight_0, before[[1, 2, 2]])


def test_the_rate_of_h_is_a_multiple_and_weights_of_the_replay_count():
    agent = value_agent(
        chain=partial(IteratedLive, length=3, shift_period=5),
        auxiliary=partial(GradientCorrection, lr_multiple=3.0),
        optimizer=Adam(lr=0.01),
    )
    assert [group.choice.lr for group in agent.objectives["value"].optimizer.groups] == pytest.approx([0.01, 0.03])
    batch = random_batch(DISCRETE, 11)
    one, two = (gradient(agent, "value", batch._replace(weight=torch.full((11,), weight)))[0] for weight in (1.0, 2.0))
    for single, double in zip(one, two):
        torch.testing.assert_close(double, 2 * single)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_the_correction_has_the_weight_of_its_iteration(reduction):
    """Gradient of Q_1's head: −2 δ_1 ∇Q_1 + 2 h_2 ∇y_2, or a third of both."""
    agent, batch = gi(partial(IteratedLive, length=3, shift_period=5, head_reduction=reduction)), random_batch(DISCRETE, 11)
    other = gi()
    for each in (agent, other):
        each.chain.online.beside.weight_0.fill_(0.3)
    found, expected = (gradient(each, "value", batch)[0] for each in (agent, other))
    for one, two in zip(found, expected):
        torch.testing.assert_close(one, two / (3.0 if reduction == "mean" else 1.0))


def test_double_selects_by_the_iteration_that_learns():
    """y_2 is Q_1 at the action that Q_2 prefers; Q̄_0 at the one that Q_1 prefers."""
    agent, batch = gi(backup=Double()), random_batch(DISCRETE, 11)
    update(agent, batch)
    online, target = agent.chain.views(batch)
    expected = agent.backup(online, target, batch).mean()  # of copies, which are the online heads
    found = agent.auxiliary.targets(target, batch, agent.chain.online).mean()
    assert torch.equal(found, expected)
    assert not torch.equal(found, gi(backup=Max()).auxiliary.targets(target, batch, agent.chain.online).mean())


# ---- refusals


@pytest.mark.parametrize(
    ("slots", "message"),
    [
        ({"chain": partial(Single, target_update_period=5)}, "needs targets that move with the online network"),
        ({"chain": partial(Iterated, length=3)}, "needs targets that move with the online network"),
        ({"backup": Soft()}, "agent/backup=max, double or mellowmax, not Soft"),
        ({"optimizer": RMSProp(lr=0.01)}, "decay must be 0, because RMSProp has none"),
    ],
)
def test_parts_that_do_not_fit(slots, message):
    with pytest.raises(ValueError, match=message):
        gi(**slots)


@pytest.mark.parametrize("head", ["agent.head.loss=huber", "agent/head=quantile"])
def test_heads_whose_residual_has_no_expectation_are_refused(head):
    with pytest.raises(ConfigError, match="agent/auxiliary=gradient_correction needs squared errors of single values, or probabilities"):
        build_agent(settled("agent=gi_dqn", "env=toy/chain", head), spec_of("toy/chain"))


@pytest.mark.parametrize("head", ["agent.head.loss=squared", "agent/head=categorical"])
def test_heads_whose_residual_has_an_expectation(head):
    agent = build_agent(settled("agent=gi_dqn", "env=toy/chain", head), spec_of("toy/chain"))
    assert isinstance(agent.auxiliary, GradientCorrection)


def test_the_correction_and_its_error_are_logged():
    """Weights of h of 0.1 in Baird's rows, whose entries add up to 3: h = 0.3. Q is 3 in six states and 12 in the seventh, the target
    0.99 · 12, so that δ is 8.88 and −0.12."""
    baird = Baird(partial(IteratedLive, length=1, shift_period=5), corrected=True)
    for name, parameter in baird.chain.online.named_parameters():
        if name.startswith("beside") and "weight" in name:
            parameter.fill_(0.1)
    told = baird.agent.read(gradient(baird.agent, "value", BATCH)[1].metrics)
    assert told["train/correction"] == pytest.approx(0.3)
    assert told["train/correction_error"] == pytest.approx((6 * (0.3 - 8.88) ** 2 + (0.3 + 0.12) ** 2) / 7)


def test_the_rate_decays_with_adam_alone():
    assert settled("agent=gi_dqn", "env=classic/cartpole")["agent"]["auxiliary"]["decay"] == 1.0
    assert gi(optimizer=RMSProp(lr=0.01), decay=0.0).auxiliary.decay == 0.0
