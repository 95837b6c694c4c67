"""What tests read from the options on disk: the parts of a recipe, and presets that hold every mechanism between them."""

from __future__ import annotations

from tests.builders import settled
from tests.presets import KINDS, REPRESENTATIVES, covering, mechanisms, narrow, needs, parts


def test_the_parts_of_a_recipe_are_its_own_and_those_of_its_base():
    assert (parts("gi_dqn")["auxiliary"], parts("gi_dqn")["head"]) == ("gradient_correction", "scalar")
    assert parts("flash_sac")["torso@actor_torso"] == "inverted_residual"
    assert needs("agent/backup", "retrace") >= {"sequences", "behavior_probability"}


def test_few_names_cover_every_property():
    found = {"a": frozenset("pq"), "b": frozenset("qrs"), "c": frozenset("p"), "d": frozenset("s")}
    assert covering(found) == ("b", "a")
    assert frozenset().union(*map(mechanisms, REPRESENTATIVES)) == frozenset().union(*map(mechanisms, KINDS))
    assert len(REPRESENTATIVES) < len(KINDS) / 2


def test_networks_are_made_small_by_the_keys_that_their_torsos_have():
    agent = settled("agent=flash_sac", "env=classic/pendulum", *narrow("flash_sac"))["agent"]
    assert agent["torso"]["width"] == agent["actor_torso"]["width"] == 8
    assert narrow("c51") == ["agent.torso.hidden=[8]"]
