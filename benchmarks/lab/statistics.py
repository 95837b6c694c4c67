"""Statistics over seeds that every table of benchmarks.lab has."""

from __future__ import annotations

import numpy as np
import scipy


def shown(values: np.ndarray, digits: int = 2) -> str:
    """Mean ± half of the 95 % interval of (seeds,) numbers."""
    half = scipy.stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return f"{values.mean():.{digits}f} ± {half:.{digits}f}"


def slopes(curves: np.ndarray, at: np.ndarray) -> np.ndarray:
    late = at >= at[-1] / 10
    return np.polyfit(np.log(at[late]), np.log(np.maximum(curves[:, late], 1e-9)).T, 1)[0]


def line(label: str, cells: list[str], width: int = 18) -> None:
    print(f"{label:38}" + "".join(f"{cell:>{width}}" for cell in cells), flush=True)
