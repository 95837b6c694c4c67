"""What looks wrong in a configuration."""

from __future__ import annotations

from types import SimpleNamespace

from deeprl.running.session.doubts import FINDERS, horizon, units


def test_numbers_of_another_unit_are_told():
    """A newcomer's deviation of 50, clip of 20 and learning rate of 0 trained without a word."""
    agent = {"explore": {"std": 50}, "surrogate": {"clip": 20}, "optimizer": {"lr": 0.0}, "actor_optimizer": {"lr": 1e-3}}
    found = dict(units(SimpleNamespace(config={"agent": agent})))
    assert [*found] == ["agent.optimizer.lr", "agent.explore.std", "agent.surrogate.clip"]
    assert units in FINDERS
    usual = {"explore": {"std": 0.1}, "surrogate": {"clip": 0.2}, "optimizer": {"lr": 1e-3}}
    assert not dict(units(SimpleNamespace(config={"agent": usual})))


def test_a_discount_of_one_has_no_number_of_steps():
    """It was said to look inf steps ahead."""
    told = dict(horizon(SimpleNamespace(config={"discount": 1}, limit=500, average_reward=False)))
    assert told["discount"].startswith("discount=1 has no horizon, and episodes have at most 500 steps: lower it; discount=0.998 looks")
