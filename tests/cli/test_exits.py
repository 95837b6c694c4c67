"""The one ladder from an exception to an exit code and a sentence."""

from __future__ import annotations

import errno
import warnings

import pytest

from deeprl.cli.exits import FAILED, FINISHED, WRONG, guarded
from deeprl.envs.vector.environments import EnvironmentFailed
from deeprl.errors import CheckpointError, ConfigError, MachineError, NotFinite, RunFolderError
from deeprl.running.runs.folder import RunFolder
from deeprl.system.files import replace_file


def raising(error: BaseException):
    def command() -> int:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("steps=0"), WRONG),
        (ValueError("no such environment"), WRONG),
        (RunFolderError("in use"), FAILED),
        (CheckpointError("damaged"), FAILED),
        (MachineError("a server"), FAILED),
        (FileNotFoundError("no such file"), FAILED),
    ],
)
def test_what_is_foreseen_is_a_sentence(error, code, capsys):
    assert guarded(raising(error)) == code
    assert capsys.readouterr().err == f"deeprl: {error}\n"


def test_a_full_disk_is_named_with_what_to_do(capsys):
    assert guarded(raising(OSError(errno.ENOSPC, "No space left on device", "runs/sweep.json"))) == FAILED
    said = capsys.readouterr().err
    assert said == "deeprl: No space left on device: runs/sweep.json cannot be written. Make space, then repeat the command.\n"


def test_a_name_that_is_too_long_is_the_words_fault(tmp_path, capsys):
    name = "n" * 300
    assert guarded(lambda: (tmp_path / name / "config.yaml").stat().st_size) == WRONG
    said = capsys.readouterr().err
    assert "too long" in said
    assert "Errno" not in said


class Panic(BaseException):
    """As libraries in Rust raise it."""


@pytest.mark.parametrize("error", [RuntimeError("a \x1b[2J bug"), Panic("a \x1b[2J bug")])
def test_what_is_not_is_a_sentence_too_and_a_traceback_on_demand(error, capsys, monkeypatch):
    monkeypatch.delenv("DEEPRL_DEBUG", raising=False)
    assert guarded(raising(error)) == FAILED
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"deeprl: {type(error).__name__}: a \\x1b[2J bug. ")
    monkeypatch.setenv("DEEPRL_DEBUG", "1")
    assert guarded(raising(error)) == FAILED
    text = capsys.readouterr().err
    assert "Traceback" in text
    assert "\x1b" not in text


def test_a_command_that_is_interrupted_says_so(capsys):
    assert guarded(raising(KeyboardInterrupt())) == FAILED
    assert capsys.readouterr().err == "deeprl: interrupted\n"


def test_a_warning_is_one_line(monkeypatch):
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    assert guarded(lambda: FINISHED) == FINISHED
    assert warnings.formatwarning("the disk is full", UserWarning, "file.py", 3, "source") == "warning: the disk is full\n"


def test_a_command_that_ends_well_has_its_own_code():
    assert guarded(lambda: FINISHED) == FINISHED


@pytest.mark.parametrize("error", [RuntimeError("a bug"), ValueError("too large")])
def test_any_failure_of_a_run_leaves_its_traceback_in_the_folder(error, tmp_path, capsys):
    assert guarded(raising(error), tmp_path) == FAILED
    text = capsys.readouterr().err
    told = [f"deeprl: the run failed: {type(error).__name__}: {error}.", f"The traceback is in {tmp_path / 'traceback.txt'}."]
    assert text == "\n  ".join([*told, "No checkpoint was saved."]) + "\n"
    assert "raise error" in (tmp_path / "traceback.txt").read_text()


def test_a_failed_environment_is_told_in_three_lines(tmp_path, capsys):
    """What, why, and what to do. It was one paragraph of 600 letters."""
    error = EnvironmentFailed("environment 0 of mine failed at step 5", "ValueError: no model", "env.on_error=restart goes on")
    assert str(error) == "environment 0 of mine failed at step 5: ValueError: no model; env.on_error=restart goes on"
    assert guarded(raising(error), tmp_path) == FAILED
    assert capsys.readouterr().err.splitlines() == [
        "deeprl: the run failed: EnvironmentFailed: environment 0 of mine failed at step 5.",
        f"  ValueError: no model. The traceback is in {tmp_path / 'traceback.txt'}.",
        "  env.on_error=restart goes on. No checkpoint was saved.",
    ]


def test_a_folder_with_spaces_can_be_pasted(tmp_path, capsys):
    (tmp_path / "avec espace" / "checkpoints" / "step_000000000100").mkdir(parents=True)
    assert guarded(raising(RuntimeError("a bug")), tmp_path / "avec espace") == FAILED
    assert capsys.readouterr().err.endswith(f"deeprl resume '{tmp_path}/avec espace'\n")


def test_the_command_that_goes_on_accepts_what_the_run_names(tmp_path, capsys):
    """It ended in a question for --allow-package."""
    (tmp_path / "checkpoints" / "step_000000000100").mkdir(parents=True)
    (tmp_path / "config.yaml").write_text("env: {_target_: deeprl.envs.function.Function, function: 'mixed:make'}")
    assert guarded(raising(RuntimeError("a bug")), tmp_path) == FAILED
    assert capsys.readouterr().err.endswith(f"deeprl resume {tmp_path} --allow-package mixed\n")


def test_a_failure_is_told_beside_a_configuration_that_says_nothing(tmp_path, capsys):
    (tmp_path / "checkpoints" / "step_000000000100").mkdir(parents=True)
    (tmp_path / "config.yaml").write_text("a: 1")
    assert guarded(raising(RuntimeError("a bug")), tmp_path) == FAILED
    assert capsys.readouterr().err.endswith(f"deeprl resume {tmp_path}\n")


def test_a_run_that_is_not_finite_is_not_resumed(tmp_path, capsys):
    """A resume repeats the NaN bit for bit, and was what the message advised."""
    optimizers = "optimizer: {lr: 1.0, max_grad_norm: 0.5}, actor_optimizer: {lr: 2.0, max_grad_norm: null}"
    (tmp_path / "config.yaml").write_text(f"agent: {{{optimizers}}}")
    assert guarded(raising(NotFinite("the loss is NaN")), tmp_path) == FAILED
    steps = "Take smaller steps (agent.optimizer.lr, agent.actor_optimizer.lr), or clip gradients (agent.actor_optimizer.max_grad_norm=10)"
    assert capsys.readouterr().err.endswith(f"  {steps}. A resume of this run would repeat the fault\n")
    (tmp_path / "checkpoints" / "step_000000000100").mkdir(parents=True)
    error = NotFinite("the loss is NaN")
    error.remedy = "Take shorter ones"
    assert guarded(raising(error), tmp_path) == FAILED
    again = f"another run starts from the weights of an earlier checkpoint with init_from={tmp_path}@STEP"
    assert capsys.readouterr().err.endswith(f"  Take shorter ones. A resume of this run would repeat the fault; {again}\n")
    (tmp_path / "config.yaml").write_text("agent: {ascent: {lr: 1.0}}")  # which says nothing, POIS, has no step to shorten
    assert guarded(raising(NotFinite("the loss is NaN")), tmp_path) == FAILED
    assert "smaller steps" not in capsys.readouterr().err


def test_an_interrupted_run_can_be_resumed(tmp_path, capsys):
    (tmp_path / "checkpoints" / "step_000000000100").mkdir(parents=True)
    assert guarded(raising(KeyboardInterrupt()), tmp_path) == FAILED
    assert f"interrupted. Its last checkpoint can be resumed: deeprl resume {tmp_path}" in capsys.readouterr().err
    assert not (tmp_path / "traceback.txt").exists()


def test_a_wrong_configuration_is_no_failure_of_the_run(tmp_path, capsys):
    assert guarded(raising(ConfigError("steps=0")), tmp_path) == WRONG
    assert capsys.readouterr().err == "deeprl: steps=0\n"


@pytest.mark.parametrize("error", [RuntimeError("x" * 10**7 + "\nlast"), RuntimeError("x\n" * 10**6), RuntimeError("lone \udcff")])
def test_no_error_is_written_longer_than_a_person_reads(error, tmp_path, capsys):
    """Readers of status.json refuse a large one; and half of a surrogate pair cannot be encoded."""
    assert guarded(raising(error), tmp_path) == FAILED
    folder = RunFolder(tmp_path)
    folder.write_status("failed", 0, 0, str(error))
    said, trace, stored = capsys.readouterr().err, (tmp_path / "traceback.txt").read_text(), folder.read_status()["error"]
    assert said.startswith("deeprl: the run failed: RuntimeError: ")
    assert "No checkpoint was saved." in said
    assert trace.startswith("Traceback")
    assert len(said) < 5000 > len(stored)
    assert len(trace) < 25_000
    for text in (trace, stored):
        assert "last" in text or "\\udcff" in text or "are left out" in text


def test_an_error_whose_text_raises_is_an_error_like_any_other(tmp_path, capsys):
    class Mute(RuntimeError):
        def __str__(self):
            raise KeyError

    assert guarded(raising(Mute()), tmp_path) == FAILED
    assert "Mute, whose text cannot be made (KeyError)" in capsys.readouterr().err


def test_a_run_folder_that_was_moved_in_mid_run_is_named(tmp_path, capsys):
    """Checkpoints may be there, but not under this name."""
    assert guarded(raising(FileNotFoundError(2, "No such file")), tmp_path / "run") == FAILED
    assert "run is gone: it was moved or removed in mid-run" in capsys.readouterr().err
    (tmp_path / "lock").touch()  # a file of the environment's was missing
    assert guarded(raising(FileNotFoundError(2, "No such file")), tmp_path) == FAILED
    assert "the run failed: FileNotFoundError" in capsys.readouterr().err


def test_a_folder_in_place_of_a_file_is_named(tmp_path, capsys):
    """As where something has put a folder at status.json of a sweep's job."""
    (tmp_path / "status.json").mkdir()
    assert guarded(lambda: replace_file(tmp_path / "status.json", "{}")) == FAILED
    assert f"{tmp_path / 'status.json'} is a folder where a file belongs: remove it to go on." in capsys.readouterr().err
