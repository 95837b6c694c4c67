"""Agents that remember on a pretended CUDA device: every core, and a core in every kind of agent."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from deeprl.agents.elstm import ELSTM, ExactELSTM
from deeprl.agents.srwm import SRWM
from deeprl.agents.stable_ssm import StableSSM
from deeprl.learning.agent import CORE
from deeprl.learning.networks.cores import GRU, LSTM, Keep
from tests.agents.test_ppo import agent_of as policy_agent
from tests.builders import actor_critic, entry, sac, same, value_agent
from tests.device_runs import updated
from tests.pretended import Pretended

CORES = {type(core).__name__: core for core in (LSTM(4), GRU(4), ELSTM(4), ExactELSTM(4), SRWM(4, 2, 1), StableSSM(4, 2, 1), Keep())}
AGENTS = {
    **{f"DQN {name}": partial(value_agent, core=core) for name, core in CORES.items()},
    **{f"PPO {name}": partial(policy_agent, core=CORES[name]) for name in ("GRU", "ExactELSTM")},
    **{f"SAC {name}": partial(sac, core=CORES[name]) for name in ("LSTM", "ELSTM")},
    "TD3 GRU": partial(actor_critic, core=CORES["GRU"]),
}


def learned_and_acted(make, device: str) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """The agent's state after two updates, and that of its core after an action, where one of two episodes starts."""
    with torch.device(device):
        agent = make()
    state, noise = updated(agent, device), entry(agent.act_noise((1, 2), torch.Generator().manual_seed(0)))
    obs = torch.ones(2, *agent.spec.obs_shape).to(device)
    memory = agent.act(obs, torch.ones(2, dtype=torch.bool), {}, 0, noise, explore=True).memory
    acted = agent.act(obs, torch.tensor([True, False]), memory, 1, noise, explore=True)
    return state, acted.memory[CORE].cpu()


@pytest.mark.parametrize("make", AGENTS.values(), ids=AGENTS)
def test_a_core_learns_and_acts_on_the_device_as_on_the_cpu(make):
    weights, state = learned_and_acted(make, "cpu")
    with Pretended() as device, device.during("update"):
        found = learned_and_acted(make, "cuda")
    assert not device.faults
    assert same(found[0], weights)
    assert found[1].equal(state)
