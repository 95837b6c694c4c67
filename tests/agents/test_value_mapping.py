"""Orchestrated value mapping: maps and reward channels. Numbers: docs/algorithms/loglin_dqn.md and value_mapping.md."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from deeprl.agents.log_dqn import Log
from deeprl.agents.reward_channels import Bands, Ensemble, Layers
from deeprl.agents.value_mapping import LogLinear, PerChannel
from deeprl.errors import ConfigError
from deeprl.learning.networks.heads import Scalar
from deeprl.learning.networks.mapped import wrapped
from deeprl.learning.transforms.channels import Polar
from deeprl.learning.transforms.rewards import Raw
from deeprl.learning.values.mapped import Units
from deeprl.learning.values.mapping import Identity, Mapping
from deeprl.learning.values.signed_maps import Asinh, SignedRoot
from deeprl.running.config.build import build_agent
from deeprl.running.config.instantiate import instantiate
from tests.builders import settled, spec_of, value_agent
from tests.running.config.test_configs import survives

LOGLIN = LogLinear(c=0.5)
PAPER = LogLinear(c=0.5, shift=0.02, floor=0.0)
MAPS = {
    "log": Log(), "loglin": LOGLIN, "loglin, shifted": LogLinear(c=0.7, delta=0.4), "loglin of the paper": PAPER,
    "root": SignedRoot(), "asinh": Asinh(scale=2.0), "identity": Identity(precision="float64"),
}  # fmt: skip
SIGNED = ("root", "asinh", "identity")


def numbers(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


# ---- maps


@pytest.mark.parametrize("name", MAPS)
def test_maps_rise_and_their_inverses_cancel_them(name):
    """Admissible maps are strictly monotone and invertible; on [0.01687, 25], and on negative values where they take them."""
    mapping = MAPS[name]
    low = -25.0 if name in SIGNED else 0.01687
    value = torch.linspace(low, 25.0, 5001, dtype=torch.float64)
    mapped = mapping.forward(value)
    slope = mapped.diff() / value.diff()
    assert slope.min() > 1e-3
    assert slope.max() < 1e3
    torch.testing.assert_close(mapping.inverse(mapped), value, rtol=1e-11, atol=1e-11)


def test_values_of_the_log_linear_map():
    found = LOGLIN.forward(numbers(0.5, 1.0, 2.0, 25.0, 0.01687))
    assert found.tolist() == pytest.approx([-0.3465736, 0.0, 0.5, 12.0, -2.0411], abs=1e-4)
    assert LOGLIN.inverse(numbers(-0.3465736, 0.0, 0.5, 12.0)).tolist() == pytest.approx([0.5, 1.0, 2.0, 25.0])


@pytest.mark.parametrize(("mapping", "edge"), [(LOGLIN, 1.0), (LogLinear(c=0.7, delta=0.4), 0.5647181), (PAPER, 0.98)])
def test_value_and_slope_are_continuous_at_the_break(mapping, edge):
    """f is 0 there; Δ moves the break to exp(−Δ/c), the paper's form has it at 1 − d."""
    assert mapping.edge - mapping.shift == pytest.approx(edge, abs=1e-6)
    edge = mapping.edge - mapping.shift
    step = 1e-6
    below, at, above = mapping.forward(numbers(edge - step, edge, edge + step)).tolist()
    assert at == pytest.approx(0.0, abs=1e-12)
    assert (above - at) / step == pytest.approx((at - below) / step, rel=1e-4)
    assert (above - at) / step == pytest.approx(mapping.c / mapping.edge, rel=1e-4)


def test_both_forms_of_the_log_linear_map_by_their_formulas():
    """As the released code and the paper write them."""
    c, delta, d = 0.7, 0.4, 0.02
    x = torch.linspace(0.02, 5, 500, dtype=torch.float64)
    edge = torch.exp(torch.tensor(-delta / c, dtype=torch.float64))
    released = torch.where(x <= edge, c * x.log() + delta, c / edge * x - c)
    torch.testing.assert_close(LogLinear(c=c, delta=delta).forward(x), released)
    y = released
    torch.testing.assert_close(LogLinear(c=c, delta=delta).inverse(y), torch.where(y <= 0, ((y - delta) / c).exp(), (y + c) * edge / c))
    torch.testing.assert_close(PAPER.forward(x), torch.where(x <= 1 - d, 0.5 * (x + d).log(), 0.5 * (x - (1 - d))))


def test_values_of_the_signed_root():
    """ε = 0.01, and it is odd."""
    root = SignedRoot(epsilon=0.01)
    assert root.forward(numbers(1.0, 10.0, 100.0)).tolist() == pytest.approx([0.424214, 2.416625, 10.049876], abs=1e-6)
    x = torch.linspace(-9, 9, 19, dtype=torch.float64)
    torch.testing.assert_close(root.forward(-x), -root.forward(x))
    torch.testing.assert_close(Asinh(scale=0.5).forward(x), torch.asinh(x / 0.5) * 0.5)


def test_a_target_of_three_steps_in_units_of_the_root():
    """R2D2's ε = 0.001: rewards 1, 0, 2, γ = 0.9, then a value of 2 in units of the map. Without the inverse it would be 1.257520."""
    root = SignedRoot(epsilon=0.001)
    assert root.forward(numbers(1.0, 3.0, -8.0, 99.0, 1e4)).tolist() == pytest.approx([0.415214, 1.003, -2.008, 9.099, 109.005], abs=1e-6)
    assert root.inverse(numbers(1.0, 2.0, 10.0)).tolist() == pytest.approx([2.988057, 7.952349, 117.430323], abs=1e-6)
    target = 1 + 0.9**2 * 2 + 0.9**3 * root.inverse(numbers(2.0))
    assert root.forward(target).tolist() == pytest.approx([2.077173], abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", MAPS)
def test_inverses_stay_finite(name, dtype):
    assert MAPS[name].inverse(torch.tensor([-1e4, -1e9, 0.0, 1e4, 1e9], dtype=dtype)).isfinite().all()


def test_a_map_for_each_channel():
    """The released `[log,loglin]`; floors too, and what the map of a channel does not touch stays."""
    both = PerChannel(maps=(Log(floor=0.01), Identity()))
    value = torch.tensor([[[0.001, 2.0], [0.001, 2.0]]], dtype=torch.float64)  # (1, C, 2)
    assert both.floored(value).tolist() == [[[0.01, 2.0], [0.001, 2.0]]]
    mapped = both.forward(value)
    torch.testing.assert_close(mapped[0, 0], 0.5 * value[0, 0].log())
    assert torch.equal(mapped[0, 1], value[0, 1])
    torch.testing.assert_close(both.inverse(mapped), value)
    assert both.needs == {"nonnegative"}
    assert PerChannel(maps=(SignedRoot(),)).needs == frozenset()
    with pytest.raises(ValueError, match="longer"):
        both.forward(torch.ones(1, 4, 2))


def test_the_target_of_mapdqn():
    """B and q are cut off to [0, 1/(1 − γ)], the floor acts on U, λ does not weight the loss."""
    mapping = LogLinear(averaging=0.1)
    units = Units(mapping, (1.0, -10.0))
    assert mapping.limit == pytest.approx(25.0)
    assert replace(mapping, discount=0.9, n_step=2).limit == pytest.approx(1 / (1 - 0.81))
    value = torch.tensor([[[40.0], [0.001]]], dtype=torch.float64)
    target = torch.tensor([[[1.0], [0.0]]], dtype=torch.float64)
    mapped_target, error = units.regression_target(value, target)
    u = [25 + 0.1 * (1 - 25), 0.01687]
    assert mapped_target.flatten().tolist() == pytest.approx(mapping.forward(numbers(*u)).tolist())
    assert error.item() == pytest.approx((1.0 - 25.0) - 10 * (0.0 - 0.001))
    free = Units(replace(mapping, clip_prediction=False), (1.0, -10.0))
    assert free.mapping.inverse(free.regression_target(value, target)[0])[0, 0, 0].item() == pytest.approx(40 + 0.1 * (1 - 40))


def test_every_channel_starts_at_one_in_mapdqn():
    """Δ = 0, so that a head that says 0 means 1, in both channels."""
    assert Units(LOGLIN, (1.0, -1.0)).ordinary(torch.zeros(1, 2, 1)).flatten().tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LogLinear(c=-1.0), "c must be positive"),
        (lambda: LogLinear(floor=None), "floor must be positive where shift is 0"),
        (lambda: LogLinear(shift=0.1, delta=0.1), "shift is of the paper's form"),
        (lambda: LogLinear(shift=2.0), "shift must be between 0 and 1"),
        (lambda: SignedRoot(epsilon=0.0), "epsilon must be positive"),
        (lambda: Asinh(scale=0.0), "scale must be positive"),
        (lambda: PerChannel(), "maps must name a mapping"),
        (lambda: Bands(count=0), "count must be at least 1"),
        (lambda: Layers(base=1.0), "base must be above 1"),
        (lambda: Bands(base=0.5), "base must be at least 1"),
        (lambda: Polar(bound=0.0), "bound must be above 0, or null for no bound"),
        (lambda: Ensemble(bound=0.0), "bound must be above 0"),
        (lambda: Ensemble(copies=0), "copies must be at least 1"),
        (lambda: Ensemble(rewards="half"), "rewards must be one of whole, divided"),
    ],
)
def test_wrong_values_are_refused(make, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        make()


def test_maps_without_a_logarithm_take_raw_rewards():
    """One channel of the signed root suffices; its values may be negative, and so may the targets."""
    agent = value_agent(mapping=SignedRoot(clip_bootstrap=True, bound=4.0))
    units = agent.chain.online.head.units
    assert (units.low, units.high) == (-4.0, 4.0)
    value = torch.tensor([[[-3.0]]], dtype=torch.float64)
    mapped_target, error = units.regression_target(units.ordinary(units.mapped(value)), value - 1)
    assert units.ordinary(mapped_target).item() == pytest.approx(-4.0)
    assert error.item() == pytest.approx(-1.0)
    assert wrapped(Scalar(), SignedRoot(), Raw()).offers == {"signed", "scalar"}


@pytest.mark.parametrize(
    "mapping",
    [
        LogLinear(initial=(1.0, 0.0)),
        PerChannel(maps=(LogLinear(), Log(floor=0.01687)), initial=(1.0, 0.0)),
        LogLinear(shift=0.02, floor=0.0, initial=(1.0, 0.0)),
    ],
    ids=["log-linear", "per channel", "paper"],
)
def test_a_start_below_the_floor_is_the_floor(mapping):
    """q₀⁻ = 0: the head says 0 for the least value that is mapped, ½ ln 0.01687; in the paper's form 0 itself has a place, ½ ln 0.02."""
    plus, minus = mapping.offsets((1.0, -1.0)).tolist()
    assert minus == pytest.approx(0.5 * math.log(0.02 if mapping.floor == 0 else 0.01687))
    assert plus == pytest.approx(0.5 * 0.02 if mapping.floor == 0 else 0.0)
    assert wrapped(Scalar(), mapping, Polar()).scales == (1.0, -1.0)
    assert mapping.offsets((1.0, -1.0)).isfinite().all()


@pytest.mark.parametrize("start", [-0.02, -1.0])
def test_a_start_that_has_no_image_is_refused(start):
    """ln(−0.02 + 0.02), and the logarithm of a negative number."""
    mapping = LogLinear(shift=0.02, floor=None, initial=(1.0, start))
    with pytest.raises(ValueError, match=rf"^mapping.initial is \[1.0, {start}\], where LogLinear is infinite or no number"):
        wrapped(Scalar(), mapping, Polar())


# ---- reward channels


@pytest.mark.parametrize(
    ("reward", "bands", "layers"),
    [
        (0.5, (0.5, 0, 0), (0.5, 0, 0)),
        (5.0, (0, 0.5, 0), (1, 0.4444, 0)),
        (37.0, (0, 0, 0.37), (1, 1, 0.3)),
        (250.0, (0, 0, 1), (1, 1, 1)),
    ],
)
def test_worked_examples_of_bands(reward, bands, layers):
    """The table of docs/algorithms/loglin_dqn.md, and its mirror for losses."""
    for rewards, expected in ((Bands(count=3), bands), (Layers(count=3), layers)):
        zeros = [0.0] * 3
        assert rewards(torch.tensor(reward)).tolist() == pytest.approx([*expected, *zeros], abs=1e-4)
        assert rewards(torch.tensor(-reward)).tolist() == pytest.approx([*zeros, *expected], abs=1e-4)


def test_scales():
    assert Polar().scales == (1, -1)
    assert Bands(count=4).scales == (1, 10, 100, 1000, -1, -10, -100, -1000)
    assert Layers(count=4).scales == (1, 9, 90, 900, -1, -9, -90, -900)
    assert Ensemble().scales == (0.5, 0.5, -0.5, -0.5)
    assert [Polar().channels, Bands(count=2).channels, Layers(count=1).channels, Ensemble(copies=3).channels] == [2, 4, 2, 6]


GRID = torch.cat([torch.linspace(-1500, 1500, 3001), torch.linspace(-1.2, 1.2, 241), torch.tensor([0.0, 1.0, 10.0, 100.0, -100.0])])


@pytest.mark.parametrize(
    ("rewards", "cap"),
    [
        (Polar(), 1), (Polar(bound=7.0), 7), (Polar(bound=None), 1e9), (Bands(count=1), 1), (Bands(count=2), 10), (Bands(count=3), 100),
        (Bands(count=4), 1000), (Layers(count=1), 1), (Layers(count=3), 100), (Layers(count=4), 1000), (Bands(count=3, base=4.0), 16),
        (Layers(count=3, base=4.0), 16), (Ensemble(), 1), (Ensemble(copies=3), 1),
    ],
)  # fmt: skip
def test_channels_add_up_to_the_reward(rewards, cap):
    """Σ λ r = clipped r on a grid, all channels at least 0, and at most 1 where cut off."""
    split = rewards(GRID)
    assert split.shape == (rewards.channels, len(GRID))
    assert split.min() >= 0
    assert split.max() <= (1 if cap < 1e9 and cap != 7 else cap)
    total = (torch.tensor(rewards.scales)[:, None] * split).sum(0)
    torch.testing.assert_close(total, GRID.clamp(-cap, cap), rtol=1e-5, atol=1e-5)
    windows = rewards(GRID[:12].reshape(4, 3))  # (B, n)
    assert torch.equal(windows, split[:, :12].reshape(-1, 4, 3))


def test_one_band_is_the_split_by_sign():
    for one in (Bands(count=1), Layers(count=1), Ensemble(copies=1)):
        assert one.scales == Polar().scales
        assert torch.equal(one(GRID), Polar()(GRID))


def test_a_reward_of_nothing_fills_no_channel():
    """The released config_2 gives −1/9 in every inactive channel, which adds up to −11 at r = 0."""
    assert Layers(count=3)(torch.zeros(2)).tolist() == [[0.0, 0.0]] * 6


def test_the_released_ensemble_divides_twice():
    """Half the true value."""
    released = Ensemble(rewards="divided")
    total = (torch.tensor(released.scales)[:, None] * released(GRID)).sum(0)
    torch.testing.assert_close(total, GRID.clamp(-1, 1) / 2)
    assert released(torch.tensor([3.0]))[0].item() == 0.5


# ---- configurations


OPTIONS = ["log", "loglinear", "loglinear_paper", "signed_root", "asinh", "per_channel", "identity"]


@pytest.mark.parametrize("option", OPTIONS)
def test_options_say_every_field_with_its_default(option):
    """A mapping's YAML lists each field; but for keys of the run, its values are those of the class."""
    node = settled("agent=dqn", "env=toy/chain", f"agent/mapping={option}")["agent"]["mapping"]
    mapping = instantiate(node, "agent.mapping")
    assert isinstance(mapping, Mapping)
    default = type(mapping)(**({"maps": mapping.maps} if option == "per_channel" else {}))
    named = {"discount", "n_step", *(("floor", "shift") if option == "loglinear_paper" else ())}
    assert set(vars(default)) - {"needs"} == set(node) - {"_target_"}
    for field, value in vars(default).items():
        if field not in named:
            assert getattr(mapping, field) == value, field
    assert mapping.discount == 0.99


@pytest.mark.parametrize("rewards", ["polar", "bands", "layers", "ensemble"])
@pytest.mark.parametrize("mapping", ["identity", "log", "loglinear_paper", "signed_root"])
def test_every_map_takes_every_split(mapping, rewards):
    survives(settled("agent=dqn", "env=toy/chain", f"agent/mapping={mapping}", f"agent/rewards={rewards}"), spec_of("toy/chain"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("agent=log_dqn", "agent/rewards=raw"), "agent.mapping Log takes no negative values, and agent/rewards=raw has them"),
        (("agent=log_dqn", "discount=1.0"), "agent.mapping.bound must be given where the discount is 1"),
        (("agent=loglin_dqn", "agent.mapping.c=0"), "agent.mapping.c must be positive, not 0"),
        (
            ("agent=dqn", "agent/mapping=per_channel", "agent/rewards=bands"),
            "agent.mapping has 2 maps, and agent/rewards=bands 6 channels: one each",
        ),
    ],
)
def test_misfits_are_refused_by_name(overrides, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        build_agent(settled("env=toy/chain", *overrides), spec_of("toy/chain"))


def test_experiments_say_what_the_papers_say():
    """The authors' configurations."""
    for name in ("log_dqn", "loglin_dqn"):
        config = settled(f"experiment={name}_atari")
        agent, optimizer = config["agent"], config["agent"]["optimizer"]
        assert (config["discount"], config["steps"], config["replay"]["learning_starts"], config["replay"]["ratio"]) == (
            0.96,
            50_000_000,
            20_000,
            0.25,
        )
        assert agent["chain"]["target_update_period"] == 8000
        assert (agent["explore"]["schedule"]["end"], agent["explore"]["schedule"]["duration"]) == (0.01, 250_000)
        assert agent["explore"]["evaluation"] == 0.001
        assert (optimizer["lr"], optimizer["decay"], optimizer["momentum"], optimizer["eps"]) == (0.0025, 0.95, 0.0, 1e-5)
        assert (optimizer["centered"], optimizer["initial"]) == (True, 1.0)
        assert (config["replay"]["capacity"], config["replay"]["batch_size"], config["replay"]["n_step"]) == (1_000_000, 32, 1)
        assert (config["env"]["protocol"]["sticky"], config["env"]["protocol"]["max_episode_steps"]) == (0.25, 27_000)
        assert agent["rewards"] == {"_target_": "deeprl.learning.transforms.channels.Polar", "_partial_": True, "bound": 1.0}
        assert agent["torso"]["padding"] == "same"
        mapping = instantiate(agent["mapping"], "agent.mapping")
        assert (mapping.c, mapping.averaging, mapping.limit) == (0.5, pytest.approx(0.00025 / 0.0025), pytest.approx(25.0))
    assert mapping.floor == 0.01687
    assert not mapping.shared
    log = settled("experiment=log_dqn_atari")["agent"]["mapping"]
    assert (log["k"], log["initial"], log["shared"], log["zero_negative"]) == (100, [1.0, 0.0], True, True)
