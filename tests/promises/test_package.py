"""What `pip install .` brings: our wheel and the template's, installed without the checkout, train from a folder full of decoys."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHORT = ("steps=300", "replay.learning_starts=100", "replay.capacity=1000", "replay.batch_size=16", "evaluation.every=null",
         "evaluation.final_episodes=1", "checkpoint.every=null", "runtime.threads=1")  # fmt: skip
COMMANDS = """
import json, sys
from deeprl.cli.main import main
for words in json.loads(sys.argv[1]):
    try:
        main(words)
    except SystemExit as left:
        assert not left.code, words
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
    venv = built / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", venv, cwd=built)
    found = venv / "bin" / "python"
    site = Path(run(found, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])", cwd=built).strip())
    (site / "dependencies.pth").write_text("".join(f"{path}\n" for path in sys.path if Path(path).name == site.name))
    wheels = sorted((built / "wheels").glob("*.whl"))
    run(sys.executable, "-m", "pip", "--python", found, "install", "-q", "--no-deps", "--ignore-installed", *wheels, cwd=built)
    return found


@pytest.fixture(scope="module")
def modules(python, built) -> list[str]:
    """Top-level modules that a training imports."""
    words = ("train", "agent=dqn", "env.num=2", "env.vector=async", *SHORT, f"hydra.run.dir={built / 'first'}")
    code = f"import sys; sys.argv[1:] = {list(words)}; from deeprl.cli.main import main; main(); print('modules', *sys.modules)"
    (line,) = (line for line in run(python, "-P", "-c", code, cwd=built).splitlines() if line.startswith("modules "))
    return sorted({name.partition(".")[0] for name in line.split()[1:]} - {"__main__", "__mp_main__", *sys.builtin_module_names})


@pytest.fixture
def decoys(tmp_path, modules) -> Path:
    """A user's folder whose files have names of ours, and of every module that a training imports."""
    assert {"deeprl", "torch", "numpy", "selectors", "multiprocessing", "hydra"} <= set(modules)
    for name in ("agents", "envs", "configs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(DECOY)
    (tmp_path / "configs" / "train.yaml").write_text("{broken")
    for name in modules:
        (tmp_path / f"{name}.py").write_text(DECOY)
    return tmp_path


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


def test_it_trains_in_a_folder_full_of_decoys(python, decoys):
    """The script, with processes of its own for environments; the other commands in one process, whose path is that of the script."""
    deeprl, words = python.parent / "deeprl", ("agent=dqn", "env.num=2", "env.vector=async", *SHORT, "hydra.run.dir=out")
    said = run(deeprl, "train", *words, cwd=decoys)
    assert said.startswith("dqn on classic/cartpole: return ")
    assert json.loads((decoys / "out" / "status.json").read_text())["state"] == "finished"
    run(deeprl, "resume", "out", "steps=320", cwd=decoys)
    commands = [["list"], ["eval", "out", "--episodes", "1"], ["record", "out", "--episodes", "1"]]
    run(python, "-P", "-c", COMMANDS, json.dumps(commands), cwd=decoys)


def test_the_template_adds_an_agent_and_an_environment(python, decoys):
    """And a run of them is read again without --allow-package, because an installed distribution is trusted."""
    deeprl = python.parent / "deeprl"
    said = run(deeprl, "list", "agents", cwd=decoys)
    assert "[my_agents.configs: agent/expected_sarsa.yaml]" in " ".join(said.split())  # lines are wrapped to the terminal
    words = ("agent=expected_sarsa", "env=corridor", "env.num=2", "env.vector=async", *SHORT, "hydra.run.dir=out")
    assert run(deeprl, "train", *words, cwd=decoys).startswith("expected_sarsa on corridor: return ")
    assert "target_update_period: 200" in (decoys / "out" / "config.yaml").read_text()  # tuned/corridor/dqn.yaml
    assert json.loads(run(deeprl, "eval", "out", "--episodes", "1", "--json", cwd=decoys))["episodes"] == 1


def test_the_tests_of_the_template_pass(python, tmp_path):
    shutil.copytree(ROOT / "docs" / "template" / "tests", tmp_path / "tests")
    assert "5 passed" in run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests", cwd=tmp_path)


def test_versions_agree():
    import deeprl

    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == deeprl.__version__
