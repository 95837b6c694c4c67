"""Multi-level Monte Carlo actor-critic for the average reward (MAC; Suttle and others, 2023), which needs no mixing time as an input.

    J ~ Geom(½);  N = 2^J steps if J ≤ L, else 1, of the same trajectory;   δ = r − η + V(s') − V(s)
    g = ḡ_1 + 1(J ≤ L) 2^J (ḡ_{2^J} − ḡ_{2^(J−1)})               ḡ_n: mean over the first n steps;  E g = E ḡ_{2^L}
    terms of g:  η: r − η     V: δ ∇V(s)     π: δ ∇log π(a|s)     each stepped by an AdaGrad of its own: θ ← θ + lr g / √Σ‖g‖²

g is linear in the terms of single steps, so the source, `MultiLevel`, gives each its weight, ±1, 0 for the first of several. An update
takes L + 2^−L steps in the mean. There is no discount, and a termination means nothing: the task goes on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from deeprl.choice import Part, counts, in_range
from deeprl.learning.networks.actors import OutputNetwork
from deeprl.learning.networks.policies import PolicyChoice
from deeprl.learning.networks.torsos import TorsoChoice
from deeprl.learning.networks.weight_norm import initialise_with_gains
from deeprl.learning.objective import Objective
from deeprl.learning.optim.flat import Optimizer
from deeprl.learning.policy_agent import PolicyAgent
from deeprl.learning.transforms.channels import check_single
from deeprl.learning.transforms.masks import without_mask
from deeprl.learning.values.masked import only
from deeprl.replay.source import Settings, Source
from deeprl.types import Batch, Rows, Spec, State, Term


def level(u: float) -> int:
    """J ~ Geom(½), 1, 2, …, of a uniform number in [0, 1)."""
    return int(-math.log2(1.0 - u)) + 1


def weights(j: int, levels: int) -> Tensor:
    """Weights (N,) of the terms of the steps in g; (1,) too before J is drawn, j = 0."""
    if not 1 <= j <= levels:
        return torch.ones(1)
    found = torch.ones(2**j)
    found[: 2 ** (j - 1)] = -1.0
    found[0] += 1.0
    return found


class MultiLevel(Source):
    """2^J ticks of M environments, one update, dropped; a batch has their transitions, tick first, with the weights of the terms over M.

    Args:
        levels: L.
        spec, num, discount, rewards, needs, batch_device: as in `deeprl.replay.replay.Replay`.
    """

    offers = frozenset({"consecutive"})
    counted: ClassVar = {"levels": 1}
    paced_by = ("replay.levels",)
    one_policy = True
    serves = "consecutive"
    batch_size = 1

    def __init__(self, *, levels: int = 4, spec: Spec, num: int, rewards, batch_device: str | torch.device = "cpu", **others):
        self.levels, self.num, self.spec, self.rewards, self.device = levels, num, spec, rewards, torch.device(batch_device)
        counts(self, levels=1)
        in_range(self, levels=(1, 20))
        self.capacity = num * 2**levels
        self.ticks: list[Rows] = []
        self.last: list[Rows] = []
        self.j = 0
        """J of the batch that is collected; 0: it is not drawn yet"""

    @classmethod
    def planned(cls, settings: Settings, steps: int, num: int) -> int:
        """In the mean."""
        return int(steps / num / (settings["levels"] + 2.0 ** -settings["levels"]))

    def append(self, rows: Rows) -> None:
        if not self.j:
            self.j = level(float(self.uniforms.next()["u"][0]))
        self.ticks.append(Rows(*(np.array(column) for column in rows)))

    def weight(self) -> Tensor:
        """Weights of the ticks of the present batch, (N,)."""
        return weights(self.j, self.levels)

    def updates(self, before: int, after: int) -> Iterator[Batch]:
        weight = self.weight()
        if len(self.ticks) < len(weight):
            return
        stacked = {name: np.concatenate(column) for name, column in zip(Rows._fields, zip(*self.ticks))}
        columns = {name: torch.from_numpy(column).to(self.device) for name, column in stacked.items()}
        ones = torch.ones(len(columns["reward"]), device=self.device)
        weight = (weight / self.num).repeat_interleave(self.num).to(self.device)
        yield Batch(
            columns["obs"], columns["action"], self.rewards(columns["reward"]), ones, columns["next_obs"], ones.long(), columns["ended"],
            ones > 0, weight, torch.arange(len(ones)), {}, {},
        )  # fmt: skip
        for rows in self.ticks:
            self.observe(rows)
        self.last, self.ticks, self.j = self.ticks, [], 0

    def seen(self) -> tuple[Tensor, Tensor | None]:
        rows = [*self.last, *self.ticks]
        if not rows:
            return torch.zeros(0), None
        reward, obs = (torch.from_numpy(np.concatenate([getattr(each, name) for each in rows])) for name in ("reward", "obs"))
        return reward, obs if obs.dtype == torch.float32 else None

    def state_dict(self) -> State:
        columns = zip(Rows._fields, zip(*self.ticks)) if self.ticks else ()
        return {"j": self.j, "rows": {name: torch.from_numpy(np.stack(column)) for name, column in columns}}

    def load(self, state: State, segments: Iterable[dict[str, Tensor]]) -> None:
        """
        Raises:
            ValueError: the rows are of other environments.
        """
        self.j = int(state["j"])
        columns = {name: torch.as_tensor(column).numpy() for name, column in state["rows"].items()}
        ticks = len(columns["reward"]) if columns else 0
        fits = not columns or (columns.keys() == set(Rows._fields) and columns["obs"].shape == (ticks, self.num, *self.spec.obs_shape))
        if not fits or self.j < 0 or bool(self.j) != bool(ticks) or ticks >= len(self.weight()):
            raise ValueError(f"the stored rows are none of {self.num} environments with at most 2^{self.levels} ticks")
        self.ticks = [Rows(**{name: column[tick] for name, column in columns.items()}) for tick in range(ticks)]

    def restart(self, step: int) -> str:
        self.begun, self.j = step, 0
        return "a fresh batch"


class EqualTicks(MultiLevel):
    """2^levels ticks in each update, with equal weights: the plain mean, to compare with."""

    @classmethod
    def planned(cls, settings: Settings, steps: int, num: int) -> int:
        return steps // num // 2 ** settings["levels"]

    def weight(self) -> Tensor:
        return torch.full((2**self.levels,), 2.0**-self.levels)


class Gain(nn.Module):
    """η, ()."""

    def __init__(self):
        super().__init__()
        self.eta = nn.Parameter(torch.zeros(()), requires_grad=False)


class MAC(PolicyAgent):
    """Agent for discrete or continuous actions: a policy, a differential value of states, and the average reward.

    Args:
        spec, seed, torso, policy, rewards, normalize: as in `deeprl.learning.policy_gradient.PolicyGradient`.
        optimizer, value_optimizer, rate_optimizer: of the policy, the value, and η.
    """

    needs = frozenset({"consecutive"})
    need_words = {"consecutive": "consecutive steps of one policy, weighed by levels"}  # noqa: RUF012

    def __init__(
        self,
        *,
        spec: Spec,
        seed: int,
        torso: TorsoChoice,
        policy: PolicyChoice,
        rewards: Callable[..., Part],
        normalize: Callable[..., Part],
        optimizer: Optimizer,
        value_optimizer: Optimizer,
        rate_optimizer: Optimizer,
    ):
        super().__init__(spec=spec, seed=seed, torso=torso, policy=policy, rewards=rewards, normalize=normalize)
        check_single(self.rewards)
        self.value, self.rate = OutputNetwork(without_mask(spec), self.torso, 1, "orthogonal", unit=False), Gain()
        initialise_with_gains(self.value, seed, "value", self.torso.weight_norm)
        groups = [(list(self.value.parameters()), value_optimizer), (list(self.rate.parameters()), rate_optimizer)]
        self.objectives = {"policy": Objective.of(self.loss, [self.policy], optimizer, groups)}

    def evaluated(self, obs: Tensor, *state: Tensor) -> tuple[Tensor, Tensor]:
        return self.policy.outputs(obs), self.value.outputs(obs).squeeze(-1)

    def loss(self, batch: Batch) -> Term:
        """A number whose gradient is −g; the error is |δ|."""
        obs, valid = self.seen(batch.obs)
        outputs, value = self.evaluated(obs)
        outputs = only(outputs, valid)
        with torch.no_grad():
            surplus = batch.reward - self.rate.eta
            delta = surplus + self.evaluated(self.seen(batch.next_obs)[0])[1] - value
        terms = surplus * self.rate.eta + delta * value + delta * self.policy.log_prob(outputs, batch.action)
        metrics = {"train/average_reward": self.rate.eta, "train/values": value, "train/entropy": self.policy.entropy(outputs)}
        return Term(-(batch.weight * terms).sum(), metrics, error=delta.abs())
