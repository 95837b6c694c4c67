"""The tables of the documentation are what the files on disk make of them."""

from __future__ import annotations

import pytest

from benchmarks import tables
from benchmarks.tables import PAGES, grouped, renewed
from docs.navigation import pages


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_the_tables_are_up_to_date(page):
    assert page.read_text() == renewed(page.read_text()), "an option, a recipe or a page has changed: python -m benchmarks.tables"


def test_options_stand_in_groups_by_what_they_need(monkeypatch):
    monkeypatch.setattr(tables, "options", lambda slot: ["boltzmann", "gaussian", "epsilon_greedy"])
    assert grouped("agent/explore", "epsilon_greedy") == "`epsilon_greedy` `boltzmann`; continuous: `gaussian`"


def test_environments_have_rows_by_family(monkeypatch):
    monkeypatch.setattr(tables, "options", lambda slot: ["atari/pong", "box2d/car_racing", "gym", "gym/last_action", "toy/chain"])
    rows = tables.environment_table().splitlines()[2:]
    assert rows[0] == "| `atari/…` | An Atari game of ale-py, as in `env=atari/pong` |  |"
    assert rows[1] == "| `box2d/…` | `car_racing` | extra `box2d` |"
    assert rows[2].startswith("| `gym` | Any other Gymnasium environment: `env=gym` ")
    assert rows[3] == "| `gym/…` | `last_action` |  |"
    assert len(rows) == 4


def test_what_stands_outside_of_the_markers_stays():
    page = "a\n\n<!-- python -m benchmarks.tables: slots -->\n\nold\n\n<!-- end -->\n\nb\n"
    assert renewed(page).startswith("a\n\n<!-- python -m benchmarks.tables: slots -->\n\n| slot | options | what it decides |\n")
    assert renewed(page).endswith("|\n\n<!-- end -->\n\nb\n")


def test_pages_stand_in_the_order_of_their_front_matter_and_need_one(tmp_path):
    text = "---\norder: {}\npapers: []\n---\n\n# Title\n"
    for name, order in (("a", 20), ("b", 10)):
        (tmp_path / f"{name}.md").write_text(text.format(order))
    assert [path.stem for path, _ in pages(tmp_path)] == ["b", "a"]
    (tmp_path / "c.md").write_text("# Title\n")
    with pytest.raises(ValueError, match=r"c\.md has no front matter"):
        pages(tmp_path)
