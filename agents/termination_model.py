"""Learned terminations, for tasks whose rule is not known: an ensemble of classifiers of a step.

    L = Σ_members mean [ −d ln p(s, a) − (1 − d) ln (1 − p(s, a)) ],      p(s, a) = sigmoid(network(((s, a) − mean) / deviation))
    a step of the model terminates where the mean of p over the members is above ½

It has networks of its own, because the gradient of a likelihood grows with e^−ℓ: in the layers of the dynamics it would leave the
cross-entropy of a rare event almost no part. It looks at s and a, and not at the predicted s', so that its errors are not those of the
dynamics, whose loss may neglect what decides about an end. The classifier is trained after the dynamics, so the dynamics are bit for bit
those of a run with a given rule. Both have the same held-out transitions. Each member trains on all other transitions, because a bootstrap
sample would leave out a third of the rare terminations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deeprl.agents.best_epochs import BestEpochs, Epochs
from deeprl.agents.dynamics import CHUNK, moments
from deeprl.learning.networks.blocks import initialise
from deeprl.learning.networks.mlp import MLP
from deeprl.learning.optim.adam import Adam
from deeprl.learning.optim.differentiated import differentiated
from deeprl.system.terminal import say

FEW = 10
"""Held-out terminations below which a low recall may be chance"""


def cross_entropy(logits: Tensor, terminated: Tensor) -> Tensor:
    """(n,), the mean over transitions, in nats, from logits (n, B), and (B,) or (n, B) float32."""
    return F.binary_cross_entropy_with_logits(logits, terminated.expand_as(logits), reduction="none").mean(-1)


def recall_and_precision(said: Tensor, terminated: Tensor) -> tuple[float, float]:
    """Recall and precision of predicted terminations. Recall is the share of true terminations that are predicted; precision is the share
    of predicted terminations that are true. NaN where the divisor is 0.

    Args:
        said: predictions, (B,) bool.
        terminated: truth, (B,) bool.
    """
    right = (said & terminated).sum()
    return (right / terminated.sum()).item(), (right / said.sum()).item()


def base_entropy(positive: float, number: int) -> float:
    """Cross-entropy in nats of the best constant probability, over `number` transitions of which `positive` terminate. By Laplace's rule of
    succession it is above 0 where all are alike."""
    p = (positive + 1) / (number + 2)
    return -p * math.log(p) - (1 - p) * math.log(1 - p)


class TerminationModel(nn.Module):
    """
    Args:
        members: networks.
        size: S + D.
        hidden: widths of the hidden layers, of SiLU.
        lr: of their Adam.

    Attributes:
        mean, deviation: (S + D,) of the inputs that members were trained with.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, members: int, size: int, hidden: Sequence[int], lr: float, seed: int):
        super().__init__()
        self.network = MLP(members, (size, *hidden, 1), activate_last=False, activation="silu")
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("deviation", torch.ones(size))
        initialise(self, seed, "termination model")
        self.weights = list(self.parameters())
        self.optimizer = Adam(lr=lr).build(self.weights)
        self.told = False
        """Whether a line has said that terminations are not recognised"""

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, S + D) or (n, B, S + D) -> logits of a termination, (n, B)."""
        return self.network((inputs - self.mean) / self.deviation)[..., 0]

    def update(self, inputs: Tensor, terminated: Tensor) -> None:
        with differentiated(self.weights):
            gradients = torch.autograd.grad(cross_entropy(self(inputs), terminated).sum(), self.weights)
        self.optimizer.step(gradients, 0)

    @torch.no_grad()
    def chunked(self, inputs: Tensor) -> Tensor:
        """`forward` in pieces, without gradient: (B, S + D) -> logits (n, B)."""
        return torch.cat([self(some) for some in inputs.split(CHUNK)], 1)

    def terminates(self, inputs: Tensor) -> Tensor:
        """s and a, (B, S + D) -> (B,) bool."""
        return self.chunked(inputs).sigmoid().mean(0) > 0.5

    def fit(
        self,
        inputs: Tensor,
        terminated: Tensor,
        train: Tensor,
        held: Tensor,
        epochs: Epochs,
        generator: torch.Generator,
        beat: Callable[[], object] = lambda: None,
    ) -> dict[str, float]:
        """Train the members, going on from their weights. Returns numbers for the log.

        Args:
            inputs, terminated: s and a (N, S + D), and (N,) float32, of all transitions.
            train, held: numbers of those that are trained on, and held out.
            generator: on the CPU.
            beat: called before each update.
        """
        for buffer, moment in zip((self.mean, self.deviation), moments(inputs[train])):
            buffer.copy_(moment)
        known, ends = inputs[held], terminated[held]
        # relative gains of an error that goes to 0 have no end
        enough = 0.01 * base_entropy(terminated[train].sum().item(), len(train))

        def update(index: Tensor) -> None:
            beat()
            self.update(inputs[train[index]], terminated[train[index]])

        def error() -> Tensor:
            return cross_entropy(self.chunked(known), ends).clamp(min=enough)

        best = BestEpochs(self.weights)
        everything = torch.arange(len(train)).expand(len(best.error), -1)
        best.train_(update, error, everything, epochs, generator)
        best.restore_()
        recall, precision = recall_and_precision(self.terminates(known), ends > 0)
        self.tell(recall, int(ends.sum()))
        return {"model/termination_recall": recall, "model/termination_precision": precision}

    def tell(self, recall: float, number: int) -> None:
        """A line on stderr, once, where fewer than half of enough held-out terminations are recognised."""
        if not self.told and number >= FEW and recall < 0.5:
            self.told = True
            say(
                f"the model recognises {round(recall * number)} of {number} terminations that it was not trained on, so that imagined "
                "episodes go on where those of the environment end: give the environment a method terminates(observations), its rule, or "
                "let the model learn from more steps (replay.learning_starts) or longer (replay.model.epochs)"
            )
