"""`benchmarks.cuda` keeps what was measured, whatever a later part does. The programs that it starts are replaced by small ones."""

from __future__ import annotations

import json

import pytest

from benchmarks.cuda import __main__ as cuda

GATE = """
import sys
print('{"units": 50, "seconds": 1.0}', flush=True)
for line in sys.stdin:
    print('{"units": %d, "seconds": %g}' % (int(line), int(line) / 100), flush=True)
"""


@pytest.fixture
def program(tmp_path, monkeypatch):
    """`program(name, text)` puts a program in the place of `python -m benchmarks.name`."""
    monkeypatch.setattr(cuda, "ROOT", tmp_path)

    def write(name: str, text: str) -> None:
        path = tmp_path / "benchmarks" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    return write


def test_a_case_that_dies_keeps_the_modes_before(program):
    line = '{"mode": "reference", "updates": 3.0}'
    program("cuda/ours.py", f"import sys\nprint('{line}', flush=True)\nsys.exit('illegal memory access')")
    found = list(cuda.measured("dqn", "cpu", 0.1, left=60))
    assert found == [("reference", {"updates": 3.0}), ("the modes after these", {"error": "illegal memory access"})]


def test_a_case_that_hangs_is_left(program):
    program("cuda/ours.py", "import time\ntime.sleep(1000)")
    assert list(cuda.measured("dqn", "cpu", 0.1, left=0.2)) == [("the modes after these", {"error": "no answer in time"})]


def test_every_result_is_written_at_once_and_a_broken_peer_costs_only_its_own(program, tmp_path, capsys):
    program("cuda/ours.py", 'print(\'{"mode": "compiled", "updates": 7.0, "steps": 5.0}\')')
    program("speed/lean_torch.py", GATE)
    program("speed/jax_td3.py", "raise ImportError('no jax here')")
    program("speed/peers.py", GATE)
    results = cuda.Results(tmp_path / "found.json", "cpu")
    cuda.conduct(results, ["td3", "iqn"], cuda.sys.executable, "cpu", 0.5, lambda: 60.0)
    assert json.loads((tmp_path / "found.json").read_text())["cases"] == {
        "td3, compiled PyTorch": {"updates": pytest.approx(100)},
        "td3, the same, loop": {"steps": pytest.approx(100)},
        "td3, JAX": {"error": "ImportError: no jax here"},
        "td3, SBX": {"steps": pytest.approx(100)},
        "td3, compiled": {"updates": 7.0, "steps": 5.0},
        "iqn, compiled": {"updates": 7.0, "steps": 5.0},
    }
    assert "no jax here" in capsys.readouterr().out


def test_other_libraries_need_an_interpreter_of_their_own(program):
    program("speed/lean_torch.py", GATE)
    found = list(cuda.contestants(list(cuda.CASES), None, "cpu"))
    for _, _, peer in found:
        peer.stop()
    assert {name for _, name, _ in found} == {"compiled PyTorch", "the same, loop"}
