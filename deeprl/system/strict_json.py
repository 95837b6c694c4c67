"""JSON that every parser reads alike, and values as such JSON."""

from __future__ import annotations

import json
import math
from typing import Any

JsonObject = dict[str, Any]
"""An object of JSON"""


def strict_json(text: str | bytes) -> Any:
    """Parse JSON, and refuse content that parsers read differently: a key given twice, NaN, Infinity and 1e999.

    Raises:
        ValueError: the text is not such JSON.
    """

    def once(pairs: list[tuple[str, Any]]) -> JsonObject:
        found = dict(pairs)
        if len(found) != len(pairs):
            seen: set[str] = set()
            raise ValueError(f"the key {next(name for name, _ in pairs if name in seen or seen.add(name))!r} is given twice")  # type: ignore[func-returns-value]
        return found

    def never(name: str) -> None:
        raise ValueError(f"{name} is not allowed in JSON")

    def finite(text: str) -> float:
        if math.isinf(value := float(text)):
            raise ValueError(f"{text:.20} is too large for a float")
        return value

    try:
        return json.loads(text, object_pairs_hook=once, parse_constant=never, parse_float=finite)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def plain(value: object) -> Any:
    """`value` as JSON for people and other tools: numbers out of tensors and arrays, null for NaN and Inf, text for the rest."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):  # tensors, arrays and their scalars; before float, because np.float64 is a subclass
        return plain(value.tolist())
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return str(value)
