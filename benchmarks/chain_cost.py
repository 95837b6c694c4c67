"""What a chain of K Bellman iterations costs beside the agent that it extends: i-DQN (K = 5) beside DQN, i-IQN (K = 3) beside IQN; and
what its successors cost, iS-DQN (K = 5), and DQN without target network.

python -m benchmarks.chain_cost [--rounds 5] [--updates 100] [--steps 400] [--json FILE] [overrides]

On MinAtar, with shared or separate torsos, in two forms of the same mathematics (their losses are compared first):

    batched   ours: K networks are entries of stacked tensors, one product a layer
    loop      K networks of one entry, one after the other; what they share is evaluated once

`update` is the agent alone on batches at hand; `loop` is the whole training loop (environment, acting, replay, one update in four steps),
in which the loop form has the batched one's acting and target moves. Variants take turns, in an order that moves on each round; shown are
medians of the milliseconds and of the ratios within a round. Multiply-adds are counted over forward and backward passes of one update,
parameters over all networks, those of the target side included.

The authors of i-QN report ratios of whole trainings on a GPU: 1.31 for i-DQN and 1.52 for i-IQN.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed.ours import assembled, batches
from deeprl.learning.networks.value_network import Networks, ValueNetwork
from deeprl.learning.objective import Objective
from deeprl.learning.value_agent import ValueAgent
from deeprl.learning.values.losses import average
from deeprl.learning.values.view import View
from deeprl.running.accelerate import modes as accelerate
from deeprl.running.config.instantiate import instantiate
from deeprl.running.training.learner import gradient
from deeprl.running.training.trainer import Trainer
from deeprl.system.machine import this_cpu
from deeprl.types import Batch, Term

FAMILIES = {"dqn": ("idqn", 5), "iqn": ("iiqn", 3)}
"""agent -> its chain, K"""
SUCCESSORS = {"dqn": {"is_dqn K=5": ["agent=is_dqn", "agent.chain.length=5"], "target_free_dqn": ["agent=target_free_dqn"]}, "iqn": {}}
"""agent -> other chains, only in our form"""
FILLED = 2000
SETTINGS = ("env=minatar/breakout", "replay.learning_starts=1000", "replay.capacity=5000", "accelerate=fast", "runtime.threads=1")


class Once(nn.Module):
    """What several heads share: evaluated for the first that asks, remembered for the others."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module
        self.said: list[tuple[tuple[Tensor, ...], Tensor]] = []

    def forward(self, *inputs: Tensor) -> Tensor:
        for before, answer in self.said:
            if before[0] is inputs[0] and all(map(torch.equal, before[1:], inputs[1:])):
                return answer
        answer = self.module(*inputs)
        self.said.append((inputs, answer))
        return answer


class Loop(nn.Module):
    """The networks of an agent's chain, taken out of their stacks."""

    def __init__(self, agent: ValueAgent):
        super().__init__()
        self.memories: list[Once] = []
        self.online = self.taken(agent, agent.chain.online)
        self.target = self.taken(agent, agent.chain.target)
        accelerate.apply(self, "fast")

    def taken(self, agent: ValueAgent, stacked: ValueNetwork) -> nn.ModuleList:
        length = agent.chain.length
        torsos = next(stacked.torso.parameters()).shape[0]
        reads = stacked.index.tolist() if stacked.index is not None else [0] * length if torsos == 1 else list(range(length))
        build = Networks(agent.spec, agent.torso, 0).chained
        networks = [build(agent.head, agent.head.share, lambda *_: None, "online", 1, 1) for _ in range(length)]
        for k, (network, torso) in enumerate(zip(networks, reads)):
            fill(network.head, stacked.head, k)
            first = reads.index(torso)
            if first < k:
                network.torso, network.fractions = networks[first].torso, networks[first].fractions
                continue
            fill(network.torso, stacked.torso, torso)
            network.torso = self.remembered(network.torso)
            if network.fractions is not None:
                assert stacked.fractions is not None
                fill(network.fractions, stacked.fractions, torso)
                network.fractions = self.remembered(network.fractions)
        return nn.ModuleList(networks)

    def remembered(self, module: nn.Module) -> Once:
        self.memories.append(Once(module))
        return self.memories[-1]


def fill(single: nn.Module, stacked: nn.Module, k: int) -> None:
    """Entry k of every parameter."""
    for parameter, stack in zip(single.parameters(), stacked.parameters()):
        parameter.copy_(stack[k : k + 1])


def loop_loss(agent: ValueAgent, loop: Loop) -> Callable[[Batch], Term]:
    """`ValueAgent.loss` of a plain chain, one iteration after the other."""

    def loss(batch: Batch) -> Term:
        batch = agent.normalized(batch)
        losses, errors, values = [], [], []
        for online, target in zip(loop.online, loop.target):
            ours, theirs = View(online, batch, "online"), View(target, batch, "target")
            with torch.no_grad():
                returns = agent.backup(ours, theirs, batch)
            chosen = ours.now.at(batch.action)
            one, error = chosen.loss(returns)  # (1, B)
            losses.append(one)
            errors.append(error)
            values.append(chosen.mean())
        for memory in loop.memories:
            memory.said.clear()
        every = torch.cat(losses)  # (K, B)
        total = agent.chain.combine(average(batch.weight * every, batch.valid))
        return Term(total, {"train/loss": every, "train/q_values": torch.cat(values)}, error=torch.cat(errors).mean(0))

    return loss


class Variant:
    """A trainer that has collected a little, with the batches that its updates are measured on.

    Args:
        form: `batched` or `loop`.
        words: overrides.
    """

    def __init__(self, name: str, form: str, words: list[str]):
        self.name = name
        self.trainer: Trainer = assembled(words, FILLED)
        agent = self.trainer.agent
        assert isinstance(agent, ValueAgent)
        self.agent, self.learner, self.at_hand = agent, self.trainer.guard.learner, batches(self.trainer, 8)
        self.step = FILLED
        if form == "loop":
            batch = self.learner.to_batch(self.at_hand[0])
            batched = float(agent.objectives["value"].loss(batch).loss)
            loop = Loop(agent)
            parameters = list(loop.online.parameters())
            optimizer = instantiate(self.trainer.config["agent"]["optimizer"], "agent.optimizer")
            objective = Objective(loop_loss(agent, loop), parameters, optimizer.build(parameters))
            looped = float(objective.loss(batch).loss)
            assert abs(looped - batched) <= 1e-5 * max(1.0, abs(batched)), f"{name}: the loss is {looped}, and {batched} batched"
            agent.objectives["value"] = objective
        self.multiply_adds = self.counted()
        self.endless = itertools.cycle(self.at_hand)
        self.seconds: dict[str, list[float]] = {"update": [], "loop": []}

    def counted(self) -> float:
        """Multiply-adds of one update's passes."""
        with FlopCounterMode(display=False) as counter:
            gradient(self.agent, "value", self.learner.to_batch(self.at_hand[0]))
        return counter.get_total_flops() / 2

    def updates(self, count: int) -> float:
        """Seconds for one."""
        began = time.perf_counter()
        with self.trainer.guard.matmul_precision:
            for _ in range(count):
                self.learner.update(next(self.endless))
        return (time.perf_counter() - began) / count

    def steps(self, count: int) -> float:
        """Seconds for one step of the whole loop."""
        trainer, num = self.trainer, self.trainer.envs.num
        began, stop = time.perf_counter(), self.step + count
        while self.step < stop:
            before, self.step = self.step, self.step + num
            trainer.collector.tick(before)
            for drawn in trainer.source.updates(before, self.step):
                trainer.learn(drawn)
            self.agent.tick(before, self.step)
        return (time.perf_counter() - began) / count

    def measure(self, updates: int, steps: int, keep: bool) -> None:
        update, loop = self.updates(updates), self.steps(steps)
        if keep:
            self.seconds["update"].append(update)
            self.seconds["loop"].append(loop)


def variants(overrides: list[str]) -> dict[str, list[Variant]]:
    """baseline -> itself, then its chains."""
    found = {}
    for plain, (chained, length) in FAMILIES.items():
        found[plain] = [Variant(plain, "batched", [f"agent={plain}", *SETTINGS, *overrides])]
        for torso, form in itertools.product(("shared", "separate"), ("batched", "loop")):
            words = [f"agent={chained}", f"agent.chain.length={length}", f"agent.chain.torso={torso}", *SETTINGS, *overrides]
            found[plain].append(Variant(f"{chained} K={length} {torso} {form}", form, words))
        for name, words in SUCCESSORS[plain].items():
            found[plain].append(Variant(name, "batched", [*words, *SETTINGS, *overrides]))
    return found


def row(variant: Variant, base: Variant) -> dict:
    line: dict = {"variant": variant.name, "baseline": base.name, "multiply_adds": variant.multiply_adds}
    line["parameters"] = sum(parameter.numel() for parameter in variant.agent.parameters())
    line["multiply_adds_ratio"] = variant.multiply_adds / base.multiply_adds
    for kind, seconds in variant.seconds.items():
        line[f"{kind}_ms"] = 1e3 * statistics.median(seconds)
        line[f"{kind}_ratio"] = statistics.median(ours / theirs for ours, theirs in zip(seconds, base.seconds[kind]))
    return line


def table(rows: list[dict]) -> str:
    lines = ["| | parameters | multiply-adds, millions | ratio | update, ms | ratio | loop step, ms | ratio |", "|---" * 8 + "|"]
    for each in rows:
        counted, update, loop = each["multiply_adds"] / 1e6, each["update_ms"], each["loop_ms"]
        lines.append(
            f"| {each['variant']} | {each['parameters']:,} "
            f"| {counted:.1f} | {each['multiply_adds_ratio']:.2f} | {update:.3f} | {each['update_ratio']:.2f} "
            f"| {loop:.3f} | {each['loop_ratio']:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("rounds", 5), ("updates", 100), ("steps", 400)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--json", type=Path)
    options, overrides = parser.parse_known_args()
    families = variants(overrides)
    everyone = [variant for family in families.values() for variant in family]
    for turn in range(-1, options.rounds):  # the first one warms up
        start = turn % len(everyone)
        for variant in everyone[start:] + everyone[:start]:
            variant.measure(options.updates, options.steps, keep=turn >= 0)
    rows = [row(variant, family[0]) for family in families.values() for variant in family]
    print(table(rows))
    if options.json:
        about = {"cpu": this_cpu().vendor, "torch": torch.__version__, "threads": torch.get_num_threads()}
        options.json.write_text(json.dumps({**about, **vars(options), "json": None, "overrides": overrides, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
