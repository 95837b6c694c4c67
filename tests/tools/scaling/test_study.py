"""A grid of runs whose laws are known: R(s) = 1000 (1 − exp(−s/τ)), τ = (2,000 + 8,000/σ) times a penalty of batch size and rate."""

import numpy as np
import pytest

from deeprl.tools.scaling.cells import Cell
from deeprl.tools.scaling.study import nearest, pace, proposed, study

STEPS = np.arange(1000.0, 60_001, 1000)
SIGMAS, BATCHES, RATES = (1, 2, 4, 8, 16), (16, 32, 64, 128, 256, 512), (1e-4, 2e-4, 4e-4, 8e-4, 16e-4)


def grid(sigmas=SIGMAS, seeds=4, noise=0.02, batches=BATCHES, rates=RATES) -> list[Cell]:
    """B* = 256 σ^−.5 and η* = 8e-4 σ^−.25; 10 ms a step and 1 ms + 20 µs a sample for an update."""
    rng = np.random.default_rng(0)
    found = []
    for sigma in sigmas:
        for batch in batches:
            for rate in rates:
                wrong = np.log(batch / (256 * sigma**-0.5)) ** 2 + np.log(rate / (8e-4 * sigma**-0.25)) ** 2
                tau = (2_000 + 8_000 / sigma) * (1 + 0.3 * wrong) * np.exp(noise * rng.standard_normal((seeds, 1)))
                speed = np.full(seeds, 0.01 + sigma * (0.001 + 2e-5 * batch))
                found.append(Cell(sigma, batch, rate, STEPS, 1000 * (1 - np.exp(-STEPS / tau)), speed))
    return found


@pytest.fixture(scope="module")
def known():
    return study(grid(), draws=20)


def test_exponents_are_recovered_within_a_twentieth(known):
    assert known.batch.law.slope == pytest.approx(-0.5, abs=0.05)
    assert known.rate.law.slope == pytest.approx(-0.25, abs=0.05)
    assert known.batch.low <= known.batch.law.slope <= known.batch.high
    for level in known.levels:
        truth = -np.log(1 - level.threshold / 1000) * (2_000 + 8_000 / np.array([3.0, 32.0]))
        assert level.law(np.array([3.0, 32.0])) == pytest.approx(truth, rel=0.1)
        assert abs(level.left_out) < 0.1


def test_the_largest_ratio_is_predicted_without_it():
    """Ratios of 1, 2 and 4 predict the data that 8 takes, within 30 %."""
    table = grid(sigmas=(1, 2, 4, 8))
    threshold = [700.0]
    small, truth = study([each for each in table if each.sigma < 8], threshold, draws=5), study(table, threshold, draws=5)
    assert small.levels[0].law(8.0) == pytest.approx(truth.levels[0].data[-1], rel=0.3)
    assert small.levels[0].law.floor == 0


def test_hours_are_the_speed_of_the_machine_times_the_data(known):
    assert [*vars(known.pace).values()] == pytest.approx([0.01, 0.001, 2e-5], rel=1e-6)
    level = known.levels[-1]
    sigma, hours = known.best_ratio(level)
    fine = np.geomspace(0.25, 64, 20_000)
    steps = -np.log(1 - level.threshold / 1000) * (2_000 + 8_000 / fine)
    cost = steps * (0.01 + fine * (0.001 + 2e-5 * 256 * fine**-0.5)) / 3600
    assert hours == pytest.approx(cost.min(), rel=0.1)
    assert cost[np.abs(fine - sigma).argmin()] < 1.1 * cost.min()


def test_a_budget_names_the_highest_return_that_it_pays(known):
    every = known.next_run(None)
    assert every["return"] == known.levels[-1].threshold
    assert every["batch_size"] % 16 == 0
    less = known.next_run(0.6 * every["hours"])
    assert less["return"] < every["return"]
    assert less["hours"] <= 0.6 * every["hours"]
    assert known.next_run(1e-9) is None
    for name, (low, high) in every["intervals"].items():
        assert low <= every[name] <= high, name
    low, high = every["intervals"]["steps"]
    truth = -np.log(1 - every["return"] / 1000) * (2_000 + 8_000 / every["ratio"])
    assert 0.9 * truth < low < high < 1.15 * truth
    each_step = 0.01 + every["ratio"] * (0.001 + 2e-5 * every["batch_size"])  # of these settings, in every sample
    assert every["intervals"]["hours"] == pytest.approx([low * each_step / 3600, high * each_step / 3600])


def test_an_interval_is_that_of_the_laws_of_the_samples():
    """One batch size and rate, and returns that rise by straight lines: at a ratio of 1 two seeds reach 1 after 100 and 300 steps. A sample
    has both, or one of them twice: 150, 100 or 300 steps."""
    steps = np.arange(0.0, 401, 10)

    def cell(sigma, *ends):
        return Cell(sigma, 64, 1e-3, steps, np.array([steps / end for end in ends]), np.full(len(ends), 0.01))

    found = study([cell(1, 100, 300), cell(2, 50, 50)], [1.0])
    (level,) = found.levels
    assert level.data == pytest.approx([150, 50])
    assert found.interval(level, lambda one, it: one.data(it, np.array([1.0, 2.0]))) == pytest.approx(np.array([[100, 50], [300, 50]]))
    assert found.interval(level, lambda one, it: float(it.law.alpha)) == pytest.approx(np.log2([2, 6]))


def test_seeds_that_are_equal_have_an_interval_of_one_point():
    found = study(grid(seeds=2, noise=0.0), [600.0], draws=5)
    level, sigma = found.levels[0], np.array([1.0, 32.0])
    for of in (lambda one, it: one.data(it, sigma), lambda one, it: one.cost(it, sigma)):
        assert found.interval(level, of) == pytest.approx(np.tile(of(found, level), (2, 1)))


def test_samples_that_reach_a_return_at_one_ratio_alone_are_counted():
    table = [each._replace(returns=each.returns * np.array([[1.0], [0.5]])) for each in grid(sigmas=(1, 2), seeds=2)]
    found = study(table, [450.0, 740.0], draws=20)
    count = sum(each.levels[1].law is not None for each in found.samples)
    assert 0 < count < 20
    assert any(f"740 has a law in {count} of 20 bootstrap samples" in note for note in found.notes)


def test_a_best_value_at_an_edge_and_a_slope_of_zero_are_told():
    found = study(grid(sigmas=(1, 4), batches=(16, 32, 64), seeds=2), [600.0], draws=20)
    assert any("best batch is mostly at an edge of the grid at a ratio of 1" in note for note in found.notes)
    assert any("2 replay ratios" in note for note in found.notes)
    assert any("4 times beyond the grid" in note for note in found.notes)


def test_a_return_that_is_never_reached_is_told_and_left_out():
    table = [each._replace(returns=each.returns * (0.5 if each.sigma == 16 else 1)) for each in grid(noise=0.0, seeds=1)]
    found = study(table, [600.0, 700.0], draws=5)
    assert np.isnan(found.levels[0].data[-1])
    assert found.levels[0].law.points == 4
    assert any("never reached at a ratio of 16" in note for note in found.notes)
    with pytest.raises(ValueError, match="no cell reaches"):
        study(table, [2000.0], draws=5)


def test_one_batch_size_and_one_rate_are_a_study_too():
    found = study(grid(batches=(128,), rates=(4e-4,), noise=0.0, seeds=1), draws=5)
    assert found.batch.best.tolist() == pytest.approx([128] * 5)
    assert proposed(found.batch, 3.0) == 128
    assert found.next_run(None)["rate"] == pytest.approx(4e-4)


def test_the_nearest_cell_is_by_ratio():
    table = grid(sigmas=(1,), seeds=1)
    assert (nearest(table, 90.0, 3e-4).batch, nearest(table, 91.0, 3e-4).rate) == (64, 4e-4)
    assert not pace([each._replace(pace=np.array([np.nan])) for each in table]).known


def test_more_updates_that_take_more_data_are_not_extrapolated():
    rising = [each._replace(returns=1000 * (1 - np.exp(-STEPS / (3_000 * each.sigma**0.5)))[None]) for each in grid(seeds=1)]
    found = study(rising, [600.0], draws=2)
    assert "not extrapolated: its law misses the data by" in found.notes[-1]
    assert found.next_run(None) is None


def test_cells_that_some_ratios_lack_are_left_out():
    table = [each for each in grid(seeds=2) if each.batch <= 512 / each.sigma]
    found = study(table, [600.0], draws=5)
    assert any("cells are left out" in note for note in found.notes)
    assert found.batch.best.max() <= 32


def test_one_seed_has_no_interval():
    found = study(grid(seeds=1), [600.0], draws=5)
    assert np.isnan([found.batch.low, found.batch.high]).all()
    assert np.isnan([*found.next_run(None)["intervals"].values()]).all()
    assert any("every cell has one seed" in note for note in found.notes)
