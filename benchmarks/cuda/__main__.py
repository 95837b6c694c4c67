"""Everything that only a GPU can show, in one command of at most ten minutes.

    python -m benchmarks.cuda [--peers PYTHON] [--json FILE] [--seconds 2]
    python -m benchmarks.cuda --device cpu --seconds 0.3      tries the program itself; its figures say nothing about a GPU

The tests that need a GPU (`pytest -m gpu`), then for each agent the updates a second of the learner and the steps a second of the whole
loop: operators one by one (`reference`), one CUDA graph an objective (`compiled`), and `compiled` with `runtime.lag=1`, with TF32 and with
bfloat16. Beside them on the same card: updates in plain PyTorch, compiled and recorded as LeanRL showed; and, where --peers names an
interpreter that has them on this device, TD3's update in JAX and the loops of SBX. They compile while the tests run.

Each case and each peer is a process of its own, and every result is printed and kept when it is there; a part that fails, or for which no
time is left, costs only its own lines.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import torch

from benchmarks.cuda.ours import CASES
from benchmarks.speed.__main__ import ROOT, environment
from deeprl.system.machine import gpu_driver, system_entry

TESTS, WARM, CASE = 0.4, 0.2, 0.15
"""Largest shares of the time that the tests, waiting for the peers to compile after that, and one case take"""

PEERS: dict[str, dict[str, tuple[str, str, int]]] = {
    "dqn": {"compiled PyTorch": ("updates", "lean_torch update dqn", 50)},
    "dqn, Nature network": {
        "compiled PyTorch": ("updates", "lean_torch update dqn_nature", 50), "SBX": ("steps", "peers sbx atari", 1500),
    },
    "td3": {
        "compiled PyTorch": ("updates", "lean_torch update td3", 50), "the same, loop": ("steps", "lean_torch loop td3", 50),
        "JAX": ("updates", "jax_td3", 50), "SBX": ("steps", "peers sbx td3", 1500),
    },
    "sac": {
        "compiled PyTorch": ("updates", "lean_torch update sac", 50), "the same, loop": ("steps", "lean_torch loop sac", 50),
        "SBX": ("steps", "peers sbx sac", 1500),
    },
}  # fmt: skip
"""case -> name -> unit, module of benchmarks.speed with its first arguments, units of warm-up"""
LAST = {"lean_torch": "{device}", "jax_td3": "17 6", "peers": "bare"}
"""Arguments after the warm-up"""


def reading(stream: IO[str]) -> queue.Queue[str | None]:
    """Lines of a process as they come, then None. A thread reads them, so that nobody waits for a process that hangs."""
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        for line in stream:
            lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    return lines


class Process:
    """A program of the benchmarks, its lines of JSON, and why it ended if it did."""

    def __init__(self, python: str, words: str, device: str, *more: str):
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (as long as the process)
        surroundings = {**environment(1, ROOT), "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
        if device != "cpu":
            surroundings |= {"JAX_PLATFORMS": "cuda", "XLA_FLAGS": ""}
        self.process = subprocess.Popen(
            [python, "-m", *words.split(), *more], cwd=ROOT, env=surroundings, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.lines = reading(self.process.stdout)

    def answer(self, seconds: float) -> dict[str, Any]:
        """The next line.

        Raises:
            EOFError: the process has ended.
            TimeoutError
        """
        try:
            line = self.lines.get(timeout=max(seconds, 0.0))
        except queue.Empty:
            raise TimeoutError("no answer in time") from None
        if line is None:
            self.lines.put(None)  # for the next one who asks
            self.errors.seek(0)
            raise EOFError((self.errors.read().strip().splitlines() or ["it ended without a word"])[-1])
        return json.loads(line)

    def stop(self) -> None:
        """End it, whatever it does."""
        self.process.kill()
        self.process.wait()


class Peer(Process):
    """A contestant of `benchmarks.speed`, which works in slices, see `benchmarks.speed.gate`."""

    def __init__(self, python: str, unit: str, words: str, warm_up: int, device: str):
        module, *first = words.split()
        last = LAST[module].format(device=device.partition(":")[0]).split()
        super().__init__(python, f"benchmarks.speed.{module}", device, *first, str(warm_up), *last)
        self.unit = unit
        self.failed = ""
        """Why it did not get warm"""

    def warm(self, seconds: float) -> None:
        """Wait until it is at its gate."""
        try:
            self.answer(seconds)
        except (EOFError, TimeoutError) as error:
            self.failed = str(error)

    def rate(self, seconds: float, left: float) -> float:
        """Units a second, over a slice of about this many seconds."""
        until, units = time.monotonic() + left, 20
        while True:
            assert self.process.stdin is not None
            self.process.stdin.write(f"{units}\n")
            self.process.stdin.flush()
            done = self.answer(until - time.monotonic())
            found = done["units"] / done["seconds"]
            if done["seconds"] >= seconds / 2:
                return found
            units = max(int(found * seconds), 2 * units)


def tested(limit: float) -> list[str]:
    """The last lines of the tests that need a GPU."""
    with tempfile.TemporaryFile("w+") as output:
        command = [sys.executable, "-m", "pytest", "-m", "gpu", "-n", str(min(8, os.cpu_count() or 1)), "tests/test_gpu.py", "tests/replay"]
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            process.wait(limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # its workers too, which would go on beside the measurements
            process.wait()
        output.seek(0)
        return output.read().splitlines()[-40:]


def measured(case: str, device: str, seconds: float, left: float) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and result of each of our modes."""
    until, process = time.monotonic() + left, Process(sys.executable, "benchmarks.cuda.ours", device, case, device, str(seconds))
    try:
        while True:
            line = process.answer(until - time.monotonic())
            yield line.pop("mode"), line
    except EOFError as error:
        if process.process.wait() != 0:
            yield "the modes after these", {"error": str(error)}
    except TimeoutError as error:
        yield "the modes after these", {"error": str(error)}
    finally:
        process.stop()


class Results:
    """What was found so far, printed and written at once."""

    def __init__(self, file: Path | None, device: str):
        self.file = file
        self.found: dict[str, Any] = {"machine": system_entry(device), "driver": gpu_driver(), "cases": {}}

    def write(self) -> None:
        if self.file is not None:
            self.file.write_text(json.dumps(self.found, indent=1) + "\n")

    def add(self, case: str, name: str, result: dict[str, Any]) -> None:
        figures = "".join(f"{result[unit]:12,.0f}" if unit in result else f"{'':12}" for unit in ("updates", "steps"))
        print(f"{case:26}{name:22}{figures}{result.get('error', '')}".rstrip(), flush=True)
        self.found["cases"][f"{case}, {name}"] = result
        self.write()


def contestants(cases: list[str], python: str | None, device: str) -> Iterator[tuple[str, str, Peer]]:
    """Case, name and process of each peer; those of other libraries only with their interpreter."""
    for case in cases:
        for name, (unit, words, warm_up) in PEERS.get(case, {}).items():
            with_torch = words.startswith("lean_torch")
            if with_torch or python is not None:
                yield case, name, Peer(sys.executable if with_torch else str(python), unit, words, warm_up, device)


def conduct(results: Results, cases: list[str], python: str | None, device: str, seconds: float, left: Callable[[], float]) -> None:
    limit = left()
    with contextlib.ExitStack() as started:
        peers = list(contestants(cases, python, device))
        for _, _, peer in peers:
            started.callback(peer.stop)
        if device.startswith("cuda"):
            results.found["tests"] = tested(TESTS * limit)
            print("\n".join(results.found["tests"]), flush=True)
            results.write()
        ready = time.monotonic() + WARM * limit
        for _, _, peer in peers:  # none compiles while another one is measured
            peer.warm(ready - time.monotonic())
        print(f"{'case':26}{'':22}{'updates/s':>12}{'steps/s':>12}")
        for case in cases:
            for mode, result in measured(case, device, seconds, min(CASE * limit, left())):
                results.add(case, mode, result)
            for name, peer in [(name, peer) for each, name, peer in peers if each == case]:
                results.add(case, name, raced(peer, seconds, min(CASE * limit, left())))


def raced(peer: Peer, seconds: float, left: float) -> dict[str, Any]:
    """Result of a peer, which ends."""
    if peer.failed:
        return {"error": peer.failed}
    try:
        return {peer.unit: peer.rate(seconds, left)}
    except (EOFError, TimeoutError, BrokenPipeError) as error:
        return {"error": f"{type(error).__name__}: {error}"}
    finally:
        peer.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="file for the results")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--peers", help="interpreter that has SBX, and JAX for this device")
    parser.add_argument("--device", default="cuda", help="cpu tries the program out")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--minutes", type=float, default=9.5, help="of the whole command; what is not done then is left out")
    options = parser.parse_args()
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error("no GPU is found: torch.cuda.is_available() is false")
    if options.peers and shutil.which(options.peers) is None:
        parser.error(f"--peers {options.peers} is no program")
    until = time.monotonic() + 60 * options.minutes
    results = Results(options.json, options.device)
    machine = results.found["machine"]
    print(f"{machine['gpu']}, driver {results.found['driver']}, CUDA {machine['cuda']}", flush=True)
    peers = options.peers and os.path.abspath(shutil.which(options.peers) or "")
    conduct(results, options.cases, peers, options.device, options.seconds, lambda: until - time.monotonic())


if __name__ == "__main__":
    main()
