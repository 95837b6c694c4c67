"""How much there is to read: the files of README's "Read the code", and the whole library.

    python -m benchmarks.reading              the path that README names
    python -m benchmarks.reading FILE...      another path

A code line holds something other than a comment, a docstring or white space.
"""

from __future__ import annotations

import ast
import re
import sys
import tokenize
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("deeprl", "agents", "envs")


def code_lines(path: Path) -> int:
    """Lines that hold code."""
    text = path.read_text()
    strings = {
        (node.value.lineno, node.value.col_offset)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    }
    blank = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    found: set[int] = set()
    with open(path, "rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type not in (*blank, tokenize.ENCODING) and token.start not in strings:
                found.update(range(token.start[0], token.end[0] + 1))
    return len(found)


def named() -> list[str]:
    """The Python files of README's section, in order."""
    section = (ROOT / "README.md").read_text().split("## Read the code")[1].split("\n\n")[1]
    return re.findall(r"`([\w/]+\.py)`", section)


def main() -> None:
    paths = [ROOT / name for name in sys.argv[1:] or named()]
    rows = [(path, len(path.read_text().splitlines()), code_lines(path)) for path in paths]
    for path, lines, code in rows:
        print(f"{lines:7,}{code:7,}  {path.relative_to(ROOT)}")
    print(f"{sum(row[1] for row in rows):7,}{sum(row[2] for row in rows):7,}  {len(rows)} files: lines, code lines")
    everything = [*(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")), ROOT / "train.py"]
    lengths = {path: len(path.read_text().splitlines()) for path in everything}
    longest = max(lengths, key=lambda path: lengths[path])
    about = f"longest file: {longest.relative_to(ROOT)}, {lengths[longest]}"
    print(f"{sum(lengths.values()):7,} lines in {' + '.join(FOLDERS)}; {about}")


if __name__ == "__main__":
    main()
