"""A run of a benchmark in this process, from the words of its command."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from deeprl.running.config.compose import compose
from deeprl.running.runs.folder import RunFolder
from deeprl.running.session import session
from deeprl.running.session.complete import complete


def trained(words: Sequence[str], path: Path) -> RunFolder:
    """Train what the words say, in place of what lies at the path.

    Raises:
        SystemExit: the run was told to stop, and so is the benchmark.
    """
    config, user, _ = compose(list(words))
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    outcome, _ = session.train(complete(config, user), path)
    if outcome != "finished":
        raise SystemExit(f"the run in {path} was stopped, and with it the benchmark")
    return RunFolder(path)
