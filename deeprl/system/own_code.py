"""Code of a process that belongs neither to deeprl nor to an installed package: agents, environments and scripts of a user."""

from __future__ import annotations

import contextlib
import hashlib
import sys
import sysconfig
from pathlib import Path

MOST = 200
"""Modules that are recorded"""


def own_code() -> dict[str, str]:
    """Modules that are loaded, each with the hash that git gives to its file as it is now: `git log --find-object=HASH` finds the commit
    that brought it. At most `MOST`, in the order of their names."""
    checkout = Path(__file__).resolve().parents[2]
    installed = [sysconfig.get_paths()[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")]
    apart = (*(f"{path}/" for path in installed), f"{checkout}/deeprl", f"{checkout}/train.py")
    found = dict[str, str]()
    for name, module in sorted(sys.modules.copy().items(), key=lambda item: item[0]):
        file = getattr(module, "__file__", None)
        if name == "__mp_main__" or not isinstance(file, str) or not file.endswith(".py") or file.startswith(apart) or "-packages/" in file:
            continue  # __mp_main__: another name of __main__; -packages: of another installation, site-packages or dist-packages
        with contextlib.suppress(OSError):  # removed since, or part of an archive
            found[name] = blob(Path(file).read_bytes())
        if len(found) == MOST:
            break
    return found


def blob(data: bytes) -> str:
    """The hash of a file in git: SHA-1 of its length and its bytes."""
    return hashlib.sha1(b"blob %d\0%b" % (len(data), data), usedforsecurity=False).hexdigest()
