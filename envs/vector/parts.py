"""Spaces of several parts, each in its own form: what `env.parts` and `env.privileged` choose. Rows are those of `deeprl.packing`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from deeprl.choice import one_of
from deeprl.packing import arranged, pack, packed_spec
from deeprl.system.terminal import one_line
from deeprl.types import ObsPart

from .observations import FILTER, Frames, Observations, brief, channels_of, flattened, observations_of, unfit

Place = tuple[Any, ...]
"""Keys of dictionaries and places in tuples, from the outermost space to a part"""
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


def leaves(space: spaces.Space, name: str = "") -> Iterator[tuple[str, Place, spaces.Space]]:
    """Name, place and space of each part, in the space's order; names of nested ones are joined by a dot. A Dict of nothing is a part."""
    if not isinstance(space, (spaces.Dict, spaces.Tuple)) or not len(space):
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


def are_flags(space: spaces.Space, form: Form) -> bool:
    """Whether there are images of bytes, and none above 1."""
    images = [leaf for _, _, leaf in leaves(space) if leaf.dtype == np.uint8 and is_image(leaf, form.channels)]
    return bool(images) and all(leaf.high.max() <= 1 for leaf in images)  # type: ignore[attr-defined]  # each is a Box


def kept_apart(space: spaces.Space, form: Form) -> bool:
    """Whether the parts of a space stay apart.

    Raises:
        ValueError: a part holds nothing, or parts that stay apart have one name; `env.privileged` names what is no part, or all of them, or
            one twice, or goes with `env.parts=flat`.
    """
    if not isinstance(space, (spaces.Dict, spaces.Tuple)):
        if form.privileged:
            raise ValueError(f"env.privileged names parts of a Dict or Tuple, and the observation space is {brief(space)}: leave it out")
        return False
    found = list(leaves(space))
    names = [name for name, _, _ in found]
    if unknown := [name for name in form.privileged if name not in names]:
        raise ValueError(f"env.privileged names {listed(unknown)}, and the parts of its observations are {listed(names)}")
    if twice := [name for name in form.privileged if form.privileged.count(name) > 1]:
        raise ValueError(f"env.privileged names {listed(twice[:1])} {len(twice)} times: name each part once")
    if form.privileged and len(form.privileged) == len(found):
        raise ValueError("env.privileged names all parts of its observations, so that a policy would see none: leave one out")
    if form.privileged and form.parts == "flat":
        raise ValueError("env.privileged needs parts that stay apart: leave env.parts=flat out")
    for _, place, leaf in found:
        if isinstance(leaf, (spaces.Dict, spaces.Tuple)):
            raise ValueError(f"the observation space holds nothing at {there(place)}, {leaf}: leave it out by a wrapper: {FILTER}")
    if len(found) == 1 or form.parts == "flat":
        return False
    apart = form.parts == "apart" or bool(form.privileged) or any(is_image(leaf, form.channels) for _, _, leaf in found)
    if apart:
        check_names(space)
    return apart


def check_names(space: spaces.Space) -> None:
    """
    Raises:
        ValueError: two parts have one name, or one has no number.
    """
    places = dict[str, Place]()
    for name, place, leaf in leaves(space):
        if name in places:
            raise ValueError(
                f"two parts of its observations have the name {one_line(name)}, at {there(places[name])} and {there(place)}: give one of "
                "them another key by a wrapper, or make one vector of all, env.parts=flat"
            )
        if 0 in (leaf.shape or ()):
            raise ValueError(
                f"part {one_line(name)} of its observations, {brief(leaf)}, holds no number: leave it out by a wrapper: {FILTER}"
            )
        places[name] = place


def there(place: Place) -> str:
    """A place as an index: ['arm']['camera']."""
    return "".join(f"[{key!r}]" for key in place) or "its top"


def listed(names: Iterable[str]) -> str:
    """Names for a message: a stranger's may hold escape sequences."""
    return ", ".join(map(one_line, names))


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
            f"the observation space is not supported, because its part {one_line(name)}, {wrong}, is no array of fixed size. Leave it out "
            f"by a wrapper: {FILTER}"
        )
    image = is_image(space, form.channels)
    vector = isinstance(space, spaces.Box) and len(space.shape) != 1 and not image
    found = flattened(space) if vector else observations_of(space, form.channels)
    scaled = isinstance(space, spaces.Box) and not image
    frames = space.frame_stack if isinstance(space, Frames) and image else 1
    return ObsPart(name, found.shape, found.dtype, image, name in form.privileged, scaled, frame_stack=frames), found


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

    notes = dict.fromkeys(found.note for _, found in made.values() if found.note)
    return Observations(spec.obs_shape, spec.obs_dtype, convert, content(made), ". ".join([note(parts), *notes]), parts)


def content(made: Mapping[str, tuple[ObsPart, Observations]]) -> str:
    return "; ".join(f"{one_line(name)}: {found.content}" for name, (_, found) in made.items())


def note(parts: tuple[ObsPart, ...]) -> str:
    words = [
        f"{one_line(part.name)} {'image ' if part.image and part.name != 'image' else ''}{part.shape}"
        f"{' (critics alone)' if part.privileged else ''}"
        for part in parts
    ]
    return f"observations have {len(parts)} parts, kept apart: {', '.join(words)}"


def whole(space: spaces.Space, obs: Any, places: Iterable[Place]) -> Any:
    """An observation with zeros at those of these places where it has nothing or None: no policy reads privileged parts."""
    for place in places:
        obs = filled(space, obs, place)
    return obs


def filled(space: spaces.Space, obs: Any, place: Place) -> Any:
    """An observation with zeros at one place, if it has nothing there. What holds the place is made too, without its other parts."""
    if not place:
        return zeros(space) if obs is None else obs
    key, rest = place[0], place[1:]
    if isinstance(space, spaces.Dict) and isinstance(obs, Mapping | None):
        inside = {} if obs is None else dict(obs)
        return inside | {key: filled(space[key], inside.get(key), rest)}
    if isinstance(space, spaces.Tuple) and isinstance(obs, tuple | list | None):
        values = [*(obs or ()), *[None] * (key + 1 - len(obs or ()))]
        values[key] = filled(space[key], values[key], rest)
        return tuple(values)
    return obs


def zeros(space: spaces.Space) -> Any:
    """A part of zeros as far as its space has them."""
    if isinstance(space, spaces.Discrete):
        return int(space.start)
    if isinstance(space, spaces.MultiDiscrete):
        return space.start.copy()
    if isinstance(space, spaces.Box):
        return np.clip(np.zeros(space.shape, space.dtype), space.low, space.high)
    return np.zeros(space.shape, space.dtype)
