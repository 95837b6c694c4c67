"""The effective rank of features, on matrices whose singular values are known."""

import pytest
import torch

from benchmarks.feature_rank import effective_rank, table


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


def test_ranks_are_compared_with_those_of_dqn_on_the_same_task():
    """Two tasks, on each 6 ways to choose two of four runs: 36 splits, of which two are as far apart as this one."""
    ranks = {"dqn": ([3, 4], [7, 8]), "self_prediction": ([1, 2], [5, 6])}
    lines = [
        {"run": f"{agent}-{task}-{seed}", "env": task, "seed": seed, "dead": 0, "effective_rank": rank}
        for agent, tasks in ranks.items()
        for task, each in zip("ab", tasks)
        for seed, rank in enumerate(each)
    ]
    rows = table(lines).splitlines()
    assert rows[2] == "| a | dqn | 3, 4 | 0, 0 |"
    assert rows[-1] == "| self_prediction | 0.00 [0.00, 0.00] | 0.056 |"
