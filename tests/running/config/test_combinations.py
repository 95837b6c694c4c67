"""Combinations of parts of the discrete agent: built, updated twice and differentiated, or refused by a sentence with both names. Every two
options meet; `pytest -m exhaustive` makes every combination.

Combinations are put together from the nodes of single options, because composing each anew would take a hundred times longer.
"""

from __future__ import annotations

import copy
import itertools
import re
from functools import cache
from typing import ClassVar

import pytest
import torch

from deeprl.choice import Choice
from deeprl.errors import ConfigError
from deeprl.learning.networks.mapped import wrapped
from deeprl.running.config import build
from deeprl.running.config.combinations import HEAD, WORDS, refusals
from deeprl.running.config.instantiate import Deferred, instantiate
from deeprl.running.config.menu import options
from deeprl.running.runs import checkpoint
from deeprl.running.training.learner import gradient
from tests.builders import DISCRETE, equal, made_up, same, settled, update
from tests.pairwise import pairs, pairwise
from tests.presets import has_copied_target, needs

HEADS = options("agent/head")
BACKUPS = [option for option in options("agent/backup") if "actor" not in needs("agent/backup", option)]
VARIANTS = {"loglinear_paper", "per_channel"}
"""Of mappings; the last holds several."""
ELSEWHERE = {"polyak", "polyak_joint", "iterated_polyak", "online_target"}
"""Chains of the continuous agent, with which tests/running/config/test_continuous_combinations.py pairs everything."""
MAPPINGS = ["identity", *(option for option in options("agent/mapping") if option not in {"identity", *VARIANTS})]
WEIGHTINGS, N_STEPS = options("agent/weighting"), (1, 3)
AUXILIARIES = [option for option in options("agent/auxiliary") if not {"actor", "density"} & needs("agent/auxiliary", option)]
CHAINS = [option for option in options("agent/chain") if option not in ELSEWHERE]
BASE = ("agent=dqn", "env=toy/chain", "agent/torso=mlp", "agent.torso.hidden=[7]")


def node(slot: str, option: str) -> dict:
    return settled(*BASE, f"agent/{slot}={option}")["agent"][slot]


def configuration(head: str, backup: str, mapping: str, weighting: str, auxiliary: str, chain: str, n_step: int) -> dict:
    slots = {
        "head": head,
        "backup": backup,
        "mapping": mapping,
        "rewards": "polar" if "nonnegative" in needs("agent/mapping", mapping) else "raw",
        "weighting": weighting,
        "auxiliary": auxiliary,
    }
    config = copy.deepcopy(settled(*BASE))
    config["agent"].update({slot: node(slot, option) for slot, option in slots.items()})
    config["agent"]["chain"] = node("chain", chain)
    config["agent"]["chain"].update({"length": 3} if "length" in config["agent"]["chain"] else {})
    config["replay"] = settled(*BASE, f"agent/backup={backup}")["replay"]
    if n_step > 1 or "n_step" in config["replay"]:
        config["replay"]["n_step"] = n_step
    if "minibatches" in config["replay"]:
        config["replay"]["minibatches"] = 1
    return config


def checked(config: dict, agent=None):
    """As at the start of a run.

    Raises:
        ConfigError
    """
    agent = build.build_agent(config, DISCRETE)
    part = instantiate({**config["replay"], "_partial_": True}, "replay")
    build.check_replay(config, agent, part)
    part(spec=DISCRETE, num=1, discount=0.9, needs=agent.needs)
    return agent


def survives(agent) -> None:
    """Two updates: finite, of the right shape, and every trained parameter is reached."""
    names = {id(p): name for name, p in agent.named_parameters()}
    reached = {names[id(p)]: False for objective in agent.objectives.values() for p in objective.parameters}
    for step in (1, 2):
        batch = made_up(agent, agent.spec, size=6, seed=step)
        for name, objective in agent.objectives.items():
            for parameter, found in zip(objective.parameters, gradient(agent, name, batch)[0]):
                assert torch.isfinite(found).all()
                reached[names[id(parameter)]] |= bool(found.any())
        learned = update(agent, batch)
        agent.tick(step - 1, step)
        assert learned.error.shape == batch.ended.shape
        assert all(torch.isfinite(value).all() for value in learned.metrics.values())
    assert all(reached.values()), [name for name, found in reached.items() if not found]


def refused(head: str, backup: str, mapping: str, weighting: str, n_step: int) -> str | None:
    """The table of `deeprl list combinations`, written down a second time, and what constructors refuse."""
    needed, learned = needs("agent/backup", backup), needs("agent/weighting", weighting)
    logarithm = "nonnegative" in needs("agent/mapping", mapping)
    if mapping != "identity" and head != "scalar":
        return "agent/head=scalar"
    if "signed" in needed and logarithm:
        return "either sign"
    if "scalar" in needed and (head in ("categorical", "quantile", "implicit_quantile") or logarithm):
        return "single values only"
    if "returns" in needed | learned and mapping != "identity":
        return "ordinary units"
    if "rollout" in needed and weighting != "one":
        return "targets of single transitions"
    if "rollout" in needed and n_step > 1:
        return r"replay\.n_step=3: Rollout takes no n_step"
    return r"replay\.n_step must be 1" if "sequences" in needed and n_step > 1 else None


def fits(head, backup, mapping, weighting, auxiliary, chain, n_step) -> bool:
    """The first two refusals have tests in tests/agents/test_gi_dqn.py and test_is_dqn.py."""
    if "residual" in needs("agent/auxiliary", auxiliary):
        residual = head in ("scalar", "categorical") and mapping == "identity" and backup in ("max", "double")
        if chain not in ("iterated_live", "iterated_shared") or not residual:
            return False
    if "iterations" in needs("agent/weighting", weighting) and not has_copied_target(chain):
        return False
    if refused(head, backup, mapping, weighting, n_step) is not None:
        return False
    needed = needs("agent/chain", chain) & HEAD
    return not needed or needed <= offered(head, mapping)


@cache
def offered(head: str, mapping: str) -> frozenset[str]:
    """What values offer to a chain."""
    rewards = "polar" if "nonnegative" in needs("agent/mapping", mapping) else "raw"
    parts = [instantiate(node(slot, option), slot) for slot, option in (("head", head), ("mapping", mapping), ("rewards", rewards))]
    return wrapped(parts[0], parts[1], parts[2]()).offers


SLOTS = (HEADS, BACKUPS, MAPPINGS, WEIGHTINGS, AUXILIARIES, CHAINS, N_STEPS)
REFUSED = pairwise(HEADS, BACKUPS, MAPPINGS, WEIGHTINGS, N_STEPS, keep=lambda *row: refused(*row) is not None)
"""Without auxiliary and chain, which have no say in these refusals."""


def refuses(head, backup, mapping, weighting, n_step) -> None:
    reason = refused(head, backup, mapping, weighting, n_step)
    with pytest.raises(ConfigError, match=reason) as error:
        checked(configuration(head, backup, mapping, weighting, "none", "single", n_step))
    assert reason.startswith("replay") or str(error.value).count("agent") >= 2


@pytest.mark.parametrize("row", pairwise(*SLOTS, keep=fits), ids=lambda row: "-".join(map(str, row)))
def test_options_that_fit_together(row, tmp_path):
    config = configuration(*row)
    agent = checked(config)
    survives(agent)
    goes_on(agent, build.build_agent(config, DISCRETE), tmp_path / "checkpoint")


def goes_on(agent, fresh, folder) -> None:
    """A fresh agent that takes the state over by way of a checkpoint makes the same update, bit for bit."""
    checkpoint.save(folder, {"agent": agent.state()})
    fresh.load_state(checkpoint.load(folder, most={"agent": fresh.state_bytes()})["agent"])
    for each in (agent, fresh):
        update(each, made_up(each, each.spec, size=6, seed=3))
        each.tick(2, 3)
    assert same(agent.state_dict(), fresh.state_dict())
    assert equal(agent.state()["optimizers"], fresh.state()["optimizers"])


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: "-".join(map(str, row)))
def test_options_that_do_not_fit_together(row):
    refuses(*row)


@pytest.mark.exhaustive
@pytest.mark.parametrize(("head", "backup"), list(itertools.product(HEADS, BACKUPS)))
def test_every_combination(head, backup):
    for mapping, weighting, auxiliary, chain, n_step in itertools.product(*SLOTS[2:]):
        if fits(head, backup, mapping, weighting, auxiliary, chain, n_step):
            survives(checked(configuration(head, backup, mapping, weighting, auxiliary, chain, n_step)))
        elif auxiliary == "none" and chain == "single":
            refuses(head, backup, mapping, weighting, n_step)


def test_every_two_options_that_can_meet_do():
    """What the tests above stand on."""
    slots = ("ab", (1, 2, 3), (True, False))
    rows = pairwise(*slots, keep=lambda letter, number, flag: not (letter == "b" and number == 3))
    assert len(rows) < 10
    found = {pair for row in rows for pair in pairs(row)}
    possible = {pair for row in itertools.product(*slots) if row[:2] != ("b", 3) for pair in pairs(row)}
    assert found == possible
    assert (0, "b", 1, 3) not in found
    assert pairwise(*slots) == pairwise(*slots)


@pytest.mark.parametrize("head", ["categorical", "bounded"])
@pytest.mark.parametrize("backup", ["soft", "munchausen", "tsallis"])
def test_a_bonus_wants_a_head_that_can_say_it(head, backup):
    config = configuration(head, backup, "identity", "one", "none", "single", 1)
    config["agent"]["head"].update(low=0.0, high=100.0)
    with pytest.raises(ConfigError, match=f"agent/backup={backup} .*{head} .* 0 to 100"):
        checked(config)
    config["agent"]["head"].update(low=-100.0)
    checked(config)


def test_a_need_without_an_offer_is_a_sentence_with_both_names():
    class Needy(Choice):
        needs = frozenset({"scalar", "successor"})

    (refusal,) = refusals({"agent/backup": Needy()}, "agent/head=Categorical", frozenset({"signed"}), HEAD)
    assert refusal[:3] == ("agent/backup=Needy", "scalar", "agent/head=Categorical")
    assert str(refusal) == f"agent/backup=Needy needs {WORDS['scalar']}, and agent/head=Categorical offers none."
    assert refusals({"agent/backup": Deferred(Needy, {}, "")}, "x", frozenset({"scalar"}), HEAD) == []


def test_a_refusal_names_options_that_go():
    with pytest.raises(ConfigError) as refused:
        checked(configuration("categorical", "retrace", "identity", "one", "none", "single", 1))
    named = re.search(r"Choose agent/backup=(.*), or another agent/head\.$", str(refused.value))[1].split(", ")
    assert {"max", "double"} <= {*named} < {*BACKUPS}
    for backup in named:
        checked(configuration("categorical", backup, "identity", "one", "none", "single", 1))
    with pytest.raises(ConfigError, match=r"Choose agent/weighting=(?!.*inverse_variance).*, or agent/chain=.*\bsingle\b.*\.$"):
        checked(configuration("scalar", "max", "identity", "inverse_variance", "none", "polyak", 1))


def test_a_need_of_a_part_alone_is_asked_of_the_replay_in_the_words_of_the_part():
    class Needy(Choice):
        needs = frozenset({"scalar", "goal"})
        need_words: ClassVar[dict[str, str]] = {"goal": "the goal of each transition"}

    class Silent(Choice):
        needs = frozenset({"goal"})

    assert [str(each) for each in refusals({"agent/backup": Needy(), "agent/rate": Silent()}, "replay=uniform", frozenset())] == [
        "agent/backup=Needy needs the goal of each transition, and replay=uniform offers none.",
        "agent/rate=Silent needs goal, and replay=uniform offers none.",
    ]
    assert refusals({"agent/backup": Needy()}, "replay=goals", frozenset({"goal"})) == []
