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


def ours(slot: str) -> dict[str, Any]:
    """The options of a slot that come with this distribution, with their classes."""
    names = [option for option in options(slot) if not of_users(slot, option)] if slot in groups() else []
    return {option: cls for option in names if (cls := option_class(slot, option))}


def instead(refusal: Refusal, refused: Callable[[Mapping[str, object]], list[Refusal]]) -> str:
    """A message about a part of the agent, and the options of its slot that go with the other parts, or those of the other part's slot.

    Args:
        refused: the refusals of parts, given as name of the slot -> part.
    """
    slot, provider = refusal.consumer.partition("=")[0], refusal.provider.partition("=")[0]
    fitting = [option for option, cls in ours(slot).items() if not refused({slot.removeprefix("agent/"): Deferred(cls, {}, "")})]
    ways = [f"{slot}={few(fitting, slot)}"] if fitting and slot != "agent/torso" else []  # which torso fits is a matter of observations
    if provider == "agent/chain":
        chains = {option: cls for option, cls in ours(provider).items() if refusal.need in cls.offers}
        copied = [option for option, cls in chains.items() if refusal.need != "iterations" or cls.has_copied_target()]
        ways.append(f"{provider}={few(copied, provider)}")
    elif provider == "agent/rewards":
        ways.append(f"{provider}=raw" + (" with agent/mapping=identity" if " with " in refusal.provider else ""))
    elif "=" in refusal.provider:
        ways.append(f"another {provider}")
    return f"{refusal} Choose {', or '.join(ways)}." if ways else str(refusal)
