"""A source of one's own: the rows of a file are all the data that there is. Nothing but this file knows it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from deeprl.cli import exits
from deeprl.extend import Batch, Rows, Series, Source, steady
from deeprl.running.config import folders
from deeprl.running.runs.checkpoints import Checkpoints
from deeprl.running.training.idle import Idle
from tests.builders import begin, console, same, train

OPTION = """# Transitions of a file, and none of the environment.
_target_: tests.replay.test_source.Offline
_partial_: true
path: ???
batch_size: 8
ratio: 1.0
"""


class Offline(Source):
    """The transitions of a file `.npz`, whose arrays are the fields of `Rows`, with the rows first."""

    paced_by = ("replay.ratio",)
    collects = False

    def __init__(self, *, path: str, batch_size: int, ratio: float, num: int, discount: float, rewards, batch_device, **others):
        with np.load(path, allow_pickle=False) as file:
            self.stored = Rows(**{name: file[name] for name in Rows._fields})
        self.raw = torch.from_numpy(self.stored.reward)
        self.batch_size, self.ratio, self.num = batch_size, ratio, num
        self.discount, self.rewards, self.device = discount, rewards, torch.device(batch_device)

    @classmethod
    def planned(cls, settings, steps: int, num: int) -> int:
        return steady(0, -(-steps // num) * num, 0, settings["ratio"])

    def connect(self, seed, part, observe, prepare) -> None:
        super().connect(seed, part, observe, prepare)
        observe(Series(*self.stored))  # of one environment

    def updates(self, before: int, after: int) -> Iterator[Batch]:
        for _ in range(steady(before, after, 0, self.ratio)):
            place = (self.uniforms.next()["u"] * len(self.raw)).long()
            rows = Rows(*(torch.from_numpy(column)[place].to(self.device) for column in self.stored))
            ones = torch.ones(self.batch_size, device=self.device)
            reward, discount = self.rewards(rows.reward), self.discount * ~rows.terminated
            yield Batch(rows.obs, rows.action, reward, discount, rows.next_obs, ones.long(), rows.ended, ones > 0, ones, place, {}, {})

    def seen(self):
        return self.raw, torch.from_numpy(self.stored.obs)


WORDS = (
    "agent=dqn", "env=classic/cartpole", "replay=offline", "steps=120", "replay.ratio=1", "agent.torso.hidden=[8]",
    "agent.chain.target_update_period=30", "evaluation.every=60", "evaluation.episodes=2", "evaluation.final_episodes=2",
    "checkpoint.every=40", "log.every=40", "runtime.threads=1",
)  # fmt: skip


@pytest.fixture
def words(tmp_path, monkeypatch):
    """The words of a run that learns from a file of 50 rows, in which action 1 earns 1 and ends the episode."""
    (tmp_path / "configs/replay").mkdir(parents=True)
    (tmp_path / "configs/replay/offline.yaml").write_text(OPTION)
    monkeypatch.setattr(folders, "_added", [tmp_path / "configs"])
    random = np.random.default_rng(0)
    obs, after = random.normal(size=(2, 50, 4)).astype(np.float32)
    action = random.integers(0, 2, 50)
    ends, reward = action == 1, action.astype(np.float32)
    rows = Rows(obs, action, reward, after, ends, ends, np.ones(50, np.float32))
    np.savez(tmp_path / "rows.npz", **rows._asdict())
    return (*WORDS, f"replay.path={tmp_path / 'rows.npz'}")


def test_an_agent_learns_from_a_file_alone(words, tmp_path):
    """Action 1 is worth 1, everywhere in the file; no environment is stepped."""
    trainer = train(tmp_path / "run", *words, "agent.optimizer.lr=0.01")
    assert (trainer.agent.updates, trainer.collector.episodes.number) == (120, 0)
    assert trainer.standing.final is not None
    stored = trainer.source.stored
    values = trainer.agent.chain.online(torch.from_numpy(stored.obs)).mean()[0]
    assert values[torch.from_numpy(stored.action) == 1, 1].mean().item() == pytest.approx(1.0, abs=0.2)


def test_its_run_resumes_exactly(words, tmp_path, monkeypatch):
    whole = train(tmp_path / "whole", *words)
    with monkeypatch.context() as patch:
        patch.setattr(Idle, "tick", lambda self, step: os.kill(os.getpid(), signal.SIGTERM) if step == 70 else None)
        assert begin(tmp_path / "run", *words) == exits.STOPPED
    assert console("resume", tmp_path / "run", "--allow-package", "tests") == exits.FINISHED
    assert same(Checkpoints(tmp_path / "run").load("last")[1]["agent"]["module"], whole.agent.state_dict())
