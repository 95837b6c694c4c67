"""Whole parts of a configuration, as a stranger would write them: names that call something, files, connections, in every slot."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from benchmarks.kill_and_resume import ROOT
from deeprl.running.runs.moved import former

MODULES = (
    "deeprl.system.terminal", "deeprl.system.machine", "deeprl.system.files", "deeprl.tools.sweep.process", "deeprl.running.config.trust",
    "deeprl",
    "deeprl.envs.gym", "gymnasium", "gymnasium.core", "gymnasium.envs.registration", "gymnasium.wrappers", "gymnasium.wrappers.rendering",
    "gymnasium.utils.play", "gymnasium.envs.classic_control.cartpole", "canary", "os", "subprocess", "builtins", "importlib", "pty",
    "__main__", "this", ".", "", "torch.hub", "numpy", "pickle", "benchmarks.mutate.parts",
)  # fmt: skip
ATTRIBUTES = (
    "os.system", "system", "subprocess.getoutput", "getoutput", "Popen", "sys.exit", "importlib.import_module", "import_module",
    "__import__", "__builtins__.get", "eval", "exec", "shutil.rmtree", "Path.unlink", "os.unlink", "replace_file", "remove", "open",
    "load", "make", "make_vec", "register", "load_env_creator", "EnvSpec.from_json", "Env.__init__.__globals__.get",
    "gym.logger.warnings.sys.exit", "CartPoleEnv", "FlattenObservation", "RecordVideo", "TimeLimit", "Function", "Env.__subclasses__",
    "partial", "Thing", "play", "",
)  # fmt: skip
SHELL = "touch outside/new"
ARGUMENTS: tuple[dict[str, Any], ...] = (
    {}, {"command": SHELL}, {"cmd": SHELL}, {"args": ["touch", "outside/new"]}, {"name": "canary"}, {"id": "canary:X-v0"},
    {"path": "outside/precious"}, {"file": "outside/new", "mode": "w"}, {"path": "outside", "content": "x"}, {"source": "import canary"},
    {"video_folder": "outside"}, {"video_folder": "films"}, {"max_episode_steps": 5}, {"env_id": "canary:X-v0"}, {"render_mode": "human"},
    {"entry_point": "canary:Thing", "id": "New-v0"}, {"dtype": "O"}, {"kwargs": {"a": ["outside/precious"]}}, {"wrappers": ["canary:X"]},
    {"vector_kwargs": {"worker": "os:system"}}, {"func": "os.system"}, {"json_env_spec": "{}"}, {"xml_file": "/dev/zero"},
)  # fmt: skip
IDS = ("CartPole-v1", "canary:Thing-v0", "this:Thing-v0", "deeprl.__main__:Thing-v0", "GymV26Environment-v0", "Ant-v5", "", "../x", "os:x")
PACKAGES = (None, "canary", "antigravity", "deeprl.__main__", "gymnasium.utils.play", "os", "..", "benchmarks.mutate.__main__")
ADDRESSES = (None, "10.0.0.1:6379", "ray://127.0.0.1:1", "local", 5, "127.0.0.1:1")


def classes() -> tuple[str, ...]:
    """`_target_` of every option on disk and what it was called before it moved, and two classes that no option names."""
    texts = (file.read_text() for room in ("configs", "deeprl_lab/configs") for file in sorted((ROOT / room).rglob("*.yaml")))
    targets = sorted({target for text in texts for target in re.findall(r"_target_: *([\w.]+)", text)})
    earlier = [former({"_target_": target})["_target_"] for target in targets]
    return (*dict.fromkeys([*targets, *earlier]), "deeprl.choice.Choice", "deeprl.choice.Part")


CLASSES = classes()


def part(folder: Path, dice: random.Random) -> str:
    """Another part in place of one of config.yaml, or of any node in it."""
    file = folder.parent.parent / "config.yaml"
    config = yaml.safe_load(file.read_text())
    key, make = dice.choice(SWAPS)
    parent = config
    if key == "anywhere":
        parent, key = dice.choice(nodes(config))
    parent[key] = new = make(dice, parent.get(key))
    file.write_text(yaml.safe_dump(config, sort_keys=False))
    return f"part {key}: {new!r:.300}"


def nodes(config: dict[str, Any]) -> list[tuple[dict[str, Any], str]]:
    """(parent, key) of every mapping in it."""
    found = [(config, key) for key, item in config.items() if isinstance(item, dict)]
    return found + [place for parent, key in found for place in nodes(parent[key])]


def name(dice: random.Random, joint: str = ":") -> str:
    return joint.join((dice.choice(MODULES), dice.choice(ATTRIBUTES)))


def arguments(dice: random.Random, deep: bool = True) -> dict[str, Any]:
    found = dict(dice.choice(ARGUMENTS))
    if deep and dice.random() < 0.2:
        found["inner"] = environment(dice, None, deep=False)
    return found


def environment(dice: random.Random, before: dict[str, Any] | None, deep: bool = True) -> dict[str, Any]:
    """One that is made of names; a tenth of them by another class, with all keys of the old one."""
    shared = {"num": 2, "vector": "sync", "reseed_every": 1, "on_error": "fail", "timeout": 60.0}
    kind = dice.choice(("function", "vectorized", "gym", "gym", "wrappers", "other"))
    if kind == "other":
        return {**(before or shared), "_target_": dice.choice(CLASSES)}
    keys: dict[str, Any] = {"_target_": f"deeprl.envs.{'gym.Gym' if kind == 'wrappers' else f'{kind}.{kind.capitalize()}'}", **shared}
    if kind in ("function", "vectorized"):
        keys |= {"function": name(dice), "kwargs": arguments(dice, deep)}
    if kind == "gym":
        keys |= {"id": dice.choice(IDS), "package": dice.choice(PACKAGES), "kwargs": arguments(dice, deep)}
    if kind == "wrappers":
        entries = [{"path": name(dice, "."), "kwargs": arguments(dice, deep)} for _ in range(dice.choice((1, 1, 2)))]
        keys |= {"id": "CartPole-v1", "wrappers": dice.choice((entries, entries[0], entries[0]["path"]))}
    return keys


def collection(dice: random.Random, before: object) -> dict[str, Any]:
    keys = {"actors": 2, "envs": 1, "ticks": 8, "ahead": 1, "address": dice.choice(ADDRESSES), "timeout": 5.0, "restarts": 0}
    return {"_target_": "deeprl.running.collect.choice.OnRay", **keys}


def loggers(dice: random.Random, before: object) -> dict[str, Any]:
    mode = dice.choice(("online", "offline", "disabled"))
    return {
        "_target_": "deeprl.running.runs.loggers.Logging",
        "wandb": dice.choice((True, 1, "yes")),
        "project": "x",
        "entity": "x",
        "mode": mode,
    }


def source(dice: random.Random, before: object) -> str:
    return dice.choice(("outside", "outside/precious", "/dev/zero", "/proc/self/environ", "run@1", ".", "~", "\x1b[2J", "canary.py"))


def choice(dice: random.Random, before: Any) -> dict[str, Any]:
    kept = before if isinstance(before, dict) and dice.random() < 0.5 else {}
    return {**kept, "_target_": dice.choice((dice.choice(CLASSES), name(dice, ".")))}


SWAPS: tuple[tuple[str, Callable[..., Any]], ...] = (
    ("env", environment), ("env", environment), ("env", environment), ("collect", collection), ("logger", loggers), ("logger", choice),
    ("init_from", source), ("anywhere", environment), ("anywhere", choice), ("replay", choice), ("learner", choice),
)  # fmt: skip
