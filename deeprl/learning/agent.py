"""Base class of discrete and continuous agents: objectives taken in order, and the state for a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from deeprl.choice import Choice, Part
from deeprl.learning.objective import Objective
from deeprl.learning.transforms.apart import normalizer
from deeprl.learning.transforms.masks import divided_rows
from deeprl.learning.values.losses import over_valid
from deeprl.packing import check_kept, kept
from deeprl.schedules import Clock
from deeprl.types import AgentStep, Batch, NetworkNoise, Noise, Rows, Spec, Term


def watching(*parts: Part) -> list[Callable[[Rows], None]]:
    """`observe` of the parts that override it."""
    return [part.observe for part in parts if type(part).observe is not Part.observe]


def numbered(name: str, numbers: Tensor) -> dict[str, Tensor]:
    """(n,) -> one metric for each number, counted from 1."""
    return {f"{name}/{k}": number for k, number in enumerate(numbers, start=1)}


def of_iterations(loss: Tensor, values: Tensor) -> dict[str, Tensor]:
    """Metrics of K > 1 iterations, from losses and values (K, *B): the loss of each, and the standard deviation of their
    values over k."""
    return {**numbered("train/chain_loss", loss.flatten(1).mean(1)), "train/chain_spread": values.std(0, correction=0)}


Infer = Callable[..., Any] | None
"""(M, *obs), noise, with a core its state (M, S) -> result of `Agent.infer`; None: that method itself"""
CORE = "core"
"""Name in the acting memory of the state of a core"""


class Agent(nn.Module, Choice):
    """Networks, losses and target upkeep. An agent knows no environment, no replay, no generator and no budget.

    Subclasses provide `objectives`, `act`, `act_noise`, `infer`, `greedy` (for discrete actions `greedy_values`), and may
    override the rest.
    """

    former: ClassVar = {"wants_pass": "before_pass"}
    actions: str = ""
    """"discrete", "continuous" or "any": actions that it can take"""
    main: str = ""
    """Name of the objective that gives the priorities and the agent's learning rate; it is due at every update."""
    spec: Spec
    objectives: dict[str, Objective]
    rewards: Part
    """raw reward (...) -> learned reward (...) or (C, ...); the replay applies it before n-step sums"""
    normalize: Part
    """Observations of the environment (..., *obs), without action masks -> the networks' input"""
    needs: frozenset[str] = frozenset()
    remedy: str = ""
    """What to change where its numbers are not finite any more, as a sentence without its full stop"""
    first_phase: tuple[str, int] = ("", 0)
    """Updates before which not every loss is learned, and the key that says how many"""
    state_size = 0
    """S, numbers of the core's state for one environment; 0: the agent has no core"""
    drawn_size = 0
    """Q, numbers that acting draws at the start of an episode and returns as `AgentStep.state`; 0: none"""
    on_host: str = "its agent has no device_act"
    """Why actions need the host; "": `device_act` gives those of `act`, which then remembers nothing from step to step"""
    imitates = False
    """Whether the agent imitates the policy that made the data. Without stored data it would imitate itself"""
    prepares_alike = False
    """Whether `prepare` is a pure function of its rollout, parameters and buffers, so that the learner may compile it"""
    products: torch.dtype = torch.float32
    """Type in which convolutions and hidden layers multiply in a loss; `deeprl.running.accelerate.modes.set_products` sets it"""

    def __init__(self):
        super().__init__()
        self.clock = Clock({})
        self.observers: list[Callable[[Rows], None]] = []
        """`observe` of the parts that keep statistics of collected data"""

    def set_border(self, spec: Spec, rewards: Callable[..., Part], normalize: Callable[..., Part]) -> None:
        """Take the environment's spaces, and what maps its rewards and observations to those of losses and networks."""
        self.spec, self.rewards, self.normalize = spec, rewards(), normalizer(normalize, spec)
        self.observers = watching(self.normalize, self.rewards)

    @property
    def updates(self) -> int:
        """Gradient updates so far."""
        return self.clock.updates

    @property
    def step(self) -> int:
        """Environment steps so far."""
        return self.clock.step

    def inherits(self, base: type, *methods: str) -> bool:
        """Whether these methods are those of a base class. What is known of them does not hold for others: a compiled graph would freeze
        what they read."""
        return all(getattr(type(self), name) is getattr(base, name) for name in methods)

    def loss_of(self, name: str, batch: Batch) -> Term:
        """The loss of one objective: the method that the agent gave to its `Objective`, such as `ValueAgent.loss`,
        `ActorCritic.critic_loss`, `ActorCritic.actor_loss` or `PolicyGradient.loss`; its metrics are those of the valid rows. Parameters,
        outputs of networks, targets and the loss are float32, whatever `products` is."""
        term = self._loss_of(name, batch)
        return replace(term, metrics={key: over_valid(value, batch.valid) for key, value in term.metrics.items()})

    def _loss_of(self, name: str, batch: Batch) -> Term:
        loss = self.objectives[name].loss
        if self.products == torch.float32:
            return loss(batch)
        # without the cache, because weights that it converts without a gradient first (a target, Double) would then have none at all
        with torch.autocast(batch.obs.device.type, self.products, cache_enabled=False):
            return loss(batch)

    def projections(self, name: str) -> list[Callable[[], None]]:
        """`project_` of every block whose parameters one objective trains, its own or those of its parts, see
        `deeprl.learning.networks.blocks.Block`; parts before their whole. A learner calls them after each update of the objective; targets
        are not trained, hence not projected."""
        trained = {id(parameter) for parameter in self.objectives[name].parameters}
        modules: list[Any] = [*self.modules()]
        constrained = [module for module in reversed(modules) if hasattr(module, "project_")]
        return [module.project_ for module in constrained if any(id(parameter) in trained for parameter in module.parameters())]

    def infer(self, obs: Tensor, noise: NetworkNoise, *state: Tensor) -> Any:
        """Output of the networks for (M, *obs) when the agent acts: a pure function of parameters, buffers and its arguments. With a core
        it takes the state (M, S) too, and returns output and new state."""
        raise NotImplementedError

    def recalled(self, memory: dict, first: Tensor) -> tuple[Tensor, ...]:
        """State of the core before an observation, (M, S): that of the acting memory, zeros where an episode starts. Without a core ()."""
        if not self.state_size:
            return ()
        state, device = memory.get(CORE), next(self.parameters()).device
        if state is None:
            return (torch.zeros(len(first), self.state_size, device=device),)
        return (torch.where(first.to(device)[:, None], 0.0, state.to(device)),)  # on the CPU after a checkpoint was read

    def act(self, obs: Tensor, first: Tensor, memory: dict, step: int, noise: Noise, explore: bool, infer: Infer = None) -> AgentStep:
        """Actions for (M, *obs).

        Args:
            first: (M,) bool, whether an episode starts.
            memory: that of the last `AgentStep`; {} at first.
            step: environment step, for schedules.
            noise: of this tick, from `act_noise`.
            explore: true while data is collected, false in evaluation.
            infer: used in place of `self.infer`; a learner passes a compiled one.
        """
        raise NotImplementedError

    def device_act(self, obs: Tensor, noise: Noise, rate: Tensor) -> tuple[Tensor, Tensor | None]:
        """What `act` does while data is collected, as a function of tensors on the agent's device: actions for (M, *obs), and their
        probabilities (M,), if a part reads them.

        Args:
            rate: () float64 `exploration_rate`.
        """
        raise NotImplementedError

    def exploration_rate(self, step: int) -> float:
        """What acting takes from a schedule."""
        return 0.0

    def greedy(self, obs: Tensor, *state: Tensor) -> Any:
        """Actions of the policy that the agent has learned, for (M, *obs): (M,) int64, or (M, D) in [-1, 1]. A pure function of parameters,
        buffers and observations. `act` in evaluation takes the same actions, except for what `simplified` lists. With a core it takes the
        state (M, S) too, and returns actions and new state."""
        raise NotImplementedError

    def greedy_values(self, obs: Tensor, *state: Tensor) -> Any:
        """Values of which `greedy` takes the largest, (M, A), if the actions are discrete; with a core the new state too."""
        raise NotImplementedError

    def simplified(self) -> list[str]:
        """What evaluation draws at random and `greedy` does not, one sentence each."""
        return []

    def noise(self, size: tuple[int, ...], generator) -> Noise:
        """Random numbers for updates; `size` is (updates, *B)."""
        return {}

    def act_noise(self, size: tuple[int, ...], generator) -> Noise:
        """Random numbers for acting; `size` is (ticks, M). Those of networks are on the agent's device, the others on the CPU."""
        raise NotImplementedError

    def prepare(self, rollout: Batch) -> dict[str, Tensor]:
        """What the losses need of a whole rollout, computed once before it is learned from: columns (..., L, M) for `batch.extra`.

        Args:
            rollout: with the axes (L, M).
        """
        return {}

    def before_pass(self, number: int) -> bool:
        """Called before each pass over a rollout, counted from 0; it may change the agent.

        Returns:
            Whether to make the pass; if not, the rollout is dropped.
        """
        return True

    def observe(self, rows: Rows) -> None:
        """Accumulate statistics of collected data, without action masks."""
        if self.observers:
            rows = divided_rows(rows, self.spec)
        for observe in self.observers:
            observe(rows)

    @property
    def observes_tensors(self) -> bool:
        """Whether `observe` takes rows that are tensors, see `deeprl.choice.of_tensors`."""
        return all(getattr(observe, "of_tensors", False) for observe in self.observers)

    @property
    def observes_images(self) -> bool:
        """Whether `observe` may read observations, see `deeprl.choice.of_rewards`. That of an agent of one's own may."""
        own = not type(self).observe.__module__.startswith("deeprl.")
        return own or not all(getattr(observe, "of_rewards", False) for observe in self.observers)

    def due(self, update: int) -> tuple[str, ...]:
        """Names of objectives, and "target" for target networks that follow updates, due at an update, counted from 1. They depend on no
        data."""
        return (*self.objectives, "target")

    def after_update(self, due: tuple[str, ...]) -> None:
        """Upkeep that follows the parameters: called after every update, with the names that were due."""

    def tick(self, before: int, after: int) -> None:
        """Called at the end of a tick, after the environment steps (before, after]."""
        ended = self.clock.tick(before, after)
        if ended and (ended := self.clock.with_updates(ended)):
            self.on_period(ended)

    def copies(self) -> dict[str, Callable[[], object]]:
        """Slow copies of other networks by their place in the state, such as "chain.target", each with the call that makes it equal to what
        it copies. A later one may copy an earlier one."""
        return {}

    def on_period(self, ended: tuple[str, ...]) -> None:
        """Called at the end of a tick with the names of the clock's periods that ended in it and had updates."""

    def read(self, metrics: dict[str, Tensor]) -> dict[str, float]:
        """Metrics of an update as numbers, for the log: means over all axes."""
        means = [tensor.contiguous().mean() for tensor in metrics.values()]  # as a restored one is, because strides change the rounding
        return dict(zip(metrics, torch.stack(means).tolist()))  # stacked, because the host waits for the device at every read

    def diagnostics(self, step: int) -> dict[str, float]:
        """Numbers that are logged beside the metrics of updates."""
        return {}

    def learning_rates(self, step: int) -> dict[str, float]:
        """Learning rates by metric name: `train/learning_rate` of the main objective, and one for each other objective."""
        return {
            "train/learning_rate" if name == self.main else f"train/{name}_learning_rate": objective.optimizer.rate(step)
            for name, objective in self.objectives.items()
        }

    def state(self) -> dict:
        """Everything a checkpoint needs: weights, statistics, optimizers and counters."""
        return {
            "module": self.state_dict(),
            "optimizers": {name: o.optimizer.state_dict() for name, o in self.objectives.items()},
            "updates": self.updates,
            "step": self.step,
            "periods": dict(self.clock.at_last_end),
            **({"parts": kept(self.spec.parts)} if self.spec.parts else {}),
        }

    def state_bytes(self) -> int:
        """Upper bound of the size of `state()` in a file; a larger file is refused."""
        tensors = [*self.state_dict().values(), *(t for o in self.objectives.values() for t in o.optimizer.tensors())]
        return 2 * sum(t.numel() * t.element_size() for t in tensors) + (1 << 20)

    def load_state(self, state: dict, optimizers: bool = True) -> None:
        check_kept(state.get("parts", ()), self.spec.parts)
        self.load_state_dict(state["module"])
        if optimizers:
            for name, objective in self.objectives.items():
                objective.optimizer.load_state_dict(state["optimizers"][name])
        self.clock.updates, self.clock.step = int(state["updates"]), int(state["step"])
        if min(self.updates, self.step) < 0:
            raise ValueError(f"an agent cannot have made {self.updates} updates in {self.step} steps")
        self.clock.at_last_end = {name: int(state["periods"][name]) for name in self.clock.at_last_end}
        if not all(0 <= updates <= self.updates for updates in self.clock.at_last_end.values()):
            raise ValueError(f"no period can have ended after {self.clock.at_last_end} of {self.updates} updates")
