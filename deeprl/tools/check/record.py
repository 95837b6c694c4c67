"""Record of a check: what a run would be, and what was measured of it. Numbers only; `suspicions` and `page` turn them into sentences."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from deeprl.learning.networks.torsos import TorsoChoice
from deeprl.running.runs.config_file import Config
from deeprl.running.session.prospect import Prospect, Target
from deeprl.system.strict_json import JsonObject


class NetworkSize(NamedTuple):
    name: str
    """Place in the agent, as `chain.online`"""
    parameters: int
    trained: int
    """Parameters that a loss trains"""


class Decision(NamedTuple):
    """What an automatic setting chose."""

    key: str
    value: str
    why: str


@dataclass(frozen=True)
class Environment:
    observation: str
    actions: str
    layers: tuple[str, ...]
    """Wrappers, from the outermost to the environment itself"""
    limit: int | None
    """Steps after which an episode is truncated"""
    reward_range: tuple[float, float] | None
    num: int
    vector: str


@dataclass(frozen=True)
class Memory:
    """In bytes."""

    weights: int
    """Parameters and statistics of the agent"""
    optimizer: int
    replay: int
    """Of a full replay"""
    rows: int
    """That a full replay holds"""
    collects: bool
    """Whether they are the run's own: those of stored data are there from the start"""
    process: int
    """Largest resident size of this process while it measured, with the rows of that time only"""
    workers: int | None
    """Resident size of all environment workers; None: there are none, or it is not known"""
    device: int | None
    """Largest allocation on a GPU while it measured; None on a CPU"""
    available: int | None
    """Free memory of the machine before the measurement"""
    device_available: int | None
    checkpoint: int
    """A checkpoint without the rows of the replay"""
    disk: int
    """All checkpoints that are kept, with a full replay if they hold one"""
    disk_available: int
    replay_device: str = "cpu"
    """Where the rows of the replay lie"""


@dataclass(frozen=True)
class Speed:
    """Of the training loop, after everything was compiled. Parts are in seconds within the measured window."""

    startup: float
    """Seconds before the window: first rows, first updates, compiling"""
    compiling: float
    """Seconds of the startup that its calls took above what the same calls took in the window"""
    seconds: float
    steps: int
    updates: int
    environment: float
    acting: float
    replay: float
    """Of storing rows"""
    drawing: float
    """Of drawing batches and updating priorities"""
    update: float
    """Gradient updates"""
    busy: float
    """Processor time of this process; less than `seconds` if it waited for other processes, workers, a disk or a GPU"""

    @property
    def rest(self) -> float:
        """Noise, statistics, log lines, and the loop itself."""
        return max(self.seconds - self.environment - self.acting - self.replay - self.drawing - self.update, 0.0)

    @property
    def step(self) -> float:
        """Seconds of an environment step without updates."""
        return (self.environment + self.acting + self.replay + self.rest) / self.steps

    @property
    def each_update(self) -> float:
        """Seconds of an update with the draw of its batch."""
        return (self.update + self.drawing) / self.updates


@dataclass(frozen=True)
class Evaluating:
    setup: float
    """Seconds to make and reset the environments"""
    tick: float
    """Seconds of one step of all environments side by side"""
    num: int
    """Environments side by side"""


@dataclass(frozen=True)
class Seen:
    """Statistics of the measured steps. The policy is untrained."""

    rows: int
    episodes: int
    length: float | None
    """Mean length of episodes; None: no episode ended"""
    returned: float | None
    """Mean return, of raw rewards"""
    reward_low: float
    reward_high: float
    reward_size: float
    """Mean absolute reward, as it is learned from"""
    reward_largest: float
    """Largest absolute reward, as it is learned from"""
    entries: int
    """Numbers in an observation; 0 for images"""
    constant: int
    """Entries that kept one value other than 0, after `agent/normalize`"""
    largest: float
    """Largest absolute entry, after `agent/normalize`"""


@dataclass(frozen=True)
class Record:
    config: Config
    """As config.yaml would hold it"""
    tuned: str | None
    """File of the tuned settings that apply"""
    system: JsonObject
    """Versions and hardware, as in system.json, and `cores` and `driver`"""
    decisions: tuple[Decision, ...]
    environment: Environment
    networks: tuple[NetworkSize, ...]
    memory: Memory
    updates: int
    """Gradient updates that the whole run makes"""
    targets: tuple[Target, ...]
    support: tuple[float, float] | None
    """Smallest and largest return that the head represents; None: any, or in other units than rewards"""
    without_discount: bool
    """The agent learns the rate of reward, without a discount"""
    sequences: bool
    """The agent learns from sequences of `replay.length`"""
    imitates: bool
    """The agent learns the policy of its data, and has none but its own steps"""
    speed: Speed
    evaluating: Evaluating
    checkpoint_seconds: float
    seen: Seen
    first_phase: tuple[str, int] = ("", 0)
    """See `Agent.first_phase`"""
    torsos: Mapping[str, TorsoChoice] = field(default_factory=dict)
    """See `Prospect.torsos`"""
    asked: Collection[str] = frozenset()
    """Keys that the user set"""

    @property
    def prospect(self) -> Prospect:
        """What of it no measurement tells, but for the length of episodes."""
        at = self.memory
        return Prospect(
            self.config, self.updates, self.targets, self.without_discount, self.sequences, self.environment.limit, at.replay, at.available,
            at.disk, at.disk_available, self.system["cores"], self.imitates, self.seen.length,
            self.torsos, self.asked,
        )  # fmt: skip


@dataclass(frozen=True)
class Forecast:
    """Duration of the run, in seconds."""

    steps: int
    training: float
    """Steps, updates and startup"""
    evaluation: float
    """All evaluations, with episodes as long as those seen, or else at the time limit"""
    evaluation_most: float
    """With episodes at the time limit, if it is known"""
    evaluations: int
    checkpoint: float
    checkpoints: int

    @property
    def total(self) -> float:
        return self.training + self.evaluation + self.checkpoint

    @property
    def most(self) -> float:
        return self.training + self.evaluation_most + self.checkpoint


def forecast(record: Record) -> Forecast:
    """Duration of the run by what was measured.

    training  =  startup + steps · (seconds of a step) + updates · (seconds of an update)
    an evaluation  =  setup + ⌈episodes / num⌉ · length · (seconds of a tick)
    """
    config, speed = record.config, record.speed
    num = config["env"]["num"]
    steps = -(-config["steps"] // num) * num
    training = speed.startup + steps * speed.step + record.updates * speed.each_update
    every, episodes = config["evaluation"]["every"], config["evaluation"]["episodes"]
    between = (steps - 1) // every if every else 0
    counts = [(between, episodes), (1, config["evaluation"]["final_episodes"])]
    usual, most = ([record.seen.length, record.environment.limit], [record.environment.limit, record.seen.length])

    def evaluation(lengths: list[float | None]) -> float:
        length = next((each for each in lengths if each is not None), 1000.0)  # one must be taken where nothing is known
        return sum(
            times * (record.evaluating.setup + -(-wanted // min(config["evaluation"]["num"], wanted)) * length * record.evaluating.tick)
            for times, wanted in counts
        )

    period = config["checkpoint"]["every"]
    saved = ((steps - 1) // period if period else 0) + 2  # before and after the last evaluation
    return Forecast(steps, training, evaluation(usual), evaluation(most), between + 1, saved * record.checkpoint_seconds, saved)
