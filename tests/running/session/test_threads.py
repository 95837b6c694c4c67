"""How many threads a run uses that leaves it to the rule."""

from __future__ import annotations

import pytest

from deeprl.running.config.build import build_agent
from deeprl.running.session import computation
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
    monkeypatch.setattr(computation, "MACHINE_THREADS", 7)
    config = settled("agent=dqn", "env=classic/cartpole", *words)
    computation.decide_computation(config, build_agent(config, spec_of("classic/cartpole")), 1000)
    assert config["runtime"]["threads"] == threads


@pytest.mark.parametrize(("length", "mode"), [(16, "compiled"), (80, "fast")])
def test_short_unrolls_of_a_core_are_compiled_in_long_runs(length, mode, monkeypatch):
    """A merge had lost it: then no core was compiled."""
    monkeypatch.setattr(computation, "has_compiler", lambda: True)
    config = settled("agent=r2d2", "env=classic/cartpole", f"replay.length={length}", "replay.burn_in=0")
    computation.decide_computation(config, build_agent(config, spec_of("classic/cartpole")), 10_000_000)
    assert config["accelerate"]["mode"] == mode


@pytest.mark.parametrize(("on_device", "mode"), [(True, "compiled"), (False, "fast")])
def test_long_rollouts_on_the_device_are_compiled_whatever_their_updates(on_device, mode, monkeypatch):
    """Updates alone had counted: PPO on 64 CartPoles was to make 5,000,000 steps at a quarter of its speed."""
    monkeypatch.setattr(computation, "has_compiler", lambda: True)
    config = settled("agent=ppo", "env=tensor/cartpole", "env.num=64", "steps=5000000")
    computation.decide_computation(config, build_agent(config, spec_of("tensor/cartpole")), 39_062, on_device)
    assert config["accelerate"]["mode"] == mode
