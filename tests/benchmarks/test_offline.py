"""Episodes and scores of data sets, what the tables say of stored lines, and whether these are still what is asked for."""

from __future__ import annotations

import numpy as np

from benchmarks import offline
from deeprl.types import Rows

DATA = {
    "kind": "data",
    "env": "x",
    "set": "medium",
    "transitions": 5,
    "episodes": 2,
    "mean": -700.0,
    "best": -600.0,
    "random": -1200.0,
    "expert": -200.0,
}


def test_an_episode_that_has_not_ended_is_left_out():
    reward, ended = np.array([1.0, 2.0, 3.0, 4.0, 5.0], np.float32), np.array([False, True, False, True, False])
    blank = np.zeros(5)
    rows = Rows(blank, blank, reward, blank, ended, ended, blank)
    assert [part.tolist() for part in offline.episodes(rows)] == [[1.0, 2.0], [3.0, 4.0]]


def test_random_play_has_the_score_0_and_the_expert_100():
    assert [offline.score(DATA, value) for value in (-1200.0, -700.0, -200.0)] == [0.0, 50.0, 100.0]


def test_the_table_has_a_row_for_a_set_and_one_for_a_learner():
    runs = [{"kind": "run", "env": "x", "set": "medium", "agent": "iql", "seed": seed, "final": -450.0 + 50.0 * seed} for seed in range(3)]
    table = offline.table([DATA, *runs])
    assert "| x | medium | 5 | 2 | -700 | -600 | 50 |" in table
    assert "80 ± 12 (75, 80, 85)" in table


def test_medium_is_the_first_checkpoint_from_which_on_none_is_below_the_bar():
    evaluations = [{"step": step, "returns": [value - 1.0, value + 1.0]} for step, value in enumerate((-900, -700, -1200, -600, -500))]
    assert offline.settled(evaluations, bar=-800.0) == 3


def test_stored_runs_have_the_settings_that_are_asked_for():
    for line in offline.stored(offline.FILE):
        if line["kind"] == "run":
            env, agent = line["env"], line["agent"]
            assert line["overrides"] == [*offline.AGENTS[agent].split(), *offline.OWN[env][agent]]
            assert line["updates"] == offline.LONGER.get(env, {}).get(agent, offline.SIZES[env].updates)


def test_every_task_has_a_player_and_settings_of_agents_that_there_are():
    assert offline.OWN.keys() == offline.PLAYER.keys() == offline.SIZES.keys()
    assert all(own.keys() <= offline.AGENTS.keys() for own in offline.OWN.values())


def test_a_learner_passes_by_both_bars_and_there_is_no_verdict_before_the_last_run():
    env = "mujoco/hopper"
    data = [{**DATA, "env": env, "set": name} for name in offline.SETS]

    def runs(agent: str, replay: float, expert: float) -> list[dict]:
        finals = {"random": -1200.0, "medium": -695.0, "medium-replay": -1200.0 + 10.0 * replay, "medium-expert": -1200.0 + 10.0 * expert}
        common = {"kind": "run", "env": env, "agent": agent}
        return [{**common, "set": name, "seed": seed, "final": final} for name, final in finals.items() for seed in offline.SEEDS]

    lines = [*data, *runs("bc", 40, 80), *runs("td3_bc", 45, 90), *runs("iql", 45, 89), *runs("awac", 44, 99)]
    assert not offline.verdicts(lines, env)
    lines += [*runs("cql", 99, 99), *runs("edac", 0, 0)]
    assert offline.verdicts(lines, env) == ["mujoco/hopper: bc is the behaviour on medium; td3_bc, cql passed, of 5 learners"]
