"""A value of states alone, V(s), beside the critics of pairs."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from torch import Tensor, nn

from deeprl.choice import Part
from deeprl.learning.objective import Objective
from deeprl.learning.plan import Plan
from deeprl.learning.values.returns import Returns
from deeprl.types import Batch


class StateValue(Part):
    """V(s), from which the critics' targets bootstrap in place of the value of the policy's next action. This base class is neutral: it has
    no V, and leaves both formulas below to the critics.

    Args:
        plan: finished choices of the agent.
    """

    former: ClassVar = {"learned": "replaces_next_action, beside `future` and `advantage`"}
    replaces_next_action = False
    """Whether `future` reads no action of the policy. A batch of pairs then has the states alone too, `extra["observed"]` and
    `extra["next_observed"]`"""

    def __init__(self, *, plan: Plan):
        super().__init__()

    def objectives(self, taken: Callable[[Batch], tuple[Tensor, Batch]]) -> dict[str, Objective]:
        """Objectives of V, updated before the critics.

        Args:
            taken: of the replay's batch the values Q̄(s, a), (*B,), of the actions that were taken, by the target critics and without a
                gradient; and the batch as critics see it, with `extra["observed"]` and `extra["next_observed"]`.
        """
        return {}

    def future(self, of_policy: Callable[[], Returns], batch: Batch, iterations: int) -> Returns:
        """Return of the next state, which targets bootstrap from, atoms (K, *B, N).

        Args:
            of_policy: that of the policy's next action a', by the target critics.
            iterations: K.
        """
        return of_policy()

    def advantage(
        self, batch: Batch, action: Tensor, value_of: Callable[[Tensor], Tensor], taken: Callable[[Batch], tuple[Tensor, Batch]]
    ) -> Tensor:
        """Q(s, a) of the actions that were taken, less the value of s, (*B,).

        Args:
            action: the policy's action in s, (*B, D).
            value_of: actions in s -> their values by the online critics, (*B,).
            taken: as in `objectives`.
        """
        return value_of(batch.action) - value_of(action)

    def forward(self, observed: Tensor) -> Tensor:
        """V(s) of normalized observations, (*B, *obs) -> (*B,)."""
        raise NotImplementedError

    def networks(self) -> dict[str, nn.Module]:
        """What starts anew at a reset, by the place of the initial weights."""
        return {}
