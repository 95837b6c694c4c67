"""Memory of a full Atari replay: random play of real ALE, one stored frame a transition.

    python -m benchmarks.replay_memory [--rows 1000000] [--game pong] [--prioritized]

Aims: at most 7.2 kB a transition, at most 8.0 GB for the whole process at a million. About 3,000 steps/s, so six minutes.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from ale_py import ALEInterface, LoggerMode, roms

from deeprl.replay.replay import Replay
from deeprl.replay.samplers import Prioritized, Uniform
from deeprl.types import Rows, Spec


def play(game: str, steps: int, seed: int = 0):
    """Rows of `steps` agent steps (4 frames each, the last two maximised, 84 x 84) of one game under random actions."""
    ALEInterface.setLoggerMode(LoggerMode.Error)
    ale = ALEInterface()
    ale.setInt("random_seed", seed)
    ale.setFloat("repeat_action_probability", 0.25)
    ale.loadROM(roms.get_rom_path(game))
    actions, random = ale.getMinimalActionSet(), np.random.default_rng(seed)
    screens = [np.empty(ale.getScreenDims(), dtype=np.uint8) for _ in range(2)]

    def frame() -> np.ndarray:
        return cv2.resize(np.maximum(*screens), (84, 84), interpolation=cv2.INTER_AREA)

    def first() -> np.ndarray:
        ale.reset_game()
        ale.getScreenGrayscale(screens[0])
        screens[1][:] = screens[0]
        stack = np.zeros((1, 4, 84, 84), dtype=np.uint8)
        stack[0, -1] = frame()
        return stack

    obs = first()
    for _ in range(steps):
        action, reward = int(random.integers(len(actions))), 0.0
        for k in range(4):
            reward += ale.act(actions[action])
            if k >= 2:
                ale.getScreenGrayscale(screens[k - 2])
        next_obs = np.concatenate((obs[:, 1:], frame()[None, None]), 1)
        ended = np.array([ale.game_over()])
        probability = np.full(1, 1 / len(actions), np.float32)
        yield Rows(obs, np.array([action]), np.array([reward], np.float32), next_obs, ended, ended, probability)
        obs = first() if ended[0] else next_obs


def resident() -> int:
    """Bytes of memory that this process occupies now."""
    return next(int(line.split()[1]) * 1024 for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--game", default="pong")
    parser.add_argument("--prioritized", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    spec = Spec((4, 84, 84), torch.uint8, 18, 0, frame_stack=4)
    sampler = Prioritized() if args.prioritized else Uniform()
    before = resident()
    replay = Replay(capacity=args.rows, batch_size=32, sampler=sampler, spec=spec, num=1, discount=0.99)
    announced = replay.bytes
    print(f"announced {announced / 1e9:.3f} GB; process before {before / 1e9:.3f} GB, after construction {resident() / 1e9:.3f} GB")
    spent, start = 0.0, time.perf_counter()
    for step, rows in enumerate(play(args.game, args.rows + args.rows // 100), 1):  # a little more than fits
        begin = time.perf_counter()
        replay.append(rows)
        spent += time.perf_counter() - begin
        if step % (args.rows // 10) == 0:
            print(f"{step:>10,} steps  {resident() / 1e9:.3f} GB  {step / (time.perf_counter() - start):,.0f} steps/s", flush=True)
    uniforms = torch.rand(2100, 32, dtype=torch.float64)
    for u in uniforms[:100]:
        replay.batch(replay.draw(u))
    times = []
    for u in uniforms[100:]:
        begin = time.perf_counter()
        batch = replay.batch(replay.draw(u))
        if args.prioritized:
            replay.priorities(batch, torch.rand(32))
        times.append(time.perf_counter() - begin)
    total = resident()
    print(f"{len(replay):,} transitions of {args.game} can be sampled")
    print(f"process {total / 1e9:.3f} GB ({'within' if total <= 8.0e9 else 'ABOVE'} the aim of 8.0 GB for a million)")
    print(f"{(total - before) / len(replay):,.0f} bytes a transition (aim: 7,200 at most)")
    middle = float(np.median(times))
    print(f"append {1e6 * spent / step:.1f} us; sample of 32: {1e6 * middle:.0f} us (fastest {1e6 * min(times):.0f})")
    print(f"{1 / middle:,.0f} batches/s, {32 / middle:,.0f} transitions/s")


if __name__ == "__main__":
    main()
