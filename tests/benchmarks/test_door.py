"""A file of demonstrations from elsewhere: arrays are read, and nothing is called."""

import io
import os
import pickle

import numpy as np
import pytest

from benchmarks.door import Arrays


class Hostile:
    def __reduce__(self):
        return os.system, ("echo called",)


@pytest.mark.parametrize("module", [b"numpy.core", b"numpy._core"])
def test_arrays_are_read(module):
    given = [{"actions": np.arange(6.0).reshape(3, 2), "init_state_dict": {"qpos": np.ones(2)}}]
    found = Arrays(io.BytesIO(pickle.dumps(given, protocol=3).replace(b"numpy._core", module))).load()
    assert np.array_equal(found[0]["actions"], given[0]["actions"])
    assert found[0]["init_state_dict"]["qpos"].tolist() == [1.0, 1.0]


def test_a_name_of_anything_else_is_refused(capfd):
    with pytest.raises(pickle.UnpicklingError, match="posix.system is no array"):
        Arrays(io.BytesIO(pickle.dumps([np.ones(2), Hostile()], protocol=3))).load()
    assert not capfd.readouterr().out
