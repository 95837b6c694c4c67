"""RMSProp as TensorFlow has it (docs/algorithms/log_dqn.md)."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from deeprl.errors import NotFinite
from deeprl.learning.optim.adam import Adam
from deeprl.learning.optim.finite import Watch
from deeprl.learning.optim.flat import Groups
from deeprl.learning.optim.rmsprop import RMSProp
from deeprl.schedules import Linear
from tests.builders import DISCRETE, random_batch, same, snapshot, update, value_agent


def parameters() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator), requires_grad=False) for shape in ((2, 3), (4,))]


def test_two_steps_by_hand():
    """The square starts at 1, epsilon is inside the root, the mean is subtracted."""
    weight = nn.Parameter(torch.tensor([1.0]), requires_grad=False)
    optimizer = RMSProp(lr=0.1, decay=0.5, momentum=0.5, eps=0.01).build([weight])
    assert optimizer.step([torch.tensor([2.0])], 0).item() == 2.0
    first = 0.1 * 2.0 / math.sqrt(0.5 * 1 + 0.5 * 4 - 1.0**2 + 0.01)
    assert weight.item() == pytest.approx(1.0 - first)
    optimizer.step([torch.tensor([-1.0])], 0)
    square, mean = 0.5 * 2.5 + 0.5 * 1, 0.5 * 1.0 - 0.5
    assert weight.item() == pytest.approx(1.0 - first - (0.5 * first - 0.1 / math.sqrt(square - mean**2 + 0.01)))


@pytest.mark.parametrize("centered", [True, False])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_without_epsilon_and_from_zero_it_is_pytorchs(centered, momentum):
    ours, theirs = parameters(), parameters()
    optimizer = RMSProp(lr=0.01, eps=0.0, initial=0.0, centered=centered, momentum=momentum).build(ours)
    reference = torch.optim.RMSprop(theirs, lr=0.01, alpha=0.95, eps=0.0, centered=centered, momentum=momentum)
    generator = torch.Generator().manual_seed(1)
    for step in range(20):
        gradients = [torch.randn(p.shape, generator=generator) for p in ours]
        norm = optimizer.step(gradients, step)
        for p, g in zip(theirs, gradients):
            p.grad = g.clone()
        reference.step()
        assert norm.item() == pytest.approx(float(torch.cat([g.flatten() for g in gradients]).norm()))
    for one, other in zip(ours, theirs):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_damping_of_small_gradients_differs_from_pytorchs_by_a_factor_of_three_hundred():
    """√1e-5 ≈ 3.2e-3 against 1e-5."""
    weight = nn.Parameter(torch.zeros(1), requires_grad=False)
    optimizer = RMSProp(lr=1.0, eps=1e-5, initial=0.0, centered=False).build([weight])
    optimizer.step([torch.tensor([1e-8])], 0)
    assert -weight.item() == pytest.approx(1e-8 / 3.1623e-3, rel=1e-3)


def test_gradients_in_any_layout_schedules_and_clipping():
    gradients = [torch.arange(6.0).reshape(3, 2).T, torch.full((4,), 3.0)]
    plain, clipped = parameters(), parameters()
    half = RMSProp(lr=0.01, schedule=Linear(start=1.0, end=0.0, duration=10))
    assert half.build(parameters()).rate(5) == pytest.approx(0.005)
    norm = RMSProp(lr=0.01).build(plain).step([g.contiguous() for g in gradients], 0)
    RMSProp(lr=0.01, max_grad_norm=0.5).build(clipped).step(gradients, 0)
    scaled = parameters()
    RMSProp(lr=0.01).build(scaled).step([g * 0.5 / float(norm) for g in gradients], 0)
    for a, b, c in zip(clipped, scaled, plain):
        torch.testing.assert_close(a, b)
        assert not torch.equal(a, c)


def test_its_state_goes_on():
    gradients = [torch.ones(2, 3), torch.ones(4)]
    one, other = parameters(), parameters()
    first, second = RMSProp(lr=0.1, momentum=0.5).build(one), RMSProp(lr=0.1, momentum=0.5).build(other)
    first.step(gradients, 0)
    second.load_state_dict({name: value.clone() for name, value in first.state_dict().items()})
    for a, b in zip(other, one):
        a.copy_(b)
    first.step(gradients, 1)
    second.step(gradients, 1)
    assert all(map(torch.equal, one, other))
    with pytest.raises(ValueError, match="the optimizer has 10 numbers in square, its saved state 4"):
        first.load_state_dict(RMSProp(lr=0.1).build([nn.Parameter(torch.ones(4))]).state_dict())
    with pytest.raises(ValueError, match="gradients have shapes"):
        first.step([torch.ones(3, 2), torch.ones(4)], 0)


@pytest.mark.parametrize("keys", [{"lr": -1.0}, {"decay": 2.0}, {"eps": -1.0}, {"momentum": 3.0}, {"max_grad_norm": 0.0}])
def test_wrong_values_are_refused(keys):
    with pytest.raises(ValueError, match=f"^{next(iter(keys))} must be"):
        RMSProp(**{"lr": 0.1, **keys})


def test_an_agent_trains_with_it_and_resumes():
    agents = [value_agent(optimizer=RMSProp(lr=0.01)) for _ in range(2)]
    for step in range(3):
        update(agents[0], random_batch(DISCRETE, 6, step))
    agents[1].load_state(agents[0].state())
    for agent in agents:
        update(agent, random_batch(DISCRETE, 6, 9))
    assert same(snapshot(agents[0]), snapshot(agents[1]))


def test_a_gradient_that_is_not_finite_changes_nothing():
    parameter = torch.nn.Parameter(torch.ones(3), requires_grad=False)
    optimizer = RMSProp(lr=0.1).build([parameter])
    with pytest.raises(NotFinite, match="the norm of its gradient is nan"):
        optimizer.step([torch.tensor([1.0, float("nan"), 1.0])], 0)
    assert torch.equal(parameter, torch.ones(3))
    watch = Watch(torch.device("cpu"), immediate=False)  # as on a GPU, where nobody waits
    optimizer.step([torch.tensor([1.0, float("nan"), 1.0])], 0, watch)
    optimizer.step([torch.ones(3)], 0, watch)
    assert torch.equal(parameter, torch.ones(3))
    with pytest.raises(NotFinite):
        watch.check()


def test_no_group_moves_if_one_gradient_is_not_finite():
    one, two = (torch.nn.Parameter(torch.ones(2), requires_grad=False) for _ in range(2))
    groups = Groups([([one], Adam(lr=0.1)), ([two], Adam(lr=1.0))])
    with pytest.raises(NotFinite):
        groups.step([torch.ones(2), torch.tensor([1.0, float("inf")])], 0)
    assert torch.equal(one, torch.ones(2))
    assert torch.equal(two, torch.ones(2))
