"""Every option of a slot that only agents of rollouts have computes on the pretended device what it computes on the CPU, and its state is
whole: an agent that is loaded from it goes on alike. Every rule by which a policy moves on whole episodes computes the same there too."""

from __future__ import annotations

from functools import partial
from itertools import zip_longest

import numpy as np
import pytest
import torch
from hydra.utils import get_class, instantiate
from omegaconf import OmegaConf

from deeprl.learning.agent import Agent
from deeprl.learning.trajectory_policy import TrajectoryPolicy
from deeprl.running.config.build import build_agent
from deeprl.running.config.dry_run import made_up_batch
from deeprl.running.config.menu import options
from deeprl.running.config.tuned import content, values
from deeprl.running.training.learner import Learner
from deeprl.types import Rows, Spec
from tests.agents.test_mac import mac
from tests.agents.test_pois import agent as moved
from tests.builders import same, settled, snapshot, spec_of
from tests.device_runs import updated
from tests.presets import parts
from tests.pretended import Pretended

SLOTS = sorted(parts("ppo").keys() - parts("dqn").keys() - parts("sac").keys() | {"policy"})
ROWS = list(
    zip_longest(*([option for option in options(f"agent/{slot}") if "???" not in str(content(f"agent/{slot}", option))] for slot in SLOTS))
)
"""As many combinations as the longest slot has options; each has the next of every slot, if one is left. Options that need a value of the
user's, such as a run, have tests of their own"""


def small(row) -> dict:
    words = [f"agent/{slot}={option}" for slot, option in zip(SLOTS, row) if option is not None]
    return settled("agent=ppo", "env=mujoco/hopper", "agent.torso.hidden=[8]", "replay.minibatches=1", *words)


def go_on(agent: Agent, device: str) -> dict[str, torch.Tensor]:
    """Its state, on the CPU, after rows and updates."""
    random, learner, spec = np.random.default_rng(0), Learner(agent, lambda batch: batch), agent.spec
    for step in (1, 2):
        obs, after = (random.normal(size=(2, *spec.obs_shape)).astype(np.float32) for _ in range(2))
        flags, ones, action = np.zeros(2, bool), np.ones(2, np.float32), random.normal(size=(2, spec.action_dim)).astype(np.float32)
        agent.observe(Rows(obs, action, ones, after, flags, flags, ones))
        batch = made_up_batch(agent, spec, (4, 3) if agent.state_size else (3,), device, seed=step)
        agent.before_pass(step - 1)
        agent.read(learner.update(batch).metrics)
        agent.tick(step - 1, step)
    return {name: tensor.cpu() for name, tensor in snapshot(agent).items()}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: "-".join(filter(None, row)))
def test_options_on_the_device_and_from_a_state(row):
    config, spec = small(row), spec_of("mujoco/hopper")
    agent = build_agent(config, spec)
    expected, state = go_on(agent, "cpu"), agent.state()
    with Pretended() as device:
        found = go_on(build_agent({**config, "device": "cuda"}, spec), "cuda")
    assert not device.faults
    assert same(found, expected)
    loaded = build_agent({**config, "seed": 1}, spec)
    loaded.load_state(state)
    assert same(go_on(loaded, "cpu"), go_on(agent, "cpu"))


OWN = {"pois_parameters": {"log_std": 1, "steps": 1}}
"""Made-up episodes are not those of a law that several steps have narrowed. The whole number was refused, as of another type"""


def moving(option: str, spec: Spec) -> TrajectoryPolicy:
    """The agent that moves by an option of `agent/ascent`, which is not composed."""
    found = OmegaConf.create()
    for key, value in {**values("agent/ascent", option), **OWN.get(option, {})}.items():
        OmegaConf.update(found, key, value)
    kind = get_class(found.pop("_target_"))
    found.pop("_partial_")
    return moved(spec, kind, **instantiate(found, _convert_="all"))


@pytest.mark.parametrize("made", [*(partial(moving, option) for option in options("agent/ascent")), mac])
def test_policies_of_whole_episodes_and_of_consecutive_steps_on_the_device(made):
    """Metrics that were made on the host stopped a run on a GPU at its first line of the log."""
    expected = updated(made(spec=spec_of("classic/cartpole")), "cpu")
    with Pretended() as device:
        with torch.device("cuda"):
            agent = made(spec=spec_of("classic/cartpole"))
        found = updated(agent, "cuda")
    assert not device.faults
    assert same(found, expected)
