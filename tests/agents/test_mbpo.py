"""A model as a source: with the true simulator its transitions are the environment's, with real ratio 1 it is plain replay."""

from __future__ import annotations

import json
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from deeprl.agents.dynamics import Data, Likelihood, ModelChoice, Prediction
from deeprl.agents.imagination import Imagination
from deeprl.agents.mbpo import ModelReplay
from deeprl.agents.model_ensemble import DynamicsEnsemble, ModelEnsemble
from deeprl.agents.vagram import ValueGradient
from deeprl.envs.tensor_classic import PendulumWorld
from deeprl.envs.terminations import never
from deeprl.errors import Failed
from deeprl.replay.replay import Replay
from deeprl.replay.samplers import Prioritized
from deeprl.schedules import Linear
from deeprl.system.watchdog import Watchdog
from deeprl.types import AgentStep, Rows, Spec
from tests.builders import CONTINUOUS, equal, sac
from tests.pretended import Pretended
from tests.promises.test_resume import PENDULUM, assert_same_run, cut_and_resumed

SPEC = Spec((3,), torch.float32, 0, 1)
WORLD = PendulumWorld(200)


@dataclass(frozen=True)
class TrueSimulator(ModelChoice):
    """Pendulum's own equations; `edge`: its episodes end where the angular velocity passes it."""

    edge: float = 100.0

    def build(self, obs, action, learns_ends, seed):
        return self

    def fit(self, data, slopes, generator, step, beat):
        return {"model/squared_error": 0.0}

    def predict(self, obs, action, generator):
        state = torch.stack([torch.atan2(obs[:, 1], obs[:, 0]), obs[:, 2]], 1).double()
        after, reward, _ = WORLD.advance({"state": state}, 2 * action, torch.zeros(0))
        found = WORLD.observe(after)
        return Prediction(reward.float(), found, found[:, 2].abs() > self.edge)

    def state(self):
        return {}

    def load(self, state):
        pass


def acting(obs, first, memory, step, noise, explore):
    """A linear policy and noise."""
    action = (0.3 * obs[:, 2:] + noise["normal"]).clamp(-1, 1)
    return AgentStep(action, torch.ones(len(obs)), {"step": memory.get("step", -1) + 1})


AGENT = SimpleNamespace(act=acting, act_noise=lambda size, g: {"normal": torch.randn(*size, 1, generator=g)})


def make(cls=ModelReplay, **given):
    own = {"model": TrueSimulator(), "agent": AGENT, "terminates": never, "rollouts": 64, "period": 10} if cls is ModelReplay else {}
    found = {"capacity": 500, "batch_size": 32, "spec": SPEC, "num": 1, "discount": 0.9, **own, **given}
    if cls is ModelReplay:
        keys = found.keys() & Imagination.fields().keys()
        found["imagination"] = Imagination(**{name: found.pop(name) for name in keys})
    replay = cls(**found)
    replay.connect(5, "index", lambda rows: None, lambda batch: {})
    return replay


def fill(replay, number=30, start=0):
    """Steps of Gymnasium's Pendulum by uniform actions."""
    import gymnasium

    env, random = gymnasium.make("Pendulum-v1"), np.random.default_rng(start)
    obs, _ = env.reset(seed=start)
    for _ in range(number):
        action = random.uniform(-1, 1, 1).astype(np.float32)
        after, reward, *_ = env.step(2 * action)
        flags, one = np.zeros(1, bool), np.ones(1, np.float32)
        replay.append(Rows(obs[None], action[None], np.float32([reward]), after[None], flags, flags, one))
        obs = after


def batches(replay, count=1, after=31):
    return [replay.batch(next(replay.updates(after - 1, after))) for _ in range(count)]


FIELDS = ("obs", "action", "reward", "discount", "next_obs", "steps", "ended", "weight", "index")


def test_with_real_ratio_one_it_is_plain_replay():
    plain, other = make(Replay), make(real=1.0)
    for replay in (plain, other):
        fill(replay)
    for one, two in zip(batches(plain, 3), batches(other, 3)):
        assert all(torch.equal(getattr(one, name), getattr(two, name)) for name in FIELDS)
    assert not other.trained


def test_a_share_is_that_of_plain_replay_and_the_rest_is_imagined():
    """12 of 256 at 0.05, as in the authors' code."""
    assert make(batch_size=256).own == 12
    assert make(real=0.29, batch_size=100).own == 29
    plain, other = make(Replay), make(real=0.25)
    for replay in (plain, other):
        fill(replay)
    (one,), (two,) = batches(plain), batches(other)
    assert torch.equal(one.obs[:8], two.obs[:8])
    assert torch.equal(one.reward[:8], two.reward[:8])
    known = other.imagined[:, :3].tolist()
    assert all(row in known for row in two.obs[8:].tolist())


def test_a_rollout_starts_from_a_state_of_the_replay_and_goes_on():
    replay = make(horizon=Linear(3, 3, 1))
    fill(replay)
    batches(replay)
    first, second, third = replay.imagined.split(64)
    real = replay.transitions()[:, :3].tolist()
    assert all(row in real for row in first[:, :3].tolist())
    assert torch.equal(second[:, :3], first[:, replay.layout.width :])
    assert torch.equal(third[:, :3], second[:, replay.layout.width :])


def test_with_the_true_simulator_it_is_learning_from_more_data():
    """What is imagined is what Gymnasium's Pendulum does from there; and a batch of it is a batch of plain replay that holds it."""
    import gymnasium

    replay = make(real=0.0, rollouts=20)
    fill(replay)
    batches(replay)  # trains the model
    u = torch.rand(32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    batch = replay.batch(replay.sample({"u": u, "imagined": u}, step=31))
    env = gymnasium.make("Pendulum-v1").unwrapped
    env.reset(seed=0)
    for obs, action, reward, after in zip(batch.obs, batch.action, batch.reward, batch.next_obs):
        env.state = np.array([np.arctan2(obs[1].item(), obs[0].item()), obs[2].item()])
        expected, earned, *_ = env.step(2 * action.numpy())
        assert after.tolist() == pytest.approx(expected.tolist(), abs=1e-5)
        assert reward.item() == pytest.approx(earned, abs=1e-4)

    plain, at = make(Replay), replay.layout
    for row in replay.imagined.numpy():
        flags, one = np.zeros(1, bool), np.ones(1, np.float32)
        ends = np.ones(1, bool)  # so that the next row is no successor
        plain.append(Rows(row[None, :3], row[None, 3:4], row[None, at.reward], row[None, at.width :], flags, ends, one))
    same = plain.batch(plain.draw(u))
    assert all(torch.equal(getattr(batch, name), getattr(same, name)) for name in ("obs", "action", "reward", "discount", "next_obs"))


def test_a_rollout_ends_where_the_model_terminates():
    """By the learned rule, where the environment has none. Nothing follows a terminated transition, from which nothing is bootstrapped."""
    replay = make(real=0.0, horizon=Linear(5, 5, 1), model=TrueSimulator(edge=1.0), terminates=None)
    fill(replay)
    batch = batches(replay)[0]
    rows, at = replay.imagined, replay.layout
    terminated = rows[:, at.width + 2].abs() > 1.0
    assert 0 < terminated.sum() < len(rows)
    assert torch.equal(rows[:, at.continues] == 0, terminated)
    after = rows[64:, :3].tolist()
    assert not any(row in after for row in rows[terminated][:, at.width :].tolist())
    assert torch.equal(batch.discount == 0, batch.next_obs[:, 2].abs() > 1.0)


def test_it_trains_on_its_period_with_a_growing_horizon_and_keeps_the_last_rollouts():
    replay, trained = make(retain=2, horizon=Linear(1, 3, 40)), []
    fill(replay, 80)
    for after in range(1, 81):
        next(replay.updates(after - 1, after))
        trained.append(replay.trained[-1])
    assert sorted(set(trained)) == [1, 11, 21, 31, 41, 51, 61, 71]
    assert (replay.trained, replay.trainings, replay.sizes) == ([1, 71], 8, [3 * 64, 3 * 64])
    assert replay.diagnostics() == {"model/squared_error": 0.0, "model/horizon": 3.0, "model/transitions": 6 * 64}


def test_a_constant_horizon_is_not_rounded_down():
    """3 (1 - d) + 3 d is 2.9999999999999996 with d = 3 / 997."""
    replay = make(horizon=Linear(3, 3, 997))
    fill(replay, 5)
    replay.train(3)
    assert len(replay.imagined) == 3 * 64


def test_a_number_is_a_constant_horizon():
    horizon = Imagination(horizon=3, rollouts=10)
    assert [horizon.steps(step) for step in (0, 1, 10**6)] == [3, 3, 3]
    assert horizon.most == 30


def test_a_training_that_is_said_to_be_ahead_does_not_put_off_the_next():
    replay = make()
    fill(replay)
    replay.trained = [10**9]
    batches(replay)
    assert replay.trained == [31, 31]


class Living(TorchDispatchMode):
    """The most bytes of tensors that were alive together, each storage once, of those that are made in it."""

    def __init__(self):
        super().__init__()
        self.alive, self.most = dict[int, tuple[StorageWeakRef, int]](), 0

    def __torch_dispatch__(self, call, types, args=(), kwargs=None):
        made = call(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, (list, tuple)) else (made,):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage().data_ptr() not in self.given:
                storage = tensor.untyped_storage()
                self.alive[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        self.alive = {key: each for key, each in self.alive.items() if not each[0].expired()}
        self.most = max(self.most, sum(size for _, size in self.alive.values()))
        return made

    def __call__(self, *given):
        self.given = {tensor.untyped_storage().data_ptr() for tensor in given if tensor is not None}
        return self


@pytest.mark.parametrize(("loss", "values", "ends"), [(Likelihood(), 0, False), (ValueGradient(), 4, False), (Likelihood(), 0, True)])
def test_the_memory_of_a_training_is_that_of_its_tensors(loss, values, ends):
    choice = ModelEnsemble(loss=loss, members=2, elites=1, hidden=(2,), weight_decay=0, epochs=1, batch_size=20, holdout=0.05)
    rows, size = 1000, 60
    inputs, after = torch.randn(rows, size + 1), torch.randn(rows, size)
    data = Data(inputs, torch.randn(rows, size + 1), torch.zeros(rows), after, torch.zeros(rows, 0, size))
    model = choice.build(size, 1, ends, 0)
    with Living()(*data, *model.state_dict().values()) as living:
        model.fit(data, lambda obs: torch.ones(len(obs), 4, size), torch.Generator(), 0)
    assert 0.8 < living.most / choice.memory(rows, size, 1, values) < 1.2


def test_the_memory_of_a_replay_has_what_a_training_copies():
    """Rows, their targets and the model's own tensors, beside the rollouts. Only the rollouts were counted: a sixth."""
    spec = Spec((60,), torch.float32, 0, 1)
    choice = ModelEnsemble(members=2, elites=1, hidden=(2,), weight_decay=0, epochs=1, batch_size=20, holdout=0.05)
    agent = SimpleNamespace(act=lambda obs, *rest, **others: acting(obs[:, :3], *rest, **others), act_noise=AGENT.act_noise)
    replay = make(spec=spec, model=choice, agent=agent, rollouts=10)
    obs, flags, one = np.ones((1, 60), np.float32), np.zeros(1, bool), np.ones(1, np.float32)
    for i in range(600):
        replay.append(Rows(i * obs, one[:, None], one, (i + 1) * obs, flags, flags, one))
    with Living()(*replay.ring.tensors(), *replay.model.state_dict().values()) as living:
        replay.train(600)
    assert 0.8 < living.most / replay.working < 1.2
    assert "more while the model trains" in replay.room()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"rollouts": 500_000},
            r"rollouts=500000 of up to 1 steps \(replay.horizon\), kept for 4 trainings .*: replay.rollouts=\d+ would fit",
        ),
        ({"capacity": 700_000}, r"capacity=700000 needs .*: replay.capacity=\d+ would fit"),
    ],
)
def test_too_much_memory_is_answered_with_what_takes_it(monkeypatch, given, message):
    monkeypatch.setattr("deeprl.replay.memory.available_memory", lambda *_: 70 << 20)
    with pytest.raises(ValueError, match=message):
        make(**given)
    monkeypatch.setattr("deeprl.replay.memory.available_memory", lambda device="cpu": (70 << 20) if str(device) == "cuda" else 1 << 40)
    with pytest.raises(ValueError, match=rf"^{next(iter(given))}=.* on cuda beside"):  # its memory was not asked
        make(**given, batch_device="cuda")


def test_a_training_that_diverges_names_the_model():
    """Its optimizer alone told that some gradient is not finite."""
    replay = make(model=ModelEnsemble(members=2, elites=1, hidden=(4,), weight_decay=0.0, epochs=1))
    fill(replay)
    replay.ring.rows[:, replay.layout.reward] = 1e37
    replay.ring.rows[1, replay.layout.reward] = -1e37
    with pytest.raises(Failed, match=r"training 1 of the model \(step 31\) is not finite: .*replay.model.lr"):
        replay.train(31)


def test_a_rollout_with_a_number_that_is_not_finite_ends():
    replay = make(real=0.0, horizon=Linear(2, 2, 1))
    fill(replay)
    plain = TrueSimulator.predict

    class Diverging(TrueSimulator):
        def predict(self, obs, action, generator):
            found = plain(self, obs, action, generator)
            return found._replace(reward=torch.where(torch.arange(64) < 10, torch.nan, found.reward))

    replay.model = Diverging()
    batches(replay)
    assert len(replay.imagined) == 2 * 54
    assert replay.imagined.isfinite().all()


def test_loaded_it_goes_on_as_it_would_have():
    """With a learned model: its weights, its optimizer, the imagined transitions, the period, the random numbers."""
    small = ModelEnsemble(members=2, elites=2, hidden=(4,), weight_decay=0.0, epochs=2)
    before, after = (make(model=small, rollouts=16) for _ in range(2))
    fill(before)
    batches(before, 2)
    state = before.state_dict()
    state["model"]["networks"] = {name: {k: v.clone() for k, v in part.items()} for name, part in state["model"]["networks"].items()}
    after.load(state, [before.rows()])
    after.uniforms.load_state_dict(before.uniforms.state_dict())
    for replay in (before, after):
        fill(replay, 20, start=1)
    for one, two in zip(batches(before, 2, after=51), batches(after, 2, after=51)):
        assert all(torch.equal(getattr(one, name), getattr(two, name)) for name in FIELDS)
    assert before.trainings == after.trainings == 2
    one, two = (replay.state_dict()["model"] for replay in (before, after))
    assert equal(one["networks"], two["networks"])
    assert torch.equal(one["imagined"], two["imagined"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"imagined": torch.zeros(5, 3)}, "imagined transitions of shape"),
        ({"trained": [-1]}, "counts of its model"),
        ({"sizes": [64, -1, 1]}, "counts of its model"),
        ({"trained": [9, 3]}, "counts of its model"),
        ({"trained": [True]}, "counts of its model"),
        ({"trained": None}, "trained=None of its model, which must be of the type list"),
        ({"trainings": "one"}, "trainings='one' of its model"),
        ({"imagined": None}, "imagined=None of its model"),
        ({"shown": {"reward": 1.0}}, "'reward'=1.0 among numbers"),
        ({"shown": {"model/epochs": float("nan")}}, "'model/epochs'=nan among numbers"),
        ({"more": 3}, "as its model, not imagined, sizes"),
    ],
)
def test_a_state_that_none_can_have_is_refused(change, message):
    before, after = make(), make()
    fill(before)
    batches(before)
    state = before.state_dict()
    with pytest.raises(ValueError, match=message):
        after.load({**state, "model": {**state["model"], **change}}, [before.rows()])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"n_step": 3}, "n_step must be 1, not 3"),
        ({"sampler": Prioritized()}, "sampler must be uniform, because imagined"),
        ({"device": "cuda"}, "device=cuda does not go with imagined"),
        ({"spec": Spec((3,), torch.float32, 2, 0)}, "continuous actions without masks: choose another replay"),
        ({"spec": Spec((3, 8, 8), torch.uint8, 0, 1)}, "plain vectors, not images or several parts: choose another replay"),
        ({"model": ModelEnsemble(loss=ValueGradient())}, "gradients of critics, which this agent does not have: choose replay=model"),
        ({"horizon": Linear(0, 3, 1)}, "horizon must be at least 1 from its start to its end, not 0 and 3"),
        ({"horizon": "long"}, "horizon must be a number of at least 1, or have the keys start, end, begin and duration, not 'long'"),
        ({"horizon": 0}, "horizon must be a number of at least 1"),
        ({"horizon": True}, "horizon must be a number of at least 1"),
        ({"model": 3}, "model must be one that learns, not 3"),
        ({"real": 1.5}, "real must be between 0 and 1"),
        ({"termination": "never"}, "termination must be one of auto, learned"),
    ],
)
def test_what_does_not_go_with_a_model_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        make(**given)


RUN = (
    "agent=vagram", *PENDULUM, "agent.actor_torso.hidden=[8]", "agent.torso.hidden=[8]", "replay.batch_size=8", "replay.rollouts=20",
    "replay.period=25", "replay.retain=2", "replay.model.hidden=[6]", "replay.model.weight_decay=0", "replay.model.epochs=2",
    "replay.horizon.end=3", "replay.termination=learned", "runtime.threads=1",
)  # fmt: skip
"""A model whose loss reads the critics, a growing horizon, and terminations that are learned"""


OFFLINE = (
    "agent=ravl", *PENDULUM, "replay=stored_model", "agent.actor_torso.hidden=[8]", "agent.torso.hidden=[8]", "agent.ensemble=3",
    "replay.batch_size=8", "replay.rollouts=20", "replay.period=25", "replay.retain=2", "replay.horizon=2", "replay.model.hidden=[6]",
    "replay.model.weight_decay=0", "replay.model.epochs=2", "replay.real=0.25", "replay.termination=learned", "runtime.threads=1",
)  # fmt: skip
"""A model of what another run has stored, which is trained once"""


def test_a_run_that_is_cut_goes_on_as_the_uninterrupted_run(tmp_path, monkeypatch):
    """Between two trainings of the model, whose numbers are in each line of the log; and one that learns from that run's data, between two
    sets of rollouts of the one model. The watchdog, to which a long training was a hang, hears of each update of the model."""
    beats, heard, plain = [], [], DynamicsEnsemble.update
    monkeypatch.setattr(Watchdog, "beat", lambda dog: beats.append(None))
    monkeypatch.setattr(DynamicsEnsemble, "update", lambda model, *given: heard.append(len(beats)) or plain(model, *given))
    short = (
        "env.num=2", "steps=120", "replay.learning_starts=40", "replay.ratio=0.5", "replay.capacity=100", "evaluation.every=null",
        "evaluation.final_episodes=1", "checkpoint.every=76", "log.every=30",
    )  # fmt: skip
    whole, cut = cut_and_resumed(tmp_path, monkeypatch, 76, *RUN, *short)
    assert_same_run(cut, whole)
    lines = (cut / "metrics.jsonl").read_text().splitlines()
    assert sum("model/value_error" in line for line in lines) == 3
    assert len(heard) > 10
    assert heard == sorted({*heard})

    few = ("steps=60", "evaluation.every=null", "evaluation.final_episodes=1", "checkpoint.every=38", "log.every=20")
    whole, cut = cut_and_resumed(tmp_path / "offline", monkeypatch, 38, *OFFLINE, f"replay.data={whole}", *few)
    assert_same_run(cut, whole)
    errors = {json.loads(line).get("model/squared_error") for line in (cut / "metrics.jsonl").read_text().splitlines()}
    assert len(errors - {None}) == 1


def imagined_on(device: str) -> tuple[torch.Tensor, ...]:
    """What is imagined, the batch that is learned from, and the model's weights, with VaGraM's loss and SAC."""
    with torch.device(device):
        agent = sac()
    small = ModelEnsemble(members=2, elites=1, hidden=(6,), weight_decay=0.0, epochs=2, loss=ValueGradient())
    replay = make(
        spec=CONTINUOUS, agent=agent, model=small, terminates=None, horizon=Linear(2, 2, 1), rollouts=12, batch_device=device
    )  # fmt: skip
    random = np.random.default_rng(0)
    for _ in range(20):
        obs, after = random.normal(size=(2, 1, 5)).astype(np.float32)
        action, flags, one = random.uniform(-1, 1, (1, 2)).astype(np.float32), np.zeros(1, bool), np.ones(1, np.float32)
        replay.append(Rows(obs, action, one, after, flags, flags, one))
    (batch,) = batches(replay)
    return replay.imagined, batch.obs.cpu(), batch.next_obs.cpu(), *(weight.cpu() for weight in replay.model.state_dict().values())


def test_on_the_device_it_imagines_what_it_does_on_the_cpu():
    here = imagined_on("cpu")
    with Pretended() as device, device.during("train"):
        there = imagined_on("cuda")
    assert not device.faults
    assert all(torch.equal(one, other) for one, other in zip(here, there, strict=True))
