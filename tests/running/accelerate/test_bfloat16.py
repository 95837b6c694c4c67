"""`accelerate.matmul_precision=bfloat16`: hidden layers of a loss multiply in bfloat16; everything else is float32."""

from __future__ import annotations

import pytest
import torch

from deeprl.learning.networks.mlp import MLP, standard
from deeprl.running.accelerate.modes import apply, set_products
from deeprl.running.training.learner import CompiledLearner, Learner, gradient
from deeprl.types import Spec
from tests.builders import flat, made_up, settled, traced_gradient
from tests.presets import presets
from tests.promises.test_resume import PENDULUM
from tests.promises.test_resume_options import SMALL, interrupted
from tests.running.accelerate.test_compile import BACKENDS, COMPARABLE, build, given, needs_compiler

IMAGES = Spec((4, 10, 10), torch.uint8, 6, 0)


def apart(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def test_float32_is_the_default_bit_for_bit():
    agent = build("dqn", IMAGES)
    batch = made_up(agent, IMAGES)
    assert agent.products == torch.float32
    assert torch.equal(agent.loss_of("value", batch).loss, agent.objectives["value"].loss(batch).loss)


@pytest.mark.parametrize("name", presets())
def test_gradients_are_within_the_rounding_of_bfloat16(name):
    """Eight bits a factor: a percent of a gradient, or ten of deep networks; and another gradient, which shows that the word arrives."""
    plain, lower = (build(name, None, *COMPARABLE.get(name, ())) for _ in range(2))
    set_products(lower, "bfloat16")
    batch = made_up(plain, plain.spec, size=64)
    for objective in plain.objectives:
        (expected, exact), (found, learned) = gradient(plain, objective, batch), gradient(lower, objective, batch)
        assert 0 < apart(flat(found), flat(expected)) < 0.2
        torch.testing.assert_close(learned.error, exact.error, rtol=0.1, atol=0.1 * float(exact.error.abs().max()))
        assert {tensor.dtype for tensor in found} == {torch.float32}
        kinds = {tensor.dtype for tensor in [learned.error, *learned.metrics.values(), *learned.statistics.values()]}
        assert torch.bfloat16 not in kinds


def test_layer_normalisation_stays_in_float32():
    """As under CUDA's autocast, which a processor stands for in crash bundles."""
    with torch.autocast("cpu", torch.bfloat16):
        assert standard(torch.randn(2, 4).to(torch.bfloat16)).dtype == torch.float32


@pytest.mark.parametrize(("name", "spec"), [("dqn", IMAGES), ("iqn", None), ("sac", None)], ids=["images", "iqn", "sac"])
def test_the_traced_update_rounds_as_the_plain_one(name, spec):
    agent = build(name, spec)
    set_products(agent, "bfloat16")
    batch = made_up(agent, agent.spec, size=16)
    for objective in agent.objectives:
        expected, _ = gradient(agent, objective, batch)
        set_products(agent, "highest")
        exact, _ = gradient(agent, objective, batch)
        set_products(agent, "bfloat16")
        found, _ = traced_gradient(agent, objective, batch)
        assert apart(flat(found), flat(expected)) < 0.2 * apart(flat(exact), flat(expected))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_compiled_update_keeps_weights_and_averages_in_float32(backend):
    plain, lower = build("double_dqn"), build("double_dqn")
    apply(lower, "compiled")
    set_products(lower, "bfloat16")
    learners = Learner(plain, given), CompiledLearner(lower, given, backend=backend)
    for seed in range(3):
        batch = made_up(plain, plain.spec, size=16, seed=seed)
        for learner in learners:
            learner.update(batch)
    state, optimizer = lower.state()["module"], lower.objectives["value"].optimizer
    assert torch.bfloat16 not in {tensor.dtype for tensor in [*state.values(), *optimizer.tensors()]}
    start = build("double_dqn").state_dict()
    moved, other = (torch.cat([(agent.state_dict()[name] - start[name]).flatten() for name in start]) for agent in (lower, plain))
    assert apart(moved, other) < 0.2


def test_weights_that_a_target_converts_first_have_a_gradient():
    """Double evaluates the online network without a gradient before the loss evaluates it with one. A cache of converted weights, which
    is torch's default, would lose the gradient of every hidden layer."""
    agent = build("double_dqn")
    set_products(agent, "bfloat16")
    found, _ = gradient(agent, "value", made_up(agent, agent.spec, size=16))
    assert all(each.abs().sum() > 0 for each in found)


def test_an_output_is_float32():
    """300.7 lies between two numbers of bfloat16, 300 and 302; a hidden layer rounds to one of them."""
    for last in (True, False):
        layers = MLP(1, [1, 1, 2], activate_last=last)
        layers.bias_1.data.fill_(300.7)
        with torch.autocast("cpu", torch.bfloat16):
            outputs = layers(torch.zeros(1, 1))
        assert outputs.dtype == (torch.bfloat16 if last else torch.float32)
        assert outputs.flatten().tolist() == ([300.0] * 2 if last else [torch.tensor(300.7).item()] * 2)


@pytest.mark.parametrize("mode", ["fast", pytest.param("compiled", marks=[needs_compiler, pytest.mark.exhaustive])])
def test_a_run_is_resumed_exactly(mode, tmp_path, monkeypatch):
    words = ("agent=td3", *PENDULUM, "agent.actor_torso.hidden=[8]", "agent.torso.hidden=[8]", "replay.batch_size=8")
    interrupted((*words, *SMALL, f"accelerate={mode}", "accelerate.matmul_precision=bfloat16"), tmp_path, monkeypatch)


def test_the_word_stands_in_every_mode_and_auto_is_the_default():
    for mode in ("auto", "reference", "fast", "compiled"):
        assert settled("agent=dqn", f"accelerate={mode}")["accelerate"]["matmul_precision"] == "auto"
