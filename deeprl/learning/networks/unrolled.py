"""One recurrent network over a batch of sequences (T, B), or over a rollout.

    h_0 the state before row 0       y_t, h_{t+1} = core(torso(obs_t), h_t),  with h_t = 0 where an episode starts
    now: y_t                         next: core(torso(next_obs_t), h_{t+m}),  m steps later, where the episode goes on

Both ends of a transition come from one unroll: `next` goes on from it by one step, for all rows at once, also at an episode's end, where
`next_obs` is the true last observation. Rows of a burn-in only move the state, without gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor

from deeprl.learning.networks.blocks import Torso
from deeprl.learning.networks.cores import Core, unroll
from deeprl.types import Batch


def starts(ends: Tensor) -> Tensor:
    """Rows whose observation is the first of an episode, (T, B) bool, of the rows after which one ends. Row 0 has a state of its own."""
    return torch.cat([torch.zeros_like(ends[:1]), ends[:-1]])


class Unrolled:
    """
    Args:
        torso, core: of the network.
        batch: with normalized observations.
        state: (B, S), before the first row.
    """

    def __init__(self, torso: Torso, core: Core, batch: Batch, state: Tensor):
        self.torso, self.core, self.batch, self.state = torso, core, batch, core.of_rows(state)
        self._features_and_states: tuple[Tensor, Tensor] | None = None

    @property
    def now(self) -> Tensor:
        """Features of `obs` after the core, (n, T · B, F)."""
        return self.features_and_states[0]

    @property
    def features_and_states(self) -> tuple[Tensor, Tensor]:
        """`now`, and the states after each row (n, T, B, size), computed at the first use."""
        if self._features_and_states is None:
            batch = self.batch
            y, states = unroll(self.core, self.features(batch.obs), self.start(), starts(self.ends))
            self._features_and_states = y.flatten(1, 2), states
        return self._features_and_states

    def features(self, obs: Tensor) -> Tensor:
        """(T, B, *obs) -> (n, T, B, inputs)"""
        return self.torso(obs.flatten(0, 1)).unflatten(1, obs.shape[:2])

    def start(self) -> Tensor:
        """The state before row 0, (n, B, size), after the burn-in."""
        extra, state = self.batch.extra, self.state
        if "burn_in" not in extra:
            return state
        ends = extra["burn_in_ends"]
        with torch.no_grad():
            _, states = unroll(self.core, self.features(extra["burn_in"]), state, starts(ends))
            return states[:, -1] * ~ends[-1, :, None]

    def next(self) -> Tensor:
        """Features of `next_obs`, (n, T · B, F)."""
        batch, states = self.batch, self.features_and_states[1].flatten(1, 2)
        steps, size = batch.steps, batch.steps.shape[1]
        row = torch.arange(len(steps), device=steps.device)[:, None] + (steps - 1).clamp(min=0)  # the last row before `next_obs`
        place = row * size + torch.arange(size, device=steps.device)
        return self.other(batch.next_obs, states.index_select(1, place.flatten()))

    def before(self) -> Tensor:
        """States before each row, (n, T · B, size). `other` with these states gives the features of another input in the same row."""
        states = torch.cat([self.start()[:, None], self.features_and_states[1][:, :-1]], 1)
        return (states * ~starts(self.ends)[..., None]).flatten(1, 2)

    def other(self, obs: Tensor, states: Tensor) -> Tensor:
        """Features of other inputs (T, B, *obs) at given states (n, T · B, size), by one step for all rows at once, (n, T · B, F)."""
        return self.core.step(self.core.prepare(self.torso(obs.flatten(0, 1))), states)[0]

    @property
    def ends(self) -> Tensor:
        """(T, B) bool, rows after which an episode ends."""
        return self.batch.ended | ~self.batch.valid
