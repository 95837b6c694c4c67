"""What a study is: `tune.json` in its folder, written before its first trial."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from deeprl.errors import ConfigError
from deeprl.system.files import replace_file
from deeprl.tools.sweep.folder import read_record
from deeprl.tools.sweep.grid import is_override

PRUNERS = ("median", "halving", "none")
MOST_RUNS = 100_000
"""Runs of a study, because all of them are listed at its start"""


@dataclass(frozen=True)
class Settings:
    overrides: tuple[str, ...]
    """As the user gave them."""
    config_dir: str | None
    seeds: int
    """Runs of a trial."""
    last: int
    """Evaluations at the end of a run that its score is the mean of."""
    pruner: str
    sampler_seed: int
    start: tuple[str, ...]
    """Values of parameters in the first trial."""
    trials: int
    together: int
    """Seeds of a trial that train side by side; the pruner sees their mean."""
    cwd: str | None = None
    """Where the first command was given; older studies lack it."""

    def __post_init__(self):
        if not all(type(n) is int and n >= 1 for n in (self.seeds, self.last, self.trials, self.together)):
            raise ConfigError("trials, seeds, last and together are not all whole numbers of at least 1")
        if self.trials * self.seeds > MOST_RUNS:
            raise ConfigError(f"--trials {self.trials} with --seeds {self.seeds}: a study has at most {MOST_RUNS:,} runs")

    @classmethod
    def read(cls, path: Path) -> Settings:
        """
        Raises:
            RunFolderError: the folder holds no study, or tune.json is damaged.
        """

        def parse(found: Any) -> Settings:
            read = cls(**{**found, "overrides": tuple(found["overrides"]), "start": tuple(found["start"])})
            words = all(is_override(word) for word in (*read.overrides, *read.start))
            seed = type(read.sampler_seed) is int and read.sampler_seed >= 0
            places = isinstance(read.config_dir, str | None) and isinstance(read.cwd, str | None)
            if not (words and seed and places and read.pruner in PRUNERS):
                raise ValueError("it names no study")
            return read

        return read_record(path / "tune.json", "study", parse)

    def store(self, path: Path) -> Settings:
        """Write tune.json, under the lock. If the folder has one, it must hold the same study, whose `together` and `cwd` stay.

        Returns:
            What the file holds now.

        Raises:
            ConfigError: it holds another one.
        """
        stored = self
        if exists(path):
            found = Settings.read(path)
            found.require_same(self, path)
            stored = replace(self, together=found.together, cwd=found.cwd)
        replace_file(path / "tune.json", json.dumps(asdict(stored), indent=1) + "\n")
        return stored

    def require_same(self, other: Settings, path: Path) -> None:
        """
        Raises:
            ConfigError: `other`, which a command line describes, is another study. The numbers of trials and of jobs may differ.
        """
        if replace(other, trials=self.trials, together=self.together, cwd=self.cwd) != self:
            raise ConfigError(
                f"--dir={path} holds another study, {shlex.join(self.overrides)}: choose another folder, or {resume_command(path)}."
            )


def exists(path: Path) -> bool:
    return (path / "tune.json").exists()


def resume_command(path: Path) -> str:
    return f"deeprl tune resume {shlex.quote(str(path))}"
