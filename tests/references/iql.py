"""IQL (Kostrikov, Nair, Levine, 2022): the whole update in plain PyTorch."""

import copy

import torch
from torch.distributions import Normal
from torch.nn.functional import mse_loss

from tests.references.td3 import follow, step, values


class IQL:
    def __init__(self, actor, log_std, value, critics, lr, actor_lr, expectile=0.7, beta=3.0, limit=100.0, tau=0.005, eps=1e-8):
        self.actor, self.log_std, self.value = actor, log_std.clone().requires_grad_(True), value  # s -> (B, D); (D,); s -> V, (B, 1)
        self.critics, self.target_critics = critics, copy.deepcopy(critics)
        self.actor_adam = torch.optim.Adam([*actor.parameters(), self.log_std], lr=actor_lr, eps=eps)
        self.value_adam = torch.optim.Adam(value.parameters(), lr=lr, eps=eps)
        self.critic_adam = torch.optim.Adam(critics.parameters(), lr=lr, eps=eps)
        self.expectile, self.beta, self.limit, self.tau = expectile, beta, limit, tau

    def update(self, batch):
        """One update, where `batch.discount` is γ (1 − terminated). Returns the critics' loss."""
        with torch.no_grad():
            q = values(self.target_critics, batch.obs, batch.action).amin(0)
        u = q - self.value(batch.obs)[:, 0]
        step(self.value_adam, ((self.expectile - (u < 0).float()).abs() * u.square()).mean())
        with torch.no_grad():
            y = batch.reward + batch.discount * self.value(batch.next_obs)[:, 0]
            weight = (self.beta * (q - self.value(batch.obs)[:, 0])).exp().clamp(max=self.limit)
        loss = sum(mse_loss(each, y) for each in values(self.critics, batch.obs, batch.action))
        step(self.critic_adam, loss)
        likelihood = Normal(self.actor(batch.obs).tanh(), self.log_std.exp()).log_prob(batch.action).sum(-1)
        step(self.actor_adam, -(weight * likelihood).mean())
        follow(self.target_critics, self.critics, self.tau)
        return loss.detach()
