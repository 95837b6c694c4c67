"""What is said of a part of one's own that fails, or keeps state, before the first environment step."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pytest
import torch
from torch import nn

from deeprl.errors import ConfigError, located
from deeprl.learning.agent import Agent
from deeprl.learning.backups.bellman import Max
from deeprl.learning.backups.policies import greedy
from deeprl.learning.networks.heads import Scalar
from deeprl.learning.networks.layers import Init
from deeprl.learning.networks.torsos import MLPTorso
from deeprl.learning.parts.exploration import ActorExploration, ValueExploration, certain, epsilon_greedy_action
from deeprl.learning.parts.weighting import Weighting
from deeprl.learning.transforms.rewards import Raw
from deeprl.learning.value_agent import ValueAgent
from deeprl.learning.values.returns import Returns
from deeprl.running.config.build import check_parts
from deeprl.running.config.dry_run import dry_run, require_timeless
from deeprl.running.config.instantiate import Deferred, construct
from tests.builders import CONTINUOUS, DISCRETE, actor_critic, value_agent


class Broken(Max):
    def __call__(self, online, target, batch):
        raise self.fault

    def __init__(self, fault: Exception):
        object.__setattr__(self, "fault", fault)


class Misshapen(Max):
    def __call__(self, online, target, batch):
        return target.next.expect(0.5 * greedy(target.next.mean()))  # actions, where probabilities are meant


class Bare(Max):
    def __call__(self, online, target, batch):
        return super().__call__(online, target, batch).mean()


class Narrow(Max):
    def __call__(self, online, target, batch):
        return Returns(super().__call__(online, target, batch).mean())


@pytest.mark.parametrize("fault", [TypeError("my own bug"), NameError("my own bug"), OSError("my own bug")])
def test_an_error_in_a_part_is_told_with_its_type_and_its_line(fault):
    who, line = r"agent.backup \(Broken\) \(.*test_dry_run.py:\d+\)", r"in .*test_dry_run.py:\d+: my own bug\. DEEPRL_DEBUG=1 before"
    says = f"{who}: the value loss fails on a made-up batch: {type(fault).__name__} {line}"
    with pytest.raises(ConfigError, match=says):
        dry_run(value_agent(backup=Broken(fault)), DISCRETE, "cpu")


@pytest.mark.parametrize("actions", [2, 3])  # with 3, in a batch of 3, it would be broadcast
def test_a_part_that_hands_on_a_wrong_shape_is_named_with_its_own_line(actions):
    says = (
        r"agent.backup \(Misshapen\) \(\S*test_dry_run.py:\d+\) calls expect with policy \(1, \d\), which takes .* \(K, \*B, A\): .*Error"
    )
    spec = DISCRETE._replace(num_actions=actions)
    with pytest.raises(ConfigError, match=rf"{says} in \S*/deeprl/\S*\.py:\d+: "):  # outside of torch
        dry_run(value_agent(spec=spec, backup=Misshapen()), spec, "cpu")


@pytest.mark.parametrize(("backup", "got"), [(Bare(), "a Tensor"), (Narrow(), r"Returns with atoms \(1, 4\)")])
def test_targets_of_a_wrong_shape_are_told_with_the_shape_that_is_needed(backup, got):
    says = rf"agent.backup \({type(backup).__name__}\) in \S*test_dry_run.py gives {got}, where .* = \(1, 4, N\) are needed"
    with pytest.raises(ConfigError, match=says):
        dry_run(value_agent(backup=backup), DISCRETE, "cpu")


def test_a_loss_that_fails_on_sequences_is_told_with_their_shape(monkeypatch):
    agent = value_agent()

    def flat(batch):  # fails on (T, B) alone
        (_,) = batch.reward.shape

    monkeypatch.setattr(agent, "views", flat)
    with pytest.raises(ConfigError, match=r"the value loss fails on a made-up batch of shape \(2, 4\), steps first: "):
        dry_run(agent, DISCRETE, "cpu", sequences=True)


def test_nobody_who_sees_tracebacks_is_told_how_to_see_them(monkeypatch):
    monkeypatch.setenv("DEEPRL_DEBUG", "1")
    assert located(ValueError("my own bug")) == "ValueError: my own bug."


@dataclass(frozen=True)
class Unbuilt(Max):
    fault: Exception

    def __post_init__(self):
        raise self.fault


@pytest.mark.parametrize("fault", [TypeError("my own bug"), NameError("my own bug")])
def test_an_error_in_the_constructor_of_a_part_too(fault):
    says = rf"agent.backup \(Unbuilt\): {type(fault).__name__} in .*test_dry_run.py:\d+: my own bug\. DEEPRL_DEBUG=1"
    with pytest.raises(ConfigError, match=says):
        construct(Unbuilt, (), {"fault": fault}, "agent.backup")


@dataclass(frozen=True)
class Counting(ValueExploration):
    """Remembers on itself how often it explored."""

    evaluation: float = 0.0

    def explored(self, policy, tick, memory):
        object.__setattr__(self, "count", getattr(self, "count", 0) + 1)
        return *epsilon_greedy_action(policy, tick, 0.5), memory


def test_a_rule_that_keeps_its_state_on_itself_is_refused():
    with pytest.raises(ConfigError, match="agent.explore: Counting keeps count on itself, .*return it in the memory"):
        dry_run(value_agent(explore=Counting()), DISCRETE, "cpu")


class Drawing(Max):
    """Noise of the kind that is nearest at hand."""

    def __call__(self, online, target, batch):
        return super().__call__(online, target, batch._replace(reward=batch.reward + torch.randn_like(batch.reward)))


@dataclass(frozen=True)
class Tossing(ValueExploration):
    evaluation: float = 0.0

    def explored(self, policy, tick, memory):
        return *epsilon_greedy_action(policy, tick, float(np.random.random() < 0.5)), memory  # noqa: NPY002


def test_random_numbers_of_global_generators_are_refused():
    """They were accepted: two runs of a seed differed, and so did a run that was resumed."""
    with pytest.raises(ConfigError, match=r"its value loss draws random numbers from the global generator of torch, .* `batch\.noise`"):
        dry_run(value_agent(backup=Drawing()), DISCRETE, "cpu")
    with pytest.raises(ConfigError, match=r"acting draws random numbers from the global generator of numpy, .* `act_noise`"):
        dry_run(value_agent(explore=Tossing()), DISCRETE, "cpu")


class Tired(ValueAgent):
    """Explores less the more often it has acted."""

    def infer(self, *given):
        self.calls = getattr(self, "calls", 0) + 1
        return super().infer(*given)


class Worn(ValueAgent):
    """The same with a buffer, which a checkpoint holds, and which evaluations change."""

    def infer(self, *given):
        self.chain.online.worn += 1.0
        return super().infer(*given)


class Sized(ValueAgent):
    """A number that follows from the networks, kept from its first use on, and a table of what was asked before, are no state."""

    @cached_property
    def size(self):
        return sum(parameter.numel() for parameter in self.parameters())

    def infer(self, *given):
        self.asked[self.size] = 1
        return super().infer(*given)


class Waning(ValueAgent):
    """Learns less the longer it has learned, by a number that compiled code reads once."""

    def views(self, batch):
        return super().views(batch._replace(reward=batch.reward / (1 + self.step)))


def test_a_loss_that_follows_the_clock_is_refused_where_it_is_compiled():
    agent = value_agent()
    require_timeless(agent, DISCRETE, "cpu")
    agent.__class__, agent.clock.step = Waning, 3
    with pytest.raises(ConfigError, match=r"its value loss follows the agent's step .* now and .* late in a run, and accelerate=compiled"):
        require_timeless(agent, DISCRETE, "cpu")
    assert (agent.step, agent.updates) == (3, 0)


def test_what_follows_from_other_values_is_no_state():
    agent = value_agent()
    agent.__class__, agent.asked = Sized, {}
    dry_run(agent, DISCRETE, "cpu")
    assert agent.asked == {agent.size: 1}


@pytest.mark.parametrize(("kind", "what"), [(Tired, "calls"), (Worn, r"chain\.online\.worn")])
def test_an_agent_that_changes_by_acting_is_refused(kind, what):
    agent = value_agent()
    agent.__class__ = kind
    agent.chain.online.register_buffer("worn", torch.zeros(1))
    with pytest.raises(ConfigError, match=f"acting changes {what}, which evaluations would change too"):
        dry_run(agent, DISCRETE, "cpu")


class Warming(Weighting):
    """Weights that depend on how often it was asked; a table that is made once is no state."""

    def __init__(self, *, plan, chain):
        super().__init__(plan=plan, chain=chain)
        self.asked, self.table = 0, None

    def forward(self, online, target, batch):
        self.table = torch.ones(1) if self.table is None else self.table
        self.asked += self.counting
        return self.table / (1 + self.asked), {}

    counting = 1


class Made(Warming):
    counting = 0


def test_a_part_that_counts_in_an_attribute_is_refused():
    """No checkpoint held the count: a run that was resumed began to count again."""
    with pytest.raises(ConfigError, match=r"its value loss changes weighting\.asked, which no checkpoint holds: make it a buffer"):
        dry_run(value_agent(weighting=Warming), DISCRETE, "cpu")
    dry_run(value_agent(weighting=Made), DISCRETE, "cpu")


@dataclass(frozen=True)
class Tabulated(ValueExploration):
    evaluation: float = 0.0

    @cached_property
    def table(self):
        return [0.5]

    def explored(self, policy, tick, memory):
        return *epsilon_greedy_action(policy, tick, self.table[0]), memory


def test_a_table_that_follows_from_the_fields_of_a_rule_is_no_state():
    dry_run(value_agent(explore=Tabulated()), DISCRETE, "cpu")


class InPlace(Weighting):
    def forward(self, online, target, batch):
        batch.weight.mul_(3.0)  # the tensor of every batch of a replay
        return batch.weight, {}


class Column(Weighting):
    def forward(self, online, target, batch):
        return batch.weight.unsqueeze(-1), {}


class Buffered(Weighting):
    def __init__(self, *, plan, chain):
        super().__init__(plan=plan, chain=chain)
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, online, target, batch):
        self.mean += batch.reward.mean()
        return batch.weight, {}


@pytest.mark.parametrize(
    ("weighting", "says"),
    [
        (InPlace, r"its value loss changes weight of the batch in place.*make a new tensor"),
        (Column, r"weights of shape \(3, 1\) do not go with losses of \(1, 3\)"),  # each loss had the sum of all weights
        (Buffered, r"its value loss changes weighting\.mean, into which this made-up batch has gone: return the new value in"),
    ],
)
def test_what_a_weighting_does_to_others_is_refused(weighting, says):
    spec = DISCRETE._replace(num_actions=2)
    with pytest.raises(ConfigError, match=says):
        dry_run(value_agent(spec, weighting=weighting), spec, "cpu")


class Numbered(Weighting):
    def forward(self, online, target, batch):
        return batch.weight, {"train/mine": 1.0}


@dataclass(frozen=True)
class Spare(MLPTorso):
    def build(self, spec, n):
        torso = super().build(spec, n)
        torso.add("spare", (n, 1), Init("constant", value=0.0))
        return torso


def test_what_a_loss_leaves_out_or_returns_is_told_before_the_first_update():
    """The first update ended in an error of torch that named neither the parameter nor the metric."""
    with pytest.raises(ConfigError, match=r"its value loss does not depend on \S*torso\.spare, which it is to train: use it in `forward`"):
        dry_run(value_agent(torso=Spare(hidden=(7,))), DISCRETE, "cpu")
    with pytest.raises(ConfigError, match=r"the metric train/mine of its value loss is a float, where a tensor belongs"):
        dry_run(value_agent(weighting=Numbered), DISCRETE, "cpu")
    agent = value_agent()
    agent.objectives["other"] = agent.objectives["value"]  # its optimizer's steps would be those of another copy of the weights
    with pytest.raises(ConfigError, match=r"agent: \S+ is trained by two objectives, value and other: leave it to one"):
        dry_run(agent, DISCRETE, "cpu")
    agent = value_agent()
    agent.main = "critic"
    with pytest.raises(ConfigError, match=r"main = 'critic' of ValueAgent names none of its objectives, value: "):
        dry_run(agent, DISCRETE, "cpu")


class Borderless(Agent):
    def __init__(self, *, spec, **others):
        super().__init__()
        self.objectives = {"value": None}


def test_an_agent_from_scratch_is_told_what_it_lacks():
    """Messages were "object has no attribute 'rewards'", and that agent.others is missing."""
    with pytest.raises(ConfigError, match=r"agent \(Borderless\): it has no spec: Borderless.__init__ has to call self.set_border\(spec"):
        dry_run(Borderless(spec=DISCRETE), DISCRETE, "cpu")
    check_parts(Deferred(Borderless, {}, "agent"))
    check_parts(Deferred(Borderless, {"head": "plain", "actor": "same", "chain": None}, "agent"))  # "type object 'str' has no … 'offers'"
    check_parts(
        Deferred(Borderless, {"head": Scalar(), "rewards": Deferred(Raw, {}, "agent.rewards")}, "agent")
    )  # "it cannot be built here: 'chain'"
    with pytest.raises(ConfigError, match=r"'seed'\. Let Plain.__init__ take it beside its own keys, as each agent takes spec and seed\."):
        construct(type("Plain", (Agent,), {"__init__": lambda self, spec: None}), (), {"spec": DISCRETE, "seed": 0}, "agent")


def test_parameters_that_no_loss_trains_are_told(capsys):
    agent = value_agent()
    agent.mine = nn.Linear(2, 3)
    dry_run(agent, DISCRETE, "cpu")
    assert "no loss trains mine.weight and 1 more: give it to an `Objective` of the agent" in capsys.readouterr().err
    agent.mine.requires_grad_(False)
    dry_run(agent, DISCRETE, "cpu")
    assert "trains" not in capsys.readouterr().err


@dataclass(frozen=True)
class Wild(ActorExploration):
    random_steps: int = 0

    def explored(self, policy, tick, memory):
        action = policy().cpu() + 3.0
        return action, certain(len(action)), memory


def test_actions_beyond_their_bounds_are_refused():
    """Environments clip them, and the replay kept them as they were."""
    with pytest.raises(ConfigError, match=r"agent\.explore: an action of .* lies outside of \[-1, 1\]"):
        dry_run(actor_critic(explore=Wild()), CONTINUOUS, "cpu")


class Observing(Weighting):
    def observe(self, rows):
        self.seen = rows


def test_every_part_that_observes_is_shown_what_is_collected():
    """`Part` promises it, and weightings and chains were not."""
    for agent in (value_agent(weighting=Observing), actor_critic(weighting=Observing)):
        assert agent.weighting.observe in agent.observers
