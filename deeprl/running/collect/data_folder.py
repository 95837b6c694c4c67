"""Data without a run: a folder with the replay of a data set, stored as a run stores its own.

    data.json                                     name and spaces, as Minari writes them, and the number of rows
    checkpoints/last, checkpoints/step_<0>/       cursors of the replay; sizes and hashes of all files below
    replay/segment_00000001.safetensors           its rows

There is no config.yaml, and there are no weights: a run learns from it, and nothing can go on with it.
"""

from __future__ import annotations

import os
from pathlib import Path

from deeprl.errors import RunFolderError
from deeprl.running.collect.minari import DataSet, parsed, shown
from deeprl.running.runs.config_file import DATA
from deeprl.running.runs.places import holds_run
from deeprl.system.files import machine_fault, said

FORMAT = 1


def holds_data(folder: Path) -> bool:
    return os.path.lexists(folder / DATA) and not holds_run(folder)


def described(folder: Path) -> DataSet:
    """What data.json says. Its `rows` are those for which its replay had room, a whole number from 1.

    Raises:
        RunFolderError: it is damaged, or of another form, or cannot be read.
    """
    path = folder / DATA
    try:
        found = parsed(folder, path)
        if found.metadata.get("format") != FORMAT:
            raise ValueError(f"{path} has format {shown(found.metadata.get('format'))}, not {FORMAT}: it needs another version of deeprl")
        rows = found.metadata.get("rows")
        if type(rows) is not int or not 0 < rows < 1 << 63:
            raise ValueError(f"{path} is damaged: rows={shown(rows)} is no number of rows")
    except (OSError, ValueError) as error:
        if fault := machine_fault(error):
            raise RunFolderError(f"{path} cannot be read: {fault}. It may be whole, so try again") from None
        raise RunFolderError(f"{path} is refused: {said(error)}" if isinstance(error, OSError) else str(error)) from None
    return found
