"""`deeprl report`, in this process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from deeprl.cli import exits, report
from tests.builders import console
from tests.tools.report.folders import write_run


@pytest.fixture
def undrawn(monkeypatch) -> None:
    """Figures are made and not rendered, which takes most of the time of a report."""
    monkeypatch.setattr("deeprl.tools.report.figures.png", lambda _: b"\x89PNG")


def test_a_run_that_training_wrote(finished, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["deeprl", "report", "RUN"])
    assert console("report", finished) == exits.FINISHED
    told = capsys.readouterr()
    assert told.out == "report/index.html\n"
    assert "note: agent=dqn has one seed on classic/cartpole: no interval can be given" in told.err.splitlines()
    assert "<code>deeprl report RUN</code>" in Path("report/index.html").read_text()


def test_groups_names_and_folder_are_the_users(tmp_path, capsys, undrawn):
    for lr in (1, 2):
        for seed in (0, 1):
            write_run(tmp_path / "runs" / f"{lr}{seed}", (1.0, lr + 1.0), lr=lr, seed=seed)
    out = tmp_path / "out"
    assert console("report", tmp_path / "runs", "--group", "agent.lr", "--names", "low, high", "--out", out) == exits.FINISHED
    assert capsys.readouterr().err == ""
    assert [line.split(",")[1] for line in (out / "summary.csv").read_text().splitlines()] == ["group", "low", "high"]


@pytest.mark.parametrize("nothing", ["", ","])
def test_groups_by_no_key_are_refused(nothing, tmp_path, capsys):
    write_run(tmp_path / "run")
    assert console("report", tmp_path, "--out", tmp_path / "out", "--group", nothing) == exits.WRONG
    assert f"--group: it takes at least one word, not {nothing!r}" in capsys.readouterr().err


def test_a_folder_without_a_run_is_named_and_the_rest_is_reported(tmp_path, capsys, undrawn):
    write_run(tmp_path / "run")
    assert console("report", tmp_path / "nowhere", tmp_path / "run", "--out", tmp_path / "out") == exits.FINISHED
    assert "nowhere is no run folder" in capsys.readouterr().err


def test_no_run_at_all_is_a_wrong_command(tmp_path, capsys):
    assert console("report", tmp_path, "--out", tmp_path / "out") == exits.WRONG
    assert "no run was found" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_missing_package_is_named_with_its_remedy(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(report, "NEEDS", ("matplotlib", "no_such_package"))
    assert console("report", tmp_path) == exits.WRONG
    assert 'needs no_such_package: pip install "matplotlib>=3.8"' in capsys.readouterr().err


@pytest.mark.parametrize("command", ["list", "report"])
def test_only_a_report_pays_for_its_packages(command):
    code = (
        f"import sys; from deeprl.cli.main import parsed; parsed(['{command}', 'x']); print({{'matplotlib', 'scipy'}} & {{*sys.modules}})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
