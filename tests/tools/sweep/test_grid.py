"""Overrides with several values become jobs: which, in what order, and under what names."""

from __future__ import annotations

import pytest

from deeprl.errors import ConfigError
from deeprl.tools.sweep.grid import LONGEST, expand


def names(*overrides: str) -> list[str]:
    return [job.name for job in expand(overrides)]


def test_each_combination_is_a_job():
    jobs = expand(["agent=dqn,idqn", "env=toy/chain", "seed=range(0,2)", "runtime.threads=2"])
    assert [job.overrides for job in jobs] == [
        ("agent=dqn", "env=toy/chain", "seed=0", "runtime.threads=2"),
        ("agent=dqn", "env=toy/chain", "seed=1", "runtime.threads=2"),
        ("agent=idqn", "env=toy/chain", "seed=0", "runtime.threads=2"),
        ("agent=idqn", "env=toy/chain", "seed=1", "runtime.threads=2"),
    ]
    assert [job.name for job in jobs] == ["agent=dqn,seed=0", "agent=dqn,seed=1", "agent=idqn,seed=0", "agent=idqn,seed=1"]


def test_a_job_has_one_thread_unless_the_user_says_otherwise():
    assert expand(["seed=1"])[0].overrides == ("seed=1", "runtime.threads=1")
    assert names("runtime.threads=1,2") == ["threads=1", "threads=2"]


@pytest.mark.parametrize(
    ("override", "values"),
    [
        ("a=1e-3,1e-4", ["0.001", "0.0001"]),
        ("a=choice(x,y)", ["x", "y"]),
        ("a=range(0,5,2)", ["0", "2", "4"]),
        ("a='x,y',z", ["'x,y'", "z"]),
        ("a=[1,2],[3]", ["[1,2]", "[3]"]),
        ("a=[1,2]", ["[1,2]"]),
        ("a='x,y'", ["'x,y'"]),
        ("a=true,null", ["True", "null"]),
        ("agent=glob(double*)", ["double_dqn"]),
        ("env=glob(toy/ch*)", ["toy/chain"]),
    ],
)
def test_hydra_reads_the_values(override, values):
    key = override.split("=")[0]
    assert [job.overrides[0] for job in expand([override])] == [f"{key}={value}" for value in values]


def test_names_hold_what_differs_as_short_as_it_is_clear():
    assert names("agent.optimizer.lr=1e-3,1e-4", "steps=5") == ["lr=0.001", "lr=0.0001"]
    assert names("agent.optimizer.lr=1,2", "agent.actor_optimizer.lr=3,4")[0] == "optimizer.lr=1,actor_optimizer.lr=3"
    assert names("agent/backup=max,double") == ["backup=max", "backup=double"]
    assert names("seed=1") == ["run"]


def test_names_are_safe_file_names():
    assert names("env=minatar/breakout,classic/cartpole") == ["env=minatar_breakout", "env=classic_cartpole"]
    assert names("a=[1,2],../../x") == ["a=1_2", "a=.._.._x"]
    assert all("/" not in name for name in names("a='/etc',' b\tc'"))


def test_names_that_would_be_equal_or_too_long_get_a_mark():
    one, other, third = names("a=x/y,x_y,z")
    assert one.startswith("a=x_y-")
    assert other.startswith("a=x_y-")
    assert one != other
    assert third == "a=z"
    lower, upper = names("a=b,B")
    assert lower.lower() != upper.lower()
    assert max(map(len, names(f"a={'x' * 200},{'y' * 200}"))) == LONGEST
    assert not any(name.endswith(".log") for name in names("a=b,b.log"))  # b's log file


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["seed=interval(0,1)"], r"seed=interval\(0,1\) cannot be enumerated"),
        (["seed=range(3,3)"], "seed=range.* without a run"),
        (["seed=1,1"], "seed=1,1 gives seed=1 twice"),
        (["seed=1,2", "seed=3"], "seed is given twice"),
        (["hydra.run.dir=x"], "hydra.run.dir=x: .*--dir"),
        (["hydra/launcher=joblib"], "hydra/launcher"),
        (["device=${oc.env:DEVICE}"], "no resolver"),
        (["resume=auto"], "resume=auto"),
    ],
)
def test_refused(overrides, says):
    with pytest.raises(ConfigError, match=says):
        expand(overrides)


def test_a_name_has_letters_that_every_shell_takes_in_its_keys_too():
    """A sweep with such a key could not be read back."""
    assert [job.name for job in expand(["env.kwargs.a$b=1,2"])] == ["a_b=1", "a_b=2"]
