"""What a pruner sees of runs, and what a trial is worth. Numbers can be checked by hand."""

import pytest

from deeprl.errors import RunFolderError
from deeprl.running.runs.folder import RunFolder
from deeprl.tools.tune.scores import Evaluations, Grid, read, reports, score

GRID = Grid(steps=30, every=10)


def curve(*means: float, finished: bool = False) -> Evaluations:
    return Evaluations(dict(zip(GRID.positions(), means)), finished)


def test_positions_are_multiples_of_the_period_and_the_end():
    assert Grid(30, 10).positions() == [10, 20, 30]
    assert Grid(25, 10).positions() == [10, 20, 25]
    assert Grid(25, None).positions() == [25]
    assert [Grid(25, 10).position(step) for step in (12, 20, 25, 27)] == [10, 20, 25, 25]  # eight environments step past 25


def test_seeds_side_by_side_are_reported_as_their_mean_once_all_have_got_there():
    curves = [curve(1.0, 2.0, 3.0), curve(5.0, 6.0), curve(3.0)]
    assert list(reports(curves, 3, GRID)) == [(10, 3.0)]
    assert list(reports(curves[:2], 2, GRID)) == [(10, 3.0), (20, 4.0)]


def test_later_waves_add_seeds_at_the_same_steps():
    first, second = curve(1.0, 2.0, 3.0, finished=True), curve(5.0, 8.0)
    assert list(reports([first, second], 1, GRID)) == [(10, 1.0), (20, 2.0), (30, 3.0), (40, 3.0), (50, 5.0)]


def test_a_later_wave_waits_for_an_earlier_one():
    assert list(reports([curve(1.0), curve(5.0, 6.0, 7.0)], 1, GRID)) == [(10, 1.0)]


def test_the_last_wave_may_be_smaller():
    curves = [curve(1.0, 1.0, 1.0), curve(3.0, 3.0, 3.0), curve(5.0)]
    assert list(reports(curves, 2, GRID)) == [(10, 2.0), (20, 2.0), (30, 2.0), (40, 3.0)]


def test_a_run_that_stopped_early_keeps_its_last_evaluation():
    assert list(reports([curve(1.0, 9.0, finished=True)], 1, GRID)) == [(10, 1.0), (20, 9.0), (30, 9.0)]


def test_a_look_before_and_one_after_the_final_evaluation_of_a_run_that_met_its_goal_see_the_same(tmp_path):
    """The pruner saw 480 or 300 at 20, as the clock had it, and compared later trials with that."""
    folder = RunFolder(tmp_path)
    looks = []
    for step, mean, state in ((10, 100.0, "running"), (20, 480.0, "running"), (20, 300.0, "finished")):
        folder.append_evaluation({"step": step, "returns": [mean]})
        folder.write_status(state, step, 0)
        looks.append(list(reports([read(tmp_path, GRID)], 1, GRID)))
    assert looks == [[(10, 100.0)], [(10, 100.0), (20, 480.0)], [(10, 100.0), (20, 480.0), (30, 300.0)]]
    assert score(read(tmp_path, GRID), 2, GRID) == 300.0


def test_a_run_without_an_evaluation_has_no_value():
    assert list(reports([curve()], 1, GRID)) == []


def test_a_score_is_the_mean_of_the_last_evaluations():
    assert score(curve(1.0, 2.0, 6.0, finished=True), 2, GRID) == 4.0
    assert score(curve(1.0, 2.0, 6.0, finished=True), 9, GRID) == 3.0


def test_a_run_that_met_its_goal_is_worth_more_than_one_that_never_did():
    """It stops at its second evaluation, 480, which stands for the third; the mean of its own last two, 290, would lose to 300."""
    assert score(curve(100.0, 480.0, finished=True), 2, GRID) == 480.0
    assert score(curve(300.0, 300.0, 300.0, finished=True), 2, GRID) == 300.0


def test_a_run_folder_is_read_with_the_last_line_of_a_position(tmp_path):
    assert read(tmp_path / "none", GRID) == Evaluations({}, False)
    folder = RunFolder(tmp_path)
    for step, returns in ((10, [1.0, 3.0]), (22, [0.0]), (22, [4.0, 8.0])):  # the last evaluation of a run stopped at 22 follows its own
        folder.append_evaluation({"step": step, "seed": 0, "returns": returns, "lengths": [1] * len(returns)})
    folder.write_status("finished", 22, 0)
    assert read(tmp_path, GRID) == Evaluations({10: 2.0, 20: 6.0}, True, {20: 0.0})


@pytest.mark.parametrize("state", ["running", "stopped", "failed"])
def test_only_a_finished_run_is_finished(tmp_path, state):
    RunFolder(tmp_path).write_status(state, 5, 0)
    assert not read(tmp_path, GRID).finished


@pytest.mark.parametrize("text", ["", '{"step": 10}\n', '{"step": 10, "returns": []}\n', '{"step": 10, "returns": ["x"]}\n'])
def test_a_damaged_file_is_named(tmp_path, text):
    (tmp_path / "evaluations.jsonl").write_text(text)
    RunFolder(tmp_path).write_status("finished", 30, 0)
    with pytest.raises(RunFolderError, match=r"evaluations\.jsonl"):
        read(tmp_path, GRID)
