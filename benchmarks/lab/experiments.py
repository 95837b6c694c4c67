"""What is compared: for each experiment a world, arms and a length. Every scale of a grid is shown, and none is chosen afterwards."""

from __future__ import annotations

import time
from functools import partial

import numpy as np
import torch

from benchmarks.lab.arm import Arm, Experiment
from benchmarks.lab.beyond import BEYOND
from deeprl.running.training.collector import Collector
from deeprl_lab.agents.dtr import DTRBandit
from deeprl_lab.agents.dtr_arms import EpsilonGreedy, ForcedPulls, Optimism
from deeprl_lab.agents.iterated_cvar import IteratedCVaR
from deeprl_lab.agents.loop import Discrepancy, Doubling, Loop
from deeprl_lab.agents.model_classes import FiniteClass, Mixture
from deeprl_lab.agents.ravi_ucb import Converged, Mirror, RaviUCB
from deeprl_lab.agents.recursive_oce import RecursiveOCE
from deeprl_lab.agents.robust_rvi import RobustRVI
from deeprl_lab.agents.static_cvar import StaticCVaR
from deeprl_lab.envs.dtr import DTR
from deeprl_lab.envs.worlds import Garnet, LinearMixture, RandomMDP, RiskLadder, RiverSwim, TwoStates
from deeprl_lab.mathematics.optimism import Bernstein, Bonus, Hoeffding
from deeprl_lab.mathematics.planners import policy_gain, relative_value_iteration
from deeprl_lab.mathematics.risk import CVaR, Entropic, Mean, Piecewise
from deeprl_lab.mathematics.uncertainty import KL, ChiSquare, Contamination, TotalVariation, Uncertainty, Wasserstein


def dtr() -> Experiment:
    episodes = 2000

    def arm(optimism, lam: float = 1e-6) -> Arm:
        return Arm(DTR(), partial(DTRBandit, optimism=optimism, lam=lam, capacity=episodes))

    arms = {f"forced q=3 δ={delta}": arm(ForcedPulls(3, delta)) for delta in (0.2, 1.0)}
    arms |= {"ε=0.1": arm(EpsilonGreedy(0.1)), "greedy": arm(EpsilonGreedy(0.0))}
    arms |= {f"LSVI-UCB c={c}": arm(Optimism(c, episodes), 1.0) for c in (1.0, 0.1)}
    return Experiment("regret of forced pulls grows like ln T, that of ε-greedy linearly", episodes, arms)


def bonuses(*kinds: type[Bonus]) -> dict[str, Bonus]:
    """Greedy, and each kind at two scales."""
    return {"greedy": Bonus(), **{f"{kind.__name__} c={c}": kind(c) for c in (0.1, 0.01) for kind in kinds}}


def static_cvar() -> Experiment:
    arms = {}
    for world, grid, tau in ((RandomMDP(), 0.5, 1.0), (RandomMDP(), 0.5, 0.5), (RandomMDP(), 0.5, 0.1), (RiskLadder(), 0.2, 0.5)):
        for name, bonus in bonuses(Hoeffding, Bernstein).items():
            arms[f"{type(world).__name__} τ={tau} {name}"] = Arm(world, partial(StaticCVaR, tau=tau, grid=grid, optimism=bonus))
    return Experiment("regret is sublinear; Bernstein's advantage over Hoeffding's grows as τ falls", 500, arms)


def recursive_oce() -> Experiment:
    arms = {}
    for risk in (Mean(), CVaR(0.5), Entropic(1.0), Piecewise()):
        for name, bonus in bonuses(Hoeffding).items():
            arms[f"{type(risk).__name__} {name}"] = Arm(RandomMDP(), partial(RecursiveOCE, risk=risk, optimism=bonus))
    return Experiment("regret is sublinear for every measure", 500, arms)


def iterated_cvar() -> Experiment:
    arms = {}
    for c in (0.1, 0.01):
        for models in (Mixture(c), FiniteClass(c)):
            arms[f"{type(models).__name__} c={c}"] = Arm(LinearMixture(), partial(IteratedCVaR, tau=0.5, points=31, models=models))
        arms[f"tabular c={c}"] = Arm(LinearMixture(), partial(RecursiveOCE, risk=CVaR(0.5), optimism=Hoeffding(c)))
    return Experiment("function approximation learns faster than counts", 500, arms)


def ravi_ucb() -> Experiment:
    arms = {}
    for c in (0.1, 0.01):
        for name, planning in (("η=0.1", Mirror(0.1)), ("η=1", Mirror(1.0)), ("converged", Converged())):
            arms[f"{name} c={c}"] = Arm(RiverSwim(), partial(RaviUCB, discount=0.95, planning=planning, bonus_scale=c, confidence=0.1))
    return Experiment("one update an epoch has regret of the order of planning to the end", 500, arms)


class EpsilonGreedyRVI(RobustRVI):
    """RVI Q-learning without uncertainty, whose meter adds in each step the optimal gain less that of its ε-greedy policy."""

    def observe(self, rows) -> None:
        before = self.q.argmax(-1)
        gain, self.known = self.known, None
        self.learn(rows)
        self.known = gain if (before == self.q.argmax(-1)).all() else None
        self.meter[:2] += len(rows.action) * self.suboptimality(), len(rows.action)

    def value(self) -> float:
        num = self.q.shape[1]
        return policy_gain(self.world.mdp, (1 - self.epsilon) * np.eye(num)[self.q.argmax(-1)] + self.epsilon / num)


def loop() -> Experiment:
    arms = {}
    for c in (0.1, 0.01):
        for name, switching in (("LOOP b=1", Discrepancy(1.0)), ("LOOP b=0.25", Discrepancy(0.25)), ("UCRL2", Doubling())):
            arms[f"{name} c={c}"] = Arm(RiverSwim(), partial(Loop, switching=switching, bonus_scale=c))
    plain = partial(EpsilonGreedyRVI, uncertainty=Uncertainty(), reference="first", power=0.7, epsilon=0.1, psi=0.4, cap=0)
    arms["RVI Q-learning ε=0.1"] = Arm(RiverSwim(), plain)
    return Experiment("regret of the order of UCRL2's with fewer changes of the policy; times are steps", 6000, arms)


REGRET = {
    "dtr": dtr,
    "static_cvar": static_cvar,
    "recursive_oce": recursive_oce,
    "iterated_cvar": iterated_cvar,
    "ravi_ucb": ravi_ucb,
    "loop": loop,
}
REGRET |= BEYOND

SETS = {Contamination(0.2): 20_000, TotalVariation(0.2): 3000, ChiSquare(0.1): 3000, KL(0.1): 1000, Wasserstein(0.2): 1000}
"""Uncertainty sets, and updates of each pair: fewer where one costs more"""


def gain_error(uncertainty, sweeps: int, seed: int) -> float:
    """f(Q) minus the robust gain after `sweeps` updates of each pair of the world of two states."""
    world, random = TwoStates(), np.random.default_rng(seed)
    agent = RobustRVI(
        spec=world.spec(), seed=seed, world=world, uncertainty=uncertainty, reference="first", power=0.7, epsilon=1.0, psi=0.4, cap=10
    )
    kernel, reward = world.mdp.transition, world.mdp.expected_reward()
    state, action = np.divmod(np.arange(4), 2)
    for _ in range(sweeps):
        successor = (random.random(4) >= kernel[state, action, 0]).astype(int)
        agent.update(state, action, reward[state, action], successor)
    return agent.gain() - agent.optimum


def worst_cases(uncertainty, instance: int) -> tuple[float, float, bool]:
    """Gains under the worst kernels of the robust and of the nominal policy for a garnet, and whether the two differ."""
    mdp = Garnet(instance=instance).mdp
    robust = relative_value_iteration(mdp, uncertainty.worst, tolerance=1e-9)
    nominal = relative_value_iteration(mdp, tolerance=1e-9).q.argmax(-1)
    gain = relative_value_iteration(mdp, uncertainty.worst, np.eye(mdp.num_actions)[nominal], tolerance=1e-9).gain
    return robust.gain, gain, bool((robust.q.argmax(-1) != nominal).any())


POINTS = 40
"""Times at which regret is recorded"""


def times(episodes: int) -> np.ndarray:
    return np.unique(np.concatenate([np.geomspace(10, episodes, POINTS), episodes * np.array([0.1, 0.25, 0.5])]).astype(int))


def curve(name: str, arm: str, seed: int) -> tuple[list[float], float, float, float, list[list[float]]]:
    """Regret at `times`; then suboptimality of the last policy, switches of the policy, milliseconds per episode, and the metrics that are
    shown, at `times`."""
    torch.set_num_threads(1)
    experiment = REGRET[name]()
    world, make = experiment.arms[arm]
    agent = make(spec=world.spec(), seed=seed, world=world)
    collector = Collector(agent, partial(agent.act, explore=True), world.make(seed), agent.observe, seed)
    wanted, found, began = set(times(experiment.episodes).tolist()), [], time.process_time()
    metrics: list[list[float]] = []
    with torch.no_grad():
        while agent.meter[1] < experiment.episodes:
            before = agent.meter[1]
            collector.tick(0)
            if agent.meter[1] > before and int(agent.meter[1]) in wanted:
                found.append(float(agent.meter[0]))
                known = agent.diagnostics(0) if experiment.shown else {}
                metrics.append([known[metric] for metric in experiment.shown])
    seconds = time.process_time() - began
    return found, agent.suboptimality(), float(agent.meter[2]), 1000 * seconds / experiment.episodes, metrics
