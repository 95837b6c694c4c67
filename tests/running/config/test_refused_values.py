"""Values of an agent's keys that nobody can mean: each is refused before the first step, with its key and what it takes."""

from __future__ import annotations

import pytest

from deeprl.errors import ConfigError
from deeprl.running.config.build import build_agent
from deeprl.running.config.overrides import parsed
from deeprl.running.config.rules import check, put
from tests.builders import settled, spec_of

CASES = {
    "agent=ppo agent.surrogate.value_clip=0": "agent.surrogate.value_clip must be above 0, or null",
    "agent=ppo agent.surrogate.clip=null": "agent.surrogate.clip must be above 0, not None; without a bound: agent/surrogate=plain",
    "agent=ppo replay.minibatches=128 env.num=1": "replay.minibatches=128 leaves one row .*a rollout has 128.*surrogate.normalize=false",
    "agent=ppo env=classic/pendulum agent.policy.log_std=100": "log_std must be between -10 and 10, not 100",
    "agent=pqn agent.head.noisy=true": "head.noisy must be false and torso.dropout 0 with agent/backup=peng",
    "agent=pqn agent/torso=mlp agent.torso.dropout=0.1": "head.noisy must be false and torso.dropout 0 with agent/backup=peng",
    "agent=dqn agent.head.init=glorot": "agent.head.init must be one of None, .*, not 'glorot'",
    "agent=dqn agent.head.last_init=0": "agent.head.last_init must be one of",
    "agent=dqn agent.explore.schedule=0.1": "agent.explore.schedule must have keys of its own, not the value 0.1: .*schedule.start",
    "agent=dqn agent/auxiliary=self_prediction agent.auxiliary.hidden=64": "hidden must be a list of positive integers",
    "agent=rvi_sac env=classic/pendulum agent.rate.hidden=64": "agent.rate.hidden must be a list of positive integers",
    "agent=dqn agent/head=bounded agent.head.reward=1": "agent.head.reward must be a list of 2 finite numbers, not 1",
    "agent=dqn agent/head=bounded agent.head.low=0 agent.head.high=true": "agent.head.high must be a number, not True",
    "agent=dqn env=classic/cartpole agent.normalize.by=1": "agent.normalize.by must be a list of 4 finite numbers, not 1",
    "agent=c51 agent.head.high=inf": "agent.head.high must be a number and finite, not inf",
    "agent=c51 agent.head.high=null": "agent.head.high must be a number, not None",
    "agent=dvw agent.weighting.log_scale=80": "log_scale must be between -40 and 40, not 80",
    "agent=dvw agent.weighting.log_scale=nan": "log_scale must be between -40 and 40, not nan",
    "agent=log_dqn agent.mapping.initial=1": "agent.mapping.initial must be a list of 2 finite numbers, not 1",
    "agent=log_dqn agent.mapping.initial=[abc,1]": "agent.mapping.initial must be a list of 2 finite numbers",
    "agent=loglin_dqn agent.mapping.delta=-1000": "agent.mapping.delta must be between -80 c and 80 c, not -1000",
    "agent=loglin_dqn agent.mapping.delta=abc": "agent.mapping.delta must be a number, not 'abc'",
    "agent=loglin_dqn agent/mapping=per_channel agent.mapping.floor=0.5": "floor must be null, not 0.5, because each of maps has its own",
    "agent=munchausen_dqn agent/rewards=layers": "one channel, .*, and agent/rewards=layers offers none. .*, or agent/rewards=raw",
    "agent=munchausen_dqn agent/mapping=asinh agent/rewards=layers": (
        "and agent/rewards=layers with agent/mapping=asinh offers none. .*, or agent/rewards=raw with agent/mapping=identity"
    ),
    "agent=td3 env=classic/pendulum agent/mapping=log": "Log takes no negative values, .*choose agent/mapping=signed_root or asinh",
    "agent=td3 env=classic/pendulum agent.chain.tau=0": "agent.chain.tau must be above 0 and at most 1, not 0",
    "agent=itd3 env=classic/pendulum agent.chain.tau=0": "agent.chain.tau must be above 0 and at most 1, not 0",
    "agent=dqn agent/chain=polyak agent.torso.weight_norm=hidden": "weight_norm must be none where target networks are averages",
    "agent=itd3 env=classic/pendulum agent.torso.weight_norm=all": "weight_norm must be none where target networks are averages",
    "agent=td3 env=classic/pendulum agent.actor_torso.weight_norm=hidden": "weight_norm must be none where target networks are averages",
}


def built(text: str):
    """Options are composed, once for all cases that share them, and an agent's values are put."""
    words = text.split()
    env = next((word.removeprefix("env=") for word in words if word.startswith("env=")), "toy/chain")
    config = settled(*[word for word in words if not word.startswith(("agent.", "env="))], f"env={env}")
    for value in [parsed(word) for word in words if word.startswith("agent.")]:
        put(config, value.key_or_group, value.value())
    return build_agent(config, spec_of(env))


@pytest.mark.parametrize("text", CASES)
def test_a_value_that_nobody_can_mean(text):
    with pytest.raises(ConfigError, match=CASES[text]):
        built(text)


@pytest.mark.parametrize("words", ["agent/chain=polyak agent.chain.tau=1", "agent/chain=single agent.chain.target_update_period=9"])
def test_weights_that_are_copied_may_have_a_length_of_their_own(words):
    build_agent(settled("agent=dqn", "env=toy/chain", "agent.torso.weight_norm=hidden", *words.split()), spec_of("toy/chain"))


def test_a_part_that_is_missing_or_built_by_the_wrong_one_is_named():
    """As in a stored configuration that somebody edited; the first two were a KeyError of ours, the third an AttributeError."""
    config, spec = settled("agent=idqn", "env=toy/chain"), spec_of("toy/chain")
    for slot in ("chain", "rewards", "torso"):
        agent = {key: part for key, part in config["agent"].items() if key != slot}
        with pytest.raises(ConfigError, match=f"^agent.{slot} is missing: `deeprl list agent/{slot}` shows"):
            build_agent({**config, "agent": agent}, spec)
    for slot, given, takes in (("mapping", "../x", "false"), ("mapping", True, "false"), ("chain", False, "true"), ("chain", 1, "true")):
        agent = {**config["agent"], slot: {**config["agent"][slot], "_partial_": given}}
        with pytest.raises(ConfigError, match=f"^agent.{slot}._partial_={given!r} is out of range: it takes {takes}"):
            build_agent({**config, "agent": agent}, spec)


def test_a_choice_of_another_slot_is_refused_by_the_slot():
    """As in a mutated configuration: a class that wants what only its own owner gives, and one that cannot be called."""
    config, spec = settled("agent=dqn", "env=toy/chain"), spec_of("toy/chain")
    for target, says in (
        ("deeprl.agents.is_dqn.IteratedShared", r"agent.backup \(IteratedShared\): missing a required argument: "),
        ("deeprl.learning.value_agent.ValueAgent", r"agent.backup \(ValueAgent\): .*missing .* 'torso'"),
        ("deeprl.envs.atari.Protocol", "agent/backup=Protocol does not fit, because this agent takes Backup there"),
    ):
        agent = {**config["agent"], "backup": {"_target_": target}}
        with pytest.raises(ConfigError, match=says):
            build_agent({**config, "agent": agent}, spec)


def test_a_key_without_a_value_is_out_of_range_and_not_missing():
    with pytest.raises(ConfigError, match="^seed='' is out of range: it takes a whole number"):
        check({"seed": ""})
    with pytest.raises(ConfigError, match="^seed is missing"):
        check({})
