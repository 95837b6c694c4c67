"""AWAC (Nair, Gupta, Dalal, Levine, 2020): the whole update in plain PyTorch."""

import copy

import torch
from torch.distributions import Normal
from torch.nn.functional import mse_loss

from tests.references.td3 import follow, step, values


class AWAC:
    def __init__(self, actor, log_std, critics, lr, actor_lr, temperature=1.0, limit=100.0, tau=0.005, eps=1e-8):
        self.actor, self.log_std = actor, log_std.clone().requires_grad_(True)  # s -> mean, (B, D); (D,)
        self.critics, self.target_critics = critics, copy.deepcopy(critics)
        self.actor_adam = torch.optim.Adam([*actor.parameters(), self.log_std], lr=actor_lr, eps=eps)
        self.critic_adam = torch.optim.Adam(critics.parameters(), lr=lr, eps=eps)
        self.temperature, self.limit, self.tau = temperature, limit, tau

    def policy(self, obs, noise):
        return (self.actor(obs) + self.log_std.exp() * noise).clamp(-1, 1)

    def update(self, batch, next_noise, noise):
        """One update, where `batch.discount` is γ (1 − terminated) and both noises (B, D) are normal. Returns the critics' loss."""
        with torch.no_grad():
            action = self.policy(batch.next_obs, next_noise)
            y = batch.reward + batch.discount * values(self.target_critics, batch.next_obs, action).amin(0)
        loss = sum(mse_loss(q, y) for q in values(self.critics, batch.obs, batch.action))
        step(self.critic_adam, loss)
        with torch.no_grad():
            own = values(self.critics, batch.obs, self.policy(batch.obs, noise)).amin(0)
            advantage = values(self.critics, batch.obs, batch.action).amin(0) - own
            weight = (advantage / self.temperature).exp().clamp(max=self.limit)
        likelihood = Normal(self.actor(batch.obs), self.log_std.exp()).log_prob(batch.action).sum(-1)
        step(self.actor_adam, -(weight * likelihood).mean())
        follow(self.target_critics, self.critics, self.tau)
        return loss.detach()
