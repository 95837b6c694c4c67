"""POIS and planned truncation: the closed forms, the estimator by hand, and what each reduces to."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from deeprl.agents.beta_policy import Beta
from deeprl.agents.importance_bound import categorical_log_d2, gaussian_log_d2
from deeprl.agents.pois import POIS, Natural, Steepest
from deeprl.agents.pois_parameters import ParameterPOIS
from deeprl.agents.truncation import Truncated, counts_of, shares, weights
from deeprl.choice import grouped
from deeprl.learning.networks.gaussian_policies import BoundedGaussian, Squashed
from deeprl.learning.networks.policies import PolicyChoice
from deeprl.learning.networks.torsos import Auto
from deeprl.learning.optim.differentiated import differentiated
from deeprl.learning.optim.directions import as_flat, flat_gradient
from deeprl.learning.parts.ascent import Ascent
from deeprl.learning.parts.whole_episodes import WholeEpisodes
from deeprl.learning.trajectory_policy import TrajectoryPolicy
from deeprl.learning.transforms.channels import Polar
from deeprl.learning.transforms.observations import Plain
from deeprl.learning.transforms.rewards import Raw
from deeprl.running.training import crash
from deeprl.types import Batch, Spec

LINE = Spec((1,), torch.float32, 0, 1)
FORK = Spec((1,), torch.float32, 2, 0)


def agent(spec: Spec, ascent=POIS, policy_choice: PolicyChoice = PolicyChoice(), **own) -> TrajectoryPolicy:
    parts = {"torso": Auto(hidden=()), "policy": policy_choice, "rewards": Raw, "normalize": Plain}
    return TrajectoryPolicy(spec=spec, seed=0, ascent=partial(ascent, **grouped(ascent, own)), **parts)


def episodes(reward: list[list[float]], lengths: list[int], spec: Spec = FORK, discount: float = 0.5, planned=None, seed: int = 0) -> Batch:
    """Of rewards (T, N) and natural lengths (N,)."""
    reward, (steps, num) = torch.tensor(reward), np.shape(reward)
    time = torch.arange(steps)[:, None]
    valid = time < torch.tensor(lengths)
    generator = torch.Generator().manual_seed(seed)
    obs = torch.randn((steps, num, 1), generator=generator)
    noise = torch.rand((steps, num, 1), generator=generator)
    action = (noise[..., 0] < 0.5).long() if spec.num_actions else noise
    ends = time == torch.tensor(lengths) - 1
    plan = torch.ones_like(valid) if planned is None else time < torch.tensor(planned)
    return Batch(
        obs, action, reward * valid, discount * (valid & ~ends), obs, valid.long(), ends, valid, valid.float(), valid.long(), {},
        {"planned": plan},
    )  # fmt: skip


RANDOM = [[1.0, 0.5, -1.0], [2.0, 1.0, 0.3], [0.7, -0.2, 0.9]]


def log_d2(mean: float, std: float, old_mean: float, old_std: float) -> float:
    numbers = (torch.tensor([value], dtype=torch.float64) for value in (mean, math.log(std), old_mean, math.log(old_std)))
    return gaussian_log_d2(*numbers).item()


def test_divergences_of_gaussians_and_of_categories():
    assert log_d2(0.5, 1.0, 0.0, 1.0) == pytest.approx(0.25)
    assert log_d2(0.5, 1.2, 0.0, 1.0) == pytest.approx(0.554016, abs=1e-6)
    assert log_d2(0.0, 1.5, 0.0, 1.0) == math.inf  # v = 2 − 2.25
    pi, old = torch.tensor([0.75, 0.25]), torch.tensor([0.5, 0.5])
    assert categorical_log_d2(pi.log(), old.log()).item() == pytest.approx(math.log(0.75**2 / 0.5 + 0.25**2 / 0.5))


def test_the_budget_is_spent_in_proportion_to_the_root():
    d = weights(0.9, 10)
    assert d[:5] == pytest.approx([12.03, 9.11, 6.82, 5.01, 3.60], abs=0.01)
    m = shares(0.9, 10, 100)
    assert m[[0, 1, 2, 9]] == pytest.approx([19.03, 16.57, 14.33, 2.13], abs=0.01)
    assert (d / m).sum() / (d / 10).sum() == pytest.approx(0.783, abs=5e-4)
    m = shares(0.99, 100, 10_000)
    assert (m[0], m[99]) == pytest.approx((199.8, 6.59), abs=0.05)
    whole = counts_of(0.9, 10, 100)
    assert whole.sum() == 100
    assert (np.diff(whole) <= 0).all()
    assert counts_of(0.0, 4, 10).tolist() == [7, 1, 1, 1]


def test_planned_lengths_have_their_counts():
    source = Truncated(budget=100, horizon=10, spec=FORK, num=1, discount=0.9)
    m = [(source.lengths > t).sum() for t in range(10)]
    assert m == counts_of(0.9, 10, 100).tolist()
    with pytest.raises(ValueError, match="budget must be at least the horizon of 10"):
        Truncated(budget=9, horizon=10, spec=FORK, num=1, discount=0.9)


def test_the_estimator_is_unbiased_on_a_chain_and_its_variance_is_the_predicted_one():
    """Rewards of mean t + 1, and of deviation 1, that are the same in all steps of an episode: the worst case of the bound."""
    random, gamma, plan = np.random.default_rng(0), 0.9, counts_of(0.9, 10, 100)
    powers, means = gamma ** np.arange(10), np.arange(1, 11)

    def estimates(m: np.ndarray) -> np.ndarray:
        drawn = random.normal(size=(20_000, m[0]))
        sums = np.stack([drawn[:, : m[t]].mean(1) + means[t] for t in range(10)], -1)
        return sums @ powers

    mine, uniform = estimates(plan), estimates(np.full(10, 10))
    assert mine.mean() == pytest.approx((powers * means).sum(), abs=4 * mine.std() / math.sqrt(20_000))
    assert mine.var() / uniform.var() == pytest.approx(0.783, abs=0.03)


@pytest.mark.parametrize("spec", [LINE, FORK])
def test_at_the_policy_that_collected_the_bound_is_the_return_less_the_width(spec):
    made = agent(spec, delta=0.5, center=False)
    found = made.episodes(episodes(RANDOM, [3, 3, 3], spec))
    returns = torch.tensor([1.0 + 1.0 + 0.175, 0.5 + 0.5 - 0.05, -1.0 + 0.15 + 0.225])
    expected = returns.mean() - math.sqrt(1 / 3) * returns.abs().max()
    assert made.ascent.bound(found, *made.ascent.behaved(found)).item() == pytest.approx(expected.item(), abs=1e-6)


def there(batch: Batch, **own) -> torch.Tensor:
    """Gradient of the bound at the policy that collected."""
    made = agent(FORK, delta=1.0, center=False, **own)
    found, optimizer = made.episodes(batch), made.ascent.optimizer
    with differentiated(optimizer.parameters):
        return flat_gradient(made.ascent.bound(found, *made.ascent.behaved(found)), optimizer.parameters)


@pytest.mark.parametrize("lengths", [[3, 3, 3], [3, 2, 1]])
def test_per_decision_its_gradient_there_is_that_of_reinforce_for_planned_lengths_too(lengths):
    batch, plain = episodes(RANDOM, lengths, planned=lengths), agent(FORK, Ascent)
    assert torch.allclose(there(batch, weights="decision"), plain.ascent.gradient(plain.episodes(batch)), atol=1e-6)


def test_with_weights_of_trajectories_every_action_has_the_whole_return():
    batch, plain = episodes(RANDOM, [3, 3, 3]), agent(FORK, Ascent)
    found, optimizer = plain.episodes(batch), plain.ascent.optimizer
    with differentiated(optimizer.parameters):
        whole = (found.returns()[0] * found.log_prob(plain.policy).sum(0)).sum()
        assert torch.allclose(there(batch), flat_gradient(whole, optimizer.parameters), atol=1e-6)


def test_what_lies_behind_an_end_changes_nothing():
    batch = episodes(RANDOM, [3, 1, 2])
    other = batch._replace(obs=torch.where(batch.valid[..., None], batch.obs, 7.0), action=torch.where(batch.valid, batch.action, 1))
    values = []
    for each in (batch, other):
        made = agent(FORK, weights="decision")
        found = made.episodes(each)
        old = made.ascent.behaved(found)
        made.ascent.optimizer.flat.add_(0.3)
        values.append(made.ascent.bound(found, *old))
    assert torch.equal(*values)


@pytest.mark.parametrize("direction", [Steepest(), Natural()])
@pytest.mark.parametrize("spec", [LINE, FORK])
def test_a_batch_raises_its_bound(direction, spec):
    made = agent(spec, weights="decision", direction=direction)
    batch = episodes(RANDOM, [3, 3, 2], spec)
    found = made.episodes(batch)
    old = made.ascent.behaved(found)
    before = made.ascent.bound(found, *old)
    report, norm = made.ascended(batch)
    gained = (made.ascent.bound(found, *old) - before).item()
    assert gained > 0
    assert gained == pytest.approx(report.metrics["train/bound_gain"].item(), abs=1e-5)
    assert norm > 0
    assert float(made.ascent.optimizer.length) > 0


def test_a_deviation_that_no_state_changes_is_that_of_the_policy_of_the_actions_and_others_are_refused():
    found = []
    for choice in (PolicyChoice(log_std=-0.3), BoundedGaussian(log_std=-0.3)):
        made = agent(LINE, policy_choice=choice, delta=0.5)
        made.ascended(episodes(RANDOM, [3, 3, 2], LINE))
        found.append(made.ascent.optimizer.flat.clone())
    assert torch.equal(*found)
    for choice in (BoundedGaussian(sigma="state"), Squashed(), Beta()):
        with pytest.raises(ValueError, match=r"no closed form of d₂, unless .* agent.policy.sigma=free"):
            agent(LINE, policy_choice=choice)


def test_a_baseline_of_the_others_is_theirs_alone():
    plain = agent(FORK, Ascent)
    found = plain.episodes(episodes([[1.0, 3.0], [0.0, 2.0]], [2, 2])).returns("others")
    assert (2 * found).tolist() == [[1.0 - 4.0, 4.0 - 1.0], [-1.0, 1.0]]  # halves of G, because m = 2


def test_in_the_space_of_parameters_an_episode_is_one_sample_and_keeps_its_weights():
    made = agent(LINE, ParameterPOIS, delta=1.0, center=False, log_std=-1.0)
    noise = {"drawn": torch.randn(2, 2, generator=torch.Generator().manual_seed(0))}
    obs, first = torch.tensor([[1.0], [2.0]]), torch.tensor([True, True])
    before = as_flat(made.ascent.weights).clone()
    one = made.act(obs, first, {}, 0, noise, True)
    assert torch.equal(as_flat(made.ascent.weights), before)
    assert one.state.shape == (2, 2)
    assert one.action[1, 0].item() == pytest.approx((one.state[1, 0] * 2.0 + one.state[1, 1]).item(), abs=1e-6)
    later = made.act(obs, torch.tensor([True, False]), one.memory, 1, {"drawn": noise["drawn"] + 1.0}, True)
    assert torch.equal(later.state[1], one.state[1])
    assert not torch.equal(later.state[0], one.state[0])
    batch = episodes(RANDOM, [3, 3, 3], LINE)
    drawn = torch.randn(3, 2, generator=torch.Generator().manual_seed(1))
    found = made.episodes(batch._replace(extra={**batch.extra, "drawn": drawn}))
    old = made.ascent.behaved()
    returns = (found.discounted / found.counts).sum(0) * 3
    assert made.ascent.bound(found, old).item() == pytest.approx(returns.mean().item())
    made.ascended(found.batch)
    assert made.ascent.bound(found, old) > returns.mean()
    assert crash.fault(made, found.batch, "policy") is None  # it looks at the gradient of a loss that does not read the policy's deviation
    found.batch.reward[0, 1] = math.inf
    assert crash.fault(made, found.batch, "policy").startswith("batch.reward: 1 of 9 entries are not finite")


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match="delta"):
        agent(FORK, delta=0.0)
    with pytest.raises(ValueError, match="weights"):
        agent(FORK, weights="whole")


@pytest.mark.parametrize("direction", [Steepest(), Natural()])
@pytest.mark.parametrize("scale", [0.0, 1e-30])
def test_without_a_gradient_the_policy_stays(direction, scale):
    """0/0, and a gradient whose square is 0: NaN would be written."""
    made = agent(FORK, least=0.0, center=False, direction=direction)
    flat = made.ascent.optimizer.flat
    before = flat.clone()
    batch = episodes([[scale, 0.0], [0.0, 0.0]], [2, 2])
    with torch.no_grad():
        metrics, norm = made.ascent.step(made.episodes(batch), 1)
    assert torch.equal(flat, before)
    assert (metrics["train/offline_steps"].item(), norm.item() <= 1e-28) == (0.0, True)


def test_a_lost_life_ends_no_return():
    """Rewards after it weighed nothing: γ^t was the product of discounts, of which that of the lost life is 0."""
    batch = episodes(RANDOM, [3, 3, 3])
    cut = batch.discount.clone()
    cut[0] = 0.0
    assert torch.equal(WholeEpisodes(batch._replace(discount=cut)).returns(), WholeEpisodes(batch).returns())
    assert WholeEpisodes(batch).discount_powers.tolist() == [1.0, 0.5, 0.25]


def test_rewards_of_several_channels_are_refused():
    """Returns were sums over the channels in place of the steps."""
    parts = {"torso": Auto(hidden=()), "policy": PolicyChoice(), "rewards": Polar, "normalize": Plain}
    with pytest.raises(ValueError, match="rewards of one channel: agent/rewards=raw"):
        TrajectoryPolicy(spec=FORK, seed=0, ascent=POIS, **parts)
