"""Report of an update that produced NaN or Inf: the first faulty tensor, and a bundle from which the update can be repeated.

On a CPU every update is checked before it is applied. On another device a check waits for the device. There the trainer checks every
`CHECK_PERIOD` updates and before every evaluation and checkpoint, and no weight changes after the failing update
(`deeprl.learning.optim.finite`).

    crash/step_<12 digits>/   a checkpoint folder (safetensors and JSON) with the parts `agent`, `batch` and `failure`, and config.yaml

`agent` holds weights, targets, statistics and moments, `batch` the batch with its noise. On a CPU these are exactly those of the failing
update. Elsewhere `batch` is the first batch, among the last `CHECK_PERIOD`, that fails with the frozen weights; target networks and
statistics may be up to `CHECK_PERIOD` updates newer. A batch with rows that were overwritten in the replay since is not among them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from deeprl.errors import CheckpointError, RunFolderError
from deeprl.learning.agent import Agent
from deeprl.noise import map_tensors
from deeprl.running.accelerate.modes import PRODUCTS
from deeprl.running.runs.checkpoint import DAMAGE, load, save
from deeprl.running.runs.folder import RunFolder
from deeprl.running.training.learner import gradient
from deeprl.system.files import own_folder
from deeprl.types import Batch, NetworkNoise, ObsPart, Spec, ViewNoise

CHECK_PERIOD = 16
"""Updates between two checks on a device other than the CPU. Their batches are kept, on Atari 1.8 MB each."""

# ---- the first faulty tensor


def describe(name: str, tensor: Tensor) -> str:
    """Description of a fault, such as: batch.reward: 2 of 32 entries are not finite, the first is nan at [4]"""
    wrong = ~torch.isfinite(tensor)
    at = wrong.nonzero()[0].tolist()
    return f"{name}: {int(wrong.sum())} of {tensor.numel()} entries are not finite, the first is {tensor[tuple(at)].item()} at {at}"


def leaves(value: object, name: str) -> Iterator[tuple[str, Tensor]]:
    """The tensors in nested dicts, tuples and small objects such as `Values`, with their names."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, f"{name}.{key}")
    elif hasattr(value, "_asdict"):
        yield from leaves(value._asdict(), name)
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from leaves(item, f"{name}[{i}]")
    elif type(value).__module__.startswith("deeprl") and not isinstance(value, torch.nn.Module) and hasattr(value, "__dict__"):
        yield from leaves(vars(value), name)


def first_fault(tensors: Iterable[tuple[str, Tensor]]) -> str | None:
    """The description of the first tensor that is not finite."""
    for name, tensor in tensors:
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            return describe(name, tensor)
    return None


def weights_fault(agent: Agent) -> str | None:
    """Description of a parameter that is not finite, or of a statistic or target that is NaN; None if there is none."""
    parameters, device = {name for name, _ in agent.named_parameters()}, next(agent.parameters()).device
    state = {name: tensor for name, tensor in agent.state_dict().items() if tensor.is_floating_point()}
    wrong = [(~torch.isfinite(tensor) if name in parameters else tensor.isnan()).any().to(device) for name, tensor in state.items()]
    for name, found in zip(state, torch.stack(wrong).tolist()):  # stacked, because the host waits for the device at every read
        if found:
            return describe(f"weights {name}", state[name])
    return None


def fault(agent: Agent, batch: Batch, objective: str) -> str | None:
    """Compute the gradient of one objective again and describe the first tensor that is not finite, in the order of cause: the batch, the
    weights, the output of each module, the loss, the gradients. None if all are finite."""
    found = first_fault(leaves(batch, "batch")) or weights_fault(agent)
    if found:
        return found
    outputs: list[str | None] = []

    def hook(name: str):
        return lambda module, arguments, output: outputs.append(first_fault(leaves(output, f"output of {name}")))

    handles = [module.register_forward_hook(hook(name)) for name, module in agent.named_modules() if name]
    try:
        with torch.no_grad():
            term = agent.loss_of(objective, batch)
    finally:
        for handle in handles:
            handle.remove()
    outputs.append(first_fault(leaves(term, f"output of the loss {objective!r}")))
    gradients, _ = gradient(agent, objective, batch)
    names = {id(parameter): name for name, parameter in agent.named_parameters()}
    trained = [names.get(id(p), "a parameter") for p in agent.objectives[objective].parameters]
    computed = first_fault((f"gradient of {name}", tensor) for name, tensor in zip(trained, gradients))
    found = next(filter(None, outputs), computed)
    if found:
        return found
    norms = torch.stack(torch._foreach_norm(list(gradients)))
    if not torch.linalg.vector_norm(norms).isfinite():
        name, largest = max(zip(trained, gradients), key=lambda pair: float(pair[1].abs().max()))
        return f"gradient of {name}: every entry is finite, the largest is {float(largest.abs().max()):.3g}, but their norm overflows"
    return None


def locate(agent: Agent, batches: Sequence[Batch]) -> tuple[Batch, str | None, str | None]:
    """The first of several batches with which an objective fails, the objective, and the description; the last batch if none fails."""
    for batch in batches:
        for objective in agent.objectives:
            found = fault(agent, batch, objective)
            if found:
                return batch, objective, found
    return batches[-1], None, None


# ---- the bundle


def write(folder: RunFolder, config: dict, agent: Agent, batch: Batch | None, failure: dict) -> Path:
    """Save a bundle in `crash/` of a run folder and return its own folder."""
    rank = failure.get("rank", 0)
    bundle = folder.path / "crash" / (f"step_{failure['step']:012d}" + (f"_rank{rank}" if rank else ""))
    try:
        own_folder(bundle.parent)
    except OSError as error:
        raise RunFolderError(
            f"{bundle.parent}: {error.strerror}: remove it, and the bundle of this failure can be written there"
        ) from error
    save(bundle, {"agent": agent.state(), "batch": batch and batch._asdict(), "failure": {**failure, "spec": words_of(agent.spec)}})
    RunFolder(bundle).write_config(config)
    return bundle


def read(bundle: Path) -> tuple[dict, dict, Batch | None, dict, Spec]:
    """Content of a bundle: configuration, the agent's state, the batch, the failure, the environment's shapes.

    Raises:
        RunFolderError, CheckpointError
    """
    parts = load(bundle)
    config = RunFolder(bundle).read_config()
    try:
        batch = None if parts["batch"] is None else Batch(**parts["batch"])
        if batch is not None:  # a checkpoint holds plain tuples in place of records
            records = {name: noise_of(value) for name, value in batch.noise.items() if isinstance(value, tuple)}
            batch = batch._replace(noise={**batch.noise, **records})
        failure = parts["failure"]
        numbers = all(type(failure[name]) is int for name in ("update", "step"))
        words = isinstance(failure["tensor"], str) and isinstance(failure["objective"], str | None)
        if not (numbers and words and failure["product"] in PRODUCTS):
            raise ValueError("its failure has a value of another kind")
        return config, parts["agent"], batch, failure, spec_of(failure)
    except DAMAGE as error:
        raise CheckpointError(f"{bundle} is no crash bundle: {type(error).__name__}: {error}") from None


def noise_of(value: tuple) -> NetworkNoise | ViewNoise:
    """The record that a tuple of a bundle was: two dictionaries are the noise of a network, two tuples that of two networks."""
    if isinstance(value[0], dict):
        return NetworkNoise(*value)
    return ViewNoise(*(NetworkNoise(*end) for end in value))


def to_device(batch: Batch, device: str) -> Batch:
    """The batch on another device."""
    return map_tensors(lambda tensor: tensor.to(device), batch)


DTYPES = {"float32": torch.float32, "uint8": torch.uint8}


def words_of(spec: Spec) -> dict:
    """Spaces as a bundle holds them, which `spec_of` reads."""
    parts = [{**part._asdict(), "shape": list(part.shape), "dtype": str(part.dtype).removeprefix("torch.")} for part in spec.parts]
    return spec._asdict() | {"obs_dtype": str(spec.obs_dtype).removeprefix("torch."), "parts": parts}


def spec_of(failure: dict) -> Spec:
    stored = failure["spec"]
    dtype = DTYPES[stored["obs_dtype"]]
    counts = stored["num_actions"], stored["action_dim"], stored["frame_stack"]
    shape, masked, choices = tuple(stored["obs_shape"]), stored.get("masked", False), tuple(stored.get("choices", ()))
    flags = stored.get("flags", False)
    if not all(type(number) is int and number >= 0 for number in (*shape, *counts, *choices)) or {type(masked), type(flags)} != {bool}:
        raise ValueError("its shapes are no whole numbers")
    return Spec(shape, dtype, *counts, masked, tuple(part_of(part) for part in stored.get("parts", ())), choices, flags)


def part_of(stored: dict) -> ObsPart:
    """
    Raises:
        ValueError: it has other values than a part.
    """
    name, shape = stored["name"], tuple(stored["shape"])
    flags = [stored["image"], stored["privileged"], stored["scaled"], stored.get("stock", False)]  # older bundles lack the last
    frames = stored.get("frame_stack", 1)
    whole = all(type(size) is int and size >= 0 for size in (*shape, frames))
    if not isinstance(name, str) or not whole or {type(flag) for flag in flags} != {bool}:
        raise ValueError("a part of its observations has a value of another kind")
    return ObsPart(name, shape, DTYPES[stored["dtype"]], *flags)._replace(frame_stack=frames)
