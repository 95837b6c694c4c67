"""A rule of one's own, of names of `deeprl.extend`: gradient descent with momentum."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from deeprl.extend import Choice, Flat, Objective


@dataclass(frozen=True)
class Heavy(Choice):
    lr: float
    max_grad_norm: float | None = None
    schedule: None = None

    def build(self, parameters):
        return FlatHeavy(self, parameters)


class FlatHeavy(Flat):
    """v ← 0.9 v + g, θ ← θ − lr v"""

    averages = ("velocity",)

    def __init__(self, choice, parameters):
        super().__init__(choice, parameters)
        self.velocity = torch.zeros_like(self.flat)

    def updated(self, flat, averages, gradient, numbers):
        velocity = 0.9 * averages[0] + gradient
        return flat - numbers[0] * velocity, velocity


def built() -> tuple[nn.Parameter, Flat]:
    weight = nn.Parameter(torch.ones(3), requires_grad=False)
    return weight, Heavy(lr=0.5).build([weight])


def test_it_goes_on_from_what_it_has_saved():
    """Its averages are velocity alone; every load asked for `square`, so that no run with such a rule could be resumed."""
    (one, first), (other, second) = built(), built()
    first.step([torch.ones(3)], 0)
    second.load_state_dict(first.state_dict())
    other.copy_(one)
    for optimizer in (first, second):
        optimizer.step([torch.ones(3)], 1)
    assert torch.equal(one, other)
    torch.testing.assert_close(one.detach(), torch.full((3,), 1 - 0.5 - 0.5 * 1.9))


@dataclass(frozen=True)
class Ball(Heavy):
    def build(self, parameters):
        return FlatBall(self, parameters)


class FlatBall(FlatHeavy):
    """θ ← θ − lr / (1 + updates so far) g + 0.9 (θ − θ of before)"""

    averages = ("before",)

    def __init__(self, choice, parameters):
        Flat.__init__(self, choice, parameters)
        self.before = self.flat.clone()

    def numbers(self, step):
        return (self.rate(step) / (1 + self.taken),)

    def updated(self, flat, averages, gradient, numbers):
        return flat - numbers[0] * gradient + 0.9 * (flat - averages[0]), flat


def test_a_rule_may_keep_the_parameters_of_before_and_count_updates():
    """The new parameters were stored as those of before, so that nothing moved by momentum; and a resume counted from 0."""
    (one, other), gradient = (nn.Parameter(torch.ones(1), requires_grad=False) for _ in range(2)), [torch.ones(1)]
    first, second = (Ball(lr=1.0).build([each]) for each in (one, other))
    for step in range(2):
        first.step(gradient, step)
    torch.testing.assert_close(one.detach(), torch.tensor([1 - 1 - 0.5 - 0.9]))
    second.load_state_dict(first.state_dict())
    other.copy_(one)
    for optimizer in (first, second):
        optimizer.step(gradient, 2)
    assert torch.equal(one, other)
    one.fill_(5.0)
    first.reset()  # with zeros as the parameters of before, new weights would have moved by 0.9 of themselves
    first.step(gradient, 0)
    torch.testing.assert_close(one.detach(), torch.tensor([5.0 - 1.0]))


def test_a_module_that_is_named_beside_its_whole_is_stepped_once():
    part = nn.Linear(2, 2)
    objective = Objective.of(lambda batch: None, [nn.Sequential(part), part], Heavy(lr=1.0))  # type: ignore[arg-type,return-value]
    assert [id(p) for p in objective.parameters] == [id(p) for p in part.parameters()]
