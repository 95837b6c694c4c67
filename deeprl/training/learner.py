"""One gradient update: what was drawn becomes a batch; of each objective that is due, loss, gradient and optimizer; then what follows.

The two learners differ in how a step is computed: `Learner` with autograd, `CompiledLearner` by one compiled function of each objective.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from deeprl.accelerate.compiled import CompiledAnswer, CompiledStep
from deeprl.agent import Agent
from deeprl.errors import NotFinite
from deeprl.optim.finite import Watch
from deeprl.types import Acted, Batch, Learned


def gradient(agent: Agent, name: str, batch: Batch) -> tuple[Sequence[Tensor], Learned]:
    """The gradient of one objective with respect to what it trains, in the order of its parameters.

    Parameters require no gradient at rest: only what is trained is switched on, so that a frozen critic costs no weight gradients."""
    parameters = agent.objectives[name].parameters
    for parameter in parameters:
        parameter.requires_grad_(True)
    try:
        with torch.enable_grad():
            loss, learned = agent(name, batch)
            return torch.autograd.grad(loss, parameters), learned
    finally:
        for parameter in parameters:
            parameter.requires_grad_(False)


class Learner:
    """Updates an agent.

    Args:
        agent: whose parameters are trained.
        batch: makes a `Batch` of what the replay has drawn; a pure function of tensors, `Replay.batch`.
    """

    def __init__(self, agent: Agent, batch: Callable[[Any], Batch]):
        self.agent, self.batch = agent, batch
        self.watch = Watch(next(agent.parameters()).device)

    def update(self, drawn: Any) -> Learned:
        """One optimizer step of every objective that is due, in order; then whatever follows the parameters.

        Returns what the main objective learned, with the metrics of all.

        Raises:
            NotFinite: on a CPU, a loss or a gradient is NaN or Inf; the parameters of this objective were not changed.
        """
        agent = self.agent
        agent.clock.updates += 1
        due = agent.due(agent.clock.updates)
        batch = self.prepared(drawn)
        main: Learned | None = None
        metrics: dict[str, Tensor] = {}
        for name in due:
            if name not in agent.objectives:
                continue
            try:
                learned, norm = self.step(name, batch)
            except NotFinite as error:
                error.objective = name
                raise
            metrics.update(learned.metrics)
            metrics[f"train/{name}_grad_norm"] = norm
            if name == agent.main:
                main = learned
        agent.follow(due)
        assert main is not None
        return Learned(main.error, metrics)

    def prepared(self, drawn: Any) -> Any:
        """What `step` takes."""
        return self.batch(drawn)

    def step(self, name: str, batch: Any) -> tuple[Learned, Tensor]:
        """One optimizer step of one objective. Returns what it learned, and () the norm of its gradient before the
        optimizer clips it."""
        gradients, learned = gradient(self.agent, name, batch)
        self.watch(learned.error.sum(), "its error")  # may be infinite where the gradient is not, as Huber's
        return learned, self.agent.objectives[name].optimizer.step(gradients, self.agent.step, self.watch)

    def act(self, obs: Tensor, first: Tensor, memory: dict, step: int, noise: dict) -> Acted:
        """The agent's actions while data is collected, see `Agent.act`."""
        return self.agent.act(obs, first, memory, step, noise, explore=True, answer=self.answer)

    def answer(self, obs: Tensor, noise: Any) -> Tensor:
        """See `Agent.answer`."""
        return self.agent.answer(obs, noise)


class CompiledLearner(Learner):
    """A learner whose steps and answers are compiled when they are first needed, for the layout of their arguments.

    A step has the arithmetic of `batch` inside, so it takes what was drawn. The float32 product must be the same at every call.

    Args:
        failed: called with the error if something does not compile; from then on the learner computes as `Learner`. None raises the error.
        backend: "inductor", or "eager", which only traces: for tests without a compiler.
    """

    def __init__(
        self,
        agent: Agent,
        batch: Callable[[Any], Batch],
        failed: Callable[[Exception], object] | None = None,
        backend: str = "inductor",
    ):
        super().__init__(agent, batch)
        self.failed, self.backend, self.broken = failed, backend, False
        self.steps: dict[str, list[CompiledStep]] = {name: [] for name in agent.objectives}
        self.answers: CompiledAnswer | None = None

    def prepared(self, drawn: Any) -> Any:
        return self.batch(drawn) if self.broken else drawn

    def step(self, name: str, batch: Any) -> tuple[Learned, Tensor]:
        compiled = None if self.broken else self.step_for(name, batch)
        if compiled is None:
            return super().step(name, self.batch(batch))
        check, norm, learned = compiled(batch, self.agent.step)
        if not self.watch.immediate:
            self.watch(check, "")
        elif not math.isfinite(check.item()):
            self.watch(learned.error.sum(), "its error")
            self.watch(norm, "the norm of its gradient")
            self.watch(check, "the norm of all its gradients")
        compiled.count()
        return learned, norm

    def step_for(self, name: str, batch: Any) -> CompiledStep | None:
        """The compiled step of one objective for batches laid out like this one; None if it does not compile."""
        for compiled in self.steps[name]:
            if compiled.takes(batch):
                return compiled
        try:
            compiled = CompiledStep(self.agent, name, self.batch, batch, self.watch, self.backend)
        except Exception as error:  # a broken compiler shows itself in many ways; an error of the agent's own comes again without it
            self.give_up(error)
            return None
        self.steps[name].append(compiled)
        return compiled

    def answer(self, obs: Tensor, noise: Any) -> Tensor:
        if self.answers is None and not self.broken:
            try:
                self.answers = CompiledAnswer(self.agent, obs, noise, self.backend)
            except Exception as error:
                self.give_up(error)
        if self.broken or self.answers is None or not self.answers.takes(obs, noise):
            return super().answer(obs, noise)
        return self.answers(obs, noise)

    def give_up(self, error: Exception) -> None:
        """Compute as `Learner` from now on: a run has one mode."""
        if self.failed is None:
            raise error
        self.broken = True
        self.failed(error)
