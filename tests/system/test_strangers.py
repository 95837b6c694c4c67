"""Files in folders that somebody else made: opened by one rule, which no source passes by."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest

import deeprl
from deeprl.errors import RunFolderError
from deeprl.system import files


def planted(path: Path, kind: str) -> None:
    """What a stranger may put at a name: `outside` stands beside it."""
    outside = path.parent.parent / "outside"
    outside.write_text("theirs\n")
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "second name":
        os.link(outside, path)
    else:
        path.symlink_to({"link": outside, "device": "/dev/zero", "dangling link": outside.with_name("new")}[kind])


@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe", "device"])
def test_only_plain_files_are_opened(tmp_path, kind):
    (tmp_path / "folder").mkdir()
    path = tmp_path / "folder" / "file"
    planted(path, kind)
    for read in (
        lambda: files.read_regular(path, 10),
        lambda: files.tail(path, 10),
        lambda: files.sha256(path),
        lambda: files.truncate_file(path, 0),
    ):
        with pytest.raises(OSError, match="not a plain file"):
            read()
    assert (tmp_path / "outside").read_text() == "theirs\n"


def test_no_more_is_read_than_a_limit(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    assert files.read_regular(path, 10) == b"0123456789"
    assert files.tail(path, 3) == b"789"
    os.truncate(path, 1 << 40)
    with pytest.raises(ValueError, match="more than 10 bytes"):
        files.read_regular(path, 10)


@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe", "device", "second name"])
def test_what_a_log_would_be_appended_to_is_replaced(tmp_path, kind):
    (tmp_path / "folder").mkdir()
    path = tmp_path / "folder" / "file"
    planted(path, kind)
    for word in ("one\n", "two \udcfc\n"):
        with files.appending(path) as file:
            file.write(word)
    assert path.read_text() == "one\ntwo \\udcfc\n"
    assert (tmp_path / "outside").read_text() == "theirs\n"
    assert not (tmp_path / "new").exists()


def test_a_folder_in_the_place_of_a_log_is_named(tmp_path):
    (tmp_path / "log" / "mine").mkdir(parents=True)
    with pytest.raises(RunFolderError, match="log is a folder, where a file belongs"):
        files.appending(tmp_path / "log")
    assert (tmp_path / "log" / "mine").is_dir()


def test_a_folder_inside_of_another_is_no_link(tmp_path):
    assert files.make_folder(tmp_path / "a") == files.make_folder(tmp_path / "a")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    (tmp_path / "dangling").symlink_to(tmp_path / "b")
    for name in ("link", "dangling"):
        with pytest.raises(OSError, match="is a link"):
            files.make_folder(tmp_path / name)
    assert not (tmp_path / "b").exists()


OPENING = {
    "open", "read_text", "read_bytes", "write_text", "write_bytes", "truncate", "ftruncate", "mkdir", "makedirs", "load_file", "touch",
    "fromfile", "memmap", "loadtxt", "copyfile", "copy2", "copytree",
}  # fmt: skip
"""Calls that open or make what may be there already"""
ELSEWHERE = {
    "tools/check/measure.py": {"open"},  # loggers
    "running/config/captions.py": {"read_text"},  # configurations of deeprl, and of a folder that the command line names
    "running/config/menu.py": {"read_text"},  # the same as captions
    "running/config/parsed.py": {"read_text"},
    "running/config/own_files.py": {"read_bytes", "read_text"},  # the same, and of plugins; a stored sweep's folder needs --allow-file
    "tools/export/build.py": {"mkdir"},  # that --out names
    "cli/record.py": {"mkdir"},  # the same
    "tools/data/convert.py": {"mkdir"},  # that the command line names, and a new one below it
    "running/collect/connection.py": {"mkdir", "open"},  # a token in the home of the user
    "tools/report/build.py": {"mkdir"},
    "tools/report/page.py": {"read_text"},  # its template
    "tools/scaling/page.py": {"read_text"},  # the same
    "running/runs/archive.py": {"mkdir", "open", "read_bytes"},  # in a folder of its own that is new; an entry of an archive
    "running/runs/checkpoint.py": {"load_file", "mkdir"},  # of a file that was compared with its hash; under a name that was cleared
    "running/runs/checkpoints.py": {"mkdir"},  # after `_refuse_links`
    "running/runs/folder.py": {"ftruncate", "mkdir"},  # the run folder itself
    "running/runs/places.py": {"mkdir"},  # new run folders
    "running/session/session.py": {"open"},  # loggers
    "system/files.py": OPENING,
    "system/portable.py": {"open", "ftruncate"},  # without following a link; the lock
    "system/machine.py": {"read_text", "open"},  # of the kernel
    "system/own_code.py": {"read_bytes"},  # of modules that this process has imported
    "system/terminal.py": {"open"},  # the null device
}
"""Where such calls may stand outside of `deeprl.system.files`"""


def test_files_are_opened_by_the_rule_for_strangers_folders():
    root = Path(deeprl.__file__).parent
    found: dict[str, set[str]] = {}
    apart = ("agents", "envs", "deeprl_lab")  # links in `deeprl`, which rglob does not follow, and a package of its own
    paths = [*root.rglob("*.py"), *(path for name in apart for path in (root.parent / name).rglob("*.py"))]
    assert {"agents", "envs", "deeprl_lab", "deeprl"} <= {path.relative_to(root.parent).parts[0] for path in paths}
    for path in paths:
        for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
            name = getattr(call.func, "id", getattr(call.func, "attr", None))
            if name in OPENING:
                found.setdefault(str(path.relative_to(root if root in path.parents else root.parent)), set()).add(name)
    beyond = {file: names - ELSEWHERE.get(file, set()) for file, names in found.items()}
    assert not {file: names for file, names in beyond.items() if names}, "use deeprl.system.files: opened, read_regular, make_folder …"
