"""Run folders of earlier commits, as these commits wrote them: 60 steps of tiny networks, without logs.

474d53c: the first run folders. They lack names.replay, runtime.lag, the precision of products, the mapping, and every later slot.
2fd86e6: the last ones whose classes stand in `envs` and in modules that were divided since.
d8bcb4d: the same classes as today, without runtime.lag, `collect`, `learner` and init_from; critics and actors had layers of their own.
60db639: the last ones without runtime.lag, `collect` and `learner`, with today's critics and actors.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from deeprl.cli import exits
from deeprl.running.runs.folder import RunFolder
from deeprl.running.session.api import load
from tests.builders import console

OLDER = Path(__file__).parent / "older"


@pytest.fixture
def older(request, tmp_path) -> Path:
    return shutil.copytree(OLDER / request.param, tmp_path / "run")


@pytest.mark.parametrize("older", ["d8bcb4d/dqn", "60db639/dqn", "60db639/td3"], indirect=True)
def test_a_run_of_an_earlier_commit_is_read_and_goes_on(older):
    run = load(older)
    assert run.step == 60
    assert run.config["runtime"]["lag"] == 0
    assert console("resume", older, "steps=70") == exits.FINISHED
    assert RunFolder(older).read_status()["step"] == 70


@pytest.mark.parametrize(
    ("older", "key"),
    [
        ("474d53c/dqn", "names.replay=None"),
        ("2fd86e6/dqn", "env._target_=envs.classic.Classic"),
        ("2fd86e6/td3", "env._target_=envs.classic.Classic"),
        ("d8bcb4d/td3", "agent.critic._target_="),
    ],
    indirect=["older"],
)
def test_a_run_whose_names_have_changed_since_names_its_commit(older, key, capsys, request):
    commit = request.node.callspec.params["older"].partition("/")[0]
    for command in ("eval", "resume"):
        assert console(command, older, *(["steps=70"] if command == "resume" else [])) == exits.WRONG
        said = capsys.readouterr().err
        assert key in said
        assert f"is a run of another commit of deeprl, {commit}, " in said
        assert f"git checkout {commit}" in said
