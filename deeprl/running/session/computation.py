"""How a run computes: its mode, the product of its matrices, its threads, and the learner that follows from them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch

from deeprl.errors import ConfigError
from deeprl.learning.agent import Agent
from deeprl.learning.networks.blocks import Block
from deeprl.running.accelerate import modes
from deeprl.running.accelerate.graph import has_compiler
from deeprl.running.runs.config_file import Config
from deeprl.running.runs.folder import RunFolder
from deeprl.running.session.needs import can_compile, require_compiler
from deeprl.running.training.learner import CompiledLearner, Learner
from deeprl.system.ranks import Ranks
from deeprl.system.terminal import say
from deeprl.types import Batch

MACHINE_THREADS = torch.get_num_threads()
"""Number of threads that torch chose, before any run of this process changes it."""
UNROLLED = 32
"""Rows of a sequence up to which `accelerate=auto` compiles the unroll of a core, because each row is code of its own. With 16 rows R2D2
makes 482 steps a second, in place of 142, after 39 s of compilation: `deeprl check agent=r2d2 env=classic/cartpole_positions
replay.length=16 runtime.threads=1 accelerate=compiled`, and `fast`."""
WORTH_THREADS = 256
"""Width of a layer from which several threads are used. They make smaller networks slower, and much slower when the cores are busy."""


def go_on_without_compiler(config: Config, resumed: bool) -> None:
    """Replace the compiled mode of a run that has a checkpoint, on a machine that has no compiler, because a job that is queued again
    cannot choose its machine. Ranks must have one mode, so that theirs stays."""
    if resumed and config["accelerate"]["mode"] == "compiled" and not can_compile(config):
        say("this machine has no C++ compiler, so this run goes on with accelerate=fast: from here on its last bits may differ")
        config["accelerate"]["mode"] = "fast"


def decide_computation(config: Config, agent: Agent, updates: int, on_device: bool = False) -> bool:
    """Decide `accelerate.mode`, `accelerate.matmul_precision` and the number of threads by fixed rules, and write them into the
    configuration. A resumed run reads them there.

    Args:
        updates: of the whole run.
        on_device: whether rollouts are collected on the device, so that their batches have many rows.

    Returns:
        Whether the mode was chosen here. Such a mode may be replaced if it does not work.

    Raises:
        ConfigError: the mode or the product is unknown, or the mode needs a compiler and this machine has none.
    """
    chosen = config["accelerate"]
    automatic = chosen["mode"] == "auto"
    if automatic:
        chosen["mode"], _ = automatic_mode(config, agent, updates, on_device)
    if chosen.get("matmul_precision", "auto") == "auto":
        stack = max((getattr(block, "n", 1) for block in blocks_of(agent)), default=1)
        rows = config["replay"]["length"] * config["env"]["num"] // config["replay"]["minibatches"] if on_device else 1
        on_cpu = str(config["device"]).startswith("cpu")
        chosen["matmul_precision"] = modes.product(stack, widest(agent), rows=rows) if on_cpu else "highest"
    try:
        modes.apply(agent, modes.form(config))
        modes.set_products(agent, chosen["matmul_precision"])
    except ValueError as error:
        raise ConfigError(str(error)) from error
    require_compiler(config)
    if config["runtime"]["threads"] is None:
        config["runtime"]["threads"] = MACHINE_THREADS if widest(agent) >= WORTH_THREADS else 1
    return automatic


def automatic_mode(config: Config, agent: Agent, updates: int, on_device: bool) -> tuple[str, str]:
    """Mode that `accelerate=auto` takes, and the reason. Arguments are those of `decide_computation`."""
    rows = config["replay"].get("length", 1) + config["replay"].get("burn_in", 0)
    long = f"the unroll of {rows} rows, more than {UNROLLED}, compiles for minutes" if agent.state_size and rows > UNROLLED else ""
    obstacle = long if has_compiler() else "there is no C++ compiler"
    return modes.choose(updates, str(config["device"]), obstacle, config["steps"] // config["env"]["num"] if on_device else 0)


@contextlib.contextmanager
def computing_as(agent: Agent, config: Config) -> Iterator[None]:
    """Compute like the run of a configuration, whatever other run this process has read since: threads, and on CUDA the precision, belong
    to the process, and give other last bits."""
    threads = torch.get_num_threads()
    modes.compute_as(agent, config)
    torch.set_num_threads(config["runtime"]["threads"] or 1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def blocks_of(agent: Agent) -> list[Block]:
    return [module for module in agent.modules() if isinstance(module, Block)]


def widest(agent: Agent) -> int:
    """Width of the agent's widest layer, inputs included."""
    return max((max(getattr(block, "sizes", (1,))) for block in blocks_of(agent)), default=1)


def learner_for(config: Config, agent: Agent, batch: Callable[[Any], Batch], folder: RunFolder, automatic: bool, ranks: Ranks) -> Learner:
    """The learner for `accelerate.mode`, which `decide_computation` has decided.

    Args:
        batch: function from a draw of the replay to a batch.
        folder: run folder. Its config.yaml is written again if an automatic mode does not work.
        automatic: whether `decide_computation` chose the mode.
    """
    chosen = config["accelerate"]
    if chosen["mode"] != "compiled":
        return Learner(agent, batch, ranks)

    gpu = modes.on_gpu(config)
    other = "reference" if gpu else "fast"

    def failed(error: Exception) -> None:
        how = "recorded as a CUDA graph" if gpu else "compiled"
        why = (str(error).strip().splitlines() or [""])[0]
        say(f"the update could not be {how} ({type(error).__name__}: {why}), so this run goes on with accelerate={other}")
        chosen["mode"] = other
        modes.apply(agent, other)
        if ranks.first:
            folder.write_config(config)

    return CompiledLearner(agent, batch, failed if automatic or gpu else None, ranks=ranks)
