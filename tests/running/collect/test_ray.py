"""Collection on a real Ray, which CI does not install: the same run as in tests/running/collect/test_remote.py, also if an actor is killed.

pip install -e ".[ray]" && pytest -m exhaustive tests/running/collect/test_ray.py
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import gymnasium
import pytest

import deeprl
from deeprl.cli import exits
from deeprl.envs.vector.environments import EnvironmentFailed
from deeprl.running.collect.cluster import Cluster as RayCluster
from deeprl.running.collect.collector import RemoteCollector
from deeprl.running.collect.connection import package
from deeprl.running.config.overrides import quoted
from tests.builders import begin, lines
from tests.promises.test_resume import assert_same_run
from tests.running.collect.cluster import TWO, WORDS

pytestmark = [pytest.mark.exhaustive, pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray")]


def actors(mark: str) -> list[int]:
    """Processes of actors that have begun to collect, of those whose environment holds `mark`: the machine may have others."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if (path / "cmdline").read_bytes().startswith(b"ray::RemoteActor") and mark.encode() in (path / "environ").read_bytes():
                found.append(int(path.name))
        except OSError:  # it has ended
            continue
    return found


@pytest.mark.parametrize("killed", [False, True])
def test_ray_is_an_order_and_no_other_run(killed, tmp_path, whole, monkeypatch):
    plain, died, mark = RemoteCollector.tick, [], str(tmp_path)
    monkeypatch.setenv("DEEPRL_TEST", mark)

    def tick(self, now):
        plain(self, now)
        if killed and now == 100:
            died.extend(actors(mark)[:1])
            os.kill(died[0], signal.SIGKILL)

    monkeypatch.setattr(RemoteCollector, "tick", tick)
    assert begin(tmp_path / "run", *WORDS, *TWO) == exits.FINISHED
    assert_same_run(tmp_path / "run", whole)
    assert len(died) == killed
    for _ in range(600):  # Ray does not wait for the last of them
        if not actors(mark):
            break
        time.sleep(0.1)
    assert not actors(mark)


def test_a_node_that_disappears_changes_nothing(tmp_path, whole, monkeypatch, capsys):
    """One actor is on the head, the other one on a second node. Its successor waits until a third node joins."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        second = cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        plain = RemoteCollector.tick

        def tick(self, now):
            plain(self, now)
            if now == 100:
                cluster.remove_node(second, allow_graceful=False)
                cluster.add_node(num_cpus=1)

        monkeypatch.setattr(RemoteCollector, "tick", tick)
        assert begin(tmp_path / "run", *WORDS, *TWO, f"collect.address={quoted(cluster.address)}") == exits.FINISHED
    finally:
        cluster.shutdown()
    assert lines(tmp_path / "run", "metrics.jsonl") == lines(whole, "metrics.jsonl")
    assert capsys.readouterr().err.count("and is replaced") == 1


def test_a_function_of_this_process_reaches_the_actors_which_close_their_environments(tmp_path):
    closed = tmp_path / "closed"

    class Recorded(gymnasium.Wrapper):
        def close(self):
            with open(closed, "a") as file:
                file.write(f"{os.getpid()}\n")
            super().close()

    run = deeprl.train(
        ["agent=dqn", "steps=200", "replay.learning_starts=100", "collect=ray", "collect.ticks=7", "evaluation.every=null"],
        env=lambda: Recorded(gymnasium.make("CartPole-v1")),
        folder=tmp_path / "run",
    )
    assert run.step == 200
    processes = closed.read_text().split()
    of_actors = {each: processes.count(each) for each in processes if int(each) != os.getpid()}
    assert list(of_actors.values()) == [2, 2]  # one asked for its spaces, and one that was stepped


def test_errors_of_ray_are_deaths_and_those_of_actors_are_not(monkeypatch):
    """Ray ends an actor whose node has little memory left with an error that is none about actors."""
    ray = package("collect=ray")
    found = object.__new__(RayCluster)
    found.ray = SimpleNamespace(exceptions=ray.exceptions, get=lambda error: (_ for _ in ()).throw(error))
    memory = ray.exceptions.OutOfMemoryError("killed")
    assert found.fetch(memory) is memory
    lost = ray.exceptions.RayTaskError("collect", "", ray.exceptions.ObjectLostError("0" * 56, None, ""))
    assert found.fetch(lost) is lost
    with pytest.raises(EnvironmentFailed, match="environment 3"):
        found.fetch(ray.exceptions.RayTaskError("collect", "", EnvironmentFailed("environment 3 failed")))


def test_ray_listens_on_the_loopback_address_only():
    """A process of its own, because ray reads at its import whether it may."""
    subprocess.run([sys.executable, "-c", LISTENS], check=True, timeout=300, cwd=Path(__file__).parents[3])


LISTENS = """
import os
from benchmarks.listening import listening
from deeprl.running.collect.connection import connect

ray = connect(None, "collect=ray", "collect.address", num_cpus=1)
ray.get(ray.remote(lambda: None).remote())
found = listening(os.getpid())
ray.shutdown()
assert len(found) >= 6, found
assert {address for address, port in found} == {"127.0.0.1"}, found
"""


GAME = """
import gymnasium

def make():
    assert open("words.txt").read() == "cart"  # a path that is meant from the current folder
    return gymnasium.make("CartPole-v1")
"""


def test_actors_import_nothing_of_the_current_folder_and_what_is_on_the_users_path(tmp_path):
    for name in ("deeprl", "yaml", "envs", "gymnasium", "ray", "numpy"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'a').write(__name__ + chr(10))\n")
    (tmp_path / "words.txt").write_text("cart")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "my_games.py").write_text(GAME)

    def console(*words: str) -> None:
        command, path = Path(sys.executable).with_name("deeprl"), {"PYTHONPATH": str(tmp_path / "own")}
        subprocess.run([command, *words], check=True, cwd=tmp_path, env={**os.environ, **path}, timeout=300)

    game = ("env=function", "env.function=my_games:make", "hydra.run.dir=run")
    console(
        "train", "agent=dqn", "collect=ray", *game, "steps=200", "replay.learning_starts=100", "evaluation.every=null", "runtime.threads=1"
    )
    console("resume", "run", "steps=300", "--allow-package", "my_games")
    assert not (tmp_path / "imported").exists()
