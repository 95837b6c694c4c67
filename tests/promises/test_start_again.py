"""A command that failed can be given again: nothing that it left is in its way, and nothing is written that could not be read."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
from gymnasium import spaces

from deeprl.cli import exits
from deeprl.errors import ConfigError, MachineError, RunFolderError
from deeprl.running.config.build import environment
from deeprl.running.runs import checkpoint
from deeprl.running.runs.checkpoints import Checkpoints
from deeprl.running.runs.config_file import read_config, write_config
from deeprl.running.runs.folder import STARTS, RunFolder
from deeprl.running.runs.places import holds_run, require_new
from deeprl.running.session.session import say_if_elsewhere
from deeprl.running.training.episodes import WINDOW, Episodes
from deeprl.system import files
from deeprl.tools.sweep import folder as sweep_folder
from deeprl.tools.sweep.folder import SweepFolder
from deeprl.tools.sweep.grid import expand
from tests.builders import CARTPOLE, begin, console
from tests.promises.test_resume import assert_same_run, at_step


def test_a_disk_that_is_full_at_config_yaml_leaves_no_run(tmp_path, monkeypatch, capsys):
    """There is space again when the failure is recorded; a status without a configuration was a run that no command could continue."""
    path, plain = tmp_path / "run", files.create

    def create(file: Path, data: bytes = b"") -> int:
        if "config.yaml" in file.name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return plain(file, data)

    monkeypatch.setattr(files, "create", create)
    assert begin(path, *CARTPOLE) == exits.FAILED
    assert "No space left on device" in capsys.readouterr().err
    assert not holds_run(path)
    assert not (path / "status.json").exists()
    require_new(path)


@pytest.mark.parametrize("left", ["status.json", ".config.yaml.0123456789abcdef.partial"])
def test_what_a_start_left_before_config_yaml_is_in_nobodys_way(tmp_path, left):
    (tmp_path / left).write_text("{}")
    require_new(tmp_path)
    (tmp_path / "metrics.jsonl").write_text("")
    with pytest.raises(ConfigError, match="is not empty"):
        require_new(tmp_path)


def test_a_run_folder_that_is_moved_in_mid_run_ends_the_run_and_is_resumed_there(finished, tmp_path, monkeypatch, capsys):
    """Nothing is made where it was, where rows that are written ahead made a new folder of replay segments."""
    path, there = tmp_path / "run", tmp_path / "moved"
    with monkeypatch.context() as patch:
        patch.setattr("deeprl.running.training.saving.SEGMENT_BYTES", 1000)
        at_step(patch, 100, lambda: path.rename(there))
        assert begin(path, *CARTPOLE) == exits.FAILED
    assert f"{path} is gone: it was moved or removed in mid-run" in capsys.readouterr().err
    assert not path.exists()
    assert console("resume", there) == exits.FINISHED
    assert_same_run(there, finished)


class Broken:
    """The choice of an environment that cannot be made."""

    name, make = "broken", None

    def __init__(self, error: BaseException):
        self.error = error

    def spec(self):
        if isinstance(self.error, GeneratorExit):  # in place of what a library raises
            spaces.Discrete(-1)
        raise self.error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "the licence server"), MachineError),
        (OSError(errno.EIO, "a disk"), MachineError),
        (TimeoutError("a server"), MachineError),
        (MemoryError(), MachineError),
        (FileNotFoundError(errno.ENOENT, "no such model"), ConfigError),
        (OSError("ROM is missing"), ConfigError),
        (TypeError("no such argument"), ConfigError),
        (ValueError("level must be positive"), ConfigError),
        (GeneratorExit(), ConfigError),
    ],
)
def test_an_environment_that_the_machine_cannot_make_now_is_no_wrong_configuration(monkeypatch, error, expected):
    """Schedulers try again after 1 and give up after 2."""
    monkeypatch.setattr("deeprl.running.config.build.instantiate", lambda *given: Broken(error))
    with pytest.raises((MachineError, ConfigError), match="broken cannot be made") as caught:
        environment({"env": {}})
    assert type(caught.value) is expected
    assert f"{Path(__file__).name}:" in str(caught.value)  # of a ValueError file and line were missing, and of one that Gymnasium raises


@pytest.mark.parametrize("command", ["resume", "eval"])
def test_a_file_in_place_of_its_run_folder_is_named(finished, command, capsys):
    assert console(command, finished / "config.yaml") == exits.FAILED
    said = capsys.readouterr().err
    assert f"{finished / 'config.yaml'} is a file: name the run folder that holds it, {finished}" in said


def test_a_file_that_is_in_no_run_folder_names_none(tmp_path, monkeypatch):
    """A file of the present folder was said to lie in the run folder "."."""
    monkeypatch.chdir(tmp_path)
    Path("README.md").touch()
    with pytest.raises(RunFolderError, match=r"^README.md is a file: name a run folder$"):
        read_config(Path("README.md/config.yaml"))
    Path("config.yaml").touch()
    with pytest.raises(RunFolderError, match=f"holds it, {tmp_path}$"):
        read_config(Path("README.md/config.yaml"))


def test_a_configuration_that_is_no_yaml_is_refused_in_a_line(tmp_path):
    (tmp_path / "config.yaml").write_text("env: [1\nseed: {")
    with pytest.raises(RunFolderError, match="is not the YAML that a run writes: line 2, did not find expected") as refused:
        read_config(tmp_path / "config.yaml")
    assert "\n" not in str(refused.value)


def test_a_run_that_goes_on_elsewhere_says_so_once(capsys):
    here = {"packages": {"python": "3.11.7", "torch": "2.13.0"}, "cpu": "EPYC", "gpu": None}
    for before in ([], [here], ["damaged"], [{}]):
        say_if_elsewhere(before, here)
    assert capsys.readouterr().err == ""
    say_if_elsewhere([{**here, "packages": {"python": "3.11.7", "torch": "2.12.0"}}], here)
    assert capsys.readouterr().err.startswith("not as at the last start: torch 2.12.0 -> 2.13.0. ")
    edited = {**here, "git": {"commit": "a" * 40}, "code": {"script": "1", "net": "2"}}
    say_if_elsewhere([{**edited, "git": {"commit": "b" * 40}, "code": {"net": "3"}}], edited)
    assert f"commit of deeprl {'b' * 40} -> {'a' * 40}, module net 3 -> 2. The run" in capsys.readouterr().err


# ---- what is written is bounded as what is read


def test_a_configuration_that_could_not_be_read_back_is_refused_by_its_key(tmp_path):
    with pytest.raises(ConfigError, match=r"env\.kwargs\.map=xxx.* is too long"):
        write_config(tmp_path / "config.yaml", {"seed": 1, "env": {"kwargs": {"map": "x" * 70_000}}})
    assert not list(tmp_path.iterdir())
    write_config(tmp_path / "config.yaml", {"env": {"kwargs": {"map": "x" * 60_000}}})
    assert len(read_config(tmp_path / "config.yaml")["env"]["kwargs"]["map"]) == 60_000


def test_of_many_starts_the_first_and_the_newest_stay(tmp_path):
    """A job that is started again every minute would reach the largest size in nine days, and then never start."""
    (tmp_path / "system.json").write_text(json.dumps([{"start": n} for n in range(STARTS)]))
    RunFolder(tmp_path).append_system({"start": STARTS})
    assert [start["start"] for start in RunFolder(tmp_path).read_system()] == [0, *range(2, STARTS + 1)]


def test_episodes_that_wait_for_a_log_line_fill_no_checkpoint():
    """Ten million episodes of one step, between two log lines, are more than a checkpoint may hold."""
    episodes, one = Episodes(1), np.ones(1)
    for step in range(2 * WINDOW):
        episodes.add(step, one * step, one > 0, [{}])
    state = episodes.state_dict()
    assert len(state["finished"]) == WINDOW
    again = Episodes(1)
    again.load_state_dict(state)
    assert again.finished[-1].reward == 2 * WINDOW - 1
    assert again.state_dict()["finished"] == state["finished"]


def test_a_checkpoint_with_more_tensors_than_can_be_read_back_is_not_published(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"agent": np.ones(3)})
    monkeypatch.setattr(checkpoint, "HEADER_LIMIT", 100)
    with pytest.raises(checkpoint.CheckpointError, match="more than can be read back"):
        checkpoints.save(2, {"agent": [np.ones(3), np.ones(3)]})
    monkeypatch.undo()
    assert checkpoints.steps() == [1]


def test_a_grid_that_could_not_be_read_back_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep_folder, "JSON_LIMIT", 300)
    with pytest.raises(ConfigError, match="4 jobs are too many"):
        SweepFolder(tmp_path, ["agent=dqn,idqn", "seed=0,1"], expand(["agent=dqn,idqn", "seed=0,1"])).store()
    assert not list(tmp_path.iterdir())


def test_a_status_that_the_machine_cannot_read_is_not_called_damaged(tmp_path, monkeypatch):
    """The message asked to move it away."""

    def fails(*given):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("deeprl.running.runs.folder.read_regular", fails)
    with pytest.raises(RunFolderError, match=r"status\.json cannot be read: Input/output error"):
        RunFolder(tmp_path).read_status()
