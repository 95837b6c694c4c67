"""Which names a stored configuration may call: what is defined where the user allows it, under whatever name it is found."""

from __future__ import annotations

import functools
import os

import gymnasium
import pytest

from deeprl.envs.function import Function
from deeprl.errors import ConfigError
from deeprl.running.config.stored import require_trusted
from deeprl.running.config.trust import argument_of_trust, words_of_trust
from deeprl.system.functions import name_of

HERE = __name__


def make(**kwargs) -> gymnasium.Env:
    return gymnasium.make("CartPole-v1", **kwargs)


class Cart(gymnasium.Wrapper):
    def __init__(self, **kwargs):
        super().__init__(make(**kwargs))

    @classmethod
    def new(cls):
        return cls()

    @staticmethod
    def one():
        return make()


class Thing:
    """No environment."""

    def __init__(self, command: str):
        raise AssertionError


@functools.wraps(make)
def wrapped(**kwargs) -> gymnasium.Env:
    return make(**kwargs)


part, bound, listed, system = functools.partial(make), Cart.new, [].append, os.system


@pytest.fixture(autouse=True)
def no_extension(monkeypatch):
    """Whichever are installed here."""
    monkeypatch.setattr("deeprl.running.config.folders.packages", lambda *allowed: ("deeprl", *allowed))


def refused(env: dict, *allow: str) -> str:
    with pytest.raises(ConfigError) as caught:
        require_trusted({"env": env}, "", ("deeprl", *allow))
    return str(caught.value)


def called(name: str, **kwargs) -> dict:
    return {"_target_": "deeprl.envs.function.Function", "function": name, "kwargs": kwargs}


def gym(**keys) -> dict:
    return {"_target_": "deeprl.envs.gym.Gym", "id": "CartPole-v1", **keys}


HOSTILE = (
    "gymnasium.wrappers.rendering:os.system", "gymnasium.envs.registration:importlib.import_module", "gymnasium:spaces.sys.exit",
    "gymnasium.envs.registration:EnvSpec.from_json.__globals__.get", "gymnasium:logger.warnings.warn", "gymnasium:Env.__subclasses__",
    "gymnasium.envs.registration:load_env_creator", "gymnasium.envs.registration:EnvSpec.from_json", "gymnasium:pprint_registry",
    "gymnasium.vector.utils.misc:CloudpickleWrapper.__setstate__", "gymnasium.utils.play:play", "gymnasium.wrappers:__getattr__",
    "gymnasium:Env.close", f"{HERE}:Cart.close", f"{HERE}:Cart.one.__class__", f"{HERE}:wrapped.__wrapped__",
    f"{HERE}:part", f"{HERE}:bound", f"{HERE}:listed", f"{HERE}:system", f"{HERE}:Cart.new", f"{HERE}:Thing", f"{HERE}:os.system",
    f"{HERE}:functools.partial", f"{HERE}:Function", f"{HERE}:name_of", "tests:__import__", "tests.nowhere:make", "tests", "tests:",
)  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_only_functions_of_the_allowed_package_itself_are_called(name):
    assert "env.function" in refused(called(name, command="echo"), "gymnasium", "tests")
    assert name_of(Function)  # both are imported here, and of deeprl


@pytest.mark.parametrize(
    "name",
    [
        *(f"{HERE}:make", f"{HERE}:wrapped", f"{HERE}:Cart", f"{HERE}:Cart.one"),
        *("gymnasium:make", "gymnasium.envs.registration:make_vec", "gymnasium.envs.classic_control.cartpole:CartPoleEnv"),
    ],
)
def test_functions_and_environments_of_an_allowed_package_are_called(name):
    package = name.partition(":")[0].split(".")[0]
    assert f"--allow-package {package}" in refused(called(name))
    require_trusted({"env": called(name)}, "", ("deeprl", package))


@pytest.mark.parametrize("name", ["deeprl.system.terminal:os.system", "deeprl.system.files:replace_file", "os:system", "builtins:exec"])
def test_no_word_allows_functions_of_deeprl_and_of_python(name):
    package = name.partition(":")[0].split(".")[0]
    assert "may call nothing of" in refused(called(name), "deeprl", package)
    for env in (gym(package=package), gym(id=f"{package}:Cart-v0"), gym(wrappers=[name.replace(":", ".")])):
        for target in (env["_target_"], "deeprl.envs.last_action.GymLastAction", "deeprl.envs.stock.GymStock"):
            assert "may call nothing of" in refused({**env, "_target_": target}, "deeprl", package)


def test_the_functions_of_an_installed_extension_need_a_word(monkeypatch):
    """Its options need none, because it announces them."""
    monkeypatch.setattr("deeprl.running.config.folders.packages", lambda *allowed: ("deeprl", "tests", *allowed))
    assert "--allow-package tests" in refused(called(f"{HERE}:make"), "tests")
    require_trusted({"env": called(f"{HERE}:make")}, "", ("deeprl", "tests", "tests"))
    require_trusted({"env": gym(wrappers=f"{HERE}.Cart")}, "", ("deeprl", "tests"))


def test_names_are_looked_at_wherever_they_stand():
    for config in ({"agent": {"head": [called("os:system")]}}, {"env": gym(kwargs={"inner": called("os:system")})}):
        with pytest.raises(ConfigError, match="os:system"):
            require_trusted(config, "", ("deeprl",))


@pytest.mark.parametrize(
    "path", ["gymnasium.wrappers.rendering.os", f"{HERE}.system", f"{HERE}.Function", f"{HERE}.make", "gymnasium.no.X"]
)
def test_a_wrapper_is_a_class_of_the_allowed_package(path):
    assert "env.wrappers" in refused(gym(wrappers=[{"path": path}]), "gymnasium", "tests")


def test_gymnasiums_own_wrappers_write_only_where_the_user_says():
    record = {"path": "gymnasium.wrappers.RecordVideo", "kwargs": {"video_folder": "videos of mine"}}
    assert "--allow-file 'videos of mine'" in refused(gym(wrappers=record), "gymnasium")
    require_trusted({"env": gym(wrappers=record)}, "", ("deeprl", "gymnasium", "videos of mine"))
    require_trusted({"env": gym(wrappers="gymnasium.wrappers.FlattenObservation")}, "", ("deeprl", "gymnasium"))


def test_a_name_behind_a_function_of_gymnasium_needs_a_word():
    """`gymnasium.make` imports the module of an id."""
    env = called("gymnasium.envs.registration:make", id="this:Env-v0")
    assert "--allow-file this:Env-v0" in refused(env, "gymnasium")


@pytest.mark.parametrize("key", ["package", "function"])
def test_a_name_that_a_shell_would_execute_is_quoted_in_the_remedy(key):
    assert "--allow-package '$(touch x)', from" in refused({**called("a:b"), key: "$(touch x)"})
    assert "--allow-package '$(touch x)', from" in refused({"_target_": "$(touch x).Choice"})


def test_a_command_is_printed_with_all_the_words_that_it_needs():
    env = gym(package="theirs", wrappers=[{"path": "gymnasium.wrappers.RecordVideo", "kwargs": {"video_folder": "my films"}}])
    words = "--allow-package theirs --allow-package gymnasium --allow-file 'my films'"
    assert words_of_trust({"env": env, "agent": {"_target_": "deeprl.agents.mvi.MVI"}}) == f" {words}"
    assert argument_of_trust({"env": env}) == ', allow=("theirs", "gymnasium", "my films",)'  # `deeprl pack` printed the call without it
    assert words_of_trust({"env": gym()}) == argument_of_trust({"env": gym()}) == ""
