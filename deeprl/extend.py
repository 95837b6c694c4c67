"""The contract with everything that extends deeprl: a paper, a torso, a rule of exploration, a sampler, an environment.

A package of one's own imports from `deeprl` nothing but these names. What a name promises stands in its docstring, and changes only with a
deprecation: one release warns and takes the old form too. The files behind the names may move at any time.
"""

from deeprl.choice import Choice, Part, counts, in_range, one_of
from deeprl.envs.stock import WithStock
from deeprl.envs.vector.actions import Actions
from deeprl.envs.vector.backend import Game
from deeprl.envs.vector.choice import EnvChoice
from deeprl.envs.vector.observations import Frames
from deeprl.envs.vector.tensors import TensorChoice
from deeprl.envs.vector.worlds import TensorWorld
from deeprl.errors import ConfigError
from deeprl.learning.agent import Agent, Infer
from deeprl.learning.backups.bellman import Max
from deeprl.learning.backups.policies import epsilon_greedy, greedy
from deeprl.learning.backups.traces import Step, Trace
from deeprl.learning.networks.blocks import Block
from deeprl.learning.networks.copies import Copies
from deeprl.learning.networks.cores import Core, CoreChoice
from deeprl.learning.networks.heads import HeadChoice, Scalar
from deeprl.learning.networks.layers import Init
from deeprl.learning.networks.mlp import MLP
from deeprl.learning.networks.torsos import TorsoChoice, widths
from deeprl.learning.objective import Objective
from deeprl.learning.optim.flat import Flat
from deeprl.learning.parts.auxiliary import Auxiliary
from deeprl.learning.parts.chains import Chain, MakeNetwork, follow_, roll_
from deeprl.learning.parts.exploration import (
    ActorExploration,
    Explored,
    Memory,
    Policy,
    Tick,
    ValueExploration,
    certain,
    epsilon_greedy_action,
)
from deeprl.learning.parts.improvement import ActorView, Improvement
from deeprl.learning.parts.intrinsic import Intrinsic
from deeprl.learning.parts.rate import Rate
from deeprl.learning.parts.state_value import StateValue
from deeprl.learning.parts.weighting import Weighting
from deeprl.learning.parts.window import Window
from deeprl.learning.plan import Plan
from deeprl.learning.policy_gradient import PlainGradient, RolloutLosses, Surrogate
from deeprl.learning.transforms.channels import check_single
from deeprl.learning.transforms.rewards import Raw
from deeprl.learning.values.losses import average, squared
from deeprl.learning.values.mapping import Mapping
from deeprl.learning.values.masked import MaskedValues
from deeprl.learning.values.reduce import Reduction
from deeprl.learning.values.returns import Returns, Values
from deeprl.learning.values.scalar import ScalarValues
from deeprl.learning.values.utility import Utility
from deeprl.learning.values.view import EntriesView, View
from deeprl.noise import NoiseStream, seed_sequence
from deeprl.packing import pack, packed_spec
from deeprl.replay.replay import Replay
from deeprl.replay.samplers import Draws, Live, Sampler
from deeprl.replay.source import Source, steady
from deeprl.running.runs.logger import Logger, LoggerChoice
from deeprl.schedules import Constant
from deeprl.types import AgentStep, Batch, Goals, ObsPart, Rows, Series, Spec, Term

__all__ = [  # noqa: RUF022 (grouped by what they are for)
    # What a configuration names; checks of its fields, whose message names the field
    "Choice", "Part", "in_range", "one_of", "counts", "widths", "ConfigError",
    # Records that cross borders
    "Spec", "Rows", "Series", "Batch", "AgentStep", "Term",
    # A Bellman operator takes views of two networks and a batch, and gives returns; a trace takes steps of sequences
    "View", "EntriesView", "Returns", "Trace", "Step", "Max", "greedy", "epsilon_greedy",
    # Values that a head predicts, the units of a prediction, distances
    "Values", "ScalarValues", "MaskedValues", "Mapping", "Reduction", "squared", "average", "Utility",
    # Parts that an agent owns, built from its plan
    "Plan", "Chain", "Window", "MakeNetwork", "follow_", "roll_", "Weighting", "Auxiliary", "Rate", "Objective", "Improvement", "ActorView",
    "StateValue", "Flat", "RolloutLosses", "PlainGradient", "Surrogate", "Intrinsic",
    # A rule of exploration: ticks in, actions with their probabilities out
    "ValueExploration", "ActorExploration", "Tick", "Policy", "Memory", "Explored", "epsilon_greedy_action", "Constant",
    # Networks with a stack axis, of blocks that say how each parameter begins; a core remembers between torso and head
    "TorsoChoice", "Copies", "MLP", "Block", "Init", "HeadChoice", "Scalar", "Core", "CoreChoice",
    # A sampler chooses among live transitions
    "Sampler", "Draws", "Live",
    # A source says when, and from what, is learned; a stream of random numbers has a position, which its checkpoint keeps
    "Source", "steady", "Replay", "NoiseStream",
    # An agent from scratch, without networks if it likes
    "Agent", "Infer", "Raw", "check_single", "certain", "seed_sequence",
    # A destination of log lines
    "Logger", "LoggerChoice",
    # An environment
    "EnvChoice", "Game", "Goals", "Actions", "ObsPart", "packed_spec", "pack", "Frames", "WithStock",
    # An environment of which all copies step as one operation on tensors
    "TensorChoice", "TensorWorld",
]  # fmt: skip
