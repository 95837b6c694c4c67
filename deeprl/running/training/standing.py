"""Where a run stands: what its trainer itself changes, and how a checkpoint holds it."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from torch import Tensor

from deeprl.running.config.rules import LEARNING
from deeprl.running.runs.config_file import check_identity, identity
from deeprl.types import State


@dataclass
class Standing:
    """The facts of a run that its trainer changes, beside the states of its parts."""

    step: int = 0
    """Environment steps so far"""
    final: dict | None = None
    """Summary of the last evaluation, once it is made"""
    pending: int | None = None
    """First step of the tick whose logging and evaluation are not done, because a signal ended the evaluation; a resumed run repeats
    both"""
    done: bool = False
    """Training is over, and the last evaluation is due or made"""
    stopped_early: str | None = None
    """The criterion that ended training before `steps`"""
    learned: dict[str, Tensor] | None = None
    """Metrics of the last update of every objective; None before any"""

    def state_dict(self, config: dict) -> State:
        """The facts by name, with what decides whether they are those of a configuration."""
        facts = {field.name: getattr(self, field.name) for field in fields(self)}
        learned = self.learned and {name: value.clone() for name, value in self.learned.items()}
        return {**facts, "learned": learned, "identity": identity(config, LEARNING), "until": until(config)}

    @classmethod
    def of(cls, state: State, config: dict) -> Standing:
        """The facts that a checkpoint holds. A run that is resumed with other values of `until` is not over by the earlier ones.

        Raises:
            Exception: one of `DAMAGE`; these are no facts of such a run.
        """
        check_identity(config, LEARNING, state["identity"])
        found = cls(**{field.name: state[field.name] for field in fields(cls)})
        check_result(found.final, found.step)
        kinds = type(found.step) is int, type(found.pending) in (int, type(None)), type(found.done) is bool
        if not all((*kinds, isinstance(found.stopped_early, str | None))):
            raise ValueError("it holds a value of another kind")
        if state["until"] != until(config):
            found.done, found.stopped_early = False, None
        if found.learned is not None:
            found.learned = {name: value.to(config["device"]) for name, value in found.learned.items()}  # beside numbers of later updates
        return found


def check_result(result: dict | None, step: int) -> None:
    """
    Raises:
        Exception: one of `DAMAGE`; it is no summary of an evaluation up to `step`.
    """
    if result is not None and (not 0 <= int(result["step"]) <= step or not math.isfinite(float(result["mean"]))):
        raise ValueError(f"it knows an evaluation of step {result['step']}")


def until(config: dict) -> State:
    """What decides when training is over."""
    return {"steps": config["steps"], "stop": config["stop"]}
