"""Folders of what is not finished: nothing stays of them."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from deeprl.system.temporary import UNFINISHED, temporary


def fill(folder: Path, number: int | None) -> None:
    with temporary(folder) as made:
        (made / "half").write_text("half")
        assert made.parent == folder
        if number is None:
            raise ValueError
        os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, None], ids=str)
def test_nothing_stays_at_a_signal_or_an_error(number, tmp_path):
    before = number and signal.signal(number, signal.SIG_DFL)  # a suite below nohup ignores SIGHUP, and so would the command
    try:
        with pytest.raises(ValueError if number is None else KeyboardInterrupt):
            fill(tmp_path, number)
        assert number is None or signal.getsignal(number) == signal.SIG_DFL
    finally:
        if number:
            signal.signal(number, before)
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_has_left_is_named(tmp_path, capsys):
    (left := tmp_path / f"{UNFINISHED}1").mkdir()
    with temporary(tmp_path):
        assert str(left) in capsys.readouterr().err
    assert [*tmp_path.iterdir()] == [left]  # another process may be at work there
