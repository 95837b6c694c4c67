"""Progress on a terminal and elsewhere."""

from __future__ import annotations

import io

import pytest

from deeprl.system.progress import Progress, duration
from tests.running.runs.test_loggers import Clock


def shown(total, ticks, **options):
    """The lines after (step, seconds later, values) ticks."""
    clock, stream = Clock(), io.StringIO()
    progress = Progress(total, stream=stream, clock=clock, **options)
    for step, seconds, values in ticks:
        clock.now += seconds
        progress.update(step, **values)
    progress.close()
    return stream.getvalue().splitlines()


def test_plain_lines_say_what_there_is_to_say():
    found = shown(1000, [(100, 10, {"returned": 12.345}), (200, 20, {"evaluated": -3.0}), (1000, 40, {})])
    assert found == [
        " 10%  step 100 of 1,000  10 steps/s  1 min 30 s left  return 12.35",
        " 20%  step 200 of 1,000  5 steps/s  2 min 40 s left  return 12.35  evaluation -3",
        "100%  step 1,000 of 1,000  20 steps/s  return 12.35  evaluation -3",
    ]


def test_plain_lines_wait_for_five_percent_and_for_ten_seconds():
    slow = shown(1000, [(step, 1, {}) for step in range(1, 201)])  # 1 step a second: 5 % take 50 s
    assert [line.split()[2] for line in slow] == ["50", "100", "150", "200"]
    fast = shown(1000, [(10 * step, 1, {}) for step in range(1, 46)])  # 5 % take 5 s: every 10 s, and the end
    assert [line.split()[2] for line in fast] == ["100", "200", "300", "400", "450"]


def test_the_last_step_of_many_environments_is_behind_the_end():
    assert shown(400, [(4096, 10, {})])[0].startswith("100%  step 4,096 of 400")


def test_a_resumed_run_starts_where_it_is():
    (line,) = shown(1000, [(600, 10, {})], start=500)
    assert line.startswith(" 60%  step 600 of 1,000  10 steps/s  40 s left")


def evaluating(seconds: float, **options):
    """What an evaluation of a step a second prints."""
    clock, stream = Clock(), io.StringIO()
    progress = Progress(1000, stream=stream, clock=clock, **options)
    for begun in (500, 600):
        for second in range(int(seconds)):
            progress.evaluating(begun, 8, second // 30, 10 * second)
            clock.now += 1
    progress.close()
    return stream.getvalue()


def test_an_evaluation_says_how_far_it_is():
    """After ten seconds, and then ever more rarely."""
    assert evaluating(100).splitlines() == [
        f"evaluation at step {step}: {text}"
        for step in (500, 600)
        for text in ("0 of 8 episodes, 100 steps", "1 of 8 episodes, 300 steps", "2 of 8 episodes, 700 steps")
    ]
    assert evaluating(10) == ""


def test_the_bar_shows_an_evaluation_at_once():
    assert "evaluation at step 500: 0 of 8 episodes, 10 steps" in evaluating(3, live=True)


def test_say_prints_a_line():
    stream = io.StringIO()
    progress = Progress(10, stream=stream)
    progress.say("saved [bold]")
    progress.close()
    assert stream.getvalue() == "saved [bold]\n"


def test_the_bar_shows_the_same():
    clock, stream = Clock(), io.StringIO()
    progress = Progress(1000, stream=stream, live=True, clock=clock)
    clock.now += 10
    progress.update(250, returned=7.5)
    progress.say("saved [bold]")
    progress.close()
    text = stream.getvalue()
    for word in ("25%", "25 steps/s", "30 s left", "return 7.5", "saved [bold]"):
        assert word in text


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (59.6, "1 min"), (3599, "59 min 59 s"), (3600, "1 h"), (12000, "3 h 20 min"), (190000, "2 d 4 h")]
)
def test_durations_have_two_units(seconds, words):
    assert duration(seconds) == words
