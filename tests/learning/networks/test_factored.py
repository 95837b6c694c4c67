"""Actions of several components, each chosen for itself: probabilities by hand, masks, the way to the environment and back."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from deeprl.envs.conversion import Conversion
from deeprl.envs.gym import GymGame
from deeprl.envs.vector.actions import actions_of, valid_choices
from deeprl.envs.vector.parts import Form
from deeprl.errors import ConfigError
from deeprl.learning.networks.policies import FactoredPolicy, PolicyChoice
from deeprl.learning.networks.torsos import MLPTorso
from deeprl.learning.values.masked import only
from deeprl.running.config.build import check_actions
from deeprl.running.config.dry_run import dry_run
from deeprl.running.training.learner import gradient
from deeprl.types import Spec
from tests.agents.test_ppo import agent_of
from tests.builders import assert_close32, collecting, entry, flat, made_up, settled, traced_gradient

SIZES = (3, 2, 1)
SPEC = Spec((5,), torch.float32, 0, 3, choices=SIZES)
MASKED = SPEC._replace(obs_shape=(5 + 6,), masked=True)
SPACE = spaces.MultiDiscrete(SIZES, start=[0, 4, 0])


def policy() -> FactoredPolicy:
    made = PolicyChoice().build(SPEC, MLPTorso(hidden=(3,)))
    assert isinstance(made, FactoredPolicy)
    return made


def test_probabilities_multiply_and_entropies_add():
    made, outputs = policy(), torch.tensor([[0.0, 0.0, np.log(2.0), 0.0, np.log(3.0), 0.0]])  # (¼ ¼ ½), (¼ ¾), (1)
    assert made.greedy(outputs).tolist() == [[1.0, 1.0, -1.0]]
    assert made.log_prob(outputs, torch.tensor([[1.0, -1.0, -1.0]])).exp().item() == pytest.approx(1 / 8)
    assert made.log_prob(outputs, torch.tensor([[0.0, 1.0, -1.0]])).exp().item() == pytest.approx(3 / 16)
    expected = 1.5 * np.log(2) + (np.log(4) - 0.75 * np.log(3))
    assert made.entropy(outputs).item() == pytest.approx(expected, rel=1e-6)


def test_the_environment_gets_the_choices():
    actions, made = actions_of(SPACE, components=True), policy()
    for number in range(6):
        outputs = torch.zeros(1, 6)
        first, second = np.unravel_index(number, (3, 2))
        outputs[0, [first, 3 + second]] = 1.0
        action = made.greedy(outputs)
        assert actions.to_env(action.numpy()).tolist() == [[first, 4 + second, 0]]
        assert made.log_prob(100 * outputs, action).item() == pytest.approx(0, abs=1e-6)
    assert actions_of(spaces.MultiBinary(20), components=True).sizes == (2,) * 20
    assert actions_of(spaces.MultiDiscrete([100] * 9), components=True).num == 0  # 10^18 combinations


def test_invalid_choices_have_no_probability():
    valid = torch.tensor([[True, False, True, False, True, True]])
    outputs, made = only(torch.zeros(2_000, 6), valid.expand(2_000, -1)), policy()
    drawn = made.sampled(outputs, made.noise((2_000,), torch.Generator().manual_seed(0)))
    assert set(map(tuple, drawn.tolist())) == {(-1.0, 1.0, -1.0), (1.0, 1.0, -1.0)}
    assert made.entropy(outputs)[0].item() == pytest.approx(np.log(2))


@pytest.mark.parametrize("spec", [SPEC, MASKED])
def test_an_agent_learns_acts_and_traces(spec):
    agent = agent_of(spec)
    dry_run(agent, spec, "cpu")
    batch = made_up(agent, spec, size=6)
    assert_close32(flat(traced_gradient(agent, "policy", batch)[0]), flat(gradient(agent, "policy", batch)[0]))
    obs = torch.ones(4, *spec.obs_shape)
    noise = entry(agent.act_noise((1, 4), torch.Generator().manual_seed(0)))
    acted = collecting(agent)(obs, torch.ones(4, dtype=torch.bool), {}, 0, noise)
    assert acted.action.shape == (4, 3)


class Told(gymnasium.Env):
    """Its masks are a tuple of one array for each component."""

    observation_space, action_space = spaces.Box(-1, 1, (5,)), SPACE

    def reset(self, seed=None, options=None):
        return np.zeros(5, np.float32), {"action_mask": (np.array([1, 0, 1]), np.array([0, 1]), np.array([1]))}

    def step(self, action):
        assert action[0] != 1
        assert action[1] == 5
        return np.zeros(5, np.float32), 0.0, False, False, self.reset()[1]


def test_masks_of_components_are_the_last_columns():
    game = GymGame(Told(), Form(mask=True, components=True))
    assert game.spec == MASKED
    row = game.reset(0)
    assert row[-6:].tolist() == [1, 0, 1, 0, 1, 1]
    for u in (0.0, 0.9):
        game.step(game.actions.to_env(valid_choices(row, SIZES, u)[None])[0])


def test_a_component_without_a_valid_choice_is_refused():
    conversion = Conversion(spaces.Box(-1, 1, (5,)), SPACE, Form(mask=True, components=True))
    with pytest.raises(ValueError, match="no valid action"):
        conversion.row(np.zeros(5, np.float32), {"action_mask": np.array([1, 1, 1, 0, 0, 1])}, False)


def test_what_has_no_components_and_who_cannot_choose_them_is_refused():
    with pytest.raises(ValueError, match=r"env\.components=true needs an action space MultiDiscrete"):
        actions_of(spaces.Discrete(3), components=True)
    with pytest.raises(ConfigError, match=r"env\.components=true .* not agent=td3: .* agent=a2c, bc, .*ppo"):
        check_actions(settled("agent=td3", "env=classic/pendulum"), SPEC)
