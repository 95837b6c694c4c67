"""What the table of laws says where the law is known."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from benchmarks import scaling

STEPS = np.arange(50, 2050, 50)


def line(ratio: float, batch: int, rate: float, seed: int, slower: float = 1.0) -> dict:
    """A run whose return rises by a straight line to 100 at step 1200 / ratio^½, later with other settings than a batch of 128 and 1e-3."""
    worse = slower * (1.0 + 0.1 * (batch != 128) + 0.1 * (rate != 1e-3))
    curve = [[int(step), float(100 * step / (1200 * worse * ratio**-0.5))] for step in STEPS]
    own = {"set": "pendulum", "ratio": ratio, "batch": batch, "rate": rate, "seed": seed}
    return {**own, "curve": curve, "steps": 2000, "wall_seconds": 15.0 * ratio}


@pytest.mark.parametrize("name", ["pendulum", "pendulum_four"])
@pytest.mark.parametrize(("slower", "verdict"), [(1.0, "yes"), (1.25, "yes"), (2.0, "no")])
def test_a_law_that_is_known_is_predicted_and_a_run_that_is_slower_is_not(monkeypatch, slower: float, verdict: str, name: str):
    monkeypatch.setattr(scaling, "study", partial(scaling.study, draws=2))  # seeds are equal, and no interval is looked at
    grid = [line(*place) for place in scaling.grid(name)]
    ahead = scaling.ahead(scaling.study(scaling.cells(grid)))
    assert ahead == (128, 1e-3)
    fresh = [line(scaling.AHEAD, *ahead, seed, slower) for seed in scaling.fresh(name)]
    for run, share in zip(fresh, (0.5, 1.0, 1.5)):  # taken is what their mean took
        run["curve"] = [[step, share * value] for step, value in run["curve"]]
    monkeypatch.setattr(scaling, "stored", lambda _: [*grid, *fresh])
    rows = [row.split(" | ") for row in scaling.table(name).splitlines() if row.startswith("|")][2:]
    assert len(rows) == 6
    for threshold, _, predicted, taken, said in ((float(row[0].strip("| ")), *row[1:]) for row in rows):
        assert float(predicted.replace(",", "")) == pytest.approx(threshold * 12 * 8**-0.5, rel=0.01)
        assert float(taken.replace(",", "")) == pytest.approx(slower * threshold * 12 * 8**-0.5, rel=0.01)
        assert said.strip("| ") == verdict


def test_a_grid_that_is_not_whole_has_no_law(monkeypatch):
    monkeypatch.setattr(scaling, "stored", lambda _: [line(1, 64, 1e-3, 0)])
    assert "1 runs" in scaling.table("pendulum")
