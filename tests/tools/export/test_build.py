"""`deeprl export`, in this process."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import onnx
import pytest
import torch

import deeprl
from deeprl.cli import exits
from deeprl.cli import export as command
from deeprl.errors import RunFolderError
from deeprl.tools.export import programs
from deeprl.tools.export.build import export, require_own
from deeprl.tools.export.policy import ExportedPolicy
from tests.builders import console, train
from tests.promises.test_readme import blocks

ROOT = Path(__file__).resolve().parents[3]
FILES = {"policy.json", "policy.onnx", "policy.pt2"}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture(scope="module")
def exported(finished, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "deeper" / "policy"
    assert console("export", finished, "--out", folder) == exits.FINISHED
    return folder


@pytest.fixture
def copied(finished, tmp_path) -> Path:
    return shutil.copytree(finished, tmp_path / "run")


def test_both_programs_and_what_they_are(finished, exported):
    assert names(exported) == FILES
    about = json.loads((exported / "policy.json").read_text())
    assert (about["agent"], about["environment"], about["step"]) == ("dqn", "classic/cartpole", 300)
    assert about["input"] == {"name": "obs", "shape": ["M", 4], "dtype": "float32", "content": "as the environment gives it"}
    assert about["output"] == {"name": "action", "shape": ["M"], "dtype": "int64", "low": 0, "high": 1}
    assert about["env"]["id"] == "CartPole-v1"
    assert about["versions"]["torch"] == torch.__version__
    assert about["checked"]["onnx"]["observations"] == about["checked"]["torch"]["observations"] > 500
    for name, file in about["files"].items():
        content = (exported / name).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (file["bytes"], file["sha256"])
    properties = {entry.key: entry.value for entry in onnx.load(exported / "policy.onnx").metadata_props}
    assert json.loads(properties["input"]) == about["input"]
    assert properties["environment"] == "classic/cartpole"


def test_no_program_of_an_earlier_export_stays_beside_another_checkpoint(copied, exported):
    shutil.copytree(exported, copied / "exports")
    assert console("export", copied, "--checkpoint", "best", "--format", "torch") == exits.FINISHED
    assert sorted(names(copied / "exports")) == ["policy.json", "policy.pt2"]


def test_both_act_like_the_loaded_run(finished, exported):
    obs = 3 * np.random.default_rng(0).standard_normal((100, 4), np.float32)
    action = deeprl.load(finished).act(obs)
    assert set(action) == {0, 1}
    _, run, _ = programs.onnx_runner((exported / "policy.onnx").read_bytes())
    np.testing.assert_array_equal(run(obs)[0], action)
    np.testing.assert_array_equal(programs.runner(torch.export.load(exported / "policy.pt2"))(obs)[0], action)


def test_the_example_in_the_documentation_needs_neither_torch_nor_deeprl(finished, exported):
    (example,) = blocks((ROOT / "docs" / "export.md").read_text(), "python")
    code = f"import sys\nsys.modules['torch'] = sys.modules['deeprl'] = None\n{example}"
    done = subprocess.run([sys.executable, "-c", code], cwd=exported, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

    run, env = deeprl.load(finished), gymnasium.make("CartPole-v1")
    obs, over, score = env.reset(seed=0)[0], False, 0.0
    while not over:
        obs, reward, terminated, truncated, _ = env.step(run.act(obs))
        over, score = terminated or truncated, score + float(reward)
    assert done.stdout == f"{score}\n"


def test_a_checkpoint_and_a_format_into_the_run_folder(copied, capsys):
    assert console("export", copied, "--checkpoint", "240", "--format", "torch") == exits.FINISHED
    told = capsys.readouterr()
    assert told.out.startswith(f"{copied / 'exports' / 'policy.pt2'}: step 240, ")
    assert told.err == ""
    assert names(copied / "exports") == {"policy.pt2", "policy.json"}


@pytest.mark.filterwarnings("ignore:overflow")  # of Gymnasium, whose wrapper casts its own bounds
@pytest.mark.skipif(gymnasium.__version__.startswith("1.2."), reason="its DtypeObservation takes no name of a type")
def test_bounds_of_continuous_actions_and_conversions_of_observations(tmp_path, capsys):
    small = (
        "agent.actor_torso.hidden=[8]",
        "agent.torso.hidden=[8]",
        "replay.capacity=100",
        "replay.batch_size=8",
        "agent/normalize=running",
    )
    short = ("steps=60", "replay.learning_starts=40", "evaluation.every=null", "evaluation.final_episodes=1", "runtime.threads=1")
    wrapped = "env.wrappers=[{path: gymnasium.wrappers.DtypeObservation, kwargs: {dtype: float64}}]"
    train(tmp_path / "run", "agent=td3", "env=gym", "env.id=Pendulum-v1", wrapped, *small, *short)
    assert console("export", tmp_path / "run", "--allow-package", "gymnasium", "--out", tmp_path) == exits.FINISHED
    about = json.loads((tmp_path / "policy.json").read_text())
    assert about["output"] == {"name": "action", "shape": ["M", 1], "dtype": "float32", "low": [-2.0], "high": [2.0]}
    assert about["input"]["content"] == "the environment's float64 numbers as float32"
    assert about["normalize"] == "Running"
    assert about["env"]["wrappers"][0]["path"] == "gymnasium.wrappers.DtypeObservation"
    assert about["checked"]["onnx"]["largest"] < 1e-5


TINY = {
    "agent": "dqn", "agent.torso.hidden": [8], "steps": 60, "replay.learning_starts": 40, "replay.ratio": 0.1, "replay.capacity": 100,
    "replay.batch_size": 4, "evaluation.every": None, "evaluation.final_episodes": 1, "runtime.threads": 1, "accelerate": "fast",
}  # fmt: skip


class Combined(gymnasium.Env):
    """Twelve actions of two components."""

    observation_space = gymnasium.spaces.Box(-1, 1, (2,))
    action_space = gymnasium.spaces.MultiDiscrete([3, 4], start=[0, 5])

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        assert self.action_space.contains(action)
        return self.observation_space.sample(), float(action.sum()), self.np_random.random() < 0.1, False, {}


def test_actions_of_several_components(tmp_path):
    run = deeprl.train(TINY, env=Combined, folder=tmp_path / "run")
    export(run, ["torch"])
    about = json.loads((run.folder / "exports" / "policy.json").read_text())
    assert about["output"] == {"name": "action", "shape": ["M", 2], "dtype": "int64", "low": [0, 5], "high": [2, 8]}


class Strict(Combined):
    """Raises on every action but the last."""

    action_space = gymnasium.spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed)[0], {"action_mask": np.int8([0, 0, 1])}

    def step(self, action):
        assert action == 2, "that action is not valid"
        obs, *rest, _ = super().step(np.int64(action))
        return obs, *rest, {"action_mask": np.int8([0, 0, 1])}


def test_only_valid_actions_are_played(tmp_path):
    run = deeprl.train({**TINY, "env.mask": True}, env=Strict, folder=tmp_path / "run")
    assert set(export(run, ["torch"])) == {run.folder / "exports" / "policy.pt2"}


def test_what_evaluation_draws_is_said(copied, capsys):
    config = copied / "config.yaml"
    config.write_text(config.read_text().replace("evaluation: 0.0", "evaluation: 0.05"))
    assert console("export", copied, "--format", "torch") == exits.FINISHED
    assert capsys.readouterr().err.startswith("note: evaluation explores with probability 0.05")
    assert "0.05" in json.loads((copied / "exports" / "policy.json").read_text())["simplified"][0]


# ---- refusals


def test_a_program_that_acts_otherwise_is_not_written(finished, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ExportedPolicy, "forward", lambda self, *inputs: 1 - self.agent.greedy(inputs[0]))
    assert console("export", finished, "--out", tmp_path / "out") == exits.FAILED
    told = capsys.readouterr().err
    assert "the torch.export program is not the policy of" in told
    assert "actions differ from the agent's, at most by" in told
    assert not (tmp_path / "out").exists()


def test_a_model_that_acts_otherwise_is_not_written(finished, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(programs, "onnx_model", lambda program, metadata, inputs: b"")
    monkeypatch.setattr(programs, "onnx_runner", lambda model: ("broken", lambda obs: [np.ones(len(obs), np.int64)], None))
    assert console("export", finished, "--out", tmp_path / "out") == exits.FAILED
    assert "the ONNX model (broken) is not the policy of" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_policy_that_cannot_be_converted_is_left_with_a_remedy(finished, tmp_path, monkeypatch, capsys):
    def old(program, metadata, inputs):
        raise AttributeError("module 'onnx_ir' has no attribute 'schemas'")

    monkeypatch.setattr(programs, "onnx_model", old)
    assert console("export", finished, "--out", tmp_path / "out") == exits.FAILED
    told = capsys.readouterr().err
    assert "could not convert the policy to ONNX (AttributeError: module 'onnx_ir' has no attribute 'schemas')" in told
    assert "pip install -U onnx onnxscript onnx_ir, or take --format torch" in told
    assert not (tmp_path / "out").exists()


def test_a_model_that_cannot_be_run_is_written_with_a_warning(finished, tmp_path, monkeypatch, capsys):
    def missing(model):
        raise NotImplementedError("Sinh")

    monkeypatch.setattr(programs, "onnx_model", lambda program, metadata, inputs: b"")
    monkeypatch.setattr(programs, "onnx_runner", missing)
    assert console("export", finished, "--format", "onnx", "--out", tmp_path) == exits.FINISHED
    told = capsys.readouterr()
    assert "has not been checked, because it could not be run: NotImplementedError: Sinh" in told.err
    assert told.out.endswith("not checked\n")
    assert json.loads((tmp_path / "policy.json").read_text())["checked"]["onnx"] is None


@pytest.mark.parametrize("kind", ["onnx", "both"])
def test_a_missing_package_is_named_with_its_remedy(finished, tmp_path, monkeypatch, capsys, kind):
    monkeypatch.setattr(command, "NEEDS", ("onnx", "no_such_package"))
    assert console("export", finished, "--format", kind, "--out", tmp_path) == exits.WRONG
    assert 'needs no_such_package: pip install "onnx>=1.18" "onnxscript>=0.7"' in capsys.readouterr().err
    assert names(tmp_path) == set()


def test_one_folder_takes_one_run(finished, copied, tmp_path, capsys):
    shutil.copytree(finished, tmp_path / "other")
    assert console("export", tmp_path, "--out", tmp_path / "out") == exits.WRONG
    assert "holds 2 runs" in capsys.readouterr().err


def test_a_link_in_a_run_folder_is_not_followed(copied, tmp_path, capsys):
    (tmp_path / "elsewhere").mkdir()
    (copied / "exports").symlink_to(tmp_path / "elsewhere")
    assert console("export", copied, "--format", "torch") == exits.FAILED
    assert "is a link, which is refused" in capsys.readouterr().err
    assert names(tmp_path / "elsewhere") == set()
    assert console("export", copied, "--format", "torch", "--out", copied / "exports") == exits.FINISHED


def test_a_file_where_the_folder_should_be_is_named(finished, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert console("export", finished, "--format", "torch", "--out", tmp_path / "file") == exits.FAILED
    assert f"cannot be written to {tmp_path / 'file'}" in capsys.readouterr().err


def test_files_of_something_else_are_not_replaced(tmp_path):
    """A model of the user's was removed, and that of another run replaced."""
    about = {"agent": "dqn", "environment": "gym", "env": {"id": "A-v1", "num": 1}}
    for there in ({}, {"policy.json": json.dumps({**about, "files": {}}), "policy.onnx": "of an earlier step"}):
        for name, text in there.items():
            (tmp_path / name).write_text(text)
        require_own(tmp_path, about)
    for other in ({"agent": "idqn"}, {"env": {"id": "B-v1"}}):
        with pytest.raises(RunFolderError, match=r"holds policy\.json, policy\.onnx of something else.*--out"):
            require_own(tmp_path, {**about, **other})
    for content in ("", "[]", "{}", '{"agent": NaN', "[" * 10**5, '{"agent": "dqn", "environment": "gym", "env": 3}'):
        (tmp_path / "policy.json").write_text(content)
        with pytest.raises(RunFolderError, match=r"of something else"):
            require_own(tmp_path, about)
    (tmp_path / "policy.json").unlink()
    with pytest.raises(RunFolderError, match=r"holds policy\.onnx of something else"):
        require_own(tmp_path, about)
