"""Experiments beyond one agent with one reward that stays: no reward, shared data, hidden contexts, preferences, adversaries."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from benchmarks.lab.arm import Arm, Experiment
from deeprl_lab.agents.adversarial_mdp import AdversarialMDP, PolicyOptimisation, Stationary
from deeprl_lab.agents.contextual import ContextPlanning, ContextualMDP, EpsilonPlanning, LogBarrier
from deeprl_lab.agents.cooperative_lsvi import CooperativeLSVI
from deeprl_lab.agents.dueling import Dueling
from deeprl_lab.agents.latent_mdp import LatentMDP
from deeprl_lab.agents.random_duels import RandomDuels
from deeprl_lab.agents.reward_free import RewardFree
from deeprl_lab.envs.adversarial import Adversarial
from deeprl_lab.envs.contextual import Contextual
from deeprl_lab.envs.duel import Duel
from deeprl_lab.envs.latent import LatentBandit, LatentRandom
from deeprl_lab.envs.linear_tabular import SimplexMDP
from deeprl_lab.envs.worlds import LinearMixture
from deeprl_lab.mathematics.dynamics import Counted, Known
from deeprl_lab.mathematics.optimism import Bernstein, Bonus


def reward_free() -> Experiment:
    arms = {}
    for horizon in (10, 40):
        world, make = LinearMixture(horizon=horizon, d=8, states=8), partial(RewardFree, confidence=0.1, lam=1.0, multiple=1.0, tasks=20)
        for name, floor in (("weighted", 0.01), ("unweighted", 1.0)):
            arms[f"H={horizon} {name} c=0.1"] = Arm(world, partial(make, bonus_scale=0.1, floor=floor, epsilon=0.0))
        arms[f"H={horizon} random actions"] = Arm(world, partial(make, bonus_scale=0.1, floor=0.01, epsilon=1.0))
    return Experiment("suboptimality for the worst of 20 rewards falls like 1/√K, whatever H if the regression is weighted", 20, arms)


def cooperative_lsvi() -> Experiment:
    arms = {}
    for agents, alpha in ((1, 0.0), (4, 1 / 16), (4, 1.0), (16, 1 / 256), (16, 1.0)):
        make = partial(CooperativeLSVI, agents=agents, alpha=alpha, bonus_scale=0.01, confidence=0.1, lam=0.01)
        arms[f"M={agents} alpha={alpha:.3g}"] = Arm(SimplexMDP(), make)
    return Experiment("M agents have the regret of one that sees everything, with few messages", 400, arms, ("rollout/messages",))


def latent_mdp() -> Experiment:
    worlds = {f"bandit H={horizon}": LatentBandit(horizon=horizon) for horizon in (3, 6)}
    worlds |= {"bandit H=6 without noise": LatentBandit(high=1.0)}
    worlds |= {f"MDP noise={noise}": LatentRandom(noise=noise) for noise in (1.0, 0.0)}
    worlds |= {"bandit H=12": LatentBandit(horizon=12)}
    arms = {}
    for name, world in worlds.items():
        for kind, bonus in (("greedy", Bonus()), ("c=0.01", Bernstein(0.01))):
            arms[f"{name} {kind}"] = Arm(world, partial(LatentMDP, optimism=bonus))
    return Experiment("regret in units of the largest total does not grow with H, and is smaller without noise", 100, arms)


def dueling() -> Experiment:
    arms = {}
    for c in (1.0, 0.1):
        for name, dynamics in (("known", Known()), ("counted", Counted(0.01))):
            make = partial(Dueling, dynamics=dynamics, bonus_scale=c, confidence=0.1, lam=0.1, capacity=200)
            arms[f"{name} c={c}"] = Arm(Duel(), make)
    return Experiment("regret is sublinear with known and with estimated dynamics", 200, arms)


def random_duels() -> Experiment:
    arms = {}
    for c in (0.5, 0.1):
        for share in (0.0, 0.5):
            make = partial(RandomDuels, bonus_scale=c, threshold=share * c, lam=1.0, capacity=200)
            arms[f"c={c} ε={share * c:g}"] = Arm(Duel(), make)
    return Experiment("it asks in a vanishing share of the episodes, with the same final policy", 200, arms, ("rollout/queries",))


def contextual() -> Experiment:
    arms: dict[str, ContextPlanning] = {f"barrier, scale {scale:g}": LogBarrier(scale) for scale in (10.0, 100.0)}
    arms |= {f"ε={epsilon}": EpsilonPlanning(epsilon) for epsilon in (0.1, 0.0)}
    made = {name: Arm(Contextual(), partial(ContextualMDP, planning=planning, lam=1.0, rate=0.5)) for name, planning in arms.items()}
    return Experiment("the barrier's regret is sublinear where that of ε-greedy is linear", 3000, made)


def adversarial_mdp() -> Experiment:
    arms = {}
    for name, world in (("flip 50, drift", Adversarial()), ("flip 1", Adversarial(flip=1, drift=0.0))):
        learners = {"policy optimisation": PolicyOptimisation(), "a policy that never learns": PolicyOptimisation(eta=0.0)}
        learners |= {f"LSVI-UCB, c={c}": Stationary(c) for c in (0.01, 0.1, 1.0)}
        for kind, learner in learners.items():
            arms[f"{name}: {kind}"] = Arm(world, partial(AdversarialMDP, learner=learner, dynamics=Known()))
    return Experiment("policy optimisation has sublinear regret where rewards change, LSVI-UCB linear", 2000, arms)


BEYOND: dict[str, Callable[[], Experiment]] = {
    each.__name__: each for each in (reward_free, cooperative_lsvi, latent_mdp, dueling, random_duels, contextual, adversarial_mdp)
}
