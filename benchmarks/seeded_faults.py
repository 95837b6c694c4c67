"""What the suite finds: one small fault at a time in a copy of the checkout, and the tests that could find it, the cheapest first, up to a
minute of them.

python -m benchmarks.seeded_faults FAULTS.json [--number 60] [--seed 0] [--also OTHER]     draws faults
python -m benchmarks.seeded_faults FAULTS.json --reach REACH.jsonl [--tests tests/replay]          which tests pass through each of them
python -m benchmarks.seeded_faults FAULTS.json --try REACH.jsonl [--only 3 7] [--limit 900] [--out RESULTS.jsonl]
each of them [--checkout .]
python -m benchmarks.seeded_faults FAULTS.json --again benchmarks/results/seeded_faults.json [--out RESULTS.jsonl]
those of before that are still there, each by the test that found it

Faults are a sign, a comparison, a constant or a missing line; kinds and rooms take turns; with `--also` they are of lines that both
checkouts have. Within a function only a test that passes through the statement, itself or in a process that it starts, can find its fault:
one run of the suite with probes tells which. The top of a module is passed once a process, so that for a fault there tests are chosen by
name: those that name its module, then its room. A fault is found if a test fails or the time is over.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import itertools
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
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
PROBE = """import json, os
seen = set()
def passed(place):
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" (")[0]
    if test and (place, test) not in seen:
        seen.add((place, test))
        with open({path!r}, "a") as file:
            file.write(json.dumps([place, test]) + "\\n")
"""
"""The module of a checkout with probes. Processes that a test starts inherit its name."""
AT_MOST = 60.0
"""Seconds of tests for one fault, the cheapest of those that pass through it"""


@dataclass(frozen=True)
class Fault:
    file: str
    line: str
    """The text of its line, which its file has once"""
    column: int
    old: str
    new: str
    kind: str

    def start(self, text: str) -> int | None:
        """Its place; None if the line is not there (once)."""
        lines = f"\n{text}"
        return lines.index(f"\n{self.line}\n") + self.column if lines.count(f"\n{self.line}\n") == 1 else None


def faults_of(file: str, text: str) -> Iterator[Fault]:
    """All faults that a file can have, on lines that it has once."""
    lines = text.splitlines()
    starts = [0, *itertools.accumulate(len(line.encode()) + 1 for line in lines)]
    data = text.encode()  # whose offsets ast gives

    def fault(kind: str, start: int, end: int, new: str) -> Iterator[Fault]:
        number = data.count(b"\n", 0, start)
        line = lines[number]
        if lines.count(line) == 1:
            yield Fault(file, line, len(data[starts[number] : start].decode()), data[start:end].decode(), new, kind)

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
                yield from fault("sign", at, at + len(old), new)
        elif isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in COMPARISONS:
            between, (old, new) = data[last(node.left) : first(node.comparators[0])], COMPARISONS[type(node.ops[0])]
            if between.count(old.encode()) == 1:
                at = last(node.left) + between.index(old.encode())
                yield from fault("comparison", at, at + len(old), new)
        elif isinstance(node, ast.Constant) and id(node) not in said and type(node.value) in (bool, int, float):
            new = not node.value if isinstance(node.value, bool) else node.value + 1 if isinstance(node.value, int) else node.value * 2 + 1
            yield from fault("constant", first(node), last(node), str(new))
        elif isinstance(node, LINES) and node.col_offset and id(getattr(node, "value", None)) not in said:
            yield from fault("missing line", first(node), last(node), "pass")  # not of a module, without which nothing is imported


def drawn(checkout: Path, number: int, seed: int, also: Path | None) -> list[Fault]:
    """Rooms and kinds take turns; within a room, each fault is as likely as any other."""
    chance, found = random.Random(seed), list[Fault]()

    def every(top: Path, folder: str) -> list[Fault]:
        files = sorted(path for path in (top / folder).rglob("*.py") if path.stat().st_size > 500)
        return [each for path in files for each in faults_of(str(path.relative_to(top)), path.read_text())]

    for room, kind in itertools.islice(zip(itertools.cycle(ROOMS), itertools.cycle(KINDS)), number):
        folder = room if room in ("agents", "envs") else f"deeprl/{room}"
        there = {*every(also, folder)} if also else None
        fitting = [each for each in every(checkout, folder) if each.kind == kind and (there is None or each in there)]
        found.append(chance.choice([each for each in fitting if each not in found]))
    return found


@contextmanager
def copied(checkout: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:

        def ignored(place: str, names: list[str]) -> set[str]:
            return {*names} & ({".git", "runs", "__pycache__"} if Path(place) == checkout else {"__pycache__"})

        yield Path(shutil.copytree(checkout, Path(folder) / "checkout", symlinks=True, ignore=ignored))


HEAVY = ("torch", "gymnasium", "hydra", "pytest", "tensorboard.compat.proto.event_pb2")
"""What every process of tests would import again"""
OURS = ("deeprl", "deeprl_lab", "benchmarks", "tests", "docs")


def suite_in(checkout: Path, *words: str, limit: float | None = None) -> tuple[int | None, list[str]]:
    """Exit code of pytest in a checkout, None if the time is over, and its lines. A test that starts a program elsewhere starts that of the
    checkout too."""
    for name in HEAVY:
        importlib.import_module(name)
    with tempfile.TemporaryFile("w+") as told:
        child = os.fork()
        if child == 0:
            code = 99
            try:
                os.setsid()
                for handle in (1, 2):
                    os.dup2(told.fileno(), handle)
                os.chdir(checkout)
                os.environ["PYTHONPATH"] = sys.path[0] = str(checkout)
                for name in [name for name in sys.modules if name.partition(".")[0] in OURS]:
                    del sys.modules[name]
                code = int(sys.modules["pytest"].main(["-n", "0", "-p", "no:cacheprovider", "--tb=no", *words]))
            finally:
                sys.stdout.flush()
                os._exit(code)
        began, done = time.monotonic(), (0, 0)
        while done == (0, 0) and (limit is None or time.monotonic() - began < limit):
            time.sleep(0.05)
            done = os.waitpid(child, os.WNOHANG)
        if done == (0, 0):
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
        told.seek(0)
        return None if done == (0, 0) else os.waitstatus_to_exitcode(done[1]), told.read().splitlines()


class Probes(ast.NodeTransformer):
    """A call before each statement of a function that has a fault."""

    def __init__(self, places: dict[int, list[int]]):
        self.places, self.within = places, 0

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.within += 1
        node = self.generic_visit(node)
        self.within -= 1
        return node

    def generic_visit(self, node: ast.AST) -> ast.AST:
        for name, statements in ast.iter_fields(node):
            if isinstance(statements, list) and statements and isinstance(statements[0], ast.stmt):
                new = list[ast.stmt]()
                for each in statements:
                    inner = [
                        end for part in ast.iter_child_nodes(each) if isinstance(part, ast.stmt) for end in (part.lineno, part.end_lineno)
                    ]
                    own = {*range(each.lineno, each.end_lineno + 1)} - ({*range(min(inner), max(inner) + 1)} if inner else set())
                    for place in (place for line in sorted(own) for place in self.places.get(line, ()) if self.within):
                        new.append(ast.parse(f"__import__('seeded_probe').passed({place})").body[0])
                    new.append(each)
                setattr(node, name, new)
        return super().generic_visit(node)


def reach(faults: list[Fault], checkout: Path, out: Path, tests: list[str]) -> None:
    """Appends [place of a fault, test] for each test that passes through it, and [null, test, seconds] for each test."""
    with copied(checkout) as copy:
        (copy / "seeded_probe.py").write_text(PROBE.format(path=str(out.resolve())))
        for file in {fault.file for fault in faults}:
            path, lines = copy / file, defaultdict[int, list[int]](list)
            text = path.read_text()
            for place, fault in enumerate(faults):
                if fault.file == file and (start := fault.start(text)) is not None:
                    lines[text.count("\n", 0, start) + 1].append(place)
            path.write_text(ast.unparse(ast.fix_missing_locations(Probes(lines).visit(ast.parse(text)))))
        _, said = suite_in(copy, "--durations=0", "-vvv", "-rfE", *tests)
    seconds = Counter[str]()
    for line in said:
        if (words := line.split(maxsplit=2))[1:2] and words[1] in ("setup", "call", "teardown"):
            seconds[words[2]] += float(words[0].removesuffix("s"))
    failed = {line.partition(" ")[2].partition(" - ")[0] for line in said if line.startswith(("FAILED ", "ERROR "))}  # whatever the fault
    seconds = Counter({test: each for test, each in seconds.items() if test not in failed})
    with out.open("a") as file:
        file.writelines(json.dumps([None, *each]) + "\n" for each in seconds.items())
    print(*said, sep="\n")


def reached(path: Path) -> dict[int, list[str]]:
    """Tests of each fault, the cheapest first."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    seconds = {test: each[0] for place, test, *each in lines if place is None}
    found = defaultdict[int, set[str]](set)
    for place, test, *_ in lines:
        if place is not None and test in seconds:
            found[place].add(test)
    chosen = {}
    for place, tests in found.items():
        ranked = sorted(tests, key=lambda test: (seconds[test], test))
        total = itertools.accumulate(seconds[test] for test in ranked)
        chosen[place] = [test for test, until in zip(ranked, total) if until <= AT_MOST or test == ranked[0]]
    return chosen


def named(file: str, checkout: Path) -> list[str]:
    """Files of tests that name the module, then those of its room."""
    module = ("deeprl." if file.startswith(("agents", "envs")) else "") + file.removesuffix(".py").replace("/", ".")
    parent, _, name = module.rpartition(".")
    every = sorted((checkout / "tests").rglob("test_*.py"))
    naming = [path for path in every if module in (text := path.read_text()) or f"from {parent} import {name}\n" in text]
    room = checkout / "tests" / (Path(file).parent.relative_to("deeprl") if file.startswith("deeprl") else Path(file.split("/")[0]))
    while not room.is_dir():
        room = room.parent
    return [str(path.relative_to(checkout)) for path in dict.fromkeys([*naming, *sorted(room.rglob("test_*.py"))])]


def tried(fault: Fault, checkout: Path, limit: float, passing: list[str]) -> dict:
    """In a copy, because the fault must not be left behind."""
    tests = passing or named(fault.file, checkout)
    told = {**asdict(fault), "by": None, "tests": len(passing) or tests}
    with copied(checkout) as copy:
        path = copy / fault.file
        text = path.read_text() if path.exists() else ""
        if (start := fault.start(text)) is None:
            return {**told, "result": "not there"}
        path.write_text(text[:start] + fault.new + text[start + len(fault.old) :])
        (copy / "chosen.txt").write_text("\n".join(tests))
        code, said = suite_in(copy, "-x", "@chosen.txt", limit=limit)
    failed = [line for line in said if line.startswith(("FAILED", "ERROR"))]
    result = {0: "survived", 5: "survived", None: "time"}.get(code, "found")
    return {**told, "result": result, "by": failed[0] if failed else None}


def again(results: Path, checkout: Path) -> tuple[list[Fault], dict[int, list[str]]]:
    """Faults of before whose lines are still there, and the test of each that found it then, or that was written because none did."""
    found, passing = list[Fault](), dict[int, list[str]]()
    for told in json.loads(results.read_text())["faults"]:
        path = checkout / told["file"]
        wanted = tuple(told[key] for key in ("line", "old", "new", "kind"))
        every = faults_of(told["file"], path.read_text()) if path.exists() else ()
        if fault := next((each for each in every if (each.line.strip(), each.old, each.new, each.kind) == wanted), None):
            passing[len(found)] = [told.get("test_since") or told["by"]]
            found.append(fault)
    return found, passing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faults", type=Path)
    parser.add_argument("--checkout", type=Path, default=Path())
    parser.add_argument("--number", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--also", type=Path)
    parser.add_argument("--reach", type=Path)
    parser.add_argument("--tests", nargs="*", default=(), help="with --reach: a part of the suite")
    parser.add_argument("--try", type=Path, dest="reached")
    parser.add_argument("--again", type=Path, help="results of before")
    parser.add_argument("--only", type=int, nargs="*", help="places in the list")
    parser.add_argument("--limit", type=float, default=900, help="seconds for the tests of a fault")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    checkout = options.checkout.resolve()
    found, passing = again(options.again, checkout) if options.again else ([], {})
    if options.again or not options.faults.exists():
        found = found or drawn(checkout, options.number, options.seed, options.also)
        options.faults.write_text(json.dumps([asdict(each) for each in found], indent=1, ensure_ascii=False))
    faults = [Fault(**each) for each in json.loads(options.faults.read_text())]
    if options.reach:
        reach(faults, checkout, options.reach, options.tests)
    if options.reached:
        passing = reached(options.reached)
    if options.again or options.reached:
        counts = Counter[str]()
        for place in options.only if options.only is not None else range(len(faults)):
            start = time.monotonic()
            told = {"place": place, **tried(faults[place], checkout, options.limit, passing.get(place, []))}
            counts[told["result"]] += 1
            print(f"{place:3} {told['result']:9} {time.monotonic() - start:4.0f} s  {faults[place]}  {told['by']}", flush=True)
            if options.out:
                with options.out.open("a") as file:
                    file.write(json.dumps(told, ensure_ascii=False) + "\n")
        print(", ".join(f"{number} {result}" for result, number in counts.items()))


if __name__ == "__main__":
    main()
