"""What is recorded of a user's own code."""

from __future__ import annotations

import sys
from types import ModuleType

from deeprl.system.machine import system_entry
from deeprl.system.own_code import own_code


def test_modules_of_a_user_are_recorded_with_the_hash_of_git(tmp_path, monkeypatch):
    """A run went on with changed code of its user's, and nothing told it."""
    file, module = tmp_path / "own_net.py", ModuleType("own_net")
    file.write_text("a = 1\n")
    module.__file__ = str(file)
    monkeypatch.setitem(sys.modules, "own_net", module)
    found = system_entry()["code"]
    assert found["own_net"] == "1337a530cbc1bd7d20aee2d80f1f174a9182417d"  # git hash-object
    assert not [name for name in found if name.split(".")[0] in ("deeprl", "torch", "pytest", "json")]
    file.unlink()
    assert "own_net" not in own_code()
