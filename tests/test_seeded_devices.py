"""Faults that are put into the program on purpose: the pretended device finds each of them in a short run."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor, nn

from deeprl.agents.dvw import InverseVariance
from deeprl.learning.actor_critic import ActorCritic
from deeprl.learning.networks import blocks
from deeprl.learning.networks.distributional import CategoricalHead, QuantileHead
from deeprl.learning.networks.value_network import ValueNetwork
from deeprl.learning.optim.adam import FlatAdam
from deeprl.learning.optim.finite import Watch
from deeprl.learning.optim.rmsprop import FlatRMSProp
from deeprl.learning.parts.chains import Chain
from deeprl.learning.parts.exploration import GaussianNoise
from deeprl.learning.transforms.observations import Running
from deeprl.learning.value_agent import ValueAgent
from deeprl.learning.values.mapped import Units
from deeprl.noise import map_tensors
from deeprl.replay.gather import Transitions
from deeprl.replay.mirror import DeviceMirror
from deeprl.replay.replay import Replay
from deeprl.running.training.collector import Collector
from deeprl.running.training.learner import Learner
from deeprl.running.training.trainer import Trainer
from deeprl.system.staging import Staging
from tests.device_runs import CARTPOLE, ITERATED, PENDULUM, SINGLE, begin, phases
from tests.pretended import Pretended

HERE = "tests/test_seeded_devices.py"
FAULT, BROKEN, NOTHING = "fault", "broken", "nothing"
"""Ways to notice: a listed fault; a run that ends with an error; not at all. A crossing is named instead, with its number in one call."""
Seed = tuple[type, str, Callable[[Callable], Callable]]


def after(owner: type, method: str, change: Callable[[Any], object]) -> Seed:
    """`change(self)` after the method."""

    def wrap(plain):
        @wraps(plain)  # a configuration is checked against the signature
        def called(self, *args, **kwargs):
            result = plain(self, *args, **kwargs)
            change(self)
            return result

        return called

    return owner, method, wrap


def result(owner: type, method: str, change: Callable[..., Any]) -> Seed:
    """`change(result, *arguments)` in place of the method's result."""
    return owner, method, lambda plain: lambda self, *args, **kwargs: change(plain(self, *args, **kwargs), *args)


def instead(owner: type, method: str, other: Callable) -> Seed:
    return owner, method, lambda plain: other


def home(*names: str) -> Callable[[Any], None]:
    """Tensors that are brought to the host."""

    def bring(owner: Any) -> None:
        for name in names:
            setattr(owner, name, getattr(owner, name).cpu())

    return bring


def constant_home(name: str) -> Callable[[Transitions], None]:
    def bring(gather: Transitions) -> None:
        gather.lasting[name] = gather.lasting[name].cpu()

    return bring


def parameters_home(module: nn.Module) -> None:
    for parameter in module.parameters():
        parameter.data = parameter.data.cpu()


def listed(place: int) -> Callable[[FlatAdam], None]:
    def bring(adam: FlatAdam) -> None:
        adam._lists[place][:] = [tensor.cpu() for tensor in adam._lists[place]]

    return bring


def as_list(network: ValueNetwork) -> None:
    if network.index is not None:
        index = network.index.tolist()
        del network.index
        network.index = index


def looked(look: Callable[[Tensor], object]) -> Seed:
    """A loss that looks at its errors."""
    return result(ValueAgent, "loss", lambda found, batch: (look(found.error), found)[1])


def late_actions(self, policy, tick, memory):
    action = policy().to("cpu", non_blocking=True)
    return action, torch.ones(len(action)), memory


def actions_there(self, policy, tick, memory):
    action = torch.from_numpy(policy().numpy())
    return action, torch.ones(len(action)), memory


def priorities(fetch: Callable[[Tensor], Tensor]) -> Seed:
    update = lambda self, drawn, error: self.draws.update(drawn.index.numpy(), fetch(error.detach()).numpy(), self.live)  # noqa: E731
    return instead(Replay, "priorities", update)


def one_block(kind: Callable[[Tensor], Tensor]) -> Seed:
    """Rows are copied from one block without an event, and the next draw writes into the same block."""

    def change(stage: Staging) -> None:
        stage.blocks = [kind(stage.blocks[0])] * 2
        stage.views = [stage._views(block, stage.views[0]) for block in stage.blocks]
        stage.events = [mock.Mock()] * 2

    return after(Staging, "_allocate", change)


DQN, TD3 = ("agent=dqn", *CARTPOLE, *SINGLE), ("agent=td3", *PENDULUM, "agent.explore.random_steps=0")
FROM_MAIN_MEMORY = (*DQN, "replay.device=cpu")
IDQN, PRIORITIZED = ("agent=idqn", *CARTPOLE, *ITERATED), (*DQN, "replay=prioritized")


def other(agent: str, *words: str) -> tuple[str, ...]:
    return (f"agent={agent}", *CARTPOLE, *SINGLE, *words)


def act_noise_home() -> Seed:
    return result(ValueAgent, "act_noise", lambda noise, *_: map_tensors(Tensor.cpu, noise))


SEEDS: dict[str, tuple[tuple[str, ...], Seed, Any]] = {
    "Adam's count on the host": (DQN, after(FlatAdam, "__init__", listed(3)), FAULT),
    "Adam's moments on the host": (DQN, after(FlatAdam, "__init__", listed(1)), FAULT),
    "RMSProp's average on the host": ((*DQN, "agent/optimizer=rmsprop"), after(FlatRMSProp, "__init__", home("square")), FAULT),
    "target network on the host": (DQN, after(Chain, "__init__", lambda chain: parameters_home(chain.target)), FAULT),
    "target copies on the host": (TD3, after(ActorCritic, "__init__", lambda agent: parameters_home(agent.target_actor)), FAULT),
    "flag of the watch on the host": (DQN, after(Watch, "__init__", home("failed")), FAULT),
    "noise of updates on the host": (TD3, after(Trainer, "__init__", lambda t: setattr(t.update_noise, "stage", None)), FAULT),
    "noise of noisy layers on the host": (other("noisy_dqn"), act_noise_home(), FAULT),
    "fractions for acting on the host": (other("iqn"), act_noise_home(), FAULT),
    "acting head on the host": (IDQN, act_noise_home(), ("tick parts/acting.py to device", 1)),
    "support of C51 on the host": (other("c51"), after(CategoricalHead, "__init__", home("support")), FAULT),
    "midpoints of QR-DQN on the host": (other("qrdqn"), after(QuantileHead, "__init__", home("midpoints")), FAULT),
    "units of channels on the host": (other("log_dqn"), after(Units, "__init__", home("scales", "offsets")), FAULT),
    "statistics that are applied on the host": ((*DQN, "agent/normalize=running"), after(Running, "__init__", home("shift")), FAULT),
    "statistics that are counted on the device": (
        (*DQN, "agent/normalize=running"),
        after(Running, "__init__", lambda part: setattr(part, "mean", part.mean.cuda())),
        ("tick transforms/moments.py to host", 1),
    ),
    "network of a weighting on the host": (
        other("dvw"),
        after(InverseVariance, "__init__", lambda part: parameters_home(part.previous)),
        FAULT,
    ),
    "observations on the host": (DQN, after(Collector, "__init__", lambda collector: setattr(collector, "stage", None)), FAULT),
    "rows on the host": (FROM_MAIN_MEMORY, after(Transitions, "__init__", lambda gather: setattr(gather, "stage", None)), FAULT),
    "places of rows on the host": (DQN, after(Transitions, "__init__", lambda gather: setattr(gather, "stage", list)), FAULT),
    "mirror on the host": (DQN, after(DeviceMirror, "__init__", home("rows")), FAULT),
    "importance weights on the host": (DQN, after(Transitions, "__init__", home("weight")), FAULT),
    "mask on the host": (DQN, after(Transitions, "__init__", constant_home("valid")), FAULT),
    "powers of the discount on the host": ((*DQN, "replay.n_step=3"), after(Transitions, "__init__", constant_home("powers")), FAULT),
    "list as an index": (IDQN, after(ValueNetwork, "__init__", as_list), ("learn networks/value_network.py to device", 1)),
    "weights drawn on the device": (DQN, instead(blocks, "fill_", lambda tensor, init, generator: tensor.uniform_(-0.1, 0.1)), FAULT),
    "number read in a loss": (DQN, looked(lambda error: error.sum().item()), (f"learn {HERE} read", 1)),
    "question asked in a loss": (DQN, looked(lambda error: bool((error > 0).any())), (f"learn {HERE} read", 1)),
    "mask as an index in a loss": (DQN, looked(lambda error: error[error > 0]), (f"learn {HERE} read", 1)),
    "metrics read at every update": (
        DQN,
        result(Learner, "update_objective", lambda found, *_: (float(found[1]), found)[1]),
        (f"learn {HERE} read", 1),
    ),
    "errors given to NumPy": (PRIORITIZED, priorities(lambda error: error), FAULT),
    "actions given to NumPy": (TD3, instead(GaussianNoise, "__call__", actions_there), FAULT),
    "actions used before they arrive": (TD3, instead(GaussianNoise, "__call__", late_actions), BROKEN),
    "errors used before they arrive": (PRIORITIZED, priorities(lambda error: error.to("cpu", non_blocking=True)), BROKEN),
    "pinned block written too early": ((*FROM_MAIN_MEMORY, "replay.ratio=2"), one_block(Tensor.pin_memory), FAULT),
    "ordinary block, whose copy waits": ((*FROM_MAIN_MEMORY, "replay.ratio=2"), one_block(Tensor.clone), NOTHING),
}
FEW = ("Adam's count on the host", "mask as an index in a loss", "pinned block written too early")


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name in FEW else pytest.mark.exhaustive) for name in SEEDS])
def test_a_seeded_fault_is_found(name, tmp_path, monkeypatch):
    words, (owner, method, wrap), expected = SEEDS[name]
    monkeypatch.setattr(owner, method, wrap(getattr(owner, method)))
    broken = False
    with Pretended() as device, phases(device) as most:
        try:
            begin(tmp_path / "run", "cuda", *words, "steps=56", "evaluation.every=null", "checkpoint.every=null")
        except Exception as error:
            broken = str(error) or True
    if expected == FAULT:
        assert device.faults
    elif expected == BROKEN:
        assert broken
        assert not device.faults
    else:
        assert not broken
        assert not device.faults
        if expected != NOTHING:
            key, number = expected
            assert most[key] == number
