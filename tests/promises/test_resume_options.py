"""Exact resume for options that keep state of their own: a run that goes on from a checkpoint half-way is the whole run. By default each
option is in a run; with `pytest -m exhaustive` every two are."""

from __future__ import annotations

import pytest

from tests.pairwise import pairwise
from tests.presets import covering
from tests.promises.test_resume import PENDULUM, assert_same_run, cut_and_resumed

SMALL = (
    "env.num=2", "steps=120", "replay.learning_starts=40", "replay.ratio=0.25", "replay.capacity=100", "evaluation.every=60",
    "evaluation.episodes=1", "evaluation.final_episodes=1", "evaluation.num=1", "checkpoint.every=76", "log.every=30", "runtime.threads=1",
)  # fmt: skip
AUXILIARY = ("none", "random_rewards", "self_prediction", "bidirectional", "gradient_correction")
REPLAY = (
    ("replay=uniform", "replay.batch_size=8"), ("replay=uniform", "replay.batch_size=8", "replay.n_step=3"),
    ("replay=prioritized", "replay.batch_size=8"), ("agent/backup=retrace", "replay.batch_size=2", "replay.length=4"),
)  # fmt: skip
CHAIN = (
    ("agent.chain.target_update_period=15",),
    (
        "agent/chain=iterated",
        "agent.chain.length=3",
        "agent.chain.shift_period=30",
        "agent.chain.sync_period=7",
        "agent.chain.acting=episode",
        "agent.resets.at=[5,14]",
    ),
    ("agent/chain=iterated_shared", "agent.chain.length=2", "agent.chain.shift_period=30", "agent.resets.period=6"),
    ("agent/chain=iterated_live", "agent.chain.length=2", "agent.chain.shift_period=30", "agent.chain.torso=separate"),
)
OPTIMIZER = ("adam", "rmsprop")
NORMALIZE, REWARDS, WEIGHTING, NOISY = ("none", "running"), ("raw", "scaled", "clip"), ("one", "inverse_variance"), (False, True)
LAG = (0, 1)


def fits(auxiliary, replay, chain, optimizer, normalize, rewards, weighting, noisy, lag) -> bool:
    corrected = auxiliary == "gradient_correction"
    copies = "agent/chain=iterated_shared" not in chain
    live = "agent/chain=iterated_live" in chain and "agent/backup=retrace" not in replay and optimizer == "adam"
    hidden = noisy and "agent/backup=retrace" in replay  # the probability by which a trace divides
    return (not corrected or live) and (copies or weighting == "one") and not hidden


DISCRETE = pairwise(AUXILIARY, REPLAY, CHAIN, OPTIMIZER, NORMALIZE, REWARDS, WEIGHTING, NOISY, LAG, keep=fits)
CRITICS = (
    ("agent=td3", "agent/auxiliary=random_rewards", "agent/chain=single", "agent.chain.target_update_period=15",
     "agent/weighting=inverse_variance"),
    ("agent=sac", "agent/head=implicit_quantile"), ("agent=isac", "agent.chain.sync_period=3", "agent/auxiliary=self_prediction"),
    ("agent=redq", "agent/head=categorical"), ("agent=aro_ddpg", "discount=1", "agent.resets.at=[4,12]"),
    ("agent=sac", "agent/chain=iterated", "agent.chain.shift_period=30", "agent/weighting=inverse_variance",
     "agent/auxiliary=bidirectional", "agent.resets.at=[5]"),
    ("agent=crossq", "agent.torso.settle=4", "agent.resets.period=6"),
    ("agent=rvi_sac", "discount=1", "agent/chain=iterated_polyak"),
    ("agent=sac", "agent/chain=polyak_joint", "agent/torso=batch_renorm", "agent.explore.longest=16", "agent.explore.exponent=0.5"),
)  # fmt: skip
CONTINUOUS = pairwise(CRITICS, REPLAY[:3], OPTIMIZER, OPTIMIZER, NORMALIZE, REWARDS, LAG)

CORES = {
    "stored states": ("agent=r2d2", "env=classic/cartpole_positions", "agent.core.width=6", "agent.torso.hidden=[8]", "replay.length=4",
                      "replay.burn_in=2", "replay.batch_size=3", "agent.chain.target_update_period=15", "runtime.lag=1", *SMALL),
    "of an actor": ("agent=sac", "agent/core=lstm", "env=parts/marks_continuous", "agent.core.width=6", "agent.torso.hidden=[8]",
                    "agent.encoder.features=4", "agent.encoder.shift=1", "agent.actor_torso.hidden=[8]",
                    "replay.length=4", "replay.burn_in=2", "replay.batch_size=3", *SMALL),
    "within a rollout": ("agent=ppo", "agent/core=gru", "env=classic/pendulum_positions", "env.num=4", "agent.core.width=6",
                         "agent.torso.hidden=[8]", "replay.length=12", "replay.minibatches=2", "replay.epochs=2",
                         *(word for word in SMALL if not word.startswith(("replay", "learning_starts", "env.num")))),
}  # fmt: skip


EPISODES = (
    "agent=harpg", "env=classic/cartpole", "agent.torso.hidden=[8]", "agent.ascent.baseline=others", "replay.episodes=3",
    "replay.horizon=9", "agent/normalize=running", *(word for word in SMALL if not word.startswith("replay")),
)  # fmt: skip
"""Two environments in mid-episode, one of which waits; a policy that collects beside the one that is learned"""
TAILS = (
    "agent=sqirl", "env=classic/cartpole", "agent.depth=2", "agent.torso.hidden=[8]", "replay.episodes=3", "replay.horizon=9",
    "replay.epochs=4", "replay.batch_size=8", "replay.capacity=30", *(word for word in SMALL if not word.startswith("replay")),
)  # fmt: skip
"""Frozen policies, a memory behind whole episodes, and the time of each"""
ON_DEVICE = (
    "agent=ppo", "env=tensor/pendulum", "env.max_episode_steps=9", "env.num=4", "agent/normalize=running", "agent/rewards=scaled",
    "agent.torso.hidden=[8]", "replay.length=8", "replay.minibatches=2", "replay.epochs=2", "accelerate=fast",
    *(word for word in SMALL if not word.startswith(("replay", "env.num"))),
)  # fmt: skip
"""Rollouts that stay on the device: a checkpoint in mid-rollout, behind the end of episodes in it, and in mid-episode"""


VECTORS = (
    "agent=btr", "env=atari/pong", "agent/torso=spectral_impala", "agent.torso.channels=[2]", "agent.torso.head_hidden=[8]",
    "agent.chain.target_update_period=30", "replay.batch_size=4", *SMALL,
)  # fmt: skip
"""Vectors of spectral norms, of which the target network has those of its own weights"""


STATELESS = {(0, CRITICS[1]), (0, CRITICS[3])}
"""Heads, and a draw of critics: what they remember others have too. Their own rows are exhaustive."""


def rows(table: list) -> list:
    """As parameters; few rows have every option."""
    few = covering({place: frozenset(enumerate(row)) - STATELESS for place, row in enumerate(table)})
    return [pytest.param(row, marks=() if place in few else pytest.mark.exhaustive) for place, row in enumerate(table)]


def interrupted(words: tuple[str, ...], tmp_path, monkeypatch) -> None:
    whole, cut = cut_and_resumed(tmp_path, monkeypatch, 76, *words)
    assert_same_run(cut, whole)


@pytest.mark.parametrize("row", rows(DISCRETE), ids=range(len(DISCRETE)))
def test_discrete_agents(row, tmp_path, monkeypatch):
    auxiliary, replay, chain, optimizer, normalize, rewards, weighting, noisy, lag = row
    slots = {"auxiliary": auxiliary, "optimizer": optimizer, "normalize": normalize, "rewards": rewards, "weighting": weighting}
    words = [f"agent/{slot}={option}" for slot, option in slots.items()]
    words += ["agent=dqn", "env=classic/cartpole", "agent.torso.hidden=[8]", f"agent.head.noisy={noisy}".lower(), *replay, *chain, *SMALL]
    interrupted((*words, f"runtime.lag={lag}"), tmp_path, monkeypatch)


@pytest.mark.parametrize("row", rows(CONTINUOUS), ids=range(len(CONTINUOUS)))
def test_continuous_agents(row, tmp_path, monkeypatch):
    agent, replay, optimizer, actor_optimizer, normalize, rewards, lag = row
    slots = {"optimizer": optimizer, "normalize": normalize, "rewards": rewards}
    words = [f"agent/{slot}={option}" for slot, option in slots.items()] + [f"agent/optimizer@agent.actor_optimizer={actor_optimizer}"]
    words += [*agent, *PENDULUM, "agent.actor_torso.hidden=[8]", "agent.torso.hidden=[8]", *replay, *SMALL]
    interrupted((*words, f"runtime.lag={lag}"), tmp_path, monkeypatch)


@pytest.mark.parametrize("words", CORES.values(), ids=CORES)
def test_states_of_a_core(words, tmp_path, monkeypatch):
    interrupted(words, tmp_path, monkeypatch)


def test_a_rollout_that_stays_on_the_device(tmp_path, monkeypatch):
    interrupted(ON_DEVICE, tmp_path, monkeypatch)


@pytest.mark.exhaustive
def test_spectral_norms(tmp_path, monkeypatch):
    interrupted(VECTORS, tmp_path, monkeypatch)


@pytest.mark.parametrize("words", [EPISODES, TAILS], ids=["a policy that collects", "frozen policies"])
def test_whole_episodes(words, tmp_path, monkeypatch):
    interrupted(words, tmp_path, monkeypatch)
