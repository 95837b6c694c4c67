from __future__ import annotations

import pytest

from tests.remote.cluster import stand_in


@pytest.fixture
def cluster(monkeypatch):
    return stand_in(monkeypatch)
