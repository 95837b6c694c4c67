from deeprl.system.contention import Contention


def test_a_run_that_waits_for_cores_says_so_once():
    now, waited = 0.0, 0.0
    contention = Contention(2, clock=lambda: now, waited=lambda: waited)
    now, waited = 30.0, 14.0
    assert contention.notice() is None  # less than half of the time
    now, waited = 59.0, 44.0
    assert contention.notice() is None  # not looked at yet
    now = 60.0
    assert contention.notice() == (
        "other programs use the cores: in 30 s threads of this run waited 30 s for one. "
        "A run with runtime.threads=1 waits less than one with 2"
    )
    now, waited = 90.0, 74.0
    assert contention.notice() is None


def test_a_system_that_does_not_tell_makes_no_notice():
    now = 0.0
    contention = Contention(1, clock=lambda: now, waited=lambda: None)
    now = 100.0
    assert contention.notice() is None
