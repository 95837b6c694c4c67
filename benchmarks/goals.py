"""Sparse goals: hindsight beside plain replay on bits that flip, and with the arm of FetchReach; 20 demonstrations beside none on a point
that must reach its goal; and 25 of people beside none for a hand that opens a door.

    python -m benchmarks.goals SET --folder FOLDER [--seeds 0]    trains what is not stored, one run after the other, and prints the table
    python -m benchmarks.goals SET --table                        prints what is stored
    SET: bit_flip, reach, fetch_reach, door (its data first: benchmarks/door.py)

The rule, written before the runs: seeds 0, 1, 2, none left out; success is the share of an evaluation's episodes that reach their goal, by
the greedy policy; "reached" is the step of the first evaluation with at least 90 %. Arms of a set differ in the words that are shown. The
demonstrations are 20 episodes of a controller that goes straight to the goal, written as a data set of Minari (`data/` in FOLDER).
Results are in benchmarks/results/goals.json.

`door`: AdroitHandDoor-v1 with its sparse reward, in episodes of 300 steps. SAC makes one update a step, where the form of RLPD has twenty
and ten critics. All 25 demonstrations are given, of which 8 open the door when they are played again. Success is that the door is open at
the end of an episode. One run was seen before, with seed 100 and these settings, up to step 70,000: 0 % of 20 episodes, at the end 15 %.

`fetch_reach`: FetchReach-v4 of Gymnasium-Robotics with the settings of `reach`, chosen by no run there, and 15,000 steps. Hindsight is
confirmed by the rule if each of its seeds reaches 90 %, and ends above each seed without.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np

from benchmarks import door
from benchmarks.curves import read
from benchmarks.learning import RESULTS, keep, stored, train
from deeprl.envs.reaching import Reach
from deeprl.running.runs.folder import RunFolder
from deeprl.tools.data.convert import write
from deeprl.tools.data.episodes import StoredEpisode
from deeprl.types import Rows

FILE = RESULTS / "goals.json"
SEEDS = (0, 1, 2)
DEMONSTRATIONS = "reach/demonstrations-v0"
COMMON = "runtime.threads=1 checkpoint.every=null log.every=0.02"
SETS = {
    "bit_flip": (
        "agent=dqn env=goals/bit_flip env.bits=12 steps=30000 discount=0.98 agent.torso.hidden=[256] agent.optimizer.lr=1e-3 "
        "agent.chain.target_update_period=250 agent.explore.schedule.end=0.05 agent.explore.schedule.duration=0.3 "
        "replay.learning_starts=1000 replay.ratio=0.5 replay.batch_size=128 evaluation.every=2500 evaluation.episodes=100 "
        "evaluation.num=100 evaluation.final_episodes=200 accelerate=fast",
        {"none": "replay=uniform", "future": "replay=hindsight", "final": "replay=hindsight replay.strategy=final"},
    ),
    "reach": (
        "agent=sac env=goals/reach steps=12000 discount=0.98 agent.torso.hidden=[128,128] agent.actor_torso.hidden=[128,128] "
        "agent.torso.layer_norm=true replay.learning_starts=500 replay.ratio=1 replay.batch_size=128 evaluation.every=500 "
        "evaluation.episodes=50 evaluation.num=50 evaluation.final_episodes=100 accelerate=fast",
        {"none": "replay=uniform", "demonstrations": "replay=mixed replay.data={data}", "hindsight": "replay=hindsight"},
    ),
    "fetch_reach": (
        "agent=sac env=robotics/fetch_reach steps=15000 discount=0.98 agent.torso.hidden=[128,128] agent.actor_torso.hidden=[128,128] "
        "agent.torso.layer_norm=true replay.learning_starts=500 replay.ratio=1 replay.batch_size=128 evaluation.every=1000 "
        "evaluation.episodes=50 evaluation.num=5 evaluation.final_episodes=100 accelerate=compiled",
        {"none": "replay=uniform", "hindsight": "replay=hindsight"},
    ),
    "door": (
        "agent=sac env=robotics/adroit_door +env.kwargs.reward_type=sparse env.max_episode_steps=300 steps=150000 discount=0.99 "
        "agent.torso.hidden=[256,256] agent.actor_torso.hidden=[256,256] agent.torso.layer_norm=true replay.learning_starts=1000 "
        "replay.ratio=1 replay.batch_size=256 evaluation.every=10000 evaluation.episodes=20 evaluation.num=4 evaluation.final_episodes=50 "
        "accelerate=compiled",
        {"none": "replay=uniform", "demonstrations": "replay=mixed replay.data={data}"},
    ),
}
"""Words of all runs, and those of each arm"""


def demonstrations(name: str, folder: Path, number: int = 20) -> Path:
    """The data set of a set; that of the controller is made if it is not there."""
    if name == "door":
        if not (folder / door.NAME).exists():
            raise SystemExit(f"{folder / door.NAME} is not there: python -m benchmarks.door door-v0_demos.pickle {folder.parent}")
        return folder / door.NAME
    os.environ["MINARI_DATASETS_PATH"] = str(folder)
    path = folder / DEMONSTRATIONS
    if not path.exists():
        choice = Reach()
        game = choice.build()
        found = [straight(game, choice.pace, seed) for seed in range(number)]
        write(DEMONSTRATIONS, found, game.spec, game.actions, description="straight to the goal", algorithm_name="benchmarks.goals")
    return path


def straight(game, pace: float, seed: int) -> StoredEpisode:
    rows, obs, ended = [], game.reset(seed), False
    while not ended:
        action = np.clip((obs[2:] - obs[:2]) / pace, -1, 1).astype(np.float32)
        after, reward, terminated, ended = game.step(action)
        rows.append((obs, action, np.float32(reward), after, terminated, ended, np.float32(1)))
        obs = after
    return StoredEpisode(Rows(*(np.stack(column) for column in zip(*rows))), True)


def success(folder: Path) -> list[list[float]]:
    """[step, share of the episodes that reached their goal] of each evaluation."""
    lines = RunFolder(folder).read_evaluations()
    return [[line["step"], round(float(np.mean(line["info"]["is_success"])), 4)] for line in lines]


def train_all(name: str, seeds: list[int], folder: Path) -> None:
    words, arms = SETS[name]
    for seed in seeds:
        for arm, own in arms.items():
            if any((line["set"], line["arm"], line["seed"]) == (name, arm, seed) for line in stored(FILE)):
                continue
            own = own.format(data=demonstrations(name, folder / "data")) if "{data}" in own else own
            given, place = f"{words} {own} {COMMON} seed={seed}", folder / f"{name}-{arm}-{seed}"
            if train(place, given.split()):
                curve = success(place)
                reached = next((int(step) for step, rate in curve if rate >= 0.9), None)
                line = {"set": name, "arm": arm, **read(place), "success": curve, "reached": reached}
                keep({**line, "overrides": given.replace(str(folder), "FOLDER")}, FILE)


def table(name: str) -> str:
    rows = ["| arm | words | success at the end, seeds 0, 1, 2 | steps to 90 % |", "|---|---|---|---|"]
    for arm, own in SETS[name][1].items():
        runs = sorted((line for line in stored(FILE) if (line["set"], line["arm"]) == (name, arm)), key=lambda line: line["seed"])
        if runs:
            ends = ", ".join(f"{run['success'][-1][1]:.1%}" for run in runs)
            steps = ", ".join("never" if run["reached"] is None else f"{run['reached']:,}" for run in runs)
            rows.append(f"| {arm} | `{own.format(data='DATA')}` | {ends} | {steps} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=SETS, metavar="SET")
    parser.add_argument("--folder", type=Path, help="of the run folders")
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument("--table", action="store_true", help="only print the table")
    options = parser.parse_args()
    if options.folder is None and not options.table:
        parser.error("--folder says where the run folders go; or print what there is with --table")
    if not options.table:
        train_all(options.name, options.seeds, options.folder.resolve())
    print(table(options.name))


if __name__ == "__main__":
    main()
