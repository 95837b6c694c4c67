"""Names that another library keeps private, and that deeprl imports all the same. Those of torch are left out: without them a run goes on
uncompiled, and the tests of the compiled mode fail."""

from __future__ import annotations

import ast
import importlib
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PRIVATE = {
    ("hydra._internal.utils", "get_args_parser"): "hydra-core",
    ("omegaconf._utils", "get_yaml_loader"): "omegaconf",
    ("omegaconf._utils", "get_omega_conf_dumper"): "omegaconf",
}
"""(module, name) -> distribution"""


def imported() -> set[tuple[str, str]]:
    found = set()
    for path in (path for folder in ("deeprl", "agents", "envs", "deeprl_lab") for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and not node.level and not node.module.startswith(("deeprl", "torch", "__")):
                found |= {(node.module, alias.name) for alias in node.names}
    return {(module, name) for module, name in found if any(part.startswith("_") for part in (*module.split("."), name))}


def test_every_private_import_is_known():
    assert imported() == PRIVATE.keys()


@pytest.mark.parametrize(("module", "name"), PRIVATE)
def test_the_installed_version_has_the_name(module, name):
    library = PRIVATE[module, name]
    has = hasattr(importlib.import_module(module), name)
    assert has, f"{library} {version(library)} has no {module}.{name} any more: replace it, and pin {library} below this version until then"


def test_hydra_is_pinned_below_its_next_minor_version():
    (bound,) = [text for text in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"] if "hydra" in text]
    assert ",<1." in bound
