"""Does weighting by the inverse of the learned variance help where noise differs? Two small problems with known answers, learned by the
real `ValueAgent` with `InverseVariance`, with uniform weights, and with the true inverse variances (the oracle).

bandit      two actions over one shared linear feature of 4-dimensional contexts, reward noise 1 and 10, discount 0
linear_mdp  24 states as mixtures of 4, two actions, rewards and transitions linear in the mixture (the setting of the paper's theory),
            reward noise 0.3 in half of the states and 4 in the others, which a bit of the observation tells; discount 0.9. (A first
            version had noise that was a function of the mixture; on four seeds neither the learned weights nor the oracle's helped
            there. So the figures of the documentation are of other seeds, 100 to 139.)

Each seed draws a problem and one fixed set of transitions; all arms see the same ones and start from the same weights. The error is the
root mean square of Q − Q* over states and actions. `equal` is the same problem with the same total noise, equal everywhere.

python -m benchmarks.tabular_dvw [--seeds 20] [--first 0] [--updates 600] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.learning import interval
from deeprl.agents.dvw import InverseVariance
from deeprl.learning.backups.bellman import Max
from deeprl.learning.networks.heads import Scalar
from deeprl.learning.networks.mlp import MLP
from deeprl.learning.networks.torsos import TorsoChoice
from deeprl.learning.optim.adam import Adam
from deeprl.learning.parts.chains import Single
from deeprl.learning.parts.choices import ValueChoices
from deeprl.learning.parts.exploration import EpsilonGreedy
from deeprl.learning.parts.weighting import Weighting
from deeprl.learning.transforms.observations import Plain
from deeprl.learning.transforms.rewards import Raw
from deeprl.learning.value_agent import ValueAgent
from deeprl.running.training.learner import Learner
from deeprl.schedules import Linear
from deeprl.types import Batch, Spec

ARMS = ("uniform", "dvw", "oracle")


@dataclass(frozen=True)
class LinearTorso(TorsoChoice):
    """Features are linear in the observation."""

    width: int
    init: str = "torch"
    head_hidden: tuple[int, ...] = ()

    def build(self, spec: Spec, n: int) -> MLP:
        return MLP(n, (spec.obs_shape[0], self.width), activate_last=False)


class Oracle(Weighting):
    """True inverse variances, mean one, carried in batch.extra."""

    def forward(self, online, target, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        return batch.extra["oracle"], {}


@dataclass(frozen=True)
class Problem:
    obs: np.ndarray
    """(S, d) what stands for each state"""
    values: np.ndarray
    """(S, A) Q*"""
    batch: Batch
    width: int
    """of the shared features"""


def rows(obs, state, action, reward, discount, after, variance) -> Batch:
    def floats(value):
        return torch.as_tensor(np.asarray(value), dtype=torch.float32)

    size = len(state)
    ones, true = torch.ones(size), torch.ones(size, dtype=torch.bool)
    weight = floats(1.0 / variance / np.mean(1.0 / variance))
    return Batch(
        floats(obs[state]), torch.from_numpy(action), floats(reward), discount * ones, floats(obs[after]), ones.long(), ~true, true,
        ones, ones.long(), {}, {"oracle": weight},
    )  # fmt: skip


def bandit(seed: int, equal: bool, size: int = 512) -> Problem:
    rng = np.random.default_rng(seed)
    obs = rng.standard_normal((24, 4))
    values = np.outer(obs @ rng.standard_normal(4), rng.choice([-1, 1], 2) * rng.uniform(0.5, 1.5, 2))  # (S, 2)
    state, action = rng.integers(24, size=size), rng.integers(2, size=size)
    deviation = np.array([1.0, 10.0])
    deviation = np.full(2, np.sqrt((deviation**2).mean())) if equal else deviation
    reward = values[state, action] + deviation[action] * rng.standard_normal(size)
    return Problem(obs, values, rows(obs, state, action, reward, 0.0, state, deviation[action] ** 2), 1)


def linear_mdp(seed: int, equal: bool, size: int = 2048, discount: float = 0.9) -> Problem:
    rng = np.random.default_rng(seed)
    states, cores, actions = 24, 4, 2
    obs = rng.dirichlet(np.full(cores, 0.5), states)  # (S, d)
    going = rng.dirichlet(np.full(states, 0.2), (cores, actions))  # (d, A, S)
    paid = rng.standard_normal((cores, actions))
    transition, mean = np.einsum("sd,dat->sat", obs, going), obs @ paid
    noisy = rng.permutation(states) % 2  # visible, and without meaning for the mean
    deviation = np.where(noisy, 4.0, 0.3)[:, None].repeat(actions, 1)  # (S, A)
    if equal:
        deviation = np.full_like(deviation, np.sqrt((deviation**2).mean()))
    values = np.zeros((states, actions))
    for _ in range(500):
        values = mean + discount * transition @ values.max(-1)
    best = values.max(-1)
    state, action = rng.integers(states, size=size), rng.integers(actions, size=size)
    after = np.array([rng.choice(states, p=transition[s, a]) for s, a in zip(state, action)])
    reward = mean[state, action] + deviation[state, action] * rng.standard_normal(size)
    spread = deviation**2 + discount**2 * (transition @ best**2 - (transition @ best) ** 2)
    seen = np.concatenate([obs, noisy[:, None]], 1)
    return Problem(seen, values, rows(seen, state, action, reward, discount, after, spread[state, action]), cores + 1)


PROBLEMS = {"bandit": bandit, "linear_mdp": linear_mdp}


def learn(problem: Problem, arm: str, seed: int, updates: int) -> float:
    """Full-batch updates with a step size that falls to zero; the error of what was learned."""
    actions = problem.values.shape[1]
    weighting = {"uniform": Weighting, "dvw": InverseVariance, "oracle": Oracle}[arm]
    optimizer = Adam(lr=0.03, schedule=Linear(start=1.0, end=0.0, duration=updates))
    agent = ValueAgent(
        spec=Spec((problem.obs.shape[1],), torch.float32, actions, 0), seed=seed, backup=Max(),
        chain=partial(Single, target_update_period=10), rewards=Raw, normalize=Plain, explore=EpsilonGreedy(),
        network=ValueChoices(torso=LinearTorso(problem.width), head=Scalar(), optimizer=optimizer, weighting=weighting),
    )  # fmt: skip
    learner = Learner(agent, lambda batch: batch)
    for step in range(updates):
        learner.update(problem.batch)
        agent.tick(step, step + 1)
    found = agent.chain.online(torch.as_tensor(problem.obs, dtype=torch.float32)).mean()[0].numpy()
    return float(np.sqrt(np.mean((found - problem.values) ** 2)))


def compare(name: str, equal: bool, seeds: Iterable[int], updates: int) -> dict[str, list[float]]:
    """Errors of every arm, one for each seed."""
    errors: dict[str, list[float]] = {arm: [] for arm in ARMS}
    for seed in seeds:
        problem = PROBLEMS[name](seed, equal)
        for arm in ARMS:
            errors[arm].append(learn(problem, arm, seed, updates))
    return errors


def summary(errors: dict[str, list[float]]) -> dict:
    """Means, standard errors, and in how many seeds an arm beats uniform weights."""
    uniform = np.array(errors["uniform"])
    return {
        arm: {
            "mean": float(np.mean(each)),
            "standard_error": float(np.std(each, ddof=1) / np.sqrt(len(each))),
            "better_than_uniform": int((np.array(each) < uniform).sum()),
        }
        for arm, each in errors.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--updates", type=int, default=600)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    results: dict[str, dict] = {}
    print(f"{'problem':24}{'arm':10}{'error':>10}{'± s.e.':>10}   better than uniform, of {options.seeds}")
    for name in PROBLEMS:
        for equal in (False, True):
            label = f"{name}, equal" if equal else name
            errors = compare(name, equal, range(options.first, options.first + options.seeds), options.updates)
            results[label] = {"errors": errors, **summary(errors)}
            for arm in ARMS:
                found = results[label][arm]
                print(
                    f"{label:24}{arm:10}{found['mean']:>10.3f}{found['standard_error']:>10.3f}   {found['better_than_uniform']}", flush=True
                )
            gain = [plain - weighted for plain, weighted in zip(errors["uniform"], errors["dvw"])]
            print(f"{label:24}{'uniform less dvw':16} {np.mean(gain):.3f} ± {interval(gain):.3f} (95 %)", flush=True)
    if options.json:
        options.json.write_text(
            json.dumps({"seeds": options.seeds, "first": options.first, "updates": options.updates, "problems": results}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
