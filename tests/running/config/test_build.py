"""An agent as it is built from a configuration."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from deeprl.extend import Agent, Spec
from deeprl.running.config.build import build_agent
from deeprl.system.global_draws import generators


class Plain(Agent):
    """Of layers of torch, whose first weights come from its global generator."""

    actions = "discrete"

    def __init__(self, *, spec: Spec, seed: int):
        super().__init__()
        self.layer = nn.Linear(*spec.obs_shape, spec.num_actions)
        self.scale = float(np.random.normal())  # noqa: NPY002


def test_layers_of_torch_begin_alike_in_every_run_of_a_seed():
    spec, agent = Spec((3,), torch.float32, 2, 0), {"_target_": f"{__name__}.Plain"}
    before, found = generators(), []
    for seed in (0, 0, 1):
        built = build_agent({"agent": agent, "seed": seed, "device": "cpu"}, spec, allowed=None)
        found.append([*built.layer.weight.flatten().tolist(), built.scale])
        assert generators() == before
        torch.rand(1), np.random.random()  # noqa: NPY002 (what else the process draws)
        before = generators()
    assert found[0] == found[1]
    assert not {*found[0]} & {*found[2]}
