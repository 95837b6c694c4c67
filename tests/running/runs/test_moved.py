"""Classes that moved: stored paths are translated, and hashes of configurations stay what they were."""

from __future__ import annotations

from importlib import import_module

import pytest

from deeprl.running.runs.config_file import config_hash
from deeprl.running.runs.moved import MOVED, former, translated

BEFORE = {"seed": 3, "agent": {"_target_": "deeprl.value_agent.ValueAgent", "torso": {"_target_": "deeprl.networks.torsos.MLPTorso"}}}
"""A configuration as a run of 9114cc1 stored it"""


def test_a_stored_configuration_gets_the_paths_of_today():
    agent = translated(BEFORE)["agent"]
    assert agent["_target_"] == "deeprl.learning.value_agent.ValueAgent"
    assert agent["torso"]["_target_"] == "deeprl.learning.networks.torsos.MLPTorso"
    assert former(translated(BEFORE)) == BEFORE
    assert translated({"_target_": "deeprl.agents.mvi.MVI", "id": "deeprl.values.x"}) == {
        "_target_": "deeprl.agents.mvi.MVI", "id": "deeprl.values.x",
    }  # fmt: skip


def test_a_hash_is_that_of_the_commit_before_the_move():
    """Else `resume=auto` would begin anew, and a checkpoint would call its configuration edited."""
    assert config_hash(BEFORE) == config_hash(translated(BEFORE)) == "9432fec18919"


@pytest.mark.parametrize("new", MOVED.values())
def test_moved_paths_are_there(new):
    import_module(new)
