"""The source of MAC: batches of 2^J consecutive steps, of which a mean over 2^L steps is estimated without bias (Suttle and others, 2023).

    J ~ Geom(½);  N = 2^J steps if J ≤ L, else 1;     g = ḡ_1 + 1(J ≤ L) 2^J (ḡ_{2^J} − ḡ_{2^(J−1)});     ḡ_n: mean over the first n steps
    E g = E ḡ_{2^L}

g is linear in the terms of single steps: each has its weight, ±1, 0 for the first of several. A batch takes L + 2^−L steps in the mean.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from deeprl.choice import counts, in_range
from deeprl.replay.memory import HOST, of_gpu, too_little
from deeprl.replay.rollout import row_bytes
from deeprl.replay.source import Settings, Source
from deeprl.types import Batch, Rows, Spec, State


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

    Raises:
        ValueError: levels are none, or the machine or its GPU has too little memory for the longest batch.
    """

    offers = frozenset({"consecutive"})
    counted: ClassVar = {"levels": 1}
    paced_by = ("replay.levels",)
    one_policy = draws_lengths = True
    serves = "consecutive"
    batch_size = 1

    def __init__(self, *, levels: int = 4, spec: Spec, num: int, rewards, batch_device: str | torch.device = "cpu", **others):
        self.levels, self.num, self.spec, self.rewards, self.device = levels, num, spec, rewards, torch.device(batch_device)
        counts(self, levels=1)
        in_range(self, levels=(1, 20))
        self.capacity = num * 2**levels
        for place, copies in {self.device: 1, HOST: 3}.items():  # this batch and the one before, and this one as a whole
            tick = copies * num * row_bytes(spec)
            if (available := too_little(tick * 2**levels, place)) is not None:
                raise ValueError(
                    f"levels={levels} of {num} environments needs {tick * 2**levels:,} bytes, for batches of up to 2^{levels} ticks, and "
                    f"{available:,} are available{of_gpu(place)}: replay.levels={int(math.log2(max(available // tick, 2)))} would fit, "
                    "or fewer environments, env.num"
                )
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

    def truncate_episode(self, environment: int) -> bool:
        if self.ticks:
            self.ticks[-1].ended[environment] = True
        return bool(self.ticks)

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

    draws_lengths = False

    @classmethod
    def planned(cls, settings: Settings, steps: int, num: int) -> int:
        return steps // num // 2 ** settings["levels"]

    def weight(self) -> Tensor:
        return torch.full((2**self.levels,), 2.0**-self.levels)
