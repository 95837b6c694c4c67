"""Sentences about values that a choice does not take, and groups of arguments."""

from __future__ import annotations

import math
from dataclasses import dataclass
from inspect import Parameter
from types import SimpleNamespace
from typing import ClassVar

import pytest

from deeprl.agents.munchausen import Munchausen
from deeprl.agents.self_prediction import Bidirectional, SelfPrediction
from deeprl.choice import Choice, Group, grouped, in_range, keys_of
from deeprl.errors import ConfigError
from deeprl.learning.agent import Agent
from deeprl.learning.networks.batch_renorm import BatchRenormMLP
from deeprl.learning.parts.auxiliary import Auxiliary
from deeprl.learning.parts.chains import Chain
from deeprl.learning.parts.divergence import Divergence
from deeprl.learning.parts.intrinsic import Intrinsic
from deeprl.learning.parts.rate import Rate
from deeprl.learning.parts.state_value import StateValue
from deeprl.running.config.instantiate import construct


@pytest.mark.parametrize(
    ("low", "high", "value", "sentence"),
    [
        (None, None, float("nan"), "low must be a number, not nan"),
        (1, None, 0, "low must be at least 1, not 0"),
        (0, None, math.inf, "low must be at least 0 and finite, not inf"),
        (None, None, -math.inf, "low must be a number and finite, not -inf"),
        (None, 1, 2, "low must be at most 1, not 2"),
        (0, 1, True, "low must be between 0 and 1, not True"),
    ],
)
def test_the_sentence_names_the_ends_that_there_are(low, high, value, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        in_range(SimpleNamespace(low=value), low=(low, high))


@dataclass(frozen=True)
class Net(Group):
    keys: ClassVar = {"torso": "actor_torso"}

    torso: str
    width: int = 3

    def __post_init__(self):
        in_range(self, width=(1, None))


class Owner(Choice):
    argument_groups: ClassVar = {"net": Net}

    def __init__(self, *, net: Net, seed: int):
        self.net, self.seed = net, seed


def test_fields_of_a_group_are_keys_of_its_owner():
    assert {key: each.default for key, each in keys_of(Owner).items()} == {
        "actor_torso": Parameter.empty,
        "width": 3,
        "seed": Parameter.empty,
    }
    assert grouped(Owner, {"seed": 1, "actor_torso": "mlp"}) == {"seed": 1, "net": Net("mlp")}


class Deeper(Owner):
    hands_on: ClassVar = Owner

    def __init__(self, *, depth: int = 2, seed: int = 0, **others):
        super().__init__(seed=seed, **others)
        self.depth = depth


def test_what_a_constructor_hands_on_is_taken_there_too():
    assert {key: each.default for key, each in keys_of(Deeper).items()} == {
        "actor_torso": Parameter.empty,
        "width": 3,
        "seed": 0,
        "depth": 2,
    }
    found = construct(Deeper, (), {"actor_torso": "mlp", "depth": 4}, "agent.net")
    assert (found.net, found.seed, found.depth) == (Net("mlp"), 0, 4)
    with pytest.raises(ConfigError, match=r"got an unexpected keyword argument 'height'\. Give it"):
        construct(Deeper, (), {"actor_torso": "mlp", "height": 4}, "agent.net")


def test_what_a_group_refuses_is_named_with_the_key_of_its_owner():
    """It was a traceback."""
    with pytest.raises(ConfigError, match=r"^agent\.net\.width must be at least 1, not 0\.$"):
        construct(Owner, (), {"seed": 1, "actor_torso": "mlp", "width": 0}, "agent.net")


@pytest.mark.parametrize(
    ("base", "old"),
    [
        (Agent, "wants_pass"), (Intrinsic, "wants_pass"), (Divergence, "wants_pass"), (Auxiliary, "check"), (StateValue, "learned"),
        (Rate, "subtracted"), (Chain, "copies"), (Munchausen, "now"), (SelfPrediction, "project"), (SelfPrediction, "first"),
        (Bidirectional, "check"), (Bidirectional, "second"), (BatchRenormMLP, "corrections"),
    ],
)  # fmt: skip
def test_a_method_by_its_old_name_is_refused(base, old):
    """It was never called, and the run trained on without it."""
    with pytest.raises(TypeError, match=rf"^Own\.{old} has another name today: {base.former[old]}$"):
        type("Own", (base,), {old: lambda self: None})


def test_it_is_refused_of_a_class_mixed_in_too_and_an_attribute_of_that_name_is_not():
    mixed_in = type("Mixed", (), {"wants_pass": lambda self: None})
    with pytest.raises(TypeError, match=r"^Own\.wants_pass has another name today: before_pass$"):
        type("Own", (mixed_in, Divergence), {})
    assert type("Own", (Chain,), {"copies": 3}).copies == 3
