"""Prioritised replay: its tables, its statistics, its sum tree, and that α = 0 is uniform replay."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from deeprl.replay.replay import Replay
from deeprl.replay.sampler_check import KEPT, require_resumes
from deeprl.replay.samplers import Live, Prioritized, Sampler, Uniform, UniformDraws
from deeprl.replay.sum_tree import BRANCH, SumTree
from deeprl.schedules import Constant, Linear
from deeprl.types import Rows, Spec
from tests.builders import draw

SPEC = Spec((1,), torch.float32, 2, 0)


def rows(num: int, ended=False) -> Rows:
    ended, obs, zero = np.broadcast_to(ended, num), np.zeros((num, 1), np.float32), np.zeros(num, np.float32)
    return Rows(obs, np.zeros(num, np.int64), zero, obs, ended, ended, zero)


def four(**options):
    """Four transitions with errors 1, 2, 3, 4."""
    draws = Prioritized(epsilon=0.0, **options).over(4)
    live = Live(0, 4, 4)
    draws.update(np.arange(4), np.array([1.0, 2.0, 3.0, 4.0]), live)
    return draws, live


def middles(probability: np.ndarray) -> np.ndarray:
    """Uniforms that hit each leaf in its middle."""
    return probability.cumsum() - probability / 2


def test_nothing_new_and_nothing_gone_is_no_change():
    """Rows were added, and all of them were retired before anything could be drawn."""
    draws = Prioritized().over(4)
    draws.refresh(Live(2, 2, 4))
    assert (draws.first, draws.last, draws.tree.total) == (2, 2, 0.0)


def test_beta_follows_the_step_that_it_is_told():
    """Of a run on several ranks, or of one resumed without its replay, which the number of rows does not tell."""
    seen = []
    replay = Replay(
        capacity=8, batch_size=2, sampler=Prioritized(beta=lambda step: seen.append(step) or 0.5), spec=SPEC, num=2, discount=0.9
    )
    seen.clear()  # of the check at its start
    replay.append(rows(2))
    replay.draw(torch.zeros(2, dtype=torch.float64), 77)
    replay.draw(torch.zeros(2, dtype=torch.float64))
    assert seen == [77, 2]


@pytest.mark.parametrize("beta", [Constant(-3.0), Linear(-0.1, 1.0, 5), Linear(0.1, -1.0, 5), Constant(1e30)])
def test_exponents_that_correct_for_nothing_are_refused(beta):
    with pytest.raises(ValueError, match="beta.* between 0 and 1"):
        Prioritized(beta=beta)


@pytest.mark.parametrize(("beta", "weight"), [(1.0, [1, 0.5, 0.3333, 0.25]), (0.4, [1, 0.7579, 0.6444, 0.5743])])
@pytest.mark.parametrize("normalization", ["batch", "global"])
def test_weights_of_the_table(beta, weight, normalization):
    draws, live = four(alpha=1.0, beta=Constant(beta), normalization=normalization)
    assert (draws.tree.leaves[:4] / draws.tree.total).tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4])
    number, got = draws.draw(middles(np.array([0.1, 0.2, 0.3, 0.4])), live, 0)
    assert number.tolist() == [0, 1, 2, 3]
    assert got == pytest.approx(weight, abs=5e-5)


def test_probabilities_of_the_table():
    draws, _ = four(alpha=0.6)
    assert draws.tree.leaves[:4] / draws.tree.total == pytest.approx([0.1482, 0.2247, 0.2866, 0.3405], abs=5e-5)


def test_worked_priorities_of_r2d2():
    """Priorities 4, 1, 1, 1/4, exponents 0.9, and 0.6 of the weights, which acme has."""
    draws, live = Prioritized(alpha=0.9, beta=Constant(0.6), epsilon=0.0).over(4), Live(0, 4, 4)
    draws.update(np.arange(4), np.array([4.0, 1.0, 1.0, 0.25]), live)
    probability = draws.tree.leaves[:4] / draws.tree.total
    assert probability.tolist() == pytest.approx([0.603566, 0.173329, 0.173329, 0.049776], abs=1e-6)
    assert draws.draw(middles(probability), live, 0)[1] == pytest.approx([0.223756, 0.473029, 0.473029, 1.0], abs=1e-6)


def test_normalization_decides_what_weight_a_batch_without_the_rarest_row_gets():
    for normalization, largest in (("batch", 1.0), ("global", 1 / 3)):
        draws, live = four(alpha=1.0, beta=Constant(1.0), normalization=normalization)
        _, weight = draws.draw(np.array([0.5, 0.9]), live, 0)
        assert weight == pytest.approx([largest, largest * 3 / 4])


def test_draws_follow_the_priorities():
    draws, live = four(alpha=1.0)
    u = np.random.default_rng(0).random(100_000)
    counts = np.bincount(draws.draw(u, live, 0)[0], minlength=4)
    expected = 100_000 * np.array([0.1, 0.2, 0.3, 0.4])
    assert ((counts - expected) ** 2 / expected).sum() < 16.27  # 99.9 % of χ² with three degrees of freedom


@pytest.mark.parametrize("num", [1, 3])
@pytest.mark.parametrize("normalization", ["batch", "global"])
def test_alpha_zero_is_uniform_bit_for_bit(num, normalization):
    def build(sampler):
        return Replay(capacity=300 * num, batch_size=32, sampler=sampler, spec=SPEC, num=num, discount=0.9)

    uniform, prioritized = build(Uniform()), build(Prioritized(alpha=0.0, normalization=normalization))
    random = np.random.default_rng(num)
    for _ in range(900):
        tick = rows(num, random.random(num) < 0.1)
        uniform.append(tick)
        prioritized.append(tick)
        u = torch.from_numpy(random.random(32))
        a, b = draw(uniform, u), draw(prioritized, u)
        assert all(torch.equal(x, y) for x, y in zip(a[:10], b[:10]))
        assert b.weight.dtype == torch.float32
        assert (b.weight == 1).all()
        prioritized.priorities(b, torch.from_numpy(random.random(32)))


def test_new_rows_get_the_running_maximum():
    for initial, expected in (("max", 5.0), ("one", 1.0)):
        sampler = Prioritized(alpha=1.0, epsilon=0.0, initial=initial)
        replay = Replay(capacity=10, batch_size=2, sampler=sampler, spec=SPEC, num=1, discount=0.9)
        for _ in range(3):
            replay.append(rows(1))
        replay.priorities(SimpleNamespace(index=torch.tensor([0, 1])), torch.tensor([5.0, 0.5]))
        replay.append(rows(1))  # has the maximum of now, 5, not the one of the next line
        replay.priorities(SimpleNamespace(index=torch.tensor([0])), torch.tensor([7.0]))
        assert replay.state_dict()["priorities"].tolist() == [7.0, 0.5, 1.0, expected]


def test_rows_overwritten_since_sampling_keep_their_new_priority():
    replay = Replay(capacity=4, batch_size=4, sampler=Prioritized(alpha=1.0, epsilon=0.0), spec=SPEC, num=1, discount=0.9)
    for _ in range(4):
        replay.append(rows(1))
    batch = draw(replay)
    replay.append(rows(1))
    replay.append(rows(1))
    index = torch.tensor([0, 1, 2, 3])
    assert set(batch.index.tolist()) <= set(index.tolist())
    replay.priorities(SimpleNamespace(index=index), torch.tensor([9.0, 9.0, 0.25, 0.5]))
    assert replay.state_dict()["priorities"].tolist() == [0.25, 0.5, 1.0, 1.0]
    assert replay.state_dict()["largest_priority"] == 1.0  # the errors of rows that are gone leave no trace


def test_lap_draws_small_errors_alike():
    """Errors 0.1, −0.5, 4 and 16 under |δ| >= 1 and α = 0.5: priorities 1, 1, 2 and 4, and no importance weights."""
    draws, live = Prioritized(alpha=0.5, beta=Constant(0.0), epsilon=0.0, least=1.0).over(4), Live(0, 4, 4)
    draws.update(np.arange(4), np.array([0.1, -0.5, 4.0, 16.0]), live)
    assert draws.tree.leaves[:4].tolist() == [1.0, 1.0, 2.0, 4.0]
    number, weight = draws.draw(middles(np.array([1, 1, 2, 4]) / 8), live, 0)
    assert number.tolist() == [0, 1, 2, 3]
    assert weight.tolist() == [1.0] * 4


def test_zero_priorities_are_never_drawn_unless_all_are():
    draws = Prioritized(alpha=1.0, epsilon=0.0).over(300)
    live = Live(0, 300, 300)
    error = np.zeros(300)
    error[[7, 150]] = 1e-3, 1.0
    draws.update(np.arange(300), error, live)
    u = np.concatenate((np.random.default_rng(0).random(1000), [0.0, 1 - 2.0**-53]))
    assert set(draws.draw(u, live, 0)[0].tolist()) <= {7, 150}
    draws.update(np.arange(300), np.zeros(300), live)
    number, weight = draws.draw(u, live, 0)
    assert weight is None
    assert number.tolist() == (u * 300).astype(int).tolist()


def test_errors_that_are_not_finite_are_refused():
    for bad in (float("nan"), float("inf")):
        draws, live = four()
        with pytest.raises(ValueError, match="finite"):
            draws.update(np.arange(2), np.array([1.0, bad]), live)


def test_beta_follows_the_environment_steps():
    draws, live = four(alpha=1.0, beta=Linear(0.4, 1.0, 100))
    u = middles(np.array([0.1, 0.2, 0.3, 0.4]))
    assert draws.draw(u, live, 0)[1] == pytest.approx([1, 0.7579, 0.6444, 0.5743], abs=5e-5)
    assert draws.draw(u, live, 100)[1] == pytest.approx([1, 0.5, 1 / 3, 0.25])


def test_wrong_values_are_refused():
    infinite = [{name: np.inf} for name in ("alpha", "epsilon", "least")]
    for options in (*infinite, {"alpha": -0.1}, {"epsilon": -1.0}, {"initial": "median"}, {"normalization": "none"}, {"beta": 0.5}):
        with pytest.raises(ValueError, match=next(iter(options))):
            Prioritized(**options)


# Sum tree


@pytest.mark.parametrize("size", [1, 100, 5000, 40_000])
def test_the_root_is_the_sum_of_the_leaves(size):
    random = np.random.default_rng(size)
    tree, leaves = SumTree(size, minimum=True), np.zeros(size)
    for _ in range(1000):  # 1e5 updates, duplicates among them
        index, value = random.integers(0, size, 100), random.exponential(size=100) * (random.random(100) < 0.9)
        tree.set(index, value)
        leaves[index] = value
    np.testing.assert_array_equal(tree.leaves[:size], leaves)
    assert tree.total == pytest.approx(leaves.sum(), rel=1e-12)
    assert tree.minimum == (leaves[leaves > 0].min() if (leaves > 0).any() else np.inf)
    fresh = SumTree(size)
    fresh.set(np.arange(size), leaves)
    assert fresh.total == tree.total  # a function of the leaves alone


@pytest.mark.parametrize("size", [3, 129, 20_000])
def test_find_inverts_the_cumulative_sum(size):
    random = np.random.default_rng(size)
    leaves = random.integers(0, 4, size).astype(float)  # integers: every sum is exact, zeros among them
    leaves[0] = 1
    tree = SumTree(size)
    tree.set(np.arange(size), leaves)
    target = random.random(5000) * tree.total
    np.testing.assert_array_equal(tree.find(target), np.searchsorted(leaves.cumsum(), target, side="right"))


def test_rounding_never_leads_to_a_zero_leaf():
    random = np.random.default_rng(5)  # with numbers of which eight leave a rest that no running sum exceeds
    leaves = 10.0 ** random.uniform(-12, 12, 5000) * (random.random(5000) < 0.3)
    leaves[::BRANCH] = 0.0  # where such a descent would end
    tree = SumTree(5000)
    tree.set(np.arange(5000), leaves)
    edges = leaves.cumsum()
    target = np.concatenate([edges, np.nextafter(edges, 0), np.nextafter(edges, np.inf), random.random(20_000) * tree.total])
    target = np.minimum(target, np.nextafter(tree.total, 0))
    assert (leaves[tree.find(target)] > 0).all()


def test_live_transitions_in_leaf_order():
    for first, last in ((0, 0), (0, 5), (2, 9), (3, 10), (10, 20), (7, 13), (19, 29), (20, 23)):
        live = Live(first, last, 10)
        numbers = live.nth(np.arange(live.length))
        assert sorted(numbers.tolist()) == list(range(first, last))
        assert (np.diff(numbers % 10) > 0).all()
        np.testing.assert_array_equal(live.number(numbers % 10), numbers)


WRONG = {
    "not collected yet": (lambda number, live: (number + live.length, None), "numbers of live transitions are 2 to 5"),
    "no longer there": (lambda number, live: (number * 0 + live.first - 1, None), "1 to 1: numbers of live transitions"),
    "fewer": (lambda number, live: (number[:-1], None), r"int64 of shape \(3,\): the numbers of transitions are int64 of shape \(4,\)"),
    "floats": (lambda number, live: (number.astype(float), None), r"float64 of shape \(4,\)"),
    "a list": (lambda number, live: (number.tolist(), None), "a list"),
    "weights below 0": (lambda number, live: (number, -np.ones(4)), r"weights of shape \(4,\) from -1.0 on"),
    "weights of another shape": (lambda number, live: (number, np.ones((4, 1))), r"weights of shape \(4, 1\)"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_nobody_can_copy_is_refused(what):
    """A sampler of one's own that drew a transition which is not stored trained on whatever lay in its place."""
    made, why = WRONG[what]

    class Own(UniformDraws):
        def draw(self, u, live, step):
            return made(super().draw(u, live, step)[0], live)

    replay = Replay(capacity=4, batch_size=4, spec=SPEC, num=1, discount=0.9)
    for _ in range(6):
        replay.append(rows(1))
    replay.draw(torch.zeros(4, dtype=torch.float64))
    replay.draws = Own()
    with pytest.raises(ValueError, match=f"the sampler Own drew .*{why}"):
        replay.draw(torch.zeros(4, dtype=torch.float64))


class Turning(UniformDraws):
    """Begins each draw one transition further, and may forget where it is."""

    def __init__(self, forgets: str):
        self.forgets, self.turn = forgets, 0

    def draw(self, u, live, step):
        self.turn += 1
        number, weight = super().draw(u, live, step)
        return live.first + (number - live.first + self.turn) % live.length, weight

    def state_dict(self, live):
        return {} if self.forgets == "saving" else {"turn": self.turn, **({"count": 1} if self.forgets == "names" else {})}

    def load(self, state, live):
        if self.forgets != "loading":
            self.turn = state["turn"]


@dataclass(frozen=True)
class Turns(Sampler):
    forgets: str = ""

    def over(self, size):
        return Turning(self.forgets)


def test_a_sampler_that_forgets_is_refused():
    require_resumes(Turns())
    for sampler in (Uniform(), Prioritized(), Prioritized(alpha=0.5, initial="one", normalization="global"), Prioritized(least=1.0)):
        require_resumes(sampler)
    with pytest.raises(ValueError, match="sampler must be an option of its slot, replay/sampler=uniform, .* not 'prioritized'"):
        Replay(capacity=4, batch_size=4, spec=SPEC, num=1, discount=0.9, sampler="prioritized")
    with pytest.raises(ValueError, match="sampler must draw after a resume .*Turning does not: what it keeps"):
        Replay(capacity=4, batch_size=4, spec=SPEC, num=1, discount=0.9, sampler=Turns("loading"))
    with pytest.raises(ValueError, match="Turning cannot go on from what it has saved: KeyError"):
        require_resumes(Turns("saving"))
    with pytest.raises(ValueError, match="save under names of its own, and Turning has count, which the replay has too"):
        require_resumes(Turns("names"))  # it took the place of the replay's counts, and no checkpoint could be read
    replay = Replay(capacity=4, batch_size=4, spec=SPEC, num=1, discount=0.9)
    assert replay.state_dict().keys() <= KEPT
