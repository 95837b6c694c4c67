"""PPO (Schulman and others, 2017) for discrete actions: all updates on a rollout, in plain PyTorch."""

import torch
from torch.distributions import Categorical


class PPO:
    def __init__(self, policy, value, lr, lam=0.95, clip=0.2, value_weight=1.0, entropy_weight=0.0, max_grad_norm=0.5, eps=1e-5):
        self.policy, self.value = policy, value  # s -> logits (..., A); s -> V (..., 1)
        self.parameters = [*policy.parameters(), *value.parameters()]
        self.adam = torch.optim.Adam(self.parameters, lr=lr, eps=eps)
        self.lam, self.clip, self.max_grad_norm = lam, clip, max_grad_norm
        self.value_weight, self.entropy_weight = value_weight, entropy_weight

    @torch.no_grad()
    def prepare(self, rollout):
        """Advantages by GAE, returns and log π_old(a|s), (L, M) each, for L steps of M environments. `rollout.discount` is
        γ (1 − terminated); `rollout.ended` says where an episode ended, for any cause."""
        value, after = self.value(rollout.obs)[..., 0], self.value(rollout.next_obs)[..., 0]
        delta, advantage = rollout.reward + rollout.discount * after - value, torch.zeros_like(value)
        for t in reversed(range(len(delta))):
            further = advantage[t + 1] * ~rollout.ended[t] if t + 1 < len(delta) else 0.0
            advantage[t] = delta[t] + rollout.discount[t] * self.lam * further
        return advantage, advantage + value, Categorical(logits=self.policy(rollout.obs)).log_prob(rollout.action)

    def update(self, rollout, minibatches):
        """One update for each minibatch: indices (B,) of the L · M rows, of several passes over them."""
        columns = (rollout.obs, rollout.action, *self.prepare(rollout))
        for rows in minibatches:
            obs, action, advantage, returns, old = (column.flatten(0, 1)[rows] for column in columns)
            distribution = Categorical(logits=self.policy(obs))
            ratio = (distribution.log_prob(action) - old).exp()
            advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
            policy_loss = -torch.minimum(ratio * advantage, ratio.clamp(1 - self.clip, 1 + self.clip) * advantage).mean()
            value_loss = 0.5 * (self.value(obs)[:, 0] - returns).square().mean()
            self.adam.zero_grad()
            (policy_loss + self.value_weight * value_loss - self.entropy_weight * distribution.entropy().mean()).backward()
            torch.nn.utils.clip_grad_norm_(self.parameters, self.max_grad_norm)
            self.adam.step()
