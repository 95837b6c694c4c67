"""What the test of a new environment asks, in one call: `check_environment(MyEnv(...))`. The layer around it has its own tests."""

from __future__ import annotations

import json
from contextlib import ExitStack, closing
from typing import Any

import numpy as np

from deeprl.envs.vector.choice import EnvChoice
from deeprl.envs.vector.environments import Environments

BACKENDS = ("sync", "async")


def check_environment(choice: EnvChoice) -> None:
    """Worker processes give the episodes of this process, a copy does not depend on how many there are, and a run can be taken up in
    mid-episode. Episodes must end within 60 random steps."""
    backends_agree(choice)
    a_single_one_is_the_first_of_many(choice)
    resumes_exactly(choice)


def backends_agree(choice: EnvChoice) -> None:
    with ExitStack() as stack:
        sync, workers = (stack.enter_context(closing(choice.make(3, num=2, vector=vector))) for vector in BACKENDS)
        assert np.array_equal(sync.reset(), workers.reset())
        ended = 0
        for action in actions_for(sync, 60):
            one, other = sync.step(action), workers.step(action)
            assert same(one, other)
            ended += one.ended.sum()
        assert ended > 0
        assert str(sync.state_dict()) == str(workers.state_dict())


def a_single_one_is_the_first_of_many(choice: EnvChoice) -> None:
    with closing(choice.make(3)) as single, closing(choice.make(3, num=3)) as many:
        assert np.array_equal(single.reset(), many.reset()[:1])
        for action in actions_for(many, 60):
            assert all(np.array_equal(one, other[:1]) for one, other in zip(single.step(action[:1]), many.step(action), strict=True))
        assert str(single.state_dict()["environments"]["0"]) == str(many.state_dict()["environments"]["0"])


def resumes_exactly(choice: EnvChoice, vector: str = "sync") -> None:
    with closing(choice.make(3, num=3, vector=vector)) as before, closing(choice.make(3, num=3, vector=vector)) as after:
        before.reset()
        actions = actions_for(before, 90)
        for action in actions[:37]:
            last = before.step(action)
        state = stored(before.state_dict())
        assert np.array_equal(after.load_state_dict(state), last.obs)
        assert after.broken == []
        assert str(after.state_dict()) == str(state)
        for action in actions[37:]:
            assert same(before.step(action), after.step(action))


def actions_for(envs: Environments, ticks: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    if envs.spec.num_actions:
        return random.integers(0, envs.spec.num_actions, (ticks, envs.num))
    return random.uniform(-1, 1, (ticks, envs.num, envs.spec.action_dim)).astype(np.float32)


def same(one: tuple[np.ndarray, ...], other: tuple[np.ndarray, ...]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def stored(state: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint does to a state: arrays aside, the rest through JSON."""
    arrays = {i: entry["actions"].copy() for i, entry in state["environments"].items()}
    rest = {i: {k: v for k, v in entry.items() if k != "actions"} for i, entry in state["environments"].items()}
    back = json.loads(json.dumps({**state, "environments": rest}))
    for i, entry in back["environments"].items():
        entry["actions"] = arrays[i]
    return back
