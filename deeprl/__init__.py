"""Deep reinforcement learning where every paper is a choice of parts."""

from __future__ import annotations

__version__ = "0.1.0"
__all__ = ["load", "train"]


def __getattr__(name: str):
    # torch and hydra are imported when they are needed, not by `import deeprl`
    if name in __all__:
        from deeprl.session import api

        return getattr(api, name)
    raise AttributeError(f"module 'deeprl' has no attribute {name!r}")
