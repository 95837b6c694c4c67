"""Tables of the documentation that follow from the files on disk, written between two markers. A test compares them.

python -m benchmarks.tables    after an option, a recipe or a page was added
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

from benchmarks import packed
from deeprl.cli.page import all_slots
from deeprl.running.config import folders
from deeprl.running.config.alternatives import option_class
from deeprl.running.config.by_hydra import prepare
from deeprl.running.config.captions import caption
from deeprl.running.config.menu import options
from deeprl.running.config.own_files import of_users
from docs.navigation import pages

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"(<!-- python -m benchmarks\.tables: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
KINDS = {"discrete": "", "any": "discrete and continuous", "continuous": "continuous"}
"""Actions that an agent takes -> the word before its name"""
NEEDS = {"sequences": "over sequences", "rollout": "over rollouts", "actor": "continuous", "density": "of a policy with a density"}
"""The same for what a part needs"""
EXPERIMENTS = "`deeprl list experiments`: [a table](algorithms/README.md#a-papers-settings-in-one-line)"


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    for path in PAGES:
        path.write_text(renewed(path.read_text()))
        print(path.relative_to(ROOT))


def renewed(page: str) -> str:
    """A page with its tables as they should be."""
    return BLOCK.sub(lambda found: f"{found[1]}\n{TABLES[found[2]]()}\n{found[3]}", page)


def table(head: str, rows: list[list[str]]) -> str:
    columns = head.split(" | ")
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (columns, ["---"] * len(columns), *rows)) + "\n"


# ---- docs/slots.md


def slot_table() -> str:
    """A row for each slot, those of agents first: its options, and the comment behind its entry in `defaults`."""
    rows = [
        [f"`{name}`", EXPERIMENTS if name == "experiment" else grouped(name, default), comment]
        for name, default, comment in sorted(all_slots(), key=lambda slot: not slot.name.startswith("agent"))
        if name != "env" and "@" not in name  # the one has a page; the other has the options of another slot
    ]
    return table("slot | options | what it decides", rows)


def grouped(slot: str, default: str) -> str:
    """The options of a slot, the default first, after them those for which something is needed."""
    groups: dict[str, list[str]] = {"": []}
    for name in sorted(ours(slot), key=lambda name: (name != default, name)):
        groups.setdefault(kind(slot, name), []).append(f"`{name}`")
    return "; ".join(f"{word}: {' '.join(found)}".removeprefix(": ") for word, found in groups.items() if found)


def ours(slot: str) -> list[str]:
    """Options that come with deeprl, and not with an extension, whose pages are its own."""
    return [name for name in options(slot) if not of_users(slot, name)]


def kind(slot: str, name: str) -> str:
    """The word before the options that need the same, "" for those that need nothing in particular."""
    part = option_class(slot, name)
    if slot == "agent":
        return KINDS[part.actions]
    return next((word for need, word in NEEDS.items() if need in getattr(part, "needs", ())), "")


# ---- docs/algorithms/README.md


def page_table() -> str:
    """A row for each paper of a page, by the page's front matter."""
    rows = []
    for path, papers in pages().items():
        for place, paper in enumerate(papers):
            agents = ", ".join(f"`{name}`" for name in paper.agents)
            rows.append(["the same" if place else f"[{path.name}]({path.name})", paper.paper, agents, paper.options])
    return table("page | paper | agents | options", rows)


def experiment_table() -> str:
    """A row for each experiment: the first comment of its file."""
    files = sorted((ROOT / "configs" / "experiment").glob("*.yaml"))
    rows = [[f"`{path.stem}`", re.sub(r"\S+<\w+>", r"`\g<0>`", caption(path))] for path in files]  # `env=atari/<game>`
    return table("experiment | settings of", rows)


# ---- docs/papers.md


def paper_table() -> str:
    """A row for each paper: its page, by the beginning of the title, what is typed, and what came out."""
    rows = []
    for path, papers in pages().items():
        (title,) = re.findall(r"^# ([^:\n]+)", path.read_text(), re.MULTILINE)[:1]
        link = f"[{title}](algorithms/{path.name})"
        rows += [[paper.paper, link, "<br>".join(f"`{line}`" for line in paper.lines), paper.verdict] for paper in papers]
    return table("paper | page | command | verdict", rows)


# ---- docs/usage.md


def environment_table() -> str:
    """A row for each family, with the names of its environments, and for each environment of one's own with its first comment."""
    prepare()
    families = dict[tuple[str, bool], list[str]]()  # a file may have the name of a folder
    for family, _, name in (env.partition("/") for env in ours("env") if not env.startswith("toy/")):  # for tests
        families.setdefault((family, not name), []).append(name)
    rows = []
    for (family, _), names in families.items():
        files = [path for name in names if (path := folders.file("env", f"{family}/{name}".rstrip("/")))]
        found = {extra for path in files for extra in re.findall(r"\[(\w+)\]", caption(path))}
        needs = f"extra `{found.pop()}`" if found else ""
        if files and names != [""]:
            rows.append([f"`{family}/…`", " ".join(f"`{name}`" for name in names), needs])
        else:
            path = files[0] if files else folders.file("env", f"_{family}")  # names without files come from one for all of them
            assert path, f"no file of env={family} says what it is"
            text = caption(path).rstrip(":")
            rows.append([f"`{family}`" if files else f"`{family}/…`", re.sub(r"[\w.]+=[^\s,;]+", r"`\g<0>`", text), needs])
    return table("family | names | needs", rows)


# ---- docs/reliability.md


def kill_table() -> str:
    """A row for each stored campaign of `benchmarks.faults`, and one for all."""
    rows, everything = [], []
    for path in sorted((ROOT / "benchmarks" / "results").glob("faults*.jsonl")):
        cells = [json.loads(line) for line in path.read_text().splitlines()]
        agents, families = {cell["agent"] for cell in cells}, {cell["env"].split("/")[0] for cell in cells}
        said = [", ".join(sorted(agents)) if len(agents) <= 8 else f"{len(agents)} agents", ", ".join(sorted(families))]
        rows.append([f"`{path.name}`", *said, *counted(cells)])
        everything += cells
    rows.append(["all", "", "", *counted(everything)])
    return table("campaign | agents | environments | runs | kills | before a first checkpoint | in the writing of one | equal", rows)


def counted(cells: list[dict]) -> list[str]:
    kills = [kill for cell in cells for kill in cell["kills"]]
    equal = sum(not cell["differences"] for cell in cells)
    early = sum(not kill["saved"] for kill in kills)
    return [f"{len(cells)}", f"{len(kills)}", f"{early}", f"{sum(kill['inside'] for kill in kills)}", f"{equal} of {len(cells)}"]


TABLES = {
    "kills": kill_table,
    "packed": packed.table,
    "slots": slot_table,
    "pages": page_table,
    "papers": paper_table,
    "experiments": experiment_table,
    "environments": environment_table,
}
PAGES = tuple(ROOT / "docs" / name for name in ("slots.md", "algorithms/README.md", "papers.md", "usage.md", "reliability.md", "export.md"))


if __name__ == "__main__":
    main()
