"""Observations of several parts: an image and a vector, together and alone, in a world where either alone is worth nothing.

    python -m benchmarks.parts --folder FOLDER [--agents dqn] [--seeds 0]   trains what is not stored, one after the other; the table
    python -m benchmarks.parts --table                                      prints what is stored

The rule, written before the runs: seeds 0, 1, 2, none left out; the figure is the mean return of the final evaluation with the last
weights. Agents differ in the words that are shown; the arms of an agent in `env.shown` alone. Without the image or without the vector no
policy has a return above 0 (`envs/marks.py`). Results are in benchmarks/results/parts.json.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path

from benchmarks.curves import read
from benchmarks.learning import RESULTS, keep, stored, train

FILE = RESULTS / "parts.json"
SEEDS = (0, 1, 2)
COMMON = "runtime.threads=1 accelerate=fast checkpoint.every=null log.every=0.05 evaluation.final_episodes=200 evaluation.num=50"
AGENTS = {
    "dqn": (
        "agent=dqn env=parts/marks env.size=3 env.num=8 steps=16000 discount=0.9 agent.optimizer.lr=1e-3 "
        "agent.chain.target_update_period=400 agent.explore.schedule.end=0.05 agent.explore.schedule.duration=0.3 replay.n_step=3 "
        "replay.learning_starts=500 replay.ratio=0.5 replay.batch_size=64 evaluation.every=2000 evaluation.episodes=50",
        "agent/torso=minatar agent.torso.padding=same",
    ),
    "sac": (
        "agent=sac env=parts/marks_continuous env.size=3 env.num=8 steps=30000 discount=0.9 agent.optimizer.lr=1e-3 "
        "agent.actor_optimizer.lr=1e-3 agent.temperature.value=0.1 agent.torso.hidden=[128] agent.actor_torso.hidden=[128] "
        "replay.learning_starts=500 replay.ratio=0.7 replay.batch_size=64 evaluation.every=3000 evaluation.episodes=50",
        "agent/encoder/torso=minatar agent.encoder_torso.padding=same agent.encoder.shift=0",
    ),
    "ppo": (
        "agent=ppo env=parts/marks env.size=3 env.num=16 steps=60000 discount=0.9 agent.optimizer.lr=1e-3 "
        "agent.surrogate.entropy_weight=0.01 replay.length=32 replay.epochs=4 replay.minibatches=4 evaluation.every=10000 "
        "evaluation.episodes=50",
        "agent/torso=minatar agent.torso.padding=same",
    ),
}
"""Words of all runs of an agent, and those of runs that see the image"""
ARMS = {"both": "[image,which]", "image": "[image]", "vector": "[which]"}


def train_all(agents: list[str], arms: list[str], seeds: list[int], folder: Path) -> None:
    for arm, seed, agent in product(arms, seeds, agents):
        if any((line["agent"], line["arm"], line["seed"]) == (agent, arm, seed) for line in stored(FILE)):
            continue
        words, of_image = AGENTS[agent]
        words = words if arm == "vector" else f"{words} {of_image}"
        given, place = f"{words} env.shown={ARMS[arm]} {COMMON} seed={seed}", folder / f"{agent}-{arm}-{seed}"
        if train(place, given.split()):
            keep({"arm": arm, **read(place), "overrides": given}, FILE)


def table() -> str:
    rows = ["| agent | image and vector | image alone | vector alone |", "|---|---|---|---|"]
    for agent in AGENTS:
        cells = []
        for arm in ARMS:
            runs = sorted((line for line in stored(FILE) if (line["agent"], line["arm"]) == (agent, arm)), key=lambda line: line["seed"])
            cells.append(", ".join(f"{run['final']['mean']:.2f}" for run in runs) or "not run")
        rows.append(f"| {agent} | {' | '.join(cells)} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="of the run folders")
    parser.add_argument("--agents", nargs="+", choices=AGENTS, default=list(AGENTS))
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument("--table", action="store_true", help="only print the table")
    options = parser.parse_args()
    if options.folder is None and not options.table:
        parser.error("--folder says where the run folders go; or print what there is with --table")
    if not options.table:
        train_all(options.agents, options.arms, options.seeds, options.folder.resolve())
    print(table())


if __name__ == "__main__":
    main()
