"""Tabular worlds learned to their exactly known values. One-hot observations and no hidden layer: the network is a table (and a bias)."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from deeprl.agents.idqn import Iterated
from deeprl.envs.toy import TabularMDP, backup, chain, policy_values, random_mdp, value_iteration
from deeprl.learning.backups.bellman import Double, Max
from deeprl.learning.networks.heads import Scalar
from deeprl.learning.networks.torsos import MLPTorso
from deeprl.learning.optim.adam import Adam
from deeprl.learning.parts.chains import Single
from deeprl.learning.parts.exploration import EpsilonGreedy
from deeprl.noise import NoiseStream
from deeprl.replay.replay import Replay
from deeprl.replay.samplers import Prioritized, Uniform
from deeprl.running.training.collector import Collector
from deeprl.schedules import Constant, Linear
from deeprl.types import Batch, Spec
from tests.builders import collecting, draw, make_batch, update, value_agent
from tests.toy_envs import Tabular

GAMMA = 0.9
TABLE = MLPTorso(hidden=())


def spec_of(mdp: TabularMDP) -> Spec:
    states, actions = mdp.reward.shape
    return Spec((states,), torch.float32, actions, 0)


def enumerated(mdp: TabularMDP, discount: float) -> Batch:
    """Every (s, a, s') once, weighted by its probability, s not terminal: the regression has the exact backup as its minimum."""
    rows = [(s, a, t) for s, a, t in np.argwhere(mdp.transition > 0) if not mdp.terminal[s]]
    s, a, t = np.array(rows).T
    eye = torch.eye(len(mdp.terminal))
    weight = mdp.transition[s, a, t] * len(rows) / mdp.reward.size
    going_on = np.where(mdp.terminal[t], 0.0, discount)
    return make_batch(eye[s], torch.from_numpy(a), mdp.reward[s, a], torch.from_numpy(going_on), eye[t], weight=torch.from_numpy(weight))


def table(network, mdp: TabularMDP) -> np.ndarray:
    """(K, S', A) of the states that are not terminal."""
    return network(torch.eye(len(mdp.terminal))).mean()[:, ~mdp.terminal].numpy()


# ---- DQN


WORLDS = {"random": random_mdp(seed=1), "chain": chain(5)}


@pytest.mark.parametrize(
    ("head", "operator", "world"),
    # Huber's minimum is the mean only where a target has no spread, or a small one
    [
        pytest.param(Scalar(), Max(), "random", marks=pytest.mark.exhaustive),  # as on the chain from its own data, below
        (Scalar(dueling=True), Double(), "random"),
        (Scalar(loss="huber"), Max(), "chain"),
    ],
    ids=["squared", "dueling", "huber"],
)
def test_dqn_reaches_the_values_of_value_iteration(head, operator, world):
    mdp, updates = WORLDS[world], 600
    optimizer = Adam(lr=0.05, schedule=Linear(start=1.0, end=0.0, duration=updates))
    chained = partial(Single, target_update_period=10)
    agent = value_agent(spec_of(mdp), torso=TABLE, head=head, backup=operator, chain=chained, optimizer=optimizer)
    batch = enumerated(mdp, GAMMA)
    for step in range(updates):
        update(agent, batch)
        agent.tick(step, step + 1)
    optimal = value_iteration(mdp, GAMMA)[~mdp.terminal]
    assert np.abs(table(agent.chain.online, mdp)[0] - optimal).max() < 1e-3
    assert np.ptp(optimal) > 0.3  # there was something to learn


# ---- the chain of i-QN


def iterated(spec: Spec, length: int, window: int, torso: str):
    """Exact regression: within each window of `window` updates the step size falls to zero. Everything starts at zero, as Q̄_0 must."""

    def falling(step: int) -> float:
        return 1.0 - step % window / window

    chain = partial(Iterated, length=length, shift_period=window, sync_period=1, torso=torso)
    agent = value_agent(spec, torso=TABLE, chain=chain, optimizer=Adam(lr=0.1, betas=(0.9, 0.99), schedule=falling))
    for parameter in agent.chain.parameters():
        parameter.zero_()
    return agent


def learn(agent, batch: Batch, updates: int, shift: bool) -> None:
    """`updates` of one window; with `shift` its end moves the window on."""
    for step in range(agent.step, agent.step + updates):
        update(agent, batch)
        if step + 1 < agent.step + updates or shift:
            agent.tick(step, step + 1)


@pytest.mark.parametrize("torso", ["shared", pytest.param("separate", marks=pytest.mark.exhaustive)])
def test_one_state_and_three_iterations(torso):
    """r = 1, γ = 0.9, Q̄_0 = 0: the K-th iterate is Σ_{k<K} γ^k, and each shift moves all of them on by one."""
    window = 330
    agent = iterated(Spec((1,), torch.float32, 1, 0), 3, window, torso)
    batch = make_batch([[1.0]], [0], [1.0], 0.9, [[1.0]])
    for expected in ([1, 1.9, 2.71], [1.9, 2.71, 3.439], [2.71, 3.439, 4.0951]):
        learn(agent, batch, window - 1, shift=True)
        assert agent.chain.online(torch.ones(1, 1)).mean().flatten().tolist() == pytest.approx(expected, abs=1e-5)
        before = [p.clone() for p in agent.chain.online.parameters()]
        agent.tick(agent.step, agent.step + 1)  # the shift
        for parameter, old in zip(agent.chain.online.parameters(), before):
            assert torch.equal(parameter[:-1], old[1:])


@pytest.mark.parametrize("torso", [pytest.param("shared", marks=pytest.mark.exhaustive), "separate"])
def test_after_w_windows_a_chain_is_value_iteration(torso):
    """θ_1 has made W + 1 steps of value iteration from Q̄_0 = 0 at the end of window W, θ_k k − 1 more."""
    mdp, window, length = random_mdp(seed=2), 250, 3
    agent, batch = iterated(spec_of(mdp), length, window, torso), enumerated(mdp, GAMMA)
    iterates = [np.zeros_like(mdp.reward)]
    for _ in range(8):
        iterates.append(backup(mdp, iterates[-1].max(-1), GAMMA))
    for w in range(4):
        learn(agent, batch, window - 1, shift=True)
        learned = table(agent.chain.online, mdp)
        for k in range(length):
            assert np.abs(learned[k] - iterates[w + 1 + k][~mdp.terminal]).max() < 1e-3, (w, k)
        agent.tick(agent.step, agent.step + 1)
    assert np.abs(iterates[4] - iterates[6]).max() > 0.1  # still far from Q*: steps can be told apart


# ---- through collector, replay and agent


def run(mdp: TabularMDP, discount: float, steps: int, limit: int, n_step: int = 1, sampler=Uniform(), num: int = 2):
    """Uniformly random behaviour; learning decays to nothing, so that what is left is the fixed point."""
    env = Tabular(mdp=mdp, max_episode_steps=limit, num=num)
    optimizer = Adam(lr=0.03, schedule=Linear(start=1.0, end=0.0, duration=steps))
    agent = value_agent(
        spec_of(mdp), torso=TABLE, chain=partial(Single, target_update_period=8), explore=EpsilonGreedy(Constant(1.0)), optimizer=optimizer
    )
    storage = {"capacity": 1000, "batch_size": 32, "n_step": n_step, "sampler": sampler}
    replay = Replay(**storage, spec=env.spec(), num=num, discount=discount, rewards=agent.rewards)
    envs = env.make(seed=0)
    collector = Collector(agent, collecting(agent), envs, replay.append, seed=0)
    draws = NoiseStream(0, "replay", "index", replay.noise, 64)
    for step in range(0, steps, num):
        collector.tick(step)
        if step >= 100:
            for _ in range(num):
                batch = draw(replay, draws.next()["u"])
                replay.priorities(batch, update(agent, batch).error)
        agent.tick(step, step + num)
    envs.close()
    return agent


@pytest.mark.parametrize("sampler", [pytest.param(Uniform(), marks=pytest.mark.exhaustive), Prioritized()], ids=["uniform", "prioritized"])
def test_dqn_learns_the_chain_from_its_own_data(sampler):
    """Deterministic: every sample has the same target, so the values are exact. q*(s, right) = γ^(3 − s);
    q*(s, left) = γ · best left of s."""
    agent = run(chain(5), GAMMA, steps=1000, limit=50, sampler=sampler)
    expected = [[0.9 * 0.729, 0.729], [0.9 * 0.729, 0.81], [0.9 * 0.81, 0.9], [0.9 * 0.9, 1.0]]
    assert np.abs(table(agent.chain.online, chain(5))[0] - expected).max() < 1e-3


def loop(terminal: bool) -> TabularMDP:
    """One action, reward 1. State 0 stays where it is, or leads on to state 1, the end."""
    transition = np.zeros((2, 1, 2))
    transition[:, 0, int(terminal)] = 1.0
    return TabularMDP(transition, np.ones((2, 1)), np.array([1.0, 0.0]), np.array([False, True]))


@pytest.mark.parametrize("n_step", [1, 3])
@pytest.mark.parametrize(("terminal", "value"), [(False, 1 / (1 - 0.5)), (True, 1.0)])
def test_a_time_limit_bootstraps_and_a_termination_does_not(terminal, value, n_step):
    """Episodes of one step, or of four cut off by the limit: only the cause of their end tells the values apart."""
    agent = run(loop(terminal), 0.5, steps=300, limit=1 if terminal else 4, n_step=n_step)
    assert table(agent.chain.online, loop(terminal)).item() == pytest.approx(value, abs=1e-3)


def test_n_steps_of_random_behaviour_reach_the_same_value_where_there_is_one_action():
    agent = run(loop(False), 0.5, steps=600, limit=7, n_step=5)
    assert table(agent.chain.online, loop(False)).item() == pytest.approx(2.0, abs=1e-3)


# ---- the oracle


def test_the_oracle_agrees_with_itself():
    """Value iteration against the linear equations of its greedy policy."""
    for seed in range(3):
        mdp = random_mdp(seed)
        optimal = value_iteration(mdp, GAMMA)
        greedy = np.eye(mdp.reward.shape[1])[optimal.argmax(-1)]
        np.testing.assert_allclose(policy_values(mdp, greedy, GAMMA), optimal, atol=1e-10)
    assert value_iteration(chain(5), GAMMA)[:4, 1] == pytest.approx([0.729, 0.81, 0.9, 1.0])
