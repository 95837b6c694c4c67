"""CSV files, whose texts may come from a stranger."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from deeprl.system.terminal import printable

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a text begins with that a spreadsheet may read as a formula; the last four are the full-width forms of the first"""


def csv_bytes(head: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    """A table as UTF-8."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([entry(name) for name in head])
    writer.writerows([entry(value) for value in row] for row in rows)
    return text.getvalue().encode()


def entry(value: object) -> object:
    """A cell: control characters are made visible, a text that a spreadsheet would read as a formula is quoted by an apostrophe, and NaN
    and None are empty."""
    if isinstance(value, (int, float)):
        return "" if value != value else value
    text = "" if value is None else str(value)
    return f"'{printable(text)}" if text.startswith(FORMULA) and not is_number(text) else printable(text)


def is_number(text: str) -> bool:
    try:
        return text.isascii() and text.isprintable() and float(text) == float(text)
    except ValueError:
        return False
