"""What the losses of an agent train and return: asked before the first environment step, because the first update would end in an error of
torch, or nothing would tell."""

from __future__ import annotations

import torch
from torch import Tensor

from deeprl.errors import ConfigError
from deeprl.learning.agent import Agent
from deeprl.system.terminal import say, some
from deeprl.types import Term


def require_main(agent: Agent) -> None:
    """
    Raises:
        ConfigError: the agent has objectives, and `main` is none of them.
    """
    if agent.objectives and agent.main not in agent.objectives:
        raise ConfigError(
            f"agent: main = {agent.main!r} of {type(agent).__name__} names none of its objectives, {', '.join(agent.objectives)}: give the "
            "one whose errors are priorities, and which is due at every update."
        )


def require_apart(agent: Agent) -> None:
    """
    Raises:
        ConfigError: two objectives have a parameter in common. Each optimizer moves its own into memory of its own, so that steps of the
            first would be lost.
    """
    names, owners = {id(p): name for name, p in agent.named_parameters()}, dict[int, str]()
    for objective, parameter in ((name, p) for name, each in agent.objectives.items() for p in each.parameters):
        if (owner := owners.setdefault(id(parameter), objective)) != objective:
            raise ConfigError(
                f"agent: {names.get(id(parameter), 'a parameter')} is trained by two objectives, {owner} and {objective}: leave it to one, "
                "whose loss may be the sum of both."
            )


def require_border(agent: Agent) -> None:
    """
    Raises:
        ConfigError: the agent learns from batches, and its constructor has not called `set_border`.
    """
    if agent.objectives and (lacking := [name for name in ("spec", "rewards", "normalize") if not hasattr(agent, name)]):
        name = type(agent).__name__
        raise ConfigError(f"agent ({name}): it has no {lacking[0]}: {name}.__init__ has to call self.set_border(spec, rewards, normalize).")


def require_term(agent: Agent, name: str, term: Term) -> None:
    """
    Args:
        name: of the objective that returned it.

    Raises:
        ConfigError: a metric is no tensor, or a statistic is none of the agent's buffers.
    """
    for key, value in term.metrics.items():
        if not isinstance(value, Tensor):
            raise ConfigError(f"agent: the metric {key} of its {name} loss is a {type(value).__name__}, where a tensor belongs.")
    buffers = dict(agent.named_buffers())
    for key, value in term.statistics.items():
        if key not in buffers:
            raise ConfigError(f"agent: its {name} loss returns the statistic {key}, and the agent has no buffer of that name.")
        if value.shape != buffers[key].shape:
            shapes = f"{tuple(value.shape)}, and the buffer {tuple(buffers[key].shape)}"
            raise ConfigError(f"agent: its {name} loss returns the statistic {key} of shape {shapes}.")


def require_gradients(agent: Agent, name: str, loss: Tensor) -> None:
    """
    Args:
        name: of an objective without a `step` of its own, which may leave parameters out.
        loss: its loss, differentiable.

    Raises:
        ConfigError: it does not depend on a parameter that the objective trains.
    """
    parameters = agent.objectives[name].parameters
    if not loss.requires_grad:
        raise ConfigError(f"agent: its {name} loss depends on no parameter: a `detach` or `torch.no_grad` cuts the gradient off.")
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    left = {id(parameter) for parameter, gradient in zip(parameters, found, strict=True) if gradient is None}
    if unused := [each for each, parameter in agent.named_parameters() if id(parameter) in left]:
        raise ConfigError(
            f"agent: its {name} loss does not depend on {some(unused, 1)}, which it is to train: use it in `forward`, or leave it out; a "
            "`detach` or `torch.no_grad` on the way cuts the gradient off."
        )


def tell_untrained(agent: Agent) -> None:
    """Say which parameters that ask for a gradient, as torch makes them, belong to no objective."""
    trained = {id(parameter) for objective in agent.objectives.values() for parameter in objective.parameters}
    left = [name for name, each in agent.named_parameters() if each.requires_grad and id(each) not in trained]
    if left:
        say(f"no loss trains {some(left, 1)}: give it to an `Objective` of the agent, or make it with requires_grad=False if it is to stay")
