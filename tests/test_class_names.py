"""A name is that of one class, so that a message, a search and a stack of calls say which is meant."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TWICE = {"Auto", "Chain", "EpsilonGreedy", "LatentBandit", "Mean", "Sampled", "Single"}
"""Names of two classes, which stored configurations hold: none is added"""


def test_no_class_has_the_name_of_another():
    paths = [path for folder in ("deeprl", "agents", "envs", "deeprl_lab") for path in (ROOT / folder).rglob("*.py")]
    found = Counter(name for path in paths for name in re.findall(r"^ *class (\w+)[(:]", path.read_text(), re.MULTILINE))
    assert {name for name, count in found.items() if count > 1} <= TWICE
