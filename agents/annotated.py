"""Annotated intrinsic rewards (ONI: Zheng, Henaff, Zhang, Grover, Amos, Online Intrinsic Rewards for Decision Making Agents from Large
Language Model Feedback, 2024), with a script in place of the language model.

    r = r_env + coefficient · worth(message of s')

Every `period` ticks an annotator takes the messages since the last time, at most the `newest`, and says of each whether it is helpful, or
of two which is better; a share `error` of its answers is wrong. `worth` is what a model makes of them: the newest label, a classifier on
the words, or the scores of a ranking (Bradley and Terry). A message that nobody has labelled is worth 0.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from deeprl.agents.logistic_regression import fitted
from deeprl.choice import counts, in_range
from deeprl.learning.networks.torsos import TorsoChoice
from deeprl.learning.optim.flat import Optimizer
from deeprl.learning.parts.intrinsic import Intrinsic
from deeprl.noise import seed_sequence
from deeprl.types import Batch, Rows, Spec


class Table(Intrinsic):
    """The newest label of each message.

    Args:
        spec, torso, optimizer, seed: see `Intrinsic`; the seed is that of the annotator's errors too.
        messages: texts of the last columns of an observation, in their order; one column is 1 where something was said.
        helpful: regular expression of the messages that are.
        error: share of wrong answers.
        newest: messages that the annotator takes at a time, at most; earlier ones since the last time are dropped.
        period: ticks between two times.
        coefficient: of the worth.
    """

    gives = True
    worth: Tensor
    starts_anew = ("queue", "ticks")
    queue: Tensor
    ticks: Tensor
    answers: Tensor

    def __init__(
        self,
        *,
        spec: Spec,
        torso: TorsoChoice,
        optimizer: Optimizer,
        seed: int,
        messages: Sequence[str],
        helpful: str,
        error: float = 0.0,
        newest: int = 500,
        period: int = 128,
        coefficient: float = 0.4,
    ):
        super().__init__(spec=spec, torso=torso, optimizer=optimizer, seed=seed)
        self.seed, self.messages, self.error, self.newest, self.period = seed, tuple(messages), error, newest, period
        self.coefficient, n = coefficient, len(self.messages)
        in_range(self, error=(0, 1), coefficient=(0, None))
        counts(self, newest=1, period=1)
        if len(spec.obs_shape) != 1 or not 0 < n <= spec.obs_shape[0]:
            raise ValueError(
                f"messages are the last columns of an observation, and {n} of them do not fit into one of shape {spec.obs_shape}"
            )
        try:
            self.good = np.array([re.search(helpful, text) is not None for text in self.messages])
        except re.error as fault:
            raise ValueError(f"helpful must be a regular expression, not {helpful!r}: {fault}") from fault
        self.register_buffer("worth", torch.zeros(n))
        for name, value in {
            "queue": torch.full((newest,), -1),
            "ticks": torch.zeros((), dtype=torch.int64),
            "answers": self.none(),
        }.items():
            self.register_buffer(name, value.cpu())

    def forward(self, rollout: Batch) -> Tensor:
        return self.coefficient * (rollout.next_obs[..., -len(self.messages) :] @ self.worth)

    def observe(self, rows: Rows) -> None:
        said = rows.next_obs[:, -len(self.messages) :]
        new = said.argmax(1)[said.max(1) > 0]
        queue = np.concatenate([self.queue.numpy(), new])[-self.newest :]
        self.ticks += 1
        if int(self.ticks) % self.period == 0:
            random = np.random.default_rng(seed_sequence(self.seed, "update", "annotator", int(self.ticks)))
            self.annotate(queue[queue >= 0], random)
            queue = np.full(self.newest, -1)
        self.queue.copy_(torch.from_numpy(queue))

    def annotate(self, said: np.ndarray, random: np.random.Generator) -> None:
        """Labels for messages (n,), which are indices, and from all labels so far the worth of each message."""
        self.learn(said, self.good[said] ^ (random.random(len(said)) < self.error), random)
        self.worth.copy_(torch.from_numpy(self.worths()))

    # What a model keeps of the answers

    def none(self) -> Tensor:
        """`answers` before the first one."""
        return torch.full((len(self.messages),), -1.0, dtype=torch.float64)

    def learn(self, said: np.ndarray, labels: np.ndarray, random: np.random.Generator) -> None:
        self.answers.numpy()[said] = labels  # the last one of equal messages stays

    def worths(self) -> np.ndarray:
        """(messages,)"""
        return self.answers.numpy().clip(min=0)


class Classifier(Table):
    """1 where a logistic regression on the words of a message, on all labels so far, says that it is helpful."""

    def none(self) -> Tensor:
        return torch.zeros(len(self.messages), 2, dtype=torch.float64)

    def learn(self, said: np.ndarray, labels: np.ndarray, random: np.random.Generator) -> None:
        np.add.at(self.answers.numpy(), (said, labels.astype(int)), 1)

    def worths(self) -> np.ndarray:
        words = sorted({word for text in self.messages for word in text.split()})
        features = np.array([[1.0, *(word in text.split() for word in words)] for text in self.messages])
        losses, wins = self.answers.numpy().T
        return ((features @ fitted(features, wins, losses) > 0) & (wins + losses > 0)).astype(float)


class Ranking(Table):
    """tanh of the positive scores of a Bradley-Terry model, of which of two messages is better; the mean score is 0."""

    def none(self) -> Tensor:
        return torch.zeros(len(self.messages), len(self.messages), dtype=torch.float64)

    def learn(self, said: np.ndarray, labels: np.ndarray, random: np.random.Generator) -> None:
        for one, other in pairwise(said.tolist()):
            if self.good[one] != self.good[other]:  # of two alike the answer is a coin, which says nothing
                better = self.good[one] ^ (random.random() < self.error)
                self.answers[(one, other) if better else (other, one)] += 1

    def worths(self) -> np.ndarray:
        n, wins = len(self.messages), self.answers.numpy()
        first, second = np.triu_indices(n, 1)
        scores = fitted(np.eye(n)[first] - np.eye(n)[second], wins[first, second], wins[second, first])
        return np.tanh(scores).clip(min=0)
