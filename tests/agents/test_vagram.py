"""The loss of VaGraM by hand, its invariants, and gradients of values that are those of each critic alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from deeprl.agents.dynamics import Squared
from deeprl.agents.vagram import ValueGradient, state_values, value_slopes
from deeprl.errors import ConfigError
from deeprl.learning.networks.cores import GRU
from deeprl.learning.networks.critics import ensemble_returns, pair
from deeprl.learning.transforms.rewards import Scaled
from deeprl.running.config.alternatives import option_class
from deeprl.running.config.build import check_replay, require_model
from deeprl.running.config.instantiate import Deferred
from deeprl.running.config.option_names import option_of
from deeprl.running.session.assemble import fitted
from tests.builders import CONTINUOUS, settled, spec_of

LOSS = ValueGradient(plain_steps=0)
MEAN, TARGET = torch.tensor([[[1.0, 0.5, 2.0]]]), torch.tensor([[[3.0, 0.0, 5.0]]])  # (r, two changes): errors −2, ½, −3
SLOPES = torch.tensor([[[[2.0, 0.0], [1.0, -1.0]]]])  # of two values


def loss(mean=MEAN, slopes=SLOPES, choice=LOSS, step=0):
    return choice(mean, torch.zeros_like(mean), TARGET, slopes, step).item()


def test_the_loss_by_hand():
    """(2·½)², 0, (1·½)², (−1·−3)², their mean, and the reward's 2²."""
    assert loss() == pytest.approx((1.0 + 0.0 + 0.25 + 9.0) / 4 + 4.0)


def test_invariants():
    reward = 4.0
    assert loss(slopes=torch.ones(1, 1, 1, 2)) - reward == pytest.approx((0.25 + 9.0) / 2)  # the squared error of the state
    assert loss(slopes=3 * SLOPES) - reward == pytest.approx(9 * (loss() - reward))
    assert loss(mean=TARGET) == 0.0
    early = ValueGradient(plain_steps=10)
    squared = Squared()(MEAN, MEAN, TARGET, SLOPES, 0).item()
    assert [loss(choice=early, step=step) for step in (9, 10)] == pytest.approx([loss() + squared, loss()])


def test_what_no_value_depends_on_has_no_gradient():
    mean = MEAN.clone().requires_grad_(True)
    slopes = SLOPES * torch.tensor([1.0, 0.0])
    (gradient,) = torch.autograd.grad(LOSS(mean, mean, TARGET, slopes, 0).sum(), mean)
    assert gradient[..., 2].item() == 0.0
    assert gradient[..., 1].item() == pytest.approx(2 * 0.5 * (4 + 1) / 4)


@pytest.mark.parametrize(("agent", "values"), [("sac", 4), ("td3", 4), ("crossq", 2)])
def test_gradients_are_those_of_each_value_alone(agent, values):
    """Not sums over the critics before it; without the part that goes through the action. CrossQ has no target critics."""
    from deeprl.running.config.build import build_agent

    words = ("agent.torso.hidden=[8]", "agent.actor_torso.hidden=[8]", "agent/normalize=running")
    built = build_agent(settled(f"agent={agent}", "env=classic/pendulum", *words), CONTINUOUS)
    obs = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    slopes, action = value_slopes(built, obs), built.greedy(obs)
    assert slopes.shape == (6, values, 5)
    networks = [built.chain.online, built.chain.target][: values // 2]
    for j, critic in [(j, critic) for j in range(len(networks)) for critic in range(2)]:
        at = obs.clone().requires_grad_(True)
        value = ensemble_returns(networks[j](pair(built.normalize(at), action)), 2).mean()[0, critic]
        (alone,) = torch.autograd.grad(value.sum(), at)
        assert torch.allclose(slopes[:, 2 * j + critic], alone, atol=1e-6)
    built.rewards = Scaled(discount=0.9)
    built.rewards.scale.fill_(0.25)  # the model's rewards are raw: its states would have counted a sixteenth beside them
    assert torch.equal(value_slopes(built, obs), 4 * slopes)
    assert state_values(built, obs).shape == (values, 6)


def test_a_refusal_names_the_option_that_was_chosen():
    """It said replay=model, whose file names the class; so did replay=prioritized say replay=uniform, and agent/surrogate=plain clipped."""
    make_replay = fitted(settled("agent=vagram", "env=classic/pendulum"))[3]
    with pytest.raises(ConfigError, match="^replay=model_value_gradient: a model of this kind takes continuous actions"):
        make_replay(spec=spec_of("toy/chain"), num=1, discount=0.99)
    assert [option_of("replay", "Replay"), option_of("agent/surrogate", "Surrogate"), option_of("agent/backup", "Max")] == [
        None,
        "clipped",
        "max",
    ]


REPLACED = {
    ("mbpo", "uniform"): "sac", ("mbpo", "stored"): "sac", ("vagram", "prioritized"): "sac", ("vagram", "model"): "mbpo",
    ("vagram", "stored_model"): "mbpo", ("vagram", "model_mse"): "mbpo", ("ravl", "uniform"): "edac", ("ravl", "stored"): "edac",
}  # fmt: skip
FITTING = [
    ("mbpo", "model_mse"), ("mbpo", "stored_model"), ("vagram", "model_value_gradient"), ("ravl", "model"), ("sac", "model"),
    ("sac", "uniform"), ("r2d2", "recurrent"),
]  # fmt: skip


@pytest.mark.parametrize(("agent", "replay"), [*REPLACED, *FITTING])
def test_an_agent_that_is_made_of_its_model_is_not_run_without(agent, replay):
    """It was the agent from which its recipe starts, under another name."""
    config, source = {"names": {"agent": agent, "replay": replay}}, Deferred(option_class("replay", replay), {}, "replay")
    base = REPLACED.get((agent, replay))
    if base is None:
        require_model(config, source)
    else:
        with pytest.raises(ConfigError, match=f"^replay={replay} leaves agent={base} of agent={agent}, .* or choose agent={base}"):
            require_model(config, source)


def test_a_run_that_was_stored_without_its_model_goes_on():
    """Such runs are older than the refusal, whose remedy is no word of deeprl resume."""
    config = settled("agent=vagram", "env=classic/pendulum")
    config["names"]["replay"] = "model"
    with pytest.raises(ConfigError, match="leaves agent=mbpo"):
        fitted(config)
    fitted(config, ("deeprl",))


def test_a_core_leads_an_agent_that_is_made_of_its_model_to_its_base():
    """It was sent to replay=recurrent, which was refused in the next command, with the one before as its remedy."""
    remembers: Any = SimpleNamespace(needs=frozenset({"sequences", "state"}), core=GRU(8))
    config, source = {"names": {"agent": "mbpo", "replay": "model"}, "replay": {}}, Deferred(option_class("replay", "model"), {}, "replay")
    with pytest.raises(ConfigError, match=r"replay=model offers none\. Choose agent=sac with replay=recurrent, "):
        check_replay(config, remembers, source)
