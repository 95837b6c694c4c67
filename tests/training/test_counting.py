"""What the trainer counts: recent episodes, updates due, and the final evaluation beside the best one."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from deeprl.agents.idqn import Iterated
from deeprl.runs.checkpoints import Checkpoints
from deeprl.runs.loggers import Loggers
from deeprl.training import evaluator
from deeprl.training.episodes import Episodes
from deeprl.training.trainer import Trainer
from tests.builders import CARTPOLE, DISCRETE, random_batch, same, snapshot, train, update, value_agent


def test_the_mean_return_is_that_of_the_last_hundred_episodes():
    """Returns 1 … 150 of episodes of one step: the mean of 51 … 150 is 100.5."""
    episodes = Episodes(1)
    for step in range(150):
        episodes.add(step, np.array([step + 1.0]), np.array([True]))
    assert episodes.metrics()["rollout/ep_rew_mean"] == 100.5


@pytest.mark.parametrize(("before", "after", "due"), [(8, 10, 0), (10, 12, 1), (9, 11, 0), (9, 12, 1), (0, 20, 5), (20, 30, 5)])
def test_updates_follow_the_steps_after_the_warm_up(before, after, due):
    """One in two steps after the first ten: none for steps of the warm-up, even in a tick that ends after it."""
    trainer = SimpleNamespace(replay=Full(), config={"learning_starts": 10, "replay_ratio": 0.5}, filled_from=0)
    assert Trainer.updates_due(trainer, before, after) == due


class Full:
    """A replay that holds a row."""

    is_rollout = False

    def __len__(self):
        return 1


def test_the_page_of_parameters_shows_the_final_evaluation_and_the_best(tmp_path, monkeypatch):
    shown = {}
    monkeypatch.setattr(Loggers, "hparams", lambda self, config, metrics=None: shown.update(metrics or {}))
    trainer = train(tmp_path / "run", *CARTPOLE)
    trainer.evaluator.best = {**trainer.final, "mean": 400.0}
    trainer._finish()
    assert trainer.final["mean"] < 400
    assert shown == {"final/mean_reward": trainer.final["mean"], "best/mean_reward": trainer.evaluator.best["mean"]}


def test_the_best_of_equal_evaluations_is_the_earliest(tmp_path, monkeypatch):
    plain = evaluator.evaluate

    def always_nine(*arguments):
        result = plain(*arguments)
        return {**result, "returns": [9.0] * len(result["returns"])}

    monkeypatch.setattr(evaluator, "evaluate", always_nine)
    trainer = train(tmp_path / "run", *CARTPOLE)
    assert (trainer.final["mean"], trainer.final["step"]) == (9.0, 300)
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
