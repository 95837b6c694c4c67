"""Recurrent cores: worked numbers, PyTorch's own cells, and what every core must obey."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.func import functional_call

from deeprl.agents.elstm import ELSTM, ELSTMCore, ExactELSTM, ExactELSTMCore
from deeprl.agents.srwm import rewritten
from deeprl.agents.stable_ssm import RATES, StableSSM
from deeprl.learning.networks.blocks import initialise
from deeprl.learning.networks.cores import GRU, LSTM, GRUCore, LSTMCore, unroll
from tests.presets import cores

CHOICES = {**cores(6), "lstm orthogonal": LSTM(6, "orthogonal")}
T, B, N, INPUTS = 7, 3, 2, 4


def made(choice, dtype=torch.float64):
    core = choice.build(INPUTS, N)
    initialise(core, 3, "core")
    return core.to(dtype)


def rows(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(N, T, B, INPUTS, generator=generator, dtype=torch.float64)


class Unrolled(nn.Module):
    def __init__(self, core):
        super().__init__()
        self.core = core

    def forward(self, x):
        return unroll(self.core, x, self.core.start(B), NEVER)[0]


NEVER = torch.zeros(T, B, dtype=torch.bool)


@pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES)
def test_segments_joined_end_to_end_are_one_unroll(choice):
    core, x = made(choice), rows()
    whole, states = unroll(core, x, core.start(B), NEVER)
    before, half = unroll(core, x[:, :3], core.start(B), NEVER[:3])
    after, end = unroll(core, x[:, 3:], half[:, -1], NEVER[3:])
    assert whole.shape == (N, T, B, core.features)
    torch.testing.assert_close(torch.cat([before, after], 1), whole, rtol=0, atol=1e-14)
    torch.testing.assert_close(torch.cat([half, end], 1), states, rtol=0, atol=1e-14)


@pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES)
def test_the_first_row_of_an_episode_starts_anew(choice):
    core, x = made(choice), rows()
    first = NEVER.clone()
    first[3, 1] = True
    y, _ = unroll(core, x, core.start(B), first)
    fresh, _ = unroll(core, x[:, 3:], core.start(B), NEVER[3:])
    going, _ = unroll(core, x, core.start(B), NEVER)
    torch.testing.assert_close(y[:, 3:, 1], fresh[:, :, 1], rtol=0, atol=1e-14)
    torch.testing.assert_close(y[:, :, 0], going[:, :, 0], rtol=0, atol=1e-14)


@pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES)
def test_a_core_takes_plain_tensors_for_its_parameters(choice):
    """Compiled code gives them: a core that asked for its parameters by name ended the run."""
    core, x = made(choice), rows()
    plain = {name: parameter.detach().clone() for name, parameter in core.named_parameters()}
    found = functional_call(Unrolled(core), {f"core.{name}": value for name, value in plain.items()}, x)
    torch.testing.assert_close(found, unroll(core, x, core.start(B), NEVER)[0], rtol=0, atol=1e-14)


@pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES)
def test_entries_of_a_stack_and_rows_of_a_batch_do_not_meet(choice):
    core, x = made(choice), rows()
    y, _ = unroll(core, x, core.start(B), NEVER)
    other = x.clone()
    other[0, :, 1] += 1
    changed = (unroll(core, other, core.start(B), NEVER)[0] != y).any(-1).any(1)
    assert changed.tolist() == [[False, True, False], [False] * 3]


def test_lstm_and_gru_are_pytorchs():
    for core, theirs in ((made(LSTM(6)), torch.nn.LSTM), (made(GRU(6)), torch.nn.GRU)):
        module = theirs(INPUTS, 6).double()
        with torch.no_grad():
            for name, mine in (
                ("weight_ih_l0", "weight_x"),
                ("weight_hh_l0", "weight_h"),
                ("bias_ih_l0", "bias_x"),
                ("bias_hh_l0", "bias_h"),
            ):
                getattr(module, name).copy_(getattr(core, mine)[1].mT.reshape(getattr(module, name).shape))
        y, _ = unroll(core, rows(), core.start(B), NEVER)
        torch.testing.assert_close(y[1], module(rows()[1])[0], rtol=0, atol=1e-12)


def worked(core, columns):
    for name, value in columns.items():
        getattr(core, name).data[:] = torch.tensor(value, dtype=torch.float64)
    x = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64).reshape(1, 3, 1, 1)
    first = torch.zeros(3, 1, dtype=torch.bool)
    y, states = unroll(core, x, core.start(1), first)
    first[2] = True
    return y.flatten().tolist(), states[:, -1].flatten().tolist(), unroll(core, x, core.start(1), first)[0].flatten().tolist()


def test_worked_numbers_of_an_lstm():
    core = LSTMCore(1, 1, 1).double()
    y, state, reset = worked(core, {"weight_x": (0.5, -0.5, 1, 0.25), "weight_h": (0.1, 0.2, -0.3, 0.4), "bias_x": (0, 1, 0, 0)})
    assert y == pytest.approx([0.248187, 0.061541, 0.184395], abs=1e-6)
    assert state == pytest.approx([0.184395, 0.357677], abs=1e-6)
    assert reset[2] == pytest.approx(0.134981, abs=1e-6)


def test_worked_numbers_of_a_gru():
    core = GRUCore(1, 1, 1).double()
    y, _, reset = worked(core, {"weight_x": (0.5, -0.5, 1), "weight_h": (0.1, 0.2, -0.3), "bias_h": (0, 0, 0.4)})
    assert y == pytest.approx([0.527845, 0.158086, 0.405348], abs=1e-6)
    assert reset[2] == pytest.approx(0.348503, abs=1e-6)


def exact(core: ELSTMCore) -> ExactELSTMCore:
    """A core with the same parameters, trained by real-time recurrent learning."""
    found = ExactELSTM(core.features).build(INPUTS, N).to(torch.float64)
    for name, parameter in core.named_parameters():
        setattr(found, name, parameter)
    return found


def gradients(core: ELSTMCore, y: torch.Tensor) -> list[torch.Tensor]:
    weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).reshape(N, B, -1, core.features).transpose(1, 2)
    return list(torch.autograd.grad((weights * (y + y.square())).sum(), list(core.parameters())))


@pytest.mark.parametrize("reset", [False, True])
def test_real_time_recurrent_learning_is_back_propagation_through_time(reset):
    core, x = made(ELSTM(6)), rows()
    for parameter in core.parameters():
        parameter.data.mul_(5)  # far from linear
        parameter.requires_grad_()
    first = NEVER.clone()
    first[3, 1] = reset
    through_time, _ = unroll(core, x, core.start(B), first)
    real_time, _ = unroll(exact(core), x, exact(core).start(B), first)
    torch.testing.assert_close(real_time, through_time, rtol=0, atol=1e-14)
    for mine, theirs in zip(gradients(core, real_time), gradients(core, through_time)):
        torch.testing.assert_close(mine, theirs, rtol=1e-8, atol=1e-12)


def test_segments_with_carried_sensitivities_have_the_gradient_of_the_whole():
    """Back-propagation within the same segments has not."""
    core, x = made(ELSTM(6)), rows()
    for parameter in core.parameters():
        parameter.requires_grad_()
    whole, _ = unroll(core, x, core.start(B), NEVER)
    before, states = unroll(exact(core), x[:, :3], exact(core).start(B), NEVER[:3])
    after, _ = unroll(exact(core), x[:, 3:], states[:, -1], NEVER[3:])
    cut, _ = unroll(core, x[:, 3:], states[:, -1, :, : core.size], NEVER[3:])
    expected = gradients(core, whole)
    for mine, theirs in zip(gradients(core, torch.cat([before, after], 1)), expected):
        torch.testing.assert_close(mine, theirs, rtol=1e-8, atol=1e-12)
    truncated = gradients(core, torch.cat([before.detach(), cut], 1))
    assert not torch.allclose(truncated[0], expected[0])


@pytest.mark.parametrize(("choice", "times"), [(ExactELSTM(6), 1), (ELSTM(6), 4)])
def test_what_an_update_keeps_does_not_grow_with_the_episode(choice, times):
    """Numbers that autograd holds until the gradient of the last answer: by real-time learning those of the segment, after 2 segments and
    after 8; through time those of every segment."""

    def held(segments: int) -> int:
        core, sizes = made(choice), []
        for parameter in core.parameters():
            parameter.requires_grad_()
        with torch.autograd.graph.saved_tensors_hooks(lambda tensor: sizes.append(tensor.numel()) or tensor, lambda tensor: tensor):
            state = core.start(B)
            for _ in range(segments):
                sizes = sizes if state.requires_grad else sizes[:0]  # what came before is let go
                states = unroll(core, rows(), state, NEVER)[1]
                state = states[:, -1]
        return sum(sizes)

    assert held(8) == pytest.approx(times * held(2), rel=0.05)


def test_units_remember_as_long_as_the_horizon_says():
    """f = u / (1 + u), u from 1 to the horizon: at most 1 + horizon steps. A horizon of 1 is ½, the bias 0 of the authors."""
    core = ELSTM(1000, horizon=40).build(INPUTS, N)
    initialise(core, 3, "core")
    steps = 1 / (1 - core.bias_c[:, 0].sigmoid())
    assert 2 <= steps.min() < 2.2
    assert 40 < steps.max() <= 41
    assert not core.bias_c[:, 1].any()
    plain = made(ELSTM(6))
    assert not plain.bias_c.any()
    assert torch.equal(plain.weight_x, made(ELSTM(6, horizon=40)).weight_x)
    with pytest.raises(ValueError, match="horizon must be at least 1"):
        ELSTM(6, horizon=0.5)


def test_the_encoder_gets_the_gradient_within_a_step():
    core, x = made(ELSTM(6)), rows().requires_grad_()
    y, _ = unroll(exact(core), x, exact(core).start(B), NEVER)
    (gradient,) = torch.autograd.grad(y[:, 4].sum(), x)
    assert gradient.flatten(2).abs().sum(-1).gt(0).tolist() == [[t == 4 for t in range(T)]] * N


def test_a_matrix_rewrites_what_its_key_reads():
    """With a learning rate of 1 and a one-hot key, W k becomes W q; with a key that is the query, or no learning rate, nothing changes."""
    d = 3
    w = torch.zeros(3 * d + 4, d, dtype=torch.float64)
    w[: 2 * d] = torch.randn(2 * d, d, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    x = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    w[2 * d + 1, 0] = 1000.0  # the key: one-hot at 1
    w[3 * d :, 0] = 1000.0  # σ = 1
    y, new = rewritten(w, x)
    torch.testing.assert_close(y, w[:d, 0])
    query = w[d : 2 * d, 0].softmax(-1)
    torch.testing.assert_close(new[:, 1], w @ query)
    assert torch.equal(new[:, [0, 2]], w[:, [0, 2]])
    w[3 * d :, 0] = -1000.0
    assert torch.equal(rewritten(w, x)[1], w)
    w[d : 2 * d] = w[2 * d : 3 * d]
    w[3 * d :, 0] = 1000.0
    assert torch.equal(rewritten(w, x)[1], w)


@pytest.mark.parametrize(
    ("rate", "at_zero", "at_one"), [("exp", -1, -2.718282), ("softplus", -0.693147, -1.313262), ("best", -10, -0.909091)]
)
def test_worked_decay_rates(rate, at_zero, at_one):
    of, first = RATES[rate]
    assert of(torch.tensor([0.0, 1.0, first])).tolist() == pytest.approx([at_zero, at_one, -0.5], abs=1e-6)


def test_a_state_space_step_is_the_exact_solution_for_a_constant_input():
    """s' = λ s + u over a time Δ, in complex numbers."""
    core = made(StableSSM(6, 3))
    s, u = torch.randn(N, B, 6, 3, dtype=torch.complex128), torch.randn(N, B, 6, dtype=torch.float64)
    step, rate = core.get_parameter("log_step_0").exp()[:, None, :, None], RATES["best"][0](core.get_parameter("w_0"))[:, None]
    rates = rate + 1j * torch.pi * torch.arange(3, dtype=torch.float64)
    expected = (step * rates).exp() * s + ((step * rates).exp() - 1) / rates * u[..., None]
    real, imaginary = core.moved(0, (s.real, s.imag), u)
    torch.testing.assert_close(torch.complex(real, imaginary), expected, rtol=0, atol=1e-7)  # the frequencies are float32
