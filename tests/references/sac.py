"""SAC (Haarnoja and others, 2018) with a learned temperature: the whole update in plain PyTorch."""

import copy

import torch
from torch.distributions import Normal
from torch.nn.functional import mse_loss

from tests.references.td3 import follow, step, values


class SAC:
    def __init__(self, actor, critics, lr, actor_lr, alpha_lr, alpha=1.0, target_entropy=-1.0, tau=0.005, eps=1e-8):
        self.actor, self.critics, self.target_critics = actor, critics, copy.deepcopy(critics)  # s -> (μ, log σ), (B, 2 D); E critics
        self.log_alpha = torch.tensor([alpha]).log().requires_grad_(True)
        self.critic_adam = torch.optim.Adam(critics.parameters(), lr=lr, eps=eps)
        self.actor_adam = torch.optim.Adam(actor.parameters(), lr=actor_lr, eps=eps)
        self.alpha_adam = torch.optim.Adam([self.log_alpha], lr=alpha_lr, eps=eps)
        self.target_entropy, self.tau = target_entropy, tau  # of all D dimensions together, in nats

    def policy(self, obs, noise):
        """a = tanh(μ + σ noise), (B, D), and log π(a|s), (B,)."""
        mean, log_std = self.actor(obs).chunk(2, -1)
        normal = Normal(mean, log_std.clamp(-20, 2).exp())
        u = normal.mean + normal.stddev * noise
        return u.tanh(), (normal.log_prob(u) - torch.log1p(-u.tanh().square())).sum(-1)

    def update(self, batch, next_noise, noise):
        """One update, where `batch.discount` is γ (1 − terminated) and both noises (B, D) are normal. Returns the critics' loss."""
        alpha = self.log_alpha.detach().exp()
        with torch.no_grad():
            action, log_prob = self.policy(batch.next_obs, next_noise)
            y = batch.reward + batch.discount * (values(self.target_critics, batch.next_obs, action).amin(0) - alpha * log_prob)
        loss = self.critic_loss(batch, y)
        step(self.critic_adam, loss)
        action, log_prob = self.policy(batch.obs, noise)
        step(self.actor_adam, (alpha * log_prob - values(self.critics, batch.obs, action).amin(0)).mean())
        step(self.alpha_adam, (-self.log_alpha * (log_prob.detach() + self.target_entropy)).mean())
        follow(self.target_critics, self.critics, self.tau)
        return loss.detach()

    def critic_loss(self, batch, y):
        return sum(mse_loss(q, y) for q in values(self.critics, batch.obs, batch.action))
