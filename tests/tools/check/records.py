"""A record that no measurement made, with nothing suspicious in it, and variants of it."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

from deeprl.running.config.rules import put
from deeprl.running.session.prospect import Target
from deeprl.tools.check.record import Environment, Evaluating, Memory, NetworkSize, Record, Seen, Speed

CONFIG: dict[str, Any] = {
    "names": {"env": "toy/chain", "agent": "dqn", "replay": "uniform"},
    "seed": 0,
    "steps": 10_000,
    "discount": 0.99,
    "device": "cpu",
    "agent": {"actor_period": 1, "resets": {"at": []}, "head": {"loss": "squared"}},
    "env": {"num": 2, "vector": "sync"},
    "replay": {
        "_target_": "deeprl.replay.replay.Replay",
        "learning_starts": 1_000,
        "ratio": 0.5,
        "capacity": 5_000,
        "batch_size": 32,
        "n_step": 1,
        "sampler": {"least": 0.0},
    },
    "evaluation": {"every": 1_000, "episodes": 10, "final_episodes": 20, "num": 5},
    "checkpoint": {"every": 2_000, "minutes": None, "keep": 2, "replay": True},
    "accelerate": {"mode": "fast", "matmul_precision": "highest"},
    "runtime": {"threads": 1},
}
SOUND = Record(
    config=CONFIG,
    tuned="configs/tuned/toy/dqn.yaml",
    system={"cores": 4, "packages": {"torch": "2.6.0", "python": "3.11.7"}, "cpu": "CPU", "gpu": None, "cuda": None, "driver": None},
    decisions=(),
    environment=Environment("(3,) float32", "2 discrete", ("TimeLimit", "Chain"), limit=200, reward_range=None, num=2, vector="sync"),
    networks=(NetworkSize("chain.online", 100, 100), NetworkSize("chain.target", 100, 0)),
    memory=Memory(800, 800, 10**9, 5_000, True, 10**8, None, None, 2 * 10**9, None, 10**4, 10**9, 10**10),
    updates=4_500,
    targets=(Target("agent.chain.target_update_period", 500, 18),),
    support=None,
    without_discount=False,
    sequences=False,
    imitates=False,
    # of each step 1 ms in the environment, 1 ms acting, nothing else; of each update 2 ms, and 1 ms for its batch
    speed=Speed(5.0, 4.0, 0.7, 200, 100, environment=0.2, acting=0.2, replay=0.0, drawing=0.1, update=0.2, busy=0.7),
    evaluating=Evaluating(setup=0.5, tick=0.001, num=5),
    checkpoint_seconds=0.25,
    seen=Seen(600, 6, 100.0, 50.0, 0.0, 1.0, reward_size=0.5, reward_largest=1.0, entries=3, constant=0, largest=2.0),
)


def with_keys(record: Record = SOUND, **keys: Any) -> Record:
    """The record with other keys of its configuration, "__" for a dot."""
    config = copy.deepcopy(record.config)
    for key, value in keys.items():
        put(config, key.replace("__", "."), value)
    return replace(record, config=config)


def within(part: str, record: Record = SOUND, **fields: Any) -> Record:
    """The record with other fields of one part."""
    return replace(record, **{part: replace(getattr(record, part), **fields)})
