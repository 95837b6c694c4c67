"""Running statistics against NumPy, and reward transforms."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from deeprl.learning.transforms.moments import merge_
from deeprl.learning.transforms.observations import Plain, Running, Scale
from deeprl.learning.transforms.rewards import Clip, Raw, Scaled
from deeprl.types import Rows, Series, Spec

SPEC = Spec((3,), torch.float32, 2, 0)


def rows(obs=None, reward=None, ended=None) -> Rows:
    m = len(reward if obs is None else obs)
    obs = np.zeros((m, 3), np.float32) if obs is None else np.asarray(obs, np.float32)
    reward = np.zeros(m, np.float32) if reward is None else np.asarray(reward, np.float32)
    ended = np.zeros(m, bool) if ended is None else np.asarray(ended)
    return Rows(obs, np.zeros(m, np.int64), reward, obs + 1000, ended, ended, np.ones(m, np.float32))


def test_merging_batches_is_the_variance_of_all():
    data = np.random.default_rng(0).normal(5, [1, 10, 100], (50, 3))
    count, mean, m2 = (torch.zeros(shape, dtype=torch.float64) for shape in ((), 3, 3))
    for part in np.split(data, [1, 3, 20, 21]):
        merge_(count, mean, m2, part)
    assert count == 50
    np.testing.assert_allclose(mean, data.mean(0), rtol=1e-12)
    np.testing.assert_allclose(m2 / count, data.var(0), rtol=1e-12)


def test_a_large_offset_does_not_eat_the_variance():
    data = 1e6 + np.arange(8.0).reshape(8, 1)
    count, mean, m2 = (torch.zeros(shape, dtype=torch.float64) for shape in ((), 1, 1))
    for part in data:
        merge_(count, mean, m2, part[None])
    assert m2.item() / count.item() == pytest.approx(5.25, rel=1e-9)


def test_observations_get_mean_zero_and_deviation_one():
    normalize = Running(spec=SPEC)
    normalize.observe(rows([[0, 10, 7]]))
    normalize.observe(rows([[2, 30, 7], [4, 50, 7]]))
    # columns: mean 2, 30, 7; variance 8/3, 800/3, 0
    out = normalize(torch.tensor([[4.0, 50.0, 7.0], [2.0, 10.0, 7.0]]))
    torch.testing.assert_close(out, torch.tensor([[1.5**0.5, 1.5**0.5, 0.0], [0.0, -(1.5**0.5), 0.0]]), rtol=1e-5, atol=1e-6)


def test_next_observations_and_evaluation_leave_the_statistics_alone():
    normalize = Running(spec=SPEC)
    normalize.observe(rows([[1, 2, 3], [3, 2, 1]]))  # `next_obs` is 1000 higher
    before = normalize.mean.clone()
    normalize(torch.full((5, 3), 1e6))
    assert torch.equal(normalize.mean, before)
    assert before.tolist() == [2.0, 2.0, 2.0]


def test_what_is_far_off_is_cut():
    normalize = Running(spec=SPEC, clip=2.0)
    normalize.observe(rows([[-1, -1, -1], [1, 1, 1]]))
    assert normalize(torch.tensor([[1.5, 50.0, -50.0]]))[0].tolist() == pytest.approx([1.5, 2.0, -2.0])


def test_before_any_data_and_after_one_row_the_scale_is_one():
    normalize = Running(spec=SPEC)
    assert normalize(torch.tensor([[1.0, -2.0, 3.0]])).tolist() == [[1.0, -2.0, 3.0]]
    normalize.observe(rows([[1, 2, 3]]))
    assert normalize(torch.tensor([[2.0, 2.0, 0.0]])).tolist() == [[1.0, 0.0, -3.0]]


def test_running_goes_on_from_its_state():
    parts = [np.random.default_rng(i).normal(i, 1 + i, (4, 3)) for i in range(4)]
    whole, resumed = Running(spec=SPEC), Running(spec=SPEC)
    for part in parts[:2]:
        whole.observe(rows(part))
    resumed.load_state_dict(whole.state_dict())
    for part in parts[2:]:
        whole.observe(rows(part))
        resumed.observe(rows(part))
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in whole.state_dict().items())


def test_images_are_refused_with_the_remedy():
    with pytest.raises(ValueError, match="agent/normalize=none"):
        Running(spec=Spec((4, 84, 84), torch.uint8, 2, 0))


def test_plain_is_the_identity():
    obs = torch.randn(2, 3)
    plain = Plain(spec=SPEC)
    plain.observe(rows([[1, 2, 3]]))
    assert plain(obs) is obs


# ---- rewards


def test_clipping_and_its_neutral_element():
    reward = torch.tensor([-7.0, -0.5, 0.0, 3.0])
    assert Clip()(reward).tolist() == [-1.0, -0.5, 0.0, 1.0]
    assert Clip(bound=2.0)(reward).tolist() == [-2.0, -0.5, 0.0, 2.0]
    assert Clip(bound=None)(reward) is reward
    assert Raw()(reward) is reward
    for bound in (0.0, -1.0, float("nan"), "1"):  # 0 would make every reward 0
        with pytest.raises(ValueError, match="^bound must be above 0, or null for no bound"):
            Clip(bound=bound)


def test_rewards_are_divided_by_the_deviation_of_the_discounted_sum():
    scaled = Scaled(discount=0.5, epsilon=0.0)
    assert scaled(torch.tensor([3.0])).tolist() == [3.0]
    # two environments; the first one's episode ends at the second tick, after which its sum starts again
    scaled.observe(rows(reward=[1.0, 2.0]))  # sums 1, 2
    scaled.observe(rows(reward=[1.0, 0.0], ended=[True, False]))  # sums 1.5, 1
    scaled.observe(rows(reward=[4.0, 8.0]))  # sums 4, 8.5
    std = np.std([1, 2, 1.5, 1, 4, 8.5])
    assert scaled(torch.tensor([3.0, -6.0])).tolist() == pytest.approx([3.0 / std, -6.0 / std], rel=1e-6)


def test_series_of_data_have_the_sums_of_environments_that_step():
    """They were taken for as many environments as rows, whose sums those of the run did not even fit."""
    stepped, shown = Scaled(discount=0.5), Scaled(discount=0.5)
    rewards, ended = np.arange(12.0).reshape(6, 2) % 5, np.array([[0, 0], [1, 0], [0, 0], [0, 0], [0, 1], [1, 1]], bool)
    for reward, end in zip(rewards, ended):
        stepped.observe(rows(reward=reward, ended=end))
    for each in range(2):
        for part in (slice(0, 4), slice(4, 6)):  # an episode goes on from the one to the other
            shown.observe(Series(*rows(reward=rewards[part, each], ended=ended[part, each])))
    assert shown.scale.item() == pytest.approx(stepped.scale.item())
    assert shown.largest == stepped.largest
    shown.observe(rows(reward=[1.0, 2.0, 3.0]))
    assert shown.sums.tolist() == [1.0, 2.0, 3.0]


def test_rewards_stay_as_they_are_until_their_sums_differ():
    """A first rollout without a reward says nothing about the scale: 1, not 1 / √ε = 10,000."""
    scaled, clipped = Scaled(discount=0.5), Scaled(discount=0.5, clip=10.0)
    for part in (scaled, clipped):
        for _ in range(99):
            part.observe(rows(reward=[0.0]))
        assert part(torch.tensor([3.0])).item() == 3.0
        part.observe(rows(reward=[1.0]))  # deviation √(0.01 · 0.99)
    assert scaled(torch.tensor([3.0, -0.5])).tolist() == pytest.approx([3 / 0.0099**0.5, -0.5 / 0.0099**0.5], rel=1e-5)
    assert clipped(torch.tensor([3.0, -0.5])).tolist() == pytest.approx([10.0, -0.5 / 0.0099**0.5], rel=1e-5)
    with pytest.raises(ValueError, match="clip must be above 0"):
        Scaled(discount=0.5, clip=0.0)


def test_an_episode_that_was_cut_off_leaves_no_sum():
    """Rewards 4 and 4, γ = 0.5; after the cut the sum of the first environment begins anew: 1 beside 1 + 0.5 · 4."""
    scaled = Scaled(discount=0.5)
    scaled.observe(rows(reward=[4.0, 4.0]))
    scaled.truncate_episode(0)
    scaled.observe(rows(reward=[1.0, 1.0]))
    assert scaled.sums.tolist() == [1.0, 3.0]


def test_a_bound_on_scaled_sums():
    """Sums 1, 2, −8.5, 0: their deviation is 4.17, and a bound of 2 asks for at least 8.5 / 2. Later small sums do not lower it."""
    one, bounded, wide = (Scaled(discount=0.5, epsilon=0.0, bound=bound) for bound in (None, 2.0, 1e9))
    for reward, ended in ((1.0, True), (2.0, True), (-8.5, True), (0.0, True)):
        for part in (one, bounded, wide):
            part.observe(rows(reward=[reward], ended=[ended]))
    assert bounded(torch.tensor([8.5])).item() == 2.0
    assert wide.scale == one.scale
    assert bounded.scale < one.scale
    with pytest.raises(ValueError, match="bound must be above 0"):
        Scaled(discount=0.5, bound=0.0)


def test_scaling_goes_on_from_its_state_also_in_mid_episode():
    whole, resumed = (Scaled(discount=0.9, bound=1.0) for _ in range(2))
    for t in range(5):
        whole.observe(rows(reward=[t, -t, 2 * t]))
    resumed.load_state_dict(whole.state_dict())
    for part in (whole, resumed):
        part.observe(rows(reward=[0.1, 1.0, 0.0], ended=[False, True, False]))
    assert whole.largest == resumed.largest > 0.0
    assert whole.sums.tolist() == resumed.sums.tolist()
    assert whole.sums[1] == 0.0
    assert whole.scale == resumed.scale != 1.0


def test_a_fixed_scale_divides_each_component():
    scale = Scale(spec=SPEC, by=[2.0, 0.5, 4.0])
    assert scale(torch.tensor([[2.0, 1.0, -2.0]])).tolist() == [[1.0, 2.0, -0.5]]


def test_no_scale_leaves_observations_as_they_are():
    obs = torch.tensor([[2.0, 1.0, -2.0]])
    assert Scale(spec=SPEC)(obs) is obs


@pytest.mark.parametrize(
    ("by", "says"), [([1.0, 2.0], "a list of 3 finite numbers"), ([1.0, 2.0, 0.0], "positive numbers, one for each component")]
)
def test_a_scale_that_does_not_fit_is_refused(by, says):
    with pytest.raises(ValueError, match=says):
        Scale(spec=SPEC, by=by)
