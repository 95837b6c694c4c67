"""Tensor worlds: their random numbers, their episodes, their checkpoints, and classic control beside Gymnasium's."""

import json
import re
import sys
import types
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch

from deeprl.envs.tensor_classic import WORLDS, CartPoleWorld, TensorClassic
from deeprl.envs.vector.environments import EnvironmentFailed
from deeprl.envs.vector.worlds import mix, uniforms
from tests.conformance import actions_for, same

LIMITS = {"CartPole-v1": 500, "MountainCar-v0": 200, "Pendulum-v1": 200, "Acrobot-v1": 500}


def choice(id="CartPole-v1", **keys) -> TensorClassic:
    return TensorClassic(id=id, **{"max_episode_steps": LIMITS.get(id, 9), **keys})


def test_splitmix_has_the_numbers_of_its_authors():
    """State 1234567: the outputs that are published with it."""
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    state, golden = 1234567, 0x9E3779B97F4A7C15
    for output in published:
        assert mix(torch.tensor([state])).item() % 2**64 == output
        state = (state + golden + 2**63) % 2**64 - 2**63


def test_uniform_numbers_are_uniform_and_keys_are_independent():
    found = uniforms(torch.arange(20_000), 4)
    assert found.shape == (20_000, 4)
    assert found.min() >= 0
    assert found.max() < 1
    assert found.mean(0).sub(0.5).abs().max() < 4 / (12 * 20_000) ** 0.5
    assert torch.corrcoef(found.T).fill_diagonal_(0).abs().max() < 4 / 20_000**0.5
    assert len(found.unique()) == 80_000


@pytest.mark.parametrize("id", sorted(WORLDS))
def test_a_step_is_gymnasiums_from_10000_of_its_states(id):
    """Next observation, reward and terminal, to the rounding of float32."""
    env, world = gymnasium.make(id), WORLDS[id](LIMITS[id])
    rng = np.random.default_rng(0)
    inner, states, actions, reached, answers = env.unwrapped, [], [], [], []
    env.reset(seed=0)
    env.action_space.seed(0)
    for _ in range(10_000):
        if rng.random() < 0.01:  # states that a random policy does not reach
            inner.state = np.array(inner.state) * rng.uniform(0.5, 2)
        states.append(np.array(inner.state, float))
        actions.append(env.action_space.sample())
        obs, reward, terminated, truncated, _ = env.step(actions[-1])
        answers.append((obs, reward, terminated))
        reached.append(np.array(inner.state, float))
        if terminated or truncated:
            env.reset()
    state = {"state": torch.tensor(np.array(states))}
    after, reward, terminal = world.advance(state, torch.from_numpy(np.array(actions)), torch.empty(10_000, 0))
    obs, rewards, terminals = (np.array(each) for each in zip(*answers))
    exact = 1e-7 if id == "Pendulum-v1" else 1e-14  # its torque is float32
    np.testing.assert_allclose(after["state"].numpy(), np.array(reached), rtol=exact, atol=exact)
    np.testing.assert_allclose(world.observe(after).numpy(), obs, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(reward.numpy(), rewards, rtol=1e-5, atol=1e-6)
    assert (terminal.numpy() == terminals).all()
    assert terminals.any() or id == "Pendulum-v1" or id == "MountainCar-v0"


def test_whole_episodes_are_gymnasiums():
    """CartPole from the same start, with the same actions, to its end."""
    envs = choice().make(5, num=8)
    first = envs.reset()
    games = [gymnasium.make("CartPole-v1") for _ in range(8)]
    for i, game in enumerate(games):
        game.reset()
        game.unwrapped.state = tuple(envs.state["state"][i].tolist())
    running = np.ones(8, bool)
    for action in actions_for(envs, 120):
        after = envs.step(action)
        for i in np.flatnonzero(running):
            obs, reward, terminated, truncated, _ = games[i].step(int(action[i]))
            np.testing.assert_allclose(after.next_obs[i], obs, rtol=1e-6, atol=1e-7)
            assert (after.terminated[i], after.ended[i], after.reward[i]) == (terminated, terminated or truncated, reward)
        running &= ~after.ended
    assert not running.any()
    assert np.abs(first).max() <= 0.05


@pytest.mark.parametrize("id", sorted(WORLDS))
def test_a_copy_does_not_depend_on_how_many_there_are(id):
    one, many, rest = choice(id).make(3, num=1), choice(id).make(3, num=5), choice(id).make(3, num=3, first=2)
    first = many.reset()
    assert np.array_equal(first[:1], one.reset())
    assert np.array_equal(first[2:], rest.reset())
    for action in actions_for(many, 250):
        after = many.step(action)
        assert same([part[:1] for part in after[:5]], one.step(action[:1])[:5])
        assert same([part[2:] for part in after[:5]], rest.step(action[2:])[:5])


def test_an_episode_ends_at_its_limit_and_the_next_one_is_another():
    envs = choice("Pendulum-v1", max_episode_steps=3).make(0, num=2)
    start = envs.reset()
    for tick in range(1, 7):
        after = envs.step(np.zeros((2, 1), np.float32))
        assert after.ended.all() == (tick % 3 == 0)
        assert not after.terminated.any()
        if tick == 3:
            assert not np.array_equal(after.obs, start)
            assert not np.array_equal(after.obs, after.next_obs)
    evaluation = choice("Pendulum-v1").make(0, num=2, evaluation=True)
    assert not np.array_equal(evaluation.reset(), start)


@pytest.mark.parametrize("id", sorted(WORLDS))
def test_a_run_goes_on_from_its_state_bit_for_bit(id):
    before, after = (choice(id, max_episode_steps=50).make(3, num=3) for _ in range(2))
    before.reset()
    actions = actions_for(before, 130)
    for action in actions[:67]:
        last = before.step(action)
    state = before.state_dict()
    assert np.array_equal(after.load_state_dict(state), last.obs)
    for action in actions[67:]:
        assert same(before.step(action)[:5], after.step(action)[:5])


def test_a_state_that_it_cannot_have_is_refused():
    envs = choice().make(3, num=3)
    assert envs.load_state_dict(envs.state_dict()) is None  # before the first reset
    envs.reset()
    state = envs.state_dict()
    json.dumps({name: value for name, value in state.items() if name == "num"})
    for change, said in (
        ({"num": 2}, "the state holds 2 environments, env.num is 3"),
        ({"steps": np.zeros(2, np.int64)}, r"the environments' steps has shape \(2,\)"),
        ({"episode": np.zeros(3)}, "type float64"),
        ({"state": {"state": np.zeros((3, 5))}}, "other tensors than state of 3 copies"),
        ({"state": {"state": np.full((3, 4), np.nan)}}, "is not finite"),
        ({"state": {"state": np.full((3, 4), 1e300)}}, "is not finite"),
        ({"steps": np.array([0, -(10**9), 0])}, "that no run has"),
        ({"steps": np.array([0, 500, 0])}, "that no run has"),
        ({"episode": np.array([0, -1, 0])}, "that no run has"),
    ):
        with pytest.raises(ValueError, match=said):
            choice().make(3, num=3).load_state_dict({**state, **change})


def test_wrong_actions_and_numbers_that_are_not_finite_are_told():
    envs = choice().make(0, num=2)
    envs.reset()
    for action, said in ((np.zeros(3, int), r"shape \(3,\), not \(2,\)"), (np.array([0, 2]), "0 to 2 are not among the 2")):
        with pytest.raises(ValueError, match=said):
            envs.step(action)
    envs.state["state"][0] = 1e200
    with pytest.raises(EnvironmentFailed, match="NaN or Inf"):
        envs.step(np.zeros(2, int))
    for keys in ({"reseed_every": 2}, {"on_error": "restart"}, {"vector": "async"}, {"max_episode_steps": 0}, {"id": "CartPole-v0"}):
        with pytest.raises(ValueError, match=next(iter(keys))):
            choice(**{"id": "CartPole-v1", **keys})


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda s, r, t: ({"state": s["state"].float()}, r, t), "advance answers with .*float32.*, begin with .*float64"),
        (lambda s, r, t: (s, r[:, None], t), r"rewards \(2, 1\)"),
        (lambda s, r, t: (s, r > 0, t), r"rewards \(2,\) of torch.bool and terminals"),
        (lambda s, r, t: (s, r, t.float()), "of torch.float32, not with"),
    ],
)
def test_a_world_whose_steps_have_another_form_is_told(monkeypatch, answer, said):
    plain = CartPoleWorld.advance
    monkeypatch.setattr(CartPoleWorld, "advance", lambda *given: answer(*plain(*given)))
    envs = choice().make(0, num=2)
    envs.reset()
    with pytest.raises(EnvironmentFailed, match=said):
        envs.step(np.zeros(2, int))
    monkeypatch.setattr(CartPoleWorld, "observe", lambda self, state: state["state"])
    with pytest.raises(EnvironmentFailed, match=r"its observations are torch.float64 \(2, 4\), its spec says torch.float32"):
        choice().make(0, num=2).reset()


def test_a_world_that_steps_in_place_is_told(monkeypatch):
    """Rows had the same observation before and after the step."""

    def advance(self, state, action, noise):
        state["state"] += 1.0
        return state, torch.ones(2), torch.zeros(2, dtype=torch.bool)

    monkeypatch.setattr(CartPoleWorld, "advance", advance)
    envs = choice().make(0, num=2)
    envs.reset()
    with pytest.raises(EnvironmentFailed, match="advance changes state of its state in place"):
        envs.step(np.zeros(2, int))


def test_a_world_that_changes_its_actions_changes_none_that_are_stored(monkeypatch):
    """A sticky or failing move stood in the replay as the agent's choice, with the probability of another one."""
    advance = CartPoleWorld.advance

    def pushes(self, state, action, noise):
        action.fill_(0)
        return advance(self, state, action, noise)

    monkeypatch.setattr(CartPoleWorld, "advance", pushes)
    envs, action = choice().make(0, num=2), np.ones(2, int)
    envs.reset()
    envs.step(action)
    there, chosen = choice(num=2).on_device(0, "cpu"), torch.ones(2, dtype=torch.int64)
    there.step(there.start(), chosen)
    assert action.tolist() == chosen.tolist() == [1, 1]


def test_a_world_that_has_seen_nothing_yet_steps_out_of_place(monkeypatch):
    """NaN of a hidden state is not equal to itself, and was told as a change."""
    begin, advance = CartPoleWorld.begin, CartPoleWorld.advance

    def begins(self, draws):
        return {**begin(self, draws), "last": torch.full((len(draws),), torch.nan)}

    def advances(self, state, action, noise):
        after, reward, terminated = advance(self, {key: value for key, value in state.items() if key != "last"}, action, noise)
        return {**after, "last": state["last"].clone()}, reward, terminated

    monkeypatch.setattr(CartPoleWorld, "begin", begins)
    monkeypatch.setattr(CartPoleWorld, "advance", advances)
    envs = choice().make(0, num=2)
    envs.reset()
    envs.step(np.zeros(2, int))


def test_a_copy_is_drawn_and_stepped_alone_as_among_others():
    envs = choice().make(0, num=2, vector="sync", evaluation=True, render=True)
    games = [envs.backend.game(i) for i in range(2)]
    envs.reset()
    first, second = (game.frame() for game in games)
    assert first.shape == (400, 600, 3)
    assert not np.array_equal(first, second)
    after = envs.step(np.array([0, 1]))
    assert np.array_equal(games[1].step(np.int64(1))[0], after.obs[1])


def test_the_world_of_the_page_is_one(monkeypatch):
    """The example of docs/environments.md: a walk to the right takes 3 steps less its start, and earns 1."""
    text = (Path(__file__).resolve().parents[2] / "docs" / "environments.md").read_text()
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "my_package/walk.py" in block)
    module = types.ModuleType("walk")
    monkeypatch.setitem(sys.modules, "walk", module)  # where a dataclass looks for its types
    exec(code, module.__dict__)
    envs = module.Line().make(0, num=64)
    start = envs.reset()[:, 0]
    assert set(start.tolist()) == {0, 1, 2}
    returns = np.zeros(64)
    for tick in range(1, 4):
        after = envs.step(np.ones(64, int))
        returns += after.reward * (tick <= 3 - start)
        assert (after.terminated[start == 3 - tick]).all()
    assert returns.tolist() == [1] * 64
