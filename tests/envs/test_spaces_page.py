"""The tables of spaces in docs/environments.md say what the conversion does."""

from __future__ import annotations

import math
import re
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from deeprl.envs.conversion import Conversion
from deeprl.envs.vector.parts import Form

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "environments.md").read_text()
TABLES = PAGE.split("### Tried")[0].split("| action space")
OBSERVATIONS, ACTIONS = (re.findall(r"^\| `(.+?)` \| (.+) \|$", table, re.MULTILINE) for table in TABLES)
NAMES = {**vars(gymnasium.spaces), "np": np}


def built(text: str) -> gymnasium.Space:
    return eval(text, dict(NAMES))


def test_there_are_tables():
    assert (len(OBSERVATIONS), len(ACTIONS)) == (17, 9)


@pytest.mark.parametrize(("text", "outcome"), OBSERVATIONS)
def test_observations(text, outcome):
    space, actions = built(text), built("Discrete(4)")
    if outcome.startswith("refused"):
        with pytest.raises(ValueError, match=r"is not supported|env\.channels|at most 10,000"):
            Conversion(space, actions, Form(mask=None, parts="auto"))
        return
    conversion = Conversion(space, actions, Form(mask=None, parts="auto"))
    if "apart" in outcome:
        wanted = [tuple(int(size) for size in found.split(",") if size) for found in re.findall(r"\(([\d, ]+)\)", outcome)]
        assert sorted(part.shape for part in conversion.spec.parts) == sorted(wanted)
        return
    said = re.search(r"(vector|image|flattened) \(([\d, ]+)\)", outcome)
    assert said
    shape = tuple(int(size) for size in said[2].split(",") if size.strip())
    masked = "mask" in outcome
    assert conversion.spec.masked == masked
    assert conversion.spec.obs_shape == ((shape[0] + 4,) if masked else shape)
    assert ("flattened" in conversion.note) == (said[1] == "flattened")
    space.seed(0)
    row = conversion.row(space.sample(), {}, True)
    assert row.shape == conversion.spec.obs_shape
    assert np.isfinite(row).all()


@pytest.mark.parametrize(("text", "outcome"), ACTIONS)
def test_actions(text, outcome):
    space, seen = built(text), built("Box(-1, 1, (2,))")
    if outcome.startswith("refused"):
        with pytest.raises(ValueError, match=r"not supported|combinations|no bounds"):
            Conversion(seen, space, Form(mask=None, parts="auto"))
        return
    conversion = Conversion(seen, space, Form(mask=None, parts="auto"))
    number, kind = outcome.split(",")[0].split()[:2]
    if kind == "discrete":
        assert conversion.spec.num_actions == int(number)
        every = conversion.action(conversion.actions.to_env(np.arange(int(number))))
    else:
        assert conversion.spec.action_dim == int(number) == math.prod(space.shape)
        every = conversion.action(conversion.actions.to_env(np.random.default_rng(0).uniform(-1, 1, (20, int(number)))))
    assert all(space.contains(action) for action in every)
    assert len({action.tobytes() for action in every}) == len(every)


def test_a_space_without_a_number_is_refused_by_name():
    with pytest.raises(ValueError, match=r"observation space Box\(.*\(0,\).*holds no number"):
        Conversion(built("Box(-1, 1, (0,))"), built("Discrete(4)"))
