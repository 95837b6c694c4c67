"""Signals that stop a run: the first one is remembered, and a second Ctrl-C ends the process."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading

import pytest

from deeprl.cli.main import main
from deeprl.errors import STOPPED
from deeprl.system.signals import HANDLED, Signals


@pytest.fixture
def no_nohup():
    """The tests themselves may run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGUSR2", "SIGHUP", "SIGXCPU", "SIGINT"])
def test_a_signal_is_remembered_and_handlers_are_put_back(name, capfd, no_nohup):
    before = [signal.getsignal(number) for number in HANDLED]
    with Signals() as signals:
        assert signals.stop is None
        signal.raise_signal(signal.Signals[name])
        assert signals.stop == name
        signal.raise_signal(signal.SIGTERM)
        assert signals.stop == name
    assert [signal.getsignal(number) for number in HANDLED] == before
    assert f"{name}: saving at the next step" in capfd.readouterr().err


def test_a_signal_stops_a_run_around_the_one_that_trains_too(capfd):
    """The run that trained another one in a listener was marked as failed, and left with the code of one that is saved."""
    with Signals() as around:
        with Signals() as within:
            signal.raise_signal(signal.SIGTERM)
        assert within.stop == around.stop == "SIGTERM"
    assert capfd.readouterr().err.count("saving") == 1


def test_before_training_and_after_it_a_signal_leaves_as_a_saved_run():
    """There is nothing to save, and a batch script queues the job again."""
    code = (
        "import os, signal, sys; from deeprl.system.signals import Signals, leave_at_signals; leave_at_signals()\n"
        "if sys.argv[1] == 'after':\n    with Signals(): pass\n"
        "os.kill(os.getpid(), signal.SIGTERM); signal.pause()"
    )
    for when in ("before", "after"):
        done = subprocess.run([sys.executable, "-c", code, when], check=False, stderr=subprocess.PIPE, text=True)
        assert done.returncode == STOPPED
        assert "SIGTERM before the first step or after the end: nothing is left to save" in done.stderr


@pytest.mark.parametrize("words", [["train"], ["resume"], ["eval"]])
def test_commands_that_train_leave_at_signals_from_their_first_line_on(words, monkeypatch):
    called = []
    monkeypatch.setattr("deeprl.system.signals.leave_at_signals", lambda: called.append(True))
    monkeypatch.setattr(sys, "argv", ["deeprl", *words, "--help"])
    with contextlib.suppress(SystemExit):
        main()
    assert bool(called) == (words != ["eval"])


def test_signals_that_an_environment_has_taken_are_taken_again():
    with Signals() as signals:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signals.arm()
        signal.raise_signal(signal.SIGTERM)
        assert signals.stop == "SIGTERM"


def test_a_second_interrupt_leaves_at_once():
    with Signals() as signals:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)  # the first one, though not the first signal
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert signals.stop == "SIGTERM"
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_run_under_nohup_goes_on_when_its_terminal_closes():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Signals() as signals:
            signal.raise_signal(signal.SIGHUP)
            assert signals.stop is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_other_threads_get_no_signals():
    found = []

    def other():
        with Signals() as signals:
            found.append(signals.stop)

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert found == [None]
