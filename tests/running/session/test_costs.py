"""What a run tells of at its start: very many networks side by side, and losses that are learned late or never."""

from __future__ import annotations

import re

import pytest
from torch import nn

from deeprl.agents.qgpo import Guidance
from deeprl.running.session.costs import WIDE, tell_first_phase, tell_width
from tests.agents.test_qgpo import diffusion
from tests.builders import value_agent


@pytest.mark.parametrize(
    ("part", "told"),
    [
        ({"chain": {"length": 5}}, ""),
        ({"chain": {"length": WIDE}}, ""),
        ({"chain": {"length": 1000}}, "agent.chain.length=1000: 1,000 networks side by side, .* Weights and targets take 40 kB"),
        ({"ensemble": 100}, "agent.ensemble=100: 100 networks"),
    ],
)
def test_a_wide_agent_is_told_of(part, told, capsys):
    tell_width({"agent": part}, nn.Linear(99, 100))  # 10,000 weights
    said = capsys.readouterr().err
    assert re.match(told + "." if told else "$", said)


@pytest.mark.parametrize(
    ("clone", "told"),
    [
        (0, ""),
        (9, "agent.guidance.clone=9: the first 9 of 30 updates learn score alone, the others critic and energy too"),
        (30, "agent.guidance.clone=30: all 30 updates of this run learn score alone, and critic and energy never: lower it"),
    ],
)
def test_losses_that_are_learned_late_are_told_of(clone, told, capsys):
    tell_first_phase(diffusion(Guidance(clone=clone)), 30)
    assert re.match(told or "$", capsys.readouterr().err)
    tell_first_phase(value_agent(), 30)
    assert not capsys.readouterr().err
