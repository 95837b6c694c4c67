"""A value of states alone, V(s), beside the critics of pairs."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from deeprl.choice import Part
from deeprl.learning.objective import Objective
from deeprl.learning.plan import Plan
from deeprl.types import Batch


class StateValue(Part):
    """V(s), from which the critics' targets bootstrap in place of the value of the policy's next action. This base class is neutral: there
    is none.

    Args:
        plan: finished choices of the agent.
    """

    learned = False

    def __init__(self, *, plan: Plan):
        super().__init__()

    def objectives(self, taken: Callable[[Batch], tuple[Tensor, Batch]]) -> dict[str, Objective]:
        """Objectives of V, updated before the critics.

        Args:
            taken: of the replay's batch the values Q̄(s, a), (*B,), of the actions that were taken, by the target critics and without a
                gradient; and the batch as critics see it, with `extra["observed"]` and `extra["next_observed"]`.
        """
        return {}

    def forward(self, observed: Tensor) -> Tensor:
        """V(s) of normalized observations, (*B, *obs) -> (*B,)."""
        raise NotImplementedError

    def networks(self) -> dict[str, nn.Module]:
        """What starts anew at a reset, by the place of the initial weights."""
        return {}
