"""Cells of the campaign of kills, and the environments that are made for it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from gymnasium.utils.env_checker import data_equivalence

from benchmarks import hostile_envs
from benchmarks.fault_cells import CELLS, FOREIGN, NEEDS, Cell
from deeprl.running.config.compose import compose
from deeprl.running.session.assemble import fitted
from deeprl.running.session.complete import complete

ROOT = Path(__file__).resolve().parents[2]


def test_each_cell_has_a_name_of_its_own_and_stored_results_are_of_cells():
    names = [cell.name for cell in CELLS]
    assert len(set(names)) == len(names) > 100
    for file in (ROOT / "benchmarks" / "results").glob("faults*.jsonl"):
        for line in file.read_text().splitlines():
            assert Cell.of(json.loads(line)).name in names


def test_what_is_written_of_a_cell_is_that_cell():
    for cell in CELLS:
        assert Cell.of(json.loads(json.dumps(cell._asdict()))) == cell


@pytest.mark.parametrize("name", ["Drift", "Held", "ProcessWide", "Threaded", "Nested", "Masked"])
def test_a_hostile_environment_follows_from_seed_and_actions(name):
    """Two episodes, then the same in a fresh one; otherwise a difference would say nothing about resuming."""

    def played() -> list:
        env = getattr(hostile_envs, name)()
        env.action_space.seed(3)
        seen = [env.reset(seed=5)[0]]
        for _ in range(60):
            obs, *rest, _ = env.step(env.action_space.sample())
            assert env.observation_space.contains(obs)
            seen.append((obs, *rest))
            if rest[1] or rest[2]:
                seen.append(env.reset()[0])
        return seen

    one, other = played(), played()
    assert data_equivalence(one, other, exact=True)


def test_the_own_vector_resets_the_ended_ones_alone():
    swarm = hostile_envs.Swarm(2)
    first, _ = swarm.reset(seed=[3, 4])
    moved, *_ = swarm.step([0, 0])
    again, _ = swarm.reset(seed=[3, 4], options={"reset_mask": np.array([True, False])})
    assert np.array_equal(again, [first[0], moved[1]])


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "cell",
    [cell for cell in CELLS if cell.env not in {*FOREIGN, *NEEDS} and not cell.replay.startswith(("stored", "mixed"))],  # data are made
    ids=lambda cell: cell.name,
)
def test_the_configuration_of_a_cell_is_accepted(cell):
    """One that is refused runs nothing, and its cell would count as a difference."""
    config, user, _ = compose(cell.overrides)
    fitted(complete(config, user))
