"""Tables as CSV: nothing in them is executed by a spreadsheet, and nothing moves a cursor."""

from __future__ import annotations

import pytest

from deeprl.system.tables import csv_bytes, entry


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("@x", "'@x"),
        ("-x", "'-x"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\\r=1"),
        ("\uff1d1+1", "'\uff1d1+1"),
        ("agent=dqn", "agent=dqn"),
        ("-3.5", "-3.5"),
        ("+1e5", "+1e5"),
        ("\x1b[2J\x00\x9b\u202e", "\\x1b[2J\\x00\\x9b\\u202e"),
        ("m\udcfcller", "m\\udcfcller"),
        (["\ud800"], "['\\ud800']"),
        (-3.5, -3.5),
        (7, 7),
        (float("nan"), ""),
        (None, ""),
    ],
)
def test_cells(value, cell):
    assert entry(value) == cell


def test_a_table_has_a_head_and_is_utf8():
    assert csv_bytes(["a", "=b"], [["ü", None], ["\udcfc", 1]]) == "a,'=b\nü,\n\\udcfc,1\n".encode()
