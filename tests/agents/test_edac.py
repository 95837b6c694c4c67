"""EDAC: worked numbers, its neutral element SAC-N, and twenty updates beside a reference."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch.nn.functional import cosine_similarity

from deeprl.agents.edac import Diversity, similarity
from deeprl.learning.networks.torsos import MLPTorso
from deeprl.learning.optim.adam import Adam
from deeprl.learning.parts.polyak import Polyak
from deeprl.learning.parts.temperature import LearnedTemperature
from tests.agents.test_td3 import batches
from tests.builders import sac, same, snapshot, update
from tests.references.sac import SAC
from tests.references.td3 import values
from tests.references.test_references import ACTOR_LR, EPS, LR, TAU, agrees, critics_of, layers_of, mlp

CRITICS, ETA = 3, 2.0


def test_a_worked_number():
    """Slopes (1, 0), (0, 1), (0.6, 0.8): ½ · 2 (0 + 0.6 + 0.8)."""
    slopes = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]).view(1, 3, 1, 2)
    assert similarity(slopes).item() == pytest.approx(1.4)
    assert similarity(3.0 * slopes).item() == pytest.approx(1.4)  # lengths do not count


def test_of_two_critics_it_is_twice_the_cosine_and_of_equal_ones_their_number():
    slopes = torch.randn(1, 2, 5, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(similarity(slopes)[0], 2 * cosine_similarity(slopes[0, 0], slopes[0, 1], dim=-1))
    torch.testing.assert_close(similarity(slopes[:, :1].expand(1, 4, 5, 3)), torch.full((1, 5), 4.0))


class Reference(SAC):
    def critic_loss(self, batch, y):
        action = batch.action.clone().requires_grad_(True)
        slopes = [torch.autograd.grad(q.sum(), action, create_graph=True)[0] for q in values(self.critics, batch.obs, action)]
        pairs = [(one, other) for one in slopes for other in slopes if one is not other]
        term = sum(cosine_similarity(one, other, dim=1) for one, other in pairs) / (len(slopes) - 1)
        return super().critic_loss(batch, y) + ETA * term.mean()


def test_twenty_updates_are_those_of_the_reference():
    agent = sac(
        actor_torso=MLPTorso(hidden=(7, 6)), torso=MLPTorso(hidden=(9, 8)), chain=partial(Polyak, tau=TAU), ensemble=CRITICS,
        temperature=partial(LearnedTemperature, value=0.5, lr=0.02), auxiliary=partial(Diversity, eta=ETA),
        optimizer=Adam(lr=LR, eps=EPS), actor_optimizer=Adam(lr=ACTOR_LR, eps=EPS),
    )  # fmt: skip
    critics = critics_of(agent.chain.online, CRITICS)
    plain = Reference(mlp(agent.actor, 0), critics, LR, ACTOR_LR, 0.02, 0.5, target_entropy=-2.0, tau=TAU, eps=EPS)
    for batch in batches(agent, 20):
        plain.update(batch, batch.noise["next_action"], batch.noise["action"])
        update(agent, batch)
    agrees(agent.actor, 0, plain.actor)
    for network, theirs in ((agent.chain.online, plain.critics), (agent.chain.target, plain.target_critics)):
        for e, critic in enumerate(theirs):
            for (weight, _), made in zip(layers_of(network, e), critic[::2], strict=True):  # a division by short slopes magnifies rounding
                torch.testing.assert_close(weight.T, made.weight.detach(), rtol=1e-3, atol=1e-4)


def test_eta_zero_is_sac_n():
    one, other = sac(ensemble=CRITICS, auxiliary=partial(Diversity, eta=0.0)), sac(ensemble=CRITICS)
    for batch in batches(one, 4):
        update(one, batch)
        update(other, batch)
    assert same(snapshot(one), snapshot(other))


def test_one_critic_is_refused():
    with pytest.raises(ValueError, match="ensemble must be at least 2"):
        sac(ensemble=1, auxiliary=Diversity)


def test_it_has_the_weights_of_the_replay():
    """They were left out."""
    agent = sac(ensemble=CRITICS, auxiliary=partial(Diversity, eta=ETA))
    (batch,) = batches(agent, 1)
    online, target, batch = agent.views(batch)
    once, twice = (agent.auxiliary(online, target, batch._replace(weight=factor * batch.weight)).loss for factor in (1.0, 2.0))
    torch.testing.assert_close(twice, 2 * once)
