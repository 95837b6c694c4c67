"""Faults that are put into a checkout: which a text can have, where they are, and the probes that tell which tests pass through them."""

from __future__ import annotations

import ast
import json

from benchmarks.seeded_faults import Probes, again, faults_of

TEXT = '''"""A module."""
LIMIT = 5


def sign(x):
    """Its sign."""
    if x > 0:
        return 1
    elif x == 0:
        y = 0 - x
        return x
    else:
        return x
'''


def test_faults_are_of_lines_that_a_file_has_once():
    found = {(fault.line.strip(), fault.old, fault.new, fault.kind) for fault in faults_of("a.py", TEXT)}
    assert found == {
        ("LIMIT = 5", "5", "6", "constant"),
        ("if x > 0:", ">", ">=", "comparison"),
        ("if x > 0:", "0", "1", "constant"),
        ("elif x == 0:", "==", "!=", "comparison"),
        ("elif x == 0:", "0", "1", "constant"),
        ("y = 0 - x", "-", "+", "sign"),
        ("y = 0 - x", "0", "1", "constant"),
        ("y = 0 - x", "y = 0 - x", "pass", "missing line"),
        ("return 1", "1", "2", "constant"),
        ("return 1", "return 1", "pass", "missing line"),
    }


def test_a_fault_has_its_place_in_another_version_of_its_file():
    (fault,) = (fault for fault in faults_of("a.py", TEXT) if fault.kind == "sign")
    later = f"import os\n{TEXT}"
    assert later[fault.start(later) :].startswith("- x\n")
    assert fault.start(TEXT.replace("0 - x", "-x")) is None
    assert fault.start(f"{TEXT}        y = 0 - x\n") is None


def test_probes_stand_before_statements_of_functions():
    """An `elif` gets one where its condition is asked; the top of a module none."""
    passed: list[int] = []
    probe = type("Probe", (), {"passed": staticmethod(passed.append)})
    space: dict = {"__builtins__": {"__import__": lambda name: probe}}
    tree = Probes({2: [0], 7: [1], 9: [2], 10: [3]}).visit(ast.parse(TEXT))
    exec(compile(ast.fix_missing_locations(tree), "a.py", "exec"), space)
    assert passed == []
    assert (space["sign"](2), passed) == (1, [1])
    assert (space["sign"](0), passed) == (0, [1, 1, 2, 3])


def test_faults_of_before_are_tried_again_where_they_are_by_the_test_that_found_them(tmp_path):
    (tmp_path / "a.py").write_text(TEXT)
    sign = {"file": "a.py", "line": "y = 0 - x", "old": "-", "new": "+", "kind": "sign", "result": "found", "by": "test_a"}
    survivor = {**sign, "line": "LIMIT = 5", "old": "5", "new": "6", "kind": "constant", "result": "survived", "test_since": "test_b"}
    gone = [{**sign, "line": "y = 1 - x"}, {**sign, "file": "b.py"}]
    (tmp_path / "results.json").write_text(json.dumps({"faults": [*gone, sign, survivor]}))
    found, passing = again(tmp_path / "results.json", tmp_path)
    assert [(fault.line, fault.column) for fault in found] == [("        y = 0 - x", 14), ("LIMIT = 5", 8)]
    assert passing == {0: ["test_a"], 1: ["test_b"]}
