"""The chain of the logarithmic mapping's paper: with linear features, low discounts are learned with the map and are not without it.

python -m benchmarks.log_chain [--quick] [--runs 1] [--sweeps 110000] [--json FILE] [--plot FILE]

50 states in a row; actions left and right, the other one happens with probability 0.25. Leaving on the left pays 1, on the right −1, and
both end the episode; left is optimal everywhere. One sweep updates every (s, a) once, in random order, each with one sample drawn at the
sweep's start. Score: 1 if the greedy action is left in all states. van Seijen, Fatemi, Tavakoli (2019), and their code, microsoft/logrl.

Features are `width` shifted tilings of tiles of `width` states, each active feature √(1/width). Of such features only the inner products
φ(s)·φ(t) = max(0, 1 − |s − t| / width) matter, so that a learner is a table of values whose update reaches its neighbours; `tilings` has
the features themselves, and a test compares. All learners (discount, width, run) are one NumPy axis N. They share the order of a sweep,
not its samples.

With Q̃ = c x + d, d = −c ln(q0 + γᵏ), the map's update is x(t) += β_log φ(s)·φ(t) (ln(U + γᵏ) − x(s)): c cancels.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np

from deeprl.envs.toy import TabularMDP

STATES, SLIP = 50, 0.25
GAMMAS = (0.1, 0.5, 0.8, 0.9, 0.94, 0.96, 0.98, 0.99)
WIDTHS = (1, 2, 3, 5)
SWEEPS, WINDOW, DECAY, EVALUATE_EVERY = 110_000, 10_000, 10_000, 100
K, MAX_RETURN = 200, 1.0
STEPS = {"regular": ((1.0, 0.001),), "log": ((1.0, 0.1), (1.0, 0.01))}  # α; β_reg and β_log: first and last
REACH = max(WIDTHS) - 1
PUBLISHED = {  # first and last 10,000 sweeps, from the authors' stored arrays, in the order of GAMMAS
    ("regular", 2): ((0, 0, 0, 0, 0.13, 0.57, 0.68, 0.67), (0, 0, 0, 0, 1, 1, 1, 1)),
    ("regular", 3): ((0, 0, 0, 0, 0.03, 0.26, 0.53, 0.42), (0, 0, 0, 0, 0.77, 1, 1, 1)),
    ("regular", 5): ((0, 0, 0, 0, 0, 0.09, 0.36, 0.31), (0, 0, 0, 0, 0.55, 0.98, 1, 1)),
    ("log", 2): ((0.75, 0.78, 0.77, 0.80, 0.75, 0.75, 0.77, 0.68), (1,) * 8),
    ("log", 3): ((0.78, 0.78, 0.75, 0.76, 0.69, 0.73, 0.62, 0.52), (1,) * 8),
    ("log", 5): ((0.81, 0.78, 0.77, 0.76, 0.67, 0.63, 0.47, 0.32), (1,) * 8),
}  # of width 1 only: both methods about 0.72 to 0.83, then 1.0, at every discount


def chain(states: int = STATES, slip: float = SLIP) -> TabularMDP:
    """The task as a table: states 0 … S − 1, then the two ends."""
    transition = np.zeros((states + 2, 2, states + 2))
    reward = np.zeros((states + 2, 2))
    for state in range(states):
        for action, move in ((0, -1), (1, 1)):
            for step, probability in ((move, 1 - slip), (-move, slip)):
                after = state + step
                transition[state, action, states if after < 0 else states + 1 if after == states else after] += probability
                reward[state, action] += probability * ((after < 0) - (after == states))
    transition[states:, :, states:] = np.eye(2)[:, None]
    terminal = np.arange(states + 2) >= states
    return TabularMDP(transition, reward, np.where(terminal, 0.0, 1.0 / states), terminal)


def tilings(width: int, states: int = STATES) -> np.ndarray:
    """(S, features)"""
    tiles = math.ceil(states / width) + 1
    features = np.zeros((states, width * tiles))
    for t in range(width):
        features[np.arange(states), (np.arange(states) + t) // width + t * tiles] = math.sqrt(1 / width)
    return features


class Learner:
    """N learners at once. `table` is (C, 2, S + 2 REACH + 2, N): C channels, actions, states with a margin on both sides that updates may
    touch and nobody reads."""

    def __init__(self, gamma: np.ndarray, width: np.ndarray, channels: int, start: np.ndarray, states: int = STATES):
        self.gamma, self.states = gamma, states
        self.table = np.broadcast_to(start, (channels, 2, states + 2 * REACH + 2, len(gamma))).copy()
        distance = np.abs(np.arange(-REACH, REACH + 1))[:, None]
        self.kernel = np.maximum(0.0, 1.0 - distance / width)  # (2 REACH + 1, N)

    def sweep(self, order: np.ndarray, slipped: np.ndarray, *steps: float) -> None:
        """
        Args:
            order: of the pairs 2 s + a.
            slipped: (2 S, N) bool, by pair.
        """
        reach = steps[-1] * self.kernel
        for pair in order.tolist():
            state, action = divmod(pair, 2)
            goes_left = slipped[pair] if action else ~slipped[pair]  # (N,)
            at = state + REACH + 1
            after = np.where(goes_left, self.table[:, :, at - 1], self.table[:, :, at + 1])  # (C, 2, N)
            left_end, right_end = state == 0, state == self.states - 1
            ends = goes_left if left_end else ~goes_left if right_end else None
            error = self.error(self.table[:, action, at], after, ends, left_end, *steps[:-1])  # (C, N)
            self.table[:, action, at - REACH : at + REACH + 1] += reach * error[:, None]

    def error(self, now, after, ends, left, *steps) -> np.ndarray:
        raise NotImplementedError

    def values(self) -> np.ndarray:
        """(2, S, N) in ordinary units, up to what does not depend on the action."""
        raise NotImplementedError

    def optimal(self) -> np.ndarray:
        """(N,) whether left is greedy everywhere; a tie counts, as NumPy's argmax has it in the authors' code."""
        left, right = self.values()
        return (left >= right).all(0)


class Regular(Learner):
    """Q-learning; steps: α."""

    def __init__(self, gamma, width, states: int = STATES):
        super().__init__(gamma, width, 1, np.zeros(len(gamma)), states)

    def error(self, now, after, ends, left):
        target = self.gamma * np.maximum(after[:, 0], after[:, 1])
        if ends is not None:
            target = np.where(ends, 1.0 if left else -1.0, target)
        return np.minimum(target, MAX_RETURN) - now

    def values(self):
        return self.table[0, :, REACH + 1 : REACH + 1 + self.states]


class Log(Learner):
    """x = ln(Q± + γᵏ), one channel for gains and one for losses; steps: β_reg, β_log."""

    def __init__(self, gamma, width, states: int = STATES, k: float = K, q0: float = 0.0):
        self.shift = gamma**k  # 1e-200 at γ = 0.1: nothing for float32
        super().__init__(gamma, width, 2, np.log(q0 + self.shift), states)

    def error(self, now, after, ends, left, averaging):
        grown = np.exp(after)
        total = grown[0] - grown[1]  # (2, N); the shifts cancel
        best = np.where(total[0] > total[1], grown[:, 0], grown[:, 1]) - self.shift  # one a* for both channels; ties to the right
        target = self.gamma * best
        if ends is not None:
            target = np.where(ends, ((1.0,), (0.0,)) if left else ((0.0,), (1.0,)), target)
        here = np.exp(now)
        # not here + averaging · (…): with a step of 1 and shifts of 1e-200 that would be 0
        average = (1 - averaging) * here + averaging * (np.minimum(target, MAX_RETURN) + self.shift)
        return np.log(average) - now

    def values(self):
        grown = np.exp(self.table[:, :, REACH + 1 : REACH + 1 + self.states])
        return grown[0] - grown[1]


METHODS = {"regular": Regular, "log": Log}


def step_sizes(method: str, sweep: int, decay: int) -> list[float]:
    """Geometric over the first `decay` sweeps, then constant."""
    return [max(first * (last / first) ** (sweep / (decay - 1)), last) for first, last in STEPS[method]]


def run(method: str, gammas, widths, runs: int, sweeps: int, decay: int, seed: int = 0) -> np.ndarray:
    """Scores, (evaluations, widths, gammas, runs): after sweeps 1, 101, 201 …"""
    random = np.random.default_rng([seed, *method.encode()])
    grid = np.meshgrid(widths, gammas, np.arange(runs), indexing="ij")
    width, gamma = grid[0].reshape(-1), grid[1].reshape(-1).astype(float)
    learner = METHODS[method](gamma, width)
    scores = []
    for sweep in range(sweeps):
        slipped = random.random((2 * STATES, len(gamma))) < SLIP
        learner.sweep(random.permutation(2 * STATES), slipped, *step_sizes(method, sweep, decay))
        if sweep % EVALUATE_EVERY == 0:
            scores.append(learner.optimal())
    return np.array(scores, dtype=float).reshape(-1, *grid[0].shape)


def table(method: str, scores: np.ndarray, gammas, widths, window: int) -> list[dict]:
    """One row for each width and discount: means over the first and the last `window` sweeps and over runs, beside the published ones."""
    count = window // EVALUATE_EVERY
    rows = []
    for i, width in enumerate(widths):
        for j, gamma in enumerate(gammas):
            row = {"method": method, "width": width, "gamma": gamma}
            for name, part in (("first", scores[:count]), ("last", scores[-count:])):
                each = part[:, i, j].mean(0)  # (runs,)
                row[name], row[f"{name}_each"] = round(float(each.mean()), 3), [round(float(x), 3) for x in each]
            if (method, width) in PUBLISHED and gamma in GAMMAS:
                place = GAMMAS.index(gamma)
                row["published"] = [PUBLISHED[method, width][end][place] for end in (0, 1)]
            rows.append(row)
    return rows


def report(rows: list[dict], gammas) -> str:
    lines = ["| width, method | " + " | ".join(f"{gamma}" for gamma in gammas) + " |", "|" + "---|" * (len(gammas) + 1)]
    for width, method in dict.fromkeys((row["width"], row["method"]) for row in rows):
        ours = [row for row in rows if (row["width"], row["method"]) == (width, method)]
        lines.append(f"| {width}, {method} | " + " | ".join(f"{row['first']:.2f}/{row['last']:.2f}" for row in ours) + " |")
        if "published" in ours[0]:
            lines.append("| published | " + " | ".join("{:.2f}/{:.2f}".format(*row["published"]) for row in ours) + " |")
    return "\n".join(lines)


def plot(rows: list[dict], gammas) -> str:
    """An SVG by hand: scores over discounts in the first and the last sweeps; lines are ours, circles the published means."""
    colours = dict(zip(WIDTHS, ("#4477aa", "#66aa55", "#ddaa33", "#bb3344")))
    wide, high, left, top = 300, 180, 50, 40
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{2 * (wide + left) + 120}" height="{high + 90}"',
        '  font-family="sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for panel, end in enumerate(("first", "last")):
        x0 = left + panel * (wide + left)

        def place(i: int, score: float, x0: int = x0) -> tuple[float, float]:
            return round(x0 + wide * (i + 0.5) / len(gammas), 1), round(top + high * (1 - score), 1)

        parts.append(f'<text x="{x0 + wide / 2}" y="{top - 16}" text-anchor="middle">{end} sweeps</text>')
        parts.append(f'<rect x="{x0}" y="{top}" width="{wide}" height="{high}" fill="none" stroke="#999"/>')
        for score in (0, 0.5, 1):
            parts.append(f'<text x="{x0 - 6}" y="{place(0, score)[1] + 4}" text-anchor="end">{score}</text>')
        for i, gamma in enumerate(gammas):
            parts.append(f'<text x="{place(i, 0)[0]}" y="{top + high + 16}" text-anchor="middle">{gamma}</text>')
        parts.append(f'<text x="{x0 + wide / 2}" y="{top + high + 34}" text-anchor="middle">discount</text>')
        for width, method in dict.fromkeys((row["width"], row["method"]) for row in rows):
            ours = [row for row in rows if (row["width"], row["method"]) == (width, method)]
            points = " ".join("{},{}".format(*place(i, row[end])) for i, row in enumerate(ours))
            dashes = "" if method == "log" else ' stroke-dasharray="5 4"'
            parts.append(f'<polyline points="{points}" fill="none" stroke="{colours[width]}" stroke-width="1.5"{dashes}/>')
            for i, row in enumerate(ours):
                if "published" in row:
                    x, y = place(i, row["published"][panel])
                    fill = colours[width] if method == "log" else "white"
                    parts.append(f'<circle cx="{x}" cy="{y}" r="3" fill="{fill}" stroke="{colours[width]}"/>')
    x = 2 * (wide + left) + 10
    legend = [*((f"width {w}", colours[w], "") for w in colours), ("log map", "#333", ""), ("regular", "#333", ' stroke-dasharray="5 4"')]
    for i, (name, colour, dashes) in enumerate(legend):
        y = top + 10 + 18 * i
        parts.append(f'<line x1="{x}" y1="{y}" x2="{x + 24}" y2="{y}" stroke="{colour}" stroke-width="1.5"{dashes}/>')
        parts.append(f'<text x="{x + 30}" y="{y + 4}">{name}</text>')
    parts.append(f'<text x="{x}" y="{top + 10 + 18 * len(legend) + 4}">circles: published</text></svg>')
    return "\n".join(parts) + "\n"


def main(arguments: list[str] | None = None) -> list[dict]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="width 2, discounts 0.8 and 0.96, 3,000 sweeps, half of them decay")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--sweeps", type=int)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args(arguments)
    gammas, widths = ((0.8, 0.96), (2,)) if options.quick else (GAMMAS, WIDTHS)
    sweeps = options.sweeps or (3000 if options.quick else SWEEPS)
    # In strict proportion a quick decay would be 273 sweeps, and steps are small before values have come through the chain.
    window, decay = (sweeps // 3, sweeps // 2) if options.quick else (min(WINDOW, sweeps), DECAY)
    rows, seconds = [], {}
    for method in METHODS:
        began = time.process_time()
        rows += table(method, run(method, gammas, widths, options.runs, sweeps, decay), gammas, widths, window)
        seconds[method] = round(time.process_time() - began, 1)
    rows.sort(key=lambda row: (row["width"], row["method"] == "log"))
    print(report(rows, gammas))
    print(f"first and last {window:,} of {sweeps:,} sweeps, {options.runs} run(s); seconds of one core: {seconds}")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        head = {"sweeps": sweeps, "window": window, "decay": decay, "runs": options.runs, "cpu_seconds": seconds}
        text = ",\n".join("  " + json.dumps(row) for row in rows)
        options.json.write_text(json.dumps(head)[:-1] + ', "rows": [\n' + text + "\n]}\n")
    if options.plot:
        options.plot.parent.mkdir(parents=True, exist_ok=True)
        options.plot.write_text(plot(rows, gammas))
    return rows


if __name__ == "__main__":
    main()
