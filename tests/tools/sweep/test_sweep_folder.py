"""The folder of a sweep: what sweep.json holds, what is refused in it, and who may work on it."""

from __future__ import annotations

import argparse
import errno
import json
import os
from pathlib import Path

import pytest

from deeprl.cli.sweep import placed, tell_edited
from deeprl.errors import FAILED, ConfigError, RunFolderError
from deeprl.running.config import folders
from deeprl.running.config.compose import compose
from deeprl.running.runs.folder import RunFolder, holder
from deeprl.running.runs.places import discard
from deeprl.running.session.complete import complete
from deeprl.system import machine
from deeprl.tools.sweep import slurm
from deeprl.tools.sweep.conduct import confirmed
from deeprl.tools.sweep.folder import Place, SweepFolder, require_empty
from deeprl.tools.sweep.grid import expand
from deeprl.tools.sweep.process import last_words

GRID = ["agent=dqn,idqn", "seed=0,1"]


@pytest.fixture
def folder(tmp_path):
    return SweepFolder(tmp_path, GRID, expand(GRID))


def test_what_is_written_is_read(folder, tmp_path):
    folder.store()
    found = SweepFolder.read(tmp_path)
    assert (found.overrides, found.jobs, found.config_dir) == (GRID, folder.jobs, None)
    assert found.run(found.jobs[0]) == tmp_path / "agent=dqn,seed=0"
    assert os.listdir(tmp_path) == ["sweep.json"]
    assert found.grown(SweepFolder(tmp_path, [], expand(["seed=0,1", "agent=dqn,idqn"][::-1]))) is found
    with pytest.raises(ConfigError, match="another sweep, agent=dqn,idqn seed=0,1"):
        SweepFolder(tmp_path, GRID, expand(["seed=0,1"])).store()


def test_a_sweep_takes_more_seeds(folder, tmp_path):
    """They needed another folder, or hands that start them."""
    folder.place = Place(jobs=3)
    folder.store()
    grid = ["agent=dqn,idqn", "seed=0,1,2"]
    grown = SweepFolder.read(tmp_path).grown(SweepFolder(tmp_path, grid, expand(grid)))
    assert [job.name for job in grown.jobs if job not in folder.jobs] == ["agent=dqn,seed=2", "agent=idqn,seed=2"]
    assert grown.place == folder.place
    grown.store()
    assert SweepFolder.read(tmp_path).jobs == grown.jobs
    with pytest.raises(ConfigError, match="A grid with more values goes on with it"):
        folder.store()
    one = SweepFolder(tmp_path, ["agent=dqn", "seed=0"], expand(["agent=dqn", "seed=0"]))
    two = one.grown(SweepFolder(tmp_path, ["agent=dqn", "seed=0,1"], expand(["agent=dqn", "seed=0,1"])))
    assert [job.name for job in two.jobs] == ["run", "seed=1"]  # a sweep of one job named nothing
    turned = one.grown(SweepFolder(tmp_path, ["seed=0,1", "agent=dqn"], expand(["seed=0,1", "agent=dqn"]), cwd="/"))
    assert (turned.jobs[0], turned.cwd) == (one.jobs[0], one.cwd)
    twice = SweepFolder(tmp_path, [], expand(["discount=0.9", "seed=0", "discount=0.99"]))  # the last one holds
    assert twice.grown(SweepFolder(tmp_path, [], expand(["seed=0", "discount=0.9", "discount=0.99"]))) is twice
    with pytest.raises(ConfigError, match="another sweep"):
        twice.grown(SweepFolder(tmp_path, [], expand(["discount=0.99", "seed=0", "discount=0.9"])))
    with pytest.raises(ConfigError, match="holds a sweep with --config-dir None, not mine: choose another folder"):
        one.grown(SweepFolder(tmp_path, ["seed=0"], one.jobs, "mine"))
    one.run(two.jobs[1]).mkdir()  # as somebody made who started the seed by hand: it was taken for a job that is finished
    with pytest.raises(ConfigError, match="seed=1 would be that of a new job, and is none of this sweep"):
        one.grown(SweepFolder(tmp_path, ["agent=dqn", "seed=0,1"], expand(["agent=dqn", "seed=0,1"])))


def test_finished_jobs_whose_experiment_file_was_edited_since_are_told(tmp_path, monkeypatch, capsys):
    """Seeds that were added had other settings than those before, without a word."""
    monkeypatch.setattr(folders, "_added", [])
    (own := tmp_path / "own" / "experiment").mkdir(parents=True)
    (own / "mine.yaml").write_text("# @package _global_\ndiscount: 0.9\n")
    folders.add(own.parent)
    words = ["agent=dqn", "env=toy/chain", "experiment=mine"]
    sweep = SweepFolder(tmp_path / "sweep", words, expand(words), str(own.parent))
    (run := sweep.run(sweep.jobs[0])).mkdir(parents=True)
    RunFolder(run).write_config(complete(*compose(sweep.jobs[0].overrides)[:2]))
    capsys.readouterr()
    tell_edited(sweep, sweep.jobs, None)
    assert capsys.readouterr().err == ""
    (own / "mine.yaml").write_text("# @package _global_\ndiscount: 0.95\n")
    tell_edited(sweep, sweep.jobs, None)
    said = capsys.readouterr().err
    assert f"run finished with other settings than {own.parent} gives now: " in said
    assert said.endswith("discount is 0.9 there and 0.95 here)\n")
    (own / "mine.yaml").unlink()  # of which nothing follows for what has finished
    tell_edited(sweep, sweep.jobs, None)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "change",
    [
        lambda found: found["jobs"][0].update(folder="../elsewhere"),
        lambda found: found["jobs"][0].update(folder="/etc"),
        lambda found: found["jobs"][0].update(folder=".hidden"),
        lambda found: found["jobs"][0].update(folder=found["jobs"][1]["folder"]),
        lambda found: found["jobs"][0].update(overrides=["--config-dir", "/tmp"]),
        lambda found: found["jobs"][0].update(overrides=[3]),
        lambda found: found["jobs"][0].update(overrides=["+hydra.callbacks.mine._target_=os.system"]),
        lambda found: found["jobs"][0].update(overrides=["+agent/head@hydra.callbacks.mine=c51"]),
        lambda found: found["jobs"][0].update(overrides=["seed=${run_folder:/tmp/theirs}"]),
        lambda found: found["jobs"][0].update(overrides=["device=${${names.env}:HOME}"]),
        lambda found: found.update(config_dir=3),
        lambda found: found.update(cwd=3),
        lambda found: found.update(place={"on": "moon"}),
        lambda found: found.update(place={"on": "slurm", "slurm": [3]}),
        lambda found: found.pop("jobs"),
    ],
)
def test_a_damaged_sweep_is_refused(folder, tmp_path, change):
    folder.store()
    found = json.loads((tmp_path / "sweep.json").read_text())
    change(found)
    (tmp_path / "sweep.json").write_text(json.dumps(found))
    with pytest.raises(RunFolderError, match="sweep.json is damaged"):
        SweepFolder.read(tmp_path)


def test_a_sweep_that_cannot_be_read_now_is_not_called_damaged(folder, tmp_path, monkeypatch):
    """The advice was to start it in another folder, without its finished jobs."""

    def stale(path, limit):
        raise OSError(errno.ESTALE, "Stale file handle")

    folder.store()
    monkeypatch.setattr("deeprl.tools.sweep.folder.read_regular", stale)
    with pytest.raises(RunFolderError, match=r"sweep\.json cannot be read: .* It may be whole, so try again"):
        SweepFolder.read(tmp_path)


def test_a_sweep_that_was_killed_at_its_first_file_can_begin_again(tmp_path):
    for name in ("lock", ".sweep.json.c7ef1a6e45927f46.partial"):
        (tmp_path / name).touch()
    require_empty(tmp_path, "sweep")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ConfigError, match="exists and holds no sweep"):
        require_empty(tmp_path, "sweep")


def test_a_folder_that_another_run_takes_meanwhile_stays(tmp_path, monkeypatch):
    """A run that was refused removed the folder of one that began beside it."""
    one, other = (tmp_path / "runs" / "env" / "agent" / f"261202-00000{number}_seed0" for number in (1, 2))
    one.mkdir(parents=True)
    found = Path.iterdir

    def begins(path):
        names = list(found(path))
        if path == one.parent:
            other.mkdir()
        return iter(names)

    monkeypatch.setattr(Path, "iterdir", begins)
    discard(one)
    assert other.is_dir()


def test_a_stored_sweep_gets_the_names_of_today(folder, tmp_path):
    folder.store()
    found = json.loads((tmp_path / "sweep.json").read_text())
    found["jobs"][0]["overrides"].append("replay_ratio=2")
    (tmp_path / "sweep.json").write_text(json.dumps(found))
    assert SweepFolder.read(tmp_path).jobs[0].overrides == (*folder.jobs[0].overrides, "replay.ratio=2")


def test_a_home_that_is_gone_is_named(tmp_path):
    with pytest.raises(RunFolderError, match="nowhere, where this began, is gone"), SweepFolder(tmp_path, [], [], cwd="/nowhere").at_home():
        pass


def test_a_folder_without_a_sweep_is_refused(tmp_path):
    with pytest.raises(RunFolderError, match="holds no sweep"):
        SweepFolder.read(tmp_path)


def test_one_process_works_on_a_sweep_and_on_a_run(folder):
    job = folder.jobs[1]
    assert holder(folder.run(job)) is None
    with RunFolder(folder.run(job)).lock():
        assert holder(folder.run(job)).startswith(f"pid {os.getpid()} on ")
        with pytest.raises(RunFolderError, match=rf"agent=dqn,seed=1 \(pid {os.getpid()} on "):
            folder.require_free(folder.jobs)
    folder.require_free(folder.jobs)
    with folder.lock(), pytest.raises(RunFolderError, match=f"pid {os.getpid()} .* works in this folder"), folder.lock():
        pass


def test_a_job_trains_in_no_linked_folder_and_logs_through_no_link(folder, tmp_path):
    """Each would let a stranger's sweep write to a file or folder of the user."""
    mine, job = tmp_path / "mine", folder.jobs[0]
    mine.write_text("theirs\n")
    folder.log(job).symlink_to(mine)
    assert confirmed(folder, job.name) == FAILED
    assert "before the run was finished" in folder.log(job).read_text()
    folder.require_own(folder.jobs)
    folder.run(job).symlink_to(tmp_path)
    with pytest.raises(RunFolderError, match=f"{job.name}: it is a link"):
        folder.require_own(folder.jobs)
    assert mine.read_text() == "theirs\n"


@pytest.mark.parametrize("word", ["setup=[touch pwned]", "slurm_additional_parameters={prolog: x}", "partition=x\ntouch pwned"])
def test_a_command_of_a_stored_place_is_given_again_or_refused(word):
    """As the overrides of a sweep, it is a command line, which a stranger may have written."""
    stored = Place("slurm", ("timeout_min=9", word))
    options = argparse.Namespace(on=None, slurm=[], ray_address=None, jobs=None)
    with pytest.raises(ConfigError, match="--slurm timeout_min=9 --slurm"):
        placed(options, stored)
    options.slurm = list(stored.slurm)
    assert placed(options, stored).slurm == stored.slurm
    options.slurm = []
    assert placed(options, Place("slurm", ("timeout_min=9", "partition=long"))).slurm == ("timeout_min=9", "partition=long")


@pytest.mark.parametrize("text", ["", "../../x", "12; touch x", "9" * 200])
def test_a_note_names_a_job_of_slurm(tmp_path, text):
    note = tmp_path / "a.slurm"
    note.write_text(text)
    with pytest.raises(RunFolderError, match="remove it to go on"):
        slurm.found_again(tmp_path, note)


def test_the_last_paragraph_of_a_log_says_why(tmp_path):
    log = tmp_path / "log"
    assert last_words(log) == ""
    log.write_text(
        "deeprl: an earlier failure\n\n$ deeprl train\n\nwarning: slow\n 5%  step 3\ndeeprl: the run failed: ValueError.\nIts end.\n"
    )
    assert last_words(log) == "deeprl: the run failed: ValueError.\nIts end."
    log.write_text("deeprl: an earlier failure\n\n$ deeprl train\n\nKilled\n")
    assert last_words(log) == "Killed"
    log.write_text("\n".join(map(str, range(10_000))))
    assert last_words(log).splitlines() == [str(n) for n in range(9990, 10_000)]


def test_a_quota_limits_the_cores(tmp_path, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(8)), raising=False)
    monkeypatch.setattr(machine, "GROUPS", tmp_path)
    assert machine.usable_cores() == 8
    quotas = {"max 100000": 8, "100000 100000": 1, "50000 100000": 1, "300000 100000": 3, "100000000 100000": 8}
    for text, cores in quotas.items():
        (tmp_path / "cpu.max").write_text(text)
        assert machine.usable_cores() == cores
