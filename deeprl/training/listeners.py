"""Functions of the user that look at a run while it trains. They may stop it; they cannot change it, because they get copies."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Listeners:
    """Functions that are called at the boundary of a step. The answer True ends the run there, as a stop criterion does: after its last
    evaluation. Any other answer does not, such as the number of characters that a file has written.

    Args:
        on_log: (step, metrics by name), for every line of metrics.jsonl.
        on_evaluation: (step, summary of the evaluation: mean, iqm, std, episodes, …).
        on_checkpoint: (step, folder of the checkpoint).
    """

    on_log: Callable[[int, dict[str, float]], object] | None = None
    on_evaluation: Callable[[int, dict[str, Any]], object] | None = None
    on_checkpoint: Callable[[int, Path], object] | None = None

    def tell(self, name: str, step: int, what: Any) -> str | None:
        """Call one of them, if it is there. Returns the reason to stop, or None."""
        listener = getattr(self, name)
        answer = None if listener is None else listener(step, copy.deepcopy(what))
        return f"{name} asked for it" if isinstance(answer, bool | np.bool_) and answer else None
