"""Parts draw no random numbers of their own: no checkpoint holds the global generators, and no seed of a run reaches them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from deeprl.errors import ConfigError
from deeprl.system.terminal import say


@contextmanager
def refused(what: str, remedy: str) -> Iterator[None]:
    """
    Args:
        what: of the agent, such as "its value loss".
        remedy: where random numbers come from instead.

    Raises:
        ConfigError: a global generator of random numbers has moved inside.
    """
    before = generators()
    yield
    if drawn := [name for name, state in generators().items() if state != before[name]]:
        raise ConfigError(
            f"agent: {what} draws random numbers from the global generator of {' and '.join(drawn)}, as dropout of torch does. No seed "
            f"reaches it and no checkpoint holds it, so that neither two runs of a seed nor a resumed run would be equal: {remedy}."
        )


class GlobalDraws:
    """Tells once that a global generator has moved while a run trained, which no check at its start sees: an environment, a source or a
    package drew from it. Python's own `random` does not count, because packages take pauses of random length between two attempts."""

    def __init__(self) -> None:
        self.before: dict[str, object] | None = generators()

    def tell(self) -> None:
        if self.before is None:
            return
        if drawn := [name for name, state in generators().items() if name != "random" and state != self.before[name]]:
            self.before = None
            say(
                f"something in this process drew from the global generator of {' and '.join(drawn)} while the run trained: an environment "
                "or a source of one's own, say, that may be another in each run of a seed, and after a resume. Give it a generator of its "
                "own, which `reset(seed)` of an environment seeds, or the state of a source holds"
            )


def generators() -> dict[str, object]:
    """Name -> state, which can be compared."""
    found: dict[str, object] = {"torch": torch.random.get_rng_state().numpy().tobytes(), "random": random.getstate()}
    name, keys, *place = np.random.get_state()  # noqa: NPY002 (the generator that is global)
    found["numpy"] = (name, np.asarray(keys).tobytes(), *place)
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        found["torch.cuda"] = torch.cuda.get_rng_state().numpy().tobytes()
    return found
