"""Spaces of several parts, each in its own form: what `env.parts` and `env.privileged` choose. Rows are those of `deeprl.packing`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from deeprl.choice import one_of
from deeprl.packing import arranged, pack, packed_spec
from deeprl.types import ObsPart

from .spaces import FILTER, Observations, brief, channels_of, flattened, observations_of, unfit

SMALLEST = 3
"""Pixels of an image's sides, at least; a smaller array is a vector"""


@dataclass(frozen=True)
class Form:
    """How observations are seen: the keys of `env` of that name.

    Args:
        channels: for images, which axis holds the channels: first or last. None takes the only one of both with at most four entries.
        mask: True: `info["action_mask"]` says which actions are valid; None: only a Dict of observation and action_mask does; False: none.
        parts: of a Dict or Tuple: flat makes one vector, apart keeps them, auto keeps them where one is an image or privileged.
        privileged: names of the parts that critics alone see.
        components: MultiDiscrete: each component is chosen for itself, by agents of rollouts; else one of all combinations.
    """

    channels: str | None = None
    mask: bool | None = False
    parts: str = "flat"
    privileged: tuple[str, ...] = ()
    components: bool = False

    def __post_init__(self) -> None:
        one_of(self, channels=(None, "first", "last"), mask=(None, True, False), parts=("auto", "flat", "apart"), components=(True, False))


def form_of(choice: Any) -> Form:
    """
    Args:
        choice: of environments, with keys of these names.

    Raises:
        ValueError: a value is out of range.
    """
    names = choice.privileged
    if isinstance(names, str) or any(not isinstance(name, str) for name in names):
        raise ValueError(f"privileged must be a list of names, such as [velocities], not {names!r}")
    return Form(choice.channels, choice.mask, choice.parts, tuple(names), getattr(choice, "components", False))


def leaves(space: spaces.Space, name: str = "") -> Iterator[tuple[str, tuple[Any, ...], spaces.Space]]:
    """Name, place and space of each part, in the space's order; names of nested ones are joined by a dot."""
    if not isinstance(space, (spaces.Dict, spaces.Tuple)):
        yield name, (), space
        return
    for key, part in space.items() if isinstance(space, spaces.Dict) else enumerate(space):
        for inner, place, leaf in leaves(part, f"{name}.{key}" if name else str(key)):
            yield inner, (key, *place), leaf


def is_image(space: spaces.Space, channels: str | None) -> bool:
    """Whether a part is one: pixels, or floats with three axes of which one can only be that of the channels."""
    if not isinstance(space, spaces.Box) or len(space.shape) not in (2, 3):
        return False
    if len(space.shape) == 2:
        return space.dtype == np.uint8 and min(space.shape) >= SMALLEST
    pixels, found = space.dtype == np.uint8, channels or channels_of(space)
    if not (pixels or space.dtype.kind == "f"):
        return False
    sides = {"first": space.shape[1:], "last": space.shape[:2]}.get(found or "")
    return min(sides) >= SMALLEST if sides else pixels  # of pixels without a place of their channels `observations_of` says what to set


def kept_apart(space: spaces.Space, form: Form) -> bool:
    """Whether the parts of a space stay apart.

    Raises:
        ValueError: `env.privileged` names what is no part, or all of them, or goes with `env.parts=flat`.
    """
    if not isinstance(space, (spaces.Dict, spaces.Tuple)):
        if form.privileged:
            raise ValueError(f"env.privileged names parts of a Dict or Tuple, and the observation space is {brief(space)}: leave it out")
        return False
    found = {name: leaf for name, _, leaf in leaves(space)}
    if unknown := [name for name in form.privileged if name not in found]:
        raise ValueError(f"env.privileged names {', '.join(unknown)}, and the parts of its observations are {', '.join(found)}")
    if form.privileged and len(form.privileged) == len(found):
        raise ValueError("env.privileged names all parts of its observations, so that a policy would see none: leave one out")
    if form.privileged and form.parts == "flat":
        raise ValueError("env.privileged needs parts that stay apart: leave env.parts=flat out")
    if len(found) == 1 or form.parts == "flat":
        return False
    return form.parts == "apart" or bool(form.privileged) or any(is_image(leaf, form.channels) for leaf in found.values())


def seen(space: spaces.Space, form: Form) -> Observations:
    """As `observations_of`, with parts apart where `form` says so."""
    return parted(space, form) if kept_apart(space, form) else observations_of(space, form.channels)


def one(name: str, space: spaces.Space, form: Form) -> tuple[ObsPart, Observations]:
    """A part, and its conversion.

    Raises:
        ValueError: nothing can be made of its space.
    """
    if wrong := unfit(space):
        raise ValueError(
            f"the observation space is not supported, because its part {name}, {wrong}, is no array of fixed size. Leave it out by a "
            f"wrapper: {FILTER}"
        )
    image = is_image(space, form.channels)
    vector = isinstance(space, spaces.Box) and len(space.shape) != 1 and not image
    found = flattened(space) if vector else observations_of(space, form.channels)
    scaled = isinstance(space, spaces.Box) and not image
    return ObsPart(name, found.shape, found.dtype, image, name in form.privileged, scaled), found


def parted(space: spaces.Space, form: Form) -> Observations:
    places = {name: place for name, place, _ in leaves(space)}
    made = {name: one(name, leaf, form) for name, _, leaf in leaves(space)}
    parts = arranged(part for part, _ in made.values())
    spec = packed_spec(parts, 0, 0)
    ordered = [(places[part.name], part.name, made[part.name][1].convert) for part in parts]

    def convert(obs):
        values = []
        for place, name, of_part in ordered:
            value = obs
            try:
                for key in place:
                    value = value[key]
            except (KeyError, IndexError, TypeError) as error:
                raise ValueError(f"observation {obs!r:.100} has no part {name!r}") from error
            try:
                values.append(of_part(value))
            except ValueError as error:
                raise ValueError(f"part {name!r}: {error}") from error
        return pack(spec, values)

    return Observations(spec.obs_shape, spec.obs_dtype, convert, content(made), note(parts), parts)


def content(made: Mapping[str, tuple[ObsPart, Observations]]) -> str:
    return "; ".join(f"{name}: {found.content}" for name, (_, found) in made.items())


def note(parts: tuple[ObsPart, ...]) -> str:
    words = [f"{part.name} {'image ' if part.image else ''}{part.shape}{' (critics alone)' if part.privileged else ''}" for part in parts]
    return f"observations have {len(parts)} parts, kept apart: {', '.join(words)}"


def whole(space: spaces.Space, obs: Any, privileged: tuple[str, ...]) -> Any:
    """An observation with zeros in place of privileged parts that it lacks, because no policy reads them; `obs` itself where it has all."""
    if not isinstance(space, spaces.Dict) or not isinstance(obs, Mapping):
        return obs
    hidden = {name.split(".", 1)[0]: name for name in privileged}
    found = dict(obs)
    for key, part in space.items():
        if key in hidden and key not in found:
            found[key] = zeros(part)
        elif key in hidden and isinstance(part, spaces.Dict):
            found[key] = whole(part, found[key], tuple(name.split(".", 1)[1] for name in privileged if name.startswith(f"{key}.")))
    return found


def zeros(space: spaces.Space) -> Any:
    """An observation of a space, of zeros as far as it has them."""
    if isinstance(space, spaces.Dict):
        return {key: zeros(part) for key, part in space.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(zeros(part) for part in space)
    if isinstance(space, spaces.Discrete):
        return int(space.start)
    if isinstance(space, spaces.MultiDiscrete):
        return space.start.copy()
    if isinstance(space, spaces.Box):
        return np.clip(np.zeros(space.shape, space.dtype), space.low, space.high)
    return np.zeros(space.shape, space.dtype)
