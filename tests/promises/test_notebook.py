"""The notebook of the documentation runs from top to bottom."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

NOTEBOOK = Path(__file__).resolve().parents[2] / "docs" / "notebook.ipynb"


@pytest.mark.exhaustive
def test_the_notebook_runs_from_top_to_bottom(tmp_path, monkeypatch):
    """Its cells in one module, as in a kernel, with fewer steps."""
    pytest.importorskip("matplotlib").use("Agg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "__main__", kernel := ModuleType("__main__"))
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    for cell in cells:
        source = "".join(cell["source"]).replace("steps=20000", "steps=1500").replace('"steps": 4000', '"steps": 1200')
        exec(compile(source, "notebook", "exec"), kernel.__dict__)
    assert [each.step for each in (kernel.other, kernel.own)] == [1500, 1200]
    assert kernel.score > 0
