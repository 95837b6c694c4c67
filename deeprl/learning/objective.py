"""A loss, the parameters it trains, and the optimizer that holds them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor, nn

from deeprl.learning.optim.flat import Flat, Groups, Optimizer
from deeprl.types import Batch, Report, Term


@dataclass
class Objective:
    """One loss, the parameters that it trains, and their optimizer.

    Args:
        loss: batch -> `Term`; a pure function of parameters and batch.
        parameters: trained by this loss. All others are constants for it.
        optimizer: holds the parameters in one flat tensor, or in one for each group.
        step: an update of its own, in place of one gradient of the loss and the optimizer's rule: batch -> report, and () the norm of the
            gradient. It is called without gradient mode, is never compiled, and raises `NotFinite` as `Watch` does.
    """

    loss: Callable[..., Term]
    parameters: Sequence[nn.Parameter]
    optimizer: Flat | Groups
    step: Callable[[Batch], tuple[Report, Tensor]] | None = None

    @classmethod
    def of(
        cls,
        loss: Callable[..., Term],
        modules: Sequence[nn.Module | None],
        optimizer: Optimizer,
        groups: Sequence[tuple[Sequence[nn.Parameter], Optimizer]] = (),
    ) -> Objective:
        """Objective that trains all parameters of some modules.

        Args:
            optimizer: choice for the parameters that are in no group.
            groups: parameters, of these modules or of others, with a choice of their own.
        """
        others = {id(parameter) for group, _ in groups for parameter in group}
        found = (p for module in modules if module is not None for p in module.parameters() if id(p) not in others)
        plain = list({id(p): p for p in found}.values())  # a module may be part of another one, and its weights are stepped once
        if not groups:
            return cls(loss, plain, optimizer.build(plain))
        grouped = Groups([(plain, optimizer), *groups])
        return cls(loss, grouped.parameters, grouped)


def without_decay(optimizer: Optimizer) -> Optimizer:
    """An optimizer for log α, or for ρ, which weight decay would draw towards 0."""
    return replace(optimizer, weight_decay=0.0) if hasattr(optimizer, "weight_decay") else optimizer
