"""The page that compares sizes of networks, of run folders that no training wrote."""

import json
from itertools import product

import numpy as np
import pytest

from deeprl.errors import ConfigError
from deeprl.tools.report.runs import read
from deeprl.tools.scaling import here, sizes
from deeprl.tools.scaling.build import MARK, Asked
from tests.builders import CARTPOLE, settled
from tests.tools.report.folders import SYSTEM, write_run

SMALL, LARGE = [16, 16], [64, 64]


def grid(folder, tied=True):
    """At a ratio of σ the small networks need 4 + 8/σ periods of 100 steps for 1 − 1/e of 100; the large ones half of it, at 2/9 of the
    speed: the small ones are cheaper, but come to 60 alone."""
    for sigma, (hidden, top, factor, speed) in product((1, 2, 4), ((SMALL, 60, 1, 90), (LARGE, 100, 0.5, 20))):
        returns = top * (1 - np.exp(-np.arange(1, 41) / (factor * (4 + 8 / sigma))))
        write_run(
            folder / f"{sigma}_{hidden[0]}",
            returns.tolist(),
            config={"replay": {"ratio": sigma, "batch_size": 64}},
            speed=speed,
            system={**SYSTEM, "command": f"train.py agent=dqn 'agent.torso.hidden={hidden}'"},
            torso={"hidden": hidden},
            actor_torso={"hidden": hidden if tied else [sigma]},
        )
    return folder


def asked(**changes):
    words = Asked("agent.optimizer.lr", None, None, [1e3, 2e4], False, (), "deeprl scaling runs", "agent.torso.hidden")
    return words._replace(**changes)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return grid(tmp_path_factory.mktemp("sizes"))


def test_every_size_has_a_page_and_every_budget_a_size(runs, tmp_path):
    notes, words = sizes.build([runs], tmp_path / "out", asked(returns=[30.0, 50.0, 90.0]))
    facts = json.loads((tmp_path / "out" / "scaling.json").read_text())
    small, large = facts["sizes"]
    assert (small["size"], small["parameters"], large["size"], large["parameters"]) == ("[16, 16]", 1000, "[64, 64]", 20000)
    assert small["cheapest"][2] is None  # it comes to 60
    hours = [[place["cheapest"][level]["hours"] for place in (small, large)] for level in (0, 1)]
    assert hours[0][0] < hours[0][1]
    assert hours[1][0] > hours[1][1]
    assert [(step["return"], step["size"]) for step in facts["budgets"]] == [(30, "[16, 16]"), (50, "[64, 64]"), (90, "[64, 64]")]
    assert [step["hours"] for step in facts["budgets"]] == [hours[0][0], hours[1][1], large["cheapest"][2]["hours"]]
    assert facts["next"]["return"] == 90
    assert "'agent.torso.hidden=[64, 64]'" in words
    assert "agent.torso.hidden=[16, 16]: a return of 90 is never reached at a ratio of 1, 2, 4" in notes
    page = (tmp_path / "out" / "index.html").read_text()
    for place, size in enumerate(("[16, 16]", "[64, 64]"), 1):
        assert f'href="size_{place}/index.html">{size}<' in page
        assert f"agent.torso.hidden={size}" in (tmp_path / "out" / f"size_{place}" / "index.html").read_text()
        own = json.loads((tmp_path / "out" / f"size_{place}" / "scaling.json").read_text())
        assert [level["threshold"] for level in own["levels"]] == [30, 50, 90]
    budget = (hours[0][0] + hours[1][1]) / 2
    _, words = sizes.build([runs], tmp_path / "out", asked(returns=[30.0, 50.0, 90.0], hours=budget))  # replaces its own pages
    assert "'agent.torso.hidden=[16, 16]'" in words


def test_a_size_that_reaches_none_of_the_common_returns_is_left_out(runs, tmp_path):
    notes, _ = sizes.build([runs], tmp_path / "out", asked(returns=[70.0, 90.0]))
    assert any(note.startswith("agent.torso.hidden=[16, 16]: left out: no cell reaches a return of 70, 90: ") for note in notes)


def test_a_size_that_reaches_the_lowest_of_the_common_returns_has_a_law_of_them(runs, tmp_path):
    """It was left out, because the median of the returns was above all that it reached."""
    notes, _ = sizes.build([runs], tmp_path / "out", asked())
    assert not any("left out" in note for note in notes)
    small, _ = json.loads((tmp_path / "out" / "scaling.json").read_text())["sizes"]
    assert small["cheapest"][0]
    assert small["cheapest"][-1] is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"size": "agent.torso.width"}, "--size agent.torso.width: no run has this key"),
        ({"parameters": [1e3]}, "--parameters takes 2 numbers, for agent.torso.hidden of \\[16, 16\\]; \\[64, 64\\] in this order"),
        ({"returns": [1e6]}, "no size has laws: .* no cell reaches a return of 1e"),
    ],
)
def test_wrong_words_are_told(runs, tmp_path, changes, said):
    with pytest.raises(ConfigError, match=said):
        sizes.build([runs], tmp_path / "out", asked(**changes))


def test_a_further_key_that_differs_is_named(tmp_path):
    with pytest.raises(ConfigError, match="agent.actor_torso.hidden differs between the runs"):
        sizes.build([grid(tmp_path / "runs", tied=False)], tmp_path / "out", asked())


def test_parameters_are_those_that_losses_train(tmp_path):
    run = read(write_run(tmp_path / "run", config=settled(*CARTPOLE)), "mine", lambda text: None)
    assert here.counted(run, ("deeprl",)) == 114  # 4 * 16 + 16 + 16 * 2 + 2, of the online network


def test_an_agent_that_cannot_be_built_has_unknown_parameters(runs, tmp_path):
    notes, _ = sizes.build([runs], tmp_path / "out", asked(parameters=None, returns=[20.0]))
    assert sum("are not counted" in note for note in notes) == 2
    assert json.loads((tmp_path / "out" / "scaling.json").read_text())["sizes"][0]["parameters"] is None


def test_pages_of_sizes_that_the_grid_has_no_longer_are_removed(tmp_path):
    """The page of a third size of an earlier command stayed beside a comparison of two."""
    for name, text in (("size_2", MARK), ("size_3", MARK), ("size_4", b"mine"), ("size_5", MARK), ("size_x", MARK)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "index.html").write_bytes(text)
    (tmp_path / "size_5" / "mine.txt").write_text("notes")
    sizes.remove_sizes(tmp_path, 2)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["size_2", "size_4", "size_5", "size_x"]
    assert [each.name for each in (tmp_path / "size_5").iterdir()] == ["mine.txt"]
