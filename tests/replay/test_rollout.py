"""Rollouts: returns by hand, every transition once a pass, statistics that wait, exact resume; PQN."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial

import numpy as np
import pytest
import torch

from deeprl.agents.idqn import Iterated
from deeprl.cli import exits
from deeprl.errors import ConfigError
from deeprl.learning.agent import Agent
from deeprl.learning.backups.bellman import Max
from deeprl.learning.backups.peng import Peng
from deeprl.learning.parts.target_free import TargetFree
from deeprl.learning.values.recursion import linear_recursion
from deeprl.replay.rollout import Rollout, row_bytes
from deeprl.replay.trajectories import Trajectories
from deeprl.running.config.build import build_agent
from deeprl.running.config.sources import check_source, planned_updates
from deeprl.running.training.learner import CompiledLearner, Learner
from deeprl.system.machine import available_memory
from deeprl.types import Batch, Rows, Spec
from tests.builders import DISCRETE, begin, console, made_up, settled, snapshot, spec_of, value_agent, view
from tests.pretended import Pretended
from tests.promises.test_resume import assert_same_run, at_step

ONE = Spec((1,), torch.float32, 2, 0)


def rows(t: int, num: int = 1, reward=0.0, terminated=False, ended=False) -> Rows:
    """Tick t: the observation is t, and 100 e + t in environment e."""
    obs = np.array([[100.0 * e + t] for e in range(num)], np.float32)
    flags = np.full(num, terminated), np.full(num, ended)
    return Rows(obs, np.arange(num) % 2, np.full(num, reward, np.float32), obs + 1, *flags, np.full(num, 0.5, np.float32))


def filled(length: int, num: int = 1, **fields) -> Rollout:
    rollout = Rollout(length=length, spec=ONE, num=num, discount=0.9, **fields)
    for t in range(length):
        rollout.append(rows(t, num, reward=t))
    return rollout


def test_more_than_the_machine_has_is_refused_before_allocation(monkeypatch):
    atari = Spec((4, 84, 84), torch.uint8, 18, 0)
    monkeypatch.setattr("deeprl.replay.memory.available_memory", lambda *_: 100 << 20)
    with pytest.raises(ValueError, match=r"length=128 of 4096 environments needs 29,\d+,\d+,\d+ bytes, and 104,857,600 are available"):
        Rollout(length=128, spec=atari, num=4096, discount=0.9)
    with pytest.raises(ValueError, match=r"replay.length=83 would fit, or fewer environments, env.num"):
        Rollout(length=256, spec=atari, num=8, discount=0.9)
    for spec in (atari, Spec((3,), torch.float32, 0, 2)):
        assert Rollout(length=4, spec=spec, num=2, discount=0.9).bytes == 8 * row_bytes(spec)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            partial(Rollout, length=128, num=4096, on_device=True),
            r"length=128 .* 29,\d+,\d+,\d+ bytes, and 2,147,483,648 .* on cuda .*: replay.length=",
        ),
        (partial(Rollout, length=128, num=4096), "on cuda"),  # its rows go there when they are learned from
        (partial(Trajectories, episodes=100, horizon=10_000, num=10), "episodes=100 needs .* on cuda .*: replay.episodes="),
    ],
)
def test_more_than_the_gpu_has_is_refused_before_allocation(make, message):
    with Pretended(memory=3 << 30), pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "deeprl.replay.memory.available_memory", lambda device="cpu": None if str(device) == "cpu" else available_memory(device)
        )
        with pytest.raises(ValueError, match=message):
            make(spec=Spec((4, 84, 84), torch.uint8, 18, 0), discount=0.9, batch_device="cuda")
        small = make(spec=ONE, discount=0.9, batch_device="cuda")
    assert small.bytes > 0


# ---- returns


def returns(lam: float, reward=(1.0, 0.0, 2.0, 1.0), following=(0.4, 0.3, 0.6, 0.2), terminated=(), ended=()) -> list[float]:
    """Peng's returns of four steps of one environment, γ = 0.9, from the values of the next observations."""
    rollout = Rollout(length=4, spec=ONE, num=1, discount=0.9)
    for t in range(4):
        rollout.append(rows(t, reward=reward[t], terminated=t in terminated, ended=t in ended))
    values = torch.tensor(following).view(1, 4, 1, 1).expand(-1, -1, -1, 2) - torch.tensor([0.0, 1.0])  # action 0 is greedy
    found = Peng(lam)(None, view(next=values), rollout.whole()).atoms
    assert found.shape == (1, 4, 1, 1)
    return found.flatten().tolist()


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ({"lam": 0.5}, [1.8079525, 1.39545, 2.801, 1.18]),
        ({"lam": 0.5, "terminated": (1,), "ended": (1,)}, [1.18, 0.0, 2.801, 1.18]),
        ({"lam": 0.5, "terminated": (1,)}, [1.18, 0.0, 2.801, 1.18]),  # a lost life
        ({"lam": 0.5, "ended": (1,), "following": (0.4, 0.7, 0.6, 0.2)}, [1.4635, 0.63, 2.801, 1.18]),  # a time limit
        ({"lam": 0.0}, [1.36, 0.27, 2.54, 1.18]),
        ({"lam": 1.0}, [3.48022, 2.7558, 3.062, 1.18]),
    ],
)
def test_returns_by_hand(case, expected):
    assert returns(**case) == pytest.approx(expected, abs=1e-6)


def test_the_recursion_is_the_loop():
    """G_t = a_t + c_t G_{t+1}, for lengths that are no powers of two."""
    generator = torch.Generator().manual_seed(0)
    for length in (1, 2, 5, 13):
        add, carry = (torch.rand(3, length, 2, generator=generator) for _ in range(2))
        loop, after = [], torch.zeros(3, 2)
        for t in range(length - 1, -1, -1):
            after = add[:, t] + carry[:, t] * after
            loop.insert(0, after)
        torch.testing.assert_close(linear_recursion(add, carry), torch.stack(loop, 1))


def test_lambda_zero_is_one_step_bit_for_bit():
    rollout = filled(6, num=3, minibatches=1)
    values = torch.randn(2, 6, 3, 2, generator=torch.Generator().manual_seed(0))
    batch = rollout.whole()
    assert torch.equal(Peng(0.0)(None, view(next=values), batch).atoms, Max()(None, view(next=values), batch).atoms)


# ---- passes


def drawn(rollout: Rollout, prepare=lambda batch: {}) -> list[torch.Tensor]:
    return [batch.index for batch in learned_from(rollout, prepare)]


def learned_from(rollout: Rollout, prepare=lambda batch: {}, observe=lambda rows: None) -> Iterator[Batch]:
    rollout.connect(0, "index", observe, prepare)
    return rollout.updates(0, 1)


@pytest.fixture(params=["listed", "sorted"])
def shuffles(request, monkeypatch):
    """Both ways to shuffle a pass: small ones in a list, large ones by sorting."""
    if request.param == "sorted":
        monkeypatch.setattr("deeprl.replay.rollout.LISTED", 0)


@pytest.mark.usefixtures("shuffles")
def test_every_pass_has_every_transition_once():
    rollout = filled(6, num=4, epochs=3, minibatches=8)
    assert rollout.batch_shape == (3,)
    found = drawn(rollout)
    assert len(found) == 24
    passes = [torch.cat(found[i : i + 8]).tolist() for i in (0, 8, 16)]
    assert all(sorted(each) == list(range(24)) for each in passes)
    assert passes[0] != passes[1] != passes[2]


@pytest.mark.usefixtures("shuffles")
def test_orders_are_equally_likely():
    """Three transitions one at a time: each of the six orders in a sixth of many passes, within five standard errors."""
    rollout, counts, number = filled(3, epochs=600, minibatches=3), {}, 600
    for found in zip(*[iter(drawn(rollout))] * 3):
        order = tuple(int(index) for index in found)
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 6
    assert all(abs(count / number - 1 / 6) < 5 * (5 / 36 / number) ** 0.5 for count in counts.values())


def test_a_draw_is_rows_and_prepared_columns():
    rollout = filled(5, num=2, epochs=1, minibatches=5, needs=frozenset({"terminated", "behavior_probability", "successor"}))
    batch = next(learned_from(rollout, lambda batch: {"column": batch.obs[..., 0].expand(3, 5, 2) * 10}))
    t, e = batch.index // 2, batch.index % 2
    assert batch.obs[:, 0].tolist() == (100 * e + t).tolist()
    assert batch.next_obs[:, 0].tolist() == (100 * e + t + 1).tolist()
    assert batch.reward.tolist() == t.tolist()
    assert batch.action.tolist() == e.tolist()
    assert batch.discount.tolist() == pytest.approx([0.9, 0.9])
    assert batch.extra["column"].tolist() == [(10 * (100 * e + t)).tolist()] * 3
    assert (batch.extra["terminated"].tolist(), batch.extra["behavior_probability"].tolist()) == ([False] * 2, [0.5] * 2)
    assert torch.equal(batch.extra["successor"], batch.next_obs)


def test_channels_of_rewards_stay_apart():
    """Two channels, r and 10 r: row i of a batch has both of its own."""
    rollout = filled(4, num=2, epochs=1, minibatches=4, rewards=lambda raw: torch.stack([raw, 10 * raw]))
    batch = next(learned_from(rollout))
    t = (batch.index // 2).tolist()
    assert batch.reward.tolist() == [t, [10 * each for each in t]]


def test_statistics_see_the_rows_when_the_rollout_is_dropped():
    rollout = filled(3, num=2, minibatches=1)
    seen = []
    for _ in learned_from(rollout, observe=lambda rows: seen.append(rows.obs[:, 0].tolist())):
        assert not seen
    assert seen == [[0, 100], [1, 101], [2, 102]]
    assert (len(rollout), list(rollout.updates(1, 2))) == (0, [])


def test_a_lost_environment_ends_its_episode():
    rollout = Rollout(length=3, spec=ONE, num=2, discount=0.9, minibatches=1)
    assert not rollout.truncate_episode(0)  # nothing is stored yet: the sums of scaled rewards are told now
    rollout.append(rows(0, 2))
    assert rollout.truncate_episode(1)  # and here by the mark, or they would end before rows that are still to be observed
    assert rollout.stored["ended"][0].tolist() == [False, True]


def test_values_are_checked():
    for wrong, message in (
        ({"length": 0}, "length must be a whole number of at least 1"),
        ({"epochs": 0}, "epochs must be"),
        ({"length": 5, "minibatches": 4}, r"minibatches must divide the 5 · 1 transitions of a rollout, not be 4"),
    ):
        with pytest.raises(ValueError, match=message):
            Rollout(spec=ONE, num=1, discount=0.9, **wrong)
    state = filled(4, num=2).state_dict() | {"filled": 2}
    with pytest.raises(ValueError, match="the stored rollout has obs of shape"):
        Rollout(length=4, spec=ONE, num=2, discount=0.9).load(state, [])
    state = filled(4, num=2).state_dict()
    state["rows"]["action"][1] = ONE.num_actions
    with pytest.raises(ValueError, match="actions outside of 0 to"):
        Rollout(length=8, spec=ONE, num=2, discount=0.9).load(state, [])


# ---- configurations


def test_auto_follows_from_the_agent():
    config = settled("agent=pqn", "env=classic/cartpole", "steps=5000")
    assert config["replay"] == {
        "_target_": "deeprl.replay.rollout.Rollout", "_partial_": True, "length": 128, "epochs": 4, "minibatches": 4,
    }  # fmt: skip
    assert planned_updates(config) == 5000 // (4 * 128) * 16
    assert "epochs" not in settled("agent=dqn", "env=classic/cartpole")["replay"]


def test_the_plain_policy_gradient_takes_one_update_of_a_rollout():
    """A second one would be for another policy than that which collected."""
    plain = settled("agent=ppo", "agent/surrogate=plain", "env=classic/cartpole")
    assert [plain["replay"][key] for key in ("length", "epochs", "minibatches")] == [5, 1, 1]
    for words in (
        ("agent=ppo", "agent/surrogate=plain", "env=mujoco/hopper"),
        ("agent=a2c", "budget=tiny"),
    ):
        replay = settled(*words)["replay"]
        assert (replay["epochs"], replay["minibatches"]) == (1, 1)
    for key in ("replay.epochs", "replay.minibatches"):
        with pytest.raises(ConfigError, match=f"{key}=2.* not go with .*agent/surrogate=plain.* choose replay=rollout_once, or"):
            settled("agent=a2c", "env=classic/cartpole", f"{key}=2")


@pytest.mark.parametrize(
    ("target", "epochs", "minibatches", "refused"),
    [
        ("AdaptiveRate", 1, 1, True), ("Stop", 1, 1, True), ("Stop", 1, 4, True),
        ("Stop", 2, 1, False), ("AdaptiveRate", 1, 2, False), ("Divergence", 1, 1, False),
    ],
)  # fmt: skip
def test_a_bound_of_the_divergence_that_can_change_nothing_is_refused(target, epochs, minibatches, refused):
    """It is measured before an update, and the first one of a rollout is at the policy that collected."""
    config = {
        "replay": {"_target_": "deeprl.replay.rollout.Rollout", "length": 8, "epochs": epochs, "minibatches": minibatches},
        "env": {"num": 4}, "agent": {"_target_": "", "kl": {"_target_": f"deeprl.learning.parts.divergence.{target}"}},
    }  # fmt: skip
    message = f"agent/kl changes nothing with replay.epochs={epochs}.*raise replay.epochs"
    with pytest.raises(ConfigError, match=message) if refused else nullcontext():
        check_source(config)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("agent=pqn", "replay.ratio=2"), "there is no key replay.ratio. replay=rollout has length, epochs, minibatches"),
        (("agent=pqn", "replay.capacity=2000"), "there is no key replay.capacity. replay=rollout has length, epochs, minibatches"),
        (("agent=dqn", "replay.epochs=2"), "there is no key replay.epochs.* replay=uniform has learning_starts, ratio, capacity"),
    ],
)
def test_keys_without_a_meaning_are_refused(words, message):
    with pytest.raises(ConfigError, match=message):
        settled("env=classic/cartpole", *words)


def test_another_replay_is_refused(tmp_path, capfd):
    assert begin(tmp_path / "run", "agent=pqn", "env=toy/chain", "replay=uniform", "steps=60", "replay.learning_starts=20") == exits.WRONG
    assert "agent/backup=peng needs whole rollouts of the present policy, and replay=uniform offers none" in capfd.readouterr().err


# ---- PQN


def pqn(**slots):
    return value_agent(DISCRETE, backup=Peng(0.65), chain=TargetFree, **slots)


def test_targets_are_held_through_a_rollout():
    """Those of the networks before the first update, for every batch; a plain loss would compute new ones."""
    agent, rollout = pqn(), Rollout(length=8, spec=DISCRETE, num=2, discount=0.9, epochs=2, minibatches=4)
    generator = np.random.default_rng(0)
    for _ in range(8):
        obs, after = generator.normal(size=(2, 2, 5)).astype(np.float32)
        rollout.append(Rows(obs, np.array([1, 2]), np.ones(2, np.float32), after, *np.zeros((2, 2), bool), np.ones(2, np.float32)))
    targets = agent.prepare(rollout.whole())["returns"]
    assert targets.shape == (1, 8, 2)
    learner = Learner(agent, rollout.batch)
    for batch in learned_from(rollout, agent.prepare):
        before = agent.chain.online(batch.obs).mean()[0].gather(-1, batch.action.unsqueeze(-1)).squeeze(-1)
        expected = (targets.flatten(-2)[0, batch.index] - before).abs()
        torch.testing.assert_close(learner.update(batch).error, expected)


def test_the_traced_update_is_the_plain_one():
    plain, traced = pqn(), pqn()
    batch = made_up(plain, DISCRETE, size=6)
    assert batch.extra["returns"].shape == (1, 6)
    learners = Learner(plain, lambda batch: batch), CompiledLearner(traced, lambda batch: batch, backend="eager")
    for learner in learners:
        for _ in range(3):
            learner.update(batch)
    torch.testing.assert_close(snapshot(plain), snapshot(traced), rtol=1e-4, atol=1e-5)


def test_chains_and_mappings_have_targets_of_their_own():
    chain = partial(Iterated, length=3, shift_period=2, sync_period=1, torso="shared")
    agent = value_agent(DISCRETE, backup=Peng(0.65), chain=chain)
    assert made_up(agent, DISCRETE, size=6).extra["returns"].shape == (3, 6)
    config = settled("agent=pqn", "env=classic/cartpole", "agent/mapping=asinh")
    mapped = build_agent(config, spec_of("classic/cartpole"))
    Learner(mapped, lambda batch: batch).update(made_up(mapped, mapped.spec, size=6))


WORDS = (
    "agent=pqn", "env=classic/cartpole", "env.num=3", "agent.torso.hidden=[16]", "replay.length=10", "replay.epochs=2",
    "replay.minibatches=5", "steps=300", "evaluation.every=100", "evaluation.episodes=1", "evaluation.final_episodes=2", "evaluation.num=1",
    "checkpoint.every=70", "log.every=50", "runtime.threads=1", "agent/normalize=running", "agent/rewards=scaled",
)  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("rollouts") / "whole"
    assert begin(path, *WORDS) == exits.FINISHED
    return path


@pytest.mark.parametrize("step", [75, 117, 120, pytest.param(204, marks=pytest.mark.exhaustive)])
def test_a_run_stopped_within_a_rollout_resumes_exactly(step, tmp_path, monkeypatch, whole):
    """A rollout is 30 steps: stops in its midst, a tick before its end, at its end."""
    with monkeypatch.context() as patch:
        at_step(patch, step, lambda: os.kill(os.getpid(), signal.SIGTERM))
        assert begin(tmp_path / "stopped", *WORDS) == exits.STOPPED
    assert console("resume", tmp_path / "stopped") == exits.FINISHED
    assert_same_run(tmp_path / "stopped", whole)


def test_statistics_are_constant_within_a_rollout(tmp_path, monkeypatch):
    """They are merged after its last update, so that `prepare` and all updates see the same observations."""
    events = []
    monkeypatch.setattr(Agent, "observe", lambda self, rows: events.append("observe"))
    monkeypatch.setattr(Learner, "update", count(Learner.update, lambda: events.append("update")))
    assert begin(tmp_path / "run", *WORDS, "accelerate=fast", "steps=60") == exits.FINISHED
    assert events == (["update"] * 10 + ["observe"] * 10) * 2


def count(function, told):
    def called(*args):
        told()
        return function(*args)

    return called
