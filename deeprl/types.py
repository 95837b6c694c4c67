"""The records that cross module borders. Axis letters are those of docs/architecture.md, section "Axes".

K chained iterations   C reward channels   E critics   B batch (`*B` is B, or T, B for sequences)
A actions              N atoms             D action dimension              M parallel environments
T rows of a sequence   L ticks of a rollout
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

State = dict[str, Any]
"""What a checkpoint holds of a part: numbers, text, lists, dictionaries, arrays and tensors"""


SMALL_IMAGE = 24
"""Pixels of the longer side of an image up to which `agent/torso=auto` takes it for planes of zeros and ones, as MinAtar's are"""


class ObsPart(NamedTuple):
    """One of several parts of an observation, see `deeprl.packing`."""

    name: str
    shape: tuple[int, ...]
    """As networks see it, images with channels first"""
    dtype: torch.dtype
    """In which it is stored: `torch.float32`, or `torch.uint8` for images"""
    image: bool = False
    """Whether a convolutional torso reads it"""
    privileged: bool = False
    """Whether critics alone see it"""
    scaled: bool = True
    """Whether running statistics normalise it; not an image, nor a one-hot vector"""
    stock: bool = False
    """Whether it is that of `deeprl.learning.transforms.stock`, which no name tells: users have names of their own"""
    frame_stack: int = 1
    """Of an image of bytes: frames of which it consists, oldest first and with equally many channels; those before an episode are zeros. A
    replay stores the newest of each observation"""

    @property
    def size(self) -> int:
        return math.prod(self.shape)


class Spec(NamedTuple):
    """Spaces of an environment: all that an agent knows of it."""

    obs_shape: tuple[int, ...]
    """(17,) for vectors, (channels, height, width) for images."""
    obs_dtype: torch.dtype
    """`torch.float32` or, for images, `torch.uint8`."""
    num_actions: int
    """Number of discrete actions; 0 if the actions are continuous."""
    action_dim: int
    """Dimension of a continuous action, each component in [-1, 1]; 0 if the actions are discrete."""
    frame_stack: int = 1
    """Number of leading channels that are consecutive single-channel frames (4 on Atari). A replay may store only the newest
    frame of each observation; frames before the start of an episode are zeros. Of several parts each has its own."""
    masked: bool = False
    """Whether the last `mask_size` columns of an observation are an action mask: 1 where the action is valid, else 0"""
    parts: tuple[ObsPart, ...] = ()
    """Parts of which a row of `obs_shape` consists, in the order of `deeprl.packing`; empty: it is one plain array"""
    choices: tuple[int, ...] = ()
    """Sizes n of the components of an action that are chosen each for itself; choice i is the number 2 i / (n - 1) - 1 of a continuous
    action. (): components are no choices"""
    flags: bool = False
    """Whether the bytes of images are known to be 0 or 1, by the bounds of their space"""

    @property
    def mask_size(self) -> int:
        """Columns of an action mask: the actions, or all choices of all components."""
        return sum(self.choices) or self.num_actions


class Rows(NamedTuple):
    """One tick of M environments, from the collector to the replay and to `Agent.observe`. NumPy arrays, raw rewards. Of a rollout on
    the device `Agent.observe` gets tensors there, if its parts take them (`deeprl.choice.of_tensors`)."""

    obs: np.ndarray
    """(M, *obs)"""
    action: np.ndarray
    """(M,) int64 or (M, D) float32 in [-1, 1]"""
    reward: np.ndarray
    """(M,) float32, unclipped"""
    next_obs: np.ndarray
    """(M, *obs); the true last observation where the episode ended, never the one after a reset"""
    terminated: np.ndarray
    """(M,) bool: no bootstrap"""
    ended: np.ndarray
    """(M,) bool: episode boundary after this step, for any cause. A lost life may be terminated without ended."""
    probability: np.ndarray
    """(M,) float32: probability with which the behaviour took the action; a constant where no part of the agent reads it"""
    state: np.ndarray = np.zeros((1, 0), np.float32)
    """(M, S) float32: `AgentStep.state`; S is 0 without a core"""


class Series(Rows):
    """Successive rows of one environment, from data to `Agent.observe`, in place of one tick of M. The next series goes on where this one
    stops, unless its last row `ended`."""

    __slots__ = ()


class Goals(NamedTuple):
    """How the goal of a transition is exchanged for another one. Goals are rows (B, G) float32."""

    achieved: slice
    """Columns of an observation (obs,) that hold the goal which is achieved there"""
    desired: slice
    """Those that hold the goal which is sought"""
    reward: Callable[[np.ndarray, np.ndarray], np.ndarray]
    """Achieved after a step, and desired -> raw rewards (B,)"""
    terminated: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    """The same -> whether the step terminates (B,) bool; None: as it did with the goal of then"""


Noise = dict[str, Any]
"""Random numbers by name: tensors, or records and dictionaries of them"""


class NetworkNoise(NamedTuple):
    """The random numbers of one evaluation of a value network."""

    layers: dict[str, Tensor]
    """Standard normal numbers of noisy layers, the same for the whole batch"""
    fractions: dict[str, Tensor]
    """Inputs of an implicit quantile head, (*B, n): "policy", and "samples" for predictions and targets """


QUIET = NetworkNoise({}, {})
"""Noise of an evaluation without random numbers"""


class ViewNoise(NamedTuple):
    """The random numbers of one network at both ends of a batch."""

    now: NetworkNoise = QUIET
    next: NetworkNoise = QUIET


class Batch(NamedTuple):
    """Transitions of an update, from the replay to an agent. Every target is `reward + discount * value`: discount factor, termination,
    truncation and n-step sums are computed in `deeprl/replay/` alone: `Ring.append` stores 1 − terminated, and `Transitions.batch`
    (gather.py; n > 1: `fold`), `SequenceWindows.batch` and `Rollout.whole` multiply it by γ; `hindsight` computes it anew for its goals."""

    obs: Tensor
    """(*B, *obs)"""
    action: Tensor
    """(*B,) int64 or (*B, D)"""
    reward: Tensor
    """(*B,) or (C, *B): sum over m <= n steps, each reward transformed first"""
    discount: Tensor
    """(*B,): gamma ** m * (1 - terminated at the last of the m steps); 0 on rows that are not `valid`. A time limit alone does not make
    it 0; with the need "restart" neither does a termination."""
    next_obs: Tensor
    """(*B, *obs), m steps later; with the need "restart", after a termination the first observation of the next episode"""
    steps: Tensor
    """(*B,) int64: m"""
    ended: Tensor
    """(*B,) bool: episode boundary after one of the m steps; in sequences and rollouts m = 1"""
    valid: Tensor
    """(*B,) bool: false on rows of a sequence that are not transitions"""
    weight: Tensor
    """(*B,): importance weight, ones for uniform replay"""
    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which is not used
    """(*B,) int64: number of the transition, tick · M + environment, for `Source.priorities`; -1 where not `valid`; on the CPU"""
    noise: Noise
    """All random numbers of the update, drawn outside: a `ViewNoise` each under "online" and "target", and what the agent's `noise` adds by
    name"""
    extra: dict[str, Tensor]
    """Fields by declared needs: "successor" (the observation one step later), "terminated" (whether the first step terminated), "restart"
    (whether the last step terminated), "behavior_probability", "state" (B, S), that of the core before the first row of sequences or of a
    rollout (T, B), and with it, if rows come before that serve the core alone, their observations "burn_in" (T', B, *obs), actions
    "burn_in_action" and whether a row is the last of its episode, "burn_in_ends" (T', B) bool. An agent adds the masks (*B, A) bool that it
    divides from observations, "valid" and "next_valid"; one with critics the log density of the next action, "next_log_prob", and beside a
    successor the normalized observation without the action, "observed" """


class AgentStep(NamedTuple):
    """Result of `Agent.act`."""

    action: Tensor
    """(M,) int64 or (M, D)"""
    probability: Tensor
    """(M,): probability of the action under the behaviour policy; a constant if no part of the agent reads it"""
    memory: dict[str, Any]
    """Argument of the next call, because agents keep no state between calls: tensors (M, ...), in dictionaries"""
    value: Tensor | None = None
    """(M,): in evaluation, value of the action by the network that acts, in units of the learned rewards; None if it was not computed"""
    gap: Tensor | None = None
    """(M,): in evaluation with discrete actions, the best value minus the second"""
    state: Tensor | None = None
    """(M, S): state of the core before this observation, zeros where an episode starts; None without a core"""


class Report(NamedTuple):
    """Report of one update. The caller decides when to read a number, because that waits for the device."""

    error: Tensor
    """Of the main objective: (*B,), see `Term.error`; it becomes the priority. Of another one: a tensor that is finite where the loss is"""
    metrics: dict[str, Tensor]
    """See `Term.metrics`, without gradient"""
    statistics: dict[str, Tensor] = {}  # noqa: RUF012 (never changed in place; torch.func takes no read-only mapping)
    """See `Term.statistics`; empty once the learner has stored them"""


@dataclass(frozen=True)
class Term:
    """A term of a loss, with what belongs to it. Terms are added: losses as numbers, metrics and statistics by name. The error is that of
    the first term which has one."""

    loss: Tensor | float = 0.0
    """(), a pure function of parameters, buffers and batch"""
    metrics: dict[str, Tensor] = field(default_factory=dict)
    """Numbers for the log, of any shape; their gradient is cut off"""
    statistics: dict[str, Tensor] = field(default_factory=dict)
    """New values of the agent's buffers, by name: running statistics that the loss returns, because it is pure. The learner stores them"""
    error: Tensor | None = None
    """Of the main objective: |target - prediction| (*B,) in ordinary units, mean over K, largest over an ensemble. Of another one: any
    tensor that is finite where the loss is, because the learner checks it; None: the loss"""

    def __add__(self, other: Term) -> Term:
        if other is NO_TERM:  # no addition of 0 and its gradient, which every update would pay for
            return self
        return Term(
            self.loss + other.loss,
            {**self.metrics, **other.metrics},
            {**self.statistics, **other.statistics},
            other.error if self.error is None else self.error,
        )

    def report(self) -> Report:
        """What is left when the gradient has been taken."""
        error = torch.as_tensor(self.loss) if self.error is None else self.error
        return Report(error.detach(), {name: value.detach() for name, value in self.metrics.items()}, self.statistics)


NO_TERM = Term()
"""Of parts that add nothing"""
