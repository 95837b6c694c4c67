"""Pictures of stored results: what is drawn is what the file has."""

from __future__ import annotations

import io
import re

import pytest
from PIL import Image

from benchmarks.learning import RESULTS, ROOT, stored
from benchmarks.pictures import FOLDER, OTHERS, PICTURES, chain, draw, run


@pytest.mark.parametrize("name", PICTURES)
def test_every_agent_of_a_picture_has_runs_on_every_task(name):
    picture = PICTURES[name]
    lines = [line for file in picture.results for line in stored(RESULTS / f"{file}.json") if line["steps"] >= picture.least]
    for agent in picture.agents:
        assert {line["env"] for line in lines if line["name"] == agent} >= set(picture.tasks)


def test_a_run_keeps_its_curve_and_the_mean_of_its_last_four_evaluations():
    line = stored(RESULTS / "successors.json")[0]
    drawn, cut = run(line, float("inf")), run(line, line["curve"][2][0])
    assert [[step, reward] for step, reward in zip(cut.curve.step, cut.curve.reward)] == line["curve"][:3]
    assert [[step, reward] for step, reward in zip(drawn.curve.step, drawn.curve.reward)] == line["curve"]
    assert drawn.final is not None
    assert drawn.final.mean == pytest.approx(line["last_four"], abs=0.01)


def test_the_picture_in_the_documentation_has_the_size_of_a_new_one():
    """Not its bytes, because fonts and versions of Matplotlib differ from machine to machine."""
    found, new = Image.open(FOLDER / "successors.png"), Image.open(io.BytesIO(draw(PICTURES["successors"])))
    assert found.size[0] == new.size[0]


def test_every_figure_of_readme_and_docs_is_drawn_by_the_one_command():
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    shown = {(page.parent / file).resolve() for page in pages for file in re.findall(r"\]\(([^):]+\.(?:png|svg))\)", page.read_text())}
    assert shown == {*(FOLDER / f"{name}.png" for name in PICTURES), *(path for path, _ in OTHERS.values())}


def test_the_figure_of_the_chain_is_that_of_its_stored_cells(tmp_path):
    chain(tmp_path / "new.svg")
    assert (tmp_path / "new.svg").read_text() == OTHERS["log_chain"][0].read_text()
