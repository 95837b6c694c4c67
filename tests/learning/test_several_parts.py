"""Observations of several parts in whole agents: what is neutral, and what a policy cannot see."""

from __future__ import annotations

from functools import partial
from operator import itemgetter

import numpy as np
import pytest
import torch

from deeprl.learning.networks.cores import GRU
from deeprl.learning.networks.side_by_side import of_part
from deeprl.learning.networks.torsos import Auto, MinAtarTorso, MLPTorso, PartsTorso
from deeprl.learning.transforms.apart import normalizer
from deeprl.learning.transforms.masks import without_mask
from deeprl.learning.transforms.observations import Plain, Running
from deeprl.noise import map_tensors
from deeprl.packing import pack, packed_spec, unpacked
from deeprl.running.config.dry_run import LATE, dry_run, made_up_batch
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
    "recurrent sac": (lambda parts, **own: sac(packed_spec(parts, 0, 2), core=GRU(width=4), **own), (*BOTH, HIDDEN, PLAN)),
    "ppo": (lambda parts, **own: agent_of(packed_spec(parts, 3, 0), torso=SMALL, **own), (*BOTH, HIDDEN, PLAN)),
    "masked ppo": (
        lambda parts, **own: agent_of(packed_spec(parts, 3, 0, masked=True), torso=SMALL, **own),
        (*BOTH, HIDDEN),
    ),
    "ppo of a hidden image": (lambda parts, **own: agent_of(packed_spec(parts, 3, 0), torso=Auto(), **own), (VECTOR, PLAN)),
    "sac of a hidden image": (lambda parts, **own: sac(packed_spec(parts, 0, 2), **own), (VECTOR, PLAN)),
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
    values, mask = unpacked(spec, rows.numpy())
    random = np.random.default_rng(seed)
    for i, part in enumerate(spec.parts):
        if part.privileged:
            values[i] = random.integers(0, 255, values[i].shape).astype(values[i].dtype)
    return torch.from_numpy(pack(spec, values, mask))


def explored(agent, rows: torch.Tensor) -> torch.Tensor:
    """Actions of collection, after every warm-up."""
    noise = map_tensors(itemgetter(0), agent.act_noise((1, len(rows)), torch.Generator().manual_seed(0)))
    return agent.act(rows, torch.ones(len(rows), dtype=torch.bool), {}, LATE, noise, True).action


@pytest.mark.parametrize("kind", [kind for kind, (_, parts) in MAKERS.items() if any(part.privileged for part in parts)])
def test_a_policy_sees_no_privileged_part_and_critics_do(kind):
    agent, twin = made(kind, normalize=Running), made(kind, normalize=Running)
    rows = rows_of(made(kind))
    other = without(rows, agent.spec, 1)
    assert not rows.equal(other)
    for each, seen in ((agent, rows), (twin, other)):  # so that their running statistics differ
        empty = np.zeros(len(rows), np.float32)
        each.observe(Rows(seen.numpy(), empty, empty, seen.numpy(), empty, empty, empty))
    assert acted(agent, rows).equal(acted(twin, other))
    assert explored(agent, rows).equal(explored(twin, other))
    state = [torch.zeros(len(rows), agent.state_size)] if agent.state_size else []
    if agent.actions == "continuous":
        if not state:
            seen, unseen = (agent.seen(each) for each in (rows, other))
            action = torch.zeros(len(rows), 2)
            assert not agent.actor_value.typical(torch.cat([seen, action], -1)).equal(
                agent.actor_value.typical(torch.cat([unseen, action], -1))
            )
        else:
            batch = made_up_batch(agent, agent.spec, (2, len(rows)))
            views = [agent.views(batch._replace(obs=each.expand(2, *rows.shape)))[0] for each in (rows, other)]
            assert not views[0].now.mean().equal(views[1].now.mean())
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
    with pytest.raises(ValueError, match=r"parts 'vector' float32 \(3,\), 'image' uint8 .*, and the environment has 'speed' float32"):
        other.load_state(one.state())


def of_vectors(*parts: ObsPart):
    return agent_of(packed_spec(parts, 3, 0), torso=MLPTorso(hidden=(4,)))


FIRST, SECOND = ObsPart("a", (2,), torch.float32), ObsPart("b", (3,), torch.float32)


@pytest.mark.parametrize(
    "others", [(FIRST._replace(shape=(3,)), SECOND._replace(shape=(2,))), (FIRST, SECOND._replace(privileged=True)), (SECOND, FIRST)]
)
def test_weights_go_into_no_wrong_column(others):
    with pytest.raises(ValueError, match="the environment has 'a' float32"):
        of_vectors(FIRST, SECOND).load_state(of_vectors(*others).state())


def test_checkpoints_of_names_alone_load():
    source, agent = of_vectors(FIRST, SECOND), of_vectors(FIRST, SECOND)
    agent.load_state({**source.state(), "parts": ["a", "b"]})
    with pytest.raises(ValueError, match="parts 'b', 'a', and"):
        agent.load_state({**source.state(), "parts": ["b", "a"]})


@pytest.mark.parametrize("hostile", [5, [1], ["\x1b[31mX"], [["\x1b[31mX", ["\x1b"], "float32", True]], [["a", [], "\x1b", 1]], None])
def test_parts_of_a_stranger_are_refused_in_a_sentence(hostile):
    agent = of_vectors(FIRST, SECOND)
    with pytest.raises(ValueError, match="it is of observations with the parts") as found:
        agent.load_state({**agent.state(), "parts": hostile})
    assert str(found.value).isprintable()


ONLY_PLAN = packed_spec((VECTOR, PLAN), 3, 0)


@pytest.mark.parametrize(("torso", "shapes"), [(Auto(hidden=(5,)), [3, 5, 3]), (MinAtarTorso(head_hidden=(6,)), [3, 6, 3])])
def test_a_policy_that_sees_no_image_has_the_torso_of_what_it_sees(torso, shapes):
    agent = agent_of(ONLY_PLAN, torso=torso)
    found = [parameter.shape[1:] for name, parameter in agent.policy.named_parameters() if "weight" in name]
    assert [*(shape[0] for shape in found), found[-1][1]] == shapes


def test_each_image_has_the_torso_that_follows_from_it():
    camera, board = ObsPart("camera", (3, 64, 64), torch.uint8, image=True), ObsPart("map", (1, 7, 7), torch.uint8, image=True)
    sizes = []
    for parts in [(camera, board), (board, camera)]:
        spec = without_mask(packed_spec((*parts, VECTOR), 3, 0))
        choice = Auto().resolve(spec)
        torso = choice.build(spec, 1)
        sizes.append([type(choice.image.resolve(of_part(spec, part))).__name__ for part in spec.parts if part.image])
        assert choice.head_hidden == (512,)
        assert torso.features == 3 + 16 * 5 * 5 + 64 * 8 * 8
    assert sizes == [["Nature", "MinAtarTorso"], ["MinAtarTorso", "Nature"]]


def test_rows_with_a_mask_of_components_are_divided():
    spec = packed_spec((FIRST, SECOND), 0, 2)._replace(choices=(2, 3), masked=True, obs_shape=(10,))
    rows = np.arange(20, dtype=np.float32).reshape(2, 10)
    values, mask = unpacked(spec, rows)
    assert mask.tolist() == rows[:, 5:].tolist()
    assert pack(spec, values, mask).tobytes() == rows.tobytes()
