from __future__ import annotations

import pytest

from deeprl.running.config import folders


@pytest.fixture(autouse=True, scope="session")
def announced():
    """An editable install of before the lab was a package of its own announces nothing."""
    assert "deeprl_lab.configs" in folders.extensions(), "the lab is not announced: pip install -e . again"
