"""Off-policy traces: numbers of docs/algorithms/retrace.md and rbis.md, and invariants; then the agents that use them."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from deeprl.agents.cql import Conservative
from deeprl.agents.idqn import Iterated
from deeprl.agents.rbis import RBIS, ImportanceSampling, QLambda, RecursiveRetrace, Retrace, TreeBackup, TruncatedIS
from deeprl.errors import ConfigError
from deeprl.learning.backups.bellman import Max
from deeprl.learning.backups.policies import epsilon_greedy
from deeprl.learning.backups.traces import SMALLEST, Trace, trace_sums
from deeprl.learning.networks.heads import Scalar
from deeprl.learning.networks.mapped import wrapped
from deeprl.learning.transforms.channels import Polar
from deeprl.learning.value_agent import ValueAgent
from deeprl.learning.values.losses import over_valid
from deeprl.learning.values.mapped import MappedValues, Units
from deeprl.learning.values.mapping import Identity
from deeprl.learning.values.returns import Returns
from deeprl.learning.values.signed_maps import SignedRoot
from deeprl.replay.replay import Replay
from deeprl.replay.sequences import Sequences
from deeprl.running.config.alternatives import option_class
from deeprl.running.config.build import build_agent, check_replay
from deeprl.running.config.dry_run import dry_run
from deeprl.running.config.instantiate import Deferred, instantiate
from deeprl.running.training.learner import gradient
from deeprl.types import Batch
from tests.builders import (
    DISCRETE,
    assert_close32,
    entry,
    flat,
    made_up,
    same,
    settled,
    snapshot,
    spec_of,
    traced_gradient,
    train,
    update,
    value_agent,
    values,
)
from tests.pairwise import once

METHODS = {
    "is": ImportanceSampling, "q_lambda": QLambda, "tree_backup": TreeBackup, "retrace": Retrace, "truncated_is": TruncatedIS,
    "recursive_retrace": RecursiveRetrace, "rbis": RBIS,
}  # fmt: skip
EVERY = pytest.mark.parametrize("method", METHODS)


def betas(trace: Trace, ratio, policy=None) -> torch.Tensor:
    """β_1, β_2, … of a trace that starts at row 0, where ratios ρ_1, ρ_2, … follow: each is read off as the weight of a lone δ_t."""
    ratio = torch.cat([torch.tensor([7.0]), torch.as_tensor(ratio, dtype=torch.float32)])  # ρ_0 is not used
    length = len(ratio)
    shape = (length, length)  # T, B: in column b only δ_b is not zero
    policy = torch.ones(shape) if policy is None else torch.cat([torch.ones(1), torch.as_tensor(policy)])[:, None].expand(shape)
    found = trace_sums(trace.coefficient, torch.eye(length), ratio[:, None].expand(shape), policy, torch.ones(shape), trace.lam)
    return found[0, 1:]


# ---- the worked sequence

RATIOS = [0.5, 2.0, 4.0, 0.25, 1.0]
WORKED = {
    "is": ([0.45, 0.81, 2.916, 0.6561, 0.59049], None),
    "retrace": ([0.45, 0.405, 0.3645, 0.08201, 0.07381], 2.09616),
    "truncated_is": ([0.45, 0.81, 0.729, 0.6561, 0.59049], 3.37169),
    "recursive_retrace": ([0.45, 0.81, 0.9, 0.2025, 0.18225], 2.95768),
    "rbis": ([0.5, 0.81, 0.729, 0.18225, 0.18225], 2.86473),
}


@pytest.mark.parametrize("method", WORKED)
def test_the_worked_sequence(method):
    expected, total = WORKED[method]
    trace = METHODS[method](lam=0.9)
    assert betas(trace, RATIOS).tolist() == pytest.approx(expected, abs=5e-6)
    if total is not None:  # Σ_t 0.9^t β_t, β_0 = 1
        ones = torch.ones(6, 1)
        ratio = torch.tensor([3.0, *RATIOS])[:, None]
        assert 1 + trace_sums(trace.coefficient, ones, ratio, ones, 0.9 * ones, 0.9)[0].item() == pytest.approx(total, abs=2e-5)


def test_traces_without_ratios():
    assert betas(QLambda(lam=0.9), RATIOS).tolist() == pytest.approx([0.9**t for t in range(1, 6)])
    assert betas(TreeBackup(lam=0.9), RATIOS, [0.5, 1.0, 0.2, 0.0, 1.0]).tolist() == pytest.approx([0.45, 0.405, 0.0729, 0, 0])


# ---- invariants


def random_ratios(seed: int, length: int = 12) -> torch.Tensor:
    return torch.randn(length, generator=torch.Generator().manual_seed(seed)).mul(0.7).exp()


@EVERY
def test_at_lambda_zero_there_is_no_correction(method):
    assert betas(METHODS[method](lam=0.0), random_ratios(0)).tolist() == [0.0] * 12


def test_at_lambda_one_rbis_is_recursive_retrace_bit_for_bit():
    for seed in range(5):
        ratio = random_ratios(seed)
        assert torch.equal(betas(RBIS(lam=1.0), ratio), betas(RecursiveRetrace(lam=1.0), ratio))
        assert not torch.equal(betas(RBIS(lam=0.9), ratio), betas(RecursiveRetrace(lam=0.9), ratio))


@EVERY
def test_on_policy_every_trace_but_tree_backup_is_lambda_to_the_t(method):
    expected = [0.8**t * (0.5**t if method == "tree_backup" else 1.0) for t in range(1, 9)]
    assert betas(METHODS[method](lam=0.8), [1.0] * 8, [0.5] * 8).tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("lam", [0.3, 0.9, 1.0])
def test_retrace_is_at_most_rbis_which_is_at_most_lambda_to_the_t(lam):
    strict = 0
    for seed in range(20):
        low, high = (betas(choice(lam=lam), random_ratios(seed)) for choice in (Retrace, RBIS))
        assert (low >= 0).all()
        assert (low <= high * (1 + 1e-5)).all()
        assert (high <= torch.tensor([lam**t for t in range(1, 13)]) * (1 + 1e-6)).all()
        strict += int((low < 0.9 * high).sum())
    assert strict > 10  # a cut trace recovered


@pytest.mark.parametrize("method", ["is", "tree_backup", "retrace", "recursive_retrace", "rbis"])
def test_the_condition_for_a_contraction(method):
    """β_t ≤ ρ_t β_{t−1} on every trajectory. π(A|S) ≤ ρ, because μ ≤ 1."""
    for seed in range(20):
        ratio = random_ratios(seed)
        found = betas(METHODS[method](lam=0.9), ratio, 0.9 * ratio.clamp(max=1.0))
        before = torch.cat([torch.ones(1), found[:-1]])
        assert (found <= ratio * before * (1 + 1e-5)).all()


@pytest.mark.parametrize("method", ["q_lambda", "truncated_is"])
def test_two_traces_do_not_meet_it(method):
    found = betas(METHODS[method](lam=0.9), [2.0, 0.5])  # product 1: truncated importance sampling forgets that it was cut off
    assert found[1] > 0.5 * found[0] * 1.01


# ---- against a forward loop and the online form

B, T, A, K = 5, 9, 3, 2


def coefficient(method: str, lam: float, before, ratio, policy, product, limit):
    """The table of docs/algorithms/retrace.md in NumPy."""
    return {
        "is": lam * before * ratio, "q_lambda": limit, "tree_backup": lam * before * policy,
        "retrace": lam * before * np.minimum(1, ratio), "truncated_is": limit * np.minimum(1, product),
        "recursive_retrace": lam * np.minimum(1, ratio * before), "rbis": np.minimum(limit, ratio * before),
    }[method]  # fmt: skip


def forward_loop(method, lam, gamma, q, one_step, action, ratio, policy, terminated, done) -> np.ndarray:
    """Returns of every row of one sequence: g ← γ g, l ← λ l, β; a new entry of ones; add g β δ_t; forget everything at an end."""
    length = len(action)
    g, limit, beta, product = (np.zeros(length) for _ in range(4))
    total = np.array([q[t, action[t]] for t in range(length)])
    for t in range(length):
        g, limit, product = gamma * g, lam * limit, product * ratio[t]
        beta = coefficient(method, lam, beta, ratio[t], policy[t], product, limit)
        g[t] = limit[t] = beta[t] = product[t] = 1.0
        total += g * beta * (one_step[t] - q[t, action[t]])
        if done[t] or terminated[t]:
            g[:] = 0.0
    return total


def given(seed: int, epsilon: float, gamma: float = 0.95):
    """A random batch of sequences, values at both ends of them, and the numbers that follow from both."""
    r = np.random.default_rng(seed)
    q = r.normal(size=(K, T + 1, B, A))
    q_next = q[:, 1:].copy()
    ended, terminated = r.random((T, B)) < 0.2, r.random((T, B)) < 0.15  # the latter also without an end: lost lives
    valid = np.ones((T, B), bool)
    valid[1:] = ~ended[:-1]  # the extra row
    ended &= valid
    terminated &= valid
    action, reward, mu = r.integers(0, A, (T, B)), r.normal(size=(T, B)), r.uniform(0.05, 1, (T, B))
    discount = gamma * (valid & ~terminated)
    mu[~valid] = 0.0

    def tensor(array):
        return torch.as_tensor(array) if array.dtype in (bool, np.int64) else torch.as_tensor(array, dtype=torch.float32)

    batch = Batch(
        tensor(valid), tensor(action), tensor(reward), tensor(discount), tensor(valid), tensor(valid).long(), tensor(ended), tensor(valid),
        torch.ones(T, B), torch.zeros(T, B).long(), {}, {"behavior_probability": tensor(mu)},
    )  # fmt: skip
    view = SimpleNamespace(now=values(q[:, :T]), next=values(q_next))

    def soft(table):
        return (1 - epsilon) * np.eye(A)[table.argmax(-1)] + epsilon / A

    one_step = reward + discount * (soft(q_next) * q_next).sum(-1)
    policy = np.take_along_axis(soft(q[:, :T]), np.broadcast_to(action, (K, T, B))[..., None], -1)[..., 0]
    exact = [
        [(q[k, :T, b], one_step[k, :, b], action[:, b], policy[k, :, b] / np.maximum(mu[:, b], SMALLEST), policy[k, :, b], terminated[:, b],
          ended[:, b]) for b in range(B)] for k in range(K)
    ]  # fmt: skip
    return batch, view, valid, one_step, exact, gamma


@EVERY
@pytest.mark.parametrize("seed", range(4))
def test_returns_are_those_of_the_forward_loop(method, seed):
    """Chains, ends of episodes, lost lives and rows that are no transition among them."""
    batch, view, valid, one_step, exact, gamma = given(seed, epsilon=0.3)
    found = METHODS[method](lam=0.8, epsilon=0.3)(None, view, batch)
    assert found.atoms.shape == (K, T, B, 1)
    for k in range(K):
        for b in range(B):
            expected = forward_loop(method, 0.8, gamma, *exact[k][b])
            np.testing.assert_allclose(found.mean()[k, valid[:, b], b], expected[valid[:, b]], rtol=2e-4, atol=2e-4)
    assert np.abs(found.mean().numpy() - one_step)[:, valid].max() > 0.1  # there was something to correct


@EVERY
def test_online_and_offline_totals_agree(method):
    """Each visited pair keeps its own products, decays them, changes β last, and gets g β δ_t; δ does not depend on Q."""
    random = np.random.default_rng(1)
    delta, ratio, policy = random.normal(size=T), random.uniform(0.2, 2, T), random.uniform(0.1, 0.9, T)
    entries: list[dict] = []
    for t in range(T):
        for e in entries:
            e["g"], e["l"], e["p"] = 0.9 * e["g"], 0.7 * e["l"], e["p"] * ratio[t]
            e["b"] = coefficient(method, 0.7, e["b"], ratio[t], policy[t], e["p"], e["l"])
        entries.append({"g": 1.0, "l": 1.0, "p": 1.0, "b": 1.0, "total": 0.0})
        for e in entries:
            e["total"] += e["g"] * e["b"] * delta[t]
    columns = [torch.tensor(x, dtype=torch.float32)[:, None] for x in (delta, ratio, policy)]
    found = columns[0] + trace_sums(METHODS[method]().coefficient, *columns, torch.full((T, 1), 0.9), 0.7)
    np.testing.assert_allclose(found[:, 0], [e["total"] for e in entries], rtol=1e-4, atol=1e-5)


def test_pengs_lambda_return_on_greedy_data():
    """r = (0, 0, 1), greedy values of the next two states 0.5 and 0.4, γ = 0.9, λ = 0.8. Where all actions are greedy, Q(λ) is it."""
    q = torch.tensor([[[0.3, -1.0]], [[0.5, 0.1]], [[0.4, 0.0]]])  # T, B, A = 3, 1, 2
    after = torch.tensor([[[0.5, 0.1]], [[0.4, 0.0]], [[9.0, 9.0]]])
    reward, discount = torch.tensor([[0.0], [0.0], [1.0]]), torch.tensor([[0.9], [0.9], [0.0]])
    ended, ones = torch.tensor([[False], [False], [True]]), torch.ones(3, 1)
    batch = Batch(
        ones, torch.zeros(3, 1).long(), reward, discount, ones, ones.long(), ended, ones.bool(), ones, ones.long(), {},
        {"behavior_probability": ones},
    )  # fmt: skip
    view = SimpleNamespace(now=values(q[None]), next=values(after[None]))
    assert QLambda(lam=0.8, epsilon=0.0)(None, view, batch).mean().flatten().tolist() == pytest.approx([0.66024, 0.792, 1.0])


# ---- traps


def test_on_policy_data_has_ratios_of_one():
    """ρ_t asks π at S_t; at the next state's values the data would look off-policy."""
    batch, view, *_ = given(5, epsilon=0.3)
    view = SimpleNamespace(now=values(view.now.q[:1]), next=values(view.next.q[:1]))
    mu = epsilon_greedy(view.now.q, 0.3).gather(-1, batch.action[None, ..., None])[0, ..., 0]
    batch = batch._replace(extra={"behavior_probability": mu})
    on_policy, plain = (choice(lam=0.9, epsilon=0.3)(None, view, batch).mean() for choice in (RBIS, QLambda))
    torch.testing.assert_close(on_policy, plain)


def test_products_do_not_overflow():
    for method, choice in METHODS.items():
        found = betas(choice(lam=1.0), [SMALLEST**-1] * 100)
        assert torch.isfinite(found).all()
        assert torch.isfinite(found.square() * 1e6).all()
        assert found[-1] == (1e12 if method == "is" else 1.0)
        cut = betas(choice(lam=1.0), [SMALLEST**-1] * 100 + [0.0])[-1].item()  # an infinite product times zero is not a number
        assert cut == (1.0 if method in ("q_lambda", "tree_backup") else 0.0)


def test_an_exploratory_action_ends_every_trace_of_a_greedy_target_policy():
    assert betas(RBIS(lam=0.9), [1.25, 0.0, 1.25, 1.25])[1:].tolist() == [0.0, 0.0, 0.0]
    batch, view, _, one_step, _, _ = given(0, epsilon=0.0)
    greedy = view.now.q.argmax(-1) == batch.action
    found = RBIS(lam=0.9, epsilon=0.0)(None, view, batch).mean().numpy()
    blocked = torch.cat([~greedy[:, 1:], torch.ones(K, 1, B, dtype=torch.bool)], 1).numpy()  # the next action ends the trace
    np.testing.assert_allclose(found[blocked], one_step[blocked], rtol=1e-5, atol=1e-5)


def test_a_cut_trace_recovers_so_that_no_backward_recursion_computes_it():
    """ρ = ½, 2: of two steps RBIS forgets the cut, while a scan G_k = … c_{k+1} G_{k+1} has the same factor for the second step
    whatever came before."""
    rbis, retrace = betas(RBIS(lam=1.0), [0.5, 2.0]), betas(Retrace(lam=1.0), [0.5, 2.0])
    assert rbis.tolist() == [0.5, 1.0]
    assert retrace.tolist() == [0.5, 0.5]
    assert rbis[1] / rbis[0] != betas(RBIS(lam=1.0), [2.0])[0]


@EVERY
def test_rewards_of_rows_that_are_no_transition_may_be_anything(method):
    """Also not finite, in somebody's transform."""
    batch, view, valid, *_ = given(2, epsilon=0.3)
    reward = torch.where(batch.valid, batch.reward, float("inf"))
    plain, found = (METHODS[method](epsilon=0.3)(None, view, b).mean()[:, valid] for b in (batch, batch._replace(reward=reward)))
    assert torch.equal(plain, found)


@EVERY
def test_what_lies_behind_an_end_has_no_influence(method):
    batch, view, *_ = given(2, epsilon=0.3)
    before = METHODS[method](lam=1.0, epsilon=0.3)(None, view, batch).mean()
    row, b = ((batch.ended & (torch.arange(T)[:, None] < T - 2)).nonzero()[0]).tolist()
    view.now.q[:, row + 1 :, b] = 1e6  # the extra row, and the next episode
    view.next.q[:, row + 1 :, b] = -1e6
    after = METHODS[method](lam=1.0, epsilon=0.3)(None, view, batch).mean()
    assert torch.equal(before[:, : row + 1, b], after[:, : row + 1, b])
    others = [i for i in range(B) if i != b]
    assert torch.equal(before[:, :, others], after[:, :, others])


# ---- λ = 0, and sequences of one row, are one step


@EVERY
def test_at_lambda_zero_a_trace_is_the_one_step_backup_bit_for_bit(method):
    batch, view, *_ = given(3, epsilon=0.3)
    one_step = view.next.expect(epsilon_greedy(view.next.mean(), 0.3)).bootstrap(batch.reward, batch.discount)
    assert torch.equal(METHODS[method](lam=0.0, epsilon=0.3)(None, view, batch).atoms, one_step.atoms)
    greedy = METHODS[method](lam=0.0, epsilon=0.0)(None, view, batch)
    assert torch.equal(greedy.atoms, Max()(None, view, batch).atoms)
    assert not torch.equal(METHODS[method](lam=0.5, epsilon=0.0)(None, view, batch).atoms, greedy.atoms)


@EVERY
def test_a_sequence_of_one_row_is_one_step(method):
    batch, view, *_ = given(3, epsilon=0.0)
    single = Batch(*(field[:1] if isinstance(field, torch.Tensor) else field for field in batch))
    single = single._replace(extra={"behavior_probability": batch.extra["behavior_probability"][:1]})
    view = SimpleNamespace(now=values(view.now.q[:, :1]), next=values(view.next.q[:, :1]))
    assert torch.equal(METHODS[method](lam=0.9, epsilon=0.0)(None, view, single).atoms, Max()(None, view, single).atoms)


# ---- one channel in mapped units


def mapped(q: torch.Tensor, mapping, scales=(1.0,)) -> MappedValues:
    """q: (K, C, T, B, A) in ordinary units."""
    units = Units(mapping, scales, signed=True)
    return MappedValues(units.mapped(q.to(units.dtype)), units)


def test_retrace_of_a_mapped_channel_on_paper():
    """f(x) = sign(x) (√(|x| + 1) − 1) + x / 100. Ordinary Q(S₀) = (3, 0), Q(S₁) = (8, −3), Q(S₂) = (0, 3); all actions are greedy.

    δ₁ = −2 + ½ · 3 − 8 = −8.5, and G₀ = 1 + ½ · 8 + ½ · 0.8 δ₁ = 1.6. The head said f(3) = 1.03 and is to say f(1.6)."""
    q = torch.tensor([[[3.0, 0.0]], [[8.0, -3.0]]], dtype=torch.float64)[None, None]  # K, C, T, B, A = 1, 1, 2, 1, 2
    after = torch.tensor([[[8.0, -3.0]], [[0.0, 3.0]]], dtype=torch.float64)[None, None]
    ones = torch.ones(2, 1)
    batch = Batch(
        ones, ones.long() * 0, torch.tensor([[1.0], [-2.0]]), 0.5 * ones, ones, ones.long(), ones < 0, ones.bool(), ones, ones.long(), {},
        {"behavior_probability": ones},
    )  # fmt: skip
    view = SimpleNamespace(now=mapped(q, SignedRoot()), next=mapped(after, SignedRoot()))
    assert view.now.mapped.flatten().tolist() == pytest.approx([1.03, 0.0, 2.08, -1.03])
    found = Retrace(lam=0.8, epsilon=0.0)(None, view, batch)
    assert found.atoms.shape == (1, 1, 2, 1, 1)
    assert found.mean().flatten().tolist() == pytest.approx([1.6, -0.5])
    loss, error = view.now.at(batch.action).loss(found)
    goals = [2.6**0.5 - 1 + 0.016, -(1.5**0.5 - 1) - 0.005]
    assert loss.flatten().tolist() == pytest.approx([(goals[0] - 1.03) ** 2, (goals[1] - 2.08) ** 2])
    assert error.flatten().tolist() == pytest.approx([1.4, 8.5])


@EVERY
def test_a_channel_of_the_identity_is_plain_bit_for_bit(method):
    batch, view, *_ = given(1, epsilon=0.3)
    channel = SimpleNamespace(now=mapped(view.now.q.unsqueeze(1), Identity()), next=mapped(view.next.q.unsqueeze(1), Identity()))
    plain, found = (METHODS[method](lam=0.8, epsilon=0.3)(None, each, batch).atoms for each in (view, channel))
    assert torch.equal(found.squeeze(1), plain)


def test_several_channels_are_refused():
    batch, view, *_ = given(1, epsilon=0.3)
    two = mapped(view.now.q.unsqueeze(1).expand(-1, 2, -1, -1, -1), Identity(), (1.0, -1.0))
    with pytest.raises(ValueError, match="of one channel, is needed"):
        Retrace()(None, SimpleNamespace(now=two, next=two), batch)
    # the correction knows no λ
    assert wrapped(Scalar(), SignedRoot(), Polar()).offers == frozenset()


# ---- choices


@EVERY
@pytest.mark.parametrize("field", ["lam", "epsilon"])
def test_values_out_of_range_are_refused(method, field):
    for value in (-0.1, 1.1):
        with pytest.raises(ValueError, match=f"^{field} must be between 0 and 1"):
            METHODS[method](**{field: value})


def test_what_traces_cannot_do_is_said():
    batch, view, *_ = given(0, epsilon=0.0)
    flat = batch._replace(valid=batch.valid.flatten())
    with pytest.raises(ValueError, match="the batch has no axis of time"):
        RBIS()(None, view, flat)
    two = SimpleNamespace(now=view.now, next=SimpleNamespace(mean=view.next.mean, expect=lambda policy: Returns(torch.zeros(K, T, B, 2))))
    with pytest.raises(ValueError, match="one value for each action"):
        RBIS()(None, two, batch)


def test_epsilon_greedy_probabilities():
    policy = epsilon_greedy(torch.tensor([[1.0, 3.0, 3.0, 0.0]]), 0.2)
    assert policy.tolist() == [pytest.approx([0.05, 0.85, 0.05, 0.05])]  # ties: the lowest


# ---- agents


def sequences(agent, seed: int = 0, length: int = 4, size: int = 5) -> Batch:
    """Sequences as the replay gives them: next_obs is obs one row later; the extra row after each end is not valid."""
    g = torch.Generator().manual_seed(seed)
    obs = torch.randn(length + 1, size, *agent.spec.obs_shape, generator=g)
    ended = torch.rand(length, size, generator=g) < 0.3
    ended[0, 0] = True
    valid = torch.ones(length, size, dtype=torch.bool)
    for t in range(1, length):
        valid[t] = ~ended[t - 1]
        ended[t] &= valid[t]
    action = torch.randint(agent.spec.num_actions, (length, size), generator=g)
    ones, noise = torch.ones(length, size), entry(agent.noise((1, length, size), g), 0)
    return Batch(
        obs[:-1], action, torch.randn(length, size, generator=g), 0.9 * valid, obs[1:], ones.long(), ended, valid, ones, ones.long(), noise,
        {"behavior_probability": 0.2 + 0.8 * torch.rand(length, size, generator=g)},
    )  # fmt: skip


@pytest.mark.parametrize("head", [Scalar(), Scalar(dueling=True, loss="huber")], ids=["plain", "dueling"])
@pytest.mark.parametrize("length", [1, 3])
def test_agents_learn_from_sequences(head, length):
    """The loss is the mean over valid rows of the distance to the returns, entry by entry of the chain."""
    chain = partial(Iterated, length=length)
    agent = value_agent(backup=RBIS(lam=0.8, epsilon=0.2), head=head, chain=chain)
    batch = sequences(agent)
    assert not batch.valid.all()
    with torch.no_grad():
        term = agent.loss_of("value", batch)
        online, target = agent.chain.views(batch)
        bellman_target = agent.backup(online, target, batch).mean()
        error = bellman_target - online.now.at(batch.action).mean()
    expected = head.build(3, (), 2, 1, "torch").distance(error)[:, batch.valid].mean(1).sum()
    torch.testing.assert_close(term.loss, expected)
    torch.testing.assert_close(term.error, error.abs().mean(0))
    assert term.error.shape == (4, 5)
    torch.testing.assert_close(term.metrics["train/q_values"].mean(), online.now.at(batch.action).mean()[:, batch.valid].mean())
    if length == 1:
        torch.testing.assert_close(term.metrics["train/loss"].mean(), term.loss)
    before = snapshot(agent.chain.online)
    update(agent, batch)
    assert not same(before, snapshot(agent.chain.online))
    assert agent.read(term.metrics).keys() >= {"train/loss", "train/q_values"}


def test_rows_that_are_no_transitions_teach_nothing():
    agent = value_agent(backup=Retrace(lam=0.9, epsilon=0.2))
    batch = sequences(agent)
    invalid = ~batch.valid
    plain = gradient(agent, "value", batch)[0]
    action, reward = batch.action.clone(), batch.reward.clone()
    action[invalid], reward[invalid] = 1, 1e6
    mu = batch.extra["behavior_probability"].clone()
    mu[invalid] = 0.0
    changed = batch._replace(action=action, reward=reward, extra={"behavior_probability": mu})
    for ours, theirs in zip(gradient(agent, "value", changed)[0], plain):
        assert torch.equal(ours, theirs)
    assert not torch.equal(gradient(agent, "value", batch._replace(reward=batch.reward + 1))[0][0], plain[0])


def test_each_network_of_a_chain_has_a_policy_of_its_own():
    """A chain's first target is that of a chain of one with the same weights, whatever the others believe."""
    batch, view, *_ = given(4, epsilon=0.2)
    both = RBIS(epsilon=0.2)(None, view, batch).mean()
    for k in range(K):
        alone = SimpleNamespace(now=values(view.now.q[k : k + 1]), next=values(view.next.q[k : k + 1]))
        assert torch.equal(RBIS(epsilon=0.2)(None, alone, batch).mean()[0], both[k])
    assert not torch.equal(both[0], both[1])


def test_metrics_are_over_valid_rows():
    value = torch.tensor([[[1.0, 3.0], [1e6, 5.0]]])
    valid = torch.tensor([[True, True], [False, True]])
    assert over_valid(value, valid).mean().item() == pytest.approx(3.0)
    flat = torch.ones(1, 3)
    assert over_valid(flat, torch.ones(3, dtype=torch.bool)) is flat
    assert over_valid(flat, valid) is flat  # numbers of something else


def test_every_metric_is_over_valid_rows():
    """Of an auxiliary loss, a variance, a temperature or an energy it was over all."""
    agent = value_agent(backup=Retrace(), auxiliary=Conservative)
    batch = made_up(agent, DISCRETE)
    batch = batch._replace(valid=torch.tensor([[True, True, False]] * len(batch.valid)))
    gap = agent.objectives["value"].loss(batch).metrics["train/conservative_gap"]
    told = agent.read(gradient(agent, "value", batch)[1].metrics)["train/conservative_gap"]
    assert told == pytest.approx(gap[..., :2].mean().item())
    assert told != pytest.approx(gap.mean().item())


OF_RECIPES = [pytest.param(method, SignedRoot(), marks=pytest.mark.exhaustive) for method in ("retrace", "rbis")]
"""Methods whose recipes trace in tests/running/accelerate/test_compile.py"""


@pytest.mark.parametrize(
    ("method", "mapping"),
    [*once([name for name in METHODS if name not in ("retrace", "rbis")], (SignedRoot(), Identity())), *OF_RECIPES],
)
def test_traces_trace_as_one_graph(method, mapping):
    """A chain of three over sequences."""
    agent = value_agent(backup=METHODS[method](lam=0.8, epsilon=0.2), chain=partial(Iterated, length=3), mapping=mapping)
    batch = sequences(agent)
    found, learned = traced_gradient(agent, "value", batch)
    expected, plain = gradient(agent, "value", batch)
    assert_close32(flat(found), flat(expected))
    torch.testing.assert_close(learned.error, plain.error)


# ---- from the command line


def test_an_agent_with_traces_gets_sequences_and_others_transitions():
    for agent, expected in (("dqn", Replay), ("retrace_dqn", Sequences), ("rbis_dqn", Sequences)):
        config = settled(f"agent={agent}", "env=classic/cartpole")
        part = instantiate({**config["replay"], "_partial_": True}, "replay")
        assert part.cls is expected
        spec = spec_of("classic/cartpole")
        built = build_agent(config, spec)
        check_replay(config, built, part)
        replay = part(spec=spec, num=1, discount=0.9, needs=built.needs)
        assert type(replay) is expected
    assert replay.batch_shape == (config["replay"]["length"], config["replay"]["batch_size"]) == (16, 8)


@pytest.mark.parametrize("method", METHODS)
def test_noise_of_weights_is_refused_where_a_trace_divides_by_the_behaviour(method):
    """Tree backup and Q(λ) do not, and learn the same of batches that do not have it."""
    noisy, trace = Scalar(noisy=True), METHODS[method](lam=0.8, epsilon=0.2)
    if method not in ("q_lambda", "tree_backup"):
        with pytest.raises(ValueError, match="noisy must be false .* a trace divides by it"):
            value_agent(backup=trace, head=noisy)
        return
    agent = value_agent(backup=trace, head=noisy)
    batch = sequences(agent)
    first, second = (gradient(agent, "value", each)[0] for each in (batch, batch._replace(extra={})))
    assert flat(first).abs().sum() > 0
    assert torch.equal(flat(first), flat(second))


class Careless(QLambda):
    """Reads a ratio without asking for μ"""

    def coefficient(self, step):
        return torch.where(step.ratio > 0.5, step.lam * step.previous, 0.0)


def test_a_trace_that_reads_a_ratio_has_to_ask_for_it():
    """A ratio that is not a number compared as False, so that the run trained to its end with every trace cut."""
    ones = torch.ones(3, 1)
    with pytest.raises(TypeError, match="NoneType"):
        trace_sums(Careless().coefficient, ones, None, ones, ones, 0.9)


def test_noisy_weights_are_refused_because_they_hide_the_probability_of_an_action():
    with pytest.raises(ConfigError, match="head.noisy must be false with agent/backup=retrace"):
        build_agent(
            settled("agent=retrace_dqn", "env=toy/chain", "agent.head.noisy=true", "agent/explore=greedy_after_warmup"),
            spec_of("toy/chain"),
        )


@pytest.mark.parametrize(("replay", "nearest"), [("uniform", "recurrent, "), ("prioritized", "recurrent_prioritized, ")])
def test_single_transitions_are_refused_with_both_names(replay, nearest):
    """ "Leave replay out" was the first remedy where a recipe had chosen the replay, and rollouts stood before replays that keep rows."""
    config = settled("agent=retrace_dqn", "env=toy/chain", f"replay={replay}")
    agent, part = build_agent(config, spec_of("toy/chain")), instantiate({**config["replay"], "_partial_": True}, "replay")
    refused = f"agent/backup=retrace needs sequences of .*, and replay={replay} offers none. Choose replay={nearest}"
    with pytest.raises(ConfigError, match=refused):
        check_replay(config, agent, part)


@pytest.mark.parametrize("replay", ["multilevel", "ticks", "trajectories", "truncated", "random_tails"])
def test_batches_that_an_agent_would_misread_are_refused(replay):
    """Weights of ±1 without a discount, or episodes for which its noise has another size: DQN and SAC learned from them."""
    config = settled("agent=dqn", "env=classic/cartpole")
    config["names"]["replay"] = replay
    part = Deferred(option_class("replay", replay), {}, "replay")
    with pytest.raises(ConfigError, match=f"replay={replay} is made for other agents than agent=dqn"):
        check_replay(config, build_agent(config, spec_of("classic/cartpole")), part)


def test_it_is_refused_before_anything_is_built(tmp_path):
    with pytest.raises(ConfigError, match="agent/backup=rbis needs sequences of .*, and replay=uniform offers none"):
        train(tmp_path / "run", "agent=rbis_dqn", "env=toy/chain", "replay=uniform")
    with pytest.raises(ConfigError, match=r"^replay\.n_step must be 1 with sequences, not 3"):
        train(tmp_path / "other", "agent=rbis_dqn", "env=toy/chain", "replay.n_step=3")


def test_a_dry_run_has_sequences_where_the_agent_or_the_replay_does():
    agent = build_agent(settled("agent=rbis_dqn", "env=toy/chain"), spec_of("toy/chain"))
    dry_run(agent, spec_of("toy/chain"), "cpu")
    plain = build_agent(settled("agent=dqn", "env=toy/chain"), spec_of("toy/chain"))
    for sequences_given, shape in ((False, (3,)), (True, (2, 3))):
        seen = []
        loss = plain.objectives["value"].loss
        plain.objectives["value"].loss = lambda batch, loss=loss, seen=seen: seen.append(batch.reward.shape) or loss(batch)
        dry_run(plain, spec_of("toy/chain"), "cpu", sequences_given)
        plain.objectives["value"].loss = loss
        assert seen == [shape]


TOY = (
    "env=toy/chain", "env.max_episode_steps=20", "env.num=2", "env.slip=0.2", "steps=100", "replay.learning_starts=50",
    "replay.capacity=80", "agent/torso=mlp", "agent.torso.hidden=[16]", "agent.chain.target_update_period=20", "evaluation.every=null",
    "evaluation.final_episodes=2", "checkpoint.every=null",
)  # fmt: skip


def test_sequences_of_one_row_train_like_dqn_bit_for_bit(tmp_path):
    one = ("replay=sequences", "replay.length=1", "replay.batch_size=16")
    plain = train(tmp_path / "dqn", *TOY, "agent=dqn", "replay=uniform", "replay.batch_size=16").agent
    traced = train(tmp_path / "rbis", *TOY, "agent=rbis_dqn", *one, "agent.backup.epsilon=0").agent
    backup_max = train(tmp_path / "max", *TOY, "agent=dqn", *one).agent
    assert plain.updates == traced.updates == 50
    # The same sums over a batch in the same order: equal, not only close.
    assert same(snapshot(plain), snapshot(backup_max))
    assert same(snapshot(plain), snapshot(traced))


def test_at_lambda_zero_methods_train_alike(tmp_path):
    """Seed for seed."""
    options = (*TOY, "agent=dqn", "replay=sequences", "replay.length=4", "replay.batch_size=4")
    states = [
        snapshot(train(tmp_path / name, *options, f"agent/backup={name}", "agent.backup.lam=0").agent) for name in ("rbis", "truncated_is")
    ]
    assert same(*states)
    other = train(tmp_path / "other", *options, "agent/backup=rbis", "agent.backup.lam=0.9").agent
    assert not same(states[0], snapshot(other))


def test_the_trainer_draws_noise_for_every_row(tmp_path, monkeypatch):
    sizes = []
    plain = ValueAgent.noise
    monkeypatch.setattr(ValueAgent, "noise", lambda self, size, generator: sizes.append(size) or plain(self, size, generator))
    train(tmp_path / "run", *TOY, "agent=rbis_dqn", "replay.length=3", "replay.batch_size=5")
    assert {size for size in sizes if size[0] > 1} == {(64, 3, 5)}
    assert {size for size in sizes if size[0] == 1} == {(1, 2, 3)}  # of the dry run


def test_made_up_batches_have_sequences():
    agent = build_agent(settled("agent=rbis_dqn", "env=toy/chain"), spec_of("toy/chain"))
    assert made_up(agent, agent.spec, 3).reward.shape == (4, 3)
