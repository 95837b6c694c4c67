"""What a command does with each run of a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from deeprl.cli.exits import complain
from deeprl.errors import FAILED, FINISHED, CheckpointError, ConfigError, MachineError, RunFolderError
from deeprl.running.runs.places import find_runs


def each_policy(place: Path, act: Callable[[Path], object], out: Path | None = None) -> int:
    """`each_run`, also of an archive, which is unpacked for as long as this process lives.

    Args:
        out: the folder that `--out` names, which takes one policy.

    Raises:
        ConfigError: `out` is given, and there are several runs; and as in `each_run`.
    """
    if place.is_file():
        from deeprl.running.runs.archive import as_folder

        place = as_folder(place)
    if out is not None and (count := len(find_runs(place))) > 1:
        raise ConfigError(f"--out {out} takes one policy, and {place} holds {count} runs: name one of them")
    return each_run(place, act)


def each_run(folder: Path, act: Callable[[Path], object]) -> int:
    """Call `act` with every run in `folder`. Of several runs, one that cannot be read is named, and the others go on.

    Returns:
        the exit code: `FAILED` if a run was left out.

    Raises:
        RunFolderError, CheckpointError, ConfigError, MachineError: the folder is the run itself, or holds just one, and it cannot be read.
    """
    runs, code = find_runs(folder), FINISHED
    for path in runs:
        try:
            act(path)
        except (RunFolderError, CheckpointError, ConfigError, MachineError) as error:
            if len(runs) == 1:
                raise
            code = complain(FAILED, f"{path} is left out: {error}")
    return code
