"""The command of every paper, as docs/papers.md has it, trains with a tiny budget, and on a pretended GPU. That it composes is shown in
test_readme.py."""

from __future__ import annotations

import shlex

import pytest

from deeprl.cli import exits
from deeprl.running.runs.folder import RunFolder
from docs.navigation import papers
from tests.builders import front_door, lines
from tests.pretended import Pretended

TRAINED = [paper for paper in papers() if "train.py" in paper.lines[-1]]


@pytest.mark.exhaustive
@pytest.mark.parametrize("paper", TRAINED, ids=lambda paper: paper.command)
def test_its_command_learns_something(paper, tmp_path, monkeypatch):
    """By updates, or of an agent of tables by plans, of one that only evaluates by its values."""
    monkeypatch.chdir(tmp_path)
    *before, last = [shlex.split(line)[2:] for line in paper.lines]
    for words in (*before, [*last, "hydra.run.dir=run"]):
        assert front_door(*words, "budget=tiny") == exits.FINISHED
    metrics = lines(tmp_path / "run", "metrics.jsonl")
    planned = any(line.get("rollout/policy_switches", "train/suboptimality" in line) for line in metrics)  # robust_rvi counts no switches
    evaluated = len({line["train/value_error"] for line in metrics if "train/value_error" in line}) > 1
    assert RunFolder(tmp_path / "run").read_summary()["updates"] > 0 or planned or evaluated


WITHOUT = ("agent=edac", "agent=ravl", "agent=sqirl")
"""They differentiate by functions that the pretended device does not know"""


@pytest.mark.exhaustive
@pytest.mark.parametrize("paper", [paper for paper in TRAINED if not paper.command.startswith(WITHOUT)], ids=lambda paper: paper.command)
def test_its_command_runs_on_a_gpu(paper, tmp_path, monkeypatch):
    """POIS, HARPG and TAGI would have stopped there, and no other test had run them."""
    monkeypatch.chdir(tmp_path)
    *before, last = [shlex.split(line)[2:] for line in paper.lines]
    for words in before:
        assert front_door(*words, "budget=tiny") == exits.FINISHED
    with Pretended() as device:
        assert front_door(*last, "hydra.run.dir=run", "budget=tiny", "device=cuda", "accelerate=reference") == exits.FINISHED
    assert not device.faults
