"""Observations of several parts in whole agents: what is neutral, and what a policy cannot see."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from deeprl.learning.networks.cores import GRU
from deeprl.learning.networks.torsos import Auto, MinAtarTorso, MLPTorso, PartsTorso
from deeprl.learning.transforms.apart import normalizer
from deeprl.learning.transforms.observations import Plain, Running
from deeprl.packing import packed_spec
from deeprl.running.config.dry_run import dry_run, made_up_batch
from deeprl.types import ObsPart, Rows, Spec
from tests.agents.test_ppo import agent_of
from tests.builders import actor_critic, changed_by, equal, sac, snapshot, value_agent

IMAGE = ObsPart("image", (2, 5, 6), torch.uint8, image=True, scaled=False)
VECTOR = ObsPart("vector", (3,), torch.float32)
HIDDEN = ObsPart("hidden", (2,), torch.float32, privileged=True)
PLAN = ObsPart("plan", (1, 4, 4), torch.uint8, image=True, privileged=True, scaled=False)
BOTH = (IMAGE, VECTOR)
SMALL = MinAtarTorso(channels=3)
MAKERS = {
    "dqn": (lambda parts, **own: value_agent(packed_spec(parts, 3, 0), torso=SMALL, **own), BOTH),
    "dqn of an image": (lambda parts, **own: value_agent(packed_spec(parts, 3, 0), torso=SMALL, **own), (IMAGE,)),
    "masked dqn": (lambda parts, **own: value_agent(packed_spec(parts, 3, 0, masked=True), torso=Auto(), **own), BOTH),
    "r2d2": (
        lambda parts, **own: value_agent(packed_spec(parts, 3, 0), torso=SMALL, core=GRU(width=4), **own),
        BOTH,
    ),
    "td3": (lambda parts, **own: actor_critic(packed_spec(parts, 0, 2), **own), (*BOTH, HIDDEN, PLAN)),
    "sac": (lambda parts, **own: sac(packed_spec(parts, 0, 2), **own), (*BOTH, HIDDEN, PLAN)),
    "sac of vectors": (lambda parts, **own: sac(packed_spec(parts, 0, 2), **own), (VECTOR, HIDDEN)),
    "recurrent sac": (lambda parts, **own: sac(packed_spec(parts, 0, 2), core=GRU(width=4), **own), (VECTOR, HIDDEN)),
    "ppo": (lambda parts, **own: agent_of(packed_spec(parts, 3, 0), torso=SMALL, **own), (*BOTH, HIDDEN, PLAN)),
    "masked ppo": (
        lambda parts, **own: agent_of(packed_spec(parts, 3, 0, masked=True), torso=SMALL, **own),
        (*BOTH, HIDDEN),
    ),
    "recurrent ppo": (lambda parts, **own: agent_of(packed_spec(parts, 0, 2), core=GRU(width=4), **own), (VECTOR, HIDDEN)),
}


def made(kind: str, **own):
    maker, parts = MAKERS[kind]
    return maker(parts, **own)


def rows_of(agent, size: int = 4, seed: int = 0) -> torch.Tensor:
    return made_up_batch(agent, agent.spec, (2, size) if agent.state_size else (size,), seed=seed).obs.reshape(-1, *agent.spec.obs_shape)[
        :size
    ]


def acted(agent, rows: torch.Tensor) -> torch.Tensor:
    if not agent.state_size:
        return agent.greedy(rows)
    return torch.cat(agent.greedy(rows, torch.zeros(len(rows), agent.state_size))[:1])


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("normalize", [Plain, Running])
def test_every_kind_of_agent_learns_and_acts(kind, normalize):
    agent = made(kind, normalize=normalize)
    dry_run(agent, agent.spec, "cpu")


def without(rows: torch.Tensor, spec: Spec, seed: int) -> torch.Tensor:
    """The rows with other privileged parts."""
    from deeprl.packing import pack, unpacked

    values, mask = unpacked(spec, rows.numpy())
    random = np.random.default_rng(seed)
    for i, part in enumerate(spec.parts):
        if part.privileged:
            values[i] = random.integers(0, 255, values[i].shape).astype(values[i].dtype)
    return torch.from_numpy(pack(spec, values, mask))


@pytest.mark.parametrize("kind", [kind for kind, (_, parts) in MAKERS.items() if HIDDEN in parts])
def test_a_policy_sees_no_privileged_part_and_critics_do(kind):
    agent = made(kind)
    rows = rows_of(agent)
    other = without(rows, agent.spec, 1)
    assert not rows.equal(other)
    assert acted(agent, rows).equal(acted(agent, other))
    state = [torch.zeros(len(rows), agent.state_size)] if agent.state_size else []
    if agent.actions == "continuous":
        if not state:
            seen, unseen = (agent.seen(each) for each in (rows, other))
            action = torch.zeros(len(rows), 2)
            assert not agent.actor_value.typical(torch.cat([seen, action], -1)).equal(
                agent.actor_value.typical(torch.cat([unseen, action], -1))
            )
    else:
        values = [agent.evaluated(agent.seen(each)[0], *state)[1] for each in (rows, other)]
        assert not values[0].equal(values[1])


@pytest.mark.parametrize("kind", ["td3", "ppo"])
def test_the_loss_of_a_policy_moves_nothing_that_privileged_parts_enter(kind):
    agent = made(kind)
    batch = made_up_batch(agent, agent.spec, (6,))
    if kind == "td3":
        assert {name.split(".")[0] for name in changed_by(agent, "actor", batch)} <= {"actor", "target_actor"}
    moved = snapshot(agent)
    assert all(not name.startswith("policy.torso.torso.torsos.3") for name in moved)  # the policy has no torso for the plan


def test_values_refuse_privileged_parts():
    with pytest.raises(ValueError, match="needs an agent with critics"):
        value_agent(packed_spec((VECTOR, HIDDEN), 3, 0))


def test_a_shared_torso_refuses_privileged_parts():
    with pytest.raises(ValueError, match="agent.shared=false"):
        agent_of(packed_spec((VECTOR, HIDDEN), 3, 0), shared=True)


def test_features_of_an_image_stand_beside_the_vector():
    spec = packed_spec(BOTH, 3, 0)
    seen = spec._replace(obs_shape=(63,), obs_dtype=torch.float32)
    alone, both = (
        MinAtarTorso(channels=3).build(Spec((2, 5, 6), torch.uint8, 3, 0), 2),
        MinAtarTorso(channels=3).resolve(seen).build(seen, 2),
    )
    state = {f"torsos.1.{name}": torch.randn_like(value) for name, value in alone.state_dict().items()}
    both.load_state_dict(state)
    alone.load_state_dict({name.removeprefix("torsos.1."): value for name, value in state.items()})
    vector, image = torch.randn(4, 3), torch.randint(0, 255, (4, 2, 5, 6), dtype=torch.uint8)
    features = both(torch.cat([vector, image.flatten(1).float()], -1))
    assert features.shape == (2, 4, both.features)
    assert features[..., :3].equal(vector.expand(2, 4, 3))
    assert features[..., 3:].equal(alone(image))
    order = torch.tensor([2, 0, 3, 1])
    assert both(torch.cat([vector, image.flatten(1).float()], -1)[order]).allclose(features[:, order])


@pytest.mark.parametrize("torso", [Auto(), MinAtarTorso(), MLPTorso()])
def test_the_torso_follows_from_the_image(torso):
    spec = packed_spec(BOTH, 3, 0)._replace(obs_shape=(63,), obs_dtype=torch.float32)
    found = torso.resolve(spec)
    assert isinstance(found, MLPTorso if isinstance(torso, MLPTorso) else PartsTorso)


def test_statistics_are_of_vectors_alone():
    one_hot = ObsPart("kind", (2,), torch.float32, scaled=False)
    spec = packed_spec((IMAGE, VECTOR, one_hot, HIDDEN), 0, 2)
    normalize = normalizer(partial(Running, clip=1.0), spec)
    rows = rows_of(value_agent(packed_spec((IMAGE, VECTOR, one_hot), 2, 0), torso=MinAtarTorso()), 5)  # any rows with one shape less
    rows = torch.cat([rows[:, :20], torch.zeros(5, 8, dtype=torch.uint8), rows[:, 20:]], -1)
    empty = np.zeros(5, np.float32)
    normalize.observe(Rows(rows.numpy(), empty, empty, rows.numpy(), empty, empty, empty))
    seen, raw = normalize(rows), rows[:, :20].clone().view(torch.float32)
    assert seen[:, :3].mean(0).abs().max() < 0.5
    assert seen[:, :3].abs().max() <= 1.0
    assert seen[:, 3:5].equal(raw[:, 3:])
    assert seen[:, 5:65].equal(rows[:, 28:].float())


def test_other_names_do_not_load():
    one = value_agent(packed_spec(BOTH, 3, 0), torso=MinAtarTorso())
    other = value_agent(packed_spec((IMAGE, VECTOR._replace(name="speed")), 3, 0), torso=MinAtarTorso())
    assert equal(one.state()["module"], other.state()["module"])  # a name changes no weight
    with pytest.raises(ValueError, match=r"parts vector, image, and the environment has speed, image"):
        other.load_state(one.state())
