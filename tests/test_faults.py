"""What goes wrong around a run: environments, disks, signals, clocks, killed processes. Nothing here waits for a clock."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import value_agent

from deeprl.collector import Collector
from deeprl.types import Spec
from envs.toy import Counting

# ---- environments


@pytest.mark.filterwarnings("ignore:environment")
@pytest.mark.parametrize("failure", ["raise", "nan"])
def test_restarts_are_counted_logged_and_truncated(failure):
    """The transition leads nowhere and bootstraps: ended, not terminated, from and to the last good observation."""
    envs = Counting(failure=failure, on_error="restart", max_length=50).make(0, num=2)
    rows = []
    collector = Collector(value_agent(Spec((3,), torch.float32, 3, 0)), envs, rows.append, seed=0)
    for tick in range(40):
        collector.tick(2 * tick)
    bad = [(row, i) for row in rows for i in range(2) if row.action[i] == 2]
    assert len(bad) > 3
    for row, i in bad:
        assert (row.ended[i], row.terminated[i], row.reward[i]) == (True, False, 0.0)
        assert np.array_equal(row.obs[i], row.next_obs[i])
    assert collector.metrics()["rollout/env_restarts"] == envs.num_restarts == len(bad)
    assert "rollout/env_restarts" not in Collector(value_agent(), Counting().make(0), rows.append, seed=0).metrics()
