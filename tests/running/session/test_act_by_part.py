"""`Run.act` for observations of several parts by name."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from deeprl.packing import packed_spec, unpacked
from deeprl.running.session.observed import of_parts, require_bytes, require_observation
from deeprl.types import ObsPart

IMAGE = ObsPart("image", (1, 2, 2), torch.uint8, image=True)
SPEED = ObsPart("speed", (3,), torch.float32)
HIDDEN = ObsPart("hidden", (2,), torch.float32, privileged=True)
SPEC = packed_spec((IMAGE, SPEED, HIDDEN), 3, 0)


def seen(size: tuple[int, ...] = ()) -> dict[str, np.ndarray]:
    return {"image": np.full((*size, 1, 2, 2), 9, np.uint8), "speed": np.full((*size, 3), 0.5)}


@pytest.mark.parametrize("size", [(), (1,), (4,)])
def test_one_observation_or_several_without_what_a_policy_does_not_see(size):
    rows, single = of_parts(SPEC, seen(size), None)
    assert (rows.shape, rows.dtype, single) == (((size or (1,))[0], *SPEC.obs_shape), np.uint8, not size)
    values = dict(zip([part.name for part in SPEC.parts], unpacked(SPEC, rows)[0]))
    assert (values["image"] == 9).all()
    assert (values["speed"] == 0.5).all()
    assert not values["hidden"].any()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"speed": np.zeros(2)}, "speed .* shape"),
        ({"speed": "fast"}, "speed"),
        ({"image": np.zeros((2, 2, 1), np.uint8)}, r"image .*\(1, 2, 2\)"),
    ],
)
def test_a_part_of_another_form_is_named(changed, words):
    with pytest.raises(ValueError, match=words):
        of_parts(SPEC, {**seen(), **changed}, None)


@pytest.mark.parametrize("numbers", [np.full((1, 2, 2), 0.5), np.full((1, 2, 2), 300), np.full((1, 2, 2), np.nan)])
def test_numbers_of_an_image_that_are_no_bytes_are_refused(numbers):
    """They were cast: an image in [0, 1] was black."""
    with pytest.raises(ValueError, match="^part image holds (0.5|300|nan), and its numbers are bytes here"):
        of_parts(SPEC, {**seen(), "image": numbers}, None)
    with pytest.raises(ValueError, match="^an observation holds"):
        require_bytes(numbers)
    require_bytes(np.array([0.0, 1.0, 255.0]))


def test_a_missing_part_and_a_missing_mask_are_named():
    with pytest.raises(ValueError, match="speed .* missing"):
        of_parts(SPEC, {"image": seen()["image"]}, None)
    with pytest.raises(ValueError, match="mask"):
        of_parts(SPEC._replace(masked=True), seen(), None)


def test_two_observations_by_part_are_no_observation_with_its_info():
    space = spaces.Dict({"image": spaces.Box(0, 255, (1, 2, 2), np.uint8), "speed": spaces.Box(-1.0, 1.0, (3,))})
    require_observation((seen(), seen()), space)
    with pytest.raises(ValueError, match=r"this is \(observation, info\)"):
        require_observation((seen(), {"lives": 3}), space)
