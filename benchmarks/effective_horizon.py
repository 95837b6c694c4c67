"""SQIRL beside DQN and PPO: on small worlds whose effective horizon is known exactly, and on two grids.

    python -m benchmarks.effective_horizon SET --folder FOLDER    trains what is not stored, and prints the table
    python -m benchmarks.effective_horizon SET --table            prints what is stored
    SET: worlds, frozen_lake, minigrid

The rule, written before the runs; no run is left out. The paper's claim is that SQIRL does well where DQN or PPO does; k is tuned for each
task, as in the paper. `worlds`: the 20 instances 0 to 19 of env=lab/sparse_mdp with two actions, seed = instance, 6,000 steps, returns
without a discount. A world is solved by a run whose final 500 episodes have a mean of at least 0.95 on the scale from random play, which is
0, to the optimum, which is 1. Confirmed, if SQIRL with k = 1, 2 or 3 solves at least 0.78 of the worlds that DQN or PPO solves, the share
in the paper. Shown beside it: the smallest k for which the world is k-QVI-solvable, the bound H, and what the exactly greedy policies of
Q¹, Q², Q³ have on the same scale. `frozen_lake` (4 × 4, slippery, 60,000 steps) and `minigrid` (Empty-5x5, 40,000 steps): seeds 0 to 2,
discount 0.99; confirmed, if the mean of the finals of SQIRL with its best k is at least 0.9 of that of the better of DQN and PPO. Settings
were chosen on instances 100 to 103, and with seed 100. Results: benchmarks/results/effective_horizon.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import gymnasium
import numpy as np

from benchmarks.learning import RESULTS, keep, stored
from benchmarks.trained import trained
from deeprl_lab.envs.sparse import SparseMDP
from deeprl_lab.mathematics.effective_horizon import effective_horizon, iterated, random_values
from deeprl_lab.mathematics.mdp import FiniteMDP
from deeprl_lab.mathematics.planners import backward_induction

FILE = RESULTS / "effective_horizon.json"
QUIET = "agent.torso.hidden=[64,64] evaluation.every=null checkpoint.every=null log.every=0.1 runtime.threads=1 accelerate=fast"
SQIRL = "agent=sqirl agent.optimizer.lr=1e-3 replay.epochs={epochs} replay.episodes={episodes} replay.horizon={horizon} agent.depth={depth}"
DQN = (
    "agent=dqn agent.optimizer.lr={dqn} agent.chain.target_update_period=200 agent.explore.schedule.end=0.1 "
    "agent.explore.schedule.duration=0.3 replay.learning_starts=500 replay.ratio={ratio} replay.batch_size=128"
)
PPO = "agent=ppo agent.optimizer.lr={ppo} env.num=8 replay.length={length}"
SETS: dict[str, tuple[str, dict, range]] = {
    "worlds": (
        "env=lab/sparse_mdp env.num_actions=2 discount=1 steps=6000 evaluation.final_episodes=500 evaluation.num=50",
        {"epochs": 100, "episodes": 160, "horizon": 6, "dqn": "1e-3", "ratio": 0.5, "ppo": "3e-3", "length": 24},
        range(20),
    ),
    "frozen_lake": (
        "env=gym env.id=FrozenLake-v1 discount=0.99 steps=60000 evaluation.final_episodes=200 evaluation.num=20",
        {"epochs": 40, "episodes": 400, "horizon": 100, "dqn": "3e-4", "ratio": 0.25, "ppo": "1e-3", "length": 32},
        range(3),
    ),
    "minigrid": (
        "env=gym env.id=MiniGrid-Empty-5x5-v0 env.package=minigrid env.wrappers=[minigrid.wrappers.ImgObsWrapper] agent/torso=mlp "
        "discount=0.99 steps=40000 evaluation.final_episodes=50 evaluation.num=10",
        {"epochs": 20, "episodes": 40, "horizon": 100, "dqn": "1e-3", "ratio": 0.25, "ppo": "3e-3", "length": 64},
        range(3),
    ),
}
"""Words of all runs, numbers of the agents, and the seeds"""
DEPTHS = (1, 2, 3)
SOLVED, SHARE, BESIDE = 0.95, 0.78, 0.9


def arms(name: str) -> dict[str, str]:
    numbers = SETS[name][1]
    found = {f"sqirl {depth}": SQIRL.format(depth=depth, **numbers) for depth in DEPTHS}
    return {**found, "dqn": DQN.format(**numbers), "ppo": PPO.format(**numbers)}


def words(name: str, arm: str, seed: int) -> list[str]:
    own = [f"env.instance={seed}"] if name == "worlds" else []
    return [*SETS[name][0].split(), *arms(name)[arm].split(), *QUIET.split(), *own, f"seed={seed}"]


def measured(folder: Path, name: str, arm: str, seed: int) -> dict:
    """Train one run; its line of results."""
    given = words(name, arm, seed)
    summary = trained(given, folder / f"{name}-{arm.replace(' ', '')}-{seed}").read_summary() or {}
    kept = {key: summary["final"][key] for key in ("mean", "std", "episodes")}
    return {"set": name, "arm": arm, "seed": seed, "final": kept, "updates": summary["updates"], "overrides": " ".join(given)}


def mdp_of(instance: int) -> FiniteMDP:
    return SparseMDP(instance=instance, num_actions=2).mdp


def frozen_lake() -> FiniteMDP:
    """Gymnasium's table as an MDP of 100 steps; who has fallen or arrived stays there."""
    table = gymnasium.make("FrozenLake-v1").unwrapped.P  # type: ignore[attr-defined]
    states, actions = len(table), len(table[0])
    transition, reward = np.zeros((states, actions, states)), np.zeros((states, actions, states))
    for state, choices in table.items():
        for action, outcomes in choices.items():
            for chance, after, paid, _ in outcomes:
                transition[state, action, after] += chance
                reward[state, action, after] = paid
    return FiniteMDP(transition, reward, np.eye(states)[0], horizon=100)


def value(mdp: FiniteMDP, policy: np.ndarray | None = None) -> float:
    return float(backward_induction(mdp, policy=policy)[1][0] @ mdp.start)


def ends(mdp: FiniteMDP) -> tuple[float, float]:
    """Values of random play, and of the best policy."""
    return value(mdp, np.full(mdp.transition.shape[:-1], 1 / mdp.num_actions)), value(mdp)


def exact(mdp: FiniteMDP) -> list[float]:
    """What the greedy policies of Q¹, Q², Q³ have, from 0, random play, to 1, the optimum."""
    (low, high), q, found = ends(mdp), random_values(mdp), []
    for _ in DEPTHS:
        found.append((value(mdp, np.eye(mdp.num_actions)[q.argmax(-1)]) - low) / (high - low))
        q = iterated(mdp, q)
    return found


def train_all(name: str, seeds: list[int], folder: Path) -> None:
    for seed in seeds:
        for arm in arms(name):
            if not any((line["set"], line["arm"], line["seed"]) == (name, arm, seed) for line in stored(FILE)):
                line = measured(folder, name, arm, seed)
                keep(line, FILE)
                print(line["set"], arm, seed, line["final"]["mean"], flush=True)


def finals(name: str) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = {arm: {} for arm in arms(name)}
    for line in stored(FILE):
        if line["set"] == name:
            found[line["arm"]][line["seed"]] = line["final"]["mean"]
    return found


def verdict_of_worlds(solved: dict[str, set[int]]) -> str:
    others, mine = solved["dqn"] | solved["ppo"], set[int]().union(*(solved[f"sqirl {depth}"] for depth in DEPTHS))
    share = len(others & mine) / len(others) if others else float("nan")
    counts = ", ".join(f"{arm} {len(each)}" for arm, each in solved.items())
    said = "confirmed" if share >= SHARE else "not confirmed"
    return f"solved: {counts}, sqirl {len(mine)}; of {len(others)} that dqn or ppo solves sqirl solves {share:.2f}: {said}"


def worlds() -> str:
    found, solved = finals("worlds"), {arm: set[int]() for arm in arms("worlds")}
    rows = [f"| world | smallest k | H | exact Q¹, Q², Q³ | {' | '.join(found)} |", "|---" * (len(found) + 4) + "|"]
    for instance in SETS["worlds"][2]:
        mdp, cells = mdp_of(instance), []
        low, high = ends(mdp)
        for arm, finished in found.items():
            scaled = (finished[instance] - low) / (high - low) if instance in finished else float("nan")
            cells.append(f"{scaled:.2f}")
            solved[arm] |= {instance} if scaled >= SOLVED else set()
        hard = effective_horizon(mdp)
        own = ", ".join(f"{each:.2f}" for each in exact(mdp))
        rows.append(f"| {instance} | {hard.solvable} | {hard.value:.1f} | {own} | {' | '.join(cells)} |")
    return "\n".join([*rows, "", verdict_of_worlds(solved)])


def grid(name: str) -> str:
    found, rows = finals(name), ["| arm | finals | mean |", "|---|---|---|"]
    means = {arm: float(np.mean(list(each.values()))) if each else float("nan") for arm, each in found.items()}
    for arm, each in found.items():
        rows.append(f"| {arm} | {', '.join(f'{each[seed]:.3f}' for seed in sorted(each))} | {means[arm]:.3f} |")
    mine, others = max(means[f"sqirl {depth}"] for depth in DEPTHS), max(means["dqn"], means["ppo"])
    if name == "frozen_lake":
        mdp = frozen_lake()
        low, high = ends(mdp)
        greedy = ", ".join(f"{low + (high - low) * scaled:.3f}" for scaled in exact(mdp))
        rows += ["", f"exactly: random play {low:.3f}, greedy in Q¹, Q², Q³ {greedy}, the optimum {high:.3f}"]
    return "\n".join([*rows, "", f"{mine:.3f} beside {others:.3f}: {'confirmed' if mine >= BESIDE * others else 'not confirmed'}"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=SETS, metavar="SET")
    parser.add_argument("--folder", type=Path, help="of the run folders")
    parser.add_argument("--seeds", nargs="+", type=int)
    parser.add_argument("--table", action="store_true", help="train nothing")
    args = parser.parse_args()
    if not args.table:
        if args.folder is None:
            parser.error("--folder says where the runs go")
        train_all(args.name, args.seeds or list(SETS[args.name][2]), args.folder)
    print(worlds() if args.name == "worlds" else grid(args.name))


if __name__ == "__main__":
    main()
