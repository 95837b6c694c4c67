"""Tuned settings: the file that an agent on an environment takes."""

from __future__ import annotations

import re
from contextlib import nullcontext
from functools import cache

import pytest
from omegaconf import OmegaConf

from deeprl.errors import ConfigError
from deeprl.running.config import folders, tuned
from deeprl.running.config.compose import compose
from deeprl.running.config.menu import options
from deeprl.running.config.resolve import shorten, told
from deeprl.running.config.rules import get
from deeprl.running.config.settings import of_option, spread
from deeprl.running.config.sources import update_ratio
from deeprl.running.session.complete import complete, plain_values
from tests.builders import composed, settled


@pytest.mark.parametrize(
    ("env", "agent", "option"),
    [
        ("mujoco/hopper", "td3", "mujoco/hopper/td3"),  # the task
        ("mujoco/hopper", "td3_paper", "mujoco/td3_paper"),  # the family
        ("mujoco/hopper", "ddpg", "mujoco/ddpg"),  # a file for the family comes before the parent's file for the task
        ("classic/cartpole", "dueling_dqn", "classic/dqn"),  # by way of double_dqn
        ("atari/pong", "mvi", "atari/munchausen_dqn"),
        ("gym", "munchausen_iqn", "gym/iqn"),
        ("toy/chain", "idqn", "toy/idqn"),  # there is no such file
        ("mujoco/hopper", "dqn", "mujoco/dqn"),
        ("tensor/cartpole", "double_dqn", "tensor/classic/dqn"),
        ("tensor/cartpole", "pqn", "classic/pqn"),  # and not by way of dqn
        ("tensor/cartpole", "idqn", "classic/cartpole/idqn"),
        ("tensor/minatar_breakout", "pqn", "minatar/pqn"),
        ("tensor/minatar_breakout", "ppo", "tensor/ppo"),  # there is no such file
        ("function/chase:make", "dqn", "gym/dqn"),  # as a run is named
        ("vector/Acrobot-v1", "ppo", "gym/ppo"),
        ("my/env", "my_agent", "my/my_agent"),  # where a user's file would be
    ],
)
def test_the_most_particular_file_is_taken(env, agent, option):
    assert tuned.option(env, agent) == option


def test_a_tensor_world_is_a_task_that_there_is():
    known = {*options("env")}
    assert all(tuned.places(env)[3] in known for env in known if env.startswith("tensor/"))


def test_a_tensor_world_has_the_settings_of_its_task_but_for_the_pace_of_many_copies(monkeypatch):
    """PQN had DQN's 64 copies on CartPole, C51 a support of ±10, and QR-DQN 200 quantiles on the games."""
    monkeypatch.setattr(tuned, "lineage", cache(tuned.lineage))
    pace = re.compile(r"steps|env\.num|replay=.*\.(ratio|batch_size|learning_starts|length|minibatches)|agent/.*\.(lr|tau)")
    worlds = [
        ("tensor/cartpole", "classic/cartpole"),
        ("tensor/pendulum", "classic/pendulum"),
        ("tensor/minatar_asterix", "minatar/asterix"),
    ]
    found = {tuple(tuned.option(env, agent) for env in pair) for pair in worlds for agent in options("agent")}
    for ours, theirs in found:
        own, original = tuned.values("tuned", ours), tuned.values("tuned", theirs)
        changed = {key for key in {**own, **original} if own.get(key) != original.get(key)}
        assert not changed or ours.startswith("tensor/classic/"), (ours, changed)
        assert all(pace.fullmatch(key) for key in changed), (ours, changed)


@pytest.mark.parametrize(
    ("task", "agent", "steps"),
    [
        ("hopper", "td3", 10_000),
        ("walker2d", "td3", 25_000),
        ("reacher", "td3", 1000),
        ("reacher", "simba", 1000),
        ("hopper", "ddpg", 25_000),
        ("hopper", "td3_paper", 1000),
        ("half_cheetah", "td3_paper", 10_000),
    ],
)
def test_what_one_task_needs_wins_over_its_family(task, agent, steps):
    assert settled(f"agent={agent}", f"env=mujoco/{task}")["replay"]["learning_starts"] == steps
    assert settled(f"agent={agent}", f"env=mujoco/{task}", "replay.learning_starts=7")["replay"]["learning_starts"] == 7


@pytest.mark.parametrize(("task", "discount"), [("hopper", 0.995), ("pusher", 0.95), ("reacher", 0.95)])
def test_the_discount_of_simba_follows_from_the_length_of_an_episode(task, discount):
    """1 − 5 / L within [0.95, 0.995]: L is 1,000, 100 and 50."""
    assert settled("agent=simba", f"env=mujoco/{task}")["discount"] == discount


def test_keys_are_those_of_a_file_and_of_the_files_it_starts_from():
    assert tuned.keys("mujoco/ant/td3_paper") == tuned.keys("mujoco/td3") >= {"steps", "replay=_memory.capacity"}
    assert tuned.keys("mujoco/simba") - tuned.keys("mujoco/td3") == {"discount"}
    assert "defaults" not in tuned.keys("atari/iiqn")
    assert tuned.keys("toy/idqn") == set()


def test_without_a_file_of_the_agent_a_line_says_so(capsys):
    config = complete(*composed("agent=td3", "env=atari/pong")[:2])  # not `settled`: a second call of it prints no line
    assert "no tuned settings for td3 on atari: the defaults of the agent are used" in capsys.readouterr().err
    assert config["steps"] == compose(["agent=td3", "env=toy/chain"])[0]["steps"] == 100_000


@pytest.fixture
def mine(tmp_path, monkeypatch) -> None:
    """A folder of the user's with two agents that start from dqn, of which `own` has tuned settings."""
    files = {
        "agent/plain.yaml": "defaults: [dqn, _self_]\n",
        "agent/own.yaml": "defaults: [dqn, _self_]\n",
        "tuned/classic/own.yaml": "# @package _global_\nreplay=_memory: {learning_starts: 77}\n"
        "agent/chain=single: {target_update_period: 99}\n",
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(folders, "_added", [])
    folders.add(tmp_path)


def test_an_option_of_a_users_own_is_not_told_that_our_files_do_not_know_it(mine, tmp_path, capsys):
    (tmp_path / "agent/chain").mkdir()
    (tmp_path / "agent/chain/late.yaml").write_text("defaults: [polyak]\n")
    complete(*compose(["agent=dqn", "env=classic/cartpole", "agent/chain=late"])[:2])
    assert "own defaults" not in capsys.readouterr().err


def test_an_option_whose_own_defaults_are_those_of_others_is_not_told(capsys):
    """Batches of 256 transitions are those of SAC's recipe."""
    complete(*compose(["agent=sac", "env=classic/pendulum", "replay=stored", "replay.data=x"])[:2])
    assert "own defaults" not in capsys.readouterr().err


def test_an_option_that_the_recipe_chose_is_told_where_its_keys_have_other_values_in_a_tuned_file(capsys):
    """Only one that the command line chose was. A recipe with a chain of its own had the target period of its YAML in silence."""
    complete(*compose(["agent=a2c", "env=mujoco/hopper"])[:2])
    assert "replay=rollout_once keeps its own defaults" in capsys.readouterr().err
    complete(*compose(["agent=target_free_dqn", "env=classic/cartpole"])[:2])  # whose chain has none of the keys of another one
    assert "own defaults" not in capsys.readouterr().err


def test_tuned_settings_of_a_user_are_taken_and_no_line_denies_it(mine, capsys):
    config = complete(*compose(["agent=own", "env=classic/cartpole"])[:2])
    assert (config["replay"]["learning_starts"], config["agent"]["chain"]["target_update_period"]) == (77, 99)
    assert "no tuned settings" not in capsys.readouterr().err
    complete(*compose(["agent=own", "env=classic/cartpole", "agent/chain=polyak"])[:2])
    assert re.search(
        r"agent/chain=polyak keeps its own defaults \(tau=0.005\): \S*/own.yaml has no settings for it\n", capsys.readouterr().err
    )


def test_what_the_user_has_set_is_no_default_of_the_part():
    config = {"agent": {"backup": {"_target_": "x", "share": 2, "lam": 0.9}}}
    assert plain_values(config, "agent.backup", {"agent.backup.share"}) == " (lam=0.9)"
    assert plain_values(config, "agent.backup", ()) == " (share=2, lam=0.9)"


def test_values_that_a_budget_has_replaced_are_told(capsys):
    """Of steps alone they were; a run whose final_episodes=50 the command line set was evaluated once."""
    complete(*compose(["agent=dqn", "env=toy/chain", "steps=600", "evaluation.every=null", "seed=1", "seed=2", "budget=tiny"])[:2])
    kept = "To keep yours: budget.steps=600 budget.evaluation.every=null\n"
    said = capsys.readouterr().err
    assert f"budget=tiny: steps=400, not 600; evaluation.every=0.5, not null. {kept}" in said
    assert "seed is given 2 times, and 2 counts" in said
    of_option = told("tiny", {"replay.epochs": (3, 1)}, ["steps"])  # budget.replay.epochs=3 is refused
    assert of_option == "budget=tiny: replay.epochs=1, not 3. Leave budget=tiny out to keep your replay.epochs"


def test_an_agent_of_a_user_takes_the_tuned_settings_of_the_recipe_that_its_own_starts_from(mine, capsys):
    own, ours = (complete(*compose([f"agent={agent}", "env=classic/cartpole"])[:2]) for agent in ("plain", "dqn"))
    assert {**own, "names": None} == {**ours, "names": None}
    assert "no tuned settings" not in capsys.readouterr().err


def test_a_recipe_that_starts_from_itself_ends(tmp_path, monkeypatch):
    (tmp_path / "agent").mkdir()
    (tmp_path / "agent" / "loop.yaml").write_text("defaults: [loop, _self_]\n")
    monkeypatch.setattr(folders, "CONFIGS", tmp_path)
    assert tuned.lineage("loop") == ["loop"]


def test_every_file_belongs_to_agents_and_environments(monkeypatch):
    """And is found by one of them: a file that no run takes has a wrong name."""
    for name in ("lineage", "file"):  # which read folders and files, and would for each pair
        monkeypatch.setattr(tuned, name, cache(getattr(tuned, name)))
    files = {*folders.names("tuned")}
    agents = options("agent")
    taken = {tuned.option(env, agent) for env in options("env") for agent in agents}
    assert {name for name in files if not name.rpartition("/")[2].startswith("_")} == taken & files


def test_a_trace_chooses_sequences_which_have_settings_of_their_own():
    """classic/dqn has three-step returns and batches of 128 transitions; the rows of sequences are single steps."""
    replay = {words: settled("agent=idqn", *words)["replay"] for words in [(), ("agent/backup=retrace",), ("replay=prioritized",)]}
    assert [[each[key] for key in ("n_step", "batch_size", "capacity")] for each in replay.values()] == [
        [3, 128, 50_000],
        [1, 8, 50_000],
        [3, 128, 50_000],  # starts from uniform
    ]
    assert settled("agent=idqn", "agent/backup=retrace", "replay.n_step=2")["replay"]["n_step"] == 2  # refused when built


@pytest.mark.parametrize("words", [("replay=rollout",), ("replay.n_step=1",)])
def test_a_logarithm_has_the_steps_of_the_replay_that_trains(words):
    """classic/dqn has three-step returns, which rollouts replace."""
    own = ("agent=dqn", "agent/mapping=log", "agent/rewards=polar", "discount=0.96")
    assert settled(*own)["agent"]["mapping"]["n_step"] == 3
    assert settled(*own, *words)["agent"]["mapping"]["n_step"] == 1
    assert settled(*own, *words, "agent.mapping.n_step=2")["agent"]["mapping"]["n_step"] == 2


@pytest.mark.parametrize("words", [(), ("replay.n_step=3",), ("agent/mapping=asinh", "agent/rewards=auto", "replay.n_step=3")])
def test_other_maps_have_one_step_whatever_the_replay_has(words):
    assert settled("agent=loglin_dqn", *words)["agent"]["mapping"]["n_step"] == 1


def test_rollouts_of_actors_are_those_of_all_of_them():
    """16 updates on 128 ticks of 6 environments, not of the 4 of the tuned file."""
    config = settled("agent=ppo", "env=classic/cartpole", "collect=ray", "collect.actors=2", "collect.envs=3")
    assert (config["env"]["num"], update_ratio(config)) == (6, 16 / (128 * 6))


@pytest.mark.parametrize(
    "env",
    [
        "mujoco/half_cheetah", "mujoco/swimmer", "atari/pong", "minatar/breakout", "box2d/lunar_lander", "gym env.id=CartPole-v1",
        "vector env.id=CartPole-v1", "function env.function=gymnasium:make", "toy/chain",
    ],
)  # fmt: skip
def test_a2c_makes_one_update_on_each_short_rollout(env):
    config = settled("agent=a2c", *f"env={env}".split())
    assert [config["replay"][key] for key in ("length", "epochs", "minibatches")] == [5, 1, 1]
    assert config["agent"]["optimizer"]["lr"] == 7e-4


@pytest.mark.parametrize(
    ("words", "begin"),
    [
        ("agent=dqn agent/backup=peng", 0),
        ("agent=noisy_dqn agent/backup=peng agent/chain=online_target", 0),
        ("agent=dqn agent/backup=peng agent.explore.schedule.begin=300", 300),
        ("agent=dqn", 1000),
    ],
)
def test_exploration_falls_from_where_learning_starts(words, begin):
    """With rollouts that is the first step, whatever `replay.learning_starts` a tuned file has."""
    config = settled(*words.split(), "env=classic/cartpole", *(["replay.learning_starts=1000"] if words == "agent=dqn" else []))
    assert config["agent"]["explore"]["schedule"]["begin"] == begin
    assert config["replay"].get("learning_starts", 0) == (0 if "peng" in words else begin)


def test_keys_of_a_recipe_give_way_to_another_option_of_their_slot(capsys):
    """tqc sets the number of quantiles, and an implicit head has none."""
    config = settled("agent=tqc", "env=classic/pendulum", "agent/head=implicit_quantile")
    assert config["agent"]["head"]["_target_"].endswith("ImplicitQuantile")
    assert "quantiles" not in config["agent"]["head"]
    assert settled("agent=tqc", "env=classic/pendulum")["agent"]["head"]["quantiles"] == 25
    with pytest.raises(ConfigError, match="quantiles"):
        settled("agent=tqc", "env=classic/pendulum", "agent/head=implicit_quantile", "agent.head.quantiles=7")


@pytest.mark.parametrize(
    ("words", "key", "value"),
    [
        ("agent=dqn agent/explore=greedy_after_warmup env=minatar/breakout", "explore.schedule.end", 0.0),
        ("agent=dqn agent/explore=greedy_after_warmup env=minatar/breakout", "explore.schedule.duration", 1),
        ("agent=dqn agent/explore=greedy_after_warmup env=minatar/breakout", "explore.schedule.begin", 10_000),  # learning_starts
        ("agent=dqn agent/explore=greedy_after_warmup env=atari/pong", "explore.evaluation", 0.0),
        ("agent=dqn agent/explore=greedy_after_warmup agent.explore.schedule.end=0.2 env=minatar/breakout", "explore.schedule.end", 0.2),
        ("agent=dqn agent/explore=epsilon_greedy env=minatar/breakout", "explore.schedule.end", 0.1),
        ("agent=idqn agent/chain=iterated_polyak", "chain.sync_period", 1),
        ("agent=idqn agent/chain=iterated_live", "chain.shift_period", 500),
        ("agent=idqn agent/chain=iterated_live", "chain.torso", "shared_hidden"),
        ("agent=idqn agent/chain=single", "chain.target_update_period", 500),
        ("agent=noisy_dqn agent/head=categorical", "head.noisy", True),  # of every head
        ("agent=ppo agent/torso=mlp", "torso.hidden", [64, 64]),  # whose file starts from auto's
        ("agent=ppo agent/surrogate=plain env=atari/pong", "surrogate.value_clip", 0.1),  # of both losses
        ("agent=idqn agent/chain=iterated", "chain.sync_period", 40),
        ("agent=munchausen_dqn agent/head=bounded", "head.loss", "log"),
        ("agent=simba agent/temperature=fixed env=classic/pendulum", "temperature.value", 0.2),
        ("experiment=log_dqn_atari agent/optimizer=adam", "optimizer.eps", 1.5e-4),  # of tuned/atari/log_dqn, which is for Adam
        ("experiment=log_dqn_atari agent/optimizer=adam", "optimizer.lr", 6.25e-5),
        ("experiment=log_dqn_atari agent/optimizer=rmsprop", "optimizer.lr", 2.5e-3),
        ("experiment=log_dqn_atari agent/optimizer=rmsprop", "optimizer.eps", 1e-5),
    ],
)
def test_a_key_that_means_something_else_in_the_chosen_option_has_its_value_there(words, key, value):
    assert get(settled(*words.split()), f"agent.{key}") == value


def test_an_experiment_has_no_settings_for_another_option(capsys):
    config = complete(*composed("experiment=dvw_minatar", "agent/weighting=one")[:2])
    assert set(config["agent"]["weighting"]) == {"_target_", "_partial_"}
    assert re.search(r"agent/weighting=one keeps its own defaults: \S*dvw\w*.yaml has no settings for it\n", capsys.readouterr().err)
    assert set(config["names"]) == {"env", "agent", "replay"}
    with pytest.raises(ConfigError, match="there is no key agent.weighting.threshold"):
        complete(*composed("experiment=dvw_minatar", "agent/weighting=one", "agent.weighting.threshold=2")[:2])


def test_a_wrong_key_of_an_experiment_is_refused(tmp_path, monkeypatch):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\nagent/head=scalar: {lost: huber}\n")
    monkeypatch.setattr(folders, "_added", [])
    folders.add(tmp_path)
    with pytest.raises(ConfigError, match=r"mine.yaml, line 2: there is no key agent.head.lost. Did you mean agent.head.loss\?"):
        complete(*compose(["experiment=mine"])[:2])


def test_a_key_within_a_dictionary_is_a_key_of_the_user():
    with pytest.raises(ConfigError, match=r"there is no key agent\.chain\.length\. agent/chain=single has target_update_period"):
        complete(*composed("agent=idqn", "agent/chain=single", "agent.chain={length: 3}")[:2])


@pytest.mark.parametrize(("value", "told"), [("1", True), ("1.0", False), ("2", False)])
def test_one_step_is_told_from_the_whole_run(value, told, capsys):
    complete(*composed("agent=dqn", f"agent.explore.schedule.duration={value}")[:2])
    assert ("agent.explore.schedule.duration=1 is one step; the whole run is" in capsys.readouterr().err) == told


@pytest.mark.parametrize(
    ("slot", "option", "settings", "values"),
    [
        ("replay", "uniform", {"replay=uniform": {"batch_size": 5}, "replay=rollout": {"length": 7}}, {"batch_size": 5}),
        ("replay", "rollout", {"replay=uniform": {"batch_size": 5}}, {}),
        ("replay", "lap", {"replay=uniform": {"batch_size": 5}, "replay=prioritized": {"batch_size": 6}}, {"batch_size": 6}),
        ("replay/sampler", "lap", {"replay/sampler=prioritized": {"alpha": 0.9, "initial": "max"}}, {"initial": "max"}),
        (
            "agent/surrogate",
            "plain",
            {"agent/surrogate=clipped": {"clip": 0.1}, "agent/surrogate=_base": {"value_weight": 0.5}},
            {"value_weight": 0.5},
        ),
    ],
)
def test_an_option_takes_its_settings_and_for_keys_that_it_lacks_those_of_the_option_that_it_starts_from(slot, option, settings, values):
    assert of_option(settings, slot, slot, option) == values


def test_an_option_of_ones_own_says_what_it_needs_in_a_budget(tmp_path, monkeypatch):
    """`uniform`, from which it starts, has no such line, and `_memory`, from which that starts, has one."""
    (tmp_path / "replay").mkdir()
    file = tmp_path / "replay" / "mine.yaml"
    file.write_text("defaults: [uniform, _self_]\nbudget=tiny: {capacity: 500, n_step: 2, at_most: {batch_size: 7}}\n")
    monkeypatch.setattr(folders, "_added", [])
    folders.add(tmp_path)
    words = ("env=toy/chain", "agent=dqn", "replay=mine", "replay.n_step=3", "replay.batch_size=9", "budget=tiny")
    replay = compose(words)[0]["replay"]
    assert [replay[key] for key in ("capacity", "n_step", "batch_size", "learning_starts")] == [500, 2, 9, 100]
    assert not [key for key in replay if "=" in key]
    (tmp_path / "budget").mkdir()
    (tmp_path / "budget" / "small.yaml").write_text("defaults: [tiny, _self_]\nreplay=_memory: {capacity: 70}\n")
    replay = compose([*words[:-1], "budget=small"])[0]["replay"]
    assert [replay[key] for key in ("capacity", "n_step", "batch_size", "learning_starts")] == [70, 2, 9, 100]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ({"budget=tiny": {"capazity": 500}}, "budget=tiny sets capazity in the file of replay=mine, which has no such key"),
        ({"budget=tiny": {"model": {"capacity": 5}}}, "budget=tiny sets model.capacity in the file of replay=mine"),
        ({"budget=tiny": {"part": {"epochs": 5}}}, ""),  # null, which the run leaves out
        ({"budget=tinny": {"capacity": 500}}, "budget=tinny in the file of replay=mine: there is no budget=tinny. Did you mean tiny?"),
        ({"budget=tiny": 7}, "budget=tiny in the file of replay=mine: keys belong under it"),
        ({"tuned=classic/cartpole": None}, "in the file of replay=mine: this line stands in files of environments"),
    ],
)
def test_a_line_of_an_option_that_says_nothing_is_refused(line, says):
    """All but the first set nothing, and nobody was told."""
    cfg = OmegaConf.create({"replay": {"capacity": 9, "part": None, **line}})
    with pytest.raises(ConfigError, match=re.escape(says)) if says else nullcontext():
        spread({}, cfg, {"budget": "tiny", "replay": "mine"})


def test_an_environment_takes_the_settings_that_its_file_or_one_from_which_it_starts_names(tmp_path, monkeypatch):
    (tmp_path / "env").mkdir()
    (tmp_path / "env" / "pole.yaml").write_text("tuned=classic/cartpole:\n")
    (tmp_path / "env" / "pole_2.yaml").write_text("defaults: [pole, _self_]\n")
    monkeypatch.setattr(folders, "_added", [])
    folders.add(tmp_path)
    assert {tuned.option(env, "idqn") for env in ("pole", "pole_2")} == {"classic/cartpole/idqn"}
    for start in ("tensor/cartpole", "/env/tensor/cartpole@_here_"):
        (tmp_path / "env" / "pole_2.yaml").write_text(f"defaults: [{start}, _self_]\n")
        assert tuned.option("pole_2", "ppo") == tuned.option("tensor/cartpole", "ppo") == "tensor/classic/ppo"
    with pytest.raises(ConfigError, match="there is no env=classic/cart. Did you mean classic/cartpole?"):
        spread({}, OmegaConf.create({"env": {"tuned=classic/cart": None}}), {"budget": "None", "env": "pole"})


@pytest.mark.parametrize(
    ("now", "budget", "user", "then"),
    [
        (5, {"a.b": 3}, {"a.b"}, 3),
        (None, {"a.b": 3}, {"a.b"}, None),  # was 3: replay.length=null with a budget ran, and without one was refused
        (None, {"a.b": "other"}, {"a.b"}, None),
        (None, {"a.b": 3}, {}, 3),
        ("word", {"a.b": "other"}, {"a.b"}, "other"),
        (0, {"a.b": 3}, {"a.b"}, 0),  # refused by the key's range
        ("abc", {"a.b": 3}, {"a.b"}, "abc"),
        (2.5, {"a.b": 3}, {"a.b"}, 2.5),
        (2.5, {"a.b": 0.5}, {"a.b"}, 0.5),
        ("auto", {"at_most.a.b": 3}, {}, "auto"),
        (5, {"at_most.a.b": 3}, {"a.b"}, 5),
        (5, {"at_most.a.b": 3}, {}, 3),
    ],
)
def test_what_a_budget_replaces(now, budget, user, then):
    cfg = OmegaConf.create({"a": {"b": now}})
    shorten(cfg, budget, user)
    assert cfg.a.b == then
    with pytest.raises(ConfigError, match=r"at_most.a.b='abc' of a budget is no number"):
        shorten(cfg, {"at_most.a.b": "abc"}, set())


@pytest.mark.parametrize(("num", "then"), [(8, 1), (2.5, 2.5), (5000, 5000), (None, None), (True, True)])
@pytest.mark.parametrize("user", [set(), {"evaluation.num"}])
def test_a_value_that_the_range_of_its_key_refuses_outlasts_a_budget(num, then, user):
    cfg = OmegaConf.create({"evaluation": {"num": num}})
    shorten(cfg, {"evaluation.num": 1}, user)
    assert cfg.evaluation.num == then
