"""Prior values in the baseline of a policy gradient: neutral elements, bias and variance, what is frozen."""

from functools import partial

import pytest
import torch

from deeprl.agents.prior import MixedPrior, ResidualPrior, state_values
from deeprl.agents.stock import CVaRActionSelection
from deeprl.learning.networks.distributional import Quantile
from deeprl.learning.networks.mlp import MLP
from deeprl.learning.networks.weight_norm import initialise_with_gains, zero_last_
from deeprl.learning.parts.baseline import Baseline
from deeprl.running.config.build import build_agent
from deeprl.running.config.instantiate import instantiate
from deeprl.running.config.stored import continued
from deeprl.running.runs.folder import RunFolder
from deeprl.running.session.prior import embed_prior
from deeprl.running.training.learner import Learner, gradient
from deeprl.schedules import Constant, Linear
from tests.builders import made_up, same, settled, snapshot, spec_of, value_agent

CARTPOLE = "env=classic/cartpole"


def ppo(baseline=None, **own):
    """PPO on CartPole, of the configuration, with another baseline."""
    spec = spec_of("classic/cartpole")
    config = settled("agent=ppo", CARTPOLE, "agent.torso.hidden=[8]")
    part = instantiate({**config["agent"], "_partial_": True}, "agent", None)
    chosen = {"baseline": partial(baseline, run="a", network=prior, **own)} if baseline else {}
    return part(spec=spec, seed=0, **chosen)


def prior(spec, seed):
    return value_agent(spec, seed)


def test_a_weight_of_zero_is_ppo_bit_for_bit():
    plain, mixed = ppo(), ppo(MixedPrior, kappa=Constant(0.0))
    for seed in range(3):
        batches = [made_up(agent, agent.spec, size=12, seed=seed) for agent in (plain, mixed)]
        for agent, batch in zip((plain, mixed), batches):
            Learner(agent, lambda batch: batch).update(batch)
    assert same(snapshot(plain.policy), snapshot(mixed.policy))
    assert same(snapshot(plain.value), snapshot(mixed.value))


def test_a_weight_of_one_is_the_prior_and_leaves_the_learned_value_without_a_gradient():
    mixed = ppo(MixedPrior, kappa=Constant(1.0))
    batch = made_up(mixed, mixed.spec, size=12)
    assert torch.equal(batch.extra["value"], state_values(mixed.baseline.prior, batch.obs))
    found = dict(zip(map(id, mixed.objectives["policy"].parameters), gradient(mixed, "policy", batch)[0]))
    assert not any(found[id(parameter)].any() for parameter in mixed.value.parameters())


def test_the_weight_falls_with_the_step():
    mixed = ppo(MixedPrior, kappa=Linear(0.5, 0.0, 100))
    mixed.clock.step = 50
    assert made_up(mixed, mixed.spec, size=4).extra["kappa"].tolist() == [0.25] * 4


def test_a_residual_starts_at_the_prior_and_fits_the_rest():
    made = ppo(ResidualPrior)
    batch = made_up(made, made.spec, size=12)
    assert torch.equal(batch.extra["value"], state_values(made.baseline.prior, batch.obs))
    before = snapshot(made.baseline)
    Learner(made, lambda batch: batch).update(batch)
    assert same(before, snapshot(made.baseline))
    assert any(parameter.any() for parameter in list(made.value.last.parameters())[-2:])


@pytest.mark.parametrize("which", ["none", "hidden", "all"])
def test_what_starts_at_zero_learns_with_normalised_weights_too(which):
    """The last two parameters were zeroed, which were gains: the hidden layer gave 0, and had no gradient."""
    value = MLP(1, (3, 5, 1), activate_last=False, init="orthogonal_relu")
    initialise_with_gains(value, 0, "value", which)
    before = snapshot(value)
    zero_last_(value)
    assert {name for name, now in snapshot(value).items() if not now.equal(before[name])} == {"gain_1" if which == "all" else "weight_1"}
    for parameter in value.parameters():
        parameter.requires_grad_(True)
    out = value(torch.randn(4, 3, generator=torch.Generator().manual_seed(0)))
    assert not out.any()
    out.sum().backward()
    assert value.get_parameter("gain_1" if which == "all" else "weight_1").grad.any()


def test_a_value_that_follows_the_steps_of_its_run_is_no_prior():
    """After a resume its share was that of step 0."""
    with pytest.raises(ValueError, match="a has agent/baseline=mix, whose share follows the steps"):
        ResidualPrior(spec=spec_of("classic/cartpole"), run="a", network=lambda spec, seed: ppo(MixedPrior, kappa=Constant(0.5)))


def test_values_that_are_no_mean_returns_are_no_prior(monkeypatch):
    risk_averse = partial(value_agent, head=Quantile(quantiles=4), utility=CVaRActionSelection(tau=0.5))
    with pytest.raises(ValueError, match="agent/utility is none"):
        ResidualPrior(spec=spec_of("classic/cartpole"), run="a", network=risk_averse)
    curious = ppo()
    monkeypatch.setattr(type(curious.intrinsic), "gives", True)
    with pytest.raises(ValueError, match="agent/intrinsic gives others"):
        state_values(curious, torch.zeros(1, 4))


@pytest.mark.parametrize(("baseline", "own"), [(ResidualPrior, {}), (MixedPrior, {"kappa": Constant(0.5)})])
def test_evaluations_and_a_later_run_read_the_value_that_advantages_are_made_with(baseline, own):
    """Not the learned part of it alone."""
    made = ppo(baseline, **own)
    batch = made_up(made, made.spec, size=12)
    assert torch.equal(state_values(made, batch.obs), batch.extra["value"])
    acted = made.act(batch.obs, torch.ones(12, dtype=torch.bool), {}, 0, {}, explore=False)
    assert torch.equal(acted.value, batch.extra["value"])


@pytest.mark.parametrize("lam", [1.0, 0.8])
def test_a_change_of_the_value_changes_advantages_by_its_own_differences(lam):
    """b = V − V_φ changes Â_t by Σ_k (γλ)^k (γ b(s_{t+k+1}) − b(s_{t+k})), which is −b(s_t) for λ = 1 along a path."""
    plain, mixed = ppo(), ppo(MixedPrior, kappa=Constant(0.5))
    plain.lam = mixed.lam = lam
    one, other = (made_up(agent, agent.spec, size=8) for agent in (plain, mixed))
    order = one.index.argsort()

    def b(obs: torch.Tensor) -> torch.Tensor:
        return 0.5 * (state_values(mixed.baseline.prior, obs) - plain.outputs(obs)[1])[order]

    with torch.no_grad():
        difference, expected = 0.99 * b(one.next_obs) - b(one.obs), torch.zeros(9)
    for t in reversed(range(8)):
        expected[t] = difference[t] + 0.99 * lam * expected[t + 1]
    found = (other.extra["advantage"] - one.extra["advantage"])[order]
    assert torch.allclose(found, expected[:8], atol=1e-4)


def test_a_run_that_goes_on_needs_no_folder_of_its_prior(tmp_path):
    """By the same command too, which was refused once the folder was gone."""
    config = {"agent": {"baseline": {"run": str(tmp_path / "gone"), "network": None}}}
    embed_prior(config)
    assert config["agent"]["baseline"]["network"] is None
    other = settled("agent=ppo", CARTPOLE)

    def of(network):
        return {**other, "agent": {**other["agent"], "baseline": {"run": "gone", "network": network}}}

    RunFolder(tmp_path).write_config(of({"_target_": "deeprl.x"}))
    assert continued(tmp_path, of(None))["agent"]["baseline"]["network"] == {"_target_": "deeprl.x"}


def test_a_baseline_of_an_actor_is_refused_and_one_without_a_run():
    with pytest.raises(ValueError, match="run must be a run folder"):
        MixedPrior(spec=spec_of("classic/cartpole"), run="a", kappa=Constant(0.5))
    with pytest.raises(ValueError, match="kappa"):
        ppo(MixedPrior, kappa=Constant(1.5))
    assert Baseline(spec=spec_of("classic/cartpole")).columns(torch.zeros(1, 4), 0) == {}
    assert build_agent(settled("agent=a2c", CARTPOLE), spec_of("classic/cartpole")).baseline.zero_start is False
