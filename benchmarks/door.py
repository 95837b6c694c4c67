"""People's demonstrations of a hand that opens a door, as a data set of Minari for `python -m benchmarks.goals door`.

    pip install -e ".[robotics,minari,report]"                 # in a virtual environment of its own, see docs/environments.md
    python -m benchmarks.door door-v0_demos.pickle FOLDER      # FOLDER/data/door/people-v0

The file is dapg/demonstrations/door-v0_demos.pickle of github.com/aravindr93/hand_dapg, of "Learning Complex Dexterous Manipulation with
Deep Reinforcement Learning and Demonstrations" (Rajeswaran and others, 2018). Its actions are played again from its first states in
AdroitHandDoor-v1, so that observations and the sparse rewards are those of the environment. It is read by an unpickler that makes arrays of
NumPy and nothing else.
"""

from __future__ import annotations

import argparse
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from deeprl.envs.gym import GymGame
from deeprl.envs.robotics import Robotics
from deeprl.tools.data.convert import write
from deeprl.tools.data.episodes import StoredEpisode
from deeprl.types import Rows

NAME = "door/people-v0"
STEPS = 300
"""Of the longest demonstration, and of an episode in `benchmarks.goals`"""


RECONSTRUCT = np.zeros(0).__reduce__()[0]
ARRAYS = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): RECONSTRUCT,  # of NumPy 1
    ("numpy._core.multiarray", "_reconstruct"): RECONSTRUCT,
}


class Arrays(pickle.Unpickler):
    """Of a file of numbers in arrays. Names of anything else are refused, because they would be called."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ARRAYS:
            raise pickle.UnpicklingError(f"{module}.{name} is no array")
        return ARRAYS[module, name]


def played(game: GymGame, demonstration: dict[str, Any]) -> StoredEpisode:
    """The episode of its actions from its first state."""
    import mujoco  # of the extra

    env, start = game.env.unwrapped, demonstration["init_state_dict"]
    game.reset(0)
    env.set_env_state({key: start[key] for key in ("qpos", "qvel", "door_body_pos")})  # type: ignore[attr-defined]
    mujoco.mj_forward(env.model, env.data)  # type: ignore[attr-defined]
    obs, rows = np.asarray(env._get_obs(), np.float32), []  # type: ignore[attr-defined]
    for action in np.clip(demonstration["actions"], -1, 1).astype(np.float32):
        after, reward, terminated, ended = game.step(action)
        rows.append((obs, action, np.float32(reward), after, terminated, ended, np.float32(1)))
        obs = after
    return StoredEpisode(Rows(*(np.stack(column) for column in zip(*rows))), True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("folder", type=Path, help="of the runs of benchmarks.goals")
    options = parser.parse_args()
    with open(options.file, "rb") as file:
        found = Arrays(file).load()
    game = Robotics(id="AdroitHandDoor-v1", kwargs={"reward_type": "sparse"}, max_episode_steps=STEPS).build()
    episodes = [played(game, demonstration) for demonstration in found]
    opened = sum(bool((episode.rows.reward > 0).any()) for episode in episodes)
    os.environ["MINARI_DATASETS_PATH"] = str(options.folder.resolve() / "data")
    write(NAME, episodes, game.spec, game.actions, description="demonstrations of people, played again", algorithm_name="benchmarks.door")
    print(f"{len(episodes)} episodes of {sum(len(episode.rows.reward) for episode in episodes):,} steps; {opened} open the door")


if __name__ == "__main__":
    main()
