"""Hook of MkDocs: equations, fenced as ```math as GitHub shows them, become MathML, which browsers set without a script.

A row of `aligned` is a paragraph that may be broken at every \\quad, so that no row is wider than the page; its note stands after &&.
"""

from __future__ import annotations

import re

from latex2mathml.converter import convert

BLOCK = re.compile(r"^```math\n(?:\\begin\{aligned\}\n)?(.*?)(?:\\end\{aligned\}\n)?^```$", re.MULTILINE | re.DOTALL)
SPACE = re.compile(r"\\q?quad(?![a-z])")


def on_page_markdown(markdown, **_):
    """Every block of equations as HTML."""
    return BLOCK.sub(lambda found: f'<div class="equations">{"".join(map(paragraph, rows(found[1])))}</div>\n', markdown)


def rows(body: str) -> list[str]:
    return body.strip().split("\\\\\n")


def paragraph(row: str) -> str:
    formula, _, note = row.partition("&&")
    noted = f' <span class="note">{typeset(note)}</span>' if note else ""
    return f"<p>{typeset(formula.replace('&', ''))}{noted}</p>"


def typeset(formula: str) -> str:
    """A formula as pieces that stand in one line if there is room."""
    pieces = [piece.strip() for piece in SPACE.split(formula)]
    set_alone = (convert(piece).replace('display="inline"', 'displaystyle="true"', 1) for piece in pieces if piece)
    return " ".join(set_alone).replace("\\_", "_")  # the converter keeps the backslash of a name in \\text
