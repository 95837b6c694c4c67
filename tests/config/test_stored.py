"""Configurations of older runs beside those that the same command line makes now."""

from __future__ import annotations

import pytest

from deeprl.config.stored import continued
from deeprl.errors import ConfigError
from deeprl.runs.folder import RunFolder
from tests.builders import settled

WORDS = ("agent=sac", "env=classic/pendulum")


def test_a_run_from_before_a_key_goes_on_where_the_key_is_null(tmp_path):
    older, now = settled(*WORDS), settled(*WORDS)
    del older["agent"]["temperature"]["betas"]
    RunFolder(tmp_path).write_config(older)
    assert "betas" not in continued(tmp_path, now)["agent"]["temperature"]
    for words in (("agent.temperature.betas=[0.9,0.99]",), ("agent.temperature.form=exp",)):
        with pytest.raises(ConfigError, match=r"another configuration \(agent differ\)"):
            continued(tmp_path, settled(*WORDS, *words))


def test_a_key_that_is_gone_is_another_configuration(tmp_path):
    older = settled(*WORDS)
    older["agent"]["temperature"]["gone"] = None
    RunFolder(tmp_path).write_config(older)
    with pytest.raises(ConfigError, match=r"another configuration \(agent differ\)"):
        continued(tmp_path, settled(*WORDS))
