"""Combinations of parts of the continuous agent: built, updated twice and differentiated, or refused by a sentence with both names. Every
two options meet."""

from __future__ import annotations

import copy

import pytest

from deeprl.config import build
from deeprl.config.menu import options
from deeprl.errors import ConfigError
from tests.builders import CONTINUOUS, settled
from tests.config.test_combinations import goes_on, survives
from tests.pairwise import pairwise

HEADS, REDUCTIONS, TEMPERATURES, RATES = (options(f"agent/{slot}") for slot in ("head", "reduce", "temperature", "rate"))
ACTORS, EXPLORERS = options("agent/actor"), ["gaussian", "sampled", "ornstein_uhlenbeck"]
CHAINS = [chain for chain in options("agent/chain") if chain != "iterated_shared"]  # refused, see below
MAPPINGS = ["identity", "signed_root", "asinh"]
BASE = ("agent=td3", "env=classic/pendulum", "agent.torso.hidden=[7]", "agent.actor_torso.hidden=[6]", "agent.ensemble=3", "discount=1.0",
        "replay.batch_size=6")  # fmt: skip
SLOTS = (HEADS, MAPPINGS, CHAINS, REDUCTIONS, REDUCTIONS, TEMPERATURES, RATES, ACTORS, EXPLORERS, (False, True))
NAMES = ("head", "mapping", "chain", "reduce", "actor_reduce", "temperature", "rate", "actor", "explore")
WEIGHTINGS, AUXILIARIES = options("agent/weighting"), options("agent/auxiliary")
LEARNING = (HEADS, MAPPINGS, CHAINS, ["minimum", "mean"], ["none", "learned"], RATES, WEIGHTINGS, AUXILIARIES)
"""Slots that meet in the loss of the critics. All slots in one product would have millions of rows."""


def node(slot: str, option: str) -> dict:
    place = "agent/reduce@agent.actor_reduce" if slot == "actor_reduce" else f"agent/{slot}"
    return settled(*BASE, f"{place}={option}")["agent"][slot]


def configuration(*row) -> dict:
    """`row` as in `SLOTS`; the last entry says whether heads are noisy."""
    config = copy.deepcopy(settled(*BASE))
    config["agent"].update({slot: node(slot, option) for slot, option in zip(NAMES, row)})
    config["agent"]["head"]["noisy"] = row[-1]
    if row[0] == "bounded":  # a discount of 1 has no bounds of its own
        config["agent"]["head"].update(low=-50.0, high=50.0)
    if row[5] != "none":  # log π is that of the action without the noise
        config["agent"]["backup"]["smoothing"] = 0.0
    if row[2] == "single":
        config["agent"]["chain"]["target_update_period"] = 2
    return config


def refused(head, mapping, chain, reduce, actor_reduce, temperature, rate, actor, explore, noisy) -> str | None:
    """The rules, written down a second time."""
    if actor == "deterministic" and (temperature != "none" or explore == "sampled"):
        return "a policy with a density"
    if mapping != "identity" and head != "scalar":
        return "agent/head=scalar"
    if {"truncate", "quantile_mean"} & {reduce, actor_reduce} and head not in ("quantile", "implicit_quantile"):
        return "atoms of equal probability"
    return None


def learning(head, mapping, chain, reduce, temperature, rate, weighting, auxiliary) -> dict:
    """A row of `LEARNING` as a configuration."""
    explore, actor = ("gaussian", "deterministic") if temperature == "none" else ("sampled", "squashed_gaussian")
    config = configuration(head, mapping, chain, reduce, "first", temperature, rate, actor, explore, False)
    config["agent"].update(weighting=node("weighting", weighting), auxiliary=node("auxiliary", auxiliary))
    return config


def refused_learning(head, mapping, chain, reduce, temperature, rate, weighting, auxiliary) -> str | None:
    """The rules of `LEARNING`, written down a second time."""
    if auxiliary == "gradient_correction":
        return "a finite number of actions"
    if mapping != "identity" and head != "scalar":
        return "agent/head=scalar"
    if weighting == "inverse_variance" and mapping != "identity":
        return "ordinary units"
    copies = chain in ("single", "iterated", "iterated_live")
    return None if copies or weighting == "one" else "start a new iteration"


@pytest.mark.parametrize("row", pairwise(*SLOTS, keep=lambda *row: refused(*row) is None), ids=lambda row: "-".join(map(str, row)))
def test_options_that_fit_together(row, tmp_path):
    config = configuration(*row)
    agent = build.build_agent(config, CONTINUOUS)
    survives(agent)
    goes_on(agent, build.build_agent(config, CONTINUOUS), tmp_path / "checkpoint")


FEW = (HEADS, MAPPINGS, ["polyak"], REDUCTIONS, REDUCTIONS, TEMPERATURES, ["none"], ACTORS, EXPLORERS, [False])


@pytest.mark.parametrize("row", pairwise(*FEW, keep=lambda *row: refused(*row) is not None), ids=lambda row: "-".join(map(str, row)))
def test_options_that_do_not_fit_together(row):
    with pytest.raises(ConfigError, match=refused(*row)) as error:
        build.build_agent(configuration(*row), CONTINUOUS)
    assert str(error.value).count("agent") >= 2


FITTING = pairwise(*LEARNING, keep=lambda *row: refused_learning(*row) is None)
MISFITS = pairwise(*LEARNING[:3], ["minimum"], ["none"], ["none"], *LEARNING[6:], keep=lambda *row: refused_learning(*row) is not None)


@pytest.mark.parametrize("row", FITTING, ids=lambda row: "-".join(row))
def test_parts_of_the_critics_loss_that_fit_together(row, tmp_path):
    config = learning(*row)
    agent = build.build_agent(config, CONTINUOUS)
    survives(agent)
    goes_on(agent, build.build_agent(config, CONTINUOUS), tmp_path / "checkpoint")


@pytest.mark.parametrize("row", MISFITS, ids=lambda row: "-".join(row))
def test_parts_of_the_critics_loss_that_do_not_fit_together(row):
    with pytest.raises(ConfigError, match=refused_learning(*row)) as error:
        build.build_agent(learning(*row), CONTINUOUS)
    assert str(error.value).count("agent") >= 2


def test_an_anchor_among_the_heads_is_refused():
    config = configuration("scalar", "identity", "iterated_shared", "minimum", "first", "none", "none", "deterministic", "gaussian", False)
    with pytest.raises(ConfigError, match="chain.anchor must be network"):
        build.build_agent(config, CONTINUOUS)


def test_channels_of_rewards_are_refused():
    config = configuration("scalar", "identity", "polyak", "minimum", "first", "none", "none", "deterministic", "gaussian", False)
    config["agent"]["rewards"] = settled("agent=dqn", "env=toy/chain", "agent/rewards=polar")["agent"]["rewards"]
    with pytest.raises(ConfigError, match="rewards of one channel: agent/rewards=raw"):
        build.build_agent(config, CONTINUOUS)


@pytest.mark.parametrize(("slot", "option"), [("rate", "average"), ("rate", "relative"), ("temperature", "learned")])
def test_a_head_of_one_sign_is_refused_where_values_take_both(slot, option):
    row = ["categorical", "identity", "polyak", "minimum", "first", "none", "none", "squashed_gaussian", "sampled", False]
    row[NAMES.index(slot)] = option
    config = configuration(*row)
    config["agent"]["head"].update(low=0.0, high=50.0)
    with pytest.raises(ConfigError, match=f"agent/{slot}=.* needs values that may take either sign"):
        build.build_agent(config, CONTINUOUS)
