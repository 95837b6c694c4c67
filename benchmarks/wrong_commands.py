"""Twelve wrong command lines: each must leave with 2, soon, with one paragraph and no traceback. `python -m benchmarks.wrong_commands`"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = {
    "misspelt key": ["agent.chian.length=3"],
    "misspelt group": ["agnet=dqn"],
    "misspelt agent": ["agent=idqnn"],
    "negative batch": ["replay.batch_size=-32"],
    "TD3 on Atari": ["agent=td3", "env=atari/pong"],
    "DQN on Hopper": ["agent=dqn", "env=mujoco/hopper"],
    "unknown environment id": ["env=gym", "env.id=CartPol-v1"],
    "capacity below batch": ["replay.capacity=64", "replay.batch_size=128"],
    "chain length 0": ["agent=idqn", "agent.chain.length=0"],
    "discount 1.5": ["discount=1.5"],
    "no such device": ["device=cuda:7"],
    "run folder below a file": ["hydra.run.dir={file}/run"],
}


def main() -> int:
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "file"
        file.write_text("not a folder")
        for name, overrides in COMMANDS.items():
            words = [o.format(file=file) for o in overrides]
            began = time.monotonic()
            done = subprocess.run(
                [sys.executable, str(ROOT / "train.py"), *words], cwd=folder, capture_output=True, text=True, timeout=60, check=False
            )
            seconds = time.monotonic() - began
            paragraphs = [line for line in done.stderr.strip().splitlines() if line.startswith("deeprl:")]
            good = done.returncode == 2 and seconds < 10 and len(paragraphs) == 1 and "Traceback" not in done.stderr + done.stdout
            wrong += not good
            print(f"{'ok ' if good else 'BAD'}  exit {done.returncode}  {seconds:4.1f} s  {name}: {' '.join(overrides)}")
            print(f"     {done.stderr.strip()}")
    print(f"{len(COMMANDS) - wrong} of {len(COMMANDS)} as they should be")
    return wrong


if __name__ == "__main__":
    sys.exit(main())
