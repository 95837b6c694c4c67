import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from deeprl.learning.networks.blocks import initialise
from deeprl.learning.networks.mlp import MLP
from deeprl.learning.optim.adagrad import AdaGrad
from deeprl.learning.optim.adam import Adam
from deeprl.learning.optim.flat import flatten_
from deeprl.learning.optim.radam import RAdam
from deeprl.learning.optim.rmsprop import RMSProp
from deeprl.schedules import Linear

HALF = Linear(start=0.5, end=0.25, duration=10)
SHAPES = (3, 2), (7,), (2, 4, 5), ()


def pair(seed=0):
    generator = torch.Generator().manual_seed(seed)
    ours = [nn.Parameter(torch.randn(shape, generator=generator), requires_grad=False) for shape in SHAPES]
    return ours, [nn.Parameter(p.detach().clone()) for p in ours], generator


def gradients(generator):
    """As autograd may hand them out: transposed, expanded, sliced, plain."""
    return [
        torch.randn(2, 3, generator=generator).t(),
        torch.randn(1, generator=generator).expand(7),
        torch.randn(2, 4, 10, generator=generator)[..., ::2],
        torch.randn((), generator=generator),
    ]


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_twenty_updates_agree_with_torch(weight_decay):
    ours, theirs, generator = pair()
    adam = Adam(lr=0.01, eps=1e-4, betas=(0.8, 0.95), weight_decay=weight_decay).build(ours)
    kind = torch.optim.AdamW if weight_decay else torch.optim.Adam
    reference = kind(theirs, lr=0.01, eps=1e-4, betas=(0.8, 0.95), weight_decay=weight_decay, foreach=False)
    for _ in range(20):
        found = gradients(generator)
        adam.step(found, 0)
        for p, g in zip(theirs, found):
            p.grad = g.clone(memory_format=torch.contiguous_format)
        reference.step()
    for p, q in zip(ours, theirs):
        torch.testing.assert_close(p, q.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "choice",
    [
        Adam(lr=0.1), Adam(lr=0.1, weight_decay=0.2, max_grad_norm=0.5, schedule=HALF), RMSProp(lr=0.1, max_grad_norm=0.5, schedule=HALF),
        RAdam(lr=0.1, max_grad_norm=0.5, schedule=HALF),
    ],
)  # fmt: skip
def test_the_pure_rule_is_the_step(choice):
    """`updated`, which is compiled, against `step`, over five steps from the same start."""
    generator = torch.Generator().manual_seed(0)
    optimizer = choice.build([nn.Parameter(torch.randn(3, 2, generator=generator)), nn.Parameter(torch.randn(4, generator=generator))])
    values = [optimizer.flat.clone(), *(getattr(optimizer, name).clone() for name in optimizer.averages)]
    for step in range(5):
        gradients = [torch.randn(p.shape, generator=generator) for p in optimizer.parameters]
        gradient, numbers = torch.cat([g.flatten() for g in gradients]), torch.tensor(optimizer.numbers(step))
        values = list(optimizer.updated(values[0], values[1:], optimizer.clipped(gradient, gradient.norm()), numbers))
        optimizer.step(gradients, step)
    for value, own in zip(values, (optimizer.flat, *(getattr(optimizer, name) for name in optimizer.averages))):
        torch.testing.assert_close(value, own, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("choice", [Adam(lr=0.1), RMSProp(lr=0.1), RAdam(lr=0.1)])
def test_a_small_gradient_is_not_scaled_up(choice):
    optimizer = replace(choice, max_grad_norm=0.5).build([nn.Parameter(torch.zeros(4), requires_grad=False)])
    small, large = 0.1 * torch.ones(4), torch.ones(4)
    assert torch.equal(optimizer.clipped(small, small.norm()), small)
    torch.testing.assert_close(optimizer.clipped(large, large.norm()), large / 4)


@pytest.mark.parametrize("choice", [Adam(lr=0.1), RMSProp(lr=0.1, momentum=0.5), RAdam(lr=0.1), AdaGrad(lr=0.1)])
def test_after_a_reset_it_is_as_it_was_built_and_a_loaded_one_goes_on(choice):
    def built():
        return choice.build([nn.Parameter(torch.ones(3), requires_grad=False)])

    used, fresh, loaded = built(), built(), built()
    for step in range(3):
        used.step([torch.ones(3)], step)
    loaded.load_state_dict({name: tensor.clone() for name, tensor in used.state_dict().items()})
    assert loaded.numbers(3) == used.numbers(3)
    used.reset()
    assert used.numbers(3) == fresh.numbers(3)
    assert all(torch.equal(tensor, fresh.state_dict()[name]) for name, tensor in used.state_dict().items())


def test_a_transposed_gradient_moves_the_right_weights():
    weight = nn.Parameter(torch.zeros(3, 2), requires_grad=False)
    sign = torch.tensor([[1.0, -1.0, 1.0], [1.0, 1.0, -1.0]]).t()
    Adam(lr=1.0, eps=1e-30).build([weight]).step([sign], 0)
    torch.testing.assert_close(weight.detach(), -sign.contiguous())  # the first step of Adam is the sign


@pytest.mark.parametrize("limit", [0.5, 1e6])
def test_clipping_is_that_of_torch_and_leaves_gradients_alone(limit):
    ours, theirs, generator = pair()
    found = gradients(generator)
    before = [g.clone() for g in found]
    for p, g in zip(theirs, found):
        p.grad = g.clone(memory_format=torch.contiguous_format)
    expected = nn.utils.clip_grad_norm_(theirs, limit)
    adam = Adam(lr=0.1, eps=1.0, max_grad_norm=limit).build(ours)  # a large eps lets the size of a gradient matter
    norm = adam.step(found, 0)
    torch.optim.Adam(theirs, lr=0.1, eps=1.0, foreach=False).step()
    torch.testing.assert_close(norm, expected)
    for p, q, g, b in zip(ours, theirs, found, before):
        torch.testing.assert_close(p, q.detach(), rtol=1e-5, atol=1e-6)
        assert torch.equal(g, b)


def test_clipping_counts_a_shared_gradient_tensor_once():
    a, b = (nn.Parameter(torch.zeros(2), requires_grad=False) for _ in range(2))
    shared = torch.tensor([3.0, 4.0])
    adam = Adam(lr=1.0, max_grad_norm=1.0).build([a, b])
    assert adam.step([shared, shared], 0).item() == pytest.approx(50**0.5)
    torch.testing.assert_close(adam.moment, 0.1 * torch.cat([shared, shared]) / 50**0.5)


def test_schedule_multiplies_the_rate():
    weight = nn.Parameter(torch.zeros(1), requires_grad=False)
    adam = Adam(lr=1.0, eps=1e-30, schedule=Linear(1.0, 0.0, duration=10)).build([weight])
    adam.step([torch.ones(1)], step=5)
    assert weight.item() == pytest.approx(-0.5)
    adam.step([torch.ones(1)], step=10)
    assert weight.item() == pytest.approx(-0.5)


def test_parameters_stay_views_through_load_state_dict():
    module, other = (MLP(2, (3, 4, 1), activate_last=False) for _ in range(2))
    initialise(module, 0, "a")
    initialise(other, 1, "a")
    adam = Adam(lr=0.1).build(list(module.parameters()))
    module.load_state_dict(other.state_dict())
    assert torch.equal(adam.flat, torch.cat([p.reshape(-1) for p in other.parameters()]))
    adam.flat.zero_()
    assert all(not p.any() for p in module.parameters())


def test_flat_copies_and_averages():
    online, target = (MLP(1, (3, 4, 1), activate_last=False) for _ in range(2))
    initialise(online, 0, "a")
    flat, flat_target = flatten_(online.parameters()), flatten_(target.parameters())
    flat_target.lerp_(flat, 0.5)
    torch.testing.assert_close(target.weight_0 * 2, online.weight_0)
    flat_target.copy_(flat)
    assert torch.equal(target.weight_1, online.weight_1)


def test_a_saved_optimizer_goes_on_bit_for_bit():
    ours, _, generator = pair()
    adam = Adam(lr=0.01).build(ours)
    for _ in range(3):
        adam.step(gradients(generator), 0)
    copies = [nn.Parameter(p.detach().clone(), requires_grad=False) for p in ours]
    resumed = Adam(lr=0.01).build(copies)
    resumed.load_state_dict({name: value.clone() for name, value in adam.state_dict().items()})
    found = gradients(generator)
    adam.step(found, 0)
    resumed.step(found, 0)
    assert torch.equal(adam.flat, resumed.flat)
    assert resumed.count.item() == 4


def test_refusals():
    weight = nn.Parameter(torch.zeros(3, 2), requires_grad=False)
    adam = Adam(lr=0.1).build([weight])
    with pytest.raises(ValueError, match="shapes"):
        adam.step([torch.zeros(2, 3)], 0)
    with pytest.raises(ValueError, match="saved state"):
        adam.load_state_dict({"moment": torch.zeros(5), "square": torch.zeros(5), "count": torch.zeros(())})
    with pytest.raises(ValueError, match="share a type"):
        flatten_([weight, nn.Parameter(torch.zeros(1, dtype=torch.float64))])
    with pytest.raises(ValueError, match="no parameters"):
        flatten_([])
    for name, value in (
        ("lr", -1.0), ("lr", math.inf), ("betas", (0.9, 1.0)), ("betas", 0.9), ("betas", ("a", "b")), ("max_grad_norm", 0.0),
        ("max_grad_norm", "abc"), ("weight_decay", -0.1), ("schedule", "linear"), ("schedule", 0.5),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"^{name} must be"):
            Adam(**{"lr": 1.0, name: value})
    with pytest.raises(ValueError, match="^schedule.start is a factor of the learning rate, at least 0, not -1.0"):
        Adam(lr=1.0, schedule=Linear(-1.0, 0.0, duration=10))


def test_radam_by_hand_and_as_torch_has_it():
    """Momentum alone for five steps, then the rectified scale; and twenty random steps against torch."""
    gradients = (1.0, -0.5, 2.0, 1.0, 0.0, 1.0, -1.0, 0.5)
    expected = (-0.1, -0.1210526, -0.2081375, -0.2989779, -0.3676355, -0.3694056, -0.3706645, -0.3722881)
    weight = nn.Parameter(torch.zeros(1), requires_grad=False)
    optimizer = RAdam(lr=0.1).build([weight])
    for gradient, value in zip(gradients, expected):
        optimizer.step([torch.tensor([gradient])], 0)
        assert weight.item() == pytest.approx(value, abs=1e-6)
    assert [RAdam(lr=0.1).rectified(t) is None for t in range(1, 8)] == [True] * 5 + [False] * 2
    ours, theirs = (nn.Parameter(torch.ones(4)) for _ in range(2))
    ours.requires_grad_(False)
    optimizer, reference = RAdam(lr=0.01, eps=1e-2, schedule=HALF).build([ours]), torch.optim.RAdam([theirs], lr=0.005, eps=1e-2)
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        theirs.grad = torch.randn(4, generator=generator)
        optimizer.step([theirs.grad.clone()], 0)
        reference.step()
    torch.testing.assert_close(ours, theirs.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rule", [Adam, RAdam])
def test_an_epsilon_of_nothing_is_refused(rule):
    """A weight without a gradient became NaN by 0 / 0, which was seen an update later."""
    with pytest.raises(ValueError, match="eps must be"):
        rule(lr=0.1, eps=0.0)
