"""`init_from`: what is loaded, what starts anew beside it, and what is left behind. Sources are short runs whose target lags behind."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from deeprl.agents.annotated import Table
from deeprl.agents.harpg import Corrected
from deeprl.agents.lpo import LPO
from deeprl.agents.lpo_width import Width
from deeprl.errors import ConfigError
from deeprl.learning.agent import Agent
from deeprl.learning.parts.divergence import AdaptiveRate, Stop
from deeprl.packing import packed_spec
from deeprl.running.config.build import build_agent
from deeprl.running.config.stored import continued
from deeprl.running.runs import checkpoint
from deeprl.running.runs.checkpoints import Checkpoints
from deeprl.running.runs.folder import RunFolder
from deeprl.running.session.warm_start import agree_, alike, starting_anew, warm_start
from deeprl.running.training import evaluator
from deeprl.types import ObsPart
from tests.agents.test_pois import FORK
from tests.agents.test_pois import agent as trajectories
from tests.agents.test_ppo import agent_of as ppo
from tests.builders import CARTPOLE, front_door, same, settled, snapshot, spec_of, train, value_agent

SHORT = ("steps=90", "evaluation.every=90", "evaluation.episodes=1", "evaluation.final_episodes=1", "agent.chain.target_update_period=80")
NEW = {"cartpole": ("env=classic/cartpole", "agent.torso.hidden=[16]"), "pendulum": ("env=classic/pendulum", "agent.torso.hidden=[16]")}
PENDULUM = (
    "env=classic/pendulum", "env.max_episode_steps=20", "steps=60", "replay.learning_starts=40", "replay.batch_size=8",
    "replay.capacity=100",
    "agent.torso.hidden=[16]", "agent.actor_torso.hidden=[16]", "evaluation.every=60", "evaluation.episodes=1",
    "evaluation.final_episodes=1", "runtime.threads=1",
)  # fmt: skip
OBS = torch.linspace(-1.0, 1.0, 12).view(3, 4)


def started(source: Path | str, env: str, *words: str) -> Agent:
    """An agent with the weights of a run."""
    agent = build_agent(settled(*words, *NEW[env]), spec_of(f"classic/{env}"))
    warm_start(agent, str(source))
    return agent


def stored(source: Path, which: str | int = "last") -> dict[str, torch.Tensor]:
    return Checkpoints(source).load(which, only={"agent"})[1]["agent"]["module"]


@pytest.fixture(scope="module")
def dqn(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("source") / "dqn"
    train(path, *CARTPOLE, *SHORT)
    return path


@pytest.fixture(scope="module")
def targetless(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("source") / "targetless"
    train(path, *CARTPOLE[:8], *CARTPOLE[10:], *SHORT[:-1], "agent/chain=online_target", "agent.torso.hidden=[16]")
    return path


@pytest.fixture(scope="module")
def sac(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("source") / "sac"
    train(path, "agent=sac", *PENDULUM)
    return path


def test_what_only_the_source_has_is_named(tmp_path, capfd):
    path = tmp_path / "dueling"
    train(path, "agent=dueling_dqn", *CARTPOLE[1:], *SHORT, "agent/normalize=running", "agent.torso.weight_norm=hidden")
    capfd.readouterr()
    started(path, "cartpole", "agent=dqn")
    assert capfd.readouterr().err.splitlines() == [
        f"init_from: 8 of 8 tensors are those of {path}, step 90",
        "init_from: this agent has no place for some of that run, so its outputs may differ: "
        "normalize, chain.online.torso.gain_0, chain.online.head.value",
    ]


def test_a_source_of_other_parts_is_refused(monkeypatch):
    a, b = ObsPart("a", (2,), torch.float32), ObsPart("b", (3,), torch.float32)
    agent = value_agent(packed_spec((a, b), 3, 0))
    source = value_agent(packed_spec((a._replace(shape=(3,)), b._replace(shape=(2,))), 3, 0)).state()
    monkeypatch.setattr(RunFolder, "read_config", lambda self: {})
    monkeypatch.setattr(Checkpoints, "load", lambda self, which, only: (1, {"agent": source}))
    with pytest.raises(ConfigError, match=r"init_from=run: .* parts 'a' float32 \(3,\), .*: choose a run with the same parts"):
        warm_start(agent, "run")
    source["parts"] = ["a", "b"]  # as older checkpoints have them
    warm_start(agent, "run")


def test_counts_of_another_run_are_not_taken():
    """Numbers of episodes were, and the rows that they count started anew, as zeros."""
    with pytest.raises(ConfigError, match="init_from=run: this agent keeps what it learns together with counts"):
        warm_start(SimpleNamespace(objectives={}), "run")


def test_copies_that_have_no_place_are_not_named(dqn, capfd):
    started(dqn, "cartpole", "agent=dqn", "agent/chain=online_target")
    assert capfd.readouterr().err.endswith(f"init_from: 4 of 4 tensors are those of {dqn}, step 90\n")


def test_where_everything_fits_the_target_is_that_of_the_source(dqn):
    agent = started(dqn, "cartpole", "agent=dqn")
    assert same(snapshot(agent), stored(dqn))
    assert not torch.equal(agent.chain.target(OBS).mean(), agent.chain.online(OBS).mean())


def test_a_checkpoint_may_be_named(tmp_path, monkeypatch):
    """The best of equal evaluations is the first one, of step 100."""
    path, plain = tmp_path / "run", evaluator.evaluate
    monkeypatch.setattr(evaluator, "evaluate", lambda *arguments: {**plain(*arguments), "returns": [9.0]})
    train(path, *CARTPOLE)
    assert not same(stored(path, 100), stored(path))
    for name, step in (("best", 100), ("100", 100), ("last", 300), ("300", 300)):
        assert same(snapshot(started(f"{path}@{name}", "cartpole", "agent=dqn")), stored(path, step))


MALFORMED = {
    "no module": lambda state: {name: value for name, value in state.items() if name != "module"},
    "a list": lambda state: [state],
    "nested": lambda state: {"module": {"chain": state["module"]}},
    "arrays": lambda state: {"module": {name: value.numpy() for name, value in state["module"].items()}},
    "numbers": lambda state: {"module": dict.fromkeys(state["module"], 1.0)},
    "names that are numbers": lambda state: {"module": dict(enumerate(state["module"].values()))},
    "whole numbers": lambda state: {"module": {name: value.long() for name, value in state["module"].items()}},
    "truths": lambda state: {"module": {name: value.bool() for name, value in state["module"].items()}},
    "complex numbers": lambda state: {"module": {name: value.cfloat() for name, value in state["module"].items()}},
}


@pytest.mark.parametrize("change", MALFORMED.values(), ids=MALFORMED)
def test_a_source_that_no_run_writes_is_refused(dqn, tmp_path, change):
    source = shutil.copytree(dqn, tmp_path / "source")
    step, parts = Checkpoints(dqn).load(only={"agent"})
    checkpoint.save(Checkpoints(source).at(step), {"agent": change(parts["agent"])}, step=step)
    with pytest.raises(ConfigError, match=f"init_from={source}"):
        started(source, "cartpole")


def test_a_source_whose_checkpoints_are_linked_is_refused(dqn, tmp_path):
    source = shutil.copytree(dqn, tmp_path / "source")
    (source / "checkpoints").rename(tmp_path / "elsewhere")
    (source / "checkpoints").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="checkpoints is a link"):
        started(source, "cartpole")


def test_a_run_names_the_step_that_it_took(dqn, tmp_path):
    """So that it begins again with the same weights if it is killed before its own first checkpoint, when its source has gone on."""
    words = (*CARTPOLE, *SHORT, f"init_from={dqn}")
    train(tmp_path / "run", *words)
    step = Checkpoints(dqn).steps()[-1]
    stored = RunFolder(tmp_path / "run").read_config()
    assert stored["init_from"] == f"{dqn}@{step}"
    with pytest.raises(ConfigError, match="init_from is "):
        continued(tmp_path / "run", {**settled(*words), "init_from": "7", "names": stored["names"]})
    RunFolder(tmp_path / "run").write_config({**stored, "init_from": "7@90"})  # a folder may be called by a number
    assert continued(tmp_path / "run", {**settled(*words), "init_from": "7", "names": stored["names"]})["init_from"] == "7@90"
    RunFolder(tmp_path / "run").write_config(stored)
    for given, fits in ((f"{dqn}", True), (f"{dqn}@last", True), (f"{dqn}@{step}", True), (f"{dqn}@7", False), (f"{dqn}2", False)):
        config = {**settled(*words), "init_from": given, "names": stored["names"]}
        if fits:
            assert continued(tmp_path / "run", config)["init_from"] == f"{dqn}@{step}"
        else:
            with pytest.raises(ConfigError, match="init_from is "):
                continued(tmp_path / "run", config)


def test_a_run_that_begins_again_in_another_folder_finds_its_source(dqn, tmp_path, monkeypatch):
    """It was killed before its own first checkpoint, and `init_from` was a relative path."""
    monkeypatch.chdir(dqn.parent)
    train(tmp_path / "run", *CARTPOLE, *SHORT, f"init_from={dqn.name}")
    stored, step = RunFolder(tmp_path / "run").read_config(), Checkpoints(dqn).steps()[-1]
    assert stored["init_from"] == f"{dqn}@{step}"
    for given in (dqn.name, f"{dqn.name}@{step}", f"{dqn}"):
        config = {**settled(*CARTPOLE, *SHORT, f"init_from={given}"), "names": stored["names"]}
        assert continued(tmp_path / "run", config)["init_from"] == f"{dqn}@{step}"
    monkeypatch.chdir(tmp_path)
    assert same(snapshot(started(stored["init_from"], "cartpole", "agent=dqn")), snapshot(started(dqn, "cartpole", "agent=dqn")))


def test_a_run_without_a_checkpoint_may_begin_from_another_step(dqn, tmp_path):
    """Its source has removed the one that it took: without this it could never begin again."""
    train(tmp_path / "run", *CARTPOLE, *SHORT, f"init_from={dqn}")
    folder, words = RunFolder(tmp_path / "run"), (*CARTPOLE, *SHORT, f"init_from={dqn}")
    stored = folder.read_config()
    folder.write_config({**stored, "init_from": f"{dqn}@7"})
    config = {**settled(*words), "names": stored["names"]}
    assert continued(tmp_path / "run", config)["init_from"] == f"{dqn}@7"  # it has weights of its own
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    assert continued(tmp_path / "run", config)["init_from"] == f"{dqn}"
    folder.write_config(stored)
    step = Checkpoints(dqn).steps()[-1]
    assert continued(tmp_path / "run", config)["init_from"] == f"{dqn}@{step}"  # it is there: the same start again
    assert continued(tmp_path / "run", {**config, "init_from": f"{dqn}@8"})["init_from"] == f"{dqn}@8"
    folder.write_config({**stored, "init_from": f"{dqn}@7"})
    folder.write_status("running", 0, 0)
    assert front_door(*words, "resume=auto", f"hydra.run.dir={tmp_path / 'run'}") == 0
    assert folder.read_config()["init_from"] == f"{dqn}@{step}"


def test_a_target_that_the_source_lacks_is_the_online_network(targetless, capfd):
    agent = started(targetless, "cartpole", "agent=dqn")
    assert same(snapshot(agent.chain.online), snapshot(agent.chain.target))
    assert capfd.readouterr().err.splitlines() == [
        f"init_from: 4 of 8 tensors are those of {targetless}, step 90",
        "init_from: each copy that is not whole there starts equal to what it copies: chain.target",
    ]


def test_each_torso_of_a_longer_chain_is_the_loaded_one(dqn):
    agent = started(dqn, "cartpole", "agent=idqn", "agent.chain.length=3", "agent.chain.torso=shared")
    loaded = stored(dqn)["chain.online.torso.weight_0"]
    assert torch.equal(agent.chain.online.torso.weight_0, loaded)
    assert torch.equal(agent.chain.target.torso.weight_0, loaded.repeat(2, 1, 1))
    assert torch.equal(agent.chain.target.head.advantage.weight_0, agent.chain.online.head.advantage.weight_0)


def test_new_gains_leave_the_functions_of_the_source(dqn, capfd):
    plain, normalised = (started(dqn, "cartpole", "agent=dqn", f"agent.torso.weight_norm={which}") for which in ("none", "hidden"))
    assert torch.equal(normalised.chain.online(OBS).mean(), plain.chain.online(OBS).mean())
    assert torch.equal(normalised.chain.target(OBS).mean(), plain.chain.target(OBS).mean())
    assert capfd.readouterr().err.splitlines()[1:] == [
        f"init_from: 8 of 10 tensors are those of {dqn}, step 90",
        "init_from: each new gain is the length of its weights: chain.online.torso.gain_0, chain.target.torso.gain_0",
    ]


def test_weights_that_must_have_length_one_have_it_from_the_start(dqn):
    agent = started(dqn, "cartpole", "agent=dqn", "agent.head.unit=true")
    loaded, weight = stored(dqn)["chain.online.head.advantage.weight_0"], agent.chain.online.head.advantage.weight_0
    torch.testing.assert_close(weight.norm(dim=1), torch.ones(1, 2))
    torch.testing.assert_close(weight * loaded.norm(dim=1, keepdim=True), loaded)


def test_the_previous_target_is_the_loaded_one(dqn):
    agent = started(dqn, "cartpole", "agent=dvw")
    assert same(snapshot(agent.weighting.previous), snapshot(agent.chain.target))
    assert same(snapshot(agent.weighting.frozen), snapshot(agent.weighting.net))
    assert torch.equal(agent.chain.target.torso.weight_0, stored(dqn)["chain.target.torso.weight_0"])


def test_a_target_actor_that_the_source_lacks_is_the_actor(sac):
    agent = started(sac, "pendulum", "agent=td3", "agent.actor_torso.hidden=[16]")
    assert torch.equal(agent.actor.torso.weight_0, stored(sac)["actor.torso.weight_0"])
    assert same(snapshot(agent.target_actor), snapshot(agent.actor))
    assert torch.equal(agent.chain.target.torso.weight_0, stored(sac)["chain.target.torso.weight_0"])


def test_a_target_has_the_running_averages_of_its_weights(tmp_path):
    """So that parts that read it outside of a joint batch see normalised features."""
    path = tmp_path / "crossq"
    train(path, "agent=crossq", *PENDULUM)
    agent = started(path, "pendulum", "agent=crossq", "agent/chain=polyak_joint", "agent.actor_torso.hidden=[16]")
    assert agent.chain.online.torso.running_mean_1.any()
    assert same(snapshot(agent.chain.target), snapshot(agent.chain.online))


@pytest.mark.parametrize(
    ("made", "names"),
    [
        (lambda: ppo(kl=partial(AdaptiveRate, target=0.01)), {"kl.kl", "kl.scale"}),
        (lambda: ppo(kl=partial(Stop, target=0.01)), {"kl.kl"}),
        (lambda: ppo(intrinsic=partial(LPO, width=Width)), {"intrinsic.meter"}),
        (lambda: ppo(intrinsic=partial(Table, messages=("a", "b"), helpful="a")), {"intrinsic.queue", "intrinsic.ticks"}),
        (ppo, set()),
    ],
)
def test_counters_and_rates_start_anew(made, names):
    """A KL that was infinite would be a weight that is not finite."""
    assert set(starting_anew(made())) == names


def test_the_policy_that_collects_is_a_copy_of_the_loaded_one():
    """In a source it is on its way between two policies."""
    agent = trajectories(FORK, Corrected)
    anew = starting_anew(agent)
    loaded = {name: torch.full_like(value, 0.5) for name, value in agent.state_dict().items() if name not in anew}
    agent.load_state_dict({**agent.state_dict(), **loaded})
    _, copies = agree_(agent, loaded)
    assert copies == ["ascent.sampler"]
    assert same(snapshot(agent.ascent.sampler), snapshot(agent.policy))
    assert {name for name in anew if not name.startswith("ascent.sampler.")} == {"ascent.previous", "ascent.direction"}


@pytest.mark.parametrize(
    ("own", "other", "fits"),
    [
        (torch.float32, torch.float64, True), (torch.int64, torch.int64, True), (torch.bool, torch.bool, True),
        (torch.int64, torch.float32, False), (torch.uint8, torch.int64, False),
    ],
)  # fmt: skip
def test_numbers_of_one_kind_are_taken(own, other, fits):
    assert alike(torch.zeros(2, dtype=own), torch.zeros(2, dtype=other)) == fits
    assert not alike(torch.zeros(2, dtype=own), torch.zeros(3, dtype=own))
