"""Reports on fabricated run folders: groups, problems that are named, pages that nothing can escape from, tables."""

from __future__ import annotations

import csv
import importlib
import io
import json
import os
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from PIL import Image

import deeprl.tools.report
from deeprl.errors import ConfigError, RunFolderError
from deeprl.running.runs.folder import RunFolder
from deeprl.running.runs.loggers import JsonLines
from deeprl.system.files import replace_file
from deeprl.tools.report import figures
from deeprl.tools.report.build import UNFINISHED, WRITTEN, build, claim
from deeprl.tools.report.groups import differences, grouped, important, settings
from deeprl.tools.report.normalise import ATARI, ScoreScale, scales
from deeprl.tools.report.page import duration, number, pixels
from deeprl.tools.report.problems import problems
from deeprl.tools.report.results import Results
from deeprl.tools.report.runs import NAMES, Curve, Final, RunRecord, find, read_all
from deeprl.tools.report.stored import read_files
from deeprl.tools.scaling.cells import require_grid
from tests.builders import console
from tests.tools.report.folders import SYSTEM, write_run


@pytest.fixture(autouse=True)
def undrawn(monkeypatch) -> dict:
    """Figures take most of the time of a report, and few tests look at them: those have `drawn`."""
    plain = {name: getattr(figures, name) for name in ("curves", "intervals", "profiles")}
    for name in plain:
        monkeypatch.setattr(figures, name, lambda *_: b"\x89PNG")
    return plain


@pytest.fixture
def drawn(undrawn, monkeypatch) -> None:
    for name, function in undrawn.items():
        monkeypatch.setattr(figures, name, function)


def read(*folders: Path) -> tuple[list, list[str]]:
    notes: list[str] = []
    return read_all(find(folders, notes.append), notes.append), notes


def notes(folder: Path, keys=None) -> list[str]:
    runs, found = read(folder)
    groups = grouped(runs, keys)
    return [*found, *problems(groups, differences(groups))]


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


# ---- what is read


def test_a_run_as_its_folder_has_it(tmp_path):
    write_run(tmp_path / "a" / "run", [1, 2, 3, 4, 8], seed=3, agent="idqn", env="minatar/breakout")
    (run,), found = read(tmp_path)
    assert found == []
    assert (run.name, run.task, run.agent, run.seed, run.state) == ("run", "minatar/breakout", "idqn", "3", "finished")
    assert run.curve.step.tolist() == [100, 200, 300, 400, 500]
    assert run.curve.updates.tolist() == [50, 100, 150, 200, 250]
    assert run.curve.seconds.tolist() == [10, 20, 30, 40, 50]
    assert run.curve.reward.tolist() == [1, 2, 3, 4, 8]
    assert run.last == (2 + 3 + 4 + 8) / 4
    assert run.final == (8, 500, "summary.json")
    assert run.commands == ("train.py agent=dqn",)


def test_updates_between_log_lines_are_interpolated(tmp_path):
    path = write_run(tmp_path / "run", [1, 2, 3, 4])
    log = [json.dumps({"step": step, "time": step / 10, "train/n_updates": step / 2}) + "\n" for step in (100, 400)]
    (path / "metrics.jsonl").write_text("".join(log))
    (run,), _ = read(path)
    assert run.curve.updates.tolist() == [50, 100, 150, 200]


def test_a_run_without_metrics_has_only_steps(tmp_path):
    path = write_run(tmp_path / "run")
    (path / "metrics.jsonl").unlink()
    (run,), _ = read(path)
    assert np.isnan(run.curve.seconds).all()
    assert "run: metrics.jsonl has no times: updates and wall clock are unknown" in build_in(tmp_path)
    assert {row["axis"] for row in rows(tmp_path / "out" / "curve_means.csv")} == {"step"}


def test_a_summary_that_is_older_than_the_last_evaluation_counts_for_nothing(tmp_path):
    path = write_run(tmp_path / "run", [1, 2, 3])
    with open(path / "evaluations.jsonl", "a") as file:
        file.write('{"step": 400, "seed": 7, "returns": [9.0]}\n')
    (run,), _ = read(path)
    assert run.final == (9, 400, "evaluations.jsonl")


def test_a_folder_is_read_once_however_often_it_is_named(tmp_path):
    write_run(tmp_path / "runs" / "a")
    runs, _ = read(tmp_path, tmp_path / "runs", tmp_path / "runs" / "a")
    assert len(runs) == 1


LINE = {
    "name": "fast", "agent": "dqn", "env": "minatar/breakout", "seed": 1, "steps": 300, "curve": [[100, 1.0], [300, 3.0], [200, 2.0]],
    "final": {"mean": 3.5, "step": 300}, "wall_seconds": 60.0, "machine": "CPU, 2 cores", "commit": "0123456",
    "overrides": [
        "agent=dqn", "agent/backup=double", "agent.optimizer.lr=1e-3", "+collect.actors=2", "collect=ray", "accelerate=fast", "seed=1",
    ],
}  # fmt: skip


def lines(path: Path, *found: object) -> Path:
    path.write_text(json.dumps(found))
    return path


def test_a_stored_line_is_a_run(tmp_path):
    told: list[str] = []
    file = lines(tmp_path / "some.json", LINE, {"name": "no curve"}, {**LINE, "overrides": "agent=dqn agent.optimizer.lr=0.001", "seed": 2})
    first, second = read_files([file, file], told.append)
    assert told == [f"1 of 3 lines of {file} hold no learning curve and are left out: 2"]
    assert (first.name, second.name) == (f"{file}#1", f"{file}#3")
    assert (first.task, first.agent, first.seed, first.state, first.seconds) == ("minatar/breakout", "dqn", "1", "finished", 60.0)
    assert (first.curve.step.tolist(), first.curve.reward.tolist()) == ([100, 200, 300], [1, 2, 3])
    assert first.final == (3.5, 300, "some.json")
    assert first.machines == (("0123456", (), "CPU, 2 cores"),)
    assert first.commands[0].startswith("python train.py agent=dqn agent/backup=double")
    known = settings(first)
    assert (known["agent"], known["agent.optimizer.lr"], known["agent/backup"], known["name"]) == ("dqn", "0.001", "double", "fast")
    assert (known["collect"], known["collect.actors"]) == ("ray", "2")
    assert {"accelerate.mode", "seed", "steps"} <= {*known} - {*important(known)}
    assert grouped([first, replace(second, config=first.config)]).keys() == {"agent=dqn"}


def test_stored_lines_stand_beside_run_folders(tmp_path):
    write_run(tmp_path / "runs" / "a", env="minatar/breakout", agent="idqn")
    file = lines(tmp_path / "some.json", LINE)
    told = build([tmp_path / "runs", file], tmp_path / "out", ["agent"], None, "deeprl report")
    assert [row["group"] for row in rows(tmp_path / "out" / "summary.csv")] == ["agent=dqn", "agent=idqn"]
    assert not any("left out" in text for text in told)
    # each package was named with "none (some.json)", and keys that stored runs lack with "None"
    assert not any(text.startswith(("the version of", "device", "runtime.threads")) for text in told)
    assert [text for text in told if "versions of packages are not told by" in text]
    assert "unknown" in (tmp_path / "out" / "index.html").read_text()  # updates


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "holds no stored lines"),
        ('[{"curve": NaN}]', "NaN is not allowed"),
        ("[" * 100_000, "nested too deeply"),
        (json.dumps([{}] * 501), "501 lines, and a report takes 500"),
        (json.dumps([{"curve": [[1, 2]]}]), "its env is no name"),
        (json.dumps([{**LINE, "curve": [[1, 2], [1e300, 2]]}]), "its curve is no list"),
        (json.dumps([{**LINE, "curve": {"1": 2}}]), "its curve is no list"),
        (json.dumps([{**LINE, "overrides": 'agent="dqn'}]), "No closing quotation"),
        (json.dumps([{**LINE, "overrides": [1]}]), "its overrides are no list"),
        (json.dumps([{**LINE, "overrides": ["a." * 5000 + "b=1"]}]), "its overrides have a key of more than 50 levels"),
    ],
)
def test_a_strangers_file_is_refused_by_name(tmp_path, text, said):
    (tmp_path / "theirs.json").write_text(text)
    with pytest.raises(RunFolderError, match=f"theirs.json.*{said}"):
        build([tmp_path / "theirs.json"], tmp_path / "out", None, None, "deeprl report")


def test_what_a_strangers_line_names_is_neither_imported_nor_read(tmp_path, monkeypatch):
    (tmp_path / "theirs.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    words = [
        "env._target_=theirs.Env",
        "agent._target_=theirs.Agent",
        "names=${oc.env:HOME}",
        "names.env=<b>",
        "env.id=theirs:Env-v0",
        "~a..b",
        "=",
        "",
    ]
    file = lines(tmp_path / "some.json", {**LINE, "overrides": words, "config": "x", "names": "<script>", "final": {"mean": "high"}})
    build([file], tmp_path / "out", None, None, "deeprl report")
    assert "theirs" not in sys.modules
    page = (tmp_path / "out" / "index.html").read_text()
    assert os.environ["HOME"] not in page.replace(str(tmp_path), "")
    assert "<script>" not in page


# ---- groups


def names(folder: Path, keys=None) -> dict[str, list[str]]:
    return {group: [run.name for run in runs] for group, runs in grouped(read(folder)[0], keys).items()}


def test_seeds_and_unimportant_keys_make_no_group(tmp_path):
    write_run(tmp_path / "a", seed=0)
    write_run(tmp_path / "b", seed=1, config={"device": "cuda", "runtime": {"threads": 8}, "log": {"every": 7}})
    assert names(tmp_path) == {"agent=dqn": ["a", "b"]}


def test_updates_that_lag_or_round_otherwise_are_another_group(tmp_path):
    for name, precision in {"now": "highest", "bf": "bfloat16"}.items():
        write_run(tmp_path / name, config={"accelerate": {"matmul_precision": precision}})
    assert names(tmp_path) == {"accelerate.matmul_precision=bfloat16": ["bf"], "accelerate.matmul_precision=highest": ["now"]}
    for name, lag in {"lag": 1, "none": 0}.items():
        write_run(tmp_path / "more" / name, config={"runtime": {"threads": 1, "lag": lag}})
    assert names(tmp_path / "more") == {"runtime.lag=0": ["none"], "runtime.lag=1": ["lag"]}


def test_keys_that_change_nothing_part_no_seeds(tmp_path):
    on_ray = {"_target_": "deeprl.running.collect.choice.OnRay", "actors": 2}
    write_run(tmp_path / "more" / "a", config={"collect": {**on_ray, "address": None, "timeout": 60}})
    write_run(tmp_path / "more" / "b", seed=1, config={"collect": {**on_ray, "address": "auto", "timeout": 90}})
    assert names(tmp_path / "more") == {"agent=dqn": ["a", "b"]}


def records(schedule: dict | None, *each: tuple[str, str, int]) -> list[RunRecord]:
    """Runs of an agent on a task with so many steps, in memory. Without a schedule they are stored lines."""
    found = []
    for place, (agent, task, steps) in enumerate(each):
        config: dict = {"names": {"agent": agent}, "steps": steps}
        if schedule is not None:
            rate = {"_target_": "deeprl.schedules.Linear", "duration": steps, "begin": 0, **schedule}
            config["agent"] = {"_target_": "deeprl.learning.value_agent.ValueAgent", "optimizer": {"schedule": rate}}
        curve = Curve(np.array([steps]), np.array([np.nan]), np.array([np.nan]), np.array([1.0]))
        final = Final(1.0, steps, "")
        found.append(
            RunRecord(str(place), Path(), config, task, agent, "0", "finished", "", "", steps, None, 1.0, curve, final, (), (), False)
        )
    return found


def test_runs_of_different_length_are_a_group_unless_a_schedule_depends_on_it():
    """A share of steps stands in a configuration as steps, although a rate that stays where it starts has nothing of it."""
    lengths = ("sac", "one", 100), ("sac", "one", 200)
    assert [len(runs) for runs in grouped(records({"start": 1.0, "end": 1.0}, *lengths)).values()] == [2]
    falls = grouped(records({"start": 1.0, "end": 0}, *lengths))
    assert {group: [run.name for run in runs] for group, runs in falls.items()} == {"steps=100": ["0"], "steps=200": ["1"]}
    (said,) = (text for text in problems(falls, []) if "different groups" in text)
    assert "on one runs of 100 and 200 steps are different groups" in said
    assert "long: agent.optimizer.schedule.duration; --group" in said
    four = records({"start": 1.0, "end": 1.0}, *lengths) + [replace(runs[0], name=f"falls {runs[0].name}") for runs in falls.values()]
    # the flat ones were joined with those that fall, by the duration that stands in both
    assert [[run.name for run in runs] for runs in grouped(four).values()] == [["falls 0"], ["falls 1"], ["0", "1"]]
    stored = grouped(records(None, *lengths))
    assert [len(runs) for runs in stored.values()] == [2]
    assert any("joins runs of 100 and 200 steps on one" in text and "--group agent,steps" in text for text in problems(stored, []))


def test_agents_of_stored_lines_are_different_groups_though_nothing_but_their_names_is_known():
    assert grouped(records(None, ("dqn", "one", 100), ("idqn", "one", 100))).keys() == {"agent=dqn", "agent=idqn"}


def test_a_thousand_runs_are_grouped_without_comparing_each_with_each():
    """Names tell ten parts apart, and each of two keys ten more."""
    runs = records(None, *((f"a{place % 10}", "one", 100) for place in range(1000)))
    for place, run in enumerate(runs):
        run.config["x"] = {f"k{digit}": place // 10**digit % 10 for digit in range(1, 3)}
    groups = grouped(runs)
    assert len(groups) == 1000
    assert "agent=a7, x.k1=4, x.k2=2" in groups


def test_tasks_with_unequal_seeds_and_runs_resumed_without_a_replay_are_told(tmp_path):
    for seed in (0, 1, 2):
        write_run(tmp_path / f"one{seed}", env="one", seed=seed)
    write_run(tmp_path / "two", env="two", config={"checkpoint": {"replay": False}}, system={**SYSTEM, "resumed_from": 40})
    found = notes(tmp_path)
    assert "agent=dqn has 3 on one, 1 on two: aggregates over tasks count every run alike, and so these tasks unequally" in found
    assert "resumed without a replay (checkpoint.replay=false), so that updates paused until there were new rows: two" in found


def test_agents_name_groups_although_their_settings_differ_between_tasks(tmp_path):
    for agent, lr in (("dqn", 1.0), ("idqn", 2.0)):
        write_run(tmp_path / f"{agent}1", agent=agent, env="one", lr=lr)
        write_run(tmp_path / f"{agent}2", agent=agent, env="two", lr=lr / 10)
    assert names(tmp_path) == {"agent=dqn": ["dqn1", "dqn2"], "agent=idqn": ["idqn1", "idqn2"]}


def test_a_group_is_not_named_after_a_key_that_it_lacks(tmp_path):
    """A number is the same with and without a fraction of zero."""
    for place, (agent, keys) in enumerate((("dqn", {}), ("mvi", {"q": 2}), ("mvi", {"q": 2.0}), ("mvi", {"q": 1.5}))):
        write_run(tmp_path / str(place), agent=agent, seed=place, **keys)
    assert names(tmp_path) == {"agent=dqn": ["0"], "agent=mvi, agent.q=1.5": ["3"], "agent=mvi, agent.q=2": ["1", "2"]}
    assert names(tmp_path, ["agent.q"]) == {"agent.q=1.5": ["3"], "agent.q=2": ["1", "2"], "agent.q=absent": ["0"]}


def test_the_fewest_keys_name_a_group(tmp_path):
    """lr and eps differ together: the shorter name, once. The class of a part is its last word."""
    for place, (lr, part) in enumerate(((1, "Max"), (2, "Max"), (2, "Double"))):
        write_run(tmp_path / str(place), lr=lr, epsilon=10 * lr, backup={"_target_": f"deeprl.learning.backups.bellman.{part}"})
    assert names(tmp_path) == {
        "agent.lr=1, agent.backup=Max": ["0"],
        "agent.lr=2, agent.backup=Double": ["2"],
        "agent.lr=2, agent.backup=Max": ["1"],
    }


@pytest.mark.parametrize("slot", ["agent", "replay"])
def test_a_class_of_ones_own_with_the_keys_of_another_is_another_group(tmp_path, slot):
    ours = {"agent": {"_target_": "deeprl.learning.value_agent.ValueAgent"}, "replay": {"_target_": "deeprl.replay.replay.Replay"}}
    write_run(tmp_path / "a", config=ours)
    write_run(tmp_path / "b", config={**ours, slot: {"_target_": "mine.Mine"}})
    assert len(names(tmp_path)) == 2
    assert f"{slot}._target_=mine.Mine" in names(tmp_path)


def test_groups_by_keys_of_the_configuration(tmp_path):
    for lr in (1, 2):
        for epsilon in (3, 4):
            write_run(tmp_path / f"{lr}{epsilon}", lr=lr, epsilon=epsilon)
    assert names(tmp_path, ["agent.lr"]) == {"agent.lr=1": ["13", "14"], "agent.lr=2": ["23", "24"]}
    assert "agent.lr=1 joins runs of different configurations: on one task they differ in agent.epsilon" in notes(tmp_path, ["agent.lr"])
    with pytest.raises(ConfigError, match=r"agent\.lrr.*Did you mean agent\.lr\?"):
        names(tmp_path, ["agent.lrr"])


def test_groups_stay_apart_although_their_shortened_names_are_equal(tmp_path):
    """Values are shortened to 60 characters, and the class of a part to its last word."""
    write_run(tmp_path / "1", mode="x" * 60 + "1")
    write_run(tmp_path / "2", mode="x" * 60 + "2")
    write_run(tmp_path / "3", mode="x" * 60 + "3")
    shown = "agent.mode=" + "x" * 59 + "…"
    assert names(tmp_path) == {shown: ["1"], f"{shown} (2)": ["2"], f"{shown} (3)": ["3"]}


def test_runs_of_several_processes_are_a_group_of_their_own(tmp_path):
    """Nothing else of the configuration says it: two ranks with `env.num=4` have eight environments."""
    for seed, ranks in enumerate((1, 1, 2, 2)):
        write_run(tmp_path / str(seed), seed=seed, system={**SYSTEM, "ranks": ranks})
    assert names(tmp_path) == {"learner.ranks=1": ["0", "1"], "learner.ranks=2": ["2", "3"]}


def test_environments_without_an_importable_name_are_named(tmp_path):
    for seed in (1, 2):
        name = f"__main__:<lambda>#{seed}"
        write_run(tmp_path / str(seed), seed=seed, env=name, config={"env": {"function": name, "num": 1}})
    sentence = "are tasks of their own, a new one at each call: __main__:<lambda>#1, __main__:<lambda>#2; to compare"
    assert any(sentence in note for note in notes(tmp_path))


def test_the_wall_time_of_a_run_that_goes_on_after_its_end_is_that_of_its_last_evaluation(tmp_path):
    path = write_run(tmp_path / "run")
    assert read(tmp_path)[0][0].seconds == 50
    folder = RunFolder(path)
    folder.append_evaluation({"step": 600, "seed": 7, "returns": [5.0], "lengths": [10]})
    metrics = JsonLines(path)
    metrics.scalars(600, {"train/n_updates": 300.0}, 66.0)
    metrics.close()
    assert read(tmp_path)[0][0].seconds == 66


def test_only_keys_that_differ_on_a_task_are_listed(tmp_path):
    write_run(tmp_path / "a", agent="dqn", env="one", lr=1, period=100)
    write_run(tmp_path / "b", agent="idqn", env="one", lr=1)
    write_run(tmp_path / "c", agent="dqn", env="two", lr=2)
    (setting,) = differences(grouped(read(tmp_path)[0]))
    assert setting.key == "agent.name"
    assert setting.values == {"agent=dqn": {"dqn": ["one", "two"]}, "agent=idqn": {"idqn": ["one"]}}


# ---- problems


def test_nothing_is_said_about_equal_finished_runs(tmp_path):
    for seed in (0, 1):
        write_run(tmp_path / str(seed), seed=seed)
    assert notes(tmp_path) == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"state": "failed", "error": "RuntimeError: no"}, r"^b failed at step 500 of 500: RuntimeError: no$"),
        ({"state": "running"}, r"^b is still running, or was killed, at step 500 of 500$"),
        ({"state": "stopped"}, r"^b was stopped at step 500 of 500$"),
        ({"rewards": []}, r"^b has no evaluation yet, and is in no figure$"),
        ({"rewards": [1, 2, 3]}, r"^on toy/chain the final scores are of different steps: 500 \(a, c\), 300 \(b\)$"),
        ({"period": 50}, r"^on toy/chain evaluation.every differs: 100 \(a, c\), 50 \(b\)$"),
        ({"seed": 0}, r"^agent=dqn has seed 0 on toy/chain 2 times, and each counts: a, b$"),
        ({"agent": "idqn"}, r"^agent=idqn has one seed on toy/chain: no interval can be given$"),
        ({"agent": "idqn"}, r"^on toy/chain the groups have different numbers of seeds: agent=dqn 2, agent=idqn 1$"),
        ({"env": "two"}, r"^agent=dqn has one seed on two: no interval can be given$"),
        ({"system": {**SYSTEM, "git": {"commit": "f" * 40, "dirty": True}}}, r"^the commit differs: 0123456789ab \(a, c\), f{12} \(b\)$"),
        ({"system": {**SYSTEM, "git": {"commit": "f" * 40, "dirty": True}}}, r"^files differed from the commit, .*: b$"),
        ({"system": {**SYSTEM, "packages": {"torch": "2.7"}}}, r"^the version of torch differs: 2.6.0 \(a, c\), 2.7 \(b\)$"),
        ({"system": {**SYSTEM, "code": {"script": "1", "net": "2"}}}, r"^the code of net differs: 1 \(a, c\), 2 \(b\)$"),
        ({"system": {**SYSTEM, "gpu": "H100"}}, r"^hardware differs, so that wall clocks cannot be compared: "),
        ({"system": None}, r"^system.json is missing or empty: b$"),
    ],
)  # fmt: skip
def test_a_run_that_is_unlike_the_others_is_named(tmp_path, change, sentence):
    usual = {**SYSTEM, "code": {"net": "1"}}
    write_run(tmp_path / "a", seed=0, system=usual)
    write_run(tmp_path / "b", **{"seed": 1, "system": usual, **change})
    write_run(tmp_path / "c", seed=2, system=usual)
    assert [note for note in notes(tmp_path) if re.search(sentence, note)]


def test_a_run_that_went_on_with_other_code_is_named(tmp_path):
    folder = RunFolder(write_run(tmp_path / "a", system={**SYSTEM, "code": {"net": "1", "other": "1"}}))
    folder.append_system({**SYSTEM, "code": {"net": "2", "other": "1"}})
    assert "a was resumed with other code in net; the last start is shown" in notes(tmp_path)


def test_settings_that_changed_nothing_are_told(tmp_path):
    for rate, seed in ((0.1, 0), (0.1, 1), (0.2, 0), (0.2, 1)):
        write_run(tmp_path / f"{rate}_{seed}", (1.0, 2.0 + seed), seed=seed, optimizer={"lr": rate})
    told = [note for note in notes(tmp_path) if "equal, seed by seed" in note]
    assert len(told) == 1
    assert "their settings changed nothing" in told[0]


def test_steps_of_a_run_that_learns_from_data_are_not_called_steps_of_its_environment(tmp_path):
    """The axis said environment steps of a run that made none (TD3+BC beside its player)."""
    player, offline = write_run(tmp_path / "player", seed=0), write_run(tmp_path / "offline", seed=1)
    summary = RunFolder(offline).read_summary()
    assert summary is not None
    RunFolder(offline).write_summary({**summary, "data": {"name": player.name, "digest": "0f", "transitions": 500}})
    assert [note for note in notes(tmp_path) if note.startswith("learned from stored data: offline; ")]


def learned(path: Path, data: str, digest: str, seed: int) -> Path:
    names = {"env": "toy/chain", "agent": "dqn", "replay": "stored", "data": digest}
    return write_run(path, (1.0, 2.0 + seed), seed=seed, config={"replay": {"_target_": "x.Stored", "data": data}, "names": names})


def test_runs_that_learned_from_different_data_are_no_group(tmp_path):
    """They were one, by the name of a run that had trained on, or of a link; and a copy's other name made two of one."""
    one, other = "4f138aae" * 4, "f2917a9a" * 4
    learned(tmp_path / "a", "live", one, 0)
    learned(tmp_path / "b", "live", other, 1)  # as runs of earlier versions, without the step
    learned(tmp_path / "c", "/scratch/copy@1500", one, 1)
    runs, found = read(tmp_path)
    groups = {name: [run.name for run in each] for name, each in grouped(runs).items()}
    assert groups == {"replay.data=live": ["a", "c"], "replay.data=live (digest f2917a9a)": ["b"]}
    assert [run.data for run in runs] == [f"live, digest {one}", f"live, digest {other}", f"/scratch/copy@1500, digest {one}"]
    (note,) = found
    assert note.startswith(
        f"replay.data={Path('live').absolute()} held different data at different times; the report makes a group of each: live, digest"
    )
    assert any("differ in replay.data" in each for each in notes(tmp_path, ["agent"]))  # where they are joined all the same
    with pytest.raises(ConfigError, match="replay.data differs between the runs"):
        require_grid(with_grid(runs), "agent.optimizer.lr")
    assert require_grid(with_grid([runs[0], runs[2]]), "agent.optimizer.lr")


def with_grid(runs: list[RunRecord]) -> list[RunRecord]:
    return [replace(run, config={**run.config, "replay": {**run.config["replay"], "ratio": 1.0, "batch_size": 8}}) for run in runs]


def test_what_a_group_lacks_on_many_tasks_is_one_note(tmp_path):
    for task in ("one", "two", "three", "four", "five"):
        write_run(tmp_path / task, env=task)
    write_run(tmp_path / "other", agent="idqn", env="one")
    found = [note for note in notes(tmp_path) if "scored" in note or "interval" in note]
    assert [note.split(" on ")[0] for note in found] == [
        "agent=dqn has one seed",
        "agent=idqn has no scored run",
        "agent=idqn has one seed",
    ]
    assert "five, four, three and 1 more, and is left out" in found[1]


def test_damage_is_named_and_the_rest_is_read(tmp_path):
    path = write_run(tmp_path / "a", [1, 2, 3])
    content = (path / "evaluations.jsonl").read_text().splitlines()
    content[1] = content[1][:20]
    content += ['{"step": 400, "returns": []}', '{"step": 1e300, "returns": [1]}', '{"step": 400, "returns": ["9"]}', '{"step": 400, "ret']
    (path / "evaluations.jsonl").write_text("\n".join(content))
    write_run(tmp_path / "b", seed=1)
    (tmp_path / "b" / "status.json").write_text("[]")
    write_run(tmp_path / "c", seed=2)
    (tmp_path / "c" / "config.yaml").write_text("a: &a 1\nb: *a\n")
    runs, found = read(tmp_path, tmp_path / "nothing")
    assert [run.name for run in runs] == ["a", "b"]
    assert runs[0].curve.reward.tolist() == [1, 3]
    assert any(note.startswith("a: 5 damaged lines of evaluations.jsonl") for note in found)
    assert any(note.startswith("b: ") and "status.json is damaged" in note for note in found)
    assert any(note.startswith("c is left out") and "alias" in note for note in found)
    assert any("nothing" in note for note in found)


def test_numbers_of_the_task_are_told_by_group(tmp_path):
    """The last evaluation that told a number counts; an episode that told none, and what is no number, does not."""
    info = {0: [1.0, None, 0.0], 1: [1.0, 1.0, 1.0]}
    for seed, values in info.items():
        path = write_run(tmp_path / str(seed), [1, 2], seed=seed, env="goals/reach")
        lines = [{"step": 100, "returns": [1], "info": {"is_success": [0.0]}}]
        lines += [{"step": 200, "returns": [2], "info": {"is_success": values, "x": ["9", None], "<b>": 3}}]
        (path / "evaluations.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    build_in(tmp_path)
    (row,) = Results(grouped(read(tmp_path / "0", tmp_path / "1")[0])).last_numbers()
    assert (row["task"], row["name"], row["seeds"], row["mean"]) == ("goals/reach", "is_success", 2, 0.75)
    assert [row["value"] for row in rows(tmp_path / "out" / "numbers.csv")] == ["0.0", "0.5", "0.0", "1.0"]
    assert "Numbers of the task" in (tmp_path / "out" / "index.html").read_text()


# ---- scores


def test_atari_is_normalised_by_humans_where_every_game_has_one():
    atari = {"_target_": "deeprl.envs.atari.Atari", "game": "pong"}
    scores = {"a": np.array([1.0, 3.0]), "b": np.array([0.0, 10.0])}
    kind, found = scales({"a": [atari, atari], "b": [{**atari, "game": "breakout"}]}, scores)
    assert (kind, found) == ("human", {"a": ScoreScale(-20.7, 14.6), "b": ScoreScale(1.7, 30.5)})
    assert found["a"](np.array([-20.7, 14.6])).tolist() == [0, 1]
    kind, found = scales({"a": [atari], "b": [{**atari, "game": "tetris"}]}, scores)
    assert (kind, found) == ("range", {"a": ScoreScale(1, 3), "b": ScoreScale(0, 10)})
    assert len(ATARI) == 57
    assert all(one > zero for zero, one in ATARI.values())


def test_thresholds_of_the_registry_count_for_unchanged_environments():
    hopper, scores = {"id": "Hopper-v5"}, {"a": np.array([0.0, 1.0])}
    for same in (hopper, {**hopper, "max_episode_steps": None}, {**hopper, "max_episode_steps": 1000}):
        assert scales({"a": [same]}, scores) == ("threshold", {"a": ScoreScale(0.0, 3800.0)})
    for other in (
        {**hopper, "kwargs": {"x": 1}},
        {**hopper, "wrappers": ["w"]},
        {**hopper, "max_episode_steps": 100},
        {"id": "MountainCar-v0"},
        {"id": "no:No-v0"},
        "text",
        None,
    ):
        assert scales({"a": [other]}, scores)[0] == "range"


def test_equal_scores_are_all_in_the_middle():
    assert ScoreScale(2, 2)(np.array([2.0, 2.0])).tolist() == [0.5, 0.5]


def test_only_groups_on_every_task_are_aggregated(tmp_path):
    for seed in (0, 1):
        write_run(tmp_path / f"a{seed}", [float(seed)], env="one", seed=seed)
        write_run(tmp_path / f"b{seed}", [10.0 * seed], env="two", seed=seed)
        write_run(tmp_path / f"c{seed}", [4.0], env="one", agent="idqn", seed=seed)
    results = Results(grouped(read(tmp_path)[0]))
    (row,) = results.aggregates()
    assert (row["group"], row["tasks"], row["runs"]) == ("agent=dqn", 2, 4)
    assert row["mean"] == pytest.approx((0 + 0.25 + 0 + 1) / 4)  # min-max: one has 0 to 4, two 0 to 10
    better, worse = (row for row in results.improvements)
    assert (better["x"], better["y"], better["tasks"], better["probability"]) == ("agent=dqn", "agent=idqn", 1, 0)
    assert better["p"] == worse["p"] == pytest.approx(2 / 6)  # of two runs beside two
    assert (worse["x"], worse["y"], worse["probability"]) == ("agent=idqn", "agent=dqn", 1)


def test_the_interval_of_an_improvement_is_turned_around_with_it(tmp_path):
    for seed, (one, other) in enumerate(zip([1.0, 4.0, 6.0, 2.0], [3.0, 5.0, 2.0, 7.0])):
        write_run(tmp_path / f"a{seed}", [one], seed=seed)
        write_run(tmp_path / f"b{seed}", [other], agent="idqn", seed=seed)
    one, other = Results(grouped(read(tmp_path)[0])).improvements
    for row in (one, other):
        assert row["probability_low"] < row["probability"] < row["probability_high"]
    assert other["probability_low"] == pytest.approx(1 - one["probability_high"])


def test_a_mean_curve_ends_with_the_runs_that_were_not_cut_short(tmp_path):
    write_run(tmp_path / "a", [1, 2, 3, 4])
    write_run(tmp_path / "b", [3, 4, 5, 6], seed=1)
    write_run(tmp_path / "c", [5, 6], seed=2, state="stopped")
    build_in(tmp_path)
    shown = [row for row in rows(tmp_path / "out" / "curve_means.csv") if row["axis"] == "step"]
    assert [(float(row["x"]), float(row["mean"]), int(row["seeds"])) for row in shown] == [
        (100, 3, 3), (200, 4, 3), (300, 4, 2), (400, 5, 2)
    ]  # fmt: skip


def test_a_task_alone_keeps_its_raw_scores(tmp_path):
    write_run(tmp_path / "a", [7.0])
    results = Results(grouped(read(tmp_path)[0]))
    assert list(results.aggregates()) == []
    assert [score.tolist() for score in results.comparable("agent=dqn")] == [[7.0]]


# ---- files


def build_in(folder: Path, **options) -> list[str]:
    return build([folder], folder / "out", options.get("keys"), options.get("names"), "deeprl report")


def test_the_tables_hold_the_numbers(drawn, tmp_path):
    write_run(tmp_path / "a", [1, 2, 3, 4, 6], seed=0)
    write_run(tmp_path / "b", [3, 4, 5, 6, 8], seed=1)
    assert build_in(tmp_path) == []
    out = tmp_path / "out"
    (row,) = rows(out / "summary.csv")
    assert (row["task"], row["group"], row["seeds"], row["unfinished"]) == ("toy/chain", "agent=dqn", "2", "0")
    assert (float(row["final"]), float(row["last_4"]), float(row["iqm"])) == (7, (15 / 4 + 23 / 4) / 2, 7)
    assert (float(row["iqm_low"]), float(row["iqm_high"])) == (6, 8)
    means = [row for row in rows(out / "curve_means.csv") if row["axis"] == "updates"]
    assert [(float(row["x"]), float(row["mean"]), row["seeds"]) for row in means] == [
        (50 * n, m, "2") for n, m in enumerate((2, 3, 4, 5, 7), 1)
    ]
    assert [float(row["mean_reward"]) for row in rows(out / "evaluations.csv") if row["run"] == "b"] == [3, 4, 5, 6, 8]
    assert [(row["run"], float(row["final"]), row["final_from"]) for row in rows(out / "scores.csv")] == [
        ("a", 6, "summary.json"),
        ("b", 8, "summary.json"),
    ]
    pictures = {"curves_steps.png", "curves_updates.png", "curves_wall_clock.png", "intervals.png", "profile.png"}
    assert {path.name for path in out.glob("*.png")} == pictures
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in out.glob("*.png"))


class Tags(HTMLParser):
    """Names of the elements and attributes of a page, and what it would load."""

    def __init__(self, page: str):
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.sources: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.sources += [value for name, value in attrs if name in ("src", "href")]


def test_nothing_escapes_from_the_page(tmp_path):
    evil = '"><script>alert(1)</script><img src=https://x onerror=alert(1)> $\\frac{$ \x1b[2J {{ 7 * 7 }}'
    system = {**SYSTEM, "command": evil, "cpu": evil, "git": {"commit": evil, "dirty": evil}, "packages": {evil: evil}}
    write_run(tmp_path / "<script>alert(2)</script>", env=evil, agent=evil, state="failed", error=evil, system=system, key=evil)
    write_run(tmp_path / "other", env=evil, agent="dqn", system=system, config={"<b>": evil, "seed": evil, "steps": evil})
    build_in(tmp_path)
    page = (tmp_path / "out" / "index.html").read_text()
    found = Tags(page)
    assert "script" not in found.tags
    assert not any(name.startswith("on") for name in found.attributes)
    assert all(source.startswith(("data:image/png;base64,", "#")) for source in found.sources)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "{{ 7 * 7 }}" in page
    assert "\x1b" not in page
    assert "default-src 'none'" in page


def test_figures_are_drawn_of_anything_that_was_evaluated(drawn, tmp_path):
    """One evaluation; wall clocks that do not overlap; a run that ended early; eleven groups; names that fill a line."""
    write_run(tmp_path / "a", [1], env="one")
    write_run(tmp_path / "b", [1, 2], env="two", speed=1)
    write_run(tmp_path / "c", [1, 2], env="two", speed=1000, seed=1)
    write_run(tmp_path / "d", [1], env="two", speed=1000, seed=2)
    for place in range(10):
        write_run(tmp_path / f"{place}", [1, 1], env="three " * 30, agent=f"{place} name " * 30, place=place)
    build_in(tmp_path)
    shared = [row for row in rows(tmp_path / "out" / "curve_means.csv") if row["task"] == "two" and row["axis"] == "seconds"]
    assert shared == []


def test_an_interval_is_shaded_from_three_seeds_on(drawn, tmp_path, monkeypatch):
    """All evaluations have it, or none."""
    shaded = []
    monkeypatch.setattr(Axes, "fill_between", lambda self, x, low, high, **_: shaded.append(np.isfinite(low).tolist()))
    for agent, seeds in (("dqn", 2), ("idqn", 3)):
        for seed in range(seeds):
            write_run(tmp_path / f"{agent}{seed}", [1, 2 + seed], agent=agent, seed=seed)
    figures.curves(Results(grouped(read(tmp_path)[0])), "step")
    assert shaded == [[False, False], [True, True]]


def test_the_page_says_what_was_wrong(tmp_path):
    write_run(tmp_path / "a", state="failed", error="RuntimeError: <no>")
    said = build_in(tmp_path)
    assert "a failed at step 500 of 500: RuntimeError: <no>" in said
    assert "a failed at step 500 of 500: RuntimeError: &lt;no&gt;" in (tmp_path / "out" / "index.html").read_text()


def test_a_name_that_is_no_utf8_and_control_characters_refuse_no_report(tmp_path):
    """As of a folder that was named in Latin-1."""
    write_run(tmp_path / "m\udcfcller\x1b[2J\nnext", error="\ud800 =1+1", state="failed")
    write_run(tmp_path / "b")
    build_in(tmp_path)
    for file in ("scores.csv", "evaluations.csv", "index.html"):
        text = (tmp_path / "out" / file).read_bytes().decode()
        assert "m\\udcfcller\\x1b[2J\nnext" in text
        assert "\x1b" not in text


def test_figures_are_drawn_as_ours_whatever_a_matplotlibrc_says(drawn, tmp_path, monkeypatch):
    """`text.usetex` of a stranger's folder started LaTeX."""
    write_run(tmp_path / "a")
    results = Results(grouped(read_all([tmp_path / "a"], print)))
    ours = figures.curves(results, "step")
    for key, value in {"text.usetex": True, "font.size": 60.0, "axes.facecolor": "red"}.items():
        monkeypatch.setitem(matplotlib.rcParams, key, value)
    assert figures.curves(results, "step") == ours


def test_matplotlib_is_imported_from_a_folder_of_ours(tmp_path, monkeypatch):
    """It reads a matplotlibrc of the current folder when it is imported, and waits for ever if that is a pipe."""
    (tmp_path / "matplotlib.py").write_text("import os\nplace = os.getcwd()\n")
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        patch.delitem(sys.modules, "matplotlib")
        importlib.reload(deeprl.tools.report)
        assert sys.modules["matplotlib"].place == str(Path(deeprl.tools.report.__file__).parent)
    assert Path.cwd() == tmp_path


def test_a_start_has_no_more_packages_than_a_reader_takes(tmp_path):
    """20,000 of them took the square of their number."""
    packages = {f"package{number}": "1" for number in range(20_000)}
    write_run(tmp_path / "a", system={**SYSTEM, "packages": packages})
    (run,) = read_all([tmp_path / "a"], print)
    assert len(run.machines[0].packages) == NAMES


def test_of_a_page_that_is_there_only_the_beginning_is_read(tmp_path):
    """One of 6 GB filled the memory."""
    (tmp_path / "index.html").write_bytes(UNFINISHED)
    os.truncate(tmp_path / "index.html", 1 << 40)
    claim(tmp_path)


def test_a_link_is_followed_only_if_it_is_named(tmp_path, monkeypatch, capsys):
    """The current folder may be a stranger's, with a link `report` to any folder of the user."""
    write_run(tmp_path / "a")
    (tmp_path / "mine").mkdir()
    (tmp_path / "report").symlink_to("mine")
    monkeypatch.chdir(tmp_path)
    assert console("report", "a") == 2
    assert "--out report" in capsys.readouterr().err
    assert not [*(tmp_path / "mine").iterdir()]


def test_a_report_is_replaced_but_nothing_else(tmp_path):
    write_run(tmp_path / "a")
    build_in(tmp_path)
    build_in(tmp_path, names=["DQN"])
    assert "DQN" in (tmp_path / "out" / "index.html").read_text()
    (tmp_path / "out" / "index.html").write_text("mine")
    with pytest.raises(ConfigError, match="--out"):
        build_in(tmp_path)
    assert (tmp_path / "out" / "index.html").read_text() == "mine"


@pytest.mark.parametrize("name", ["index.html", "scores.csv", "profile.png", "curves_steps.png"])
def test_files_of_the_user_with_the_names_of_a_report_are_kept(tmp_path, name):
    write_run(tmp_path / "a")
    mine = tmp_path / "out" / name
    mine.mkdir(parents=True)
    with pytest.raises(ConfigError, match=rf"--out .*{name}"):
        build_in(tmp_path)
    mine.rmdir()
    mine.write_text("mine")
    with pytest.raises(ConfigError, match=rf"--out .*{name}"):
        build_in(tmp_path)
    assert mine.read_text() == "mine"
    mine.rename(tmp_path / "out" / "mine.txt")
    build_in(tmp_path)  # beside other files


def test_a_report_knows_the_names_of_its_files(tmp_path):
    """What `claim` protects is what `build` writes."""
    write_run(tmp_path / "a")
    build_in(tmp_path)
    assert {path.name for path in (tmp_path / "out").iterdir()} == WRITTEN


def test_a_first_report_that_is_killed_is_made_again(tmp_path, monkeypatch):
    """Its files stand beside a page with the mark, although the finished page is written last."""
    write_run(tmp_path / "a")

    def killed(path, content):
        if path.name == "scores.csv":
            raise KeyboardInterrupt
        replace_file(path, content)

    with monkeypatch.context() as patch:
        patch.setattr("deeprl.tools.report.build.replace_file", killed)
        with pytest.raises(KeyboardInterrupt):
            build_in(tmp_path)
    assert "not finished" in (tmp_path / "out" / "index.html").read_text()
    build_in(tmp_path)
    assert "not finished" not in (tmp_path / "out" / "index.html").read_text()


def test_names_must_be_as_many_as_groups(tmp_path):
    write_run(tmp_path / "a")
    with pytest.raises(ConfigError, match="--names takes 1 different names.*agent=dqn"):
        build_in(tmp_path, names=["x", "y"])


def test_without_a_run_or_an_evaluation_there_is_no_report(tmp_path):
    with pytest.raises(ConfigError, match="no run was found"):
        build_in(tmp_path)
    stored = lines(tmp_path / "some.json", LINE)
    with pytest.raises(ConfigError, match=r"named one by one, as in .*/\*\.json"):
        build_in(tmp_path)
    stored.unlink()
    write_run(tmp_path / "a", [])
    with pytest.raises(RunFolderError, match="a has no evaluation yet"):
        build_in(tmp_path)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1234.5, "1,234"),
        (-123.456, "-123.5"),
        (12.345, "12.35"),
        (0.1234, "0.123"),
        (1e-5, "1e-05"),
        (1e20, "1e+20"),
        (float("nan"), "no"),
    ],
)
def test_numbers_have_the_digits_that_they_deserve(value, text):
    assert number(value) == text


def test_wall_times():
    assert [duration(seconds) for seconds in (0, 59.6, 3661, float("nan"))] == ["0:00:00", "0:01:00", "1:01:01", "unknown"]


def test_the_width_of_a_picture_is_read_from_its_head():
    Image.new("RGB", (300, 7)).save(png := io.BytesIO(), "PNG")
    assert pixels(png.getvalue()) == 300
