"""Distances and averages."""

from __future__ import annotations

import pytest
import torch

from deeprl.learning.values.losses import average, huber, squared


def test_squared_has_no_half():
    assert squared(torch.tensor([-3.0, 0.5])).tolist() == [9.0, 0.25]


@pytest.mark.parametrize(
    ("error", "threshold", "expected"),
    [(0.5, 1.0, 0.125), (-1.0, 1.0, 0.5), (3.0, 1.0, 2.5), (-3.0, 1.0, 2.5), (1.0, 2.0, 0.5), (3.0, 2.0, 4.0), (0.0, 1.0, 0.0)],
)
def test_huber_is_a_parabola_and_then_a_line(error, threshold, expected):
    assert huber(torch.tensor(error), threshold).item() == expected


def test_hubers_gradient_is_the_clipped_error():
    error = torch.tensor([-5.0, -1.0, -0.25, 0.0, 0.75, 1.5], requires_grad=True)
    assert torch.autograd.grad(huber(error).sum(), error)[0].tolist() == [-1.0, -1.0, -0.25, 0.0, 0.75, 1.0]


@pytest.mark.parametrize("threshold", [0.5, 1.0, 3.0])
def test_huber_is_torchs(threshold):
    error = torch.linspace(-4, 4, 33)
    expected = torch.nn.functional.huber_loss(error, torch.zeros(33), reduction="none", delta=threshold)
    torch.testing.assert_close(huber(error, threshold), expected)


def test_the_average_is_over_the_batch_and_keeps_the_chain():
    values = torch.tensor([[1.0, 2.0, 6.0], [10.0, 20.0, 60.0]])
    assert average(values, torch.ones(3, dtype=torch.bool)).tolist() == [3.0, 30.0]


def test_rows_that_are_not_valid_count_neither_above_nor_below_the_line():
    values = torch.tensor([[1.0, 2.0, 600.0], [10.0, 20.0, 600.0]])
    assert average(values, torch.tensor([True, True, False])).tolist() == [1.5, 15.0]


def test_sequences_are_averaged_over_time_and_batch_together():
    values = torch.arange(12.0).view(2, 2, 3)  # K, T, B
    valid = torch.tensor([[True, True, True], [True, False, False]])
    assert average(values, valid).tolist() == [(0 + 1 + 2 + 3) / 4, (6 + 7 + 8 + 9) / 4]


def test_no_valid_row_gives_zero_and_not_nan():
    assert average(torch.ones(2, 3), torch.zeros(3, dtype=torch.bool)).tolist() == [0.0, 0.0]
