"""TD3 (Fujimoto, van Hoof, Meger, 2018): the whole update in plain PyTorch. One critic, no smoothing and delay 1 make it DDPG."""

import copy

import torch
from torch.nn.functional import mse_loss


def step(adam, loss):
    adam.zero_grad(), loss.backward(), adam.step()


def values(critics, obs, action):
    return torch.stack([critic(torch.cat([obs, action], 1))[:, 0] for critic in critics])  # (E, B)


def follow(target, net, tau):
    for q, p in zip(target.parameters(), net.parameters()):
        q.data.copy_(tau * p.data + (1 - tau) * q.data)


class TD3:
    def __init__(self, actor, critics, lr, actor_lr, tau=0.005, smoothing=0.2, clip=0.5, delay=2, eps=1e-8):
        self.actor, self.critics = actor, critics  # s -> what becomes an action by tanh, (B, D); E times (s, a) -> Q, (B, 1)
        self.target_actor, self.target_critics = copy.deepcopy(actor), copy.deepcopy(critics)
        self.actor_adam = torch.optim.Adam(actor.parameters(), lr=actor_lr, eps=eps)
        self.critic_adam = torch.optim.Adam(critics.parameters(), lr=lr, eps=eps)
        self.tau, self.smoothing, self.clip, self.delay, self.updates = tau, smoothing, clip, delay, 0

    def update(self, batch, noise):
        """One update, where `batch.discount` is γ (1 − terminated) and `noise` (B, D) is standard normal. Returns the critics' loss."""
        with torch.no_grad():
            smoothing = (self.smoothing * noise).clamp(-self.clip, self.clip)
            action = (self.target_actor(batch.next_obs).tanh() + smoothing).clamp(-1, 1)
            y = batch.reward + batch.discount * values(self.target_critics, batch.next_obs, action).amin(0)
        loss = sum(mse_loss(q, y) for q in values(self.critics, batch.obs, batch.action))
        step(self.critic_adam, loss)
        self.updates += 1
        if self.updates % self.delay == 0:
            step(self.actor_adam, self.actor_loss(batch, self.actor(batch.obs).tanh()))
            follow(self.target_critics, self.critics, self.tau)
            follow(self.target_actor, self.actor, self.tau)
        return loss.detach()

    def actor_loss(self, batch, action):
        return -values(self.critics, batch.obs, action)[0].mean()
