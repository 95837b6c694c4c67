"""Behaviour: which action with which probability, and which head of a chain acts how often."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch

from deeprl.agents.idqn import Iterated
from deeprl.learning.networks.heads import Scalar
from deeprl.learning.parts.chains import Chain, Single
from deeprl.learning.parts.exploration import EpsilonGreedy, GaussianNoise, OrnsteinUhlenbeck, Sampled, Tick, ValueExploration, zipf
from deeprl.running.config.compose import compose
from deeprl.running.config.instantiate import instantiate, resolve
from deeprl.running.config.menu import options
from deeprl.running.config.tuned import content
from deeprl.running.session.complete import complete
from deeprl.running.training.collector import check_memory
from deeprl.schedules import Constant, Linear
from deeprl.types import Spec
from tests.builders import CONTINUOUS, DISCRETE, Weights, actor_critic, entry, sac, settled, value_agent

MASKED = Spec((8,), torch.float32, 3, 0, masked=True)
A = 4
CHI_SQUARE = {2: 13.8, 3: 16.3, 4: 18.5}
"""Exceeded once in a thousand, by degrees of freedom. The draws are seeded: a test that passes goes on passing."""


def draws(explore, action):
    return {"explore": torch.tensor(explore, dtype=torch.float64), "action": torch.tensor(action)}


def explored(epsilon: float, best, noise: dict, exact: bool = True, actions: int = A):
    """Actions and probabilities of ε-greedy where the actions `best` have the largest values; None: nobody may ask for values."""
    policy = never if best is None else lambda: torch.nn.functional.one_hot(torch.as_tensor(best), actions).float()
    tick = Tick(0, torch.zeros(len(noise["explore"]), dtype=torch.bool), noise, actions, exact=exact)
    return EpsilonGreedy(Constant(epsilon))(policy, tick, {})[:2]


def continuous(step: int, noise: dict) -> Tick:
    return Tick(step, torch.zeros(len(noise["normal"]), dtype=torch.bool), noise)


def never():
    raise AssertionError("the network was asked")


# ---- ε-greedy


def test_who_explores_takes_the_drawn_action_and_the_others_the_best():
    noise = draws([0.29, 0.3, 0.1, 0.9], [3, 0, 2, 1])
    action, probability = explored(0.3, [0, 3, 2, 1], noise)
    assert action.tolist() == [3, 3, 2, 1]
    # explored and not the best: ε/A; greedy: 1 − ε + ε/A; explored and the best by chance: as well
    assert probability.tolist() == pytest.approx([0.075, 0.775, 0.775, 0.775])


def test_uniforms_fall_into_equal_bins(monkeypatch):
    drawn = iter([torch.zeros(6), torch.tensor([0.0, 0.249, 0.25, 0.5, 0.75, 0.999999], dtype=torch.float64)])
    monkeypatch.setattr(torch, "rand", lambda *_, **__: next(drawn))
    assert EpsilonGreedy().noise((6,), None, A)["action"].tolist() == [0, 0, 1, 2, 3, 3]


def test_with_epsilon_one_the_network_is_not_asked_and_with_zero_it_decides():
    noise = draws([0.0, 0.999], [2, 0])
    action, probability = explored(1.0, None, noise)
    assert action.tolist() == [2, 0]
    assert probability.tolist() == [0.25, 0.25]
    action, probability = explored(0.0, [1, 1], noise)
    assert action.tolist() == [1, 1]
    assert probability.tolist() == [1.0, 1.0]


def test_the_probability_is_right_when_everybody_happens_to_explore():
    _, probability = explored(0.5, [2, 2], draws([0.1, 0.2], [2, 0]))
    assert probability.tolist() == [0.625, 0.125]


def test_reported_probabilities_are_the_frequencies():
    m, epsilon = 40_000, 0.4
    noise = EpsilonGreedy().noise((1, m), torch.Generator().manual_seed(0), A)
    best = torch.arange(m) % A
    action, probability = explored(epsilon, best, entry(noise, 0))
    hit = (action == best).float().mean().item()
    assert hit == pytest.approx(1 - epsilon + epsilon / A, abs=0.01)
    assert probability[action == best].unique().tolist() == pytest.approx([0.7])
    assert probability[action != best].unique().tolist() == pytest.approx([0.1])


def test_evaluation_has_an_epsilon_of_its_own():
    rule, tick = EpsilonGreedy(schedule=Constant(0.9), evaluation=0.1), Tick(5, torch.tensor([False]), draws([0.5], [3]), A)
    acted = {collects: rule(lambda: torch.eye(A)[:1], tick._replace(collects=collects), {}) for collects in (True, False)}
    assert [action.item() for action, *_ in acted.values()] == [3, 0]
    assert [probability.item() for _, probability, _ in acted.values()] == pytest.approx([0.9 / A, 0.9 + 0.1 / A])
    assert rule.diagnostics(5) == {"rollout/exploration_rate": 0.9}
    with pytest.raises(ValueError, match="^evaluation must be between 0 and 1"):
        EpsilonGreedy(evaluation=1.5)


@pytest.mark.parametrize("end", [0.01, 0.05])
def test_epsilon_waits_for_learning_and_ends_exactly(end):
    """Dopamine's schedule: ε = 1 until warm-up is over; half way it is (1 + ε_f) / 2."""
    warm_up, decay = 20_000, 250_000
    schedule = Linear(start=1.0, end=end, duration=decay, begin=warm_up)
    steps = [0, warm_up, warm_up + decay // 2, warm_up + decay, 10 * decay]
    assert [schedule(t) for t in steps] == [1.0, 1.0, pytest.approx((1 + end) / 2), end, end]
    dopamine = [end + min(max((1 - end) * (decay + warm_up - t) / decay, 0), 1 - end) for t in range(0, 400_000, 7_000)]
    assert [schedule(t) for t in range(0, 400_000, 7_000)] == pytest.approx(dopamine)


def test_the_schedule_of_a_configuration_counts_from_learning_starts():
    config, user, _ = compose(["agent=dqn", "env=atari/pong", "replay.learning_starts=2000"])
    explore = instantiate(complete(config, user)["agent"]["explore"], "agent.explore")
    decay = explore.schedule.duration
    assert [explore.schedule(t) for t in (0, 2000, 2000 + decay)] == [1.0, 1.0, 0.01]
    assert explore.schedule(2000 + decay // 2) == pytest.approx(0.505, abs=1e-5)


# ---- heads of a chain


def heads(acting: str, values, first=None, ticks: int = 1):
    """Heads that K × M disagreeing values show to have acted, (ticks, M)."""
    values = torch.as_tensor(values)
    chain = Iterated(Weights, length=values.shape[0], acting=acting)
    m = values.shape[1]
    uniforms = torch.rand(ticks, m, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    memory: dict = {}
    acted = []
    for t in range(ticks):
        start = torch.zeros(m, dtype=torch.bool) if first is None else first(t)
        chosen, memory = chain.rule.choose(values, {"head": uniforms[t]}, start, memory)
        acted.append(chosen.argmax(-1))
    return torch.stack(acted)


def disagreeing(k: int, m: int) -> torch.Tensor:
    """Head k prefers action k: (K, M, A = K)."""
    return torch.eye(k).unsqueeze(1).expand(k, m, k)


def chi_square(acted: torch.Tensor, k: int) -> float:
    counts, expected = torch.bincount(acted.flatten(), minlength=k).double(), acted.numel() / k
    return float(((counts - expected) ** 2 / expected).sum())


@pytest.mark.parametrize("k", [3, 5])
def test_heads_act_equally_often_at_every_step(k):
    acted = heads("uniform", disagreeing(k, 7), ticks=1000)
    assert chi_square(acted, k) < CHI_SQUARE[k - 1]
    assert (acted[1:] != acted[:-1]).double().mean() == pytest.approx(1 - 1 / k, abs=0.03)  # drawn anew, not once
    assert (acted[:, 0] != acted[:, 1]).double().mean() == pytest.approx(1 - 1 / k, abs=0.06)  # and for each environment


def test_the_chi_square_test_notices_a_head_that_acts_too_often():
    acted = heads("uniform", disagreeing(3, 7), ticks=1000)
    acted[:100] = 0
    assert chi_square(acted, 3) > CHI_SQUARE[2]


def test_an_agents_heads_act_equally_often_and_the_anchor_joins_if_asked():
    for acting, count in (("uniform", 3), ("uniform_with_target", 4)):
        agent = value_agent(DISCRETE._replace(num_actions=4), chain=partial(Iterated, length=3, torso="separate", acting=acting))
        agent.explore = EpsilonGreedy(Constant(0.0))
        for network, first in ((agent.chain.online, 1), (agent.chain.target, 0)):  # Q̄_0 likes action 0, Q_k action k
            for name, parameter in network.head.named_parameters():
                parameter.zero_()
                if "bias" in name:
                    parameter.copy_(torch.eye(4)[first : first + 3].view(parameter.shape))
        noise = agent.act_noise((1000, 7), torch.Generator().manual_seed(2))
        acted = torch.stack([
            agent.act(torch.ones(7, 5), torch.zeros(7, dtype=torch.bool), {}, 0, entry(noise, t), True).action
            for t in range(1000)
        ])  # fmt: skip
        acted = acted - (4 - count)
        assert acted.min() == 0
        assert chi_square(acted, count) < CHI_SQUARE[count - 1]


VALUES = [[[0.0, 3.0, 0.0, 2.0]], [[9.0, 3.0, 0.0, 8.0]], [[0.0, 3.0, 4.0, 3.0]]]  # K, M, A = 3, 1, 4


@pytest.mark.parametrize(("acting", "action"), [("first", 1), ("last", 2), ("mean", 3)])
def test_rules_without_chance(acting, action):
    assert heads(acting, VALUES, ticks=3).tolist() == [[action]] * 3


def test_a_head_is_kept_for_an_episode_where_that_is_the_rule():
    m = 5
    ends = torch.arange(1, m + 1)  # environment i starts an episode every i + 1 ticks
    acted = heads("episode", disagreeing(5, m), first=lambda t: t % ends == 0, ticks=600)
    for i in range(m):
        episodes = acted[:, i].unflatten(0, (-1, i + 1))
        assert (episodes == episodes[:, :1]).all()
        assert len(episodes.unique()) == 5


def test_episode_memory_follows_each_environment():
    chain = Iterated(Weights, length=4, acting="episode")
    values, uniform = disagreeing(4, 3), lambda *u: {"head": torch.tensor(u, dtype=torch.float64)}
    chosen, memory = chain.rule.choose(values, uniform(0.0, 0.3, 0.6), torch.tensor([True, True, True]), {})
    assert chosen.argmax(-1).tolist() == [0, 1, 2]
    chosen, memory = chain.rule.choose(values, uniform(0.9, 0.9, 0.9), torch.tensor([False, True, False]), memory)
    assert chosen.argmax(-1).tolist() == [0, 3, 2]
    assert memory["head"].tolist() == [0, 3, 2]


def test_one_head_has_no_choice_and_a_plain_chain_acts_with_its_last():
    assert heads("uniform", [[[0.0, 1.0]]]).tolist() == [[1]]
    assert Chain(Weights, length=3, torsos=1).rule.choose(torch.tensor(VALUES), {}, torch.tensor([True]), {})[0].argmax(-1).tolist() == [2]


@pytest.mark.parametrize("chain", [partial(Single, target_update_period=10), partial(Iterated, length=3, acting="uniform_with_target")])
def test_noisy_layers_explore_and_are_quiet_in_evaluation(chain):
    agent = value_agent(head=Scalar(noisy=True, sigma=5.0), chain=chain, explore=EpsilonGreedy(Constant(0.0)))
    obs, first = torch.randn(50, 5, generator=torch.Generator().manual_seed(0)), torch.zeros(50, dtype=torch.bool)
    drawn = agent.act_noise((2, 50), torch.Generator().manual_seed(1))
    drawn["head"] = torch.zeros(2, 50, dtype=torch.float64)
    ticks = [entry(drawn, t) for t in range(2)]
    exploring = [agent.act(obs, first, {}, 0, noise, explore=True).action for noise in ticks]
    evaluating = [agent.act(obs, first, {}, 0, noise, explore=False).action for noise in ticks]
    assert not torch.equal(*exploring)
    assert torch.equal(*evaluating)
    network = agent.chain.online if agent.chain.length == 1 else agent.chain.target  # head 0 is the anchor's
    assert torch.equal(evaluating[0], network(obs).mean()[0].argmax(-1))  # the means of the weights alone


# ---- every rule for discrete actions, those of one's own too


def rules() -> list[str]:
    """Options of agent/explore for discrete actions."""
    found = {name: content("agent/explore", name)["_target_"] for name in options("agent/explore")}
    return [name for name, target in found.items() if issubclass(resolve(target, "agent.explore"), ValueExploration)]


@pytest.mark.parametrize("rule", rules())
@pytest.mark.parametrize("spec", [DISCRETE, MASKED])
def test_every_rule_takes_valid_actions_and_knows_their_probability(rule, spec):
    """E[1(a = i) / P(a)] = 1 for every action i that may be taken, at the first step of 20,000 environments."""
    config = settled("agent=dqn", "env=toy/chain", f"agent/explore={rule}", "steps=1000", "replay.learning_starts=0")
    agent = value_agent(spec, explore=instantiate(config["agent"]["explore"], "agent.explore"))
    agent.exact, m = True, 20_000
    obs, first = torch.ones(m, *spec.obs_shape), torch.ones(m, dtype=torch.bool)
    if spec.masked:
        obs[:, -2] = 0.0
    valid = obs[:, -3:] > 0
    drawn = agent.act_noise((2, m), torch.Generator().manual_seed(0))
    acted = agent.act(obs, first, {}, 50, entry(drawn, 0), True)
    for i in acted.action.unique():
        assert ((acted.action == i) / acted.probability).mean().item() == pytest.approx(1.0, abs=0.15)
    again = agent.act(obs, ~first, acted.memory, 51, entry(drawn, 1), True)
    for one in (acted, again):
        assert valid.gather(-1, one.action.unsqueeze(-1)).all()
        assert 0 < one.probability.min() <= one.probability.max() <= 1
    check_memory(again.memory, m)
    best = agent.act(obs, first, {}, 50, entry(drawn, 0), False)
    assert (best.action == agent.greedy(obs)).all()  # whatever the rule
    assert best.memory == {}


# ---- continuous actions


def test_gaussian_noise_is_scaled_and_cut_off_at_the_bounds():
    explore = GaussianNoise(std=0.5, random_steps=10)
    noise = {"normal": torch.tensor([[1.0, -4.0], [0.0, 2.0]]), "uniform": torch.tensor([[0.1, 0.2], [0.3, 0.4]])}
    action, *_ = explore(lambda: torch.tensor([[0.25, 0.25], [-0.5, 0.25]]), continuous(10, noise), {})
    assert action.tolist() == [[0.75, -1.0], [-0.5, 1.0]]


def test_the_first_steps_are_uniform_and_do_not_ask_the_network():
    noise = GaussianNoise().noise((500, 7, 2), torch.Generator().manual_seed(0))
    row = entry(noise, 3)
    action, *_ = GaussianNoise(random_steps=10)(never, continuous(9, row), {})
    assert action is row["uniform"]
    uniform = noise["uniform"]
    assert uniform.shape == noise["normal"].shape == (500, 7, 2)
    assert -1 <= uniform.min() < -0.99
    assert 0.99 < uniform.max() <= 1
    assert uniform.mean().abs() < 0.02
    assert uniform.var() == pytest.approx(1 / 3, abs=0.02)
    assert noise["normal"].std() == pytest.approx(1.0, abs=0.05)


def test_evaluation_takes_the_actors_action_even_in_the_first_steps():
    agent = actor_critic(explore=GaussianNoise(std=0.5, random_steps=10))
    obs, noise = torch.randn(3, 5), entry(agent.act_noise((1, 3), torch.Generator()), 0)
    first = torch.zeros(3, dtype=torch.bool)
    assert torch.equal(agent.act(obs, first, {}, 0, noise, explore=False).action, agent.actor(obs))
    assert torch.equal(agent.act(obs, first, {}, 9, noise, explore=True).action, noise["uniform"])
    expected = (agent.actor(obs) + 0.5 * noise["normal"]).clamp(-1, 1)
    assert torch.equal(agent.act(obs, first, {}, 10, noise, explore=True).action, expected)


def test_the_network_is_not_asked_where_nobody_reads_its_answer():
    noise = draws([0.1, 0.2], [0, 2])
    action, probability = explored(0.3, None, noise, exact=False)
    assert action.tolist() == [0, 2]
    assert probability.tolist() == [0.0, 0.0]
    with pytest.raises(AssertionError, match="was asked"):
        explored(0.15, None, noise, exact=False)  # the second does not explore
    with pytest.raises(AssertionError, match="was asked"):
        explored(0.3, None, noise)


@pytest.mark.parametrize("exact", [True, False])
def test_exploring_takes_the_same_actions_whether_or_not_probabilities_are_read(exact):
    generator = torch.Generator().manual_seed(0)
    drawn = EpsilonGreedy().noise((200, 3), generator, 4)
    best = torch.tensor([1, 0, 2])
    for i in range(200):
        noise = entry(drawn, i)
        action, probability = explored(0.5, best, noise, exact)
        expected = torch.where(noise["explore"] < 0.5, noise["action"], best)
        assert torch.equal(action, expected)
        expected = 0.5 * (action == best).float() + 0.125 if exact else torch.zeros(3)
        torch.testing.assert_close(probability, expected)


# ---- correlated noise


def test_two_steps_of_correlated_noise_by_hand():
    """x₁ = 0.2 · 1, then x₂ = 0.85 · 0.2 + 0.2 · (−2) = −0.23, added to actions of 0.5; the second environment stops at the bound."""
    explore, memory, found = OrnsteinUhlenbeck(rate=0.15, std=0.2), {}, []
    for normal in ([[1.0], [3.0]], [[-2.0], [1.0]]):
        tick = continuous(0, {"normal": torch.tensor(normal)})
        action, _, memory = explore.explored(lambda: torch.full((2, 1), 0.5), tick, memory)
        found.append(action.flatten().tolist())
    assert found[0] == pytest.approx([0.7, 1.0])
    assert found[1] == pytest.approx([0.27, 1.0])
    assert memory["noise"].flatten().tolist() == pytest.approx([-0.23, 0.71])


# ---- noise that lasts


def test_how_long_noise_lasts():
    """1, 1/4, 1/9: shares 36, 9 and 4 of 49."""
    uniform = torch.tensor([0.0, 35.9, 36.1, 44.9, 45.1, 48.9], dtype=torch.float64) / 49
    assert zipf(uniform, 3, 2.0).tolist() == [1, 1, 2, 2, 3, 3]
    assert zipf(uniform, 1, 2.0).tolist() == [1] * 6
    assert zipf(torch.tensor([0.24, 0.26, 0.99], dtype=torch.float64), 4, 0.0).tolist() == [1, 2, 4]


def test_each_environment_keeps_its_noise_for_as_many_steps_as_it_drew():
    explore, memory, kept = Sampled(longest=4), {}, []
    for tick, repeats in enumerate([[2, 1], [4, 3], [1, 4], [3, 3], [1, 1]]):
        fresh = torch.tensor([[float(tick)], [10.0 + tick]])
        noise, memory = explore.held(fresh, {"repeats": torch.tensor(repeats)}, memory)
        kept.append(noise.flatten().tolist())
    assert kept == [[0, 10], [0, 11], [2, 11], [3, 11], [3, 14]]


def test_without_repetition_noise_is_fresh_and_nothing_is_remembered():
    fresh = torch.ones(2, 1)
    assert Sampled().held(fresh, {}, {}) == (fresh, {})
    plain, repeating = Sampled(), Sampled(longest=3)
    drawn, more = (explore.noise((5, 2, 1), torch.Generator().manual_seed(0)) for explore in (plain, repeating))
    assert all(torch.equal(drawn[name], more[name]) for name in drawn)
    assert more.keys() - drawn.keys() == {"repeats"}
    assert more["repeats"].shape == (5, 2)
    steep = Sampled(longest=3, exponent=100.0).noise((200, 5, 1), torch.Generator().manual_seed(0))
    assert set(steep["repeats"].unique().tolist()) == {1}


def test_an_agent_acts_with_the_noise_that_lasts():
    """Observations change, and the action with them; the noise stays for k steps."""
    agent = sac(explore=Sampled(random_steps=0, longest=16))
    drawn = {**agent.act_noise((6, 1), torch.Generator().manual_seed(3)), "repeats": torch.full((6, 1), 5)}
    memory, obs = {}, torch.randn((6, 1, *CONTINUOUS.obs_shape), generator=torch.Generator().manual_seed(0))
    for tick in range(6):
        acted = agent.act(obs[tick], torch.zeros(1, dtype=torch.bool), memory, tick, entry(drawn, tick), explore=True)
        used = entry(drawn, 0 if tick < 5 else 5)["network"].layers["action"]
        assert torch.equal(acted.action, agent.actor.sample(obs[tick], used)[0])
        memory = acted.memory


@pytest.mark.parametrize(
    ("wrong", "message"), [({"longest": 0}, "longest must be a whole number"), ({"exponent": -1.0}, "exponent must be")]
)
def test_repetition_is_checked(wrong, message):
    with pytest.raises(ValueError, match=message):
        Sampled(**wrong)


@pytest.mark.parametrize("value", [3, np.zeros(2), torch.zeros(1), torch.tensor([math.nan, 0.0])], ids=str)
def test_a_memory_that_no_resume_could_read_is_refused(value):
    """A run with it trained and saved, and its resume raised. Infinities are numbers of a memory."""
    with pytest.raises(ValueError, match=r"the memory holds count .*, where a tensor \(2, \.\.\.\) without NaN belongs"):
        check_memory({"count": value}, 2)
    check_memory({"best": torch.tensor([-math.inf, 0.0])}, 2)
