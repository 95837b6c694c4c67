"""Runs of the lab through the front door: exact resume, metrics, evaluation, refusals, and what a start imports."""

import json
import shlex
import subprocess
import sys

import numpy as np
import pytest
import yaml

import deeprl
from deeprl.cli import exits
from deeprl.errors import ConfigError
from deeprl.running.config import folders
from deeprl.running.config.build import build_agent, check_replay, environment
from deeprl.running.config.instantiate import instantiate
from deeprl.running.runs.folder import RunFolder
from docs.navigation import Paper, papers
from tests.builders import begin, console, front_door, lines, settled
from tests.promises.test_resume import assert_same_run, cut_and_resumed

SHORT = ("budget=tiny", "budget.steps=120", "log.every=20", "evaluation.episodes=2", "evaluation.num=2", "evaluation.final_episodes=2",
         "checkpoint.every=40")  # fmt: skip


def words_of(paper: Paper, agent: str) -> list[str]:
    """Its command, for one of its agents, with short episodes where the world has no end."""
    words = [f"agent={agent}" if word.startswith("agent=") else word for word in shlex.split(paper.command)]
    (world,) = (folders.file("env", word.removeprefix("env=")) for word in words if word.startswith("env="))
    return [*words, "env.max_episode_steps=9"] if "max_episode_steps" in yaml.safe_load(world.read_text()) else words


RUNS = {agent.removeprefix("lab/"): words_of(paper, agent) for paper in papers() for agent in paper.agents if agent.startswith("lab/")}


@pytest.mark.parametrize("name", RUNS)
def test_a_run_that_goes_on_from_its_checkpoint_is_the_same_run(name, tmp_path, monkeypatch, capsys):
    whole, cut = cut_and_resumed(tmp_path, monkeypatch, 54, *RUNS[name], *SHORT, "env.num=2")
    assert_same_run(cut, whole)
    assert "no checkpoint holds attributes" not in capsys.readouterr().err  # which would be false
    assert any(line.keys() & {"train/suboptimality", "train/value_error"} for line in lines(cut, "metrics.jsonl"))


def test_a_run_can_be_read_evaluated_and_reported(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("deeprl.tools.report.figures.png", lambda _: b"\x89PNG")  # to render figures would take most of the time
    for seed in (0, 1):
        assert begin(tmp_path / str(seed), *RUNS["dtr"], *SHORT, f"seed={seed}") == exits.FINISHED
    run = deeprl.load(tmp_path / "0")
    assert run.agent.meter[1] == 60
    rows = np.array([[0.9, 0.0], [0.9, 1.0], [0.1, 1.0]], np.float32)  # of different stages: each action is that of its own row
    assert run.act(rows).tolist() == [int(run.act(row)) for row in rows]
    capsys.readouterr()
    assert console("eval", tmp_path / "0", "--episodes", "3", "--json") == exits.FINISHED
    assert len(json.loads(capsys.readouterr().out)["returns"]) == 3
    assert console("report", tmp_path, "--out", tmp_path / "page") == exits.FINISHED
    assert RunFolder(tmp_path / "0").read_summary()["updates"] == 0


def test_a_replay_is_refused(tmp_path):
    config = settled("agent=lab/dtr", "env=lab/dtr", "replay=uniform")
    _, spec = environment(config, None)
    with pytest.raises(ConfigError, match=r"needs no replay.* Choose replay=none\."):
        check_replay(config, build_agent(config, spec, None), instantiate({**config["replay"], "_partial_": True}, "replay"))
    with pytest.raises(ConfigError, match=r"there is no key replay\.capacity"):
        settled("agent=lab/dtr", "env=lab/dtr", "replay.capacity=100")


@pytest.mark.parametrize("words", [("agent=dqn", "env=classic/cartpole"), ("agent=td3", "env=classic/pendulum")])
def test_no_replay_is_refused_for_an_agent_that_learns_from_one(tmp_path, capsys, words):
    # whether tuned settings name replay.n_step (dqn) or not (td3)
    assert front_door(*words, "replay=none", f"hydra.run.dir={tmp_path / 'run'}") == exits.WRONG
    assert f"{words[0]} learns from transitions, and replay=none keeps none" in capsys.readouterr().err


def test_tuned_sizes_of_a_replay_do_not_reach_a_rollout(tmp_path):
    words = ("agent=td3", "env=classic/pendulum", "env.max_episode_steps=20", "replay=rollout", "replay.length=64", "steps=128")
    assert front_door(*words, "evaluation.every=null", "evaluation.final_episodes=1", f"hydra.run.dir={tmp_path / 'run'}") == exits.FINISHED
    assert RunFolder(tmp_path / "run").read_summary()["updates"] == 2 * 4 * 4


def test_a_world_of_another_kind_is_refused(tmp_path, capsys):
    assert front_door("agent=lab/dtr", "env=toy/chain", f"hydra.run.dir={tmp_path / 'run'}") == exits.WRONG
    assert "env=lab/" in capsys.readouterr().err


def test_a_start_imports_neither_compiler_nor_simulator_nor_tensorflow(tmp_path):
    """Nor what else a run of tables that writes TensorBoard's files can do without."""
    words = ["agent=lab/dtr", "env=lab/dtr", "steps=4", f"hydra.run.dir={tmp_path / 'run'}"]
    heavy = {"torch._dynamo", "torch._inductor", "torch.utils.tensorboard", "mujoco", "ale_py", "cv2", "matplotlib", "pandas", "rich",
             "tensorflow", "wandb"}  # fmt: skip
    code = (
        "import sys; from deeprl.cli import train; train.leave = lambda code: None; train.main()\n"
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.strip().endswith("[]"), done.stdout + done.stderr


def test_commands_for_networks_refuse(tmp_path, capsys):
    assert console("check", *RUNS["dtr"]) == exits.WRONG
    assert "makes no updates" in capsys.readouterr().err
    assert begin(tmp_path / "run", *RUNS["dtr"], *SHORT) == exits.FINISHED
    assert console("export", tmp_path / "run") == exits.FAILED
    assert "has no network" in capsys.readouterr().err
