"""The edge of reach (Sims, Lu, Foerster, Teh, The Edge-of-Reach Problem in Offline Model-Based Reinforcement Learning, 2024): values that
short rollouts ask for and never correct grow without a limit, although the model is exact; RAVL's ensemble of critics does not follow.

    python -m benchmarks.edge_of_reach [--seeds 0 1 2] [--updates 20000]
    python -m benchmarks.edge_of_reach --table

A point in [-1, 1]² moves by a tenth of its action, r = -|s|, γ = 0.99, and targets have no entropy, so that no value is above 0; the
actor's loss has one, with α learned from 0.1. Data are states within 0.5 of the middle. The actor rolls out k steps of the true dynamics
from them, and learns from these steps alone: states first reached by the k-th are bootstrapped from, and never updated. Critics are those
of `agent=edac`: 2 without the term of diversity, or 10 with it. What is stored in benchmarks/results/edge_of_reach.json is not made again.

The rule, written before the runs: the problem *is shown* at a length k if two critics value a state at the edge above 0, which no policy
can earn, with each of the seeds 0, 1, 2; diversity *helps* there if ten critics do so with none of them and the return is no lower.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.learning import interval, keep, stored
from deeprl.learning.actor_critic import ActorCritic
from deeprl.learning.networks.critics import pair
from deeprl.noise import map_tensors
from deeprl.running.config.build import build_agent
from deeprl.running.config.compose import compose
from deeprl.running.session.complete import complete
from deeprl.running.training.learner import Learner
from deeprl.types import Batch, Spec

FILE = Path(__file__).parent / "results" / "edge_of_reach.json"
ARMS = {"N = 2": (2, 0.0), "N = 10, η = 1": (10, 1.0)}
"""Critics, and weight of their diversity"""
LENGTHS = (1, 5, 20)
SIZE, DISCOUNT, RADIUS = 256, 0.99, 0.5
POINT = Spec((2,), torch.float32, 0, 2)


def agent_of(critics: int, eta: float, seed: int) -> ActorCritic:
    words = [
        "agent=edac", "env=classic/pendulum", f"agent.ensemble={critics}", f"agent.auxiliary.eta={eta}", f"seed={seed}",
        "agent/temperature=actor_alone", "agent.temperature.value=0.1", "agent.torso.hidden=[64,64]", "agent.actor_torso.hidden=[64,64]",
    ]  # fmt: skip
    agent = build_agent(complete(*compose(words)[:2]), POINT)
    assert isinstance(agent, ActorCritic)
    return agent


def moved(state: Tensor, action: Tensor) -> Tensor:
    return (state + 0.1 * action).clamp(-1.0, 1.0)


def starts(count: int, generator: torch.Generator) -> Tensor:
    """States of the data, uniform in the disc, (count, 2)."""
    angle, radius = (torch.rand(count, generator=generator) for _ in range(2))
    return RADIUS * radius.sqrt().unsqueeze(1) * torch.stack([(2 * np.pi * angle).cos(), (2 * np.pi * angle).sin()], 1)


@torch.no_grad()
def rolled(agent: ActorCritic, length: int, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Steps of rollouts from the data's states: s, a, s', (length · count, 2) each, the last ones at the end."""
    state, found = starts(count, generator), []
    for _ in range(length):
        action, _ = agent.actor.sample(state, torch.randn(count, 2, generator=generator))
        after = moved(state, action)
        found.append((state, action, after))
        state = after
    s, a, then = (torch.cat(parts) for parts in zip(*found))
    return s, a, then


def batch_of(agent: ActorCritic, steps: tuple[Tensor, Tensor, Tensor], generator: torch.Generator) -> Batch:
    """Some of the steps."""
    chosen = torch.randint(len(steps[0]), (SIZE,), generator=generator)
    state, action, after = (part[chosen] for part in steps)
    ones, noise = torch.ones(SIZE), map_tensors(lambda tensor: tensor[0], agent.noise((1, SIZE), generator))
    count, no = ones.long(), torch.zeros(SIZE, dtype=torch.bool)
    return Batch(state, action, -state.norm(dim=1), DISCOUNT * ones, after, count, no, ~no, ones, count, noise, {})


@torch.no_grad()
def said(agent: ActorCritic, state: Tensor) -> Tensor:
    """Values of the policy's actions by each critic, (E, n)."""
    return agent.chain.online(pair(state, agent.actor(state))).mean().squeeze(-1)


def measured(arm: str, length: int, seed: int, updates: int) -> dict:
    began, agent = time.process_time(), agent_of(*ARMS[arm], seed)
    learner, generator = Learner(agent, lambda batch: batch), torch.Generator().manual_seed(seed)
    for _ in range(updates):
        learner.update(batch_of(agent, rolled(agent, length, SIZE, generator), generator))
    state, _, after = rolled(agent, length, 1000, generator)
    edge, within = said(agent, after[-1000:]), said(agent, state)
    position, total = starts(1000, generator), torch.zeros(1000)
    with torch.no_grad():
        for step in range(200):
            total = total - DISCOUNT**step * position.norm(dim=1)
            position = moved(position, agent.actor(position))
    return {
        "arm": arm, "length": length, "seed": seed, "updates": updates, "largest": round(edge.amin(0).max().item(), 2),
        "value": round(within.amin(0).mean().item(), 2), "return": round(total.mean().item(), 2),
        "spread_edge": round(edge.std(0).mean().item(), 3), "spread_within": round(within.std(0).mean().item(), 3),
        "processor_seconds": round(time.process_time() - began, 1),
    }  # fmt: skip


def table(lines: list[dict]) -> str:
    """Means over seeds with Student's 95 % interval."""
    keys = {"largest": "largest value at the edge", "value": "value within", "return": "return", "spread_edge": "spread at the edge"}
    rows = [f"| k | critics | {' | '.join(keys.values())} |", "|---" * (len(keys) + 2) + "|"]
    for length in LENGTHS:
        for arm in ARMS:
            own = [line for line in lines if (line["arm"], line["length"]) == (arm, length)]
            columns = [[line[key] for line in own] for key in keys]
            cells = [f"{np.mean(values):.2f} ± {interval(values):.2f}" if values else "" for values in columns]
            rows.append(f"| {length} | {arm} | {' | '.join(cells)} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--updates", type=int, default=20_000)
    parser.add_argument("--table", action="store_true", help="of what is stored")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for seed in () if options.table else options.seeds:
        for length in LENGTHS:
            for arm in ARMS:
                own = {"arm": arm, "length": length, "seed": seed, "updates": options.updates}
                if not any(own.items() <= line.items() for line in stored(FILE)):
                    keep(measured(arm, length, seed, options.updates), FILE)
    print(table(stored(FILE)))


if __name__ == "__main__":
    main()
