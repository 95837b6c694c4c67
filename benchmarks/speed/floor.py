"""A contestant that only multiplies: the products and convolutions of one update of an agent, and nothing else.

    python -m benchmarks.speed.floor update|loop|rollouts WARM_UP [overrides]

With `loop` a unit is an environment step: the environment takes a random action, and as many updates' products follow as the run makes
updates a step. No loop with these products and this environment can be faster; nobody acts, stores, samples, or steps an optimizer.

With `rollouts` it is that of an agent that learns from rollouts: the products of acting at every step, those of the values of a whole
rollout once, and those of its updates. A tensor world steps compiled.

They are read off a plain update of that very agent, forward and backward, and done again with the same shapes, strides and float32
product into memory at hand. A stack is done as one batched product, or one by one, transposed or not, whichever is fastest.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.speed.gate import Gate
from benchmarks.speed.ours import assembled, batches
from deeprl.running.accelerate.compiled import CompiledFunction
from deeprl.running.training.device_collector import DeviceCollector, write_
from deeprl.running.training.trainer import Trainer

aten = torch.ops.aten
PRODUCTS = {aten.mm.default: (0, 1), aten.addmm.default: (1, 2), aten.bmm.default: (0, 1), aten.baddbmm.default: (1, 2)}
CONVOLUTIONS = (aten.convolution.default, aten.convolution_backward.default)


class Record(TorchDispatchMode):
    """Every product and convolution that happens inside, as a function that does it again."""

    def __init__(self):
        super().__init__()
        self.work: list[list[Callable[[], object]]] = []
        """For each, the ways to do it."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if function in PRODUCTS:
            a, b = (args[i].detach().clone(memory_format=torch.preserve_format) for i in PRODUCTS[function])
            self.work.append(ways(a, b))
        elif function in CONVOLUTIONS:
            kept = [x.detach().clone(memory_format=torch.preserve_format) if isinstance(x, torch.Tensor) else x for x in args]
            self.work.append([lambda: function(*kept)])
        return result


def ways(a: torch.Tensor, b: torch.Tensor) -> list[Callable[[], object]]:
    """(m, k) and (k, n), or stacks of them."""
    if a.dim() == 2:
        out = torch.empty(a.shape[0], b.shape[1])
        return [lambda: torch.mm(a, b, out=out)]
    stack = torch.empty(a.shape[0], a.shape[1], b.shape[2])

    def singly() -> None:
        for x, y, z in zip(a, b, stack):
            torch.mm(x, y, out=z)

    turned = torch.empty(a.shape[0], b.shape[2], a.shape[1])

    def transposed() -> None:
        for x, y, z in zip(a, b, turned):
            torch.mm(y.mT, x.mT, out=z)

    return [lambda: torch.bmm(a, b, out=stack), singly, transposed]


def fastest(choices: list[Callable[[], object]], rounds: int = 30) -> Callable[[], object]:
    if len(choices) == 1:
        return choices[0]
    best = [float("inf")] * len(choices)
    for _ in range(rounds):
        for i, choice in enumerate(choices):
            start = time.perf_counter()
            choice()
            best[i] = min(best[i], time.perf_counter() - start)
    return choices[best.index(min(best))]


def recorded(call: Callable[[], object]) -> list[Callable[[], object]]:
    with Record() as record:
        call()
    return [fastest(choices) for choices in record.work]


def rollouts(warm_up: int, overrides: list[str]) -> None:
    trainer = assembled([*overrides, "accelerate=fast"], 0)
    source, collector, num = trainer.source, trainer.collector, trainer.envs.num
    random, gate = np.random.default_rng(0), Gate(warm_up)
    acting = recorded(lambda: collector.tick(0))
    for tick in range(1, source.length):
        collector.tick(tick * num)
    drawn: list = []
    with trainer.guard.matmul_precision:
        preparing = recorded(lambda: drawn.append(next(source.updates(0, num))))
        drawn[0] = drawn[0]._replace(noise=trainer.update_noise.next())
        updating = recorded(lambda: trainer.guard.learner.update(drawn[0]))
        step = stepped(trainer, random)
        while True:
            for _ in range(source.length):
                step()
                for product in acting:
                    product()
                gate.passed(num)
            for product in itertools.chain(preparing, updating * (source.epochs * source.minibatches)):
                product()


def stepped(trainer: Trainer, random: np.random.Generator) -> Callable[[], object]:
    """A step of all environments."""
    if not isinstance(trainer.collector, DeviceCollector):
        trainer.envs.reset()
        return lambda: alone(trainer, random)
    collector, action = trainer.collector, trainer.source.stored["action"][0]
    state = collector.state

    def step(state, action):
        envs, happened = collector.envs.step(state["envs"], action)
        write_(state, {"envs": envs, "obs": happened.obs})
        return {}

    compiled = CompiledFunction(trainer.agent, step, state, action)
    return lambda: compiled(state, action)


def main() -> None:
    kind, warm_up, overrides = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    if kind == "rollouts":
        rollouts(warm_up, overrides)
    trainer = assembled([*overrides, "accelerate=fast"], 2000)
    period = getattr(trainer.agent, "actor_period", 1)
    lists, random = [], np.random.default_rng(0)
    with trainer.guard.matmul_precision:
        for batch in batches(trainer, period):
            with Record() as record:
                trainer.guard.learner.update(batch)
            lists.append([fastest(choices) for choices in record.work])
        gate = Gate(warm_up)
        for work in itertools.cycle(lists):
            if kind == "loop":
                for _ in range(round(1 / trainer.config["replay"]["ratio"])):
                    alone(trainer, random)
                    gate.passed()
            for product in work:
                product()
            if kind == "update":
                gate.passed()


def alone(trainer: Trainer, random: np.random.Generator) -> None:
    """One step of every environment, without what we put around it."""
    backend, spec = trainer.envs.backend, trainer.envs.spec
    if spec.num_actions:
        action = random.integers(spec.num_actions, size=backend.num)
    else:
        action = random.uniform(-1.0, 1.0, (backend.num, spec.action_dim)).astype(np.float32)
    backend.step(backend.actions.to_env(action), [None] * backend.num)


if __name__ == "__main__":
    main()
