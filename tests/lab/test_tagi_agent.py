"""The agent of normal weights: targets by hand, an action that is inferred, and an actor that learns a bandit's best action without a
gradient."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from deeprl.extend import Raw, Rows, Spec
from deeprl.learning.transforms.channels import Polar
from deeprl.learning.transforms.observations import Plain, Running
from deeprl_lab.agents.tagi import TAGI
from deeprl_lab.mathematics.tagi import IndependentNormal, derivative, forward, uphill
from deeprl_lab.mathematics.tagi_updates import targets
from tests.pretended import Pretended

LINE = Spec((2,), torch.float32, 0, 1)


def agent(spec: Spec = LINE, **own) -> TAGI:
    sizes = {
        "interval": 64,
        "batch_size": 16,
        "actor_hidden": [16],
        "critic_hidden": [32, 32],
        "noise": [0.5, 0.5],
        "decay": 0.9,
        "least": 0.3,
    }
    parts = {"rewards": Raw, "normalize": Plain}
    return TAGI(spec=spec, seed=0, world=SimpleNamespace(num=1, make=None), discount=0.5, **sizes | parts | own)


def test_targets_are_discounted_up_to_an_end_and_carry_the_variance_of_what_follows():
    """Of five steps the second is cut off by time, the fourth falls."""
    rewards, ends = np.array([[1.0], [2.0], [4.0], [8.0], [16.0]]), np.array([[False], [True], [False], [True], [False]])
    after = IndependentNormal(np.array([[9.0], [10.0], [9.0], [0.0], [20.0]]), np.array([[9.0], [4.0], [9.0], [0.0], [8.0]]))
    found = targets(rewards, ends, after, 0.5)
    assert found.mean[:, 0].tolist() == [1 + 0.5 * 7, 2 + 0.5 * 10, 4 + 0.5 * 8, 8.0, 16 + 0.5 * 20]
    assert found.var[:, 0].tolist() == [4 / 16, 4 / 4, 0.0, 0.0, 8 / 4]


def rows_of(found: TAGI, random: np.random.Generator) -> Rows:
    """A step of a bandit: −(a − 0.3)², which ends the episode."""
    obs = np.ones((1, 2), np.float32)
    noise = {"normal": torch.from_numpy(random.standard_normal((1, 1)))}
    action = found.act(torch.from_numpy(obs), torch.tensor([True]), {}, 0, noise, True).action.numpy()
    reward, true = (-((action - 0.3) ** 2)).sum(-1), np.ones(1, bool)
    return Rows(obs, action, 3 * reward, obs, true, true, np.ones(1, np.float32))


def test_the_mean_of_the_actor_comes_near_the_best_action_of_a_bandit():
    found, random = agent(batch_size=1), np.random.default_rng(0)
    for _ in range(12 * 64):
        found.observe(rows_of(found, random))
    assert found.count.tolist() == [0, 12]
    assert found.greedy(torch.ones(1, 2)).item() == pytest.approx(0.3, abs=0.15)
    assert found.diagnostics(0)["train/critic_noise"] == 0.3  # 0.5 · 0.9^12, not below the least


def test_the_actor_observes_the_action_that_the_critic_infers():
    """With a large noise hardly; with a small one its mean moves in the direction of the inferred action."""
    for noise in (1e4, 0.05):
        found = agent(noise=[1e4, noise])
        state = IndependentNormal(np.ones((1, 2)), np.zeros((1, 2)))
        chosen = forward(found.actor, state)[-1].a
        both = IndependentNormal(*(np.concatenate(pair, 1) for pair in zip(state, chosen)))
        wanted = uphill(both, derivative(found.critic, forward(found.critic, both))).mean[0, -1] - chosen.mean[0, 0]
        found.learned(state.mean, chosen.mean, np.zeros((1, 1)), np.zeros((1, 1)))
        moved = forward(found.actor, state)[-1].a.mean[0, 0] - chosen.mean[0, 0]
        assert moved * wanted > 0
        assert abs(moved) < 1e-6 if noise > 1 else abs(moved) > 1e-3


def test_what_it_learned_is_in_its_state():
    found, other, random = agent(interval=8), agent(interval=8), np.random.default_rng(1)
    for _ in range(11):
        found.observe(rows_of(found, random))
    other.load_state(found.state())
    obs = torch.randn(3, 2)
    assert torch.equal(found.greedy(obs), other.greedy(obs))
    assert other.count.tolist() == [3, 1]
    assert other.columns["action"][:3].tolist() == found.columns["action"][:3].tolist()


def test_observations_that_are_no_vectors_are_refused():
    with pytest.raises(ValueError, match="this agent takes vectors"):
        agent(Spec((3, 8, 8), torch.uint8, 0, 1))


def test_rewards_of_several_channels_are_refused():
    """Targets ran over the channels, and the first of them were learned for every step."""
    with pytest.raises(ValueError, match="rewards of one channel"):
        agent(rewards=partial(Polar, bound=None))


@pytest.mark.parametrize("noise", [[1.0], 1.0, "abc", [0, 0], [1, 2, 3], [1.0, float("inf")], [True, 1.0]])
def test_noise_that_is_not_two_positive_numbers_is_refused(noise):
    with pytest.raises(ValueError, match="noise must be a list of two positive numbers, not "):
        agent(noise=noise)


def test_widths_that_are_none_are_named_by_their_key():
    with pytest.raises(ValueError, match="critic_hidden"):
        agent(critic_hidden="abc")


def test_on_a_gpu_all_of_it_stays_on_the_host():
    """Its moments of observations were on the GPU, and NumPy computes with them."""
    with Pretended() as device, torch.device("cuda"):
        found = agent(normalize=Running)
    with device:
        found.observe(rows_of(found, np.random.default_rng(0)))
    assert not device.faults
