"""One update of QGPO in plain PyTorch: the solver written for ε, as a loop over its steps."""

from __future__ import annotations

import math
from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deeprl.types import Batch


def kept(t: float) -> tuple[float, float, float]:
    """α, σ and λ at t."""
    log_alpha = -0.25 * t * t * 19.9 - 0.05 * t
    a = math.exp(log_alpha)
    s = math.sqrt(1.0 - a * a)
    return a, s, log_alpha - math.log(s)


class QGPO:
    """`score` and `energy` read (action, times, observation), `critics` (observation, action)."""

    def __init__(
        self,
        score: nn.Sequential,
        energy: nn.Sequential,
        critics: nn.ModuleList,
        frequencies: list[float],
        lr: float,
        *,
        beta: float,
        target_beta: float,
        tau: float,
        eps: float,
    ):
        self.score, self.energy, self.critics, self.targets = score, energy, critics, deepcopy(critics)
        self.frequencies, self.beta, self.target_beta, self.tau = torch.tensor(frequencies), beta, target_beta, tau
        self.adams = [torch.optim.Adam(network.parameters(), lr=lr, eps=eps) for network in (score, critics, energy)]

    def at(self, network: nn.Module, action: Tensor, t: Tensor, obs: Tensor) -> Tensor:
        angles = 2.0 * math.pi * t[..., None] * self.frequencies
        return network(torch.cat([action, angles.sin(), angles.cos(), obs], -1))

    def actions(self, obs: Tensor, z: Tensor, evaluations: int) -> Tensor:
        """Of the behaviour: an odd number of evaluations, pairs in steps of the second order and one of the first."""
        grid = [1.0 - i * (1.0 - 1e-3) / evaluations for i in range(evaluations + 1)]

        def data(x: Tensor, t: float) -> Tensor:
            a, s, _ = kept(t)
            return (x - s * self.at(self.score, x, torch.full(x.shape[:-1], t), obs)) / a

        def step(x: Tensor, found: Tensor, start: float, end: float) -> Tensor:
            (_, s0, l0), (a1, s1, l1) = kept(start), kept(end)
            return s1 / s0 * x - a1 * (math.exp(l0 - l1) - 1.0) * found

        x = z
        for i in range(0, evaluations - 1, 2):
            start, middle, end = grid[i : i + 3]
            here = data(x, start)
            there = data(step(x, here, start, middle), middle)
            (_, _, l0), (_, _, lm), (a1, _, l1) = kept(start), kept(middle), kept(end)
            x = step(x, here, start, end) - a1 * (math.exp(l0 - l1) - 1.0) * (l1 - l0) / (2.0 * (lm - l0)) * (there - here)
        x = step(x, data(x, grid[-2]), grid[-2], grid[-1])
        return x.clamp(-1.0, 1.0)

    def values(self, critics: nn.ModuleList, obs: Tensor, action: Tensor) -> Tensor:
        return torch.stack([critic(torch.cat([obs, action], -1))[..., 0] for critic in critics])

    def update(self, batch: Batch, evaluations: int) -> tuple[Tensor, Tensor, Tensor]:
        """Losses of score, critics and energy."""
        noise, k = batch.noise, batch.noise["now"].shape[1]
        rows = batch.obs[:, None].expand(-1, k, -1)

        def noisy(x: Tensor, z: Tensor, t: Tensor) -> Tensor:
            a = torch.exp(-0.25 * t**2 * 19.9 - 0.05 * t)[..., None]
            return a * x + (1.0 - a**2).sqrt() * z

        t = noise["score_time"]
        score = F.mse_loss(self.at(self.score, noisy(batch.action, noise["score"], t), t, batch.obs), noise["score"])
        self.step(0, score)

        with torch.no_grad():
            following = batch.next_obs[:, None].expand(-1, k, -1)
            values = self.values(self.targets, following, self.actions(following, noise["next"], evaluations)).amin(0)
            target = batch.reward + batch.discount * (torch.softmax(self.target_beta * values, -1) * values).sum(-1)
        critic = 0.5 * (self.values(self.critics, batch.obs, batch.action) - target).square().mean()
        self.step(1, critic)

        with torch.no_grad():
            action = self.actions(rows, noise["now"], evaluations)
            weights = torch.softmax(self.beta * self.values(self.targets, rows, action).amin(0), -1)
        t = noise["energy_time"][:, None].expand(-1, k)
        f = self.at(self.energy, noisy(action, noise["energy"], t), t, rows)[..., 0]
        energy = -(weights * torch.log_softmax(f, -1)).sum(-1).mean()
        self.step(2, energy)
        with torch.no_grad():
            for old, new in zip(self.targets.parameters(), self.critics.parameters(), strict=True):
                old += self.tau * (new - old)
        return score.detach(), critic.detach(), energy.detach()

    def step(self, number: int, loss: Tensor) -> None:
        self.adams[number].zero_grad()
        loss.backward()
        self.adams[number].step()
