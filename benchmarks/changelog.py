"""CHANGELOG.md takes in the fragments of changes/: one file a change, so that two changes never edit the same lines.

python -m benchmarks.changelog    at a release, and whenever there are many
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FRAGMENT = re.compile(r"(- \S.*\n(  \S.*\n)*)+")
"""Items of a list, with further lines set in by two spaces"""


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    found = fragments(ROOT / "changes")
    page = ROOT / "CHANGELOG.md"
    page.write_text(gathered(page.read_text(), [path.read_text() for path in found]))
    for path in found:
        path.unlink()
    print(f"{page.relative_to(ROOT)}: {len(found)} fragments")


def fragments(folder: Path) -> list[Path]:
    """
    Raises:
        ValueError: a fragment is no list; nothing is gathered then.
    """
    found = sorted(path for path in folder.glob("*.md") if path.name != "README.md")
    for path in found:
        if not FRAGMENT.fullmatch(path.read_text()):
            raise ValueError(f"{path} is no fragment: every line starts with '- ', or with two spaces if it goes on with an item")
    return found


def gathered(changelog: str, texts: list[str]) -> str:
    """The changelog with the fragments at the end of its first section, which is the one that is not released."""
    head, first, *released = re.split(r"^(?=## )", changelog, flags=re.MULTILINE)
    return "".join([head, first.rstrip("\n") + "\n", *texts, "\n" if released else "", *released])


if __name__ == "__main__":
    main()
