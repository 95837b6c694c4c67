"""Classes that moved: stored paths are translated, and hashes of configurations stay what they were."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pkgutil import resolve_name

import pytest

from deeprl.running.runs import moved
from deeprl.running.runs.config_file import config_hash
from deeprl.running.runs.moved import former, translated, word_of_today

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


@pytest.mark.parametrize("new", moved.moved().values())
def test_moved_paths_are_there(new):
    resolve_name(new)


def test_a_class_with_another_name_keeps_its_hash():
    old, new = ({"_target_": f"deeprl.agents.stock.{name}"} for name in ("CVaR", "CVaRUtility"))
    other = {"_target_": "deeprl.agents.stock.CVaRActionSelection"}
    assert translated(old) == new
    assert former(new) == old
    assert translated(other) == former(other) == other


@pytest.mark.parametrize(
    ("stored", "now"),
    [
        ({"clip": None, "normalize": False}, {"_target_": moved.PLAIN, "normalize": False}),
        ({"clip": 0.1, "normalize": True}, {"_target_": moved.SURROGATE, "clip": 0.1, "normalize": True}),
    ],
)
def test_the_losses_of_a_stored_a2c_are_a_class_of_their_own(stored, now):
    """A null clip switched the algorithm of `Surrogate`; the hash stays that of the stored run."""
    before = {"agent": {"surrogate": {"_target_": "deeprl.policy_gradient.Surrogate", **stored}}}
    today = moved.of_today(before)
    assert today["agent"]["surrogate"] == now
    assert former(today) == before
    assert config_hash(today) == config_hash(before)
    losses = {key: value for key, value in now.items() if key != "_target_"}
    assert resolve_name(now["_target_"])(**losses).normalize == stored["normalize"]


def test_an_extension_says_where_its_modules_went(monkeypatch):
    """And redirects none of deeprl's that moved."""
    points = [EntryPoint("mine.old", "mine.new", moved.ENTRY_POINTS), EntryPoint("deeprl.values", "mine.values", moved.ENTRY_POINTS)]
    monkeypatch.setattr(moved, "entry_points", lambda group: points)
    moved.moved.cache_clear()
    try:
        assert translated({"_target_": "mine.old.a.A", "b": [{"_target_": "mine.older.B"}]}) == {
            "_target_": "mine.new.a.A", "b": [{"_target_": "mine.older.B"}],
        }  # fmt: skip
        assert former({"_target_": "mine.new.a.A"}) == {"_target_": "mine.old.a.A"}
        assert translated(BEFORE)["agent"]["_target_"] == "deeprl.learning.value_agent.ValueAgent"
        assert translated({"_target_": "deeprl.values.scalar.X"})["_target_"] == "deeprl.learning.values.scalar.X"
    finally:
        moved.moved.cache_clear()


def test_the_lab_has_said_so():
    """A run of before it was a package of its own."""
    old = {"_target_": "deeprl.agents.lab.dtr.DTRBandit", "optimism": {"_target_": "deeprl.lab.optimism.Bonus"}}
    assert translated(old) == {
        "_target_": "deeprl_lab.agents.dtr.DTRBandit",
        "optimism": {"_target_": "deeprl_lab.mathematics.optimism.Bonus"},
    }
    assert former(translated(old)) == old


def test_words_of_a_stored_sweep_have_the_names_of_today():
    for before, now in (("replay_ratio=2", "replay.ratio=2"), ("agent.surrogate.clip=null", "agent/surrogate=plain"), ("x=1", "x=1")):
        assert word_of_today(before) == now
