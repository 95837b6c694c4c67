"""The headline: agents of ours beside the best published ones on five tasks of MuJoCo, v4, and the goal by which small agents are chosen.

    python -m benchmarks.evidence xqc_choice --folder FOLDER    a small XQC is chosen
    python -m benchmarks.evidence headline --folder FOLDER      and trained beside others
    python -m benchmarks.evidence headline --table

docs/claims.md has the rules, which are older than the runs.
"""

from __future__ import annotations

import numpy as np

from benchmarks.learning import interval, scores
from benchmarks.recipes import FIVE, RECIPES

PUBLISHED = {
    "FlashSAC, 1": ((10835, 2061, 5311, 5272, 9640), (14465, 4064, 7346, 7590, 12606)),
    "CrossQ, 1": ((9363, 2577, 5174, 4853, 6348), (12893, 2467, 6257, 6980, 10480)),
    "MR.Q, 1": ((9856, 2385, 4160, 4434, 1251), (12940, 2693, 6040, 6902, 10224)),
    "SAC, 1": ((7679, 2342, 1946, 2296, 994), (11321, 2787, 4536, 5734, 4826)),
    "XQC, 2": ((9891, 3527, 4832, 5349, 6626), (12528, 3745, 6256, 7612, 11461)),
    "SimbaV2, 2": ((8913, 3144, 3298, 5732, 5980), (12022, 4054, 6938, 7429, 10546)),
    "BRO, 2": ((7601, 1264, 3149, 3889, 809), (13747, 2122, 3433, 7027, 4758)),
    "BRO, 10": ((9772, 1770, 629, 4144, 983), (15420, 1802, 3036, 7467, 5681)),
    "REDQ, 20": ((9095, 3543, 4491, 3953, 3348), (11506, 3299, 5229, 5315, 5279)),
    "DroQ, 20": ((8735, 2607, 3848, 3814, 3404), (11070, 2798, 4782, 5965, 5380)),
}
"""Agent and its updates a step -> returns on `FIVE` after 200,000 and after 1,000,000 steps of v4: means over ten seeds (FlashSAC and BRO:
five), single evaluations at that step, from result files of authors. FlashSAC: `Holiday-Robot/FlashSAC`,
results/stateRL_cpusim/FlashSAC.csv. XQC: `danielpalenicek/xqc`, results/xqc.csv. The others: `DAVIAN-Robotics/SimbaV2`, results/baseline.
That SAC makes one update a step is inferred from the name of its file."""
GOAL = dict(zip(FIVE, (float(max(million)) for million in zip(*(million for _, million in PUBLISHED.values())))))
"""What this project measures itself by: the best of them on each task after 1,000,000 steps, at any number of updates a step"""


def cell(values: list[float]) -> str:
    """Mean with Student's interval of 95 %, where there are several."""
    half = interval(values)
    return f"{np.mean(values):,.0f}" + (f" ± {half:,.0f}" if half else "") if values else ""


def against_goal(lines: list[dict], at: int) -> str:
    """A row for each agent: on each task the mean of its `scores` over seeds; and their mean over tasks in units of `GOAL`, by which small
    agents are chosen."""
    found = scores(lines, at)
    tasks = sorted({task for _, task in found})
    rows = [f"| {at:,} steps | {' | '.join(tasks)} | of the goal |", "|---" * (len(tasks) + 2) + "|"]
    for agent in [agent for agent in RECIPES if any(agent == each for each, _ in found)]:
        values = [list(found.get((agent, task), {}).values()) for task in tasks]
        shares = [np.mean(each) / GOAL[task] for task, each in zip(tasks, values) if each]
        cells = [cell(each) for each in values]
        rows.append(f"| {agent} | {' | '.join(cells)} | {f'{np.mean(shares):.3f}' if all(values) else ''} |")
    return "\n".join(rows)


def beside_published(lines: list[dict], at: int = 200_000) -> str:
    """A row for each agent of ours, with the number of seeds on each task and the hours of processor time that a run takes on average;
    below them the published agents and the best of them."""
    found = scores(lines, at)
    rows = [f"| {at:,} steps, v4 | {' | '.join(FIVE)} | seeds | hours |", "|---" * (len(FIVE) + 3) + "|"]
    for agent in [agent for agent in RECIPES if any(agent == each for each, _ in found)]:
        values = [list(found.get((agent, task), {}).values()) for task in FIVE]
        hours = [line["processor_seconds"] / 3600 for line in lines if line["name"] == agent and "processor_seconds" in line]
        seeds = ", ".join(str(len(each)) for each in values)
        rows.append(f"| {agent} | {' | '.join(map(cell, values))} | {seeds} | {np.mean(hours):.2f} |")
    early = {name: short for name, (short, _) in PUBLISHED.items()}
    best = {"the best published": early.values(), "… with one update a step": [early[name] for name in early if name.endswith(", 1")]}
    early |= {name: tuple(map(max, zip(*those))) for name, those in best.items()}
    rows += [f"| {name} | {' | '.join(f'{value:,}' for value in values)} |  |  |" for name, values in early.items()]
    return "\n".join(rows)
