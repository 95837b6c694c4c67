"""What a checkpoint may hold of a learned model and of what it has imagined: a state that none can have is refused."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from deeprl.types import State

KEPT = {"imagined": Tensor, "sizes": list, "trained": list, "trainings": int, "shown": dict, "networks": dict}
"""What a checkpoint has of a model"""


def require_possible(found: object, window: int, retain: int) -> None:
    """
    Args:
        found: what a checkpoint has of a model.
        window, retain: W, and the trainings whose rollouts are kept.

    Raises:
        ValueError: no replay can have it.
    """
    if not isinstance(found, dict) or found.keys() != KEPT.keys():
        raise ValueError(f"the stored replay has {found!s:.100} as its model, not {', '.join(KEPT)}")
    for name, kind in KEPT.items():
        if not isinstance(found[name], kind):
            raise ValueError(f"the stored replay has {name}={found[name]!r:.100} of its model, which must be of the type {kind.__name__}")
    imagined, sizes, trained, trainings = (found[name] for name in ("imagined", "sizes", "trained", "trainings"))
    whole = all(type(number) is int and 0 <= number < 1 << 62 for number in (*sizes, *trained, trainings))
    if not whole or len(trained) not in (1, 2) or sorted(trained) != trained or not 0 < len(sizes) <= min(retain, trainings):
        raise ValueError(
            f"the stored replay has counts of its model that none can have: sizes={sizes!s:.100} of {retain}, trained={trained!s:.100}, "
            f"trainings={trainings}"
        )
    if imagined.shape != (sum(sizes), window) or imagined.dtype != torch.float32 or not imagined.isfinite().all():
        form = f"{tuple(imagined.shape)} {imagined.dtype}"
        raise ValueError(f"the stored replay has imagined transitions of shape {form}, not finite ones of {(sum(sizes), window)}")
    for name, value in found["shown"].items():
        if not (isinstance(name, str) and name.startswith("model/") and type(value) is float and not math.isnan(value)):
            raise ValueError(f"the stored replay has {name!r:.60}={value!r:.60} among numbers of its model, which are named model/…")


def require_sound(state: State, own: State, members: int) -> dict[str, dict[str, Tensor]]:
    """The stored tensors of an ensemble and of its optimizers.

    Args:
        state: what a checkpoint has of its networks.
        own: the ensemble's own tensors; what is not its `module` is an optimizer's.
        members: networks.

    Raises:
        ValueError: they are those of another model, or none can have them.
    """
    kinds = {name: "model" if name == "module" else f"{name.replace('_', ' ')} of the model" for name in own}
    found = {name: alike(state.get(name), own[name], kinds[name]) for name in own}
    elite = found["module"]["elite"].tolist()
    if len(set(elite)) < len(elite) or not all(0 <= member < members for member in elite):
        raise ValueError(f"the stored model has the elite {elite}, not {len(elite)} of its {members} members")
    positive = all((value > 0).all() for name, value in found["module"].items() if name.endswith("deviation"))
    moments = [part[name] for kind, part in found.items() if kind != "module" for name in ("square", "count")]
    if not positive or any((moment < 0).any() for moment in moments):
        raise ValueError("the stored model has deviations or squares of gradients that are negative, which none can be")
    return found


def alike(found: object, own: dict[str, Tensor], what: str) -> dict[str, Tensor]:
    """Stored tensors.

    Raises:
        ValueError: they are not those of `own` in name, shape, type, or not finite.
    """
    if not isinstance(found, dict) or found.keys() != own.keys():
        names = ", ".join(map(str, found)) if isinstance(found, dict) else f"{found!r}"
        raise ValueError(f"the stored {what} has {names:.200}, this one {', '.join(own)}")
    for name, mine in own.items():
        one = found[name]
        if not isinstance(one, Tensor) or (one.shape, one.dtype) != (mine.shape, mine.dtype):
            form = f"{tuple(one.shape)} {one.dtype}" if isinstance(one, Tensor) else f"{one!r:.60}"
            raise ValueError(f"the stored {what} has {name} {form}, this one {tuple(mine.shape)} {mine.dtype}")
        if not one.isfinite().all():
            raise ValueError(f"the stored {what} has a number in {name} that is not finite")
    return found
