"""A torso of one's own with a constraint over its parts, and with a buffer that follows its weights."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch

from deeprl.agents.iterated_polyak import IteratedPolyak
from deeprl.extend import Block, TorsoChoice
from deeprl.learning.networks.critics import pair
from deeprl.learning.networks.mlp import MLP
from deeprl.learning.values.reduce import First
from tests.agents.test_td3 import batches
from tests.builders import actor_critic, update


@dataclass(frozen=True)
class Bounded(TorsoChoice):
    """One layer in a part of the torso; all weights together have the sum of squares 1, and a buffer has their sums."""

    def build(self, spec, n):
        return BoundedLayer(n, *spec.obs_shape)


class BoundedLayer(Block):
    def __init__(self, n, inputs):
        super().__init__()
        self.features = 3
        self.part = MLP(n, (inputs, 3), activate_last=False)
        self.carry("sums", torch.zeros(n, 1, 3))

    @torch.no_grad()
    def project_(self):
        weight = self.part.weight_0
        weight.div_(weight.square().sum((1, 2), keepdim=True).sqrt())
        self.sums.copy_(weight.sum(1, keepdim=True))

    def restart_(self):
        self.project_()

    def forward(self, obs):
        return self.part(obs) + self.sums


def squares(torso: BoundedLayer) -> torch.Tensor:
    return torso.part.weight_0.square().sum((1, 2))


def test_a_constraint_of_a_whole_holds_for_its_parts():
    """It was restored neither at the start nor after an update, as the torso has no parameter of its own."""
    agent = actor_critic(torso=Bounded())
    torso = agent.chain.online.torso
    torch.testing.assert_close(squares(torso), torch.ones(2))
    assert agent.projections("critic") == [torso.project_]
    assert agent.projections("actor") == []


def test_the_critics_that_serve_an_actor_have_their_buffers():
    """A buffer of all six critics met the weights of one."""
    agent = actor_critic(torso=Bounded(), actor_reduce=First(), chain=partial(IteratedPolyak, length=3, acting="last"))
    for batch in batches(agent, 2):
        update(agent, batch)
    assert agent.chain.online.torso.sums.unique(dim=0).shape[0] == 6
    x = pair(batch.obs, torch.rand(len(batch.obs), 2))
    whole = agent.chain.online(x, batch.noise["critic"]).mean()[4, :, 0]
    torch.testing.assert_close(agent.actor_value(x, batch.noise), whole, rtol=1e-5, atol=1e-6)
