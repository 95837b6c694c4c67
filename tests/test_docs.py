"""Documentation: worked numbers run, links have an end, every paper's option has a page, and nothing refers outside the repository."""

from __future__ import annotations

import doctest
import re
import subprocess
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pytest

from deeprl.running.config.menu import groups, options
from docs.navigation import papers

ROOT = Path(__file__).resolve().parents[1]
INDEX = ROOT / "docs" / "algorithms" / "README.md"
PAGES = sorted(page for page in INDEX.parent.glob("*.md") if page != INDEX)
LINKING = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted((ROOT / "docs").rglob("*.md"))
NEUTRAL = {"agent/mapping=identity", "agent/weighting=one", "agent/auxiliary=none", "agent/explore=epsilon_greedy"}
"""Options of no paper."""
SLOTS = ("head", "backup", "chain", "mapping", "weighting", "auxiliary", "explore")
CHOICES = {f"agent={name}" for name in options("agent")} | {f"agent/{slot}={name}" for slot in SLOTS for name in options(f"agent/{slot}")}
# Brackets, because this file must not match itself.
OUTSIDE = re.compile(
    r"spec[s]/|value_base[d]\.md|value_mapping_and_return[s]|actor_critic_and_model[s]|supplement_\w+[.]md|specificatio[n]"
    r"|\.\./share[d]|/wor[k]/|\bsections? [0-9]|\"{3}(?:[0-9]\.[0-9]|item [0-9])",
    re.IGNORECASE,
)


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def prose(page: Path) -> str:
    """The text of a page without code and formulas."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"^ {4}.*$|`[^`\n]*`", "", text, flags=re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Fragments of a page's headings, by GitHub's rule."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ +(.*?) *$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def examples(page: Path) -> doctest.DocTest:
    text = re.sub(r"^```.*$", "", page.read_text(), flags=re.MULTILINE)  # a closing fence would count as expected output
    return doctest.DocTestParser().get_doctest(text, {}, page.stem, name(page), 0)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_worked_numbers_are_what_the_library_computes(page):
    test, report = examples(page), []
    assert any("deeprl" in example.source for example in test.examples), "no example calls the library"
    assert any(example.want for example in test.examples), "no example has an expected output"
    failed, _ = doctest.DocTestRunner(verbose=False).run(test, out=report.append)
    assert not failed, "".join(report)


@pytest.mark.parametrize("page", LINKING, ids=name)
def test_links_lead_to_files_and_headings_that_exist(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if target.startswith(("https://", "http://")):
            continue
        file, _, fragment = target.partition("#")
        end = page.parent / file if file else page
        assert end.exists(), target
        assert not fragment or fragment in anchors(end), target


@pytest.mark.parametrize("page", LINKING, ids=name)
def test_lists_and_tables_are_read_alike_on_github_and_by_mkdocs(page):
    """Which begins a list or a table only after an empty line, and a list in a list only at four spaces."""
    no_prose = re.compile(r"\A---\n.*?^---$|^```.*?^```", re.MULTILINE | re.DOTALL)  # front matter, code
    text = no_prose.sub(lambda block: "\n" * block[0].count("\n"), page.read_text())
    found = []
    for number, (before, line) in enumerate(pairwise(text.splitlines()), 2):
        item = re.match(r"( *)(?:[-*]|\d+\.) ", line)
        if item and (len(item[1]) % 4 or (before and not re.match(r" *(?:[-*]|\d+\.) |  ", before))):
            found.append(f"{number}: {line}")
        if line.startswith("|") and before and not before.startswith("|"):
            found.append(f"{number}: {line}")
    assert not found, "\n".join(found)


@pytest.mark.parametrize("page", sorted((ROOT / "docs/algorithms").glob("*.md")), ids=lambda page: page.stem)
def test_a_page_of_a_paper_links_to_it(page):
    if page.stem not in ("README", "lab"):  # an index; and many papers, named without links
        assert re.search(r"\]\(https://(arxiv\.org|doi\.org)/", page.read_text())


def test_every_agent_has_a_page():
    assert sorted(agent for paper in papers() for agent in paper.agents) == options("agent")


def test_a_verdict_begins_with_one_of_the_words_that_are_explained():
    words = re.compile(r"(confirmed|not confirmed|contradicted|exact|reached|not reached|no verdict|not run here|\d of \d confirmed)\b")
    assert [paper for paper in papers() if not words.match(paper.verdict)] == []


def test_what_a_paper_without_an_agent_runs_is_there():
    lines = [paper.command for paper in papers() if paper.command.startswith("python ")]
    assert lines
    assert [line for line in lines if not line.startswith("python -m ") or not find_spec(line.split()[2])] == []


@pytest.mark.parametrize("choice", sorted(CHOICES - NEUTRAL))
def test_a_page_names_every_agent_and_option_of_a_paper(choice):
    option = choice.partition("=")[2]
    named = re.compile(rf"(?:`|\b{re.escape(choice[: -len(option)])}){option}(?!\w)")
    found = any(named.search(page.read_text().split("---\n", 2)[2]) for page in PAGES)  # without the front matter
    assert found, f"no text below the front matter of a page of docs/algorithms names `{option}` of {choice}, see CONTRIBUTING.md"


def test_no_file_refers_outside_the_repository():
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if tracked.returncode:
        pytest.skip("not a git checkout")
    files = [ROOT / file for file in tracked.stdout.split("\0") if file and (ROOT / file).is_file()]
    found = [
        f"{name(file)}:{number}: {line.strip()[:160]}"
        for file in files
        for number, line in enumerate(file.read_text(errors="ignore").splitlines(), 1)
        if OUTSIDE.search(line)
    ]
    assert not found, "\n".join(found)


def test_every_metric_is_described():
    page = (ROOT / "docs" / "runs.md").read_text()
    text = page + "".join(path.read_text() for path in PAGES)  # those of a paper stand on its page
    sources = [path.read_text() for folder in ("deeprl", "agents", "deeprl_lab") for path in (ROOT / folder).rglob("*.py")]
    found = {name for text in sources for name in re.findall(r'"((?:time|train|rollout|eval)/[a-z_]+)"', text)}
    assert len(found) > 50
    assert {name for name in found if f"`{name}`" not in text and f"`{name}/<" not in text} == {"train/channel_values"}  # never logged
    described = set(re.findall(r"`((?:time|train|rollout|eval)/[a-z_]+)(?:/<\w>)?`", page))
    made = {"train/actor_learning_rate", *(f"eval/{name}" for name in ("value", "discounted_return", "overestimation", "action_gap"))}
    assert described - found == made, "metrics that no code logs"


def test_the_index_names_options_that_exist():
    """chains `iterated_live`, `none`: the option had another name for a while."""
    known = {option for slot in groups() for option in options(slot)}
    clauses = [clause for paper in papers() for clause in paper.options.split(";") if re.fullmatch(r" ?[a-z_]+( `\w+`,?)+", clause)]
    assert len(clauses) > 20
    for clause in clauses:
        word = clause.split()[0]
        slots = [slot for slot in groups() if slot in (f"agent/{word}", f"agent/{word.removesuffix('s')}")]
        assert set(re.findall(r"`(\w+)`", clause)) <= ({option for slot in slots for option in options(slot)} or known), clause
