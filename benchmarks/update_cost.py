"""Cost of one update of presets: multiply-adds of its matrix products, and processor time, with the sizes and batches of their settings.

    python -m benchmarks.update_cost [agent ...] [--env mujoco/half_cheetah] [--rounds 8]

One thread, mode `fast`, rounds interleaved, the best of all rounds. A round is as many updates as the longest period of the agent. Time is
that of this process, because the machine may have other work.
"""

from __future__ import annotations

import argparse
import json
import time

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.recipes import RECIPES
from deeprl.running.accelerate.modes import apply
from deeprl.running.config.build import build_agent
from deeprl.running.config.compose import compose
from deeprl.running.config.dry_run import made_up_batch
from deeprl.running.config.instantiate import instantiate
from deeprl.running.session.complete import complete
from deeprl.running.training.learner import Learner


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    named = "of continuous actions, or recipes of benchmarks.recipes; the first one is the unit"
    parser.add_argument("agents", nargs="*", default=["sac", "flash_sac", "bro"], help=named)
    parser.add_argument("--env", default="mujoco/half_cheetah")
    parser.add_argument("--rounds", type=int, default=8)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    runs, found = {}, {}
    for name in given.agents:
        composed, user, _ = compose([*RECIPES.get(name, f"agent={name}").split(), f"env={given.env}"])
        config = complete(composed, user)
        spec, size = instantiate(config["env"], "env").spec(), config["replay"]["batch_size"]
        agent = build_agent(config, spec)
        apply(agent, "fast")
        learner, updates = Learner(agent, lambda batch: batch), max(agent.actor_period, agent.target_period)
        batches = [made_up_batch(agent, spec, (size,), seed=seed) for seed in range(updates)]
        runs[name] = (learner, batches)
        with FlopCounterMode(display=False) as counter:
            for batch in batches:
                learner.update(batch)
        found[name] = {"batch": size, "multiply_adds": counter.get_total_flops() / 2 / updates, "ms": float("inf")}
    for _ in range(given.rounds):
        for name, (learner, batches) in runs.items():
            start = time.process_time()
            for batch in batches:
                learner.update(batch)
            found[name]["ms"] = min(found[name]["ms"], 1000 * (time.process_time() - start) / len(batches))
    unit = found[given.agents[0]]
    for name, cost in found.items():
        ratios = {f"{key}_ratio": cost[key] / unit[key] for key in ("multiply_adds", "ms")}
        print(json.dumps({"agent": name, **cost, **ratios}))


if __name__ == "__main__":
    main()
