"""Ensembles of networks that predict a step of the environment (Chua and others, 2018), trained as in MBPO (Janner and others, 2019).

    (r, s' − s) | s, a  ~  N(μ, diag e^ℓ),      μ, ℓ = network(((s, a) − mean) / deviation)
    ℓ ← high − softplus(high − ℓ);   ℓ ← low + softplus(ℓ − low)                    high, low: learned, from 0.5 and −10
    outputs are in units of the targets' deviations: μ ← mean + deviation μ,  ℓ ← ℓ + 2 ln deviation
    L = Σ_members mean [ (μ − y)² e^−ℓ + ℓ ] + 0.01 Σ high − 0.01 Σ low + Σ_layers decay_l ½ ‖W_l‖²

Each member has its own bootstrap sample. Training ends when no member's error on held-out transitions has fallen by 1 % for some epochs.
Each keeps the weights of its best epoch, and those with the least error there are the elite, which alone predict. The loss is in the
environment's units. So are the outputs of the authors' networks, where a reward that varies much starts at the upper bound of its
variance, at which its mean hardly learns. Terminations, where they are learned, have networks of their own (agents/termination_model.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deeprl.agents.best_epochs import BestEpochs, Epochs
from deeprl.agents.dynamics import CHUNK, Data, Likelihood, ModelChoice, ModelLoss, Prediction, Slopes, moments
from deeprl.agents.model_state import require_sound
from deeprl.agents.termination_model import TerminationModel
from deeprl.choice import counts, in_range
from deeprl.learning.networks.blocks import Block, initialise
from deeprl.learning.networks.layers import Init
from deeprl.learning.networks.mlp import MLP
from deeprl.learning.networks.torsos import widths
from deeprl.learning.optim.adam import Adam
from deeprl.learning.optim.differentiated import differentiated
from deeprl.types import State

JUDGED = 1000
"""Held-out transitions of the numbers for the log, at most, because gradients of values cost several passes"""


@dataclass(frozen=True)
class ModelEnsemble(ModelChoice):
    """
    Args:
        loss: what members minimise.
        members, elites: networks, and how many of them predict. There are as many of learned terminations, of the same layers.
        hidden: widths of the hidden layers, of SiLU.
        weight_decay: ½ times its factor of the squared weights, layer by layer; one number is for all.
        batch_size: transitions of an update of each member.
        holdout: share of the transitions that are held out, at most `holdout_most` of them.
        patience: epochs without a gain of 1 % after which training ends.
        epochs: most of one training, and of one of terminations; None: any number.
        low, high: of log-variances at the start.
    """

    loss: ModelLoss = field(default_factory=Likelihood)
    members: int = 7
    elites: int = 5
    hidden: tuple[int, ...] = (200, 200, 200, 200)
    lr: float = 1e-3
    weight_decay: float | Sequence[float] = (2.5e-5, 5e-5, 7.5e-5, 7.5e-5, 1e-4)
    batch_size: int = 256
    holdout: float = 0.2
    holdout_most: int = 5000
    patience: int = 5
    epochs: int | None = None
    low: float = -10.0
    high: float = 0.5

    def __post_init__(self):
        counts(self, members=1, elites=1, batch_size=1, holdout_most=1, patience=1, **({} if self.epochs is None else {"epochs": 1}))
        widths(self, "hidden")
        in_range(self, lr=(0, None), holdout=(0, 0.9), high=(None, None))
        in_range(self, low=(None, self.high))
        if self.holdout == 0:
            raise ValueError("holdout must be above 0, not 0, because the error of held-out transitions ends a training: set 0.05")
        if self.lr == 0:
            raise ValueError("lr must be above 0, not 0, because the model would learn nothing: set 0.001")
        if self.elites > self.members:
            raise ValueError(f"elites must be at most members={self.members}, not {self.elites}")
        if not isinstance(self.loss, ModelLoss):
            raise ValueError(f"loss must be that of a model, such as deeprl.agents.dynamics.Likelihood, not {self.loss!r}")
        decay, layers = self.weight_decay, len(self.hidden) + 1
        each: tuple[Any, ...] = tuple(decay) if isinstance(decay, (list, tuple)) else (decay,) * layers
        if len(each) != layers or not all(type(x) in (int, float) and 0 <= x < math.inf for x in each):
            raise ValueError(f"weight_decay must be a number of at least 0, or {layers} of them, one for each layer, not {decay!r}")
        object.__setattr__(self, "weight_decay", each)

    def build(self, obs: int, action: int, learns_ends: bool, seed: int) -> DynamicsEnsemble:
        return DynamicsEnsemble(self, obs, action, learns_ends, seed)

    def memory(self, rows: int, obs: int, action: int, values: int) -> int:
        inputs, targets, slopes = obs + action, 1 + obs, values * obs if self.loss.weighted else 0
        held = min(int(self.holdout * rows), self.holdout_most)
        moments = 4 * max(inputs, targets)  # `measure` copies one of both
        indices = 32 * self.members  # the bootstrap sample, the old order, and while a new one is made its keys, twice, and itself
        return rows * (8 + 4 * slopes + max(moments, indices)) + 4 * held * (inputs + targets + 1 + obs + slopes)


class Bounds(Block):
    """Soft bounds of log-variances, of each member and number."""

    low: Tensor
    high: Tensor

    def __init__(self, n: int, size: int, low: float, high: float):
        super().__init__()
        self.add("low", (n, 1, size), Init("constant", value=low))
        self.add("high", (n, 1, size), Init("constant", value=high))

    def forward(self, log_variance: Tensor) -> Tensor:
        below = self.high - F.softplus(self.high - log_variance)
        return self.low + F.softplus(below - self.low)

    def cost(self) -> Tensor:
        return 0.01 * (self.high.sum() - self.low.sum())


class DynamicsEnsemble(nn.Module):
    """The networks of a `ModelEnsemble`, their optimizer, and what they know of their inputs.

    Attributes:
        mean, deviation: (S + D,) of the inputs that members were trained with.
        target_mean, target_deviation: (1 + S,) of the targets.
        elite: (elites,) int64, members in the order of their held-out error.
    """

    mean: Tensor
    deviation: Tensor
    target_mean: Tensor
    target_deviation: Tensor
    elite: Tensor

    def __init__(self, choice: ModelEnsemble, obs: int, action: int, learns_ends: bool, seed: int):
        super().__init__()
        self.choice, self.size = choice, 1 + obs
        outputs = self.size * (1 + choice.loss.gaussian)
        self.network = MLP(choice.members, (obs + action, *choice.hidden, outputs), activate_last=False, activation="silu")
        self.bounds = Bounds(choice.members, self.size, choice.low, choice.high) if choice.loss.gaussian else None
        self.register_buffer("mean", torch.zeros(obs + action))
        self.register_buffer("deviation", torch.ones(obs + action))
        self.register_buffer("target_mean", torch.zeros(self.size))
        self.register_buffer("target_deviation", torch.ones(self.size))
        self.register_buffer("elite", torch.arange(choice.elites))
        initialise(self, seed, "model")
        self.weights = list(self.parameters())
        self.optimizer = Adam(lr=choice.lr).build(self.weights)
        self.terminations = TerminationModel(choice.members, obs + action, choice.hidden, choice.lr, seed) if learns_ends else None

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """(B, S + D) or (n, B, S + D) -> μ and ℓ of (r, s' − s), (n, B, 1 + S)."""
        found = self.network((inputs - self.mean) / self.deviation)
        mean, log_variance = found[..., : self.size], torch.zeros_like(found[..., : self.size])
        if self.bounds is not None:
            log_variance = self.bounds(found[..., self.size :]) + 2 * self.target_deviation.log()
        return self.target_mean + self.target_deviation * mean, log_variance

    def measure(self, data: Data, index: Tensor) -> None:
        """Take the moments of these transitions."""
        for name, column in (("", data.inputs), ("target_", data.targets)):
            mean, deviation = moments(column[index])
            getattr(self, f"{name}mean").copy_(mean)
            getattr(self, f"{name}deviation").copy_(deviation)

    # ---- learning

    def loss(self, batch: Data, step: int) -> Tensor:
        """Loss of all members, (), each with a batch of its own (n, B, …)."""
        mean, log_variance = self(batch.inputs)
        total = self.choice.loss(mean, log_variance, batch.targets, batch.slopes, step).mean(-1).sum()
        if self.bounds is not None:
            total = total + self.bounds.cost()
        decay: Sequence[float] = self.choice.weight_decay  # type: ignore[assignment]  # after __post_init__
        return total + sum(0.5 * each * self.network.weight(i).square().sum() for i, each in enumerate(decay) if each)

    def update(self, batch: Data, step: int) -> None:
        with differentiated(self.weights):
            gradients = torch.autograd.grad(self.loss(batch, step), self.weights)
        self.optimizer.step(gradients, 0)

    def score(self, data: Data) -> Tensor:
        """(n,) error of each member."""
        return self.choice.loss.score(self.chunked(data.inputs)[0], data.targets, data.slopes).mean(-1)

    def chunked(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """`forward` in pieces, without gradient: (B, S + D) -> μ and ℓ, (n, B, 1 + S) each."""
        with torch.no_grad():
            return tuple(torch.cat(parts, 1) for parts in zip(*(self(some) for some in inputs.split(CHUNK))))

    def fit(
        self, data: Data, slopes: Slopes | None, generator: torch.Generator, step: int, beat: Callable[[], object] = lambda: None
    ) -> dict[str, float]:
        def update(index: Tensor) -> None:
            beat()
            self.update(data.at(train[index]), step)

        data = data.sloped(slopes if self.choice.loss.weighted else None)
        choice, device, number = self.choice, data.inputs.device, len(data.inputs)
        held = min(max(int(choice.holdout * number), 1), choice.holdout_most)
        order = torch.randperm(number, generator=generator).to(device)
        kept, train = data.at(order[:held]), order[held:] if number > held else order  # no copy of what is trained on
        self.measure(data, train)
        best, epochs = BestEpochs(self.weights), Epochs(choice.batch_size, choice.patience, choice.epochs)
        mine = torch.randint(len(train), (choice.members, len(train)), generator=generator)  # each member's bootstrap sample
        best.train_(update, lambda: self.score(kept), mine, epochs, generator)
        best.restore_()
        self.elite.copy_(best.error.argsort()[: choice.elites])
        metrics = {
            "model/epochs": float(best.epochs),
            "model/holdout_error": best.error[self.elite].mean().item(),
            **self.judged(kept.at(torch.arange(min(held, JUDGED))).sloped(slopes)),
        }
        if self.terminations is not None:
            metrics |= self.terminations.fit(data.inputs, data.terminated, train, order[:held], epochs, generator, beat)
        return metrics

    def judged(self, data: Data) -> dict[str, float]:
        """Numbers of held-out transitions, means over the elite: the squared error; of Gaussian members the share of targets within one
        standard deviation, 0.68 where they are calibrated; and the squared error of a value to first order, (∇V(s')·(ŝ' − s'))²."""
        mean, log_variance = (part[self.elite] for part in self.chunked(data.inputs))
        error = mean - data.targets
        found = {"model/squared_error": error.square().mean().item()}
        if self.bounds is not None:
            found["model/calibration"] = (error.square() <= log_variance.exp()).float().mean().item()
        if data.slopes.shape[1]:
            found["model/value_error"] = (error[..., None, 1:] * data.slopes).sum(-1).square().mean().item()
        return found

    # ---- predicting

    @torch.no_grad()
    def predict(self, obs: Tensor, action: Tensor, generator: torch.Generator) -> Prediction:
        """A step for each row, (B, S) and (B, D) -> (B, …). A random member of the elite predicts each row; a Gaussian one is sampled."""
        device, number, inputs = obs.device, len(obs), torch.cat([obs, action], 1)
        member = self.elite[torch.randint(len(self.elite), (number,), generator=generator).to(device)]
        mean, log_variance = (part[member, torch.arange(number, device=device)] for part in self.chunked(inputs))
        if self.bounds is not None:
            mean = mean + (0.5 * log_variance).exp() * torch.randn(mean.shape, generator=generator).to(device)
        ends = torch.zeros(number, dtype=torch.bool, device=device) if self.terminations is None else self.terminations.terminates(inputs)
        return Prediction(mean[:, 0], obs + mean[:, 1:], ends)

    def state(self) -> State:
        own = {} if self.terminations is None else {"termination_optimizer": self.terminations.optimizer.state_dict()}
        return {"module": self.state_dict(), "optimizer": self.optimizer.state_dict(), **own}

    def load(self, state: State) -> None:
        found = require_sound(state, self.state(), self.choice.members)
        self.load_state_dict(found["module"])
        self.optimizer.load_state_dict(found["optimizer"])
        if self.terminations is not None:
            self.terminations.optimizer.load_state_dict(found["termination_optimizer"])
