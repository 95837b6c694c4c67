"""Test of an agent before the first environment step: a made-up batch goes through every loss."""

from __future__ import annotations

import inspect
import traceback
from dataclasses import is_dataclass
from itertools import accumulate
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deeprl.choice import Choice
from deeprl.errors import ConfigError, located
from deeprl.learning.agent import Agent
from deeprl.learning.optim.differentiated import differentiated
from deeprl.noise import map_tensors
from deeprl.packing import pack
from deeprl.replay.rollout import Rollout
from deeprl.running.config.option_names import labelled
from deeprl.running.config.stateless import attributes, known, require_unchanged, tensors
from deeprl.running.config.trained import require_apart, require_border, require_gradients, require_main, require_term, tell_untrained
from deeprl.system.global_draws import refused
from deeprl.types import Batch, Rows, Spec

SEQUENCED = {"sequences", "state", "trajectories"}
"""Needs of agents whose batches have an axis of time"""
LATE = 10**12
"""An environment step after every warm-up and schedule, so that the policy acts instead of a warm-up."""


def packed_noise(spec: Spec, size: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Random rows of several parts, (*size, row): of random bytes some would be no numbers."""
    values = [
        torch.randint(0, 256, (*size, *part.shape), generator=generator, dtype=torch.uint8)
        if part.dtype == torch.uint8
        else torch.randn((*size, *part.shape), generator=generator)
        for part in spec.parts
    ]
    mask = np.ones((*size, spec.mask_size), np.uint8) if spec.masked else None
    return torch.from_numpy(pack(spec, [value.numpy() for value in values], mask))


def made_up_batch(agent: Agent, spec: Spec, size: tuple[int, ...], device: str = "cpu", seed: int = 0) -> Batch:
    """Random rows of the environment's shapes and types, with the noise and the extras that the agent needs. No row ends an episode,
    but every other one says that a termination lies before `next_obs`.

    Args:
        size: shape of the batch, (B,) or, for sequences, (T, B).
    """
    generator = torch.Generator().manual_seed(seed)
    noise = map_tensors(lambda tensor: tensor[0], agent.noise((1, *size), generator))

    def observations() -> Tensor:
        if spec.parts:
            return packed_noise(spec, size, generator)
        shape = (*size, *spec.obs_shape)
        if spec.obs_dtype == torch.uint8:
            return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
        made = torch.randn(shape, generator=generator)
        if spec.masked:
            made[..., -spec.mask_size :] = torch.randint(2, (*size, spec.mask_size), generator=generator).float()
            made[..., [end - 1 - spec.mask_size for end in accumulate(spec.choices or (spec.num_actions,))]] = 1.0  # one action is valid
        return made

    obs, after = observations(), observations()
    if spec.num_actions:
        action = torch.randint(spec.num_actions, size, generator=generator)
    else:
        action = torch.rand((*size, spec.action_dim), generator=generator) * 2 - 1
    raw = 5 * torch.randn(size, generator=generator)
    ones, true = torch.ones(size), torch.ones(size, dtype=torch.bool)
    every_other = torch.arange(raw.numel()).reshape(size) % 2 == 0
    offered = {"successor": after, "behavior_probability": 0.3 * ones, "terminated": ~true, "restart": every_other}
    offered["planned"] = true
    if agent.drawn_size:
        offered["drawn"] = torch.randn((size[-1], agent.drawn_size), generator=generator)
    offered["state"] = torch.zeros(size[-1], agent.state_size)
    extra = {name: value for name, value in offered.items() if name in agent.needs}
    reward = agent.rewards(raw.to(device))
    made = Batch(obs, action, raw, 0.99 * ones, after, ones.long(), ~true, true, ones, ones.long(), noise, extra)
    made = map_tensors(lambda tensor: tensor.to(device), made)._replace(reward=reward)
    return rolled_out(agent, spec, made, raw) if "rollout" in agent.needs else made


def rolled_out(agent: Agent, spec: Spec, batch: Batch, raw: Tensor) -> Batch:
    """The batch as updates on a rollout get it, stored, prepared by the agent and drawn: (B,) as B ticks of one environment, and (T, B) for
    an agent with a core as T ticks of B environments.

    Args:
        raw: (*B) rewards of the environment.
    """
    ticks, num = raw.shape if raw.dim() > 1 else (len(raw), 1)
    rollout = Rollout(
        length=ticks,
        minibatches=1,
        spec=spec,
        num=num,
        discount=0.99,
        rewards=agent.rewards,
        needs=agent.needs,
        batch_device=batch.obs.device,
        state_size=agent.state_size,
    )
    probability, ends = batch.extra.get("behavior_probability", torch.ones_like(raw)), torch.zeros_like(raw, dtype=torch.bool)
    columns = (batch.obs, batch.action, raw, batch.next_obs, ends, ends, probability)
    stored = [column.reshape(ticks, num, *column.shape[raw.dim() :]).cpu().numpy() for column in columns]
    for tick in range(ticks):
        rollout.append(Rows(*(column[tick] for column in stored))._replace(state=np.zeros((num, agent.state_size), np.float32)))

    def prepare(rows: Batch) -> dict[str, Tensor]:
        before = rows_of(rows)
        found = agent.prepare(rows)
        require_same_rows("`prepare`", rows, before)
        return found

    rollout.connect(0, "dry run", agent.observe, prepare)
    return rollout.batch(next(rollout.updates(0, ticks)))._replace(noise=batch.noise)


def dry_run(agent: Agent, spec: Spec, device: str, sequences: bool = False) -> None:
    """Send one made-up batch through every loss, and act once, before any environment step.

    Args:
        sequences: whether the replay gives sequences, even if the agent does not need them.

    Raises:
        ConfigError: a loss or its target fails, or a loss is not one finite number or does not depend on what it trains, or the agent
            cannot act, or one of them draws random numbers from a global generator.
    """
    require_border(agent)
    size = made_up_size(agent, spec, sequences)
    require_main(agent)
    require_apart(agent)
    tell_untrained(agent)
    for name, objective in agent.objectives.items():
        try:
            before = attributes(agent)  # a rollout of it is observed and prepared by the agent's parts too
            with refused(f"its {name} loss", "ask for them in `noise`, and take them from `batch.noise`"):
                with torch.no_grad():
                    batch = made_up_batch(agent, spec, size, device)
                    rows, saved = rows_of(batch), tensors(agent)
                    if name == "value" and hasattr(agent, "targets"):
                        check_target(agent, batch)
                with differentiated(objective.parameters):
                    term = agent.loss_of(name, batch)
                    loss = torch.as_tensor(term.loss)
                    require_term(agent, name, term)
                    if loss.shape == () and objective.step is None:
                        require_gradients(agent, name, loss)
            require_same_rows(f"its {name} loss", batch, rows)
            belongs = "return the new value in `Term.statistics`, or change it in `observe`"
            require_unchanged(f"its {name} loss", saved, tensors(agent), f"into which this made-up batch has gone: {belongs}")
            require_unchanged(f"its {name} loss", before, attributes(agent), f"which no checkpoint holds: make it a buffer, and {belongs}")
        except ConfigError:
            raise
        except Exception as error:
            made = f"made-up batch of shape {size}, steps first" if len(size) > 1 else "made-up batch"
            raise ConfigError(f"{blamed(agent, error)}: the {name} loss fails on a {made}: {located(error)}") from error
        if loss.shape != () or not bool(torch.isfinite(loss)):
            raise ConfigError(f"agent: its {name} loss is {loss} on a made-up batch, not one finite number.")
    try:
        before = attributes(agent) | tensors(agent)
        with refused("acting", "ask for them in `act_noise`"):
            act(agent, spec, device)
        instead = "which evaluations would change too: return what is to be remembered in the memory of the exploration"
        require_unchanged("acting", before, attributes(agent) | tensors(agent), instead, growing=True)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"{blamed(agent, error)}: the agent cannot act with these parts: {located(error)}") from error


def rows_of(batch: Batch) -> dict[str, object]:
    """How often the tensors of a batch were changed in place, by field; their numbers may lie on another device."""

    def changes(value: object) -> object:
        if isinstance(value, Tensor):
            return value._version
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
        return [changes(each) for each in inner]

    return {name: changes(value) for name, value in batch._asdict().items()}


def require_same_rows(what: str, batch: Batch, before: dict[str, object]) -> None:
    """
    Args:
        what: was done with the batch.
        before: `rows_of` it.

    Raises:
        ConfigError: a field has changed.
    """
    if changed := [name for name, value in rows_of(batch).items() if value != before[name]]:
        raise ConfigError(
            f"agent: {what} changes {', '.join(changed)} of the batch in place, which other losses and batches share: make a new tensor."
        )


def require_timeless(agent: Agent, spec: Spec, device: str, sequences: bool = False) -> None:
    """Compare the losses of a made-up batch now and late in a run, because compiled code reads step and number of updates once.

    Args:
        sequences: as in `dry_run`.

    Raises:
        ConfigError: a loss follows the clock.
    """
    size = made_up_size(agent, spec, sequences)
    step, updates = agent.step, agent.updates
    for name in agent.objectives:
        with torch.no_grad():
            batch = made_up_batch(agent, spec, size, device)
            now = torch.as_tensor(agent.loss_of(name, batch).loss)
            agent.clock.step, agent.clock.updates = LATE, LATE
            try:
                late = torch.as_tensor(agent.loss_of(name, batch).loss)
            finally:
                agent.clock.step, agent.clock.updates = step, updates
        if not torch.allclose(now, late, rtol=1e-4):
            raise ConfigError(
                f"agent: its {name} loss follows the agent's step or number of updates, {float(now):.6g} now and {float(late):.6g} late "
                "in a run, and accelerate=compiled would keep its first value: keep the number in a buffer that `after_update` writes, or "
                "take accelerate=fast."
            )


def made_up_size(agent: Agent, spec: Spec, sequences: bool) -> tuple[int, ...]:
    """Of a batch on which a wrong shape is seen: B = A would let it pass, as the batches of the run would not."""
    wide = 4 if spec.num_actions == 3 else 3
    return (2, wide) if sequences or agent.needs & SEQUENCED else (wide,)


def check_target(agent: Any, batch: Batch) -> None:
    """
    Raises:
        ConfigError: what the backup returns are no returns of the shape that the prediction has.
    """
    if "returns" in batch.extra:
        return
    online, target, batch = agent.views(batch)
    expected = online.now.mean().shape  # (K, *B, A), before the backup, as in the loss
    found = agent.backup(online, target, batch)
    atoms = getattr(found, "atoms", None)
    shape = tuple(atoms.shape) if isinstance(atoms, Tensor) else ()
    if len(shape) - len(expected) in (0, 1) and (shape[0], *shape[-len(expected) + 1 : -1]) == expected[:-1]:
        return
    got = f"Returns with atoms {shape}" if shape else f"a {type(found).__name__}"
    needed = f"({', '.join(map(str, expected[:-1]))}, N)"
    raise ConfigError(
        f"{labelled('agent.backup', type(agent.backup))} in {inspect.getfile(type(agent.backup))} gives {got}, where Returns with "
        f"atoms (K, *B, N) = {needed} are needed here: `target.next.expect(policy).bootstrap(batch.reward, batch.discount)`."
    )


def blamed(agent: Agent, error: Exception) -> str:
    """The part of an agent whose file an exception passed last, its line, and the shapes that it handed on; "agent" if there is none."""
    parts = {name: part for name, part in (*vars(agent).items(), *agent.named_children()) if isinstance(part, Choice)}
    files = {inspect.getfile(type(part)): name for name, part in parts.items()}
    own = inspect.getfile(type(agent))  # a paper's agent may stand in one file with its parts
    frames = [*traceback.walk_tb(error.__traceback__)]
    for (frame, line), inner in reversed([*zip(frames, [*frames[1:], None], strict=True)]):
        name = files.get(frame.f_code.co_filename)
        if name and (frame.f_code.co_filename != own or frame.f_code.co_qualname.startswith(f"{type(parts[name]).__name__}.")):
            of = f"{labelled(f'agent.{name}', type(parts[name]))} ({frame.f_code.co_filename}:{line})"
            values = inner[0].f_locals.items() if inner else ()
            handed = ", ".join(f"{key} {tuple(value.shape)}" for key, value in values if isinstance(value, Tensor))
            asked = inner[0].f_code.co_name if inner else ""
            takes = ", which takes actions (K, *B), as int64, or probabilities (K, *B, A)" if asked == "expect" else ""
            return f"{of}{f' calls {asked} with {handed}{takes}' if handed else ''}"
    return "agent"


def act(agent: Agent, spec: Spec, device: str) -> None:
    """Four ticks of collection, early ones and late ones, and one of evaluation.

    Raises:
        ConfigError: the exploration keeps something on itself, which no checkpoint would hold, and evaluations would share.
    """
    noise = agent.act_noise((4, 1), torch.Generator().manual_seed(0))
    obs, first = torch.zeros((1, *spec.obs_shape), dtype=spec.obs_dtype, device=device), torch.ones(1, dtype=torch.bool)
    if spec.masked:
        obs[..., -spec.mask_size :] = 1
    memory: dict = {}
    for tick, step in enumerate((LATE, LATE, 0, 0)):
        acted = agent.act(obs, first if not tick else ~first, memory, step, map_tensors(itemgetter(tick), noise), True)
        memory = acted.memory
        if (
            hasattr(agent, "explore")
            and spec.action_dim
            and "rollout" not in agent.needs
            and (largest := float(acted.action.abs().max())) > 1 + 1e-5
        ):
            raise ConfigError(
                f"agent.explore: an action of {largest:.3g} lies outside of [-1, 1], to which environments clip it, while the replay would "
                "keep it as it is: clamp it."
            )
    agent.act(obs, first, {}, LATE, map_tensors(itemgetter(0), noise), False)
    rule = getattr(agent, "explore", None)
    kept = vars(rule).keys() - known(type(rule)) if is_dataclass(rule) else ()
    if kept:
        raise ConfigError(
            f"agent.explore: {type(rule).__name__} keeps {', '.join(sorted(kept))} on itself, where no checkpoint and no evaluation finds "
            "its own: return it in the memory."
        )
