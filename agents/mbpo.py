"""Model-based policy optimization (MBPO; Janner, Fu, Zhang, Levine, 2019): short rollouts of a learned model, from states of the replay.

    every `period` steps: train the model on all transitions;  s ~ replay, `rollouts` times;  k steps of a ~ π(·|s) in the model
    each update: a share `real` of the batch from the environment, the rest from the rollouts of the last `retain` trainings

It is a source (slot `replay`): the agent, its losses and the number of updates stay those of a run without a model. Every agent for
continuous actions that learns from single transitions can take it. Until the model has been trained, batches are the environment's. `train`
makes the rollouts (agents/imagination.py), `imagine` puts them into a batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from deeprl.agents.dynamics import Data, Model, ModelChoice, Slopes
from deeprl.agents.imagination import Imagination, Imagined, Terminates, rolled_out
from deeprl.agents.model_memory import model_memory
from deeprl.agents.model_state import KEPT, require_possible
from deeprl.agents.vagram import value_count, value_slopes
from deeprl.choice import Choice
from deeprl.errors import Failed, NotFinite
from deeprl.learning.actor_critic import ActorCritic
from deeprl.learning.agent import Agent
from deeprl.noise import torch_generator
from deeprl.replay.gather import Drawn
from deeprl.replay.replay import Replay, in_main_memory
from deeprl.replay.ring import windows
from deeprl.replay.samplers import Sampler, Uniform
from deeprl.replay.source import Prepare
from deeprl.system.terminal import amount
from deeprl.types import Batch, Rows, Spec, State


class ModelReplay(Replay):
    """A replay beside which a model imagines transitions.

    Real and imagined transitions have the same form: a row of the ring, then the next observation, (W,).

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
    hands_on: ClassVar[type[Choice] | None] = Replay
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
            raise ValueError("sampler must be uniform, because imagined transitions have no priorities: leave it out")
        if n_step != 1:
            raise ValueError(f"n_step must be 1, not {n_step}, because imagined transitions are single steps")
        if not spec.action_dim or spec.masked or spec.choices:
            raise ValueError("a model of this kind takes continuous actions without masks: choose another replay, such as uniform")
        if len(spec.obs_shape) != 1 or spec.parts:
            remedy = "set env.parts=flat, if it is one of Gymnasium, or choose" if spec.parts else "choose"
            raise ValueError(
                f"a model of this kind predicts plain vectors, not images or several parts: {remedy} another replay, such as uniform"
            )
        if not isinstance(model, ModelChoice):
            raise ValueError(f"model must be one that learns, not {model!r:.100}: set keys below replay.model")
        critics = agent if isinstance(agent, ActorCritic) else None
        if model.loss.weighted and critics is None:
            raise ValueError("model.loss weighs errors by gradients of critics, which this agent does not have: choose replay=model")
        super().__init__(spec=spec, batch_size=batch_size, device=device, **others)
        self.choice, self.imagination, self.agent = model, imagination, agent
        self.own = int(imagination.real * batch_size + 1e-9)  # 0.29 of 100 are 29
        """Transitions of a batch that come from the environment"""
        self.slopes: Slopes | None = None if critics is None else partial(value_slopes, critics)
        self.terminates = terminates if imagination.termination == "auto" else None
        if self.own < batch_size:
            fitting = model.memory(self.capacity, self.layout.size, spec.action_dim, 0 if critics is None else value_count(critics))
            kept, self.working = model_memory(imagination, self.layout, self.capacity, self.bytes, fitting, self.rule.device)
            self.bytes += kept
        self.imagined = torch.zeros(0, self.window)
        """(R, W), oldest first"""
        self.sizes: list[int] = []
        """Of the last trainings: transitions in `imagined`"""
        self.trained: list[int] = []
        """Environment steps at which the model was trained first and last; [] before the first training"""
        self.trainings = 0
        self.shown: dict[str, float] = {}
        """Numbers of the last training"""

    @property
    def window(self) -> int:
        """W"""
        return self.layout.width + self.layout.size

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
        return self.draw(noise["u"], step, partial(self.imagine, chosen=noise["imagined"]))

    def imagine(self, copies: Tensor, index: Tensor, chosen: Tensor) -> None:
        """Put imagined transitions in place of the last of a draw, see `deeprl.replay.gather.Edit`.

        Args:
            copies: (B, W)
            index: (B,) numbers of the transitions.
            chosen: (B,) in [0, 1): which imagined transitions the present draw takes
        """
        if len(self.imagined) and self.own < self.batch_size:
            number = (chosen[self.own :] * len(self.imagined)).long()
            torch.index_select(self.imagined, 0, number, out=copies[self.own :])

    # The model

    def transitions(self) -> Tensor:
        """(N, W), all that can be drawn, oldest first."""
        live, stored = self.live, self.ring.tensors()[0]
        place = torch.from_numpy(self.ring.slots.reshape(-1))[torch.arange(live.first, live.last) % live.size]
        return windows(stored, 2, cut=self.layout.width - self.layout.size)[place]

    def data(self) -> Data:
        """What the model learns from, on the device of the batches."""
        rows, at = self.transitions().to(self.rule.device), self.layout
        obs, after = rows[:, : at.size], rows[:, at.width :]
        targets = torch.cat([rows[:, at.reward, None], after - obs], 1)
        return Data(rows[:, : at.reward], targets, 1 - rows[:, at.continues], after, after.new_zeros(len(after), 0, at.size))

    def train(self, step: int) -> None:
        """Train the model on all transitions, and keep its rollouts in place of the oldest."""
        generator, data, length = self.generator(self.trainings), self.data(), self.imagination.steps(step)
        self.trained = [min(self.trained[0], step), step] if self.trained else [step]
        found = self.fit(data, generator, step)
        fresh = self.rollouts(data.inputs[:, : self.layout.size], length, step, generator)
        self.sizes = [*self.sizes, len(fresh)][-self.imagination.retain :]
        self.imagined = torch.cat([self.imagined[len(self.imagined) - sum(self.sizes[:-1]) :], fresh])
        self.trainings += 1
        shown = {name: value for name, value in found.items() if not math.isnan(value)}
        self.shown = {**shown, "model/horizon": float(length), "model/transitions": float(len(self.imagined))}

    def fit(self, data: Data, generator: torch.Generator, step: int) -> dict[str, float]:
        """Train the model. Returns numbers for the log.

        Raises:
            Failed: it diverged.
        """
        try:
            return self.model.fit(data, self.slopes, generator, step - self.trained[0], self.beat)
        except NotFinite as error:  # of the model's own optimizer, which does not know whose it is
            what = f"training {self.trainings + 1} of the model (step {step:,}) is not finite"
            raise Failed(what, str(error), "Look at the sizes of observations and rewards, or lower replay.model.lr") from error

    @torch.no_grad()
    def rollouts(self, states: Tensor, length: int, step: int, generator: torch.Generator) -> Tensor:
        """(R, W) transitions of rollouts from drawn states (N, S)."""
        assert self.agent is not None
        drawn = torch.randint(len(states), (self.imagination.rollouts,), generator=generator).to(states.device)
        steps = rolled_out(self.agent, self.model, self.terminates, states[drawn], length, step, generator)
        return torch.cat([self.row(each) for each in steps]).cpu()

    def row(self, step: Imagined) -> Tensor:
        """(R, W), as the ring would hold this step of R rollouts."""
        at, rows = self.layout, step.obs.new_zeros(len(step.obs), self.window)
        rows[:, : at.size], rows[:, at.action : at.reward], rows[:, at.width :] = step.obs, step.action, step.next_obs
        rows[:, at.reward], rows[:, at.probability], rows[:, at.real] = step.reward, step.probability, 1.0
        rows[:, at.continues], rows[:, at.ended] = (~step.terminated).float(), step.terminated.float()
        return rows

    def diagnostics(self) -> dict[str, float]:
        return self.shown

    # Checkpoints: rows that are imagined follow from no others that are still there

    def state_dict(self) -> State:
        return {**super().state_dict(), **self.model_state()}

    def model_state(self) -> State:
        """The model and what it has imagined; empty before the first training."""
        if not self.trained:
            return {}
        own = {"imagined": self.imagined, "sizes": self.sizes, "trained": self.trained, "trainings": self.trainings, "shown": self.shown}
        return {"model": {**own, "networks": self.model.state()}}

    def load(self, state: State, segments: Iterable[dict[str, Tensor]]) -> None:
        super().load(state, segments)
        self.load_model(state)

    def load_model(self, state: State) -> None:
        """Restore what `model_state` gave.

        Raises:
            ValueError: no replay can have it.
        """
        if "model" not in state:
            return
        found = state["model"]
        require_possible(found, self.window, self.imagination.retain)
        self.model.load(found["networks"])
        for name in KEPT.keys() - {"networks"}:
            setattr(self, name, found[name])
