"""Policies of every kind of agent as `torch.export` program and as ONNX model: the same actions, and no parameter that acting does not
read."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from functools import cache, partial

import numpy as np
import onnx
import pytest
import torch

from deeprl.agents.idqn import Iterated
from deeprl.agents.srwm import SRWM
from deeprl.envs.vector.actions import Actions
from deeprl.learning.agent import Agent
from deeprl.learning.networks.cores import LSTM
from deeprl.learning.networks.heads import Scalar
from deeprl.learning.networks.torsos import Nature
from deeprl.learning.transforms.observations import Running
from deeprl.running.config.build import build_agent
from deeprl.tools.export.check import Agreement, agreement, made_up, of_actions, of_values
from deeprl.tools.export.policy import ExportedPolicy, divided, inputs_of
from deeprl.tools.export.programs import Runner, exported, onnx_model, onnx_runner, runner, saved
from deeprl.types import Rows, Spec
from tests.builders import actor_critic, sac, settled, spec_of, value_agent
from tests.learning.test_several_parts import made

TORQUE = Actions(num=0, low=np.float32([-2.0]), high=np.float32([2.0]), shape=(1,))
UNEVEN = Actions(num=0, low=np.float32([-3.0, 0.0]), high=np.float32([1.0, 0.5]), shape=(2,))
IMAGE = Spec((4, 20, 20), torch.uint8, 3, 0)
CARTPOLE, PENDULUM, BREAKOUT = "env=classic/cartpole", "env=classic/pendulum", "env=minatar/breakout"


def preset(*overrides: str) -> Agent:
    config = settled(*overrides)
    env = next(word for word in overrides if word.startswith("env=")).removeprefix("env=")
    return build_agent(config, spec_of(env))


def observed(agent: Agent) -> Agent:
    """The agent after rows with mean 3 and standard deviation 20."""
    obs = 3.0 + 20.0 * np.random.default_rng(0).standard_normal((50, *agent.spec.obs_shape)).astype(np.float32)
    agent.observe(Rows(obs, None, None, obs, None, None, None))  # type: ignore[arg-type]  # normalisation reads `obs` alone
    return agent


def averaged(agent: Agent) -> Agent:
    """The agent with running statistics as after some training."""
    generator = torch.Generator().manual_seed(0)
    for name, buffer in agent.named_buffers():
        if "running_mean" in name:
            buffer.normal_(generator=generator)
        if "running_variance" in name:
            buffer.uniform_(0.5, 2.0, generator=generator)
    return agent


def chain(**settings) -> Agent:
    return value_agent(chain=partial(Iterated, length=3, shift_period=9, sync_period=3, **settings))


KINDS: dict[str, tuple[Callable[[], Agent], Actions | None]] = {
    "iqn": (lambda: preset("agent=iqn", CARTPOLE, "agent.torso.hidden=[8]"), None),
    "duelling noisy": (lambda: value_agent(head=Scalar(dueling=True, noisy=True, sigma=5.0)), Actions(num=3, start=7)),
    "log": (lambda: preset("agent=log_dqn", BREAKOUT), None),
    "nature": (lambda: value_agent(IMAGE, torso=Nature(head_hidden=(8,))), None),
    "td3, normalised": (lambda: observed(preset("agent=td3", PENDULUM, "agent/normalize=running")), TORQUE),
    "core of matrices": (lambda: value_agent(core=SRWM(4, 2, 1)), None),
    "core of an actor": (lambda: made("recurrent sac", normalize=Running), UNEVEN),
    "crossq": (lambda: averaged(preset("agent=crossq", PENDULUM, "agent.torso.hidden=[8]")), TORQUE),
}
OTHERS: dict[str, tuple[Callable[[], Agent], Actions | None]] = {
    "chain, drawn": (chain, None),
    "asinh": (lambda: preset("agent=dqn", CARTPOLE, "agent/mapping=asinh"), None),
    "core": (lambda: value_agent(core=LSTM(5)), None),
    "dqn": (lambda: preset("agent=dqn", CARTPOLE, "agent.torso.hidden=[8]"), None),
    "c51": (lambda: preset("agent=c51", CARTPOLE), None),
    "sac, normalised": (lambda: observed(sac(normalize=Running)), UNEVEN),
    "encoder": (lambda: actor_critic(IMAGE._replace(num_actions=0, action_dim=2)), UNEVEN),
    "chain with target, drawn": (partial(chain, acting="uniform_with_target", torso="separate"), None),
    "minatar": (lambda: preset("agent=dqn", BREAKOUT), None),
    "qrdqn": (lambda: preset("agent=qrdqn", CARTPOLE), None),
    "iiqn": (lambda: preset("agent=iiqn", CARTPOLE), None),
    "parts and a mask": (lambda: made("masked ppo", normalize=Running), None),
    "parts of an actor": (lambda: made("sac", normalize=Running), UNEVEN),
    "bounded": (lambda: preset("agent=dqn", CARTPOLE, "agent/head=bounded"), None),
    "loglin": (lambda: preset("agent=loglin_dqn", BREAKOUT), None),
    "bands": (lambda: preset("agent=dqn", BREAKOUT, "agent/mapping=loglinear", "agent/rewards=bands"), None),
    "signed root": (lambda: preset("agent=dqn", CARTPOLE, "agent/mapping=signed_root"), None),
    "impala": (lambda: preset("agent=dqn", BREAKOUT, "agent/torso=impala"), None),
    "weight norm": (lambda: preset("agent=dqn", BREAKOUT, "agent.torso.weight_norm=all"), None),
    "simba": (lambda: preset("agent=simba", PENDULUM, "agent.torso.width=16"), TORQUE),
    "bronet": (lambda: preset("agent=td3", PENDULUM, "agent/torso@agent.actor_torso=bronet"), TORQUE),
    "hyperspherical": (lambda: preset("agent=td3", PENDULUM, "agent/torso@agent.actor_torso=hyperspherical"), TORQUE),
    "rvi_sac": (lambda: preset("agent=rvi_sac", PENDULUM), TORQUE),
}


@cache
def policy(kind: str) -> ExportedPolicy:
    make, actions = {**KINDS, **OTHERS}[kind]
    agent = make()
    return ExportedPolicy(agent, actions or Actions(num=agent.spec.num_actions))


@cache
def program_of(kind: str):
    """Seconds each, so once for all tests."""
    return exported(policy(kind))


@cache
def onnx_of(kind: str) -> bytes:
    return onnx_model(program_of(kind), {}, [each.name for each in inputs_of(policy(kind).agent)])


def compared(policy: ExportedPolicy, run: Runner) -> Agreement:
    """The program against the agent's own action, converted by the environment layer."""
    obs, agent = made_up(policy.agent.spec), policy.agent
    state = [np.random.default_rng(0).uniform(-1, 1, (len(obs), agent.state_size)).astype(np.float32)] if agent.state_size else []
    question = [torch.from_numpy(each) for each in (obs, *state)]
    action, *after = agent.greedy(*question) if state else (agent.greedy(*question),)
    action, states = action.numpy(), [*state, *(each.numpy() for each in after)]
    if policy.discrete:
        values = agent.greedy_values(*question)
        values = (values[0] if state else values).numpy()
        return agreement(run, divided(agent, obs), action + policy.first, of_values(values, policy.first), states)
    actions = UNEVEN if action.shape[1] == 2 else TORQUE
    expected = actions.to_env(action)
    return agreement(run, divided(agent, obs), expected, of_actions(expected, policy.reach.numpy()), states)


@pytest.mark.parametrize("kind", [*KINDS, *(pytest.param(kind, marks=pytest.mark.exhaustive) for kind in OTHERS)])
def test_programs_act_like_the_agent(kind):
    whole = policy(kind)
    assert compared(whole, runner(program_of(kind))).equal > 0.99
    name, run, most = onnx_runner(onnx_of(kind))
    assert (name.split()[0], most) == ("onnxruntime", None)
    result = compared(whole, run)
    assert result.observations == len(made_up(whole.agent.spec))
    assert result.equal > 0.99 or not whole.discrete


@pytest.mark.parametrize(
    ("kind", "read"),
    [
        ("td3, normalised", {"low", "high", "centre", "reach", "agent.normalize", "agent.actor"}),
        ("encoder", {"low", "high", "centre", "reach", "agent.encoder", "agent.actor"}),
        ("chain, drawn", {"agent.chain.online"}),
        ("chain with target, drawn", {"agent.chain.online", "agent.chain.target"}),
    ],
)
def test_a_program_holds_what_acting_reads(kind, read):
    names = program_of(kind).state_dict
    assert {next((start for start in read if f"{name}.".startswith(f"{start}.")), name) for name in names} == read


def test_deviations_of_noisy_layers_stay_behind():
    whole = policy("duelling noisy")
    before = set(whole.state_dict())
    assert not [name for name in exported(whole).state_dict if "sigma" in name]
    assert set(whole.state_dict()) == before, "the agent itself lost parameters"


def test_the_number_of_observations_is_free_and_named_in_onnx():
    model = onnx.load_from_string(onnx_model(program_of("dqn"), {"agent": "dqn", "step": 300, "input": {"shape": ["M", 4]}}, ["obs"]))
    ends = [
        (value.name, [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim])
        for value in (*model.graph.input, *model.graph.output)
    ]
    assert ends == [("obs", ["M", 4]), ("action", ["M"])]
    assert {entry.key: entry.value for entry in model.metadata_props} == {"agent": "dqn", "step": "300", "input": '{"shape": ["M", 4]}'}
    onnx.checker.check_model(model)


def test_a_saved_program_can_be_loaded_with_torch_alone():
    whole = policy("dqn")
    extra = {"policy.json": ""}
    loaded = torch.export.load(io.BytesIO(saved(program_of("dqn"), {"step": 300})), extra_files=extra)
    assert compared(whole, runner(loaded)).equal > 0.99
    assert json.loads(extra["policy.json"]) == {"step": 300}


def test_no_folder_of_this_machine_is_in_the_files():
    for content in (saved(program_of("dqn"), {}), onnx_of("dqn")):
        assert b"value_agent.py" not in content


def test_the_evaluator_of_onnx_stands_in_for_a_missing_onnxruntime(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    whole = policy("dqn")
    name, run, most = onnx_runner(onnx_of("dqn"))
    assert name.startswith("onnx ")
    assert most == 64
    assert compared(whole, run).equal > 0.99
