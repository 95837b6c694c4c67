"""The rooms of docs/architecture.md: every import points to a layer further left, within a room is no circle, and no file is too long."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = ("deeprl", "deeprl_lab", "benchmarks", "tests", "agents", "envs", "configs")

LAYERS = (
    ("types", "errors"),
    ("system",),
    ("noise", "choice", "packing"),
    ("schedules", "values", "transforms", "optim", "runs"),
    ("backups", "networks", "replay", "objective"),
    ("plan",),
    ("agent", "parts"),
    ("policy_agent",),
    ("value_agent", "actor_critic", "policy_gradient", "trajectory_policy", "accelerate", "config"),
    ("extend",),
    ("training", "report"),
    ("collect",),
    ("session", "data"),
    ("sweep", "check", "export"),  # a sweep checks jobs as a session would build them, then starts each as a process of its own
    ("tune", "scaling"),  # runs of the one are jobs of a sweep; the other measures a machine as a check does
    ("cli",),
    ("__main__",),
)
"""Rooms, from left to right. Each imports those of the layers left of its own, and itself. `report` stands beside `training`, because it
reads what training left in run folders, and neither knows the other. `export` stands behind `session`, because it takes a loaded run.
`data` reads what is collected."""
WINGS = ("learning", "running", "tools")
"""Folders of rooms in `deeprl/`. The others are rooms themselves."""
BESIDE = {"agents": 10, "envs": 3}
"""Folders beside `deeprl/`: how many of the layers they may import."""
EXTENSION = "deeprl_lab"
ROOMS = (("mathematics",), ("envs",), ("planning_agent",), ("agents",))
"""The layers of the extension"""
HOMES = {"deeprl": "deeprl", "agents": "deeprl.agents", "envs": "deeprl.envs", EXTENSION: EXTENSION}
"""Folders, and the names under which they are imported"""
LONGEST = 350
"""Lines of a file that is installed. Tests and benchmarks are no part of it: one reads a case of them, not the file."""

LAYER = {room: number for number, layer in enumerate(LAYERS) for room in layer}
INNER = {room: number for number, layer in enumerate(ROOMS) for room in layer}


def modules() -> dict[str, Path]:
    """Import name -> file, of everything that is installed."""
    found = {}
    for folder, prefix in HOMES.items():
        for path in sorted((ROOT / folder).rglob("*.py")):  # does not follow links
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            found[".".join((prefix, *(part for part in parts if part != "__init__")))] = path
    return found


MODULES = modules()


def imported(source: str, module: str, package: bool = False) -> set[str]:
    """Modules of ours that a file imports, inside of functions and for type checkers too.

    Args:
        module: its import name, against which relative imports are resolved.
        package: it is an `__init__.py`.
    """
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            home = module.split(".")[: len(module.split(".")) - node.level + package] if node.level else []
            base = ".".join([*home, *([node.module] if node.module else [])])
            names = [full if (full := f"{base}.{alias.name}") in MODULES else base for alias in node.names]
        else:
            continue
        found |= {name for name in names if name.split(".")[0] in OURS}
    return found


@cache
def imports() -> dict[str, set[str]]:
    return {name: imported(path.read_text(), name, path.name == "__init__.py") for name, path in MODULES.items()}


def room(module: str) -> str:
    """`values` of `deeprl.learning.values.scalar`; empty for `deeprl` itself and for a wing."""
    path = module.split(".")[1:]
    return [*(path[1:] if path and path[0] in WINGS else path), ""][0]


def refused(module: str, target: str) -> bool:
    """Whether an import points to the right, or sideways into another room."""
    here, there = room(module), room(target)
    if module.split(".")[0] == EXTENSION:
        inside = target.split(".")[0] == EXTENSION
        return INNER[there] > INNER[here] if inside else target != "deeprl.extend"
    if here == "extend" and there == "envs":  # of whose layer it shows the interfaces
        return False
    if target.split(".")[0] != "deeprl":
        return True  # by its second name, or from what is not installed
    if here == there or not here or target == "deeprl":  # which holds the version, and imports nothing at its top
        return False
    if here in BESIDE:
        return there not in LAYER or LAYER[there] >= BESIDE[here]
    return there not in LAYER or LAYER[there] >= LAYER[here]


def test_the_page_of_the_architecture_draws_these_layers():
    """It left out `data`."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    drawn = page[page.index("    types  │") : page.index("└ envs/ imports")].splitlines()[:-1]
    columns = zip(*(line.split("│") for line in drawn), strict=True)
    assert [{cell.strip() for cell in column} - {""} for column in columns] == [{*layer} for layer in LAYERS if layer != ("__main__",)]


def test_every_room_has_a_layer():
    of_deeprl = {name for name in MODULES if name.split(".")[0] == "deeprl"}
    assert {room(name) for name in of_deeprl} - {""} == {*LAYER, *BESIDE}


def test_imports_point_to_the_left():
    assert [f"{name} -> {target}" for name, targets in imports().items() for target in sorted(targets) if refused(name, target)] == []


def circle(graph: dict[str, set[str]]) -> list[str]:
    """The modules of one circle, or none."""
    done: set[str] = set()

    def walk(name: str, path: list[str]) -> list[str]:
        if name in path:
            return path[path.index(name) :]
        if name in done:
            return []
        for target in sorted(graph.get(name, ())):
            if target != name and (found := walk(target, [*path, name])):
                return found
        done.add(name)
        return []

    return next((found for name in graph if (found := walk(name, []))), [])


def test_there_is_no_circle():
    assert circle(imports()) == []


def test_a_circle_and_a_wrong_arrow_are_found():
    """What the tests above are there to find."""
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]
    assert refused("deeprl.learning.values.scalar", "deeprl.learning.backups.bellman")
    assert refused("deeprl.learning.value_agent", "deeprl.running.config.rules")
    assert refused("deeprl.envs.toy", "deeprl.learning.agent")
    assert refused("deeprl.running.session.session", "agents.idqn")
    assert not refused("deeprl.agents.idqn", "deeprl.learning.value_agent")


def test_whoever_extends_imports_the_contract_alone():
    """The template, the worked examples of CONTRIBUTING, whose own files are new, and the extension (`refused`, above)."""
    examples = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
    template = [path.read_text() for path in (ROOT / "docs" / "template").rglob("*.py")]
    found = set().union(*(imported(source, "mine") for source in (*examples, *template)))
    known = {"deeprl.extend", "tests.builders", "tests.conformance"}
    assert {name for name in found if name in MODULES or name.split(".")[0] != "deeprl"} == known
    assert refused("deeprl_lab.envs.dtr", "deeprl.types")
    assert refused("deeprl_lab.envs.dtr", "deeprl_lab.agents.dtr")


def test_nothing_in_deeprl_knows_the_extension():
    for folder in ("deeprl", "agents", "envs", "configs"):
        paths = [path for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".yaml", ".html")]
        assert [path for path in paths if re.search(r"\blab\b|deeprl_lab", path.read_text())] == []


def test_the_parser_sees_every_way_to_import():
    source = (
        "import deeprl.agents.idqn\nfrom deeprl.envs import toy\nfrom . import dvw\nfrom .mvi import bonus\n"
        "def f():\n    from deeprl.types import Spec, Batch\nif TYPE_CHECKING:\n    from deeprl.learning.agent import Agent\n"
    )
    expected = {"deeprl.agents.idqn", "deeprl.envs.toy", "deeprl.agents.dvw", "deeprl.agents.mvi", "deeprl.types", "deeprl.learning.agent"}
    assert imported(source, "deeprl.agents.rbis") == expected


@pytest.mark.parametrize("top", ["agents", "envs"])
def test_a_folder_has_one_name(top):
    """A class imported under two names is two classes."""
    done = subprocess.run([sys.executable, "-c", f"import {top}"], capture_output=True, text=True, cwd=ROOT)
    assert f"deeprl.{top}" in done.stderr


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no checkout")
def test_git_ignores_no_module():
    """A pattern for run folders, `runs/` without a leading slash, also hides `deeprl/running/runs/`."""
    done = subprocess.run(["git", "check-ignore", "--no-index", *map(str, MODULES.values())], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == ""


def test_a_file_can_be_read_in_a_sitting():
    """A longer one has two ideas: cut it where a reader would look for the second."""
    lines = {name: path.read_text().count("\n") for name, path in MODULES.items()}
    assert {name: count for name, count in lines.items() if count > LONGEST} == {}


def test_mathematics_does_not_know_the_machinery():
    """What a reader checks against a paper can be read without the run folder, the trainer and Hydra."""
    for name, path in MODULES.items():
        if room(name) == "agents" or (room(name) in LAYER and LAYER[room(name)] <= LAYER["agent"] and room(name) not in ("runs", "system")):
            source = path.read_text()
            for word in ("hydra", "omegaconf", "gymnasium", "deeprl.running.runs"):
                assert f"import {word}" not in source, name
                assert f"from {word}" not in source, name


def test_deeprl_can_be_imported_without_torch_and_hydra():
    code = "import sys, deeprl; print(sorted({'torch', 'hydra', 'gymnasium', 'deeprl.agents', 'deeprl.envs'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
