"""Annotated intrinsic rewards: what three models make of right and of wrong labels, the queue, what is neutral."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from deeprl.agents.annotated import Classifier, Ranking, Table
from deeprl.agents.logistic_regression import fitted
from deeprl.types import Rows
from tests.agents.test_ppo import agent_of
from tests.builders import DISCRETE, made_up

TEXTS = ("you pick up the key", "the door opens", "you bump into a wall", "the door is locked")
GIVEN = {"messages": TEXTS, "helpful": "key|opens", "newest": 6, "period": 2}


def part(kind=Table, **given):
    return agent_of(DISCRETE, intrinsic=partial(kind, **{**GIVEN, **given})).intrinsic


def said(*messages: int | None) -> Rows:
    """One tick of as many environments, each of which says a message, or nothing."""
    obs, flags = np.zeros((len(messages), 5), np.float32), np.zeros(len(messages), bool)
    for row, message in zip(obs, messages):
        if message is not None:
            row[message - len(TEXTS)] = 1.0
    return Rows(obs, np.zeros(len(messages), np.int64), np.zeros(len(messages), np.float32), obs, flags, flags, np.ones(len(messages)))


@pytest.mark.parametrize("kind", [Table, Classifier, Ranking])
def test_helpful_messages_earn_and_others_do_not(kind):
    found = part(kind)
    for tick in range(4):
        found.observe(said(0, 2, 1, 3) if tick % 2 else said(None))
    worth = found.worth.tolist()
    assert worth[2:] == [0, 0]
    assert min(worth[:2]) > 0.5
    batch = made_up(agent_of(), DISCRETE, size=2)._replace(next_obs=torch.from_numpy(said(1, None).obs))
    assert found(batch).tolist() == pytest.approx([0.4 * worth[1], 0.0])


def test_what_nobody_has_labelled_is_worth_nothing():
    for kind in (Table, Classifier, Ranking):
        found = part(kind)
        found.observe(said(0, 0))  # the annotator comes every two ticks
        assert not found.worth.any()
        found.observe(said(0, 0))
        assert not found.worth[1:].any()


def test_a_classifier_and_a_ranking_outvote_wrong_labels_and_a_table_does_not():
    """A third of the answers is wrong. Over 60 times the table is wrong about as often; the others are right at the end."""
    wrong = {}
    for kind in (Table, Classifier, Ranking):
        found, faults = part(kind, error=0.3, newest=40), []
        for _ in range(60):
            found.observe(said(*[0, 2, 1, 3] * 10))
            found.observe(said(None))
            faults.append(((found.worth > 0).numpy() != found.good).mean())
        wrong[kind] = np.mean(faults), faults[-1]
    assert 0.2 < wrong[Table][0] < 0.4
    assert [wrong[kind][1] for kind in (Classifier, Ranking)] == [0, 0]


def test_the_newest_messages_are_labelled_and_no_others():
    found = part(newest=3, period=1)
    found.annotate = lambda messages, random: taken.append(messages.tolist())
    taken: list = []
    found.observe(said(0, 1, 2, None, 3))
    found.observe(said(1))
    assert taken == [[1, 2, 3], [1]]


def test_the_weights_of_a_fit_by_hand():
    """One feature of value 1, three wins of four, ridge λ = 0.1: 4 σ(w) + 0.1 w = 3."""
    (weight,) = fitted(np.ones((1, 1)), np.array([3.0]), np.array([1.0]))
    assert 4 / (1 + np.exp(-weight)) + 0.1 * weight == pytest.approx(3.0)


def test_a_coefficient_of_zero_is_plain_ppo():
    plain, own = agent_of(), agent_of(intrinsic=partial(Table, **GIVEN, coefficient=0.0))
    own.intrinsic.worth.fill_(1.0)
    rollout = made_up(plain, DISCRETE, size=6)
    rollout = rollout._replace(
        **{name: getattr(rollout, name).unsqueeze(1) for name in ("obs", "next_obs", "action", "reward", "discount", "ended")}
    )
    assert all(torch.equal(column, own.prepare(rollout)[name]) for name, column in plain.prepare(rollout).items())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"helpful": "("}, "helpful must be a regular expression"),
        ({"messages": ()}, "0 of them do not fit"),
        ({"error": 2}, "error must be"),
    ],
)
def test_bad_values_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        part(**given)
