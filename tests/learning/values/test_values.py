"""Returns as weighted atoms, scalar values, and views that are evaluated once."""

from __future__ import annotations

import pytest
import torch

from deeprl.learning.networks.heads import Scalar, under
from deeprl.learning.networks.torsos import MLPTorso
from deeprl.learning.networks.value_network import ValueNetwork
from deeprl.learning.values.losses import huber, squared
from deeprl.learning.values.returns import Returns, pick
from deeprl.learning.values.scalar import ScalarValues
from deeprl.learning.values.view import View
from deeprl.types import NetworkNoise, Spec, ViewNoise
from tests.builders import Table, make_batch

K, B, A, N = 2, 3, 4, 5


def test_a_mean_weighs_atoms_by_their_probability():
    atoms = torch.tensor([[0.0, 10.0], [4.0, 8.0]])
    assert Returns(atoms).mean().tolist() == [5.0, 6.0]
    assert Returns(atoms, torch.tensor([[0.25, 0.75], [1.0, 0.0]])).mean().tolist() == [7.5, 4.0]


def test_the_mean_of_one_atom_is_the_atom_bit_for_bit():
    atoms = torch.tensor([[0.1], [1e-40]])
    assert torch.equal(Returns(atoms).mean(), atoms[:, 0])


def test_bootstrap_and_plus_move_every_atom_and_no_probability():
    probs = torch.tensor([0.5, 0.25, 0.25])
    atoms = torch.tensor([[[1.0, 2.0, 4.0], [0.0, 0.0, 8.0]]])  # (K, B, N) = (1, 2, 3)
    target = Returns(atoms, probs).bootstrap(torch.tensor([10.0, 20.0]), torch.tensor([0.5, 0.0]))
    assert target.atoms.tolist() == [[[10.5, 11.0, 12.0], [20.0, 20.0, 20.0]]]
    assert target.probs is probs
    assert Returns(atoms, probs).plus(torch.tensor([[1.0, -1.0]])).atoms.tolist() == [[[2.0, 3.0, 5.0], [-1.0, -1.0, 7.0]]]


def test_bootstrap_lines_rewards_up_with_the_batch_and_not_with_chain_or_atoms():
    target = Returns(torch.zeros(K, B, N)).bootstrap(torch.arange(float(B)), torch.ones(B))
    assert torch.equal(target.atoms, torch.arange(float(B)).view(1, B, 1).expand(K, B, N))


def test_picking_takes_the_same_action_from_every_iteration():
    q = torch.arange(float(K * B * A)).view(K, B, A)
    assert pick(q, torch.tensor([3, 0, 2])).tolist() == [[3.0, 4.0, 10.0], [15.0, 16.0, 22.0]]


def test_expectation_under_actions_and_under_probabilities():
    values = ScalarValues(torch.tensor([[[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]]]), squared, torch.zeros(1))
    assert values.expect(torch.tensor([[2, 0]])).atoms.tolist() == [[[4.0], [8.0]]]
    mixed = values.expect(torch.tensor([[[0.5, 0.5, 0.0], [0.0, 0.25, 0.75]]]))
    assert mixed.atoms.tolist() == [[[1.5], [28.0]]]


def test_each_iteration_may_choose_another_action():
    values = ScalarValues(torch.tensor([[[1.0, 2.0, 3.0]], [[10.0, 20.0, 30.0]]]), squared, torch.zeros(1))
    assert values.expect(torch.tensor([[0], [2]])).mean().tolist() == [[1.0], [30.0]]


def test_a_loss_is_the_distance_and_the_error_is_in_ordinary_units():
    chosen = ScalarValues(torch.tensor([[1.0, 5.0]]), huber, torch.zeros(1))
    loss, error = chosen.loss(Returns(torch.tensor([[[1.5], [2.0]]])))
    assert loss.tolist() == [[0.125, 2.5]]
    assert error.tolist() == [[0.5, 3.0]]


def test_a_target_of_several_atoms_is_regressed_on_by_its_mean():
    loss, _ = ScalarValues(torch.tensor([[1.0]]), squared, torch.zeros(1)).loss(Returns(torch.tensor([[[2.0, 6.0]]])))
    assert loss.tolist() == [[9.0]]


def test_the_error_carries_no_gradient_and_the_loss_does():
    q = torch.tensor([[1.0, 5.0]], requires_grad=True)
    loss, error = ScalarValues(q, squared, torch.zeros(1)).loss(Returns(torch.tensor([[[3.0], [4.0]]])))
    assert not error.requires_grad
    assert torch.autograd.grad(loss.sum(), q)[0].tolist() == [[-4.0, 2.0]]


def test_raising_an_action_that_was_not_taken_leaves_the_loss_alone():
    q, returns, action = torch.randn(K, B, A), Returns(torch.randn(K, B, 1)), torch.tensor([1, 3, 0])
    raised = q + 100.0
    raised.scatter_(-1, action.expand(K, B).unsqueeze(-1), pick(q, action).unsqueeze(-1))
    losses = [ScalarValues(x, squared, torch.zeros(1)).at(action).loss(returns)[0] for x in (q, raised)]
    assert torch.equal(*losses)


def test_a_missing_chain_axis_is_refused_and_not_broadcast():
    with pytest.raises(AssertionError, match=r"\(3,\).*\(2, 3\)"):
        ScalarValues(torch.zeros(K, B), squared, torch.zeros(1)).loss(Returns(torch.zeros(B, 1)))


# ---- views


BATCH = make_batch([0, 1, 2], [0, 0, 0], [0.0, 0.0, 0.0], 1.0, [3, 4, 0])
Q = torch.arange(40.0).view(2, 5, 4)


def test_a_view_asks_its_network_when_it_is_asked_and_once():
    network = Table(Q)
    seen = View(network, BATCH, "online")
    assert network.asked == []
    assert torch.equal(seen.next.mean(), Q[:, [3, 4, 0]])
    assert seen.next is seen.next
    assert [obs for obs, _ in network.asked] == [[3, 4, 0]]
    assert torch.equal(seen.now.mean(), Q[:, [0, 1, 2]])
    assert [obs for obs, _ in network.asked] == [[3, 4, 0], [0, 1, 2]]


def test_each_end_of_each_side_gets_its_own_noise():
    drawn = [NetworkNoise({"in_0": torch.tensor(float(i))}, {}) for i in range(4)]
    batch = BATCH._replace(noise={"online": ViewNoise(*drawn[:2]), "target": ViewNoise(*drawn[2:])})
    network = Table(Q)
    online, target = View(network, batch, "online"), View(network, batch, "target")
    _ = online.now, online.next, target.now, target.next
    assert [noise.layers["in_0"].item() for _, noise in network.asked] == [0.0, 1.0, 2.0, 3.0]


def test_under_cuts_the_prefix_and_leaves_the_rest_behind():
    noise = {"a.x": torch.ones(1), "a.b.y": torch.ones(2), "ab.x": torch.ones(3)}
    assert {name: len(value) for name, value in under(noise, "a.").items()} == {"x": 1, "b.y": 2}
    assert under({}, "a.") == {}


@pytest.mark.parametrize("torsos", [1, K])
def test_a_sequence_gives_what_its_rows_give(torsos):
    spec, time = Spec((6,), torch.float32, A, 0), 7
    torso = MLPTorso(hidden=(5,)).build(spec, torsos)
    network = ValueNetwork(torso, Scalar().build(5, (), A, K, "torch"), 1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)))
    obs = torch.randn(time, B, 6)
    values = network(obs)
    assert values.mean().shape == (K, time, B, A)
    assert values.features.shape == (torsos, time, B, 5)
    torch.testing.assert_close(values.mean()[:, 4], network(obs[4]).mean())
