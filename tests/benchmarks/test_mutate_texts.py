"""The campaigns with texts, sweeps and studies of strangers notice what they are for."""

from __future__ import annotations

import json
import random

import pytest

from benchmarks.mutate import studies, texts
from benchmarks.mutate.limited import verdict
from benchmarks.mutate.trial import surroundings


@pytest.mark.parametrize(
    ("page", "cells", "fault"),
    [
        ("<p class=a>x</p>", "a,1\n", ""),
        ("<p class=a><script>x</script></p>", "a,1\n", "tags"),
        ("<p class=a onclick=x>x</p>", "a,1\n", "tags"),
        ("<p class=a>\x1b</p>", "a,1\n", "control character in the page"),
        ("<p class=a>x</p>", "a\x9b,1\n", "control character in scores.csv"),
        ("<p class=a>x</p>", "=1+1,-1.5\n", "formula in scores.csv: '=1+1'"),
    ],
)
def test_what_a_report_lets_through_is_noticed(tmp_path, page, cells, fault):
    (tmp_path / "index.html").write_text(page)
    (tmp_path / "scores.csv").write_text(cells)
    found = texts.faults(tmp_path, frozenset({("p", "class")}))
    assert len(found) == bool(fault)
    assert not fault or fault in found[0]


@pytest.mark.parametrize(
    ("code", "said", "expected"),
    [
        (1, "deeprl: study.log is damaged", "refused"),
        (0, "done", "loaded"),
        (1, "deeprl: \x9b31m", "BAD"),
        (1, "Traceback (most recent call last)", "BAD"),
        ("KeyError: 'x'", "", "BAD"),
    ],
)
def test_what_a_command_says_is_judged(code, said, expected):
    assert verdict(code, said).startswith(expected)


@pytest.mark.parametrize("kind", studies.KINDS)
def test_whatever_is_planted_changes_nothing_outside_by_itself(tmp_path, kind):
    folder, outside = tmp_path / "study", tmp_path / "outside"
    for path in (folder, outside):
        path.mkdir()
    (outside / "precious").write_text("precious")
    (folder / "study.log").write_text("{}")
    before = surroundings(folder)
    studies.plant(folder, "study.log", kind)
    assert surroundings(folder) == before
    assert (folder / "study.log").exists() or kind == "dangling link"


def test_a_leaf_gets_another_value(tmp_path):
    path = tmp_path / "tune.json"
    for seed in range(5):
        path.write_text(json.dumps({"overrides": ["a=1"], "trials": 3}))
        studies.leaf(path, random.Random(seed))
        assert path.read_text() != '{"overrides": ["a=1"], "trials": 3}'
