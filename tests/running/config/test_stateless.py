"""A choice that notes something is refused: no checkpoint holds it, and evaluation shares it with training."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pytest
import torch
from torch import nn

from deeprl.choice import Choice
from deeprl.envs.toy import Chain
from deeprl.errors import ConfigError
from deeprl.running.config.stateless import UnsavedState, contents, require_stateless


@dataclass(frozen=True)
class Step(Choice):
    length: float = 0.5
    inner: tuple[Choice, ...] = field(default=())

    @cached_property
    def table(self) -> list[float]:
        return [self.length] * 3

    def __call__(self) -> float:
        return self.table[0]


@dataclass(frozen=True)
class Counting(Step):
    def __call__(self) -> float:
        object.__setattr__(self, "calls", getattr(self, "calls", 0) + 1)
        return self.length


@dataclass(frozen=True)
class Storing(Step):
    """Remembers in a field, which is no new attribute."""

    store: object = None

    def __call__(self) -> float:
        if isinstance(self.store, dict):
            self.store["noise"] = 0.5
        elif isinstance(self.store, np.ndarray):
            np.add(self.store, 1.0, out=self.store)
        else:
            self.store.append(0.5)
        return self.length


def agent(part: Choice) -> nn.Module:
    module = nn.ModuleDict({"head": nn.Linear(2, 2)})
    module.head.backup = part
    return module


@dataclass
class Fading(Choice):
    epsilon: float = 1.0

    def __call__(self) -> float:
        self.epsilon *= 0.9
        return self.epsilon


def test_a_choice_that_is_not_frozen_is_watched_too():
    """A schedule of one's own began again at each resume."""
    before = contents(agent=agent(Step(inner=(fading := Fading(),))))
    fading()
    with pytest.raises(ConfigError, match=r"agent\.head\.backup\.inner\.0 \(Fading\) keeps state in epsilon"):
        require_stateless(before, agent=agent(Step(inner=(fading,))))


@dataclass
class Tabled(Choice):
    counts: bool = False

    def __post_init__(self):
        self.table, self.seen = None, {}

    def __call__(self) -> None:
        self.table = torch.arange(5)
        self.seen[len(self.seen)] = 1.0
        if self.counts:
            self.calls = getattr(self, "calls", 0) + 1


def test_what_is_computed_once_is_no_state_and_a_new_counter_is():
    """Of a choice that is not frozen; the first was refused, the second was not seen."""
    for counts in (False, True):
        before = contents(agent=agent(Step(inner=(tabled := Tabled(counts),))))
        tabled()
        if counts:
            with pytest.raises(ConfigError, match=r"\(Tabled\) keeps state in calls"):
                require_stateless(before, agent=agent(Step(inner=(tabled,))))
        else:
            require_stateless(before, agent=agent(Step(inner=(tabled,))))


def test_a_choice_that_counts_its_calls_is_refused_where_it_stands():
    counting = Counting()
    whole = agent(Step(inner=(Step(), counting)))
    require_stateless({}, agent=whole)  # not used yet
    counting()
    with pytest.raises(ConfigError, match=r"agent\.head\.backup\.inner\.1 \(Counting\) keeps state in calls"):
        require_stateless({}, agent=whole)
    with pytest.raises(ConfigError, match=r"env \(Counting\) keeps state in calls"):
        require_stateless({}, env=counting)
    require_stateless({}, env=replace(counting))  # a copy has the fields only


@pytest.mark.parametrize("store", [{}, [1.0], np.zeros(3), deque(maxlen=2)], ids=lambda store: type(store).__name__)
def test_a_choice_that_writes_into_its_own_field_is_refused(store):
    """It was accepted: two runs of a seed were equal, and a run that was killed and resumed was another one."""
    storing = Storing(store=store)
    before = contents(agent=agent(storing))
    require_stateless(before, agent=agent(storing))
    storing()
    with pytest.raises(ConfigError, match=r"agent\.head\.backup \(Storing\) keeps state in store"):
        require_stateless(before, agent=agent(storing))


def test_values_that_follow_from_fields_are_no_state():
    step, env = Step(length=float("nan")), Chain()  # which is not equal to itself
    before = contents(agent=agent(step), env=env)
    step()
    env.spec()
    require_stateless(before, agent=agent(step), env=env)
    assert "table" in vars(step)


def test_a_collection_may_lie_in_itself():
    ring = [1.0]
    ring.append(ring)
    before = contents(part=(choice := Storing(store=ring)))
    require_stateless(before, part=choice)
    choice()
    with pytest.raises(ConfigError, match=r"keeps state in store"):
        require_stateless(before, part=choice)


def test_attributes_that_change_while_a_run_trains_are_told_once(capfd):
    module = agent(Step())
    module.copied = [module.head.weight.data, module.head.bias.detach().numpy()[1:]]  # which a checkpoint holds
    module.updates, module.last = 0, None
    watch = UnsavedState(module)
    with torch.no_grad():
        module.head.weight.add_(1.0)
        module.head.bias.add_(1.0)
    module.last = [1.0]  # made once
    watch.tell()
    assert capfd.readouterr().err == ""
    module.updates += 1
    watch.tell()
    assert "agent: updates changed while the run trained, and no checkpoint holds attributes" in capfd.readouterr().err
    module.updates += 1
    watch.tell()
    assert capfd.readouterr().err == ""
