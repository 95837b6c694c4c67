"""Whole studies by the command `deeprl tune`. Where processes are not what is tested, runs train in this one."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from deeprl.cli import exits
from deeprl.cli import tune as command
from deeprl.errors import ConfigError
from deeprl.running.config import folders
from deeprl.running.runs.folder import RunFolder, holder
from deeprl.tools.sweep.folder import SweepFolder
from deeprl.tools.sweep.grid import Job
from deeprl.tools.tune.settings import Settings
from tests.builders import console, front_door, lines
from tests.tools.sweep.test_sweep import TOY, Here

ROOT = Path(__file__).resolve().parents[3]
STUDY = ("tune", *TOY, "agent.optimizer.lr=tag(log,interval(1e-4,1e-2))", "evaluation.every=20")
LONGER = ("steps=6000", "replay.learning_starts=5900", "log.every=50", "evaluation.every=2000")  # long enough to be killed on any machine
LR = "agent.optimizer.lr"


@pytest.fixture
def here(monkeypatch):
    launcher = Here()
    monkeypatch.setattr(command, "Local", lambda slots: launcher)
    return launcher


def table(folder: Path) -> list[dict]:
    with open(folder / "trials.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_a_study_ends_with_a_table_figures_and_settings_that_train(tmp_path, here, capsys):
    folder = tmp_path / "study"
    words = (*STUDY, "seed=3", "replay.n_step=1,2", "--seeds", 1, "--dir", folder, "--start", f"{LR}=1e-3", "--start", "replay.n_step=2")
    assert console(*words, "--trials", 2) == exits.FINISHED
    out = capsys.readouterr().out
    rows = table(folder)
    assert [row["trial"] for row in rows] == ["0", "1"]
    assert (rows[0][LR], rows[0]["replay.n_step"]) == ("0.001", "2")
    assert {row["state"] for row in rows} == {"complete"}
    assert (folder / "history.png").read_bytes().startswith(b"\x89PNG")
    assert "no importance.png: it needs 4 complete trials" in out
    best = max(rows, key=lambda row: float(row["value"]))
    assert f"best: trial {best['trial']}, return " in out
    train = out.split("no trial has seen:\n")[1].split()
    assert train == ["deeprl", "train", "--config-dir", str(folder / "best"), "experiment=best", "seed=4"]
    alone = tmp_path / "alone"
    assert front_door(*train[2:-1], "seed=3", "runtime.threads=1", f"hydra.run.dir={alone}") == exits.FINISHED
    run = folder / f"trial=00{best['trial']},seed=3"
    for name in ("metrics.jsonl", "evaluations.jsonl"):
        assert lines(alone, name) == lines(run, name)
    here.started.clear()
    assert console("tune", "resume", folder) == exits.FINISHED
    assert console(*words, "--jobs", 1) == exits.FINISHED
    assert here.started == []
    assert console("tune", "resume", folder, "--trials", 4) == exits.FINISHED
    assert here.started == ["trial=002,seed=3", "trial=003,seed=3"]


def test_the_same_folder_takes_no_other_study(tmp_path, here, monkeypatch, capsys):
    """A file of the additional folder that was edited makes no other one, but trials of both were compared without a word."""
    monkeypatch.setattr(folders, "_added", [])
    folder, own = tmp_path / "study", tmp_path / "own" / "experiment"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text("# @package _global_\ndiscount: 0.9\n")
    words = (*STUDY, "experiment=mine", "--config-dir", own.parent, "--seeds", 1, "--trials", 1, "--dir", folder)
    assert console(*words) == exits.FINISHED
    (own / "mine.yaml").write_text("# @package _global_\ndiscount: 0.95\n")
    capsys.readouterr()
    assert console(*words) == exits.FINISHED
    assert "trial=000,seed=0 finished with other settings than" in capsys.readouterr().err
    assert console(*STUDY, "--seeds", 2, "--trials", 1, "--dir", folder) == exits.WRONG
    assert f"--dir={folder} holds another study" in capsys.readouterr().err
    (tmp_path / "thesis.txt").touch()
    assert console(*STUDY, "--dir", tmp_path) == exits.WRONG
    assert "exists and holds no study" in capsys.readouterr().err
    assert console("tune", "resume", tmp_path) == exits.FAILED
    assert f"{tmp_path} holds no study" in capsys.readouterr().err
    (folder / "tune.json").write_text(json.dumps({**json.loads((folder / "tune.json").read_text()), "overrides": ["--config-dir=x"]}))
    assert console("tune", "resume", folder) == exits.FAILED
    assert "tune.json is damaged" in capsys.readouterr().err


def test_every_job_of_a_stored_study_is_looked_at(tmp_path):
    """With package=tests,gymnasium and x=1,a:b the check of the study sees each value once, and never the file a:b with Gymnasium."""
    runs = SweepFolder(tmp_path, [], [])
    words = ("agent=dqn", "env=gym", "env.id=CartPole-v1", "env.package=gymnasium")
    good, bad = Job("a", (*words, "env.kwargs.x=1")), Job("b", (*words, "env.kwargs.x='a:b'"))
    assert list(command.looked_at([good, bad], runs, None)) == [good, bad]
    jobs = command.looked_at([good, bad], runs, ("deeprl", "gymnasium"))
    assert next(jobs) == good
    with pytest.raises(ConfigError, match="--allow-file a:b"):
        next(jobs)


def test_a_study_that_another_command_began_meanwhile_is_not_overwritten(tmp_path):
    """Both commands found the folder empty; the lock lets one after the other write its study."""
    ours = Settings(("replay.n_step=1,2",), None, seeds=2, last=3, pruner="median", sampler_seed=0, start=(), trials=9, together=1)
    assert replace(ours, together=2).store(tmp_path).together == 2
    with pytest.raises(ConfigError, match="holds another study, replay.n_step=1,2"):
        replace(ours, overrides=("replay.n_step=1,3",)).store(tmp_path)
    assert Settings.read(tmp_path) == replace(ours, together=2)
    assert replace(ours, trials=12).store(tmp_path) == Settings.read(tmp_path) == replace(ours, trials=12, together=2)


def test_studies_of_one_second_get_folders_of_their_own(tmp_path, monkeypatch, here):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command.time, "strftime", lambda *_: "now")
    for _ in range(2):
        assert console(*STUDY, "--seeds", 1, "--trials", 1) == exits.FINISHED
    assert sorted(os.listdir("runs")) == ["tune_now", "tune_now-2"]


def test_settings_that_end_in_nan_are_a_failed_trial_and_a_study_of_these_alone_has_failed(tmp_path, here, capsys):
    folder = tmp_path / "study"
    assert console("tune", *TOY, f"{LR}=1e30,2e30", "--seeds", 1, "--trials", 1, "--dir", folder, "--start", f"{LR}=2e30") == exits.FAILED
    said = capsys.readouterr()
    assert "trial 0: failed. deeprl: the run failed: NotFinite" in said.err
    assert "1 fail" in said.out
    (row,) = table(folder)
    assert (row["state"], row["value"], float(row[LR])) == ("fail", "", 2e30)
    assert "NotFinite" in row["error"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([f"{LR}r=interval(0,1)"], f"{LR}?"),
        ([f"{LR}=interval(-1,1)"], f"{LR}"),
        (["agent=dqn,td3", "replay.capacity=1000"], "agent=td3 takes continuous actions"),
        (["steps=100,200"], "steps is 100 with steps=100 and 200 with steps=200"),
        (["evaluation.every=10,20"], "evaluation.every is 10 with"),
        (["env=gym", "env.id=CartPole-v1,Acrobot-v1"], "env is gym/CartPole-v1 with env.id=CartPole-v1 and gym/Acrobot-v1 with"),
        (["replay.n_step=1,2", "env.num=4", "evaluation.every=2"], "evaluation.every=2 is less than env.num=4 with"),
        (["replay.n_step=1,2", "--jobs", "0"], "--jobs: it takes a whole number of at least 1, not 0"),
        (["replay.n_step=1,2", "--last", "0"], "--last: it takes a whole number of at least 1, not 0"),
        (["replay.n_step=1,2", "--start", "replay.n_step=3"], "--start replay.n_step=3"),
        (["replay.n_step=1,2", "--pruner", "mean"], "--pruner"),
        ([], "needs a key with several values"),
        (["resume"], "deeprl tune resume takes the folder"),
        (["resume", "x", "--dir", "y"], "deeprl tune resume takes the folder"),
        (["resume", "x", "--seeds", "3"], "deeprl tune resume takes the folder"),
    ],
)
def test_what_is_wrong_is_said_before_anything_starts(tmp_path, monkeypatch, here, capsys, words, says):
    monkeypatch.chdir(tmp_path)
    fixed = [] if words[:1] == ["resume"] else [word for word in TOY if word.split("=")[0] not in {w.split("=")[0] for w in words}]
    assert console("tune", *words[:1], *fixed, *words[1:]) == exits.WRONG
    assert says in capsys.readouterr().err
    assert here.started == []
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("key", ["id", "game", "max_episode_steps"])
def test_a_study_is_for_one_environment_although_its_name_is_one(key):
    configs = {name: {"names": {"env": "x"}, "env": {key: name}, "steps": 9, "evaluation": {"every": None}} for name in ("A", "B")}
    with pytest.raises(ConfigError, match=f"env.{key} is A with A and B with B"):
        command.comparable(configs)


def test_a_missing_package_is_named(monkeypatch, capsys):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "optuna" else found(name))
    assert console(*STUDY) == exits.WRONG
    assert 'deeprl tune needs optuna: pip install "optuna>=5"' in capsys.readouterr().err


def test_a_killed_study_goes_on_with_its_run(tmp_path, here):
    """SIGKILL, while the first run trains: it notices and stops saved, and is continued, not repeated."""
    folder, words = tmp_path / "study", (*STUDY, *LONGER, "--seeds", 1, "--trials", 1, "--jobs", 1)
    with open(tmp_path / "out", "w") as out:
        program = [sys.executable, "-m", "deeprl", *map(str, words), "--dir", str(folder)]
        process = subprocess.Popen(program, cwd=ROOT, stdout=out, stderr=out)
    run = folder / "trial=000,seed=0"
    while not lines(run, "metrics.jsonl"):
        assert process.poll() is None, (tmp_path / "out").read_text()
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    while holder(run):
        time.sleep(0.05)
    assert RunFolder(run).read_status()["state"] == "stopped"
    assert console("tune", "resume", folder) == exits.FINISHED
    assert RunFolder(run).read_system()[1]["resumed_from"] > 0
    assert console(*words, "--dir", tmp_path / "alone") == exits.FINISHED
    assert table(folder) == table(tmp_path / "alone")
    assert lines(run, "evaluations.jsonl") == lines(tmp_path / "alone" / "trial=000,seed=0", "evaluations.jsonl")
