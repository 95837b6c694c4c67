"""The greedy policy of agents, and the environment's form of its actions."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from gymnasium import spaces

from deeprl.agents.idqn import Iterated
from deeprl.envs.conversion import Conversion
from deeprl.envs.vector.actions import Actions, actions_of
from deeprl.envs.vector.parts import Form
from deeprl.learning.networks.distributional import ImplicitQuantile
from deeprl.learning.networks.heads import Scalar
from deeprl.learning.parts.acting import Acting
from deeprl.learning.parts.exploration import EpsilonGreedy
from deeprl.tools.export.check import made_up
from deeprl.tools.export.policy import ExportedPolicy, divided, inputs_of, inside, without_privileged
from tests.builders import DISCRETE, actor_critic, entry, sac, value_agent
from tests.learning.test_several_parts import made

OBS = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
FIRST = torch.ones(40, dtype=torch.bool)


def evaluated(agent) -> torch.Tensor:
    noise = entry(agent.act_noise((1, len(OBS)), torch.Generator().manual_seed(1)))
    return agent.act(OBS, FIRST, {}, 0, noise, explore=False).action


def chain(acting: str, length: int = 3):
    return value_agent(chain=partial(Iterated, length=length, shift_period=9, sync_period=3, acting=acting))


@pytest.mark.parametrize(
    "agent",
    [
        value_agent(),
        value_agent(head=Scalar(noisy=True, sigma=5.0)),
        chain("last"),
        chain("mean"),
        chain("uniform", length=1),
        actor_critic(),
        sac(),
    ],
    ids=["dqn", "noisy", "last", "mean", "K = 1", "td3", "sac"],
)
def test_the_greedy_policy_is_that_of_an_evaluation_where_that_draws_nothing(agent):
    assert agent.simplified() == []
    assert torch.equal(agent.greedy(OBS), evaluated(agent))


@pytest.mark.parametrize("acting", Acting.DRAWN)
def test_where_the_acting_network_is_drawn_the_mean_of_their_values_acts(acting):
    agent = chain(acting)
    values = agent.chain.online(OBS).mean()  # (K, M, A)
    if acting == "uniform_with_target":
        values = torch.cat([agent.chain.target(OBS).mean()[:1], values])
    assert torch.equal(agent.greedy(OBS), values.mean(0).argmax(-1))
    assert not torch.equal(agent.greedy(OBS), evaluated(agent))
    (sentence,) = agent.simplified()
    assert "mean" in sentence


def test_evenly_spaced_fractions_take_the_place_of_drawn_ones():
    agent = value_agent(head=ImplicitQuantile(samples=6, policy_samples=4, cosines=8))
    fractions = torch.tensor([1 / 8, 3 / 8, 5 / 8, 7 / 8]).repeat(len(OBS), 1)
    network = entry(agent.act_noise((1, len(OBS)), torch.Generator()))["network"]._replace(fractions={"policy": fractions})
    assert torch.equal(agent.greedy(OBS), agent.chain.online(OBS, network).mean()[0].argmax(-1))
    assert "fractions" in agent.simplified()[0]


def test_an_exploring_evaluation_is_named():
    assert "0.001" in value_agent(explore=EpsilonGreedy(evaluation=0.001)).simplified()[0]


def test_discrete_actions_start_where_the_environments_do():
    agent = value_agent()
    assert torch.equal(ExportedPolicy(agent, Actions(num=DISCRETE.num_actions, start=7))(OBS), agent.greedy(OBS) + 7)


def test_combinations_are_taken_apart_as_the_environment_layer_does_it():
    actions = actions_of(spaces.MultiDiscrete([[2], [3]], start=[[3], [-1]]))
    agent = value_agent(DISCRETE._replace(num_actions=6))
    action = ExportedPolicy(agent, actions)(OBS)
    assert (action.shape, action.dtype) == ((40, 2, 1), torch.int64)
    np.testing.assert_array_equal(action.numpy(), actions.to_env(agent.greedy(OBS).numpy()))


def test_continuous_actions_are_scaled_and_shaped_as_the_environment_layer_does_it():
    low, high = np.float32([[-3.0], [0.0]]).reshape(-1), np.float32([1.0, 0.5])
    actions, agent = Actions(num=0, low=low, high=high, shape=(2, 1)), actor_critic()
    action = ExportedPolicy(agent, actions)(OBS)
    assert action.shape == (40, 2, 1)
    assert action.dtype == torch.float32
    np.testing.assert_array_equal(action.numpy(), actions.to_env(agent.greedy(OBS).numpy()))


def test_bounds_in_float64_are_never_exceeded():
    high = np.array([0.1, 0.3, 2.0])  # float32 has 0.1 and 0.3 a little above
    assert (np.float32(high) > high).tolist() == [True, True, False]
    rounded = inside(high, -np.inf)
    assert (rounded <= high).all()
    assert np.float32(0.1) - rounded[0] == np.spacing(rounded[0])
    assert (inside(-high, np.inf) == -rounded).all()


MOVED = "with the channels first: transpose(2, 0, 1)"
ONE_HOT = "one-hot: component i is 1 where the environment's observation is"
SCALED = "mapped from the bounds of its space to [0, 1]: (image - low) / (high - low)"


@pytest.mark.parametrize(
    ("space", "channels", "words"),
    [
        (spaces.Box(-1, 1, (3,), np.float32), None, "as the environment gives it"),
        (spaces.Box(-1, 1, (3,), np.float64), None, "the environment's float64 numbers as float32"),
        (spaces.Discrete(4, start=-1), None, f"{ONE_HOT} -1 + i"),
        (spaces.Box(0, 255, (4, 9, 9), np.uint8), "first", "as the environment gives it"),
        (spaces.Box(0, 255, (9, 9, 3), np.uint8), "last", f"the environment's image {MOVED}"),
        (spaces.Box(0, 255, (9, 9, 3), np.uint8), None, f"the environment's image {MOVED}"),
        (spaces.Box(0, 255, (9, 9), np.uint8), None, "the environment's image with an axis of one channel: image[None]"),
        (spaces.Box(0, 255, (9, 9, 2), np.float32), "last", f"the environment's image {SCALED}, {MOVED}"),
        (spaces.Box(0, 255, (2, 9, 9), np.float32), None, f"the environment's image {SCALED}"),
        (spaces.Box(-np.inf, np.inf, (2, 9, 9), np.float64), None, "the environment's float64 numbers as float32"),
        (
            spaces.Dict(a=spaces.Discrete(3)),
            None,
            f"its only part 'a': {ONE_HOT} 0 + i",
        ),
        (spaces.Dict(a=spaces.Box(0, 255, (9, 9, 3), np.uint8)), None, f"its only part 'a': the environment's image {MOVED}"),
        (spaces.MultiDiscrete([2, 3]), None, "gymnasium.spaces.flatten of the environment's MultiDiscrete, as float32"),
        (
            spaces.Dict(observation=spaces.Box(0, 1, (9,)), action_mask=spaces.MultiBinary(2)),
            None,
            "as the environment gives it, followed by its action mask, 2 zeros and ones",
        ),
    ],
)
def test_conversions_of_observations_are_described(space, channels, words):
    assert Conversion(space, spaces.Discrete(2), Form(channels, None)).observation == words


@pytest.mark.parametrize("kind", ["masked ppo", "sac", "recurrent ppo", "dqn"])
def test_a_policy_of_parts_takes_them_one_by_one_without_privileged_ones(kind):
    agent = made(kind)
    rows = made_up(agent.spec, each=5)
    action = Actions(num=3) if agent.spec.num_actions else Actions(0, 0, np.full(2, -1, np.float32), np.full(2, 1, np.float32), (2,))
    inputs, states = divided(agent, rows), [np.zeros((len(rows), agent.state_size), np.float32)] if agent.state_size else []
    wanted = inputs_of(agent)
    assert "obs.hidden" not in [each.name for each in wanted]
    assert [(each.shape, each.dtype) for each in wanted] == [
        (each.shape[1:], torch.from_numpy(each).dtype) for each in (*inputs, *states)
    ]  # fmt: skip
    policy = ExportedPolicy(agent, action)
    found = policy(*map(torch.from_numpy, (*inputs, *states)))
    greedy = agent.greedy(*map(torch.from_numpy, (without_privileged(agent.spec, rows), *states)))
    action, *after = greedy if states else (greedy,)
    (played, *then) = found if states else (found,)
    assert played.equal(policy.to_env(action))
    assert all(one.equal(other) for one, other in zip(then, after))
