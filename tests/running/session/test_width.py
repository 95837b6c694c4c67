"""Very many networks side by side are told of, because a zero too many would only show as a slow run."""

from __future__ import annotations

import re

import pytest
from torch import nn

from deeprl.running.session.assemble import WIDE, tell_width


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
