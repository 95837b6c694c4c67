"""`deeprl clean [DIR...]`: remove what trials leave behind: runs that failed before their first checkpoint, and very short ones."""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from pathlib import Path

from deeprl.cli.arguments import natural
from deeprl.errors import FINISHED, ConfigError, RunFolderError
from deeprl.running.runs.folder import RunFolder, holder
from deeprl.running.runs.places import find_runs
from deeprl.system.terminal import amount, one_line, print_result, say

OF_A_RUN = re.compile(
    r"config\.yaml|(system|status|summary)\.json|lock|(metrics|evaluations)\.jsonl|events\.out\.tfevents\..*|checkpoints|replay|videos"
    r"|exports|ranks|crash|traceback\.txt|stacks\.txt|\.hydra|\.?wandb|(wandb|mlflow|trackio)_id|.*\.(log|out|err|partial)"
)
"""What a run writes. A folder that holds anything else stays."""


def arguments(parser: argparse.ArgumentParser) -> None:
    text = "run folders, and folders above several (default: runs)"
    parser.add_argument("folders", nargs="*", type=Path, default=[Path("runs")], metavar="DIR", help=text)
    text = "finished runs of at most so many steps are removed too (default: 1000; 0: none)"
    parser.add_argument("--below", type=natural, default=1000, metavar="STEPS", help=text)
    parser.add_argument("--yes", action="store_true", help="remove without asking")


def run(options: argparse.Namespace) -> int:
    chosen = {path: why for folder in options.folders for path in find_runs(folder) if (why := reason(path, options.below))}
    if not chosen:
        print_result("nothing to remove: no run has failed before its first checkpoint, and none is that short")
        return FINISHED
    for path, why in chosen.items():
        print_result(f"{one_line(str(path))}   {why}, {amount(size(path))}")
    if not options.yes and not agreed(f"Remove these {len(chosen)} runs?"):
        print_result("nothing was removed")
        return FINISHED
    for path in chosen:
        remove(path)
    return FINISHED


def agreed(question: str) -> bool:
    """
    Raises:
        ConfigError: nobody can be asked.
    """
    if not sys.stdin.isatty():
        raise ConfigError("deeprl clean asks before it removes anything, and there is no terminal: say --yes.")
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")


def reason(path: Path, below: int) -> str:
    """Why a run is removed; empty if it stays. One that could go on stays, whatever became of it."""
    if path.is_symlink() or holder(path) is not None:
        return ""
    try:
        status = RunFolder(path).read_status() or {}
    except RunFolderError:
        return ""
    if any(not OF_A_RUN.fullmatch(entry.name) for entry in path.iterdir()):
        return ""
    if status.get("state") == "failed" and status.get("saved") is None and not any((path / "checkpoints").glob("step_*")):
        return "failed before its first checkpoint"
    if status.get("state") == "finished" and status["step"] <= below:
        return f"finished after {status['step']:,} steps"
    return ""


def size(path: Path) -> int:
    return sum(file.lstat().st_size for file in path.rglob("*") if not file.is_dir())


def remove(path: Path) -> None:
    """Remove a run under its lock, so that no command begins to use it meanwhile. A folder above it that is empty then goes too."""
    try:
        with RunFolder(path).lock():
            shutil.rmtree(path)
    except (RunFolderError, OSError) as error:
        say(f"{path} stays: {error}")
        return
    for above in path.parents:
        if above.name in ("runs", "") or any(above.iterdir()):
            return
        above.rmdir()
