"""Sentences about values that a choice does not take."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

from deeprl.choice import in_range


@pytest.mark.parametrize(
    ("low", "high", "value", "sentence"),
    [
        (None, None, float("nan"), "low must be a number, not nan"),
        (1, None, 0, "low must be at least 1, not 0"),
        (0, None, math.inf, "low must be at least 0 and finite, not inf"),
        (None, None, -math.inf, "low must be a number and finite, not -inf"),
        (None, 1, 2, "low must be at most 1, not 2"),
        (0, 1, True, "low must be between 0 and 1, not True"),
    ],
)
def test_the_sentence_names_the_ends_that_there_are(low, high, value, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        in_range(SimpleNamespace(low=value), low=(low, high))
