"""What is asked of Ray when it is joined or started. Ray itself is in tests/running/collect/test_ray.py."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from deeprl.errors import ConfigError
from deeprl.running.collect.connection import connect


@pytest.fixture
def ray(monkeypatch, tmp_path):
    """A package `ray` whose `init` writes down what it was called with and where, and a home folder of its own."""
    ray = SimpleNamespace(
        __version__="2.59.0",
        address="127.0.0.1",
        init=lambda **words: vars(ray).update(words=words, folder=os.getcwd(), mode=os.environ.get("RAY_AUTH_MODE")),
        job_config=SimpleNamespace(JobConfig=lambda _py_driver_sys_path: list(reversed(_py_driver_sys_path))),
        util=SimpleNamespace(get_node_ip_address=lambda: ray.address),
        exceptions=SimpleNamespace(RayError=LookupError),
    )
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setattr(os, "environ", {**os.environ, "HOME": str(tmp_path), "RAY_AUTH_MODE": "disabled"})
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"):
        os.environ.pop(name, None)
    return ray


@pytest.mark.parametrize("address", [None, "10.0.0.1:6379"])
def test_workers_search_where_this_process_does_and_not_in_the_current_folder(address, ray, tmp_path, monkeypatch):
    for name in ("run", "own"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "run")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "own"), str(tmp_path / "gone"), *sys.path])
    connect(address, "collect=ray", "collect.address")
    before = [entry for entry in sys.path if Path(entry).exists()]
    assert ray.words["job_config"] == before
    assert ray.folder == before[0] == str(tmp_path / "own")
    assert Path.cwd() == tmp_path / "run"
    monkeypatch.setattr(sys, "path", ["", *sys.path])  # as in an interactive session, which searches the current folder itself
    connect(address, "collect=ray", "collect.address")
    assert ray.words["job_config"] == [str(tmp_path / "run"), *before]


def test_a_ray_of_this_machine_is_reached_from_nowhere_else_and_asks_for_a_token(ray, tmp_path, capsys):
    connect(None, "--on ray", "--ray-address")
    token = tmp_path / ".ray" / "auth_token"
    assert os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"
    assert (ray.words["address"], ray.words["include_dashboard"], ray.mode) == ("local", False, None)
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert len(made := token.read_text()) == 64
    assert capsys.readouterr().err == ""
    token.chmod(0o644)
    ray.address = "192.0.2.1"
    connect(None, "--on ray", "--ray-address")
    said = capsys.readouterr().err
    assert f"chmod 600 {token}" in said
    assert "Ray listens on 192.0.2.1" in said
    assert [path.read_text() for path in (tmp_path / ".ray").iterdir()] == [made]


def test_a_cluster_that_is_joined_decides_about_tokens_itself(ray, tmp_path):
    connect("auto", "collect=ray", "collect.address")
    assert (ray.words["address"], ray.mode) == ("auto", "disabled")
    assert "include_dashboard" not in ray.words
    assert "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER" not in os.environ
    assert not (tmp_path / ".ray").exists()


def test_a_ray_without_tokens_a_wrong_token_and_an_address_of_no_cluster_are_refused(ray):
    def refuse(**words):
        raise LookupError("InvalidAuthToken:\n wrong")

    ray.init = refuse
    with pytest.raises(ConfigError, match=r"collect.address=10.0.0.1:6379: InvalidAuthToken: wrong"):
        connect("10.0.0.1:6379", "collect=ray", "collect.address")
    for local in ("local", ""):
        with pytest.raises(ConfigError, match="--ray-address='.*' is no cluster"):
            connect(local, "--on ray", "--ray-address")
    ray.__version__ = "2.58.1"
    with pytest.raises(ConfigError, match=r"^collect=ray needs ray>=2.59, and 2.58.1 is installed"):
        connect(None, "collect=ray", "collect.address")
