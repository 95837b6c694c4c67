"""Run folders: names, locks, records, and configurations that are refused."""

import errno
import fcntl
import json
import os
import re
import subprocess
import sys
import threading
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from omegaconf import OmegaConf

from deeprl.errors import ConfigError, RunFolderError
from deeprl.running.runs import config_file, folder, places
from deeprl.running.runs.config_file import CHANGEABLE_ONCE, check_identity, config_hash, flatten, identity, without_changeable
from deeprl.running.runs.folder import LOCKS, RunFolder
from deeprl.running.runs.moved import automatic, former, of_today
from deeprl.running.runs.places import auto_folder, claim, discard, find_runs, holds_run, making, new_folder
from deeprl.running.session import api
from deeprl.system.machine import system_entry
from tests.builders import settled

CONFIG = {"seed": 3, "steps": 1000, "names": {"env": "minatar/breakout", "agent": "idqn"}, "agent": {"optimizer": {"lr": 1e-5}}}


# ---- names


def test_a_folder_that_exists_gets_a_number(tmp_path):
    made = [new_folder(tmp_path / "a" / "run") for _ in range(3)]
    assert [path.name for path in made] == ["run", "run-2", "run-3"]
    assert all(path.is_dir() for path in made)


def test_a_place_that_takes_no_folder_has_a_remedy(tmp_path, monkeypatch):
    """As on a read-only disk: from Python the bare OSError of mkdir was told. A full disk is no fault of the command."""

    def refusing(code):
        def claimed(*names):
            raise OSError(code, os.strerror(code), "runs")

        return claimed

    monkeypatch.setattr(api, "compose", lambda words: ({"seed": 0}, set(), {"env": "a", "agent": "b"}))
    monkeypatch.setattr(api, "complete", lambda config, user: config)
    monkeypatch.setattr(api, "claim", refusing(errno.EROFS))
    says = r"the run folder cannot be made: .*Read-only file system: 'runs'. Name another one: deeprl.train\(..., folder=FOLDER\)"
    with pytest.raises(ConfigError, match=says):
        api.train()
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="the run folder cannot be made: .*Not a directory"):
        api.train(folder=tmp_path / "file" / "run")
    with pytest.raises(RunFolderError, match="cannot be made: .*No space left"), making("the folder of the sweep", "--dir FOLDER"):
        refusing(errno.ENOSPC)()
    with pytest.raises(RunFolderError, match="cannot be made: .*Stale"), making("the folder of the sweep", "--dir FOLDER"):
        refusing(errno.ESTALE)()  # by which a trial of a study had failed for ever


def test_folders_are_exclusive_among_threads(tmp_path):
    made = []
    threads = [threading.Thread(target=lambda: made.extend(new_folder(tmp_path / "run") for _ in range(10))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 80


def test_a_run_is_found_under_env_agent_and_time(tmp_path):
    path = claim(tmp_path, "minatar/breakout", "idqn", 3)
    assert path.parent == tmp_path / "minatar_breakout" / "idqn"
    assert re.fullmatch(r"\d{6}-\d{6}_seed3(-\d+)?", path.name)
    assert claim(tmp_path, "../../x", "..", 0).parent == tmp_path / "_.._x" / "_"


@pytest.mark.parametrize(
    ("env", "folder"),
    [
        ("function/badenv:Base", "function_badenv_Base"),
        ("function/__main__:make", "function_make"),
        ("function/__main__:outer.<locals>.<lambda>#1", "function_outer._locals_._lambda_1"),
        ("gym/ale_py:ALE/Pong-v5", "gym_ale_py_ALE_Pong-v5"),
        ("classic/cartpole", "classic_cartpole"),
        ("größe", "größe"),
    ],
)
def test_folders_have_no_colon_and_no_dunder(env, folder, tmp_path):
    assert claim(tmp_path, env, "dqn", 0).parents[1].name == folder


def test_an_auto_folder_is_found_without_the_folder_of_its_prior(tmp_path):
    """The command was another run where the agent of the prior could not be embedded."""
    names = {"env": "a", "agent": "ppo"}
    found = [
        auto_folder({"names": names, "seed": 0, "agent": {"baseline": {"run": "prior", "network": network}}}, tmp_path)
        for network in (None, {"_target_": "x"})
    ]
    assert found[0] == found[1]


def test_a_run_in_an_auto_folder_with_the_colon_of_a_function_goes_on(tmp_path):
    config = {**CONFIG, "names": {**CONFIG["names"], "env": "function/mine:make"}}
    path = auto_folder(config, tmp_path)
    older = tmp_path / "function_mine:make" / path.parent.name / path.name
    older.mkdir(parents=True)
    assert auto_folder(config, tmp_path) == path
    (older / "config.yaml").touch()
    assert auto_folder(config, tmp_path) == older


@pytest.mark.parametrize(
    ("paces", "replay", "now"),
    [
        ((5, 0.5), {"capacity": 9}, {"capacity": 9, "learning_starts": 5, "ratio": 0.5}),
        ((0, 16 / (128 * 6)), {"length": 128, "epochs": 4, "minibatches": 4}, None),
        ((0, 1.0), {"_target_": "deeprl.replay.none.NoReplay"}, None),
    ],
)
def test_keys_that_moved_below_the_replay_change_no_hash(paces, replay, now):
    rest = {"env": {"num": 6}, "steps": 7}
    stored = {**rest, "replay": replay, "learning_starts": paces[0], "replay_ratio": paces[1], "accelerate": {"product": "high"}}
    assert of_today(stored) == {**rest, "replay": now or replay, "accelerate": {"matmul_precision": "high"}}
    assert former(of_today(stored)) == stored
    keys = ("env", "replay")
    check_identity(of_today(stored), keys, identity(stored, keys))
    if now:
        edited = {**of_today(stored), "replay": {**now, "ratio": 0.25}}
        with pytest.raises(ValueError, match="config.yaml was edited since, in replay"):
            check_identity(edited, keys, identity(of_today(stored), keys))


def test_a_run_whose_replay_the_option_auto_chose_goes_on(tmp_path):
    rows, names = {"capacity": 9, "n_step": 1}, {"env": "toy/chain", "agent": "dqn"}
    now = {"seed": 0, "replay": {"_target_": "deeprl.replay.replay.Replay", **rows}, "names": {**names, "replay": "uniform"}}
    auto = {"_target_": "deeprl.replay.sequences.Auto", **rows, "length": None}
    then = {"seed": 0, "replay": auto, "names": {**names, "replay": "auto"}}
    assert automatic(now) == automatic(then) == then
    started = auto_folder(then, tmp_path)
    assert auto_folder(now, tmp_path) != started
    started.mkdir(parents=True)
    (started / "config.yaml").touch()
    assert auto_folder(now, tmp_path) == started


def test_the_folder_of_an_automatic_run_is_that_of_commit_7734175():
    """Keys and slots that are new, moved or renamed since then are no reason to start anew."""
    words = ("steps=1600", "evaluation.every=800", "evaluation.episodes=2", "evaluation.final_episodes=2", "seed=3", "runtime.threads=1")
    config = automatic(settled("agent=td3", "env=classic/pendulum", *words))
    assert config_hash(without_changeable(config, CHANGEABLE_ONCE)) == "dcee644317b1"


def test_auto_folders_tell_configurations_apart_but_not_the_order_of_keys():
    path = auto_folder(CONFIG)
    assert re.fullmatch(r"runs/minatar_breakout/idqn/auto_[0-9a-f]{12}_seed3", str(path))
    assert auto_folder(OmegaConf.create(CONFIG)) == path
    assert auto_folder({**dict(reversed(CONFIG.items())), "resume": "auto"}) == path
    assert auto_folder({**CONFIG, "steps": 2000}) != path
    assert config_hash({"x": float("nan"), "y": (1, 2)}) == config_hash({"y": [1, 2], "x": float("nan")})


HYDRA = """
import sys
import hydra
from hydra.core.hydra_config import HydraConfig
from deeprl.running.config.resolvers import register_resolvers
register_resolvers()

@hydra.main(config_path=None, config_name="train", version_base=None)
def main(config):
    where = HydraConfig.get()
    assert where.run.dir == where.runtime.output_dir, "asked again, it created another one"
    print("FOLDER", where.runtime.output_dir)

main()
"""

TRAIN = """
defaults: [env: classic/cartpole, agent: dqn, _self_]
seed: 0
hydra:
  run: {dir: "${run_folder:runs}"}
  sweep: {dir: runs, subdir: "${run_subfolder:runs}"}
"""


def test_hydra_creates_one_folder_a_run_and_one_a_job(tmp_path):
    for name in ("env/classic/cartpole", "agent/dqn"):
        (tmp_path / "conf" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "conf" / f"{name}.yaml").write_text("x: 1\n")
    (tmp_path / "conf" / "train.yaml").write_text(TRAIN)
    (tmp_path / "main.py").write_text(HYDRA)

    def start(*words):
        done = subprocess.run([sys.executable, "main.py", "-cd", "conf", *words], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return [os.path.relpath(line.split()[1], tmp_path) for line in done.stdout.splitlines() if line.startswith("FOLDER")]

    def there(root):
        return sorted(str(path.parent.relative_to(tmp_path)) for path in tmp_path.glob(f"{root}/*/*/*/.hydra"))

    (first,) = start("seed=7")
    assert re.fullmatch(r"runs/classic_cartpole/dqn/[\d_-]+_seed7", first)
    assert there("runs") == [first]
    jobs = start("-m", "+x=1,2,3", "hydra.sweep.dir=elsewhere")  # one seed, so that their names would be equal
    assert len(set(jobs)) == 3
    assert there("elsewhere") == sorted(jobs)
    made = [path for root in ("runs", "elsewhere") for path in tmp_path.glob(f"{root}/*/*/*") if path.is_dir()]
    assert len(made) == 4


def test_runs_are_found_below_a_folder(tmp_path):
    for name in ("b/run2", "a/run1"):
        (tmp_path / name / ".hydra").mkdir(parents=True)
        (tmp_path / name / ".hydra" / "config.yaml").write_text("{}")
        RunFolder(tmp_path / name).write_config(CONFIG)
    (tmp_path / "c").mkdir()
    assert find_runs(tmp_path) == [tmp_path / "a" / "run1", tmp_path / "b" / "run2"]
    assert find_runs(tmp_path / "a" / "run1") == [tmp_path / "a" / "run1"]
    assert holds_run(tmp_path / "a" / "run1")
    assert not holds_run(tmp_path)
    with pytest.raises(RunFolderError, match="holds none"):
        find_runs(tmp_path / "c")


def test_runs_below_the_configuration_of_another_program_are_found(tmp_path):
    (tmp_path / "config.yaml").write_text("project: mine\n")
    assert find_runs(tmp_path) == [tmp_path]  # nothing is below: the reader of a configuration says what is wrong
    (tmp_path / "runs" / "a").mkdir(parents=True)
    RunFolder(tmp_path / "runs" / "a").write_config({**CONFIG, "names": {}})
    assert find_runs(tmp_path) == [tmp_path / "runs" / "a"]


def test_linked_runs_are_found_and_unreadable_folders_named(tmp_path, monkeypatch):
    """A folder of links is a way to choose runs for a report. Links to other folders are not followed, since they may lead back."""
    (tmp_path / "runs" / "a").mkdir(parents=True)
    RunFolder(tmp_path / "runs" / "a").write_config(CONFIG)
    (tmp_path / "chosen").mkdir()
    (tmp_path / "chosen" / "mine").symlink_to(tmp_path / "runs" / "a")
    (tmp_path / "chosen" / "above").symlink_to(tmp_path / "runs")
    assert find_runs(tmp_path / "chosen") == [tmp_path / "chosen" / "mine"]

    (tmp_path / "runs" / "private").mkdir()
    real, notes = os.scandir, list[str]()

    def scandir(path):  # root reads everything, so that no mode of the folder would do
        if Path(path).name == "private":
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert find_runs(tmp_path / "runs", notes.append) == [tmp_path / "runs" / "a"]
    assert notes == [f"{tmp_path / 'runs' / 'private'} is left out: Permission denied"]


# ---- lock

OTHER = """
import sys
from deeprl.running.runs.folder import RunFolder, RunFolderError
for line in sys.stdin:
    try:
        RunFolder(sys.argv[1]).acquire()
        print("mine", flush=True)
    except RunFolderError as error:
        print(error, flush=True)
"""


def test_a_second_process_is_refused_and_told_who_holds_it(tmp_path):
    other = subprocess.Popen([sys.executable, "-c", OTHER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def attempt():
        other.stdin.write("\n")
        other.stdin.flush()
        return other.stdout.readline().strip()

    with other:
        with RunFolder(tmp_path).lock():
            assert re.match(f"{tmp_path} .*in use .*{os.getpid()} ", attempt())
            with pytest.raises(RunFolderError, match="in use"):
                RunFolder(tmp_path).acquire()
        assert attempt() == "mine"
        with pytest.raises(RunFolderError, match=f"in use .*{other.pid} "):
            RunFolder(tmp_path).acquire()
        other.kill()
    with RunFolder(tmp_path).lock():  # a process that was killed holds nothing
        pass


def test_a_forked_child_does_not_hold_the_lock(tmp_path):
    """As a pool of an environment that outlives a killed run."""
    folder = RunFolder(tmp_path)
    folder.acquire()
    ready, release = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.write(ready[1], b"!")
        os.read(release[0], 1)
        os._exit(0)
    try:
        os.read(ready[0], 1)
        LOCKS.discard(folder._lock)
        os.close(folder._lock)  # as a kill does
        with RunFolder(tmp_path).lock():
            pass
    finally:
        os.write(release[1], b"!")
        os.waitpid(child, 0)


def test_a_forked_child_that_leaves_the_lock_empties_no_other_file(tmp_path):
    folder = RunFolder(tmp_path)
    folder.acquire()
    child = os.fork()
    if child == 0:
        with open(tmp_path / "other", "w") as file:  # takes the lowest number that is free, that of the lock
            file.write("content")
            file.flush()
            folder.release()
        os._exit(0)
    os.waitpid(child, 0)
    assert (tmp_path / "other").read_text() == "content"
    folder.release()


def test_the_folder_of_a_run_that_starts_is_not_removed(tmp_path):
    run = tmp_path / "run"
    with RunFolder(run).lock():
        discard(run)
        assert run.is_dir()
    discard(run)
    assert not run.exists()


def test_a_lock_on_a_full_disk_is_named_and_released(tmp_path, monkeypatch):
    """`deeprl sweep`, `tune` and `resume` said "OSError: [Errno 28] No space left on device", and the name of no file."""

    def refused(handle, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(folder, "write_anew", refused)
        with pytest.raises(RunFolderError, match=f"{tmp_path / 'lock'} cannot be written: No space left on device"):
            RunFolder(tmp_path).acquire()
    with RunFolder(tmp_path).lock():
        assert RunFolder(tmp_path).read_status() is None


def test_a_look_at_the_lock_keeps_no_run_from_starting(tmp_path, monkeypatch):
    """`holder` has the lock just when a run wants it, and gives it back at once."""
    (tmp_path / "lock").touch()
    look = os.open(tmp_path / "lock", os.O_RDONLY)
    fcntl.flock(look, fcntl.LOCK_SH)
    monkeypatch.setattr(folder.time, "sleep", lambda seconds: fcntl.flock(look, fcntl.LOCK_UN))
    with RunFolder(tmp_path).lock():
        pass
    os.close(look)


# ---- records


def test_status_and_summary_are_replaced_whole(tmp_path, monkeypatch):
    run = RunFolder(tmp_path)
    assert run.read_status() is None
    run.write_status("running", 10, 5)
    run.write_status("failed", 20, np.int64(6), error="ValueError: no")
    status = run.read_status()
    assert {**status, "time": ""} == {
        "state": "failed",
        "step": 20,
        "updates": 6,
        "error": "ValueError: no",
        "stopped_early": None,
        "saved": None,
        "time": "",
    }
    with pytest.raises(ValueError, match="state must be"):
        run.write_status("done", 1, 1)
    run.write_summary({"final": {"mean": torch.tensor(1.5), "std": float("nan")}, "steps": 3})
    assert run.read_summary() is None  # of an earlier end: the run has not finished
    run.write_status("finished", 20, 6)
    status = run.read_status()
    assert run.read_summary() == {"final": {"mean": 1.5, "std": None}, "steps": 3}

    def crash(*names):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(OSError, match="disk full"):
        run.write_status("finished", 30, 7)
    assert run.read_status() == status
    assert sorted(os.listdir(tmp_path)) == ["status.json", "summary.json"]


@pytest.mark.parametrize("content", ["", "[]", '{"a": 1, "a": 2}', '{"a": NaN}', "[" * 10**6])
def test_damaged_records_are_named(tmp_path, content):
    (tmp_path / "status.json").write_text(content)
    with pytest.raises(RunFolderError, match=r"status\.json is damaged"):
        RunFolder(tmp_path).read_status()


def test_system_has_one_entry_a_start(tmp_path):
    run = RunFolder(tmp_path)
    run.append_system(system_entry())
    run.append_system({"start": 2})
    first, second = json.loads((tmp_path / "system.json").read_text())
    assert first["packages"]["torch"] == metadata.version("torch")
    assert first["threads"] == torch.get_num_threads()
    assert {"command", "git", "cpu", "gpu", "host", "time"} <= set(first)
    assert second == {"start": 2}


def test_lines_after_a_checkpoint_are_cut_and_the_others_keep_their_bytes(tmp_path):
    run = RunFolder(tmp_path)
    lines = [f'{{"step": {step}, "x":{step}.10}}\n' for step in (100, 200, 200, 300)]
    (tmp_path / "metrics.jsonl").write_text("".join(lines) + '{"step": 150, "to')
    for step in (100, 300):
        run.append_evaluation({"step": step, "seed": 1, "returns": np.array([1.0, 2.0]), "lengths": [3, 4]})
    run.truncate_after(200)
    assert (tmp_path / "metrics.jsonl").read_text() == "".join(lines[:3])
    assert run.read_evaluations() == [{"step": 100, "seed": 1, "returns": [1.0, 2.0], "lengths": [3, 4]}]
    run.truncate_after(-1)
    assert run.read_evaluations() == []
    (tmp_path / "metrics.jsonl").write_text('{"step": 100}')  # whole, but perhaps the beginning of more
    run.truncate_after(200)
    assert (tmp_path / "metrics.jsonl").read_text() == ""
    RunFolder(tmp_path / "nothing here").truncate_after(0)


def test_a_file_of_any_size_is_cut_at_its_checkpoint_in_constant_memory(tmp_path):
    """One of 2 GB was held in memory more than once. The rest of this one, a terabyte, is a hole."""
    run, path = RunFolder(tmp_path), tmp_path / "metrics.jsonl"
    kept = '{"step": 100}\n{"step": 200}\n'
    path.write_text(kept + '{"step": 300}\n')
    os.truncate(path, 1 << 40)
    with pytest.raises(RunFolderError, match=r"metrics\.jsonl is refused: it has more than"):
        run.truncate_after(200)
    run.truncate_after(200, {"metrics.jsonl": len(kept)})
    assert path.read_text() == kept


def test_a_first_evaluation_after_the_checkpoint_of_its_step_is_not_kept(tmp_path):
    """The final evaluation of a run that was killed before its last checkpoint stood there twice, if it was the only one."""
    run = RunFolder(tmp_path)
    sizes = run.sizes()
    run.append_evaluation({"step": 500, "returns": [1.0]})
    run.truncate_after(500, sizes)
    assert run.read_evaluations() == []


@pytest.mark.parametrize(("name", "read"), [("config.yaml", RunFolder.read_config), ("metrics.jsonl", lambda run: run.truncate_after(0))])
def test_a_file_that_nobody_may_read_is_named_once_and_without_an_errno(name, read, tmp_path, monkeypatch):
    """It was "PATH is refused: [Errno 13] Permission denied: 'PATH'". The superuser of a container may read all."""

    def denied(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "lstat", denied)
    with pytest.raises(RunFolderError) as refused:
        read(RunFolder(tmp_path))
    assert str(refused.value).count(str(tmp_path / name)) == 1
    assert "Errno" not in str(refused.value)


def test_what_is_appended_to_changes_no_file_of_another_name(tmp_path):
    """An archive may hold hard links to files that are there already."""
    mine = tmp_path / "mine"
    mine.write_text('{"step": 100}\n')
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    for name in ("lock", "evaluations.jsonl"):
        os.link(mine, run.path / name)
    with pytest.raises(RunFolderError, match="lock is not a plain file"):
        run.acquire()
    run.truncate_after(100, run.sizes())
    run.append_evaluation({"step": 200})
    assert mine.read_text() == '{"step": 100}\n'
    assert [line["step"] for line in run.read_evaluations()] == [100, 200]


def test_a_link_among_the_folders_of_a_run_loses_no_partial_file(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / ".thesis.partial").touch()
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    (run.path / "checkpoints").symlink_to(tmp_path / "mine")
    with run.lock():
        assert (tmp_path / "mine" / ".thesis.partial").exists()


# ---- configurations


def test_nested_keys_are_flattened():
    leaves = {"a.b.c": 1, "a.d": [1, {"e": 2}], "f": None, "g": {}}
    assert dict(flatten({"a": {"b": {"c": 1}, "d": [1, {"e": 2}]}, "f": None, "g": {}})) == leaves


def test_configurations_come_back_as_they_were(tmp_path):
    text = [
        "1e-3",
        "1:30",
        "2001-01-01",
        "on",
        "null",
        "~",
        "0x1F",
        "1_000",
        ".inf",
        "=",
        "<<",
        "",
        " a ",
        "ü☃",
        "a: b",
        "#",
        "&a",
        "*a",
        "!!x",
    ]
    values = {"text": text, "numbers": [1e-5, 1e20, 0.1, -0.0, 2**70, float("inf")], "none": None, "flags": [True, False], "empty": {}}
    config = {**CONFIG, "values": values, "agent": {"_target_": "deeprl.x.Y", "list": [{"a": 1}]}}
    config["again"] = config["values"]  # one object twice: no alias may come of it
    run = RunFolder(tmp_path)
    run.write_config(config)
    assert run.read_config() == config
    run.write_config(OmegaConf.create({"steps": 10, "half": "${steps}"}))
    assert run.read_config() == {"steps": 10, "half": 10}
    with pytest.raises(RunFolderError, match="interpolation"):
        run.write_config({"a": {"b": "${oc.env:HOME}"}})
    assert run.read_config() == {"steps": 10, "half": 10}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: ${oc.env:SECRET}", "interpolation"),
        ("a: [x, 'before ${b} after']", "interpolation"),
        ("${a}: 1", "interpolation"),
        ("a: &x [1]\nb: *x", "alias or anchor"),
        ("a: &x 1", "alias or anchor"),
        ("a: !!python/object/apply:os.system [ls]", "tag"),
        ("a: !!python/name:os.system", "tag"),
        ("a: !!binary aGk=", "tag"),
        ("a: !!str 1", "tag"),
        ("a: !custom 1", "tag"),
        ("a: ! 1", "tag"),
        ("a: 2001-01-01", "a date at a"),
        ("a: 1\na: 2", "given twice"),
        ("a: {b: 1, b: 2}", "given twice"),
        ("<<: {a: 1}", "merges"),
        ("? [a]\n: 1", "not a name"),
        ("[a]", "mapping"),
        ("", "mapping"),
        ("a", "mapping"),
        ("a: 1\n---\nb: 1", "YAML that a run writes"),
        ("a: [", "YAML that a run writes"),
        ("a: \0", "YAML that a run writes"),
        ("a: " + "[" * 60, "nesting deeper than 50"),
        ("a: " + "[" * 10000, "nesting"),  # libyaml looks ahead, and has a limit of its own
    ],
)
def test_configurations_that_no_run_writes_are_refused(tmp_path, text, reason):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(RunFolderError, match=reason) as caught:
        RunFolder(tmp_path).read_config()
    assert "config.yaml" in str(caught.value)


def test_configurations_that_are_too_large_or_no_file_are_refused(tmp_path, monkeypatch):
    run = RunFolder(tmp_path)
    with pytest.raises(RunFolderError, match=r"config\.yaml"):
        run.read_config()
    os.mkfifo(tmp_path / "config.yaml")
    with pytest.raises(RunFolderError, match="not a plain file"):
        run.read_config()
    os.unlink(tmp_path / "config.yaml")
    (tmp_path / "config.yaml").write_bytes(b"a: \xff\xfe")
    with pytest.raises(RunFolderError, match="cannot be read"):
        run.read_config()
    run.write_config(CONFIG)
    monkeypatch.setattr(config_file, "CONFIG_LIMIT", 20)
    with pytest.raises(RunFolderError, match="more than 20 bytes"):
        run.read_config()


def test_a_configuration_is_read_once_and_checked_once(tmp_path, monkeypatch):
    """The parser takes a second for the largest one that is read, where PyYAML has no libyaml."""
    run, made, plain = RunFolder(tmp_path), [], config_file.Loader
    run.write_config(CONFIG)
    monkeypatch.setattr(config_file, "Loader", lambda text: made.append(1) or plain(text))
    assert run.read_config() == CONFIG
    assert len(made) == 2


@pytest.mark.parametrize("libyaml", [True, False])
def test_a_configuration_is_written_as_omegaconf_writes_it(tmp_path, monkeypatch, libyaml):
    if not libyaml:
        monkeypatch.setattr(config_file, "Loader", yaml.SafeLoader)
    config = settled("agent=dqn")
    RunFolder(tmp_path).write_config(config)
    assert (tmp_path / "config.yaml").read_text() == OmegaConf.to_yaml(OmegaConf.create(config))
    assert RunFolder(tmp_path).read_config() == config


@pytest.mark.parametrize(
    ("name", "taken"), [("slurm.log", True), ("job.out", True), ("job.err", True), ("traceback.txt", True), ("notes.txt", False)]
)
def test_a_run_starts_beside_the_logs_of_its_job(name, taken, tmp_path):
    """Slurm opens logs before the run starts, and a start that failed before there was a run leaves its traceback. A folder of such a name
    is no log."""
    (tmp_path / name).write_text("")
    if taken:
        places.require_new(tmp_path)
        (tmp_path / name).unlink()
        (tmp_path / name).mkdir()
    with pytest.raises(ConfigError, match=f"is not empty \\({name}\\)"):
        places.require_new(tmp_path)


@pytest.mark.parametrize("name", [".hydra", ".hydra/overrides.yaml"])
def test_no_run_starts_where_the_record_of_the_command_would_be_written_through_a_link(name, tmp_path):
    """Hydra writes three files into .hydra before there is a lock, as for a job of a stranger's sweep."""
    run, mine = tmp_path / "run", tmp_path / "mine"
    (run / name).parent.mkdir(parents=True)
    mine.mkdir()
    (run / name).symlink_to(mine)
    with pytest.raises(ConfigError, match=r"is not empty \(\.hydra\)"):
        places.require_new(run)
    (run / name).unlink()
    places.require_new(run)


def test_no_run_starts_where_its_first_checkpoint_would_be_refused(tmp_path):
    """It trained up to there, and was lost."""
    with pytest.raises(ConfigError, match=r"hydra\.run\.dir=.* is no UTF-8"):
        places.require_new(tmp_path / "m\udcfcller" / "run")


def test_the_processor_is_recorded():
    entry = system_entry()
    assert entry["cpus"] == os.cpu_count()
    assert entry["cpu"]
    if sys.platform == "linux" and "model name" in (table := Path("/proc/cpuinfo").read_text()):
        assert f": {entry['cpu']}\n" in table


@pytest.mark.parametrize(("name", "left"), [("261130-003937_seed0", []), ("mine", ["runs/chain/dqn"])])
def test_a_refused_command_leaves_no_empty_folders_but_those_that_the_user_named(name, left, tmp_path):
    run = tmp_path / "runs/chain/dqn" / name
    run.mkdir(parents=True)
    (tmp_path / "runs/multirun.yaml").touch()
    (tmp_path / "note").touch()
    discard(run)
    assert [str(each.relative_to(tmp_path)) for each in tmp_path.glob("runs/*/*")] == left
    assert (tmp_path / "runs").exists() == bool(left)


def test_a_folder_above_that_holds_another_run_stays(tmp_path):
    run, other = (tmp_path / "runs/chain" / agent / "261130-003937_seed0" for agent in ("dqn", "idqn"))
    run.mkdir(parents=True)
    other.mkdir(parents=True)
    discard(run)
    assert [path.name for path in (tmp_path / "runs/chain").iterdir()] == ["idqn"]
