"""A model of stored data: with real ratio 1 the source is the data, bit for bit; the model is trained once, and its rollouts are renewed.
That a run which is cut goes on exactly is shown in tests/agents/test_mbpo.py."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch
from omegaconf import OmegaConf

from deeprl.agents.imagination import Imagination
from deeprl.agents.ravl import StoredModel
from deeprl.envs.terminations import never
from deeprl.errors import ConfigError
from deeprl.replay.memory import refuse_if_too_large
from deeprl.replay.replay import Replay
from deeprl.running.collect.stored import Stored
from deeprl.running.config.folders import CONFIGS
from deeprl.running.config.instantiate import Deferred
from deeprl.schedules import Linear
from tests.agents.test_mbpo import AGENT, FIELDS, SPEC, TrueSimulator, batches, fill, make
from tests.builders import composed


@dataclass(frozen=True)
class Counting(TrueSimulator):
    fits: list[int] = field(default_factory=list)

    def fit(self, data, slopes, generator, step, beat):
        self.fits.append(len(data.inputs))
        return {"model/squared_error": 0.25}


def in_memory(key, data, **given):
    """Thirty steps of Pendulum in place of what `data` names."""
    found = Replay(capacity=500, **given)
    fill(found)
    return found


def stored(**given):
    model, store = given.pop("model", TrueSimulator()), given.pop("store", in_memory)
    own = {"period": 10, "rollouts": 64, **given}
    source = StoredModel(
        data="x", store=store, model=model, imagination=Imagination(**own), agent=AGENT, terminates=never, batch_size=32, spec=SPEC, num=1,
        discount=0.9,
    )  # fmt: skip
    source.connect(5, "index", lambda rows: None, lambda batch: {})
    return source


def test_with_real_ratio_one_it_is_the_data():
    """Beyond a block of 64 batches of random numbers, and from the first step on."""
    plain, other = make(Replay), stored(real=1.0)
    fill(plain)
    for one, two in zip(batches(plain, 66, after=1), batches(other, 66, after=1), strict=True):
        assert all(torch.equal(getattr(one, name), getattr(two, name)) for name in FIELDS)
    assert not other.trained


def test_the_model_is_trained_once_and_rolled_out_each_period():
    model = Counting()
    source, sets = stored(model=model, retain=2, horizon=5, real=0.25), []
    for after in range(1, 22):
        next(source.updates(after - 1, after))
        sets.append(source.imagined)
    assert (model.fits, source.trained, source.trainings) == ([30], [1, 21], 3)
    assert (source.sizes, len(sets[0]), len(sets[-1])) == ([5 * 64] * 2, 5 * 64, 2 * 5 * 64)
    assert torch.equal(sets[-1][: 5 * 64], sets[10][5 * 64 :])  # the second set, behind which the first is gone
    assert source.diagnostics() == {"model/squared_error": 0.25, "model/horizon": 5.0, "model/transitions": 640.0}


def test_rollouts_start_from_states_of_the_data():
    source = stored(horizon=Linear(2, 2, 1), real=0.25)
    (batch,) = batches(source, after=1)
    first, second = source.imagined.split(64)
    known = source.transitions()[:, :3].tolist()
    assert len(known) == 30
    assert all(row in known for row in (*first[:, :3].tolist(), *batch.obs[:8].tolist()))
    assert torch.equal(second[:, :3], first[:, source.layout.width :])


def test_a_model_that_no_checkpoint_holds_is_told():
    """With checkpoint.replay=false it was trained anew without a word."""
    assert stored().restart(100) == "a model that is trained anew"


def test_updates_are_counted_from_the_first_step():
    assert StoredModel.planned({"ratio": 0.5}, 100, 1) == 50


def test_the_horizon_takes_the_keys_of_a_schedule_as_that_of_replay_model():
    """It was a number, of which `replay.horizon={start: 1, …}` made a dictionary that was refused."""
    one, other = (OmegaConf.load(CONFIGS / "replay" / f"{name}.yaml").horizon for name in ("model", "stored_model"))
    assert one.keys() == other.keys()
    assert one._target_ == other._target_


def test_what_makes_the_replay_is_no_word():
    with pytest.raises(ValueError, match="store must make the replay of the data, not 'x': leave it out"):
        stored(store="x")


def test_data_that_are_not_there_are_named_by_their_own_key(monkeypatch):
    """What is no key of theirs is told of their replay, and not of another option, replay=stored."""
    store = Deferred(Stored, {}, "replay.store")
    with pytest.raises(ConfigError, match=r"^replay\.data=x: "):
        stored(store=store)
    monkeypatch.setattr("deeprl.running.collect.stored.find", lambda data, spec: refuse_if_too_large("capacity", 5, 1 << 60))
    with pytest.raises(ConfigError, match=r"^replay\.store \(Stored\): capacity=5 "):
        stored(store=store)


def test_it_asks_for_data():
    """It was EDAC beside an environment, and said nothing."""
    with pytest.raises(ConfigError, match=r"^replay.data has no value: give one, replay.data=..., a run folder"):
        composed("agent=ravl", "env=classic/pendulum")
