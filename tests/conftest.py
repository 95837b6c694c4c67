"""Fixtures of all tests: one thread, no waiting for the disk, no collection of garbage between runs, kernels of this processor, and one
finished run. Nothing of deeprl, nor torch, is imported here at the top: the smallest test does not need them."""

from __future__ import annotations

import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import cache, wraps
from pathlib import Path

import pytest
from _pytest.runner import runtestprotocol

from tests.counts import Costs

FEW = 3
"""Most files of tests that run in one process, because a second one takes longer to start than they do to run"""
FEW_MODULES = 40
"""New modules that the garbage collector may visit in each of its rounds"""
spared = {"modules": 0}

CHECKOUT = Path(__file__).parents[1]
SHARED_MEMORY = Path("/dev/shm")
"""Where folders of tests go, if it is large enough (in a container it may be small): a disk is slow at removing checkpoints"""
if SHARED_MEMORY.is_dir() and shutil.disk_usage(SHARED_MEMORY).free > 4 * 2**30:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(SHARED_MEMORY))
os.environ.setdefault("OMP_NUM_THREADS", "1")  # small tensors; and the machine is shared, with the other test process to begin with
os.fsync = os.fstat  # no power cut ends a test; a wrong handle is still an error
# compiled kernels of one instruction set abort or give NaN on another, and inductor's own folder is the same for all
kernels = f"torchinductor_{os.getuid()}_{os.environ.get('ATEN_CPU_CAPABILITY', 'own')}"
os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(Path(tempfile.gettempdir()) / kernels))
os.environ.setdefault("TORCHINDUCTOR_VEC_ISA_OK", "1")  # inductor believes the processor, and compiles no programs that ask whether it lies


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Processes of `-n auto`, which is the default: none beside this one for few files."""
    places = [Path(word.partition("::")[0]) for word in config.args]
    files = [file for place in places for file in (place.rglob("test_*.py") if place.is_dir() else [place])]
    return 2 if len({*files}) > FEW else 0


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Modules and tests stay until the end: the garbage collector need not look at them while they are made, nor in each of its rounds."""
    gc.disable()
    try:
        return (yield)
    finally:
        spare_modules()
        gc.set_threshold(10_000, 20, 10)  # in place of 700 and 10: a test makes many objects, which go without a collector
        gc.enable()


def spare_modules() -> None:
    """Exempt all objects from garbage collection if modules have come meanwhile, as those of a compiler. `gc.get_freeze_count` is not
    asked, because it visits all of them."""
    if len(sys.modules) > spared["modules"] + FEW_MODULES:
        spared["modules"] = len(sys.modules)
        gc.freeze()


def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """As pytest's own, but a process of several sends the report of the call alone, if before and after it nothing went wrong: to write and
    read three for each test would take both processors seconds."""
    if not hasattr(item.config, "workerinput"):
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in runtestprotocol(item, log=False, nextitem=nextitem):
        if report.when == "call" or not report.passed:
            item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--cost", type=int, metavar="N", help="print the N dearest tests; fail above the counts in tests/counts.py")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Costs(config))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # sweeps and studies wait for processes: one that comes last would be waited for by the other process of the tests, which has done
    items.sort(key=lambda item: not item.nodeid.startswith("tests/tools/"))
    of_gpus = [item for item in items if item.get_closest_marker("gpu")]
    if of_gpus:
        import torch

        if not torch.cuda.is_available():
            for item in of_gpus:
                item.add_marker(pytest.mark.skip(reason="needs a GPU"))


def once(stamps: Callable[[Path], Iterable]) -> Callable[[Path], Iterable]:
    """`stamps` that reads each folder of the checkout once, because no test writes there; those of users as often as it is asked."""
    of_checkout = cache(lambda folder: [*stamps(folder)])

    @wraps(stamps)
    def known(folder: Path) -> Iterable:
        return of_checkout(folder) if folder.is_relative_to(CHECKOUT) else stamps(folder)

    known.of_checkout = of_checkout
    return known


@pytest.fixture(autouse=True)
def one_process():
    """What a command settles for its whole process: threads, product, determinism, and folders of configurations (`--config-dir`)."""
    if (interpolations := sys.modules.get("omegaconf.base")) and not hasattr(interpolations.parse, "cache_info"):
        interpolations.parse = cache(interpolations.parse)  # each composition would parse the same ones with a slow grammar
    for name in ("torch.export.exported_program", "torch.export.decomp_utils"):
        if (exporting := sys.modules.get(name)) and not hasattr(exporting._collect_all_valid_cia_ops, "cache_info"):
            exporting._collect_all_valid_cia_ops = cache(exporting._collect_all_valid_cia_ops)  # each export would ask every operator anew
    if (menu := sys.modules.get("deeprl.running.config.menu")) and not hasattr(menu.stamps, "of_checkout"):
        menu.stamps = once(menu.stamps)  # each composition would ask a thousand times whether a file of the checkout has changed
    if trainer := sys.modules.get("deeprl.running.training.trainer"):
        trainer.freeze_objects = trainer.thaw_objects = lambda: None  # twice a run it would visit the objects of all tests so far
    if torch := sys.modules.get("torch"):
        torch.default_generator.manual_seed(0)  # a test draws the same numbers, whichever tests ran before it in its process
    yield
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
        torch.set_float32_matmul_precision("highest")
        if torch.are_deterministic_algorithms_enabled():  # the call imports the compiler
            torch.use_deterministic_algorithms(False)
    if folders := sys.modules.get("deeprl.running.config.folders"):
        folders._added.clear()
    spare_modules()


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Iterator[Path]:
    """DQN on CartPole: 300 steps of two environments, 60 updates."""
    from deeprl.cli import exits
    from tests.builders import CARTPOLE, front_door

    path = tmp_path_factory.mktemp("cli") / "finished"
    assert front_door(*CARTPOLE, f"hydra.run.dir={path}") == exits.FINISHED
    before = contents(path)
    yield path
    assert contents(path) == before, "a test has changed the run that all tests read: it needs a copy"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file() and file.name != "lock"}
