"""Model-based policy optimization (MBPO; Janner, Fu, Zhang, Levine, 2019): short rollouts of a learned model, from states of the replay.

    every `period` steps: train the model on all transitions;  s ~ replay, `rollouts` times;  k steps of a ~ π(·|s) in the model
    each update: a share `real` of the batch from the environment, the rest from the rollouts of the last `retain` trainings

It is a source: the agent, its losses and the number of updates are those of a run without a model, and whatever learns from single
transitions with continuous actions may take it. Until the model has been trained, batches are the environment's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import Any, ClassVar

import torch
from torch import Tensor

from deeprl.agents.dynamics import Data, Model, ModelChoice, Slopes
from deeprl.agents.vagram import value_count, value_slopes
from deeprl.choice import Group, counts, in_range, one_of
from deeprl.learning.actor_critic import ActorCritic
from deeprl.learning.agent import Agent
from deeprl.noise import map_tensors, torch_generator
from deeprl.replay.gather import Drawn, Gather, Transitions
from deeprl.replay.replay import Replay, in_main_memory
from deeprl.replay.ring import windows
from deeprl.replay.samplers import Sampler, Uniform
from deeprl.replay.source import Prepare
from deeprl.schedules import Linear
from deeprl.system.machine import available_memory
from deeprl.system.terminal import amount
from deeprl.types import Batch, Rows, Spec, State

Terminates = Callable[[Tensor], Tensor]
"""Observations after a step, (B, S) -> whether the episode terminates there, (B,) bool"""


ONE_STEP = Linear(1, 1, 1)


@dataclass(frozen=True, kw_only=True)
class Imagination(Group):
    """What a model imagines, and how much of it is learned from.

    Args:
        real: share of a batch that comes from the environment, rounded down to whole transitions. 1 is plain replay, bit for bit: no model
            is trained.
        period: steps between two trainings of the model.
        rollouts: states from which a training's rollouts start.
        horizon: k, steps of a rollout: a number, or a function of the step, whose integer part counts.
        retain: trainings whose rollouts are kept.
        termination: `auto` takes the environment's rule where it has one; `learned` learns it as a part of the model.
    """

    real: float = 0.05
    period: int = 250
    rollouts: int = 100_000
    horizon: Linear = ONE_STEP
    retain: int = 4
    termination: str = "auto"

    def __post_init__(self):
        in_range(self, real=(0, 1))
        counts(self, period=1, rollouts=1, retain=1)
        one_of(self, termination=("auto", "learned"))
        k: object = self.horizon
        if isinstance(k, (int, float)) and type(k) is not bool and 1 <= k < math.inf:
            object.__setattr__(self, "horizon", Linear(k, k, 1))
        elif not isinstance(k, Linear):
            raise ValueError(f"horizon must be a number of at least 1, or have the keys start, end, begin and duration, not {k!r}")
        elif min(k.start, k.end) < 1:
            raise ValueError(f"horizon must be at least 1 from its start to its end, not {k.start} and {k.end}")

    def steps(self, step: int) -> int:
        """k at an environment step."""
        return int(self.horizon(step) + 1e-6)  # a line between equal ends may be rounded below them

    @property
    def most(self) -> int:
        """Transitions of a training's rollouts, at most."""
        return self.rollouts * int(max(self.horizon.start, self.horizon.end))


class ModelReplay(Replay):
    """A replay beside which a model imagines transitions.

    Both are rows of one form: a row of the ring, and the observation that follows it, (W,).

    Args:
        model: what imagines.
        imagination: how much.
        agent: acts in the model; its critics weigh errors.
        terminates: the environment's rule; None if it is not known.
        others: as in `Replay`. The rows are in main memory.

    Raises:
        ValueError: as in `Replay`; actions are discrete, observations are no plain vectors, transitions are of several steps, or the
            sampler is not uniform.
    """

    offers = Replay.offers - {"restart"}
    imagines = True
    hands_on: ClassVar = Replay
    argument_groups: ClassVar = {**Replay.argument_groups, "imagination": Imagination}

    def __init__(
        self,
        *,
        model: ModelChoice,
        imagination: Imagination = Imagination(),
        agent: Agent | None = None,
        terminates: Terminates | None = None,
        spec: Spec,
        batch_size: int,
        n_step: int = 1,
        sampler: Sampler = Uniform(),
        device: str = "auto",
        **others,
    ):
        device = in_main_memory(device, "imagined transitions, which are in main memory")
        if type(sampler) is not Uniform:
            raise ValueError("sampler must be that of replay=uniform, because imagined transitions have no priorities: leave it out")
        if n_step != 1:
            raise ValueError(f"n_step must be 1, not {n_step}, because imagined transitions are single steps")
        if not spec.action_dim or spec.masked or spec.choices:
            raise ValueError("a model of this kind takes continuous actions without masks: choose another replay, such as uniform")
        if len(spec.obs_shape) != 1 or spec.parts:
            remedy = "set env.parts=flat, or choose" if spec.parts else "choose"
            raise ValueError(
                f"a model of this kind predicts plain vectors, not images or several parts: {remedy} another replay, such as uniform"
            )
        if not isinstance(model, ModelChoice):
            raise ValueError(f"model must be one that learns, not {model!r:.100}: choose replay=model, and set keys below model")
        if model.loss.weighted and not isinstance(agent, ActorCritic):
            raise ValueError("model.loss weighs errors by gradients of critics, which this agent does not have: choose replay=model")
        super().__init__(spec=spec, batch_size=batch_size, device=device, **others)
        self.choice, self.imagination, self.agent = model, imagination, agent
        self.own = int(imagination.real * batch_size + 1e-9)  # 0.29 of 100 are 29
        """Transitions of a batch that come from the environment"""
        self.slopes: Slopes | None = partial(value_slopes, agent) if isinstance(agent, ActorCritic) else None
        self.terminates = terminates if imagination.termination == "auto" else None
        if self.own < batch_size:
            self._count_memory()
        self.imagined = torch.zeros(0, self.window)
        """(R, W), oldest first"""
        self.sizes: list[int] = []
        """Of the last trainings: transitions in `imagined`"""
        self.trained: list[int] = []
        """Steps of the first and of the last training; [] before"""
        self.trainings = 0
        self.shown: dict[str, float] = {}
        """Numbers of the last training"""
        self.chosen = torch.zeros(0, dtype=torch.float64)
        """(B,) in [0, 1): which imagined transitions the present draw takes"""

    @property
    def window(self) -> int:
        """W"""
        return self.layout.width + self.layout.size

    def _count_memory(self) -> None:
        """Add what is imagined, and what a training takes.

        Raises:
            ValueError: the machine has less.
        """
        size, chosen, available = self.layout.size, self.imagination, available_memory()
        values = value_count(self.agent) if isinstance(self.agent, ActorCritic) else 0
        rows = self.capacity * (4 * self.window + 24 + 4 * (1 + size) + 4)  # with their numbers, targets and terminations
        fitting = self.choice.memory(self.capacity, size, self.spec.action_dim, values)
        fresh = 4 * self.window * chosen.most
        kept, joining = fresh * chosen.retain, fresh * (1 + chosen.retain)  # old and new stand side by side while they are joined
        self.bytes += kept
        self.working = rows + max(fitting, joining)
        imagined, needed = kept + joining, self.bytes + self.working
        if available is None or needed <= available:
            return
        if 2 * imagined < needed:
            self._refuse_if_too_large(imagined)
        possible = int(chosen.rollouts * max(available - (64 << 20) - (needed - imagined), 0) / imagined)
        remedy = f"replay.rollouts={possible} would fit" if possible else "lower replay.capacity too"
        raise ValueError(
            f"rollouts={chosen.rollouts} of up to {chosen.most // chosen.rollouts} steps (replay.horizon), kept for {chosen.retain} "
            f"trainings (replay.retain), need {imagined:,} bytes beside {needed - imagined:,} of the replay, and {available:,} are "
            f"available: {remedy}"
        )

    def connect(self, seed: int, part: str, observe: Callable[[Rows], object], prepare: Prepare) -> None:
        super().connect(seed, part, observe, prepare)
        self.generator = partial(torch_generator, seed, "replay", f"{part} model")
        with torch.device(self.rule.device):
            self.model: Model = self.choice.build(self.layout.size, self.spec.action_dim, self.terminates is None, seed)

    def room(self) -> str:
        if self.own == self.batch_size:
            return super().room()
        rule = "learned" if self.terminates is None else "by the environment's rule"
        return (
            f"{super().room()}, {amount(self.working)} more while the model trains, "
            f"{self.batch_size - self.own} of {self.batch_size} transitions of a batch imagined, with terminations {rule}"
        )

    def noise(self, block: int, generator: torch.Generator) -> dict[str, Tensor]:
        drawn = super().noise(block, generator)  # first, so that transitions are those of plain replay
        return {**drawn, "imagined": torch.rand(block, self.batch_size, generator=generator, dtype=torch.float64)}

    # Drawing

    def updates(self, before: int, after: int) -> Iterator[Drawn | Batch]:
        stale = not self.trained or not 0 <= after - self.trained[-1] < self.imagination.period
        if stale and self.own < self.batch_size and self.due(before, after) and len(self):
            self.train(after)
        return super().updates(before, after)

    def sample(self, noise: Mapping[str, Tensor], step: int) -> Drawn | Batch:
        self.chosen = noise["imagined"]
        return super().sample(noise, step)

    def make_gather(self, size: int) -> Gather:
        return Transitions(self.ring, self.mirror, self.rule, size, self.imagine)

    def imagine(self, copies: Tensor, index: Tensor) -> None:
        """Put imagined transitions in place of the last of a draw.

        Args:
            copies: (B, W)
            index: (B,) numbers of the transitions.
        """
        if len(self.imagined) and self.own < self.batch_size:
            number = (self.chosen[self.own :] * len(self.imagined)).long()
            torch.index_select(self.imagined, 0, number, out=copies[self.own :])

    # The model

    def transitions(self) -> Tensor:
        """(N, W), all that can be drawn, oldest first."""
        live, stored = self.live, self.ring.tensors()[0]
        place = torch.from_numpy(self.ring.slots.reshape(-1))[torch.arange(live.first, live.last) % live.size]
        return windows(stored, 2, cut=self.layout.width - self.layout.size)[place]

    def train(self, step: int) -> None:
        """Train the model, and make its rollouts."""
        generator, rows, at = self.generator(self.trainings), self.transitions(), self.layout
        there = rows.to(self.rule.device)
        obs, after = there[:, : at.size], there[:, at.width :]
        targets = torch.cat([there[:, at.reward, None], after - obs], 1)
        data = Data(there[:, : at.reward], targets, 1 - there[:, at.continues], after, after.new_zeros(len(after), 0, at.size))
        self.trained = [min(self.trained[0], step), step] if self.trained else [step]
        found = self.model.fit(data, self.slopes, generator, step - self.trained[0])
        self.shown = {name: value for name, value in found.items() if not math.isnan(value)}
        length, retain = self.imagination.steps(step), self.imagination.retain
        fresh = self.rolled_out(obs, length, step, generator).cpu()
        self.sizes = [*self.sizes, len(fresh)][-retain:]
        self.imagined = torch.cat([self.imagined[len(self.imagined) - sum(self.sizes[:-1]) :], fresh])
        self.trainings += 1
        self.shown |= {"model/horizon": float(length), "model/transitions": float(len(self.imagined))}

    @torch.no_grad()
    def rolled_out(self, states: Tensor, length: int, step: int, generator: torch.Generator) -> Tensor:
        """(R, W) transitions of rollouts from drawn states (N, S), on their device. A rollout ends where the model terminates."""
        agent, at, number = self.agent, self.layout, self.imagination.rollouts
        assert agent is not None
        obs = states[torch.randint(len(states), (number,), generator=generator).to(states.device)]
        noise, memory = agent.act_noise((length, number), generator), dict[str, Any]()
        going, found = torch.ones(number, dtype=torch.bool, device=states.device), []
        for i in range(length):
            acted = agent.act(obs, torch.full((number,), i == 0), memory, step, map_tensors(itemgetter(i), noise), explore=True)
            action, memory = acted.action.to(obs.device), acted.memory
            predicted = self.model.predict(obs, action, generator)
            ends = predicted.terminated if self.terminates is None else self.terminates(predicted.obs)
            rows = obs.new_zeros(number, self.window)
            rows[:, : at.size], rows[:, at.action : at.reward], rows[:, at.width :] = obs, action, predicted.obs
            rows[:, at.reward], rows[:, at.continues], rows[:, at.ended] = predicted.reward, (~ends).float(), ends.float()
            rows[:, at.probability], rows[:, at.real] = acted.probability.to(obs.device), 1.0
            sound = going & rows.isfinite().all(1)  # where a model has diverged, its rollout ends
            found.append(rows[sound])
            obs, going = torch.where(sound[:, None], predicted.obs, obs), sound & ~ends
        return torch.cat(found)

    def diagnostics(self) -> dict[str, float]:
        return self.shown

    # Checkpoints: rows that are imagined follow from no others that are still there

    def state_dict(self) -> State:
        if not self.trained:
            return super().state_dict()
        own = {"imagined": self.imagined, "sizes": self.sizes, "trained": self.trained, "trainings": self.trainings, "shown": self.shown}
        return {**super().state_dict(), "model": {**own, "networks": self.model.state()}}

    def load(self, state: State, segments: Iterable[dict[str, Tensor]]) -> None:
        super().load(state, segments)
        if "model" not in state:
            return
        found = state["model"]
        require_possible(found, self.window, self.imagination.retain)
        self.model.load(found["networks"])
        for name in KEPT.keys() - {"networks"}:
            setattr(self, name, found[name])


KEPT = {"imagined": Tensor, "sizes": list, "trained": list, "trainings": int, "shown": dict, "networks": dict}
"""What a checkpoint has of a model"""


def require_possible(found: object, window: int, retain: int) -> None:
    """
    Args:
        found: what a checkpoint has of a model.
        window, retain: W, and the trainings whose rollouts are kept.

    Raises:
        ValueError: no replay can have it.
    """
    if not isinstance(found, dict) or found.keys() != KEPT.keys():
        raise ValueError(f"the stored replay has {found!s:.100} as its model, not {', '.join(KEPT)}")
    for name, kind in KEPT.items():
        if not isinstance(found[name], kind):
            raise ValueError(f"the stored replay has {name}={found[name]!r:.100} of its model, which must be of the type {kind.__name__}")
    imagined, sizes, trained, trainings = (found[name] for name in ("imagined", "sizes", "trained", "trainings"))
    whole = all(type(number) is int and 0 <= number < 1 << 62 for number in (*sizes, *trained, trainings))
    if not whole or len(trained) not in (1, 2) or sorted(trained) != trained or not 0 < len(sizes) <= min(retain, trainings):
        raise ValueError(
            f"the stored replay has counts of its model that none can have: sizes={sizes!s:.100} of {retain}, trained={trained!s:.100}, "
            f"trainings={trainings}"
        )
    if imagined.shape != (sum(sizes), window) or imagined.dtype != torch.float32 or not imagined.isfinite().all():
        form = f"{tuple(imagined.shape)} {imagined.dtype}"
        raise ValueError(f"the stored replay has imagined transitions of shape {form}, not finite ones of {(sum(sizes), window)}")
    for name, value in found["shown"].items():
        if not (isinstance(name, str) and name.startswith("model/") and type(value) is float and not math.isnan(value)):
            raise ValueError(f"the stored replay has {name!r:.60}={value!r:.60} among numbers of its model, which are named model/…")
