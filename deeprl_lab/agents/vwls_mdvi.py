"""VWLS-MDVI (Kitamura, Kozuno, Yang, Valko, Szepesvári, Munos et al., "Regularization and Variance-Weighted Regression Achieves Minimax
Optimality in Linear MDPs: Theory and Practice", ICML 2023): a linear MDP with a generative model. Its deep form is `agent=dvw`.

    s_{k+1} = fit of r + γ v_k(s') + α s_k,    w_k = max_a s_k,    v_k = w_k − α w_{k−1},    α = γ
    fit       of M samples, over pairs in the shares of a G-optimal design of φ/f, with weights 1/f²
    first     K iterations with f = H = 1/(1 − γ)
    then      σ² by a fit of half the squared difference of two targets of one pair, M times;  f = min(√max(σ², 0) + floor, H)
    again     from s = 0 with these f

`floor=H` weighs all samples equally; the paper's floor is √H, which at small H is near to that. The greedy policy of s is what is found.
Ours: the two targets include the reward, which may have noise; iteration goes on after the 2K of the paper.
"""

from __future__ import annotations

import numpy as np

from deeprl.extend import Rows, Spec, counts, in_range
from deeprl_lab.mathematics import ridge
from deeprl_lab.mathematics.planners import discounted_values
from deeprl_lab.planning_agent import PlanningAgent


class VWLSMDVI(PlanningAgent):
    """Agent for `env=lab/endless_linear`. Rows of the environment count only as time: samples come from the world's model.

    Args:
        discount: γ, below 1.
        samples: M, of an iteration.
        iterations: K.
        floor: added to √σ²; None: √H.
        interval: ticks between iterations.

    Raises:
        ValueError: a value is out of range, or the world has no features or an end.
    """

    wanted = "features"

    def __init__(self, *, spec: Spec, seed: int, world, discount: float, samples: int, iterations: int, floor: float | None, interval: int):
        super().__init__(spec=spec, seed=seed, world=world)
        self.discount, self.samples, self.iterations, self.interval = discount, samples, iterations, interval
        in_range(self, discount=(0, 0.999999))
        self.size = 1.0 / (1.0 - discount)
        self.floor = self.size**0.5 if floor is None else floor
        in_range(self, floor=(1e-6, None))
        counts(self, samples=1, iterations=1, interval=1)
        if world.mdp.horizon is not None:
            raise ValueError("world must be without end, because the criterion is discounted: env=lab/endless_linear")
        states, actions, d = world.features.shape
        self.phi = world.features.reshape(-1, d)
        self.s = self.table("s", np.zeros((states, actions)))
        self.before = self.statistic("before", np.zeros(states))  # w of the iteration before
        self.f = self.statistic("f", np.full(states * actions, self.size))
        self.share = self.statistic("share", ridge.optimal_design(self.phi))
        self.done = self.statistic("done", np.zeros(2, np.int64))  # iterations, ticks

    def choose(self, obs: np.ndarray, u: np.ndarray | None) -> np.ndarray:
        return self.s[obs.argmax(-1)].argmax(-1)

    def learn(self, rows: Rows) -> None:
        self.done[1] += 1

    def over(self, rows: Rows) -> bool:
        return bool(self.done[1] % self.interval == 0)

    def targets(self, pairs: np.ndarray, v: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Samples (n,) of r + γ v(s') for pairs (n,)."""
        mdp = self.world.mdp
        cumulative = mdp.transition.reshape(len(self.phi), -1).cumsum(-1)[pairs]
        after = (random.random((len(pairs), 1)) * cumulative[:, -1:] >= cumulative).sum(-1)
        reward = mdp.expected_reward().ravel()[pairs] + self.world.spread.ravel()[pairs] * random.normal(size=len(pairs))
        return reward + self.discount * v[after]

    def fit(self, pairs: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Weighted least squares on pairs (n,), predicted for all pairs."""
        scaled = self.phi[pairs] / self.f[pairs, None]
        return self.phi @ np.linalg.lstsq(scaled, y / self.f[pairs], rcond=None)[0]

    def replan(self) -> None:
        random = self.random(int(self.done[0]))
        taken = np.diff(np.rint(self.samples * self.share.cumsum()), prepend=0).astype(int)  # in all M
        pairs = np.repeat(np.arange(len(taken)), taken)
        w = self.s.max(-1)
        v = w - self.discount * self.before
        if self.done[0] == self.iterations:
            one, two = (self.targets(pairs, v, random) for _ in range(2))
            variance = self.fit(pairs, (one - two) ** 2 / 2)
            self.f[...] = np.minimum(np.sqrt(np.maximum(variance, 0.0)) + self.floor, self.size)
            self.share[...] = ridge.optimal_design(self.phi / self.f[:, None])
            self.s[...], self.before[...] = 0.0, 0.0
        else:
            self.s[...] = self.fit(pairs, self.targets(pairs, v, random)).reshape(self.s.shape) + self.discount * self.s
            self.before[...] = w
        self.done[0] += 1

    def best_value(self) -> float:
        return float(self.world.mdp.start @ discounted_values(self.world.mdp, self.discount)[1])

    def policy_values(self) -> np.ndarray:
        """V (S,) of the greedy policy."""
        return discounted_values(self.world.mdp, self.discount, np.eye(self.s.shape[1])[self.s.argmax(-1)])[1]

    def value(self) -> float:
        return float(self.world.mdp.start @ self.policy_values())
