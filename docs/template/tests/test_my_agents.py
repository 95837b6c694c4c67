from types import SimpleNamespace

import gymnasium
import my_agents  # noqa: F401  (registers the environment)
import pytest
import torch
from my_agents.corridor import Corridor
from my_agents.expected_sarsa import ExpectedSarsa

from deeprl.extend import MaskedValues, ScalarValues, squared


def target(epsilon: float) -> float:
    """For Q̄(s', ·) = (1, 3, 2), r = 1 and γ = 0.5."""
    view = SimpleNamespace(next=ScalarValues(torch.tensor([[[1.0, 3.0, 2.0]]]), squared, torch.zeros(1, 1, 1)))
    batch = SimpleNamespace(reward=torch.tensor([1.0]), discount=torch.tensor([0.5]), extra={})
    return ExpectedSarsa(epsilon)(None, view, batch).mean().item()


def test_the_target_is_an_expectation_over_an_epsilon_greedy_policy():
    """π = (0.1, 0.8, 0.1), so the expectation is 0.1 + 2.4 + 0.2 = 2.7 and the target 1 + 0.5 · 2.7 = 2.35."""
    assert target(epsilon=0.3) == pytest.approx(2.35)


def test_without_epsilon_it_is_q_learning():
    assert target(epsilon=0.0) == 1.0 + 0.5 * 3.0


def test_an_invalid_action_has_no_probability():
    """π = (0.15, 0.85, 0), so the expectation is 0.15 + 2.55 = 2.7 again, whatever the third value is."""
    valid = torch.tensor([[True, True, False]])
    values = ScalarValues(torch.tensor([[[1.0, 3.0, 100.0]]]), squared, torch.zeros(1, 1, 1))
    batch = SimpleNamespace(reward=torch.tensor([1.0]), discount=torch.tensor([0.5]), extra={"next_valid": valid})
    y = ExpectedSarsa(0.3)(None, SimpleNamespace(next=MaskedValues(values, valid)), batch).mean()
    assert y.item() == pytest.approx(2.35)


def test_without_wind_the_corridor_takes_nine_steps():
    env = Corridor(length=10, wind=0.0)
    env.reset(seed=0)
    assert [env.step(1)[2] for _ in range(9)] == [False] * 8 + [True]


def test_it_is_registered():
    assert gymnasium.make("Corridor-v0").spec.max_episode_steps == 100
