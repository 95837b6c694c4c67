"""What goes where something else was refused: options of a slot, for the end of a message."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from deeprl.running.config.combinations import Refusal
from deeprl.running.config.instantiate import Deferred, resolve
from deeprl.running.config.menu import groups, options
from deeprl.running.config.option_names import option_target
from deeprl.running.config.own_files import of_users

FEW = 8
"""Options that a message names"""


def option_class(slot: str, option: str) -> Any:
    """The class of an option of this distribution; None if it names none."""
    target = option_target(slot, option)
    return resolve(target, slot) if target else None


def few(names: list[str], listed: str = "agents") -> str:
    """The first of many options, and the word after `deeprl list` that shows the others."""
    return ", ".join(names) if len(names) <= FEW else f"{', '.join(names[:FEW])} and {len(names) - FEW} more (`deeprl list {listed}`)"


def instead(refusal: Refusal, refused: Callable[[Mapping[str, object]], list[Refusal]]) -> str:
    """A message about a part of the agent, and the options of its slot that go with the other parts.

    Args:
        refused: the refusals of parts, given as name of the slot -> part.
    """
    slot = refusal.consumer.partition("=")[0]
    ours = [option for option in options(slot) if not of_users(slot, option)] if slot in groups() else []
    classes = {option: cls for option in ours if (cls := option_class(slot, option))}
    fitting = [option for option, cls in classes.items() if not refused({slot.removeprefix("agent/"): Deferred(cls, {}, "")})]
    other = f", or another {refusal.provider.partition('=')[0]}" if "=" in refusal.provider else ""
    return f"{refusal} Choose {slot}={few(fitting, slot)}{other}." if fitting else str(refusal)
