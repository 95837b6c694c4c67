"""PQN after 5,000,000 steps of MinAtar's games as tensor worlds beside DQN after 500,000: return against wall time.

    python -m benchmarks.learning --set minatar_pqn --seeds 0 1 2 3 4 --into minatar_pqn --folder FOLDER
    python -m benchmarks.learning --set minatar_dqn --seeds 0 1 2 3 4 --into minatar_pqn --folder FOLDER
    python -m benchmarks.minatar_pqn

The rule, written before the runs:

- Settings of PQN are the same for all games: its authors' (`configs/tuned/minatar/pqn.yaml`). On Breakout, with seed 100 and 1,000,000
  steps, they ended at 19.7, and at 15.3 with half of the updates (`replay.minibatches=16`). The runs have seeds 0 to 4; none is left out.
  DQN has the settings and the runs of `minatar.json` (Asterix, Breakout, Space Invaders, seeds 0 to 4), and new ones on the other games.
- The return of a run is the mean over the 100 episodes of its final evaluation, with the last weights; its time is its wall time with
  evaluations, on one thread. The worlds are equal step by step (`benchmarks.minatar_worlds`), so that returns are of the same games.
- PQN *ends above* DQN on a game if the exact p of the ranks, after Holm's correction for the games that are complete, is at most 0.05 and
  its mean is larger; over the games by the exact p of the mean of these ranks.
- PQN *is sooner there* on a game if the mean over its seeds of the evaluations is at least DQN's mean return at a step that it reaches in
  less than DQN's median time; the time of an evaluation is the share of its step in the run's time.
- A game without all ten runs is shown, and is in no verdict. Machines and what else they did differ between runs, and stand beside.
"""

from __future__ import annotations

import argparse

import numpy as np

from benchmarks.evidence import three_digits, with_interval
from benchmarks.learning import RESULTS, stored
from benchmarks.recipes import SETS
from deeprl.tools.report.rank_test import holm, p_value
from deeprl.tools.report.statistics import improvement

SEEDS = 5
EQUAL = 500_000
"""Steps of DQN"""


def runs() -> dict[str, tuple[list[dict], list[dict]]]:
    """The game -> runs of PQN, and of DQN, in the order of their seeds."""
    lines = [line for name in ("minatar_pqn", "minatar") for line in stored(RESULTS / f"{name}.json")]
    found = {}
    for env in SETS["minatar_pqn"][0]:
        game = env.removeprefix("tensor/minatar_")
        kinds = ("pqn", env, 5_000_000), ("dqn", f"minatar/{game}", 500_000)
        sides = [[line for line in lines if (line["name"], line["env"], line["steps"]) == kind] for kind in kinds]
        found[game] = tuple(sorted(side, key=lambda line: line["seed"]) for side in sides)
    return found  # type: ignore[return-value]


def finals(lines: list[dict]) -> np.ndarray:
    return np.array([line["final"]["mean"] for line in lines])


def minutes(lines: list[dict]) -> float:
    return float(np.median([line["wall_seconds"] for line in lines])) / 60


def reached(lines: list[dict], goal: float) -> tuple[int, float] | None:
    """The first evaluation at which the mean of the runs is at least the goal: its step, and the median of the minutes until then."""
    curves = np.array([[mean for _, mean in line["curve"]] for line in lines])
    for place, mean in enumerate(curves.mean(0)):
        if mean >= goal:
            shares = [line["wall_seconds"] * line["curve"][place][0] / line["curve"][-1][0] for line in lines]
            return lines[0]["curve"][place][0], float(np.median(shares)) / 60
    return None


def equal_steps(lines: list[dict]) -> str:
    """The mean over the runs of the first evaluation after `EQUAL` steps; PQN's schedules are those of its whole run."""
    return f"{np.mean([next(mean for step, mean in line['curve'] if step >= EQUAL) for line in lines]):.1f}" if lines else ""


def cells(lines: list[dict]) -> list[str]:
    """Seeds, final returns, minutes and steps a second."""
    if not lines:
        return [""] * 4
    each, speed = finals(lines), np.median([line["steps_per_second"] for line in lines])
    shown = f"{with_interval(list(each), '.1f')} ({', '.join(f'{value:.1f}' for value in each)})"
    return [", ".join(str(line["seed"]) for line in lines), shown, f"{minutes(lines):.1f}", f"{speed:,.0f}"]


def table(found: dict[str, tuple[list[dict], list[dict]]]) -> str:
    """A row for each game; p, and the last row, of the games that are complete."""
    whole = [game for game, sides in found.items() if all(len(side) == SEEDS for side in sides)]
    ps = dict(zip(whole, holm([p_value([finals(found[game][0])], [finals(found[game][1])]) for game in whole])))
    head = "game | seeds | PQN, 5,000,000 | minutes | steps/s | seeds | DQN, 500,000 | minutes | steps/s"
    head += " | PQN, 500,000 | PQN is there at | p"
    rows = [head, " | ".join(["---"] * (head.count("|") + 1))]
    for game, (ours, theirs) in found.items():
        there = reached(ours, float(finals(theirs).mean())) if ours and theirs else None
        when = f"{there[0]:,}, {there[1]:.1f} min" if there else ""
        rows.append(" | ".join([game, *cells(ours), *cells(theirs), equal_steps(ours), when, three_digits(ps[game]) if game in ps else ""]))
    text = "\n".join(f"| {row} |" for row in rows)
    if not whole:
        return text
    sides = [[finals(found[game][side]) for game in whole] for side in (0, 1)]
    chance = improvement(sides[0], sides[1])
    return f"{text}\n\nOver {', '.join(whole)}: probability to end above {chance.point:.2f}, p {three_digits(p_value(*sides))}"


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    print(table(runs()))


if __name__ == "__main__":
    main()
