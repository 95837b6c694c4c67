"""What is done when a policy moves far: passes that are left out, learning rates that change."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from deeprl.learning.optim.adam import Adam
from deeprl.learning.parts.divergence import AdaptiveRate, Divergence, Stop
from deeprl.replay.rollout import Rollout
from deeprl.running.training.learner import Learner
from deeprl.schedules import Linear
from deeprl.types import Rows
from tests.agents.test_ppo import agent_of
from tests.builders import DISCRETE, made_up, same, snapshot


def moved(part: Divergence, kl: float) -> Divergence:
    part.kl.fill_(kl)
    return part


def collected(epochs: int) -> Rollout:
    rollout, random = Rollout(length=4, epochs=epochs, minibatches=2, spec=DISCRETE, num=2, discount=0.9), np.random.default_rng(0)
    rows = lambda: random.normal(size=(2, 5)).astype(np.float32)  # noqa: E731
    flags = np.zeros(2, bool)
    for _ in range(4):
        rollout.append(Rows(rows(), np.array([0, 2]), rows()[:, 0], rows(), flags, flags, np.ones(2, np.float32)))
    return rollout


def after_passes(epochs: int = 3, **slots):
    """An agent and the updates that it made on one rollout."""
    agent, rollout = agent_of(**slots), collected(epochs)
    rollout.connect(0, "test", agent.observe, agent.prepare)
    rollout.before_pass = agent.before_pass
    learner = Learner(agent, lambda batch: batch)
    for batch in rollout.updates(0, 8):
        learner.update(batch)
    return agent


def test_the_divergence_is_that_of_the_newest_update():
    agent, learn = agent_of(kl=partial(Stop, target=1.0)), made_up(agent_of(), DISCRETE, size=6)
    learner = Learner(agent, lambda batch: batch)
    learner.update(learn)
    assert agent.kl.kl.item() == pytest.approx(0.0, abs=1e-7)
    report = learner.update(learn)
    assert agent.kl.kl.item() == pytest.approx(report.metrics["train/approx_kl"].mean().item(), rel=1e-6) != 0.0


def test_no_further_pass_is_made_behind_the_one_that_moves_the_policy_far():
    assert [after_passes(kl=partial(Stop, target=target)).updates for target in (1e-9, 1e9)] == [2, 6]


def test_a_bound_that_is_never_reached_changes_nothing():
    plain, bounded = after_passes(), after_passes(kl=partial(Stop, target=1e9))
    assert all(torch.equal(tensor, bounded.state_dict()[name]) for name, tensor in snapshot(plain).items())
    assert not same(snapshot(plain), snapshot(after_passes(kl=partial(Stop, target=1e-9))))


@pytest.mark.parametrize(
    ("kl", "rates"),
    [(0.021, [0.004, 0.004 / 1.5, 0.003 / 1.5]), (0.004, [0.009, 0.01]), (0.01, [0.006, 0.006])],
)
def test_the_learning_rate_follows_the_divergence(kl, rates):
    part = AdaptiveRate(target=0.01, low=0.003 / 1.5, high=0.01)
    optimizer = part.optimizer(Adam(lr=0.006))
    for rate in rates:
        assert moved(part, kl).before_pass(0)
        assert optimizer.lr * optimizer.schedule(0) == pytest.approx(rate)


def test_it_is_a_factor_beside_the_schedule_and_a_part_of_the_state():
    agent = after_passes(kl=partial(AdaptiveRate, target=1e-9), optimizer=Adam(lr=0.006, schedule=Linear(start=1.0, end=0.0, duration=10)))
    rate = agent.learning_rates(5)["train/learning_rate"]
    assert rate == pytest.approx(0.006 / 1.5**2 / 2)  # before the second and the third pass
    other = agent_of(kl=partial(AdaptiveRate, target=1e-9), optimizer=Adam(lr=0.006, schedule=Linear(start=1.0, end=0.0, duration=10)))
    other.load_state(agent.state())
    assert other.learning_rates(5)["train/learning_rate"] == rate


@pytest.mark.parametrize(("given", "field"), [({"target": 0}, "target"), ({"factor": 0.5}, "factor"), ({"low": 0.1}, "high")])
def test_bounds_that_are_none_are_refused(given, field):
    with pytest.raises(ValueError, match=f"{field} must be"):
        AdaptiveRate(**{"target": 0.01, **given})
