"""Rules of terminations agree with the environments that have them; distractors move by themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from deeprl.envs.classic import Classic
from deeprl.envs.distractors import Distracted
from deeprl.envs.mujoco import MuJoCo
from deeprl.envs.terminations import rule_of


@pytest.mark.parametrize("name", ["Hopper", "Walker2d", "Ant", "Humanoid", "InvertedPendulum", "InvertedDoublePendulum"])
def test_a_rule_is_that_of_the_environment(name):
    pytest.importorskip("mujoco")
    game, random, seen, ended = MuJoCo(id=f"{name}-v5").build(), np.random.default_rng(0), [], []
    game.reset(0)
    for _ in range(150):
        obs, _, terminated, over = game.step(random.uniform(-1, 1, game.spec.action_dim).astype(np.float32))
        seen.append(obs)
        ended.append(terminated)
        if over:
            game.reset(None)
    found = MuJoCo(id=f"{name}-v5").terminates()(torch.from_numpy(np.stack(seen)))
    assert found.tolist() == ended
    assert any(ended) or name == "Ant"


def test_a_rule_is_not_known_of_other_tasks_and_where_arguments_may_have_changed_it():
    assert rule_of("Pendulum-v1", {})(torch.zeros(2, 3)).tolist() == [False, False]
    assert Classic(id="CartPole-v1").terminates() is None
    assert MuJoCo(id="Hopper-v5", kwargs={"healthy_z_range": [0.5, 2.0]}).terminates() is None


def test_distractors_are_a_linear_map_that_starts_anew_and_change_nothing_else():
    choice = Distracted(id="Pendulum-v1", distractors=3)
    game, plain = choice.build(), Classic(id="Pendulum-v1").build()
    assert game.spec.obs_shape == (6,)
    before, (start, random) = game.reset(0), (plain.reset(0), np.random.default_rng(0))
    assert np.array_equal(before[:3], start)
    matrix, fresh = random.normal(size=(3, 3)), 0
    for _ in range(60):
        action = np.float32([0.5])
        (after, reward, *_), (other, earned, *_) = game.step(action), plain.step(action)
        assert np.array_equal(after[:3], other)
        assert reward == earned
        expected = matrix @ before[3:]
        fresh += np.abs(expected).max() > 20
        if np.abs(expected).max() <= 20:
            assert after[3:] == pytest.approx(expected, rel=1e-4, abs=1e-4)
        before = after
    assert fresh
