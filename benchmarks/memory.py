"""Agents that remember, on worlds with known answers: recall, and bandits whose task is drawn anew in each episode.

    python -m benchmarks.memory SET --folder FOLDER    trains what is not stored, one run after the other, and prints the table
    python -m benchmarks.memory SET --table            prints what is stored
    SET: recall_segments, recall_cores, memory_bandit, memory_bandit_cores, memory_switching; the rule is in docs/claims.md

Results are in benchmarks/results/memory.json. The greedy policies of bandits play 100,000 fresh tasks (switching arms: 20,000 of each
probability). Their totals stand beside the exact optimum, that of an agent which knows the prior, and the probability of a swap. Decisions
are the pulls, in the policy's own histories, that have the larger value of both; ties do not count.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.evidence import final, with_interval
from benchmarks.learning import RESULTS, change, interval, planned, stored, train_all
from benchmarks.recipes import SETS
from deeprl_lab.mathematics.bandits import Believed, CountedArms, UntoldSwap

FILE = RESULTS / "memory.json"
SEEDS = {
    "recall_segments": range(5), "recall_cores": range(3),
    "memory_bandit": range(3), "memory_bandit_cores": range(3), "memory_switching": range(3),
}  # fmt: skip
SWAPS = (0.0, 0.05, 0.1, 0.3)
STEPS, TIE = 20, 1e-6
Policy = Callable[[np.ndarray], np.ndarray]
"""Observations (N, 4) of tasks side by side -> pulls (N,), from the first step of all on"""


class Counts:
    """What an agent knows of two arms with uniform priors: pulls and wins."""

    def __init__(self, tasks: int):
        self.world = CountedArms(STEPS)
        self.table, self.known, self.before = self.world.values(), np.zeros((3, tasks), int), 0

    def values(self) -> np.ndarray:
        """(N, 2), of the arms."""
        return self.table[(self.before, *self.known)]

    def see(self, arm: np.ndarray, win: np.ndarray) -> None:
        self.known += np.array([arm == 0, (arm == 0) & win, (arm == 1) & win])
        self.before += 1


class Beliefs:
    """The same for a good and a bad arm: the probability that the first is the good one."""

    def __init__(self, tasks: int, swap: float):
        self.world = Believed(STEPS, swap)
        self.table, self.known, self.before = self.world.values(), np.full(tasks, 0.5), 0

    def values(self) -> np.ndarray:
        return self.table[self.before, np.rint(self.known * (self.world.grid - 1)).astype(int)]

    def see(self, arm: np.ndarray, win: np.ndarray) -> None:
        self.known = self.world.after(self.known, arm, win)
        self.before += 1


def played(policy: Policy, arms: np.ndarray, swap: float, known: Counts | Beliefs, random: np.random.Generator) -> dict[str, float]:
    """One episode of each task.

    Args:
        arms: (N, 2), probabilities of a reward.
        known: of the agent that plays best.
    """
    tasks, rows = len(arms), np.arange(len(arms))
    obs, total, right, asked = np.tile(np.array([0, 0, 0, 1], np.float32), (tasks, 1)), np.zeros(tasks), 0, 0
    for _ in range(STEPS):
        arm, values = policy(obs), known.values()
        clear = np.abs(values[:, 0] - values[:, 1]) > TIE
        right, asked = right + (clear & (values.argmax(-1) == arm)).sum(), asked + clear.sum()
        win = random.random(tasks) < arms[rows, arm]
        known.see(arm, win)
        arms = np.where(random.random(tasks)[:, None] < swap, arms[:, ::-1], arms)
        obs, total = np.stack([arm == 0, arm == 1, win, np.zeros(tasks)], -1).astype(np.float32), total + win
    error = float(total.std() / tasks**0.5)
    return {"total": float(total.mean()), "error": error, "optimum": known.world.optimum(), "decisions": float(right / asked)}


def tasks_of(name: str, policy: Callable[[], Policy], seed: int) -> dict[str, dict[str, float]]:
    """What a policy gets of the tasks of a set, by the probability of a swap.

    Args:
        policy: gives one that has seen nothing.
    """
    random = np.random.default_rng([seed, 3])
    if "switching" not in name:
        return {"0": played(policy(), random.random((100_000, 2)), 0.0, Counts(100_000), random)}
    found = {}
    for swap in SWAPS:
        good = random.integers(2, size=20_000)
        arms = np.where(good[:, None] == np.arange(2), 0.8, 0.2)
        found[f"{swap:g}"] = played(policy(), arms, swap, Beliefs(20_000, swap), random)
    return found


def measured(name: str, folder: Path, line: dict) -> dict[str, dict[str, float]] | None:
    """The tasks of a run of a set that lacks them and whose folder is there."""
    from deeprl import load

    path = folder / f"{line['name']}-{line['env'].replace('/', '_')}-{line['seed']}-{line['steps']}"
    if "tasks" in line or "bandit" not in line["env"] or not of(name, line) or not path.exists():
        return None
    run = load(path)

    def policy() -> Policy:
        run.reset()
        return run.act_on_rows

    return tasks_of(name, policy, line["seed"])


def of(name: str, line: dict) -> bool:
    """Whether a run is one of a set."""
    envs, words, agents = SETS[name]
    return line["name"] in agents and line["env"] in envs and f"steps={line['steps']}" in words.split()


def table(name: str, lines: list[dict]) -> str:
    """A row for each agent of a set: finals, and in bandits the totals by the probability of a swap."""
    rows = []
    for agent in SETS[name][2]:
        for env in SETS[name][0]:
            own = [line for line in lines if (line["name"], line["env"]) == (agent, env) and of(name, line)]
            runs = sorted(own, key=lambda line: line["seed"])
            if runs:
                finals = [final(run) for run in runs]
                each = ", ".join(f"{value:.2f}" for value in finals)
                rows.append(f"{agent:24}{env:26}final {with_interval(finals, '.3f')} ({each})")
                rows += columns([run["tasks"] for run in runs if "tasks" in run], untold() if "switching" in env else {})
    return "\n".join(rows) or "nothing is stored"


def untold() -> dict[str, float]:
    """The best of an agent that is not told how likely a swap is, by that probability."""
    return {f"{swap:g}": float(best) for swap, best in zip(SWAPS, UntoldSwap(STEPS, SWAPS).optima())}


def columns(runs: list[dict[str, dict[str, float]]], untold: dict[str, float]) -> list[str]:
    """A row for each probability of a swap, and below them the mean share of what can be had without being told it."""
    rows, shares = [], []
    for swap in runs[0] if runs else ():
        cells = [run[swap] for run in runs]
        totals, best = [cell["total"] for cell in cells], cells[0]["optimum"]
        each = ", ".join(f"{total:.3f}" for total in totals)
        right = ", ".join(f"{cell['decisions']:.1%}" for cell in cells)
        row = (
            f"    swap {swap:6}optimum {best:.4f}  totals {each}, mean {np.mean(totals):.3f} ± {interval(totals):.3f} = "
            f"{np.mean(totals) / best:.1%}  decisions {right}"
        )
        if untold:
            shares.append(np.mean(totals) / untold[swap])
            row += f"  not told the swap: {untold[swap]:.4f} = {untold[swap] / best:.1%}, of which {shares[-1]:.1%}"
        rows.append(row)
    return rows + ([f"    of what can be had without being told, in the mean {np.mean(shares):.1%}"] if shares else [])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=SEEDS, metavar="SET")
    parser.add_argument("--folder", type=Path, help="of the run folders")
    parser.add_argument("--seeds", nargs="+", type=int, help="some of those of the set")
    parser.add_argument("--table", action="store_true", help="only print the table")
    options = parser.parse_args()
    if options.folder is None and not options.table:
        parser.error("--folder says where the run folders go; or print what there is with --table")
    if not options.table:
        train_all(options.name, planned(options.name, None, options.seeds or SEEDS[options.name]), options.folder, FILE, "fast")
        for line in stored(FILE):
            if tasks := measured(options.name, options.folder.resolve(), line):
                change({**line, "tasks": tasks}, FILE)
    print(table(options.name, stored(FILE)))


if __name__ == "__main__":
    main()
