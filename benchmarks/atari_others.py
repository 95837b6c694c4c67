"""Three games of Atari beside a published agent, by its protocol.

    python -m benchmarks.evidence atari_choice --folder FOLDER --mode fast    a rival of DQN is chosen on Pong
    python -m benchmarks.evidence atari_others --folder FOLDER --mode fast    DQN and the rival on Pong, Breakout and Space Invaders
    python -m benchmarks.evidence atari_choice --table    what the rule chooses
    python -m benchmarks.evidence atari_others --table

Protocol: sticky actions with probability 0.25 in each emulator frame, whole games of at most 108,000 frames, no no-ops, the minimal set
of actions, ε 0.001 in evaluation, raw scores. A step is one of the agent, four frames: 1,000,000 steps are 4,000,000 frames. docs/claims.md
has the rules, which are older than the runs.
"""

from __future__ import annotations

import numpy as np

from benchmarks.learning import interval
from benchmarks.recipes import RECIPES, STICKY_GAMES, STICKY_RIVALS

SEEDS = 3
"""Runs of an agent on a game that a verdict needs"""
MRQ = dict(zip(STICKY_GAMES, ((15.0, 3.2), (25.6, 9.3), (478.5, 75.4))))
"""MR.Q (Fujimoto and others, 2025) after 1,000,000 steps: mean and population deviation over ten seeds of one evaluation of ten games each,
calculated from `facebookresearch/MRQ`, results/atari_results.txt. It trains on raw rewards, ours on rewards cut off at ±1."""


CHOICE_SEEDS = 2
"""Runs of each rival on Pong from which one is chosen"""
NEAR = 1.0
"""Points of the best mean within which the rival that took the least processor time is chosen"""


def chosen(lines: list[dict]) -> str:
    """A row for each rival on Pong: the mean over its runs of all evaluations, and the processor time of its runs. Below them the one that
    the rule chooses: none before the runs of all are stored."""
    means, hours = {}, {}
    rows = ["| rival | runs | mean of all evaluations | processor hours |", "|---" * 4 + "|"]
    for rival in STICKY_RIVALS:
        runs = [line for line in lines if line["name"] == rival]
        if runs:
            means[rival] = float(np.mean([np.mean([mean for _, mean in run["curve"]]) for run in runs]))
            hours[rival] = sum(run["processor_seconds"] for run in runs) / 3600
            rows.append(f"| {rival} | {len(runs)} | {means[rival]:.2f} | {hours[rival]:.2f} |")
    if len(lines) < CHOICE_SEEDS * len(STICKY_RIVALS):
        return "\n".join([*rows, "", "Nothing is chosen before all runs are stored."])
    near = [rival for rival in means if means[rival] >= max(means.values()) - NEAR]
    return "\n".join([*rows, "", f"Chosen: {min(near, key=hours.__getitem__)}."])


def beside_published(lines: list[dict]) -> str:
    """A row for each agent: on each game the mean of the finals with Student's interval, and what it is beside MR.Q's mean: passed if the
    mean is above it, confirmed if the interval is; nothing before the runs of all seeds are stored."""
    rows = [f"| 1,000,000 steps, 4,000,000 frames | {' | '.join(STICKY_GAMES)} |", "|---" * (len(STICKY_GAMES) + 1) + "|"]
    for agent in [agent for agent in RECIPES if any(line["name"] == agent for line in lines)]:
        cells = []
        for game in STICKY_GAMES:
            finals = [line["final"]["mean"] for line in lines if (line["name"], line["env"]) == (agent, game)]
            cells.append(f"{np.mean(finals):.1f} ± {interval(finals):.1f}{verdict(finals, MRQ[game][0])}" if finals else "")
        rows.append(f"| {agent} | {' | '.join(cells)} |")
    return "\n".join(
        [*rows, f"| MR.Q, ten seeds, ± deviation | {' | '.join(f'{mean} ± {deviation}' for mean, deviation in MRQ.values())} |"]
    )


def verdict(finals: list[float], published: float) -> str:
    if len(finals) < SEEDS or np.mean(finals) <= published:
        return ""
    return ", confirmed" if np.mean(finals) - interval(finals) > published else ", passed"
