"""A grid of runs whose laws are known: R(s) = 1000 (1 − exp(−s/τ)), τ = (2,000 + 8,000/σ) times a penalty of batch size and rate."""

import numpy as np
import pytest

from deeprl.tools.scaling.cells import Cell
from deeprl.tools.scaling.fits import reached
from deeprl.tools.scaling.next_run import next_run
from deeprl.tools.scaling.returns import NeverReachedError
from deeprl.tools.scaling.speed import pace
from deeprl.tools.scaling.study import nearest, proposed, study

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
    every = next_run(known, None)
    assert every.threshold == known.levels[-1].threshold
    assert every.batch_size % 16 == 0
    less = next_run(known, 0.6 * every.hours)
    assert less.threshold < every.threshold
    assert less.hours <= 0.6 * every.hours
    assert next_run(known, 1e-9) is None
    for name, (low, high) in every.intervals.items():
        assert low <= getattr(every, name) <= high, name
    low, high = every.intervals["steps"]
    truth = -np.log(1 - every.threshold / 1000) * (2_000 + 8_000 / every.ratio)
    assert 0.9 * truth < low < high < 1.15 * truth
    each_step = 0.01 + every.ratio * (0.001 + 2e-5 * every.batch_size)  # of these settings, in every sample
    assert every.intervals["hours"] == pytest.approx([low * each_step / 3600, high * each_step / 3600])


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
    assert next_run(found, None).rate == pytest.approx(4e-4)


def test_the_nearest_cell_is_by_ratio():
    table = grid(sigmas=(1,), seeds=1)
    assert (nearest(table, 90.0, 3e-4).batch, nearest(table, 91.0, 3e-4).rate) == (64, 4e-4)
    assert not pace([each._replace(pace=np.array([np.nan])) for each in table]).known


def test_where_more_updates_take_more_data_the_next_run_is_the_fastest_cell():
    """There was none: no law is extrapolated, and the grid's own cells were not asked."""
    rising = [each._replace(returns=1000 * (1 - np.exp(-STEPS / (3_000 * each.sigma**0.5)))[None]) for each in grid(seeds=1)]
    found = study(rising, [600.0], draws=2)
    assert "not extrapolated: its law misses the data by" in found.notes[-1]
    best = next_run(found, None)
    steps = reached(STEPS, rising[0].returns[0], 600.0)
    assert (best.ratio, best.batch_size, best.rate, best.steps) == (1, 16, 1e-4, steps)
    assert best.hours == pytest.approx(steps * (0.01 + 0.001 + 16 * 2e-5) / 3600)
    assert best.observed
    assert "No law" in best.remark
    assert np.isnan(best.intervals["steps"]).all()
    assert next_run(found, 0.9 * best.hours) is None


def test_a_ratio_at_the_end_of_the_range_is_an_extrapolation_without_an_interval():
    """Its interval was of one point: no sample can pass the end of the range. Steps are dear, so more updates are best."""
    dear = [each._replace(pace=np.full(2, 1.0 + each.sigma * 0.001)) for each in grid(sigmas=(1, 2, 4), seeds=2)]
    best = next_run(study(dear, [600.0], draws=5), None)
    assert best.ratio == 16
    assert np.isnan(best.intervals["ratio"]).all()
    assert np.isfinite(best.intervals["steps"]).all()
    assert "The ratio of 16 lies beyond the grid (1 to 4)" in best.remark
    assert "may lie further" in best.remark
    inside = next_run(study(grid(sigmas=(1, 2, 4), seeds=2), [600.0], draws=5), None)
    assert inside.remark == "" or not 1 <= inside.ratio <= 4


def test_hours_count_no_updates_before_learning_starts():
    """Every step had its updates: with 5,000 steps of 7,000 before the first one the hours were too long, and the best ratio too small."""
    starts, steps = 5_000.0, np.arange(200.0, 12_001, 200)
    table = []
    for sigma in (1, 2, 4, 8):
        returns = 1000 * (1 - np.exp(-np.maximum(steps - starts, 0) / (3_000 * sigma**-0.5)))
        updating = 1 - starts / 12_000
        speed = np.full(1, 0.001 + updating * sigma * 6e-4)
        table.append(Cell(sigma, 64, 1e-3, steps, returns[None], speed, starts, np.array([updating])))
    found = study(table, [300.0], draws=2)
    best = next_run(found, None)
    assert best.hours == pytest.approx((best.steps * 0.001 + (best.steps - starts) * best.ratio * 6e-4) / 3600, rel=1e-6)
    cost = [float(found.pace.seconds(5_000, 8, 64, starts)), float(found.pace.seconds(6_000, 8, 64, starts))]
    assert cost == pytest.approx([5.0, 6.0 + 1_000 * 8 * 6e-4])


def test_a_return_at_the_first_evaluation_is_no_point_of_a_law():
    """It counted as reached there, after as many steps as the evaluations were apart."""
    table = [each._replace(returns=each.returns + 600 * (each.sigma == 16)) for each in grid(seeds=1, noise=0.0)]
    (level,) = study(table, [500.0], draws=2).levels
    assert level.censored.tolist() == [False] * 4 + [True]
    assert level.law.points == 4
    notes = study(table, [500.0], draws=2).notes
    assert any("500 is reached at the first evaluation or before the first update at a ratio of 16" in note for note in notes)


def test_a_return_that_takes_no_learning_is_refused():
    """A grid that learned nothing had a full study of the level of untrained agents."""
    table = grid(seeds=1, noise=0.0, sigmas=(1, 2))
    with pytest.raises(NeverReachedError, match=r"no cell learns a return of 1: .* at the first evaluation .* Name returns up to"):
        study(table, [1.0], draws=2)
    uneven = [each._replace(returns=each.returns + 3 * (each.sigma == 1)) for each in table]  # where ratio 2 starts is below their median
    with pytest.raises(NeverReachedError, match=r"no cell learns a return of 1: .* the level of the first evaluations"):
        study(uneven, [1.0], draws=2)
    flat = [each._replace(returns=np.full_like(each.returns, 9.0)) for each in table]
    with pytest.raises(NeverReachedError, match=r"no cell learns a return of 9: .*\. Train a grid") as refused:
        study(flat, [9.0], draws=2)
    assert "--returns" not in str(refused.value)
    with pytest.raises(NeverReachedError, match="no cell reaches a return of 20: train a grid with more steps, because none ends above 9"):
        study(flat, [20.0], draws=2)


def test_of_asked_returns_the_middle_one_that_is_reached_decides():
    """Of 300 and 2000 it was 1150, which nobody had asked and no cell reached: the study was refused."""
    table = grid(seeds=1, noise=0.0, sigmas=(1, 2))
    found, alone = study(table, [300.0, 2000.0], draws=2), study(table, [300.0], draws=2)
    assert found.levels[0].data == pytest.approx(alone.levels[0].data)
    assert any("no cell learns a return of 2000: the best batch and rate are those for a return of 300" in note for note in found.notes)
    assert [level.law is None for level in found.levels] == [False, True]


def test_a_cell_that_an_unfinished_run_ends_early_and_that_bounds_the_returns_is_named():
    table = [each._replace(short="grid/7") if each.sigma == 2 else each for each in grid(seeds=1, sigmas=(1, 2))]
    assert not any("grid/7" in note for note in study(table, draws=2).notes)
    cut = [each._replace(steps=each.steps[:2], returns=each.returns[:, :2]) if each.sigma == 2 else each for each in table]
    (note,) = [note for note in study(cut, draws=2).notes if "grid/7" in note]
    assert "at step 2,000 of 60,000" in note


def test_cells_that_some_ratios_lack_are_left_out():
    table = [each for each in grid(seeds=2) if each.batch <= 512 / each.sigma]
    found = study(table, [600.0], draws=5)
    assert any("cells are left out" in note for note in found.notes)
    assert found.batch.best.max() <= 32


def test_one_seed_has_no_interval():
    found = study(grid(seeds=1), [600.0], draws=5)
    assert np.isnan([found.batch.low, found.batch.high]).all()
    assert np.isnan([*next_run(found, None).intervals.values()]).all()
    assert any("every cell has one seed" in note for note in found.notes)
