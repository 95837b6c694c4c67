"""Files, locks and signals where POSIX's calls are missing, as on Windows."""

import os
import signal
import subprocess
import sys
import types
from pathlib import Path

import pytest

from deeprl.system import portable

TAKEN = ("O_NOFOLLOW", "O_NONBLOCK", "O_DIRECTORY", "register_at_fork", "pread", "pwrite", "sched_getaffinity")
SIGNALS = ("SIGUSR1", "SIGUSR2", "SIGHUP", "SIGXCPU")


class Taken:
    """A module without some of its names."""

    def __init__(self, module, names):
        self.module, self.names = module, names

    def __getattr__(self, name):
        if name in self.names:
            raise AttributeError(name)
        return getattr(self.module, name)


@pytest.fixture
def windows(monkeypatch):
    """The module as it is where fcntl, resource and POSIX's names are missing; `msvcrt` is a model of Windows' mandatory locks."""
    held = {}

    def locking(handle, mode, size):
        place = (os.fstat(handle).st_ino, os.lseek(handle, 0, os.SEEK_CUR))
        if held.setdefault(place, handle) != handle:
            raise PermissionError("another process holds it")

    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setitem(sys.modules, "resource", None)
    monkeypatch.setitem(sys.modules, "msvcrt", types.SimpleNamespace(locking=locking, LK_NBLCK=2))
    monkeypatch.setitem(sys.modules, "os", Taken(os, TAKEN))
    monkeypatch.setitem(sys.modules, "signal", Taken(signal, SIGNALS))
    module = types.ModuleType("portable_without_posix")
    exec(compile(Path(portable.__file__).read_text(), portable.__file__, "exec"), module.__dict__)
    return module


def test_a_link_is_refused_without_a_flag_for_it(windows, tmp_path):
    (tmp_path / "target").write_text("user's")
    (tmp_path / "link").symlink_to("target")
    with pytest.raises(OSError, match="symbolic links"):
        windows.open_plain(tmp_path / "link", os.O_WRONLY | os.O_CREAT)
    handle = windows.open_plain(tmp_path / "target", os.O_RDONLY)
    assert windows.read_start(handle, 10) == b"user's"
    os.close(handle)


def test_a_lock_of_windows_excludes_others_and_leaves_the_content_readable(windows, tmp_path):
    mine, other = (os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT) for _ in range(2))
    try:
        assert [windows.try_lock(each) for each in (mine, other, mine)] == [True, False, True]
        assert not windows.try_lock(other, shared=True)
        windows.write_anew(mine, b"pid 1")
        assert windows.read_start(other, 200) == b"pid 1"
    finally:
        os.close(mine)
        os.close(other)


def test_signals_that_a_system_lacks_are_left_out(windows):
    assert windows.signals("SIGTERM", "SIGUSR1", "SIGINT") == (signal.SIGTERM, signal.SIGINT)
    assert not windows.POSIX
    assert windows.peak_memory() == 0
    windows.after_fork(lambda: None)


PROGRAM = f"""
import builtins, contextlib, fcntl, os, signal, sys, types
import gymnasium, hydra, matplotlib, multiprocessing.util, omegaconf, shutil, tempfile, torch, torch.utils.tensorboard, yaml
with contextlib.suppress(ImportError):  # an extra, which this run does not need
    import ray
def locking(handle, mode, size):
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise PermissionError
sys.modules["msvcrt"] = types.SimpleNamespace(locking=locking, LK_NBLCK=2)
plain = builtins.__import__
def without(name, globals=None, locals=None, fromlist=(), level=0):
    if name in ("fcntl", "resource", "termios", "pwd", "grp", "tty") and str((globals or {{}}).get("__name__")).startswith("deeprl"):
        raise ImportError(name)
    return plain(name, globals, locals, fromlist, level)
builtins.__import__ = without
for name in {TAKEN!r}:
    delattr(os, name)
for name in {SIGNALS!r}:
    delattr(signal, name)
import multiprocessing
multiprocessing.get_all_start_methods = lambda: ["spawn"]
from deeprl.cli.main import main
if __name__ == "__main__":
    sys.argv = ["deeprl", *sys.argv[1:]]
    sys.exit(main())
"""


@pytest.mark.exhaustive
def test_a_run_trains_and_is_continued_without_posix(tmp_path):
    """Worked with environments in processes, a stop and a resume."""
    (tmp_path / "without.py").write_text(PROGRAM)

    def deeprl(*words):
        done = subprocess.run([sys.executable, "without.py", *words], cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
        return done.stdout

    settings = ("env=classic/cartpole", "budget=tiny", "hydra.run.dir=run", "runtime.threads=1")
    deeprl("train", *settings, "env.vector=async", "env.num=2")
    deeprl("resume", "run", "steps=2000")
    assert "2,000" in deeprl("status", "run")
