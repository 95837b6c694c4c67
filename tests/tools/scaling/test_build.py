"""The page on scaling, of run folders that no training wrote."""

import json
from itertools import product

import numpy as np
import pytest
from PIL import Image

from deeprl.errors import ConfigError
from deeprl.tools.scaling.build import Asked, build
from deeprl.tools.scaling.speed import StepTime
from tests.tools.report.folders import SYSTEM, write_run


def grid(folder, steps=30, replay=None):
    for sigma in (1, 2, 4):
        for batch in (32, 64):
            for lr in (0.001, 0.002):
                tau = 4 + 12 / sigma + 2 * (batch == 32) + 2 * (lr == 0.002)
                write_run(
                    folder / f"{sigma}_{batch}_{lr}",
                    (100 * (1 - np.exp(-np.arange(1, steps + 1) / tau))).tolist(),
                    optimizer={"lr": lr},
                    config={"replay": {"ratio": sigma, "batch_size": batch, **(replay or {})}},
                    speed=100 / sigma,
                )


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grid")
    grid(folder)
    return folder


def asked(**changes):
    return Asked("agent.optimizer.lr", [50.0, 70.0], None, [1e5], False, (), "deeprl scaling runs")._replace(**changes)


def test_a_grid_becomes_a_page_numbers_and_the_next_run(runs, tmp_path, drawn):
    notes, words = build([runs], tmp_path / "out", asked())
    facts = json.loads((tmp_path / "out" / "scaling.json").read_text())
    data = [round(-100 * (4 + 12 / sigma) * np.log(0.5)) for sigma in (1, 2, 4)]
    assert facts["levels"][0]["data"] == pytest.approx(data, rel=0.01)
    assert facts["settings"]["batch"]["best"] == pytest.approx([64, 64, 64])
    assert facts["next"]["return"] == 70
    assert facts["next"]["intervals"]["steps"] == [None, None]
    assert " s (every cell has one seed; " in words
    assert words.startswith("agent=dqn replay.ratio=")  # the command of system.json has no other word
    assert "replay.batch_size=64 agent.optimizer.lr=0.001 steps=" in words
    assert any("edge of the grid" in note for note in notes)
    page = (tmp_path / "out" / "index.html").read_text()
    assert words.splitlines()[0] in page
    assert "Every cell has one seed, so there are no intervals." in page
    assert "<script" not in page
    with Image.open(tmp_path / "out" / "laws.png") as figure:
        assert len(figure.getcolors()) > 2
    build([runs], tmp_path / "out", asked(hours=1e-9))  # replaces its own page
    assert json.loads((tmp_path / "out" / "scaling.json").read_text())["next"] is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rate": "agent.lr"}, "agent.lr: 1_32_0.001 has None there, which is no number above 0. Name the key"),
        ({"returns": [1e6]}, "no cell reaches a return of 1e.06: name lower returns with --returns"),
    ],
)
def test_wrong_words_are_told(runs, tmp_path, changes, said):
    with pytest.raises(ConfigError, match=said):
        build([runs], tmp_path / "out", asked(**changes))


def test_ratios_at_which_nothing_is_learned_are_named_and_falling_curves_are_one_note(tmp_path):
    """It was "at some ratio", and each of 12 cells had a note of its own about its curve."""
    for sigma, curve in ((0.5, [50, 20, 10]), (1, [50, 10, 90]), (2, [50, 90, 60])):
        write_run(tmp_path / f"{sigma}", curve, config={"replay": {"ratio": sigma, "batch_size": 64}})
    with pytest.raises(ConfigError, match="at a ratio of 0.5 no cell ends above 50, .*--returns, or .* more steps"):
        build([tmp_path], tmp_path / "out", asked(returns=None))
    notes, _ = build([tmp_path], tmp_path / "other", asked(returns=[20, 60]))
    assert [note for note in notes if "mean curve" in note] == [
        "3 of 3 mean curves fall, by up to 42% of their range; the step that reaches a return is that of their monotone form"  # 16.7 of 40
    ]


@pytest.mark.parametrize("starts", [400, 650])
def test_the_next_run_has_updates(tmp_path, starts):
    """It ended before its first update: a law of three ratios has no floor and was asked below learning_starts."""
    grid(tmp_path / "runs", replay={"learning_starts": starts})
    build([tmp_path / "runs"], tmp_path / "out", asked())
    facts = json.loads((tmp_path / "out" / "scaling.json").read_text())
    assert facts["next"]["steps"] > starts
    assert facts["starts"] == starts
    assert facts["levels"][0]["censored"] == [False, False, starts == 650]  # 50 is reached after 485 steps at a ratio of 4


def test_a_grid_without_an_update_is_refused(tmp_path):
    grid(tmp_path / "runs", replay={"learning_starts": 5_000})
    with pytest.raises(ConfigError, match=r"no cell learns a return of 50, 70: .* before the first update \(replay\.learning_starts\)"):
        build([tmp_path / "runs"], tmp_path / "out", asked())


def test_an_error_tells_which_runs_were_left_out(tmp_path):
    """The advice was to train a grid with more steps, where a file was damaged."""
    grid(tmp_path / "runs")
    one = sorted((tmp_path / "runs").iterdir())[0]
    (one / "config.yaml").write_text("{")
    with pytest.raises(ConfigError, match=rf"no cell reaches a return of 1000.* Note: .*{one.name}"):
        build([tmp_path / "runs"], tmp_path / "out", asked(returns=[1000.0]))


@pytest.mark.parametrize("state", ["failed", "running"])
def test_an_unfinished_run_does_not_shorten_a_cell_that_has_longer_ones(tmp_path, state):
    """One of four seeds that failed at step 200 cut its cell to it, and the returns asked of the whole grid to what that one had."""
    for sigma, seed in product((1, 2, 4), (0, 1, 2, 3)):
        short = (sigma, seed) == (2, 3)
        returns = 100 * (1 - np.exp(-np.arange(1, 3 if short else 31) / (4 + 12 / sigma)))
        config = {"replay": {"ratio": sigma, "batch_size": 64}}
        write_run(tmp_path / f"{sigma}_{seed}", returns.tolist(), seed=seed, config=config, state=state if short else "finished")
    notes, _ = build([tmp_path], tmp_path / "out", asked(returns=None))
    facts = json.loads((tmp_path / "out" / "scaling.json").read_text())
    assert [cell["seeds"] for cell in facts["cells"]] == [4, 3, 4]
    assert facts["levels"][-1]["threshold"] > 70
    assert f"1 unfinished run is left out, because other seeds go further: 2_3 ({state} at step 200)" in notes


def test_unfinished_runs_of_nearly_equal_length_all_count(tmp_path):
    """A grid that still trains: each cell ends where the first of its runs does."""
    for sigma, seed in product((1, 2), (0, 1, 2)):
        returns = 100 * (1 - np.exp(-np.arange(1, 25 + 2 * seed) / (4 + 12 / sigma)))
        config = {"replay": {"ratio": sigma, "batch_size": 64}}
        write_run(tmp_path / f"{sigma}_{seed}", returns.tolist(), seed=seed, config=config, state="running")
    notes, _ = build([tmp_path], tmp_path / "out", asked())
    facts = json.loads((tmp_path / "out" / "scaling.json").read_text())
    assert [cell["seeds"] for cell in facts["cells"]] == [3, 3]
    unfinished = "6 runs are not finished and count as far as evaluated: 1_0 (running at step 2,400); 1_1 (running at step 2,600); "
    assert f"{unfinished}1_2 (running at step 2,800) and 3 more" in notes
    assert any(note.startswith("seeds of a cell end at different steps") for note in notes)


def test_keys_that_go_with_the_rate_are_in_the_words_of_the_next_run(tmp_path):
    for sigma in (1, 2):
        for lr in (0.001, 0.002):
            config = {"replay": {"ratio": sigma, "batch_size": 64}}
            write_run(tmp_path / f"{sigma}_{lr}", [10 * sigma, 50, 90], optimizer={"lr": lr}, actor_optimizer={"lr": lr}, config=config)
    _, words = build([tmp_path], tmp_path / "out", asked())
    assert "agent.optimizer.lr=0.00" in words
    assert "agent.actor_optimizer.lr=0.00" in words


@pytest.mark.parametrize(
    ("command", "begins"),
    [
        ("train.py agent=sac 'agent.torso.hidden=[64,64]' agent.actor_optimizer.lr=0.001 seed=3 replay.ratio=1 resume=auto hydra.run.dir=x",
         "agent=sac 'agent.torso.hidden=[64,64]' agent.actor_optimizer.lr=0.001 replay.ratio="),
        ("/usr/bin/deeprl train --config-dir mine experiment=mine steps=9 'agent.optimizer.lr=0.002'",
         "--config-dir mine experiment=mine replay.ratio="),
        ("notebook.py", "agent=dqn env=toy/chain replay.ratio="),
        ("train.py 'agent=sac", "agent=dqn env=toy/chain replay.ratio="),
        ("train.py agent=sac env=u … 700 characters are left out … seed=1", "agent=dqn env=toy/chain replay.ratio="),
    ],
)  # fmt: skip
def test_words_of_the_grids_own_command_are_in_those_of_the_next_run(tmp_path, command, begins):
    """The widths of the grid's networks were left out: the words trained networks of another size."""
    for sigma in (1, 2):
        config = {"replay": {"ratio": sigma, "batch_size": 64}}
        write_run(tmp_path / str(sigma), [10 * sigma, 50, 90], config=config, system={**SYSTEM, "command": command})
    notes, words = build([tmp_path], tmp_path / "out", asked())
    assert words.startswith(begins)
    assert words.count("steps=") == 1
    assert any("tells no command of deeprl train" in note for note in notes) == begins.startswith("agent=dqn")


def test_hours_are_those_of_this_machine_if_it_is_measured(runs, tmp_path, monkeypatch):
    """`measured` itself: tests/tools/scaling/test_here.py."""
    _, told = build([runs], tmp_path / "out", asked())
    asks = {}

    def measured(run, batches, allowed, note):
        asks.update(batches={*batches}, allowed=allowed)
        return StepTime(0.5, 0.0, 0.001), "Slow CPU"

    monkeypatch.setattr("deeprl.tools.scaling.here.measured", measured)
    _, words = build([runs], tmp_path / "out", asked(here=True, allow=("mine",)))
    facts = json.loads((tmp_path / "out" / "scaling.json").read_text())
    assert asks["batches"] == {32, 64}
    assert asks["allowed"][-1] == "mine"
    assert facts["pace"] == {"step": 0.5, "update": 0, "sample": 0.001}
    assert facts["next"]["hours"] == pytest.approx(facts["next"]["steps"] * (0.5 + facts["next"]["ratio"] * 0.064) / 3600)
    assert facts["clock"]["here"] == "Slow CPU"
    assert facts["clock"]["grid"]["step"] + facts["clock"]["grid"]["update"] + facts["clock"]["grid"]["sample"] > 0
    assert "speed of the grid's runs, CPU, threads 1" in told
    assert "speed measured here, Slow CPU" in words
    page = " ".join((tmp_path / "out" / "index.html").read_text().split())
    assert "measured on this machine (Slow CPU): training alone" in page
    assert "The runs of the grid took" in page


def test_several_seeds_have_intervals_on_the_page_in_the_numbers_and_in_the_words(tmp_path):
    for sigma, seed in product((1, 2), (0, 1)):
        config = {"replay": {"ratio": sigma, "batch_size": 64}}
        write_run(tmp_path / f"{sigma}_{seed}", [10 * sigma, 50, 90 - 10 * seed], optimizer={"lr": 0.001}, config=config, seed=seed)
    _, words = build([tmp_path], tmp_path / "out", asked(returns=[60.0]))
    facts = json.loads((tmp_path / "out" / "scaling.json").read_text())
    low, high = facts["next"]["intervals"]["steps"]
    assert low < facts["next"]["steps"] < high
    assert f"steps [{low:,.0f}, {high:,.0f}]" in words
    assert f"[{low:,.0f}, {high:,.0f}]" in (tmp_path / "out" / "index.html").read_text()
    (row,) = facts["frontier"]
    assert [place["sigma"] for place in row["places"]] == [1, 2, 4, 8]
    for place in row["places"]:
        assert place["steps_interval"][0] < place["steps"] < place["steps_interval"][1]
        assert place["hours_interval"][0] < place["hours"] < place["hours_interval"][1]


def test_runs_without_times_have_laws_and_no_next_run(tmp_path):
    grid(tmp_path / "runs")
    for path in (tmp_path / "runs").rglob("metrics.jsonl"):
        path.unlink()
    notes, words = build([tmp_path / "runs"], tmp_path / "out", asked())
    assert words is None
    assert any("hours are unknown" in note for note in notes)


def test_a_longer_run_of_a_flat_schedule_is_of_the_grid_and_one_of_a_falling_rate_is_not(tmp_path):
    """The duration of a schedule is a share of `steps`, which need not be equal: a grid that was trained on in part was refused."""
    for sigma, end in ((1, 1.0), (2, 1.0), (4, 0.0)):
        schedule = {"start": 1.0, "end": end, "duration": 1000 * sigma, "begin": 0}
        config = {"replay": {"ratio": sigma, "batch_size": 64}}
        write_run(tmp_path / str(end) / str(sigma), [10 * sigma, 50, 90], optimizer={"lr": 0.001, "schedule": schedule}, config=config)
    build([tmp_path / "1.0"], tmp_path / "out", asked())
    with pytest.raises(ConfigError, match="agent.optimizer.schedule.duration differs"):
        build([tmp_path], tmp_path / "out", asked())


def test_a_seed_twice_and_a_ratio_of_0_are_refused(tmp_path):
    config = {"replay": {"ratio": 0, "batch_size": 64}}
    write_run(tmp_path / "zero" / "a", optimizer={"lr": 0.001}, config=config)
    with pytest.raises(ConfigError, match=r"replay.ratio: a has 0 there, which is no number above 0\.$"):
        build([tmp_path / "zero"], tmp_path / "out", asked())
    for name in "ab":
        write_run(tmp_path / "twice" / name, optimizer={"lr": 0.001}, config={"replay": {"ratio": 1, "batch_size": 64}})
    with pytest.raises(ConfigError, match="a, b: a seed stands twice"):
        build([tmp_path / "twice"], tmp_path / "out", asked())


def test_what_else_differs_is_named_and_no_other_page_is_replaced(runs, tmp_path):
    grid(tmp_path / "runs")
    write_run(tmp_path / "other", optimizer={"lr": 0.001}, config={"replay": {"ratio": 1, "batch_size": 64}}, seed=1, discount=0.5)
    with pytest.raises(ConfigError, match=r"agent.discount differs between the runs \(0.5, None\)"):
        build([tmp_path / "runs", tmp_path / "other"], tmp_path / "out", asked())
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "index.html").write_text("my page")
    with pytest.raises(ConfigError, match="which would be lost"):
        build([runs], tmp_path / "mine", asked())
