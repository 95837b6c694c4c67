"""A rule of one's own, of names of `deeprl.extend`: gradient descent with momentum."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from deeprl.extend import Choice, Flat


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
