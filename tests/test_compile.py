"""Every objective of every agent traces as one graph. Tracing needs no compiler: what the backend "eager" takes, "inductor" takes."""

from __future__ import annotations

import pytest
import torch
from conftest import KINDS, made_up, settled, spec_of
from torch import nn

from deeprl.accelerate import apply, compile_gradient
from deeprl.build import build_agent
from deeprl.types import Batch, Spec


class Loss(nn.Module):
    """An objective as a function of the agent's parameters."""

    def __init__(self, agent, name: str):
        super().__init__()
        self.agent, self.name = agent, name

    def forward(self, batch: Batch):
        loss, learned = self.agent.objectives[self.name].loss(batch)
        return loss, (learned.error, learned.metrics)


def gradient_of(agent, name: str):
    """The compiled gradient of one objective, and the parameters that it trains."""
    loss = Loss(agent, name)
    trained = {id(p) for p in agent.objectives[name].parameters}
    parameters = {key: p for key, p in loss.named_parameters() if id(p) in trained}
    assert len(parameters) == len(trained)

    def call(parameters, batch):
        return torch.func.functional_call(loss, parameters, (batch,))

    return compile_gradient(call, has_aux=True, backend="eager"), parameters


IMAGES = Spec((4, 10, 10), torch.uint8, 6, 0)
TOYS = {"discrete": "toy/chain", "continuous": "classic/pendulum"}
TRACED = [*((agent, None) for agent in KINDS), ("idqn", IMAGES)]


@pytest.mark.parametrize(("agent", "spec"), TRACED, ids=lambda value: value if isinstance(value, str) else "images" if value else "vectors")
def test_every_objective_traces_as_one_graph(agent, spec):
    """The compiled unit is the gradient of one objective, fullgraph."""
    torch._dynamo.reset()
    env = TOYS[KINDS[agent]]
    spec = spec or spec_of(env)
    built = build_agent(settled(f"agent={agent}", f"env={env}"), spec)
    apply(built, "reference")
    batch = made_up(built, spec)
    for name, objective in built.objectives.items():
        compiled, parameters = gradient_of(built, name)
        with torch.no_grad():
            gradients, (value, (error, metrics)) = compiled(parameters, batch)
        expected, learned = built.gradient(objective, batch)
        torch.testing.assert_close(list(gradients.values()), list(expected))
        torch.testing.assert_close(error, learned.error)
        assert metrics.keys() == learned.metrics.keys()
        assert torch.isfinite(value)


def test_a_loss_that_asks_its_data_does_not_trace():
    """What the test above is there to find."""
    torch._dynamo.reset()
    config = settled("agent=dqn", "env=toy/chain")
    agent = build_agent(config, spec_of("toy/chain"))
    plain = agent.backup

    def asks(online, target, batch):
        if batch.reward.sum() > 0:
            return plain(online, target, batch)
        return plain(online, target, batch).plus(torch.ones(()))

    agent.backup = asks
    compiled, parameters = gradient_of(agent, "value")
    with pytest.raises(torch._dynamo.exc.Unsupported, match="(?i)data-dependent"):
        compiled(parameters, made_up(agent, spec_of("toy/chain")))
