"""Whole runs on a pretended CUDA device: no mixture of devices, the bits of the CPU, and a table of what makes the host wait.

The table states the most crossings of one call: a tick (2 steps), an update, a check of the guard, a log line. A new entry needs
a reason, because the host waits at each. Building, evaluations, checkpoints and resuming may wait.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from deeprl.learning.networks.blocks import initialise
from deeprl.learning.networks.convolutions import ImageBlock
from deeprl.learning.networks.copies import Copies
from deeprl.running.accelerate import compiled, graph
from deeprl.running.config.build import build_agent, environment
from deeprl.running.session import api
from tests.builders import same, settled
from tests.corridor import CORRIDOR
from tests.device_runs import (
    CARTPOLE,
    DISCRETE,
    GATHERED,
    ITERATED,
    MINATAR,
    NOISE,
    NOISY_ROWS,
    PENDULUM,
    ROWS,
    SINGLE,
    begin,
    check_device,
    phases,
    run,
    updated,
)
from tests.presets import covering
from tests.pretended import Pretended, Recording
from tests.promises.test_resume import assert_same_run

SAMPLED = {"tick actor_critic.py to device": 1}  # acting noise of 512 ticks
ERRORS = {"learn replay/replay.py to host": 1}  # become priorities
STATISTICS = {
    **{f"tick agents/random_rewards.py {kind}": 1 for kind in ("to device", "to host")},
    **{f"tick transforms/moments.py {kind}": number for kind, number in (("to device", 2), ("to host", 2), ("read", 1))},
}
"""On the device, because the loss reads them"""
STATISTICS_OF_PARTS = {"tick transforms/observations.py to device": 2, "check training/crash.py to device": 3}
"""Those that are applied, and the flags of those that stay on the host"""
OFFSETS = {"draw replay/sequences.py to device": 1}  # once in a run
SHORT_ROLLOUTS = ("agent.torso.hidden=[8]", "replay.length=8", "replay.epochs=2", "replay.minibatches=2")
ROLLOUT = {
    "draw of a rollout replay/rollout.py to device": 1,
    "preparation of a rollout replay/rollout.py to device": 8,  # all rows
}
"""In an agent's dry run too"""
STAYS = ROLLOUT | {
    "tick system/staging.py to device, no wait": 0,
    "tick parts/exploration.py to host": 0,
    "metrics training/device_collector.py read": 1,  # episodes
    "tick on the device envs/vector/on_device.py to device": 3,  # the first state of a world
    "tick on the device training/device_collector.py to device": 2,  # beside it, observations and returns; noise of 512 ticks
}
"""Nothing goes to the host in a tick, in an update, or between them"""
PATHS: dict[str, tuple[tuple[str, ...], dict[str, int]]] = {
    "dqn": (("agent=dqn", *CARTPOLE, *SINGLE), ROWS),
    "images": (("agent=dqn", *MINATAR, *SINGLE, "replay.ratio=2"), ROWS),
    "parts": (("agent=dqn", "env=parts/marks", *MINATAR[1:], *SINGLE, "agent/normalize=running"), ROWS | STATISTICS_OF_PARTS),
    "parts of an actor": (("agent=sac", "env=parts/marks_continuous", "agent.encoder.features=4", *PENDULUM[1:]), NOISY_ROWS | SAMPLED),
    "td3": (("agent=td3", *PENDULUM), NOISY_ROWS),
    "ddpg prioritized": (
        ("agent=ddpg", *PENDULUM, "replay=prioritized", "agent/normalize=running", "agent/rewards=scaled", "agent/optimizer=rmsprop"),
        ROWS
        | ERRORS
        | {
            "tick transforms/observations.py to device": 2,  # the statistics that are applied
            "check training/crash.py to device": 8,  # the flags of those that stay on the host
        },
    ),
    "sac": (("agent=sac", *PENDULUM), NOISY_ROWS | SAMPLED),
    "isac implicit": (
        ("agent=isac", *PENDULUM, "agent/head=implicit_quantile", "agent.head.noisy=true"),
        NOISY_ROWS | SAMPLED,
    ),
    "tqc": (("agent=tqc", *PENDULUM, "replay.ratio=2"), NOISY_ROWS | SAMPLED),
    "redq": (("agent=redq", *PENDULUM, "agent/head=categorical"), NOISY_ROWS | SAMPLED),
    "crossq": (("agent=crossq", *PENDULUM, "agent.torso.settle=5"), NOISY_ROWS | SAMPLED),
    "flash_sac": (
        ("agent=flash_sac", *PENDULUM[:1], "agent.torso.width=8", "agent.actor_torso.width=8", *PENDULUM[3:]),
        NOISY_ROWS
        | SAMPLED
        | {
            "tick parts/exploration.py to device": 2,  # where noise is drawn anew; the memory after resuming
            "check training/crash.py to device": 5,  # as above
        },
    ),
    "xqc": (
        ("agent=xqc", *PENDULUM[:1], "agent.torso.hidden=[8,8]", "agent.actor_torso.hidden=[8]", *PENDULUM[3:], "replay.ratio=1"),
        NOISY_ROWS | SAMPLED | {"check training/crash.py to device": 5},  # the flags of scaled rewards that stay on the host
    ),
    "aro_ddpg": (("agent=aro_ddpg", "env=classic/pendulum", *PENDULUM[1:], "discount=1"), ROWS),
    "rvi_sac": (
        ("agent=rvi_sac", *PENDULUM, "discount=1", "agent.rate.hidden=[8]"),
        NOISY_ROWS | SAMPLED,
    ),
    "itd3 shared": (
        (
            *("agent=itd3", *PENDULUM, "agent/chain=iterated", "agent.chain.shift_period=20", "agent.chain.sync_period=6"),
            *("agent/weighting=inverse_variance", "agent/auxiliary=random_rewards"),
        ),
        NOISY_ROWS | STATISTICS,
    ),
    "idqn": (("agent=idqn", *CARTPOLE, *ITERATED), ROWS | {"tick value_agent.py to device": 1}),  # acting noise of 512 ticks
    "idqn episode": (
        ("agent=idqn", *CARTPOLE, *ITERATED, "agent.chain.acting=episode"),
        ROWS | {"tick value_agent.py to device": 1, "tick parts/acting.py to device": 2},  # where episodes start; the memory after resuming
    ),
    "idqn target": (
        ("agent=idqn", *CARTPOLE, *ITERATED, "agent.chain.acting=uniform_with_target"),
        ROWS | {"tick value_agent.py to device": 1},
    ),
    "is_dqn": (
        ("agent=is_dqn", *MINATAR, "agent.chain.length=3", "agent.chain.shift_period=20"),
        ROWS | {"tick value_agent.py to device": 1},
    ),
    "gi_dqn": (
        ("agent=gi_dqn", *CARTPOLE, "agent.chain.length=3", "agent.chain.shift_period=20"),
        ROWS | {"tick value_agent.py to device": 1},
    ),
    "c51": (("agent=c51", *CARTPOLE, *SINGLE), ROWS),
    "pqn": (
        ("agent=pqn", *CARTPOLE[:2], "agent.explore.schedule.duration=48", "replay.length=8", "replay.epochs=2"),
        ROLLOUT,
    ),
    "ppo": (
        ("agent=ppo", PENDULUM[0], "agent.torso.hidden=[8]", "replay.length=8", "replay.epochs=2", "replay.minibatches=2"),
        ROLLOUT
        | {
            "tick policy_agent.py to device": 1,  # acting noise of 512 ticks
            "tick policy_agent.py to host": 1,  # actions, which are samples of the policy
            "tick parts/exploration.py to host": 0,
        },
    ),
    "a tensor world": (
        ("agent=ppo", "env=tensor/pendulum", "env.max_episode_steps=7", *SHORT_ROLLOUTS, "agent/normalize=running", "agent/rewards=scaled"),
        STAYS | {"tick on the device policy_agent.py to device": 1},
    ),
    "a tensor world and values": (
        ("agent=pqn", "env=tensor/cartpole", *SHORT_ROLLOUTS, "agent.explore.schedule.duration=48"),
        STAYS | {"tick on the device training/device_collector.py to device": 4},
    ),
    "boltzmann": (
        (
            "agent=dqn",
            *CARTPOLE[:2],
            "replay.batch_size=8",
            DISCRETE[-1],
            "agent.explore.temperature.duration=48",
            "agent/explore=boltzmann",
            *SINGLE,
        ),
        ROWS | {"tick parts/boltzmann.py to host": 1, "tick parts/exploration.py to host": 0},  # the values, in place of the actions
    ),
    "qrdqn": (("agent=qrdqn", *MINATAR, *SINGLE, "agent.head.dueling=true"), ROWS),
    "bounded": (("agent=dqn", *CARTPOLE, *SINGLE, "agent/head=bounded", "agent/backup=double"), ROWS),
    "iiqn prioritized": (
        ("agent=iiqn", *CARTPOLE, *ITERATED, "replay=prioritized"),
        NOISY_ROWS | ERRORS | {"tick value_agent.py to device": 2},
    ),
    "noisy n steps": (
        ("agent=noisy_dqn", *MINATAR, *SINGLE, "replay=prioritized", "replay.n_step=3"),
        NOISY_ROWS | ERRORS | {"draw replay/gather.py to device": 1, "tick value_agent.py to device": 4},  # once the powers of γ
    ),
    "log": (("agent=log_dqn", *CARTPOLE, *SINGLE, "agent/optimizer=rmsprop"), ROWS),
    "loglin": (("agent=loglin_dqn", *CARTPOLE, *SINGLE), ROWS),
    "dvw": (("agent=dvw_munchausen", *CARTPOLE, *SINGLE), ROWS),
    "masks": (
        ("agent=retrace_dqn", *CORRIDOR, *CARTPOLE[1:], *SINGLE, "replay=sequences", "replay.length=4"),
        ROWS | OFFSETS | {"tick value_agent.py to host": 1},  # the masks, because exploration draws on the host
    ),
    "retrace": (
        ("agent=retrace_dqn", *CARTPOLE, *SINGLE, "replay=sequences", "replay.length=4"),
        ROWS | OFFSETS,
    ),
    "bottleneck": (("agent=c51", *CARTPOLE, *SINGLE, "agent/backup=bottleneck", "replay.length=4"), ROWS | OFFSETS),
    "rbis prioritized": (
        ("agent=rbis_dqn", *MINATAR, *SINGLE, "replay.length=4", "replay.sampler._target_=deeprl.replay.samplers.Prioritized"),
        ROWS | OFFSETS | {"learn replay/sequences.py to host": 1},  # errors
    ),
    "core": (
        ("agent=r2d2", *CARTPOLE, *SINGLE, "agent.core.width=6", "replay.length=4", "replay.burn_in=2"),
        ROWS
        | OFFSETS
        | {
            "learn replay/sequences.py to host": 1,  # errors
            "tick agent.py to device": 2,  # where episodes start; the memory after resuming
            "tick training/collector.py to host": 1,  # states, which are stored
        },
    ),
    "self prediction": (("agent=dqn", *CARTPOLE, *SINGLE, "agent/auxiliary=self_prediction"), ROWS),
    "bidirectional": (("agent=dqn", *CARTPOLE, *SINGLE, "agent/auxiliary=bidirectional"), ROWS),
    "random rewards": (
        ("agent=dqn", *CARTPOLE, *SINGLE, "agent/auxiliary=random_rewards"),
        ROWS | STATISTICS,
    ),
    "statistics": (
        ("agent=dqn", *CARTPOLE, *SINGLE, "agent/normalize=running", "agent/rewards=scaled"),
        ROWS | {"tick transforms/observations.py to device": 2, "check training/crash.py to device": 8},
    ),
    "mvi": (("agent=mvi", *CARTPOLE, *SINGLE, "runtime.deterministic=true"), ROWS),
    "impala": (("agent=dqn", "env=minatar/breakout", "agent/torso=impala", *MINATAR[4:], *SINGLE), ROWS),
    "bfloat16": (("agent=double_dqn", *MINATAR, *SINGLE, "accelerate.matmul_precision=bfloat16"), ROWS),
    "qgpo": (
        (
            "agent=qgpo",
            "env=mujoco/inverted_pendulum",
            "replay.batch_size=8",
            "agent.hidden=[8]",
            "agent.torso.hidden=[8]",
            "agent.guidance.clone=10",
            "agent.guidance.candidates=2",
            "agent.guidance.evaluations=3",
        ),
        NOISY_ROWS
        | STATISTICS_OF_PARTS
        | {"tick parts/exploration.py to host": 0, "tick agents/qgpo.py to host": 1, "tick agents/qgpo.py to device": 1},
    ),
    "hyperspherical": (
        ("agent=dqn", CARTPOLE[0], *CARTPOLE[2:], *SINGLE, "agent/torso=hyperspherical", "agent.torso.width=8", "agent.torso.blocks=1"),
        ROWS,
    ),
}
IN_MAIN_MEMORY = {"images": GATHERED, "rvi_sac": GATHERED | NOISE | SAMPLED, "retrace": GATHERED}
PATHS |= {f"{name} in main memory": ((*PATHS[name][0], "replay.device=cpu"), own) for name, own in IN_MAIN_MEMORY.items()}
FEW = covering({name: frozenset(own.items()) for name, (_, own) in PATHS.items()})
"""Paths that have every crossing of all between them; the others run with `pytest -m exhaustive`"""


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name in FEW else pytest.mark.exhaustive) for name in PATHS])
def test_a_run_on_the_device_is_the_run_on_the_cpu(name, tmp_path):
    words, own = PATHS[name]
    check_device(tmp_path, words, own)


def given(batch):
    """For learners that are asked with batches."""
    return batch


@pytest.mark.parametrize("name", [name for name, (words, _) in PATHS.items() if name not in FEW and "replay.device=cpu" not in words])
def test_an_update_on_the_device_is_that_on_the_cpu(name):
    """Of the parts whose crossings others have too."""
    config = settled(*PATHS[name][0])

    def built(device: str) -> dict[str, torch.Tensor]:
        return updated(build_agent({**config, "device": device}, environment(config)[1]), device)

    expected = built("cpu")
    with Pretended() as device, device.during("update"):
        found = built("cuda")
    assert not device.faults
    assert same(found, expected)


def test_layers_of_torch_start_alike_on_every_device():
    def built() -> Copies:
        copies = Copies(2, lambda: nn.Sequential(nn.Flatten(), nn.Linear(3, 4)), (3,))
        initialise(copies, seed=0, place="torso")
        return copies

    expected = built().state_dict()
    with Pretended() as device, torch.device("cuda"):
        found = built()
        assert all(parameter.is_cuda for parameter in found.parameters())
        assert not device.faults
    assert same(found.state_dict(), expected)


GRAPHS = {  # c51 has the mechanisms of dqn, and rollouts those of ppo
    "dqn": (*CARTPOLE, *SINGLE, "agent=dqn"),
    "images, two updates a step": (*MINATAR, *SINGLE, "agent=dqn", "replay.ratio=2"),
    "sac": ("agent=sac", *PENDULUM, "agent/normalize=running", "agent/rewards=scaled"),
    "crossq": ("agent=crossq", *PENDULUM, "agent.torso.settle=5"),
    "bfloat16": ("agent=sac", *PENDULUM, "agent/normalize=running", "agent/rewards=scaled", "accelerate.matmul_precision=bfloat16"),
    "iiqn prioritized": ("agent=iiqn", *CARTPOLE, *ITERATED, "replay=prioritized", "replay.n_step=3"),
    "sequences": ("agent=retrace_dqn", *CARTPOLE, *SINGLE, "replay=sequences", "replay.length=4"),
    "rollouts": PATHS["pqn"][0],
    "ppo": PATHS["ppo"][0],
    "c51": ("agent=c51", *CARTPOLE, *SINGLE),
    "noisy in main memory": ("agent=noisy_dqn", *CARTPOLE, *SINGLE, "replay.device=cpu"),
}


def traced_off(device: Pretended, plain=graph.traced):
    """`traced`, with ordinary tensors."""

    def traced(*arguments):
        with device.off():
            return plain(*arguments)

    return traced


def test_a_recording_that_differs_is_noticed_and_leaves_no_trace(tmp_path, monkeypatch, capsys):
    """The run goes on with `reference` from the weights of before the recording."""
    replay, words = Recording.replay, ["agent=dqn", *CARTPOLE, *SINGLE]

    def wrong(self):
        replay(self)
        for func, args, _, _ in self.calls:
            if func is torch.ops.aten.copy_.default:
                args[0].add_(0.01)

    with Pretended() as device:
        begin(tmp_path / "reference", "cuda", *words)
        monkeypatch.setattr(compiled, "traced", traced_off(device))
        monkeypatch.setattr(Recording, "replay", wrong)
        begin(tmp_path / "broken", "cuda", *words, "accelerate.mode=compiled")
    assert "could not be recorded as a CUDA graph (AssertionError: a recorded update differs by" in capsys.readouterr().err
    assert_same_run(tmp_path / "reference", tmp_path / "broken")


def test_a_loaded_run_computes_as_the_run_did(tmp_path, monkeypatch):
    """In float32 convolutions and in the layouts of a recorded update, which are plain."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)  # torch's default
    with Pretended() as device:
        monkeypatch.setattr(compiled, "traced", traced_off(device))
        begin(tmp_path / "run", "cuda", *MINATAR, *SINGLE, "agent=dqn", "accelerate.mode=compiled")
        torch.backends.cudnn.allow_tf32 = True
        agent = api.load(tmp_path / "run").agent
    assert not torch.backends.cudnn.allow_tf32
    assert {(block.patches, block.channels_last) for block in agent.modules() if isinstance(block, ImageBlock)} == {(False, False)}


def test_kernels_that_were_launched_in_place_of_recorded_are_noticed(tmp_path, monkeypatch, capsys):
    """As on a stream of another GPU: the recording changes what an update changes, and a replay changes nothing."""
    words = ["agent=dqn", *CARTPOLE, *SINGLE]
    with Pretended() as device:
        begin(tmp_path / "reference", "cuda", *words)
        monkeypatch.setattr(compiled, "traced", traced_off(device))
        monkeypatch.setattr(Recording, "forget", lambda self: None)
        monkeypatch.setattr(Recording, "replay", lambda self: None)
        begin(tmp_path / "broken", "cuda", *words, "accelerate.mode=compiled")
    assert "could not be recorded as a CUDA graph (AssertionError" in capsys.readouterr().err
    assert_same_run(tmp_path / "reference", tmp_path / "broken")


REPEATED = ("dqn", "sac", "crossq", "c51", "rollouts")


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.exhaustive if name in REPEATED else ()) for name in GRAPHS])
def test_updates_and_answers_as_cuda_graphs(name, tmp_path, monkeypatch):
    """The bits of the same run whose operators are launched one by one, with less than a third of the launches. The few updates before
    the recording, which are launched one by one too, are counted. One of the runs is resumed too."""
    runs, launched, train = {}, {}, run if name == "iiqn prioritized" else begin
    for kind in ("eager", "cuda_graph"):
        with Pretended() as device, phases(device), monkeypatch.context() as patch:
            patch.setattr(compiled, "traced", traced_off(device))
            patch.setitem(graph.BACKENDS, "cuda_graph", graph.BACKENDS[kind])
            words = [*GRAPHS[name], "accelerate.mode=compiled"]
            runs[kind] = train(tmp_path / kind, "cuda", *words)
            launched[kind] = device.launched["learn"]
        assert not device.faults
    assert runs["eager"] == runs["cuda_graph"]
    assert_same_run(tmp_path / "eager", tmp_path / "cuda_graph")
    assert launched["cuda_graph"] < launched["eager"] / 3
