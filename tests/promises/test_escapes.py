"""No name or number out of a file reaches the terminal as an escape sequence: one test for each way."""

from __future__ import annotations

import ast
import shutil
import warnings
from pathlib import Path

import pytest

import deeprl
from deeprl.cli.exits import guarded
from deeprl.running.config.rules import put
from deeprl.running.runs.folder import RunFolder
from tests.builders import console

ESCAPE, SHOWN = "\x1b[2J", "\\x1b[2J"


@pytest.fixture
def run(finished, tmp_path) -> Path:
    """In a folder whose name holds an escape sequence."""
    return shutil.copytree(finished, tmp_path / f"run{ESCAPE}", symlinks=True)


def printed(capsys) -> str:
    text = "".join(capsys.readouterr())
    assert "\x1b" not in text
    assert SHOWN in text
    return text


def test_commands_print_through_one_function():
    """`answer` and `say` escape; `print` does not."""
    ours = Path(deeprl.__file__).parent
    for path in (
        path for package in (ours, *(ours.parent / name for name in ("agents", "envs", "deeprl_lab"))) for path in package.rglob("*.py")
    ):
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        printing = [call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]
        assert len(printing) == (path == ours / "system" / "terminal.py"), path


def test_eval(run, capsys):
    assert console("eval", run, "--episodes", 1) == 0
    printed(capsys)


def test_record(run, capsys):
    assert console("record", run) == 0
    printed(capsys)


def test_resume_of_a_finished_run(run, capsys):
    assert console("resume", run) == 0
    printed(capsys)


def test_resume_with_a_changed_value(run, capsys):
    config = RunFolder(run).read_config()
    put(config, "logger.project", ESCAPE)
    RunFolder(run).write_config(config)
    assert console("resume", run, "logger.project=mine", "steps=310") == 0
    assert f"logger.project: {SHOWN} -> mine" in printed(capsys)


def test_replay_crash(run, capsys):
    from benchmarks.mutate.trial import add_bundle

    add_bundle(run)
    assert console("replay-crash", run) == 0
    printed(capsys)


def test_list(tmp_path, capsys):
    (tmp_path / "agent").mkdir()
    (tmp_path / "agent" / "mine.yaml").write_text(f"# {ESCAPE}\ndefaults: [dqn, _self_]\n")
    assert console("list", "agents", "--config-dir", tmp_path) == 0
    printed(capsys)


def test_errors(capsys):
    def failing() -> int:
        raise KeyError(ESCAPE)

    assert guarded(failing) == 1
    printed(capsys)


def test_a_failed_run(tmp_path, capsys):
    def failing() -> int:
        raise OSError(ESCAPE)

    assert guarded(failing, tmp_path) == 1
    printed(capsys)


def test_warnings(capsys):
    with warnings.catch_warnings():  # pytest's own shows none
        warnings.simplefilter("always")
        plain = warnings.formatwarning
        assert guarded(lambda: 0) == 0
        try:
            text = warnings.formatwarning(f"\x1b[33mWARN: {ESCAPE}\x1b[0m", UserWarning, "file.py", 1)
        finally:
            warnings.formatwarning = plain
    assert text == f"warning: WARN: {SHOWN}\n"
