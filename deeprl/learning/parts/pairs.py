"""Sequences of pairs (observation, action), as critics with a core see them."""

from __future__ import annotations

import torch

from deeprl.learning.backups.actor import PolicyBackup
from deeprl.learning.networks.actors import Actor
from deeprl.learning.networks.cores import Core
from deeprl.learning.networks.critics import ONLY, pair
from deeprl.types import Batch


def played(batch: Batch, core: Core | None) -> Batch:
    """(s, a) of sequences with normalized observations. The core starts from zeros, because acting asks the actor alone."""
    assert core is not None
    extra = {**batch.extra, "state": batch.extra["state"].new_zeros(batch.obs.shape[1], core.size)}
    if "burn_in" in extra:
        extra["burn_in"] = pair(extra["burn_in"], extra["burn_in_action"])
    return batch._replace(obs=pair(batch.obs, batch.action), extra=extra)


@torch.no_grad()
def followed(batch: Batch, actor: Actor, backup: PolicyBackup, core: Core | None) -> Batch:
    """(s, a) and (s', a') of sequences with normalized observations, and log π(a'|s') if there is one, where a' follows from the actor's
    state at s'. See `ActorCritic.views`."""
    features = actor.unrolled(batch, batch.extra["state"]).next()
    action, log_prob = backup.next_action(actor.at(features, batch.discount.shape), batch.next_obs, batch.noise)
    pairs = played(batch, core)._replace(next_obs=pair(batch.next_obs, action), action=ONLY)
    return pairs if log_prob is None else pairs._replace(extra={**pairs.extra, "next_log_prob": log_prob})
