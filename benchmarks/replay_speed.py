"""Microseconds of the replay's operations on one thread: the fastest of many repetitions, since the machine may be busy.

python -m benchmarks.replay_speed
"""

from __future__ import annotations

import time

import numpy as np
import torch

from deeprl.replay.replay import Replay
from deeprl.replay.samplers import Prioritized, Uniform
from deeprl.types import Rows, Spec


def fastest(function, calls: int = 200, repetitions: int = 20) -> float:
    best = float("inf")
    for _ in range(repetitions):
        start = time.perf_counter()
        for _ in range(calls):
            function()
        best = min(best, (time.perf_counter() - start) / calls)
    return 1e6 * best


def measure(name: str, spec: Spec, capacity: int, batch: int, n_step: int, sampler, num: int = 1) -> None:
    replay = Replay(capacity=capacity, batch_size=batch, n_step=n_step, sampler=sampler, spec=spec, num=num, discount=0.99)
    random = np.random.default_rng(0)
    image = spec.obs_dtype == torch.uint8
    shape = (num, *spec.obs_shape)
    obs = random.integers(0, 255, shape, dtype=np.uint8) if image else random.random(shape, dtype=np.float32)
    action = random.random((num, spec.action_dim), dtype=np.float32) if spec.action_dim else np.zeros(num, np.int64)
    no, one = np.zeros(num, bool), np.ones(num, np.float32)
    rows = Rows(obs, action, one, obs, no, no, one)
    for _ in range(capacity // num):
        replay.append(rows)
    uniforms = [torch.rand(batch, dtype=torch.float64) for _ in range(500)]
    errors, turn = torch.rand(batch), [0]

    def sample():
        turn[0] = (turn[0] + 1) % len(uniforms)
        return replay.batch(replay.draw(uniforms[turn[0]]))

    def learn():
        replay.priorities(sample(), errors)

    print(
        f"{name:12} {type(sampler).__name__:12} n={n_step} B={batch:<4} M={num}  append {fastest(lambda: replay.append(rows)):6.1f}"
        f"   sample {fastest(sample):6.1f}   sample + update {fastest(learn):6.1f}",
        flush=True,
    )


def main() -> None:
    torch.set_num_threads(1)
    vector, atari = Spec((17,), torch.float32, 0, 6), Spec((4, 84, 84), torch.uint8, 18, 0, frame_stack=4)
    for n_step in (1, 3):
        for sampler in (Uniform(), Prioritized()):
            measure("vector 17", vector, 1_000_000, 256, n_step, sampler)
            measure("vector 17", vector, 1_000_000, 32, n_step, sampler)
            measure("atari", atari, 200_000, 32, n_step, sampler)
    measure("vector 17", vector, 1_000_000, 256, 1, Uniform(), 16)


if __name__ == "__main__":
    main()
