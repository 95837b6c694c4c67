import pytest
import torch

from deeprl.agents.dvw import InverseVariance
from deeprl.learning.parts.resets import Resets
from tests.builders import equal, made_up, sac, same, snapshot, update, value_agent


def due(resets: Resets, updates: int) -> dict[int, int]:
    """The number of each reset, by its update."""
    return {update: number for update in range(1, updates + 1) if (number := resets.number(update)) is not None}


def test_resets_are_counted_from_one():
    assert due(Resets(), 100) == {}
    assert due(Resets(period=4), 13) == {4: 1, 8: 2, 12: 3}
    assert due(Resets(at=(3, 10)), 13) == {3: 1, 10: 2}
    assert due(Resets(at=[1]), 13) == {1: 1}  # as YAML gives it


def test_a_chosen_update_that_is_a_multiple_of_the_period_is_one_reset():
    assert due(Resets(period=4, at=(3, 8, 9)), 13) == {3: 1, 4: 2, 8: 3, 9: 4, 12: 5}


@pytest.mark.parametrize("at", [(50, 15), (3, 3), (0, 3), (1.5,), (True,), 3, "3"])
def test_chosen_updates_rise(at):
    with pytest.raises(ValueError, match=r"at must be a list of .* in rising order"):
        Resets(at=at)


def test_a_period_is_a_whole_number():
    with pytest.raises(ValueError, match="period must be a whole number of at least 1, not 0"):
        Resets(period=0)


@pytest.mark.parametrize("make", [sac, value_agent, lambda **slots: value_agent(weighting=InverseVariance, **slots)])
def test_each_reset_has_its_own_weights_which_follow_from_the_seed(make):
    """Two agents that saw other data are one after a reset, and the next reset differs from it."""
    one, other = (make(resets=Resets(at=(2, 4))) for _ in range(2))
    starts = [snapshot(one)]
    for _ in range(2):
        for seed in (1, 2):
            update(one, made_up(one, one.spec, seed=seed))
            update(other, made_up(other, other.spec, seed=10 + seed))
        assert same(snapshot(one), snapshot(other))
        assert equal(one.state()["optimizers"], other.state()["optimizers"])
        starts.append(snapshot(one))
    weights = [start["chain.online.torso.weight_0"] for start in starts]
    assert not any(torch.equal(weights[i], weights[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
    assert all(torch.equal(start["chain.target.torso.weight_0"], start["chain.online.torso.weight_0"]) for start in starts)
