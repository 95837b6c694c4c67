"""What system.json records about the machine, and how much memory there is."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys

import pytest

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
    (tmp_path / "results.json").touch()  # no run reads it
    assert not machine.commit(tmp_path)["dirty"]
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "mine.py").touch()
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


@pytest.mark.parametrize(
    ("line", "memory", "names"),
    [
        ("0::/slurm/job_7/step_0", "", ("memory.max", "memory.current", "inactive_file")),
        ("4:cpu,memory:/slurm/job_7/step_0", "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")),
    ],
)
def test_the_control_groups_of_this_process_limit_it(line, memory, names, tmp_path, monkeypatch):
    """The job has 1,000 bytes and one core, its step no limit; a neighbour has less, which does not count."""
    monkeypatch.setattr(machine, "GROUPS", tmp_path)
    monkeypatch.setattr(machine, "OWN_GROUPS", tmp_path / "own")
    (tmp_path / "own").write_text(f"1:name=systemd:/elsewhere\n{line}\n")
    most, used, reclaimed = names
    for group, limit, cores in (("job_7", 1000, "100000"), ("job_7/step_0", "max", "max"), ("job_8", 1, "1")):
        folder = tmp_path / memory / "slurm" / group
        folder.mkdir(parents=True)
        for name, content in ((most, limit), (used, 300), ("memory.stat", f"{reclaimed} 50"), ("cpu.max", f"{cores} 100000")):
            (folder / name).write_text(f"{content}\n")
    assert machine.available_memory() == 1000 - 300 + 50
    if not memory:
        monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(8)), raising=False)
        assert machine.usable_cores() == 1


def test_a_control_group_that_is_not_visible_leaves_the_root(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "OWN_GROUPS", tmp_path / "own")
    for own in (None, "0::/../outside\n"):
        if own:
            (tmp_path / "own").write_text(own)
        assert machine.control_groups() == [machine.GROUPS]


def test_the_machine_is_read_without_torch():
    code = "import sys; from deeprl.system import machine; print(machine.available_memory() > 1 << 20, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]


FAULTS = """
import ctypes, resource, sys
from deeprl.system.machine import keep_memory
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: a huge page would cost one fault for many
kept = sys.argv[1] == "True" and keep_memory()
for tick in range(11):
    blocks = [bytearray(4 << 20) for _ in range(3)]
    del blocks
    if tick == 0:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_freed_memory_is_kept_for_the_next_update():
    """Ten times 12 MiB cost up to a page fault for each page, if the system got all of it back."""
    told, pages = {}, 10 * (12 << 20) // resource.getpagesize()
    ours = {key: value for key, value in os.environ.items() if key not in ("LD_PRELOAD", "GLIBC_TUNABLES") and "MALLOC_" not in key}
    for keep in (True, False):
        done = subprocess.run([sys.executable, "-c", FAULTS, str(keep)], capture_output=True, text=True, check=True, env=ours)
        answer, faults = done.stdout.split()
        assert answer == str(keep)
        told[keep] = int(faults)
    assert told[True] < pages / 30 < pages / 3 < told[False]


def test_a_missing_extra_is_installed_by_the_names_of_its_packages(monkeypatch):
    """Who installed a wheel has no checkout, and no index has our distribution."""
    told = ["torch>=2.6", 'minatar>=1.0.15; extra == "minatar"', 'onnx>=1.18; extra == "export"', "onnxscript>=0.7; extra == 'export'"]
    monkeypatch.setattr(machine.importlib.metadata, "requires", lambda name: told)
    assert machine.extra("minatar") == 'pip install "minatar>=1.0.15"'
    assert machine.extra("export") == 'pip install "onnx>=1.18" "onnxscript>=0.7"'
    assert machine.extra("ray") == 'pip install -e ".[ray]" in its checkout'  # installed before the extra was there
