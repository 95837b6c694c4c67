"""A limit on the tensors of a block, before they are allocated."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from deeprl.system.allowance import Allowance


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.zeros(2**40),
        lambda: torch.zeros(2**20, 2**20),
        lambda: torch.empty((2**20, 2**20), dtype=torch.uint8),
        lambda: torch.empty(size=(2**40,)),
        lambda: torch.full((2**40,), 1.0),
        lambda: torch.rand(torch.Size((2**40,))),
        lambda: torch.linspace(0, 1, 2**40),
        lambda: nn.Linear(2**20, 2**20),
        lambda: [torch.zeros(100) for _ in range(3)],
    ],
)
def test_what_is_larger_is_never_allocated(make):
    with pytest.raises(MemoryError, match="more than 1,000 bytes"), Allowance(1000):
        make()


def test_what_fits_is_made_and_the_limit_ends_with_the_block():
    with Allowance(1000):
        assert torch.zeros(250).shape == (250,)
    assert torch.zeros(1000).shape == (1000,)
