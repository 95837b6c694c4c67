"""What the suite costs, as a plugin of pytest: compositions, runs, traced graphs, compiled functions and processes, which are the same on
every machine, and processor seconds, which tell where to look.

`pytest --cost 20` prints folders and the 20 dearest tests, and fails above `LIMITS`."""

from __future__ import annotations

import importlib
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import wraps
from multiprocessing.process import BaseProcess
from pathlib import PurePosixPath
from typing import Any

import pytest

LIMITS = {"compositions": 2060, "runs": 677, "traces": 258, "compilations": 8, "processes": 409}
"""Of `pytest` as README has it, with two processes. A test that needs more than the others of its kind has another way, or the marker
`exhaustive`; see CONTRIBUTING. Each process composes what it has not composed before, so that compositions differ by some from run to
run."""
COUNTED = {
    "deeprl.running.config.composition:composed": "compositions",
    "deeprl.running.training.trainer:Trainer.run": "runs",
    "torch.fx.experimental.proxy_tensor:make_fx": "traces",
    "deeprl.running.accelerate.graph:lowered": "compilations",
    "deeprl.running.accelerate.graph:documented": "compilations",
}
"""Functions whose calls are counted, once their modules are loaded: the smallest test loads none of them. Other files call
them by their modules, `composition.composed`, because a name that is imported stays that of the plain function."""


def processor_seconds() -> float:
    """Of this process and of those that it started and that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


class Costs:
    """Counts by kind and seconds by test, added up over the processes of the suite."""

    def __init__(self, config: pytest.Config):
        self.config = config
        self.counts: Counter[str] = Counter()
        self.seconds: dict[str, float] = {}
        self.elsewhere = 0.0  # imports and collection in other processes
        self.waiting = dict(COUNTED)
        subprocess.Popen.__init__ = self.counted("processes", subprocess.Popen.__init__)  # type: ignore[method-assign]
        BaseProcess.start = self.counted("processes", BaseProcess.start)  # type: ignore[method-assign]

    def counted(self, kind: str, function: Callable) -> Callable:
        @wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            self.counts[kind] += 1
            return function(*args, **kwargs)

        return called

    def wait(self) -> None:
        """Count the calls of functions whose modules have been loaded meanwhile."""
        for path in [path for path in self.waiting if path.partition(":")[0] in sys.modules]:
            module, _, names = path.partition(":")
            *owners, name = names.split(".")
            owner: Any = importlib.import_module(module)
            for each in owners:
                owner = getattr(owner, each)
            if hasattr(owner, name):
                setattr(owner, name, self.counted(self.waiting.pop(path), getattr(owner, name)))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self.wait()
        before = processor_seconds()
        result = yield
        self.seconds[item.nodeid] = processor_seconds() - before
        return result

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if hasattr(self.config, "workeroutput"):
            self.config.workeroutput["costs"] = (dict(self.counts), self.seconds, processor_seconds())
        elif self.config.getoption("cost") is not None and self.exceeded():
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        if "costs" in (output := getattr(node, "workeroutput", {})):  # absent if it died
            counts, seconds, total = output["costs"]
            self.counts.update(counts)
            self.seconds.update(seconds)
            self.elsewhere += total

    def exceeded(self) -> list[str]:
        return [f"{self.counts[kind]} {kind}, {most} allowed" for kind, most in LIMITS.items() if self.counts[kind] > most]

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        number = self.config.getoption("cost")
        if hasattr(self.config, "workeroutput") or number is None:
            return
        own = time.process_time() if self.elsewhere else processor_seconds()  # workers are children, and say their own
        write, total = terminalreporter.write_line, own + self.elsewhere
        terminalreporter.section("cost")
        folders: Counter[str] = Counter()
        for test, seconds in self.seconds.items():
            folders[str(PurePosixPath(test.partition("::")[0]).parent)] += seconds
        folders["imports, collection"] = total - sum(folders.values())
        for name, seconds in (*folders.most_common(), *Counter(self.seconds).most_common(number)):
            write(f"{seconds:8.2f} s  {name}")
        write(f"{total:.0f} s of processor; " + ", ".join(f"{self.counts[kind]} {kind} (at most {most})" for kind, most in LIMITS.items()))
        for line in self.exceeded():
            write(f"tests/counts.py: {line}", red=True)
