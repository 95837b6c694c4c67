"""What the trainer counts: recent episodes, updates due, and the final evaluation beside the best one."""

import gc
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from deeprl import types
from deeprl.agents.idqn import Iterated
from deeprl.replay.replay import Replay
from deeprl.replay.source import Pace
from deeprl.running.runs.checkpoints import Checkpoints
from deeprl.running.runs.loggers import Loggers
from deeprl.running.training import evaluator, saving
from deeprl.running.training import trainer as trainer_module
from deeprl.running.training.episodes import Episodes
from deeprl.running.training.metrics import metrics_of
from deeprl.running.training.saving import Saver
from deeprl.running.training.trainer import Trainer
from deeprl.system.machine import freeze_objects, thaw_objects
from tests.builders import CARTPOLE, DISCRETE, random_batch, same, snapshot, train, update, value_agent


def test_the_mean_return_is_that_of_the_last_hundred_episodes():
    """Returns 1 … 150 of episodes of one step: the mean of 51 … 150 is 100.5."""
    episodes = Episodes(1)
    for step in range(150):
        episodes.add(step, np.array([step + 1.0]), np.array([True]), [{}])
    assert episodes.metrics()["rollout/ep_rew_mean"] == 100.5


@pytest.mark.parametrize(("before", "after", "due"), [(8, 10, 0), (10, 12, 1), (9, 11, 0), (9, 12, 1), (0, 20, 5), (20, 30, 5)])
def test_updates_follow_the_steps_after_the_warm_up(before, after, due):
    """One in two steps after the first ten: none for steps of the warm-up, even in a tick that ends after it."""
    replay = Replay(capacity=40, batch_size=3, pace=Pace(learning_starts=10, ratio=0.5), spec=DISCRETE, num=1, discount=0.9)
    replay.connect(0, "index", lambda rows: None, lambda batch: {})
    assert list(replay.updates(before, after)) == []  # it holds no row
    obs, zero, no = np.zeros((1, 5), np.float32), np.zeros(1, np.float32), np.zeros(1, bool)
    replay.append(types.Rows(obs, np.zeros(1, np.int64), zero, obs, no, no, zero))
    assert len(list(replay.updates(before, after))) == due


def test_the_page_of_parameters_shows_the_final_evaluation_and_the_best(tmp_path, monkeypatch):
    shown = {}
    monkeypatch.setattr(Loggers, "hparams", lambda self, config, metrics=None: shown.update(metrics or {}))
    trainer = train(tmp_path / "run", *CARTPOLE)
    trainer.evaluator.best = {**trainer.standing.final, "mean": 400.0}
    trainer._finish()
    assert trainer.standing.final["mean"] < 400
    assert shown == {"final/mean_reward": trainer.standing.final["mean"], "best/mean_reward": trainer.evaluator.best["mean"]}


def test_the_best_of_equal_evaluations_is_the_earliest(tmp_path, monkeypatch):
    plain = evaluator.evaluate

    def always_nine(*arguments):
        result = plain(*arguments)
        return {**result, "returns": [9.0] * len(result["returns"])}

    monkeypatch.setattr(evaluator, "evaluate", always_nine)
    trainer = train(tmp_path / "run", *CARTPOLE)
    assert (trainer.standing.final["mean"], trainer.standing.final["step"]) == (9.0, 300)
    assert trainer.evaluator.best["step"] == Checkpoints(tmp_path / "run").pointed("best") == 100


def test_a_period_that_ended_before_a_checkpoint_does_not_end_again_without_updates():
    """A chain of two shifts at step 30, after one update, and not at step 60 of the resumed run, because it has learned nothing since."""
    chain = partial(Iterated, length=2, shift_period=30)
    agent, resumed = value_agent(chain=chain), value_agent(chain=chain)
    update(agent, random_batch(DISCRETE, 8))
    agent.tick(0, 30)
    resumed.load_state(agent.state())
    before = snapshot(resumed)
    resumed.tick(30, 60)
    assert same(snapshot(resumed), before)
    update(resumed, random_batch(DISCRETE, 8))
    before = snapshot(resumed)
    resumed.tick(60, 90)
    assert not same(snapshot(resumed), before)


def test_the_newest_return_and_frames_of_the_emulator_are_logged(tmp_path, monkeypatch):
    """`time/frames` where the environment skips frames, as Atari does: four times the steps."""
    newest, logged = [], []

    def metrics(trainer):
        newest.append([episode.reward for episode in trainer.collector.episodes.finished])
        logged.append(metrics_of(trainer))
        return logged[-1]

    monkeypatch.setattr(trainer_module, "metrics_of", metrics)
    trainer = train(tmp_path / "run", *CARTPOLE)
    assert any(len(set(returns)) > 1 for returns in newest)
    assert [line.get("rollout/episodic_return") for line in logged] == [returns[-1] if returns else None for returns in newest]
    assert not any("time/frames" in line for line in logged)
    trainer.config = {**trainer.config, "env": {"protocol": {"frame_skip": 4}}}
    assert metrics_of(trainer)["time/frames"] == 1200.0


class Disk:
    """In place of the checkpoints: rows written ahead take three seconds, a checkpoint takes one."""

    segment_bytes = 4

    def __init__(self, clock):
        self.clock = clock

    def write_ahead(self, rows, live_from):
        self.clock.seconds += 3.0

    def save(self, step, parts, rows=None, live_from=None, best=False):
        return {"bytes": 7.0, "seconds": 1.0}


class Rows:
    """In place of a replay of ten rows of a byte."""

    capacity = bytes = 10
    num = 1

    def marks(self):
        return [0]

    def rows(self, marks):
        return {}

    def live_from(self):
        return [0]

    state_dict = dict


def test_the_cost_of_a_checkpoint_counts_the_rows_ahead_of_it(monkeypatch):
    """The longest wait at once is that for rows written ahead; of a checkpoint without, its own."""
    clock = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(saving, "time", SimpleNamespace(monotonic=lambda: clock.seconds))
    saver = Saver({"checkpoint": {"replay": True, "every": 10, "minutes": None}}, Disk(clock), Rows())
    costs = []
    for step in range(1, 21):
        saver.write_ahead(step)
        if step % 10 == 0:
            saver.save(step, {}, best=False)
            costs.append([saver.cost[f"time/checkpoint_{name}"] for name in ("bytes", "seconds", "stall")])
            monkeypatch.setattr(saver, "ahead_steps", 100)
    assert costs == [[7.0, 1.0, 3.0], [7.0, 1.0, 1.0]]


def test_the_bytes_of_a_checkpoint_are_those_of_its_files(tmp_path, monkeypatch):
    """Rows that an earlier checkpoint wrote are shared, and count there alone."""
    seen, told, plain = set(), [], Saver.save

    def save(self, step, parts, best):
        plain(self, step, parts, best)
        files = [*(tmp_path / "run" / "checkpoints" / f"step_{step:012d}").rglob("*"), *(tmp_path / "run" / "replay").iterdir()]
        new = [file for file in files if file.is_file() and (file.parent.name != "replay" or file.name not in seen)]
        seen.update(file.name for file in new)
        told.append((self.cost["time/checkpoint_bytes"], sum(file.stat().st_size for file in new)))

    monkeypatch.setattr(Saver, "save", save)
    train(tmp_path / "run", *CARTPOLE, "evaluation.every=null")
    assert [bytes for bytes, _ in told] == [bytes for _, bytes in told]
    assert told[-1][0] < told[-2][0]  # made twice at the last step, before and after the evaluation: no new rows


def test_objects_of_before_training_are_exempt_from_collections_until_it_ends(tmp_path, monkeypatch):
    """In place of both functions tests/conftest.py puts nothing."""
    monkeypatch.setattr(trainer_module, "freeze_objects", freeze_objects)
    monkeypatch.setattr(trainer_module, "thaw_objects", thaw_objects)
    frozen, plain = [], Trainer.learn

    def learn(self, drawn):
        plain(self, drawn)
        frozen.append(gc.get_freeze_count())

    monkeypatch.setattr(Trainer, "learn", learn)
    gc.unfreeze()  # what tests/conftest.py has exempted
    train(tmp_path / "run", *CARTPOLE, "steps=66", "evaluation.every=null")
    after = gc.get_freeze_count()
    gc.freeze()  # as tests/conftest.py has it
    assert min(frozen) > 10_000
    assert after == 0
