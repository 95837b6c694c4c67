"""DQN (Mnih and others, 2015): the whole update in plain PyTorch. `double` is Double DQN (van Hasselt, Guez, Silver, 2016)."""

import copy

import torch
from torch.nn.functional import mse_loss


class DQN:
    """
    Args:
        q: network, observations (B, *obs) -> values (B, A).
        sync_period: updates between two copies to the target network.
        distance: `mse_loss` or `smooth_l1_loss`.
    """

    def __init__(self, q, lr, sync_period, double=False, distance=mse_loss, eps=1e-8):
        self.q, self.target = q, copy.deepcopy(q)
        self.adam = torch.optim.Adam(q.parameters(), lr=lr, eps=eps)
        self.sync_period, self.double, self.distance, self.updates = sync_period, double, distance, 0

    def update(self, batch):
        """One update on transitions (B,), where `batch.discount` is γ (1 − terminated). Returns |y − Q(s, a)|, (B,)."""
        with torch.no_grad():
            chooser = self.q if self.double else self.target
            best = chooser(batch.next_obs).argmax(1, keepdim=True)
            y = batch.reward + batch.discount * self.target(batch.next_obs).gather(1, best)[:, 0]
        q = self.q(batch.obs).gather(1, batch.action[:, None])[:, 0]
        loss = (batch.weight * self.distance(q, y, reduction="none")).mean()

        self.adam.zero_grad()
        loss.backward()
        self.adam.step()

        self.updates += 1
        if self.updates % self.sync_period == 0:
            self.target.load_state_dict(self.q.state_dict())
        return (y - q).detach().abs()
