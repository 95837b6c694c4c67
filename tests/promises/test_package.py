"""What `pip install .` brings: our wheel and the template's, installed without the checkout, train from a folder full of decoys."""

from __future__ import annotations

import json
import os
import pkgutil
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHORT = ("env.num=2", "env.vector=async", "steps=140", "replay.learning_starts=100", "replay.capacity=1000", "replay.batch_size=16",
         "evaluation.every=null", "evaluation.final_episodes=1", "checkpoint.every=null", "runtime.threads=1")  # fmt: skip
COMMANDS = """
import json, sys
from deeprl.cli.main import main
commands, tests = json.loads(sys.argv[1]), sys.argv[2]
sys.argv[1:] = []
for words in commands:
    try:
        main(words)
    except SystemExit as left:
        assert not left.code, words
    print("---", flush=True)
import pytest  # as a user of the template would call it
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", tests]))
"""
DECOY = 'raise RuntimeError("the working directory was searched")\n'


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(source: Path, **kinds: Path) -> None:
    """As pip does it, by the hooks of PEP 517. Kinds are `sdist` and `wheel`, each with its folder."""
    hooks = "; ".join(f"build_meta.build_{kind}({str(folder)!r})" for kind, folder in kinds.items())
    run(sys.executable, "-c", f"from setuptools import build_meta; {hooks}", cwd=source)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder with wheels of deeprl and of the template, and the source distribution. Built from copies, because a build leaves files."""
    root = tmp_path_factory.mktemp("package")
    source = root / "source"
    unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
    for name in ("deeprl", "agents", "envs", "configs", "deeprl_lab", "docs/template"):
        shutil.copytree(ROOT / name, source / name, ignore=unwanted, symlinks=True)
    for name in ("pyproject.toml", "README.md", "LICENSE", "train.py"):
        shutil.copy(ROOT / name, source / name)
    build(source, sdist=root / "sdist", wheel=root / "wheels")
    build(source / "docs" / "template", wheel=root / "wheels")
    return root


@pytest.fixture(scope="module")
def python(built) -> Path:
    """The interpreter of an environment with both wheels. Dependencies come from the environments of this process (one may stand on
    another), an editable install does not, because `.pth` files count in an environment's own folder alone."""
    folder = built / "venv"
    venv.create(folder, symlinks=True)
    found = folder / "bin" / "python"
    site = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder)}))
    (site / "dependencies.pth").write_text("".join(f"{path}\n" for path in sys.path if Path(path).name == site.name))
    wheels = sorted((built / "wheels").glob("*.whl"))
    words = ("-q", "--no-compile", "--no-deps", "--ignore-installed")
    run(sys.executable, "-m", "pip", "--python", found, "install", *words, *wheels, cwd=built)
    return found


@pytest.fixture(scope="module")
def decoys(tmp_path_factory) -> Path:
    """A user's folder whose files have names of ours, and of every module that an import may find."""
    folder = tmp_path_factory.mktemp("decoys")
    modules = {module.name for module in pkgutil.iter_modules()} - {*sys.builtin_module_names}
    assert {"deeprl", "torch", "numpy", "selectors", "multiprocessing", "hydra"} <= modules
    for name in ("agents", "envs", "configs"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(DECOY)
    (folder / "configs" / "train.yaml").write_text("{broken")
    for name in modules:
        (folder / f"{name}.py").write_text(DECOY)
    return folder


@pytest.fixture(scope="module")
def said(python, decoys, tmp_path_factory) -> list[str]:
    """What the script says, with processes of its own for environments; then that of other commands, in one process whose path is that of
    the script; then of the template's tests, which lie elsewhere."""
    tests = shutil.copytree(ROOT / "docs" / "template" / "tests", tmp_path_factory.mktemp("template") / "tests")
    first = run(python.parent / "deeprl", "train", "agent=dqn", *SHORT, "hydra.run.dir=out", cwd=decoys)
    commands = (
        ("resume", "out", "steps=160"),
        ("eval", "out", "--episodes", "1"),
        ("record", "out", "--episodes", "1"),
        ("list", "agents"),
        ("train", "agent=expected_sarsa", "env=corridor", *SHORT, "hydra.run.dir=sarsa"),
        ("eval", "sarsa", "--episodes", "1", "--json"),
    )
    return [first, *run(python, "-P", "-c", COMMANDS, json.dumps(commands), tests, cwd=decoys).split("---\n")]


def test_the_wheel_holds_the_checkout(built):
    with zipfile.ZipFile(next((built / "wheels").glob("deeprl-*.whl"))) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    expected = {"deeprl/py.typed"}
    for folder in ("deeprl", "agents", "envs", "configs", "deeprl_lab"):
        home = folder if folder.startswith("deeprl") else f"deeprl/{folder}"
        paths = [path for suffix in ("*.py", "*.yaml", "*.html") for path in (ROOT / folder).rglob(suffix)]  # does not follow links
        expected |= {f"{home}/{path.relative_to(ROOT / folder)}" for path in paths}
    assert names == expected


def test_the_source_distribution_builds_the_same_wheel(built):
    with tarfile.open(next((built / "sdist").glob("*.tar.gz"))) as sdist:
        assert not [member.name for member in sdist if member.issym() or member.islnk()]
        sdist.extractall(built / "unpacked", filter="data")
    (source,) = (built / "unpacked").iterdir()
    build(source, wheel=built / "again")

    def content(folder: str) -> dict[str, int]:
        with zipfile.ZipFile(next((built / folder).glob("deeprl-*.whl"))) as file:
            return {info.filename: info.CRC for info in file.infolist() if ".dist-info/" not in info.filename}

    assert content("again") == content("wheels")


def test_it_trains_in_a_folder_full_of_decoys(said, decoys):
    first, resumed, evaluated, recorded, *_ = said
    assert first.startswith("dqn on classic/cartpole: return ")
    assert all((resumed, evaluated, recorded))
    status = json.loads((decoys / "out" / "status.json").read_text())
    assert (status["state"], status["step"]) == ("finished", 160)


def test_the_template_adds_an_agent_and_an_environment(said, decoys):
    """And a run of them is read again without --allow-package, because an installed distribution is trusted."""
    *_, listed, trained, evaluated, tested = said
    assert "[my_agents.configs: agent/expected_sarsa.yaml]" in " ".join(listed.split())  # lines are wrapped to the terminal
    assert trained.startswith("expected_sarsa on corridor: return ")
    assert "target_update_period: 200" in (decoys / "sarsa" / "config.yaml").read_text()  # tuned/corridor/dqn.yaml
    assert json.loads(evaluated)["episodes"] == 1
    assert "5 passed" in tested


def test_versions_agree():
    import deeprl

    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == deeprl.__version__
