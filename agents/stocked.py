"""Expected utilities of the stock and the return that is left (DηN; Ávila Pires, Rowland and others, JMLR 2025), whose functions f are in
agents/stock.py.

    U_f(s, c, a) = E f(c + Z(s, c, a)),    c_0 = argmax_c { max_a U_f(s_0, c, a) − c }
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from deeprl.choice import counts, in_range, numbers
from deeprl.learning.values.returns import Returns
from deeprl.learning.values.utility import Utility
from deeprl.types import Noise


@dataclass(frozen=True, kw_only=True)
class Stocked(Utility):
    """Base of the expected utilities of c + Z.

    Args:
        starts: smallest and largest first stock, also of those that take the place of others in updates; None: none does.
        share: of a batch, the transitions that get another first stock, drawn uniformly from `starts`; 0: none, bit for bit.
    """

    needs = frozenset({"distribution"})
    neutral = False
    stocked = True

    starts: tuple[float, float] | None = None
    share: float = 0.5

    def __post_init__(self) -> None:
        in_range(self, share=(0, 1))
        if self.starts is not None:
            low, high = numbers(self, "starts", 2)
            if low > high:
                raise ValueError(f"starts must be the smallest and the largest first stock, not {[low, high]}")

    def of_total(self, total: Tensor) -> Tensor:
        """f, of any shape."""
        raise NotImplementedError

    def __call__(self, returns: Returns, stock: Tensor | None) -> Tensor:
        assert stock is not None
        return Returns(self.of_total(returns.atoms + stock[..., None, None]), returns.probs).mean()

    def noise(self, size: tuple[int, ...], generator: torch.Generator) -> Noise:
        if self.starts is None or not self.share:
            return {}
        return {"stock": torch.rand(size, generator=generator)}

    def edited(self, noise: Noise) -> tuple[Tensor, Tensor] | None:
        if "stock" not in noise or self.starts is None:
            return None
        uniform, (low, high) = noise["stock"], self.starts
        return low + (high - low) * (uniform / self.share), uniform < self.share


@dataclass(frozen=True, kw_only=True)
class StaticRisk(Stocked):
    """Base of those whose first stock is chosen where an episode of evaluation begins: the one that promises most.

    Args:
        points: how many first stocks are compared, evenly spaced in `starts`; 1: none, the environment's is kept.
    """

    points: int = 101

    def __post_init__(self) -> None:
        super().__post_init__()
        counts(self, points=1)
        if self.starts is not None and self.starts[0] == self.starts[1] and self.points > 1:
            raise ValueError(
                f"starts must be a range for points={self.points}, not {list(self.starts)}, because the first stock is chosen in it: set "
                "env.starts to the range of -total, such as [-500,0], or agent.utility.points=1"
            )

    @property
    def candidates(self) -> Tensor | None:
        if self.starts is None or self.points == 1:
            return None
        return torch.linspace(self.starts[0], self.starts[1], self.points)

    def start(self, worth: Tensor) -> Tensor:
        starts = self.candidates
        assert starts is not None
        return (worth - starts.to(worth.device).unsqueeze(-1)).argmax(0)
