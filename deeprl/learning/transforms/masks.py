"""Action masks as the last A columns of an observation, 1 where an action is valid. So a replay stores them and a journal compares them
without knowing of them, and an agent divides the columns at its border."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from deeprl.packing import width_of
from deeprl.types import Batch, Rows, Spec

OBSERVATIONS = frozenset({"successor", "burn_in"})
"""Fields of `Batch.extra` that hold observations"""


def without_mask(spec: Spec) -> Spec:
    """Spaces as networks see them, of several parts the vector of `deeprl.packing`."""
    if spec.parts:
        return spec._replace(obs_shape=(width_of(spec.parts),), obs_dtype=torch.float32, masked=False)
    return spec._replace(obs_shape=(spec.obs_shape[0] - spec.mask_size,), masked=False) if spec.masked else spec


def divided(obs: Tensor, actions: int) -> tuple[Tensor, Tensor]:
    """(..., D + A) -> observation (..., D), and (..., A) bool: whether an action is valid."""
    return obs[..., :-actions], obs[..., -actions:] > 0


def of_row(obs: Tensor, spec: Spec) -> tuple[Tensor, Tensor | None]:
    """The observation of an environment, (..., D), and which actions are valid, (..., A) bool; None: all."""
    return divided(obs, spec.mask_size) if spec.masked else (obs, None)


def divided_batch(batch: Batch, spec: Spec) -> Batch:
    """The batch with observations (*B, D), and the masks of both ends in `extra`: "valid" and "next_valid". Without masks as it is."""
    if not spec.masked:
        return batch
    actions = spec.mask_size
    obs, valid = divided(batch.obs, actions)
    next_obs, next_valid = divided(batch.next_obs, actions)
    # rows that are no transitions hold action 0, whose bonus would be that of an invalid action
    if batch.action.dtype == torch.int64:
        valid = valid.scatter(-1, batch.action.unsqueeze(-1), True)
    extra = {name: divided(value, actions)[0] if name in OBSERVATIONS else value for name, value in batch.extra.items()}
    return batch._replace(obs=obs, next_obs=next_obs, extra={**extra, "valid": valid, "next_valid": next_valid})


def divided_rows(rows: Rows, spec: Spec) -> Rows:
    """The rows with observations (M, D), for statistics. Without masks as they are."""
    if not spec.masked:
        return rows
    obs, next_obs = (np.ascontiguousarray(each[:, : -spec.mask_size]) for each in (rows.obs, rows.next_obs))
    return rows._replace(obs=obs, next_obs=next_obs)
