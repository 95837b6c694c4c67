"""Files: created anew, replaced whole, and nothing written through a link."""

from __future__ import annotations

import ast
import errno
import os
import re
import stat
import time
from pathlib import Path

import pytest
import torch

from deeprl.errors import RunFolderError
from deeprl.running.runs import checkpoint
from deeprl.system import files
from deeprl.system.strict_json import strict_json

ROOT = Path(__file__).resolve().parents[2]


def test_text_of_ours_and_of_users_is_utf_8_in_every_locale():
    """Under LC_ALL=C the report could not read its own page. Files of the kernel, and a token of digits, are ASCII."""
    found = set()
    for path in (each for room in ("deeprl", "deeprl_lab", "agents", "envs") for each in (ROOT / room).rglob("*.py")):
        for call in (node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)):
            name = call.func.attr if isinstance(call.func, ast.Attribute) else call.func.id if isinstance(call.func, ast.Name) else ""
            given = ast.unparse(call)
            opens = isinstance(call.func, ast.Name) and name == "open" and not re.search("'[rwax]b'", given)
            if (opens or name in ("read_text", "write_text")) and "utf-8" not in given:
                found.add(str(path.relative_to(ROOT)))
    assert found == {"deeprl/system/machine.py", "deeprl/running/collect/connection.py"}


def test_a_new_file_follows_no_link_and_replaces_nothing(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "outside")
    (tmp_path / "there").write_text("old")
    for name in ("link", "there"):
        with pytest.raises(FileExistsError):
            files.create(tmp_path / name, b"new")
    assert not (tmp_path / "outside").exists()
    assert (tmp_path / "there").read_text() == "old"


def test_replacing_a_link_leaves_what_it_names(tmp_path):
    (tmp_path / "outside").write_text("theirs")
    (tmp_path / "link").symlink_to(tmp_path / "outside")
    files.replace_file(tmp_path / "link", "ours")
    assert (tmp_path / "outside").read_text() == "theirs"
    assert (tmp_path / "link").read_text() == "ours"
    assert not (tmp_path / "link").is_symlink()


def test_no_planted_name_is_written_through(tmp_path):
    """Names that an earlier version took: with the number of the process, which is small and can be guessed."""
    run = tmp_path / "run"
    run.mkdir()
    for pid in range(max(1, os.getpid() - 100), os.getpid() + 100):
        (run / f".config.yaml.{pid}.partial").symlink_to(tmp_path / "outside")
    files.replace_file(run / "config.yaml", "seed: 0\n")
    assert not (tmp_path / "outside").exists()
    files.remove_partials(run)
    assert [path.name for path in run.iterdir()] == ["config.yaml"]


def test_a_failed_replacement_leaves_the_old_content_alone(tmp_path):
    (tmp_path / "file").write_text("old")
    with pytest.raises(TypeError):
        files.replace_file(tmp_path / "file", 3)  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "old"


def test_a_full_disk_names_the_file(tmp_path, monkeypatch):
    """`deeprl sweep` ended with "OSError: [Errno 28] No space left on device" and the name of no folder."""

    def refused(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", refused)
    with pytest.raises(OSError, match=f"No space left on device: '{tmp_path / 'sweep.json'}'"):
        files.replace_file(tmp_path / "sweep.json", "{}")
    assert not list(tmp_path.iterdir())


def test_the_first_bytes_of_a_file_are_written_once_after_a_full_disk(tmp_path, monkeypatch):
    """The disk refuses two flushes, then takes two bytes, then the rest."""
    write, room = os.write, iter([0, 0, 2, 9])

    def scarce(handle, data):
        if not (most := next(room)):
            raise OSError(errno.ENOSPC, "full")
        return write(handle, bytes(data[:most]))

    monkeypatch.setattr(os, "write", scarce)
    appender = files.Appender(tmp_path / "file", b"START")
    appender.write(b"x")
    for _ in range(2):
        with pytest.raises(OSError, match="full"):
            appender.flush()
    appender.flush()
    assert (tmp_path / "file").read_bytes() == b"STARTx"


@pytest.mark.parametrize("umask", [0o022, 0o007, 0o077])
def test_the_umask_decides_who_may_read(tmp_path, umask):
    import torch

    before = os.umask(umask)
    try:
        files.replace_file(tmp_path / "plain", "text")
        checkpoint.write_tensors(tmp_path / "tensors", {"a": torch.zeros(2)})
    finally:
        os.umask(before)
    for name in ("plain", "tensors"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o666 & ~umask


def test_a_key_given_twice_is_found_in_linear_time():
    """100,000 keys; a search through the list of names for each of them would take a hundred times as long as parsing does."""
    pairs = [f'"{i}": 0' for i in range(100_000)]
    began = time.process_time()
    strict_json("{" + ", ".join(pairs) + "}")
    once = time.process_time() - began
    began = time.process_time()
    with pytest.raises(ValueError, match="'99999' is given twice"):
        strict_json("{" + ", ".join([*pairs, '"99999": 1']) + "}")
    assert time.process_time() - began < 20 * once + 1.0


# ---- file systems that lack a call


def refusing(number):
    def call(*given, **named):
        raise OSError(number, os.strerror(number))

    return call


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EBADF, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_folder_that_cannot_be_flushed_is_written_all_the_same(tmp_path, monkeypatch, number):
    """Files can, in contrast, or nothing would be durable."""

    def fsync(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            refusing(number)()

    monkeypatch.setattr(os, "fsync", fsync)
    files.replace_file(tmp_path / "status.json", "new")
    assert (tmp_path / "status.json").read_text() == "new"
    monkeypatch.setattr(os, "fsync", refusing(number))
    with pytest.raises(OSError):
        files.replace_file(tmp_path / "status.json", "newer")


def test_a_disk_that_fails_to_flush_a_folder_is_no_file_system_without_the_call(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", refusing(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        files.sync_folder(tmp_path)


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_modes_holds_checkpoints(tmp_path, monkeypatch, number):
    monkeypatch.setattr(os, "chmod", refusing(number))
    checkpoint.save(tmp_path / "step", {"agent": torch.ones(3)})
    assert checkpoint.load(tmp_path / "step")["agent"].tolist() == [1, 1, 1]


def test_a_file_that_nobody_may_remove_is_named(tmp_path, monkeypatch):
    """What is replaced needs no removing."""
    (tmp_path / ".x.partial").write_text("")
    monkeypatch.setattr(os, "unlink", refusing(errno.EPERM))
    files.replace_file(tmp_path / "status.json", "new")
    with pytest.raises(RunFolderError, match=r"\.x\.partial cannot be removed \(Operation not permitted\): put runs where"):
        files.remove_partials(tmp_path)


# ---- damage, or a machine that cannot read


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (OSError(errno.EIO, ""), "Input/output error"),
        (OSError(errno.ESTALE, ""), "Stale file handle"),
        (OSError(errno.ENOMEM, ""), "Cannot allocate memory"),
        (OSError(errno.EACCES, ""), "Permission denied"),
        (MemoryError(), "there is too little memory"),
        (OSError(errno.ENOENT, ""), None),
        (OSError(errno.ELOOP, ""), None),
        (OSError("it is not a plain file"), None),
        (ValueError("it is nested too deeply"), None),
    ],
)
def test_what_the_machine_cannot_read_may_be_whole(error, fault):
    assert files.machine_fault(error) == fault


def test_a_quota_and_a_limit_of_a_shell_are_full_disks():
    numbers = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
    assert [files.full(OSError(number, os.strerror(number))) for number in numbers] == [True, True, True, False]
