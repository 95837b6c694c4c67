"""The speed of this machine for the configuration of a grid."""

import pytest

from deeprl.errors import ConfigError
from deeprl.tools.check.record import Speed
from deeprl.tools.report.runs import read
from deeprl.tools.scaling import here
from deeprl.tools.scaling.here import measured, step_time
from tests.builders import CARTPOLE, settled
from tests.tools.report.folders import write_run


def speed(step: float, update: float, busy: float = 1.0) -> Speed:
    """Of 100 steps and 10 updates in the measured window."""
    seconds = 100 * step + 10 * update
    return Speed(0.0, 0.0, seconds, 100, 10, 100 * step, 0.0, 0.0, 0.0, 10 * update, busy * seconds)


@pytest.mark.parametrize(
    ("updates", "known"),
    [((0.003, 0.009), (0.02, 0.001, 2e-5)), ((0.005, 0.005), (0.02, 0.005, 0)),
     ((0.006, 0.004), (0.02, 0.005, 0)), ((0.001, 0.008), (0.02, 0, 2e-5))],
)  # fmt: skip
def test_two_batch_sizes_tell_what_a_sample_costs(updates, known):
    found = step_time(speed(0.01, updates[0]), speed(0.03, updates[1]), 100, 400)
    assert (found.step, found.update, found.sample) == pytest.approx(known)


def record(path, **changes):
    return read(write_run(path, config={**settled(*CARTPOLE), **changes}), "mine", lambda text: None)


def test_the_configuration_of_the_grid_is_trained_at_its_smallest_and_largest_batch(tmp_path, monkeypatch):
    seen, notes = [], []

    def training_speed(config, seconds, allowed):
        seen.append((config["replay"]["batch_size"], config["init_from"], allowed))
        return speed(0.01, 0.001, busy=0.5)

    monkeypatch.setattr(here, "training_speed", training_speed)
    run = record(tmp_path / "run", init_from="gone")
    measured(run, [64, 16, 32], ("deeprl",), notes.append)
    measured(run, [48], ("deeprl",), notes.append)
    assert seen == [(batch, None, ("deeprl",)) for batch in (16, 64, 48, 96)]
    assert "computed 50% of the time" in notes[0]


def test_a_real_training_has_a_speed(tmp_path, monkeypatch):
    monkeypatch.setattr(here, "SECONDS", 0.05)
    time, machine = measured(record(tmp_path / "run"), [16, 32], ("deeprl",), lambda text: None)
    assert time.known
    assert "threads" in machine


def test_what_the_command_does_not_allow_is_not_executed(tmp_path):
    env = {**settled(*CARTPOLE)["env"], "_target_": "stranger.Env"}
    with pytest.raises(ConfigError, match="stranger"):
        measured(record(tmp_path / "run", env=env), [16], ("deeprl",), lambda text: None)


def test_a_run_of_several_processes_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="a run of 2: leave --here out"):
        measured(record(tmp_path / "run").__class__(**{**vars(record(tmp_path / "other")), "ranks": 2}), [16], (), lambda text: None)
