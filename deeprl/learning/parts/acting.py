"""Rules that choose among the K networks of a chain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class Acting:
    """Rule that chooses the network that acts, or the critics that serve an actor.

    Args:
        rule: `uniform`, `uniform_with_target`, `first`, `last`, `mean` or `episode`, see `deeprl.learning.parts.window.Window`.
        length: K.
    """

    RULES: ClassVar = ("uniform", "uniform_with_target", "first", "last", "mean", "episode")
    DRAWN: ClassVar = ("uniform", "uniform_with_target", "episode")
    FOR_ACTORS: ClassVar = ("uniform", "first", "last", "mean")

    rule: str
    length: int

    def noise(self, size: tuple[int, ...], generator) -> dict[str, Tensor]:
        """Random numbers for `choose`, drawn beside those of exploration; `size` is (ticks, M)."""
        if self.rule not in self.DRAWN:
            return {}
        return {"head": torch.rand(size, generator=generator, dtype=torch.float64)}

    def choose(
        self, values: Tensor, noise: dict[str, Tensor], first: Tensor, memory: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Values that act, (K, M, A) -> (M, A), and the memory for the next step.

        Args:
            noise: of a step, see `noise`.
            first: (M,) bool, whether an episode starts.
        """
        heads = values.shape[0]
        if heads == 1 or self.rule == "first":
            return values[0], memory
        if self.rule == "last":
            return values[-1], memory
        if self.rule == "mean":
            return values.mean(0), memory
        head = (noise["head"] * heads).long()
        if self.rule == "episode":
            first = first.to(values.device)
            head = torch.where(first, head, memory["head"].to(values.device)) if "head" in memory else head
            memory = {"head": head}
        return values[head, torch.arange(values.shape[1], device=values.device)], memory

    @property
    def draws(self) -> bool:
        """Whether `choose` draws one of several networks; if so, `typical` takes its place in `Agent.greedy`."""
        return self.rule in self.DRAWN and (self.length > 1 or self.rule == "uniform_with_target")

    @property
    def remembers(self) -> bool:
        """Whether `choose` must be called at every step, because it has a memory."""
        return self.rule == "episode" and self.length > 1

    @property
    def serves_one(self) -> bool:
        """Whether one of several iterations gives the value that an actor maximises, the one that `iteration` returns; else their mean."""
        return self.length > 1 and self.rule != "mean"

    def iteration(self, noise: Tensor) -> Tensor | None:
        """The iteration whose critics serve an actor, (1,) int64; None: the mean of all.

        Args:
            noise: () float64, uniform in [0, 1), one number for each update.

        Raises:
            ValueError: the rule chooses among networks that only agents for discrete actions have.
        """
        if self.rule not in self.FOR_ACTORS:
            raise ValueError(f"acting must be one of {', '.join(self.FOR_ACTORS)} where an actor acts, not {self.rule!r}")
        if not self.serves_one:
            return None
        if self.rule == "uniform":
            return (noise * self.length).long().reshape(1)
        return torch.full((1,), 0 if self.rule == "first" else self.length - 1, device=noise.device)

    def typical(self, values: Tensor) -> Tensor:
        """Values in evaluation, (K, M, ...) -> (M, ...): of the first or the last network under these rules, the mean of all networks under
        every other rule."""
        return {"first": values[0], "last": values[-1]}.get(self.rule, values.mean(0))
