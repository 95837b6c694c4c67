"""Run folders from strangers: files made to deceive, with manifests that fit; each is refused by a sentence."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import socket
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import deeprl
from benchmarks.mutate import campaign, mutations, trial, watch
from deeprl.errors import RunFolderError
from deeprl.replay.replay import Replay
from deeprl.running.runs import checkpoint
from deeprl.running.runs.checkpoints import Checkpoints
from deeprl.running.runs.folder import RunFolder, read_lines
from deeprl.system.strict_json import strict_json
from deeprl.system.terminal import printable
from tests.builders import begin, console
from tests.promises.test_stored import SHELL
from tests.running.runs.test_checkpoint import rewrite


@pytest.fixture
def run(finished, tmp_path) -> Path:
    """A copy of a finished run."""
    return shutil.copytree(finished, tmp_path / "run", symlinks=True)


def last(run: Path) -> Path:
    return run / "checkpoints" / "step_000000000300"


def only_the_last(run: Path) -> None:
    """Without the others, what is refused ends the command."""
    for folder in (run / "checkpoints").glob("step_*"):
        if folder != last(run):
            shutil.rmtree(folder)


def forged(run: Path, change) -> None:
    """Save the last checkpoint again, by our own code, with `change(parts)`."""
    only_the_last(run)
    segments = json.loads((last(run) / "manifest.json").read_text())["segments"]
    _, parts = Checkpoints(run).load()
    change(parts)
    checkpoint.save(last(run), parts, step=300, segments=segments)


# ---- states that no run has


def put(path: str, value):
    def change(parts):
        *parents, key = path.split("/")
        for parent in parents:
            parts = parts[parent]
        parts[key] = value(parts[key]) if callable(value) else value

    return change


STATES = {
    "step of another checkpoint": put("trainer/step", 200),
    "no step": put("trainer/step", None),
    "negative updates": put("agent/updates", -5),
    "weights of another shape": put("agent/module", lambda w: {k: v[..., :1] for k, v in w.items()}),
    "moments of another shape": put("agent/optimizers/value/moment", lambda m: m[:3]),
    "no optimizer": put("agent/optimizers", {}),
    "noise before the start": put("trainer/update_noise/position", -(10**12)),
    "noise nowhere": put("trainer/replay_noise/position", 10**30),
    "metrics that are none": put("trainer/learned", {"train/loss": torch.ones(2, dtype=torch.bool)}),
    "best that is none": put("trainer/best", {"step": 10**9, "mean": 1.0}),
    "best of text": put("trainer/best", "\x1b[2J"),
    "a tick that is a tuple": put("trainer/pending", ()),
    "an end of text": put("trainer/done", "yes"),
    "a reason that is a number": put("trainer/stopped_early", 3),
    "lengths that are none": put("trainer/lines", {"metrics.jsonl": "1"}),
    "no time": put("loggers/elapsed", None),
    "observations of another shape": put("collector/obs", lambda o: o[:, :2]),
    "observations that are NaN": put("collector/obs", lambda o: o * np.nan),
    "returns of another length": put("collector/returns", np.zeros(10**6)),
    "episodes of text": put("collector/recent", [["a", "b"]]),
    "episodes inside of episodes": put("collector/recent", [[1, [[2.0]], 3]]),
    "episodes of other lengths": put("collector/finished", [[1, 2.0]]),
    "actions that do not exist": put("collector/envs/environments/0/actions", lambda a: a + 10**9),
    "actions below zero": put("collector/envs/environments/1/actions", lambda a: a - 10**9),
    "actions of another type": put("collector/envs/environments/0/actions", lambda a: a.astype(np.float64)),
    "seed of text": put("collector/envs/environments/0/seed", "1"),
    "environments missing": put("collector/envs/environments", lambda e: {"0": e["0"]}),
    "another number of environments": put("collector/envs/num", 10**12),
    "cursor at the end of the world": put("replay/count", lambda c: c + 2**60),
    "oldest row before the first": put("replay/oldest", lambda o: o - 2**60),
    "more ticks than fit": put("replay/ticks", [0, 2**50]),
    "cursors of another type": put("replay/count", lambda c: c.astype(np.float64)),
    "pending rows of another width": put("replay/pending", lambda p: p[:, :1]),
    "no replay cursor": put("replay/fresh", None),
}


@pytest.mark.parametrize("change", STATES.values(), ids=STATES)
def test_a_state_that_no_run_has_is_refused(run, change, capsys):
    forged(run, change)
    assert console("resume", run, "steps=400") == 1
    said = capsys.readouterr().err
    assert "step 300 does not fit" in said or "is damaged" in said
    assert "Traceback" not in said
    assert "\x1b" not in said


@pytest.mark.parametrize("value", [np.nan, -1.0, np.inf])
def test_priorities_that_none_can_have_are_refused(value):
    from deeprl.replay.samplers import Live, Prioritized

    draws = Prioritized().over(10)
    live = Live(0, 3, 10)
    with pytest.raises(ValueError, match="negative or not finite"):
        draws.load({"priorities": np.array([1.0, value, 1.0]), "largest_priority": 1.0}, live)
    with pytest.raises(ValueError, match="negative or not finite"):
        draws.load({"priorities": np.ones(3), "largest_priority": value}, live)


def segment(run: Path, **tensors) -> None:
    """Replace tensors of the first segment, and let every manifest fit."""
    manifest = json.loads((last(run) / "manifest.json").read_text())
    path = run / "replay" / manifest["segments"][0]["file"]
    rows = checkpoint.read_tensors(path) | tensors
    path.unlink()
    manifest["segments"][0].update(checkpoint.write_tensors(path, rows))
    rewrite(last(run), manifest)


@pytest.mark.parametrize(
    "tensors",
    [
        {"rows": torch.zeros(3, 5)},
        {"rows": torch.zeros(0)},
        {"start": torch.tensor([0, -(2**60)])},
        {"stop": torch.tensor([2**60, 2**60])},
        {"stop": torch.tensor([[1], [2]])},
        {"stop": torch.tensor([0.5, 1e30])},
    ],
    ids=str,
)
def test_a_segment_that_lies_about_its_rows_is_refused(run, tensors, capsys):
    only_the_last(run)
    segment(run, **tensors)
    assert console("resume", run, "steps=400") == 1
    assert "does not fit this run: a segment" in capsys.readouterr().err


@pytest.mark.parametrize("stop", [None, [1], [1, 2, 3], [1, -2], [1, 2**62], [1, "2"], [True, 1]])
def test_row_numbers_in_a_manifest_are_numbers_of_rows(run, stop, capsys):
    only_the_last(run)
    manifest = json.loads((last(run) / "manifest.json").read_text())
    manifest["segments"][0]["stop"] = stop
    rewrite(last(run), manifest)
    assert console("resume", run, "steps=400") == 1
    assert "manifest.json is damaged" in capsys.readouterr().err


# ---- sizes


def test_a_file_larger_than_its_part_can_be_is_not_even_hashed(run, monkeypatch, capsys):
    """A terabyte without a block on disk."""
    only_the_last(run)
    path = last(run) / "agent.safetensors"
    os.truncate(path, 1 << 40)
    manifest = json.loads((last(run) / "manifest.json").read_text())
    manifest["files"]["agent.safetensors"]["bytes"] = 1 << 40
    rewrite(last(run), manifest)
    hashed, plain = [], checkpoint.sha256
    monkeypatch.setattr(checkpoint, "sha256", lambda p: hashed.append(p.name) or plain(p))
    for words in (("eval", run), ("resume", run, "steps=400")):
        assert console(*words) == 1
        assert "agent.safetensors is damaged" in capsys.readouterr().err
    assert "agent.safetensors" not in hashed


def test_a_segment_larger_than_the_memory_is_refused(run, monkeypatch, capsys):
    only_the_last(run)
    manifest = json.loads((last(run) / "manifest.json").read_text())
    path = run / "replay" / manifest["segments"][0]["file"]
    os.truncate(path, 1 << 43)
    manifest["segments"][0]["bytes"] = 1 << 43
    rewrite(last(run), manifest)
    assert console("resume", run, "steps=400") == 1
    assert f"{path.name} cannot be read: it has 8,796,093,022,208 bytes" in capsys.readouterr().err


def test_eval_and_load_never_allocate_the_replay(run, monkeypatch, capsys):
    config = RunFolder(run).read_config()
    config["replay"]["capacity"] = 10**15
    RunFolder(run).write_config(config)
    monkeypatch.setattr(Replay, "__init__", lambda self, **_: pytest.fail("a replay was built"))
    assert console("eval", run, "--episodes", "1") == 0
    assert deeprl.load(run).step == 300


def test_resume_refuses_a_replay_that_does_not_fit_into_memory(run, capsys):
    config = RunFolder(run).read_config()
    config["replay"]["capacity"] = 10**15
    RunFolder(run).write_config(config)
    assert console("resume", run, "steps=400") == 2
    assert "capacity=1000000000000000 " in capsys.readouterr().err


# ---- links, pipes, names


def test_links_are_not_followed(run, tmp_path, capsys):
    """Each would let a stranger's folder write to, or empty, a file of the user."""
    mine = tmp_path / "mine"
    for name, code, says in (
        ("lock", 1, "lock "),
        ("metrics.jsonl", 1, "metrics.jsonl "),
        ("evaluations.jsonl", 1, "evaluations.jsonl "),
        ("config.yaml", 1, "config.yaml"),
        ("status.json", 1, "status.json"),
    ):
        mine.write_text("precious\n")
        copy = shutil.copytree(run, tmp_path / f"copy_{name}")
        (copy / name).unlink(missing_ok=True)
        (copy / name).symlink_to(mine)
        assert console("resume", copy, "steps=400") == code
        assert says in capsys.readouterr().err
        assert mine.read_text() == "precious\n"


@pytest.mark.parametrize("name", ["checkpoints", "replay"])
def test_folders_that_are_links_lose_nothing(run, tmp_path, name, capsys):
    """Old checkpoints and segments are removed: not in another run's folder."""
    other = (run / name).rename(tmp_path / "other")
    before = sorted(p.name for p in other.iterdir())
    (run / name).symlink_to(other)
    assert console("resume", run, "steps=320") == 1
    assert f"{run / name} is a link" in capsys.readouterr().err
    assert sorted(p.name for p in other.iterdir()) == before


def test_a_pipe_does_not_hang_a_reader(run):
    (run / "metrics.jsonl").unlink()
    os.mkfifo(run / "metrics.jsonl")
    with pytest.raises(RunFolderError, match="not a plain file"):
        RunFolder(run).truncate_after(100)
    with pytest.raises(RunFolderError, match="not a plain file"):
        list(read_lines(run / "metrics.jsonl"))


def test_names_in_a_configuration_cannot_write_to_the_terminal(run, capsys):
    config = RunFolder(run).read_config()
    config["agent"]["\x1b[2J\x1b]0;title\x07"] = 1
    RunFolder(run).write_config(config)
    assert console("eval", run) == 2
    said = capsys.readouterr().err
    assert "\\x1b[2J" in said
    assert "\x1b" not in said
    assert printable("a\tü\n\x1b[1m\u202e\x9b") == "a\tü\n\\x1b[1m\\u202e\\x9b"


@pytest.mark.parametrize("text", ["1e999", "-1e999", '{"a": [1.0, 9e400]}'])
def test_json_holds_no_number_that_becomes_infinite(text):
    with pytest.raises(ValueError, match="too large"):
        strict_json(text)
    assert strict_json("[1.5, -0.0, 1e308]") == [1.5, -0.0, 1e308]


def test_a_crash_bundle_that_was_forged_says_so(run, capsys):
    bundle = run / "crash" / "step_000000000007"
    forgeries = ({"agent": 1}, {"agent": {}, "batch": {"obs": torch.ones(1)}, "failure": {}}, {"agent": {}, "batch": 3, "failure": {}})
    for parts in forgeries:
        checkpoint.save(bundle, parts)
        RunFolder(bundle).write_config(RunFolder(run).read_config())
        assert console("replay-crash", run) == 1
        assert "is no crash bundle" in capsys.readouterr().err


# ---- many


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A run to mutate, in a place with a file and a package that no mutation may reach."""
    place, here, paths = tmp_path_factory.mktemp("mutate"), Path.cwd(), list(sys.path)
    assert begin(place / "source", *trial.WORDS) == 0
    trial.add_bundle(place / "source")
    trial.surround(place)
    yield place
    os.chdir(here)
    sys.path[:] = paths


@pytest.mark.parametrize("fits", [False, True])
@pytest.mark.parametrize("mutation", dict.fromkeys(mutations.MUTATIONS), ids=lambda m: m.__name__)
def test_mutations_are_refused_or_skipped(place, mutation, fits):
    """`python -m benchmarks.mutate` makes thousands of them, under limits of time and memory."""
    for seed in range(2):
        run = shutil.copytree(place / "source", place / "run", symlinks=True)
        what, found, _ = trial.trial(run, mutation, random.Random(f"{mutation.__name__}/{seed}"), fits)
        shutil.rmtree(run)
        assert found.split()[0] in ("refused", "previous", "stopped", "loaded"), what


def test_a_trial_notices_what_it_is_for(place, tmp_path):
    """Each fault that a trial looks for, made on purpose."""

    def judged(fault) -> str:
        run = shutil.copytree(place / "source", place / "run", symlinks=True)
        try:
            return trial.trial(run, lambda newest, dice: "nothing", random.Random(0), False)[1] if fault is None else fault(run)
        finally:
            shutil.rmtree(run)

    def outside(run: Path) -> str:
        before = trial.surroundings(run)
        (place / "outside" / "new").write_text("")
        after = trial.surroundings(run)
        (place / "outside" / "new").unlink()
        return "noticed" if after != before else "missed"

    def named(run: Path) -> str:
        """With the rule for names switched off."""
        config = RunFolder(run).read_config()
        config["env"] = SHELL
        RunFolder(run).write_config(config)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("deeprl.running.config.stored.require_trusted", lambda *_: None)
            return trial.trial(run, lambda newest, dice: "nothing", random.Random(0), False)[1]

    def reaching(run: Path) -> str:
        with watch.watched(run.parent) as seen:
            (run / "new").write_text("")
            (tmp_path / "new").write_text("")
            socket.socket().connect_ex(("127.0.0.1", 9))
        return " ".join(seen)

    assert judged(None) == "loaded"
    assert "BAD os.system" in judged(named)
    assert re.fullmatch(rf"open {tmp_path}/new socket.connect .*", judged(reaching))
    assert judged(outside) == "noticed"
    for code, text in ((0, "Traceback"), (1, "\x1b[2J"), (1, "MemoryError"), (-11, "")):
        assert trial.judged(code, text).startswith("BAD")
    assert trial.judged(1, "deeprl: the run failed: KeyError: 'x'.") == "failed"
    assert trial.judged(1, "deeprl: config.yaml is refused") == "refused"


def test_the_table_counts_what_happened():
    done = [
        {"mutation": "flip", "forged": False, "outcome": "refused"},
        {"mutation": "flip", "forged": True, "outcome": "BAD exit code -11"},
    ]
    assert campaign.table(done).splitlines()[2:] == [
        "| flip | as they were | 1 | 1 | 0 | 0 | 0 | 0 | 0 |",
        "| flip | fit | 1 | 0 | 0 | 0 | 0 | 0 | 1 |",
        "| all |  | 2 | 1 | 0 | 0 | 0 | 0 | 1 |",
    ]
