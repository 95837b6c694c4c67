from __future__ import annotations

import pytest

from deeprl.cli import exits
from tests.builders import begin
from tests.running.collect.cluster import TWO, WORDS, stand_in


@pytest.fixture
def cluster(monkeypatch):
    return stand_in(monkeypatch)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of an undisturbed run of two actors."""
    path = tmp_path_factory.mktemp("remote") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        stand_in(patch)
        assert begin(path, *WORDS, *TWO) == exits.FINISHED
    return path
