"""The worked examples of CONTRIBUTING.md are executed: its files are written into a copy of the checkout, its commands run there."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.tables import BLOCK

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
FILES = re.findall(r"^`([\w./-]+)`\n\n```(?:python|yaml|markdown)\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)
COMMANDS = [
    line.partition("#")[0].strip()
    for block in re.findall(r"^```bash\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
]
TRAININGS = [command for line in COMMANDS if (command := line.removeprefix("PYTHONPATH=. ")).startswith("python train.py")]
SHORT = ("steps=140", "replay.learning_starts=100", "replay.capacity=1000", "replay.batch_size=16", "evaluation.every=null",
         "evaluation.final_episodes=1", "checkpoint.every=null", "runtime.threads=1")  # fmt: skip
PYTEST = ("-m", "pytest", "-n", "0", "-p", "no:cacheprovider")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A copy of what a contributor would edit, with the examples in it."""
    root = tmp_path_factory.mktemp("checkout")
    for name in ("deeprl", "agents", "envs", "configs", "deeprl_lab", "benchmarks", "changes", "docs", "tests"):
        shutil.copytree(ROOT / name, root / name, symlinks=True)  # with what is compiled, which is right for the copy too
    for name in ("train.py", "pyproject.toml", "README.md", "CHANGELOG.md", "CONTRIBUTING.md"):
        shutil.copy(ROOT / name, root / name)
    for name, content in FILES:
        assert not (root / name).exists(), f"{name} exists already: the example of CONTRIBUTING.md has to be something new"
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


def run(checkout: Path, *command: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(checkout)}  # before the editable install
    done = subprocess.run(
        [sys.executable, *command], cwd=checkout, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_examples_are_found():
    assert [Path(name).suffix for name, _ in FILES].count(".py") == 6
    assert len(FILES) == 14
    assert len(TRAININGS) == 7


FOLLOWED = """
import json, sys
import pytest
from benchmarks import tables
from tests.builders import front_door
trainings, tested = map(json.loads, sys.argv[1:])
sys.stderr = sys.stdout  # in order
for command in trainings:
    print("---")
    assert front_door(*command) == 0
print("---")
sys.argv[1:] = []
tables.main()
sys.exit(pytest.main(tested))
"""


@pytest.fixture(scope="module")
def followed(checkout) -> list[str]:
    """What the trainings print, each for itself, and the tests: of the examples, and those that ask for pages, rows and lines of the
    changelog. In one process, because what is new is new in all of them."""
    trainings = [[*shlex.split(line)[2:], *SHORT, f"hydra.run.dir=runs/{place}"] for place, line in enumerate(TRAININGS)]
    examples = [test for command in COMMANDS if command.startswith("pytest tests/") and (test := shlex.split(command)[1]) in dict(FILES)]
    visit = (*examples, "tests/test_docs.py", "tests/benchmarks/test_tables.py", "tests/benchmarks/test_changelog.py")
    asking = "softmax or bandit or up_to_date or by_family or in_groups or of_this_checkout or every_agent_has or verdict_begins"
    chosen = ("-rp", "-k", asking)
    return run(checkout, "-c", FOLLOWED, json.dumps(trainings), json.dumps([*PYTEST[2:], *visit, *chosen])).split("---\n")[1:]


def test_the_commands_train(checkout, followed):
    for place, (command, said) in enumerate(zip(TRAININGS, followed[:-1], strict=True)):
        names = dict(word.split("=", 1) for word in shlex.split(command)[2:] if "=" in word)
        assert f"{names['agent']} on {names.get('env', 'classic/cartpole')}: return " in said
        new = names.get("env") in ("frozen_lake", "bandit/normal") or names["agent"] == "plain_q"
        assert "no tuned settings" not in said or new  # that of dqn, from which softmax_dqn starts
        config = (checkout / "runs" / str(place) / "config.yaml").read_text()
        for target, word in (("softmax_dqn.Softmax", "softmax"), ("tanh_torso.Tanh", "tanh")):
            assert (f"deeprl.agents.{target}" in config) == (word in command)


def test_the_example_tests_pass(followed):
    assert followed[-1].count("PASSED tests/agents/test_softmax_dqn.py::") == 3
    assert followed[-1].count("PASSED tests/envs/test_bandit.py::") == 1


def test_the_examples_keep_the_style(checkout):
    names = [name for name, _ in FILES if name.endswith(".py")]
    run(checkout, "-m", "ruff", "check", "--no-cache", *names)
    run(checkout, "-m", "ruff", "format", "--check", "--no-cache", *names)


def changed(checkout: Path) -> set[str]:
    """Files that differ from those of the repository in more than generated blocks, or are new; without what runs leave."""
    kept = (path for path in checkout.rglob("*") if path.suffix in (".md", ".py", ".yaml", ".toml") and path.is_file())
    pairs = {name: (path, ROOT / name) for path in kept if not (name := str(path.relative_to(checkout))).startswith("runs/")}

    def differ(path: Path, other: Path) -> bool:
        return not other.exists() or BLOCK.sub("", path.read_text()) != BLOCK.sub("", other.read_text())

    return {name for name, pair in pairs.items() if differ(*pair)}


def test_a_paper_and_an_environment_edit_nothing_but_their_own_files(checkout, followed):
    """With the tables written anew, the tests that ask for pages, rows and lines of the changelog pass."""
    assert all(f"PASSED tests/{name}" in followed[-1] for name in ("test_docs", "benchmarks/test_tables", "benchmarks/test_changelog"))
    assert all("softmax" in (checkout / page).read_text() for page in ("docs/slots.md", "docs/papers.md", "docs/algorithms/README.md"))
    assert changed(checkout) == {name for name, _ in FILES}


@pytest.mark.exhaustive
def test_generated_tests_visit_an_option_and_a_recipe_that_are_new(checkout):
    visit = (
        "tests/running/config",
        "tests/running/accelerate",
        "tests/promises/test_resume.py",
        "tests/test_presets.py",
        "tests/agents/test_masks.py",
    )
    said = run(checkout, *PYTEST, *visit, "-m", "exhaustive or not exhaustive", "-k", "softmax")
    assert int(re.findall(r"(\d+) passed", said)[0]) > 20


def test_files_that_are_named_exist():
    written = {name for name, _ in FILES}
    for name in re.findall(r"`((?:deeprl|agents|envs|configs|docs|tests|\.ci)/[\w./]+)`", TEXT):
        assert (ROOT / name).exists() or name in written, name


def tiers() -> list[tuple[list[str], list[str]]]:
    """Of each row of the table: what is touched, and the tests to run. The folder of that name comes in the place of its words."""
    (table,) = re.findall(r"^\| touched \|.*\n\|---\|---\|\n((?:\|.*\n)+)", TEXT, flags=re.MULTILINE)
    found = []
    for row in table.splitlines():
        touched, run = (re.findall(r"`([^`]+)`", cell) for cell in row.strip("|").split("|"))
        named = re.search(r"the folder of that name in `([\w/]+)`", row)
        words = [word for each in run for word in each.split() if not named or word != named[1]]
        found.append((touched, words + [f"{named[1]}/{Path(place).name}" for place in touched if named]))
    return found


def test_every_room_and_every_test_stand_in_the_table_of_what_to_run():
    rows = tiers()
    assert [word for _, words in rows for word in words if not (ROOT / word).exists()] == []
    tops = ("deeprl", "agents", "envs", "deeprl_lab", "benchmarks", "configs")
    code = [path.relative_to(ROOT) for top in tops for kind in ("*.py", "*.yaml") for path in (ROOT / top).rglob(kind)]  # follows no links
    places = [place for touched, _ in rows for place in touched]

    def homes(file: Path) -> list[str]:
        return [place for place in places if (file.match(place) if "*" in place else f"{file}".startswith(place))]

    assert [str(file) for file in code if file.name != "__init__.py" and len(homes(file)) != 1] == []
    told = [ROOT / word for _, words in rows for word in words]
    assert [str(test) for test in (ROOT / "tests").rglob("test_*.py") if not {test, *test.parents} & {*told}] == []
