"""The source of SQIRL: episodes by frozen policies up to step i, and then at random, which is kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import prod
from typing import ClassVar

import torch
from torch import Tensor

from deeprl.agents.sqirl import SQIRL
from deeprl.choice import counts
from deeprl.learning.agent import Agent
from deeprl.replay.memory import refuse_if_too_large
from deeprl.replay.ring import require_actions
from deeprl.replay.source import Settings, rows_and_memory
from deeprl.replay.trajectories import Trajectories
from deeprl.types import Batch, State

KEPT = ("obs", "action", "reward", "discount", "next_obs", "ended", "returns")
"""Fields of a batch that are kept, and the returns"""


class RandomTails(Trajectories):
    """Episodes in iterations, of which the steps of random play are kept: a memory, and behind each of H iterations
    ⌈steps · epochs / B⌉ updates from all that it holds, steps of frozen policies counted too.

    Args:
        episodes, horizon: N of an iteration, and the steps after which one ends.
        epochs: of an iteration's steps.
        batch_size: B.
        capacity: steps that are kept; new ones take the place of the oldest.
        agent: whose policies are frozen.
        terminates: not used.
        others: as in `Trajectories`.

    Raises:
        ValueError: a value is out of range, the steps need more memory than there is, or the agent or its horizon is another one.
    """

    offers = SQIRL.needs
    serves = "random_tails"
    imagines = True  # gets the agent
    counted: ClassVar = {"episodes": 1, "horizon": 1, "epochs": 1, "batch_size": 1}

    def __init__(
        self,
        *,
        episodes: int = 20,
        horizon: int = 100,
        epochs: int = 10,
        batch_size: int = 128,
        capacity: int = 100_000,
        agent: Agent | None = None,
        terminates: object = None,
        **others,
    ):
        super().__init__(episodes=episodes, horizon=horizon, **others)
        if not isinstance(agent, SQIRL):
            raise ValueError("the policies of agent=sqirl alone are frozen: choose that agent, or another replay")
        if agent.horizon != horizon:
            raise ValueError(
                f"horizon must be that of agent.horizon={agent.horizon}, not {horizon}: leave agent.horizon out, which follows it"
            )
        self.agent, self.epochs, self.batch_size, self.capacity = agent, epochs, batch_size, capacity
        counts(self, epochs=1, batch_size=1, capacity=1)
        numbers, row, device = ("reward", "discount", "returns"), tuple(self.spec.obs_shape), self.device
        needed = capacity * (2 * prod(row) * self.spec.obs_dtype.itemsize + 4 * len(numbers) + 9)
        refuse_if_too_large("capacity", capacity, needed, device=device)
        self.kept = {
            **{name: torch.zeros((capacity, *row), dtype=self.spec.obs_dtype, device=device) for name in ("obs", "next_obs")},
            **{name: torch.zeros(capacity, device=device) for name in numbers},
            "ended": torch.zeros(capacity, dtype=torch.bool, device=device),
            "action": torch.zeros(capacity, dtype=torch.int64, device=device),
        }
        self.bytes += sum(tensor.nbytes for tensor in self.kept.values())
        self.number = 0
        """Steps kept so far, those included that were overwritten"""

    @classmethod
    def planned(cls, settings: Settings, steps: int, num: int) -> int:
        """Of episodes that last to the horizon, behind which some step is random."""
        iterations = min(steps // cls.longest(settings, num), settings["horizon"])
        return iterations * cls.most(settings) or super().planned(settings, steps, num)

    @classmethod
    def most(cls, settings: Settings) -> int:
        """Updates of an iteration at most."""
        return -(-settings["episodes"] * settings["horizon"] * settings["epochs"] // settings["batch_size"])

    @classmethod
    def learns_until(cls, settings: Settings, num: int) -> int:
        """Of H iterations: the policy of each step is frozen then."""
        return settings["horizon"] * cls.longest(settings, num)

    @classmethod
    def ratio_of(cls, settings: Settings, num: int) -> float:
        return cls.most(settings) / cls.longest(settings, num)  # in these iterations

    def room(self) -> str:
        return rows_and_memory(self.capacity, self.bytes)

    def __len__(self) -> int:
        return min(self.number, self.capacity)

    # Learning

    def updates(self, before: int, after: int) -> Iterator[Batch]:
        for episodes in super().updates(before, after):
            if not self.keep(episodes):
                continue
            for _ in range(-(-int(episodes.valid.sum()) * self.epochs // self.batch_size)):
                yield self.sampled()
            self.agent.freeze_()

    def keep(self, episodes: Batch) -> int:
        """Keep the steps of random play. Returns how many there are."""
        time = torch.arange(len(episodes.valid), device=self.device).unsqueeze(-1)
        random = episodes.valid & (time >= self.agent.frozen)
        fresh = {name: (episodes.extra if name == "returns" else episodes._asdict())[name][random] for name in KEPT}
        count = len(fresh["reward"])
        rows = torch.arange(self.number, self.number + count, device=self.device)[-self.capacity :]
        for name, column in fresh.items():
            self.kept[name][rows % self.capacity] = column[-self.capacity :]
        self.number += count
        return count

    def sampled(self) -> Batch:
        index = (self.uniforms.next()["u"] * len(self)).long()
        rows = {name: column[index.to(self.device)] for name, column in self.kept.items()}
        ones = torch.ones_like(rows["reward"])
        returns = rows.pop("returns")
        return Batch(**rows, steps=ones.long(), valid=ones > 0, weight=ones, index=index, noise={}, extra={"returns": returns})

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return (self.batch_size,)

    # Checkpoints

    def state_dict(self) -> State:
        rows = {name: column[: len(self)].cpu().clone() for name, column in self.kept.items()}
        return {**super().state_dict(), "kept": rows, "number": self.number}

    def load(self, state: State, segments: Iterable[dict[str, Tensor]]) -> None:
        super().load(state, segments)
        number, rows = int(state["number"]), {name: torch.as_tensor(state["kept"][name]) for name in KEPT}
        count = min(number, self.capacity)
        for name, column in self.kept.items():
            found = rows[name]
            if number < 0 or found.shape != (count, *column.shape[1:]) or found.dtype != column.dtype:
                raise ValueError(f"the stored steps have {name} of shape {tuple(found.shape)}, not {(count, *column.shape[1:])}")
            column[:count] = found.to(self.device)
        require_actions(rows["action"], self.spec.num_actions)
        self.number = number
