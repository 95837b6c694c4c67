"""Soft, Munchausen and Tsallis backups on the numbers of docs/algorithms/munchausen.md and mvi.md, and their limits."""

from __future__ import annotations

import math
from dataclasses import fields
from functools import partial

import pytest
import torch

from deeprl.agents.idqn import Iterated
from deeprl.agents.munchausen import Munchausen
from deeprl.agents.mvi import Tsallis
from deeprl.agents.q_exponential import bisected_policy, exp_q, ln_q, q_exponential, sparsemax_normaliser
from deeprl.learning.backups.bellman import Max, Soft
from deeprl.learning.backups.policies import boltzmann, one_hot, policy_metrics
from deeprl.learning.networks.heads import Scalar
from deeprl.replay.replay import Replay
from deeprl.running.config.build import build_agent
from deeprl.running.config.instantiate import instantiate
from deeprl.running.training.learner import gradient
from deeprl.types import Batch, Rows
from tests.builders import (
    assert_close32,
    draw,
    flat,
    make_batch,
    random_batch,
    same,
    settled,
    snapshot,
    spec_of,
    traced_gradient,
    update,
    value_agent,
    view,
)
from tests.pairwise import once
from tests.promises.test_neutral import dqn, updates

NOW = [1.0, 1.02, 0.95]
"""q̄(s) of both worked examples"""


def q64(*rows) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def every_action(now, next, reward=1.0, discount=0.99):
    """The target for each action that might have been taken at s."""
    actions = len(now)
    target = view(now=[now] * actions, next=[next] * actions)
    return target, make_batch([0] * actions, range(actions), [reward] * actions, discount, [0] * actions)


def targets(backup, now, next, **more) -> list[float]:
    target, batch = every_action(now, next, **more)
    return backup(None, target, batch).mean()[0].tolist()


# ---- Munchausen


def test_log_policy_and_soft_value():
    policy, log = boltzmann(q64(NOW, [0.5, 0.4, 0.6]), 0.03)
    assert log[0].tolist() == pytest.approx([-0.034294, -0.014294, -0.084294], abs=1e-6)
    assert policy[0].tolist() == pytest.approx([0.318816, 0.620968, 0.060216], abs=1e-6)
    # <π, q> is not the soft value of s'.
    assert (policy[1] * q64([0.5, 0.4, 0.6])).sum().item() == pytest.approx(0.596314, abs=1e-6)
    y = Soft(temperature=0.03)(None, view(next=[[0.5, 0.4, 0.6]]), make_batch([0], [0], [0.0], 1.0, [0]))
    assert y.mean().item() == pytest.approx(0.601088, abs=1e-6)


def test_munchausen_targets():
    y = targets(Munchausen(temperature=0.03, scale=0.9, floor=-1.0), NOW, [0.5, 0.4, 0.6])
    assert y == pytest.approx([1.564213, 1.582213, 1.519213], abs=1e-6)


def test_the_log_policy_is_clipped_before_it_is_scaled():
    _, log = boltzmann(torch.tensor([3.0, 0.0]), 0.03)
    assert log.tolist() == pytest.approx([0.0, -3.0])
    assert targets(Munchausen(), [3.0, 0.0], [0.0, 0.0], reward=0.0, discount=0.0) == pytest.approx([0.0, -0.9])
    assert targets(Munchausen(floor=None), [3.0, 0.0], [0.0, 0.0], reward=0.0, discount=0.0) == pytest.approx([0.0, -2.7])


@pytest.mark.parametrize("backup", [Munchausen(), Tsallis(), Tsallis(q=1.0)])
def test_the_bonus_is_not_cut_off_by_a_termination_and_the_bootstrap_is(backup):
    alive, over = (targets(backup, NOW, [0.5, 0.4, 0.6], discount=discount) for discount in (0.99, 0.0))
    bonuses = [y - 1.0 for y in over]
    assert all(abs(m) > 1e-3 for m in bonuses)
    assert targets(backup, NOW, [9.0, 7.0, 8.0], discount=0.0) == over
    assert [a - o for a, o in zip(alive, over)] == pytest.approx([alive[0] - over[0]] * 3, abs=1e-6)


@pytest.mark.parametrize("backup", [Munchausen(floor=None), Tsallis(floor=None), Tsallis(q=3.0, term="logq", bootstrap="consistent")])
def test_values_moved_by_a_constant_move_the_target_by_the_discounted_constant(backup):
    plain, shifted = (targets(backup, [q + c for q in NOW], [0.5 + c, 0.4 + c, 0.6 + c]) for c in (0.0, 2.0))
    assert [m - p for m, p in zip(shifted, plain)] == pytest.approx([0.99 * 2.0] * 3, abs=1e-5)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3, 1e6])
@pytest.mark.parametrize("temperature", [1e-8, 0.03, 1.0, 1e4])
def test_the_softmax_is_stable_at_every_scale(scale, temperature):
    values = scale * torch.randn((2, 5, 7), generator=torch.Generator().manual_seed(0))
    policy, log = boltzmann(values, temperature)
    exact = (values.double() / temperature).log_softmax(-1)
    torch.testing.assert_close(policy.sum(-1), torch.ones(2, 5))
    assert (log <= 0).all()
    torch.testing.assert_close(policy.double(), exact.exp(), rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(log.double(), temperature * exact, rtol=1e-5, atol=1e-6 * max(temperature, scale))


# ---- Tsallis


TABLE = {  # z: policy for each q
    (1.0, 0.8, 0.1): {
        1: (0.4494, 0.3679, 0.1827), 1.5: (0.5292, 0.3937, 0.0770), 2: (0.6, 0.4, 0.0), 3: (0.7, 0.3, 0.0), 5: (0.9457, 0.0543, 0.0),
    },
    (1.0, 0.5, -0.5, -1.0): {
        1: (0.5089, 0.3087, 0.1136, 0.0689), 1.5: (0.6712, 0.3240, 0.0048, 0), 2: (0.75, 0.25, 0, 0), 3: (1, 0, 0, 0), 5: (1, 0, 0, 0),
    },
}  # fmt: skip


@pytest.mark.parametrize(("z", "q", "policy"), [(z, q, policy) for z, row in TABLE.items() for q, policy in row.items()])
def test_q_exponential_policies(z, q, policy):
    found, _ = Tsallis(q=float(q), temperature=1.0).policy(q64(z))
    assert found[0].tolist() == pytest.approx(policy, abs=5e-5)
    found, _ = Tsallis(q=float(q), temperature=1.0).policy(torch.tensor(z))
    assert found.tolist() == pytest.approx(policy, abs=5e-5)
    assert found.dtype == torch.float32


@pytest.mark.parametrize(("q", "psi"), [(1.5, 1.545011), (2, 1.4), (3, 1.255), (5, 1.049998)])
def test_normalisers(q, psi):
    """ψ = z(a) − ln_q π(a) for every action of the support."""
    z = q64([1.0, 0.8, 0.1])
    policy = bisected_policy(z - 1, float(q))
    assert (z - ln_q(policy, q))[policy > 0].tolist() == pytest.approx([psi] * int((policy > 0).sum()), abs=1e-6)
    if q == 2:
        assert sparsemax_normaliser(z).item() == pytest.approx(psi, abs=1e-12)


def test_bisection_and_closed_form_agree_at_two():
    z = torch.randn((4, 6, 9), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    z = 2 * (z - z.amax(-1, keepdim=True))
    torch.testing.assert_close(bisected_policy(z, 2.0), q_exponential(z, 1.0, 2.0), rtol=0, atol=1e-14)


def from_the_least(z: list[float], q: float) -> list[float]:
    """The q-exponential policy by another unknown, in which it is well-conditioned for every q: p, the least probability above 0.

    π(a) = (p^(q−1) + (q−1)(z(a) − z(least)))^(1/(q−1)); their sum rises with p, and `least` is the last action whose others sum to less
    than 1 at p = 0."""

    def policy(least: float, p: float) -> list[float]:
        return [(p ** (q - 1) + (q - 1) * (value - least)) ** (1 / (q - 1)) if value >= least else 0.0 for value in z]

    least = min(value for value in z if sum(policy(value, 0.0)) < 1)
    low, high = 0.0, 1.0
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if sum(policy(least, middle)) < 1 else (low, middle)
    return policy(least, low)


def test_the_policy_at_large_q_by_hand():
    """q = 20 and a gap of 0.5/19: π₁^19 − π₂^19 = 0.5, and π₂^19 = 3.4e-28 is below the rounding of π₁^19. So π₁ = 0.5^(1/19)."""
    found = q_exponential(q64([0.0, -0.5 / 19]), 1.0, 20.0)[0].tolist()
    assert found == pytest.approx([0.5 ** (1 / 19), 1 - 0.5 ** (1 / 19)], abs=1e-14)
    assert found[1] == pytest.approx(0.03582, abs=5e-6)


@pytest.mark.parametrize("q", [1.5, 2.0, 5.0, 10.0, 20.0, 50.0])
def test_the_policy_is_that_of_another_bisection(q):
    z = torch.randn((200, 6), generator=torch.Generator().manual_seed(4), dtype=torch.float64) / (q - 1)
    z -= z.amax(-1, keepdim=True)
    expected = torch.tensor([from_the_least(row, q) for row in z.tolist()], dtype=torch.float64)
    torch.testing.assert_close(q_exponential(z, 1.0, q), expected, rtol=0, atol=1e-13)


def test_the_normaliser_of_one_action_and_of_equal_actions():
    for q in (1.5, 2.0, 3.0, 7.0):
        assert q_exponential(q64([4.0]), 0.03, q).tolist() == [[1.0]]
        assert q_exponential(q64([2.0] * 18), 0.03, q)[0].tolist() == pytest.approx([1 / 18] * 18, abs=1e-12)


@pytest.mark.parametrize(("q", "z", "policy"), [(3.0, (0.5, 0.0), (1, 0)), (3.0, (0.49, 0.0), (0.99, 0.01)), (5.0, (0.25, 0.0), (1, 0))])
def test_one_hot_exactly_when_the_gap_reaches_the_bound(q, z, policy):
    found = q_exponential(q64(z), 1.0, q)[0].tolist()
    assert found == pytest.approx(policy, abs=1e-9)
    assert (found[1] == 0) == (policy[1] == 0)  # exactly


@pytest.mark.parametrize("q", [1.5, 2.0, 3.0, 5.0])
def test_one_hot_rule_on_random_values(q):
    z = torch.randn((500, 4), generator=torch.Generator().manual_seed(1), dtype=torch.float64) / (q - 1)
    best = z.topk(2).values
    clear = best[:, 0] - best[:, 1] >= 1 / (q - 1)
    single = (q_exponential(z, 1.0, q) > 0).sum(-1) == 1
    assert clear.any()
    assert not clear.all()
    assert torch.equal(clear, single)


@pytest.mark.parametrize("q", [1.0, 1.5, 2.0, 2.7, 3.0, 5.0])
@pytest.mark.parametrize("temperature", [0.03, 0.3])
def test_properties_of_the_policy(q, temperature):
    """Sums to one, does not see constants, keeps the order; also for large float32 values."""
    backup = Tsallis(q=q, temperature=temperature)
    values = 0.2 * torch.randn((3, 5, 6), generator=torch.Generator().manual_seed(2))
    policy, log = backup.policy(values)
    torch.testing.assert_close(policy.sum(-1), torch.ones(3, 5))
    assert (policy >= 0).all()
    order = values.sort(-1, descending=True).indices
    assert (policy.gather(-1, order).diff(dim=-1) <= 0).all()
    torch.testing.assert_close(backup.policy(values + 64.0)[0], policy, atol=2e-3, rtol=0)
    torch.testing.assert_close(backup.policy(1000 * values)[0].sum(-1), torch.ones(3, 5))
    assert (log <= 0).all()
    if q > 1:
        assert (log >= -temperature / (q - 1) - 1e-7).all()
    assert (backup.policy(-1e6 * torch.eye(4))[1].isfinite()).all()


def test_q_towards_one_is_the_softmax():
    z = torch.randn((50, 5), generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    soft, log = boltzmann(z, 1.0)
    policy, _ = Tsallis(q=1 + 1e-4, temperature=1.0).policy(z)
    assert 0 < (policy - soft).abs().max() < 1e-4
    near, near_log = Tsallis(q=1 + 1e-6, temperature=1.0).policy(z)
    assert (near - soft).abs().max() < 1e-5
    assert (near_log - log).abs().max() < 1e-4


def test_q_towards_infinity_is_greedy():
    z = q64([0.0, 0.011, -1.0])
    assert q_exponential(z, 1.0, 101.0).tolist() == [[0.0, 1.0, 0.0]]
    policy, log = Tsallis(q=math.inf).policy(z)
    assert policy.tolist() == [[0.0, 1.0, 0.0]]
    assert log.abs().max() == 0


def test_deformed_logarithm_and_exponential_are_inverse_and_pseudo_additive():
    for q in (1.5, 2.0, 3.0):
        x = q64([0.05, 0.3, 1.0, 2.0])
        torch.testing.assert_close(exp_q(ln_q(x, q), q), x)
        a, b = q64([-0.2, 0.1, 0.4]), q64([0.3, -0.1, 0.2])
        torch.testing.assert_close(exp_q(a, q) * exp_q(b, q), exp_q(a + b + (q - 1) * a * b, q))
        assert ln_q(q64([0.0, 1.0]), q)[0].tolist() == pytest.approx([-1 / (q - 1), 0.0])
    assert exp_q(q64([-0.6, -0.5]), 3.0).tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("q", [1.5, 2.0, 3.0])
def test_the_policy_maximises_the_consistent_value(q):
    """⟨π, Q⟩ + (τ/q) S_q(π), against every policy on a grid; with τ in place of τ/q another one is better."""
    temperature, steps = 0.7, 200
    values = q64([1.0, 0.8, 0.1])
    policy, _ = Tsallis(q=q, temperature=temperature).policy(values)

    def objective(pi, share):
        return (pi * values).sum(-1) - share * temperature * (pi * ln_q(pi, q)).sum(-1)

    first, second = torch.meshgrid(*[torch.arange(steps + 1, dtype=torch.float64) / steps] * 2, indexing="ij")
    grid = torch.stack([first, second, 1 - first - second], -1)[first + second <= 1].clamp(min=0)
    assert objective(policy, 1 / q).item() >= objective(grid, 1 / q).max().item() - 1e-12
    assert objective(grid, 1.0).max() > objective(policy, 1.0).item() + 1e-3
    y = Tsallis(q=q, temperature=temperature, scale=0.0, bootstrap="consistent")
    found = targets(y, [0.0, 0.0, 0.0], values[0].tolist(), reward=0.0, discount=1.0)[0]
    assert found == pytest.approx(objective(policy, 1 / q).item(), abs=1e-6)


def test_the_consistent_value_at_two_is_the_sparsemax_operator():
    z = q64([1.0, 0.8, 0.1])
    theta = sparsemax_normaliser(z) - 1
    support = z > theta
    value = 0.5 * ((z**2 - theta**2) * support).sum() + 0.5
    found = targets(Tsallis(q=2.0, temperature=1.0, scale=0.0, bootstrap="consistent"), [0.0] * 3, z[0].tolist(), reward=0.0, discount=1.0)
    assert found[0] == pytest.approx(value.item(), abs=1e-6)


# ---- targets

NEXT = [0.5, 0.44, 0.6]
EXAMPLE = {"q": 2.0, "temperature": 0.2, "scale": 0.9}


def test_policies_and_terms_of_the_worked_example():
    backup, now = Tsallis(**EXAMPLE), q64(NOW)
    policy, log = backup.policy(now)
    assert policy[0].tolist() == pytest.approx([0.383333, 0.483333, 0.133333], abs=1e-6)
    mean = (policy * now).sum().item()
    assert mean == pytest.approx(1.003, abs=1e-6)
    assert (now - mean)[0].tolist() == pytest.approx([-0.003, 0.017, -0.053], abs=1e-6)
    assert log[0].tolist() == pytest.approx([-0.123333, -0.103333, -0.173333], abs=1e-6)
    assert (log - (now - mean))[0].tolist() == pytest.approx([-0.120333] * 3, abs=1e-6)
    assert backup.policy(q64(NEXT))[0][0].tolist() == pytest.approx([0.25, 0.0, 0.75])


@pytest.mark.parametrize(("bootstrap", "value"), [("entropic", 0.65), ("consistent", 0.6125), ("expected", 0.575)])
def test_bootstraps(bootstrap, value):
    found = targets(Tsallis(**{**EXAMPLE, "scale": 0.0}, bootstrap=bootstrap), NOW, NEXT, reward=0.0, discount=1.0)
    assert found == pytest.approx([value] * 3, abs=1e-6)


@pytest.mark.parametrize(("term", "y"), [("gap", [1.6408, 1.6588, 1.5958]), ("logq", [1.5325, 1.5505, 1.4875])])
def test_targets(term, y):
    assert targets(Tsallis(**EXAMPLE, term=term), NOW, NEXT) == pytest.approx(y, abs=1e-6)


def test_the_paper_form_is_the_default():
    plain = Tsallis()
    assert (plain.term, plain.bootstrap, plain.normaliser, plain.q) == ("gap", "entropic", "exact", 2.0)


@pytest.mark.parametrize(
    ("q", "policy", "gap"),
    [(2.0, (0.4, 0.6, 0.0), (-0.012, 0.008, -0.062)), (3.0, (0.3, 0.7, 0.0), (-0.014, 0.006, -0.064))],
)
def test_policies_and_gaps_at_a_lower_temperature(q, policy, gap):
    backup, now = Tsallis(q=q, temperature=0.1), q64(NOW)
    found, log = backup.policy(now)
    assert found[0].tolist() == pytest.approx(policy, abs=1e-9)
    assert (now - (found * now).sum())[0].tolist() == pytest.approx(gap, abs=1e-9)
    if q == 3:
        assert log[0].tolist() == pytest.approx([-0.0455, -0.0255, -0.05], abs=1e-9)
    y = targets(Tsallis(q=q, temperature=0.1, scale=1.0), NOW, NEXT, reward=0.0, discount=0.0)
    assert y == pytest.approx(gap, abs=1e-6)


def test_the_floor_binds_with_the_gap_and_not_with_the_logarithm():
    """|τ ln_q π| ≤ τ/(q − 1), but q̄ − M has no bound."""
    gap, log = (Tsallis(q=2.0, temperature=0.5, scale=1.0, term=term) for term in ("gap", "logq"))
    assert targets(gap, [3.0, 0.0], [0.0, 0.0], reward=0.0, discount=0.0) == pytest.approx([0.0, -1.0])
    assert targets(log, [3.0, 0.0], [0.0, 0.0], reward=0.0, discount=0.0) == pytest.approx([0.0, -0.5])


def test_a_gap_may_be_positive():
    assert targets(Tsallis(**EXAMPLE), NOW, NEXT, reward=0.0, discount=0.0)[1] == pytest.approx(0.9 * 0.017, abs=1e-6)


def test_gap_and_logarithm_differ_by_a_constant_on_the_support():
    now = q64([1.0, 1.05, 0.9, 0.2])
    policy, log = Tsallis(q=2.0, temperature=0.3).policy(now)
    difference = log - (now - (policy * now).sum(-1, keepdim=True))
    support = policy > 0
    assert support.sum() == 3
    assert difference[support].max() - difference[support].min() < 1e-12
    assert (difference[~support] - difference[support][0]).abs().min() > 1e-3


def test_gap_at_one_differs_from_munchausen_by_the_entropy():
    policy, _ = boltzmann(q64(NOW), 0.03)
    entropy = 0.03 * torch.special.entr(policy).sum().item()
    mine, theirs = (targets(b, NOW, [0.5, 0.4, 0.6]) for b in (Tsallis(q=1.0, scale=1.0), Munchausen(scale=1.0)))
    assert [m - t for m, t in zip(mine, theirs)] == pytest.approx([entropy] * 3, abs=1e-6)


# ---- the paper's approximate normaliser


@pytest.mark.parametrize(("q", "total"), [(1.5, 1.25), (2.0, 1.0), (3.0, 0.447), (5.0, 0.0)])
def test_first_order_sums_before_they_are_renormalised(q, total):
    z = q64([1.0, 0.8, 0.1])
    raw = exp_q(z - sparsemax_normaliser(z), q)
    assert raw.sum().item() == pytest.approx(total, abs=3e-3)  # printed as 1.25, to two digits
    policy = q_exponential(z, 1.0, q, "first_order")
    assert policy.sum().item() == pytest.approx(1.0)
    assert policy[0].tolist() == pytest.approx((raw / raw.sum())[0].tolist() if total else [1.0, 0.0, 0.0])
    assert torch.allclose(policy, q_exponential(z, 1.0, q)) == (q == 2)


def test_first_order_leaves_no_action_of_eighteen_equal_ones_and_falls_back_to_the_first():
    z = q64([0.0] * 18)
    assert exp_q(z - sparsemax_normaliser(z), 3.0).abs().max() == 0
    assert q_exponential(z, 1.0, 3.0, "first_order")[0].tolist() == [1.0] + [0.0] * 17
    policy, log = Tsallis(q=3.0, normaliser="first_order").policy(z.float())
    assert policy[0, 0] == 1
    assert log.isfinite().all()


# ---- neutral elements and limits

CHAINS = [1, 3]


def three(heads: int, seed: int = 0):
    """Random values at both ends, K, B, A = heads, 5, 4; and a batch with a termination."""
    generator = torch.Generator().manual_seed(seed)
    now, after = (torch.randn((heads, 5, 4), generator=generator) for _ in range(2))
    batch = make_batch([0] * 5, [0, 3, 2, 1, 3], torch.randn(5, generator=generator), [0.9, 0.9, 0.0, 0.81, 0.9], [0] * 5)
    return view(now=now, next=after), batch


@pytest.mark.parametrize("heads", CHAINS)
def test_temperature_zero_is_q_learning(heads):
    target, batch = three(heads)
    plain = Max()(None, target, batch)
    for backup in (Soft(temperature=0.0), Munchausen(temperature=0.0, scale=0.0), Tsallis(temperature=0.0, scale=0.0)):
        assert torch.equal(backup(None, target, batch).atoms, plain.atoms)
    for q in (1.0, 1.5, math.inf):
        assert torch.equal(Tsallis(q=q, temperature=0.0, scale=0.0)(None, target, batch).atoms, plain.atoms)
    assert not torch.allclose(Soft(temperature=0.5)(None, target, batch).atoms, plain.atoms)
    assert not torch.allclose(Munchausen(temperature=0.0)(None, target, batch).atoms, plain.atoms)


@pytest.mark.parametrize("heads", CHAINS)
def test_temperature_towards_zero(heads):
    target, batch = three(heads)
    for small, limit in (
        (Soft(temperature=1e-5), Soft(temperature=0.0)),
        (Munchausen(temperature=1e-5), Munchausen(temperature=0.0)),
        (Tsallis(temperature=1e-5), Tsallis(temperature=0.0)),
        (Tsallis(q=1.5, temperature=1e-5, term="logq"), Tsallis(q=1.5, temperature=0.0, term="logq")),
    ):
        torch.testing.assert_close(small(None, target, batch).atoms, limit(None, target, batch).atoms, atol=1e-4, rtol=0)


@pytest.mark.parametrize("heads", CHAINS)
def test_at_temperature_zero_munchausen_and_gap_are_advantage_learning(heads):
    """y + α (q̄(s, a) − max_b q̄(s, b))"""
    target, batch = three(heads)
    now = target.now.mean()
    behind = now.gather(-1, batch.action.expand(heads, 5).unsqueeze(-1)).squeeze(-1) - now.amax(-1)
    expected = Max()(None, target, batch).mean() + 0.9 * behind
    for backup in (Munchausen(temperature=0.0, floor=None), Tsallis(temperature=0.0, floor=None), Tsallis(q=math.inf, floor=None)):
        torch.testing.assert_close(backup(None, target, batch).mean(), expected)


@pytest.mark.parametrize("heads", CHAINS)
def test_scale_zero_is_soft(heads):
    target, batch = three(heads)
    soft = Soft(temperature=0.3)(None, target, batch).atoms
    for backup in (Munchausen(temperature=0.3, scale=0.0), Tsallis(q=1.0, temperature=0.3, scale=0.0)):
        assert torch.equal(backup(None, target, batch).atoms, soft)
    assert not torch.allclose(Munchausen(temperature=0.3)(None, target, batch).atoms, soft)


@pytest.mark.parametrize("heads", CHAINS)
@pytest.mark.parametrize("floor", [None, -1.0, -0.3])
def test_q_one_with_the_logarithm_is_munchausen(heads, floor):
    target, batch = three(heads)
    for bootstrap in ("entropic", "consistent"):
        mine = Tsallis(q=1.0, temperature=0.3, term="logq", floor=floor, bootstrap=bootstrap)
        assert torch.equal(mine(None, target, batch).atoms, Munchausen(temperature=0.3, floor=floor)(None, target, batch).atoms)


@pytest.mark.parametrize("heads", CHAINS)
def test_q_near_one_is_near_munchausen(heads):
    target, batch = three(heads)
    mine = Tsallis(q=1 + 1e-5, temperature=0.3, term="logq")(None, target, batch).atoms
    torch.testing.assert_close(mine, Munchausen(temperature=0.3)(None, target, batch).atoms, atol=1e-3, rtol=0)


@pytest.mark.parametrize("backup", [Soft(0.2), Munchausen(0.2), Tsallis(temperature=0.2), Tsallis(q=3.0, temperature=0.2)])
def test_each_target_of_a_chain_has_its_own_policy_and_bonus(backup):
    target, batch = three(3)
    together = backup(None, target, batch).atoms
    assert together.shape == (3, 5, 1)
    for k in range(3):
        alone = backup(None, view(now=target.now.q[k : k + 1], next=target.next.q[k : k + 1]), batch)
        assert_close32(alone.atoms[0], together[k])


def test_over_several_steps_only_the_first_action_has_a_bonus():
    """y = R + m(s_t, a_t) + γ³ V(s_{t+3}) with R = Σ γ^j r, from a replay with n = 3."""
    spec = spec_of("toy/chain")
    width = spec.obs_shape[0]
    replay = Replay(capacity=10, batch_size=1, n_step=3, sampler=settled_sampler(), spec=spec, num=1, discount=0.5)
    rows = torch.eye(width).numpy()
    no, one = torch.zeros(1, dtype=torch.bool).numpy(), torch.ones(1).numpy()
    for step in range(4):
        replay.append(
            Rows(rows[step : step + 1], torch.tensor([1 - step % 2]).numpy(), one * (step + 1), rows[step + 1 : step + 2], no, no, one)
        )
    batch = draw(replay, torch.tensor([0.0], dtype=torch.float64))
    assert (batch.reward.item(), batch.discount.item(), batch.action.item()) == (1 + 0.5 * 2 + 0.25 * 3, 0.125, 1)
    now, after = [0.4, 0.1], [0.3, 0.2]
    y = Munchausen(temperature=0.1)(None, view(now=[now], next=[after]), batch).mean().item()
    log, future = boltzmann(torch.tensor(now), 0.1)[1], 0.1 * math.log(sum(math.exp(q / 0.1) for q in after))
    assert y == pytest.approx(2.75 + 0.9 * log[1].item() + 0.125 * future, abs=1e-6)


def settled_sampler():
    return instantiate(settled("agent=dqn", "env=toy/chain")["replay"]["sampler"], "replay.sampler")


# ---- in an agent


def test_neutral_backups_train_like_dqn():
    states = []
    for backup in (Max(), Soft(0.0), Munchausen(temperature=0.0, scale=0.0), Tsallis(temperature=0.0, scale=0.0), Munchausen()):
        agent = dqn(backup=backup)
        updates(agent, 12)
        states.append(snapshot(agent))
    assert all(same(states[0], state) for state in states[1:4])
    assert not same(states[0], states[4])


@pytest.mark.parametrize(
    ("backup", "length"),
    # with q = 1 the policy is the softmax of the others
    [*once((Soft(), Munchausen(), Tsallis(), Tsallis(q=3.0)), (1, 3)), pytest.param(Tsallis(q=1.0), 1, marks=pytest.mark.exhaustive)],
)
def test_every_backup_in_a_chain_learns_reports_and_traces(backup, length):
    agent = value_agent(backup=backup, chain=partial(Iterated, length=length, shift_period=5, sync_period=2), head=Scalar(loss="huber"))
    updates(agent, 6)
    batch = small_batch(agent)
    found, learned = traced_gradient(agent, "value", batch)
    expected, plain = gradient(agent, "value", batch)
    assert_close32(flat(found), flat(expected))
    assert learned.metrics.keys() == plain.metrics.keys()
    for name in ("train/policy_support", "train/policy_entropy", "train/action_gap"):
        assert plain.metrics[name].shape == (length, 11)
        assert not plain.metrics[name].requires_grad
        torch.testing.assert_close(learned.metrics[name], plain.metrics[name])
    assert 0 < agent.read(plain.metrics)["train/policy_support"] <= 1


def small_batch(agent) -> Batch:
    return random_batch(agent.spec, 11, 3)


def test_metrics_of_a_policy():
    values = torch.tensor([[[3.0, 1.0, 2.5, 0.0]]])
    found = policy_metrics(values, torch.tensor([[[0.5, 0.0, 0.5, 0.0]]]))
    assert {name: value.tolist() for name, value in found.items()} == {
        "train/policy_support": [[0.5]],
        "train/policy_entropy": [[pytest.approx(math.log(2))]],
        "train/action_gap": [[0.5]],
    }
    assert policy_metrics(torch.tensor([[[3.0]]]), torch.ones(1, 1, 1))["train/action_gap"].item() == 0


def test_reporting_changes_no_gradient_and_backups_without_metrics_report_nothing():
    agent, quiet = (dqn(backup=Munchausen()) for _ in range(2))
    quiet.backup = lambda online, target, batch: Munchausen()(online, target, batch)
    batch = small_batch(agent)
    (mine, learned), (theirs, silent) = (gradient(a, "value", batch) for a in (agent, quiet))
    assert all(map(torch.equal, mine, theirs))
    assert any(g.any() for g in mine)
    assert "train/action_gap" in learned.metrics
    assert set(silent.metrics) == {"train/loss", "train/q_values"} == set(gradient(dqn(), "value", batch)[1].metrics)


def test_one_hot_is_greedy():
    assert one_hot(torch.tensor([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]])).tolist() == [[0, 1, 0], [1, 0, 0]]


# ---- refusals and configurations


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Soft(temperature=-1.0), "temperature must be at least 0, not -1.0"),
        (lambda: Munchausen(temperature=-1.0), "temperature must be at least 0"),
        (lambda: Munchausen(scale=1.5), "scale must be between 0 and 1, not 1.5"),
        (lambda: Munchausen(floor=0.5), "floor must be at most 0, not 0.5"),
        (lambda: Tsallis(q=0.5), "q must be at least 1, not 0.5"),
        (lambda: Tsallis(term="log"), "term must be one of gap, logq"),
        (lambda: Tsallis(bootstrap="soft"), "bootstrap must be one of entropic, consistent, expected"),
        (lambda: Tsallis(normaliser="newton"), "normaliser must be one of exact, first_order"),
    ],
)
def test_wrong_fields_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(("option", "cls"), [("soft", Soft), ("munchausen", Munchausen), ("tsallis", Tsallis)])
def test_files_say_what_the_classes_say(option, cls):
    node = settled("agent=dqn", "env=toy/chain", f"agent/backup={option}")["agent"]["backup"]
    assert instantiate(node, "backup") == cls()
    assert set(node) - {"_target_"} == {field.name for field in fields(cls)}


def test_experiments_have_the_published_settings():
    """docs/algorithms/munchausen.md, the Atari column of M-DQN; MVI(q) starts from it, with quantiles and a quarter of the steps."""
    for name, backup, steps in (("munchausen_dqn_atari", "munchausen.Munchausen", 50_000_000), ("mvi_atari", "mvi.Tsallis", 12_500_000)):
        run = settled(f"experiment={name}")
        assert run["agent"]["backup"]["_target_"] == f"deeprl.agents.{backup}"
        assert [run["agent"]["backup"][key] for key in ("temperature", "scale", "floor")] == [0.03, 0.9, -1.0]
        assert (run["agent"]["optimizer"]["lr"], run["agent"]["optimizer"]["eps"]) == (5e-5, 3.125e-4)
        assert (run["replay"]["batch_size"], run["replay"]["capacity"], run["replay"]["n_step"]) == (32, 1_000_000, 1)
        assert (run["replay"]["learning_starts"], run["replay"]["ratio"], run["discount"]) == (20_000, 0.25, 0.99)
        assert run["agent"]["chain"]["target_update_period"] == 8000
        explore = run["agent"]["explore"]
        assert (explore["schedule"]["end"], explore["schedule"]["duration"], explore["evaluation"]) == (0.01, 250_000, 0.001)
        assert run["env"]["protocol"]["sticky"] == 0.25
        assert run["steps"] == steps
        if name == "mvi_atari":
            assert run["agent"]["backup"]["q"] == 2.0
            assert run["agent"]["head"]["quantiles"] == 200
        else:
            assert run["agent"]["head"]["loss"] == "huber"


@pytest.mark.parametrize("agent", ["munchausen_dqn", "mvi"])
@pytest.mark.parametrize("env", ["classic/cartpole", "minatar/breakout", "box2d/lunar_lander", "atari/pong", "toy/chain"])
def test_tuned_settings_are_those_of_dqn_but_for_what_the_paper_says(agent, env):
    own, plain = settled(f"agent={agent}", f"env={env}"), settled("agent=dqn", f"env={env}")
    assert own["agent"]["head"]["loss"] == ("squared" if env == "classic/cartpole" else "huber")  # why: tuned/classic/munchausen_dqn
    assert own["steps"] == plain["steps"]
    assert own["agent"]["chain"] == plain["agent"]["chain"]
    if env == "atari/pong":
        assert own["agent"]["optimizer"]["eps"] == 3.125e-4
    else:
        assert own["agent"]["optimizer"] == plain["agent"]["optimizer"]


def test_an_agent_of_the_configuration_updates():
    agent = build_agent(settled("agent=mvi", "env=toy/chain"), spec_of("toy/chain"))
    assert isinstance(agent.backup, Tsallis)
    before = snapshot(agent)
    update(agent, random_batch(spec_of("toy/chain"), 8))
    assert not same(snapshot(agent), before)
