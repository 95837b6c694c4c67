"""The slot `learner`: one process learns, or several that torchrun starts learn together.

W ranks with M environments each are one run with W · M environments. Steps count over all ranks, so that a tick adds W · M of them.
Periods, schedules, `replay.learning_starts` and `replay.ratio` are in these steps. An update has one batch of `replay.batch_size`: each
rank draws its part from its own shard of the replay, and the mean of the ranks' gradients is the gradient of the whole batch (of
sequences, whose parts may have different numbers of valid rows, it is the mean of the parts' means). The mean is taken before clipping.
Every rank then makes the same update of the same weights, bit for bit.

What a loss computes over its batch beside a mean (batch statistics, PPO's normalised advantages, the largest importance weight, the
square of a mean in the loss of DVW's log η) is computed over the rank's part, as data parallelism commonly does.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from deeprl.choice import Choice, in_range, one_of
from deeprl.errors import ConfigError
from deeprl.learning.agent import Agent
from deeprl.replay.source import Source
from deeprl.running.config.instantiate import Allowed, instantiate
from deeprl.running.runs.config_file import Config
from deeprl.system.ranks import Ranks, TorchrunRanks, digest
from deeprl.system.torchrun import place


@dataclass(frozen=True)
class Single(Choice):
    """One process."""

    def join(self, device: str, home: Path | None) -> Ranks:
        """
        Raises:
            ConfigError: torchrun started several processes.
        """
        size = place()[1]
        if size > 1:
            raise ConfigError(
                f"learner=single is one process, but torchrun started {size}: add learner=distributed, or leave torchrun out."
            )
        assert home is not None
        return Ranks(home)


@dataclass(frozen=True)
class Distributed(Choice):
    """Several processes.

    Args:
        backend: of `torch.distributed`, for tensors on the device; null: nccl on CUDA, else gloo. Numbers on the CPU always go by gloo.
        timeout: longest wait for another rank, in minutes. A rank that ends is noticed at once, so this is for one that hangs. It must
            cover the writing of a checkpoint and the time to compile.
    """

    backend: str | None = None
    timeout: float = 30.0

    def __post_init__(self):
        one_of(self, backend=(None, "gloo", "nccl"))
        in_range(self, timeout=(0.1, None))

    def join(self, device: str, home: Path | None) -> TorchrunRanks:
        """Wait for the other ranks.

        Raises:
            ConfigError: torchrun did not start this process, or the device is none that every rank has one of.
            RankError: not all ranks came.
        """
        if not place()[1]:
            raise ConfigError(
                "learner=distributed needs torchrun, which starts the processes: "
                "torchrun --nproc-per-node=2 train.py learner=distributed …, or torchrun --nproc-per-node=2 -m deeprl resume RUN."
            )
        backend = self.backend or ("nccl" if device.startswith("cuda") else "gloo")
        if device.startswith("cuda"):
            count, own = torch.cuda.device_count(), int(os.environ.get("LOCAL_RANK", 0))
            if device != "cuda" or own >= count:
                raise ConfigError(f"device={device}: every rank has a GPU of its own, device=cuda, and this machine has {count}.")
            torch.cuda.set_device(own)
        return TorchrunRanks("gloo" if backend == "gloo" else "cpu:gloo,cuda:nccl", self.timeout, home)


def join(config: Config, home: Path | None, allowed: Allowed = None) -> Ranks:
    """The processes of a run, once all have come.

    Args:
        home: the run folder; None on all ranks but the first.

    Raises:
        ConfigError: `learner` and the command that started this process do not go together.
        RankError: not all ranks came.
    """
    found = instantiate(config["learner"], "learner", allowed)
    if not isinstance(found, Single | Distributed):
        raise ConfigError(f"learner._target_={config['learner'].get('_target_')!r:.100} is no choice of learners.")
    return found.join(str(config["device"]), home)


SHARED = ("batch_size", "capacity")
"""Keys of a source that count what all ranks have together. A rollout has neither: its length is in ticks"""


def shard(settings: Config, ranks: Ranks) -> dict[str, int]:
    """Arguments of a rank's part of the source, in place of those of the whole.

    Args:
        settings: the node `replay`.

    Raises:
        ConfigError: the batch cannot be divided.
    """
    batch = settings.get("batch_size", 0)
    if batch % ranks.size:
        raise ConfigError(f"replay.batch_size={batch} cannot be divided among {ranks.size} ranks: choose a multiple of {ranks.size}.")
    return {key: settings[key] // ranks.size for key in SHARED if key in settings and ranks.size > 1}


def refuse(config: Config, agent: Agent, source: type[Source], ranks: Ranks) -> None:
    """
    Raises:
        ConfigError: the ranks of this run would have different agents, or other times of updates.
    """
    if ranks.size == 1:
        return
    if not agent.objectives:
        raise ConfigError(f"learner=distributed needs gradients, and agent={config['names']['agent']} plans without: leave torchrun out.")
    if any(objective.step is not None for objective in agent.objectives.values()):
        raise ConfigError(
            f"learner=distributed averages gradients, and agent={config['names']['agent']} makes steps of its own: leave torchrun out."
        )
    if source.draws_lengths:
        raise ConfigError(
            f"replay={config['names']['replay']} draws after how many steps an update is due, each of the {ranks.size} ranks its own, and "
            "none could wait for the others: leave torchrun out."
        )
    if config["accelerate"]["mode"] == "compiled" and str(config["device"]).startswith("cuda"):
        raise ConfigError("accelerate=compiled is for one GPU: use accelerate=reference with learner=distributed.")
    alone = [module for module in agent.modules() if getattr(module, "of_one_process", False)]
    for part in (*(getattr(observe, "__self__", agent) for observe in agent.observers), *alone):
        if not getattr(part, "keeps_statistics", True):
            continue
        key = next((f"agent/{slot}" for slot, module in agent.named_children() if module is part), "agent")
        raise ConfigError(
            f"{key} ({type(part).__name__}) keeps statistics of the collected data, which would differ between the ranks of "
            f"learner=distributed: choose another option, `deeprl list {key}` shows them."
        )


def require_same_weights(ranks: Ranks, agent: Agent) -> None:
    """
    Raises:
        RankError: the ranks have different weights or optimizers.
    """
    if ranks.size > 1:
        moments = [tensor for objective in agent.objectives.values() for tensor in objective.optimizer.tensors()]
        ranks.require_same("the weights", digest([*agent.state_dict().values(), *moments]))


def require_same_data(ranks: Ranks, source: Source) -> None:
    """Each rank finds the last checkpoint of `replay.data` by itself, and a run that goes on may write another one in between.

    Raises:
        RankError: the ranks have different stored transitions.
    """
    if ranks.size > 1:
        remedy = "replay.data names the last checkpoint of a run that goes on; name a step, replay.data=RUN@STEP"
        ranks.require_same("the transitions of replay.data", str(source.provenance.get("digest")), remedy)
