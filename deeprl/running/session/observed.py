"""Observations that a caller of `Run.act` gives: what is none, and those of several parts by name."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from gymnasium import spaces

from deeprl.packing import pack
from deeprl.system.terminal import one_line
from deeprl.types import Spec


def require_observation(obs: object, space: spaces.Space | None) -> None:
    """
    Args:
        space: of the environment's observations, if it has one.

    Raises:
        ValueError: it is what reset returns, or a tensor that requires a gradient.
    """
    pair = isinstance(obs, tuple) and len(obs) == 2 and not isinstance(space, spaces.Tuple)
    own_keys = space.keys() if isinstance(space, spaces.Dict) else ()  # two observations have some of those of their space
    if pair and isinstance(info := obs[1], Mapping) and not (info and set(info) <= set(own_keys)):  # type: ignore[index]  # a tuple
        raise ValueError("this is (observation, info), as reset() returns it, and no observation: obs, info = env.reset(), then act(obs)")
    if isinstance(obs, torch.Tensor) and obs.requires_grad:
        raise ValueError("this observation is a tensor that requires a gradient, and greedy actions have none: act(obs.detach())")


def require_bytes(values: np.ndarray, what: str = "an observation") -> None:
    """
    Args:
        values: for an image, whose numbers are bytes.

    Raises:
        ValueError: a number is none.
    """
    with np.errstate(invalid="ignore"):
        same = np.asarray(values).astype(np.uint8) == values
    if not np.all(same):
        found = np.asarray(values)[~same][0]
        raise ValueError(f"{what} holds {found}, and its numbers are bytes here, from 0 to 255, as the environment gives them")


def of_parts(spec: Spec, obs: Mapping[str, object], mask: np.ndarray | None) -> tuple[np.ndarray, bool]:
    """Rows (M, *obs) of parts by name, one observation or M of them, and whether it was one. Privileged parts may be missing.

    Raises:
        ValueError: a part is missing or has another shape, or one of an image holds other numbers than bytes.
    """
    first = next(part for part in spec.parts if not part.privileged)
    lead = np.asarray(obs.get(first.name)).shape[: -len(first.shape)][:1]
    values = []
    for part in spec.parts:
        value = np.asarray(obs[part.name]) if part.name in obs else np.zeros((*lead, *part.shape)) if part.privileged else None
        if value is None or value.shape != (*lead, *part.shape) or value.dtype.kind not in "fiub":
            found = "missing" if value is None else f"{value.dtype} of shape {value.shape}"
            raise ValueError(f"part {one_line(part.name)} is {found}, and must have shape {part.shape}, or (M, …) of several observations")
        if part.dtype == torch.uint8:
            require_bytes(value, f"part {one_line(part.name)}")
        values.append(value if lead else value[None])
    masks = None if mask is None else np.reshape(mask, (len(values[0]), spec.mask_size))
    if spec.masked != (masks is not None):
        raise ValueError("observations by part need their mask in `mask`, if the environment has masks, and none otherwise")
    return pack(spec, values, masks), not lead
