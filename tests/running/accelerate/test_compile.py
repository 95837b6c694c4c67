"""Every objective of every agent traces as one graph, whose updates are the plain ones. Tracing needs no compiler: the backend "eager" runs
the graph as it is."""

from __future__ import annotations

import copy
import re
import shutil
from functools import partial
from graphlib import CycleError

import pytest
import torch

from deeprl.errors import ConfigError, NotFinite
from deeprl.learning.networks.convolutions import ImageBlock
from deeprl.learning.networks.torsos import MinAtarTorso
from deeprl.learning.optim.adam import Adam
from deeprl.replay.replay import Replay
from deeprl.running.accelerate import graph as compiling
from deeprl.running.accelerate.graph import TensorLayout, has_compiler, interpreted, traced
from deeprl.running.accelerate.modes import WORTH_COMPILING, apply, choose
from deeprl.running.accelerate.pure import Constants
from deeprl.running.config.build import build_agent
from deeprl.running.runs.folder import RunFolder
from deeprl.running.session.computation import go_on_without_compiler
from deeprl.running.session.needs import require_compiler
from deeprl.running.training import crash
from deeprl.running.training.learner import CompiledLearner, Learner, gradient
from deeprl.types import QUIET, Spec
from tests.builders import (
    actor_critic,
    assert_close32,
    console,
    entry,
    flat,
    made_up,
    settled,
    spec_of,
    traced_gradient,
    train,
    update,
    value_agent,
)
from tests.corridor import CORRIDOR
from tests.presets import KINDS, narrow, presets

IMAGES = Spec((4, 10, 10), torch.uint8, 6, 0)
MASKED = Spec((7,), torch.float32, 2, 0, masked=True)
TOYS = {"discrete": "toy/chain", "continuous": "classic/pendulum"}


def build(name: str, spec: Spec | None = None, *overrides: str):
    env = TOYS[KINDS[name]]
    agent = build_agent(settled(f"agent={name}", f"env={env}", *overrides), spec or spec_of(env))
    apply(agent, "reference")
    return agent


AUXILIARY = ("agent/auxiliary=self_prediction",)  # its optimizer has several groups, hence several flat gradients


FURTHER = {
    "idqn on images": ("idqn", IMAGES, ()),
    "groups of parameters": ("dqn", None, AUXILIARY),
    "bottleneck of sequences": ("c51", None, ("agent/backup=bottleneck",)),
    "masked rbis_dqn": ("rbis_dqn", MASKED, ()),
    "masked munchausen_iqn": ("munchausen_iqn", MASKED, ()),
    "masked log_dqn": ("log_dqn", MASKED, ()),
}


@pytest.mark.parametrize("case", [pytest.param(name, marks=pytest.mark.exhaustive if "log" in name else ()) for name in FURTHER])
def test_objectives_trace_on_images_with_groups_of_parameters_and_with_masks(case):
    name, spec, overrides = FURTHER[case]
    traces(build(name, spec, *overrides))


def traces(agent) -> None:
    batch = made_up(agent, agent.spec)
    for objective in agent.objectives:
        found, learned = traced_gradient(agent, objective, batch)
        expected, plain = gradient(agent, objective, batch)
        assert_close32(flat(found), flat(expected))
        torch.testing.assert_close(learned.error, plain.error)
        assert learned.metrics.keys() == plain.metrics.keys()


def given(batch):
    """For learners that are asked with batches."""
    return batch


@pytest.mark.parametrize("name", ["idqn", "td3"])
def test_a_traced_gradient_is_traced_once_and_follows_its_targets(name):
    """Weights, targets and statistics move under it: they are read anew, and nothing is traced again."""
    clocks = ("agent.chain.shift_period=4", "agent.chain.sync_period=2") if name == "idqn" else ()
    plain, traced = (build(name, None, "agent/normalize=running", *clocks) for _ in range(2))
    learners = Learner(plain, given), CompiledLearner(traced, given, backend="eager")
    for step in range(1, 10):
        batch = made_up(plain, plain.spec, seed=step)
        for learner in learners:
            learner.update(batch)
            learner.agent.tick(step - 1, step)
            learner.agent.normalize.shift += 0.01
    assert [len(each) for each in learners[1].steps.values()] == [1] * len(traced.objectives)
    torch.testing.assert_close(traced.state_dict(), plain.state_dict())
    start = build(name).chain.target.state_dict()
    assert not all(torch.equal(start[key], value) for key, value in plain.chain.target.state_dict().items())


def test_a_loss_that_asks_its_data_does_not_trace():
    """What the tests above are there to find."""
    from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

    agent = build("dqn")
    plain = agent.backup

    def asks(online, target, batch):
        if batch.reward.sum() > 0:
            return plain(online, target, batch)
        return plain(online, target, batch).plus(torch.ones(()))

    agent.backup = asks
    with pytest.raises(GuardOnDataDependentSymNode, match="(?i)data-dependent"):
        traced_gradient(agent, "value", made_up(agent, agent.spec))


needs_compiler = pytest.mark.skipif(not has_compiler(), reason="no C++ compiler")
exhaustive = pytest.mark.exhaustive
"""Of compiled code, seconds for each function: what the graph that the compiler gets proves already."""
BACKENDS = ["eager", pytest.param("inductor", marks=[needs_compiler, exhaustive])]


@pytest.mark.parametrize(
    ("name", "backend"),
    [("dqn", "eager"), ("td3", "eager"), ("log_dqn", "eager"), pytest.param("log_dqn", "inductor", marks=[needs_compiler, exhaustive])],
)
def test_a_step_that_is_not_finite_changes_nothing(name, backend):
    """Neither weights nor averages, for Adam and for RMSProp; what is not finite is named as elsewhere, and learning may go on."""
    agent, batch = build(name), made_up(build(name), build(name).spec)
    learner = CompiledLearner(agent, given, backend=backend)
    learner.update(batch)
    before = copy.deepcopy(agent.state())
    with pytest.raises(NotFinite, match="its error"):
        learner.update(batch._replace(reward=batch.reward * torch.nan))
    after = agent.state()
    assert after["updates"] == before.pop("updates") + 1
    assert same(after["module"], before["module"])
    assert same(after["optimizers"], before["optimizers"])
    learner.update(batch)
    assert not same(agent.state()["module"], before["module"])


def same(one, other) -> bool:
    """Nested dictionaries of tensors, bit for bit."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return torch.equal(one, other)


def test_a_compiled_run_goes_on_from_a_checkpoint_of_one_that_was_not():
    """The number of steps, which Adam's sizes depend on, is in both."""
    plain, compiled = build("dqn"), build("dqn")
    learner = CompiledLearner(compiled, given, backend="eager")
    batches = [made_up(plain, plain.spec, seed=seed) for seed in range(4)]
    for batch in batches[:2]:
        update(plain, batch)
    compiled.load_state(copy.deepcopy(plain.state()))
    start = torch.cat([p.flatten() for p in plain.parameters()])
    for batch in batches[2:]:
        update(plain, batch)
        learner.update(batch)
    found, expected = (torch.cat([p.flatten() for p in agent.parameters()]) for agent in (compiled, plain))
    # where two steps of Adam round differently follows from the distance they go, not from the weights
    assert (found - expected).norm() <= 1e-5 * (expected - start).norm()
    assert compiled.state()["optimizers"]["value"]["count"] == plain.state()["optimizers"]["value"]["count"] == 4


@pytest.mark.parametrize("backend", ["eager", pytest.param("inductor", marks=needs_compiler)])
def test_inputs_that_are_copied_into_one_another_are_read_before_they_are_written(backend):
    """As in a queue of three, whose views and copies inductor leaves out; functionalized writes are in the order of the arguments."""

    def moved(new, first, second, third):
        third.copy_(second.clone())
        second.copy_(first.view(2, 1).view(2))
        first.copy_(new + 1)
        return [third * 2]

    tensors = [torch.tensor([float(n), n + 0.5]) for n in range(1, 5)]
    graph, wanted = traced(moved, tuple(tensors))
    assert wanted == [True] * 4
    (doubled,) = compiling.BACKENDS[backend](graph, tensors, [True] * 4)(list(tensors))
    assert [each.tolist() for each in (*tensors, doubled)] == [[1, 1.5], [2, 2.5], [2, 2.5], [3, 3.5], [6, 7]]


def test_inputs_that_are_exchanged_are_not_compiled():
    def exchanged(one, other):
        kept = one.clone()
        one.copy_(other)
        other.copy_(kept)
        return []

    with pytest.raises(CycleError):
        traced(exchanged, (torch.zeros(2), torch.ones(2)))


@pytest.mark.parametrize("backend", BACKENDS)
def test_another_layout_of_batches_is_another_compiled_step(backend):
    """Strides are taken for granted in compiled code: a transposed view must not be read as if it lay in order."""
    agent, plain = build("dqn"), build("dqn")
    learner = CompiledLearner(agent, given, backend=backend)
    batch = made_up(agent, agent.spec)
    across = batch._replace(obs=batch.obs.t().contiguous().t())
    for each in (batch, across, batch):
        learner.update(each)
        update(plain, batch)
    assert len(learner.steps["value"]) == 2
    torch.testing.assert_close(agent.state()["module"], plain.state()["module"])


# ---- which mode, and what if it does not work


@pytest.mark.parametrize(
    ("updates", "device", "obstacle", "ticks", "mode", "why"),
    [
        (WORTH_COMPILING - 1, "cpu", "", 0, "fast", "49,999 updates are planned, and compiling pays from 50,000 on"),
        (WORTH_COMPILING, "cpu", "", 0, "compiled", "50,000 updates are planned, at least 50,000"),
        (WORTH_COMPILING, "cpu", "there is no C++ compiler", 0, "fast", "there is no C++ compiler"),
        (1e9, "cuda:0", "", 1 << 40, "reference", "the device is cuda:0"),
        (5_000, "cpu", "", 10_000, "compiled", "15,000 ticks on the device and updates are planned, at least 15,000"),
        (5_000, "cpu", "", 9_999, "fast", "14,999 ticks on the device and updates are planned, and compiling pays from 15,000 on"),
    ],
)
def test_auto_compiles_where_it_pays(updates, device, obstacle, ticks, mode, why):
    chosen, told = choose(updates, device, obstacle, ticks)
    assert chosen == mode
    assert why in told


def break_inductor(monkeypatch) -> None:
    def broken(*_, **__):
        raise RuntimeError("no such header")

    for way in ("deeprl.running.accelerate.graph.lowered", "torch._inductor.compile"):
        monkeypatch.setattr(way, broken)


def test_code_that_gives_other_numbers_is_not_used(monkeypatch):
    """As that of torch 2.13 did where one input was copied into another. The trial changes nothing."""
    monkeypatch.setattr(
        compiling, "lowered", lambda graph: lambda values: graph(*[each + 0.5 if each.is_floating_point() else each for each in values])
    )
    agent, oracle, told = build("dqn"), build("dqn"), []
    batch = made_up(agent, agent.spec)
    learner = CompiledLearner(agent, given, failed=told.append)
    update(oracle, batch)
    learner.update(batch)
    assert [str(error).partition(": the")[0] for error in told] == ["accelerate=compiled"]
    assert all(torch.equal(a, b) for a, b in zip(agent.parameters(), oracle.parameters()))


@pytest.mark.parametrize(
    ("off", "wrong"), [(0.0, False), (1e-3, False), (0.1, True), (torch.tensor([[0.1], [0.0], [0.0]]), False), (torch.nan, True)]
)
def test_rounding_and_single_rows_are_no_disagreement(off, wrong):
    expected = torch.tensor([[1.0, -2.0], [0.5, 0.0], [0.0, 1.0]])
    assert compiling.disagree(expected, expected + off) == wrong
    assert not compiling.disagree(expected * torch.nan, expected * torch.nan)
    assert not compiling.disagree(torch.full((2, 1, 3), 1e-8), torch.full((2, 1, 3), 2e-6))  # means that are 0: XQC on Humanoid stopped
    assert compiling.disagree(torch.tensor([1, 2, 3]), torch.tensor([1, 3, 4]))
    assert not compiling.disagree(torch.tensor([True, False, True]), torch.tensor([True, True, True]))


def test_a_gradient_that_does_not_compile_is_computed_without_a_compiler(monkeypatch):
    break_inductor(monkeypatch)
    agent, oracle, told = build("dqn"), build("dqn"), []
    batch = made_up(agent, agent.spec)
    learner = CompiledLearner(agent, given, failed=told.append)
    update(oracle, batch)
    learner.update(batch)
    assert [str(error) for error in told] == ["no such header"]
    assert all(torch.equal(a, b) for a, b in zip(agent.parameters(), oracle.parameters()))
    learner.update(batch)
    assert len(told) == 1


# ---- parity: ten updates of every preset in every mode


COMPARABLE = {
    # not 512 units, two blocks and 100 quantiles, which take seconds
    "bro": ("agent.torso.width=16", "agent.torso.blocks=1", "agent.actor_torso.width=16", "agent.head.quantiles=8"),
    # batch normalisation after a ReLU that is always on makes the gradient of the bias before it zero but for rounding, whose sign is
    # Adam's first step with a small ε; and of wide layers over seven rows the gradient's norm rounds in its fourth digit
    "crossq": ("agent.torso.hidden=[16]", "agent.actor_torso.hidden=[16]", "agent.optimizer.eps=0.001", "agent.actor_optimizer.eps=0.001"),
    # of its 2,560 units of a critic one may have an input so near zero that rounding decides, and then all rows of the batch differ
    "flash_sac": ("agent.torso.width=16", "agent.torso.blocks=1", "agent.actor_torso.width=16", "agent.actor_torso.blocks=1"),
    "simba": ("agent.torso.width=16", "agent.actor_torso.width=16"),
    # the norm after the first layer takes away what the shift before it adds, so that the shift's gradient is rounding too
    "xqc": ("agent.torso.hidden=[16]", "agent.actor_torso.hidden=[16]", "agent.optimizer.eps=0.001", "agent.actor_optimizer.eps=0.001"),
}
"""Settings with which modes can be compared"""


def after_ten(name: str, backend: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """All parameters as one vector: at the start, after ten plain updates, and after ten in compiled code. What the first update
    tells is the same."""
    plain, compiled = (build(name, None, *COMPARABLE.get(name, ())) for _ in range(2))
    apply(compiled, "compiled")
    start = flat(plain.parameters()).clone()
    assert torch.equal(start, flat(compiled.parameters()))
    learners = Learner(plain, given), CompiledLearner(compiled, given, backend=backend)
    for step in range(1, 11):
        batch = made_up(plain, plain.spec, size=7, seed=step)
        expected, found = (learner.update(batch) for learner in learners)
        if step == 1:
            torch.testing.assert_close(found.error, expected.error)
            torch.testing.assert_close(found.metrics, expected.metrics, rtol=1e-4, atol=1e-5)
        for agent in (plain, compiled):
            agent.tick(step - 1, step)
    assert not torch.equal(flat(plain.parameters()), start)
    return start, flat(plain.parameters()), flat(compiled.parameters())


def deviation(name: str, backend: str = "eager") -> float:
    """Of the parameters in compiled code from those of the oracle, relative to how far these moved."""
    start, oracle, found = after_ten(name, backend)
    return float((found - oracle).norm() / (oracle - start).norm())


@pytest.mark.parametrize("name", presets())
def test_parity_after_ten_updates(name):
    assert deviation(name) < 1e-5


@pytest.mark.parametrize(
    "make",
    [
        partial(value_agent, IMAGES, torso=MinAtarTorso(channels=4, head_hidden=(8,))),
        partial(actor_critic, IMAGES._replace(num_actions=0, action_dim=2)),
    ],
)
def test_parity_of_fast_image_blocks(make):
    """`fast` is another form of image blocks alone, channels last."""
    agents = [make(optimizer=Adam(lr=0.01, eps=1e-3)) for _ in range(2)]
    start = torch.cat([p.flatten() for p in agents[0].parameters()]).clone()
    for agent, mode in zip(agents, ("reference", "fast")):
        apply(agent, mode)
        assert {m.channels_last for m in agent.modules() if isinstance(m, ImageBlock)} == {mode == "fast"}
        for step in range(1, 21):
            Learner(agent, given).update(made_up(agent, agent.spec, size=7, seed=step))
            agent.tick(step - 1, step)
    oracle, found = (torch.cat([p.flatten() for p in agent.parameters()]) for agent in agents)
    assert (found - oracle).norm() < 1e-5 * (oracle - start).norm()


@needs_compiler
@pytest.mark.parametrize(
    ("name", "closed"),
    [pytest.param("idqn", "documented", marks=exhaustive), ("dqn", "lowered"), pytest.param("td3", "lowered", marks=exhaustive)],
)
def test_parity_of_compiled_code(name, closed, monkeypatch):
    """Each door to the compiler without the other; runs go through the first one. The other presets: `python -m benchmarks.parity`."""

    def shut(*_, **__):
        raise RuntimeError("not this way")

    monkeypatch.setattr(f"deeprl.running.accelerate.graph.{closed}", shut)
    assert deviation(name, "inductor") < 1e-5


@needs_compiler
@exhaustive
def test_parity_of_a_compiled_implicit_head_but_for_single_units():
    """Its embedding makes 256 ReLU decisions for each of 7 samples and 64 fractions. One whose input is within rounding of zero may come
    out differently, and then the weights of that unit are further apart than rounding: of all weights few, and the rest not."""
    start, oracle, found = after_ten("iqn", "inductor")
    off = (found - oracle).abs() > 1e-6
    assert off.float().mean() < 0.01
    assert (found - oracle)[~off].norm() < 1e-5 * (oracle - start).norm()


CONTINUOUS = ("env=classic/pendulum", "env.max_episode_steps=20", "agent.optimizer.eps=0.001", "agent.actor_optimizer.eps=0.001")
"""A large ε, because with 1e-8 Adam's first step is the sign of a gradient, which rounding may change where it is nearly zero"""
RUNS = {
    "dqn": ("agent=dqn",),
    "prioritized": ("agent=idqn", "replay.n_step=3", "replay=prioritized"),
    "td3": ("agent=td3", *CONTINUOUS),
    "isac": ("agent=isac", "agent/head=quantile", *CONTINUOUS),
    "weighted critics": (
        "agent=td3",
        "agent/chain=single",
        "agent.chain.target_update_period=30",
        "agent/weighting=inverse_variance",
        "agent/auxiliary=random_rewards",
        "replay.n_step=3",
        *CONTINUOUS,
    ),
    "retrace": ("agent=retrace_dqn",),
    "bottleneck": ("agent=c51", "agent/backup=bottleneck"),
    "groups": ("agent=dqn", "agent/rewards=clip", "agent/auxiliary=self_prediction", "replay.n_step=2"),
    "scaled rewards": ("agent=dqn", "agent/rewards=scaled"),
    "masks": ("agent=munchausen_dqn", *CORRIDOR),
}
SETTINGS = ("steps=220", "replay.learning_starts=200", "replay.ratio=1", "replay.capacity=150", "replay.batch_size=7",
    "evaluation.every=null",
            "evaluation.final_episodes=1", "checkpoint.every=null", "runtime.threads=1")  # fmt: skip


REPEATED = ("dqn", "scaled rewards", "isac", "weighted critics", "bottleneck")
"""Runs of parts that are in the others, as far as the graph of a run sees them. Their losses are compared with the plain ones above and in
tests/agents/test_critic_slots.py."""


@pytest.mark.parametrize(
    ("run", "backend"),
    [
        *(pytest.param(run, "eager", marks=exhaustive if run in REPEATED else ()) for run in RUNS),
        pytest.param("dqn", "inductor", marks=needs_compiler),
        pytest.param("groups", "inductor", marks=[needs_compiler, exhaustive]),
    ],
)
def test_a_run_with_compiled_steps_is_the_run_without(run, backend, tmp_path, monkeypatch):
    """From what the replay draws: folding, rewards, priorities and statistics are inside of the graph or outside, and the same."""
    monkeypatch.setattr("deeprl.running.session.computation.CompiledLearner", partial(CompiledLearner, backend=backend))
    monkeypatch.setattr("deeprl.running.session.computation.has_compiler", lambda: True)
    overrides, weights = (*SETTINGS, *narrow(RUNS[run][0].removeprefix("agent=")), *RUNS[run]), []
    for mode in ("reference", "compiled"):
        trainer = train(tmp_path / mode, *overrides, f"accelerate={mode}")
        assert isinstance(trainer.guard.learner, CompiledLearner) == (mode == "compiled")
        weights.append(flat(trainer.agent.parameters()))
    start = flat(build_agent(settled(*overrides), trainer.agent.spec).parameters())
    assert (weights[0] - start).norm() > 0
    assert (weights[0] - weights[1]).norm() < 1e-4 * (weights[0] - start).norm()


def test_a_run_that_goes_on_where_there_is_no_compiler(monkeypatch, capfd):
    config = settled("agent=dqn", "env=toy/chain", "accelerate=compiled")
    monkeypatch.setattr("deeprl.running.session.needs.has_compiler", lambda: False)
    go_on_without_compiler(config, resumed=False)
    with pytest.raises(ConfigError, match="needs a C\\+\\+ compiler"):
        require_compiler(config)
    go_on_without_compiler(config, resumed=True)
    assert config["accelerate"]["mode"] == "fast"
    assert "this run goes on with accelerate=fast" in capfd.readouterr().err


def test_a_job_that_is_queued_again_on_a_machine_without_a_compiler_goes_on(finished, tmp_path, monkeypatch, capfd):
    path = shutil.copytree(finished, tmp_path / "run")
    text = (path / "config.yaml").read_text()
    (path / "config.yaml").write_text(re.sub(r"(accelerate:\n(?:  .*\n)*?  mode: )\w+", r"\1compiled", text))
    assert RunFolder(path).read_config()["accelerate"]["mode"] == "compiled"
    monkeypatch.setattr("deeprl.running.session.needs.has_compiler", lambda: False)
    assert console("resume", path, "steps=320") == 0
    assert "this run goes on with accelerate=fast" in capfd.readouterr().err
    assert RunFolder(path).read_config()["accelerate"]["mode"] == "fast"


def test_a_compiled_run_that_diverges_saves_the_batch_that_it_was_given(tmp_path, monkeypatch):
    """The suspect is what the replay drew, and the bundle holds the batch made of it."""
    plain, count = Replay.draw, [0]

    def draw(self, *given):
        drawn = plain(self, *given)
        count[0] += 1
        if count[0] == 5:
            drawn.stored["rows"][:, self.layout.reward] = torch.nan
        return drawn

    monkeypatch.setattr(Replay, "draw", draw)
    monkeypatch.setattr("deeprl.running.session.computation.CompiledLearner", partial(CompiledLearner, backend="eager"))
    with pytest.raises(NotFinite, match="batch.reward: 7 of 7 entries are not finite"):
        train(tmp_path / "run", *SETTINGS, "agent=dqn", "accelerate=compiled")
    (bundle,) = (tmp_path / "run" / "crash").iterdir()
    assert crash.read(bundle)[2].reward.isnan().all()


def test_a_compiler_that_a_signal_has_ended_is_started_again(monkeypatch):
    tries = []

    def interrupted(graph):
        tries.append(graph)
        if len(tries) == 1:
            graph.graph.erase_node(next(node for node in reversed(graph.graph.nodes) if node.op == "output"))
            raise RuntimeError("g++ died")
        return interpreted(graph, [], [])

    monkeypatch.setattr("deeprl.running.accelerate.graph.lowered", interrupted)
    agent, told = build("dqn"), []
    learner = CompiledLearner(agent, given, failed=told.append)
    learner.update(made_up(agent, agent.spec))
    assert len(tries) == 2
    assert not told
    assert not learner.broken


def test_the_tanh_of_rollouts_on_the_device_is_4e7_away_at_most():
    x = torch.cat([torch.linspace(-12, 12, 200_001), torch.logspace(-30, 0, 1000)])
    found, exact = compiling.rational_tanh(x), x.double().tanh()
    assert (found - exact).abs().max() < 4e-7
    assert ((found - exact) / exact).nan_to_num().abs().max() < 4e-7
    assert found.abs().max() <= 1
    assert compiling.rational_tanh(torch.tensor([0.0, torch.nan])).isnan().tolist() == [False, True]
    assert compiling.rational_tanh(x.double()) is NotImplemented


@pytest.mark.parametrize("columns", [2, 3, 7])
@pytest.mark.parametrize("rows", [32, 512])
def test_the_product_of_a_stack_of_one_has_its_bits(rows, columns):
    x, weight, gradient = torch.randn(1, rows, 64), torch.randn(1, 64, columns), torch.randn(1, rows, columns)
    for pair in ((x, weight), (gradient, weight.mT), (x.mT, gradient)):
        assert compiling.unstacked(*pair).equal(torch.bmm(*pair))


def test_other_products_stay_as_they_are():
    pair = torch.ones(1, 4, 2), torch.ones(1, 2, 3)
    stacked, single = [torch.cat([each, each]) for each in pair], (pair[0][:, :1], pair[1])
    for others in (stacked, single, [each.bfloat16() for each in pair], [each.to("meta") for each in pair]):
        assert compiling.unstacked(*others) is NotImplemented


def test_the_doors_of_torch_that_compiling_goes_through():
    """Neither is promised to stay by torch."""
    from torch._inductor import compile
    from torch.fx.experimental.proxy_tensor import make_fx

    assert callable(compile)
    assert callable(make_fx)


def test_parameters_that_lie_together_are_one_argument():
    """Of six numbers in memory the module has two views, in any order; what is alone, strided or a buffer stays apart."""
    numbers = torch.arange(6.0)
    module = torch.nn.Module()
    module.late = torch.nn.Parameter(numbers[4:6], requires_grad=False)
    module.early = torch.nn.Parameter(numbers[1:4].view(3, 1), requires_grad=False)
    module.strided = torch.nn.Parameter(torch.ones(2, 3).t(), requires_grad=False)
    module.alone = torch.nn.Parameter(torch.ones(2), requires_grad=False)
    module.register_buffer("counted", numbers[:2])
    constants = Constants(module)
    assert [flat.tolist() for flat in constants.flats()] == [[1, 2, 3, 4, 5]]
    assert set(constants.loose()) == {"strided", "alone", "counted"}
    numbers.mul_(2)
    found = constants.named(constants.flats(), {})
    assert {name: value.tolist() for name, value in found.items()} == {"late": [8, 10], "early": [[2], [4], [6]]}


def test_a_layout_is_of_shapes_strides_and_types():
    x, n = torch.ones(2, 3), torch.arange(2)
    layout = TensorLayout([x, n])
    assert layout.of([x, n])
    assert layout.of([x.clone(), n])
    assert not any(layout.of([other, n]) for other in (x.t().contiguous().t(), torch.ones(3, 2), x.double()))


# ---- acting


def asked(agent, size: int) -> tuple:
    """Observations and noise as a collector has them; with a core its state too."""
    noise = agent.act_noise((1, size), torch.Generator().manual_seed(size))
    state = (torch.rand(size, agent.state_size),) if agent.state_size else ()
    return torch.rand((size, *agent.spec.obs_shape)), entry(noise).get("network", QUIET), *state


def answers_alike(learner, agent, size: int) -> None:
    question = asked(agent, size)
    for found, expected in zip(*(each if agent.state_size else (each,) for each in (learner.infer(*question), agent.infer(*question)))):
        assert_close32(found, expected)


@pytest.mark.parametrize("name", presets())
def test_every_agent_answers_alike_where_acting_is_compiled(name, monkeypatch):
    """Also after its weights have changed, and when it is asked about another number of environments."""
    agent, graphs = build(name, None, *COMPARABLE.get(name, ())), []

    def kept(graph, inputs, lasting):
        graphs.append(graph)
        return interpreted(graph, inputs, lasting)

    monkeypatch.setitem(compiling.BACKENDS, "eager", kept)
    learner = CompiledLearner(agent, given, backend="eager")
    for size in (2, 2, 5):
        update(agent, made_up(agent, agent.spec, seed=size))
        answers_alike(learner, agent, size)
    (graph,) = graphs
    assert not [node for node in graph.graph.nodes if node.op == "get_attr"]  # no weight is a constant


@needs_compiler
@exhaustive
@pytest.mark.parametrize("name", ["idqn", "td3"])
def test_compiled_answers(name):
    agent = build(name)
    answers_alike(CompiledLearner(agent, given), agent, 1)


def test_an_answer_that_does_not_compile_is_given_without_a_compiler(monkeypatch):
    break_inductor(monkeypatch)
    agent, told = build("dqn"), []
    learner = CompiledLearner(agent, given, failed=told.append)
    for _ in range(2):
        obs, noise = asked(agent, 1)
        assert torch.equal(learner.infer(obs, noise), agent.infer(obs, noise))
    assert [str(error) for error in told] == ["no such header"]


@pytest.mark.parametrize("which", ["CompiledStep", "CompiledInference"])
def test_a_run_of_which_one_part_does_not_compile_has_one_mode(which, tmp_path, monkeypatch):
    """The run that config.yaml describes is the one that goes on: nothing stays compiled."""

    def broken(*_, **__):
        raise RuntimeError("no such header")

    monkeypatch.setattr(f"deeprl.running.training.learner.{which}", broken)
    monkeypatch.setattr("deeprl.running.session.computation.CompiledLearner", partial(CompiledLearner, backend="eager"))
    monkeypatch.setattr("deeprl.running.accelerate.modes.choose", lambda *_: ("compiled", ""))
    trainer = train(tmp_path / "run", *SETTINGS, "agent=dqn", "accelerate=auto")
    assert trainer.guard.learner.broken
    assert trainer.config["accelerate"]["mode"] == trainer.folder.read_config()["accelerate"]["mode"] == "fast"
    assert trainer.agent.updates == 20
