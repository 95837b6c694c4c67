"""Run folders of earlier commits, as these commits wrote them: 60 steps of tiny networks, without logs. They lack slots of today; those of
the commits since 7734175 lack none, and are translated (test_moved.py).
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from deeprl.cli import exits
from tests.builders import console

OLDER = Path(__file__).parent / "older"


@pytest.mark.parametrize("commit", ["474d53c", "60db639"])
def test_a_run_that_lacks_a_slot_names_its_commit(commit, tmp_path, capsys):
    run = shutil.copytree(OLDER / commit / "dqn", tmp_path / "run")
    for words in (("eval", run), ("resume", run, "steps=70")):
        assert console(*words) == exits.WRONG
        said = capsys.readouterr().err
        assert "is no configuration of a run: it has no collect" in said
        assert f"is a run of another commit of deeprl, {commit}, " in said
        assert f"git checkout {commit}" in said
