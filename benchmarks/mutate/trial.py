"""One trial: the commands read a mutated run folder in this process, and what they did is judged.

refused    a sentence, exit code 1 or 2
previous   the checkpoint before a damaged one was used, with a warning
loaded     read, and training went on; what was changed is not read, or has another valid value
stopped    a sentence that training ended, because a number is not finite or an environment refuses an action
failed     a sentence that only the last handler has: the type of an exception, with the traceback in a file or on demand
BAD        a traceback, another exit code, an escape sequence, a limit passed, code run, or anything outside of the folder made or changed
"""

from __future__ import annotations

import io
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any

import gymnasium.envs.mujoco.mujoco_rendering  # noqa: F401 (its glfw starts a Python once, to ask its library for its version)
import torch

from benchmarks.mutate.mutations import forge
from benchmarks.mutate.parts import part
from benchmarks.mutate.watch import watched
from deeprl.cli import main as cli
from deeprl.cli.exits import FINISHED, guarded
from deeprl.errors import Stopped
from deeprl.running.config.build import build_agent, environment
from deeprl.running.config.compose import compose
from deeprl.running.config.dry_run import made_up_batch
from deeprl.running.runs.folder import RunFolder
from deeprl.running.session.api import load
from deeprl.running.session.complete import complete
from deeprl.running.session.warm_start import warm_start
from deeprl.running.training import crash, trainer
from deeprl.system.signals import Signals

WORDS = (
    "agent=dqn", "env=classic/cartpole", "env.num=2", "steps=200", "replay.learning_starts=60", "replay.ratio=0.5",
    "replay=prioritized", "replay.capacity=150", "replay.batch_size=16", "agent.torso.hidden=[16]",
    "agent.explore.schedule.duration=100", "evaluation.every=null", "evaluation.episodes=1", "evaluation.final_episodes=1",
    "checkpoint.every=100", "log.every=50", "runtime.threads=1",
)  # fmt: skip
"""The run that is mutated; `add_bundle` completes it."""
READERS = (("eval", "--episodes", "1"), ("resume", "steps=240"), ("status",), ("init_from",))
"""Commands that read a run folder; `init_from` is the part of `deeprl train` that does"""
BUILDERS = (("eval", "--episodes", "1"), ("resume", "steps=240"), ("record",), ("export", "--format", "torch"), ("replay-crash",))
"""Commands that build what a configuration names"""
SECONDS = 5
"""Processor time of one trial, because other work on the machine costs no processor time"""
TICKS = {"link": 60}
"""Steps and evaluation steps of a resumed run, because a mutated configuration may ask for any number. The 60 lead to its end"""


def add_bundle(run: Path) -> None:
    """A crash bundle of the run's own agent."""
    stored = load(run)
    batch = made_up_batch(stored.agent, stored.agent.spec, (16,))
    batch.reward[3] = torch.nan
    failure = {"step": 200, "update": 70, "objective": "value", "tensor": "batch.reward", "product": "highest"}
    crash.write(RunFolder(run), stored.config, stored.agent, batch, failure)


def surround(place: Path) -> None:
    """What a stranger's folder may reach for beside itself in `place`: a file, and a package that notes its import."""
    (place / "outside").mkdir()
    (place / "outside" / "precious").write_text("precious\n")
    (place / "canary.py").write_text("import gymnasium\nclass Thing(gymnasium.Wrapper):\n    pass\n")
    sys.path.append(str(place))
    os.chdir(place)


def trial(run: Path, mutation: Callable, dice, fits: bool) -> tuple[str, str, float]:
    """Mutate the copy at `run` and read it. Returns what was mutated, the outcome, and seconds of processor time."""
    newest = max((run / "checkpoints").glob("step_*"))
    what = mutation(newest, dice)
    if fits:
        for folder in (newest, *(run / "crash").glob("step_*")):
            forge(folder)
    commands: Sequence[Sequence[str]] = (("replay-crash",),) if what.startswith("step_") else READERS
    if mutation is part:
        allowed = dice.choice(((), ("--allow-package", "gymnasium")))  # as a user types it for any wrapper
        commands = ((*dice.choice(BUILDERS), *allowed),)
    before, began = surroundings(run), time.process_time()
    with watched(run.parent) as seen:
        found = outcome(run, commands, TICKS.get(mutation.__name__, 6))
    seconds = time.process_time() - began
    if seconds > SECONDS:
        found = f"BAD {seconds:.1f} s"
    if surroundings(run) != before:
        found = "BAD something outside of the folder was made or changed"
    if seen:
        found = f"BAD {'; '.join(dict.fromkeys(seen))[:500]}"
    return what, found, seconds


def outcome(run: Path, commands: Sequence[Sequence[str]], ticks: int) -> str:
    """The worst of what the commands did."""
    kinds = ["loaded"]
    for name, *rest in commands:
        text = io.StringIO()
        try:
            with few(ticks), warned(text), redirect_stdout(text), redirect_stderr(text):
                if name == "init_from":
                    sys.exit(guarded(lambda: started_from(run)))
                cli.main([name, str(run), *rest])
        except SystemExit as left:
            kinds.append(judged(left.code, text.getvalue()))
        except BaseException as error:  # this is what is looked for
            kinds.append(f"BAD {type(error).__name__}: {str(error)[:300]}")
        kinds[-1] += f" ({name}: {' '.join(text.getvalue().split())[-300:]})" if kinds[-1].startswith(("BAD", "failed")) else ""
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("highest")
    return next(kind for order in ("BAD", "failed", "stopped", "refused", "previous", "loaded") for kind in kinds if kind.startswith(order))


def started_from(run: Path) -> int:
    """What a new run with `init_from` does with the folder."""
    agent = build_agent(*new_agent())
    warm_start(agent, str(run))
    return FINISHED


@cache
def new_agent() -> tuple[dict, Any]:
    config = complete(*compose(WORDS)[:2])
    return config, environment(config)[1]


@contextmanager
def warned(text: io.StringIO) -> Iterator[None]:
    """Every warning of the block goes to `text`, as a command prints it."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        try:
            yield
        finally:
            for each in found:
                text.write(warnings.formatwarning(each.message, each.category, each.filename, each.lineno))


def judged(code: object, text: str) -> str:
    if code not in (0, 1, 2, 75):
        return f"BAD exit code {code}"
    for sign in ("Traceback", "\x1b", "DefaultCPUAllocator", "MemoryError"):
        if sign in text:
            return f"BAD {sign!r} was printed"
    if "NotFinite" in text or "EnvironmentFailed" in text or "is not finite" in text:
        return "stopped"
    if "the run failed:" in text or "DEEPRL_DEBUG" in text:
        return "failed"
    return "previous" if "Trying the checkpoint" in text else "refused" if "deeprl: " in text else "loaded"


@contextmanager
def few(ticks: int) -> Iterator[None]:
    """A signal arrives at a resumed run after so many ticks. The collection of garbage, a third of a trial, is left out."""
    plain, collect, left = Signals.raise_if_stopped, trainer.freeze_objects, [ticks]

    def raise_if_stopped(self: Signals) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Stopped("the trial is over")
        plain(self)

    Signals.raise_if_stopped, trainer.freeze_objects = raise_if_stopped, lambda: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        Signals.raise_if_stopped, trainer.freeze_objects = plain, collect  # type: ignore[method-assign]


def surroundings(run: Path) -> dict[str, object]:
    """Everything beside the run folder."""
    found: dict[str, object] = {}
    for path in run.parent.rglob("*"):
        if path != run and run not in path.parents and "__pycache__" not in path.parts:
            info = path.lstat()
            found[str(path)] = (info.st_mode, info.st_size, info.st_mtime_ns if path.is_file() else 0)
    return found
