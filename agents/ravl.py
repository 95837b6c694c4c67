"""Reach-aware value learning (RAVL; Sims, Lu, Foerster, Teh, The Edge-of-Reach Problem in Offline Model-Based Reinforcement Learning,
2024).

    once: train the model on the data;   every `period` steps:  s ~ data, `rollouts` times;  k steps of a ~ π(·|s) in the model
    each update: a share `real` of the batch from the data, the rest from the last `retain` sets of rollouts;  no penalty of the model

States that are first reached by the k-th step are bootstrapped from, and never updated, so that values grow there without limit, even with
an exact model. RAVL's critics are pessimistic where they disagree, and they disagree there: those of EDAC (agents/edac.py). What this file
adds is the source: MBPO's (agents/mbpo.py), with data in place of a replay that grows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ClassVar

import torch
from torch import Tensor

from deeprl.agents.dynamics import Data, ModelChoice
from deeprl.agents.imagination import Imagination, Terminates
from deeprl.agents.mbpo import ModelReplay
from deeprl.learning.agent import Agent
from deeprl.replay.replay import Replay
from deeprl.replay.samplers import Sampler, Uniform
from deeprl.replay.source import Pace, Prepare, Settings
from deeprl.types import Rows, Spec, State


class StoredModel(ModelReplay):
    """Stored data, which never grow, beside which a model of them imagines transitions.

    `trained` and `trainings` are of the rollouts: the model itself is trained once, before the first of them.

    Args:
        data: a run folder or a data set, read by `store`.
        store: makes the replay that has the data, and no others: `deeprl.running.collect.stored.Stored`. It is told `key`, where its
            arguments stand.
        model, agent, terminates: as in `ModelReplay`.
        imagination: how much; `period` is in steps between two sets of rollouts.
        ratio: updates for each counted step.
        num: M, steps that are counted at once. No environment is stepped in training.
        others: as in `Replay`.

    Raises:
        ValueError: there are no such data, or as in `ModelReplay`.
    """

    paced_by = ("replay.ratio",)
    collects = False
    hands_on: ClassVar = None
    argument_groups: ClassVar = {"imagination": Imagination}

    def __init__(
        self,
        *,
        data: str,
        store: Callable[..., Replay],
        model: ModelChoice,
        imagination: Imagination = Imagination(),
        agent: Agent | None = None,
        terminates: Terminates | None = None,
        ratio: float = 1.0,
        batch_size: int,
        n_step: int = 1,
        sampler: Sampler = Uniform(),
        device: str = "auto",
        spec: Spec,
        num: int,
        **others,
    ):
        if not callable(store):
            raise ValueError(f"store must make the replay of the data, not {store!r:.100}: leave it out")
        self.store = store(key="replay", data=data, batch_size=batch_size, device="cpu", spec=spec, num=num, **others)
        super().__init__(
            model=model, imagination=imagination, agent=agent, terminates=terminates, spec=spec, batch_size=batch_size, n_step=n_step,
            sampler=sampler, device=device, capacity=self.store.capacity, num=self.store.num, pace=Pace(ratio=ratio), **others,
        )  # fmt: skip
        self.ring = self.store.ring  # its own has no rows, and takes no memory
        self.provenance = self.store.provenance

    @classmethod
    def planned(cls, settings: Settings, steps: int, num: int) -> int:
        return super().planned({**settings, "learning_starts": 0}, steps, num)

    def connect(self, seed: int, part: str, observe: Callable[[Rows], object], prepare: Prepare) -> None:
        super().connect(seed, part, observe, prepare)
        self.store.connect(seed, part, observe, prepare)  # running statistics are those of all data, from the start

    def fit(self, data: Data, generator: torch.Generator, step: int) -> dict[str, float]:
        return self.shown if self.trainings else super().fit(data, generator, step)

    # Checkpoints: the data are named, and must be as they were

    def state_dict(self) -> State:
        return {**self.store.state_dict(), **self.model_state()}

    def load(self, state: State, segments: Iterable[dict[str, Tensor]]) -> None:
        """
        Raises:
            ValueError: the data have changed since, or as in `ModelReplay`.
        """
        self.store.load(state, segments)
        self.load_model(state)

    def restart(self, step: int) -> str:
        self.store.restart(step)
        return "a model that is trained anew"

    def marks(self) -> list[int]:
        return self.store.marks()

    def live_from(self) -> list[int]:
        return self.store.live_from()

    def rows(self, since: list[int] | None = None) -> dict[str, Tensor] | None:
        return self.store.rows(since)
