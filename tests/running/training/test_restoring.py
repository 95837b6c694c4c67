"""Ranks agree on the checkpoint from which all of them go on."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from deeprl.errors import CheckpointError, CheckpointWarning, ConfigError, UnreadableError
from deeprl.running.runs.checkpoints import Checkpoints
from deeprl.running.training.restoring import newest
from deeprl.system.ranks import ALONE, Ranks


class First(Ranks):
    """The first of two ranks. The other one has these errors, one for each checkpoint that is tried."""

    size = 2

    def __init__(self, *errors: CheckpointError | None):
        self.errors = list(errors)

    def gather(self, value):
        return [value, self.errors.pop(0)]


class Second(Ranks):
    """The other one, which hears from the first."""

    rank, size, first = 1, 2, False

    def __init__(self, *shared):
        self.shared = list(shared)

    def broadcast(self, value):
        return self.shared.pop(0)


@pytest.fixture
def trainer(tmp_path):
    """`trainer(ranks, saved_by)`: what is left of one, with checkpoints of three steps in the part of its rank."""

    def make(ranks: Ranks, saved_by: int = 2) -> SimpleNamespace:
        for path in (tmp_path, tmp_path / "ranks" / "1"):
            path.mkdir(parents=True, exist_ok=True)
            checkpoints = Checkpoints(path, keep=3)
            for step in (100, 200, 300):
                parts = {"trainer": {"step": step, "ranks": saved_by}, "collector": {"part": path.name}}
                checkpoints.save(step, parts if path != tmp_path else {**parts, "agent": {}, "loggers": {}})
        own = Checkpoints(tmp_path if ranks.first else tmp_path / "ranks" / "1")
        return SimpleNamespace(ranks=ranks, checkpoints=own, folder=tmp_path)

    return make


def load(trainer: SimpleNamespace) -> tuple[int, dict]:
    return newest(trainer.checkpoints, trainer.ranks, trainer.folder, {"agent": 1000})


def damage(trainer: SimpleNamespace, step: int) -> None:
    (trainer.checkpoints.at(step) / "state.json").write_text("")


def test_the_newest_checkpoint_that_both_can_read_is_taken(trainer):
    with pytest.warns(CheckpointWarning, match="ranks/1 is damaged. Trying the checkpoint of step 200 instead"):
        assert load(trainer(First(CheckpointError("ranks/1 is damaged"), None)))[0] == 200
    two = trainer(First(CheckpointError("ranks/1 is damaged"), None))
    damage(two, 200)
    with pytest.warns(CheckpointWarning, match="state.json is damaged"):
        assert load(two)[0] == 100


def test_the_second_rank_follows_the_first(trainer, recwarn):
    two = trainer(Second(([300, 200, 100], None), (CheckpointError("the first cannot"), 1), (None, 2), (None, 2)))
    damage(two, 200)
    step, parts = load(two)
    assert (step, parts["collector"]) == (100, {"part": "1"})
    assert parts.keys() == {"trainer", "collector", "agent", "loggers"}
    assert not recwarn.list  # the first one says it


def test_without_a_checkpoint_that_both_can_read_both_raise_every_reason(trainer):
    two = trainer(First(CheckpointError("one"), CheckpointError("two")))
    damage(two, 300)
    with pytest.warns(CheckpointWarning), pytest.raises(CheckpointError, match="state.json is damaged: .*; one; two"):
        load(two)


def test_no_other_checkpoint_is_taken_in_place_of_one_that_a_machine_cannot_read_now(trainer):
    """The run would remove it."""
    with pytest.raises(UnreadableError, match="one"):
        load(trainer(First(UnreadableError("one"))))


def test_the_number_of_ranks_is_asked_before_their_parts(trainer):
    with pytest.raises(ConfigError, match="this run has 2 ranks, and 1 were started"):
        load(trainer(ALONE))
    with pytest.raises(ConfigError, match="this run has 1 ranks, and 2 were started"):
        load(trainer(Second(([300], None), (None, 1))))
