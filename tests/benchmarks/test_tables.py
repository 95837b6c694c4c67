"""The tables of the documentation are what the files on disk make of them."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stdout
from functools import cache
from importlib import import_module
from pathlib import Path
from unittest import mock

import pytest
import yaml

from benchmarks import tables
from benchmarks.tables import PAGES, grouped, renewed
from docs.navigation import Paper, pages

PRINTED = {
    "results.md#Presets that hold": ("evidence holds --table", "evidence actors --table"),
    "results.md#Settings of MinAtar, chosen on Freeway": ("evidence minatar_choice --table",),
    "results.md#MinAtar after 500,000 steps": ("evidence minatar --table", "evidence log_values --table"),
    "results.md#Low discounts with and without the logarithmic map": ("evidence discounts --table",),
    "results.md#Auxiliary losses and the rank of features": ("evidence auxiliary --table",),
    "results.md#A search for a composition": (
        "evidence composition --table",
        "evidence composition_main --table",
        "evidence minatar --table",
    ),
    "results.md#i-QN and its successors on MinAtar": ("evidence successors --table",),
    "results.md#PQN on tensor worlds beside DQN": ("minatar_pqn",),
    "results.md#A control: the same settings in Tianshou": ("evidence control --table",),
    "results.md#Presets that were weak on Asterix": ("evidence asterix --table",),
    "results.md#Chains of critics after 150,000 steps": ("evidence actor_critic --table",),
    "results.md#A small CrossQ beside TD3 and SAC after 200,000 steps": ("evidence actor_critic --table",),
    "results.md#Learning offline on data of Pendulum": ("offline --table",),
    "results.md#Learning offline on data of Hopper": ("offline --table",),
    "results.md#Learning offline on data of HalfCheetah": ("offline --table",),
    "results.md#Learning offline beside d3rlpy": ("offline --table",),
    "parts.md#An image and a vector together": ("parts --table",),
    "algorithms/energy_guided.md#Eight Gaussians": ("energy_guided --table",),
    "algorithms/energy_guided.md#Rings, moons, swissroll and checkerboard": (
        "energy_guided --table --data rings moons swissroll checkerboard",
    ),
    "algorithms/r2d2.md#What we saw": (
        "evidence remember --table",
        "evidence remember_pendulum --table",
        "evidence remember_others --table",
    ),
    "algorithms/sqirl.md#What was measured": tuple(f"effective_horizon {name} --table" for name in ("worlds", "frozen_lake", "minigrid")),
}
"""Sections whose tables were written by hand, and the commands that print their figures, behind `python -m benchmarks.`"""
CLAIMED = (
    *(
        f"evidence {name} --table"
        for name in (
            "successors",
            "ipqn",
            "actor_critic",
            "minatar",
            "composition_main",
            "discounts",
            "auxiliary",
            "atari_others",
            "lost_lead",
            "sac_hopper",
            "headline",
        )
    ),
    *(f"memory {name} --table" for name in ("recall_segments", "memory_bandit", "memory_switching")),
    *(f"prior {name} --table" for name in ("cartpole", "acrobot", "acrobot_late", "long_pole")),
    *(f"models {name} --table" for name in ("distractors", "plain")),
    *(f"trajectories {name} --table" for name in ("truncation", "pendulum", "momentum", "cartpole", "mixing")),
    *(
        "evidence control --table",
        "feature_rank --table",
        "exploring utilities --table",
        "exploring door_key --table",
        "evidence ppo_mujoco --table",
        "minatar_pqn",
        "edge_of_reach --table",
    ),
)
"""Commands that print the intervals of claims.md, but those of its section on small problems"""
NUMBER = re.compile(r"(?<![A-Za-z0-9.])\d[\d,]*(?:\.\d+)?(?:e\+\d+)?(?![\w.]*\w)")
INTERVAL = re.compile(r"\d[\d,]*(?:\.\d+)? (?:± [\d.,]*\d|\[[^\]]*\])")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_the_tables_are_up_to_date(page):
    assert page.read_text() == renewed(page.read_text()), "an option, a recipe or a page has changed: python -m benchmarks.tables"


def numbers(text: str) -> list[str]:
    """Without signs, and without what stands in code."""
    return [number.replace(",", "") for number in NUMBER.findall(re.sub(r"`[^`]*`", "", text))]


@cache
def printed(command: str) -> list[list[float]]:
    """The numbers of each line."""
    module, *words = command.split()
    with redirect_stdout(io.StringIO()) as out, mock.patch("sys.argv", [module, *words]):
        import_module(f"benchmarks.{module}").main()
    return [[float(number) for number in numbers(line)] for line in out.getvalue().splitlines()]


def not_printed(figures: list[list[str]], lines: list[list[float]]) -> list[list[str]]:
    """Figures that do not all stand in one line, which may have more digits."""

    def rounds_to(number: str, line: list[float]) -> bool:
        half = 0.5 * 10.0 ** -len(number.partition(".")[2])
        return any(abs(float(number) - value) <= half * (1 + 1e-9) for value in line)

    return [cell for cell in figures if not any(all(rounds_to(number, line) for number in cell) for line in lines)]


@pytest.mark.parametrize("section", PRINTED)
def test_figures_of_a_table_are_those_that_its_command_prints(section):
    """All of a cell in one printed line. 0.414 stood for 0.413, and 0.991 where the command printed 1.0."""
    page, _, heading = section.partition("#")
    text = (tables.ROOT / "docs" / page).read_text()
    lines = [line for command in PRINTED[section] for line in printed(command)]
    (found,) = re.findall(rf"^## {re.escape(heading)}$(.*?)(?=^## |\Z)", text, flags=re.MULTILINE | re.DOTALL)
    cells = [cell for row in found.splitlines() if row.startswith("|") for cell in row.strip("|").split("|")[1:]]
    figures = [[number for number in numbers(cell) if "±" in cell or "." in number or len(number) > 3] for cell in cells]
    assert sum(map(len, figures)) >= 8
    assert not_printed(figures, lines) == []


@pytest.mark.filterwarnings("ignore:Precision loss")  # of arms none of which reached the goal: their steps are equal
def test_intervals_of_claims_are_those_that_a_command_prints():
    """Both numbers in one printed line: 0.0107 stood for 0.0108, and 140 for 144."""
    sections = re.split("^## ", (tables.ROOT / "docs" / "claims.md").read_text(), flags=re.MULTILINE)
    text = "".join(section for section in sections if not section.startswith("On small problems"))
    found = [numbers(interval) for interval in INTERVAL.findall(text)]
    assert len(found) > 100
    assert not_printed(found, [line for command in CLAIMED for line in printed(command)]) == []


def test_readme_counts_the_kills_of_all_campaigns():
    *_, runs, kills, early, _, equal = (cell.strip() for cell in tables.kill_table().splitlines()[-1].strip("|").split("|"))
    assert equal == f"{runs} of {runs}"
    assert (tables.ROOT / "README.md").read_text().count(f"{int(kills):,} kills") == 2
    assert f"{early} of them before a first checkpoint" in (tables.ROOT / "README.md").read_text()


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


ENTRY = {"paper": "A, 2026", "command": "agent=a", "verdict": "not run here"}


def written(folder: Path, name: str, front: dict) -> None:
    (folder / f"{name}.md").write_text(f"---\n{yaml.safe_dump(front)}---\n\n# Title\n")


def test_pages_stand_in_the_order_of_their_front_matter_and_need_one(tmp_path):
    for name, order in (("a", 20), ("b", 10)):
        written(tmp_path, name, {"order": order, "papers": [ENTRY]})
    assert [path.stem for path in pages(tmp_path)] == ["b", "a"]
    (tmp_path / "c.md").write_text("# Title\n")
    with pytest.raises(ValueError, match=r"c\.md has no front matter"):
        pages(tmp_path)


@pytest.mark.parametrize("key", ["order", "papers", *ENTRY])
def test_a_key_that_a_page_lacks_is_named_with_the_page(tmp_path, key):
    entry = {name: value for name, value in ENTRY.items() if name != key}
    front = {name: value for name, value in (("order", 1), ("papers", [entry])) if name != key}
    written(tmp_path, "page", front)
    with pytest.raises(ValueError, match=rf"page\.md: {key} is missing"):
        pages(tmp_path)


def test_a_key_that_no_page_has_is_refused(tmp_path):
    written(tmp_path, "page", {"order": 1, "papers": [{**ENTRY, "verdicts": "confirmed"}]})
    with pytest.raises(ValueError, match=r"page\.md: verdicts .* is none of paper, command"):
        pages(tmp_path)


def test_what_comes_first_is_typed_first():
    paper = Paper(Path("page.md"), "A, 2026", "agent=a replay.data=runs/b", "not run here", first="agent=b hydra.run.dir=runs/b")
    assert paper.lines == ["python train.py agent=b hydra.run.dir=runs/b", "python train.py agent=a replay.data=runs/b"]
    assert Paper(Path("page.md"), "B, 2026", "python -m benchmarks.b", "exact").lines == ["python -m benchmarks.b"]
