"""By which rule episodes terminate, as functions of the observation after a step, for models that imagine steps.

Those of Gymnasium's tasks hold as these are registered, of MuJoCo without the position along the track. An environment of another package
says its own by a method `terminates`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deeprl.system import generators

from .glance import SECONDS, begun
from .vector.backend import Game

FORM = "it takes a tensor (B, S) of observations after a step, float32, as agents see them, and answers with a tensor (B,) of torch.bool"
PLAYED = 100
"""Steps whose terminations a rule is compared with"""


def never(obs: Tensor) -> Tensor:
    return torch.zeros(obs.shape[0], dtype=torch.bool, device=obs.device)


def hopper(obs: Tensor) -> Tensor:
    upright = (obs[:, 0] > 0.7) & (obs[:, 1].abs() < 0.2)
    return ~(upright & (obs[:, 1:].abs() < 100).all(1))


def walker2d(obs: Tensor) -> Tensor:
    return ~((obs[:, 0] > 0.8) & (obs[:, 0] < 2.0) & (obs[:, 1].abs() < 1.0))


def ant(obs: Tensor) -> Tensor:
    return ~((obs[:, 0] >= 0.2) & (obs[:, 0] <= 1.0))


def humanoid(obs: Tensor) -> Tensor:
    return ~((obs[:, 0] > 1.0) & (obs[:, 0] < 2.0))


def inverted_pendulum(obs: Tensor) -> Tensor:
    return ~(obs[:, 1].abs() <= 0.2)


def inverted_double_pendulum(obs: Tensor) -> Tensor:
    """The tip of two poles of 0.6 is at a height of at most 1."""
    (first, second), (cosine, other) = obs[:, 1:3].unbind(1), obs[:, 3:5].unbind(1)
    return 0.6 * (cosine + cosine * other - first * second) <= 1.0


RULES: dict[str, Callable[[Tensor], Tensor]] = {
    "Pendulum": never,
    "HalfCheetah": never,
    "Swimmer": never,
    "Reacher": never,
    "Pusher": never,
    "HumanoidStandup": never,
    "Hopper": hopper,
    "Walker2d": walker2d,
    "Ant": ant,
    "Humanoid": humanoid,
    "InvertedPendulum": inverted_pendulum,
    "InvertedDoublePendulum": inverted_double_pendulum,
}


def rule_of(name: str, kwargs: dict) -> Callable[[Tensor], Tensor] | None:
    """The rule of a registered id; None: it is not known, or arguments may have changed it."""
    return None if kwargs else RULES.get(name.rpartition("-v")[0])


def rule_of_layers(game: Game, layers: Sequence[Any]) -> Callable[[Tensor], Tensor] | None:
    """The method `terminates` of the first of these that has one, compared with some steps of random actions. None: none has it.

    Args:
        game: it is reset and stepped, lives on with its rule, and is closed if it has none. What it raises is left to the run.
        layers: its wrappers and its environment, from the outermost.

    Raises:
        ValueError: the method raises, answers in another form, or another than the game's.
    """
    rule = next((found for layer in layers if callable(found := getattr(layer, "terminates", None))), None)
    if rule is None:
        game.close()
        return None
    with generators.kept():
        try:
            played = begun(game, time.monotonic() + SECONDS, PLAYED)
        except Exception:
            return rule
    after, ends = torch.from_numpy(np.stack(played.rows)).float(), [terminated for _, terminated, _ in played.rest]
    try:
        found = rule(after)
    except Exception as error:
        raise ValueError(f"its method terminates raised {type(error).__name__}: {error}: {FORM}") from error
    if not isinstance(found, Tensor) or found.dtype != torch.bool or found.shape != after.shape[:1]:
        form = f"{found.dtype} of shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        raise ValueError(f"its method terminates answered {len(after)} observations with {form}: {FORM}")
    for step, (said, terminated) in enumerate(zip(found[1:].tolist(), ends), 1):
        if said != terminated:
            raise ValueError(
                f"step {step} of random actions {'terminated' if terminated else 'did not terminate'}, and its method terminates says the "
                f"opposite of the observation after it: {FORM}"
            )
    return rule
