"""How many threads a run uses that leaves it to the rule."""

from __future__ import annotations

import pytest

from deeprl.running.config.build import build_agent
from deeprl.running.session import assemble
from tests.builders import settled, spec_of


@pytest.mark.parametrize(
    ("words", "threads"),
    [
        (("agent.torso.hidden=[255]",), 1),
        (("agent.torso.hidden=[256]",), 7),
        (("agent.torso.hidden=[16,256,16]",), 7),
        (("agent.torso.hidden=[256]", "runtime.threads=2"), 2),
        (("agent.torso.hidden=[16]", "runtime.threads=2"), 2),
    ],
)
def test_layers_of_256_units_are_worth_all_threads_of_this_machine(words, threads, monkeypatch):
    monkeypatch.setattr(assemble, "MACHINE_THREADS", 7)
    config = settled("agent=dqn", "env=classic/cartpole", *words)
    assemble.decide_computation(config, build_agent(config, spec_of("classic/cartpole")), 1000)
    assert config["runtime"]["threads"] == threads
