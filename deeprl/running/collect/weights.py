"""The numbers that an agent acts with, as a list of arrays: what is sent to actors.

Which numbers these are is seen in one call of `Agent.infer`. So the critics of an actor-critic agent and the target networks stay where
they are, and the parameters of one optimizer are one array.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from deeprl.learning.agent import Agent
from deeprl.noise import map_tensors
from deeprl.running.accelerate.pure import Constants


class Touched(TorchDispatchMode):
    """All tensors that operators take in a `with` block: their memory, and those that live on by `id`."""

    def __init__(self) -> None:
        super().__init__()
        self.memory: set[int] = set()
        self.ids: set[int] = set()

    def __torch_dispatch__(self, operator: Callable, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        taken = [leaf for leaf in pytree.tree_leaves((args, kwargs or {})) if isinstance(leaf, Tensor)]
        self.memory |= {tensor.untyped_storage().data_ptr() for tensor in taken}
        self.ids |= {*map(id, taken)}
        return operator(*args, **(kwargs or {}))


class Weights:
    """Parameters and buffers that `Agent.infer` reads, in an order that depends on the agent's configuration alone.

    Args:
        agent: in either process, built from the same configuration.
    """

    def __init__(self, agent: Agent):
        spec, device = agent.spec, next(agent.parameters()).device
        obs = torch.zeros((1, *spec.obs_shape), dtype=spec.obs_dtype, device=device)
        noise = map_tensors(lambda tensor: tensor[0].to(device), agent.act_noise((1, 1), torch.Generator())["network"])
        with torch.no_grad(), Touched() as touched:
            agent.infer(obs, noise, *agent.recalled({}, torch.ones(1, dtype=torch.bool)))
        constants = Constants(agent)
        self._flats = [flat for flat in constants.flats() if flat.untyped_storage().data_ptr() in touched.memory]
        places = constants.places.values()  # not the tensors, because a buffer may be replaced
        self._places = [place for place in places if place.owner[place.key].untyped_storage().data_ptr() in touched.memory]

    def tensors(self) -> list[Tensor]:
        return [*self._flats, *(owner[key] for owner, key in self._places)]

    def read(self) -> list[np.ndarray]:
        """Copies of the present numbers."""
        return [tensor.detach().cpu().numpy().copy() for tensor in self.tensors()]

    @torch.no_grad()
    def write(self, arrays: Sequence[np.ndarray]) -> None:
        """Take the numbers that another process has read. The arrays may be read-only, as those of Ray's object store are."""
        for tensor, array in zip(self.tensors(), arrays, strict=True):
            tensor.copy_(torch.from_numpy(array.copy()))
