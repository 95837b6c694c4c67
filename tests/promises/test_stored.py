"""What a run folder of a stranger may hold beside checkpoints: a configuration, records, a crash bundle. Each ends in one sentence."""

from __future__ import annotations

import json
import os
import shutil
import sys
import zipfile
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch

from benchmarks.mutate.trial import add_bundle
from deeprl.cli import train
from deeprl.running.config.rules import put
from deeprl.running.runs import checkpoint, folder
from deeprl.running.runs.folder import RunFolder, read_lines
from deeprl.running.runs.mlflow import MLflow
from deeprl.running.runs.wandb import WandB
from deeprl.running.session.api import load
from tests.builders import console, settled


@pytest.fixture
def run(finished, tmp_path) -> Path:
    return shutil.copytree(finished, tmp_path / "run", symlinks=True)


def edited(run: Path, key: str, value: object) -> None:
    config = RunFolder(run).read_config()
    put(config, key, value)
    RunFolder(run).write_config(config)


def sentence(capsys, *words: object) -> str:
    """What a command says where it refuses."""
    assert console(*words) in (1, 2)
    said = capsys.readouterr().err
    assert said.startswith("deeprl: ")
    assert said.count("\n") == 1
    assert "DEEPRL_DEBUG" not in said  # the last handler
    assert "the run failed" not in said
    return said


LEAVES = (
    ("agent", []), ("agent", None), ("agent._target_", 3), ("agent.head", {}), ("agent.torso", "x"), ("agent.torso.hidden", "x"),
    ("agent.explore.schedule", {}), ("agent.optimizer", 0.5), ("env", "x"), ("env.id", 5), ("env.kwargs", 5), ("env.obs_scale", "x"),
    ("env._target_", "deeprl.learning.optim.adam.Adam"), ("logger", {}), ("logger._target_", "deeprl.learning.optim.adam.Adam"),
    ("replay._target_", "deeprl.learning.optim.adam.Adam"), ("agent._target_", "deeprl.learning.optim.adam.Adam"),
    ("runtime.watchdog", 10**13),
    ("replay", None), ("names", None), ("names.agent", 1), ("device", 3), ("device", "meta"), ("accelerate", []),
    ("accelerate.mode", {}), ("accelerate.matmul_precision", "low"), ("runtime.threads", "x"), ("evaluation", None),
    ("evaluation.num", 10**30), ("checkpoint.keep", True), ("seed", -1), ("discount", "x"), ("agent.reward_clip", 1),
)  # fmt: skip
NOT_FOR_EVAL = ("env.obs_scale", "logger._target_", "replay._target_")
"""An evaluation builds neither logger nor replay, and CartPole's agent does not scale observations."""


@pytest.mark.parametrize(("key", "value"), LEAVES, ids=lambda x: str(x))
def test_an_edited_configuration_is_refused(run, key, value, capsys):
    edited(run, key, value)
    for words in (("eval", run, "--episodes", 1), ("resume", run, "steps=320")):
        if key in NOT_FOR_EVAL and words[0] == "eval":
            assert console(*words) == 0
            continue
        assert console(*words) in (1, 2)
        assert "Traceback" not in (said := capsys.readouterr().err)
        assert said.splitlines()[-1].startswith("deeprl: ")
        assert "DEEPRL_DEBUG" not in said
        assert "the run failed" not in said


def targets(node: object, at: str = "") -> list[str]:
    """Every key that names a class."""
    if not isinstance(node, dict):
        return []
    return [key for name, item in node.items() for key in ([f"{at}{name}"] if name == "_target_" else targets(item, f"{at}{name}."))]


def test_no_key_of_a_configuration_imports_a_package_without_trust(run, tmp_path, monkeypatch):
    (tmp_path / "stranger.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    whole = RunFolder(run).read_config()
    for key in (found := targets(whole)):
        RunFolder(run).write_config(whole)
        edited(run, key, "stranger.Thing")
        for words in (("eval", run), ("resume", run, "steps=400")):
            code = console(*words)
            assert code == 2 or (words[0] == "eval" and not key.startswith(("agent", "env"))), key  # it never builds the others
            assert "stranger" not in sys.modules, key
    assert len(found) > 10
    assert "agent._target_" in found


SHELL = {
    "_target_": "deeprl.envs.function.Function", "num": 2, "vector": "sync", "reseed_every": 1, "on_error": "fail", "timeout": 60.0,
    "function": "deeprl.system.terminal:os.system", "kwargs": {"command": "touch pwned"},
}  # fmt: skip


@pytest.mark.parametrize("words", [("eval",), ("resume",), ("record",), ("export",)])
def test_no_command_runs_the_shell_that_a_configuration_names(run, tmp_path, monkeypatch, words, capsys):
    monkeypatch.chdir(tmp_path)
    edited(run, "env", SHELL)
    more = ("steps=400",) if words == ("resume",) else ()
    assert "env.function=deeprl.system.terminal:os.system: a stored" in sentence(capsys, *words, run, *more)
    edited(run, "env.function", "gymnasium.wrappers.rendering:os.system")
    assert "--allow-package gymnasium" in sentence(capsys, *words, run, *more)
    assert "is no function" in sentence(capsys, *words, run, *more, "--allow-package", "gymnasium")
    assert not Path("pwned").exists()


def test_an_evaluation_needs_no_word_for_the_package_of_a_logger(run, capsys):
    """It builds none, and asked for --allow-package."""
    edited(run, "logger.also", {"mine": {"_target_": "somebody_s.Logger"}})
    assert console("eval", run, "--episodes", 1) == 0
    capsys.readouterr()
    assert "allow it with --allow-package somebody_s" in sentence(capsys, "resume", run, "steps=400")


@pytest.mark.parametrize("key", ["agent", "replay", "accelerate", "names", "steps", "seed", "device"])
def test_a_missing_key_is_named(run, key, capsys):
    config = RunFolder(run).read_config()
    del config[key]
    RunFolder(run).write_config(config)
    for words in (("eval", run), ("resume", run)):
        assert key in sentence(capsys, *words)


def test_a_network_larger_than_its_checkpoint_is_refused_before_it_is_allocated(run, capsys):
    edited(run, "agent.torso.hidden", [3000, 3000])
    for words in (("eval", run), ("resume", run, "steps=400")):
        assert "agent: it cannot be built here: it needs more than" in sentence(capsys, *words)


def test_without_a_checkpoint_nothing_is_allocated(run, monkeypatch, capsys):
    shutil.rmtree(run / "checkpoints")
    monkeypatch.setattr("deeprl.running.session.api.build_agent", lambda *_: pytest.fail("an agent was built"))
    assert "holds no checkpoint" in sentence(capsys, "eval", run)


def test_a_file_for_the_environment_needs_trust(run, tmp_path, capsys):
    """A pipe would hang."""
    os.mkfifo(tmp_path / "pipe")
    edited(run, "env.kwargs", {"xml_file": str(tmp_path / "pipe")})
    for words in (("eval", run), ("resume", run, "steps=400")):
        assert f"--allow-file {tmp_path / 'pipe'}" in sentence(capsys, *words)
        assert "--allow-file" in sentence(capsys, *words, "--allow-package", "gymnasium")
    assert "unexpected keyword argument" in sentence(capsys, "eval", run, "--allow-file", tmp_path / "pipe")


def test_a_stored_configuration_does_not_switch_on_wandb(run, monkeypatch, capsys):
    """It would upload the run's numbers to where a stranger's folder says."""
    edited(run, "logger", {**RunFolder(run).read_config()["logger"], "wandb": True, "mode": "disabled"})
    monkeypatch.setattr(WandB, "__init__", lambda *_, **__: pytest.fail("W&B was opened"))
    assert "logger.wandb=true: this connects to Weights & Biases" in sentence(capsys, "resume", run, "steps=400")
    monkeypatch.setattr("deeprl.running.session.assemble.require_packages", lambda *_: None)  # W&B need not be installed
    monkeypatch.setattr(WandB, "__init__", lambda *_, **__: None)
    monkeypatch.setattr(WandB, "begun", lambda self: self)
    monkeypatch.setattr(WandB, "hparams", opened := Mock())
    for name in ("scalars", "text", "close"):
        monkeypatch.setattr(WandB, name, lambda *_: None)
    assert console("resume", run, "steps=320", "logger.wandb=true") == 0
    assert opened.called
    assert console("resume", run, "steps=340", "logger.wandb=false") == 0


def test_a_stored_configuration_does_not_switch_on_another_logger(run, monkeypatch, capsys):
    node = {"_target_": "deeprl.running.runs.mlflow.MLflow", "enabled": True, "uri": "http://127.0.0.1:9/"}
    edited(run, "logger.also", {"mlflow": node})
    monkeypatch.setattr(MLflow, "open", lambda *_: pytest.fail("MLflow was opened"))
    said = sentence(capsys, "resume", run, "steps=400")
    assert "logger.also.mlflow.enabled=true: this connects to another logger" in said
    assert "repeat logger.also.mlflow.enabled=true logger.also.mlflow.uri=http://127.0.0.1:9/," in said
    said = sentence(capsys, "resume", run, "steps=400", "logger.also.mlflow.enabled=true")
    assert "logger.also.mlflow.uri=http://127.0.0.1:9/: this connects to another logger" in said  # who says yes has seen where to
    assert console("resume", run, "steps=320", "logger.also.mlflow.enabled=false") == 0
    for wrong in (5, {"mlflow": 5}):
        edited(run, "logger.also", wrong)
        capsys.readouterr()
        assert "logger.also" in sentence(capsys, "resume", run, "steps=400")


def test_the_same_command_with_resume_auto_confirms_what_it_connects_to(tmp_path, monkeypatch):
    config = settled("agent=dqn", "env=toy/chain", "logger=wandb")
    RunFolder(tmp_path).write_config(config)
    monkeypatch.setattr("deeprl.cli.resume.resume", lambda path, overrides, *_: overrides)
    assert "logger.wandb=true" in train.go_on(tmp_path, config)


def test_a_packed_policy_acts_as_its_run_and_has_its_trust(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert console("pack", run) == 0
    (file,) = tmp_path.glob("*.zip")
    observations = [[0.1 * i, -0.2, 0.03, 0.4 * i] for i in range(5)]
    assert load(file).act(observations).tolist() == load(run).act(observations).tolist()
    assert console("resume", file) == 1
    assert f"{file} is an archive: deeprl unpack" in capsys.readouterr().err
    assert console("unpack", file, tmp_path / "out") == 0
    assert "| final evaluation | " in (tmp_path / "out" / "README.md").read_text()
    assert console("resume", tmp_path / "out", "steps=400") == 1
    assert f"start another run with init_from={tmp_path / 'out'}" in capsys.readouterr().err
    edited(run, "agent._target_", "os.system")
    unsafe = zipfile.ZipFile(tmp_path / "unsafe.zip", "w")
    with unsafe, zipfile.ZipFile(file) as whole:
        for name in whole.namelist():
            unsafe.writestr(name, (run / name).read_bytes() if name == "config.yaml" else whole.read(name))
    capsys.readouterr()
    assert "agent._target_=os.system is outside" in sentence(capsys, "eval", tmp_path / "unsafe.zip")


@pytest.mark.parametrize("text", ["./x", "~/x", "..", "a/b", "module:name", "conftest.py"])
def test_names_of_files_and_modules_are_known(text, monkeypatch):
    from deeprl.running.config.trust import names_file

    monkeypatch.chdir(Path(__file__).parent.parent)
    assert names_file(text)
    assert not names_file("half_cheetah.xml")


@pytest.mark.parametrize(
    "line",
    [
        '{"step": 300}',
        '{"step": 300, "seed": []}',
        '{"step": true, "returns": 3}',
        '{"step": 1e300, "seed": 1, "returns": [1]}',
        "[" * 10_000,
    ],
)
def test_a_broken_line_of_evaluations_is_passed_over(run, line, capsys):
    whole = json.loads((run / "evaluations.jsonl").read_text().splitlines()[-1])
    broken = json.dumps({**whole, "returns": "abc"})
    (run / "evaluations.jsonl").write_text(f"{line}\n{broken}\n")
    assert console("eval", run) == 0
    assert "3 episodes" in capsys.readouterr().out


def test_a_line_longer_than_any_run_writes_is_not_parsed(run, monkeypatch):
    long = json.dumps({"step": 1, "returns": [1.5] * 1_500_000})
    assert folder.LINE_LIMIT < len(long) < folder.JSON_LIMIT
    (run / "evaluations.jsonl").write_text(f'{long}\n{{"step": 2}}\n')
    assert [found["step"] for _, found in read_lines(run / "evaluations.jsonl")] == [2]


@pytest.mark.parametrize(
    "status", [{}, {"state": "running"}, {"state": "x", "step": 1, "updates": 1}, {"state": "failed", "step": "1", "updates": 1}]
)
def test_a_status_that_no_run_writes_is_damage(run, status, capsys):
    (run / "status.json").write_text(json.dumps(status))
    assert "status.json is damaged" in sentence(capsys, "resume", run, "steps=400")


FORGERIES = (
    ("update", "7"), ("step", None), ("objective", []), ("tensor", 3), ("product", "low"), ("spec", {}),
    ("spec", {"obs_shape": [2**40], "obs_dtype": "float32", "num_actions": 2, "action_dim": 0, "frame_stack": 1}),
    ("spec", {"obs_shape": 4, "obs_dtype": "float32", "num_actions": 2, "action_dim": 0, "frame_stack": 1}),
    ("spec", {"obs_shape": [4], "obs_dtype": "float99", "num_actions": 2, "action_dim": 0, "frame_stack": 1}),
    ("spec", {"obs_shape": [4], "obs_dtype": "float32", "num_actions": -2, "action_dim": 0, "frame_stack": 1}),
)  # fmt: skip


@pytest.mark.parametrize(("name", "value"), FORGERIES, ids=lambda x: str(x))
def test_a_forged_failure_of_a_crash_bundle_says_so(run, name, value, capsys):
    add_bundle(run)
    assert console("replay-crash", run) == 0
    capsys.readouterr()
    (bundle,) = (run / "crash").iterdir()
    parts = checkpoint.load(bundle)
    config = RunFolder(bundle).read_config()
    checkpoint.save(bundle, {**parts, "failure": {**parts["failure"], name: value}})
    RunFolder(bundle).write_config(config)
    sentence(capsys, "replay-crash", run)


@pytest.mark.parametrize("name", ["obs", "action", "reward", "noise"])
def test_a_forged_batch_of_a_crash_bundle_says_so(run, name, capsys):
    add_bundle(run)
    (bundle,) = (run / "crash").iterdir()
    parts, config = checkpoint.load(bundle), RunFolder(bundle).read_config()
    finite = {**parts["batch"], "reward": torch.zeros(16)}
    checkpoint.save(bundle, {**parts, "batch": {**finite, name: torch.zeros(2, 3, 5)}})
    RunFolder(bundle).write_config(config)
    sentence(capsys, "replay-crash", run)


# ---- links and pipes


@pytest.mark.parametrize("name", ["checkpoints", "replay"])
def test_a_file_in_place_of_a_folder_is_refused(run, name, capsys):
    shutil.rmtree(run / name)
    os.mkfifo(run / name)
    assert console("resume", run, "steps=400") == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("deeprl: ")
    assert str(run / name) in said
    assert "the run failed" not in said


def test_a_lock_that_is_a_pipe_is_refused(run, capsys):
    (run / "lock").unlink(missing_ok=True)
    os.mkfifo(run / "lock")
    assert "lock is not a plain file" in sentence(capsys, "resume", run, "steps=400")


@pytest.mark.parametrize("name", ["stacks.txt", "checkpoints/step_000000000400", "checkpoints/step_000000000400~replaced"])
@pytest.mark.parametrize("target", ["precious", "nowhere", None])
def test_links_at_names_that_resuming_writes_are_replaced(run, tmp_path, name, target):
    (tmp_path / "precious").write_text("precious")
    if target:
        (run / name).symlink_to(tmp_path / target)
    else:
        os.mkfifo(run / name)
    assert console("resume", run, "steps=400") == 0
    assert (tmp_path / "precious").read_text() == "precious"
    assert not (tmp_path / "nowhere").exists()
    assert console("eval", run, "--episodes", 1) == 0


def test_a_crash_bundle_is_not_written_through_a_link(run, tmp_path, capsys):
    (tmp_path / "elsewhere").mkdir()
    (run / "crash").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(folder.RunFolderError, match="crash: it is a link"):
        add_bundle(run)
    assert not list((tmp_path / "elsewhere").iterdir())
