"""SQIRL, shallow Q-iteration (Laidlaw, Zhu, Russell, Dragan, "The Effective Horizon Explains Deep RL Performance in Stochastic
Environments", ICLR 2024; read in the authors' code).

    iteration i   episodes act by the frozen π_t at their steps t < i, and uniformly at random from t = i on, which is kept
    Q¹(s, a)      <- G_t = Σ_{l ≥ t} γ^{l−t} r_l: the return of random play
    Q^{j+1}(s, a) <- r + γ (1 − end) max_b Q^j(s', b)                       j < k; the same network, without a gradient
    loss          mean over the heads of mean square error / its running mean
    π_i           argmax_a Q^k(s, a), frozen: the policy of step i, and of later ones until they have their own

A policy depends on the time, so the time is the agent's state, as that of a core is: evaluation, resuming and export carry it. An end is an
end, whatever its cause, because the horizon belongs to the task.

The authors repeat the iteration until ten of them had no random step; here one that has none is repeated, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, vmap

from deeprl.agents.depth_values import DepthValues, continuing, depth_targets, returns_to_go, running_mean
from deeprl.choice import Part, counts, in_range
from deeprl.learning.agent import CORE, Agent, Infer, numbered
from deeprl.learning.backups.policies import action_gap
from deeprl.learning.networks.blocks import has_statistics
from deeprl.learning.networks.convolutions import ImageBlock
from deeprl.learning.networks.torsos import TorsoChoice
from deeprl.learning.networks.weight_norm import initialise_with_gains
from deeprl.learning.objective import Objective
from deeprl.learning.optim.flat import Flat, Optimizer
from deeprl.learning.parts.exploration import certain, drawn
from deeprl.learning.transforms.apart import refuse_privileged
from deeprl.learning.transforms.channels import check_single
from deeprl.learning.transforms.masks import divided_batch, of_row, without_mask
from deeprl.learning.values.masked import only
from deeprl.replay.memory import refuse_if_too_large
from deeprl.types import AgentStep, Batch, NetworkNoise, Noise, Spec, Term


class SQIRL(Agent):
    """Agent for discrete actions.

    Args:
        spec, seed: spaces of the environment; seed of the initial weights.
        torso, optimizer: of the network.
        rewards, normalize: as in `ValueAgent`, without running statistics.
        depth: k, heads, the last of which acts.
        horizon: H, policies that are kept; that of the source.
        smoothing: of the running mean of a head's loss.

    Raises:
        ValueError: a value is out of range, the policies need more memory than there is, or a part has running statistics, which would
            change frozen policies.
    """

    actions = "discrete"
    main = "value"
    needs = frozenset({"random_tails"})
    need_words = {"random_tails": "random play behind frozen policies"}  # noqa: RUF012
    state_size = 1
    """The time t of the episode"""
    of_one_process = True
    """Iterations of several processes would end at different times"""
    starts_anew = ("frozen", "policies", "scale")

    def __init__(
        self,
        *,
        spec: Spec,
        seed: int,
        torso: TorsoChoice,
        optimizer: Optimizer,
        rewards: Callable[..., Part],
        normalize: Callable[..., Part],
        depth: int = 1,
        horizon: int = 100,
        smoothing: float = 0.99,
    ):
        super().__init__()
        self.set_border(spec, rewards, normalize)
        self.depth, self.horizon, self.smoothing, inner = depth, horizon, smoothing, without_mask(spec)
        counts(self, depth=1, horizon=1)
        in_range(self, smoothing=(0, 1))
        check_single(self.rewards)
        refuse_privileged(spec)
        torso = torso.resolve(inner)
        self.network = DepthValues(inner, torso, depth)
        for block in self.network.modules():
            if isinstance(block, ImageBlock):
                block.plain = True
        moving = [part for part in (self.rewards, self.normalize) if type(part).observe is not Part.observe]
        if moving or has_statistics(self.network.torso):
            name = type(moving[0] if moving else torso).__name__
            raise ValueError(f"{name} has running statistics, which would change frozen policies: choose another option")
        initialise_with_gains(self.network, seed, "value", torso.weight_norm)
        self.objectives = {"value": Objective.of(self.loss, [self.network], optimizer)}
        flat = self.flat
        self.shapes = {name: parameter.shape for name, parameter in self.network.named_parameters()}
        """Of the parts of a row of `policies`; kept, because an exported network has no parameters"""
        refuse_if_too_large("horizon", horizon, horizon * flat.nbytes)
        self.register_buffer("scale", torch.zeros(depth))
        self.register_buffer("frozen", torch.zeros((), dtype=torch.int64))
        self.register_buffer("policies", flat.new_zeros(horizon, len(flat)))
        self.begin_()

    frozen: Tensor
    """() i, the number of frozen policies"""
    policies: Tensor
    """(H, P) weights of the policies"""
    scale: Tensor
    """(k,) running means of the heads' losses; 0: none yet"""

    @property
    def flat(self) -> Tensor:
        """The network's weights, (P,)."""
        optimizer = self.objectives["value"].optimizer
        assert isinstance(optimizer, Flat)
        return optimizer.flat

    @torch.no_grad()
    def begin_(self) -> None:
        """Act by the network's own weights until a policy is frozen."""
        self.policies[0] = self.flat

    def copies(self) -> dict[str, Callable[[], object]]:
        return {"policies": self.begin_}

    @torch.no_grad()
    def freeze_(self) -> None:
        """Keep the present greedy policy as that of step i."""
        self.policies[self.frozen] = self.flat
        self.frozen += 1

    # Acting

    def seen(self, obs: Tensor) -> tuple[Tensor, Tensor | None]:
        """Normalised observations, and which actions are valid, (*B, A) bool; None: all."""
        obs, valid = of_row(obs, self.spec)
        return self.normalize(obs), valid

    def infer(self, obs: Tensor, noise: NetworkNoise, *state: Tensor) -> Any:
        """Q^k (M, A) of the policy of each time (M, 1), and the times after this step."""
        (time,) = state
        obs, valid = self.seen(obs)
        number = time[:, 0].long().minimum(self.frozen - 1).clamp(min=0)
        parts = self.policies[number].split([shape.numel() for shape in self.shapes.values()], -1)
        weights = {name: part.unflatten(-1, shape) for (name, shape), part in zip(self.shapes.items(), parts)}
        values = vmap(lambda own, row: functional_call(self.network, own, (row[None],))[0, -1])(weights, obs)
        return only(values, valid), time + 1

    def act(self, obs: Tensor, first: Tensor, memory: dict, step: int, noise: Noise, explore: bool, infer: Infer = None) -> AgentStep:
        (time,) = self.recalled(memory, first)
        random = time[:, 0] >= self.frozen if explore else torch.zeros(len(obs), dtype=torch.bool)
        value = gap = None
        if explore and bool(random.all()):
            action = self.at_random(obs, noise["uniform"])
        else:
            values, _ = (infer or self.infer)(obs, noise["network"], time)
            best = values.argmax(-1)
            if explore:
                action = torch.where(random.cpu(), self.at_random(obs, noise["uniform"]), best.cpu())
            else:
                action, value, gap = best.cpu(), values.amax(-1).cpu(), action_gap(values).cpu()
        return AgentStep(action, certain(len(obs)), {CORE: time + 1}, value, gap, time)

    def at_random(self, obs: Tensor, uniform: Tensor) -> Tensor:
        """Valid actions (M,), from numbers (M,) in [0, 1)."""
        _, valid = of_row(obs.cpu(), self.spec)
        return (uniform * self.spec.num_actions).long() if valid is None else drawn(uniform, valid)

    def greedy(self, obs: Tensor, *state: Tensor) -> Any:
        values, after = self.greedy_values(obs, *state)
        return values.argmax(-1), after

    def greedy_values(self, obs: Tensor, *state: Tensor) -> Any:
        return self.infer(obs, NetworkNoise({}, {}), *state)

    def act_noise(self, size: tuple[int, ...], generator) -> Noise:
        return {"network": NetworkNoise({}, {}), "uniform": torch.rand(size, generator=generator, dtype=torch.float64)}

    # Learning

    def prepare(self, rollout: Batch) -> dict[str, Tensor]:
        """G (T, N) of whole episodes."""
        return {"returns": returns_to_go(rollout.reward, continuing(rollout))}

    def loss(self, batch: Batch) -> Term:
        """The error is that of the last head."""
        batch = divided_batch(batch, self.spec)
        extra = batch.extra if "returns" in batch.extra else self.prepare(batch)  # consecutive steps have no others than their own
        found = self.network(self.normalize(batch.obs))  # (*B, k, A)
        places = batch.action[..., None, None].expand(*found.shape[:-1], 1)
        found = found.gather(-1, places).squeeze(-1)  # (*B, k)
        with torch.no_grad():
            target = extra["returns"].unsqueeze(-1)
            if self.depth > 1:
                target = depth_targets(extra["returns"], batch.reward, continuing(batch), self.next_values(batch))
        squares = (found - target).square().flatten(0, -2).mean(0)  # (k,)
        scale = running_mean(self.scale, squares.detach(), self.smoothing)
        metrics = {"train/loss": squares.mean(), "train/values": found[..., -1], **numbered("train/head_loss", squares)}
        return Term((squares / scale).mean(), metrics, {"scale": scale}, (found - target)[..., -1].abs())

    def next_values(self, batch: Batch) -> Tensor:
        """Q¹ … Q^{k−1} of the next observations, (*B, k - 1, A)."""
        values = self.network(self.normalize(batch.next_obs))[..., :-1, :]
        return only(values, batch.extra["next_valid"].unsqueeze(-2) if self.spec.masked else None)

    def diagnostics(self, step: int) -> dict[str, float]:
        return {"rollout/frozen_policies": float(self.frozen)}
