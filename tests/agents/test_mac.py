"""MAC: the weights of the levels, its three gradients by hand, exact state within a batch."""

import math

import numpy as np
import pytest
import torch

from deeprl.agents.mac import MAC
from deeprl.agents.multilevel import EqualTicks, MultiLevel, level, weights
from deeprl.learning.networks.policies import PolicyChoice
from deeprl.learning.networks.torsos import Auto
from deeprl.learning.optim.adagrad import AdaGrad
from deeprl.learning.transforms.observations import Plain
from deeprl.learning.transforms.rewards import Raw
from deeprl.running.training.learner import gradient
from deeprl.types import Rows, Spec
from tests.builders import make_batch

TWO = Spec((2,), torch.float32, 2, 0)


def mac(spec: Spec = TWO, **own) -> MAC:
    parts = {"torso": Auto(hidden=()), "policy": PolicyChoice(), "rewards": Raw, "normalize": Plain}
    rates = {name: AdaGrad(lr=0.5) for name in ("optimizer", "value_optimizer", "rate_optimizer")}
    return MAC(spec=spec, seed=0, **parts, **{**rates, **own})


def test_levels_are_geometric():
    assert [level(u) for u in (0.0, 0.4999, 0.5, 0.7499, 0.75, 0.999)] == [1, 1, 2, 2, 3, 10]


@pytest.mark.parametrize("levels", [1, 2, 4, 6])
def test_the_weights_have_the_mean_of_the_longest_batch_and_the_steps_their_number(levels):
    total, steps, tail = torch.zeros(2**levels, dtype=torch.float64), 0.0, 2.0**-levels
    for j in range(1, levels + 1):
        found = weights(j, levels)
        total[: len(found)] += 2.0**-j * found
        steps += 2.0**-j * len(found)
    total[0] += tail * weights(levels + 1, levels)[0]
    assert total.tolist() == [tail] * 2**levels
    assert steps + tail == {1: 1.5, 2: 2.25, 4: 4.0625, 6: 6.015625}[levels]


def test_a_batch_is_the_correction_of_its_level():
    """g = x̄₁ + 4 (x̄₄ − x̄₂)"""
    x = torch.tensor([3.0, -1.0, 5.0, 2.0])
    assert (weights(2, 4) @ x).item() == x[0] + 4 * (x.mean() - x[:2].mean())


def test_the_three_gradients_of_one_transition():
    agent = mac()
    agent.rate.eta.fill_(0.25)
    batch = make_batch([[1.0, 0.0]], [1], [2.0], 1.0, [[0.0, 1.0]])
    gradients, report = gradient(agent, "policy", batch)
    with torch.no_grad():
        value, after = (agent.value.outputs(obs)[0, 0] for obs in (batch.obs, batch.next_obs))
        probability = agent.policy.outputs(batch.obs)[0].softmax(-1)
    delta = 2.0 - 0.25 + after - value
    assert report.error.item() == pytest.approx(abs(delta.item()))
    by_name = dict(zip([name for name, p in named(agent)], gradients))
    assert by_name["rate.eta"].item() == pytest.approx(-1.75)
    bias = next(g for name, g in by_name.items() if name.startswith("policy") and g.numel() == 2)
    assert bias.flatten().tolist() == pytest.approx([(delta * probability[0]).item(), (-delta * (1 - probability[1])).item()], abs=1e-6)
    bias = next(g for name, g in by_name.items() if name.startswith("value") and g.numel() == 1)
    assert bias.item() == pytest.approx(-delta.item())


def test_a_differential_value_is_told_as_no_return():
    """It was logged as eval/value, beside discounted returns."""
    obs = torch.zeros(1, 2)
    agent = mac()
    assert agent.act(obs, torch.ones(1, dtype=torch.bool), {}, 0, {}, explore=False).value is None


def named(agent: MAC) -> list:
    order = {id(p): place for place, p in enumerate(agent.objectives["policy"].parameters)}
    return sorted(((name, p) for name, p in agent.named_parameters() if id(p) in order), key=lambda pair: order[id(pair[1])])


def test_adagrad_divides_by_the_norm_of_all_gradients_so_far():
    p = torch.nn.Parameter(torch.zeros(2), requires_grad=False)
    state = AdaGrad(lr=1.0, initial=1e-30).build([p])
    state.step([torch.tensor([3.0, 4.0])], 0)
    assert p.tolist() == pytest.approx([-0.6, -0.8])
    state.step([torch.tensor([0.0, 12.0])], 0)
    assert p[1].item() == pytest.approx(-0.8 - 12 / 13)
    each = torch.nn.Parameter(torch.zeros(2), requires_grad=False)
    AdaGrad(lr=1.0, form="coordinates", initial=1e-30).build([each]).step([torch.tensor([3.0, 4.0])], 0)
    assert each.tolist() == pytest.approx([-1.0, -1.0])


def test_a_batch_that_the_machine_or_its_gpu_has_no_room_for_is_refused(monkeypatch):
    """Nobody asked, and the run ended where its first long batch was made."""
    known = {"cpu": 1 << 40, "cuda": 5 << 30}
    monkeypatch.setattr("deeprl.replay.memory.available_memory", lambda device="cpu": known[str(device)])
    image = Spec((4, 84, 84), torch.uint8, 18, 0)
    for place in ("on cuda beside", "are available: replay"):
        with pytest.raises(ValueError, match=rf"levels=16 of 2 environments needs .*{place}.*.levels=\d+ would fit"):
            MultiLevel(levels=16, spec=image, num=2, rewards=None, batch_device="cuda")
        known["cuda"], known["cpu"] = 1 << 40, 20 << 30
    assert MultiLevel(levels=5, spec=image, num=2, rewards=None, batch_device="cuda").capacity == 64


def source(cls=MultiLevel, levels: int = 3):
    made = cls(levels=levels, spec=TWO, num=2, rewards=lambda raw: raw)
    made.connect(0, "test", lambda rows: None, lambda batch: {})
    return made


def rows(t: int) -> Rows:
    obs = np.full((2, 2), float(t), np.float32)
    flags = np.zeros(2, bool)
    return Rows(obs, np.zeros(2, np.int64), np.array([t, -t], np.float32), obs + 1, flags, flags, np.ones(2, np.float32))


def test_an_episode_that_cannot_be_continued_ends_at_its_newest_row():
    """Sums of scaled rewards went on across it."""
    one = source(EqualTicks)
    assert not one.truncate_episode(0)
    one.append(rows(0))
    assert one.truncate_episode(1)
    assert one.ticks[-1].ended.tolist() == [False, True]


def test_batches_follow_one_another_and_their_state_is_exact():
    one, sizes = source(), []
    other = None
    for t in range(200):
        one.append(rows(t))
        if other is not None:
            other.append(rows(t))
        found = list(one.updates(2 * t, 2 * t + 2))
        if other is not None:
            again = list(other.updates(2 * t, 2 * t + 2))
            assert len(again) == len(found)
            assert all(map(torch.equal, again[0][:10], found[0][:10])) if found else True
        if found:
            sizes.append(len(found[0].weight))
        if other is None and len(one.ticks) == 3:
            other = source()
            other.load(one.state_dict(), ())
            other.uniforms.load_state_dict(one.uniforms.state_dict())
    assert other is not None
    assert sum(sizes) + 2 * len(one.ticks) == 400
    assert {2, 4, 8, 16} >= set(sizes) > {4}
    assert MultiLevel.planned({"levels": 4}, 8125, 2) == 1000


@pytest.mark.parametrize("cls", [MultiLevel, EqualTicks])
def test_a_state_at_every_tick_is_loaded(cls):
    """Behind an update, and before the first tick, no J is drawn."""
    one, drawn = source(cls), set()
    for t in range(40):
        drawn.add(one.j)
        other = source(cls)
        other.load(one.state_dict(), ())
        assert (other.j, len(other.ticks)) == (one.j, len(one.ticks))
        one.append(rows(t))
        list(one.updates(2 * t, 2 * t + 2))
    assert drawn > {0, 1}


def test_a_state_of_other_environments_or_of_a_complete_batch_is_refused():
    one = source()
    one.j, one.ticks = 1, [rows(0), rows(1)]
    for state in (one.state_dict(), one.state_dict() | {"j": 0}, {"j": 1, "rows": {}}):
        with pytest.raises(ValueError, match="none of 2 environments"):
            source().load(state, ())


def test_rows_of_a_batch_under_way_are_seen():
    one = source()
    one.append(rows(3))
    assert one.seen()[0].tolist() == [3.0, -3.0]


def test_the_plain_mean_has_batches_of_one_size():
    made = source(EqualTicks, 1)
    made.append(rows(0))
    assert not list(made.updates(0, 2))
    made.append(rows(1))
    (batch,) = made.updates(2, 4)
    assert batch.weight.tolist() == [0.25] * 4
    assert math.isclose(batch.weight.sum(), 1.0)
