"""Expected SARSA (van Seijen et al., ADPRL 2009), off-policy: the target policy is ε-greedy.

y = r + γ Σ_b π(b|s') Q̄(s', b),     π = ε / A  +  (1 − ε) greedy(Q̄(s', ·))
"""

from __future__ import annotations

from dataclasses import dataclass

from deeprl.extend import Batch, Choice, Returns, View, epsilon_greedy, in_range


@dataclass(frozen=True)
class ExpectedSarsa(Choice):
    """
    Args:
        epsilon: probability of a uniform action in the target policy, in [0, 1]. 0 is Q-learning.
    """

    epsilon: float = 0.1

    def __post_init__(self):
        in_range(self, epsilon=(0, 1))

    def __call__(self, online: View, target: View, batch: Batch) -> Returns:
        policy = epsilon_greedy(target.next.mean(), self.epsilon, batch.extra.get("next_valid"))  # (K, *B, A)
        return target.next.expect(policy).bootstrap(batch.reward, batch.discount)
