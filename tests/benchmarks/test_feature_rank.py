"""The effective rank of features, on matrices whose singular values are known."""

import pytest
import torch

from benchmarks.feature_rank import effective_rank


@pytest.mark.parametrize(
    ("singular", "rank"),
    [
        ([1.0, 1.0, 1.0, 1.0], 4),
        ([99.0, 0.5, 0.5, 0.0], 1),  # the first alone has 0.99 of the sum
        ([98.0, 1.0, 0.5, 0.5], 2),
        ([0.0, 0.0, 0.0, 0.0], 0),
    ],
)
def test_effective_rank_is_the_number_of_values_with_99_per_cent_of_the_sum(singular, rank):
    rotation, _ = torch.linalg.qr(torch.randn(8, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    assert effective_rank(rotation * torch.tensor(singular, dtype=torch.float64)) == rank
