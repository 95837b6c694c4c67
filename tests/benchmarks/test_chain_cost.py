"""The loop form of `benchmarks.chain_cost` is the batched form taken apart: same loss, same gradients."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from benchmarks.chain_cost import Loop, loop_loss
from deeprl.agents.idqn import Iterated
from deeprl.learning.networks.distributional import ImplicitQuantile
from deeprl.learning.networks.heads import Scalar
from deeprl.learning.objective import Objective
from deeprl.learning.optim.adam import Adam
from deeprl.running.training.learner import gradient
from tests.builders import DISCRETE, entry, random_batch, value_agent

K = 3


@pytest.mark.parametrize("head", [Scalar(), ImplicitQuantile(samples=4, target_samples=5, policy_samples=6, cosines=8)])
@pytest.mark.parametrize("torso", ["shared", "separate"])
def test_both_forms_are_one_mathematics(head, torso):
    agent = value_agent(head=head, chain=partial(Iterated, length=K, torso=torso))
    agent.chain.target.load_state_dict({name: value + 0.1 * value.flip(-1) for name, value in agent.chain.target.state_dict().items()})
    noise = entry(agent.noise((1, 11), torch.Generator().manual_seed(0)), 0)
    batch = random_batch(DISCRETE, 11, noise=noise)
    loop = Loop(agent)
    parameters = list(loop.online.parameters())
    agent.objectives["loop"] = Objective(loop_loss(agent, loop), parameters, Adam(lr=0.01).build(parameters))
    (stacked, batched), (singles, looped) = (gradient(agent, name, batch) for name in ("value", "loop"))
    torch.testing.assert_close(looped.metrics["train/loss"], batched.metrics["train/loss"], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(looped.error, batched.error, rtol=1e-5, atol=1e-6)
    by_name = dict(zip((name for name, _ in agent.chain.online.named_parameters()), stacked))
    names = [name.replace("module.", "") for name, _ in loop.online.named_parameters()]
    for name, single in zip(names, singles):
        k, own = name.split(".", 1)
        torch.testing.assert_close(single, by_name[own][int(k) : int(k) + 1], rtol=1e-4, atol=1e-6)
