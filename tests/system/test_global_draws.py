"""Global generators of random numbers: what draws from them while a run trains is told once."""

from __future__ import annotations

import random

import numpy as np
import torch

from deeprl.system.global_draws import GlobalDraws


def test_a_draw_from_a_global_generator_is_told_once(capsys):
    """An environment or a source that used one was another after a resume, without a word."""
    watch = GlobalDraws()
    random.random()
    torch.rand(3, generator=torch.Generator())
    np.random.default_rng(0).random()
    watch.tell()
    assert not capsys.readouterr().err
    np.random.rand()  # noqa: NPY002
    torch.rand(1)
    watch.tell()
    watch.tell()
    assert capsys.readouterr().err.count("drew from the global generator of torch and numpy while the run trained") == 1
