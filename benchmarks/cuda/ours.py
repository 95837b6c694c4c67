"""A case, measured in every mode: updates a second of the learner, drawing included, and steps a second of acting, stepping, storing and
updating. A line of JSON for each mode, so that what was measured stays if a later mode ends the process.

    python -m benchmarks.cuda.ours CASE DEVICE SECONDS
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable
from functools import partial

import torch

from benchmarks.speed.ours import assembled, sample
from deeprl.running.training.learner import CompiledLearner

NATURE = ("agent/torso=nature", "agent.torso.padding=valid", "replay.ratio=0.25")
CASES = {
    "dqn": ("agent=dqn", "env=minatar/breakout"),
    "dqn, Nature network": ("experiment=dqn_atari", *NATURE),
    "idqn K=5, Nature network": ("experiment=idqn_atari", "agent.chain.length=5", *NATURE),
    "iqn": ("agent=iqn", "env=minatar/breakout"),
    "td3": ("agent=td3", "env=mujoco/half_cheetah"),
    "sac": ("agent=sac", "env=mujoco/half_cheetah"),
}
SHORT = ("replay.ratio=1", "replay.capacity=20000", "replay.learning_starts=0", "evaluation.every=null", "checkpoint.every=null")
COMPILED = ("accelerate=compiled",)
MODES = {
    "reference": ("accelerate=reference",),
    "compiled": COMPILED,
    "compiled, lag 1": (*COMPILED, "runtime.lag=1"),
    "compiled, TF32": (*COMPILED, "accelerate.matmul_precision=high"),
    "compiled, bfloat16": (*COMPILED, "accelerate.matmul_precision=bfloat16"),
}


def rate(one: Callable[[], object], seconds: float, finish: Callable[[], object]) -> float:
    """Calls a second, after a warm-up of a quarter of the time; the device is waited for at both ends."""
    calls, began = 0, time.perf_counter()
    while time.perf_counter() < began + seconds / 4:
        one()
        calls += 1
    finish()
    number = max(int(4 * calls * (seconds / 4) / (time.perf_counter() - began)), 20)
    began = time.perf_counter()
    for _ in range(number):
        one()
    finish()
    return number / (time.perf_counter() - began)


def speeds(words: tuple[str, ...], device: str, seconds: float) -> dict[str, float]:
    """Rates of a run that starts full of rows.

    Raises:
        Exception: its updates cannot be compiled or recorded.
    """
    trainer = assembled([*SHORT, *words, f"device={device}"], 2000)
    learner, lag = trainer.guard.learner, trainer.config["runtime"]["lag"]
    if isinstance(learner, CompiledLearner):
        learner.failed = None  # an error, because what is measured must be what is named
    finish = partial(torch.cuda.synchronize, device) if device.startswith("cuda") else lambda: None

    def step() -> None:
        before = trainer.step
        trainer.collector.tick(before)
        trainer.standing.step = after = before + trainer.envs.num
        if lag:
            trainer.collector.choose(after)
        for drawn in trainer.source.updates(before, after):
            trainer.learn(drawn)
        trainer.agent.tick(before, after)

    for _ in range(8):  # recording, compiling: of the delayed objectives too
        step()
    found = {"updates": rate(lambda: trainer.learn(sample(trainer)), seconds, finish), "steps": rate(step, seconds, finish)}
    gc.unfreeze()  # the first update froze the objects of this mode, whose memory the next one needs
    return found


def main() -> None:
    case, device, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    for mode, words in MODES.items():
        try:
            found: dict = speeds((*CASES[case], *words), device, seconds)
        except Exception as error:  # the other modes are still worth their time
            found = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps({"mode": mode, **found}), flush=True)


if __name__ == "__main__":
    main()
