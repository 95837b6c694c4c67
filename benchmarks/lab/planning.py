"""Tables whose columns are not times of a regret: what a planner or a batch method finds after so much data."""

from __future__ import annotations

from concurrent.futures import Executor
from functools import partial

import numpy as np

from benchmarks.lab.statistics import line, shown
from deeprl_lab.agents.fqi_log import FQILog, iterate
from deeprl_lab.agents.moco import MoCo, Queried, Sampled
from deeprl_lab.agents.pnlsvi import PNLSVI
from deeprl_lab.agents.vwls_mdvi import VWLSMDVI
from deeprl_lab.envs.linear import EndlessLinearMDP, LinearMDP
from deeprl_lab.envs.mountain_car import START, MountainCar, cost, moved
from deeprl_lab.envs.worlds import Garnet
from deeprl_lab.mathematics.planners import discounted_values
from deeprl_lab.mathematics.sigmoid import LogLoss, SquaredLoss

SMOOTHING = 0.1, 0.5, 1.0
DISCOUNT = 0.9
ITERATIONS, SAMPLES = (1, 2, 4, 8), (10_000, 50_000, 150_000)


def stored(name: str, seeds: range, rows: dict[str, np.ndarray]) -> dict:
    """What --json writes: for each arm its figures, one row a seed."""
    return {
        "experiment": name,
        "seeds": len(seeds),
        "first": seeds.start,
        "arms": {arm: found.round(6).tolist() for arm, found in rows.items()},
    }


def corrector(instance: int, expectations, smoothing: float, basis: int) -> MoCo:
    world = Garnet(instance=instance, states=20, branches=4, restart=0.0)
    return MoCo(spec=world.spec(), seed=instance, world=world, discount=DISCOUNT, expectations=expectations, smoothing=smoothing,
                basis=basis, interval=1, epsilon=1.0)  # fmt: skip


def queried(smoothing: float, basis: int, instance: int) -> list[float]:
    """log₁₀ ‖V_k − V*‖∞, k in `ITERATIONS`, on a garnet."""
    agent, errors = corrector(instance, Queried(), smoothing, basis), []
    for _ in range(ITERATIONS[-1]):
        agent.replan()
        errors.append(np.log10(max(agent.value_error(), 1e-14)))
    return [errors[k - 1] for k in ITERATIONS]


def value_iteration(instance: int) -> list[float]:
    agent = corrector(instance, Queried(), 0.0, 0)
    best, errors, mdp = agent.best_values(), [], agent.world.mdp
    v = np.zeros(mdp.states)
    for _ in range(ITERATIONS[-1]):
        v = (mdp.expected_reward() + DISCOUNT * mdp.transition @ v).max(-1)
        errors.append(np.log10(np.abs(v - best).max()))
    return [errors[k - 1] for k in ITERATIONS]


def sampled(smoothing: float, basis: int, instance: int) -> list[float]:
    """‖V − V*‖∞ at `SAMPLES` samples of uniform pairs, planned every 2,000; then the suboptimality of the last policy."""
    agent, random, errors = corrector(instance, Sampled(), smoothing, basis), np.random.default_rng(instance), []
    kernel = agent.world.mdp.transition
    for taken in range(2000, SAMPLES[-1] + 1, 2000):
        pairs = random.multinomial(2000, np.full(60, 1 / 60)).reshape(20, 3)
        agent.number[...] += random.multinomial(pairs, kernel)
        agent.replan()
        if taken in SAMPLES:
            errors.append(agent.value_error())
    return [*errors, agent.suboptimality()]


def q_learning(instance: int) -> list[float]:
    """The same for Q-learning with steps (1 + n)^−0.7, a sweep over all pairs at a time."""
    agent, random, errors = corrector(instance, Sampled(), 0.0, 0), np.random.default_rng(instance), []
    mdp, reward = agent.world.mdp, agent.world.mdp.expected_reward()
    for sweep in range(1, SAMPLES[-1] // 60 + 1):
        successor = (random.random((20, 3, 1)) > mdp.transition.cumsum(-1)).sum(-1).clip(max=19)
        agent.q[...] += sweep**-0.7 * (reward + DISCOUNT * agent.q.max(-1)[successor] - agent.q)
        if sweep in [each // 60 for each in SAMPLES]:
            errors.append(agent.value_error())
    agent.known = None
    return [*errors, agent.suboptimality()]


def moco(seeds: range, pool: Executor) -> dict:
    rows = {}
    print(f"moco: correction by d value functions, {len(seeds)} garnets (20 states, 3 actions, 4 successors), discount {DISCOUNT}\n")
    line("log10 of the error of V: arm", [f"k={k}" for k in ITERATIONS])
    arms = {"value iteration": value_iteration}
    arms |= {f"MoCoVI λ={s} d={d}": partial(queried, s, d) for s in SMOOTHING for d in (0, 1, 2, 3)}
    for name, arm in arms.items():
        found = rows[name] = np.array(list(pool.map(arm, seeds)))
        line(name, [shown(column) for column in found.T])
    print()
    line("error of V: arm", [f"{n} samples" for n in SAMPLES] + ["suboptimality"])
    arms = {"Q-learning": q_learning, "counts": partial(sampled, 0.0, 0)}
    arms |= {f"MoCoDyna λ={s} d={d}": partial(sampled, s, d) for s in SMOOTHING for d in (0, 1, 2)}
    for name, arm in arms.items():
        found = rows[name] = np.array(list(pool.map(arm, seeds)))
        line(name, [shown(column, 3) for column in found.T[:-1]] + [shown(found[:, -1], 4)])
    return stored("moco", seeds, rows)


HORIZON, HOLD = 300, 5
EPISODES = 50, 200, 800
LOSSES = {"log": LogLoss(), "squared": SquaredLoss()}


def episodes(successes: int, failures: int, seed: int) -> tuple[np.ndarray, ...]:
    """States (n, H + 1, 2), actions (n, H) and costs (n,) of random episodes, with a fixed number that reach the goal in time, first."""
    random, found = np.random.default_rng(seed), []
    wanted = np.array([successes, failures])
    while (wanted > 0).any():
        actions = np.repeat(random.integers(3, size=(1000, HORIZON // HOLD)), HOLD, axis=1)
        states = np.empty((1000, HORIZON + 1, 2))
        states[:, 0] = START
        for h in range(HORIZON):
            states[:, h + 1] = moved(states[:, h], actions[:, h])
        for kind in range(2):
            new = np.flatnonzero(cost(states[:, -1]) == kind)[: max(wanted[kind], 0)]
            wanted[kind] -= len(new)
            found.append((kind, states[new], actions[new]))
    found.sort(key=lambda each: each[0])
    states, actions = (np.concatenate([each[i] for each in found]) for i in (1, 2))
    return states, actions, cost(states[:, -1])


def batch(loss: str, successes: int, seed: int) -> list[float]:
    """Costs of the greedy policies of fits to the first n episodes, n in `EPISODES`."""
    world = MountainCar(horizon=HORIZON)
    agent = FQILog(spec=world.spec(), seed=seed, world=world, loss=LOSSES[loss], order=2, lam=1e-4, episodes=1, fits=1, hold=HOLD)
    states, *data = episodes(successes, EPISODES[-1] - successes, seed)
    phi, costs = agent.features(states), []
    for n in EPISODES:
        agent.weights[...] = iterate(agent.loss, phi[:n], data[0][:n], data[1][:n], 3, agent.lam)
        costs.append(-agent.value())
    return costs


def fqi_log(seeds: range, pool: Executor) -> dict:
    rows = {}
    print(f"fqi_log: log-loss needs less data; mountain car, H = {HORIZON}, actions held for {HOLD} steps; {len(seeds)} seeds\n")
    line("cost of the greedy policy: arm", [f"n={n}" for n in EPISODES])
    for successes in (1, 5, 30):
        for loss in LOSSES:
            found = np.array(list(pool.map(partial(batch, loss, successes), seeds)))
            rows[name := f"{loss}, {successes} successes"] = found
            line(name, [shown(column) for column in found.T])
    return stored("fqi_log", seeds, rows)


WORLDS = 5
"""Linear MDPs over which the figure of one seed is a mean"""
NOISES = (0.1, 1.0), (0.3, 3.0), (0.5, 0.5)
OFFLINE = 200, 2000, 20_000


def feed(agent: PNLSVI, number: int, random: np.random.Generator) -> None:
    """So many episodes of uniformly random actions, as the sums that the agent keeps, with their exact joint law."""
    mdp, spread = agent.world.mdp, agent.world.spread
    other = int(number * agent.share)
    for half, episodes in enumerate((number - other, other)):
        state = episodes * mdp.start.astype(int)
        for h in range(len(agent.policy)):
            taken = random.multinomial(state, np.full(mdp.num_actions, 1 / mdp.num_actions))  # (S, A)
            after, mean = random.multinomial(taken, mdp.transition[h]), mdp.expected_reward()[h]
            z, rest = random.normal(size=taken.shape), 2 * random.standard_gamma(np.maximum(taken - 1, 1e-300) / 2)
            noise = spread * np.sqrt(taken) * z  # sum of n normal numbers, and of their squares
            squares = spread**2 * np.where(taken > 0, z**2 + np.where(taken > 1, rest, 0.0), 0.0)
            agent.number[half, h] += after
            agent.reward[half, h] += taken * mean + noise
            agent.square[half, h] += taken * mean**2 + 2 * mean * noise + squares
            state = after.sum((0, 1))
    agent.episodes[0] += number


def offline(noise: tuple[float, float], c: float, least: float, share: float, seed: int) -> list[float]:
    """Suboptimality after n episodes, n in `OFFLINE`."""
    found = []
    for instance in range(WORLDS * seed, WORLDS * (seed + 1)):
        world, random, row = LinearMDP(instance=instance, noise=noise), np.random.default_rng(instance), []
        # the same ridge penalty for all in the scale of rewards, because weights of 1 / least would else be a larger one
        agent = PNLSVI(spec=world.spec(), seed=seed, world=world, penalty_scale=c, confidence=0.1, lam=0.01 / max(least, 1.0),
                       least_variance=least, share=share)  # fmt: skip
        for n in OFFLINE:
            feed(agent, n - int(agent.episodes[0]), random)
            agent.replan()
            agent.known = None
            row.append(agent.suboptimality())
        found.append(row)
    return np.mean(found, 0).tolist()


def pnlsvi(seeds: range, pool: Executor) -> dict:
    rows = {}
    kinds = {"equal weights": (25.0, 0.0), "least=0.01": (0.01, 0.0), "least=1": (1.0, 0.0)}
    kinds |= {"least=0.01 halves": (0.01, 0.5), "least=1 halves": (1.0, 0.5)}
    print(f"pnlsvi: weights of inverse variance need less data; linear MDPs of 5 steps, {WORLDS} for each of {len(seeds)} seeds")
    print("The last columns are differences to equal weights without pessimism, by seed\n")
    line("suboptimality: arm", [*(f"n={n}" for n in OFFLINE), *(f"less c=0, n={n}" for n in OFFLINE[:2])], 19)
    for noise in NOISES:
        for c in (0.0, 0.01, 0.1):
            for kind, (least, share) in kinds.items():
                found = np.array(list(pool.map(partial(offline, noise, c, least, share), seeds)))
                rows[name := f"noise {noise[0]}/{noise[1]} c={c} {kind}"] = found
                apart = found - rows[f"noise {noise[0]}/{noise[1]} c=0.0 equal weights"]
                line(name, [shown(column, 4) for column in (*found.T, *apart.T[:2])], 19)
    return stored("pnlsvi", seeds, rows)


DRAWS = 10, 30, 100


def simulated(noise: tuple[float, float], floor: float, seed: int) -> list[float]:
    """‖V* − V^π‖∞ / ‖V*‖∞ after two times 50 iterations of M samples, M in `DRAWS`."""
    found = []
    for instance in range(WORLDS * seed, WORLDS * (seed + 1)):
        world, row = EndlessLinearMDP(instance=instance, noise=noise), []
        best = discounted_values(world.mdp, DISCOUNT)[1]
        for samples in DRAWS:
            agent = VWLSMDVI(spec=world.spec(), seed=instance, world=world, discount=DISCOUNT, samples=samples, iterations=50, floor=floor,
                             interval=1)  # fmt: skip
            for _ in range(101):
                agent.replan()
            row.append(np.abs(best - agent.policy_values()).max() / best.max())
        found.append(row)
    return np.mean(found, 0).tolist()


def vwls_mdvi(seeds: range, pool: Executor) -> dict:
    rows = {}
    print(f"vwls_mdvi: weights of inverse variance need fewer samples; endless linear MDPs, {WORLDS} for each of {len(seeds)} seeds\n")
    line("normalised error of the policy: arm", [*(f"M={m}" for m in DRAWS), *(f"less equal, M={m}" for m in DRAWS)], 19)
    for noise in NOISES:
        for kind, floor in {"equal weights": 10.0, "floor=√H": 10**0.5, "floor=1": 1.0, "floor=0.1": 0.1}.items():
            found = np.array(list(pool.map(partial(simulated, noise, floor), seeds)))
            rows[name := f"noise {noise[0]}/{noise[1]} {kind}"] = found
            apart = found - rows[f"noise {noise[0]}/{noise[1]} equal weights"]
            line(name, [shown(column, 4) for column in (*found.T, *apart.T)], 19)
    return stored("vwls_mdvi", seeds, rows)


TABLES = {"moco": moco, "fqi_log": fqi_log, "pnlsvi": pnlsvi, "vwls_mdvi": vwls_mdvi}
"""Functions of the seeds and of a pool of processes, which print their table and return it"""
