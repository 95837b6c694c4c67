"""The console script on a disk whose every flush takes a twentieth of a second, so that kills meet the writing of checkpoints.

python -m benchmarks.slow_disk train agent=dqn ...
"""

from __future__ import annotations

import os
import time

from deeprl.cli.main import main

SECONDS = 0.05
_plain = os.fsync


def fsync(handle: int) -> None:
    time.sleep(SECONDS)
    _plain(handle)


if __name__ == "__main__":
    os.fsync = fsync
    main()
