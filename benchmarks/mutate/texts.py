"""Texts of strangers in a run folder, read by `deeprl report` and `deeprl status`.

python -m benchmarks.mutate.texts

Each trial puts one text into all fields of a run and makes a report of it and of a plain run. The page may then have no tag and no
attribute that the page of a plain text lacks; no CSV may hold a control character or a formula; nothing of that may be printed.
"""

from __future__ import annotations

import csv
import json
import shutil
import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import yaml

from benchmarks.mutate.limited import campaign, removed, report, said_by, verdict
from benchmarks.mutate.trial import surroundings
from deeprl.system.tables import FORMULA, is_number

TEXTS = (
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "\"><svg onload=alert(1)>", "' onmouseover='alert(1)", "</title><h1>x",
    "</style><style>*{display:none}", "<a href=javascript:alert(1)>x</a>", "<!--", "]]>", "&lt;b&gt;&#60;", "{{ 7 * 7 }}", "{% raw %}",
    "{{ self.__init__.__globals__ }}", "$\\frac{1}{0}$", "$$", "\x1b[2J\x1b]0;title\x07", "\x9b31m", "\x00", "\x08\x08\x08", "a\r\nb\rc",
    "one\n\ntwo", "\u202egnp.exe", "\u200b\u2066", "=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(1)", "\t=1", "\r=1", "\uff1d1+1",
    "\ud800", "\udcfc", "x" * 20_000, "\u0301" * 500, "\U0001f600 \u4e2d\u6587", "../../etc/passwd", "%s%n", "",
)  # fmt: skip
PLAIN = "word"
FIELDS = 20
"""Places of a run that a trial puts its text into"""


def forge(run: Path, text: str) -> None:
    """Put a text into every field of a run that a reader shows; its folder's name is the last one."""
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["names"] = {"env": text, "agent": text, "replay": text}
    config["env"]["id"] = config["agent"]["text"] = config["seed"] = config["device"] = text
    config["agent"][text or "empty"] = 1
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    status = json.loads((run / "status.json").read_text())
    (run / "status.json").write_text(json.dumps({**status, "state": "failed", "error": text, "stopped_early": text, "time": text}))
    start = {"command": text, "cpu": text, "gpu": text, "cuda": text, "threads": text, "packages": {text: text, "torch": text}}
    (run / "system.json").write_text(json.dumps([{**start, "git": {"commit": text, "dirty": True}, "resumed_from": 1}] * 2))


def prepare(shared: Path) -> None:
    from tests.tools.report.folders import write_run

    for name in ("plain", "forged"):
        write_run(shared / name)


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found: set[tuple[str, ...]] = set()

    def handle_starttag(self, tag, attributes):
        self.found.add((tag, *sorted(name for name, _ in attributes)))


def tags(page: Path) -> set[tuple[str, ...]]:
    parser = Tags()
    parser.feed(page.read_text())
    return parser.found


def trial(place: Path, number: int) -> tuple[str, str]:
    text = TEXTS[number]
    return f"{text[:40]!r} in {FIELDS} fields", outcome(place, text)


def outcome(place: Path, text: str) -> str:
    base = shutil.copytree(place / "shared", place / "runs")
    name = text.replace("/", "_").replace("\x00", "").replace("\ud800", "?")[:60]  # what no file name can hold
    if name not in ("", ".", ".."):
        (base / "forged").rename(base / name)
    for run in base.iterdir():
        if run.name != "plain":
            forge(run, text)
    before = surroundings(base)
    found = [verdict(*said_by("status", base)), verdict(*said_by("report", base, "--out", base / "report"))]
    bad = [each for each in found if each.startswith("BAD")]
    if surroundings(base) != before:
        bad.append("BAD something outside of the folder was made or changed")
    if (base / "report" / "index.html").exists():
        bad += faults(base / "report", allowed(place))
    elif "refused" not in found[1]:
        bad.append(f"BAD no page: {found[1]}")
    removed(base)
    return bad[0] if bad else next((each for each in found if each.startswith("failed")), found[1])


@cache
def allowed(place: Path) -> frozenset:
    """Tags of the page of a plain text, with the sections that some runs lack."""
    base = shutil.copytree(place / "shared", place / "plain")
    forge(base / "forged", PLAIN)
    said_by("report", base, "--out", base / "report")
    found = frozenset(tags(base / "report" / "index.html"))
    removed(base)
    return found


def strange(text: str) -> bool:
    """Whether there is a character that moves a cursor or hides text."""
    return any(not c.isprintable() and c not in "\n\t" for c in text)


def faults(folder: Path, known: frozenset) -> list[str]:
    found = []
    if new := tags(folder / "index.html") - known:
        found.append(f"BAD tags {new}")
    if strange((folder / "index.html").read_text()):
        found.append("BAD a control character in the page")
    for path in folder.glob("*.csv"):
        with open(path, newline="", encoding="utf-8") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        for cell in cells:
            if strange(cell):
                found.append(f"BAD control character in {path.name}: {cell!r:.80}")
            if cell.startswith(FORMULA) and not is_number(cell):
                found.append(f"BAD formula in {path.name}: {cell!r:.80}")
    return found


def run() -> int:
    """All texts; the number of bad outcomes."""
    done = campaign(trial, prepare, range(len(TEXTS)))
    return report(done, f"{len(TEXTS) * FIELDS} texts in {len(done)} reports")


if __name__ == "__main__":
    sys.exit(min(run(), 100))
