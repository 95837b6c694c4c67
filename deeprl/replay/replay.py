"""From rows to batches: which transitions (sampler), how many steps they span and what they earned (n-step folding).

    m = steps from t up to and including the first terminated or ended one, at most n, at most up to the newest row
    reward = Σ_{k<m} γ^k f(r_{t+k})      discount = γ^m (1 - terminated_{t+m-1})      next_obs = observation m steps later

f is the agent's reward transform. γ, termination, truncation and n exist here and nowhere else: a target is reward + discount * value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from deeprl.choice import Choice, in_range
from deeprl.replay.gather import Drawn, Gather, Meaning
from deeprl.replay.ring import Ring, layout
from deeprl.replay.samplers import Live, Prioritized, PrioritizedDraws, Uniform
from deeprl.system.machine import available_memory
from deeprl.types import Batch, Rows, Spec


class Replay(Choice):
    """Replay memory of M environments.

    What `draw` returns shares no memory with the storage, but **its buffers are used again by the next `draw` of the same batch size**:
    keep copies of what must outlive it.

    Args:
        capacity: rows of all environments together, an extra one at each episode's end included.
        batch_size: B of `noise`.
        n_step: n.
        sampler: `Uniform` or `Prioritized`.
        spec: of the environments.
        num: M.
        discount: γ.
        rewards: raw -> learned reward(s), (...) -> (...) or (C, ...), applied before sums are taken.
        needs: of these, the names in `offers` are the fields of `batch.extra` to fill.
        device: of the batches. The storage stays in main memory.

    Raises:
        ValueError: for values out of range, or if the machine has less memory than a full replay needs.
    """

    offers = frozenset({"successor", "behavior_probability", "terminated"})

    def __init__(
        self,
        *,
        capacity: int,
        batch_size: int,
        n_step: int = 1,
        sampler: Uniform | Prioritized = Uniform(),
        spec: Spec,
        num: int,
        discount: float,
        rewards: Callable[[Tensor], Tensor] = lambda raw: raw,
        needs: frozenset[str] = frozenset(),
        device: str | torch.device = "cpu",
    ):
        self.capacity, self.batch_size, self.n_step, self.discount, self.num = capacity, batch_size, n_step, discount, num
        in_range(self, capacity=(1, None), batch_size=(1, None), n_step=(1, None), discount=(0, 1), num=(1, None))
        self.spec = spec
        self.layout = layout(spec, capacity, num, self.reach)
        self.bytes = self.layout.memory + sampler.memory(self.layout.ticks * num)
        """that a full replay takes"""
        self._refuse_if_too_large()
        self.ring = Ring(self.layout)
        self.draws = sampler.over(self.layout.ticks * num)
        self.meaning = Meaning(spec, n_step, discount, rewards, needs & self.offers, torch.device(device))
        self._gathers: dict[int, Any] = {}

    @staticmethod
    def memory(spec: Spec, capacity: int, num: int = 1, n_step: int = 1, sampler: Uniform | Prioritized = Uniform()) -> int:
        """Bytes that a full replay takes."""
        plan = layout(spec, capacity, num, n_step)
        return plan.memory + sampler.memory(plan.ticks * num)

    @property
    def reach(self) -> int:
        """Rows that a window reaches ahead."""
        return self.n_step

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """*B"""
        return (self.batch_size,)

    def _refuse_if_too_large(self) -> None:
        needed, available = self.bytes, available_memory()
        if available is not None and needed > available:
            each = needed / self.capacity
            fits = max(int((available - (64 << 20)) / each), 0)
            raise ValueError(
                f"capacity={self.capacity} needs {needed:,} bytes ({each:,.0f} a row), and {available:,} are available: "
                f"replay.capacity={fits} would fit"
            )

    # Writing

    def append(self, rows: Rows) -> None:
        """One tick of M environments."""
        self.ring.append(rows)

    def update_priorities(self, index: Tensor, error: Tensor) -> None:
        """
        Args:
            index: (B,) `batch.index`. Rows overwritten since then are left alone.
            error: (B,) `learned.error`.
        """
        if self.prioritized:
            self.draws.update(index.detach().cpu().numpy(), error.detach().cpu().numpy(), self.live)

    @property
    def prioritized(self) -> bool:
        """Whether `update_priorities` matters."""
        return isinstance(self.draws, PrioritizedDraws)

    # Sampling

    @property
    def live(self) -> Live:
        return Live(self.ring.first * self.num, self.ring.last * self.num, self.layout.ticks * self.num)

    def __len__(self) -> int:
        """Transitions that can be sampled."""
        return self.live.alive

    def noise(self, block: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Uniforms for `block` batches: {"u": (block, B)} float64."""
        return {"u": torch.rand(block, self.batch_size, generator=generator, dtype=torch.float64)}

    def draw(self, u: Tensor) -> Drawn | Batch:
        """Choose transitions and copy their rows.

        Args:
            u: (B,) float64 in [0, 1), on the CPU.

        Raises:
            ValueError: the replay is empty.
        """
        live = self.live
        if not live.alive:
            raise ValueError("the replay is empty")
        number, weight = self.draws.draw(u.numpy(), live, self.ring.last * self.num)
        gather = self._gathers.get(len(number))
        if gather is None:
            gather = self._gathers[len(number)] = self.gather(len(number))
        slot = self.ring.slots.reshape(-1).take(number % live.size)
        return gather(torch.from_numpy(slot), torch.from_numpy(number), weight)

    def batch(self, drawn: Drawn | Batch) -> Batch:
        """What was drawn, as agents know it: a pure function of tensors, which may be a part of a compiled step. A batch is one already."""
        return drawn if isinstance(drawn, Batch) else self._gathers[drawn.index.shape[0]].batch(drawn)

    def gather(self, size: int) -> Any:
        """`gather(slot, index, weight)`: `Drawn` of `size` from where their rows lie, which its `batch` turns into a batch."""
        return Gather(self.ring, self.meaning, size)

    # Checkpoints: the state is small, rows are written once

    def state_dict(self) -> dict:
        """Cursors, incomplete rows and priorities (8 bytes a row); what else follows from the rows is derived."""
        return {**self.ring.state_dict(), **self.draws.state_dict(self.live)}

    def marks(self) -> list[int]:
        """Rows ever written by each environment."""
        return self.ring.count.tolist()

    def live_from(self) -> list[int]:
        """Number of the oldest row that each environment still holds: segments that end before are of no use."""
        return self.ring.held().tolist()

    def cut(self, environment: int) -> None:
        """Mark the episode that an environment is in as truncated at its newest row: nobody can go on with it."""
        self.ring.cut(environment)

    def rows(self, since: list[int] | None = None) -> dict[str, Tensor]:
        """A segment: the rows written since `marks()` was `since`, at most what is still there."""
        return self.ring.written([0] * self.num if since is None else since)

    def load(self, state: dict, segments: Iterable[dict[str, Tensor]]) -> None:
        """Go on from `state`, whose rows are in `segments`, oldest first.

        Raises:
            ValueError: if rows are missing or are not of this environment.
        """
        self.ring.load(state, segments)
        self.draws.load(state, self.live)
