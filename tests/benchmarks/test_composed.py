"""Values of a sample of recipes, families and experiments, beside those that are stored; `python -m benchmarks.composed` compares all."""

from __future__ import annotations

import json

import pytest

from benchmarks.composed import change, folded, report, stored, unfolded
from deeprl.running.runs.config_file import flatten
from tests.builders import settled

SAMPLE = (
    "agent=idqn env=classic/cartpole", "agent=rbis_dqn env=minatar/breakout", "agent=a2c env=gym env.id=CartPole-v1",
    "agent=droq env=mujoco/hopper", "agent=td3 env=function env.function=gymnasium:make", "experiment=prioritized_paper",
)  # fmt: skip


@pytest.mark.parametrize("words", SAMPLE)
def test_recipes_have_the_values_that_are_stored(words):
    assert change(stored()[words], json.loads(json.dumps(dict(flatten(settled(*words.split())))))) == {}


def test_a_file_of_values_is_read_as_it_was_written_and_a_difference_is_named():
    before = {
        f"agent={agent} env={env}": {"names.agent": agent, "names.env": env, "env.num": num, "steps": steps}
        for agent, env, num, steps in (("dqn", "a", 1, 5), ("dqn", "b", 2, 5), ("td3", "b", 2, 7))
    }
    lines = json.loads(folded(before))
    assert {words: unfolded(words, lines) for words in before} == before
    after = {**before, "agent=td3 env=b": {**before["agent=td3 env=b"], "steps": 8}}
    assert report(before, after).splitlines() == ["steps: 7 -> 8", "    1: agent=td3 env=b", "3 configurations, 1 differ"]
