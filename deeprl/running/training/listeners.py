"""Functions of the user that look at a run while it trains. They may stop it, and add numbers to its log; they cannot change it, because
they get copies."""

from __future__ import annotations

import contextlib
import copy
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deeprl.errors import ConfigError

PREFIX = "user/"
NAME = re.compile(r"\w[\w./-]*")
LOGGING = ("on_log", "on_evaluation")
"""Those whose numbers a resumed run logs again: a checkpoint is written after its lines of the log."""


@dataclass(frozen=True)
class Listeners:
    """Functions that are called at the boundary of a step. The answer True ends the run there, as a stop criterion does: after its last
    evaluation. A dictionary of numbers from `on_log` or `on_evaluation` is logged, {"success": 0.5} as `user/success`, in the line that the
    function was called for. Any other answer does nothing, such as the number of characters that a file has written.

    Args:
        on_log: (step, metrics by name), for every line of metrics.jsonl but the last, of the final evaluation.
        on_evaluation: (step, summary of the evaluation: mean, iqm, std, episodes, …).
        on_checkpoint: (step, folder of the checkpoint), whenever one is written: at the last step before and after the final evaluation.

    Raises:
        ConfigError: one of them is no function of two arguments.
    """

    on_log: Callable[[int, dict[str, float]], object] | None = None
    on_evaluation: Callable[[int, dict[str, Any]], object] | None = None
    on_checkpoint: Callable[[int, Path], object] | None = None

    def __post_init__(self):
        second = {"on_log": "metrics", "on_evaluation": "summary", "on_checkpoint": "folder"}
        for name in (field.name for field in fields(self)):
            listener = getattr(self, name)
            if listener is None:
                continue
            if not callable(listener):
                raise ConfigError(f"{name} takes a function of (step, {second[name]}), not {listener!r:.100}.")
            try:
                inspect.signature(listener).bind(0, {})
            except TypeError as error:
                called = f"{getattr(listener, '__name__', 'it')}{inspect.signature(listener)}"
                raise ConfigError(f"{name} takes a function of (step, {second[name]}), and {called} is none: {error}.") from error
            except ValueError:  # a builtin without a signature
                continue

    def tell(self, name: str, step: int, what: object) -> tuple[str | None, dict[str, float]]:
        """Call one of them, if it is there. Returns the reason to stop, or None, and numbers for the log by name.

        Raises:
            ValueError: it answered with something that cannot be logged.
        """
        listener = getattr(self, name)
        if listener is None:
            return None, {}
        with settings_kept():
            answer = listener(step, copy.deepcopy(what))
        if isinstance(answer, Mapping):
            return None, numbers(name, answer)
        return f"{name} asked for it" if isinstance(answer, bool | np.bool_) and answer else None, {}


@contextlib.contextmanager
def settings_kept() -> Iterator[None]:
    """Settings of torch that hold for the process, and that a run which is loaded or trained in this block makes its own, are as before
    after it."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    precision, tf32 = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(precision)
        torch.backends.cudnn.allow_tf32 = tf32
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        if torch.are_deterministic_algorithms_enabled() != deterministic:  # the call imports the compiler
            torch.use_deterministic_algorithms(deterministic)


def numbers(listener: str, answer: Mapping[Any, Any]) -> dict[str, float]:
    """The answer of a listener as numbers for the log.

    Raises:
        ValueError: a name is no text of letters, digits and ._/-, a value no number, or the listener is `on_checkpoint`.
    """
    if listener not in LOGGING:
        raise ValueError(f"{listener} answered with a dictionary, and only {' and '.join(LOGGING)} can add numbers to the log")
    for name, value in answer.items():
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise ValueError(f"{listener} answered with the name {name!r:.100}: a name has letters, digits and . _ / - only")
        if isinstance(value, bool) or not (isinstance(value, Real) or (isinstance(value, np.ndarray | Tensor) and value.ndim == 0)):
            raise ValueError(f"{listener} answered with {name}={value!r:.100}, which is no number")
    return {f"{PREFIX}{name}": float(value) for name, value in answer.items()}
