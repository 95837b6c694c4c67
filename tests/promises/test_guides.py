"""Pages whose commands are executed in the order of the page: files are written, commands and Python blocks run, in an empty folder."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deeprl.cli.main import main
from tests.builders import console
from tests.promises.test_resume import at_step

ROOT = Path(__file__).resolve().parents[2]
GUIDES = ("quickstart", "own_environment", "resume", "tensorboard")
FOUND = re.compile(r"^(?:`(?P<file>[\w./-]+)`\n\n)?```(?P<language>\w+)\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL)
COMMANDS = {
    "deeprl": f'PYTHONPATH="{ROOT}:$PYTHONPATH" exec "{sys.executable}" -P -m deeprl "$@"',  # -P: a script does not import from its folder
    "python": f'PYTHONPATH="{ROOT}:$PYTHONPATH" exec "{sys.executable}" "$@"',
    "pip": ":",
}
"""What a reader's shell has; nothing is installed."""
SRUN = """\
"$@" & run=$!
until grep -qs running runs/array/3/status.json; do kill -0 $run || break; sleep 0.05; done
kill -USR1 $run
wait $run
"""
"""A stand-in for srun, which signals the run as soon as it trains, as Slurm does before the time ends."""


BRIEF = {
    "agent=ppo": ("replay.epochs=1",),
    "budget=tiny": ("steps=200",),
    "agent=sac": ("agent.torso.hidden=[16]", "agent.actor_torso.hidden=[16]"),
}
"""What shortens a run further: a command of a guide shows how it is called, and its run is not looked at"""


def shell(folder: Path, **commands: str) -> dict[str, str]:
    """An environment whose PATH begins with these commands."""
    folder.mkdir()
    for name, text in {**COMMANDS, **commands}.items():
        (folder / name).write_text(f"#!/bin/bash\n{text}\n")
        (folder / name).chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "PYTHONPATH": "", "OMP_NUM_THREADS": "1"}


def blocks(page: str) -> list[re.Match]:
    return list(FOUND.finditer((ROOT / "docs" / f"{page}.md").read_text()))


def follow(line: str, monkeypatch) -> None:
    """A line of a shell, in this process: a command of deeprl, which has to succeed, or the setting of a variable. A run of thousands
    of steps has a fiftieth of them and two evaluations, a measurement of seconds a fifth, and no compiler."""
    command, *words = shlex.split(line, comments=True) or [":"]
    if command == "deeprl":
        short = [re.sub(r"^steps=(\d+)000$", lambda found: f"steps={20 * int(found[1])}", word) for word in words]
        short += (
            ["replay.learning_starts=60", "evaluation.every=0.5", "evaluation.episodes=2"]
            if words[0] == "train" and short != words
            else ["--seconds", "0.2", "accelerate=fast"]
            if words[0] == "check"
            else []
        )
        short += [more for word in words for more in BRIEF.get(word, ())]
        monkeypatch.setattr(sys, "argv", ["deeprl"])
        code = None
        try:
            main(short)
        except SystemExit as left:
            code = left.code
        assert not code, line
    elif command == "export":
        name, _, value = words[0].partition("=")
        assert (name, value) == ("PYTHONPATH", "$PWD")
        monkeypatch.setenv(name, os.getcwd())
        monkeypatch.syspath_prepend(os.getcwd())
    else:
        assert command in (":", "pip", "tensorboard")  # nothing is installed, and the second one is a server


@pytest.mark.parametrize("page", GUIDES)
def test_the_commands_of_a_page_run(page, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    loaded = {*sys.modules}
    for block in blocks(page):
        if block["file"]:
            Path(block["file"]).parent.mkdir(parents=True, exist_ok=True)
            Path(block["file"]).write_text(block["text"])
        elif block["language"] == "bash":
            for line in block["text"].splitlines():
                follow(line, monkeypatch)
        elif block["language"] == "python":
            exec(compile(block["text"], page, "exec"), {"__name__": "__main__"})
    for name in {*sys.modules} - loaded:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]
    assert " and 0 updates" not in capfd.readouterr().out  # a command of a guide that trains nothing teaches nothing


def test_the_batch_script_requeues_a_run_that_was_stopped_and_no_other(tmp_path, monkeypatch, capfd):
    environment = shell(tmp_path / "bin", srun=SRUN, scontrol='echo "$@" >> requeued')
    environment |= {"SLURM_SUBMIT_DIR": str(tmp_path), "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "3"}
    (text,) = (block["text"] for block in blocks("slurm") if block["file"] == "train.sbatch")
    assert len(text.splitlines()) == 10

    def submitted() -> subprocess.CompletedProcess:
        return subprocess.run(["bash", "-c", text], env=environment, cwd="/", capture_output=True, text=True, check=False)

    def requeued() -> list[str]:
        return (tmp_path / "requeued").read_text().splitlines()

    assert shutil.which("deeprl", path=environment["PATH"]) == str(tmp_path / "bin" / "deeprl")
    first = submitted()
    assert first.returncode == 75, first.stderr
    assert "resumed from step" not in first.stdout + first.stderr
    assert requeued() == ["requeue 7_3"]
    (line,) = re.findall("^srun deeprl (.*)", text, flags=re.MULTILINE)
    step = json.loads((tmp_path / "runs" / "array" / "3" / "status.json").read_text())["step"]
    with monkeypatch.context() as patch:  # the second time the command alone, in this process, which has imported everything
        patch.chdir(tmp_path)
        at_step(patch, step, lambda: os.kill(os.getpid(), signal.SIGUSR1))
        assert console(*shlex.split(line.replace("$SLURM_ARRAY_TASK_ID", "3"))) == 75
    assert f"resumed from step {step:,}" in capfd.readouterr().err
    for code in (0, 1, 2):
        (tmp_path / "bin" / "srun").write_text(f"#!/bin/bash\nexit {code}\n")
        assert submitted().returncode == code
    assert requeued() == ["requeue 7_3"]
