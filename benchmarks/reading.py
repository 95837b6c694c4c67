"""How much there is to read: the files of README's "Read the code", and the whole library.

    python -m benchmarks.reading              the path that README names
    python -m benchmarks.reading FILE...      another path
    python -m benchmarks.reading --house      counts of the whole library: what stands in deeprl/, lines, constructors, `Any`, names

A code line holds something other than a comment, a docstring or white space.
"""

from __future__ import annotations

import ast
import re
import sys
import tokenize
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("deeprl", "agents", "envs", "deeprl_lab")


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


def sources(folders: tuple[str, ...] = FOLDERS) -> list[Path]:
    """The Python files of folders, without those behind links."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def house() -> None:
    """Print the counts."""
    paths = sources()
    trees = {path: ast.parse(path.read_text()) for path in paths}
    classes = [node for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    names = Counter(node.name for node in classes)
    longest, of = max((arguments(node), node.name) for node in classes)
    tops = [path for path in (ROOT / "deeprl").iterdir() if not path.is_symlink() and path.suffix in ("", ".py") and path.name[-1] != "_"]
    lengths = {path: len(path.read_text().splitlines()) for path in paths}
    core = sum(length for path, length in lengths.items() if path.relative_to(ROOT).parts[0] in ("deeprl", "envs"))
    largest = max(lengths, key=lambda path: lengths[path])
    unsure = sum(isinstance(node, ast.Name) and node.id == "Any" for tree in trees.values() for node in ast.walk(tree))
    print(f"{len(tops):7,} entries directly in deeprl/")
    print(f"{core:7,} lines in deeprl/ + envs/, {sum(lengths.values()):,} with agents/ and deeprl_lab/")
    print(f"{lengths[largest]:7,} lines of the longest file, {largest.relative_to(ROOT)}")
    print(f"{longest:7,} arguments of the longest constructor, {of}")
    print(f"{unsure:7,} uses of Any")
    print(f"{sum(count > 1 for count in names.values()):7,} class names that stand twice or more")


def arguments(node: ast.ClassDef) -> int:
    """Of its `__init__`, without self."""
    found = [f.args for f in node.body if isinstance(f, ast.FunctionDef) and f.name == "__init__"]
    return len([*found[0].args, *found[0].kwonlyargs]) - 1 if found else 0


def main() -> None:
    if sys.argv[1:] == ["--house"]:
        house()
        return
    paths = [ROOT / name for name in sys.argv[1:] or named()]
    rows = [(path, len(path.read_text().splitlines()), code_lines(path)) for path in paths]
    for path, lines, code in rows:
        print(f"{lines:7,}{code:7,}  {path.relative_to(ROOT)}")
    print(f"{sum(row[1] for row in rows):7,}{sum(row[2] for row in rows):7,}  {len(rows)} files: lines, code lines")
    everything = [*sources(), ROOT / "train.py"]
    lengths = {path: len(path.read_text().splitlines()) for path in everything}
    longest = max(lengths, key=lambda path: lengths[path])
    about = f"longest file: {longest.relative_to(ROOT)}, {lengths[longest]}"
    print(f"{sum(lengths.values()):7,} lines in {' + '.join(FOLDERS)}; {about}")


if __name__ == "__main__":
    main()
