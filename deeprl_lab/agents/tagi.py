"""TAGI with inference of actions (Nguyen, Goulet, "Analytically Tractable Hidden-States Inference in Bayesian Neural Networks", JMLR 2022;
read in the authors' code): an actor and a critic of normal weights, for continuous actions, without a gradient.

    collect   a ~ N(μ_A(s), s_A(s)), cut off at ± 1
    targets   y_t = Σ_{k<n} γ^k r_{t+k} + γ^n μ_Q(s', A(s')),  variance γ^{2n} s_Q; up to the end of the episode or of the interval;
              nothing is bootstrapped from a true end
    critic    observes y with the variance σ_Q² + that
    actor     ∂Q/∂a at a ~ N(μ_A, s_A) is observed to be 0, which moves a to N(μ', s'), in the direction in which Q grows;
              the actor observes μ' with the variance σ_A² + s'
    σ         × decay after each interval, not below `least`

The released agent squashes twice: the actor ends in tanh, and the environment and the critic's training get the tanh of its sample, but the
derivative is taken at the sample itself. Here the one tanh is the actor's. Its time limit ends an episode as a fall does; here the value
behind it counts. The last action is drawn there; here Q has its distribution as an input.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deeprl.extend import AgentStep, Infer, Part, Rows, Spec, certain, check_single, counts, in_range, widths
from deeprl_lab.mathematics.tagi import BayesianLayer, IndependentNormal, forward, network
from deeprl_lab.mathematics.tagi_updates import actor_learned, certainly, critic_learned, targets, values
from deeprl_lab.planning_agent import PlanningAgent


class TAGI(PlanningAgent):
    """Agent for continuous actions and vectors.

    Args:
        rewards, normalize: partials of parts; their statistics change between intervals.
        discount: γ.
        interval: steps of all environments between updates.
        batch_size: rows that change the weights at once, all from one prior.
        actor_hidden, critic_hidden: widths; the first hidden layer of the critic is tanh, the others ReLU.
        noise: σ_Q and σ_A at the start, above 0.
        decay, least: of both.

    Raises:
        ValueError: a value is out of range, or observations are no vectors.
    """

    actions = "continuous"
    wanted = "make"  # any environment

    def __init__(
        self,
        *,
        spec: Spec,
        seed: int,
        world: Any,
        rewards: Callable[..., Part],
        normalize: Callable[..., Part],
        discount: float,
        interval: int,
        batch_size: int,
        actor_hidden: tuple[int, ...],
        critic_hidden: tuple[int, ...],
        noise: tuple[float, float],
        decay: float,
        least: float,
    ):
        super().__init__(spec=spec, seed=seed, world=world)
        self.discount, self.batch_size, self.decay, self.least, self.actor_hidden, self.critic_hidden = (
            discount, batch_size, decay, least, actor_hidden, critic_hidden,
        )  # fmt: skip
        self.interval = interval
        counts(self, interval=1, batch_size=1)
        in_range(self, discount=(0, 1), decay=(0, 1), least=(1e-3, None))
        widths(self, "actor_hidden", "critic_hidden")
        listed = isinstance(noise, (list, tuple)) and len(noise) == 2
        if not listed or not all(type(sigma) in (int, float) and 0 < sigma < np.inf for sigma in noise):
            raise ValueError(f"noise must be a list of two positive numbers, not {noise!r}")
        if len(spec.obs_shape) != 1 or spec.parts or spec.choices or not self.critic_hidden:
            raise ValueError("this agent takes vectors and continuous actions, and a critic with at least one hidden layer")
        with torch.device("cpu"):  # of a run on a GPU too, because all else is computed by NumPy
            self.rewards, self.normalize = rewards(), normalize(spec=spec)
        check_single(self.rewards)
        inputs, outputs = spec.obs_shape[0], spec.action_dim
        relu = ["relu"] * len(self.actor_hidden)
        self.actor = self.weights("actor", (inputs, *self.actor_hidden, outputs), [*relu, "tanh"])
        kinds = ["tanh", *["relu"] * (len(self.critic_hidden) - 1), "identity"]
        self.critic = self.weights("critic", (inputs + outputs, *self.critic_hidden, 1), kinds)
        self.sigma = self.statistic("sigma", np.array(noise, float))
        shape = (max(interval // world.num, 1), world.num)
        self.columns = {
            name: self.statistic(name, np.zeros((*shape, *own), kind))
            for name, own, kind in (
                ("obs", (inputs,), np.float32), ("next_obs", (inputs,), np.float32), ("action", (outputs,), np.float32),
                ("reward", (), np.float32), ("terminated", (), bool), ("ended", (), bool),
            )
        }  # fmt: skip
        self.count = self.statistic("count", np.zeros(2, np.int64))
        """Ticks of this interval, and intervals"""
        self.shown = self.statistic("shown", np.zeros(3))
        """Of the last interval: error of the values, deviation of the actions, share of derivatives with a curvature of the wrong sign"""

    def weights(self, name: str, sizes: tuple[int, ...], kinds: list[str]) -> list[BayesianLayer]:
        """Layers, as views of parameters."""
        drawn, found = network(sizes, kinds, self.random(0 if name == "actor" else 1)), []
        for i, layer in enumerate(drawn):
            weight, bias = (
                IndependentNormal(*(self.table(f"{name}_{i}_{part}_{moment}", getattr(value, moment)) for moment in ("mean", "var")))
                for part, value in (("weight", layer.weight), ("bias", layer.bias))
            )
            found.append(BayesianLayer(weight, bias, layer.kind))
        return found

    # Acting

    def seen(self, obs: np.ndarray) -> IndependentNormal:
        """Normalised observations, (M, n), as certain inputs."""
        return certainly(self.normalize(torch.from_numpy(obs)).double().numpy())

    def act(self, obs: Tensor, first: Tensor, memory: dict, step: int, noise: dict, explore: bool, infer: Infer = None) -> AgentStep:
        found = forward(self.actor, self.seen(obs.cpu().numpy()))[-1].a
        action = found.mean + np.sqrt(found.var) * noise["normal"].cpu().numpy() if explore else found.mean
        return AgentStep(torch.from_numpy(action).clamp(-1, 1).float(), certain(len(action)), memory)

    def greedy(self, obs: Tensor, *state: Tensor) -> Tensor:
        return torch.from_numpy(forward(self.actor, self.seen(obs.cpu().numpy()))[-1].a.mean).float()

    def act_noise(self, size: tuple[int, ...], generator) -> dict[str, Any]:
        return {"normal": torch.randn(*size, self.spec.action_dim, generator=generator, dtype=torch.float64)}

    # Learning

    def observe(self, rows: Rows) -> None:
        for name, column in self.columns.items():
            column[self.count[0]] = getattr(rows, name)
        self.count[0] += 1
        if self.count[0] == len(self.columns["reward"]):
            self.replan()
            self.count[:] = 0, self.count[1] + 1

    def replan(self) -> None:
        """Learn from the interval, in one pass."""
        columns, (ticks, num) = self.columns, self.columns["reward"].shape
        for tick in range(ticks):  # before, because the first interval would have no units
            rows = Rows(**{name: column[tick] for name, column in columns.items()}, probability=np.ones(num, np.float32))
            self.normalize.observe(rows)
            self.rewards.observe(rows)
        after = values(self.actor, self.critic, self.seen(columns["next_obs"].reshape(ticks * num, -1)))
        goes_on = ~columns["terminated"].reshape(-1)
        after = IndependentNormal(*((part * goes_on).reshape(ticks, num) for part in after))
        reward = self.rewards(torch.from_numpy(columns["reward"])).double().numpy()
        y = targets(reward, columns["ended"], after, self.discount)
        y = IndependentNormal(y.mean.reshape(-1, 1), y.var.reshape(-1, 1))
        obs, action = (columns[name].reshape(ticks * num, -1) for name in ("obs", "action"))
        seen, order = self.seen(obs).mean, self.random(2 + int(self.count[1])).permutation(len(obs))
        found = [
            self.learned(seen[rows], action[rows], y.mean[rows], y.var[rows])
            for rows in np.split(order, range(self.batch_size, len(order), self.batch_size))
        ]
        self.shown[:] = np.mean(found, 0)
        self.sigma[:] = np.maximum(self.decay * self.sigma, self.least)

    def learned(self, obs: np.ndarray, action: np.ndarray, mean: np.ndarray, var: np.ndarray) -> tuple[float, float, float]:
        """Update the critic, then the actor, by a batch: normalised observations (B, n), actions (B, D), targets (B, 1). Returns what
        `shown` shows."""
        state, taken = certainly(obs), certainly(action)
        fresh, error = critic_learned(self.critic, state, taken, IndependentNormal(mean, var), self.sigma[0])
        moved_(self.critic, fresh)
        fresh, deviation, opposite = actor_learned(self.actor, self.critic, state, self.sigma[1])
        moved_(self.actor, fresh)
        return error, deviation, opposite

    def diagnostics(self, step: int) -> dict[str, float]:
        error, deviation, opposite = self.shown.tolist()
        return {
            "rollout/policy_switches": float(self.count[1]),
            "train/value_error": error,
            "train/action_deviation": deviation,
            "train/opposite_curvature": opposite,
            "train/critic_noise": float(self.sigma[0]),
        }


def moved_(layers: list[BayesianLayer], fresh: list[BayesianLayer]) -> None:
    """Write new weights into the layers."""
    for layer, new in zip(layers, fresh):
        for own, value in zip((*layer.weight, *layer.bias), (*new.weight, *new.bias)):
            own[...] = value
