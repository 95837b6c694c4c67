import pytest

from deeprl.schedules import Clock, Constant, Cosine, Linear


def test_constant():
    assert Constant(0.25)(10**9) == 0.25


def test_linear_is_exact_at_both_ends():
    schedule = Linear(start=1.0, end=0.01, duration=100, begin=20)
    assert [schedule(step) for step in (0, 20, 120, 10**9)] == [1.0, 1.0, 0.01, 0.01]
    assert schedule(70) == pytest.approx(0.505)


@pytest.mark.parametrize("wrong", [{"duration": 0}, {"duration": 5, "begin": -1}, {"duration": 5, "start": "one"}])
def test_linear_checks_its_range(wrong):
    with pytest.raises(ValueError, match=next(reversed(wrong))):
        Linear(**{"start": 1.0, "end": 0.0, **wrong})


def test_cosine_meets_linear_at_both_ends_and_in_the_middle():
    """At a third of the way cos 60° = ½, so that a quarter of the way is done."""
    schedule = Cosine(start=1.0, end=0.5, duration=300, begin=20)
    assert [schedule(step) for step in (0, 20, 320, 10**9)] == [1.0, 1.0, 0.5, 0.5]
    assert [schedule(step) for step in (120, 170)] == pytest.approx([0.875, 0.75])


def test_periods_without_updates_do_not_count():
    """Periods of 2 and 3 steps; updates are made in steps 4 and 9 alone."""
    clock, counted = Clock({"two": 2, "three": 3}), []
    for step in range(1, 13):
        if step in (4, 9):
            clock.update()
        counted.append(clock.with_updates(clock.tick(step - 1, step)))
    assert [(step, *names) for step, names in enumerate(counted, 1) if names] == [(4, "two"), (6, "three"), (9, "three"), (10, "two")]
