"""Blocks against plain PyTorch modules, initial values, and the forms of `deeprl.running.accelerate.modes`."""

import platform

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from deeprl.learning.networks.actors import Deterministic
from deeprl.learning.networks.blocks import initialise
from deeprl.learning.networks.convolutions import ConvStack, ImageBlock, patchwise, same_pads
from deeprl.learning.networks.layers import Init, fill_
from deeprl.learning.networks.mlp import MLP, NoisyMLP
from deeprl.learning.networks.torsos import Auto, MinAtarTorso, MLPTorso, Nature
from deeprl.learning.optim.flat import flatten_
from deeprl.running.accelerate.modes import apply, precision, product
from deeprl.system.machine import Cpu, flush_denormals
from deeprl.types import Spec

ATARI = Spec((4, 84, 84), torch.uint8, 18, 0)
VECTOR = Spec((17,), torch.float32, 0, 6)
DEPTHS = [(5, 3), (5, 7, 1), (5, 7, 4, 3), (5, 7, 4, 6, 1)]


def built(module, seed=0, place="test"):
    initialise(module, seed, place)
    return module


def plain(mlp: MLP, entry: int) -> nn.Sequential:
    """The oracle: `nn.Linear` layers holding copies of one stack entry."""
    layers = []
    for i, (inputs, outputs) in enumerate(zip(mlp.sizes, mlp.sizes[1:])):
        linear = nn.Linear(inputs, outputs)
        linear.weight.data.copy_(getattr(mlp, f"weight_{i}")[entry].T)
        linear.bias.data.copy_(getattr(mlp, f"bias_{i}")[entry, 0])
        layers += [linear, nn.ReLU()] if mlp.activated(i) else [linear]
    return nn.Sequential(*layers)


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("sizes", DEPTHS)
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("activate_last", [True, False])
def test_mlp_is_a_stack_of_plain_modules(sizes, n, shared, activate_last):
    mlp = built(MLP(n, sizes, activate_last=activate_last))
    mlp.requires_grad_(True)
    x = torch.randn((1 if shared else n, 6, 5), requires_grad=True)
    oracles = [plain(mlp, i) for i in range(n)]
    weight = torch.randn(n, 6, sizes[-1])

    out = mlp(x)
    expected = torch.stack([oracle(x[0 if shared else i]) for i, oracle in enumerate(oracles)])
    close(out, expected)
    found = torch.autograd.grad((out * weight).sum(), [x, *mlp.parameters()])
    wanted = torch.autograd.grad((expected * weight).sum(), [x, *(p for oracle in oracles for p in oracle.parameters())])
    close(found[0], wanted[0])
    for i in range(n):
        own = wanted[1 + 2 * i * mlp.depth :][: 2 * mlp.depth]
        for mine, theirs in zip(found[1:], own):
            close(mine[i], theirs.T if theirs.dim() == 2 else theirs[None])


def test_shared_input_may_lack_its_stack_axis():
    mlp, x = built(MLP(3, (5, 4, 1), activate_last=False)), torch.randn(6, 5)
    assert torch.equal(mlp(x), mlp(x[None]))
    close(mlp(x), mlp(x.expand(3, 6, 5)))
    with pytest.raises(ValueError, match="expected"):
        mlp(torch.randn(2, 6, 5))
    with pytest.raises(ValueError, match="expected"):
        mlp(torch.randn(6, 4))


def test_a_frozen_mlp_passes_gradients_to_its_input_only():
    mlp, x = built(MLP(2, (5, 4, 1), activate_last=False)), torch.randn(6, 5, requires_grad=True)
    gradient = torch.autograd.grad(mlp(x).sum(), x)[0]
    assert gradient.shape == x.shape
    assert gradient.any()
    assert not mlp(x.detach()).requires_grad


def test_layer_normalisation_precedes_the_activation():
    mlp, x = built(MLP(2, (5, 4, 3), activate_last=False, layer_norm=True)), torch.randn(6, 5)
    hidden = F.layer_norm(x @ mlp.weight_0[1] + mlp.bias_0[1], (4,)).relu()
    close(mlp(x)[1], hidden @ mlp.weight_1[1] + mlp.bias_1[1])


# Initial values.


def test_entry_zero_of_a_stack_is_the_stack_of_one():
    one, five = built(MLP(1, (5, 4, 1), activate_last=False)), built(MLP(5, (5, 4, 1), activate_last=False))
    for a, b in zip(one.parameters(), five.parameters()):
        assert torch.equal(a[0], b[0])
        assert not torch.equal(b[0], b[1])


def test_initial_values_follow_seed_and_place_and_no_global_state():
    def weights(seed, place):
        return flatten_(built(MLP(1, (5, 4), activate_last=False), seed, place).parameters())

    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = weights(0, "a")
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, weights(0, "a"))
    assert not torch.equal(first, weights(1, "a"))
    assert not torch.equal(first, weights(0, "b"))


def test_one_part_more_changes_no_other():
    small = nn.ModuleDict({"a": MLP(1, (5, 4), activate_last=False)})
    large = nn.ModuleDict({"first": MLP(1, (3, 2), activate_last=False), "a": MLP(1, (5, 4), activate_last=False)})
    assert torch.equal(built(small)["a"].weight_0, built(large)["a"].weight_0)


def test_an_undeclared_parameter_is_refused():
    with pytest.raises(ValueError, match=r"test\.weight: Linear declares no initial value .*`Copies\("):
        built(nn.Linear(2, 2))


@pytest.mark.parametrize(
    ("scheme", "bound", "deviation"),
    [
        ("torch", 0.1, 0.1 / 3**0.5),
        ("glorot_uniform", (6 / 400) ** 0.5, (2 / 400) ** 0.5),
        ("quantile", (3**0.5 / 100) ** 0.5, (3**-0.5 / 100) ** 0.5),
        ("small", 0.003, 0.003 / 3**0.5),
        ("glorot_normal", 2.28 * (2 / 400) ** 0.5, (2 / 400) ** 0.5),
        ("lecun_normal", 2.28 * 0.1, 0.1),
        ("he_normal", 2.28 * 0.02**0.5, 0.02**0.5),
        ("orthogonal", 1.0, 300**-0.5),
        ("orthogonal_relu", 2**0.5, (2 / 300) ** 0.5),
    ],
)
def test_schemes(scheme, bound, deviation):
    mlp = built(MLP(1, (100, 300), activate_last=False, init=scheme))
    assert mlp.weight_0.abs().max() <= bound
    assert mlp.weight_0.std().item() == pytest.approx(deviation, rel=0.02)
    assert bool(mlp.bias_0.any()) == (scheme in ("torch", "small"))


@pytest.mark.parametrize(("scheme", "gain"), [("orthogonal", 1.0), ("orthogonal_relu", 2.0)])
def test_orthogonal_weights(scheme, gain):
    """Rows of a wide matrix and columns of a tall one are orthogonal, of squared length 1 or 2; so are the kernels of a convolution."""

    def check(rows):
        torch.testing.assert_close(rows.double() @ rows.double().mT, gain * torch.eye(rows.shape[-2]).double(), rtol=0, atol=1e-6)

    mlp = built(MLP(1, (5, 20, 3), activate_last=False, init=scheme))
    check(mlp.weight_0[0])
    check(mlp.weight_1[0].mT)
    check(built(ConvStack(1, (2, 6, 6), ((4, 3, 1),), padding="valid", init=scheme)).weight_0[0].flatten(1))
    assert not mlp.bias_0.any()
    assert mlp.weight_0.dtype == torch.float32


def test_orthogonal_weights_do_not_depend_on_the_number_of_threads():
    threads = torch.get_num_threads()
    try:
        found = []
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append(built(MLP(1, (23, 512, 512), activate_last=True, init="orthogonal")))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(one, two) for one, two in zip(found[0].parameters(), found[1].parameters()))


def test_unknown_schemes_are_refused():
    with pytest.raises(ValueError, match="init must be one of"):
        MLP(1, (3, 2), activate_last=False, init="he")
    with pytest.raises(ValueError, match="init must be one of"):
        fill_(torch.zeros(2), Init("he"), torch.Generator())
    with pytest.raises(ValueError, match="two widths"):
        MLP(1, (3,), activate_last=False)


# Noisy layers.


def test_noisy_layers_follow_the_formula():
    noisy = built(NoisyMLP(2, (5, 4, 3), activate_last=False))
    x = torch.randn(6, 5)
    noise = {name: torch.randn(shape) for name, shape in noisy.noise_shapes().items()}

    def f(e):
        return e.sign() * e.abs().sqrt()

    out = x
    for i in range(2):
        rows, columns = f(noise[f"in_{i}"][1]), f(noise[f"out_{i}"][1])
        weight = getattr(noisy, f"weight_{i}")[1] + getattr(noisy, f"weight_sigma_{i}")[1] * torch.outer(rows, columns)
        bias = getattr(noisy, f"bias_{i}")[1, 0] + getattr(noisy, f"bias_sigma_{i}")[1, 0] * columns
        out = out @ weight + bias
        out = out.relu() if i == 0 else out
    close(noisy(x, noise)[1], out)
    assert noisy.weight_sigma_0.unique().item() == pytest.approx(0.5 / 5**0.5)
    assert noisy.noise_shapes() == {"in_0": (2, 5), "out_0": (2, 4), "in_1": (2, 4), "out_1": (2, 3)}


def test_zero_noise_and_no_noise_are_the_plain_mlp():
    noisy, mlp = built(NoisyMLP(2, (5, 4, 1), activate_last=False)), built(MLP(2, (5, 4, 1), activate_last=False))
    x = torch.randn(6, 5)
    zero = {name: torch.zeros(shape) for name, shape in noisy.noise_shapes().items()}
    assert torch.equal(noisy(x), mlp(x))
    assert torch.equal(noisy(x, zero), mlp(x))


# Convolutions.


def test_same_padding_is_that_of_tensorflow():
    assert [same_pads(84, 8, 4), same_pads(21, 4, 2), same_pads(11, 3, 1)] == [(2, 2), (1, 2), (1, 1)]


def test_same_padding_puts_the_odd_zero_after_the_image():
    stack = ConvStack(1, (1, 21, 21), ((1, 4, 2),), padding="same", init="torch")
    stack.weight_0[:, :, :, 1, 1] = 1.0  # reads the pixel at twice the output's place
    image = torch.rand(2, 1, 21, 21)
    assert torch.equal(stack(image).view(2, 11, 11), image[:, 0, ::2, ::2])


@pytest.mark.parametrize(("padding", "features", "parameters"), [("valid", 3136, 1_693_362), ("same", 7744, 4_052_658)])
def test_parameter_counts_of_the_nature_network(padding, features, parameters):
    torso = Nature(padding)
    net = torso.build(ATARI, 1)
    head = MLP(1, (net.features, *torso.head_hidden, 18), activate_last=False)
    assert net.features == features
    assert sum(p.numel() for p in net.parameters()) == 77_984
    assert sum(p.numel() for p in (*net.parameters(), *head.parameters())) == parameters


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("n", [1, 2])
def test_fast_convolutions_agree_with_plain_ones(padding, n):
    stack = built(ConvStack(n, (4, 30, 26), ((5, 8, 4), (6, 4, 2)), padding=padding, init="glorot_uniform", scale=1 / 255))
    stack.requires_grad_(True)
    x = torch.randint(0, 256, (3, 4, 30, 26), dtype=torch.uint8)
    parameters = list(stack.parameters())
    weight = torch.randn(n, 3, stack.features)
    results = []
    for mode in ("reference", "fast"):
        apply(stack, mode)
        out = stack(x)
        gradients = torch.autograd.grad((out * weight).sum(), parameters)
        assert all(g.is_contiguous() for g in gradients)
        results.append((out.detach(), *gradients))
    for a, b in zip(*results):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_convolutions_against_plain_modules():
    stack = built(ConvStack(2, (4, 20, 20), ((5, 8, 4), (6, 3, 1)), padding="valid", init="torch", scale=0.5))
    x = torch.rand(3, 4, 20, 20)
    for i in range(2):
        y = F.conv2d(x * 0.5, stack.weight_0[i], stack.bias_0[i], 4).relu()
        y = F.conv2d(y, stack.weight_1[i], stack.bias_1[i]).relu()
        close(stack(x)[i], y.permute(0, 2, 3, 1).flatten(1))


def test_convolutions_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match="too small for convolution 1"):
        ConvStack(1, (4, 10, 10), ((5, 8, 2), (5, 8, 2)), padding="valid", init="torch")
    with pytest.raises(ValueError, match="padding must be"):
        ConvStack(1, (4, 10, 10), ((5, 3, 1),), padding="full", init="torch")
    with pytest.raises(ValueError, match="expected"):
        ConvStack(1, (4, 10, 10), ((5, 3, 1),), padding="same", init="torch")(torch.zeros(2, 10, 10, 4))


# Torsos and actors.


def test_auto_follows_from_the_observations():
    assert Auto(hidden=[64]).resolve(VECTOR) == MLPTorso(hidden=(64,))
    assert Auto().resolve(ATARI) == Nature()
    assert Auto().resolve(Spec((4, 10, 10), torch.uint8, 6, 0)) == MinAtarTorso()
    assert Auto().resolve(Spec((3, 7, 7), torch.uint8, 6, 0)) == MinAtarTorso()
    for larger in ((3, 96, 96), (1, 25, 25), (3, 20, 64)):
        assert Auto().resolve(Spec(larger, torch.uint8, 6, 0)) == Nature()
    with pytest.raises(ValueError, match=r"\(3, 2, 9\).*agent/torso"):
        Auto().resolve(Spec((3, 2, 9), torch.uint8, 6, 0))


@pytest.mark.parametrize(
    ("torso", "spec", "features"),
    [
        (MLPTorso(), VECTOR, 256),
        (MLPTorso(hidden=[]), VECTOR, 17),
        (MLPTorso(hidden=[8], layer_norm=True), Spec((4, 10, 10), torch.uint8, 6, 0), 8),
        (Auto(), Spec((4, 10, 10), torch.uint8, 6, 0), 1024),
        (MinAtarTorso(padding="same"), Spec((6, 10, 10), torch.uint8, 6, 0), 1600),
    ],
)
def test_torsos_give_features(torso, spec, features):
    net = built(torso.build(spec, 2))
    out = net(torch.ones(3, *spec.obs_shape).to(spec.obs_dtype))
    assert net.features == features
    assert out.shape == (2, 3, features)
    assert out.dtype == torch.float32


def test_torsos_check_their_fields():
    with pytest.raises(ValueError, match="positive integers"):
        MLPTorso(hidden=(0,))
    with pytest.raises(ValueError, match="padding"):
        Nature(padding="valide")
    with pytest.raises(ValueError, match="agent/torso"):
        Nature().build(VECTOR, 1)


def test_actor():
    actor = built(Deterministic(last_init="small").build(VECTOR, MLPTorso(hidden=(8,))))
    action = actor(torch.randn(5, 17))
    assert action.shape == (5, 6)
    assert action.abs().max() < 0.1
    assert actor.last.weight_0.abs().max() <= 0.003
    assert torch.equal(actor(torch.ones(2, 5, 17)), actor(torch.ones(10, 17)).unflatten(0, (2, 5)))  # sequences


# Accelerate.


def test_apply_reaches_every_block_of_images():
    net = nn.ModuleDict({"torso": Nature().build(ATARI, 1), "head": MLP(1, (5, 2), activate_last=False)})
    for mode, last in (("fast", True), ("reference", False), ("compiled", True)):
        apply(net, mode)
        assert [block.channels_last for block in net.modules() if isinstance(block, ImageBlock)] == [last]
    with pytest.raises(ValueError, match="accelerate"):
        apply(net, "quick")


def test_product_rule():
    amd = Cpu("AuthenticAMD", amx=False)
    assert product(2, 256, amd) == product(1, 256, amd) == product(5, 64, amd) == "medium"
    assert product(1, 64, amd) == product(2, 64, amd) == "highest"
    assert product(2, 256, Cpu("AuthenticAMD", amx=True)) == product(2, 256, Cpu("GenuineIntel", amx=False)) == "highest"


def test_the_chosen_product_is_float32_on_this_machine():
    a, b = torch.randn(2, 64, 256), torch.randn(2, 256, 64)
    with precision(product(2, 256)):
        error = (torch.bmm(a, b).double() - torch.bmm(a.double(), b.double())).abs().max()
    assert error < 1e-3  # bfloat16 gives about 0.1


def test_precision_is_put_back():
    before = torch.get_float32_matmul_precision()
    other = "medium" if before != "medium" else "highest"
    with precision(other):
        assert torch.get_float32_matmul_precision() == other
    assert torch.get_float32_matmul_precision() == before


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="torch may not offer it on this processor")
def test_denormal_numbers_are_zero():
    """The smallest one times 0.9 is itself: Adam's moment of a gradient that stays zero would never get there."""
    assert flush_denormals()
    moment, smallest = torch.ones(20), 1.17549435e-38
    for _ in range(900):
        moment *= 0.9  # 0.9 ** 829 is the last normal number
    assert moment.tolist() == [0.0] * 20
    assert (torch.full((20,), smallest) * 1.0).tolist() == pytest.approx([smallest] * 20)


@pytest.mark.parametrize(("stride", "padding"), [(1, (0, 0)), (2, (1, 0)), (1, (1, 2))])
def test_a_convolution_in_patches_is_a_convolution(stride, padding):
    x, weight, bias = torch.randn(3, 4, 9, 10), torch.randn(5, 4, 3, 3), torch.randn(5)
    torch.testing.assert_close(patchwise(x, weight, bias, stride, padding), F.conv2d(x, weight, bias, stride, padding))


def test_small_images_are_in_patches_where_steps_are_compiled():
    small, large = (ConvStack(1, (4, side, side), [(6, 3, 1)], padding="valid", init="torch") for side in (10, 40))
    for block in (small, large):
        for mode in ("reference", "fast", "compiled"):
            apply(block, mode)
            assert block.patches == (block is small and mode == "compiled")
            assert block.channels_last == (mode != "reference" and not block.patches)
    built(small)
    x = torch.randint(0, 2, (3, 4, 10, 10), dtype=torch.uint8)
    expected = (apply(small, "reference"), small(x))[1]
    torch.testing.assert_close((apply(small, "compiled"), small(x))[1], expected)
