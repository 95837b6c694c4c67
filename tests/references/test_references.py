"""Twenty updates of an agent are those of its reference in plain PyTorch."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from deeprl.learning.backups.actor import PolicyBackup
from deeprl.learning.backups.bellman import Double, Max
from deeprl.learning.networks.heads import Scalar
from deeprl.learning.networks.torsos import MLPTorso
from deeprl.learning.optim.adam import Adam
from deeprl.learning.parts.chains import Single
from deeprl.learning.parts.polyak import Polyak
from deeprl.learning.parts.temperature import LearnedTemperature
from deeprl.learning.policy_gradient import Surrogate
from deeprl.learning.values.reduce import First, Minimum
from deeprl.types import Batch
from tests.agents.test_ppo import agent_of
from tests.agents.test_td3 import batches
from tests.builders import DISCRETE, actor_critic, random_batch, sac, update, value_agent
from tests.references.dqn import DQN
from tests.references.ppo import PPO
from tests.references.sac import SAC
from tests.references.td3 import TD3, values

UPDATES, TAU, LR, ACTOR_LR, EPS = 20, 0.05, 0.01, 0.003, 1e-3
"""A large ε: with 1e-8 the first step of Adam is the sign of a gradient, and rounding may turn the sign of one that is nearly zero."""

close = partial(torch.testing.assert_close, rtol=1e-5, atol=1e-6)


def layers_of(network, entry: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Weights (in, out) and biases of the layers of one entry of a stack: those of the torso, then the last one."""
    top = network.last if hasattr(network, "last") else network.head.advantage
    blocks = [(network.torso, i) for i in range(network.torso.depth)] + [(top, 0)]
    return [(getattr(block, f"weight_{i}")[entry], getattr(block, f"bias_{i}")[entry, 0]) for block, i in blocks]


def mlp(network, entry: int, activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """Entry `entry` of a stack as nn.Linear layers with an activation between."""
    layers: list[nn.Module] = []
    for weight, bias in layers_of(network, entry):
        made = nn.Linear(*weight.shape)
        made.weight.data.copy_(weight.T)
        made.bias.data.copy_(bias)
        layers += [made, activation()]
    return nn.Sequential(*layers[:-1])


def agrees(network, entry: int, theirs: nn.Sequential) -> None:
    for (weight, bias), made in zip(layers_of(network, entry), theirs[::2], strict=True):
        close(weight.T, made.weight.detach())
        close(bias, made.bias.detach())


def critics_of(network, count: int) -> nn.ModuleList:
    return nn.ModuleList(mlp(network, e) for e in range(count))


def critics_agree(agent, plain) -> None:
    for ours, theirs in ((agent.chain.online, plain.critics), (agent.chain.target, plain.target_critics)):
        for e, critic in enumerate(theirs):
            agrees(ours, e, critic)


@pytest.mark.parametrize(("loss", "double"), [("squared", False), ("huber", True)])
def test_dqn(loss, double):
    chain = partial(Single, target_update_period=5)
    agent = value_agent(chain=chain, head=Scalar(loss=loss), backup=Double() if double else Max(), optimizer=Adam(lr=LR, eps=EPS))
    distance = nn.functional.mse_loss if loss == "squared" else nn.functional.smooth_l1_loss
    plain = DQN(mlp(agent.chain.online, 0), LR, sync_period=5, double=double, distance=distance, eps=EPS)
    for step in range(1, UPDATES + 1):
        batch = random_batch(DISCRETE, 11, step)._replace(weight=torch.linspace(0.5, 2.0, 11))
        close(update(agent, batch).error, plain.update(batch))
        agent.tick(step - 1, step)
    agrees(agent.chain.online, 0, plain.q)
    agrees(agent.chain.target, 0, plain.target)


@pytest.mark.parametrize(("critics", "smoothing", "delay", "reduce"), [(2, 0.2, 2, Minimum()), (1, 0.0, 1, First())], ids=["td3", "ddpg"])
def test_td3(critics, smoothing, delay, reduce):
    agent = actor_critic(
        seed=1, actor_torso=MLPTorso(hidden=(7, 6)), torso=MLPTorso(hidden=(9, 8)), ensemble=critics, reduce=reduce, actor_period=delay,
        chain=partial(Polyak, tau=TAU), backup=PolicyBackup(smoothing=smoothing, clip=0.5),
        optimizer=Adam(lr=LR, eps=EPS), actor_optimizer=Adam(lr=ACTOR_LR, eps=EPS),
    )  # fmt: skip
    plain = TD3(mlp(agent.actor, 0), critics_of(agent.chain.online, critics), LR, ACTOR_LR, TAU, smoothing, 0.5, delay, EPS)
    lower: set[int] = set()
    for batch in batches(agent, UPDATES):
        lower |= set(values(plain.target_critics, batch.obs, batch.action).argmin(0).tolist())
        loss = plain.update(batch, batch.noise.get("smoothing", torch.zeros(11, 2)))
        close(update(agent, batch).metrics["train/critic_loss"].mean(), loss)
    assert lower == set(range(critics))  # each critic is the lower one somewhere
    agrees(agent.actor, 0, plain.actor)
    agrees(agent.target_actor, 0, plain.target_actor)
    critics_agree(agent, plain)


def test_sac():
    agent = sac(
        actor_torso=MLPTorso(hidden=(7, 6)), torso=MLPTorso(hidden=(9, 8)), chain=partial(Polyak, tau=TAU),
        temperature=partial(LearnedTemperature, value=0.5, lr=0.02),
        optimizer=Adam(lr=LR, eps=EPS), actor_optimizer=Adam(lr=ACTOR_LR, eps=EPS),
    )  # fmt: skip
    plain = SAC(mlp(agent.actor, 0), critics_of(agent.chain.online, 2), LR, ACTOR_LR, 0.02, 0.5, target_entropy=-2.0, tau=TAU, eps=EPS)
    for batch in batches(agent, UPDATES):
        loss = plain.update(batch, batch.noise["next_action"], batch.noise["action"])
        close(update(agent, batch).metrics["train/critic_loss"].mean(), loss)
    agrees(agent.actor, 0, plain.actor)
    close(agent.temperature(), plain.log_alpha.detach().exp())
    critics_agree(agent, plain)


def test_ppo():
    """A rollout of 8 steps of 4 environments, in five passes over four minibatches."""
    agent = agent_of(
        torso=MLPTorso(hidden=(7, 6), activation="tanh"), lam=0.9, surrogate=Surrogate(clip=0.2, entropy_weight=0.01, value_weight=0.5),
        optimizer=Adam(lr=LR, eps=EPS, max_grad_norm=0.5),
    )  # fmt: skip
    networks = (mlp(network, 0, nn.Tanh) for network in (agent.policy, agent.value))
    plain = PPO(*networks, LR, lam=0.9, value_weight=0.5, entropy_weight=0.01, eps=EPS)
    rows = random_batch(DISCRETE, 32)
    rollout = Batch(*(each.unflatten(0, (8, 4)) if isinstance(each, torch.Tensor) else each for each in rows))
    rollout = rollout._replace(ended=torch.rand((8, 4), generator=torch.Generator().manual_seed(0)) < 0.2)
    prepared = {name: column.flatten() for name, column in agent.prepare(rollout).items()}
    minibatches = [some for seed in range(5) for some in torch.randperm(32, generator=torch.Generator().manual_seed(seed)).split(8)]
    plain.update(rollout, minibatches)
    for some in minibatches:
        batch = Batch(*(each[some] if isinstance(each, torch.Tensor) else each for each in rows))
        report = update(agent, batch._replace(extra={name: column[some] for name, column in prepared.items()}))
    assert report.metrics["train/clip_fraction"].any()  # the bounds of the ratio were met
    agrees(agent.policy, 0, plain.policy)
    agrees(agent.value, 0, plain.value)
