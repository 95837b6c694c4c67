"""Targets for the least reward still to come, over sequences: the bottleneck objective of Cui and Yu, "Reinforcement Learning with
Non-Cumulative Objective" (2023).

    G_t  =  r_t                               where the step terminated
    G_t  =  min( r_t, γ G_{t+1} )             where the next action A_{t+1} is greedy
    G_t  =  min( r_t, γ Z̄(s_{t+1}, a*) )     otherwise, and where the episode or the sequence ends after t;     a* is greedy

Greedy actions are those of the target network. With `discount=1` values are rewards as they are; with less, the k-th next reward counts γᵏ.
With γ = 0 the target is r.

Where transitions are random, E min(r, Z) is less than min(r, E Z): Z = 0 or 2, evenly, and r = 1 give 1/2 and 1. A distributional head
takes the minimum of each atom. A scalar head bootstraps the second number, so that it is right only where everything is deterministic;
elsewhere it learns a number between the two, which depends on the length of the sequences.

The authors' code has one step, γ at the same place, and greedy actions of the online network (Double). Following greedy actions along a
sequence is ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from deeprl.choice import Choice
from deeprl.learning.backups.policies import greedy
from deeprl.learning.values.returns import Returns
from deeprl.learning.values.view import View
from deeprl.types import Batch


@dataclass(frozen=True)
class Bottleneck(Choice):
    """The least reward from now on, along greedy actions."""

    needs = frozenset({"sequences", "returns", "actions"})
    discounts = False
    """The least of the rewards is bounded without a discount"""

    def __call__(self, online: View, target: View, batch: Batch) -> Returns:
        """Target of every row, atoms (K, T, B, N).

        Raises:
            ValueError: the batch has no axis of time.
        """
        if batch.valid.dim() != 2:
            raise ValueError("the bottleneck of a path needs sequences: the batch has no axis of time")
        future = target.next.expect(greedy(target.next.mean()))
        follows = (greedy(target.now.mean()) == batch.action) & batch.valid  # (K, T, B)
        goes_on = follows[:, 1:] & ~batch.ended[:-1]  # from a row to the next
        atoms = list(future.atoms.unbind(1))
        probs = None if future.probs is None else list(future.probs.unbind(1))
        for t in reversed(range(len(atoms))):
            if t + 1 < len(atoms):
                along = goes_on[:, t].unsqueeze(-1)
                atoms[t] = torch.where(along, atoms[t + 1], atoms[t])
                if probs is not None:
                    probs[t] = torch.where(along, probs[t + 1], probs[t])
            atoms[t] = least(batch.reward[t], batch.discount[t], atoms[t])
        return Returns(torch.stack(atoms, 1), None if probs is None else torch.stack(probs, 1))


def least(reward: Tensor, discount: Tensor, atoms: Tensor) -> Tensor:
    """min(r, γ Z) for rewards and discounts (B,), 0 after a termination, and atoms (K, B, N)."""
    reward, discount = reward.unsqueeze(-1), discount.unsqueeze(-1)
    return torch.where(discount > 0, torch.minimum(reward, discount * atoms), reward)
