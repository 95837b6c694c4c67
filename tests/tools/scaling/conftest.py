"""Fixtures of the pages on scaling."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def undrawn(request, monkeypatch) -> None:
    """A figure is made and not rendered, which takes most of the time of a page: a test that looks at it has `drawn`."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr("deeprl.tools.scaling.page.png", lambda _: b"\x89PNG")


@pytest.fixture
def drawn() -> None:
    """Figures are rendered."""
