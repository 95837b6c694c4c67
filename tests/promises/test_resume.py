"""Runs that are stopped, crash or are prolonged end bit for bit where the uninterrupted run ends; what `deeprl resume` refuses."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from pathlib import Path

import pytest
import torch

import deeprl
from deeprl.cli import exits
from deeprl.cli.resume import nothing_to_train
from deeprl.errors import ConfigError, Stopped
from deeprl.replay.replay import Replay
from deeprl.running.config.rules import IDENTITY, put
from deeprl.running.config.stored import continued, require_ahead, require_sources
from deeprl.running.runs.checkpoints import Checkpoints
from deeprl.running.runs.folder import RunFolder
from deeprl.running.training.collector import Collector
from deeprl.running.training.device_collector import DeviceCollector
from deeprl.running.training.idle import Idle
from deeprl.running.training.trainer import Trainer
from tests.builders import CARTPOLE, begin, console, equal, front_door, lines, same
from tests.corridor import CORRIDOR
from tests.presets import KINDS, OF_TRANSITIONS, criterion, mechanisms, narrow, presets

COMMON = [word for word in CARTPOLE if not word.startswith(("agent", "env="))]
PENDULUM = "env=classic/pendulum", "env.max_episode_steps=20"  # in place of 200, most of which would be those of evaluations
CRITICS = ("agent.actor_torso.hidden=[8]", "agent.torso.hidden=[8]")
RUNS = {
    "dqn": CARTPOLE,
    "prioritized": (*CARTPOLE, "replay=prioritized"),
    "idqn": (  # a chain in mid-window, a head per episode, held actions, statistics of observations and rewards, noise for updates
        *COMMON, "env=classic/cartpole", "agent=idqn", "agent.torso.hidden=[16]", "agent.chain.length=3", "agent.chain.shift_period=50",
        "agent.chain.sync_period=6", "agent.chain.acting=episode", "agent/normalize=running", "agent/rewards=scaled",
        "agent.head.noisy=true", "agent/explore=ez_greedy", "agent.explore.schedule.end=0.5", "agent.explore.exponent=1",
        "agent.optimizer.schedule.duration=300", "replay.n_step=3",
    ),
    "rbis": (*COMMON, "env=classic/cartpole", "agent=rbis_dqn", "replay.length=5", "replay.batch_size=4", "agent.torso.hidden=[16]"),
    "masks": (*COMMON, *CORRIDOR, "agent=munchausen_dqn", "agent.torso.hidden=[16]"),
    "groups": (*CARTPOLE, "agent/auxiliary=self_prediction"),  # an optimizer with several groups, whose state is nested
    "td3": (*COMMON, *PENDULUM, "agent=td3", *CRITICS, "evaluation.every=null"),
}  # fmt: skip


def at_step(monkeypatch, step: int, act) -> None:
    """Call `act()` once, in the tick that begins at `step`."""

    def hook(kind: type) -> None:
        plain = kind.tick

        def tick(self, now):
            plain(self, now)
            if now == step:
                act()

        monkeypatch.setattr(kind, "tick", tick)

    for kind in (Collector, DeviceCollector, Idle):
        hook(kind)


def assert_same_run(one: Path, other: Path) -> None:
    """Weights, optimizer, metrics and evaluations to the bit."""
    (step, left), (other_step, right) = (Checkpoints(path).load("last") for path in (one, other))
    assert step == other_step
    assert same(left["agent"]["module"], right["agent"]["module"])
    assert equal(left["agent"]["optimizers"], right["agent"]["optimizers"])
    assert bool(left["collector"]) == bool(right["collector"])
    if left["collector"]:  # empty where no environment is stepped; of actors elsewhere it holds other things
        assert left["collector"]["returns"].tolist() == right["collector"]["returns"].tolist()
        assert left["collector"]["episodes"] == right["collector"]["episodes"]
    for name in ("metrics.jsonl", "evaluations.jsonl"):
        assert lines(one, name) == lines(other, name)
        assert lines(one, name)


def cut_and_resumed(folder: Path, monkeypatch, step: int, *words: str, trust: tuple[str, ...] = ()) -> tuple[Path, Path]:
    """A run, and the one that goes on from a copy of its folder in the tick that begins at `step`, as a machine without power leaves it.
    The latter saves more often, because saving must change nothing. Costs a third less than a second run that is stopped."""
    whole, cut = folder / "whole", folder / "cut"
    with monkeypatch.context() as patch:
        at_step(patch, step, lambda: shutil.copytree(whole, cut))
        assert begin(whole, *words) == exits.FINISHED
    assert console("resume", cut, "checkpoint.every=45", *trust) == exits.FINISHED
    resumed = json.loads((cut / "system.json").read_text())[-1]["resumed_from"]
    assert 0 < resumed <= step
    return whole, cut


@pytest.fixture(scope="module")
def whole(finished, tmp_path_factory):
    """`whole(name)`: the folder of that run, trained without a break the first time it is asked for."""
    folders = {"dqn": finished}

    def folder(name: str) -> Path:
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp("whole") / name
            assert begin(folders[name], *RUNS[name]) == exits.FINISHED
        return folders[name]

    return folder


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("dqn", 30), ("dqn", 170), ("prioritized", 170), ("idqn", 170), ("masks", 170),
        # sequences, groups of parameters and an actor are in runs of test_resume_options.py too; a signal stops all alike
        *(pytest.param(name, 170, marks=pytest.mark.exhaustive) for name in ("rbis", "groups", "td3")),
    ],
)  # fmt: skip
def test_a_run_that_is_stopped_and_resumed_is_the_uninterrupted_run(name, step, tmp_path, monkeypatch, whole, capfd):
    """Stopped in warm-up, or in the middle of learning and of an episode."""
    path = tmp_path / "stopped"
    with monkeypatch.context() as patch:
        at_step(patch, step, lambda: os.kill(os.getpid(), signal.SIGTERM))
        assert begin(path, *RUNS[name]) == exits.STOPPED == 75
    status = RunFolder(path).read_status()
    assert (status["state"], status["step"], status["error"]) == ("stopped", step + 2, "stopped by SIGTERM")
    assert f"deeprl resume {path}" in capfd.readouterr().out
    assert console("resume", path) == exits.FINISHED
    assert_same_run(path, whole(name))
    assert [start["resumed_from"] for start in json.loads((path / "system.json").read_text())] == [None, step + 2]


@pytest.mark.parametrize("name", ["dqn", "prioritized"])
def test_a_run_that_crashes_and_is_resumed_is_the_uninterrupted_run(name, tmp_path, monkeypatch, whole, capsys):
    """It fails at step 230: the checkpoint is of step 160 or of the best evaluation, and what was logged after it is cut."""
    path = tmp_path / "crashed"

    def fail():
        raise ArithmeticError("out of luck")

    with monkeypatch.context() as patch:
        at_step(patch, 230, fail)
        assert begin(path, *RUNS[name]) == exits.FAILED == 1
    said = capsys.readouterr().err
    assert "the run failed: ArithmeticError: out of luck." in said
    assert f"deeprl resume {path}" in said
    assert "Traceback" not in said
    assert "out of luck" in (path / "traceback.txt").read_text()
    status = RunFolder(path).read_status()
    assert (status["state"], status["error"]) == ("failed", "ArithmeticError: out of luck")
    assert console("resume", path) == exits.FINISHED
    assert re.search(r"resumed from step (160|200) \(the run had reached step 230\)", capsys.readouterr().err)
    assert_same_run(path, whole(name))


def test_a_run_that_fails_before_its_first_checkpoint_starts_again(finished, tmp_path, monkeypatch):
    path = tmp_path / "early"

    def fail():
        raise ArithmeticError

    with monkeypatch.context() as patch:
        at_step(patch, 60, fail)
        assert begin(path, *CARTPOLE) == exits.FAILED
    assert not Checkpoints(path).steps()
    assert lines(path, "metrics.jsonl")  # of step 50; a second copy would show below
    assert console("resume", path) == exits.FINISHED
    assert_same_run(path, finished)


def test_a_run_that_fails_while_it_is_built_starts_again_by_the_same_command(tmp_path, monkeypatch):
    """By the machine, as on a card without memory: a batch script submits the same command again."""

    def fail(*args, **kwargs):
        raise MemoryError("the card is full")

    words = (*CARTPOLE, "resume=auto", f"hydra.run.dir={tmp_path / 'run'}")
    with monkeypatch.context() as patch:
        patch.setattr("deeprl.running.session.session.assemble", fail)
        assert front_door(*words) == exits.FAILED
    assert RunFolder(tmp_path / "run").read_status()["error"] == "MemoryError: the card is full"
    assert front_door(*words) == exits.FINISHED


@pytest.mark.parametrize("state", ["finished", "stopped", "running", "failed"])
def test_a_run_whose_checkpoints_are_gone_keeps_its_records(finished, tmp_path, capsys, state):
    """Somebody made room. The run would otherwise begin at step 0, and empty them."""
    path = shutil.copytree(finished, tmp_path / "run")
    shutil.rmtree(path / "checkpoints")
    folder = RunFolder(path)
    folder.write_status(state, 300, 120, saved=300)
    before = {name: (path / name).read_bytes() for name in ("metrics.jsonl", "evaluations.jsonl", "status.json", "summary.json")}
    assert console("resume", path, "steps=400") == exits.FAILED
    assert "holds no checkpoint any more of a run of 300 steps" in capsys.readouterr().err
    assert before == {name: (path / name).read_bytes() for name in before}


def test_a_checkpoint_that_cannot_be_read_changes_no_status(finished, tmp_path, monkeypatch, capsys):
    path = shutil.copytree(finished, tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr("deeprl.running.runs.checkpoint.SMALL", 0)
        patch.setattr("deeprl.running.runs.checkpoint.available_memory", lambda: 1000)
        assert console("resume", path, "steps=400") == exits.FAILED
    said = capsys.readouterr().err
    assert "1,000 are free in memory" in said
    assert "damaged" not in said
    status = RunFolder(path).read_status()
    assert (status["state"], status["step"], status["updates"]) == ("finished", 300, 60)


def test_an_early_end_is_not_measured_anew(tmp_path, capsys):
    path = tmp_path / "run"
    assert begin(path, *CARTPOLE, "stop.return=1") == exits.FINISHED
    before = (path / "config.yaml").read_bytes()
    assert console("resume", path, "evaluation.final_episodes=7") == exits.FINISHED
    assert "so that evaluation.final_episodes=7 would change nothing" in capsys.readouterr().out
    assert (path / "config.yaml").read_bytes() == before


def test_a_run_that_a_listener_stopped_is_told_how_to_go_on(tmp_path):
    """With its own number of steps it was told the same again and again."""
    config = {"steps": 400, "stop": {}, "agent": {}}
    status = {"state": "finished", "step": 200, "stopped_early": "on_log asked for it"}
    assert nothing_to_train(tmp_path, status, config, config, ["steps=400"]).endswith(f"To train on: deeprl resume {tmp_path} steps=800")
    assert not nothing_to_train(tmp_path, status, config, {**config, "steps": 800}, ["steps=800"])


def test_longer_training_goes_on_as_if_it_had_been_asked_for_at_once(finished, tmp_path, capsys):
    """Schedules are in steps since the start: more `steps` change none of them."""
    path = tmp_path / "short"
    short = [word for word in CARTPOLE if not word.startswith("steps=")]
    assert begin(path, *short, "steps=200") == exits.FINISHED
    assert console("resume", path) == exits.FINISHED
    assert f"deeprl resume {path} steps=400" in capsys.readouterr().out
    best = Checkpoints(path).at(Checkpoints(path).pointed("best"))
    best.rename(f"{best}~replaced")  # as a kill leaves it while it is saved again: no resume went on
    assert console("resume", path, "steps=300") == exits.FINISHED
    said = capsys.readouterr()
    assert "steps: 200 -> 300" in said.out
    assert "learning_rate: 0" not in said.err
    left, right = (Checkpoints(p).load("last")[1]["agent"] for p in (path, finished))
    assert same(left["module"], right["module"])


def test_fewer_steps_than_a_run_has_made_do_not_end_it(finished, tmp_path, capsys):
    """A slip, 100 for 100_000, marked an unfinished run as finished."""
    path = shutil.copytree(finished, tmp_path / "run")
    status = RunFolder(path).read_status()
    (path / "status.json").write_text(json.dumps({**status, "state": "stopped"}))
    (path / "config.yaml").write_text((path / "config.yaml").read_text().replace("steps: 300\n", "steps: 2000000\n"))
    before = (path / "config.yaml").read_bytes()
    assert console("resume", path, "steps=100") == exits.WRONG
    said = f"steps=100 is below step 300, where {path} is: `deeprl resume {path} steps=300` ends it there"
    assert said in capsys.readouterr().err
    assert (path / "config.yaml").read_bytes() == before
    stored = RunFolder(path).read_config()
    require_ahead(path, stored, {**stored, "steps": 300})
    with pytest.raises(ConfigError, match=re.escape(said)):  # resume=auto, which proposed steps=100
        continued(path, {**stored, "steps": 100})


@pytest.mark.parametrize("key", ["init_from", "replay.data"])
def test_a_run_whose_source_has_gone_on_names_the_command(finished, tmp_path, key):
    """It was killed before its own first checkpoint, and said only what the other folder has."""
    stored = RunFolder(finished).read_config()
    put(stored, key, f"{finished}@7")
    require_sources(finished, stored)  # has checkpoints of its own
    again = f"with resume=auto hydra.run.dir={tmp_path} {key}={finished}: its last one .* 300"
    with pytest.raises(ConfigError, match=f"no checkpoint at step 7 any more, .* {again}"):
        require_sources(tmp_path, stored)
    put(stored, key, f"{finished}@300")
    require_sources(tmp_path, stored)


def test_a_longer_run_says_that_its_learning_rate_has_ended(tmp_path, capsys):
    path = tmp_path / "run"
    decaying = (*CARTPOLE, "agent.optimizer.schedule.end=0")  # after its 300 steps
    assert begin(path, *decaying) == exits.FINISHED
    capsys.readouterr()
    before = Checkpoints(path).load("last")[1]["agent"]
    assert console("resume", path, "steps=340") == exits.FINISHED
    said = capsys.readouterr().err
    assert "train/learning_rate: 0 from step 300 on" in said
    assert f"init_from={path}" in said
    after = Checkpoints(path).load("last")[1]["agent"]
    assert after["updates"] > before["updates"]
    assert same(online(before), online(after))  # it is true


def online(agent: dict) -> dict:
    return {name: value for name, value in agent["module"].items() if "target" not in name}


def test_a_run_resumed_from_inside_of_its_folder_ends_well(finished, tmp_path, monkeypatch, capsys):
    shutil.copytree(finished, tmp_path / "run")
    monkeypatch.chdir(tmp_path / "run")
    steps = RunFolder(Path()).read_config()["steps"] + 10
    assert console("resume", ".", f"steps={steps}") == exits.FINISHED
    assert "run folder: ." in capsys.readouterr().out


def test_a_share_of_steps_is_turned_into_steps_here_too(finished, tmp_path, monkeypatch, capsys):
    """As a fraction of a step, a period would be over at every tick."""
    asked, path = [], shutil.copytree(finished, tmp_path / "run")
    monkeypatch.setattr("deeprl.running.session.session.train", lambda config, path, **more: asked.append(config) or 1 / 0)
    assert console("resume", path, "steps=400", "evaluation.every=0.5") == exits.FAILED  # no training: 1 / 0
    assert asked[0]["evaluation"]["every"] == 200
    assert "evaluation.every: 100 -> 200" in capsys.readouterr().out


def test_without_the_replay_a_resumed_run_collects_again(tmp_path, monkeypatch):
    path = tmp_path / "bare"
    with monkeypatch.context() as patch:
        at_step(patch, 170, lambda: os.kill(os.getpid(), signal.SIGTERM))
        assert begin(path, *CARTPOLE, "checkpoint.replay=false") == exits.STOPPED
    assert not (path / "replay").exists()
    assert console("resume", path) == exits.FINISHED
    # updates up to step 172, none for 60 steps, then the rest: (172 − 60) / 4 + (300 − 232) / 4
    assert RunFolder(path).read_status()["updates"] == 28 + 17


def test_no_chain_shifts_while_a_resumed_run_collects_again(tmp_path, monkeypatch):
    """It is stopped at step 252, and would learn again from step 312 on. The shift at 256 has updates behind it; those at 272 and 288 would
    leave K = 3 copies of one network."""
    path = tmp_path / "chain"
    chain = ("agent=idqn", "agent.chain.length=3", "agent.chain.shift_period=16", "agent.chain.sync_period=8", "checkpoint.replay=false")
    words = [word for word in CARTPOLE if "target_update_period" not in word and word != "agent=dqn"]
    with monkeypatch.context() as patch:
        at_step(patch, 250, lambda: os.kill(os.getpid(), signal.SIGTERM))
        assert begin(path, *words, *chain) == exits.STOPPED
    assert console("resume", path) == exits.FINISHED
    heads = deeprl.load(path).agent.chain.online.head.advantage.weight_0
    assert not torch.equal(heads[0], heads[1])
    assert torch.equal(heads[1], heads[2])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("agent=ppo", "env=classic/cartpole", "replay.length=16", "replay.minibatches=2"), "a whole rollout, replay.length=16 ticks"),
        (("agent=lab/ravi_ucb", "env=lab/river_swim", "discount=0.8"), ""),
    ],
    ids=["rollouts", "no replay"],
)
def test_a_resumed_run_waits_for_what_its_checkpoint_lacks(words, said, tmp_path, monkeypatch, capsys):
    short = ("steps=120", "evaluation.every=null", "evaluation.final_episodes=1", "runtime.threads=1", "checkpoint.replay=false")
    with monkeypatch.context() as patch:
        at_step(patch, 72, lambda: os.kill(os.getpid(), signal.SIGTERM))
        assert begin(tmp_path / "run", *words, *short) == exits.STOPPED
    capsys.readouterr()
    assert console("resume", tmp_path / "run") == exits.FINISHED
    told = [line for line in capsys.readouterr().err.splitlines() if "holds no replay" in line]
    assert told == ([f"the checkpoint holds no replay: updates wait for {said}"] if said else [])


def test_an_episode_that_cannot_be_repeated_is_cut_off_where_it_stood(tmp_path, monkeypatch):
    """Journals longer than `checkpoint.replay_actions` are not kept: the run goes on with new episodes, and no transition spans the gap."""
    path = tmp_path / "forgetful"
    with monkeypatch.context() as patch:
        at_step(patch, 170, lambda: os.kill(os.getpid(), signal.SIGTERM))
        assert begin(path, *CARTPOLE, "checkpoint.replay_actions=0") == exits.STOPPED
    cuts = []
    plain = Replay.truncate_episode
    monkeypatch.setattr(Replay, "truncate_episode", lambda self, environment: (cuts.append(environment), plain(self, environment)))
    with pytest.warns(RuntimeWarning, match="new episodes"):
        assert console("resume", path) == exits.FINISHED
    assert cuts == [0, 1]
    assert RunFolder(path).read_status()["step"] == 300


REFUSED = {
    "agent": "agent.optimizer.lr=0.1", "env": "env.num=3", "seed": "seed=1", "replay": "replay.batch_size=8", "discount": "discount=0.5",
    "device": "device=cuda", "accelerate": "accelerate.matmul_precision=bfloat16", "runtime": "runtime.threads=2", "names": "names.agent=x",
    "collect": "collect.actors=3",
}  # fmt: skip


def test_every_key_that_makes_a_run_what_it_is_has_a_test():
    assert set(REFUSED) == set(IDENTITY)


@pytest.mark.parametrize("override", REFUSED.values())
def test_resume_refuses_to_make_it_another_run(finished, override, capsys):
    before = (finished / "config.yaml").read_text()
    assert console("resume", finished, "steps=400", override) == 2
    error = capsys.readouterr().err
    assert f"{override}: {override.split('.')[0].split('=')[0]} " in error
    assert (finished / "config.yaml").read_text() == before


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("step=500", "step. Did you mean steps?"),
        ("steps", "steps is not of the form key=value"),
        ("steps=0", "steps=0 is out of range"),
        ("init_from=elsewhere", "init_from counts only where a run starts"),
        ("checkpoint.keep=many", "checkpoint.keep='many' is out of range"),
        ("steps=[", "steps=["),
    ],
)
def test_resume_says_what_is_wrong(finished, override, says, capsys):
    assert console("resume", finished, override) == 2
    assert says in capsys.readouterr().err


def test_resume_of_no_run_and_of_one_in_use(finished, tmp_path, capsys):
    (tmp_path / ".hydra").mkdir()  # what a start leaves that a signal ended
    (tmp_path / ".hydra" / "config.yaml").touch()
    assert console("resume", tmp_path) == 1
    assert f"{tmp_path} is no run folder: it has no config.yaml\n" in capsys.readouterr().err
    (tmp_path / "job").symlink_to(finished)
    assert console("resume", tmp_path) == 1
    assert f"name a run in it, such as {tmp_path / 'job'}" in capsys.readouterr().err
    (tmp_path / "sweep.json").write_text("{}")
    assert console("resume", tmp_path) == 1
    assert f"deeprl sweep resume {tmp_path}" in capsys.readouterr().err
    with RunFolder(finished).lock():
        assert console("resume", finished, "steps=400") == 1
    assert f"in use by pid {os.getpid()}" in capsys.readouterr().err


SHORT = ("agent=dqn", "env=toy/chain", "env.max_episode_steps=20", "replay.learning_starts=20", "replay.capacity=100",
         "evaluation.final_episodes=2", "runtime.threads=1", "checkpoint.every=null", "log.every=10", "accelerate=fast")  # fmt: skip


def test_an_extension_that_dies_before_its_first_checkpoint_is_still_to_be_made(tmp_path, monkeypatch):
    """status.json says "running" then, and the only checkpoint is that of the run's first end."""
    path = tmp_path / "run"
    assert begin(path, *SHORT, "steps=60", "evaluation.every=null") == exits.FINISHED

    def die():
        raise ArithmeticError("power cut")

    with monkeypatch.context() as patch:
        at_step(patch, 80, die)
        assert console("resume", path, "steps=120") == exits.FAILED
    assert Checkpoints(path / "").steps() == [60]
    assert console("resume", path) == exits.FINISHED
    assert RunFolder(path).read_summary()["steps"] == RunFolder(path).read_status()["step"] == 120


def test_a_run_that_is_stopped_in_its_last_evaluation_can_be_made_longer(tmp_path, monkeypatch):
    path, plain = tmp_path / "run", Trainer.evaluate

    def evaluate(self, *given):
        if self.standing.done:
            raise Stopped("stopped by SIGTERM")
        return plain(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "evaluate", evaluate)
        assert begin(path, *SHORT, "steps=60", "evaluation.every=null") == exits.STOPPED
    assert console("resume", path, "steps=120") == exits.FINISHED
    assert RunFolder(path).read_summary()["steps"] == 120


def test_a_run_that_met_its_goal_and_died_before_its_last_evaluation_trains_no_further(tmp_path, monkeypatch):
    words = (*SHORT, "steps=80", "evaluation.every=40", "stop.return=-1")
    assert begin(tmp_path / "whole", *words) == exits.FINISHED

    def finish(self):
        raise ArithmeticError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_finish", finish)
        assert begin(tmp_path / "died", *words) == exits.FAILED
    assert console("resume", tmp_path / "died") == exits.FINISHED
    assert RunFolder(tmp_path / "died").read_summary()["steps"] == 40
    assert_same_run(tmp_path / "whole", tmp_path / "died")
    first, last = lines(tmp_path / "whole", "evaluations.jsonl")  # the one that met the goal was selected by its result
    assert first["step"] == last["step"] == 40
    assert first["seed"] != last["seed"]
    assert console("resume", tmp_path / "died", "stop.return=null") == exits.FINISHED
    assert RunFolder(tmp_path / "died").read_summary()["steps"] == 80


def test_a_finished_run_says_how_to_train_longer(tmp_path, capfd):
    for name, words in (("open", ()), ("ended", ("agent.optimizer.schedule.end=0",))):
        assert begin(tmp_path / name, *SHORT, "steps=60", "evaluation.every=null", *words) == exits.FINISHED
        capfd.readouterr()
        assert console("resume", tmp_path / name) == exits.FINISHED
        said, way = capfd.readouterr().out, f"To train longer: deeprl resume {tmp_path / name} steps=120"
        assert ("finished at step 60" in said, way in said, "Its learning rate is 0" in said) == (True, name == "open", name == "ended")


def test_resume_auto_starts_goes_on_and_has_done(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    toy = (*SHORT, "steps=60", "evaluation.every=null", "resume=auto")
    with monkeypatch.context() as patch:
        at_step(patch, 30, lambda: os.kill(os.getpid(), signal.SIGUSR1))
        assert front_door(*toy) == exits.STOPPED
    (folder,) = (tmp_path / "runs" / "toy_chain" / "dqn").iterdir()
    assert re.fullmatch(r"auto_[0-9a-f]{12}_seed0", folder.name)
    assert front_door(*toy) == exits.FINISHED
    assert RunFolder(folder).read_status()["step"] == 60
    assert len(json.loads((folder / "system.json").read_text())) == 2
    capfd.readouterr()
    assert front_door(*toy) == exits.FINISHED
    assert "finished at step 60" in capfd.readouterr().out
    assert front_door(*toy, "seed=1") == exits.FINISHED  # another run, another folder
    assert len(list(folder.parent.iterdir())) == 2
    assert front_door(*toy, "seed=2", f"hydra.run.dir={folder}") == exits.WRONG
    assert "(seed is 0 there and 2 here)" in capfd.readouterr().err
    assert front_door(*toy, "runtime.threads=2", f"hydra.run.dir={folder}") == exits.FINISHED  # how fast, not what
    told = "the run goes on with runtime.threads=1, with which it started, and not with 2"  # it was left out without a word
    assert [line for line in capfd.readouterr().err.splitlines() if line.startswith("the run goes on")] == [told]
    for word in ("runtime.lag=1", "accelerate.matmul_precision=bfloat16"):
        assert front_door(*toy, word, f"hydra.run.dir={folder}") == exits.WRONG
        assert f"({word.partition('=')[0]} is " in capfd.readouterr().err


@pytest.mark.parametrize("form", ["hydra.run.dir={}/of_${{seed}}", "++hydra.run.dir={}/of_0", "hydra.run.dir='{}/of 0, ü'"])
def test_resume_auto_finds_its_folder_however_it_is_written(form, tmp_path, monkeypatch, capfd):
    """A job that is queued again with the same command goes on, instead of starting anew or being refused."""
    words = (*SHORT, "steps=60", "evaluation.every=null", "resume=auto", form.format(tmp_path))
    with monkeypatch.context() as patch:
        at_step(patch, 30, lambda: os.kill(os.getpid(), signal.SIGUSR1))
        assert front_door(*words) == exits.STOPPED
    assert front_door(*words) == exits.FINISHED
    (folder,) = tmp_path.iterdir()
    assert len(json.loads((folder / "system.json").read_text())) == 2
    assert front_door(*[word for word in words if word != "resume=auto"]) == exits.WRONG
    assert "already holds a run" in capfd.readouterr().err


OF_OPTIONS = ("bro", "dvw", "gi_dqn", "iiqn", "itd3", "r2d2", "retrace_dqn", "rvi_sac")
"""Presets whose chain, core, critics, replay and parts with a state of their own are in runs of test_resume_options.py"""


@pytest.mark.parametrize(
    "name",
    [*presets("dqn", "idqn", "rbis_dqn", "td3", *OF_OPTIONS), *(pytest.param(name, marks=pytest.mark.exhaustive) for name in OF_OPTIONS)],
)
def test_a_run_that_goes_on_from_its_checkpoint_is_the_same_run_for_every_preset(name, tmp_path, monkeypatch):
    """Those in `RUNS` have a test above."""
    env = {"discrete": ("env=classic/cartpole",), "continuous": PENDULUM}[KINDS[name]]
    short = ("steps=160", "replay.capacity=100", "evaluation.every=null", "checkpoint.every=120")  # the ring wraps before
    words = [*(word for word in COMMON if word.partition("=")[0] not in {each.partition("=")[0] for each in short}), *short]
    if "rollout" in mechanisms(name):
        words = [word for word in words if word.partition("=")[0] not in OF_TRANSITIONS]
        words += ["replay.length=8", "replay.epochs=2", "replay.minibatches=2"]
    command = (*words, *env, f"agent={name}", *narrow(name), *criterion(name))
    whole, cut = cut_and_resumed(tmp_path, monkeypatch, 120, *command)
    assert RunFolder(whole).read_status()["updates"] > 20
    assert_same_run(cut, whole)


@pytest.mark.parametrize("name", ["prioritized", pytest.param("rbis", marks=pytest.mark.exhaustive)])
def test_replay_rows_written_ahead_of_a_checkpoint_are_part_of_it(name, tmp_path, monkeypatch, whole):
    """In pieces of some twenty rows; the run stops in mid-piece, and another one crashes with pieces that no checkpoint lists."""
    monkeypatch.setattr("deeprl.running.training.saving.SEGMENT_BYTES", 1000)
    stopped, crashed = tmp_path / "stopped", tmp_path / "crashed"
    with monkeypatch.context() as patch:
        at_step(patch, 170, lambda: os.kill(os.getpid(), signal.SIGTERM))
        assert begin(stopped, *RUNS[name]) == exits.STOPPED
    manifest = json.loads((stopped / "checkpoints" / "step_000000000172" / "manifest.json").read_text())
    assert len(manifest["segments"]) > 4
    assert console("resume", stopped) == exits.FINISHED
    assert_same_run(stopped, whole(name))

    def fail():
        raise ArithmeticError("out of luck")

    with monkeypatch.context() as patch:
        at_step(patch, 150, fail)
        assert begin(crashed, *RUNS[name]) == exits.FAILED
    assert console("resume", crashed) == exits.FINISHED
    assert_same_run(crashed, whole(name))
    listed = {
        entry["file"] for path in crashed.glob("checkpoints/step_*/manifest.json") for entry in json.loads(path.read_text())["segments"]
    }
    assert {path.name for path in (crashed / "replay").iterdir()} == listed


def test_the_last_numbers_are_in_tensorboard_before_the_run_is_called_finished(tmp_path, monkeypatch):
    """Because nothing resumes a finished run to write them."""
    write, seen = RunFolder.write_status, []

    def status(folder, state, *rest, **more):
        write(folder, state, *rest, **more)
        seen.append((state, any(b"final/mean_reward" in path.read_bytes() for path in folder.path.glob("events*"))))

    monkeypatch.setattr(RunFolder, "write_status", status)
    assert begin(tmp_path / "run", *CARTPOLE) == exits.FINISHED
    assert seen[-1] == ("finished", True)
