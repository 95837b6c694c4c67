"""A batch of pairs (observation, action), as critics see it:

    obs     (s, a)     next_obs                 (s', a')           extra["successor"]   (s_{t+1}, a_{t+1})
    action  `ONLY`     extra["next_log_prob"]   log π(a'|s')       extra["observed"]    s alone, beside a successor or V
                                                                   extra["next_observed"]    s' alone, beside V

a' and a_{t+1} are actions of the policy. They and their observations have no gradient.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from deeprl.choice import Part
from deeprl.learning.backups.actor import PolicyBackup
from deeprl.learning.networks.actors import Actor
from deeprl.learning.networks.cores import Core
from deeprl.learning.networks.critics import ONLY, pair
from deeprl.types import Batch


def shifts(batch: Batch) -> tuple[Tensor | None, Tensor | None]:
    """Shifts in pixels of the images at s and at s', (*B, 2) each, see `deeprl.learning.networks.encoders`; (None, None) without images.
    The shift of a chain (`Window`) is another thing."""
    shift = batch.noise.get("shift")
    return (None, None) if shift is None else shift.split(2, -1)


def observed_sequences(batch: Batch, seen: Callable[..., Tensor], shift: Tensor | None = None) -> Batch:
    """Sequences whose observations are as actor and critics see them, but for `next_obs`. A burn-in has no gradient, and its images are not
    moved, because its state goes on from one of acting.

    Args:
        seen: see `batch_of_pairs`.
        shift: of the rows after the burn-in.
    """
    extra = dict(batch.extra)
    if "burn_in" in extra:
        with torch.no_grad():
            extra["burn_in"] = seen(extra["burn_in"])
    return batch._replace(obs=seen(batch.obs, shift), extra=extra)


def sequences_of_pairs(batch: Batch, core: Core | None) -> Batch:
    """(s, a) of sequences as `observed_sequences` gives them. The core starts from zeros, because acting asks the actor alone."""
    assert core is not None
    extra = {**batch.extra, "state": batch.extra["state"].new_zeros(batch.obs.shape[1], core.size)}
    if "burn_in" in extra:
        extra["burn_in"] = pair(extra["burn_in"], extra["burn_in_action"])
    return batch._replace(obs=pair(batch.obs, batch.action), extra=extra)


def sequences_with_next_pairs(batch: Batch, actor: Actor, backup: PolicyBackup, seen: Callable[..., Tensor], core: Core | None) -> Batch:
    """(s, a) and (s', a') of sequences, and log π(a'|s') if there is one, where a' follows from the actor's state at s'.
    See `ActorCritic.views`; the arguments are those of `batch_of_pairs`, and the critics' core."""
    shift_now, shift_next = shifts(batch)
    rows = observed_sequences(batch, seen, shift_now)  # with gradient, because the critics' loss trains the encoder
    with torch.no_grad():
        rows = rows._replace(next_obs=seen(batch.next_obs, shift_next))
        features = actor.unrolled(rows, rows.extra["state"]).next()
        action, log_prob = backup.next_action(actor.at(features, batch.discount.shape), rows.next_obs, batch.noise)
    pairs = sequences_of_pairs(rows, core)._replace(next_obs=pair(rows.next_obs, action), action=ONLY)
    return pairs if log_prob is None else pairs._replace(extra={**pairs.extra, "next_log_prob": log_prob})


def batch_of_pairs(
    batch: Batch,
    actor: Actor,
    backup: PolicyBackup,
    seen: Callable[..., Tensor],
    normalize: Part,
    alone: bool = False,
    follows: bool = True,
) -> Batch:
    """Transitions as critics without a core see them.

    Args:
        seen: observations, and the shift of their pixels, as actor and critics see them, see `ActorCritic.seen`.
        alone: whether normalized observations without actions are read too.
        follows: whether a' is drawn. False: `next_obs` is the replay's s' without an action, so that a part that reads it as a pair
            raises an error.
    """
    shift_now, shift_next = shifts(batch)

    def with_policy_action(obs: Tensor) -> tuple[Tensor, Tensor | None]:
        """(s', a') with a' ~ π, (*B, S + D), and log π(a'|s'), (*B,)"""
        obs = seen(obs, shift_next)
        action, log_prob = backup.next_action(actor, obs, batch.noise)
        return pair(obs, action), log_prob

    extra = dict(batch.extra)
    with torch.no_grad():
        next_obs, log_prob = with_policy_action(batch.next_obs) if follows else (batch.next_obs, None)
        if log_prob is not None:
            extra["next_log_prob"] = log_prob
        if "successor" in extra:
            extra |= {"successor": with_policy_action(extra["successor"])[0], "observed": normalize(batch.obs)}
        if alone:
            extra |= {"observed": normalize(batch.obs), "next_observed": normalize(batch.next_obs)}
    obs = pair(seen(batch.obs, shift_now), batch.action)  # with gradient, because the critics' loss trains the encoder
    return batch._replace(obs=obs, action=ONLY, next_obs=next_obs, extra=extra)
