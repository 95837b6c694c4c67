"""Rewards and flags of environments that others wrote. Python would take the text "no" for true, and "1.0" for a number.

    reward                   a number, or an array of one: of NumPy, torch, JAX
    terminated, truncated    true or false as Python, NumPy and other arrays of one write it, 0 or 1

The types that nearly every environment returns are asked first, because each step comes through here.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def number(reward: Any) -> float:
    """
    Raises:
        TypeError: it is text, or no number.
    """
    if isinstance(reward, float):
        return float(reward)
    try:
        plain = reward.item() if hasattr(reward, "item") else reward
        if not isinstance(plain, (str, bytes, bytearray)):
            return float(plain)
    except (TypeError, ValueError, RuntimeError):  # an array of several
        pass
    raise TypeError(f"reward is {type(reward).__name__} {reward!r:.100}, not a number")


def flag(name: str, value: object) -> bool:
    """
    Args:
        name: terminated or truncated.

    Raises:
        TypeError: it is neither true nor false, 0 nor 1.
    """
    if value is True or value is False:
        return value
    try:
        plain = value.item() if hasattr(value, "item") else value
    except (TypeError, ValueError, RuntimeError):  # an array of several
        plain = None
    if isinstance(plain, (bool, int, float)) and plain in (0, 1):
        return bool(plain)
    raise TypeError(f"{name} is {type(value).__name__} {value!r:.100}, not true or false")


def numbers(rewards: Any) -> list[float]:
    """The rewards of a vector environment, (M,).

    Raises:
        TypeError: one is text, or no number.
    """
    return [number(each) for each in (rewards.tolist() if isinstance(rewards, np.ndarray) and rewards.ndim == 1 else rewards)]


def flags(name: str, values: object) -> np.ndarray:
    """(M,) bool, in an array of its own, because some vectors clear theirs when they reset.

    Raises:
        TypeError: one is neither true nor false, 0 nor 1.
    """
    array = np.array(values)
    return array if array.dtype == bool else np.array([flag(name, each) for each in array.tolist()], bool)
