"""In which units a head predicts, and over how many reward channels. The neutral map: ordinary returns, one channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from deeprl.choice import Choice


@dataclass(frozen=True)
class Identity(Choice):
    """Values are predicted as they are."""

    def wrap(self, head: Any, channels: int) -> Any:
        """The head that predicts in mapped units: here the head itself.

        Raises:
            ValueError: rewards in several channels.
        """
        if channels != 1:
            raise ValueError(f"rewards in {channels} channels need a mapping that learns a value for each: agent/mapping=log or loglinear")
        return head
