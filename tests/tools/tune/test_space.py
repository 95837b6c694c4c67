"""Overrides with several values as parameters, and their values as overrides."""

import shlex

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from deeprl.cli.main import parsed
from deeprl.errors import ConfigError
from deeprl.tools.sweep.plan import check
from deeprl.tools.tune.space import parse
from tests.promises.test_readme import commands


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("interval(0,1)", FloatDistribution(0.0, 1.0)),
        ("tag(log,interval(1e-5,1e-2))", FloatDistribution(1e-5, 1e-2, log=True)),
        ("int(interval(1,5))", IntDistribution(1, 5)),
        ("tag(log,int(interval(1,512)))", IntDistribution(1, 512, log=True)),
        ("range(1,6)", IntDistribution(1, 5)),  # without its end, as in a sweep
        ("range(0,9,4)", IntDistribution(0, 8, step=4)),
        ("range(0,1,0.25)", FloatDistribution(0.0, 0.75, step=0.25)),
        ("range(0,1.2,0.3)", FloatDistribution(0.0, 0.9, step=0.3)),  # 0.3 + 0.3 + 0.3 is 0.8999…
        ("range(0.95,1.1,0.05)", FloatDistribution(0.95, 1.1, step=0.05)),  # 1.0999…, of which a sweep makes a job
        ("range(0.9,0,-0.3)", FloatDistribution(0.0, 0.9, step=0.3)),
        ("1,3,10", CategoricalDistribution(["1", "3", "10"])),
        ("choice([64,64],[256])", CategoricalDistribution(["[64,64]", "[256]"])),
    ],
)
def test_hydras_syntax_is_a_distribution(value, expected):
    assert parse([f"a.b={value}"]).distributions == {"a.b": expected}


def test_options_of_a_glob_are_those_of_the_slot():
    found = parse(["agent/head=glob(*quantile)"]).distributions["agent/head"]
    assert found == CategoricalDistribution(["implicit_quantile", "quantile"])


def test_a_job_has_the_fixed_settings_the_values_and_a_seed_and_computes_in_one_thread():
    space = parse(["agent=dqn", "+a.b=interval(0,1)", "seed=4", "c=1,null", "d=int(interval(1,9))"])
    assert space.seed == 4
    job = space.job("x", {"a.b": 1e-5 / 3, "c": "null", "d": 3}, 6)
    assert job.overrides == ("agent=dqn", "+a.b=3.33333e-06", "c=null", "d=3", "seed=6", "runtime.threads=1")
    assert parse(["a=1,2", "runtime.threads=4"]).job("x", {"a": "1"}, 0).overrides == ("runtime.threads=4", "a=1", "seed=0")


def test_a_real_number_stays_one():
    assert parse(["a=interval(0,9)"]).settings({"a": 3.0}) == ["a=3.0"]


def test_every_option_and_both_ends_are_checked():
    space = parse(["a=x,y,z", "b=int(interval(1,5))"])
    assert [job.overrides[:2] for job in space.corners()] == [("a=x", "b=1"), ("a=y", "b=1"), ("a=z", "b=1"), ("a=x", "b=5")]


def test_a_key_of_whole_numbers_is_told_before_the_first_trial():
    """Both ends of interval(1,5) are whole, so that every trial failed, one after the other."""
    space = parse(["agent=dqn", "replay.n_step=interval(1,4)"])
    settings = [job.overrides[1] for job in space.corners()]
    assert settings == ["replay.n_step=1.0", "replay.n_step=4.0", "replay.n_step=1.5"]
    with pytest.raises(ConfigError, match="a whole number") as caught:
        check(space.corners()[2:], here=False)
    assert space.remedy(str(caught.value)).endswith("for whole ones write replay.n_step=int(interval(1,4)).")
    assert space.remedy("a=1 is a whole number") == ""
    assert len(parse(["a=range(0,3,0.5)"]).corners()) == 2  # its last number has a fraction


def test_the_first_trial_may_be_given():
    space = parse(["a=x,y", "b=int(interval(1,5))", "c=interval(0,1)", "e=range(0,1,0.1)", "f=range(1,8,3)"])
    assert space.start(["b=3", "a=y", "c=1e-1", "e=0.3", "f=7"]) == {"b": 3, "a": "y", "c": 0.1, "e": 0.3, "f": 7}
    with pytest.raises(ConfigError, match="d is no parameter"):
        space.start(["d=1"])
    for word in ("b=6", "a=w", "b=x", "b=2.5", "b=inf", "c=nan", "c=-0.1", "e=0.35", "e=1", "f=6"):
        with pytest.raises(ConfigError, match=f"{word.partition('=')[2]} is not within {word[0]}="):
            space.start([word])


@pytest.mark.parametrize("values", [{"a": "x"}, {"a": "w", "b": 1}, {"a": "x", "b": 9}, {"a": "x", "b": "1 c=2"}, {"a": None, "b": 1}])
def test_values_that_a_study_does_not_search_are_known(values):
    """They may stand in the log of a stranger's study, and would be words of a command line."""
    space = parse(["a=x,y", "b=range(1,5)"])
    assert space.holds({"a": "y", "b": 3})
    assert not space.holds(values)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["a=log(1e-5,1e-2)"], r"a=log\(1e-5,1e-2\): .*tag\(log,interval"),
        (["a=interval(2,1)"], r"a=interval\(2,1\) is no range to search"),
        (["a=tag(log,interval(0,1))"], "no range to search"),
        (["a=tag(log,range(1,100))"], r"a=tag\(log,range\(1,100\)\) .*log is for an interval"),
        (["a=tag(foo,interval(1,5))"], r"a=tag\(foo,interval\(1,5\)\) .*unknown tag foo"),
        (["a=range(3,3)"], "no range to search"),
        (["a=x,y,x"], "an option is given twice"),
        (["a=1,2", "a=3"], "a is given twice"),
        (["a=1", "a=3,2"], "a is given twice"),
        (["a=1,2", "a=3,2"], "a is given twice"),
        (["seed=0,1", "a=1,2"], "seed is no parameter of a study, because --seeds"),
        (["env=a,b"], "env is no parameter"),
        (["hydra.run.dir=x", "a=1,2"], "a study sets hydra.run.dir itself"),
        (["resume=auto", "a=1,2"], "a study sets resume itself"),
        (["~a", "b=1,2"], "~a: a study cannot leave keys out"),
        (["seed=-1", "a=1,2"], "seed=-1 is out of range"),
        (["agent=dqn"], "needs a key with several values"),
    ],
)
def test_what_is_wrong_is_named(words, says):
    with pytest.raises(ConfigError, match=says):
        parse(words)


@pytest.mark.parametrize("command", [command for command in commands("deeprl tune") if not command.startswith("deeprl tune resume")])
def test_the_commands_of_the_documentation_can_start(command):
    _, options = parsed(shlex.split(command)[1:])
    check(parse(options.overrides).corners(), here=True)
