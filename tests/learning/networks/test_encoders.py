"""Encoders of images for continuous agents."""

from __future__ import annotations

import pytest
import torch

from deeprl.learning.networks.encoders import ImageEncoder, shifted
from deeprl.learning.networks.torsos import MinAtarTorso
from deeprl.learning.parts.resets import Resets
from deeprl.types import Spec
from tests.agents.test_td3 import B
from tests.builders import CONTINUOUS, actor_critic, below, changed_by, entry, made_up, sac, same, snapshot, update

IMAGES = Spec((3, 10, 10), torch.uint8, 0, 2)


def test_a_worked_shift():
    """Rows move up by one, 2 − 1 pixels of the frame being left out above; columns stay."""
    image = torch.arange(9, dtype=torch.uint8).view(1, 1, 3, 3)
    assert shifted(image, torch.tensor([[2, 1]]), 1)[0, 0].tolist() == [[3, 4, 5], [6, 7, 8], [6, 7, 8]]
    assert shifted(image, torch.tensor([[1, 0]]), 1)[0, 0].tolist() == [[0, 0, 1], [3, 3, 4], [6, 6, 7]]
    assert torch.equal(shifted(image, torch.tensor([[1, 1]]), 1), image)


def test_shifts_are_crops_of_a_padded_image():
    generator = torch.Generator().manual_seed(0)
    images = torch.rand((5, 3, 7, 6), generator=generator)
    offset = torch.randint(0, 9, (5, 2), generator=generator)
    padded = torch.nn.functional.pad(images, (4, 4, 4, 4), mode="replicate")
    for one, (row, column), found in zip(padded, offset.tolist(), shifted(images, offset, 4)):
        assert torch.equal(found, one[:, row : row + 7, column : column + 6])


def test_vectors_have_no_encoder():
    assert ImageEncoder().build(CONTINUOUS, MinAtarTorso(), 0) is None
    assert "shift" not in actor_critic().noise((1, B), torch.Generator())


@pytest.mark.parametrize("make", [actor_critic, sac])
def test_the_critics_alone_train_the_encoder(make):
    agent = make(IMAGES)
    batch = made_up(agent, IMAGES, size=B)
    for name, trained in (("critic", ("chain.online.", "encoder.")), ("actor", ("actor.", "temperature."))):
        assert changed_by(agent, name, batch) == below(agent, *trained)


def test_shifts_matter_to_the_critics_and_not_to_acting():
    agent = actor_critic(IMAGES)
    batch = made_up(agent, IMAGES, size=B)
    middle = batch._replace(noise={**batch.noise, "shift": torch.full((B, 4), 2)})
    still = batch._replace(noise={name: noise for name, noise in batch.noise.items() if name != "shift"})
    assert torch.equal(agent.critic_loss(middle).loss, agent.critic_loss(still).loss)
    assert not torch.equal(agent.critic_loss(batch).loss, agent.critic_loss(still).loss)
    assert torch.equal(agent.actor_loss(batch).loss, agent.actor_loss(still).loss)
    assert batch.noise["shift"].unique().tolist() == [0, 1, 2, 3, 4]


def test_features_of_sequences_are_those_of_their_images():
    agent = actor_critic(IMAGES)
    images = torch.randint(0, 256, (4, 6, 3, 10, 10), dtype=torch.uint8)
    torch.testing.assert_close(agent.seen(images).flatten(0, 1), agent.seen(images.flatten(0, 1)))
    features = agent.seen(images)
    assert features.shape == (4, 6, 4)
    assert features.abs().max() <= 1


def test_a_reset_takes_the_encoder_along():
    """To weights that do not depend on the data."""
    agents = [actor_critic(IMAGES, resets=Resets(period=1)) for _ in range(2)]
    before = snapshot(agents[0].encoder)
    for seed, agent in enumerate(agents):
        noise = entry(agent.noise((1, B), torch.Generator().manual_seed(0)), 0)
        update(agent, made_up(agent, IMAGES, size=B, seed=seed)._replace(noise=noise))
    assert same(snapshot(agents[0].encoder), snapshot(agents[1].encoder))
    assert not same(before, snapshot(agents[0].encoder))
