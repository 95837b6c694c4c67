"""Combinations of parts of the continuous agent: built, updated and differentiated, or refused by a sentence with both names. Every two
kinds of values, policies and chains meet; with `pytest -m exhaustive` every two of all slots."""

from __future__ import annotations

import copy
import itertools
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import cache

import pytest
import torch

from deeprl.agents.cql import SampledConservative
from deeprl.agents.edac import Diversity
from deeprl.agents.iql import Expectile
from deeprl.errors import ConfigError
from deeprl.learning.agent import Agent
from deeprl.learning.networks.torsos import ImageChoice
from deeprl.learning.transforms.channels import Channels
from deeprl.running.config import build
from deeprl.running.config.alternatives import option_class
from deeprl.running.config.instantiate import instantiate
from deeprl.running.config.menu import options
from deeprl.running.training.learner import Learner
from tests.builders import CONTINUOUS, draw, entry, settled
from tests.pairwise import Row, pairs, pairwise
from tests.presets import covering, has_copied_target, needs, stated
from tests.replay.test_replay import Stream
from tests.running.config.test_combinations import VARIANTS, goes_on, survives

HEADS, REDUCTIONS, TEMPERATURES, RATES = (options(f"agent/{slot}") for slot in ("head", "reduce", "temperature", "rate"))
ACTORS, WEIGHTINGS, AUXILIARIES, OPTIMIZERS = (options(f"agent/{slot}") for slot in ("actor", "weighting", "auxiliary", "optimizer"))
EXPLORERS = [option for option in options("agent/explore") if "actor" in needs("agent/explore", option)]
CHAINS = [
    chain
    for chain in options("agent/chain")
    if not option_class("agent/chain", chain).anchors and "actions" not in needs("agent/chain", chain)
]  # the others are refused, see below
SIGNED = [option for option in options("agent/mapping") if "nonnegative" not in needs("agent/mapping", option)]
MAPPINGS = ["identity", *(option for option in SIGNED if option not in {"identity", *VARIANTS})]
IMAGES = [torso for torso in options("agent/torso") if issubclass(option_class("agent/torso", torso), ImageChoice)]
TORSOS = [torso for torso in options("agent/torso") if torso not in IMAGES]
JOINT = [torso for torso in TORSOS if "joint" in needs("agent/torso", torso)]
SUITABLE = [auxiliary for auxiliary in AUXILIARIES if "actions" not in needs("agent/auxiliary", auxiliary)]
CHANNELS = [option for option in options("agent/rewards") if issubclass(option_class("agent/rewards", option), Channels)]
REWARDS = [option for option in options("agent/rewards") if option not in ("auto", *CHANNELS)]
NORMALIZERS, REPLAYS = ["none", "running"], ["uniform", "prioritized", "lap", "sequences"]
BASE = ("agent=td3", "env=classic/pendulum", "agent.ensemble=3", "discount=1.0")
SLOTS = {
    "head": HEADS, "mapping": MAPPINGS, "chain": CHAINS, "reduce": REDUCTIONS, "actor_reduce": REDUCTIONS, "temperature": TEMPERATURES,
    "rate": RATES, "actor": ACTORS, "explore": EXPLORERS, "noisy": (False, True),
}  # fmt: skip
FURTHER = {
    "torso": TORSOS, "weighting": WEIGHTINGS, "auxiliary": SUITABLE, "actor_torso": TORSOS, "normalize": NORMALIZERS,
    "optimizer": OPTIMIZERS, "actor_optimizer": OPTIMIZERS, "rewards": REWARDS, "replay": REPLAYS,
}  # fmt: skip
"""Slots that join the rows of `SLOTS` one after another, because the product of all would have 10¹¹ rows."""
NAMES = (*SLOTS, *FURTHER)
SHARED = {"actor_reduce": "reduce", "actor_torso": "torso", "actor_optimizer": "optimizer"}
"""Slots with the options of another one."""


@cache
def node(slot: str, option: str) -> dict:
    """Composed together with options of the other slots, because that takes as long as for one."""
    group = SHARED.get(slot, slot)
    menus = {each: options(f"agent/{each}") for each in NAMES if each not in (*SHARED, "noisy", "replay")}
    place = menus[group].index(option)
    return settled(*BASE, *(f"agent/{each}={menu[place % len(menu)]}" for each, menu in menus.items()))["agent"][group]


FEWER = {"quantiles": 8, "samples": 7, "target_samples": 6, "policy_samples": 5, "cosines": 4, "length": 3}
"""In place of numbers with which a loss of pairs of quantiles takes most of the time"""


def narrow(torso: dict, width: int) -> None:
    torso.update({"hidden": [width]} if "hidden" in torso else {"width": width})


def configuration(*row) -> dict:
    """Options in the order of `NAMES`, of all slots or of the first ones; `noisy` says whether heads are."""
    config, chosen = settled(*BASE), dict(zip(NAMES, row))
    noisy, replay = chosen.pop("noisy"), chosen.pop("replay", "uniform")
    agent = config["agent"]
    agent.update(copy.deepcopy({slot: node(slot, option) for slot, option in chosen.items()}))
    agent["head"]["noisy"] = noisy
    narrow(agent["torso"], 7)
    narrow(agent["actor_torso"], 6)
    for part in (agent["head"], agent["chain"]):
        part.update({key: number for key, number in FEWER.items() if key in part})
    if chosen["head"] == "bounded":  # a discount of 1 has no bounds of its own
        agent["head"].update(low=-50.0, high=50.0)
    if chosen["temperature"] != "none":  # log π is that of the action without the noise
        agent["backup"]["smoothing"] = 0.0
    if chosen["chain"] == "single":
        agent["chain"]["target_update_period"] = 2
    config["replay"] = {**settled(*BASE, f"replay={replay}")["replay"], "capacity": 60, "batch_size": 6}
    if replay == "sequences":
        config["replay"]["length"] = 4
    return config


def asking(slot: str, what: str) -> set[str]:
    """Options that need it."""
    return {option for option in options(f"agent/{slot}") if what in needs(f"agent/{slot}", option)}


ACTIONS, ITERATIONS, RETURNS = asking("auxiliary", "actions"), asking("weighting", "iterations"), asking("weighting", "returns")
DENSE, EXPLORING, QUANTILES = asking("temperature", "density"), asking("explore", "density"), asking("reduce", "quantiles")
SAMPLED = asking("auxiliary", "density")


def refused(
    head, mapping, chain, reduce, actor_reduce, temperature, rate, actor, explore, noisy, torso="mlp", weighting="one", auxiliary="none", *_
) -> str | None:  # fmt: skip
    """The rules, written down a second time."""
    if auxiliary in ACTIONS:
        return "a finite number of actions"
    if actor == "deterministic" and (temperature != "none" or temperature in DENSE or explore in EXPLORING or auxiliary in SAMPLED):
        return "a policy with a density"
    if mapping != "identity" and head != "scalar":
        return "agent/head=scalar"
    if weighting in RETURNS and mapping != "identity":
        return "ordinary units"
    if (reduce in QUANTILES or actor_reduce in QUANTILES) and head not in ("quantile", "implicit_quantile"):
        return "atoms of equal probability"
    if torso in JOINT and chain not in ("online_target", "polyak_joint"):
        return "both ends of a batch in one evaluation"
    if torso in JOINT and auxiliary == "bidirectional":
        return "a second encoder"
    return None if has_copied_target(chain) or weighting not in ITERATIONS else "start a new iteration"


def fits(*row) -> bool:
    return refused(*row) is None


def joined(rows: Sequence[Row], slot: Iterable[Hashable], keep: Callable[..., bool]) -> list[Row]:
    """
    Rows with an option of one more slot, such that each option meets every other that is beside it in a row that `keep` takes. A row comes
    again, with another option, where once is not enough. (Lei and Tai, 1998: covering arrays in the order of their parameters.)
    """
    fitting = [(row, [new for new in slot if keep(*row, new)]) for row in rows]
    unmet = {(i, old, new) for row, news in fitting for new in news for i, old in enumerate(row)}
    longer: list[Row] = []
    used: Counter[Hashable] = Counter()
    again = itertools.cycle(fitting)
    while unmet or len(longer) < len(rows):
        row, news = next(again)
        met = {new: unmet & {(i, old, new) for i, old in enumerate(row)} for new in news}
        best = max(news, key=lambda new: (len(met[new]), -used[new]))  # where none meets more, the rarest
        if met[best] or len(longer) < len(rows):
            longer.append((*row, best))
            unmet -= met[best]
            used[best] += 1
    return longer


FITTING = pairwise(*SLOTS.values(), keep=fits)
for further in FURTHER.values():
    FITTING = joined(FITTING, further, fits)

PLAIN = (["scalar"], ["identity"], ["polyak"], ["minimum"], ["first"], ["none"], ["none"], ["deterministic"], ["gaussian"], [False])
FEW = (HEADS, MAPPINGS, ["polyak"], REDUCTIONS, REDUCTIONS, TEMPERATURES, ["none"], ACTORS, EXPLORERS, [False])
LEARNING = (HEADS, MAPPINGS, CHAINS, *PLAIN[3:], ["mlp"], WEIGHTINGS, AUXILIARIES)
BOTH_ENDS = (*PLAIN[:2], CHAINS, *PLAIN[3:], JOINT, WEIGHTINGS)
MISFITS = [row for slots in (FEW, LEARNING, BOTH_ENDS) for row in pairwise(*slots, keep=lambda *row: not fits(*row))]
"""Those of the parts of a target, of the critics' loss, and of torsos with batch normalisation."""


def called(row: Row) -> str:
    return "-".join(map(str, row))


def learns(agent: Agent, config: dict, terminates: bool) -> None:
    """Two updates from a replay of random episodes, of which the agent has seen all rows; their errors become priorities."""
    part = instantiate({**config["replay"], "_partial_": True}, "replay")
    build.check_replay(config, agent, part)
    replay = part(spec=CONTINUOUS, num=2, discount=config["discount"], rewards=agent.rewards, needs=agent.needs)
    stream, learner, generator = Stream(CONTINUOUS, num=2, seed=0), Learner(agent, replay.batch), torch.Generator().manual_seed(0)
    for _ in range(25):
        rows = next(stream)
        rows = rows._replace(terminated=rows.terminated & terminates)
        agent.observe(rows)
        replay.append(rows)
    for u in replay.noise(2, generator)["u"]:
        batch = draw(replay, u)._replace(noise=entry(agent.noise((1, *replay.batch_shape), generator)))
        learned = learner.update(batch)
        replay.priorities(batch, learned.error)
        assert torch.isfinite(learned.error).all()
        assert all(torch.isfinite(value).all() for value in learned.metrics.values())


def kind(slot: str, option: Hashable) -> Hashable:
    """What an option brings to the others: its needs and offers; every head and every chain is a kind of its own, as are booleans."""
    group = f"agent/{SHARED.get(slot, slot)}"
    return option if slot in ("head", "chain", "noisy") else (stated(group, option, "needs"), stated(group, option, "offers"))


FEW = covering({row: frozenset([*pairs(list(map(kind, SLOTS, row))), *enumerate(row)]) for row in FITTING})
"""Rows that have every two kinds of `SLOTS` and every option of all slots"""


@pytest.mark.parametrize("row", [pytest.param(row, marks=() if row in FEW else pytest.mark.exhaustive) for row in FITTING], ids=called)
def test_options_that_fit_together(row, tmp_path):
    config = configuration(*row)
    agent = build.build_agent(config, CONTINUOUS)
    learns(agent, config, terminates=row[NAMES.index("rate")] != "average")  # which refuses to go on at a termination
    survives(agent)
    goes_on(agent, build.build_agent(config, CONTINUOUS), tmp_path / "checkpoint")


@pytest.mark.parametrize("row", MISFITS, ids=called)
def test_options_that_do_not_fit_together(row):
    with pytest.raises(ConfigError, match=refused(*row)) as error:
        build.build_agent(configuration(*row), CONTINUOUS)
    assert str(error.value).count("agent") >= 2


def test_options_that_meet_in_no_row_are_refused_beside_every_head_chain_and_actor():
    """What the first test stands on."""
    met = {pair for row in FITTING for pair in pairs(row)}
    every = [*SLOTS.values(), *FURTHER.values()]
    for i, j in itertools.combinations(range(len(every)), 2):
        for one, other in itertools.product(every[i], every[j]):
            if (i, one, j, other) not in met:
                slots = [HEADS, ["identity"], CHAINS, *PLAIN[3:7], ACTORS, *PLAIN[8:], ["mlp"], ["one"], ["none"]]
                slots[i], slots[j] = [one], [other]
                assert not pairwise(*slots, keep=fits)


def test_an_anchor_among_the_heads_is_refused():
    config = configuration("scalar", "identity", "iterated_shared", "minimum", "first", "none", "none", "deterministic", "gaussian", False)
    with pytest.raises(ConfigError, match="chain=iterated_shared has no target network"):
        build.build_agent(config, CONTINUOUS)


@pytest.mark.parametrize("rewards", CHANNELS)
def test_channels_of_rewards_are_refused(rewards):
    config = settled(*BASE)
    config["agent"]["rewards"] = node("rewards", rewards)
    with pytest.raises(ConfigError, match="rewards of one channel: agent/rewards=raw"):
        build.build_agent(config, CONTINUOUS)


@pytest.mark.parametrize("torso", IMAGES)
@pytest.mark.parametrize(("slot", "place"), [("torso", "agent/torso"), ("actor_torso", "agent/actor/torso")])
def test_convolutions_are_refused_where_observations_are_vectors(slot, place, torso):
    """Of the actor's, the torso of the critics was blamed."""
    config = settled(*BASE)
    config["agent"][slot] = node("torso", torso)
    with pytest.raises(ConfigError, match=f"^{place}=.* needs images .* choose {place}=mlp"):
        build.build_agent(config, CONTINUOUS)


@pytest.mark.parametrize(("slot", "option"), [("rate", "average"), ("rate", "relative"), ("temperature", "learned")])
def test_a_head_of_one_sign_is_refused_where_values_take_both(slot, option):
    row = ["categorical", "identity", "polyak", "minimum", "first", "none", "none", "squashed_gaussian", "sampled", False]
    row[NAMES.index(slot)] = option
    config = configuration(*row)
    config["agent"]["head"].update(low=0.0, high=50.0)
    with pytest.raises(ConfigError, match=f"agent/{slot}=.* needs values that may take either sign"):
        build.build_agent(config, CONTINUOUS)


def test_a_chain_for_discrete_actions_says_so(monkeypatch):
    monkeypatch.setattr("deeprl.learning.parts.chains.Single.needs", frozenset({"actions"}), raising=False)
    with pytest.raises(ConfigError, match="agent/chain=single needs a finite number of actions"):
        build.build_agent(settled("agent=td3", "env=classic/pendulum", "agent/chain=single"), CONTINUOUS)


@pytest.mark.parametrize(("slot", "part"), [("state_value", Expectile), ("auxiliary", SampledConservative), ("auxiliary", Diversity)])
def test_a_part_that_reads_single_observations_is_refused_beside_a_core(slot, part):
    """It failed on the first batch; later the refusal had no remedy."""
    agent = {**copy.deepcopy(settled("agent=sac", "env=classic/pendulum", "agent/core=gru")["agent"]), "_partial_": True}
    agent[slot] = {"_target_": f"{part.__module__}.{part.__name__}", "_partial_": True}
    refused = f"agent/{slot}={part.__name__} needs single observations, .*agent/core=GRU offers none.*agent/core out.*agent/{slot}=none"
    with pytest.raises(ConfigError, match=refused):
        build.check_parts(instantiate(agent, "agent"))
    build.check_parts(instantiate({name: node for name, node in agent.items() if name != "core"}, "agent"))
