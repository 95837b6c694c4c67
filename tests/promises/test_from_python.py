"""Own code from Python: environments made by functions, listeners, continued runs, columns of metrics, a warm start."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import re
import signal
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

import deeprl
from deeprl.cli import exits
from deeprl.envs.conversion import Conversion
from deeprl.envs.function import Function
from deeprl.errors import CheckpointError, ConfigError
from deeprl.running.config.compose import compose
from deeprl.running.config.stored import require_ahead
from deeprl.running.runs.config_file import check_identity, identity
from deeprl.running.runs.folder import RunFolder
from deeprl.running.session import session
from deeprl.running.session.api import alone
from deeprl.running.session.given import replace_function, worded
from deeprl.running.session.run import Run
from deeprl.running.training.evaluation import LONGEST, cut_off, recorded
from deeprl.running.training.listeners import Listeners
from deeprl.running.training.trainer import Trainer
from deeprl.system.functions import GIVEN, found, name_of
from deeprl.system.ranks import ALONE
from deeprl.system.signals import Signals
from tests.builders import console, front_door, lines, same, snapshot
from tests.promises.test_any_environment import Pictures

SHORT = {
    "agent": "dqn", "steps": 120, "replay.learning_starts": 40, "log.every": 30, "accelerate": "fast",
    "replay": {"capacity": 100, "batch_size": 8}, "agent.torso.hidden": [8], "runtime.threads": 1,
    "evaluation": {"every": 40, "episodes": 2, "final_episodes": 3}, "checkpoint.every": 50,
}  # fmt: skip
PLAIN = {"agent/torso": "mlp", **SHORT}


def make(length: int = 20) -> gymnasium.Env:
    return gymnasium.make("CartPole-v1", max_episode_steps=length)


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_overrides_by_key_are_those_of_a_command_line():
    given = {"agent": "dqn", "replay": {"n_step": 3}, "agent.torso.hidden": [8, 8], "stop.return": None, "flag": True, "text": "a b, 'c'"}
    assert worded(given) == [
        "agent='dqn'", "replay.n_step=3", "agent.torso.hidden=[8,8]", "stop.return=null", "flag=true", r"text='a b, \'c\''",
    ]  # fmt: skip


def test_values_of_numpy_and_paths_are_written_as_python_writes_them():
    given = {"steps": np.int64(3), "lr": np.float32(0.5), "on": np.bool_(True), "hidden": np.array([8, 8]), "place": Path("a/b")}
    assert worded(given) == ["steps=3", "lr=0.5", "on=true", "hidden=[8,8]", "place='a/b'"]
    with pytest.raises(ConfigError, match="a set, is no value"):
        worded({"hidden": {8}})


def test_a_function_makes_the_environment_and_any_process_finds_it(capfd):
    run = deeprl.train({**PLAIN, "log.info": ["place:last"]}, env=make)
    assert run.config["env"]["function"] == "tests.promises.test_from_python:make"
    assert run.folder.parent.parent.name == "function_tests.promises.test_from_python_make"
    assert run.summary["final"]["length"] <= 20
    assert console("eval", run.folder) == exits.WRONG  # a stranger's function is not imported unasked
    assert "--allow-package tests" in capfd.readouterr().err
    assert console("eval", run.folder, "--allow-package", "tests") == exits.FINISHED
    loaded = deeprl.load(run.folder, allow=("tests",))
    assert loaded.act(np.zeros(4)) == run.act(np.zeros(4))
    assert loaded.env == run.env  # whose evaluations lacked the numbers of info


def test_one_environment_for_all_is_refused():
    """Evaluation would reset the episodes of training."""
    one = make()
    with pytest.raises(ConfigError, match="returned an environment a second time"):
        deeprl.train(PLAIN, env=lambda: one)


def test_one_vector_for_all_is_refused():
    one = gymnasium.make_vec("CartPole-v1", 2, vectorization_mode="sync")
    with pytest.raises(ConfigError, match="returned an environment a second time"):
        deeprl.train({**PLAIN, "env.num": 2, "evaluation.num": 2}, env=lambda num_envs: one)


class Endless(gymnasium.Env):
    """Reward 1 for ever."""

    def __init__(self):
        self.observation_space, self.action_space = gymnasium.spaces.Box(-1, 1, (2,)), gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action):
        return np.zeros(2, np.float32), 1.0, False, False, {}


def test_two_threads_do_not_train_at_once():
    """Their runs had other numbers than one after the other, because torch's precision belongs to the process."""
    told = []

    def other():
        try:
            deeprl.train(PLAIN, env=Endless)
        except ConfigError as error:
            told.append(str(error))

    with alone():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert len(told) == 1
    assert "another thread of this process trains" in told[0]
    assert not Path("runs").exists()


def test_an_evaluation_whose_episodes_never_end_does(monkeypatch, capsys):
    monkeypatch.setattr("deeprl.running.training.evaluation.SHORTEST", 6)
    short = {**PLAIN, "steps": 30, "agent/torso": "mlp", "evaluation": {"every": None, "num": 2, "final_episodes": 5}}
    with pytest.warns(RuntimeWarning, match=r"cut off after 6 steps, because no time limit of .* is known: a function of your own can put"):
        run = deeprl.train(short, env=Endless)
    assert [list(each) for each in run.evaluations()["returns"]] == [[6.0] * 5]
    told = r"no time limit is known, and no episode ended in [\d,]+ steps .*: return gymnasium\.wrappers\.TimeLimit\(env, STEPS\)"
    assert re.search(told, capsys.readouterr().err)
    settings = run.config["evaluation"]
    assert recorded(run.folder, 30, 0, settings).longest == 6  # with which `deeprl eval` repeats it
    limited = deeprl.train(short, env=lambda: gymnasium.wrappers.TimeLimit(Endless(), 9))
    assert [list(each) for each in limited.evaluations()["returns"]] == [[9.0] * 5]
    assert "time limit" not in capsys.readouterr().err
    assert recorded(limited.folder, 30, 0, settings).longest == LONGEST


def test_an_evaluation_is_repeated_as_it_was_made(tmp_path):
    """Episodes were cut off where those of another evaluation had been; and a resume that changes `evaluation.num` changed them."""
    with (tmp_path / "evaluations.jsonl").open("w") as file:
        for line in (
            {"step": 100, "seed": 1, "num": 4, "returns": [10_000.0] * 8, "cut_off": 10_000},
            {"step": 200, "seed": 2, "num": 4, "returns": [15_000.0] * 8},
        ):
            file.write(f"{json.dumps(line)}\n")
    settings = {"num": 1, "final_episodes": 100}
    assert recorded(tmp_path, 100, 1, settings) == (8, 4, 10_000)
    assert recorded(tmp_path, 200, 2, settings) == (8, 4, LONGEST)
    assert recorded(tmp_path, 200, 3, settings) == (100, 1, 10_000)


@pytest.mark.parametrize(("lengths", "steps"), [([], 10_000), ([20, 50], 10_000), ([20, 3000], 30_000), ([50_000], 100_000)])
def test_episodes_of_training_say_where_those_of_an_evaluation_are_cut_off(lengths, steps):
    assert cut_off(lengths) == steps


class Fragile(gymnasium.Env):
    """Five steps of reward 1. The first three episodes of the process that get so far raise at their third step."""

    left = 3

    def __init__(self):
        self.observation_space, self.action_space = gymnasium.spaces.Box(-1, 1, (2,)), gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.steps += 1
        if self.steps == 3 and Fragile.left:
            Fragile.left -= 1
            raise OSError("no answer")
        return np.zeros(2, np.float32), 1.0, self.steps == 5, False, {}


@pytest.mark.filterwarnings("ignore:environment:RuntimeWarning")
def test_an_episode_that_a_failure_cuts_off_is_no_result(monkeypatch):
    short = {**PLAIN, "steps": 1, "agent/torso": "mlp", "evaluation": {"every": None, "final_episodes": 4}, "env.on_error": "restart"}
    run = deeprl.train(short, env=Fragile)
    assert Fragile.left == 0
    assert [list(each) for each in run.evaluations()["returns"]] == [[5.0] * 4]
    monkeypatch.setattr(Fragile, "left", 10**9)
    with pytest.raises(RuntimeError, match="cut off by failures"):
        deeprl.train(short, env=Fragile)


def test_the_command_line_takes_a_function_too(capfd):
    words = ["env=function", "env.function=tests.promises.test_from_python:make", "env.kwargs={length:7}", *worded(PLAIN)]
    assert front_door(*words) == exits.FINISHED
    (summary,) = Path("runs").rglob("summary.json")
    assert json.loads(summary.read_text())["final"]["length"] == 7
    assert f"deeprl eval {next(Path('runs').rglob('summary.json')).parent} --episodes 100 --allow-package tests\n" in capfd.readouterr().out
    assert front_door("env=function", "env.function=tests.nowhere:make", *worded(PLAIN)) == exits.WRONG
    assert "env.function=tests.nowhere:make cannot be imported (No module named 'tests.nowhere')" in capfd.readouterr().err


def test_the_nearest_function_of_a_module_is_named():
    module = "tests.promises.test_from_python"
    with pytest.raises(ValueError, match=r"has no attribute 'mak'\. Did you mean make\?\): it must stand") as told:
        Function(function=f"{module}:mak").build()
    assert "PYTHONPATH" not in str(told.value)
    with pytest.raises(ValueError, match=rf": a module is named without \.py, {module}:make$"):
        Function(function=f"{module.replace('.', '/')}.py:make").build()


def test_a_package_that_a_module_lacks_is_named(tmp_path, monkeypatch):
    """Its folder was said to be missing in PYTHONPATH, where it stood."""
    (tmp_path / "lacking_one.py").write_text("import nowhere_at_all")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        ValueError, match=r"\(No module named 'nowhere_at_all'\): lacking_one imports nowhere_at_all, which is not installed"
    ):
        Function(function="lacking_one:make").build()


def test_functions_without_an_importable_name():
    """Two lambdas of one place have two names, and one of them the same name twice."""
    one, other = lambda: make(5), lambda: make(6)
    names = name_of(one), name_of(other)
    assert name_of(one) == names[0] != names[1]
    assert found(names[0]) is one
    assert found(names[1]) is other
    run = deeprl.train(PLAIN, env=one)
    assert run.summary["final"]["length"] == 5
    with pytest.raises(ConfigError, match="env.vector must be sync, not async"):
        deeprl.train({**PLAIN, "env.vector": "async"}, env=one)


def test_a_cell_that_is_run_again_replaces_no_function_of_before(monkeypatch):
    """An earlier run was evaluated in the new environment."""
    main = sys.modules["__main__"]
    codes = (make.__code__, name_of.__code__, make.__code__)
    first, second, again = (type(make)(code, make.__globals__, "cell", make.__defaults__) for code in codes)
    for function in (first, second, again):
        function.__module__, function.__qualname__ = "__main__", "cell"
    monkeypatch.setattr(main, "cell", first, raising=False)
    name = name_of(first)
    monkeypatch.setattr(main, "cell", second)
    assert (name, found(name)) == ("__main__:cell", first)
    assert name not in GIVEN  # workers of a script import it
    assert name_of(second) != name
    assert found(name_of(second)) is second
    third = type(make)(second.__code__, second.__globals__, "cell", second.__defaults__)
    third.__module__, third.__qualname__ = "__main__", "cell"
    assert name_of(third) == name_of(second)
    monkeypatch.setattr(main, "cell", again)
    assert name_of(again) == name  # runs of an unchanged cell are of one task


def test_functions_that_make_something_else_are_refused():
    with pytest.raises(ConfigError, match="returned int, not a gymnasium.Env"):
        deeprl.train(PLAIN, env=lambda: 5)
    with pytest.raises(ConfigError, match="function must be the place of a function"):
        deeprl.train([*worded(PLAIN), "env=function", "env.function=make"])


def test_images_of_a_function(capfd):
    run = deeprl.train({key: value for key, value in SHORT.items() if key != "agent.torso.hidden"}, env=Pictures)
    assert run.agent.spec.obs_shape == (3, 7, 7)


def test_arguments_that_a_function_does_not_take_are_named_by_their_key():
    with pytest.raises(ConfigError, match=r"does not take env\.kwargs=\{'lenght': 7\}: .*unexpected keyword argument 'lenght'"):
        deeprl.train({**PLAIN, "env.kwargs": {"lenght": 7}}, env=make)


def test_listeners_see_what_the_files_hold():
    seen: dict[str, list] = {"log": [], "evaluation": [], "checkpoint": []}
    run = deeprl.train(
        PLAIN,
        env=make,
        on_log=lambda step, metrics: seen["log"].append((step, dict(metrics))),
        on_evaluation=lambda step, result: seen["evaluation"].append((step, result["mean"])),
        on_checkpoint=lambda step, folder: seen["checkpoint"].append((step, folder.name)),
    )
    assert [step for step, _ in seen["log"]] == [30, 40, 60, 80, 90, 120]
    evaluations = run.evaluations()
    assert [step for step, _ in seen["evaluation"]] == evaluations["step"].tolist() == [40, 80, 120]
    assert [mean for _, mean in seen["evaluation"]] == evaluations["mean"].tolist()
    assert evaluations["episodes"].tolist() == [2, 2, 3]
    assert evaluations["lengths"][2].shape == (3,)
    assert {name for _, name in seen["checkpoint"]} >= {"step_000000000050", "step_000000000100", "step_000000000120"}
    metrics = run.metrics()
    assert metrics["step"].tolist() == [30, 40, 60, 80, 90, 120, 120]
    assert np.isnan(metrics["eval/mean_reward"][0])
    assert metrics["eval/mean_reward"][1] == evaluations["mean"][0]


def test_null_in_a_log_is_nan_in_its_column():
    run = deeprl.train({**PLAIN, "steps": 1}, env=make, folder="run")
    Path("run/metrics.jsonl").write_text('{"step": 1, "time": 0.5, "train/loss": null}\n{"step": 2, "time": 1, "train/loss": 3}\n')
    metrics = run.metrics()
    assert list(metrics) == ["step", "time", "train/loss"]
    assert metrics["step"].tolist() == [1, 2]
    assert metrics["train/loss"].dtype == float
    np.testing.assert_array_equal(metrics["train/loss"], [np.nan, 3.0])


def test_listeners_change_nothing_and_may_stop():
    def spoil(step, metrics):
        metrics.clear()

    one, other = deeprl.train(PLAIN, env=make), deeprl.train(PLAIN, env=make, on_log=spoil, on_evaluation=spoil)
    assert same(snapshot(one.agent), snapshot(other.agent))
    stopped = deeprl.train(PLAIN, env=make, on_evaluation=lambda step, result: step >= 80)
    assert (stopped.step, stopped.summary["stopped_early"]) == (80, "on_evaluation asked for it")
    assert stopped.summary["final"]["episodes"] == 3
    written = deeprl.train(PLAIN, env=make, on_evaluation=lambda step, result: len(str(result)))  # as file.write answers
    assert (written.step, written.summary["stopped_early"]) == (120, None)
    with pytest.raises(ValueError, match="an observation holds nan at index 2"):
        written.act(np.array([0.0, 0.0, np.nan, 0.0]))


def test_listeners_add_numbers_to_the_log_and_a_resumed_run_adds_the_same():
    def count(step, metrics):
        return {"steps/half": step / 2}

    def score(step, summary):
        return {"best": np.float32(summary["mean"]), "none": float("nan")}

    def fail(step, metrics):
        return count(step, metrics) if step < 90 else 1 / 0

    whole = deeprl.train(PLAIN, env=make, folder="whole", on_log=count, on_evaluation=score)
    logged = whole.metrics()
    assert logged["user/steps/half"][:-1].tolist() == [15, 20, 30, 40, 45, 60]
    assert logged["user/best"][1] == pytest.approx(logged["eval/mean_reward"][1])
    assert logged["user/best"][-1] == pytest.approx(whole.summary["final"]["mean"])
    assert same(snapshot(whole.agent), snapshot(deeprl.train(PLAIN, env=make).agent))
    with pytest.raises(ZeroDivisionError):
        deeprl.train(PLAIN, env=make, folder="run", on_log=fail, on_evaluation=score)
    deeprl.train(PLAIN, env=make, folder="run", resume=True, on_log=count, on_evaluation=score)
    assert lines(Path("run"), "metrics.jsonl") == lines(Path("whole"), "metrics.jsonl")


@pytest.mark.parametrize(
    ("listener", "answer", "says"),
    [
        ("on_log", {"a b": 1}, "the name 'a b'"),
        ("on_log", {"a": "1"}, "a='1', which is no number"),
        ("on_log", {"a": True}, "a=True, which is no number"),
        ("on_evaluation", {5: 1}, "the name 5"),
        ("on_checkpoint", {"a": 1}, "only on_log and on_evaluation can add"),
    ],
)
def test_an_answer_that_cannot_be_logged_is_refused(listener, answer, says):
    with pytest.raises(ValueError, match=f"^{listener} answered with .*{says}"):
        Listeners(**{listener: lambda step, what: answer}).tell(listener, 1, {})


def test_two_listeners_with_one_name_are_refused():
    def both(step, what):
        return {"score": 1}

    with pytest.raises(ValueError, match="on_log and on_evaluation answered with the same name user/score at step 40"):
        deeprl.train(PLAIN, env=make, on_log=both, on_evaluation=both)


@pytest.mark.parametrize(
    ("listener", "says"),
    [
        (lambda result: None, r"on_evaluation takes a function of \(step, summary\), and <lambda>\(result\) is none: too many positional"),
        (lambda step, result, more: None, r"\(step, result, more\) is none: missing a required argument"),
        (5, r"on_evaluation takes a function of \(step, summary\), not 5"),
    ],
)
def test_a_listener_of_other_arguments_is_refused_before_anything_is_trained(listener, says):
    with pytest.raises(ConfigError, match=says):
        deeprl.train(PLAIN, env=make, on_evaluation=listener)
    assert not Path("runs").exists()
    assert Listeners(on_log=print, on_evaluation={"a": 1}.get).tell("on_evaluation", 1, {}) == (None, {})


def test_a_listener_that_loads_a_run_leaves_torch_as_it_was():
    """`deeprl.load` within a listener set the number of threads for the rest of the training."""
    before = torch.get_num_threads(), torch.get_float32_matmul_precision()

    def load(step, metrics):
        torch.set_num_threads(before[0] + 1)
        torch.set_float32_matmul_precision("medium")

    Listeners(on_log=load).tell("on_log", 1, {})
    assert (torch.get_num_threads(), torch.get_float32_matmul_precision()) == before


def test_a_signal_in_a_run_within_a_listener_is_left_to_the_next_step():
    def train(step, metrics):
        raise SystemExit(exits.STOPPED)

    stand: Any = SimpleNamespace(listeners=Listeners(on_log=train), step=1, signals=Signals(), ranks=ALONE)
    with pytest.raises(SystemExit):  # a listener's own
        Trainer.tell(stand, "on_log", {})
    stand.signals.stop = "SIGTERM"
    assert Trainer.tell(stand, "on_log", {}) == {}


def test_overrides_as_arguments_are_explained():
    says = r"agent, steps: overrides are one dictionary or list, deeprl.train\(\{'agent': 'dqn', 'steps': 5\}, \.\.\.\)"
    with pytest.raises(ConfigError, match=says):
        deeprl.train(agent="dqn", steps=5)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"on_step": print}, "there is no argument on_step: deeprl.train calls on_log, on_evaluation and on_checkpoint"),
        ({"callback": print}, "there is no argument callback, and a configuration has no functions: deeprl.train calls on_log, on_eval"),
        ({"folder": 123}, "folder takes the path of a run folder, not 123"),
        ({"env": "CartPole-v1"}, r'deeprl.train\(\["env=gym", "env.id=CartPole-v1"\]\)'),
    ],
)
def test_arguments_of_other_libraries_are_answered_with_ours(arguments, says):
    with pytest.raises(ConfigError, match=says):
        deeprl.train(PLAIN, **arguments)


def test_a_column_that_is_not_there_has_a_nearest():
    Path("run").mkdir()
    Path("run/metrics.jsonl").write_text('{"step": 1, "train/loss": 3}\n')
    columns = Run(Path("run"), {}, None, 0, None, None).metrics()
    with pytest.raises(KeyError, match="there is no train/los. Did you mean train/loss"):
        columns["train/los"]
    with pytest.raises(KeyError, match="there is no x. There are step, train/loss"):
        columns["x"]
    assert columns.get("x") is None


def test_what_reset_returns_and_a_tensor_with_a_gradient_are_no_observation():
    run = Run(Path("run"), {}, SimpleNamespace(spec=SimpleNamespace(masked=False)), 0, None, None)
    run.__dict__["_closed"] = SimpleNamespace(conversion=Conversion(gymnasium.spaces.Box(-1, 1, (4,)), gymnasium.spaces.Discrete(2)))
    with pytest.raises(ValueError, match=r"this is \(observation, info\), as reset\(\) returns it"):
        run.act((np.zeros(4, np.float32), {}))
    with pytest.raises(ValueError, match=r"a tensor that requires a gradient.*act\(obs.detach\(\)\)"):
        run.act(torch.zeros(4, requires_grad=True))


def test_a_run_is_shown_in_one_line_and_as_a_table():
    config = {"names": {"agent": "idqn", "env": "function/<lambda>"}}
    run = Run(Path("runs/a").absolute(), config, None, 1400, {"final": {"mean": 11.04}}, None)
    assert repr(run) == "Run(idqn on function/<lambda>, step 1,400, return 11.0, runs/a)"
    assert "<tr><th>environment</th><td>function/&lt;lambda&gt;</td></tr>" in run._repr_html_()
    assert "return none yet, /elsewhere" in repr(Run(Path("/elsewhere"), config, None, 0, None, None))


def test_a_run_of_a_notebooks_function_is_loaded_with_the_function(monkeypatch):
    run = deeprl.train({**PLAIN, "steps": 60}, env=lambda: make())
    with pytest.raises(ConfigError):
        deeprl.load(run.folder)
    loaded = deeprl.load(run.folder, env=lambda: make())
    assert loaded.act(np.zeros(4)) == run.act(np.zeros(4))
    assert same(loaded.agent.state_dict(), run.agent.state_dict())
    with pytest.raises(CheckpointError, match=r"does not fit env=__main__:.*, which has observations \(2,\) and 2 actions"):
        deeprl.load(run.folder, env=Endless)
    with pytest.raises(ConfigError, match="env takes a function without num_envs here"):
        deeprl.load(run.folder, env=lambda num_envs: None)
    with pytest.raises(ConfigError, match="env takes a function that makes a new environment, not 'classic/cartpole'"):
        deeprl.load(run.folder, env="classic/cartpole")


def test_a_function_is_refused_where_no_function_made_the_environment():
    with pytest.raises(ConfigError, match="env must be left out, because no function made the environment of this run, classic/cartpole"):
        replace_function({"names": {"env": "classic/cartpole"}, "env": {}}, make)


def test_a_true_answer_at_the_last_step_is_no_early_stop():
    run = deeprl.train(PLAIN, env=make, on_evaluation=lambda step, result: step == 120, on_checkpoint=lambda step, folder: step == 120)
    assert (run.step, run.summary["stopped_early"]) == (120, None)


def test_an_error_in_a_listener_ends_the_run_and_is_in_its_status():
    def fail(step, metrics):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        deeprl.train(PLAIN, env=make, folder="run", on_log=fail)
    assert json.loads(Path("run/status.json").read_text())["state"] == "failed"
    assert "raise KeyError" in Path("run/traceback.txt").read_text()  # as after a command


def test_an_error_before_the_first_step_leaves_its_traceback_too(tmp_path, monkeypatch):
    """It was written of errors in training, and by the end of a command."""

    def fail(*arguments, **others):
        raise ArithmeticError("in the first reset")

    monkeypatch.setattr(session, "assemble", fail)
    with pytest.raises(ArithmeticError):
        session.built({"seed": 0}, RunFolder(tmp_path), None, ALONE, None)
    assert RunFolder(tmp_path).read_status()["state"] == "failed"
    assert "in the first reset" in (tmp_path / "traceback.txt").read_text()


def test_a_folder_and_going_on_in_it(tmp_path):
    whole = deeprl.train(PLAIN, env=make, folder="whole")
    assert whole.folder == Path("whole").absolute()
    with pytest.raises(ConfigError, match="folder=whole already holds a run.*resume=True"):
        deeprl.train(PLAIN, env=make, folder="whole")

    def fail(step, metrics):
        if step == 90:
            raise KeyError("power cut")

    with pytest.raises(KeyError):
        deeprl.train(PLAIN, env=make, folder="broken", on_log=fail)
    with pytest.raises(ConfigError, match="another configuration \\(seed is 0 there and 1 here\\)"):
        deeprl.train({**PLAIN, "seed": 1}, env=make, folder="broken", resume=True)
    resumed = deeprl.train(PLAIN, env=make, folder="broken", resume=True)
    assert same(snapshot(whole.agent), snapshot(resumed.agent))
    again = deeprl.train(PLAIN, env=make, folder="broken", resume=True, on_log=fail)  # finished: only read
    assert again.step == 120
    with pytest.raises(ConfigError, match="needs the folder"):
        deeprl.train(PLAIN, env=make, resume=True)


class Breaks(gymnasium.Wrapper):
    """Raises at its 70th step, whoever repeats it."""

    steps = 0

    def step(self, action):
        self.steps += 1
        if self.steps == 70:
            raise OSError("sensor lost")
        return super().step(action)


def breaking() -> gymnasium.Env:
    return Breaks(make())


@pytest.mark.filterwarnings("ignore:environment")
def test_a_run_whose_environment_fails_again_goes_on_with_a_fresh_one():
    """Because resuming is exact, the failure would come at the same step; env.on_error may therefore change."""
    with pytest.raises(RuntimeError, match=r"sensor lost; env.on_error=restart ends such an episode and goes on"):
        deeprl.train(PLAIN, env=breaking, folder="run")
    resume = ("resume", "run", "--allow-package", "tests")
    assert console(*resume) == exits.FAILED
    assert console(*resume, "env.num=2") == exits.WRONG
    assert console(*resume, "env.on_error=restart", "env.timeout=7", "runtime.watchdog=9") == exits.FINISHED
    config = RunFolder(Path("run")).read_config()
    assert (config["env"]["on_error"], config["env"]["timeout"], config["runtime"]["watchdog"]) == ("restart", 7, 9)


def test_a_run_with_more_steps_names_the_command_that_goes_on():
    """Periods that were shares of the steps stay those of the shorter run."""
    deeprl.train(PLAIN, env=make, folder="run")
    with pytest.raises(ConfigError, match=r"go on with deeprl resume run steps=160 evaluation.every=60 --allow-package tests, or"):
        deeprl.train({**PLAIN, "steps": 160, "evaluation.every": 60}, env=make, folder="run", resume=True)
    with pytest.raises(ConfigError, match="another configuration"):
        deeprl.train({**PLAIN, "steps": 160, "discount": 0.5}, env=make, folder="run", resume=True)
    stored = RunFolder(Path("run")).read_config()
    with pytest.raises(ConfigError, match="`deeprl resume run steps=120 --allow-package tests` ends it there"):
        require_ahead(Path("run"), stored, {**stored, "steps": 60})
    assert console("resume", "run", "--allow-package", "tests", "steps=160", "evaluation.every=60") == exits.FINISHED


def test_keys_of_where_and_how_long_may_change_between_checkpoints():
    config = {"env": {"id": "A", "on_error": "fail", "timeout": 60}, "discount": 0.9, "collect": {"address": None}}
    check_identity({**config, "env": {**config["env"], "on_error": "restart"}}, ("env",), identity(config, ["env"]))
    with pytest.raises(ValueError, match="edited since, in env"):
        check_identity({**config, "env": {**config["env"], "id": "B"}}, ("env",), identity(config, ["env"]))


def test_ranks_that_saved_without_the_digest_of_their_data_go_on():
    """The first rank alone wrote it, so that no run of several ranks that learned from stored data could be resumed."""
    names = {"agent": "dqn", "env": "a"}
    check_identity({"names": {**names, "data": "2e54"}}, ("names",), identity({"names": names}, ["names"]))
    with pytest.raises(ValueError, match="edited since, in names"):
        check_identity({"names": {**names, "agent": "c51", "data": "2e54"}}, ("names",), identity({"names": names}, ["names"]))


def test_a_warm_start_takes_what_fits(capfd):
    old = deeprl.train(PLAIN, env=make, folder="old")
    new = deeprl.train({**PLAIN, "init_from": "old", "replay.learning_starts": 1000}, env=make)
    assert "8 of 8 tensors are those of old, step 120" in capfd.readouterr().err
    assert same(snapshot(old.agent), snapshot(new.agent))  # it has made no update
    early = deeprl.train({**PLAIN, "init_from": "old@100", "replay.learning_starts": 1000, "agent/chain": "online_target"}, env=make)
    assert "step 100" in capfd.readouterr().err
    assert not torch.equal(early.agent.chain.online.torso.weight_0, old.agent.chain.online.torso.weight_0)
    deeprl.train({**PLAIN, "init_from": "old", "agent.torso.hidden": [9]}, env=make)
    said = capfd.readouterr().err
    assert "chain.online.torso.weight_0 (1, 4, 9) starts anew, because it has the shape (1, 4, 8) there" in said
    for wrong, message in (
        ("nowhere", "init_from=nowhere.*no run folder"),
        ("old@7", "no checkpoint of step 7"),
        (5, "init_from=5 is out"),
    ):
        with pytest.raises(ConfigError, match=message):
            deeprl.train({**PLAIN, "init_from": wrong}, env=make)
    with pytest.raises(ConfigError, match="no weight of it has a name, shape and type"):
        deeprl.train({"agent": "td3", "env": "classic/pendulum", "init_from": "old"})


def test_a_warm_start_leaves_the_configured_scale_of_observations():
    scaled = {**PLAIN, "replay.learning_starts": 1000}
    old = deeprl.train({**scaled, "agent.normalize.by": [10.0] * 4}, env=make, folder="old")
    new = deeprl.train({**scaled, "agent.normalize.by": [1.0] * 4, "init_from": "old"}, env=make)
    ones = torch.ones(1, 4)
    assert torch.equal(old.agent.normalize(ones), 0.1 * ones)
    assert torch.equal(new.agent.normalize(ones), ones)
    before = {**new.agent.state_dict(), "normalize.factor": torch.zeros(4)}  # of a checkpoint that held it
    new.agent.load_state_dict(before)
    assert torch.equal(new.agent.normalize(ones), ones)


def test_a_function_without_an_importable_name_goes_on():
    """As a cell of a notebook that is run again."""

    def fail(step, metrics):
        if step == 90:
            raise KeyError("power cut")

    whole, calls = deeprl.train(PLAIN, env=lambda: make(), folder="whole"), []
    with pytest.raises(KeyError):
        deeprl.train(PLAIN, env=lambda: make(), folder="run", on_log=fail)
    resumed = deeprl.train(PLAIN, env=lambda: calls.append(1) or make(), folder="run", resume=True)
    assert same(snapshot(whole.agent), snapshot(resumed.agent))
    assert calls
    calls.clear()
    read = deeprl.train(PLAIN, env=lambda: calls.append(2) or make(), folder="run", resume=True)
    assert read.step == 120
    assert 2 in calls  # its environment is that of the function given last
    with pytest.raises(ConfigError, match="configuration \\(names.env is "):
        deeprl.train(PLAIN, env=make, folder="run", resume=True)


def test_a_run_with_a_class_of_the_user_goes_on(tmp_path, monkeypatch, capfd):
    (tmp_path / "mine.py").write_text(
        "from deeprl.learning.parts.exploration import EpsilonGreedy\n\n\nclass Mine(EpsilonGreedy):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    words = [*worded(PLAIN), "env=classic/cartpole", "agent.explore._target_=mine.Mine"]

    def fail(step, metrics):
        if step == 90:
            raise KeyError("power cut")

    for folder in ("python", "command"):
        with pytest.raises(KeyError):
            deeprl.train(words, folder=folder, on_log=fail)
    assert deeprl.train(words, folder="python", resume=True).step == 120
    assert deeprl.train(words, folder="python", resume=True).step == 120  # only read
    capfd.readouterr()
    assert front_door(*words, "resume=auto", "hydra.run.dir=command") == exits.FINISHED
    assert "deeprl eval command --episodes 100 --allow-package mine\n" in capfd.readouterr().out
    with pytest.raises(
        ConfigError, match="mine.Mine is outside of the packages deeprl, deeprl_lab: if you trust it, allow it with --allow-package mine"
    ):
        deeprl.load("python")


def test_a_wrong_configuration_leaves_no_folder():
    with pytest.raises(ConfigError):
        deeprl.train({**PLAIN, "agent.torso.hidden": [-1]}, env=make)
    assert not list(Path("runs").rglob("*seed0"))
    Path("mine").mkdir()
    with pytest.raises(ConfigError):
        deeprl.train({**PLAIN, "agent.torso.hidden": [-1]}, env=make, folder="mine")
    assert Path("mine").is_dir()


def test_the_home_folder_is_found(monkeypatch):
    monkeypatch.setenv("HOME", str(Path.cwd()))
    deeprl.train(PLAIN, env=make, folder="~/run")
    assert deeprl.load("~/run", allow=["tests", "gymnasium"]).step == 120
    assert deeprl.train({**PLAIN, "init_from": "~/run@last"}, env=make).step == 120


def make_elsewhere() -> gymnasium.Env:
    """An environment that changes the current folder."""
    os.makedirs("elsewhere", exist_ok=True)
    os.chdir("elsewhere")
    return make()


def test_an_environment_may_change_the_current_folder():
    here = Path.cwd()
    run = deeprl.train(PLAIN, env=make_elsewhere, folder="run")
    assert run.folder == here / "run"
    os.chdir(here)
    assert console("resume", "run", "--allow-package", "tests", "steps=160", "evaluation.every=60") == exits.FINISHED
    os.chdir(here)
    assert RunFolder(Path("run")).read_status()["step"] == 160


def make_deaf() -> gymnasium.Env:
    """An environment that takes a signal."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    return make()


def test_a_run_hears_the_signals_that_an_environment_has_taken():
    with pytest.raises(SystemExit) as left:
        deeprl.train(PLAIN, env=make_deaf, folder="run", on_log=lambda step, metrics: signal.raise_signal(signal.SIGUSR1))
    assert left.value.code == exits.STOPPED
    assert RunFolder(Path("run")).read_status()["state"] == "stopped"


def test_a_warm_start_that_was_killed_goes_on_with_its_own_weights():
    deeprl.train(PLAIN, env=make, folder="old")
    warm = {**PLAIN, "init_from": "old"}
    whole = deeprl.train(warm, env=make)

    def fail(step, metrics):
        if step == 90:
            raise KeyError

    with pytest.raises(KeyError):
        deeprl.train(warm, env=make, folder="broken", on_log=fail)
    assert same(snapshot(deeprl.train(warm, env=make, folder="broken", resume=True).agent), snapshot(whole.agent))


def test_a_wrong_key_beside_right_options_is_the_one_that_is_named():
    with pytest.raises(ConfigError, match=r"^lr=0.1: there is no key lr. Did you mean agent.optimizer.lr\?$"):
        deeprl.train({"agent": "dqn", "env": "toy/chain", "lr": 0.1})
    late = ["agent.chain.target_update_period=500", "agent=dqn", "agent.optimizer.learning_rate=1e-3"]  # idqn has no such period
    with pytest.raises(ConfigError, match=r"^agent.optimizer.learning_rate=1e-3: .* Did you mean agent.optimizer.lr\?"):
        compose(late)
    with pytest.raises(ConfigError, match=r"^env.functon=odd:make: there is no key env.functon. Did you mean env.function\?"):
        compose(["agent=dqn", "env=function", "env.functon=odd:make"])
    with pytest.raises(ConfigError, match=r"^agent=DQN is not an option of agent. Did you mean dqn\?"):
        deeprl.train({"agent": "DQN", "env": "toy/chain"})


def test_arguments_of_the_wrong_kind_are_named():
    with pytest.raises(ConfigError, match=r"not a text: deeprl.train\(\['agent=dqn', 'steps=100'\]\)"):
        deeprl.train("agent=dqn steps=100")
    for env in (make(), "CartPole-v1"):
        with pytest.raises(ConfigError, match="env takes a function that makes a new environment"):
            deeprl.train(PLAIN, env=env)


def test_arguments_that_are_no_overrides():
    for word in ("resume=auto", "hydra.run.dir=x"):
        with pytest.raises(ConfigError, match="from Python this is an argument"):
            deeprl.train([word])


@pytest.mark.parametrize(("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_signal_ends_the_script_too(number, raised, capfd):
    """So that a loop over seeds does not begin the next run in the time that Slurm gives to save this one."""

    def stop(step, metrics):
        os.kill(os.getpid(), number)

    with pytest.raises(raised) as left:
        deeprl.train(PLAIN, env=make, folder="run", on_log=stop)
    assert raised is KeyboardInterrupt or left.value.code == exits.STOPPED
    assert f"stopped by {number.name} at step " in capfd.readouterr().err
    assert same(snapshot(deeprl.train(PLAIN, env=make, folder="run", resume=True).agent), snapshot(deeprl.train(PLAIN, env=make).agent))


class Careless(gymnasium.Env):
    """It draws from the generators of the process, where `self.np_random` would be right."""

    observation_space = gymnasium.spaces.Box(-1, 1, (3,), np.float32)
    action_space = gymnasium.spaces.Discrete(3)

    def draw(self) -> np.ndarray:
        return np.array([np.random.uniform(-1, 1), random.uniform(-1, 1), torch.rand(())], np.float32)  # noqa: NPY002

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return self.draw(), {}

    def step(self, action):
        self.time += 1
        return self.draw(), float(action == 1), self.time >= 10, False, {}


def test_an_evaluation_leaves_the_generators_of_the_process_as_they_were():
    def trained(every: int | None) -> dict[str, torch.Tensor]:
        for seed in (random.seed, np.random.seed, torch.manual_seed):
            seed(0)
        return snapshot(deeprl.train({**PLAIN, "evaluation": {"every": every, "episodes": 3, "final_episodes": 1}}, env=Careless).agent)

    assert same(trained(None), trained(30))


def test_a_worker_that_imports_the_script_trains_nothing(monkeypatch):
    monkeypatch.setattr(multiprocessing.current_process(), "_inheriting", True, raising=False)
    with pytest.raises(ConfigError, match='put deeprl.train.* below if __name__ == "__main__":'):
        deeprl.train(PLAIN, env=make)
    assert not list(Path().iterdir())
