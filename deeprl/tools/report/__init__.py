"""The report, and the look of its figures.

Matplotlib reads a `matplotlibrc` of the current folder when it is imported. That folder may be a stranger's, whose file may be a pipe, so
that matplotlib is imported from another one.
"""

import contextlib
from pathlib import Path

with contextlib.suppress(ImportError, OSError), contextlib.chdir(Path(__file__).parent):  # OSError: the current folder is gone
    import matplotlib  # noqa: F401
