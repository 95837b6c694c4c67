"""Utilities of the stock and the return, in two worlds whose best policies are known: policies of trained networks, evaluated exactly.

    python -m benchmarks.stocks SET --folder FOLDER [--seeds 0]     trains what is not stored, and prints the table
    python -m benchmarks.stocks SET --table                         prints what is stored
    SET: coins, ladder

The rule, written before the runs: seeds 0 to 2, none left out; settings were chosen with seed 100, the last weights count. `coins`: one
network is asked for each total from 0 to 6, and each answer is one episode, because world and policy are deterministic; confirmed if with
every seed the mean of |return - target| over the seven is at most 0.15. Collecting all coins, as the mean wants, has 3. `ladder`: static
CVaR of the total of the greedy policy, which is enumerated, with the first stock that the agent chooses; confirmed if it is within 0.01 of
the optimum, 1.504 for τ = 0.75 and 1.2624 for 0.5, with every seed; the mean has 1.445333 and 1.168. Results:
benchmarks/results/stocks.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.curves import read
from benchmarks.learning import RESULTS, keep, stored, train
from deeprl.envs.stock import StockCoins
from deeprl.running.session.api import load
from deeprl_lab.mathematics.risk import CVaR

FILE = RESULTS / "stocks.json"
SEEDS = range(3)
COMMON = "runtime.threads=1 checkpoint.every=null"
QUANTILES = (
    "agent=qrdqn env=lab/risk_ladder_stock discount=1 steps=12000 agent.torso.hidden=[64,64] agent.head.quantiles=51 "
    "agent.optimizer.lr=1e-3 agent.optimizer.schedule.end=0 agent.chain.target_update_period=200 agent.explore.schedule.end=0.1 "
    "agent.explore.schedule.duration=0.3 replay.learning_starts=500 replay.ratio=0.5 replay.batch_size=128 replay.capacity=30000 "
    "evaluation.every=null"
)
SETS: dict[str, dict[str, str]] = {
    "coins": {"target": "experiment=coin_targets evaluation.episodes=50 evaluation.num=50 evaluation.final_episodes=200"},
    "ladder": {
        **{f"cvar {tau}": f"{QUANTILES} agent/utility=cvar agent.utility.tau={tau}" for tau in (0.75, 0.5)},
        "mean": QUANTILES,
        **{f"selection {tau}": f"{QUANTILES} agent/utility=cvar_action_selection agent.utility.tau={tau}" for tau in (0.75, 0.5)},
    },
}
TARGETS = range(7)
HORIZON, SAFE, CHANCE = 3, 0.4, 0.6


def greedy(agent: Any, obs: np.ndarray) -> int:
    with torch.no_grad():
        return int(agent.greedy(torch.from_numpy(obs)[None])[0])


def collected(agent: Any) -> list[float]:
    """The total that each target brings."""
    found = []
    for target in TARGETS:
        game = StockCoins(starts=(-target, -target)).build()
        obs, total, ended = game.reset(0), 0.0, False
        while not ended:
            obs, reward, _, ended = game.step(greedy(agent, obs))
            total += reward
        found.append(total)
    return found


def chosen_start(agent: Any) -> float:
    """The first stock on the ladder; 0 for agents that choose none."""
    obs = torch.from_numpy(rung(0, 0.0, False, 0.0))[None]
    with torch.no_grad():
        begun, _ = agent.preference.begun(obs, torch.tensor([True]), {}, agent.greedy_values)
    return float(begun[0, -2])


def rung(elapsed: int, total: float, paid: bool, start: float) -> np.ndarray:
    return np.array([not paid, paid, elapsed, total, start + total, start, 1.0], np.float32)


def law_of(agent: Any, start: float) -> dict[float, float]:
    """Total: probability, of the greedy policy on the ladder."""
    now = {(0.0, False): 1.0}
    for elapsed in range(HORIZON):
        later: dict[tuple[float, bool], float] = {}
        for (total, paid), p in now.items():
            risky = greedy(agent, rung(elapsed, total, paid, start)) == 1
            for reward, won, q in ((1.0, True, CHANCE), (0.0, False, 1 - CHANCE)) if risky else ((SAFE, False, 1.0),):
                place = round(total + reward, 6), won
                later[place] = later.get(place, 0.0) + p * q
        now = later
    law: dict[float, float] = {}
    for (total, _), p in now.items():
        law[total] = law.get(total, 0.0) + p
    return law


def figures(name: str, folder: Path) -> dict[str, Any]:
    agent = load(folder).agent
    if name == "coins":
        totals = collected(agent)
        return {"totals": totals, "distance": float(np.mean([abs(total - target) for total, target in zip(totals, TARGETS)]))}
    start = chosen_start(agent)
    law = law_of(agent, start)
    totals, p = np.array(list(law)), np.array(list(law.values()))
    return {"start": start, **{f"cvar {tau}": float(CVaR(tau).worth(p, totals)) for tau in (0.75, 0.5)}, "mean": float(p @ totals)}


def train_all(name: str, seeds: list[int], folder: Path) -> None:
    for seed in seeds:
        for arm, own in SETS[name].items():
            if any((line["set"], line["arm"], line["seed"]) == (name, arm, seed) for line in stored(FILE)):
                continue
            given, place = f"{own} {COMMON} seed={seed}", folder / f"{name}-{arm.replace(' ', '_')}-{seed}"
            if train(place, given.split()):
                keep({"set": name, "arm": arm, **read(place), **figures(name, place), "overrides": given}, FILE)


def table(name: str) -> str:
    keys = ("distance", "totals") if name == "coins" else ("cvar 0.75", "cvar 0.5", "mean", "start")
    rows = [f"| arm | seed | {' | '.join(keys)} |", "|---" * (len(keys) + 2) + "|"]
    for line in sorted((line for line in stored(FILE) if line["set"] == name), key=lambda line: (line["arm"], line["seed"])):
        rows.append(f"| {line['arm']} | {line['seed']} | " + " | ".join(f"{np.round(line[key], 4)}" for key in keys) + " |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=SETS, metavar="SET")
    parser.add_argument("--folder", type=Path, help="of the run folders")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--table", action="store_true", help="train nothing")
    args = parser.parse_args()
    if not args.table:
        if args.folder is None:
            parser.error("--folder says where the runs go")
        train_all(args.name, args.seeds, args.folder)
    print(table(args.name))


if __name__ == "__main__":
    main()
