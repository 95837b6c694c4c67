"""Values beside the returns that followed them, on numbers one can redo on paper."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from deeprl.agents.idqn import Iterated
from deeprl.agents.log_dqn import Log
from deeprl.agents.reward_channels import Bands, Ensemble
from deeprl.envs.toy import Chain
from deeprl.learning.networks.heads import Scalar
from deeprl.learning.parts.exploration import EpsilonGreedy
from deeprl.learning.transforms.channels import Polar
from deeprl.learning.transforms.rewards import Clip, Raw
from deeprl.running.training.evaluation import evaluate
from deeprl.running.training.overestimation import Overestimation, discounted, learned
from deeprl.schedules import Constant
from deeprl.types import AgentStep
from tests.builders import actor_critic, entry, train, value_agent

PROMISED = torch.tensor([2.0, 1.5, 1.0, 0.0])


class Walker:
    """Goes right, or left, along the chain, and says what `PROMISED` says of the state."""

    def __init__(self, right: bool = True, asked: bool = True):
        self.right, self.asked = right, asked

    def act_noise(self, size, generator):
        return {"unused": torch.zeros(size)}

    def act(self, obs, first, memory, step, noise, explore):
        action = torch.full((len(obs),), int(self.right))
        value = PROMISED[: obs.shape[1]][obs.argmax(-1)]
        said = (value, value / 2) if self.asked else ()
        return AgentStep(action, torch.ones(len(obs)), memory, *said)


def told(agent, discount: float, episodes: int = 1, num: int = 1, rewards=None, **chain) -> tuple[dict, dict[str, float]]:
    """What the evaluation says, and what the listener does."""
    make = lambda seed, number: Chain(**chain).make(seed, num=number, vector="sync", evaluation=True)  # noqa: E731
    listener = Overestimation(rewards or Raw(), discount)
    return evaluate(agent, make, episodes, num, 3, 0, listeners=[listener]), listener.metrics()


def test_returns_are_summed_backwards():
    assert discounted(np.array([1.0, 0.0, 4.0]), 0.5).tolist() == [2.0, 2.0, 4.0]
    assert discounted(np.array([1.0, 0.0, 4.0]), 0.0).tolist() == [1.0, 0.0, 4.0]


@pytest.mark.parametrize(("episodes", "num"), [(1, 1), (5, 2)])
def test_on_a_chain(episodes, num):
    """Rewards 0, 0, 1: returns 1/4, 1/2, 1, and promised were 2, 3/2, 1."""
    result, found = told(Walker(), 0.5, episodes, num, length=4)
    assert found == {
        "value": 1.5, "discounted_return": pytest.approx(1.75 / 3), "overestimation": pytest.approx(2.75 / 3), "action_gap": 0.75,
    }  # fmt: skip
    assert result["returns"] == [1.0] * episodes


def test_environments_play_as_many_episodes_each_however_long_these_are():
    """Not the first that end, which would be the short ones of environment 0."""

    class Two:
        num, restarted, name, backend = 2, (), "two", SimpleNamespace(limit=None)

        def __init__(self):
            self.tick = 0

        def reset(self):
            return np.zeros((2, 4), np.float32)

        def step(self, action):
            self.tick += 1
            ended = np.array([True, self.tick % 10 == 0])
            return SimpleNamespace(obs=np.zeros((2, 4), np.float32), reward=np.ones(2), terminated=ended, ended=ended, info=[{}, {}])

        def close(self):
            pass

    assert evaluate(Walker(), lambda seed, num: Two(), 4, 2, 3, 0)["lengths"] == [1, 1, 10, 10]


def test_a_truncated_episode_counts_where_next_to_nothing_is_left_of_what_was_cut_off():
    """Five steps to the left, all in state 0. With γ = 0.05 a cut two steps later hides 0.0025 of the value there; one step later, 0.05."""
    _, found = told(Walker(right=False), 0.05, length=4, max_episode_steps=5)
    assert found == {"value": 2.0, "discounted_return": 0.0, "overestimation": 2.0, "action_gap": 1.0}
    listener = Overestimation(Raw(), 0.05)
    for t, ended in enumerate([False, False, False, True]):
        after = SimpleNamespace(reward=np.ones(1), terminated=np.array([False]), ended=np.array([ended]))
        listener(AgentStep(torch.zeros(1), torch.ones(1), {}, torch.tensor([float(t)])), after, [True])
    assert listener.metrics()["value"] == 1.0  # of 0, 1, 2; without the last step
    assert listener.metrics()["discounted_return"] == pytest.approx((1.052625 + 0.05**3 + 1.0525 + 1.05) / 3 - 0.05**3 / 3)
    _, found = told(Walker(right=False), 0.99, length=4, max_episode_steps=5)
    assert found == {"action_gap": 1.0}  # of 458 steps before a cut nothing is said
    _, found = told(Walker(), 1.0, length=4)
    assert found["discounted_return"] == 1.0


def test_a_step_on_which_no_network_was_asked_is_left_out():
    assert told(Walker(asked=False), 0.5, length=4)[1] == {}


def test_episodes_beyond_the_quota_do_not_count():
    listener = Overestimation(Raw(), 0.5)
    ended = np.array([True, True])
    after = SimpleNamespace(reward=np.array([1.0, 9.0]), terminated=ended, ended=ended)
    listener(AgentStep(torch.zeros(2), torch.ones(2), {}, torch.tensor([3.0, 100.0])), after, [True, False])
    assert listener.metrics() == {"value": 3.0, "discounted_return": 1.0, "overestimation": 2.0}


def test_episodes_that_a_failure_cut_off_do_not_count():
    listener = Overestimation(Raw(), 0.5)
    for value, reward, cut in ((100.0, 9.0, False), (100.0, 0.0, True), (3.0, 1.0, False)):
        ended = np.array([cut or value == 3.0])
        after = SimpleNamespace(reward=np.array([reward]), terminated=ended & (not cut), ended=ended)
        acted = AgentStep(torch.zeros(1), torch.ones(1), {}, torch.tensor([value]), torch.tensor([value / 4]))
        listener(acted, after, [True], [0] if cut else [])
    assert listener.metrics() == {"value": 3.0, "discounted_return": 1.0, "overestimation": 2.0, "action_gap": 0.75}


def test_where_values_end_with_a_life_nothing_is_said_of_returns(tmp_path):
    """Each of two lives brings 1: what is learned is 1 in both, and the return of the first is 1 + ½."""
    for lives in (False, True):
        listener = Overestimation(Raw(), 0.5, lives)
        for reward, ended in ((1.0, False), (1.0, True)):
            after = SimpleNamespace(reward=np.array([reward]), terminated=np.array([ended]), ended=np.array([ended]))
            listener(AgentStep(torch.zeros(1), torch.ones(1), {}, torch.ones(1), torch.tensor([0.25])), after, [True])
        whole = {"value": 1.0, "discounted_return": 1.25, "overestimation": -0.25}
        assert listener.metrics() == {"action_gap": 0.25, **({} if lives else whole)}
    small = (
        "agent=dqn",
        "env=toy/chain",
        "steps=60",
        "discount=0.05",
        "replay.learning_starts=20",
        "replay.capacity=100",
        "evaluation.every=null",
        "evaluation.final_episodes=1",
    )
    trainer = train(tmp_path / "run", *small, "agent/torso=mlp", "agent.torso.hidden=[4]")
    assert set(trainer.evaluate(1)[0]["diagnostics"]) >= {"action_gap", "value"}
    trainer.config["env"]["protocol"] = {"life_loss_terminal": True}
    assert set(trainer.evaluate(1)[0]["diagnostics"]) == {"action_gap"}


@pytest.mark.parametrize(
    ("rewards", "units"),
    [
        (Raw(), [-3.0, 0.5, 20.0]),
        (Clip(bound=1.0), [-1.0, 0.5, 1.0]),
        (Polar(bound=1.0), [-1.0, 0.5, 1.0]),
        (Bands(), [-3.0, 0.5, 20.0]),
        (Ensemble(rewards="divided"), [-0.5, 0.25, 0.5]),
    ],
)
def test_rewards_are_those_that_are_learned(rewards, units):
    assert learned(rewards, np.array([-3.0, 0.5, 20.0], np.float32)).tolist() == pytest.approx(units)


def test_listening_changes_nothing():
    make = lambda seed, number: Chain(slip=0.3).make(seed, num=number, vector="sync", evaluation=True)  # noqa: E731
    agent = value_agent(spec=make(0, 1).spec, explore=EpsilonGreedy(evaluation=0.4))
    plain = evaluate(agent, make, 7, 3, 5, 0)
    assert evaluate(agent, make, 7, 3, 5, 0, listeners=[Overestimation(agent.rewards, 0.9)]) == plain


# ---- what agents say


def asked(agent, explore: bool = False, seed: int = 0, size: int = 6) -> tuple[torch.Tensor, dict, AgentStep]:
    obs = torch.randn(size, 5, generator=torch.Generator().manual_seed(seed))
    noise = entry(agent.act_noise((1, size), torch.Generator().manual_seed(seed)), 0)
    return obs, noise, agent.act(obs, torch.ones(size, dtype=torch.bool), {}, 0, noise, explore)


def test_the_value_is_that_of_the_action_taken_which_may_be_a_random_one():
    agent = value_agent(explore=EpsilonGreedy(evaluation=0.5))
    obs, _, acted = asked(agent)
    values = agent.chain.online(obs).mean()[0]
    assert torch.equal(acted.value, values.gather(-1, acted.action[:, None])[:, 0])
    assert (acted.value < values.amax(-1)).any()
    assert torch.equal(acted.gap, values.amax(-1) - values.sort(-1).values[:, 1])


def test_nothing_is_said_while_collecting_nor_where_all_actions_are_random():
    assert asked(value_agent(explore=EpsilonGreedy(Constant(0.0))), explore=True)[2].value is None
    assert asked(value_agent(explore=EpsilonGreedy(evaluation=1.0)))[2].value is None
    assert asked(actor_critic(), explore=True)[2].value is None


@pytest.mark.parametrize("acting", ["uniform", "first", "last", "mean"])
def test_of_a_chain_it_is_what_the_acting_rule_asks(acting):
    agent = value_agent(chain=partial(Iterated, length=3, acting=acting))
    obs, noise, acted = asked(agent)
    values = agent.chain.online(obs).mean()
    rows = torch.arange(len(obs))
    head = {"first": 0, "last": 2}.get(acting, (noise["head"] * 3).long() if acting == "uniform" else None)
    mine = values.mean(0) if acting == "mean" else values[head, rows]
    assert torch.equal(acted.value, mine.amax(-1))


def test_mapped_values_are_in_units_of_rewards():
    agent = value_agent(head=Scalar(), rewards=Polar, mapping=Log(c=0.5, k=100.0, discount=0.96))
    obs, _, acted = asked(agent)
    plus, minus = agent.chain.online.head.units.ordinary(agent.chain.online(obs).mapped)[0]  # (C, M, A), λ = (1, −1)
    torch.testing.assert_close(acted.value, (plus - minus).amax(-1))


def test_of_td3_it_is_what_the_actor_listens_to():
    agent = actor_critic()
    obs, _, acted = asked(agent)
    assert acted.value.shape == (6,)
    assert acted.gap is None
    assert torch.equal(acted.value, agent.chain.online(torch.cat([obs, acted.action], -1)).mean()[0, :, 0])
