"""The page of a record."""

from __future__ import annotations

from dataclasses import replace

from deeprl.running.session.doubts import Suspicion
from deeprl.tools.check.page import milliseconds, page, rate
from deeprl.tools.check.record import Decision
from tests.tools.check.records import SOUND, with_keys, within


def words(record, suspicions=()) -> str:
    """The page without its wrapping."""
    return " ".join(page(record, list(suspicions)).split())


def test_speed_and_its_parts():
    """A step of 2 ms and half an update of 3 ms: 1 / 3.5 ms; the environment's millisecond is 29 % of it."""
    text = words(SOUND)
    assert "training 286 steps/s, 143 updates/s once it learns" in text
    assert "environment 29%, acting 29%, storing 0%, batches 14%, updates 29%, the rest 0%" in text
    assert "acting and environments 40%, storing 0%" in words(within("speed", environment=0.0, seconds=0.5))  # one function
    assert "an update 3 ms with its batch" in text
    assert "5.0 s until the first update of every loss, 4.0 s of it compiling" in text


def test_durations_have_three_digits():
    assert [milliseconds(seconds) for seconds in (0.0012, 0.9994, 0.9995, 1, 2.346)] == ["1.2 ms", "999 ms", "1 s", "1 s", "2.35 s"]


def test_the_time_of_the_run():
    """38.5 s of training, 7.2 s of evaluations and 1.5 s of checkpoints."""
    assert "about 47 s; up to 48 s" not in words(SOUND)  # hardly longer with episodes at the limit
    assert "about 47 s of it training 38 s, 10 evaluations 7 s, 6 checkpoints 2 s" in words(SOUND)
    slow = within("evaluating", tick=0.01)
    assert "about 1 min 7 s; up to 1 min 29 s if evaluation episodes reach the time limit" in words(slow)
    assert "because none ended" in words(within("seen", length=None, episodes=0))


def test_a_replay_that_is_not_filled():
    assert "20,000 rows, 1 GB when full; this run writes 10,000: 500 MB, 2 GB free" in words(within("memory", rows=20_000))
    assert "this run writes" not in words(SOUND)
    stored = within("memory", rows=20_000, collects=False)  # data of 0 rows, it said, because replay=stored has no capacity
    assert "20,000 rows, 1 GB when full, 2 GB free" in words(stored)
    there = within("memory", replay_device="cuda:0", device_available=7 * 10**9)
    assert "1 GB when full, on cuda:0, 7 GB free" in words(there)  # it named the free memory of the host


def test_doubts_about_the_measurement():
    assert "note" not in words(SOUND)
    assert "computed in 50% of the measured time" in words(within("speed", busy=0.35))
    assert "computed in" not in words(with_keys(within("speed", busy=0.35), env__vector="async"))  # it waits for its workers
    assert "29 updates are few" in words(within("speed", updates=29))
    assert "agent.x=9: the first 9 updates learn less" in words(replace(SOUND, first_phase=("agent.x", 9)))
    assert "learn less" not in words(replace(SOUND, first_phase=("agent.x", 4_500)))  # all of them do


def test_automatic_choices_and_suspicions_are_listed():
    chosen = replace(SOUND, decisions=(Decision("accelerate", "fast", "there is no C++ compiler"),))
    assert "accelerate: fast there is no C++ compiler" in words(chosen)
    assert words(SOUND).endswith("nothing suspicious")
    assert words(SOUND, [Suspicion("steps", "Too few.")]).endswith("suspicious (1) steps Too few.")


def test_numbers_for_people():
    assert (milliseconds(0.00123456), milliseconds(1.5)) == ("1.23 ms", "1.5 s")
    assert (rate(1234.5), rate(0.9129)) == ("1,234", "0.913")
