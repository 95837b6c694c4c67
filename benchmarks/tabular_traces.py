"""Off-policy traces on worlds whose values are known exactly, through the functions that agents use
(`deeprl/learning/backups/traces.py`, `agents/rbis.py`).

python -m benchmarks.tabular_traces [--seeds 40] [--json FILE]
python -m benchmarks.tabular_traces --table        the differences of the last part as stored, with p after a correction

- Convergence: the operator of each trace, with its expectation over trajectories taken exactly (all of them, weighted by their
  probabilities under a uniformly random behaviour), applied until it reaches the values of the target policy: a given one, and the
  ε-greedy one of the values themselves (ε = 0 is Q*).
- Norms: the two counter-examples of Daley et al. (2023), and what the same worlds do to the traces that contract.
- Bifurcated gridworlds: optimal returns, and the paper's online learning curves on the first map.
- Off-policyness: RBIS beside Retrace on all four maps, as the behaviour goes from the target policy to a uniformly random one.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import scipy
import torch
from torch import Tensor

from deeprl.agents.rbis import RBIS, ImportanceSampling, QLambda, RecursiveRetrace, Retrace, TreeBackup, TruncatedIS
from deeprl.envs.toy import TabularMDP, policy_values, random_mdp, value_iteration
from deeprl.learning.backups import traces
from deeprl.learning.backups.policies import epsilon_greedy
from deeprl.learning.backups.traces import Step, Trace, trace_sums
from deeprl.learning.values.losses import squared
from deeprl.learning.values.scalar import ScalarValues
from deeprl.tools.report.rank_test import holm
from deeprl.types import Batch

METHODS = {
    "importance_sampling": ImportanceSampling, "q_lambda": QLambda, "tree_backup": TreeBackup, "retrace": Retrace,
    "truncated_is": TruncatedIS, "recursive_retrace": RecursiveRetrace, "rbis": RBIS,
}  # fmt: skip
MAPS = {
    1: "XX... XX.X. XX.XG XX.X. S....",
    2: "..G.... .X.X.X. .X.X.X. .X.X.X. .X.X.X. .X.X.X. ...S...",
    3: "G..... G..... GXX... .X.... ..S... XX....",
    4: "....... ....... ..XXX.. ...G... ..XXX.. ....... S......",
}
GAMMA = 0.9
STORED = Path(__file__).parent / "results" / "traces.json"


def gridworld(number: int) -> TabularMDP:
    """A bifurcated gridworld; moves are up, down, left, right, and bumping stays put. The reward of 1 and the end of the episode come
    with the step taken *from* a goal. The last state is that end."""
    rows = MAPS[number].split()
    cells = {(y, x): i for i, (y, x) in enumerate((y, x) for y, row in enumerate(rows) for x, c in enumerate(row) if c != "X")}
    end = len(cells)
    transition, reward = np.zeros((end + 1, 4, end + 1)), np.zeros((end + 1, 4))
    transition[end, :, end] = 1.0
    start = np.zeros(end + 1)
    for (y, x), cell in cells.items():
        for action, (dy, dx) in enumerate(((-1, 0), (1, 0), (0, -1), (0, 1))):
            goal = rows[y][x] == "G"
            transition[cell, action, end if goal else cells.get((y + dy, x + dx), cell)] = 1.0
            reward[cell, action] = float(goal)
        start[cell] = rows[y][x] == "S"
    return TabularMDP(transition, reward, start, np.arange(end + 1) == end)


# ---- exact expectations


class Sequences:
    """Every trajectory of `length` rows from every (s, a), as one batch (T, B), with the probability of each."""

    def __init__(self, mdp: TabularMDP, behaviour: np.ndarray, length: int, discount: float):
        self.mdp, self.behaviour = mdp, behaviour
        starts = [(s, a) for s in np.flatnonzero(~mdp.terminal) for a in range(mdp.reward.shape[1])]
        paths = [(1.0, ((s, a, t),)) for s, a in starts for t in np.flatnonzero(mdp.transition[s, a])]
        paths = [(mdp.transition[path[0]], path) for _, path in paths]
        for _ in range(length - 1):
            paths = [longer for probability, path in paths for longer in self._onward(probability, path)]
        s, a, t = (torch.from_numpy(np.array([[row[i] for row in path] for _, path in paths]).T.copy()) for i in range(3))
        self.probability = torch.tensor([probability for probability, _ in paths], dtype=torch.float64)
        over = torch.from_numpy(mdp.terminal)
        valid, ended = ~over[s], over[t]
        reward, discounts = torch.from_numpy(mdp.reward)[s, a], discount * (~ended).double()
        ones = torch.ones(s.shape, dtype=torch.float64)
        extra = {"behavior_probability": torch.from_numpy(behaviour)[s, a]}
        self.batch = Batch(s, a, reward, discounts, t, ones.long(), ended, valid, ones, ones.long(), {}, extra)

    def _onward(self, probability: float, path: tuple):
        state = path[-1][2]
        if self.mdp.terminal[state]:  # rows that are none
            yield probability, (*path, (state, 0, state))
            return
        for action, after in np.argwhere(self.mdp.transition[state] > 0):
            if self.behaviour[state, action]:
                p = self.behaviour[state, action] * self.mdp.transition[state, action, after]
                yield probability * p, (*path, (state, action, after))

    def average(self, returns: Tensor) -> Tensor:
        """Of what each trajectory says of its first row, (1, T, B): (S, A)."""
        table = torch.zeros(self.mdp.reward.shape, dtype=torch.float64)
        return table.index_put((self.batch.obs[0], self.batch.action[0]), self.probability * returns[0, 0], accumulate=True)

    def control(self, backup: Trace, q: Tensor) -> Tensor:
        """The operator of a backup, whose policy is that of q."""
        view = SimpleNamespace(
            now=ScalarValues(q[None, self.batch.obs], squared, torch.zeros(1)),
            next=ScalarValues(q[None, self.batch.next_obs], squared, torch.zeros(1)),
        )
        return self.average(backup(None, view, self.batch).mean())

    def evaluate(self, backup: Trace, policy: Tensor, q: Tensor) -> Tensor:
        """The operator with a given policy (S, A)."""
        b = self.batch
        one_step = b.reward + b.discount * (policy * q).sum(-1)[b.next_obs]
        delta = torch.where(b.valid, one_step - q[b.obs, b.action], 0.0)
        chosen = policy[b.obs, b.action]
        more = trace_sums(
            backup.coefficient,
            delta[None],
            (chosen / b.extra["behavior_probability"])[None],
            chosen[None],
            b.discount * ~b.ended,
            backup.lam,
        )
        return self.average(one_step + more)


def soft_optimum(mdp: TabularMDP, epsilon: float, discount: float) -> np.ndarray:
    """Fixed point of Q = r + γ P E_{ε-greedy of Q} Q; Q* at ε = 0."""
    if not epsilon:
        return value_iteration(mdp, discount)
    q = torch.zeros(mdp.reward.shape, dtype=torch.float64)
    for _ in range(2000):
        v = (epsilon_greedy(q, epsilon) * q).sum(-1).numpy()
        q = torch.from_numpy(mdp.reward + discount * mdp.transition @ np.where(mdp.terminal, 0.0, v))
    return q.numpy()


def iterate(operator, goal: np.ndarray, alive: np.ndarray, most: int = 100) -> dict:
    """Apply an operator from zero until it is at `goal`: how often to 1e-3 and 1e-9, and the largest factor of a step on the way."""
    goal = torch.from_numpy(goal)[alive]
    q = torch.zeros((len(alive), goal.shape[1]), dtype=torch.float64)
    distances = [float(goal.abs().max())]
    while distances[-1] > 1e-9 and len(distances) <= most and distances[-1] < 1e6:
        q = operator(q)
        distances.append(float((q[alive] - goal).abs().max()))
    reached = [next((i for i, d in enumerate(distances) if d <= near), None) for near in (1e-3, 1e-9)]
    factors = [b / a for a, b in itertools.pairwise(distances) if a > 1e-8]
    return {"to_1e-3": reached[0], "to_1e-9": reached[1], "error": float(f"{distances[-1]:.3g}"), "largest_factor": round(max(factors), 4)}


def convergence(name: str, mdp: TabularMDP, length: int, lams, epsilon: float, discount: float = GAMMA) -> list[dict]:
    """Policy evaluation and control from a uniformly random behaviour, all methods."""
    alive, actions = ~mdp.terminal, mdp.reward.shape[1]
    sequences = Sequences(mdp, np.full(mdp.reward.shape, 1 / actions), length, discount)
    optimum = {e: soft_optimum(mdp, e, discount) for e in (epsilon, 0.0)}
    policy = epsilon_greedy(torch.from_numpy(optimum[0.0]), epsilon)
    values = policy_values(mdp, policy.numpy(), discount)
    found = []
    for method, lam in itertools.product(METHODS, lams):
        soft, hard = (METHODS[method](lam=lam, epsilon=e) for e in (epsilon, 0.0))
        cases = {
            "evaluation": (lambda q, b=soft: sequences.evaluate(b, policy, q), values),
            f"control, ε = {epsilon}": (lambda q, b=soft: sequences.control(b, q), optimum[epsilon]),
            "control, ε = 0": (lambda q, b=hard: sequences.control(b, q), optimum[0.0]),
        }
        for case, (operator, goal) in cases.items():
            found.append({"world": name, "T": length, "method": method, "lam": lam, "case": case, **iterate(operator, goal, alive)})
    return found


# ---- norms


def norm(trace: Trace, pi: float, mu: float, discount: float, horizon: int = 300) -> float:
    """‖Z‖∞ at λ = 1 of M Q − M Q' = Z (Q − Q') in a world with one state and two actions, π and μ of the first:
    Z = Σ_{t≥1} γ^t (B_{t−1} P_π − B_t), B_t(a) = E_μ[β_t 1{A_t = a}].

    Trajectories with the same future are merged: those that agree in β_t or, for truncated importance sampling, in ρ_1 ⋯ ρ_t. What is
    rarer than 10⁻¹² is left out."""
    policy, behaviour = torch.tensor([pi, 1 - pi], dtype=torch.float64), torch.tensor([mu, 1 - mu], dtype=torch.float64)
    before = product = mass = torch.ones(1, dtype=torch.float64)
    row, held = torch.zeros(2, dtype=torch.float64), 1.0
    for t in range(1, horizon + 1):
        ratio = (policy / behaviour).expand(len(mass), 2)
        step = Step(before[:, None].expand_as(ratio), ratio, policy.expand_as(ratio), product[:, None] * ratio, 1.0, 1.0)
        beta = trace.coefficient(step)
        spread = mass[:, None] * behaviour
        reached = (spread * beta).sum(0)
        row += discount**t * (held * policy - reached)
        held = float(reached.sum())
        state = (step.product if isinstance(trace, TruncatedIS) else beta).flatten()
        kept = (spread.flatten() > 1e-12) & (state > 0)
        # relative to ten digits: products of the same ratios in another order differ by rounding
        _, where = (state[kept].log() * 1e10).round().unique(return_inverse=True)
        mass = torch.zeros(int(where.max()) + 1, dtype=torch.float64)
        before = product = mass.index_copy(0, where, state[kept])
        mass = mass.index_add(0, where, spread.flatten()[kept])
    return float(row.abs().sum())


def binary_norm(discount: float = 2 / 3, horizon: int = 400) -> float:
    """On-policy, two states that follow each other at random, and a trace that is 1 in the first state and 0 in the second:
    of no past at all, hence no product of decisions."""
    flow = np.full((2, 2), 0.5)
    masked = flow * [1.0, 0.0]  # B_t for every t ≥ 1
    z = sum(discount**t * ((np.eye(2) if t == 1 else masked) @ flow - masked) for t in range(1, horizon + 1))
    return float(np.abs(z).sum(1).max())


def norms() -> list[dict]:
    found = [{"world": "binary traces, on-policy, discount 2/3", "method": "binary", "norm": binary_norm(), "published": 1.0}]
    for method in METHODS:
        if method == "importance_sampling":
            continue  # in expectation its Z is zero; its products overflow the merging
        value = norm(METHODS[method](lam=1.0), 0.6, 0.5, 0.94)
        published = 1.140 if method == "truncated_is" else None
        found.append({"world": "policy 0.6, behaviour 0.5, discount 0.94, λ = 1", "method": method, "norm": value, "published": published})
    return found


# ---- the paper's online protocol


def learning_curves(number: int, choice: Trace, alpha: float, seeds: int, steps: int = 3000, behaviour_epsilon: float = 0.2) -> np.ndarray:
    """AUC of each of `seeds` trials, side by side: target ε 0.1, evaluation 0.05, Q ~ N(0, 0.01²), the first five
    episodes at random, policies anew at the end of an episode, one evaluation of at most 51 steps after each episode. Traces are kept of
    the last 150 visits, where γ^150 is 1e-7."""
    mdp, window = gridworld(number), 150
    after, reward = torch.from_numpy(mdp.transition.argmax(-1)), torch.from_numpy(mdp.reward)
    over, (states, actions) = torch.from_numpy(mdp.terminal), mdp.reward.shape
    generator = torch.Generator().manual_seed(0)
    lines, start = torch.arange(seeds), int(mdp.start.argmax())

    def draw(policy: Tensor) -> Tensor:
        return torch.multinomial(policy, 1, generator=generator).squeeze(-1)

    q = 0.01 * torch.randn(seeds, states, actions, generator=generator, dtype=torch.float64)
    q[:, over] = 0.0
    frozen = q.clone()
    state, episodes = torch.full((seeds,), start), torch.zeros(seeds, dtype=torch.int64)
    pair = torch.zeros(seeds, window, dtype=torch.int64)
    weight, product, before, limit = (torch.zeros(seeds, window, dtype=torch.float64) for _ in range(4))
    snapshots: list[tuple[int, Tensor, Tensor]] = []
    for t in range(steps + 1):
        greedy = frozen[lines, state]
        noise = torch.where(episodes < 5, 1.0, behaviour_epsilon).double()[:, None]
        behaviour = epsilon_greedy(greedy, 0.0) * (1 - noise) + noise / actions
        target = epsilon_greedy(greedy, choice.epsilon)
        action = draw(behaviour)
        nxt = after[state, action]
        value = (epsilon_greedy(frozen[lines, nxt], choice.epsilon) * q[lines, nxt]).sum(-1)
        ended = over[nxt]
        delta = reward[state, action] + GAMMA * torch.where(ended, 0.0, value) - q[lines, state, action]
        chosen = target[lines, action][:, None]
        ratio = (chosen / behaviour[lines, action][:, None]).expand_as(before)
        weight, limit, product = GAMMA * weight, choice.lam * limit, (product * ratio).clamp(max=traces.LARGEST)
        before = choice.coefficient(Step(before, ratio, chosen.expand_as(before), product, choice.lam, limit))
        pair[:, t % window] = state * actions + action
        for each in (weight, product, before, limit):
            each[:, t % window] = 1.0
        q.view(seeds, -1).scatter_add_(1, pair, alpha * weight * before * delta[:, None])
        weight[ended] = 0.0
        episodes += ended
        if ended.any():
            frozen[ended] = q[ended]
            snapshots.append((t, lines[ended], q[ended].clone()))
        state = torch.where(ended, start, nxt)
    time = np.concatenate([np.full(len(who), t) for t, who, _ in snapshots])
    who = torch.cat([who for _, who, _ in snapshots])
    returns = evaluated(torch.cat([table for _, _, table in snapshots]), after, reward, over, start, draw)
    areas = []
    for line in range(seeds):
        x, y = np.append(0, time[who == line]), np.append(0.0, returns[who == line])
        smooth = [y[max(i - 99, 0) : i + 1].mean() for i in range(len(y))]
        areas.append(np.interp(np.arange(steps + 1), x, smooth).sum())
    return np.array(areas)


def evaluated(q: Tensor, after, reward, over, start: int, draw) -> np.ndarray:
    """Discounted return of one episode of at most 51 steps, ε = 0.05, for each of (N, S, A)."""
    lines = torch.arange(len(q))
    state, total = torch.full((len(q),), start), torch.zeros(len(q), dtype=torch.float64)
    for t in range(51):
        action = draw(epsilon_greedy(q[lines, state], 0.05))
        total += torch.where(over[state], 0.0, GAMMA**t * reward[state, action])
        state = after[state, action]
    return total.numpy()


def gridworlds(seeds: int) -> list[dict]:
    """The α of the paper for the first map; `reference`: a re-implementation's means over 40 seeds, for the paper has plots alone."""
    found = []
    reference = {0.0: 1058, 0.9: {"retrace": 1098, "rbis": 1038, "recursive_retrace": 1021, "truncated_is": 1031}}
    for method, lam in [("retrace", 0.0), *((m, 0.9) for m in ("retrace", "rbis", "recursive_retrace", "truncated_is"))]:
        alpha = 0.7 if method == "truncated_is" else 0.9
        areas = learning_curves(1, METHODS[method](lam=lam), alpha, seeds)
        known = reference[lam] if isinstance(reference[lam], int) else reference[lam][method]
        found.append(
            {"map": 1, "method": method, "lam": lam, "alpha": alpha, "seeds": seeds, "auc": round(float(areas.mean()), 1),
             "ci95": round(float(1.96 * areas.std(ddof=1) / np.sqrt(seeds)), 1), "reference": known}
        )  # fmt: skip
    return found


def off_policyness(seeds: int) -> list[dict]:
    """AUC of Retrace and RBIS, λ = 0.9 and α = 0.9 for both, and their difference with Welch's interval of 95 %."""
    found = []
    for number, epsilon in itertools.product(MAPS, (0.1, 0.2, 0.5, 1.0)):
        rbis, retrace = (learning_curves(number, choice(lam=0.9), 0.9, seeds, behaviour_epsilon=epsilon) for choice in (RBIS, Retrace))
        interval = scipy.stats.ttest_ind(rbis, retrace, equal_var=False).confidence_interval()
        found.append(
            {"map": number, "behaviour_epsilon": epsilon, "seeds": seeds, "retrace": round(float(retrace.mean()), 1),
             "rbis": round(float(rbis.mean()), 1), "low": round(float(interval.low), 1), "high": round(float(interval.high), 1)}
        )  # fmt: skip
    return found


def corrected(rows: list[dict]) -> list[dict]:
    """Differences of areas, RBIS less Retrace, and their p after Holm's correction for all rows.

    Hundreds of seeds make the areas' mean normal, so a half of the interval of 95 % is 1.96 standard errors.
    """
    found = [
        2 * scipy.stats.norm.sf(abs(row["low"] + row["high"]) / (row["high"] - row["low"]) * scipy.stats.norm.ppf(0.975)) for row in rows
    ]
    return [
        {"map": row["map"], "behaviour_epsilon": row["behaviour_epsilon"], "difference": round((row["low"] + row["high"]) / 2, 1),
         "low": row["low"], "high": row["high"], "p": round(float(p), 3)} for row, p in zip(rows, holm(found))
    ]  # fmt: skip


def optimal() -> list[dict]:
    found = []
    for number in MAPS:
        mdp = gridworld(number)
        best = float(value_iteration(mdp, GAMMA)[mdp.start.argmax()].max())
        found.append({"map": number, "optimal_return": best, "length": round(1 + np.log(best) / np.log(GAMMA))})
    return found


def quick() -> dict:
    """What a test can afford."""
    return {
        "optimal": optimal(),
        "norms": norms(),
        "convergence": convergence("random MDP", random_mdp(1, states=3, actions=2), 4, (0.0, 0.9), 0.1),
    }


def full(seeds: int) -> dict:
    results = quick()
    results["convergence"] += convergence("map 1", gridworld(1), 4, (0.0, 0.5, 0.9, 1.0), 0.1)
    results["gridworlds"] = gridworlds(seeds)
    results["off_policyness"] = off_policyness(10 * seeds)
    return results


def table(rows: list[dict]) -> str:
    lines = [" | ".join(rows[0]), " | ".join("---" for _ in rows[0])]
    lines += [" | ".join(f"{v:.6g}" if isinstance(v, float) else str(v) for v in row.values()) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if options.table:
        print(table(corrected(json.loads(STORED.read_text())["off_policyness"])))
        return
    results = full(options.seeds)
    for name, rows in results.items():
        print(f"\n{name}\n\n{table(rows)}")
    if options.json:
        lists = (
            f'"{name}": [\n' + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]" for name, rows in results.items()
        )
        options.json.write_text("{\n" + ",\n".join(lists) + "\n}\n")


if __name__ == "__main__":
    main()
