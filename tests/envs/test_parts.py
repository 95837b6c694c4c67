import numpy as np
import pytest
import torch
from gymnasium import spaces

from deeprl.envs.conversion import Conversion
from deeprl.envs.marks import Marks
from deeprl.envs.vector.observations import Frames
from deeprl.envs.vector.parts import Form
from deeprl.learning.networks.torsos import Impala, MinAtarTorso
from deeprl.running.session.costs import tell_scale
from tests.conformance import check_environment

IMAGE = spaces.Box(0, 255, (8, 8, 3), np.uint8)
SPEED = spaces.Box(-1, 1, (2,), np.float32)
BOTH = spaces.Dict(image=IMAGE, speed=SPEED)
FOUR = spaces.Discrete(4)


def seen(space: spaces.Space, parts: str = "auto", privileged: tuple[str, ...] = (), mask: bool | None = None) -> Conversion:
    return Conversion(space, FOUR, Form(None, mask, parts, privileged))


def names(conversion: Conversion) -> list[str]:
    return [part.name for part in conversion.spec.parts]


@pytest.mark.parametrize("inner", [IMAGE, SPEED, FOUR])
@pytest.mark.parametrize("parts", ["auto", "flat", "apart"])
def test_a_dict_of_one_part_is_the_plain_array(inner, parts):
    one, plain = seen(spaces.Dict(only=inner), parts), seen(inner, parts)
    inner.seed(0)
    value = inner.sample()
    assert one.spec == plain.spec
    assert one.row({"only": value}, {}, False).tobytes() == plain.row(value, {}, False).tobytes()


def test_vectors_alone_are_flattened_and_kept_apart_on_demand():
    space = spaces.Dict({"b": SPEED, "a": FOUR})  # which Gymnasium sorts
    flat, apart = seen(space), seen(space, "apart")
    value = {"a": 2, "b": np.float32([0.5, -0.5])}
    assert (names(flat), names(apart)) == ([], ["a", "b"])
    assert flat.spec == apart.spec._replace(parts=())
    assert flat.row(value, {}, False).tolist() == apart.row(value, {}, False).tolist() == [0, 0, 1, 0, 0.5, -0.5]
    assert [part.scaled for part in apart.spec.parts] == [False, True]  # a one-hot vector is not normalised


def test_an_image_stays_apart():
    conversion = seen(BOTH)
    image, vector = conversion.spec.parts[1], conversion.spec.parts[0]
    assert (image.name, image.shape, image.dtype, image.image) == ("image", (3, 8, 8), torch.uint8, True)
    assert (vector.name, vector.shape, vector.dtype, vector.image) == ("speed", (2,), torch.float32, False)
    assert conversion.spec.obs_shape == (8 * 8 * 3 + 8,)
    assert seen(BOTH, "flat").spec.obs_shape == (8 * 8 * 3 + 2,)
    assert "kept apart" in conversion.note


@pytest.mark.parametrize(("high", "side", "said"), [(255, 24, True), (1, 24, False), (255, 25, False)])
def test_bytes_that_no_small_network_scales_are_named(high, side, said):
    """PPO learned nothing from an image of 10 x 10 pixels of 0 and 255, and no line said why."""
    image = spaces.Box(0, high, (side, side, 1), np.uint8)
    for space in (image, spaces.Dict(image=image, wind=spaces.Box(-1, 1, (1,)))):
        assert (f"bytes up to {high}, which agent/torso=auto and minatar do not scale" in seen(space).note) == said


@pytest.mark.parametrize(
    ("high", "torso", "said"), [(1, Impala(), "bytes of observations by 0.0039"), (1, MinAtarTorso(), ""), (255, Impala(), "")]
)
def test_flags_that_a_torso_takes_for_pixels_are_named(high, torso, said, capsys):
    image = spaces.Box(0, high, (10, 10, 4), np.uint8)
    for space in (image, spaces.Dict(image=image, wind=spaces.Box(-1, 1, (1,)))):
        spec = seen(space).spec
        tell_scale(torso.resolve(spec).build(spec, 1), spec)
        told = capsys.readouterr().err
        assert said in told
        assert bool(told) == bool(said)


def test_a_stack_of_frames_says_so_by_its_space():
    still = spaces.Box(0, 255, (7, 5, 3), np.uint8)
    found = seen(spaces.Dict(camera=Frames((5, 6, 3), 3), first=Frames((4, 5, 6), 2), still=still, speed=SPEED)).spec.parts
    assert {part.name: (part.shape, part.frame_stack) for part in found} == {
        "camera": ((3, 5, 6), 3), "first": ((4, 5, 6), 2), "still": ((3, 7, 5), 1), "speed": ((2,), 1)
    }  # fmt: skip
    with pytest.raises(ValueError, match="4 frames must divide the channels"):
        Frames((6, 5, 5), 4)


def test_nested_parts_are_joined_by_a_dot_and_tuples_count():
    space = spaces.Dict(arm=spaces.Dict(camera=IMAGE, joints=SPEED), rest=spaces.Tuple([SPEED, FOUR]))
    conversion = seen(space)
    assert sorted(names(conversion)) == ["arm.camera", "arm.joints", "rest.0", "rest.1"]
    space.seed(0)
    assert conversion.row(space.sample(), {}, False).shape == conversion.spec.obs_shape


def test_a_mask_follows_the_parts():
    conversion = seen(spaces.Dict(observation=BOTH, action_mask=spaces.MultiBinary(4)))
    BOTH.seed(0)
    row = conversion.row({"observation": BOTH.sample(), "action_mask": np.int8([0, 1, 0, 1])}, {}, False)
    assert row.shape == conversion.spec.obs_shape
    assert row[-4:].tolist() == [0, 1, 0, 1]


def test_privileged_parts_stand_last_and_a_policy_needs_none_of_them():
    conversion = seen(BOTH, privileged=("image",))
    assert names(conversion) == ["speed", "image"]
    assert conversion.rows({"speed": np.float32([0.5, 0.5])}, None) is not None


CAMERA = spaces.Box(-2, 2, (1, 4, 4), np.float32)


@pytest.mark.parametrize(
    ("space", "obs"),
    [
        (spaces.Dict(speed=SPEED, camera=CAMERA), {"speed": np.float32([3.0, 0.5]), "camera": np.full((1, 4, 4), -1.0, np.float32)}),
        (spaces.Dict(speed=SPEED, image=IMAGE), {"speed": np.array([0.1, 0.5]), "image": np.full((8, 8, 3), 7, np.uint8)}),
        (spaces.Dict(speed=SPEED, gear=FOUR), {"speed": np.float32([3.0, 0.5]), "gear": 2}),
        (spaces.Tuple([SPEED, FOUR]), (np.array([0.1, 0.5]), np.int64(3))),
        (spaces.Dict(observation=SPEED, action_mask=spaces.MultiBinary(4)), {"observation": [0.1, 0.5], "action_mask": [1, 0, 1, 1]}),
    ],
)
def test_types_and_bounds_decide_not_what_a_policy_is_given(space, obs):
    """Training takes numbers beyond their bounds, and float64. A policy that was asked took them for rows: the camera was not scaled."""
    conversion = seen(space)
    rows, single = conversion.rows(obs, None)
    assert single
    assert np.array_equal(rows[0], conversion.row(obs, {}, False))
    assert np.array_equal(conversion.rows([obs, obs], None)[0], np.stack([rows[0]] * 2))


def test_masks_that_are_missing_or_too_few_are_named():
    conversion = seen(SPEED, mask=True)
    speed, mask = np.zeros(2, np.float32), np.int8([1, 0, 1, 1])
    assert conversion.rows([speed, speed], np.stack([mask, mask]))[0].shape == (2, 6)
    assert conversion.rows(np.zeros((2, 6), np.float32), None) is None  # rows that end with their masks
    with pytest.raises(ValueError, match=r"^mask is missing: .* act\(obs, mask=info\['action_mask'\]\)"):
        conversion.rows(speed, None)
    for wrong in (mask, np.stack([mask] * 3)):
        with pytest.raises(ValueError, match=r"^mask must be \(2, A\), a row for each observation"):
            conversion.rows([speed, speed], wrong)


V = np.float32([0.5, 0.5])
MASK = np.int8([1, 0, 1, 1])


@pytest.mark.parametrize(
    ("space", "privileged", "obs"),
    [
        (spaces.Dict(a=spaces.Dict(b=SPEED, c=SPEED), v=SPEED), "a.b", {"a": {"c": V}, "v": V}),
        (spaces.Dict(a=spaces.Dict(b=SPEED), v=SPEED), "a.b", {"v": V}),
        (spaces.Dict(observation=BOTH, action_mask=spaces.MultiBinary(4)), "image", {"observation": {"speed": V}, "action_mask": MASK}),
        (spaces.Tuple([SPEED, IMAGE]), "1", (V,)),
        (spaces.Tuple([spaces.Dict(a=SPEED, b=FOUR), SPEED]), "0.b", ({"a": V}, V)),
        (spaces.Tuple([FOUR, SPEED]), "0", (None, V)),
        (spaces.Dict({1: SPEED, 2: IMAGE}), "2", {1: V}),
        (spaces.Dict({"a.b": SPEED, "v": SPEED}), "a.b", {"v": V}),
    ],
)
def test_privileged_parts_may_be_missing_wherever_they_are(space, privileged, obs):
    conversion = seen(space, privileged=(privileged,))
    row, single = conversion.rows(obs, None)
    assert single
    assert row.shape == (1, *conversion.spec.obs_shape)
    assert conversion.rows([obs, obs], None)[0].tobytes() == 2 * row.tobytes()


@pytest.mark.parametrize("obs", [{"v": V}, {"a": {"b": V}, "v": V}, {"a": {}, "v": V}, {"a": {"c": V}}, {}, None, (V,)])
def test_a_common_part_may_not_be_missing(obs):
    assert seen(spaces.Dict(a=spaces.Dict(b=SPEED, c=SPEED), v=SPEED), privileged=("a.b",)).rows(obs, None) is None


def test_names_of_a_stranger_print_no_escape_sequence():
    conversion = seen(spaces.Dict({"\x1b[31mx\n": SPEED, "image": IMAGE}))
    assert (conversion.note + conversion.observation).isprintable()
    with pytest.raises(ValueError, match="names y") as found:
        seen(spaces.Dict({"\x1b[31mx": SPEED, "image": IMAGE}), privileged=("y",))
    assert str(found.value).isprintable()


@pytest.mark.parametrize(
    ("space", "form", "words"),
    [
        (spaces.Dict(image=IMAGE, text=spaces.Text(5)), Form(parts="auto"), "part text, Text.*FilterObservation"),
        (spaces.Dict(image=IMAGE, many=spaces.Sequence(SPEED)), Form(parts="auto"), "part many, Sequence.*FilterObservation"),
        (SPEED, Form(parts="auto", privileged=("x",)), "names parts of a Dict"),
        (BOTH, Form(parts="auto", privileged=("x",)), "env.privileged names x, and the parts .* image, speed"),
        (BOTH, Form(parts="auto", privileged=("image", "speed")), "all parts"),
        (BOTH, Form(parts="flat", privileged=("image",)), "leave env.parts=flat out"),
        (spaces.Dict(a=SPEED, b=spaces.Box(0, 255, (9, 9, 9), np.uint8)), Form(parts="auto"), "env.channels"),
        (
            spaces.Dict({"a.b": SPEED, "a": spaces.Dict(b=SPEED), "i": IMAGE}),
            Form(parts="auto"),
            r"the name a\.b, at \['a'\]\['b'\] and \['a\.b'\]: .*env.parts=flat",
        ),
        (spaces.Dict(), Form(parts="auto"), r"nothing at its top, Dict\(\).*wrapper"),
        (spaces.Dict(a=spaces.Dict(), v=SPEED), Form(parts="flat"), r"nothing at \['a'\], Dict\(\).*wrapper"),
        (spaces.Dict(a=spaces.Dict(), i=IMAGE, v=SPEED), Form(parts="auto"), r"nothing at \['a'\]"),
        (spaces.Dict(a=spaces.Box(0, 1, (0,)), i=IMAGE), Form(parts="auto"), "part a .* holds no number.*wrapper"),
        (BOTH, Form(parts="auto", privileged=("image", "image")), "env.privileged names image 2 times: name"),
        (spaces.Dict(i=IMAGE, action_mask=SPEED), Form(parts="auto", mask=True), "name action_mask, .*env.mask=false"),
        (
            spaces.Dict(observation=SPEED, action_mask=spaces.MultiBinary(4)),
            Form(parts="auto", mask=None, privileged=("action_mask",)),
            "names action_mask, which is the mask",
        ),
    ],
)
def test_refusals_say_what_to_do(space, form, words):
    with pytest.raises(ValueError, match=words):
        Conversion(space, FOUR, form)


@pytest.mark.parametrize("value", [{"image": IMAGE.sample()}, {"image": IMAGE.sample(), "speed": np.zeros(3)}, 4])
def test_an_observation_without_a_part_is_named(value):
    with pytest.raises(ValueError, match="part 'speed'|no part"):
        seen(BOTH).row(value, {}, False)


@pytest.mark.parametrize("continuous", [False, True])
def test_the_world_of_marks_is_an_environment(continuous):
    check_environment(Marks(continuous=continuous))


def test_only_the_mark_that_counts_earns_one():
    game = Marks().build()
    game.reset(0)
    for which, reward in ((0, 1.0), (1, -1.0)):
        game.places, game.which = np.float32([[0, 0], [0, 1], [4, 4]]), which
        assert game.step(3)[1:] == (reward, True, True)
    values = game.obs()
    assert values[:8].view(np.float32).tolist() == [0, 1]
    assert (values[8:].reshape(3, 5, 5).argmax(-1).max(1) == [1, 1, 4]).all()
