"""What the suite finds: one small fault at a time in a copy of the checkout, and the tests that concern its file.

python -m benchmarks.seeded_faults FAULTS.json [--number 60] [--seed 0] [--only 3 7] [--limit 300] [--checkout .] [--out RESULTS.jsonl]

Faults are a sign, a comparison, a constant or a missing line; kinds and rooms take turns. FAULTS.json is drawn where it does not exist, so
that two checkouts whose files are the same can be given the same faults. A fault is found if a test fails or the time is over.
"""

from __future__ import annotations

import argparse
import ast
import itertools
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

ROOMS = ("learning/values", "learning/backups", "learning/networks", "learning/parts", "learning/transforms", "learning/optim", "replay",
         "running/training", "running/session", "running/runs", "running/config", "running/accelerate", "tools", "system", "cli",
         "agents", "envs")  # fmt: skip
KINDS = ("sign", "comparison", "constant", "missing line")
SIGNS = {ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "/"), ast.Div: ("/", "*")}
COMPARISONS = {ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="), ast.GtE: (">=", ">"), ast.Eq: ("==", "!="),
               ast.NotEq: ("!=", "==")}  # fmt: skip
LINES = (ast.Expr, ast.Assign, ast.AugAssign, ast.Return, ast.Raise)
PROMISES = ("tests/promises/test_resume.py", "tests/promises/test_neutral.py", "tests/running/training/test_learning.py")
"""Whole runs, which every part of learning passes through."""


@dataclass(frozen=True)
class Fault:
    file: str
    line: int
    start: int  # offsets in the text
    end: int
    old: str
    new: str
    kind: str


def faults_of(file: str, text: str) -> Iterator[Fault]:
    """All faults that a file can have."""
    starts = [0, *itertools.accumulate(len(line.encode()) for line in text.splitlines(keepends=True))]
    data = text.encode()  # whose offsets ast gives

    def fault(kind: str, start: int, end: int, new: str) -> Fault:
        line = data.count(b"\n", 0, start) + 1
        return Fault(file, line, start, end, data[start:end].decode(), new, kind)

    def first(node: ast.AST) -> int:
        return starts[node.lineno - 1] + node.col_offset

    def last(node: ast.AST) -> int:
        return starts[node.end_lineno - 1] + node.end_col_offset

    tree = ast.parse(text)
    said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)}
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp) and type(node.op) in SIGNS:
            between, (old, new) = data[last(node.left) : first(node.right)], SIGNS[type(node.op)]
            if between.count(old.encode()) == 1 and not isinstance(node.left, ast.JoinedStr):
                at = last(node.left) + between.index(old.encode())
                yield fault("sign", at, at + len(old), new)
        elif isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in COMPARISONS:
            between, (old, new) = data[last(node.left) : first(node.comparators[0])], COMPARISONS[type(node.ops[0])]
            if between.count(old.encode()) == 1:
                at = last(node.left) + between.index(old.encode())
                yield fault("comparison", at, at + len(old), new)
        elif isinstance(node, ast.Constant) and id(node) not in said and type(node.value) in (bool, int, float):
            new = (
                str(not node.value)
                if isinstance(node.value, bool)
                else f"{node.value + 1 if isinstance(node.value, int) else node.value * 2 + 1}"
            )
            yield fault("constant", first(node), last(node), new)
        elif isinstance(node, LINES) and node.col_offset and id(getattr(node, "value", None)) not in said:
            yield fault("missing line", first(node), last(node), "pass")  # not of a module, without which nothing is imported


def drawn(checkout: Path, number: int, seed: int) -> list[Fault]:
    """Rooms and kinds take turns; within a room, each fault is as likely as any other."""
    chance, found = random.Random(seed), []
    for room, kind in itertools.islice(zip(itertools.cycle(ROOMS), itertools.cycle(KINDS)), number):
        top = checkout / (room if room in ("agents", "envs") else f"deeprl/{room}")
        files = sorted(path for path in top.rglob("*.py") if path.stat().st_size > 500)
        every = [each for path in files for each in faults_of(str(path.relative_to(checkout)), path.read_text()) if each.kind == kind]
        found.append(chance.choice([each for each in every if each not in found]))
    return found


def tests_of(file: str, checkout: Path) -> list[str]:
    """Those that name the module, those of its room, and where networks learn those of agents and some promises. In this order."""
    module = ("deeprl." if file.startswith(("agents", "envs")) else "") + file.removesuffix(".py").replace("/", ".")
    parent, _, name = module.rpartition(".")
    naming = [
        str(path.relative_to(checkout))
        for path in sorted((checkout / "tests").rglob("test_*.py"))
        if module in (text := path.read_text()) or f"from {parent} import {name}\n" in text
    ]
    room = Path(file).parent.relative_to("deeprl") if file.startswith("deeprl") else Path(file.split("/")[0])
    rooms = [str(Path("tests") / each) for each in (room, room.parent) if each.parts and (checkout / "tests" / each).is_dir()][:1]
    learns = file.startswith(("agents", "deeprl/learning", "deeprl/replay", "deeprl/running/training", "deeprl/running/session"))
    return list(dict.fromkeys([*naming, *rooms, *(("tests/agents", *PROMISES) if learns else ())]))


def tried(fault: Fault, checkout: Path, limit: float) -> dict:
    """In a copy, because the fault must not be left behind."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "checkout"
        shutil.copytree(checkout, copy, symlinks=True, ignore=shutil.ignore_patterns(".git", "__pycache__", "runs", "results"))
        path = copy / fault.file
        data = path.read_bytes()
        if data[fault.start : fault.end].decode() != fault.old:
            return {**asdict(fault), "result": "not there"}
        path.write_bytes(data[: fault.start] + fault.new.encode() + data[fault.end :])
        tests = [name for name in tests_of(fault.file, checkout) if (copy / name).exists()]
        words = [sys.executable, "-m", "pytest", "-x", "-n", "0", "-p", "no:cacheprovider", "--tb=no", *tests]
        start = time.monotonic()
        try:
            done = subprocess.run(words, cwd=copy, capture_output=True, text=True, timeout=limit, check=False)
            result, by = (
                {0: "survived", 5: "survived"}.get(done.returncode, "found"),
                [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))],
            )
        except subprocess.TimeoutExpired:
            result, by = "time", []
        return {**asdict(fault), "result": result, "by": by[:1], "tests": tests, "seconds": round(time.monotonic() - start)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faults", type=Path)
    parser.add_argument("--number", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, nargs="*", help="places in the list")
    parser.add_argument("--limit", type=float, default=300, help="seconds for the tests of a fault")
    parser.add_argument("--checkout", type=Path, default=Path())
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    checkout = options.checkout.resolve()
    if not options.faults.exists():
        options.faults.write_text(json.dumps([asdict(each) for each in drawn(checkout, options.number, options.seed)], indent=1))
    faults = [Fault(**each) for each in json.loads(options.faults.read_text())]
    counts: dict[str, int] = {}
    for place in options.only if options.only is not None else range(len(faults)):
        fault = faults[place]
        told = tried(fault, checkout, options.limit)
        counts[told["result"]] = counts.get(told["result"], 0) + 1
        print(
            f"{place:3} {told['result']:9} {fault.kind:12} {fault.file}:{fault.line}  {fault.old[:40]!r} > {fault.new!r}  {told.get('by')}",
            flush=True,
        )
        if options.out:
            with open(options.out, "a") as file:
                file.write(json.dumps({"place": place, **told}) + "\n")
    print(", ".join(f"{number} {result}" for result, number in counts.items()))


if __name__ == "__main__":
    main()
