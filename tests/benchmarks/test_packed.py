"""Policies to start from: each loads, tells its score, and acts."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.packed import EPISODES, PLACE, POLICIES, SEED, archive, final
from deeprl.running.session.api import load


@pytest.mark.parametrize("name", POLICIES)
def test_a_packed_policy_acts_and_has_its_score(name):
    run = load(archive(name))
    rows = np.zeros((2, *run.agent.spec.obs_shape))
    assert len(run.act_on_rows(rows)) == 2
    found = final(name)
    assert run.config["seed"] == SEED
    assert (found["step"], found["episodes"]) == (run.step, EPISODES)
    card = (run.folder / "README.md").read_text()
    assert f"| final evaluation | {found['mean']:.1f} ± {found['std']:.1f} over {EPISODES} episodes, step {run.step:,} |" in card


def test_the_policies_are_small_and_no_other_files_lie_there():
    files = [*PLACE.iterdir()]
    assert {*files} == {archive(name) for name in POLICIES}
    assert sum(file.stat().st_size for file in files) < 5_000_000
