"""The comparison of a program with its agent, in numbers that can be redone by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from deeprl.learning.values.masked import INVALID
from deeprl.tools.export.check import TOLERANCE, Agreement, Differs, agreement, made_up, of_actions, of_values
from tests.agents.test_masks import MASKED
from tests.builders import CONTINUOUS

OBS = np.array([[0.5], [-1.0], [200.0]], np.float32)
VALUES = np.array([[1.0, 2.0], [5.0, 5.0 - 1e-6], [-40.0, -80.0]], np.float32)
BEST = np.array([8, 7, 7])  # actions count from 7


def constant(actions):
    """A program that knows each observation's action by heart."""
    table = {float(obs[0]): action for obs, action in zip(OBS, actions)}
    return lambda obs: [np.array([table[float(row[0])] for row in obs], np.asarray(actions).dtype)]


def discrete(actions) -> Agreement:
    return agreement(constant(np.array(actions)), [OBS], BEST, of_values(VALUES, first=7))


def test_equal_actions_agree():
    assert discrete([8, 7, 7]) == Agreement(3, 1.0, 0.0, TOLERANCE)


def test_the_other_action_of_a_tie_within_rounding_agrees():
    found = discrete([8, 8, 7])
    assert found.equal == pytest.approx(2 / 3)
    assert found.largest == pytest.approx(2e-7, rel=0.1)  # 1e-6 of values of size 5


def test_a_worse_action_differs_by_what_it_loses():
    with pytest.raises(Differs, match=r"1 of 3 .* by 0\.5,"):  # 40 of values of size 80
        discrete([8, 7, 8])


@pytest.mark.parametrize("action", [6, 9])
def test_an_action_that_does_not_exist_differs(action):
    with pytest.raises(Differs, match="by inf"):
        discrete([action, 7, 7])


def test_an_invalid_action_makes_no_difference_small():
    """Its value is -1e30, in units of which every program agreed."""
    distance = of_values(np.array([[5.0, -3.0, 4.9, INVALID]]), first=0)
    assert distance(np.array([1])) == pytest.approx(8.0 / 5.0)
    assert (made_up(MASKED)[:, -MASKED.mask_size :] == 1.0).all()


def test_combinations_of_components():
    """2 x 3 actions, which count from (7, 1): number 4 is (8, 2)."""
    values = np.array([[0.0, 1.0, 2.0, 3.0, 4.0, 3.0]])
    distance = of_values(values, np.array([7, 1]), (2, 3))
    assert distance(np.array([[8, 2]])) == 0.0
    assert distance(np.array([[8, 3]])) == 0.25
    assert distance(np.array([[8, 4]])) == distance(np.array([[6, 2]])) == np.inf


EXPECTED = np.array([[0.0], [1.0], [-2.0]], np.float32)


def continuous(*changes: float) -> Agreement:
    found = EXPECTED + np.array(changes, np.float32)[:, None]
    return agreement(constant(found), [OBS], EXPECTED, of_actions(EXPECTED, np.float32([2.0])))


def test_a_difference_counts_in_half_ranges():
    assert continuous(0.0, 0.0, 0.0) == Agreement(3, 1.0, 0.0, TOLERANCE)
    assert continuous(1e-5, 0.0, 0.0).largest == pytest.approx(5e-6)
    with pytest.raises(Differs, match="2 of 3 .* 0.1,"):
        continuous(0.0, -0.2, 0.1)


def test_rounding_grows_with_the_observation():
    assert continuous(0.0, 0.0, 100 * 2 * TOLERANCE).equal == pytest.approx(2 / 3)  # the observation is 200
    with pytest.raises(Differs):
        continuous(0.0, 100 * 2 * TOLERANCE, 0.0)


def remembered(after: np.ndarray, found: np.ndarray, obs: np.ndarray, pixel: float) -> Agreement:
    """Agreement of a program whose new states are `found`, where the agent's are `after`, (M, S)."""
    actions = np.zeros((len(obs), 1), np.float32)
    rows = iter((slice(1), slice(1, None)))

    def run(*inputs):
        return [actions[: len(inputs[0])], found[next(rows)]]

    return agreement(run, [obs], actions, of_actions(actions, np.float32([1.0])), [np.zeros_like(after), after], pixel)


@pytest.mark.parametrize("pixel", [1.0, 1 / 255])
def test_rounding_grows_with_bytes_that_a_network_takes_as_they_are(pixel):
    """R2D2 with the camera of 16 x 16 pixels of a `Dict`, which no torso scales: its state differed by 3.3e-5, and nothing was written."""
    images, after = np.full((2, 1, 4, 4), 255, np.uint8), np.float32([[0.5, 1.0], [0.5, 1.0]])
    found = after + np.float32([[3.3e-5, 0.0], [0.0, 0.0]])
    if pixel == 1.0:
        assert remembered(after, found, images, pixel).allowed == pytest.approx(255 * TOLERANCE)
    else:
        with pytest.raises(Differs, match="1 of 2 new states .* 3.3e-05, .* 1e-05"):
            remembered(after, found, images, pixel)


def test_rounding_grows_with_the_state():
    obs, after = np.zeros((2, 3), np.float32), np.float32([[0.5, 1.0], [0.5, 1000.0]])
    assert remembered(after, after + np.float32([[0.0, 0.0], [5e-3, 0.0]]), obs, 1.0).allowed == TOLERANCE
    with pytest.raises(Differs, match="new states"):
        remembered(after, after + np.float32([[5e-3, 0.0], [0.0, 0.0]]), obs, 1.0)
    with pytest.raises(Differs, match="new states .* nan"):
        remembered(after, after * np.float32(np.nan), obs, 1.0)


def test_no_number_differs():
    with pytest.raises(Differs, match="nan"):
        continuous(0.0, np.nan, 0.0)


def test_another_type_or_shape_differs():
    with pytest.raises(Differs, match="int32.*int64"):
        discrete(np.array([8, 7, 7], np.int32))
    with pytest.raises(Differs, match=r"\(1, 1\), not .*\(1,\)"):
        discrete([[8], [7], [7]])


def test_made_up_observations_are_of_all_sizes():
    sizes = np.abs(made_up(CONTINUOUS)).max(1)
    assert sizes.min() == 0.0
    assert sizes.max() > 1000.0
    pixels = made_up(CONTINUOUS._replace(obs_shape=(1, 3, 2), obs_dtype=torch.uint8))
    assert pixels.dtype == np.uint8
    assert {0, 1, 255} <= {int(image.min()) for image in pixels if image.min() == image.max()}
