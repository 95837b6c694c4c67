"""A2C and PPO: worked numbers, what is neutral, both kinds of actions, exact resume within a rollout."""

from __future__ import annotations

import json
import math
import os
import signal
from functools import partial

import numpy as np
import pytest
import torch
from gymnasium.envs.classic_control.pendulum import PendulumEnv
from torch import Tensor

from deeprl.choice import grouped
from deeprl.cli import exits
from deeprl.envs.classic import Classic
from deeprl.errors import ConfigError
from deeprl.learning.networks.batch_renorm import BatchRenormMLP
from deeprl.learning.networks.inverted_residual import InvertedResidual
from deeprl.learning.networks.policies import CategoricalPolicy, GaussianPolicy, PolicyChoice
from deeprl.learning.networks.torsos import MinAtarTorso, MLPTorso
from deeprl.learning.optim.adam import Adam
from deeprl.learning.parts.intrinsic import Intrinsic
from deeprl.learning.policy_gradient import PlainGradient, PolicyGradient, Surrogate
from deeprl.learning.transforms.masks import without_mask
from deeprl.learning.transforms.observations import Plain
from deeprl.learning.transforms.rewards import Raw
from deeprl.learning.values.masked import only
from deeprl.replay.rollout import Rollout
from deeprl.running.config.build import build_agent
from deeprl.running.config.compose import compose
from deeprl.running.config.dry_run import dry_run
from deeprl.running.training.collector import Collector
from deeprl.running.training.learner import Learner, gradient
from deeprl.types import Rows, Spec
from tests.builders import (
    CONTINUOUS,
    DISCRETE,
    assert_close32,
    begin,
    console,
    flat,
    made_up,
    make_batch,
    settled,
    snapshot,
    spec_of,
    traced_gradient,
)  # fmt: skip
from tests.corridor import CORRIDOR
from tests.pairwise import once
from tests.promises.test_resume import assert_same_run, at_step


def agent_of(spec: Spec = DISCRETE, seed: int = 0, kind: type[PolicyGradient] = PolicyGradient, **slots) -> PolicyGradient:
    parts = {
        "torso": MLPTorso(hidden=(7,), activation="tanh"), "shared": False, "policy": PolicyChoice(last_init=None), "lam": 0.8,
        "surrogate": Surrogate(clip=0.2), "rewards": Raw, "normalize": Plain, "optimizer": Adam(lr=0.01),
    }  # fmt: skip
    return kind(spec=spec, seed=seed, **grouped(kind, {**parts, **slots}))


# ---- worked numbers


class Given(PolicyGradient):
    """The value of an observation is the observation."""

    def outputs(self, obs):
        return torch.zeros(*obs.shape[:-1], 2), obs[..., 0]


def prepared(reward=(1.0, 0.0, 2.0), before=(0.5, 0.4, 0.3), after=(0.4, 0.3, 0.2), terminated=(), ended=(), lam=0.8) -> dict[str, Tensor]:
    """What the losses read of three steps (3, 1) of one environment with these values, γ = 0.9."""
    spec = Spec((1,), torch.float32, 2, 0)
    rollout = Rollout(length=3, spec=spec, num=1, discount=0.9, minibatches=1)
    for t in range(3):
        obs = np.array([[before[t]]], np.float32), np.array([[after[t]]], np.float32)
        flags = np.array([t in terminated]), np.array([t in ended])
        rollout.append(Rows(obs[0], np.array([0]), np.array([reward[t]], np.float32), obs[1], *flags, np.ones(1, np.float32)))

    return agent_of(spec, kind=Given, lam=lam).prepare(rollout.whole())


def advantages(**case) -> Tensor:
    """(3,)"""
    return prepared(**case)["advantage"][:, 0]


def gaussian() -> tuple[GaussianPolicy, Tensor]:
    policy = GaussianPolicy(PolicyChoice(), CONTINUOUS, MLPTorso(hidden=(3,)))
    policy.deviations.log_std.copy_(torch.tensor([[0.0, -0.5]]))
    return policy, torch.tensor([[0.1, -0.2]])


def categorical() -> tuple[CategoricalPolicy, Tensor]:
    return CategoricalPolicy(PolicyChoice(), DISCRETE, MLPTorso(hidden=(3,))), torch.tensor([[1.0, 0.0, -1.0]])


def test_the_advantage_of_one_row_is_taken_as_it_is():
    """It has no deviation."""
    assert Surrogate(clip=0.2).advantages(torch.tensor([3.0])).tolist() == [3.0]
    assert Surrogate(clip=0.2).advantages(torch.tensor([3.0, 5.0])).tolist() == pytest.approx([-(0.5**0.5), 0.5**0.5])


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ({}, [1.740992, 1.2236, 1.88]),
        ({"ended": (1,), "after": (0.4, 0.7, 0.2)}, [1.0256, 0.23, 1.88]),  # a time limit
        ({"terminated": (1,), "ended": (1,)}, [0.572, -0.4, 1.88]),
        ({"lam": 0.0}, [0.86, -0.13, 1.88]),
        ({"lam": 1.0}, [1 + 0.81 * 2 + 0.729 * 0.2 - 0.5, 0.9 * 2 + 0.81 * 0.2 - 0.4, 1.88]),  # returns minus values
    ],
)
def test_advantages_by_hand(case, expected):
    assert advantages(**case).tolist() == pytest.approx(expected, abs=1e-6)


def test_returns_are_advantages_and_values():
    assert prepared()["returns"][:, 0].tolist() == pytest.approx([2.240992, 1.6236, 2.18], abs=1e-6)


def test_the_whole_loss_by_hand():
    """Two actions, both of probability ½. Advantages (1, 3) become ∓ 1/√2, and ratios 1.5 and 0.9 give L_π = ½ (1.5 − 0.9) / √2. Values
    (1, 3), before (0.5, 3.5), returns (2, 3), within 0.2: L_V = ¼ (1.3² + 0.3²). The entropy is ln 2."""
    agent = agent_of(
        Spec((1,), torch.float32, 2, 0),
        kind=Given,
        surrogate=Surrogate(clip=0.2, value_clip=0.2, value_weight=0.5, entropy_weight=0.1),
    )
    half = math.log(0.5)
    old = {"advantage": [1.0, 3.0], "returns": [2.0, 3.0], "value": [0.5, 3.5], "log_prob": [half - math.log(1.5), half - math.log(0.9)]}
    batch = make_batch([[1.0], [3.0]], [0, 1], [0.0, 0.0], 0.9, [[0.0], [0.0]])
    term = agent.loss(batch._replace(extra={name: torch.tensor(value) for name, value in old.items()}))
    policy, values = 0.5 * 0.6 / 2**0.5, 0.25 * (1.3**2 + 0.3**2)
    assert term.metrics["train/policy_loss"].item() == pytest.approx(policy, rel=1e-5)
    assert term.metrics["train/value_loss"].item() == pytest.approx(values, rel=1e-5)
    assert term.loss.item() == pytest.approx(policy + 0.5 * values - 0.1 * math.log(2), rel=1e-5)
    assert term.error.tolist() == pytest.approx([1.0, 0.0])


def test_a_policy_begins_near_the_uniform_one():
    """Its last layer has orthogonal rows of length 0.01, and no bias."""
    last = dict(agent_of(policy=PolicyChoice()).policy.last.named_parameters())
    weight = next(value for name, value in last.items() if name.startswith("weight"))[0]  # (7, 3)
    torch.testing.assert_close(weight.mT @ weight, 1e-4 * torch.eye(3), rtol=1e-4, atol=1e-9)
    assert not next(value for name, value in last.items() if name.startswith("bias")).any()


def test_advantages_are_normalised_in_a_batch():
    assert Surrogate(clip=0.2).advantages(advantages()).tolist() == pytest.approx([0.364638, -1.131149, 0.766512], abs=1e-5)


@pytest.mark.parametrize(
    ("advantage", "ratio", "value", "slope"), [(1, 1.3, 1.2, 0), (1, 0.7, 0.7, 1), (-1, 1.3, -1.3, -1), (-1, 0.7, -0.8, 0)]
)
def test_the_clipped_surrogate_by_hand(advantage, ratio, value, slope):
    """Objective and its slope in the ratio."""
    log_prob = torch.tensor([float(ratio)]).log().requires_grad_()
    objective = -Surrogate(clip=0.2).policy_loss(log_prob, torch.zeros(1), torch.tensor([float(advantage)]))
    objective.sum().backward()
    assert objective.item() == pytest.approx(value)
    assert log_prob.grad is not None
    assert log_prob.grad.item() == pytest.approx(slope * ratio)


def test_the_clipped_value_loss_has_no_gradient_far_from_the_old_value():
    for value in (1.5, 2.1):
        v = torch.tensor([value], requires_grad=True)
        loss = 2 * Surrogate(clip=0.2, value_clip=0.2).value_loss(v, torch.ones(1), torch.full((1,), 2.0))
        loss.sum().backward()
        assert (loss.item(), v.grad.item()) == (pytest.approx(0.64), 0.0)


def test_densities_and_entropies_by_hand():
    policy, outputs = gaussian()
    assert policy.log_prob(outputs, torch.tensor([[0.3, 0.4]])).item() == pytest.approx(-1.8471678)
    assert policy.entropy(outputs).item() == pytest.approx(2.3378771)
    other, logits = categorical()
    assert other.entropy(logits).item() == pytest.approx(0.8323956)
    found = [other.log_prob(logits, torch.tensor([a])).item() for a in range(3)]
    assert found == pytest.approx([-0.407606, -1.407606, -2.407606])


def test_samples_have_the_density():
    """Shares of three actions within five standard errors; mean and deviation of a Gaussian."""
    policy, logits = categorical()
    n = 20_000
    drawn = policy.sampled(logits.expand(n, 3), policy.noise((n,), torch.Generator().manual_seed(0)))
    for a, p in enumerate(logits.softmax(-1)[0].tolist()):
        assert abs((drawn == a).float().mean().item() - p) < 5 * (p * (1 - p) / n) ** 0.5
    other, mean = gaussian()
    drawn = other.sampled(mean.expand(n, 2), other.noise((n,), torch.Generator().manual_seed(0)))
    torch.testing.assert_close(drawn.mean(0), mean[0], atol=0.05, rtol=0)
    torch.testing.assert_close(drawn.std(0), other.log_std.exp(), atol=0.05, rtol=0)


# ---- neutral


@pytest.mark.parametrize("spec", [DISCRETE, CONTINUOUS])
def test_the_first_update_of_ppo_is_that_of_a2c(spec):
    """The ratio is 1, where autograd takes half of the slope of either side of the minimum."""
    surrogates = Surrogate(clip=0.2, normalize=False), PlainGradient(normalize=False)
    found = [gradient(agent := agent_of(spec, surrogate=each), "policy", made_up(agent, spec, size=6))[0] for each in surrogates]
    torch.testing.assert_close(flat(found[0]), flat(found[1]))


def test_the_reported_divergence_is_zero_before_the_first_update():
    agent = agent_of()
    batch = made_up(agent, DISCRETE, size=6)
    learned = agent.loss(batch)
    assert learned.metrics["train/approx_kl"].abs().max() < 1e-6
    assert learned.metrics["train/clip_fraction"].sum() == 0
    Learner(agent, lambda batch: batch).update(batch)
    assert agent.loss(batch).metrics["train/approx_kl"].mean() > 0


# ---- agents


@pytest.mark.parametrize(
    ("spec", "shared"), once((DISCRETE, CONTINUOUS, DISCRETE._replace(obs_shape=(3, 10, 10), obs_dtype=torch.uint8)), (False, True))
)
def test_agents_train_and_trace(spec, shared):
    torso = {} if len(spec.obs_shape) == 1 else {"torso": MinAtarTorso(channels=2, head_hidden=(8,))}
    agent = agent_of(spec, shared=shared, surrogate=Surrogate(clip=0.2, value_clip=0.2, entropy_weight=0.01), **torso)
    batch = made_up(agent, spec, size=6)
    found, learned = traced_gradient(agent, "policy", batch)
    expected, plain = gradient(agent, "policy", batch)
    assert_close32(flat(found), flat(expected))
    torch.testing.assert_close(learned.error, plain.error)
    before = snapshot(agent)
    Learner(agent, lambda batch: batch).update(batch)
    assert all(not torch.equal(value, before[name]) for name, value in agent.named_parameters())


def test_raw_actions_are_stored_and_the_environment_gets_clipped_ones(monkeypatch):
    received, step = [], PendulumEnv.step
    monkeypatch.setattr(PendulumEnv, "step", lambda env, action: received.append(float(action[0])) or step(env, action))
    envs, spec = Classic(id="Pendulum-v1", num=4).make(0), spec_of("classic/pendulum")
    agent, rollout = agent_of(spec, policy=PolicyChoice(log_std=3.0, last_init=None)), Rollout(length=3, spec=spec, num=4, discount=0.99)
    Collector(agent, partial(agent.act, explore=True), envs, rollout.append, seed=0).tick(0)
    action = rollout.stored["action"][0, :, 0]
    assert action.abs().max() > 1
    assert received == pytest.approx((2 * action.clamp(-1, 1)).tolist())  # a torque of ±2


def test_a_torso_whose_averages_nothing_would_renew_is_refused():
    for torso in (BatchRenormMLP(hidden=(5,)), InvertedResidual(width=8, blocks=1)):
        with pytest.raises(ValueError, match="has running averages, which only the losses of values and of an actor renew"):
            agent_of(CONTINUOUS, torso=torso)


@pytest.mark.parametrize("spec", [DISCRETE, CONTINUOUS])
@pytest.mark.parametrize(("which", "gains"), [("none", 0), ("hidden", 2), ("all", 4)])
def test_weights_of_policy_and_value_are_normalised(which, gains, spec):
    agent = agent_of(spec, torso=MLPTorso(hidden=(7,), weight_norm=which))
    assert sum("gain_" in name for name in agent.state_dict()) == gains


def test_the_made_up_batch_goes_through_a_rollout():
    class WithoutEnvironments(PolicyGradient):
        """Prepares columns (L,), where a rollout of M environments has (L, M)."""

        def prepare(self, rollout):
            return {name: column.squeeze(-1) for name, column in super().prepare(rollout).items()}

    dry_run(agent_of(), DISCRETE, "cpu")
    with pytest.raises(ConfigError, match="policy loss fails on a made-up batch"):
        dry_run(agent_of(kind=WithoutEnvironments), DISCRETE, "cpu")


@pytest.mark.parametrize("method", ["advantages", "policy_loss", "value_loss"])
def test_a_surrogate_of_another_shape_is_refused(method):
    """Numbers (B, 1) against (B,) made a loss (B, B), whose mean hid it: another gradient in silence."""

    def tall(self, *given):
        return getattr(Surrogate, method)(self, *given).unsqueeze(-1)

    surrogate = type("Tall", (Surrogate,), {method: tall})(clip=0.2)
    with pytest.raises(ConfigError, match=rf"Tall\.{method} gives \(\d, 1\), not \(\d,\), a number for each step"):
        dry_run(agent_of(surrogate=surrogate), DISCRETE, "cpu")


class Counted(Intrinsic):
    """A bonus for observations that were seldom seen, counted as it comes to mind."""

    gives = True

    def __init__(self, **given):
        super().__init__(**given)
        self.seen: dict[bytes, int] = {}

    def forward(self, rollout):
        for row in rollout.obs.flatten(0, 1).numpy():
            self.seen[row.tobytes()] = self.seen.get(row.tobytes(), 0) + 1
        return torch.ones_like(rollout.reward)


class Raised(Intrinsic):
    gives = True

    def forward(self, rollout):
        return torch.ones_like(rollout.reward).unsqueeze(-1)


@pytest.mark.parametrize(
    ("kind", "what"),
    [(Counted, r"loss changes intrinsic\.seen, which no checkpoint holds"), (Raised, r"Raised\.__call__ gives \(\d, 1, 1\)")],
)
def test_rewards_of_its_own_keep_nothing_in_an_attribute_and_have_one_number_for_each_step(kind, what):
    with pytest.raises(ConfigError, match=what):
        dry_run(agent_of(intrinsic=kind), DISCRETE, "cpu")


def test_presets_of_both_kinds_of_actions():
    for words in (("agent=ppo", "env=classic/cartpole"), ("agent=ppo", "env=classic/pendulum"), ("agent=a2c", "env=classic/acrobot")):
        agent = build_agent(settled(*words), spec_of(words[1].removeprefix("env=")))
        Learner(agent, lambda batch: batch).update(made_up(agent, agent.spec, size=6))


@pytest.mark.parametrize("agent", ["ppo", "a2c"])
@pytest.mark.parametrize("task", ["cartpole", "acrobot"])
def test_presets_take_the_observations_of_classic_control_as_they_are(agent, task):
    """Divided by the sizes of the task, as agents of values see them, Acrobot is not learned (docs/algorithms/ppo.md)."""
    assert compose([f"agent={agent}", f"env=classic/{task}"])[0]["agent"]["normalize"]["_target_"].endswith(".Plain")


WORDS = (
    "env.num=3", "agent.torso.hidden=[16]", "replay.length=10", "steps=240",
    "evaluation.every=100", "evaluation.episodes=1", "evaluation.final_episodes=1", "evaluation.num=1", "checkpoint.every=70",
    "log.every=3", "runtime.threads=1", "agent/normalize=running", "agent/rewards=scaled",
)  # fmt: skip


@pytest.mark.parametrize(
    "words",
    [
        (
            "agent=ppo",
            "env=classic/pendulum",
            "env.max_episode_steps=20",
            "replay.epochs=2",
            "replay.minibatches=2",
            "agent/kl=adaptive_rate",
            "agent/policy=beta",
            "agent/advantage=vtrace",
        ),
        ("agent=a2c", "env=classic/cartpole", "env.vector=async"),
    ],
)
def test_a_run_stopped_within_a_rollout_resumes_exactly(words, tmp_path, monkeypatch):
    assert begin(tmp_path / "whole", *words, *WORDS) == exits.FINISHED
    with monkeypatch.context() as patch:
        at_step(patch, 105, lambda: os.kill(os.getpid(), signal.SIGTERM))
        assert begin(tmp_path / "stopped", *words, *WORDS) == exits.STOPPED
    assert console("resume", tmp_path / "stopped") == exits.FINISHED
    assert_same_run(tmp_path / "stopped", tmp_path / "whole")


# ---- masks of actions

MASKED = Spec((2 + 3,), torch.float32, 3, 0, masked=True)


def masked_rows(seed: int, mask: list[int], size: int = 6) -> Tensor:
    """Observations (size, 2) and the mask."""
    obs = torch.randn(size, 2, generator=torch.Generator().manual_seed(seed))
    return torch.cat([obs, torch.tensor([mask], dtype=torch.float32).expand(size, 3)], -1)


def test_a_masked_policy_is_the_softmax_of_the_valid_actions():
    """Logits 1, 2, 3 with the second action invalid: log π(0) = 1 − log(e + e³), and the entropy is that of two actions."""
    policy = CategoricalPolicy(PolicyChoice(), without_mask(MASKED), MLPTorso(hidden=(3,)))
    outputs = only(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[True, False, True]])).requires_grad_()
    first = 1 - math.log(math.e + math.e**3)
    assert policy.log_prob(outputs, torch.tensor([0])).item() == pytest.approx(first, abs=1e-6)
    p = math.exp(first)
    entropy = policy.entropy(outputs)
    assert entropy.item() == pytest.approx(-p * math.log(p) - (1 - p) * math.log(1 - p), abs=1e-6)
    entropy.sum().backward()
    assert torch.isfinite(outputs.grad).all()


@pytest.mark.parametrize("shared", [False, True])
def test_no_invalid_action_is_taken_and_a_mask_of_ones_changes_nothing(shared):
    agent, plain = (agent_of(spec, shared=shared) for spec in (MASKED, without_mask(MASKED)))
    rows = masked_rows(0, [0, 1, 1], 400)
    noise = agent.act_noise((400,), torch.Generator().manual_seed(1))
    action = agent.act(rows, torch.ones(400, dtype=torch.bool), {}, 0, noise, explore=True).action
    assert set(action.tolist()) == {1, 2}
    assert 0 not in agent.greedy(rows)
    found = []
    for own, width in ((agent, 5), (plain, 2)):
        obs = masked_rows(2, [1, 1, 1])[:, :width]
        batch = make_batch(obs, [0, 1, 2, 0, 1, 2], torch.arange(6.0), 0.9, obs.flip(0))
        extra = {"advantage": torch.linspace(-1, 1, 6), "returns": torch.ones(6), "log_prob": torch.full((6,), -1.1)}
        found.append(gradient(own, "policy", batch._replace(extra={**extra, "value": torch.zeros(6)}))[0])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_a_masked_run_never_falls(tmp_path):
    """In the corridor any invalid action ends the episode with −1; the agent may not even try one."""
    words = (
        "agent=ppo", *CORRIDOR, "agent.torso.hidden=[16]", "steps=128", "replay.length=32", "replay.epochs=2", "env.num=2", "log.every=32",
        "evaluation.every=null", "runtime.threads=1",
    )  # fmt: skip
    assert begin(tmp_path / "run", *words) == exits.FINISHED
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert min(line["rollout/ep_rew_mean"] for line in lines if line.get("rollout/ep_rew_mean") is not None) >= 0
