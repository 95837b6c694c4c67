"""Weightings of a user: what they may read, and what they may ask of the replay."""

from __future__ import annotations

import pytest
import torch

from deeprl.errors import ConfigError
from deeprl.learning.parts.weighting import Weighting
from deeprl.replay.replay import Replay
from deeprl.running.config.build import build_agent, check_replay
from deeprl.running.config.instantiate import Deferred
from tests.builders import CONTINUOUS, DISCRETE, actor_critic, made_up, settled, spec_of, update, value_agent


class LargeErrors(Weighting):
    """Twice the weight where the prediction is below the reward."""

    def forward(self, online, target, batch):
        prediction = online.now.at(batch.action).mean()  # (K, *B), or (K·E, *B) of critics
        return batch.weight * (1.0 + (prediction.mean(0) < batch.reward)), {}


class Importance(Weighting):
    """A weight that needs what a plain replay does not keep."""

    needs = frozenset({"behavior_probability"})

    def forward(self, online, target, batch):
        return batch.weight / batch.extra["behavior_probability"], {}


@pytest.mark.parametrize(("make", "spec"), [(value_agent, DISCRETE), (actor_critic, CONTINUOUS)])
def test_a_weighting_may_read_the_prediction_which_keeps_its_gradient(make, spec):
    weighted, plain = (make(spec, weighting=each) for each in (LargeErrors, Weighting))
    batch = made_up(plain, spec, 8)
    assert torch.equal(*(update(agent, batch).error for agent in (weighted, plain)))  # errors of the same networks
    assert any(not torch.equal(one, other) for one, other in zip(weighted.parameters(), plain.parameters()))  # other updates


@pytest.mark.parametrize("words", [("agent=dqn", "env=toy/chain"), ("agent=td3", "env=classic/pendulum")])
def test_what_a_weighting_needs_is_asked_of_the_replay(words):
    config = settled(*words)
    config["agent"]["weighting"] = {"_target_": f"{__name__}.Importance", "_partial_": True}
    agent = build_agent(config, spec_of(words[1].removeprefix("env=")), allowed=None)
    assert "behavior_probability" in agent.needs
    replay = Deferred(type("Bare", (Replay,), {"offers": frozenset()}), {}, "replay")
    with pytest.raises(ConfigError, match="agent/weighting=Importance needs"):
        check_replay(config, agent, replay)
