"""Memory that a model and what it imagines take beside a replay, asked before it is taken."""

from __future__ import annotations

import torch

from deeprl.agents.imagination import Imagination
from deeprl.replay.layout import Layout
from deeprl.replay.memory import HOST, of_gpu, refuse_if_too_large, too_little


def model_memory(imagination: Imagination, at: Layout, capacity: int, replay: int, fitting: int, device: torch.device) -> tuple[int, int]:
    """Bytes of all rollouts, which are made on the device and kept in main memory, and what a training takes beside them and the replay.

    Args:
        at: of the replay, which has `capacity` rows and takes `replay` bytes.
        fitting: bytes that a training takes beside the transitions.
        device: of the model.

    Raises:
        ValueError: the machine has less memory, or its GPU.
    """
    window = at.width + at.size
    rows = capacity * (4 * window + 24 + 4 * (1 + at.size) + 4)  # with their numbers, targets and terminations
    fresh = 4 * window * imagination.most
    kept, joining = fresh * imagination.retain, fresh * (1 + imagination.retain)  # old and new stand side by side while they are joined
    working = rows + max(fitting, joining) if device == HOST else max(rows, joining)
    require(imagination, capacity, kept + joining, replay + kept + working, HOST)
    if device != HOST:  # the steps of new rollouts stand beside the whole of them
        require(imagination, capacity, 2 * fresh, rows + max(fitting, 2 * fresh), device)
    return kept, working


def require(imagination: Imagination, capacity: int, imagined: int, needed: int, device: torch.device) -> None:
    """
    Args:
        imagined: bytes of rollouts, at most.
        needed: bytes of all.

    Raises:
        ValueError: the device has less. It names the rows of the replay, or the rollouts and how many would fit, by what takes more.
    """
    if (available := too_little(needed, device)) is None:
        return
    if 2 * imagined < needed:
        refuse_if_too_large("capacity", capacity, needed, imagined, device)
    others, count = needed - imagined, imagination.rollouts
    possible = int(count * max(available - (64 << 20) - others, 0) / imagined)
    remedy = f"replay.rollouts={possible} would fit" if possible else "lower replay.capacity too"
    raise ValueError(
        f"rollouts={count} of up to {imagination.most // count} steps (replay.horizon), kept for {imagination.retain} "
        f"trainings (replay.retain), need {imagined:,} bytes beside {others:,} of the replay, and {available:,} are "
        f"available{of_gpu(device)}: {remedy}"
    )
