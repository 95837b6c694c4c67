"""Agents that remember on a pretended CUDA device: every core, and a core in every kind of agent."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from deeprl.learning.agent import CORE
from tests.agents.test_ppo import agent_of as policy_agent
from tests.builders import actor_critic, entry, sac, same, value_agent
from tests.device_runs import updated
from tests.learning.test_several_parts import made
from tests.presets import cores
from tests.pretended import Pretended

CORES = cores(4)
AGENTS = {
    **{f"DQN {name}": partial(value_agent, core=core) for name, core in CORES.items()},
    **{f"PPO {name}": partial(policy_agent, core=CORES[name]) for name in ("gru", "elstm_exact")},
    **{f"SAC {name}": partial(sac, core=CORES[name]) for name in ("lstm", "elstm")},
    "TD3 gru": partial(actor_critic, core=CORES["gru"]),
    "SAC gru of an image and a vector": partial(made, "recurrent sac"),
}


def learned_and_acted(make, device: str) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """The agent's state after two updates, and that of its core after an action, where one of two episodes starts."""
    with torch.device(device):
        agent = make()
    state, noise = updated(agent, device), entry(agent.act_noise((1, 2), torch.Generator().manual_seed(0)))
    obs = torch.ones(2, *agent.spec.obs_shape, dtype=agent.spec.obs_dtype).to(device)
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
