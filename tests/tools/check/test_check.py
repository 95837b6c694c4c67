"""`deeprl check` as a command: the real trainer of a small run, for a fraction of a second."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

import pytest

from deeprl.running.config.sources import planned_updates
from deeprl.running.runs.folder import RunFolder
from deeprl.running.session.assemble import assemble
from deeprl.system.signals import interrupting
from deeprl.tools.check.build import build, compiling
from deeprl.tools.check.measure import Laps, first_updates
from deeprl.tools.check.suspicions import suspicions
from tests.builders import CARTPOLE, console, sac, settled, value_agent
from tests.ranks import ended, forked

ROOT = Path(__file__).resolve().parents[3]
QUICK = ("--seconds", "0.1")


@pytest.fixture(autouse=True)
def nothing_is_left(monkeypatch, tmp_path):
    """Every test runs in an empty folder, with temporary files in another one, and leaves both as they were."""
    here, temporary = tmp_path / "here", Path(tempfile.mkdtemp(prefix="t"))  # short, because sockets of workers have names of 107 bytes
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield temporary
    left = [path for path in (*here.rglob("*"), *temporary.rglob("*")) if path.name.startswith("deeprl") or path.is_relative_to(here)]
    assert left == []
    with contextlib.suppress(OSError):  # it may hold the socket of the fork server, which serves later tests too
        temporary.rmdir()


def test_the_page_says_what_the_run_would_be(capsys):
    assert console("check", *CARTPOLE, *QUICK) == 0
    page = capsys.readouterr().out
    lines = {" ".join(line.split()) for line in page.splitlines()}
    assert "what agent=dqn env=classic/cartpole seed=0" in lines
    assert "steps, updates 300 steps, 60 updates" in lines
    assert "time limit 500 steps" in lines
    assert "copies 2, env.vector=sync" in lines
    assert "all 228, 114 of them trained" in lines  # 4 * 16 + 16 + 16 * 2 + 2, twice
    text = " ".join(page.split())  # without the wrapping
    assert "wrappers TimeLimit > OrderEnforcing > CartPoleEnv (from the outermost to the environment)" in text
    assert "accelerate: fast 60 updates are planned, and compiling pays from 50,000 on" in text
    # 240 steps in periods of 30
    assert "agent.chain.target_update_period=30: the target networks change 8 times in the run" in text


def test_json_holds_the_record_its_forecast_and_suspicions(capsys):
    assert console("check", *CARTPOLE, "--json", *QUICK) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"config", "tuned", "system", "decisions", "environment", "networks", "memory", "updates", "targets", "support", "speed",
            "evaluating", "checkpoint_seconds", "seen", "forecast", "suspicions"} <= set(found)  # fmt: skip
    assert found["networks"][0] == {"name": "chain.online", "parameters": 114, "trained": 114}
    memory = found["memory"]
    assert memory["disk"] == memory["checkpoint"] * (found["config"]["checkpoint"]["keep"] + 2) + memory["replay"]  # 150 rows, all filled
    assert found["updates"] == planned_updates(settled(*CARTPOLE)) == 60
    assert found["config"]["steps"] == 300  # that of the run, although the measurement has no end
    assert found["tuned"] == "configs/tuned/classic/dqn.yaml"
    assert found["forecast"]["steps"] == 300
    assert {"replay.capacity", "agent.chain.target_update_period"} <= {each["key"] for each in found["suspicions"]}
    assert found["torsos"] == {"agent.torso": "MLPTorso"}
    assert found["asked"] == sorted(found["asked"])  # a text with the words of a set


def test_strict_leaves_with_1_if_anything_is_suspicious(capsys):
    assert console("check", *CARTPOLE, "--strict", *QUICK) == 1
    capsys.readouterr()
    sound = ("steps=1000000", "replay.capacity=1000", "evaluation.every=null", "accelerate=fast")
    assert console("check", *CARTPOLE, *sound, "--strict", *QUICK) == 0
    assert capsys.readouterr().out.endswith("nothing suspicious\n")


@pytest.mark.parametrize("word", ["stepz=3", "agent=td3", "replay.capacity=1000000000000", "seed=0,1", "agent.torso.hidden=[0]"])
def test_what_train_refuses_is_refused(word, capsys):
    assert console("check", "agent=dqn", "env=classic/cartpole", word, *QUICK) == 2
    found = capsys.readouterr()
    assert word.split("=")[0].split(".")[-1] in found.err
    assert found.out == ""


def test_a_run_folder_that_train_refuses_is_refused(finished, capsys):
    assert console("check", *CARTPOLE, f"hydra.run.dir={finished}", *QUICK) == 2
    assert f"hydra.run.dir={finished} already holds a run" in capsys.readouterr().err


@pytest.mark.parametrize("seconds", ["0", "nan", "inf", "soon"])
def test_seconds_are_a_positive_number(seconds, capsys):
    assert console("check", "--seconds", seconds) == 2
    assert f"not '{seconds}'" in capsys.readouterr().err


def test_the_loop_is_that_of_the_run():
    """The trainer starts in the middle of the run, with an empty replay; its parts do the work that they report."""
    record = build([*CARTPOLE, "replay.capacity=1000"], 0.1)
    speed = record.speed
    assert speed.steps > 0
    assert speed.updates == pytest.approx(0.25 * speed.steps, abs=1)  # replay_ratio
    assert min(speed.environment, speed.acting, speed.replay, speed.drawing, speed.update) > 0
    assert speed.environment + speed.acting + speed.replay + speed.drawing + speed.update <= speed.seconds
    assert record.seen.rows >= min(speed.steps, 900)
    assert (record.seen.reward_low, record.seen.reward_high) == (1.0, 1.0)
    assert record.memory.checkpoint > 2 * record.memory.weights


def test_worker_processes_and_continuous_actions():
    record = build(
        ["agent=sac", "env=classic/pendulum", "env.num=2", "env.vector=async", "agent.torso.hidden=[16]", "agent.actor_torso.hidden=[16]",
         "steps=2000", "runtime.threads=1", "evaluation.episodes=1"], 0.1
    )  # fmt: skip
    assert record.environment.actions == "1 continuous, each in [-1, 1], rescaled to [-2, 2]"
    assert [network.name for network in record.networks] == ["chain.online", "chain.target", "actor", "temperature"]
    assert (record.memory.workers or 0) > 0 or sys.platform != "linux"
    assert record.speed.updates > 0
    # 0.005 in each of 1,000 updates, because tuned/classic/td3 starts to learn after 1,000 of 2,000 steps
    (target,) = record.targets
    assert (target.key, target.updates) == ("agent.chain.tau", pytest.approx(5.0))


def test_tuned_settings_of_nobody_are_suspicious():
    record = build(["agent=dqn", "env=toy/chain", "steps=5000", "agent.torso.hidden=[8]", "runtime.threads=1"], 0.05)
    assert record.tuned is None
    assert "agent" in [found.key for found in suspicions(record)]


def test_every_objective_has_been_due_before_the_window_opens():
    assert first_updates(value_agent()) == 1
    assert first_updates(sac(actor_period=3)) == 3
    assert first_updates(sac(actor_period=3), 2) == 1  # the run makes two updates, none of them of the actor


def test_watched_parts_are_the_parts(tmp_path):
    """The trainer with watched parts makes the same steps and updates, bit for bit."""
    weights = []
    for name, watched in (("plain", {}), ("watched", {"watched": Laps().watch})):
        folder = RunFolder(tmp_path / name)
        trainer = assemble(settled(*CARTPOLE), folder, **watched)
        for _ in range(40):
            trainer.collector.tick(trainer.step)
            trainer.standing.step += 2
        for drawn in trainer.source.updates(80, 100):
            trainer.learn(drawn)
        assert trainer.agent.updates == 5
        trainer.envs.close()
        weights.append([parameter.clone() for parameter in trainer.agent.parameters()])
    assert all(one.equal(other) for one, other in zip(*weights))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_in_a_check_is_like_control_c(number):
    def terminated():
        with interrupting():
            os.kill(os.getpid(), number)
            time.sleep(1)  # handlers run between two instructions of Python

    started = signal.signal(number, signal.SIG_DFL)  # tests may run under nohup
    try:
        with pytest.raises(KeyboardInterrupt):
            terminated()
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, started)


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.exhaustive), signal.SIGTERM])
def test_an_interrupted_check_leaves_nothing(nothing_is_left, tmp_path, number):
    def checked() -> int:
        # as in a terminal: a shell's background jobs ignore SIGINT, and what they start does too
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        with (
            open(tmp_path / "out", "w") as out,
            open(tmp_path / "err", "w", buffering=1) as err,
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            return console("check", *CARTPOLE, "--seconds", "600")

    child = forked(checked)
    while not ((tmp_path / "err").exists() and "measuring" in (tmp_path / "err").read_text()):
        assert os.waitpid(child, os.WNOHANG) == (0, 0)
        time.sleep(0.02)
    assert [path.name[:13] for path in nothing_is_left.glob("deeprl-check-*")] == ["deeprl-check-"]
    os.kill(child, number)
    assert ended([child]) == [1]
    assert (tmp_path / "out").read_text() == ""
    *_, measuring, last = (tmp_path / "err").read_text().splitlines()
    assert (measuring.partition(":")[0], last) == ("measuring", "deeprl: interrupted")


def test_a_check_that_will_compile_says_so_before():
    assert "accelerate=fast does without" in compiling({"accelerate": {"mode": "compiled"}})
    assert compiling({"accelerate": {"mode": "fast"}}) == ""
