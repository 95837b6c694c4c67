"""Lines of a run's files as columns by name."""

from __future__ import annotations

from typing import NoReturn

import numpy as np

from deeprl.running.config.rules import nearest


class NamedColumns(dict[str, np.ndarray]):
    """A dictionary whose KeyError names the nearest column."""

    def __missing__(self, name: str) -> NoReturn:
        others = f" There are {', '.join(self)}." if self else " The run has logged nothing yet."
        raise KeyError(f"there is no {name}.{nearest(str(name), self) or others}")
