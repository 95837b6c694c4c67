"""Options of the menu by the classes that they name, for messages: a class cannot be typed on a command line."""

from __future__ import annotations

import contextlib
import re

from deeprl.running.config.menu import groups, options
from deeprl.running.config.tuned import UNREADABLE, content, lineage

LABEL = re.compile(r"\b(agent(?:/\w+)+|replay)=([A-Z]\w*)")
"""agent/backup=Retrace, as parts name each other, which do not know the menu"""


def option_target(slot: str, option: str) -> str | None:
    """The `_target_` of an option, its own or that of the option from which it starts; None if there is none."""
    files = (content(slot, name) for name in lineage(option, slot))
    return next((file["_target_"] for file in files if "_target_" in file), None)


def option_of(slot: str, cls: str) -> str | None:
    """The option of a slot whose class this is: "retrace" of agent/backup and Retrace. None if there is none, or several.

    Args:
        cls: its name, or its import path.
    """
    found = []
    for name in options(slot) if slot in groups() else ():
        with contextlib.suppress(*UNREADABLE):  # a file of the user's that nobody chose
            found += [name] if f".{option_target(slot, name)}".endswith(f".{cls}") else []
    return found[0] if len(found) == 1 else None


def labelled(path: str, cls: type, option: str | None = None) -> str:
    """ "agent/backup=retrace" of agent.backup and Retrace; "agent.backup (Retrace)" where no option is known. Agents share classes, and so
    do environments.

    Args:
        option: where it is known which one was chosen.
    """
    slot = path.replace(".", "/")
    option = option or (None if slot in ("agent", "env") else option_of(slot, f"{cls.__module__}.{cls.__qualname__}"))
    return f"{path} ({cls.__name__})" if option is None else f"{slot}={option}"


def in_options(text: str) -> str:
    """A message in which options stand for classes, as far as they are known. Of several with one class, agent/rewards=auto and clip, it is
    the one that has the name of the class."""

    def named(slot: str, cls: str) -> str:
        slot = slot if slot in groups() else f"agent/{slot.rpartition('/')[2]}"  # agent/actor/torso has the options of agent/torso
        spellings = (cls.lower(), re.sub(r"(?<=.)(?=[A-Z])", "_", cls).lower())  # as files spell Max and EpsilonGreedy
        return option_of(slot, cls) or next((name for name in spellings if slot in groups() and name in options(slot)), cls)

    return LABEL.sub(lambda found: f"{found[1]}={named(found[1], found[2])}", text)
