"""benchmarks.evidence and benchmarks.learning: which runs are made, and where their table is."""

import json
import sys
import time

import pytest

from benchmarks import atari_others, evidence, headline, learning
from benchmarks.recipes import SETS, STICKY_DQN, STICKY_RIVALS
from tests.builders import settled


@pytest.fixture
def trained(monkeypatch):
    """Names of the run folders that would have been trained; each fails at once."""
    folders = []

    def fail(folder, words, until):
        folders.append(folder.name)
        return False

    monkeypatch.setattr(learning, "train", fail)
    return folders


def call(monkeypatch, module, *words):
    monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, words)])
    module.main()


def test_stored_runs_are_made_again_only_if_asked(monkeypatch, trained, tmp_path, capsys):
    before = (learning.RESULTS / "successors.json").read_bytes()
    call(monkeypatch, evidence, "successors", "--folder", tmp_path)
    assert trained == []
    assert "| minatar/asterix, 200,000 | dqn | 5 |" in capsys.readouterr().out

    with pytest.raises(SystemExit, match="1"):
        call(monkeypatch, evidence, "successors", "--folder", tmp_path, "--again")
    assert len(trained) == 4 * 2 * 5  # agents, games, seeds
    assert "dqn |" not in capsys.readouterr().out  # none of the new ones finished
    assert (learning.RESULTS / "successors.json").read_bytes() == before


def test_a_table_of_runs_that_were_made_again_holds_only_those(monkeypatch, trained, tmp_path, capsys):
    line = next(line for line in learning.stored(learning.RESULTS / "successors.json") if line["name"] == "idqn")
    (tmp_path / "successors.json").write_text(json.dumps([line]))
    call(monkeypatch, evidence, "successors", "--folder", tmp_path, "--again", "--table")
    assert trained == []
    out = capsys.readouterr().out
    assert f"| idqn | 1 | {line['final']['mean']:.1f} |" in out
    assert "Not on every task: idqn." in out  # its baseline is missing


def test_sets_of_learning_too(monkeypatch, trained, tmp_path, capsys):
    words = "--set", "pong", "--agents", "pong_dqn", "--into", "atari", "--folder", tmp_path
    call(monkeypatch, learning, *words)
    assert trained == []
    with pytest.raises(SystemExit, match="1"):
        call(monkeypatch, learning, *words, "--again")
    assert trained == ["pong_dqn-atari_pong-0-1000000"]
    assert not (tmp_path / "atari.json").exists()


def test_learned_values_stand_beside_the_returns_that_followed(tmp_path):
    """Means over runs; a run from before they were stored is left out."""
    line = {"name": "dqn", "env": "minatar/asterix", "steps": 1000}
    numbers = ("value", "discounted_return", "action_gap")
    found = [dict(zip(numbers, (3.0, 1.0, 0.1))), dict(zip(numbers, (5.0, 2.0, 0.2))), {}]
    lines = [{**line, "seed": seed, "final": {"mean": 0.0, "diagnostics": each}} for seed, each in enumerate(found)]
    lines.append({**line, "name": "log_dqn", "steps": 2000, "seed": 0, "final": {"mean": 0.0, "diagnostics": found[0]}})
    (tmp_path / "minatar.json").write_text(json.dumps(lines))
    assert evidence.estimates("minatar", tmp_path).splitlines() == [
        "| value / return / gap | minatar/asterix, 1,000 | minatar/asterix, 2,000 |",
        "|---|---|---|",
        "| dqn | 4.00 / 1.50 / 0.150 |  |",
        "| log_dqn |  | 3.00 / 1.00 / 0.100 |",
    ]


def store(tmp_path, file, steps, gaps=None, **agents):
    """A file with one run a final: agent=(finals on Asterix, finals on Breakout); `gaps` has an agent's action gaps on both, else 1."""
    lines = [
        {
            "name": name, "env": env, "steps": steps, "seed": seed, "steps_per_second": 100.0, "curve": [[steps, mean]],
            "final": {"mean": mean, "diagnostics": {"action_gap": gap}},
        }
        for name, tasks in agents.items()
        for env, means, gap in zip(("minatar/asterix", "minatar/breakout"), tasks, (gaps or {}).get(name, (1.0, 1.0)))
        for seed, mean in enumerate(means)
    ]  # fmt: skip
    (tmp_path / f"{file}.json").write_text(json.dumps(lines))


def test_an_action_gap_is_in_units_of_the_baseline_on_each_task(tmp_path):
    """One run each, so that nothing has an interval: (0.4 / 0.2 + 0.9 / 0.3) / 2."""
    store(tmp_path, "minatar", 1000, {"dqn": (0.2, 0.3), "mvi": (0.4, 0.9)}, dqn=([2.0], [2.0]), mvi=([2.0], [2.0]))
    assert evidence.compared("minatar", tmp_path).splitlines() == [
        "| agent | baseline | seeds | IQM of finals | probability to end above | p | area under the curve | action gap | steps/s |",
        "|---|---|---|---|---|---|---|---|---|",
        "| dqn |  | 1 | 1.00 |  |  | 1.00 | 1.00 | 100 |",
        "| mvi | dqn | 1 | 1.00 | 0.50 | 1.000 | 1.00 | 2.50 | 100 |",
    ]


def test_a_baseline_that_the_set_does_not_train_comes_from_the_file_beside_it(monkeypatch, tmp_path):
    """DQN, and a part, of minatar.json; not IQN, which no pair names, and not C51, whose runs are longer."""
    monkeypatch.setitem(evidence.PAIRS, "composition_main", (("is_three", "dqn"), ("is_three", "mvi"), ("is_three", "c51")))
    store(tmp_path, "composition_main", 1000, is_three=([4.0], [8.0]))
    store(tmp_path, "minatar", 2000, c51=([9.0], [9.0]))
    longer = json.loads((tmp_path / "minatar.json").read_text())
    store(tmp_path, "minatar", 1000, dqn=([2.0], [2.0]), mvi=([1.0], [1.0]), iqn=([9.0], [9.0]))
    (tmp_path / "minatar.json").write_text(json.dumps([*json.loads((tmp_path / "minatar.json").read_text()), *longer]))
    rows = [row.strip("| ").split(" | ") for row in evidence.compared("composition_main", tmp_path).splitlines()[2:]]
    assert [(row[0], row[3], row[5]) for row in rows] == [
        ("dqn", "1.00", ""),
        ("mvi", "0.50", ""),
        ("is_three", "3.00", "0.500"),
    ]  # of four splits two are as far apart


def test_a_candidate_is_chosen_by_its_finals_and_within_two_percent_by_its_area(tmp_path):
    """DQN has 2 on Asterix and 4 on Breakout: (6/2 + 4/4) / 2 = 2. The second candidate is 1 % behind, with the larger area; the third is
    not near, however large its area."""
    store(
        tmp_path, "composition", 1000, dqn=([1.0, 3.0], [4.0, 4.0]), is_three=([6.0, 6.0], [4.0, 4.0]),
        is_munchausen=([5.92, 5.92], [4.0, 4.0]), is_quantile=([2.0, 2.0], [4.0, 4.0]),
    )  # fmt: skip
    file = tmp_path / "composition.json"
    assert evidence.chosen("composition", tmp_path).splitlines()[2:] == [
        "| is_three | 2.00 | 2.00 |", "| is_munchausen | 1.98 | 1.98 |", "| is_quantile | 1.00 | 1.00 |",
    ]  # fmt: skip
    lines = json.loads(file.read_text())
    for line in lines:
        if line["name"] in ("is_munchausen", "is_quantile"):
            line["curve"] = [[500, 2 * line["curve"][0][1]], *line["curve"]]
    file.write_text(json.dumps(lines))
    assert evidence.chosen("composition", tmp_path).splitlines()[2:] == [
        "| is_munchausen | 1.98 | 2.97 |", "| is_three | 2.00 | 2.00 |", "| is_quantile | 1.00 | 1.50 |",
    ]  # fmt: skip


def test_p_is_corrected_for_all_agents_of_the_table(tmp_path):
    """Of 36 splits two are as far apart as MVI(q)'s, 2 · 2/36, and sixteen as that of q = 1, 16/36."""
    store(tmp_path, "minatar", 1000, dqn=([1, 2], [1, 2]), mvi=([3, 4], [3, 4]), mvi_1=([1.5, 3], [1.5, 3]))
    assert [row.split("|")[6].strip() for row in evidence.compared("minatar", tmp_path).splitlines()[3:]] == ["0.111", "0.444"]


def test_pairs_are_compared_task_by_task_and_over_all_tasks(tmp_path):
    """Of 36 splits two are as far apart as those of the first pairs, and four as that of the last, with its tie. Holm: 3 · 2/36, and no
    later p is smaller."""
    store(tmp_path, "minatar", 500_000, mvi=([4, 5], [6, 7]), mvi_1=([1, 2], [3, 4]), dqn_huber=([0, 1], [1, 2]))
    rows = evidence.differences("minatar", tmp_path).splitlines()
    assert [[row.split("|")[cell].strip().split(" [")[0] for cell in (2, 4, 5)] for row in rows if row.startswith("| all")] == [
        ["mvi less mvi_1", "1.00", "0.167"],
        ["mvi less dqn_huber", "1.00", "0.167"],
        ["mvi_1 less dqn_huber", "0.94", "0.167"],  # 15 of 16 pairs
    ]
    assert rows[2].startswith("| minatar/asterix | mvi less mvi_1 | 3.0 [")


def test_an_agent_of_the_set_is_not_taken_from_another_file(tmp_path):
    store(tmp_path, "minatar", 500_000, pqn=([3, 4], [3, 4]), dqn=([9, 9], [9, 9]))
    assert "dqn" not in evidence.differences("successors", tmp_path)


def test_an_agent_of_another_file_is_compared_with_those_of_the_set_itself(tmp_path):
    """PQN of minatar.json beside DQN of successors.json, and not beside the longer runs of DQN in minatar.json."""
    store(tmp_path, "successors", 200_000, dqn=([1, 2], [1, 2]))
    store(tmp_path, "minatar", 500_000, pqn=([3, 4], [3, 4]), dqn=([9, 9], [9, 9]))
    rows = evidence.differences("successors", tmp_path).splitlines()
    assert rows[-1] == "| all | pqn less dqn |  | 1.00 [1.00, 1.00] | 0.056 |"


def test_runs_of_different_length_are_compared_by_their_curves_up_to_one_step(tmp_path):
    """Of each seed the mean of the evaluations up to 600,000 steps; of six ways to deal four runs two are as far apart."""

    def line(name, seed, *curve):
        return {"name": name, "env": "atari/pong", "seed": seed, "steps": curve[-1][0], "curve": curve}

    lines = [
        line("pong_dqn", 1, (300_000, 1.0), (600_000, 3.0), (900_000, 99.0)),
        line("pong_dqn", 0, (300_000, 0.0), (600_000, 2.0), (900_000, 99.0)),
        line("pong_idqn", 0, (300_000, 4.0), (600_000, 8.0)),
        line("pong_idqn", 1, (300_000, 5.0), (600_000, 6.0)),
        line("pong_idqn", 2, (300_000, 50.0)),  # too short
    ]
    (tmp_path / "atari.json").write_text(json.dumps(lines))
    assert evidence.curve_means("atari", tmp_path).splitlines()[2:] == [
        "| atari/pong | pong_dqn 1.0, 2.0 | beside | pong_idqn 6.0, 5.5 | 0.333 |"
    ]


def test_a_curve_is_printed_with_the_hours_and_the_spread_of_its_run(tmp_path):
    line = {"name": "pong_dqn", "env": "atari/pong", "seed": 3, "wall_seconds": 5400.0, "final": {"std": 2.04}, "curve": [[50_000, -20.04]]}
    (tmp_path / "atari.json").write_text(json.dumps([line]))
    assert evidence.each_curve("atari", tmp_path).splitlines()[2:] == ["| atari/pong | pong_dqn | 3 | 1.50 | 2.0 | 50,000: -20.0 |"]


def test_runs_that_a_set_does_not_train_are_named_when_it_is_trained_anew(monkeypatch, trained, tmp_path, capsys):
    call(monkeypatch, evidence, "composition_main", "--folder", tmp_path, "--again", "--table")
    out = capsys.readouterr().out
    assert "0 runs, whose wall times add up to 0.00 hours." in out
    assert f"python -m benchmarks.evidence minatar --folder {tmp_path} --again" in out


def test_a_run_that_is_not_done_in_time_is_told_to_stop(tmp_path, monkeypatch):
    """It saves and leaves with another code than 0; its processor time is written down for the sum of all starts."""
    monkeypatch.setattr(learning, "ROOT", tmp_path)
    (tmp_path / "train.py").write_text("import time; time.sleep(600)")
    assert not learning.train(tmp_path / "run", ["steps=1"], until=time.monotonic() + 0.1)
    (tmp_path / "train.py").write_text("")
    assert learning.train(tmp_path / "run", ["steps=1"])
    assert len((tmp_path / "run.seconds").read_text().split()) == 2


def test_the_headline_runs_on_the_version_of_the_published_results():
    assert "env.id=Ant-v4" in learning.command("headline", "td3", "mujoco/ant", 0, "fast")
    assert not [word for word in learning.command("mujoco_rivals", "td3", "mujoco/hopper", 0, "fast") if word.startswith("env.id")]


def test_the_goal_is_the_best_of_the_published_agents():
    assert list(headline.GOAL.values()) == [15420.0, 4064.0, 7346.0, 7612.0, 12606.0]


def test_our_agents_stand_above_the_published_ones(tmp_path):
    """The score is the mean of the evaluations in the last 20,000 steps."""
    curve = [[185_000, 1.0], [190_000, 90.0], [200_000, 110.0]]
    lines = [
        {"name": "td3", "env": "mujoco/hopper", "steps": 200_000, "seed": seed, "curve": curve[seed:], "processor_seconds": 3600.0}
        for seed in (0, 1)
    ]
    rows = headline.beside_published(lines).splitlines()
    assert rows[2].startswith("| td3 |  | 84 ± ")
    assert rows[2].endswith(" |  |  |  | 0, 2, 0, 0, 0 | 1.00 |")
    assert rows[-2] == "| the best published | 10,835 | 3,543 | 5,311 | 5,732 | 9,640 |  |  |"
    assert rows[-1] == "| … with one update a step | 10,835 | 2,577 | 5,311 | 5,272 | 9,640 |  |  |"


def test_atari_stands_beside_the_published_scores():
    """Of finals 20, 16 and 18 Student's interval is ± 4.97; of two runs nothing is said."""
    finals = {"atari/pong": (20.0, 16.0, 18.0), "atari/breakout": (10.0, 20.0, 30.0), "atari/space_invaders": (900.0, 900.0)}
    lines = [{"name": "sticky_dqn", "env": game, "final": {"mean": mean}} for game, each in finals.items() for mean in each]
    assert atari_others.beside_published(lines).splitlines()[2:] == [
        "| sticky_dqn | 18.0 ± 5.0, passed | 20.0 ± 24.8 | 900.0 ± 0.0 |",
        "| MR.Q, ten seeds, ± deviation | 15.0 ± 3.2 | 25.6 ± 9.3 | 478.5 ± 75.4 |",
    ]
    assert atari_others.verdict([18.0, 18.1, 18.2], 15.0) == ", confirmed"


def test_the_rival_is_chosen_by_its_evaluations_and_within_a_point_by_its_processor_time():
    """The means of two runs are 8, 9 and 7.9, of which 8 is within a point of the best; nothing is chosen of five runs."""
    curves = {"sticky_idqn": (7.0, 9.0), "sticky_munchausen_iqn": (9.0, 9.0), "sticky_btr": (7.9, 7.9)}
    hours = {"sticky_idqn": 2, "sticky_munchausen_iqn": 3, "sticky_btr": 1}
    lines = [
        {"name": name, "curve": [(50_000, mean - 1), (100_000, mean + 1)], "processor_seconds": 3600 * hours[name]}
        for name, means in curves.items()
        for mean in means
    ]
    assert atari_others.chosen(lines).splitlines()[2:] == [
        "| sticky_idqn | 2 | 8.00 | 4.00 |",
        "| sticky_munchausen_iqn | 2 | 9.00 | 6.00 |",
        "| sticky_btr | 2 | 7.90 | 2.00 |",
        "",
        "Chosen: sticky_idqn.",
    ]
    assert atari_others.chosen(lines[1:]).endswith("Nothing is chosen before all runs are stored.")


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", SETS)
def test_the_command_of_every_run_composes(name):
    """i-DQN on Pong took a key away that `experiment=pong` has no longer, so that its set could not be trained."""
    envs, _, agents = SETS[name]
    for agent in agents:
        config = settled(*learning.command(name, agent, envs[0], 0, "fast"))
        if agent in {**STICKY_DQN, **STICKY_RIVALS}:
            protocol = {key: value for key, value in config["env"]["protocol"].items() if key != "_target_"}
            assert protocol == {
                "sticky": 0.25, "noop_max": 0, "eval_noop_max": 0, "life_loss_terminal": False, "max_episode_steps": 27_000,
                "frame_skip": 4, "fire_reset": False, "full_action_set": False,
            }  # fmt: skip
            assert (config["agent"]["explore"]["evaluation"], config["evaluation"]["episodes"]) == (0.001, 10)


def test_runs_on_the_published_version_are_not_mixed_with_those_of_another(tmp_path):
    store(tmp_path, "headline", 200_000, sac=([1.0], [2.0]))
    store(tmp_path, "learning", 300_000, sac=([3.0], [4.0]))
    assert [line["steps"] for line in evidence.with_longer_runs("headline", tmp_path)] == [200_000, 200_000]
    assert len(evidence.with_longer_runs("actor_critic", tmp_path)) == 2


def test_a_finished_run_of_other_settings_is_not_taken(tmp_path):
    """Two sets have one name for runs of different versions of a task."""
    line = {"command": f"train.py hydra.run.dir={tmp_path} resume=auto agent=td3 steps=9"}
    (tmp_path / "system.json").write_text(json.dumps([line, {"command": f"/bin/deeprl resume {tmp_path}"}]))
    assert learning.other_words(tmp_path, ["steps=9", "agent=td3"]) == []
    assert learning.other_words(tmp_path, ["agent=td3", "steps=9", "env.id=Hopper-v4"]) == ["env.id=Hopper-v4"]
    assert learning.other_words(tmp_path, ["agent=td3"]) == ["steps=9"]
