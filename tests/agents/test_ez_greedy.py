"""ε-z-greedy: which action is held for how long, by hand."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from deeprl.agents.ez_greedy import EZGreedy
from deeprl.agents.idqn import Iterated
from deeprl.learning.parts.exploration import EpsilonGreedy, Tick
from deeprl.schedules import Constant
from tests.builders import DISCRETE, entry, value_agent

A = 4
RULE = EZGreedy(Constant(0.5), longest=9)


def played(ticks, first=None, valid=None, exact=True, rule=RULE):
    """Actions (ticks, M) and probabilities where action 0 is greedy, and the last memory.

    Args:
        ticks: (u, random action, n) of each environment, tick by tick; who draws u < ½ explores.
    """
    memory, actions, probabilities = {}, [], []
    for t, tick in enumerate(ticks):
        u, action, steps = zip(*tick)
        noise = {"explore": torch.tensor(u, dtype=torch.float64), "steps": torch.tensor(steps)}
        noise["action" if valid is None else "uniform"] = torch.tensor(action)
        starts = torch.tensor(first[t] if first else [False] * len(tick))
        known = None if valid is None else torch.tensor(valid[t]) > 0
        action, probability, memory = rule(lambda m=len(tick): torch.eye(A)[[0] * m], Tick(0, starts, noise, A, known, exact), memory)
        actions.append(action.tolist())
        probabilities.append(probability.tolist())
    return actions, probabilities, memory


def test_an_action_is_held_for_as_many_steps_as_were_drawn():
    """The first holds 3 for three steps, plays greedily, and holds 2 for one; the second is greedy, then holds 1."""
    ticks = [[(0.1, 3, 3), (0.9, 1, 9)], [(0.9, 1, 9), (0.2, 1, 2)], [(0.1, 1, 9), (0.9, 3, 9)], [(0.7, 1, 9)] * 2, [(0.3, 2, 1)] * 2]
    actions, probabilities, memory = played(ticks)
    assert actions == [[3, 0], [3, 1], [3, 1], [0, 0], [2, 2]]
    # drawn: ε / A = 1/8; held: 1; greedy: 1 − ε + ε / A
    assert probabilities == [[0.125, 0.625], [1.0, 0.125], [1.0, 1.0], [0.625, 0.625], [0.125, 0.125]]
    assert memory["left"].tolist() == [0, 0]


def test_nothing_is_held_over_the_start_of_an_episode():
    ticks = [[(0.1, 3, 5)] * 2, [(0.9, 1, 9)] * 2, [(0.9, 1, 9)] * 2]
    actions, _, memory = played(ticks, first=[[True, True], [False, True], [False, False]])
    assert actions == [[3, 3], [3, 0], [3, 0]]
    assert memory["left"].tolist() == [2, 0]


def test_an_action_that_is_not_valid_any_more_is_dropped():
    """The number ½ draws the second of two valid actions: 3, then 2."""
    valid = [[[1, 0, 0, 1]], [[1, 0, 1, 0]], [[1, 0, 1, 0]], [[1, 0, 1, 1]]]
    actions, probabilities, _ = played([[(0.1, 0.5, 9)], [(0.1, 0.5, 2)], [(0.9, 0.5, 9)], [(0.9, 0.5, 9)]], valid=valid)
    assert actions == [[3], [2], [2], [0]]
    assert [p for (p,) in probabilities] == pytest.approx([0.25, 0.25, 1.0, 0.5 + 0.5 / 3])


def test_the_network_is_not_asked_while_everybody_holds_an_action():
    memory = {"action": torch.tensor([3, 1]), "left": torch.tensor([1, 2])}
    noise = {"explore": torch.tensor([0.9, 0.9]), "action": torch.tensor([0, 0]), "steps": torch.tensor([1, 1])}
    tick = Tick(0, torch.tensor([False, False]), noise, A, exact=False)
    action, probability, memory = RULE(None, tick, memory)
    assert (action.tolist(), probability.tolist(), memory["left"].tolist()) == ([3, 1], [0.0, 0.0], [0, 1])
    with pytest.raises(TypeError):
        RULE(None, tick, memory)  # the first has to choose


@pytest.mark.parametrize("rule", [EZGreedy(Constant(0.5), 0.25, longest=1), EZGreedy(Constant(0.5), 0.25, exponent=1000.0)])
def test_actions_of_one_step_are_epsilon_greedy(rule):
    """By a cap, which draws no durations, and in the limit of the exponent."""
    plain, obs, first = EpsilonGreedy(Constant(0.5), 0.25), torch.randn(5, 5), torch.zeros(5, dtype=torch.bool)
    for collects in (True, False):
        for acting in ("last", "episode"):
            acted = []
            for explore in (plain, rule):
                agent, memory = value_agent(DISCRETE, chain=partial(Iterated, length=3, acting=acting), explore=explore), {}
                drawn = {**explore.noise((40, 5), torch.Generator().manual_seed(0), agent.spec.num_actions)}
                drawn |= agent.chain.act_noise((40, 5), torch.Generator().manual_seed(1))
                for t in range(40):
                    found = agent.act(obs, first, memory, 0, entry(drawn, t), collects)
                    memory = found.memory
                    acted.append((found.action, found.probability, memory.get("head")))
            for one, other in zip(acted[:40], acted[40:]):
                assert all(a is b is None or torch.equal(a, b) for a, b in zip(one, other))


def test_evaluation_holds_nothing():
    memory: dict = {}
    noise = {"explore": torch.tensor([0.1]), "action": torch.tensor([3]), "steps": torch.tensor([9])}
    action, _, memory = RULE(lambda: torch.eye(A)[:1], Tick(0, torch.tensor([True]), noise, A, collects=False), memory)
    assert (action.tolist(), memory) == ([0], {})


def test_a_rule_with_memory_and_a_chain_with_memory_keep_theirs_apart():
    agent = value_agent(DISCRETE, chain=partial(Iterated, length=3, acting="episode"), explore=EZGreedy(Constant(0.5)))
    drawn, memory, first = agent.act_noise((30, 4), torch.Generator().manual_seed(0)), {}, torch.zeros(4, dtype=torch.bool)
    for t in range(30):
        memory = agent.act(torch.randn(4, 5), first, memory, 0, entry(drawn, t), True).memory
        assert memory.keys() == {"head", "explore"}
        assert memory["head"].tolist() == (drawn["head"][0] * 3).long().tolist()
    assert memory["explore"].keys() == {"action", "left"}


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("longest", 0, "longest must be"),
        ("exponent", -1, "exponent must be"),
        ("schedule", Constant(2.0), "schedule.value must be between 0 and 1"),
    ],
)
def test_what_is_out_of_range_is_refused(field, value, says):
    with pytest.raises(ValueError, match=f"^{says}"):
        EZGreedy(**{field: value})
