"""A rule of exploration that a user writes in one file, and that needs all values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from deeprl.learning.backups.policies import boltzmann
from deeprl.learning.parts.exploration import ValueExploration
from tests.builders import DISCRETE, value_agent


@dataclass(frozen=True)
class Boltzmann(ValueExploration):
    """a ~ softmax(Q / temperature)."""

    temperature: float = 1.0
    evaluation: float = 0.0

    def explored(self, policy, tick, memory):
        probability = boltzmann(policy().cpu(), self.temperature)[0]  # (M, A)
        action = (probability.cumsum(-1) < tick.noise["explore"].unsqueeze(-1)).sum(-1)
        return action, probability.gather(-1, action.unsqueeze(-1)).squeeze(-1), memory


def test_a_rule_of_exploration_may_use_all_values():
    agent = value_agent(explore=Boltzmann(temperature=0.5))
    values = torch.tensor([[[0.0, 0.5 * np.log(3.0), -np.inf]]]).expand(1, 2, 3)  # softmax(Q / 0.5) = (1/4, 3/4, 0)
    noise = {"explore": torch.tensor([0.2, 0.3], dtype=torch.float64), "action": torch.zeros(2).long(), "network": None}
    obs, first = torch.zeros(2, *DISCRETE.obs_shape), torch.ones(2, dtype=torch.bool)
    acted = agent.act(obs, first, {}, 0, noise, explore=True, infer=lambda obs, noise: values)
    assert acted.action.tolist() == [0, 1]
    assert acted.probability.tolist() == pytest.approx([0.25, 0.75])
