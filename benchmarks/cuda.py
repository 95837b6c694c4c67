"""Everything that only a GPU can show, in one command of at most ten minutes.

    python -m benchmarks.cuda [--json FILE] [--seconds 4]

The tests that need a GPU (tests/test_gpu.py, tests/replay), then for each agent the updates a second of the learner alone and the steps a
second of the whole loop: operators one by one (`reference`), one CUDA graph an objective (`compiled`), and `compiled` with `runtime.lag=1`.
No peer is raced: `python -m benchmarks.speed` keeps JAX on the CPU.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.speed.ours import assembled
from deeprl.system.machine import gpu_driver, system_entry

ROOT = Path(__file__).resolve().parents[1]
CASES = {
    "dqn": ("agent=dqn", "env=minatar/breakout"),
    "dqn, Nature network": ("experiment=dqn_atari",),
    "idqn K=5, Nature network": ("experiment=idqn_atari", "agent.chain.length=5"),
    "iqn": ("agent=iqn", "env=minatar/breakout"),
    "td3": ("agent=td3", "env=mujoco/half_cheetah"),
    "sac": ("agent=sac", "env=mujoco/half_cheetah"),
}
SHORT = ("replay.capacity=20000", "learning_starts=0", "evaluation.every=null", "checkpoint.every=null", "replay_ratio=1")
VARIANTS = {"reference": ("accelerate=reference",), "compiled": ("accelerate=compiled",)}
VARIANTS["compiled, lag 1"] = (*VARIANTS["compiled"], "runtime.lag=1")


def finish(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def rate(one: Callable[[], object], seconds: float, device: str) -> float:
    """Calls a second, after a warm-up of the same number of calls as a quarter of a second has; the device is waited for at the end."""
    until, calls = time.perf_counter() + seconds / 4, 0
    while time.perf_counter() < until:
        one()
        calls += 1
    finish(device)
    number, began = max(4 * calls, 20), time.perf_counter()
    for _ in range(number):
        one()
    finish(device)
    return number / (time.perf_counter() - began)


def speeds(words: tuple[str, ...], device: str, seconds: float) -> dict[str, float]:
    """Updates a second, and steps a second of acting, stepping, storing and updating."""
    trainer = assembled([*words, *SHORT, f"device={device}"], 2000)
    lag = trainer.config["runtime"]["lag"]

    def step() -> None:
        before = trainer.step
        trainer.collector.tick(before)
        trainer.step = after = before + trainer.envs.num
        if lag:
            trainer.collector.choose(after)
        trainer.learn()
        trainer.agent.tick(before, after)

    for _ in range(3):  # recording, compiling
        step()
    return {"updates": rate(trainer.learn, seconds, device), "steps": rate(step, seconds, device)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="file for the results")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--device", default="cuda", help="cpu tries the program out; its figures say nothing about a GPU")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("no GPU is found: torch.cuda.is_available() is false")
    found: dict = {"machine": system_entry(options.device), "driver": gpu_driver(), "cases": {}}
    print(f"{found['machine']['gpu']}, driver {found['driver']}, CUDA {found['machine']['cuda']}", flush=True)
    if options.device == "cuda":
        tests = [sys.executable, "-m", "pytest", "-q", "-n", "4", "tests/test_gpu.py", "tests/replay"]
        found["tests"] = subprocess.run(tests, cwd=ROOT, capture_output=True, text=True, timeout=300).stdout.splitlines()[-30:]
        print("\n".join(found["tests"]), flush=True)
    print(f"{'case':30}{'mode':20}{'updates/s':>12}{'steps/s':>12}")
    for name in options.cases:
        for variant, words in VARIANTS.items():
            try:
                measured: dict = speeds((*CASES[name], *words), options.device, options.seconds)
                print(f"{name:30}{variant:20}{measured['updates']:12,.0f}{measured['steps']:12,.0f}", flush=True)
            except Exception as error:  # the others are still worth their time
                measured = {"error": f"{type(error).__name__}: {error}"}
                print(f"{name:30}{variant:20}  {measured['error']}", flush=True)
            found["cases"][f"{name}, {variant}"] = measured
            if options.json is not None:
                options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
