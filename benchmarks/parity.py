"""Compiled steps against the oracle, for every agent: how far the weights are apart after twenty updates, relative to how far they
moved. Compiles everything, which takes about half a minute an agent; needs a C++ compiler.

    python -m benchmarks.parity [agent ...]
"""

from __future__ import annotations

import sys
import time

import torch

from benchmarks.composed import data_of
from deeprl.running.accelerate.modes import apply
from deeprl.running.config.build import agent_actions, build_agent
from deeprl.running.config.compose import compose
from deeprl.running.config.dry_run import made_up_batch
from deeprl.running.config.instantiate import instantiate
from deeprl.running.config.menu import options
from deeprl.running.session.complete import complete
from deeprl.running.training.learner import CompiledLearner, Learner

TOYS = {"discrete": "toy/chain", "continuous": "classic/pendulum"}


def twenty(name: str, mode: str) -> tuple[torch.Tensor, torch.Tensor]:
    """All parameters before and after, one vector each."""
    kind = agent_actions(compose([f"agent={name}", *data_of(name)])[0]["agent"])
    config, user, _ = compose([f"agent={name}", f"env={TOYS[kind]}", *data_of(name)])
    config = complete(config, user)
    spec = instantiate(config["env"], "env").spec()
    agent = build_agent(config, spec)
    apply(agent, mode)
    learner = (CompiledLearner if mode == "compiled" else Learner)(agent, lambda batch: batch)
    size = (4, 7) if "sequences" in agent.needs else (7,)
    before = torch.cat([p.flatten() for p in agent.parameters()]).clone()
    for step in range(1, 21):
        learner.update(made_up_batch(agent, spec, size, seed=step))
        agent.tick(step - 1, step)
    return before, torch.cat([p.flatten() for p in agent.parameters()])


def main() -> None:
    torch.set_num_threads(1)
    print(f"{'':18}{'fast':>10}{'compiled':>10}{'seconds':>9}")
    worst = 0.0
    for name in sys.argv[1:] or [name for name in options("agent") if "/" not in name]:  # the lab makes no updates
        start, oracle = twenty(name, "reference")
        began, apart = time.perf_counter(), []
        for mode in ("fast", "compiled"):
            apart.append(float((twenty(name, mode)[1] - oracle).norm() / (oracle - start).norm()))
        worst = max(worst, *apart)
        print(f"{name:18}{apart[0]:10.1e}{apart[1]:10.1e}{time.perf_counter() - began:9.1f}", flush=True)
    print(f"largest: {worst:.1e}")


if __name__ == "__main__":
    main()
