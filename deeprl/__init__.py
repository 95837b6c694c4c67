"""Deep reinforcement learning where every paper is a choice of parts."""

from __future__ import annotations

import os

__version__ = "0.1.0"
__all__ = ["load", "train"]

# A thread of torch that waits for another one spins, by default for milliseconds. On cores that other programs use too it spins while the
# thread that it waits for has no core, and training is many times slower. After 12,000 rounds it sleeps. 3,000 cost SAC on an idle machine
# a tenth of its speed. `python -m benchmarks.speed.busy` measures it. OpenMP reads it when torch is imported, and never afterwards.
if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
    os.environ["GOMP_SPINCOUNT"] = "12000"


def __getattr__(name: str):
    # torch and hydra are imported when they are needed, not by `import deeprl`
    if name in __all__:
        from deeprl.running.session import api

        return getattr(api, name)
    raise AttributeError(f"module 'deeprl' has no attribute {name!r}")
