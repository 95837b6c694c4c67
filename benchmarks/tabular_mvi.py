"""What Munchausen terms do to action gaps, exactly: value iteration on toy MDPs through the real backups, a table in place of the network.

    python -m benchmarks.tabular_mvi [--json FILE]

A sweep asks the backup for the target of every transition (s, a, s') and averages over s' with the MDP's probabilities. At the fixed point
(docs/algorithms/munchausen.md and mvi.md, no clip), with gap*(s, a) = max_b Q*(s, b) − Q*(s, a):

    munchausen              1/(1 − α) times the gaps of soft Q-learning at temperature (1 − α) τ
    tsallis, term gap       1/(1 − α) times gap*     where every gap* is 0 or at least (1 − α) τ / (q − 1), so that the policy is greedy
    tsallis, term logq      gap* + α τ / (q − 1)     there too
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from torch import Tensor, nn

from deeprl.agents.munchausen import Munchausen
from deeprl.agents.mvi import Tsallis
from deeprl.envs.toy import TabularMDP, chain, random_mdp, value_iteration
from deeprl.learning.backups.bellman import Max, Soft, backup_metrics
from deeprl.learning.backups.policies import one_hot, policy_metrics
from deeprl.learning.values.losses import squared
from deeprl.learning.values.scalar import ScalarValues
from deeprl.learning.values.view import View
from deeprl.types import Batch

TEMPERATURE, SCALE, DISCOUNT, SWEEPS = 0.3, 0.9, 0.9, 400


class Table(nn.Module):
    """A network that looks up q (S, A) for observations that are state numbers."""

    def __init__(self, q: Tensor):
        super().__init__()
        self.q = q.unsqueeze(0)

    def forward(self, obs: Tensor, noise: dict) -> ScalarValues:
        return ScalarValues(self.q[:, obs], squared, torch.zeros(1, *obs.shape, 1))


def transitions(mdp: TabularMDP, discount: float) -> Batch:
    """Every (s, a, s') once, s' fastest."""
    states, actions = mdp.reward.shape
    s, a, after = (axis.flatten() for axis in torch.meshgrid(*map(torch.arange, (states, actions, states)), indexing="ij"))
    reward, alive = torch.from_numpy(mdp.reward)[s, a], torch.from_numpy(~mdp.terminal)[after]
    ones, true = torch.ones(len(s), dtype=torch.float64), torch.ones(len(s), dtype=torch.bool)
    return Batch(s, a, reward, discount * alive.double(), after, ones.long(), ~true, true, ones, s, {}, {})


def iterate(backup, mdp: TabularMDP, q: Tensor | None = None, sweeps: int = SWEEPS, discount: float = DISCOUNT) -> Tensor:
    """`sweeps` applications of the operator that the backup is a sample of, to q (S, A), zeros if not given."""
    batch, probability = transitions(mdp, discount), torch.from_numpy(mdp.transition)
    q = torch.zeros(mdp.reward.shape, dtype=torch.float64) if q is None else q
    for _ in range(sweeps):
        view = View(Table(q), batch, "target")
        q = (probability * backup(view, view, batch).mean()[0].view(probability.shape)).sum(-1)
    return q


def optimal(mdp: TabularMDP) -> Tensor:
    return torch.from_numpy(value_iteration(mdp, DISCOUNT))


def gaps(q: Tensor, mdp: TabularMDP) -> Tensor:
    """max_b Q(s, b) − Q(s, a) at every action that is not the best one, of states that do not end the episode."""
    live = q[torch.from_numpy(~mdp.terminal)]
    behind = live.amax(-1, keepdim=True) - live
    return behind[torch.ones_like(behind, dtype=torch.bool).scatter(-1, live.argmax(-1, keepdim=True), False)]


def compare(name: str, backup, mdp: TabularMDP) -> dict:
    """One row: the gaps that a backup ends with, from zero, against those of Q*, and its policy there."""
    best, q = optimal(mdp), iterate(backup, mdp)
    live = torch.from_numpy(~mdp.terminal)
    plain, own = gaps(best, mdp), gaps(q, mdp)
    batch = transitions(mdp, DISCOUNT)._replace(next_obs=live.nonzero()[:, 0])  # policies are reported of the next states
    view = View(Table(q), batch, "target")
    policies = backup_metrics(backup, view, view, batch) or policy_metrics(q[live], one_hot(q[live]))
    row = {
        "backup": name,
        "mean_gap": own.mean(),
        "ratio_min": (own / plain).min(),
        "ratio_max": (own / plain).max(),
        "added_min": (own - plain).min(),
        "added_max": (own - plain).max(),
        "value_error": (q.amax(-1) - best.amax(-1))[live].abs().max(),
        "greedy_is_optimal": float(torch.equal(q[live].argmax(-1), best[live].argmax(-1))),
        "moved_by_last_sweep": moved(backup, mdp, q),
    }
    row["support"] = policies["train/policy_support"].mean()
    return {key: value if isinstance(value, str) else float(value) for key, value in row.items()}


def backups(temperature: float = TEMPERATURE, scale: float = SCALE) -> dict:
    own = {"temperature": temperature, "scale": scale}
    return {
        "max": Max(),
        "soft": Soft(temperature=temperature),
        "munchausen": Munchausen(**own, floor=None),
        "munchausen, floor -1": Munchausen(**own),
        **{f"tsallis q={q:g} {term}": Tsallis(q=q, term=term, **own, floor=None) for q in (1.0, 2.0) for term in ("gap", "logq")},
        "tsallis q=3 gap": Tsallis(q=3.0, **own, floor=None),
        "tsallis q=2 gap, floor -1": Tsallis(q=2.0, **own),
    }


MDPS = {"random, 6 states, 3 actions": random_mdp(0), "chain of 5, slip 0.2": chain(5, slip=0.2)}


def laws(mdp: TabularMDP, temperature: float = TEMPERATURE, scale: float = SCALE) -> dict[str, float]:
    """How far the gaps are from what the analysis says, largest deviation over all actions. Soft values have one fixed point; MVI(q)
    may have several, so that besides the point reached from zero the predicted one is tested: a sweep must leave it alone."""
    best = optimal(mdp)
    plain, top = gaps(best, mdp), best.amax(-1, keepdim=True)
    own = {"temperature": temperature, "scale": scale, "floor": None}
    munchausen, gap, logq = Munchausen(**own), Tsallis(**own), Tsallis(**own, term="logq")
    soft = gaps(iterate(Soft(temperature=(1 - scale) * temperature), mdp), mdp)
    widened, shifted = top - (top - best) / (1 - scale), best - scale * temperature * (best < top).double()
    return {
        "smallest gap*": plain.min().item(),
        "gap* needed": (1 - scale) * temperature,
        "munchausen, from zero: gaps - soft gaps / (1 - alpha)": far(gaps(iterate(munchausen, mdp), mdp), soft / (1 - scale)),
        "tsallis gap, from zero: gaps - gap* / (1 - alpha)": far(gaps(iterate(gap, mdp), mdp), plain / (1 - scale)),
        "tsallis gap, at the prediction: one sweep moves it by": moved(gap, mdp, widened),
        "tsallis logq, from zero: gaps - gap* - alpha tau": far(gaps(iterate(logq, mdp), mdp), plain + scale * temperature),
        "tsallis logq, at the prediction: one sweep moves it by": moved(logq, mdp, shifted),
    }


def far(one: Tensor, other: Tensor) -> float:
    return (one - other).abs().max().item()


def moved(backup, mdp: TabularMDP, q: Tensor) -> float:
    live = torch.from_numpy(~mdp.terminal)
    return far(iterate(backup, mdp, q, sweeps=1)[live], q[live])


COLUMNS = (
    "mean_gap", "ratio_min", "ratio_max", "added_min", "added_max", "value_error", "support", "greedy_is_optimal", "moved_by_last_sweep",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    settings = {"temperature": TEMPERATURE, "scale": SCALE, "discount": DISCOUNT, "sweeps": SWEEPS}
    print(", ".join(f"{name} {value:g}" for name, value in settings.items()))
    results: dict = {"settings": settings, "mdps": {}}
    for name, mdp in MDPS.items():
        rows, deviations = [compare(label, backup, mdp) for label, backup in backups().items()], laws(mdp)
        results["mdps"][name] = {"rows": rows, "laws": deviations}
        print(f"\n{name}\n\n| backup | " + " | ".join(COLUMNS) + " |\n|" + "---|" * (len(COLUMNS) + 1))
        for row in rows:
            print(f"| {row['backup']} | " + " | ".join(f"{row[column]:.6g}" for column in COLUMNS) + " |")
        print("\n" + "\n".join(f"{law}: {value:.3g}" for law, value in deviations.items()))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
