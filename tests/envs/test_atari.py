"""Atari: the preprocessing against one written out with ALE's raw interface, ALE's vector against ours, and the protocols."""

import ale_py
import cv2
import numpy as np
import pytest
import torch

from deeprl.envs.atari import GAMES, Atari, Noops, Protocol
from deeprl.types import Spec

LIVELY = Protocol(sticky=0.25, noop_max=30, eval_noop_max=5, life_loss_terminal=True)


def random_actions(envs, ticks, seed=0):
    return np.random.default_rng(seed).integers(0, envs.spec.num_actions, (ticks, envs.num))


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_preprocessing_is_grey_pooled_resized_and_stacked_on_zeros():
    envs = Atari(game="pong", protocol=Protocol(sticky=0.0)).make(0)
    obs = envs.reset()
    ale = ale_py.ALEInterface()
    ale.setFloat("repeat_action_probability", 0.0)
    ale.setInt("random_seed", 0)
    ale.loadROM(ale_py.roms.get_rom_path("pong"))
    ale.reset_game()
    buttons = ale.getMinimalActionSet()

    def small(screen):
        return cv2.resize(screen, (84, 84), interpolation=cv2.INTER_AREA)

    expected = [np.zeros((84, 84), np.uint8)] * 3 + [small(ale.getScreenGrayscale())]
    assert obs.dtype == np.uint8
    assert np.array_equal(obs[0], np.stack(expected))
    for action in random_actions(envs, 40)[:, 0]:
        screens, reward = [], 0
        for _ in range(4):
            reward += ale.act(buttons[action])
            screens.append(ale.getScreenGrayscale())
        expected.append(small(np.maximum(screens[2], screens[3])))
        step = envs.step(np.array([action]))
        assert np.array_equal(step.next_obs[0], np.stack(expected[-4:]))
        assert step.reward[0] == reward
    assert envs.spec == Spec((4, 84, 84), torch.uint8, 6, 0, 4)


@pytest.mark.parametrize(
    ("game", "protocol", "evaluation", "steps"),
    [
        ("breakout", LIVELY, False, 220),
        ("breakout", Protocol(sticky=0.25, noop_max=30, fire_reset=True, life_loss_terminal=True, max_episode_steps=50), False, 110),
        ("pong", Protocol(max_episode_steps=60), False, 130),
        ("space_invaders", Protocol(sticky=0.0, eval_noop_max=7, full_action_set=True, max_episode_steps=200), True, 220),
    ],
)
def test_ale_vector_gives_the_same_episodes(game, protocol, evaluation, steps):
    choice = Atari(game=game, protocol=protocol, reseed_every=2)
    sync, ale = (choice.make(3, num=2, vector=vector, evaluation=evaluation) for vector in ("sync", "ale"))
    assert sync.spec == ale.spec
    assert np.array_equal(sync.reset(), ale.reset())
    ended = 0
    for action in random_actions(sync, steps):
        one, other = sync.step(action), ale.step(action)
        assert same(one, other)
        ended += one.ended.sum()
    assert ended > 0
    assert str(sync.state_dict()) == str(ale.state_dict())
    sync.close()
    ale.close()


def test_workers_give_the_same_episodes():
    choice = Atari(game="breakout", protocol=LIVELY)
    sync, workers = (choice.make(3, num=2, vector=vector) for vector in ("sync", "async"))
    assert np.array_equal(sync.reset(), workers.reset())
    for action in random_actions(sync, 60):
        assert same(sync.step(action), workers.step(action))
    workers.close()


@pytest.mark.parametrize("vector", ["sync", "ale"])
def test_resume_in_mid_episode_is_exact(vector):
    """With unseeded resets in the journal, and journals of different lengths."""
    choice = Atari(game="breakout", protocol=LIVELY, reseed_every=2)
    before = choice.make(4, num=3, vector=vector)
    before.reset()
    actions = random_actions(before, 330)
    for action in actions[:300]:
        last = before.step(action)
    state = before.state_dict()
    entries = state["environments"].values()
    assert len({entry["count"] for entry in entries}) > 1
    assert any(entry["count"] > entry["steps"] for entry in entries)
    after = choice.make(4, num=3, vector=vector)
    assert np.array_equal(after.load_state_dict(state), last.obs)
    assert after.broken == []
    for action in actions[300:]:
        assert same(before.step(action), after.step(action))


def test_a_lost_life_is_terminated_and_the_game_goes_on():
    envs = Atari(game="breakout", protocol=LIVELY).make(0)
    obs = envs.reset()
    lost = 0
    for action in random_actions(envs, 2000):
        step = envs.step(action)
        if step.ended[0]:
            assert step.terminated[0]
            break
        if step.terminated[0]:
            lost += 1
            assert np.array_equal(step.obs[0, :3], obs[0, 1:])  # the same episode, the same stack of frames
        obs = step.obs
    assert step.ended[0]
    assert lost == 4  # Breakout has five lives; the fifth ends the game


def test_evaluation_plays_whole_games():
    envs = Atari(game="breakout", protocol=LIVELY).make(0, evaluation=True)
    envs.reset()
    for action in random_actions(envs, 2000):
        step = envs.step(action)
        assert step.terminated[0] == step.ended[0]
        if step.ended[0]:
            return
    raise AssertionError("the game did not end")


@pytest.mark.parametrize("vector", ["sync", "ale"])
def test_the_time_limit_is_a_truncation(vector):
    envs = Atari(game="pong", protocol=Protocol(max_episode_steps=10)).make(0, num=2, vector=vector)
    obs = envs.reset()
    for t in range(1, 21):
        step = envs.step(np.zeros(2, np.int64))
        assert (step.ended == (t % 10 == 0)).all()
        assert not step.terminated.any()
        assert np.array_equal(step.next_obs[:, :3], obs[:, 1:])  # the last observation of the episode, not the first of the next
        if t % 10 == 0:
            assert not step.obs[:, :3].any()
        obs = step.obs


def test_rewards_are_raw():
    envs = Atari(game="space_invaders").make(0)
    envs.reset()
    assert max(envs.step(action).reward[0] for action in random_actions(envs, 400)) > 1


def test_noops_are_drawn_as_ale_draws_them():
    """Numbers of std::mt19937(5489) are 3499211612, 581869302, …: the example of the C++ standard's generator."""
    noops = Noops(30)
    noops.seed(5489)
    assert [noops(), noops()] == [3499211612 * 31 >> 32, 581869302 * 31 >> 32]
    assert Noops(0)() == 0


def test_games_are_named_and_a_misspelt_one_is_corrected():
    assert {"pong", "breakout", "space_invaders", "ms_pacman"} <= set(GAMES)
    assert "combat" not in GAMES
    with pytest.raises(ValueError, match=r"env\.game=brekout .* nearest is breakout"):
        Atari(game="brekout")
    with pytest.raises(ValueError, match="sticky must be between 0 and 1"):
        Protocol(sticky=2)


@pytest.mark.parametrize("bound", [0, -1.0])
def test_a_bound_that_would_erase_rewards_is_refused(bound):
    with pytest.raises(ValueError, match=f"^reward_clip must be above 0, or null for no bound, not {bound}"):
        Atari(game="pong", reward_clip=bound)


def test_ale_s_vector_replaces_no_environment():
    with pytest.raises(ValueError, match="^on_error must be fail with env.vector=ale"):
        Atari(game="pong", on_error="restart").make(0, num=1, vector="ale")
