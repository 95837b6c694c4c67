"""Wrong command lines of `benchmarks.wrong_commands`, in this process: one sentence and the exit code, and nothing is left behind.

Those that need an agent or an environment take seconds each and are for `pytest -m exhaustive`.
"""

from __future__ import annotations

import pytest

from benchmarks.odd_commands import lay_out
from benchmarks.wrong_commands import COMMANDS, command
from deeprl.cli import exits
from tests.builders import console, front_door
from tests.cli.test_cli import WRONG

CHEAP = ("keys and groups", "folders", "flags and sweeps", "deeprl", "exit 1")
BUILT = (
    "init_from={run}", "agent=c51", "agent=sac", "agent=ppo replay=", "device=cuda", "device=gpu", "accelerate.mode=", "logger",
    "replay.capacity=1000000000000", "seed=null",
)  # fmt: skip
"""Values that only the machine can refuse."""


ELSEWHERE = ("env=gym env.id=PongNoFrameskip-v4",)
"""What an earlier test of the same process makes right: the emulator registers its games when it is imported"""
NAMED = {" ".join(overrides) for overrides, _ in WRONG}
"""Whose words another test reads"""


def cases():
    for group, texts in COMMANDS.items():
        for text in [text for text in texts if text not in ELSEWHERE]:
            cheap = group in CHEAP or (group == "values" and not text.startswith(BUILT))
            yield pytest.param(group, text, marks=() if cheap and text not in NAMED else pytest.mark.exhaustive, id=text)


@pytest.mark.parametrize(("group", "text"), cases())
def test_one_sentence(group, text, finished, tmp_path, monkeypatch, capsys):
    names = {**lay_out(tmp_path), "run": finished}
    monkeypatch.chdir("/proc" if "/proc" in group else tmp_path)
    monkeypatch.setattr("sys.argv", ["deeprl"])
    _, *words = command(text, **names)
    words += ["env=toy/chain", "agent=dqn"] if "{broken}" in text else []
    code = console(*words[2:]) if text.startswith("deeprl") else front_door(*words[1:])
    assert code == (exits.FAILED if group == "exit 1" else exits.WRONG)
    told = capsys.readouterr()
    assert [line.startswith("deeprl: ") for line in told.err.splitlines()].count(True) == 1
    assert told.err.splitlines()[-1].startswith("deeprl: ")
    assert told.out == ""
    assert not (tmp_path / "runs").exists() or not [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]
