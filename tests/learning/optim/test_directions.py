"""Second derivatives by products, beside the matrices; the line search by hand."""

import math

import pytest
import torch

from deeprl.learning.optim.directions import (
    conjugate_gradient,
    fisher_vector,
    flat_gradient,
    hessian_vector,
    jacobian_vector,
    normalised,
    parabolic_search,
)


def test_the_hessian_of_a_cubic_of_two_tensors():
    x, y = torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor(3.0, requires_grad=True)
    value = x[0] ** 3 + x[0] * x[1] * y  # second derivatives 6 x₀, y between x₀ and x₁, x₁ and x₀ with y
    matrix = torch.tensor([[6.0, 3.0, 2.0], [3.0, 0.0, 1.0], [2.0, 1.0, 0.0]])
    u = torch.tensor([1.0, -1.0, 2.0])
    assert hessian_vector(value, [x, y], u).tolist() == (matrix @ u).tolist()
    assert flat_gradient(x.sum() * 0 + 1.0, [x, y]).tolist() == [0.0, 0.0, 0.0]


def test_a_jacobian_and_the_fisher_matrix_of_a_softmax():
    logits = torch.tensor([0.5, -1.0, 0.2], requires_grad=True)
    probabilities = logits.detach().softmax(-1)
    log = logits.log_softmax(-1)
    scores = torch.eye(3) - probabilities  # ∇ log π of each action
    u = torch.tensor([1.0, 2.0, -1.0])
    assert torch.allclose(jacobian_vector(log, [logits], u), scores @ u)
    assert torch.allclose(fisher_vector(log, [logits], u), scores.T @ (scores @ u) / 3)


def test_conjugate_gradient_solves_in_as_many_iterations_as_dimensions():
    matrix = torch.tensor([[4.0, 1.0], [1.0, 3.0]])
    assert torch.allclose(conjugate_gradient(lambda u: matrix @ u, torch.tensor([1.0, 2.0]), 2), torch.tensor([1.0 / 11.0, 7.0 / 11.0]))


def test_a_normalised_step_has_its_length_and_zero_stays():
    assert torch.linalg.vector_norm(normalised(torch.tensor([3.0, 4.0]), 0.5)).item() == pytest.approx(0.5)
    assert normalised(torch.zeros(2), 0.5).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("curvature", [0.3, 1.0, 5.0, 40.0])
def test_a_parabola_is_climbed_to_its_top(curvature):
    """ε − c ε²/2 is largest at 1/c, where it is 1/(2 c)."""
    length, gain = parabolic_search(lambda e: e - curvature * e * e / 2)
    assert (length, gain) == pytest.approx((1 / curvature, 1 / (2 * curvature)), abs=2e-4)


def test_a_line_search_gives_up_where_nothing_gains_and_halves_where_the_gain_is_not_defined():
    assert parabolic_search(lambda e: -e) == (0.0, 0.0)
    length, _ = parabolic_search(lambda e: e if e < 0.3 else -math.inf, trials=3)
    assert length == 0.25
