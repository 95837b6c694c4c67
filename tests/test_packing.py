import numpy as np
import torch

from deeprl.packing import arranged, divide, join, pack, packed_spec, unpacked
from deeprl.replay.layout import layout
from deeprl.types import ObsPart

IMAGE = ObsPart("image", (1, 2, 2), torch.uint8, image=True)
NUMBERS = ObsPart("numbers", (2,), torch.float32)
HIDDEN = ObsPart("hidden", (1,), torch.float32, privileged=True)
MAP = ObsPart("map", (1, 1, 2), torch.uint8, image=True, privileged=True)
VALUES = {"image": np.uint8([[[1, 2], [3, 4]]]), "numbers": np.float32([0.5, -1]), "hidden": np.float32([7]), "map": np.uint8([[[8, 9]]])}


def test_common_parts_come_first_and_keep_their_order():
    other = NUMBERS._replace(name="other")
    assert [part.name for part in arranged([MAP, HIDDEN, IMAGE, other, NUMBERS])] == ["other", "numbers", "image", "hidden", "map"]


def test_a_row_with_an_image_is_its_pixels_and_four_bytes_a_number():
    spec = packed_spec([HIDDEN, IMAGE, NUMBERS, MAP], 3, 0, masked=True)
    row = pack(spec, [VALUES[part.name] for part in spec.parts], np.float32([1, 0, 1]))
    assert spec.obs_shape == row.shape == (3 * 4 + 4 + 2 + 3,)
    assert row.dtype == np.uint8
    assert row[:12].view(np.float32).tolist() == [0.5, -1, 7]
    assert row[12:].tolist() == [1, 2, 3, 4, 8, 9, 1, 0, 1]
    values, mask = unpacked(spec, np.stack([row, row]))
    assert all(np.array_equal(value[1], VALUES[part.name]) for value, part in zip(values, spec.parts))
    assert mask is not None
    assert mask[0].tolist() == [1, 0, 1]


def test_networks_see_common_parts_first():
    spec = packed_spec([HIDDEN, IMAGE, NUMBERS, MAP], 0, 1)
    rows = torch.from_numpy(np.stack([pack(spec, [VALUES[part.name] for part in spec.parts])] * 2))[1:]  # bytes of an odd place
    numbers, pixels = divide(spec.parts, rows)
    seen = join(spec.parts, numbers, pixels)
    assert seen.tolist() == [[0.5, -1, 1, 2, 3, 4, 7, 8, 9]]
    assert [each.tolist() for each in divide(spec.parts, seen)] == [numbers.tolist(), pixels.tolist()]


def test_images_alone_have_no_numbers():
    spec = packed_spec([IMAGE, MAP], 0, 1)
    numbers, pixels = divide(spec.parts, torch.from_numpy(pack(spec, [VALUES["image"], VALUES["map"]]))[None])
    assert numbers.shape == (1, 0)
    assert join(spec.parts, numbers, pixels).tolist() == [[1, 2, 3, 4, 8, 9]]


def test_numbers_alone_are_a_float32_row():
    spec = packed_spec([HIDDEN, NUMBERS], 0, 1)
    assert (spec.obs_shape, spec.obs_dtype) == ((3,), torch.float32)
    assert pack(spec, [VALUES["numbers"], VALUES["hidden"]]).tolist() == [0.5, -1, 7]


def test_an_image_of_84_by_84_beside_ten_numbers_takes_7096_bytes_a_row():
    spec = packed_spec([IMAGE._replace(shape=(1, 84, 84)), NUMBERS._replace(shape=(10,))], 4, 0)
    one, two = (layout(spec, capacity, 1, 1).memory for capacity in (1000, 2000))
    plain = layout(packed_spec([NUMBERS._replace(shape=(0,))], 4, 0), 1000, 1, 1)  # what any transition takes
    assert (two - one) / 1000 - 4 * plain.width - 8 == 7056 + 40
