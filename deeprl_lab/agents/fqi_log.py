"""FQI-LOG (Ayoub, Wang, Liu, Robertson, McInerney, Liang, Kallus, Szepesvári, "Switching the Loss Reduces the Cost in Batch Reinforcement
Learning", ICML 2024): batch learning of costs in [0, 1] by log-loss, backwards in the step h, with weights for each (h, a).

    w_{h,a} = argmin Σ ℓ( min_a' f_{h+1}(s', a'), f_h(s, a) ),    f = σ(w·φ),    f_H = the cost of the last state
    φ(s) = cos(π c·s̄),  c ∈ {0, …, order}²,  s̄ = the state scaled to [0, 1]²

Squared loss has the same sigmoid. Data are n episodes of random actions, of which each is held for `hold` steps; 1 is the authors'. Then it
is fitted, and the greedy policy plays. Fits before, at n/2, n/4, … episodes, show how the cost falls with n.

The authors' target takes the minimum over two of the three actions, by a slip in a call of NumPy; here it is over all. Newton's method
and λ in place of BFGS with clipped logits are ours.
"""

from __future__ import annotations

import numpy as np

from deeprl.extend import Rows, Spec, counts, in_range
from deeprl_lab.mathematics.sigmoid import Loss, fitted, sigmoid
from deeprl_lab.planning_agent import PlanningAgent


def fourier(state: np.ndarray, bounds: np.ndarray, order: int) -> np.ndarray:
    """(..., 2) states within `bounds`, rows of lowest and highest -> (..., (order + 1)²)."""
    scaled = (state - bounds[0]) / (bounds[1] - bounds[0])
    return np.cos(np.pi * scaled @ np.indices((order + 1, order + 1)).reshape(2, -1))


def iterate(loss: Loss, phi: np.ndarray, actions: np.ndarray, cost: np.ndarray, num_actions: int, lam: float) -> np.ndarray:
    """Fitted Q iteration on n episodes.

    Args:
        phi, actions: features (n, H + 1, d), and (n, H).
        cost: (n,), of the last states.

    Returns:
        Weights (H, A, d).
    """
    weights, target = np.zeros((actions.shape[1], num_actions, phi.shape[-1])), cost
    for h in reversed(range(actions.shape[1])):
        for action in range(num_actions):
            taken = actions[:, h] == action
            weights[h, action] = fitted(loss, phi[taken, h], target[taken], lam)
        target = sigmoid((phi[:, h] @ weights[h].T).min(-1))
    return weights


class FQILog(PlanningAgent):
    """Agent for `env=lab/mountain_car`.

    Args:
        loss: ℓ.
        order: of the Fourier features.
        lam: λ.
        episodes: n.
        fits: how many fits there are, at n, n/2, n/4, …
        hold: steps that a random action is held.

    Raises:
        ValueError: a value is out of range.
    """

    wanted = "episode_cost"

    def __init__(self, *, spec: Spec, seed: int, world, loss: Loss, order: int, lam: float, episodes: int, fits: int, hold: int):
        super().__init__(spec=spec, seed=seed, world=world)
        self.loss, self.order, self.lam, self.episodes, self.fits, self.hold = loss, order, lam, episodes, fits, hold
        in_range(self, lam=(1e-12, None))
        counts(self, order=1, episodes=1, fits=1, hold=1)
        horizon = world.horizon
        self.weights = self.table("weights", np.zeros((horizon, spec.num_actions, (order + 1) ** 2)))
        self.states = self.statistic("states", np.zeros((episodes, horizon + 1, 2)))
        self.taken = self.statistic("taken", np.zeros((episodes, horizon), np.int64))
        self.cost = self.statistic("cost", np.zeros(episodes))
        self.number = self.statistic("number", np.zeros(1, np.int64))  # of episodes that are over

    def choose(self, obs: np.ndarray, u: np.ndarray | None) -> np.ndarray:
        step = np.minimum(obs[:, 2].astype(int), len(self.weights) - 1)
        if u is None or self.number[0] >= self.episodes:
            return np.einsum("mad,md->ma", self.weights[step], self.features(obs[:, :2].astype(float))).argmin(-1)
        before = self.taken[np.minimum(self.number[0] + np.arange(len(obs)), self.episodes - 1), step - 1]
        return np.where(step % self.hold, before, (u[:, 0] * self.spec.num_actions).astype(int))

    def learn(self, rows: Rows) -> None:
        first, step = int(self.number[0]), int(rows.obs[0, 2])
        into = slice(first, first + len(rows.action))  # empty after n episodes
        room = len(self.cost[into])
        self.states[into, step], self.taken[into, step] = rows.obs[:room, :2], rows.action[:room]
        if rows.ended[0]:
            self.states[into, step + 1], self.cost[into] = rows.next_obs[:room, :2], -rows.reward[:room]
            self.number[0] += len(rows.action)

    def replan(self) -> None:
        after = int(self.number[0])
        due = [self.episodes >> i for i in range(self.fits) if after - self.world.num < self.episodes >> i <= after]
        if due and due[0]:
            data = self.features(self.states[: due[0]]), self.taken[: due[0]], self.cost[: due[0]]
            self.weights[...] = iterate(self.loss, *data, self.spec.num_actions, self.lam)

    def features(self, state: np.ndarray) -> np.ndarray:
        return fourier(state, self.world.bounds, self.order)

    def best_value(self) -> float:
        return 0.0

    def value(self) -> float:
        """Of the greedy policy, which plays when data are complete."""
        return -self.world.episode_cost(lambda state, step: int((self.weights[step] @ self.features(state)).argmin()))
