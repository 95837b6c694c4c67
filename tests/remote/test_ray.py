"""Collection on a real Ray, which CI does not install: the same run as in tests/remote/test_remote.py, also if an actor is killed.

pip install -e ".[ray]" && pytest -m exhaustive tests/remote/test_ray.py
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from deeprl.cli import exits
from deeprl.remote.collector import RemoteCollector
from tests.builders import begin
from tests.promises.test_resume import assert_same_run
from tests.remote.cluster import stand_in
from tests.remote.test_remote import TWO, WORDS

pytest.importorskip("ray")
pytestmark = pytest.mark.exhaustive


def actors() -> list[int]:
    """Processes of actors that have begun to collect."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().startswith(b"ray::Actor"):
                found.append(int(path.parent.name))
        except OSError:  # it has ended
            continue
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("ray") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        stand_in(patch)
        assert begin(path, *WORDS, *TWO) == exits.FINISHED
    return path


@pytest.mark.parametrize("killed", [False, True])
def test_ray_is_an_order_and_no_other_run(killed, tmp_path, whole, monkeypatch):
    plain, died = RemoteCollector.tick, []

    def tick(self, now):
        plain(self, now)
        if killed and now == 100:
            died.extend(actors()[:1])
            os.kill(died[0], signal.SIGKILL)

    monkeypatch.setattr(RemoteCollector, "tick", tick)
    assert begin(tmp_path / "run", *WORDS, *TWO) == exits.FINISHED
    assert_same_run(tmp_path / "run", whole)
    assert len(died) == killed
    assert not [pid for pid in actors() if Path(f"/proc/{pid}/cmdline").read_bytes()]
