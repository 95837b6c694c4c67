"""docs/benchmarks.md: the learning runs with curves and every race in benchmarks/results as tables, with what the files say of command,
machine and commit.

python -m benchmarks.page
"""

from __future__ import annotations

import argparse
import json
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS, PAGE = ROOT / "benchmarks" / "results", ROOT / "docs" / "benchmarks.md"
UNKNOWN = "—"
"""In place of what a file does not say"""
PEERS = ("SB3", "SB3-CONTRIB", "SB3+FLUSH", "SBX", "JAX")
HEAD = f"""# Benchmarks

Made from the files in `benchmarks/results/` by `python -m benchmarks.page`; a test compares both. {UNKNOWN} stands where a file does not
say it. Conditions, and what the figures mean, are in [results.md](results.md).

In the tables of learning a row has one figure for each seed: the mean of the final evaluation, with the last checkpoint, and the mean of
the last four evaluations of the curve. One or two seeds rank nothing. Runs that are stored without a curve are printed by their own
commands with `--table`, which [results.md](results.md), [claims.md](claims.md) and the pages of papers name.
"""


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    PAGE.write_text(page())
    print(PAGE.relative_to(ROOT))


def page() -> str:
    files = {path.name: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))}
    runs = {name: content for name, content in files.items() if isinstance(content, list) and "curve" in content[0]}
    races = {name: content for name, content in files.items() if name.startswith("speed")}
    tasks = sorted({(line["env"], line["steps"]) for lines in runs.values() for line in lines})
    return "\n".join([HEAD, *(learned(*task, runs) for task in tasks), *(race(name, content) for name, content in races.items())])


def link(name: str) -> str:
    return f"[{name}](../benchmarks/results/{name})"


def table(head: str, rows: list[list[str]]) -> str:
    columns = head.split(" | ")
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (columns, ["---"] * len(columns), *rows)) + "\n"


# ---- learning


def learned(env: str, steps: int, files: dict[str, list[dict]]) -> str:
    """The section of a task and budget: one table a file."""
    found = {name: [line for line in lines if (line["env"], line["steps"]) == (env, steps)] for name, lines in files.items()}
    return "\n".join([f"## {env}, {steps:,} steps\n", *(runs(name, lines) for name, lines in found.items() if lines)])


def words(line: dict) -> list[str]:
    """Overrides of a run, without its seed."""
    said = line.get("overrides") or []
    return [word for word in (said.split() if isinstance(said, str) else said) if not word.startswith("seed=")]


def runs(name: str, lines: list[dict]) -> str:
    """The words that the commands share, and a row for each agent, mode, commit and machine."""
    commands = [words(line) for line in lines if words(line)]
    first = commands[0] if commands else []
    shared = [word for word in first if all(word in other for other in commands) and not word.startswith("agent=")]

    def own(line: dict) -> tuple[str, ...]:
        said = " ".join(word for word in words(line) or [f"agent={line['agent']}"] if word not in shared)
        return f"`{said}`" if said else "", *(line.get(key) or UNKNOWN for key in ("mode", "commit", "machine"))

    rows = []
    for (said, *made), found in groupby(sorted(lines, key=lambda line: (own(line), line["seed"])), own):
        same = list(found)
        finals = figures([(line["final"] or {}).get("mean") for line in same])
        last, speed = figures([line["last_four"] for line in same]), figures([line["steps_per_second"] for line in same], digits=0)
        rows.append([said, ", ".join(str(line["seed"]) for line in same), finals, last, speed, *made])
    command = f"`python train.py {' '.join(shared)} seed=SEED` and the words of a row" if commands else UNKNOWN
    head = "words | seeds | final evaluation | last four | steps/s | mode | commit | machine"
    return f"{link(name)}, command: {command}\n\n{table(head, rows)}"


def figures(numbers: list[float | None], digits: int = 1) -> str:
    return ", ".join(UNKNOWN if number is None else f"{number:.{digits}f}" for number in numbers)


# ---- speed


def race(name: str, content: dict) -> str:
    """Updates or environment steps a second: the median slice, the lowest and the highest; ours in units of the best peer's."""
    system = content["system"]
    machine = content.get("machine") or f"{system['processor'] or UNKNOWN}, {system['cores']} cores, Python {system['python']}"
    command = content.get("command") or "python -m benchmarks.speed CASE --threads THREADS"

    def best(row: dict) -> float:
        same = [each for each in content["rows"] if (each["case"], each["threads"]) == (row["case"], row["threads"])]
        return max((each["rate"] for each in same if each["contestant"] in PEERS), default=0.0)

    rows = []
    for row in content["rows"]:
        ours = row["contestant"].removeprefix("deeprl, ") in ("reference", "fast", "compiled")
        ratio = f"{row['rate'] / best(row):.2f}" if ours and best(row) else ""
        slices = f"{row['low']:,.0f} to {row['high']:,.0f}"
        rows.append([row["case"], str(row["threads"]), row["contestant"], f"{row['rate']:,.0f}", slices, ratio, row["commit"]])
    head = "case | threads | contestant | a second | slices | to the best peer | commit"
    title = name.removesuffix(".json").replace("_", " ").capitalize()
    return f"## {title}\n\n{link(name)}, command: `{command}`, machine: {machine}\n\n{table(head, rows)}"


if __name__ == "__main__":
    main()
