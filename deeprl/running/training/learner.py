"""One gradient update: the drawn rows become a batch; every due objective computes its loss and its gradient, updates its parameters and
projects those that obey a constraint; then the target networks follow.

The two learners differ in how an objective's update is computed: `Learner` with autograd, `CompiledLearner` by one compiled function of
each objective.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from deeprl.errors import NotFinite
from deeprl.learning.agent import Agent
from deeprl.learning.optim.differentiated import differentiated
from deeprl.learning.optim.finite import Watch
from deeprl.replay.gather import Sample
from deeprl.running.accelerate.compiled import CompiledFunction, CompiledInference, CompiledStep
from deeprl.system.ranks import ALONE, Ranks
from deeprl.types import AgentStep, Batch, NetworkNoise, Report


def gradient(agent: Agent, name: str, batch: Batch) -> tuple[Sequence[Tensor], Report]:
    """Gradient of one objective with respect to its parameters, in their order, and its `Report`."""
    objective = agent.objectives[name]
    own = objective.step is not None  # its loss need not read all parameters: POIS in their space has no use for the policy's deviation
    with differentiated(objective.parameters):
        term = agent.loss_of(name, batch)
        assert isinstance(term.loss, Tensor)
        return torch.autograd.grad(term.loss, objective.parameters, allow_unused=own, materialize_grads=own), term.report()


Function = Callable[..., dict[str, Tensor]]
"""See `Learner.compute`"""


class Learner:
    """Gradient updates of an agent.

    Args:
        agent: its parameters are trained.
        to_batch: turns a draw of the replay into a `Batch`, and leaves a `Batch` as it is; a pure function of tensors, `Replay.batch`.
        ranks: the processes that learn together: each has a part of the batch, and all make the update of the whole.
    """

    def __init__(self, agent: Agent, to_batch: Callable[..., Batch], ranks: Ranks = ALONE):
        self.agent, self.to_batch, self.ranks = agent, to_batch, ranks
        self.projections = {name: agent.projections(name) for name in agent.objectives}
        self.watch = Watch(next(agent.parameters()).device)

    def update(self, drawn: Sample) -> Report:
        """Update of every objective that is due, in order; then of the parts that follow the parameters.

        Args:
            drawn: result of `Replay.draw`: a `Drawn`, or a batch.

        Returns the `Report`: the error of the main objective, and the metrics of all.

        Raises:
            NotFinite: on a CPU, a loss or a gradient is NaN or Inf, on this rank or another; the parameters of this objective were not
            changed.
        """
        agent = self.agent
        number = agent.clock.update()  # counted from 1
        due = agent.due(number)
        batch = self.update_input(drawn)
        error: Tensor | None = None
        metrics: dict[str, Tensor] = {}
        for name in due:
            if name not in agent.objectives:  # "target" has no loss: `after_update` moves the target networks
                continue
            try:
                report, norm = self.update_objective(name, batch)
            except NotFinite as fault:
                fault.objective = name
                raise
            for project_ in self.projections[name]:
                project_()
            metrics.update(report.metrics)
            metrics[f"train/{name}_grad_norm"] = norm
            if name == agent.main:
                error = report.error
        agent.after_update(due)
        assert error is not None
        return Report(error, metrics)

    def update_input(self, drawn: Sample) -> Sample:
        """What `update_objective` takes: the batch; in a compiled learner the draw, because its graph contains `to_batch`."""
        return self.to_batch(drawn)

    def update_objective(self, name: str, batch: Sample) -> tuple[Report, Tensor]:
        """Loss, gradient and optimizer of one objective. Returns its `Report`, and () the norm of its gradient before
        clipping, which is in `optimizer.step` (`deeprl/learning/optim/`: `FlatAdam.step`, `Flat.clipped`)."""
        own = self.agent.objectives[name].step
        if own is not None:
            return own(self.to_batch(batch))
        gradients, report = gradient(self.agent, name, self.to_batch(batch))
        count = len(gradients)
        # over the ranks; a mean is finite if and only if the numbers of all ranks are
        means = self.ranks.mean([*gradients, report.error.sum(), *report.statistics.values()])
        gradients, error, statistics = means[:count], means[count], means[count + 1 :]
        self.watch(error, "its error")  # Huber's error may be infinite where its gradient is not
        norm = self.agent.objectives[name].optimizer.step(gradients, self.agent.step, self.watch)
        for buffer, value in zip(report.statistics, statistics):
            self.watch.store(self.agent.get_buffer(buffer), value)
        return report, norm

    def act(self, obs: Tensor, first: Tensor, memory: dict, step: int, noise: dict) -> AgentStep:
        """The agent's actions while data is collected, see `Agent.act`."""
        return self.agent.act(obs, first, memory, step, noise, explore=True, infer=self.infer)

    def infer(self, obs: Tensor, noise: NetworkNoise, *state: Tensor) -> Any:
        """See `Agent.infer`."""
        return self.agent.infer(obs, noise, *state)

    def compute(self, function: Function, lasting: Any, *arguments: Any) -> dict[str, Tensor]:
        """Results by name of a function of the agent's networks and of nested tensors, which it may write into.

        Args:
            lasting: its first argument, whose tensors keep their memory from call to call.
        """
        return function(lasting, *arguments)


class CompiledLearner(Learner):
    """A learner that compiles updates and inference at their first use, for the layout of their arguments.

    A compiled update includes the arithmetic of `to_batch`, so that its argument is the draw. The float32 product must be the same at every
    call, because the compiled code contains it.

    Args:
        failed: called with the error if something does not compile; from then on the learner computes as `Learner`. None raises the error.
        backend: of `BACKENDS`; None: "inductor" on a CPU, "cuda_graph" on a GPU. "eager" only traces, for tests without a compiler.
    """

    def __init__(
        self,
        agent: Agent,
        to_batch: Callable[..., Batch],
        failed: Callable[[Exception], object] | None = None,
        backend: str | None = None,
        ranks: Ranks = ALONE,
    ):
        super().__init__(agent, to_batch, ranks)
        usual = "inductor" if self.watch.failed.device.type == "cpu" else "cuda_graph"
        self.failed, self.backend, self.broken = failed, backend or usual, False
        self.steps: dict[str, list[CompiledStep]] = {name: [] for name in agent.objectives}
        self.inference: CompiledInference | None = None
        self.functions: dict[Function, CompiledFunction] = {}

    def update_input(self, drawn: Sample) -> Sample:
        return self.to_batch(drawn) if self.broken else drawn

    def update_objective(self, name: str, batch: Sample) -> tuple[Report, Tensor]:
        plain = self.broken or self.agent.objectives[name].step is not None
        found = None if plain else self.compiled_for(name, batch)
        if found is None:  # nothing compiled: a draw becomes a batch, and a batch stays as it is
            return super().update_objective(name, batch)
        compiled, leaves = found
        check, norm, report = compiled(leaves, self.agent.step)
        if not self.watch.immediate:
            self.watch(check, "")  # no words, because the guard finds the number later, from the batch
        elif not math.isfinite(check.item()):  # the first of these that is not finite names the fault
            self.watch(report.error.sum(), "its error")
            self.watch(norm, "the norm of its gradient")
            self.watch(check, "the norm of all its gradients")
        compiled.count()
        return report, norm

    def compiled_for(self, name: str, batch: Sample) -> tuple[CompiledStep, list[Tensor]] | None:
        """Compiled update of one objective for batches of this layout, and the tensors that it reads of the batch; None if it does not
        compile."""
        for compiled in self.steps[name]:
            leaves = compiled.leaves(batch)
            if leaves is not None:
                return compiled, leaves
        try:
            compiled = CompiledStep(self.agent, name, self.to_batch, batch, self.watch, self.backend, self.ranks)
        except Exception as error:  # a broken compiler raises many types; an error of the agent itself is raised again without the compiler
            self.give_up(error)
            return None
        self.steps[name].append(compiled)
        return self.compiled_for(name, batch)

    def infer(self, obs: Tensor, noise: NetworkNoise, *state: Tensor) -> Any:
        if self.inference is None and not self.broken:
            try:
                self.inference = CompiledInference(self.agent, obs, noise, *state, backend=self.backend)
            except Exception as error:
                self.give_up(error)
        output = None if self.broken or self.inference is None else self.inference(obs, noise, *state)
        return super().infer(obs, noise, *state) if output is None else output

    def compute(self, function: Function, lasting: Any, *arguments: Any) -> dict[str, Tensor]:
        if function not in self.functions and not self.broken:
            try:
                self.functions[function] = CompiledFunction(self.agent, function, lasting, *arguments, backend=self.backend)
            except Exception as error:
                self.give_up(error)
        found = None if self.broken else self.functions[function](lasting, *arguments)
        return super().compute(function, lasting, *arguments) if found is None else found

    def give_up(self, error: Exception) -> None:
        """Compute as `Learner` from now on, because a run should not mix modes."""
        if self.failed is None:
            raise error
        self.broken = True
        self.failed(error)
