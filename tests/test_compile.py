"""Every objective of every agent traces as one graph. Tracing needs no compiler: the backend "eager" runs the graph as it is."""

from __future__ import annotations

import pytest
import torch
from conftest import KINDS, flat, made_up, settled, spec_of

from deeprl.accelerate import CompiledGradient, apply, choose, has_compiler
from deeprl.build import build_agent
from deeprl.types import Spec

IMAGES = Spec((4, 10, 10), torch.uint8, 6, 0)
TOYS = {"discrete": "toy/chain", "continuous": "classic/pendulum"}


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def build(name: str, spec: Spec | None = None, *overrides: str):
    env = TOYS[KINDS[name]]
    agent = build_agent(settled(f"agent={name}", f"env={env}", *overrides), spec or spec_of(env))
    apply(agent, "reference")
    return agent


AUXILIARY = ("agent/auxiliary=self_prediction",)  # its optimizer has several groups, hence several flat gradients


@pytest.mark.parametrize(
    ("name", "spec", "overrides"),
    [*((name, None, ()) for name in KINDS), ("idqn", IMAGES, ()), ("dqn", None, AUXILIARY)],
    ids=[*KINDS, "idqn on images", "groups of parameters"],
)
def test_every_objective_traces_as_one_graph(name, spec, overrides):
    agent = build(name, spec, *overrides)
    batch = made_up(agent, agent.spec)
    compiled = CompiledGradient(agent, backend="eager")
    for objective in agent.objectives:
        found, learned = compiled(agent, objective, batch)
        expected, plain = agent.gradient(agent, objective, batch)
        torch.testing.assert_close(flat(found), flat(expected))
        torch.testing.assert_close(learned.error, plain.error)
        assert learned.metrics.keys() == plain.metrics.keys()


@pytest.mark.parametrize("name", ["idqn", "td3"])
def test_a_traced_gradient_is_traced_once_and_follows_its_targets(name):
    """Weights, targets and statistics move under it: they are read anew, and nothing is traced again."""
    clocks = ("agent.chain.shift_period=4", "agent.chain.sync_period=2") if name == "idqn" else ()
    plain, traced = (build(name, None, "agent/normalize=running", *clocks) for _ in range(2))
    traced.gradient = CompiledGradient(traced, backend="eager")
    for step in range(1, 10):
        batch = made_up(plain, plain.spec, seed=step)
        for agent in (plain, traced):
            with torch._dynamo.config.patch(error_on_recompile=True):
                agent.update(batch)
            agent.maintain(step - 1, step)
            agent.normalize.shift += 0.01
    torch.testing.assert_close(traced.state_dict(), plain.state_dict())
    start = build(name).chain.target.state_dict()
    assert not all(torch.equal(start[key], value) for key, value in plain.chain.target.state_dict().items())


def test_a_loss_that_asks_its_data_does_not_trace():
    """What the tests above are there to find."""
    agent = build("dqn")
    plain = agent.backup

    def asks(online, target, batch):
        if batch.reward.sum() > 0:
            return plain(online, target, batch)
        return plain(online, target, batch).plus(torch.ones(()))

    agent.backup = asks
    with pytest.raises(torch._dynamo.exc.Unsupported, match="(?i)data-dependent"):
        CompiledGradient(agent, backend="eager")(agent, "value", made_up(agent, agent.spec))


# ---- which mode, and what if it does not work


@pytest.mark.parametrize(
    ("updates", "device", "compiler", "shape", "mode"),
    [
        (199_999, "cpu", True, (17,), "fast"),
        (200_000, "cpu", True, (17,), "compiled"),
        (200_000, "cpu", False, (17,), "fast"),
        (200_000, "cpu", True, (4, 10, 10), "compiled"),
        (200_000, "cpu", True, (4, 84, 84), "fast"),
        (1e9, "cuda:0", True, (17,), "reference"),
    ],
)
def test_auto_compiles_where_it_pays(updates, device, compiler, shape, mode):
    assert choose(updates, device, compiler, shape) == mode


def test_a_gradient_that_does_not_compile_is_computed_without_a_compiler(monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("no such header")

    monkeypatch.setattr("deeprl.accelerate.compile_gradient", broken)
    agent, oracle, told = build("dqn"), build("dqn"), []
    batch = made_up(agent, agent.spec)
    agent.gradient = CompiledGradient(agent, failed=told.append)
    oracle.update(batch)
    agent.update(batch)
    assert [str(error) for error in told] == ["no such header"]
    assert all(torch.equal(a, b) for a, b in zip(agent.parameters(), oracle.parameters()))
    agent.update(batch)
    assert len(told) == 1


# ---- parity: twenty updates of every preset in every mode


def after_twenty(name: str, mode: str, backend: str) -> tuple[torch.Tensor, torch.Tensor]:
    """All parameters before and after, one vector each."""
    agent = build(name)
    apply(agent, mode)
    if mode == "compiled":
        agent.gradient = CompiledGradient(agent, backend)
    before = torch.cat([p.flatten() for p in agent.parameters()]).clone()
    for step in range(1, 21):
        agent.update(made_up(agent, agent.spec, size=7, seed=step))
        agent.maintain(step - 1, step)
    return before, torch.cat([p.flatten() for p in agent.parameters()])


def deviation(name: str, mode: str, backend: str = "eager") -> float:
    """Of the parameters after twenty updates from those of the oracle, relative to how far these moved."""
    start, oracle = after_twenty(name, "reference", backend)
    same_start, found = after_twenty(name, mode, backend)
    assert torch.equal(start, same_start)
    assert (oracle - start).norm() > 0
    return float((found - oracle).norm() / (oracle - start).norm())


@pytest.mark.parametrize("mode", ["fast", "compiled"])
@pytest.mark.parametrize("name", KINDS)
def test_parity_after_twenty_updates(name, mode):
    assert deviation(name, mode) < 1e-5


@pytest.mark.skipif(not has_compiler(), reason="no C++ compiler")
@pytest.mark.parametrize("name", ["idqn", "td3"])
def test_parity_of_compiled_code(name):
    """The other presets: `python -m benchmarks.parity`."""
    assert deviation(name, "compiled", "inductor") < 1e-5
