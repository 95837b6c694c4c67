"""Action masks in the agent: numbers on paper, with the highest value at an invalid action; masks of ones change nothing; runs."""

from __future__ import annotations

import math
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from deeprl import load
from deeprl.agents.idqn import Iterated
from deeprl.agents.log_dqn import Log
from deeprl.agents.munchausen import Munchausen
from deeprl.agents.mvi import Tsallis
from deeprl.agents.rbis import RBIS, ImportanceSampling, TreeBackup
from deeprl.agents.self_prediction import Bidirectional
from deeprl.learning.backups.bellman import Double, Max, Soft
from deeprl.learning.backups.policies import action_gap, boltzmann, epsilon_greedy, policy_metrics
from deeprl.learning.networks.bounded import Bounded
from deeprl.learning.networks.distributional import Categorical, ImplicitQuantile, Quantile
from deeprl.learning.networks.heads import Scalar
from deeprl.learning.parts.exploration import EpsilonGreedy, Tick, drawn, epsilon_greedy_action
from deeprl.learning.parts.target_free import TargetFree
from deeprl.learning.transforms.channels import Polar
from deeprl.learning.transforms.masks import divided, divided_batch
from deeprl.learning.transforms.observations import Running
from deeprl.learning.values.masked import INVALID, MaskedValues
from deeprl.replay.sequences import Sequences
from deeprl.running.config.build import build_agent
from deeprl.running.training.learner import gradient
from deeprl.schedules import Constant
from deeprl.types import Batch, Rows, Spec
from tests.builders import (
    draw,
    entry,
    lines,
    made_up,
    make_batch,
    same,
    settled,
    snapshot,
    spec_of,
    train,
    transition,
    update,
    value_agent,
    values,
)
from tests.presets import KINDS, presets

PLAIN = Spec((5,), torch.float32, 3, 0)
MASKED = Spec((8,), torch.float32, 3, 0, masked=True)
VALID = [True, False, True]


def view(now=None, next=None):
    """A network whose action 1 is not valid."""
    given = (("now", now), ("next", next))
    return SimpleNamespace(**{end: MaskedValues(values(q), torch.tensor([VALID])) for end, q in given if q is not None})


# ---- worked examples: action 1 has the highest value and is not valid


def test_q_learning_takes_the_best_valid_action():
    y = Max()(None, view(next=[[1.0, 9.0, 3.0]]), transition(reward=1.0, discount=0.5))
    assert y.mean().item() == 1.0 + 0.5 * 3.0


def test_double_q_learning_selects_among_the_valid_actions():
    online, target = view(next=[[2.0, 9.0, 1.0]]), view(next=[[4.0, 9.0, 5.0]])
    assert Double()(online, target, transition(reward=1.0, discount=0.5)).mean().item() == 1.0 + 0.5 * 4.0


def test_each_iteration_of_a_chain_takes_its_own_best_valid_action():
    y = Max()(None, view(next=[[[1.0, 9.0, 3.0]], [[7.0, 8.0, 6.0]]]), transition(reward=1.0, discount=0.5))
    assert y.mean().tolist() == [[2.5], [4.5]]


@pytest.mark.parametrize("temperature", [1.0, 0.03, 100.0])
def test_a_soft_value_is_that_of_the_valid_actions_alone(temperature):
    """τ ln Σ exp(Q / τ) over both."""
    y = Soft(temperature=temperature)(None, view(next=[[0.0, 9.0, math.log(3.0)]]), transition(reward=1.0, discount=0.5))
    expected = temperature * math.log(1 + math.exp(math.log(3.0) / temperature))
    assert y.mean().item() == pytest.approx(1.0 + 0.5 * expected, rel=1e-6)


def test_a_munchausen_bonus_is_that_of_the_valid_actions_alone():
    """π = 1/4, 0, 3/4 at both ends: bonus α ln 3/4, soft value ln 4."""
    target = view(now=[[0.0, 9.0, math.log(3.0)]], next=[[0.0, 9.0, math.log(3.0)]])
    y = Munchausen(temperature=1.0, scale=0.9, floor=None)(None, target, transition(reward=1.0, discount=0.5, action=2))
    assert y.mean().item() == pytest.approx(1.0 + 0.5 * math.log(4.0) + 0.9 * math.log(0.75))


@pytest.mark.parametrize("normaliser", ["exact", "first_order"])
def test_a_sparse_policy_is_that_of_the_valid_actions_alone(normaliser):
    """q = 2, τ = 1, values 0 and ½: sparsemax π = ¼, 0, ¾. Value Σ π (Q − (π − 1)) = ¼ · ¾ + ¾ · ¾; bonus Q(s, 0) − Σ π Q = −3/8."""
    target = view(now=[[0.0, 9.0, 0.5]], next=[[0.0, 9.0, 0.5]])
    backup = Tsallis(q=2.0, temperature=1.0, scale=0.8, floor=None, normaliser=normaliser)
    y = backup(None, target, transition(reward=1.0, discount=0.5, action=0))
    assert y.mean().item() == pytest.approx(1.0 + 0.5 * 0.75 - 0.8 * 0.375)


@pytest.mark.parametrize("q", [1.0, 1.5, 2.0, 5.0, math.inf])
@pytest.mark.parametrize("temperature", [0.0, 0.03, 1.0])
def test_every_sparse_policy_is_the_policy_of_the_valid_actions(q, temperature):
    backup, given = Tsallis(q=q, temperature=temperature), torch.tensor([[0.0, 9.0, 0.4]])
    among, alone = backup.policy(torch.where(torch.tensor(VALID), given, INVALID)), backup.policy(given[:, VALID])
    torch.testing.assert_close(among[0][:, VALID], alone[0])
    assert among[0][0, 1] == 0
    assert (among[0] * among[1]).isfinite().all()


def test_an_epsilon_greedy_policy_explores_the_valid_actions():
    given = torch.tensor([[1.0, INVALID, 3.0]])
    assert epsilon_greedy(given, 0.2, torch.tensor([VALID]))[0].tolist() == pytest.approx([0.1, 0.0, 0.9])


@pytest.mark.parametrize(("method", "beta"), [(RBIS, 0.5), (TreeBackup, 0.5 * 0.9), (ImportanceSampling, 0.5 * 0.9 / 0.75)])
def test_a_trace_weighs_the_valid_actions(method, beta):
    """Two steps, γ = λ = ½, π = 0.1, 0, 0.9 and μ = ¾: β_1 is min(λ, ρ), λ π or λ ρ.

    δ_1 = R_1 + γ E_π Q(s_2) − Q(s_1, a_1),     E_π Q = 0.1 · 1 + 0.9 · 3
    """
    valid = torch.tensor([[VALID], [VALID]])
    batch = Batch(
        torch.zeros(2, 1, 1), torch.tensor([[0], [2]]), torch.tensor([[1.0], [2.0]]), torch.full((2, 1), 0.5), torch.zeros(2, 1, 1),
        torch.ones(2, 1), torch.zeros(2, 1, dtype=torch.bool), torch.ones(2, 1, dtype=torch.bool), torch.ones(2, 1), torch.zeros(2, 1), {},
        {"behavior_probability": torch.full((2, 1), 0.75), "valid": valid, "next_valid": valid},
    )  # fmt: skip
    q = values([[[[1.0, 9.0, 3.0]], [[1.0, 9.0, 3.0]]]])  # (1, 2, 1, 3)
    both = MaskedValues(q, batch.extra["valid"])
    y = method(lam=0.5, epsilon=0.2)(None, SimpleNamespace(now=both, next=both), batch).mean()
    expected = 0.1 * 1.0 + 0.9 * 3.0
    delta = 2.0 + 0.5 * expected - 3.0
    assert y[0].flatten().tolist() == pytest.approx([1.0 + 0.5 * expected + 0.5 * beta * delta, 2.0 + 0.5 * expected])


# ---- every head

HEADS = {
    "scalar": (Scalar(), {}),
    "duelling": (Scalar(dueling=True), {}),
    "categorical": (Categorical(atoms=5), {}),
    "quantile": (Quantile(quantiles=4), {}),
    "implicit": (ImplicitQuantile(samples=4, target_samples=3, policy_samples=2), {}),
    "bounded": (Bounded(low=-3.0, high=3.0), {}),
    "log": (Scalar(), {"mapping": Log(), "rewards": Polar}),
}


def with_masks(batch: Batch, actions: int, masks: tuple[torch.Tensor, torch.Tensor] | None = None) -> Batch:
    """The batch with masks as last columns; of ones without `masks`."""
    now, after = masks or (torch.ones(*batch.valid.shape, actions),) * 2
    extra = {name: torch.cat([value, after], -1) if name == "successor" else value for name, value in batch.extra.items()}
    return batch._replace(obs=torch.cat([batch.obs, now], -1), next_obs=torch.cat([batch.next_obs, after], -1), extra=extra)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("chain", [None, partial(Iterated, length=2), TargetFree])
def test_no_head_takes_an_invalid_action(head, chain):
    """Values of valid actions are those without a mask, the policy of all others is 0, and what is expected is their mean."""
    choice, more = HEADS[head]
    agent = value_agent(MASKED, head=choice, **more, **({"chain": chain} if chain else {}))
    made = made_up(agent, MASKED, size=50)
    batch = agent.normalized(made)
    for side in agent.chain.views(batch):
        for end, mask in ((side.now, batch.extra["valid"]), (side.next, batch.extra["next_valid"])):
            mean = end.mean()
            assert (mean == INVALID).equal(~mask.expand(mean.shape))
            torch.testing.assert_close(mean[mask.expand(mean.shape)], end.values.mean()[mask.expand(mean.shape)], rtol=0, atol=0)
            assert mask.gather(-1, mean.argmax(-1)[0].unsqueeze(-1)).all()
            policy, log = boltzmann(mean, 0.5)
            assert (policy[~mask.expand(mean.shape)] == 0).all()
            assert (policy * log).isfinite().all()
            assert end.expect(policy.to(end.values.mean().dtype)).mean().isfinite().all()
    term = agent.objectives["value"].loss(made)
    assert term.loss.isfinite()
    assert all(metric.isfinite().all() and metric.abs().max() < 1e6 for metric in term.metrics.values())


def test_some_heads_of_masked_values_are_masked_too():
    """Gi-DQN takes its targets from a part of the heads that were evaluated together."""
    agent = value_agent(MASKED, chain=partial(Iterated, length=3))
    batch = agent.normalized(made_up(agent, MASKED, size=20))
    values, mask = agent.chain.views(batch)[0].now, batch.extra["valid"]
    assert not mask.all()
    part = values.entries(slice(1, 3)).mean()
    assert part.equal(values.mean()[1:3])
    assert (part == INVALID).equal(~mask.expand(part.shape))


# ---- masks of ones change nothing

DISCRETE = [name for name, kind in KINDS.items() if kind == "discrete"]


@pytest.mark.parametrize("name", [each for each in presets() if each.values[0] in DISCRETE])
def test_masks_of_ones_change_nothing(name):
    """Gradients, metrics and priorities of each loss, weights after three updates, and actions with their probabilities."""
    spec = spec_of("toy/chain")
    plain = build_agent(settled(f"agent={name}", "env=toy/chain"), spec)
    other = build_agent(settled(f"agent={name}", "env=toy/chain"), spec._replace(obs_shape=(spec.obs_shape[0] + 2,), masked=True))
    for seed in range(3):
        batch = made_up(plain, spec, size=7, seed=seed)
        behind = with_masks(batch, 2)
        for objective in plain.objectives:
            (expected, one), (found, two) = gradient(plain, objective, batch), gradient(other, objective, behind)
            assert all(a.equal(b) for a, b in zip(found, expected, strict=True))
            assert same(two.metrics, one.metrics)
            assert two.error.equal(one.error)
        update(plain, batch)
        update(other, behind)
    assert same(snapshot(other), snapshot(plain))
    obs, first = made_up(plain, spec, size=7).obs.reshape(-1, *spec.obs_shape)[:7], torch.ones(7, dtype=torch.bool)
    acted = []
    for agent, row in ((plain, obs), (other, torch.cat([obs, torch.ones(7, 2)], -1))):
        agent.explore = EpsilonGreedy(Constant(0.3), evaluation=0.4)
        noise = entry(agent.act_noise((1, 7), torch.Generator().manual_seed(0)))
        acted.append([agent.act(row, first, {}, 0, noise, explore) for explore in (True, False)])
    for one, two in zip(*acted):
        assert two.action.equal(one.action)
        assert two.probability.equal(one.probability)
    assert acted[1][1].value.equal(acted[0][1].value)
    assert acted[1][1].gap.equal(acted[0][1].gap)


@pytest.mark.parametrize(
    ("backup", "more"),
    [
        (Tsallis(q=1.5), {}),
        (Tsallis(q=2.0, term="logq", bootstrap="consistent"), {}),
        (Munchausen(), {"head": ImplicitQuantile(), "chain": partial(Iterated, length=3)}),
        (Soft(), {"head": Quantile(), "chain": TargetFree}),
        (Double(), {"auxiliary": Bidirectional, "normalize": Running}),
    ],
)
def test_masks_of_ones_change_no_backup(backup, more):
    agents = [value_agent(spec, backup=backup, **more) for spec in (PLAIN, MASKED)]
    batch = made_up(agents[0], PLAIN, size=9)
    rows = (batch, with_masks(batch, 3))
    for agent, each in zip(agents, rows):
        observe(agent, each)
        update(agent, each)
        update(agent, each)
    assert same(*(snapshot(agent) for agent in agents))


def observe(agent, batch: Batch) -> None:
    flags = np.zeros(9, bool)
    agent.observe(Rows(batch.obs.numpy(), batch.action.numpy(), flags * 1.0, batch.next_obs.numpy(), flags, flags, flags * 1.0))


def test_networks_and_statistics_see_no_mask():
    agent = value_agent(MASKED, normalize=Running)
    assert agent.normalize.mean.shape == (5,)
    assert agent.chain.online.torso.sizes[0] == 5
    assert agent.spec == MASKED


def test_the_last_columns_are_the_mask():
    batch = make_batch(torch.arange(8.0).view(1, 8), [2], [0.0], 1.0, torch.arange(8.0, 16.0).view(1, 8))
    found = divided_batch(batch._replace(obs=torch.tensor([[1, 2, 3, 4, 5, 0, 1, 1.0]])), MASKED)
    assert found.obs.tolist() == [[1, 2, 3, 4, 5]]
    assert found.extra["valid"].tolist() == [[False, True, True]]
    assert divided(torch.zeros(2, 3, 8), 3)[0].shape == (2, 3, 5)


def test_rows_that_are_no_transitions_disturb_no_loss():
    """An episode of one step whose last observation forbids action 0, which the row after it holds: its bonus would be that of −10³⁰."""
    replay = Sequences(capacity=8, batch_size=4, length=2, spec=MASKED, num=1, discount=0.9, needs=frozenset())
    obs, last = np.ones((1, 8), np.float32), np.array([[1, 1, 1, 1, 1, 0, 1, 0]], np.float32)
    yes, ones = np.array([True]), np.ones(1, np.float32)
    for _ in range(4):
        replay.append(Rows(obs, np.array([2]), ones, last, ~yes, yes, ones))
    agent = value_agent(MASKED, backup=Munchausen(floor=None))
    batch = draw(replay)
    assert not batch.valid.all()
    term = agent.objectives["value"].loss(batch._replace(noise=entry(agent.noise((1, 2, 4), None))))
    assert term.loss.isfinite()
    assert term.error[batch.valid].max() < 100


# ---- metrics


def test_metrics_show_no_value_of_invalid_actions():
    given = torch.tensor([[1.0, INVALID, 3.0], [INVALID, INVALID, 3.0], [1.0, 2.0, 4.0]])
    assert action_gap(given).tolist() == [2.0, 0.0, 2.0]
    found = policy_metrics(given, boltzmann(given, 1.0)[0])
    assert found["train/policy_entropy"][1] == 0
    assert all(metric.isfinite().all() for metric in found.values())


# ---- acting


def test_a_random_action_is_one_of_the_valid():
    valid = torch.tensor([[1, 0, 1, 1, 0]] * 6 + [[1, 1, 1, 1, 1]] * 2) > 0
    u = torch.tensor([0.0, 0.33, 0.34, 0.66, 0.67, 1 - 2**-53, 0.5, 0.99], dtype=torch.float64)
    assert drawn(u, valid).tolist() == [0, 0, 2, 2, 3, 3, 2, 4]


def test_the_probability_of_an_action_counts_the_valid():
    """ε = 0.4: 0.6 + 0.4 / 2 for the best of two, 0.4 / 2 for the other, 1 where there is no choice; and 1/2 in pure exploration."""
    noise = {"explore": torch.tensor([0.9, 0.1, 0.1], dtype=torch.float64), "uniform": torch.tensor([0.0, 0.9, 0.5], dtype=torch.float64)}
    valid = torch.tensor([[1, 0, 1], [1, 0, 1], [0, 1, 0]]) > 0
    tick = Tick(0, torch.zeros(3, dtype=torch.bool), noise, 3, valid)
    action, probability = epsilon_greedy_action(lambda: torch.eye(3)[[0, 0, 1]], tick, 0.4)
    assert action.tolist() == [0, 2, 1]
    assert probability.tolist() == pytest.approx([0.8, 0.2, 1.0])
    action, probability = epsilon_greedy_action(None, tick, 1.0)
    assert action.tolist() == [0, 2, 1]
    assert probability.tolist() == pytest.approx([0.5, 0.5, 1.0])


@pytest.mark.parametrize("acting", ["uniform_with_target", "mean", "episode"])
def test_no_rule_of_acting_takes_an_invalid_action(acting):
    agent = value_agent(MASKED, chain=partial(Iterated, length=3, acting=acting), explore=EpsilonGreedy(Constant(0.5), evaluation=0.2))
    generator = torch.Generator().manual_seed(0)
    obs, first = made_up(agent, MASKED, size=200).obs, torch.ones(200, dtype=torch.bool)
    for explore in (True, False):
        acted = agent.act(obs, first, {}, 0, entry(agent.act_noise((1, 200), generator)), explore)
        assert divided(obs, 3)[1].gather(-1, acted.action.unsqueeze(-1)).all()
        assert len(acted.action.unique()) == 3
    assert acted.value.abs().max() < 100
    assert acted.gap.max() < 100


# ---- runs

CORRIDOR = (
    "agent=dqn", "env=function", "env.function=tests.corridor:Corridor", "steps=900", "replay.learning_starts=100", "replay.ratio=0.5",
    "replay.capacity=1500", "replay.batch_size=16", "agent.torso.hidden=[32]", "agent.optimizer.lr=0.003", "discount=0.9",
    "agent.chain.target_update_period=50", "agent.explore.schedule.duration=500", "agent.explore.schedule.end=0.05",
    "evaluation.every=null", "evaluation.final_episodes=3", "checkpoint.every=null", "log.every=500", "runtime.threads=1",
    "accelerate=fast",
)  # fmt: skip


def test_an_agent_learns_among_forty_actions_of_which_two_are_valid(tmp_path):
    """Without the mask a walk to the goal by chance has a probability of 40⁻⁵, and the agent learns to stay where it does not fall."""
    train(tmp_path / "masked", *CORRIDOR, "env.mask=true")
    assert lines(tmp_path / "masked", "evaluations.jsonl")[-1]["returns"] == [1.0] * 3
    assert lines(tmp_path / "masked", "evaluations.jsonl")[-1]["lengths"] == [5] * 3
    assert all(line["rollout/ep_rew_mean"] >= 0 for line in lines(tmp_path / "masked", "metrics.jsonl") if "rollout/ep_rew_mean" in line)
    train(tmp_path / "plain", *CORRIDOR, "env.mask=false", "steps=300")
    assert max(lines(tmp_path / "plain", "evaluations.jsonl")[-1]["returns"]) <= 0.0


def test_a_loaded_agent_respects_the_mask(tmp_path):
    words = (*CORRIDOR, "+env.kwargs.told=false", "steps=300")
    train(tmp_path / "run", *words)
    run = load(tmp_path / "run", allow=("tests",))
    obs, masks = np.eye(6, dtype=np.float32), np.roll(np.eye(40, dtype=np.int8), 3, 1)[:6]  # one valid action each, 3 … 8
    assert run.act(obs, masks).tolist() == list(range(3, 9))
    assert run.act(obs[0], masks[0]) == 3
    assert run.act(np.concatenate([obs, masks], -1)).tolist() == list(range(3, 9))
    with pytest.raises(ValueError, match=r"mask must be \(6, 40\) here, not of shape \(40,\)"):
        run.act(obs, masks[0])
    with pytest.raises(ValueError, match=r"shape \(46,\)"):
        run.act(obs)
