"""Imports point one way: agents → deeprl, envs → what an environment must know of deeprl, and deeprl imports neither."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = ("deeprl", "agents", "envs", "benchmarks", "tests")


def imported(source: str) -> set[str]:
    """Modules that a file imports, also inside of functions; `from deeprl import noise` counts as deeprl.noise."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def files(package: str) -> list[Path]:
    found = sorted((ROOT / package).rglob("*.py"))
    assert found
    return found


def forbidden(package: str, allowed: tuple[str, ...]) -> list[str]:
    """Imports of our packages that are none of `allowed`."""
    return [
        f"{path.relative_to(ROOT)}: {name}"
        for path in files(package)
        for name in sorted(imported(path.read_text()))
        if name.split(".")[0] in OURS and not any(name == prefix or name.startswith(prefix + ".") for prefix in allowed)
    ]


@pytest.mark.parametrize(
    ("package", "allowed"),
    [
        ("deeprl", ("deeprl",)),
        ("agents", ("agents", "deeprl")),
        ("envs", ("envs", "deeprl.types", "deeprl.choice", "deeprl.noise")),
    ],
)
def test_imports_point_one_way(package, allowed):
    assert forbidden(package, allowed) == []


def test_the_parser_sees_every_way_to_import():
    source = "import agents.idqn\nfrom envs import toy\ndef f():\n    from deeprl.types import Spec, Batch\n"
    assert imported(source) == {"agents.idqn", "envs.toy", "deeprl.types.Spec", "deeprl.types.Batch"}


def test_mathematics_does_not_know_the_machinery():
    """What a reader checks against a paper can be read without the run folder, the trainer and Hydra."""
    pure = ("values", "backups", "losses", "reduce", "chains", "exploration", "schedules", "types", "choice", "noise", "optim", "normalize",
            "agent", "value_agent", "actor_critic")  # fmt: skip
    parts = ("build", "checkpoint", "cli", "collector", "compose", "config", "evaluation", "loggers", "replay", "run", "run_folder",
             "session", "trainer")  # fmt: skip
    machinery = ("hydra", "omegaconf", "gymnasium", *(f"deeprl.{name}" for name in parts))
    paths = [*(ROOT / "deeprl" / f"{name}.py" for name in pure), *files("deeprl/networks"), *files("agents")]
    for path in paths:
        for name in imported(path.read_text()):
            assert not any(name == m or name.startswith(m + ".") for m in machinery), f"{path.name}: {name}"


def test_deeprl_can_be_imported_without_torch_and_hydra():
    code = "import sys, deeprl; print(sorted({'torch', 'hydra', 'gymnasium', 'agents', 'envs'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
