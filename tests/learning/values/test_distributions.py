"""Distances of distributional and bounded heads, and their values: numbers of docs/algorithms/c51.md, qrdqn.md, iqn.md and bounded.md."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from deeprl.learning.backups.bellman import Soft, backup_metrics
from deeprl.learning.values.distributions import CategoricalValues, ImplicitValues, QuantileValues, pick_atoms
from deeprl.learning.values.losses import binary_entropy, cross_entropy, log_loss, outside, project_atoms, quantile_huber
from deeprl.learning.values.returns import Returns
from deeprl.learning.values.scalar import BoundedValues, ScalarValues

K, B, A, N, M = 2, 3, 4, 5, 7
"""M is the number of a target's atoms, N'."""


def distribution(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).softmax(-1)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def at(number: int, *indices: int) -> torch.Tensor:
    """Equal mass on a few of `number` atoms."""
    m = torch.zeros(number)
    m[list(indices)] = 1 / len(indices)
    return m


# ---- projection: docs/algorithms/c51.md, N = 51 on ± 10, γ = 0.99

ATARI = torch.linspace(-10, 10, 51)


def projected(probs: torch.Tensor, reward: float, discount: float, low=-10.0, high=10.0) -> torch.Tensor:
    support = torch.linspace(low, high, len(probs))
    return project_atoms(reward + discount * support, probs, low, high, len(probs))


def test_mass_between_two_atoms_is_shared():
    """Half each, and the mean stays."""
    m = projected(at(51, 25), 1.0, 0.99)
    torch.testing.assert_close(m, at(51, 27, 28))
    assert (m * ATARI).sum().item() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize(("reward", "where"), [(0.4, (26,)), (1.0, (27, 28)), (-1.0, (22, 23)), (12.0, (50,)), (-12.0, (0,))])
def test_a_terminal_reward_is_a_point_whatever_followed(reward, where):
    """Atoms are multiplied by 1 − d, and not probabilities."""
    torch.testing.assert_close(projected(distribution(51), reward, 0.0), at(51, *where), rtol=0, atol=1e-5)


def test_what_is_cut_off_lowers_the_mean():
    """The mean is that of the clipped atoms, not 1.0."""
    m = projected(torch.full((51,), 1 / 51), 1.0, 0.99)
    assert m.sum().item() == pytest.approx(1.0, abs=1e-6)
    assert (m * ATARI).sum().item() == pytest.approx(0.970353, abs=1e-5)
    assert m[0].item() == pytest.approx(0.0, abs=1e-7)
    assert m[25].item() == pytest.approx(0.0198039, abs=1e-6)
    assert m[50].item() == pytest.approx(0.0643137, abs=1e-6)


def test_a_projection_by_hand():
    """Atoms −1.3 −.4 .5 1.4 2.3 on −2 −1 0 1 2."""
    m = projected(torch.tensor([0.1, 0.2, 0.4, 0.2, 0.1]), 0.5, 0.9, low=-2.0, high=2.0)
    torch.testing.assert_close(m, torch.tensor([0.03, 0.15, 0.32, 0.32, 0.18]))
    assert (m * torch.linspace(-2, 2, 5)).sum().item() == pytest.approx(0.47, abs=1e-6)


@pytest.mark.parametrize("number", [2, 3, 51, 101])
def test_projections_keep_mass_and_mean_and_the_identity(number):
    """Targets of another number of atoms than the support's, anywhere inside."""
    low, high = -3.7, 12.9
    support = torch.linspace(low, high, number)
    atoms = low + (high - low) * torch.rand(200, M, generator=torch.Generator().manual_seed(number))
    probs = distribution(200, M)
    m = project_atoms(atoms, probs, low, high, number)
    assert m.shape == (200, number)
    assert m.min() >= 0
    torch.testing.assert_close(m.sum(-1), torch.ones(200))
    torch.testing.assert_close((m * support).sum(-1), (atoms * probs).sum(-1), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(projected(at(number, number - 1), 0.0, 1.0, low, high), at(number, number - 1))
    same = distribution(number)
    torch.testing.assert_close(projected(same, 0.0, 1.0, low, high), same, rtol=0, atol=2e-5)


def test_nothing_is_lost_on_the_grid_or_at_its_ends():
    """Every atom of several supports, in float32, and what lies beyond them."""
    for low, high, number in ((-10.0, 10.0, 51), (-100.0, 100.0, 101), (0.0, 100.0, 51), (-0.3, 0.1, 7)):
        support = torch.linspace(low, high, number)
        m = project_atoms(support.unsqueeze(-1), None, low, high, number)
        torch.testing.assert_close(m, torch.eye(number), rtol=0, atol=2e-5)
        for beyond, end in ((1e30, number - 1), (-1e30, 0), (high + 1e-6, number - 1), (low - 1e-6, 0)):
            torch.testing.assert_close(project_atoms(torch.tensor([beyond]), None, low, high, number), at(number, end), rtol=0, atol=2e-4)


def test_a_projection_is_the_sum_of_hat_functions():
    """m_i = Σ_j p_j max(0, 1 − |Tz_j − z_i| / Δ), for rows with atoms of their own, some on the grid and some beyond it."""
    atoms, probs, support = 12 * normal(K, B, M), distribution(K, B, M), torch.linspace(-10, 10, 51)
    atoms[0, 0, :3] = support[[0, 17, 50]]
    hats = (1 - (atoms.clamp(-10, 10).unsqueeze(-1) - support).abs() / 0.4).clamp(min=0)
    torch.testing.assert_close(project_atoms(atoms, probs, -10, 10, 51), (probs.unsqueeze(-1) * hats).sum(-2), rtol=0, atol=1e-5)
    assert atoms.abs().max() > 10


def test_equal_atoms_need_no_probabilities_and_repeated_ones_add_up():
    atoms = torch.tensor([0.0, 0.0, 0.0, 10.0])
    torch.testing.assert_close(project_atoms(atoms, None, -10, 10, 3), torch.tensor([0.0, 0.75, 0.25]))
    torch.testing.assert_close(project_atoms(atoms, torch.full((4,), 0.25), -10, 10, 3), project_atoms(atoms, None, -10, 10, 3))


def test_how_much_lies_outside():
    atoms = torch.tensor([[-11.0, -10.0, 0.0, 10.0, 10.1]])
    assert outside(atoms, None, -10, 10).tolist() == pytest.approx([0.4])
    assert outside(atoms, torch.tensor([[0.5, 0.1, 0.1, 0.1, 0.2]]), -10, 10).tolist() == pytest.approx([0.7])


# ---- C51


def categories(logits: torch.Tensor, low=-10.0, high=10.0) -> CategoricalValues:
    return CategoricalValues(logits, torch.linspace(low, high, logits.shape[-1]), low, high, torch.zeros(1, B, 1))


def test_categories_say_their_mean_and_mix_over_actions():
    probs = torch.tensor([[[[0.5, 0.5, 0.0], [0.0, 0.25, 0.75]]]])  # K, B, A, N = 1, 1, 2, 3
    values = categories(probs.log(), 0.0, 4.0)
    torch.testing.assert_close(values.mean(), torch.tensor([[[1.0, 3.5]]]))
    chosen = values.expect(torch.tensor([[1]]))
    torch.testing.assert_close(chosen.probs, probs[:, :, 1])
    mixed = values.expect(torch.tensor([[[0.5, 0.5]]]))
    # a mixture: of probabilities, not of returns
    torch.testing.assert_close(mixed.probs, torch.tensor([[[0.25, 0.375, 0.375]]]))
    assert mixed.atoms.tolist() == [[[0.0, 2.0, 4.0]]]
    torch.testing.assert_close(mixed.mean(), torch.tensor([[2.25]]))


def test_the_gradient_is_the_difference_of_probabilities_at_the_action_taken():
    """(p − m) / B there, 0 elsewhere; also where p is saturated."""
    logits = 3 * normal(K, B, A, N)
    logits[0, 0, 1, 2] = 60.0
    logits.requires_grad_(True)
    action, target = torch.tensor([1, 3, 0]), Returns(5 * normal(K, B, M, seed=1), distribution(K, B, M))
    loss, error = categories(logits).at(action).loss(target)
    assert loss.shape == error.shape == (K, B)
    assert not error.requires_grad
    (gradient,) = torch.autograd.grad(loss.mean(-1).sum(), logits)
    m = project_atoms(target.atoms, target.probs, -10, 10, N)
    expected = torch.zeros_like(logits)
    for b, a in enumerate(action):
        expected[:, b, a] = (logits.detach()[:, b, a].softmax(-1) - m[:, b]) / B
    torch.testing.assert_close(gradient, expected)
    assert gradient[0, 0, 1].abs().max() > 0.1


def test_the_cross_entropy_is_that_of_the_definition():
    logits, target = normal(B, N), distribution(B, N)
    torch.testing.assert_close(cross_entropy(logits, target), -(target * logits.softmax(-1).log()).sum(-1))


def test_the_error_of_categories_is_the_difference_of_means_inside_the_support():
    logits, target = normal(K, B, N), Returns(normal(K, B, M, seed=1), distribution(K, B, M))
    error = categories(logits).loss(target)[1]
    torch.testing.assert_close(error, (target.mean() - categories(logits).mean()).abs())


def test_what_no_category_can_reach_is_no_error():
    sure = torch.tensor([[[-90.0, -90.0, 90.0]]]).expand(1, B, 3)
    loss, error = categories(sure).loss(Returns(torch.full((1, B, 2), 25.0)))
    assert loss.abs().max() < 1e-5
    assert error.abs().max() < 1e-5
    assert categories(sure).metrics(Returns(torch.tensor([[[25.0, 3.0]]]).expand(1, B, 2)))["train/clamped_targets"].tolist() == [[0.5] * B]


# ---- quantiles: docs/algorithms/qrdqn.md


def test_one_quantile_and_two_targets():
    """T = (0, 2), θ = 1, τ = .25: terms .375 and .125, loss .25."""
    one, quarter = torch.tensor([1.0]), torch.tensor([0.25])
    assert [quantile_huber(one, quarter, torch.tensor([t])).item() for t in (0.0, 2.0)] == [0.375, 0.125]
    assert quantile_huber(one, quarter, torch.tensor([0.0, 2.0])).item() == 0.25


def test_two_quantiles_and_three_targets():
    """T = (0, 1, 4), θ = (.5, 2), τ = (.25, .75); a matrix entry for each pair, summed over θ, averaged over T."""
    predicted, fractions, targets = torch.tensor([0.5, 2.0]), torch.tensor([0.25, 0.75]), torch.tensor([0.0, 1.0, 4.0])
    rows = [[quantile_huber(predicted[i : i + 1], fractions[i : i + 1], t[None]).item() for i in (0, 1)] for t in targets]
    assert rows == [[0.09375, 0.375], [0.03125, 0.125], [0.75, 1.125]]
    assert quantile_huber(predicted, fractions, targets).item() == pytest.approx(0.833333, abs=1e-6)


def test_fractions_belong_to_the_prediction_where_both_have_as_many_entries():
    predicted, fractions, atoms = torch.tensor([0.0, 0.0]), torch.tensor([0.1, 0.9]), torch.tensor([-1.0, 3.0])
    # u is −1 and 3 for both: (.9 + .1) · .5 of the first target, (.1 + .9) · 2.5 of the second
    each = [[0.9 * 0.5, 0.1 * 2.5], [0.1 * 0.5, 0.9 * 2.5]]
    assert quantile_huber(predicted, fractions, atoms).item() == pytest.approx(sum(map(sum, each)) / 2)
    predicted.requires_grad_(True)
    (gradient,) = torch.autograd.grad(quantile_huber(predicted, fractions, atoms), predicted)
    assert gradient.tolist() == pytest.approx([(0.9 - 0.1) / 2, (0.1 - 0.9) / 2])


def test_target_atoms_are_weighted_by_their_probability_and_may_come_in_any_order():
    predicted, fractions, atoms = normal(B, N), distribution(B, N), normal(B, M, seed=1)
    plain = quantile_huber(predicted, fractions, atoms)
    torch.testing.assert_close(quantile_huber(predicted, fractions, atoms[:, torch.randperm(M)]), plain)
    torch.testing.assert_close(quantile_huber(predicted, fractions, atoms, torch.full((B, M), 1 / M)), plain)
    twice = atoms[:, [0, 0, 1]]
    weighted = quantile_huber(predicted, fractions, atoms[:, :2], torch.tensor([2 / 3, 1 / 3]).expand(B, 2))
    torch.testing.assert_close(quantile_huber(predicted, fractions, twice), weighted)


def test_without_a_quadratic_part_it_is_the_plain_quantile_loss():
    """κ → 0: |τ − 1{u < 0}| |u|."""
    predicted, fractions, atoms = normal(B, N), distribution(B, N), normal(B, M, seed=1)
    u = atoms.unsqueeze(1) - predicted.unsqueeze(2)
    expected = torch.where(u < 0, (1 - fractions.unsqueeze(2)) * -u, fractions.unsqueeze(2) * u).mean(-1).sum(-1)
    torch.testing.assert_close(quantile_huber(predicted, fractions, atoms, kappa=0.0), expected)
    torch.testing.assert_close(quantile_huber(predicted, fractions, atoms, kappa=1e-4), expected, rtol=0, atol=1e-3)


def test_one_median_under_a_wide_huber_is_dqn():
    """N = 1, τ = ½, κ → ∞: ½ · ½ u² / κ, of which the gradient has DQN's direction."""
    predicted = normal(6, 1).requires_grad_(True)
    target, kappa = normal(6, 1, seed=1), 1e4
    loss = quantile_huber(predicted, torch.tensor([0.5]), target, kappa=kappa)
    u = (target - predicted)[:, 0]
    torch.testing.assert_close(kappa * loss, 0.5 * 0.5 * u**2)
    (gradient,) = torch.autograd.grad(loss.sum(), predicted)
    (dqn,) = torch.autograd.grad((u**2).sum(), predicted)
    torch.testing.assert_close(gradient * 4 * kappa, dqn)


def test_fitted_quantiles_are_those_of_the_sample():
    """κ → 0: at the midpoints of 5 fractions, 15 points have the 2nd, 5th, … as their quantiles, whatever the order."""
    sample = torch.exp(normal(15)).sort().values
    fractions = (torch.arange(5) + 0.5) / 5
    quantiles = torch.zeros(5, requires_grad=True)
    optimizer = torch.optim.Adam([quantiles], lr=0.05)
    for step in range(600):
        optimizer.param_groups[0]["lr"] = 0.05 * (1 - step / 600)
        optimizer.zero_grad()
        quantile_huber(quantiles, fractions, sample, kappa=0.0).backward()
        optimizer.step()
    torch.testing.assert_close(quantiles.detach(), sample[[1, 4, 7, 10, 13]], rtol=0, atol=0.02)


def quantiles_of(q: torch.Tensor, fractions=None, kappa: float = 1.0) -> QuantileValues:
    n = q.shape[-1]
    fractions = (torch.arange(n) + 0.5) / n if fractions is None else fractions
    return QuantileValues(q, fractions, kappa, torch.zeros(1, B, 1))


def test_quantiles_say_their_mean_and_average_over_actions_quantile_by_quantile():
    values = quantiles_of(torch.tensor([[[[0.0, 2.0, 7.0], [1.0, 1.0, 4.0]]]]))  # K, B, A, N = 1, 1, 2, 3
    assert values.mean().tolist() == [[[3.0, 2.0]]]
    assert values.expect(torch.tensor([[1]])).atoms.tolist() == [[[1.0, 1.0, 4.0]]]
    mixed = values.expect(torch.tensor([[[0.25, 0.75]]]))
    assert mixed.atoms.tolist() == [[[0.75, 1.25, 4.75]]]
    assert mixed.probs is None


def test_after_a_termination_every_atom_is_the_reward():
    """terminated ⇒ all T_j = R"""
    for values in (quantiles_of(normal(K, B, A, N)), categories(normal(K, B, A, N))):
        target = values.expect(torch.zeros(K, B, dtype=torch.int64)).bootstrap(torch.arange(float(B)), torch.zeros(B))
        torch.testing.assert_close(target.atoms, torch.arange(float(B)).view(1, B, 1).expand(K, B, N))
        torch.testing.assert_close(target.mean(), torch.arange(float(B)).expand(K, B))


def test_a_quantile_loss_takes_any_weighted_atoms():
    q, target = normal(K, B, A, N), Returns(normal(K, B, M, seed=1), distribution(K, B, M))
    loss, error = quantiles_of(q).at(torch.tensor([3, 0, 1])).loss(target)
    for k in range(K):
        for b, a in enumerate((3, 0, 1)):
            each = quantile_huber(q[k, b, a], (torch.arange(N) + 0.5) / N, target.atoms[k, b], target.probs[k, b])
            torch.testing.assert_close(loss[k, b], each)
            torch.testing.assert_close(error[k, b], (q[k, b, a].mean() - (target.atoms * target.probs)[k, b].sum()).abs())


def test_each_sample_may_have_fractions_of_its_own_and_all_iterations_share_them():
    q, own, target = normal(K, B, N), distribution(B, N), Returns(normal(K, B, M, seed=1))
    loss = quantiles_of(q, own, kappa=0.5).loss(target)[0]
    for k in range(K):
        for b in range(B):
            torch.testing.assert_close(loss[k, b], quantile_huber(q[k, b], own[b], target.atoms[k, b], kappa=0.5))


# ---- implicit quantiles


def implicit(lead=None) -> tuple[ImplicitValues, list]:
    """A return that is its fraction plus 10 a + 100 b + 1000 k, and what was asked."""
    asked: list[torch.Tensor] = []

    def evaluate(fractions):
        asked.append(fractions)
        k, b, a = (torch.arange(float(n)) for n in (K, fractions.shape[0], A))
        return 1000 * k.view(-1, 1, 1, 1) + 100 * b.view(-1, 1, 1) + 10 * a.view(-1, 1) + fractions.unsqueeze(1)

    rows = B if lead is None else math.prod(lead)
    policy, samples = torch.rand(rows, 6), torch.rand(rows, N)
    values = ImplicitValues(evaluate, policy, samples, 1.0, torch.zeros(1, rows, 1))
    return values if lead is None else values.unflatten(torch.Size(lead)), asked


def test_policies_are_over_one_set_of_fractions_and_returns_over_the_other():
    values, asked = implicit()
    means = values.mean()
    assert [fractions is values.policy_fractions for fractions in asked] == [True]
    assert means[1, 2, 3].item() == pytest.approx(1230 + values.policy_fractions[2].mean().item(), abs=1e-3)
    atoms = values.expect(torch.tensor([[3, 0, 1], [2, 2, 0]])).atoms
    assert [fractions is values.sample_fractions for fractions in asked] == [False, True]
    torch.testing.assert_close(atoms[1, 0], 1020 + values.sample_fractions[0])
    averaged = values.expect(torch.full((K, B, A), 0.25)).atoms
    torch.testing.assert_close(averaged[1, 2], 1215 + values.sample_fractions[2])


def test_the_policy_set_is_evaluated_once_however_often_it_is_asked_for():
    """Metrics of a soft backup ask for the means that the backup has asked for."""
    values, asked = implicit()
    target, batch, backup = SimpleNamespace(next=values), SimpleNamespace(reward=torch.zeros(B), discount=torch.ones(B)), Soft()
    backup(None, target, batch)
    backup_metrics(backup, None, target, batch)
    assert [fractions is values.policy_fractions for fractions in asked] == [True, False]
    assert values.mean() is values.mean()


def test_the_samples_of_an_action_are_quantiles_at_their_fractions():
    values, asked = implicit()
    chosen, action, target = values.at(torch.tensor([3, 0, 1])), torch.tensor([3, 0, 1]), Returns(100 * normal(K, B, M))
    assert len(asked) == 1
    torch.testing.assert_close(chosen.quantiles, pick_atoms(values.evaluate(values.sample_fractions), action))
    torch.testing.assert_close(
        chosen.loss(target)[0][1, 2], quantile_huber(1210 + values.sample_fractions[2], values.sample_fractions[2], target.atoms[1, 2])
    )
    assert chosen.mean().shape == (K, B)


def test_nothing_is_evaluated_that_nobody_asks_for():
    assert implicit()[1] == []


# ---- axes


T = 6


@pytest.mark.parametrize("kind", ["bounded", "categorical", "quantile", "implicit"])
def test_rows_of_a_sequence_get_their_axes_back(kind):
    lead = torch.Size((T, B))
    if kind == "implicit":
        values = implicit(lead)[0]
    else:
        flat, features = normal(K, T * B, A, N), torch.zeros(1, T * B, 9)
        values = {
            "bounded": BoundedValues(flat[..., 0], -1.0, 2.0, "log", features),
            "categorical": CategoricalValues(flat, torch.linspace(-1, 1, N), -1, 1, features),
            "quantile": QuantileValues(flat, torch.rand(N), 1.0, features),
        }[kind].unflatten(lead)
    assert values.features.shape[:3] == (1, T, B)
    assert values.mean().shape == (K, T, B, A)
    returns = values.expect(values.mean().argmax(-1))
    assert returns.atoms.shape == (K, T, B, 1 if kind == "bounded" else N)
    chosen = values.at(torch.zeros(T, B, dtype=torch.int64))
    assert all(each.shape == (K, T, B) for each in chosen.loss(returns))
    if kind == "implicit":
        torch.testing.assert_close(returns.atoms[1, 2, 1], 1000 + 100 * (2 * B + 1) + 30 + values.sample_fractions[2 * B + 1])


@pytest.mark.parametrize(
    "make", [lambda: bounded(normal(K, B)), lambda: categories(normal(K, B, N)), lambda: quantiles_of(normal(K, B, N))]
)
def test_a_missing_chain_axis_is_refused_and_not_broadcast(make):
    with pytest.raises(AssertionError, match=r"\(3,\).*\(2, 3\)"):
        make().loss(Returns(normal(B, 1)))


# ---- bounded returns: docs/algorithms/bounded.md


def bounded(logit, low=0.0, high=1.0, distance="log") -> BoundedValues:
    return BoundedValues(torch.as_tensor(logit), low, high, distance, torch.zeros(1))


def test_the_minimum_of_log_loss_and_of_squares_is_the_mean():
    """y = {0, 0, 1, .5} → p = .375, mean log-loss .66156; squares through the sigmoid have the same minimum."""
    y = torch.tensor([0.0, 0.0, 1.0, 0.5], dtype=torch.float64)
    best = torch.tensor(math.log(0.375 / 0.625), dtype=torch.float64, requires_grad=True)
    loss = log_loss(best.expand(4), y).mean()
    assert loss.item() == pytest.approx(0.66156, abs=5e-6)
    squares = ((best.sigmoid() - y) ** 2).mean()
    for value in (loss, squares):
        assert torch.autograd.grad(value, best)[0].item() == pytest.approx(0.0, abs=1e-12)
    grid = torch.linspace(-4, 4, 801, dtype=torch.float64)[:, None].expand(-1, 4)
    assert log_loss(grid, y.expand(801, 4)).mean(-1).min().item() >= loss.item()


def test_the_gradient_of_log_loss_does_not_vanish():
    """∂ℓ/∂z = σ(z) − y; at z = −3, y = 0 .04743 against .00429 for (σ(z) − y)²."""
    z = torch.tensor([-3.0, 0.7, 12.0], requires_grad=True)
    y = torch.tensor([0.0, 0.3, 1.0])
    (gradient,) = torch.autograd.grad(log_loss(z, y).sum(), z)
    torch.testing.assert_close(gradient, z.detach().sigmoid() - y)
    assert gradient[0].item() == pytest.approx(0.04743, abs=5e-6)
    loss = bounded(z[:1], distance="squared").loss(Returns(torch.zeros(1, 1)))[0]
    (square,) = torch.autograd.grad(loss.sum(), z)
    assert square[0].item() == pytest.approx(0.00429, abs=5e-6)
    assert gradient[0].item() / square[0].item() == pytest.approx(11, abs=0.1)


def test_with_outcomes_of_zero_and_one_it_is_logistic_regression():
    """−ln of the probability of what happened."""
    z = normal(9)
    torch.testing.assert_close(log_loss(z, torch.ones(9)), -z.sigmoid().log())
    torch.testing.assert_close(log_loss(z, torch.zeros(9)), -(-z).sigmoid().log())
    assert torch.isfinite(log_loss(torch.tensor([-500.0, 500.0]), torch.tensor([1.0, 0.0]))).all()


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-100.0, 100.0), (-7.0, -2.0)])
def test_other_bounds_leave_the_greedy_action_alone(low, high):
    """The unit interval and back."""
    logit = normal(K, B, A)
    values, unit = bounded(logit, low, high), bounded(logit)
    assert torch.equal(values.mean().argmax(-1), unit.mean().argmax(-1))
    torch.testing.assert_close(values.mean(), low + (high - low) * unit.mean())
    assert values.mean().min() > low
    assert values.mean().max() < high


def test_costs_and_rewards_are_mirrored():
    """Costs 1 − rewards. Minus the logits is 1 − the values; losses are the same, the best action is the worst."""
    logit, target = normal(K, B, A), Returns(torch.rand(K, B, 1, generator=torch.Generator().manual_seed(1)))
    action, mirrored = torch.tensor([1, 3, 0]), Returns(1 - target.atoms)
    torch.testing.assert_close(bounded(-logit).mean(), 1 - bounded(logit).mean())
    assert torch.equal(bounded(-logit).mean().argmin(-1), bounded(logit).mean().argmax(-1))
    for one, other in zip(bounded(logit).at(action).loss(target), bounded(-logit).at(action).loss(mirrored)):
        torch.testing.assert_close(one, other)


def test_targets_are_scaled_cut_off_and_counted_and_the_error_is_in_ordinary_units():
    target = Returns(torch.tensor([[[5.0], [-30.0], [0.0]]]))
    chosen = bounded(torch.zeros(1, 3), low=-10.0, high=30.0)  # says 10, the middle
    loss, error = chosen.loss(target)
    torch.testing.assert_close(loss, torch.full((1, 3), math.log(2.0)))
    torch.testing.assert_close(error, torch.tensor([[5.0, 20.0, 10.0]]))
    metrics = chosen.metrics(target)
    assert metrics["train/clamped_targets"].tolist() == [[0.0, 1.0, 0.0]]
    torch.testing.assert_close(metrics["train/excess_loss"][0, 1], torch.tensor(math.log(2.0)))


def test_the_excess_loss_is_zero_at_a_perfect_fit_and_nowhere_else():
    """The log-loss itself is not, so it is no priority."""
    y = torch.tensor([[0.01, 0.3, 0.999]])
    perfect, off = (bounded((y / (1 - y)).log() + shift) for shift in (0.0, 0.5))
    target = Returns(y.unsqueeze(-1))
    assert perfect.metrics(target)["train/excess_loss"].abs().max() < 1e-6
    assert off.metrics(target)["train/excess_loss"].min() > 1e-5
    loss, error = perfect.loss(target)
    assert loss.min() > 0.005
    assert error.max() < 1e-6
    assert binary_entropy(torch.tensor([0.0, 0.5, 1.0])).tolist() == pytest.approx([0.0, math.log(2), 0.0])


def test_squares_of_the_same_sigmoid_are_the_baseline():
    logit, target = normal(K, B, A), Returns(torch.rand(K, B, 1))
    action = torch.tensor([1, 3, 0])
    loss, error = bounded(logit, distance="squared").at(action).loss(target)
    expected = (bounded(logit).at(action).mean() - target.mean()) ** 2
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(error, expected.sqrt())


def test_bounded_values_are_averaged_over_actions_in_ordinary_units():
    values = bounded(torch.tensor([[[0.0, math.log(3.0)]]]), -4.0, 4.0)  # 0 and 2
    torch.testing.assert_close(values.expect(torch.tensor([[[0.25, 0.75]]])).atoms, torch.tensor([[[1.5]]]))
    torch.testing.assert_close(values.expect(torch.tensor([[1]])).atoms, torch.tensor([[[2.0]]]))


# ---- one distance for another


def test_means_agree_whatever_the_head_is():
    """A target of any head, regressed on by any other, has one error: the difference of means."""
    targets = [
        categories(normal(K, B, A, M), -2.0, 2.0).expect(torch.zeros(K, B, dtype=torch.int64)),
        quantiles_of(normal(K, B, A, M)).expect(distribution(K, B, A)),
        ScalarValues(normal(K, B, A), torch.square, torch.zeros(1)).expect(torch.ones(K, B, dtype=torch.int64)),
    ]
    for target in targets:
        for chosen in (categories(normal(K, B, N)), quantiles_of(normal(K, B, N)), bounded(normal(K, B), -10.0, 10.0)):
            loss, error = chosen.loss(target)
            assert torch.isfinite(loss).all()
            torch.testing.assert_close(error, (chosen.mean() - target.mean()).abs(), rtol=1e-4, atol=1e-5)
