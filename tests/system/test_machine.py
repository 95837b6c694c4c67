"""What system.json records about the machine, and how much memory there is."""

from __future__ import annotations

import subprocess
import sys

from deeprl.system import machine


def git(folder, *words):
    who = ("-c", "user.name=user", "-c", "user.email=user@example.org")
    subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)


def test_only_a_checkout_has_a_commit(tmp_path):
    """A wheel installed inside a user's repository is not recorded under the user's commit."""
    installed = tmp_path / ".venv" / "lib" / "site-packages"
    installed.mkdir(parents=True)
    git(tmp_path, "init")
    git(tmp_path, "commit", "--allow-empty", "--message", "the user's")
    assert machine.commit(installed) is None
    found = machine.commit(tmp_path)
    assert len(found["commit"]) == 40
    assert not found["dirty"]
    (tmp_path / "new").touch()
    assert machine.commit(tmp_path)["dirty"]


def test_a_broken_checkout_has_no_commit(tmp_path):
    (tmp_path / ".git").write_text("gitdir: /nowhere")
    assert machine.commit(tmp_path) is None


def test_both_layouts_of_kernel_files_are_read(tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal:   20 kB\nMemAvailable:   10 kB\n\nMemAvailable: 7 kB\n")
    assert machine.kernel_table(tmp_path / "meminfo")["MemAvailable"] == "10 kB"
    (tmp_path / "memory.stat").write_text("anon 4096\ninactive_file 8192\ntotal_inactive_file 1\n")
    assert machine.kernel_table(tmp_path / "memory.stat")["inactive_file"] == "8192"
    assert machine.kernel_table(tmp_path / "missing") == {}


def test_the_machine_is_read_without_torch():
    code = "import sys; from deeprl.system import machine; print(machine.available_memory() > 1 << 20, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]
