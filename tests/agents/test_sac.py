"""SAC and its relatives: densities, the temperature, and chains of critics."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch.distributions import Normal, TransformedDistribution
from torch.distributions.transforms import TanhTransform

from deeprl.agents.idqn import Iterated
from deeprl.agents.iterated_polyak import IteratedPolyak
from deeprl.learning.backups.actor import PolicyBackup
from deeprl.learning.networks.actors import SquashedGaussian, log_density
from deeprl.learning.networks.critics import pair
from deeprl.learning.networks.distributional import Categorical, ImplicitQuantile, Quantile
from deeprl.learning.networks.heads import Scalar
from deeprl.learning.networks.torsos import MLPTorso
from deeprl.learning.optim.adam import Adam
from deeprl.learning.optim.rmsprop import RMSProp
from deeprl.learning.parts.actor_value import CriticSubset, serving
from deeprl.learning.parts.exploration import OrnsteinUhlenbeck, Sampled, Tick
from deeprl.learning.parts.polyak import Polyak
from deeprl.learning.parts.resets import Resets
from deeprl.learning.parts.temperature import FixedTemperature, LearnedTemperature, Temperature
from deeprl.learning.transforms.rewards import Raw
from deeprl.learning.values.reduce import First, Mean, Minimum, Subset, Truncate
from deeprl.learning.values.returns import Returns
from deeprl.learning.values.signed_maps import SignedRoot
from deeprl.running.training.learner import gradient
from deeprl.types import QUIET, Spec
from tests.agents.test_td3 import batches, constants, said
from tests.builders import CONTINUOUS, actor_critic, below, changed_by, entry, equal, random_batch, sac, same, snapshot, update, value_agent

B, TAU = 11, 0.05
HEADS = {
    "scalar": Scalar(),
    "categorical": Categorical(atoms=5),
    "quantile": Quantile(quantiles=4),
    "implicit": ImplicitQuantile(samples=3, target_samples=4, policy_samples=2),
}


# ---- the density of a squashed Gaussian


def test_the_worked_density():
    """μ = 0, σ = 1, u = 0.5: log N = −1.043939, log(1 − tanh² u) = −0.240229, and their difference."""
    u = torch.tensor([[0.5]])
    assert log_density(u, u, torch.zeros(1, 1)).item() == pytest.approx(-0.803710, abs=1e-6)


def test_the_density_is_torchs_and_stays_finite_where_tanh_rounds_to_one():
    generator = torch.Generator().manual_seed(0)
    mean, noise = (torch.randn((500, 3), generator=generator, dtype=torch.float64) for _ in range(2))
    log_std = torch.rand((500, 3), generator=generator, dtype=torch.float64) * 2 - 1.5
    u = (mean + log_std.exp() * noise).clamp(-5, 5)
    noise = (u - mean) / log_std.exp()
    theirs = TransformedDistribution(Normal(mean, log_std.exp()), TanhTransform()).log_prob(u.tanh()).sum(-1)
    torch.testing.assert_close(log_density(u, noise, log_std), theirs, rtol=0, atol=1e-6)
    ours = log_density(u.float(), noise.float(), log_std.float())
    torch.testing.assert_close(ours.double(), theirs, rtol=1e-5, atol=1e-5)
    for far in (-50.0, 50.0):
        end = log_density(torch.tensor([[far]]), torch.zeros(1, 1), torch.zeros(1, 1)).item()
        assert end == pytest.approx(-0.918939 + 2 * (50 - 0.693147), abs=1e-4)  # log(1 − tanh² u) is about 2 log 2 − 2 |u|


@pytest.mark.parametrize(("bounds", "expected"), [("clamp", [-3.0, 0.5, 1.0]), ("rescale", [-2.9998, -0.0758, 0.9999])])
def test_the_bounds_of_log_sigma(bounds, expected):
    actor = sac(Spec((1,), torch.float32, 0, 3), actor=SquashedGaussian(bounds=bounds, low=-3.0, high=1.0)).actor
    for parameter in actor.parameters():
        parameter.zero_()
    actor.last.bias_0[0, 0] = torch.tensor([0.0, 0.0, 0.0, -5.0, 0.5, 5.0])  # three means, three raw log σ
    _, log_std = actor.parameters_of(actor.outputs(torch.zeros(1, 1)))
    assert log_std[0].tolist() == pytest.approx(expected, abs=1e-4)


# ---- the temperature


def test_the_temperature_rises_if_the_entropy_is_below_its_target_and_falls_above():
    with pytest.raises(ValueError, match=r"target_entropy must be at most 0\.693"):  # 5 trained without a word
        LearnedTemperature(action_dim=2, target_entropy=5)
    temperature = LearnedTemperature(action_dim=2, value=0.3, target_entropy=-1.0)  # H̄ = −2
    temperature.log_value.requires_grad_(True)
    for entropy, sign in ((-3.0, -1), (-1.0, 1), (-2.0, 0)):
        log_prob = torch.full((B,), -entropy)
        (slope,) = torch.autograd.grad(temperature.loss(log_prob).mean(), [temperature.log_value])
        assert slope.sign().item() == sign  # descent turns it around
    assert temperature().item() == pytest.approx(0.3)


def test_the_form_exp_multiplies_the_gradient_by_the_temperature():
    slopes = []
    for form in ("log", "exp"):
        temperature = LearnedTemperature(action_dim=2, value=0.3, form=form)
        temperature.log_value.requires_grad_(True)
        slopes.append(torch.autograd.grad(temperature.loss(torch.linspace(0, 5, B)).mean(), [temperature.log_value])[0])
    torch.testing.assert_close(slopes[1], 0.3 * slopes[0])


def test_who_trains_what():
    agent = sac()
    (batch,) = batches(agent, 1)
    for name, trained in (("critic", ("chain.online.",)), ("actor", ("actor.", "temperature."))):
        assert changed_by(agent, name, batch) == below(agent, *trained)


def test_a_learning_rate_of_zero_leaves_the_temperature():
    agent = sac(temperature=partial(LearnedTemperature, value=0.3, lr=0.0))
    for batch in batches(agent, 3):
        update(agent, batch)
    assert agent.temperature().item() == pytest.approx(0.3)


def test_the_temperature_has_a_rate_of_its_own_and_no_weight_decay():
    """With an actor that does not learn, and a decay that would draw log α to 0."""
    agent = sac(temperature=partial(LearnedTemperature, value=0.3, lr=0.01), actor_optimizer=Adam(lr=0.0, weight_decay=0.5))
    _, temperature = agent.objectives["actor"].optimizer.groups
    assert (temperature.choice.lr, temperature.choice.weight_decay) == (0.01, 0.0)
    temperature.step([torch.zeros(1)], 0)
    assert agent.temperature().item() == pytest.approx(0.3)


# ---- neutral elements


def test_without_entropy_and_spread_it_is_td3_without_smoothing():
    backup = PolicyBackup(target_actor=False, smoothing=0.0)
    narrow = sac(temperature=Temperature, actor=SquashedGaussian(low=-100.0, high=-99.0), backup=backup)
    plain = actor_critic(backup=backup, actor_period=1)
    plain.actor.torso.load_state_dict(narrow.actor.torso.state_dict())
    for name in ("weight_0", "bias_0"):
        getattr(plain.actor.last, name).copy_(getattr(narrow.actor.last, name)[..., :2])
    (batch,) = batches(narrow, 1)
    one = narrow.critic_loss(batch).loss
    other = plain.critic_loss(batch).loss
    assert torch.equal(one, other)
    torch.testing.assert_close(-narrow.actor_loss(batch).error, said(plain.chain.online, batch.obs, plain.actor(batch.obs)).amin(0))


@pytest.mark.parametrize("make", [actor_critic, sac], ids=["td3", "sac"])
@pytest.mark.parametrize("acting", ["uniform", "mean"])
def test_a_chain_of_one_is_td3_or_sac(make, acting):
    plain, one = make(chain=partial(Polyak, tau=TAU)), make(chain=partial(IteratedPolyak, length=1, tau=TAU, acting=acting))
    for batch in batches(plain, 6):
        assert torch.equal(update(plain, batch).error, update(one, batch).error)
    assert same(snapshot(plain), snapshot(one))
    two = make(chain=partial(IteratedPolyak, length=2, tau=TAU))
    for batch in batches(two, 2):
        update(two, batch)
    assert not torch.equal(two.chain.online.torso.weight_0[:2], plain.chain.online.torso.weight_0)


def test_a_fixed_temperature_of_zero_is_none():
    one, other = sac(temperature=partial(FixedTemperature, value=0.0)), sac(temperature=Temperature)
    for batch in batches(one, 4):
        update(one, batch)
        update(other, batch)
    assert same(snapshot(one), snapshot(other))


def test_the_whole_ensemble_as_a_subset_is_the_minimum():
    one, other = sac(reduce=Subset(size=2)), sac()
    for batch in batches(one, 4):
        update(one, batch)
        update(other, batch)
    assert same(snapshot(one), snapshot(other))


# ---- chains of ensembles


def test_the_moves_of_a_chain_take_all_critics_of_an_iteration_together():
    agent = actor_critic(ensemble=2, chain=partial(IteratedPolyak, length=3, tau=0.25), actor_period=1)
    online, target = agent.chain.online.torso.weight_0, agent.chain.target.torso.weight_0  # (K·E, in, out)
    assert online.shape[0] == 6
    for batch in batches(agent, 2):
        old = target.clone()
        update(agent, batch)
        torch.testing.assert_close(target[:2], 0.75 * old[:2] + 0.25 * online[:2])  # the anchor: both critics of Q_1
        assert torch.equal(target[2:], online[:4])


def test_copies_wait_for_their_period():
    agent = actor_critic(chain=partial(IteratedPolyak, length=2, tau=0.25, sync_period=3), actor_period=1)
    for number, batch in enumerate(batches(agent, 7), 1):
        before = agent.chain.target.torso.weight_0[2:].clone()
        update(agent, batch)
        assert torch.equal(before, agent.chain.target.torso.weight_0[2:]) == (number % 3 != 0)


def test_the_period_of_copies_counts_updates_of_the_targets():
    """actor_period 2 and sync_period 2: the targets move at updates 2, 4, 6, 8, and copies are made at 4 and 8."""
    agent = actor_critic(chain=partial(IteratedPolyak, length=2, tau=0.25, sync_period=2), actor_period=2)
    copied = []
    for number, batch in enumerate(batches(agent, 8), 1):
        before = agent.chain.target.torso.weight_0[2:].clone()
        update(agent, batch)
        if not torch.equal(before, agent.chain.target.torso.weight_0[2:]):
            copied.append(number)
    assert copied == [4, 8]


def test_actor_and_targets_have_periods_of_their_own():
    """As in REDQ: the targets move at every update, the actor at some."""
    agent = sac(actor_period=3, target_period=1)
    assert [agent.due(k) for k in (1, 2, 3)] == [("critic", "target"), ("critic", "target"), ("critic", "actor", "target")]


@pytest.mark.parametrize(("acting", "expected"), [("first", 0), ("last", 2), ("mean", None)])
def test_a_discrete_agent_acts_by_the_rule_of_its_chain(acting, expected):
    agent = value_agent(chain=partial(IteratedPolyak, length=3, acting=acting))
    obs, first = torch.randn(40, 5), torch.ones(40, dtype=torch.bool)
    noise = entry(agent.act_noise((1, 40), torch.Generator().manual_seed(0)), 0)
    values = agent.chain.online(obs).mean()  # (K, M, A)
    best = (values.mean(0) if expected is None else values[expected]).argmax(-1)
    assert torch.equal(agent.act(obs, first, {}, 0, noise, explore=False).action, best)
    assert not torch.equal(values[0].argmax(-1), values[2].argmax(-1))


@pytest.mark.parametrize(("acting", "which"), [("first", [0]), ("last", [2]), ("mean", [0, 1, 2]), ("uniform", [0, 1, 2])])
def test_the_value_in_evaluation_is_that_of_the_critics_that_serve(acting, which):
    agent = actor_critic(chain=partial(IteratedPolyak, length=3, acting=acting))
    obs = torch.randn(6, 5)
    noise = entry(agent.act_noise((1, 6), torch.Generator()), 0)
    acted = agent.act(obs, torch.ones(6, dtype=torch.bool), {}, 0, noise, explore=False)
    each = said(agent.chain.online, obs, acted.action).unflatten(0, (3, 2))[:, 0]  # the first critic of each iteration
    torch.testing.assert_close(acted.value, each[which].mean(0))


def test_each_iteration_has_a_line_of_its_own_in_the_log():
    agent = sac(chain=partial(IteratedPolyak, length=2))
    (batch,) = batches(agent, 1)
    shown = agent.read(update(agent, batch).metrics)
    assert shown["train/chain_loss/1"] + shown["train/chain_loss/2"] == pytest.approx(2 * shown["train/critic_loss"])
    assert "train/chain_spread" in shown


def test_targets_of_an_iteration_come_from_the_iteration_before():
    agent = actor_critic(chain=partial(IteratedPolyak, length=3), backup=PolicyBackup(smoothing=0.0))
    (batch,) = batches(agent, 1)
    for network, scale in ((agent.chain.online, 0.0), (agent.chain.target, 1.0)):
        for name, parameter in network.named_parameters():
            parameter.zero_()
            if name == "head.advantage.bias_0":
                parameter[:, 0, 0] = scale * torch.tensor([10.0, 9.0, 20.0, 21.0, 30.0, 29.0])  # two critics each
    term = agent.critic_loss(batch._replace(reward=torch.ones(B), discount=torch.full((B,), 0.5)))
    y = torch.tensor([1 + 0.5 * 9, 1 + 0.5 * 20, 1 + 0.5 * 29])
    assert term.loss.item() == pytest.approx(2 * y.square().sum().item())
    assert term.error.tolist() == pytest.approx([y.mean().item()] * B)  # the critics of an iteration agree


def test_critics_that_share_torsos_along_a_chain_read_their_own():
    """E = 2: critic e of each iteration reads torso e, and the target has torsos for the anchor and for the rest."""
    agent = actor_critic(chain=partial(Iterated, length=3, torso="shared", acting="last", sync_period=2, shift_period=7))
    assert agent.chain.online.index.tolist() == [0, 1, 0, 1, 0, 1]
    assert agent.chain.target.index.tolist() == [0, 1, 2, 3, 2, 3]
    assert agent.chain.target.torso.weight_0.shape[0] == 4
    obs, action = torch.randn(6, 5), torch.rand(6, 2)
    assert torch.equal(said(agent.chain.online, obs, action), said(agent.chain.target, obs, action))
    for step, batch in enumerate(batches(agent, 8), 1):
        update(agent, batch)
        agent.tick(step - 1, step)
    assert not torch.equal(said(agent.chain.online, obs, action), said(agent.chain.target, obs, action))


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
@pytest.mark.parametrize("reduce", [First(), Minimum()])
@pytest.mark.parametrize("acting", ["first", "last", "uniform", "mean"])
def test_the_critics_that_serve_the_actor_are_those_of_the_whole_network(head, reduce, acting):
    """They are evaluated alone, for their cost alone."""
    agent = actor_critic(head=head, actor_reduce=reduce, chain=partial(IteratedPolyak, length=3, acting=acting))
    (batch,) = batches(agent, 1)
    action = torch.rand(B, 2)
    assert isinstance(agent.actor_value.subset, CriticSubset) or (acting == "mean" and reduce == Minimum())
    k = {"first": [0], "last": [2], "uniform": [int(3 * batch.noise["iteration"])], "mean": [0, 1, 2]}[acting]
    each = agent.chain.online(pair(batch.obs, action), batch.noise["critic"])
    atoms = each.expect(torch.zeros((), dtype=torch.int64))
    means = atoms.mean().unflatten(0, (3, 2))  # (K, E, B)
    expected = (means[k, 0] if reduce == First() else means[k].amin(1)).mean(0)
    torch.testing.assert_close(agent.actor_value(pair(batch.obs, action), batch.noise), expected, rtol=1e-5, atol=1e-6)


def test_a_chain_of_one_iteration_with_shared_hidden_layers_serves_the_actor():
    """Its critics have a trunk, which the network for those that serve the actor lacked."""
    chain = partial(Iterated, length=1, torso="shared_hidden")
    agent = actor_critic(torso=MLPTorso(hidden=(7,), head_hidden=(5,)), chain=chain)
    assert isinstance(agent.actor_value.subset, CriticSubset)
    (batch,) = batches(agent, 1)
    x = pair(batch.obs, torch.rand(B, 2))
    expected = agent.chain.online(x, batch.noise["critic"]).expect(torch.zeros((), dtype=torch.int64)).mean()[0]
    torch.testing.assert_close(agent.actor_value(x, batch.noise), expected)


def test_worked_entries_of_the_critics_that_serve():
    """K = 3, E = 2: critics 0 and 1 are Q_1, 2 and 3 Q_2, 4 and 5 Q_3."""
    second = torch.tensor([1])
    assert serving(second, 3, 2, first_only=False).tolist() == [2, 3]
    assert serving(second, 3, 2, first_only=True).tolist() == [2]
    assert torch.arange(6)[serving(None, 3, 2, first_only=True)].tolist() == [0, 2, 4]
    assert torch.arange(6)[serving(None, 3, 2, first_only=False)].tolist() == list(range(6))


def test_the_priority_is_that_of_the_critic_that_is_furthest_off():
    agent = actor_critic(ensemble=3, backup=PolicyBackup(smoothing=0.0))
    (batch,) = batches(agent, 1)
    constants(agent.chain.online, 0.5, -1.0, 2.0)
    constants(agent.chain.target, 0.0, 0.0, 0.0)
    learned = agent.critic_loss(batch._replace(reward=torch.ones(B)))
    assert learned.error.tolist() == pytest.approx([2.0] * B)  # |1 − 0.5|, |1 + 1|, |1 − 2|


def test_a_rule_of_acting_that_needs_discrete_actions_is_refused():
    with pytest.raises(ValueError, match="acting must be one of uniform, first, last, mean where an actor acts, not 'episode'"):
        actor_critic(chain=partial(Iterated, length=2, acting="episode"))


# ---- heads, mappings, reductions


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
@pytest.mark.parametrize("reduce", [Minimum(), Mean(), Subset(size=2)], ids=lambda reduce: type(reduce).__name__)
def test_each_critic_regresses_on_the_target_of_its_iteration(head, reduce):
    """The loss of the ensemble is the sum of the losses of its critics, each for itself."""
    agent = sac(head=head, reduce=reduce, ensemble=3, chain=partial(IteratedPolyak, length=2))
    (batch,) = batches(agent, 1)
    term = agent.critic_loss(batch)
    online, target, paired = agent.views(batch)
    returns = agent.targets(online, target, paired)  # atoms (K, B, N)
    alone = 0.0
    for place in range(6):  # E = 3 critics of each of the K = 2 iterations lie together
        k = place // 3
        mine = Returns(returns.atoms[k : k + 1], None if returns.probs is None else returns.probs[k : k + 1])
        alone += online.now.entries(slice(place, place + 1)).at(paired.action).loss(mine)[0].mean()
    torch.testing.assert_close(term.loss, alone)
    assert term.error.shape == (B,)
    gradients, _ = gradient(agent, "critic", batch)
    assert all(part.flatten(1).norm(dim=1).min() > 0 for part in gradients if part.shape[0] == 6)  # every critic learns


def test_a_mapping_leaves_the_critics_values_in_ordinary_units():
    plain, mapped = sac(), sac(mapping=SignedRoot())
    obs, action = torch.randn(6, 5), torch.rand(6, 2)
    raw = mapped.chain.online(pair(obs, action)).mapped[:, 0, :, 0]
    inverse = SignedRoot().inverse(raw.to(torch.float64))
    torch.testing.assert_close(said(mapped.chain.online, obs, action), inverse.to(torch.float64), rtol=1e-5, atol=1e-6)
    (batch,) = batches(mapped, 1)
    for name in ("critic", "actor"):
        term = mapped.objectives[name].loss(batch)
        assert term.loss.isfinite()
        assert term.error.shape == (B,)
    assert plain.critic_loss(batch).loss != mapped.critic_loss(batch).loss


def test_tqc_drops_the_largest_atoms_of_the_pooled_target():
    agent = sac(head=Quantile(quantiles=4), ensemble=3, reduce=Truncate(drop=1), actor_reduce=Mean(), temperature=Temperature)
    (batch,) = batches(agent, 1)
    action, _ = agent.backup.next_action(agent.actor, batch.next_obs, batch.noise)
    atoms = agent.chain.target(pair(batch.next_obs, action)).quantiles[:, :, 0]  # (E, B, N)
    kept = atoms.movedim(0, 1).flatten(1).sort(1).values[:, :9]  # 3 · (4 − 1)
    own = agent.chain.online(pair(batch.obs, batch.action)).quantiles[:, :, 0]
    target = batch.reward[:, None] + batch.discount[:, None] * kept  # (B, 9)
    error = target[None, :, None, :] - own[..., None]  # (E, B, N, 9)
    tau = (torch.arange(4) + 0.5) / 4
    huber = torch.where(error.abs() <= 1, 0.5 * error**2, error.abs() - 0.5)
    expected = ((tau[:, None] - (error < 0).float()).abs() * huber).mean(-1).sum(-1).mean(1).sum()
    torch.testing.assert_close(agent.critic_loss(batch).loss, expected, rtol=1e-5, atol=1e-6)


def test_sequences_are_batches_with_one_more_axis():
    agent = sac(head=Quantile(quantiles=4), chain=partial(IteratedPolyak, length=2))
    noise = entry(agent.noise((1, 3, B), torch.Generator().manual_seed(0)), 0)
    rows = random_batch(CONTINUOUS, 3 * B, 0)
    long = rows._replace(**{
        name: getattr(rows, name).unflatten(0, (3, B)) for name in rows._fields if isinstance(getattr(rows, name), torch.Tensor)
    }, noise=noise)  # fmt: skip
    flat = rows._replace(noise={**noise, **{name: noise[name].flatten(0, 1) for name in ("next_action", "action")}})
    for name in ("critic", "actor"):
        torch.testing.assert_close(agent.objectives[name].loss(long).loss, agent.objectives[name].loss(flat).loss)


# ---- resets


@pytest.mark.parametrize("optimizer", [Adam(lr=0.01), RMSProp(lr=0.01)], ids=["adam", "rmsprop"])
def test_a_reset_starts_networks_and_optimizers_anew(optimizer):
    torso = MLPTorso(hidden=(7,), weight_norm="hidden")
    parts = {"torso": torso, "optimizer": optimizer, "chain": partial(IteratedPolyak, length=2, tau=1.0)}  # an average of gains is refused
    agent, fresh = (actor_critic(resets=Resets(period=3), **parts) for _ in range(2))
    first = snapshot(agent.chain.online)
    for batch in batches(agent, 3):
        update(agent, batch)
    started = snapshot(agent)
    assert not torch.equal(started["chain.online.torso.weight_0"], first["torso.weight_0"])
    assert same(snapshot(agent.actor), snapshot(agent.target_actor))
    assert equal(agent.objectives["critic"].optimizer.state_dict(), fresh.objectives["critic"].optimizer.state_dict())
    gain = agent.chain.online.torso.gain_0
    torch.testing.assert_close(gain, agent.chain.online.torso.weight_0.norm(dim=1, keepdim=True))
    for batch in batches(fresh, 3, first=50):  # other data
        update(fresh, batch)
    assert same(snapshot(agent), snapshot(fresh))  # what was learned is gone, and the weights are a function of the seed
    for batch in batches(agent, 3):
        update(agent, batch)
    assert not torch.equal(agent.chain.online.torso.weight_0, started["chain.online.torso.weight_0"])


def test_a_reset_restores_the_temperature():
    agent = sac(resets=Resets(period=2))
    for batch in batches(agent, 2):
        update(agent, batch)
    assert agent.temperature().item() == pytest.approx(0.5)
    assert agent.objectives["actor"].optimizer.groups[1].taken == 0


# ---- acting


def test_behaviour_is_a_sample_and_evaluation_the_mean():
    agent = sac()
    obs, first = torch.randn(3, 5), torch.zeros(3, dtype=torch.bool)
    noise = entry(agent.act_noise((1, 3), torch.Generator().manual_seed(0)), 0)
    mean, log_std = agent.actor.parameters_of(agent.actor.outputs(obs))
    acted = agent.act(obs, first, {}, 0, noise, explore=True).action
    torch.testing.assert_close(acted, (mean + log_std.exp() * noise["network"].layers["action"]).tanh())
    assert torch.equal(agent.act(obs, first, {}, 0, noise, explore=False).action, mean.tanh())
    early = sac(explore=Sampled(random_steps=10))
    assert torch.equal(early.act(obs, first, {}, 9, noise, explore=True).action, noise["uniform"])


def test_ornstein_uhlenbeck_noise_is_correlated_in_time_and_remembered():
    explore = OrnsteinUhlenbeck(rate=0.25, std=0.1, random_steps=0)
    memory, actions = {}, []
    for normal in (1.0, 0.0, -2.0):
        tick = Tick(0, torch.tensor([False]), {"normal": torch.full((1, 1), normal)})
        action, _, memory = explore(lambda: torch.zeros(1, 1), tick, memory)
        actions.append(action.item())
    assert actions == pytest.approx([0.1, 0.075, 0.75 * 0.075 - 0.2])


def test_on_a_bandit_the_policy_becomes_the_best_fit_of_its_entropic_optimum():
    """One state, reward −(a − 0.3)², discount 0, α = 0.02: the optimal density is proportional to exp(−(a − 0.3)² / α), a Gaussian around
    0.3 with deviation √(α / 2) = 0.1, which the bounds hardly touch."""
    spec = Spec((1,), torch.float32, 0, 1)
    adam, temperature = Adam(lr=0.02), partial(FixedTemperature, value=0.02)
    agent = sac(spec, torso=MLPTorso(hidden=(32,)), temperature=temperature, optimizer=adam, actor_optimizer=adam)
    generator = torch.Generator().manual_seed(0)
    for step in range(250):
        batch = random_batch(spec, 64, step, entry(agent.noise((1, 64), generator), 0))
        reward = -(batch.action[:, 0] - 0.3).square()
        update(agent, batch._replace(obs=torch.ones(64, 1), next_obs=torch.ones(64, 1), reward=reward, discount=torch.zeros(64)))
    obs, noise = torch.ones(20_000, 1), torch.randn((20_000, 1), generator=generator)
    action, _ = agent.actor.sample(obs, noise)
    assert action.mean().item() == pytest.approx(0.3, abs=0.05)
    assert action.std().item() == pytest.approx(0.1, abs=0.03)


def test_parts_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="head.dueling compares actions"):
        sac(head=Scalar(dueling=True))
    with pytest.raises(ValueError, match="^value must be above 0"):
        sac(temperature=partial(LearnedTemperature, value=0.0))
    with pytest.raises(ValueError, match="^high must be above low"):
        SquashedGaussian(low=1.0, high=0.0)

    with pytest.raises(ValueError, match="^backup.smoothing must be 0 beside a temperature"):
        sac(backup=PolicyBackup(smoothing=0.1))
    with pytest.raises(ValueError, match="^actor_period must be a whole number of at least 1, not 1.5"):
        sac(actor_period=1.5)

    class Two(Raw):
        scales = (1.0, -1.0)

    with pytest.raises(ValueError, match="rewards of one channel"):
        sac(rewards=Two)
    assert sac().chain.online.noise((1, B), None, "target") == QUIET
