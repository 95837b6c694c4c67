"""Small builders that the tests share. Sizes of axes all differ, so that a wrong broadcast shows. A builder imports what it builds, because
a test of one function should not wait for the whole program."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from functools import cache, lru_cache, partial
from operator import itemgetter
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from deeprl.choice import grouped
from deeprl.learning.values.losses import squared
from deeprl.learning.values.scalar import ScalarValues
from deeprl.noise import map_tensors
from deeprl.types import QUIET, Batch, Report, Spec

if TYPE_CHECKING:
    from deeprl.learning.actor_critic import ActorCritic
    from deeprl.learning.agent import Agent
    from deeprl.learning.value_agent import ValueAgent
    from deeprl.replay.replay import Replay
    from deeprl.running.training.learner import Learner
    from deeprl.running.training.trainer import Trainer

DISCRETE = Spec((5,), torch.float32, 3, 0)
CONTINUOUS = Spec((5,), torch.float32, 0, 2)


def make_batch(obs, action, reward, discount, next_obs, *, weight=1.0, valid=True, noise=None) -> Batch:
    """From plain lists; `reward` says how many rows there are."""
    reward = torch.as_tensor(reward, dtype=torch.float32)

    def like(value, dtype):
        return torch.as_tensor(value, dtype=dtype).expand(reward.shape)

    return Batch(
        torch.as_tensor(obs), torch.as_tensor(action), reward, like(discount, torch.float32), torch.as_tensor(next_obs),
        like(1, torch.int64), like(False, torch.bool), like(valid, torch.bool), like(weight, torch.float32), like(0, torch.int64),
        noise or {}, {},
    )  # fmt: skip


def random_batch(spec: Spec, size: int, seed: int = 0, noise=None) -> Batch:
    """One in seven rows terminates."""
    generator = torch.Generator().manual_seed(seed)
    obs, next_obs = (torch.randn((size, *spec.obs_shape), generator=generator) for _ in range(2))
    if spec.num_actions:
        action = torch.randint(spec.num_actions, (size,), generator=generator)
    else:
        action = torch.rand((size, spec.action_dim), generator=generator) * 2 - 1
    discount = 0.9 * (torch.arange(size) % 7 != 6)
    return make_batch(obs, action, torch.randn(size, generator=generator), discount, next_obs, noise=noise)


@lru_cache(4)
def learner(agent: Agent) -> Learner:
    """A plain one. Tests make hundreds of updates, and a learner goes through all parts of its agent when it is made."""
    from deeprl.running.training.learner import Learner

    return Learner(agent, lambda batch: batch)


def update(agent: Agent, batch: Batch) -> Report:
    """One plain gradient update."""
    return learner(agent).update(batch)


def collecting(agent: Agent) -> Callable:
    """What a collector asks for actions."""
    return learner(agent).act


def entry(noise: Any, place: int = 0) -> Any:
    """One entry of the first axis of every tensor."""
    return map_tensors(itemgetter(place), noise)


def draw(replay: Replay, u: torch.Tensor | None = None, seed: int = 0) -> Batch:
    """A batch without noise. u: (B,) float64."""
    if u is None:
        u = replay.noise(1, torch.Generator().manual_seed(seed))["u"][0]
    return replay.batch(replay.draw(u))


# ---- configurations


@cache
def _composed(overrides: tuple[str, ...]) -> bytes:
    from deeprl.running.config.compose import compose

    return pickle.dumps(compose(overrides))


@cache
def _settled(overrides: tuple[str, ...]) -> bytes:
    from deeprl.running.session.complete import complete

    return pickle.dumps(complete(*composed(*overrides)[:2]))


def composed(*overrides: str) -> tuple[dict, set[str], dict[str, str]]:
    """As `compose` gives it: once a process, and a copy for each caller, who may change it."""
    return pickle.loads(_composed(overrides))


def settled(*overrides: str) -> dict:
    return pickle.loads(_settled(overrides))


@cache
def spec_of(env: str) -> Spec:
    from deeprl.running.config.instantiate import instantiate

    return instantiate(settled(f"env={env}")["env"], "env").spec()


def flat(gradients) -> torch.Tensor:
    """One vector: a compiled gradient comes in other pieces than a plain one."""
    return torch.cat([part.flatten() for part in gradients])


def traced_gradient(agent, name: str, batch: Batch) -> tuple[list[torch.Tensor], Report]:
    """The gradient of an objective, of its optimizer's flat tensors, as the graph computes it that a compiler would get."""
    from torch.utils._pytree import tree_leaves

    from deeprl.running.accelerate.graph import traced
    from deeprl.running.accelerate.pure import PureStep

    pure, metrics = PureStep(agent, name, lambda batch: batch), []

    def listed(flats, shared, loose, batch):
        gradients, learned = pure.gradients(flats, pure.constants.named(shared, loose), batch)
        metrics[:] = learned.metrics
        return [*gradients, learned.error, *learned.metrics.values()]

    arguments = ([group.flat for group in pure.groups], pure.constants.flats(), pure.constants.loose(), batch)
    graph, wanted = traced(listed, arguments)
    found = graph(*[leaf for leaf, keep in zip(tree_leaves(arguments), wanted) if keep])
    count = len(pure.groups)
    return found[:count], Report(found[count], dict(zip(metrics, found[count + 1 :])))


def assert_close32(found: torch.Tensor, expected: torch.Tensor) -> None:
    """
    As near as two orders of the same sums in float32 are: some 80 units in the last place of the largest entry. For what a network says,
    which may come as float64 (a logarithm mapped back) with no more than float32's digits in it.
    """
    torch.testing.assert_close(found, expected, rtol=0.0, atol=1e-5 * float(expected.abs().max()))


def made_up(agent, spec: Spec, size: int = 3, seed: int = 0) -> Batch:
    """A batch of random rows; sequences of four if the agent needs them."""
    from deeprl.running.config.dry_run import SEQUENCED, made_up_batch

    return made_up_batch(agent, spec, (4, size) if agent.needs & SEQUENCED else (size,), seed=seed)


# ---- commands, in this process

CARTPOLE = (
    "agent=dqn", "env=classic/cartpole", "env.num=2", "steps=300", "replay.learning_starts=60", "replay.ratio=0.25", "replay.capacity=150",
    "replay.batch_size=16", "agent.torso.hidden=[16]", "agent.chain.target_update_period=30", "agent.explore.schedule.duration=100",
    "agent.explore.schedule.end=0.05", "agent.optimizer.schedule.duration=300", "evaluation.every=100", "evaluation.episodes=2",
    "evaluation.final_episodes=3", "evaluation.num=2", "checkpoint.every=80", "log.every=50", "runtime.threads=1",
)  # fmt: skip


def front_door(*words: str) -> int:
    """`python train.py words`: its exit code."""
    from deeprl.cli import train as door

    before = sys.argv
    sys.argv = ["train.py", *words]
    try:
        door.main()
    except SystemExit as left:
        return int(left.code or 0)
    finally:
        sys.argv = before
    return 0


def begin(path: Path, *words: str) -> int:
    """As `front_door(*words, f"hydra.run.dir={path}")`, from where Hydra has composed: where the command line is not what is tested."""
    from deeprl.cli import exits
    from deeprl.cli import train as door
    from deeprl.errors import ConfigError
    from deeprl.running.session import session
    from deeprl.running.session.complete import complete

    config, user, _ = composed(*words)
    path.mkdir(parents=True)

    def trained() -> int:
        try:
            return exits.ended(*session.train(complete(config, user), path), path)
        except ConfigError:
            door.discard(path)
            raise

    return exits.guarded(trained, path)


def console(*words: object) -> int:
    """`deeprl words`: its exit code."""
    from deeprl.cli import main as cli

    with pytest.raises(SystemExit) as left:
        cli.main([str(word) for word in words])
    return int(left.value.code or 0)


def lines(folder: Path, name: str) -> list[dict]:
    """Without clock times."""
    from deeprl.running.runs.folder import read_lines

    return [{k: v for k, v in line.items() if k != "time" and not k.startswith("time/")} for _, line in read_lines(folder / name)]


# ---- values that are given, not computed


def values(q) -> ScalarValues:
    """(K, B, A), or (B, A) of a chain of one."""
    q = torch.as_tensor(q, dtype=torch.float32)
    q = q if q.dim() > 2 else q.unsqueeze(0)
    return ScalarValues(q, squared, torch.zeros(1, q.shape[1], 1))


def view(now=None, next=None):
    """What a network says at both ends of a batch, as numbers."""
    return SimpleNamespace(**{end: values(q) for end, q in (("now", now), ("next", next)) if q is not None})


def transition(reward: float, discount: float, action: int = 0, noise=None) -> Batch:
    """A batch of one whose observations nobody looks at."""
    return make_batch([0], [action], [reward], [discount], [0], noise=noise)


class Table(nn.Module):
    """A network that looks its answers up: observation s, an integer, gets q[:, s]. It remembers what it was asked."""

    def __init__(self, q):
        super().__init__()
        self.q = torch.as_tensor(q, dtype=torch.float32)  # (K, S, A)
        self.asked: list[tuple[list[int], dict]] = []

    def forward(self, obs, noise=QUIET):
        self.asked.append((obs.tolist(), noise))
        return ScalarValues(self.q[:, obs], squared, torch.zeros(1, *obs.shape, 1))


class Weights(nn.Module):
    """A network of one weight per head and one per torso, zero at first: what a chain moves, without anything to compute."""

    ensemble = 1

    def __init__(self, place, stack, torsos, index):
        super().__init__()
        self.place, self.index = place, index
        self.head = nn.Parameter(torch.zeros(stack, 1), requires_grad=False)
        self.torso = nn.Parameter(torch.zeros(torsos, 1), requires_grad=False)

    def noise(self, size, generator, role):
        return QUIET


# ---- agents with every slot filled


def value_agent(spec: Spec = DISCRETE, seed: int = 0, **slots) -> ValueAgent:
    from deeprl.learning.backups.bellman import Max
    from deeprl.learning.networks.heads import Scalar
    from deeprl.learning.networks.torsos import MLPTorso
    from deeprl.learning.optim.adam import Adam
    from deeprl.learning.parts.chains import Single
    from deeprl.learning.parts.exploration import EpsilonGreedy
    from deeprl.learning.transforms.observations import Plain
    from deeprl.learning.transforms.rewards import Raw
    from deeprl.learning.value_agent import ValueAgent

    parts = {
        "torso": MLPTorso(hidden=(7,)),
        "head": Scalar(),
        "backup": Max(),
        "chain": partial(Single, target_update_period=10),
        "rewards": Raw,
        "normalize": Plain,
        "explore": EpsilonGreedy(),
        "optimizer": Adam(lr=0.01),
    }
    return ValueAgent(spec=spec, seed=seed, **grouped(ValueAgent, {**parts, **slots}))


def actor_critic(spec: Spec = CONTINUOUS, seed: int = 0, **slots) -> ActorCritic:
    from deeprl.learning.actor_critic import ActorCritic
    from deeprl.learning.backups.actor import PolicyBackup
    from deeprl.learning.networks.actors import Deterministic
    from deeprl.learning.networks.encoders import ImageEncoder
    from deeprl.learning.networks.heads import Scalar
    from deeprl.learning.networks.torsos import MinAtarTorso, MLPTorso
    from deeprl.learning.optim.adam import Adam
    from deeprl.learning.parts.exploration import GaussianNoise
    from deeprl.learning.parts.polyak import Polyak
    from deeprl.learning.transforms.observations import Plain
    from deeprl.learning.transforms.rewards import Raw
    from deeprl.learning.values.reduce import First, Minimum

    parts = {
        "encoder": ImageEncoder(features=4, shift=2),
        "encoder_torso": MinAtarTorso(channels=3),
        "torso": MLPTorso(hidden=(7,)),
        "head": Scalar(),
        "ensemble": 2,
        "actor": Deterministic(),
        "actor_torso": MLPTorso(hidden=(7,)),
        "backup": PolicyBackup(),
        "chain": partial(Polyak, tau=0.25),
        "reduce": Minimum(),
        "actor_reduce": First(),
        "actor_period": 2,
        "explore": GaussianNoise(random_steps=0),
        "rewards": Raw,
        "normalize": Plain,
        "optimizer": Adam(lr=0.01),
        "actor_optimizer": Adam(lr=0.003),
    }
    return ActorCritic(spec=spec, seed=seed, **grouped(ActorCritic, {**parts, **slots}))


def sac(spec: Spec = CONTINUOUS, seed: int = 0, **slots) -> ActorCritic:
    from deeprl.learning.backups.actor import PolicyBackup
    from deeprl.learning.networks.actors import SquashedGaussian
    from deeprl.learning.parts.exploration import Sampled
    from deeprl.learning.parts.temperature import LearnedTemperature
    from deeprl.learning.values.reduce import Minimum

    parts = {
        "actor": SquashedGaussian(),
        "backup": PolicyBackup(target_actor=False, smoothing=0.0),
        "actor_reduce": Minimum(),
        "actor_period": 1,
        "temperature": partial(LearnedTemperature, value=0.5),
        "explore": Sampled(random_steps=0),
    }
    return actor_critic(spec, seed, **{**parts, **slots})


def train(path: Path, *overrides: str) -> Trainer:
    """A whole run in `path`, as `train.py` makes it, without its command line."""
    from deeprl.running.session import session
    from deeprl.running.session.complete import complete

    config, user, _ = composed(*overrides)
    path.mkdir(parents=True)
    return session.train(complete(config, user), path)[1]


def snapshot(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def changed_by(agent: Agent, name: str, batch: Batch) -> set[str]:
    """Names of the parameters and buffers that one step of an objective changes."""
    from deeprl.running.training.learner import gradient

    before = snapshot(agent)
    gradients, _ = gradient(agent, name, batch)
    agent.objectives[name].optimizer.step(gradients, 0)
    return {key for key, tensor in agent.state_dict().items() if not torch.equal(tensor, before[key])}


def below(agent: Agent, *prefixes: str) -> set[str]:
    """Names of all parameters and buffers with one of these prefixes."""
    return {key for key in agent.state_dict() if key.startswith(prefixes)}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def equal(one, other) -> bool:
    """Nested dictionaries of tensors, bit for bit."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    return torch.equal(one, other)
