"""NaN and Inf: noticed before they change a weight, saved, repeated, and never in a checkpoint."""

from __future__ import annotations

import math

import pytest
import torch

from deeprl.cli import exits
from deeprl.errors import CheckpointError, ConfigError, NotFinite
from deeprl.learning.networks.heads import Scalar
from deeprl.learning.networks.torsos import MLPTorso
from deeprl.learning.optim.finite import Watch
from deeprl.packing import packed_spec
from deeprl.replay.replay import Replay
from deeprl.running.accelerate.modes import precision
from deeprl.running.runs.checkpoints import Checkpoints
from deeprl.running.runs.folder import RunFolder
from deeprl.running.training import crash
from deeprl.running.training.collector import Collector
from deeprl.running.training.guard import Guard
from deeprl.running.training.learner import Learner
from deeprl.types import ObsPart, Spec
from tests.builders import CARTPOLE, CONTINUOUS, console, front_door, made_up, sac, same, snapshot, update, value_agent

SPEC = Spec((5,), torch.float32, 3, 0)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_watch_on_a_cpu_stops_at_once(number):
    watch = Watch(torch.device("cpu"))
    watch(torch.tensor(1e30), "it")
    with pytest.raises(NotFinite, match="it is"):
        watch(torch.tensor(number), "it")


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_elsewhere_a_failure_is_remembered_on_the_device(number):
    watch = Watch(torch.device("cpu"), immediate=False)
    watch(torch.tensor(1e30), "it")
    watch.check()
    assert watch.failed.item() == 0
    watch(torch.tensor(number), "it")
    watch(torch.tensor(1.0), "it")
    assert watch.failed.item() == 1
    with pytest.raises(NotFinite):
        watch.check()


@pytest.mark.parametrize("immediate", [True, False])
def test_a_failing_update_changes_no_weight(immediate):
    agent = value_agent(SPEC)
    learner = Learner(agent, lambda batch: batch)
    learner.watch = Watch(torch.device("cpu"), immediate)
    learner.update(made_up(agent, SPEC))
    before = snapshot(agent)
    bad = made_up(agent, SPEC, seed=1)
    bad.reward[1] = math.nan
    if immediate:
        with pytest.raises(NotFinite) as caught:
            learner.update(bad)
        assert caught.value.objective == "value"
    else:
        learner.update(bad)
        learner.update(made_up(agent, SPEC, seed=2))  # nor do later ones
        with pytest.raises(NotFinite):
            learner.watch.check()
    assert same(before, snapshot(agent))


def test_the_watch_of_another_device_changes_no_number():
    one, other = value_agent(SPEC), value_agent(SPEC)
    learner = Learner(other, lambda batch: batch)
    learner.watch = Watch(torch.device("cpu"), immediate=False)
    for seed in range(3):
        update(one, made_up(one, SPEC, seed=seed))
        learner.update(made_up(other, SPEC, seed=seed))
    assert same(snapshot(one), snapshot(other))


# ---- which tensor


def broken(place: str):
    """An agent and a batch with one fault, and what should be said of it."""
    agent = value_agent(SPEC)
    batch = made_up(agent, SPEC)
    parameters = dict(agent.named_parameters())
    torso, head = (parameters[f"chain.online.{name}.bias_0"].data for name in ("torso", "head.advantage"))
    if place == "batch":
        batch.next_obs[2, 4] = math.inf
        return agent, batch, "batch.next_obs: 1 of 15 entries are not finite, the first is inf at [2, 4]"
    if place == "weights":
        head[0, 0, 2] = math.nan
        return agent, batch, "weights chain.online.head.advantage.bias_0: 1 of 3 entries are not finite, the first is nan at [0, 0, 2]"
    if place == "output":
        torso.fill_(3e38)
        parameters["chain.online.head.advantage.weight_0"].data.fill_(2.0)
        return agent, batch, "output of chain.online.head.advantage: 9 of 9 entries are not finite, the first is inf"
    head.fill_(1e20)  # Q is finite, its squared error is not
    return agent, batch, "output of the loss 'value'"


@pytest.mark.parametrize("place", ["batch", "weights", "output", "loss"])
def test_the_first_tensor_is_named(place):
    agent, batch, says = broken(place)
    assert says in crash.fault(agent, batch, "value")


def test_nothing_is_named_where_all_is_finite():
    agent = value_agent(SPEC)
    assert crash.fault(agent, made_up(agent, SPEC), "value") is None
    fine, bad = made_up(agent, SPEC, seed=1), made_up(agent, SPEC, seed=2)
    assert crash.locate(agent, [fine, fine])[1:] == (None, None)
    bad.reward[0] = math.nan
    batch, objective, tensor = crash.locate(agent, [fine, bad, bad])
    assert batch is bad
    assert objective == "value"
    assert tensor.startswith("batch.reward: 1 of 3")


def test_a_norm_that_overflows_is_told_from_an_entry_that_is_not_finite(monkeypatch):
    agent = value_agent(SPEC)
    batch = made_up(agent, SPEC)
    plain = crash.gradient
    monkeypatch.setattr(crash, "gradient", lambda *a: ([torch.full_like(g, 1e30) for g in plain(*a)[0]], None))
    assert "every entry is finite, the largest is 1e+30, but their norm overflows" in crash.fault(agent, batch, "value")
    monkeypatch.setattr(crash, "gradient", lambda *a: ([g * math.nan for g in plain(*a)[0]], None))
    assert crash.fault(agent, batch, "value").startswith("gradient of chain.online.")


# ---- in a run


def poison(monkeypatch, update: int, separate: bool = False) -> None:
    """The batch of that update, 1-based, holds a reward that is NaN."""
    plain, count = Replay.draw, [0]

    def draw(self, *given):
        count[0] += 1
        batch = self.batch(plain(self, *given))
        if separate:  # elsewhere every batch has memory of its own
            batch = batch._replace(**{name: getattr(batch, name).clone() for name in ("obs", "next_obs", "reward", "discount")})
        if count[0] == update:
            batch.reward[3] = math.nan
        return batch

    monkeypatch.setattr(Replay, "draw", draw)


def test_a_run_that_diverges_leaves_a_bundle_and_its_last_checkpoint(tmp_path, monkeypatch, capsys):
    path = tmp_path / "run"
    with monkeypatch.context() as patch:
        poison(patch, 35)  # after step 200
        assert front_door(*CARTPOLE, f"hydra.run.dir={path}") == exits.FAILED
    said = capsys.readouterr().err
    assert "update 35 (step 200) of the loss 'value' is not finite: batch.reward: 1 of 16 entries are not finite" in said
    assert "the first is nan at [3]" in said
    bundle = path / "crash" / "step_000000000200"
    assert f"deeprl replay-crash {bundle}" in said
    assert RunFolder(path).read_status()["state"] == "failed"
    assert not [p for p in bundle.iterdir() if p.suffix not in (".safetensors", ".json", ".yaml")]
    _, state, batch, failure, _ = crash.read(bundle)
    assert failure["update"] == state["updates"] == 35
    assert batch.reward.shape == (16,)
    assert bool(torch.isfinite(torch.cat([t.flatten() for t in state["module"].values()])).all())  # as they were before the update
    step, parts = Checkpoints(path).load()
    assert step < 200
    assert parts["agent"]["updates"] < 35
    assert console("replay-crash", bundle) == 0
    assert console("replay-crash", path) == 0
    out = capsys.readouterr().out
    assert out.count("then: batch.reward: 1 of 16 entries") == out.count("now:  batch.reward: 1 of 16 entries") == 2
    with monkeypatch.context() as patch:
        patch.setattr(Replay, "draw", lambda self, *given: wrong())
        assert console("resume", path) == exits.WRONG
    assert RunFolder(path).read_status()["state"] == "failed"  # it stayed `running`: a wrong command had changed no run
    assert console("resume", path) == exits.FINISHED  # nothing was lost but the steps since


def wrong():
    raise ConfigError("replay.batch_size=16 was found to be wrong in mid-run: take another")


def test_real_divergence_is_repeated_from_its_bundle(tmp_path, capsys):
    path = tmp_path / "run"
    assert front_door(*CARTPOLE, "agent.optimizer.lr=1e30", f"hydra.run.dir={path}") == exits.FAILED
    assert "is not finite" in capsys.readouterr().err
    assert console("replay-crash", path) == 0
    then, now = capsys.readouterr().out.splitlines()[1:]
    assert then.replace("then: ", "") == now.replace("now:  ", "")


def test_where_looking_waits_the_batch_is_found_among_the_last(tmp_path, monkeypatch, capsys):
    """A CPU told to behave like another device."""
    path = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("deeprl.running.training.learner.Watch", lambda device: Watch(device, immediate=False))
        poison(patch, 73, separate=True)
        assert front_door(*CARTPOLE, "replay.ratio=0.5", f"hydra.run.dir={path}") == exits.FAILED
    assert "of the loss 'value' is not finite: batch.reward: 1 of 16" in capsys.readouterr().err
    _, state, batch, failure, _ = crash.read(next((path / "crash").iterdir()))
    assert 73 < failure["update"] <= 73 + crash.CHECK_PERIOD
    assert batch.reward[3].isnan()
    assert bool(torch.isfinite(torch.cat([t.flatten() for t in state["module"].values()])).all())


def test_a_batch_whose_rows_were_overwritten_is_no_suspect(tmp_path):
    agent = value_agent(SPEC)
    learner = Learner(agent, lambda batch: batch)
    learner.watch = Watch(torch.device("cpu"), immediate=False)
    bad, other = made_up(agent, SPEC), made_up(agent, SPEC, seed=1)
    bad.reward[1] = math.nan
    guard = Guard(
        learner,
        precision("highest"),
        RunFolder(tmp_path),
        {"device": "cpu", "env": {"package": "mine"}},
        lambda: 1,
        lambda drawn: drawn is other,
    )
    for batch in (bad, other):
        guard.update(batch, lambda learned: None)
    with pytest.raises(
        NotFinite, match=r"a loss or the norm of a gradient is not finite.*deeprl replay-crash \S+ --allow-package mine` repeats it"
    ):
        guard.check()
    _, _, batch, failure, _ = crash.read(next((tmp_path / "crash").iterdir()))
    assert torch.equal(batch.reward, other.reward)
    assert failure["objective"] is None


def test_weights_that_are_not_finite_never_reach_a_checkpoint(tmp_path, monkeypatch, capsys):
    """However they came about."""
    path = tmp_path / "run"
    tick = Collector.tick

    def spoil(self, step):
        tick(self, step)
        if step == 158:
            self.agent.chain.target.load_state_dict({k: v * math.nan for k, v in self.agent.chain.target.state_dict().items()})

    with monkeypatch.context() as patch:
        patch.setattr(Collector, "tick", spoil)
        patch.setattr("deeprl.running.training.trainer.Trainer.learn", lambda self, drawn: None)
        assert front_door(*CARTPOLE, "evaluation.every=null", f"hydra.run.dir={path}") == exits.FAILED
    assert "weights chain.target" in capsys.readouterr().err
    assert Checkpoints(path).steps() == [80]
    assert console("replay-crash", path) == 0
    assert "weights chain.target" in capsys.readouterr().out


def test_a_bundle_holds_the_noise_of_its_batch(tmp_path):
    """Records of noise are records again, so that the update is repeated as it was; noise that is none is damage."""
    agent = value_agent(SPEC, head=Scalar(noisy=True))
    batch = made_up(agent, SPEC)
    failure = {"step": 1, "update": 1, "objective": "value", "tensor": "", "product": "highest"}
    bundle = crash.write(RunFolder(tmp_path), {"device": "cpu"}, agent, batch, failure)
    _, _, found, *_ = crash.read(bundle)
    assert found.noise["online"].now.layers.keys() == batch.noise["online"].now.layers.keys() != set()
    assert all(torch.equal(value, found.noise["online"].now.layers[name]) for name, value in batch.noise["online"].now.layers.items())
    assert torch.equal(agent.loss_of("value", found).loss, agent.loss_of("value", batch).loss)
    damaged = crash.write(RunFolder(tmp_path), {"device": "cpu"}, agent, batch._replace(noise=[1, 2]), {**failure, "step": 2})
    with pytest.raises(CheckpointError, match="no crash bundle"):
        crash.read(damaged)


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_a_bundle_holds_the_noise_of_critics_too(tmp_path, dropout):
    """That of one network, not of two: every bundle of an actor-critic agent was called none."""
    agent = sac(torso=MLPTorso((8,), dropout=dropout))
    batch = made_up(agent, CONTINUOUS)
    failure = {"step": 1, "update": 1, "objective": "critic", "tensor": "", "product": "highest"}
    _, _, found, *_ = crash.read(crash.write(RunFolder(tmp_path), {"device": "cpu"}, agent, batch, failure))
    assert torch.equal(agent.loss_of("critic", found).loss, agent.loss_of("critic", batch).loss)


def test_a_folder_that_is_no_bundle_says_so(finished, tmp_path, capsys):
    assert console("replay-crash", tmp_path) == 1
    assert "holds no crash bundle, and is no run folder" in capsys.readouterr().err
    assert console("replay-crash", finished / "checkpoints" / "step_000000000300") == 1
    assert "is no run folder" in capsys.readouterr().err


def test_a_bundle_that_does_not_fit_its_configuration_says_so(finished, tmp_path, monkeypatch, capsys):
    path = tmp_path / "run"
    with monkeypatch.context() as patch:
        poison(patch, 3)
        assert front_door(*CARTPOLE, f"hydra.run.dir={path}") == exits.FAILED
    (bundle,) = (path / "crash").iterdir()
    config = RunFolder(bundle).read_config()
    config["agent"]["torso"]["hidden"] = [3]
    RunFolder(bundle).write_config(config)
    assert console("replay-crash", bundle) == 1
    assert f"{bundle} does not fit its configuration" in capsys.readouterr().err


def test_a_bundle_keeps_the_parts_of_observations():
    image, hidden = ObsPart("image", (2, 2, 2), torch.uint8, True, frame_stack=2), ObsPart("hidden", (2,), torch.float32, privileged=True)
    parts = (image, ObsPart("stock", (3,), torch.float32, scaled=False, stock=True), hidden)
    spec = packed_spec(parts, 3, 0)
    assert crash.spec_of({"spec": crash.words_of(spec)}) == spec
    with pytest.raises(ValueError, match="part"):
        crash.spec_of({"spec": {**crash.words_of(spec), "parts": [{**crash.words_of(spec)["parts"][0], "shape": [1.5]}]}})
