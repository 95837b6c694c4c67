"""What crosses between host and device in a run, on a device that is pretended: no GPU is needed, and no time is measured.

    python -m benchmarks.crossings

Rows are the most crossings of one call: a tick of all environments, the preparation of a rollout, an update, a line of the log. The host
waits at each but those "no wait". Whatever the loop makes between these calls is counted over the whole run.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from unittest import mock

from deeprl.running.training.trainer import Trainer
from tests.device_runs import FREE, begin, phases
from tests.pretended import Pretended

SMALL = ("agent.torso.hidden=[8]", "replay.length=8", "replay.epochs=2", "replay.minibatches=2")
RUNS = {
    "PPO on Gymnasium's CartPole": ("agent=ppo", "env=classic/cartpole", *SMALL),
    "PPO on the tensor world": ("agent=ppo", "env=tensor/cartpole", *SMALL),
    "the same with running statistics": ("agent=ppo", "env=tensor/cartpole", *SMALL, "agent/normalize=running", "agent/rewards=scaled"),
    "PQN on the tensor world": ("agent=pqn", "env=tensor/cartpole", *SMALL),
}
LOOP = "between these"
"""Phase of what is in none of those that `phases` knows"""


def crossings(words: tuple[str, ...]) -> dict[str, int]:
    """ "phase file kind" -> most crossings of one call, without those of evaluations and checkpoints."""
    plain = Trainer._train

    def train(self: Trainer) -> None:
        most.clear()  # of the dry run
        with device.during(LOOP):
            plain(self)

    swapped = mock.patch.object(Trainer, "_train", train)
    with tempfile.TemporaryDirectory() as folder, Pretended() as device, phases(device) as most, swapped:
        begin(Path(folder) / "run", "cuda", *words)
    assert not device.faults, device.faults
    found = Counter({f"{LOOP} {file} {kind}": count for (phase, kind, file), count in device.crossings.items() if phase == LOOP})
    return dict(sorted((found | most).items()))


def main() -> None:
    for title, words in RUNS.items():
        print(f"\n{title}")
        for name, count in crossings(words).items():
            if not name.startswith(FREE):
                print(f"  {count:3}  {name}")


if __name__ == "__main__":
    main()
