"""The best settings as a file that trains as the trial did, and the table of trials."""

from __future__ import annotations

import csv
import shlex
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from deeprl.cli import tune
from deeprl.errors import FINISHED, ConfigError, RunFolderError
from deeprl.running.config import folders
from deeprl.running.config.compose import compose
from deeprl.running.session.complete import complete
from deeprl.tools.tune import figures, results
from deeprl.tools.tune.settings import Settings
from deeprl.tools.tune.space import Space, parse


def test_a_dictionary_that_is_no_slot_stays_whole():
    """Names with dots, and numbers, became other keys."""
    assert results.experiment(["env.kwargs={a.b: 1, 0: {c: 2}}"])["env"] == {"kwargs": {"a.b": 1, 0: {"c": 2}}}


SETTINGS = Settings((), None, seeds=2, last=3, pruner="median", sampler_seed=0, start=(), trials=9, together=1)


def study_of(space: Space, *trials: tuple) -> optuna.Study:
    """
    Args:
        trials: state, value, values of the parameters.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize")
    for state, value, params in trials:
        attributes = {"scores": [value - 1.0, value + 1.0]} if state is TrialState.COMPLETE else {"error": "it broke"}
        kept = attributes if state is not TrialState.PRUNED else {}
        seen = {10: value} if value is not None else {}
        study.add_trial(
            create_trial(
                state=state, value=value, params=params, distributions=space.distributions, user_attrs=kept, intermediate_values=seen
            )
        )
    return study


@pytest.mark.parametrize(
    "words",
    [
        ["agent=dqn", "env=classic/cartpole", "agent.optimizer.lr=1e-5", "replay.n_step=3"],
        ["agent=idqn", "agent/head=quantile", "agent/backup=double", "replay=prioritized", "agent.torso.hidden=[64,64]", "+env.kwargs.x=5"],
        ["agent=sac", "env=classic/pendulum", "agent/torso@agent.actor_torso=simba", "stop.return=null", "env.kwargs.g='a b: c'"],
        ["agent=dqn", "agent/explore=greedy_after_warmup", "env=minatar/breakout"],  # beside tuned settings of another option
        ["experiment=log_dqn_atari", "agent/optimizer=adam"],  # beside the experiment's values of another option
        ["experiment=dvw_minatar", "agent/weighting=one"],
        ["agent=idqn", "agent/backup=retrace", "replay.batch_size=16"],
        ["experiment=idqn_atari", "env=atari/breakout", "agent=iqn", "agent.optimizer={eps: 1e-4}"],
        ["env=gym", "env.id=CartPole-v1", "agent=dqn", "env.wrappers=[{path: a.b, kwargs: {c: true}}]", "budget=tiny"],
    ],
)
def test_the_file_composes_to_the_same_configuration(tmp_path, monkeypatch, words):
    monkeypatch.setattr(folders, "_added", [])
    tuned = [word for word in words if not word.startswith("budget")]
    space = parse([*words, "discount=interval(0.9,1)"])
    results.write(tmp_path, study_of(space, (TrialState.COMPLETE, 5.0, {"discount": 0.96})), space, SETTINGS)
    folders.add(tmp_path / "best")
    wanted, user, chosen = compose([*tuned, "discount=0.96"])
    found, found_user, found_chosen = compose(["experiment=best"])
    assert complete(found, found_user) == complete(wanted, user)
    assert {**found_chosen, "experiment": chosen.get("experiment")} == chosen | {"experiment": chosen.get("experiment")}


def test_the_best_trial_is_written_and_a_pruned_one_is_none(tmp_path):
    space = parse(["agent=dqn", "a.b=interval(0,1)", "c=x,y", "seed=3"])
    study = study_of(
        space,
        (TrialState.COMPLETE, 5.0, {"a.b": 0.25, "c": "y"}),
        (TrialState.PRUNED, 9.0, {"a.b": 0.5, "c": "y"}),
        (TrialState.COMPLETE, 7.0, {"a.b": 0.125, "c": "x"}),
        (TrialState.FAIL, None, {"a.b": 1.0, "c": "x"}),
    )
    results.write(tmp_path, study, space, SETTINGS)
    text = (tmp_path / "best" / "experiment" / "best.yaml").read_text()
    assert text.startswith("# @package _global_\n# The best of 4 trials of deeprl tune: trial 2, return 7, seeds 3, 4.\n")
    assert "b: 0.125\n" in text
    with open(tmp_path / "trials.csv", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["trial", "state", "value", "a.b", "c", "seed 3", "seed 4", "last_step", "error"]
    assert rows == [
        ["0", "complete", "5.0", "0.25", "y", "4.0", "6.0", "10", ""],
        ["1", "pruned", "9.0", "0.5", "y", "", "", "10", ""],
        ["2", "complete", "7.0", "0.125", "x", "6.0", "8.0", "10", ""],
        ["3", "fail", "", "1.0", "x", "", "", "", "it broke"],
    ]


@pytest.mark.parametrize("link", ["best", "best/experiment"])
def test_the_best_settings_are_written_through_no_link(tmp_path, link):
    study, folder = tmp_path / "study", tmp_path / "mine"
    folder.mkdir()
    (study / link).parent.mkdir(parents=True)
    (study / link).symlink_to(folder)
    with pytest.raises(RunFolderError, match=f"{link}: it is a link"):
        results.require_own(study)
    space = parse(["replay.n_step=1,2"])
    with pytest.raises(OSError, match="it is a link"):
        results.write(study, study_of(space, (TrialState.COMPLETE, 1.0, {"replay.n_step": "1"})), space, SETTINGS)
    assert not [*folder.iterdir()]


def test_texts_of_a_study_move_no_cursor_and_are_no_formula():
    space = parse(["replay.n_step=1,2"])
    study, params = study_of(space), {"replay.n_step": "1"}
    told = {"error": "=cmd()\x1b[2J", "scores": 3}
    study.add_trial(create_trial(state=TrialState.FAIL, params=params, distributions=space.distributions, user_attrs=told))
    assert b"'=cmd()\\x1b[2J" in results.table(study, space, SETTINGS)


@pytest.mark.parametrize(("trials", "seeds"), [(10**9, 3), (20, 10**9), (0, 1), (1.5, 1)])
def test_a_study_has_a_number_of_runs_that_can_be_listed(trials, seeds):
    with pytest.raises(ConfigError, match="trials"):
        replace(SETTINGS, trials=trials, seeds=seeds)


def test_without_a_complete_trial_nothing_is_best(tmp_path):
    space = parse(["a=interval(0,1)"])
    study = study_of(space, (TrialState.PRUNED, 9.0, {"a": 0.5}))
    results.write(tmp_path, study, space, SETTINGS)
    assert results.best(study) is None
    assert not (tmp_path / "best").exists()


def test_the_command_takes_a_seed_that_no_trial_has_seen(tmp_path):
    """And writes no file of another study."""
    space = parse(["a=interval(0,1)", "seed=3"])
    words = shlex.split(results.command(Path("my runs"), SETTINGS, space))
    assert words == ["deeprl", "train", "--config-dir", "my runs/best", "experiment=best", "seed=5"]
    words = shlex.split(results.command(Path("d"), replace(SETTINGS, config_dir="/mine"), space))
    assert words[-4:] == ["--config-dir", "/mine", "experiment=best_d", "seed=5"]
    assert words[words.index("cp") :][:3] == ["cp", "d/best/experiment/best.yaml", "/mine/experiment/best_d.yaml"]


def test_the_parameter_that_decides_is_the_important_one(tmp_path):
    space = parse(["a=interval(0,1)", "b=interval(0,1)"])
    values = [(0.1, 0.9), (0.9, 0.1), (0.8, 0.8), (0.2, 0.3), (0.95, 0.5), (0.4, 0.6), (0.6, 0.2), (0.3, 0.4), (0.7, 0.7), (0.5, 0.5)]
    study = study_of(space, *((TrialState.COMPLETE, 100 * a, {"a": a, "b": b}) for a, b in values))
    found = figures.importances(study)
    assert list(found) == ["a", "b"]
    assert sum(found.values()) == pytest.approx(1.0)
    (axes,) = figures.importance(found).axes
    assert [bar.get_width() for bar in axes.patches] == [found["b"], found["a"]]
    assert tune.ended(tmp_path, study, space, SETTINGS, "") == FINISHED
    assert (tmp_path / "importance.png").read_bytes().startswith(b"\x89PNG")
    assert figures.importances(study_of(space, *((TrialState.COMPLETE, 1.0, {"a": a, "b": b}) for a, b in values))) == {}


def test_the_history_shows_every_value_and_the_best_so_far():
    space = parse(["a=interval(0,1)"])
    trials = [(TrialState.COMPLETE, 5.0), (TrialState.PRUNED, 9.0), (TrialState.COMPLETE, 3.0), (TrialState.FAIL, None)]
    (axes,) = figures.history(study_of(space, *((state, value, {"a": 0.5}) for state, value in trials))).axes
    complete, pruned, best = (line.get_xydata().tolist() for line in axes.lines)
    assert complete == [[0, 5], [2, 3]]
    assert pruned == [[1, 9]]
    assert best == [[0, 5], [2, 5]]
