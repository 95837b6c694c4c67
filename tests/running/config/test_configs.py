"""Every agent on every family of environments that fits it, and every experiment: composes, settles, is built and survives two updates;
what does not fit is refused by name."""

from __future__ import annotations

import copy
import json
from importlib.util import find_spec

import pytest
import torch

from deeprl.errors import ConfigError
from deeprl.replay.replay import Replay
from deeprl.replay.rollout import Rollout
from deeprl.replay.sequences import Sequences
from deeprl.running.accelerate.modes import apply
from deeprl.running.config import alternatives, build, tuned
from deeprl.running.config.build import agent_actions, agents_for, build_agent, check_actions, check_replay
from deeprl.running.config.dry_run import dry_run
from deeprl.running.config.instantiate import instantiate
from deeprl.running.config.menu import options
from deeprl.running.config.rules import put
from deeprl.running.config.stateless import require_stateless
from deeprl.types import Spec
from tests.builders import entry, made_up, settled, spec_of, update
from tests.presets import ALONE, ANY, KINDS, REPRESENTATIVES, criterion, narrow, presets

DISCRETE_ENVS = ["classic/cartpole", "minatar/breakout", "atari/pong", "toy/chain"]
CONTINUOUS_ENVS = ["classic/pendulum", "mujoco/hopper"]
if find_spec("Box2D"):
    DISCRETE_ENVS.append("box2d/lunar_lander")
    CONTINUOUS_ENVS.append("box2d/lunar_lander_continuous")
if not find_spec("minatar"):
    DISCRETE_ENVS.remove("minatar/breakout")

ENVS = {"discrete": DISCRETE_ENVS, "continuous": CONTINUOUS_ENVS}
EXPERIMENTS = options("experiment")


def survives(config: dict, spec: Spec) -> None:
    check_actions(config, spec)
    agent = build_agent(config, spec)
    apply(agent, "fast")
    dry_run(agent, spec, "cpu")
    require_stateless(agent=agent)
    trained = [agent.chain.online if hasattr(agent, "chain") else agent]  # a policy on rollouts has no chain
    if hasattr(agent, "chain") and spec.action_dim and agent.actor_period <= 2:  # with REDQ's, two updates leave the actor
        trained.append(agent.actor)
    for online in trained:
        before = [p.clone() for p in online.parameters()]
        for step in (1, 2):
            learned = update(agent, made_up(agent, spec, seed=step))
            agent.tick(step - 1, step)
            assert learned.error.shape == ((4, 3) if agent.needs & {"sequences", "state"} else (3,))
            assert all(torch.isfinite(value).all() for value in learned.metrics.values())
        assert all(torch.isfinite(p).all() for p in agent.parameters())
        assert not all(map(torch.equal, online.parameters(), before))
    replay = instantiate({**config["replay"], "_partial_": True}, "replay")
    assert issubclass(replay.cls, Replay | Sequences | Rollout)
    check_replay(config, agent, replay)
    noise = entry(agent.act_noise((1, 2), torch.Generator().manual_seed(0)), 0)
    acted = agent.act(torch.zeros((2, *spec.obs_shape), dtype=spec.obs_dtype), torch.ones(2, dtype=torch.bool), {}, 10**9, noise, True)
    assert acted.action.shape == ((2,) if spec.num_actions else (2, spec.action_dim))


def test_the_menu_of_agents_is_the_one_tested_here():
    """What is read from the files is what composition makes of them."""
    assert {name for name in options("agent") if not name.startswith("lab/")} == {*KINDS, *ANY, *ALONE}
    assert all(agent_actions(settled(f"agent={name}", "env=classic/cartpole")["agent"]) == "any" for name in ANY)
    for name, kind in KINDS.items():
        assert agent_actions(settled(f"agent={name}", f"env={ENVS[kind][0]}")["agent"]) == kind


LARGE = {("idqn", "atari/pong"), ("iiqn", "atari/pong")}
"""Experiments, below."""
FITTING = [(agent, env) for agent, kind in KINDS.items() for env in ENVS[kind] if (agent, env) not in LARGE]
FIRST = {agent: ENVS[kind][0] for agent, kind in KINDS.items()}
FURTHER = {
    agent: next(env for env in ENVS[kind][1 + place % (len(ENVS[kind]) - 1) :] if (agent, env) not in LARGE)
    for kind in ENVS
    for place, agent in enumerate(name for name in REPRESENTATIVES if KINDS[name] == kind)
}
"""The families take turns: what an agent does with images, say, follows from their shape, not from the game."""
BUILT = [(agent, env) for agent, env in FITTING if env in (FIRST[agent], FURTHER.get(agent))]


@pytest.mark.parametrize(
    ("agent", "env"), [pair if pair in BUILT else pytest.param(*pair, marks=pytest.mark.exhaustive) for pair in FITTING]
)
def test_every_agent_on_every_family_that_fits(agent, env):
    """Narrow, because networks of hundreds of units take seconds; those of experiments, below, have the sizes of papers."""
    config = settled(f"agent={agent}", f"env={env}", *criterion(agent))
    for key, _, value in (word.partition("=") for word in narrow(agent)):
        put(config, key, json.loads(value))  # words would be one more composition
    survives(config, spec_of(env))


@pytest.mark.exhaustive
@pytest.mark.parametrize(("agent", "env"), [pair for pair in FITTING if pair not in BUILT])
def test_every_other_pair_composes_of_parts_that_take_its_keys(agent, env):
    """Their tuned files differ; what they build has been built above."""
    fits(settled(f"agent={agent}", f"env={env}", *criterion(agent)))


def fits(config: dict) -> Spec:
    """Its agent takes the actions, and its parts the keys; the environment's numbers."""
    spec = spec_of(config["names"]["env"])
    check_actions(config, spec)
    for slot in ("agent", "replay"):
        instantiate({**config[slot], "_partial_": True}, slot)
    return spec


@pytest.mark.exhaustive
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment(experiment):
    config = settled(f"experiment={experiment}")
    survives(config, fits(config))


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_composes_of_parts_that_take_its_keys(experiment):
    fits(settled(f"experiment={experiment}"))


@pytest.mark.parametrize(("actions", "parameters"), [(18, 5_278_918), (4, 5_264_554)])
def test_btr_has_the_parameters_of_its_authors(actions, parameters):
    agent = build_agent(settled("experiment=btr_atari"), Spec((4, 84, 84), torch.uint8, actions, 0, 4))
    assert sum(parameter.numel() for parameter in agent.chain.online.parameters()) == parameters


@pytest.mark.parametrize("experiment", ["iqn_atari", "td3_mujoco"])
def test_networks_of_the_size_that_papers_have(experiment):
    config = settled(f"experiment={experiment}")
    survives(config, fits(config))


def test_there_are_experiments():
    assert {"dqn_atari", "dqn_atari100k", "idqn_atari", "td3_mujoco"} <= set(EXPERIMENTS)
    assert {"c51_atari", "qrdqn_atari", "iqn_atari", "iiqn_atari"} <= set(EXPERIMENTS)


def test_experiments_say_what_the_papers_say():
    """Numbers of the i-DQN paper and of the TD3 authors' code."""
    idqn = settled("experiment=idqn_atari")
    chain = idqn["agent"]["chain"]
    assert (chain["length"], chain["shift_period"], chain["sync_period"], chain["torso"]) == (5, 6000, 30, "shared")
    assert (idqn["agent"]["optimizer"]["lr"], idqn["agent"]["optimizer"]["eps"]) == (6.25e-5, 1.5e-4)
    assert (idqn["replay"]["learning_starts"], idqn["replay"]["ratio"], idqn["replay"]["batch_size"], idqn["discount"]) == (
        20_000,
        0.25,
        32,
        0.99,
    )
    assert idqn["env"]["protocol"]["sticky"] == 0.25
    assert idqn["agent"]["rewards"]["bound"] == 1.0
    assert (idqn["agent"]["torso"]["init"], idqn["agent"]["head"]["init"]) == ("glorot_normal", None)
    dqn = settled("experiment=dqn_atari")
    assert dqn["agent"]["chain"]["target_update_period"] == 8000
    assert dqn["agent"]["explore"]["schedule"]["duration"] == 250_000
    few = settled("experiment=dqn_atari100k")
    assert (few["agent"]["head"]["loss"], few["agent"]["chain"]["target_update_period"], few["replay"]["n_step"]) == ("huber", 1, 10)
    assert few["replay"]["capacity"] > few["steps"] == 100_000  # an episode's end takes a row too
    nature = settled("experiment=dqn_nature")
    optimizer = nature["agent"]["optimizer"]
    assert (optimizer["lr"], optimizer["decay"], optimizer["momentum"], optimizer["eps"]) == (2.5e-4, 0.95, 0.0, 0.01 / 32**2)
    assert (nature["agent"]["head"]["loss"], nature["agent"]["torso"]["padding"]) == ("huber", "valid")
    assert nature["agent"]["explore"]["evaluation"] == 0.05
    for name, n_step, end in (("dqn_nature", 1, 0.1), ("c51_paper", 1, 0.01), ("qrdqn_paper", 1, 0.01), ("iqn_paper", 1, 0.01)):
        paper = settled(f"experiment={name}")
        schedule, protocol, period = paper["agent"]["explore"]["schedule"], paper["env"]["protocol"], "target_update_period"
        assert (paper["replay"]["learning_starts"], paper["agent"]["chain"][period], paper["replay"]["n_step"]) == (50_000, 10_000, n_step)
        assert (schedule["begin"], schedule["duration"], schedule["end"]) == (50_000, 1_000_000, end)
        assert (protocol["sticky"], protocol["life_loss_terminal"], protocol["noop_max"]) == (0.0, True, 30)
        assert "Uniform" in paper["replay"]["sampler"]["_target_"]
    double, prioritised, rainbow = (settled(f"experiment={name}") for name in ("double_dqn_paper", "prioritized_paper", "rainbow_paper"))
    assert double["agent"]["chain"]["target_update_period"] == prioritised["agent"]["chain"]["target_update_period"] == 30_000
    assert (double["agent"]["explore"]["schedule"]["end"], double["agent"]["explore"]["evaluation"]) == (0.01, 0.01)
    assert double["agent"]["optimizer"] == optimizer
    rates = prioritised["agent"]["optimizer"]
    assert (rates["lr"], rates["eps"]) == (optimizer["lr"] / 4, optimizer["eps"] / 16)
    assert rainbow["agent"]["torso"]["padding"] == prioritised["agent"]["torso"]["padding"] == "valid"
    assert rainbow["agent"]["torso"]["init"] == double["agent"]["torso"]["init"] == "torch"
    for config in (double, prioritised, rainbow):
        assert "Double" in config["agent"]["backup"]["_target_"]
        assert config["env"]["protocol"] == nature["env"]["protocol"]
    for config, alpha in ((prioritised, 0.6), (rainbow, 0.5)):
        sampler = config["replay"]["sampler"]
        assert (sampler["alpha"], sampler["beta"]["start"], sampler["beta"]["end"]) == (alpha, 0.4, 1.0)
        assert sampler["beta"]["duration"] == config["steps"] == 50_000_000
    head, adam = rainbow["agent"]["head"], rainbow["agent"]["optimizer"]
    assert [head[key] for key in ("atoms", "low", "high", "dueling", "noisy", "sigma")] == [51, -10.0, 10.0, True, True, 0.5]
    assert (adam["lr"], adam["eps"], adam["max_grad_norm"]) == (6.25e-5, 0.005 / 32, 10.0)
    assert (rainbow["replay"]["learning_starts"], rainbow["agent"]["chain"]["target_update_period"], rainbow["replay"]["n_step"]) == (
        20_000,
        8000,
        3,
    )
    assert rainbow["agent"]["explore"]["schedule"]["end"] == rainbow["agent"]["explore"]["evaluation"] == 0.0
    ppo = settled("experiment=ppo_atari")
    assert (ppo["env"]["num"], *(ppo["replay"][key] for key in ("length", "epochs", "minibatches"))) == (8, 128, 4, 4)
    surrogate = ("clip", "value_clip", "value_weight", "entropy_weight", "normalize")
    assert [ppo["agent"]["surrogate"][key] for key in surrogate] == [0.1, 0.1, 0.5, 0.01, True]
    rate = ppo["agent"]["optimizer"]
    assert (rate["lr"], rate["eps"], rate["max_grad_norm"], rate["schedule"]["end"]) == (2.5e-4, 1e-5, 0.5, 0.0)
    assert (ppo["agent"]["shared"], ppo["agent"]["lam"], rate["schedule"]["duration"], ppo["steps"]) == (True, 0.95, 10_000_000, 10_000_000)
    assert ppo["env"]["protocol"] == {**nature["env"]["protocol"], "fire_reset": True}
    assert (ppo["agent"]["torso"]["padding"], ppo["agent"]["torso"]["init"]) == ("valid", "orthogonal_relu")
    munchausen = settled("experiment=munchausen_iqn_atari")
    assert (munchausen["agent"]["torso"]["init"], munchausen["agent"]["head"]["init"]) == ("quantile", "quantile")
    td3 = settled("experiment=td3_mujoco")
    assert (td3["replay"]["learning_starts"], td3["replay"]["batch_size"], td3["agent"]["actor_period"]) == (25_000, 256, 2)
    assert td3["agent"]["actor_torso"]["hidden"] == td3["agent"]["torso"]["hidden"] == [256, 256]
    assert td3["agent"]["optimizer"]["lr"] == td3["agent"]["actor_optimizer"]["lr"] == 3e-4


def test_agents_that_a_paper_compares_differ_in_what_it_changes():
    agents = [settled("experiment=dvw_classic", f"agent={name}")["agent"] for name in ("dvw", "dvw_munchausen", "munchausen_dqn")]
    assert agents[0]["torso"] == agents[1]["torso"] == agents[2]["torso"]
    for task in ("ant", "half_cheetah", "hopper", "humanoid", "walker2d", "swimmer"):
        redq, droq = (settled(f"agent={name}", f"env=mujoco/{task}") for name in ("redq", "droq"))
        assert redq["agent"]["temperature"] == droq["agent"]["temperature"]
        assert redq["discount"] == droq["discount"] == (0.9999 if task == "swimmer" else 0.99)


@pytest.mark.parametrize("agent", ["td3", "sac", "ppo", "a2c", "tqc", "itd3"])
def test_a_stroke_of_the_swimmer_pays_off_late(agent):
    assert settled(f"agent={agent}", "env=mujoco/swimmer")["discount"] == 0.9999


# ---- slots


SLOTS = [
    *(("dqn", "toy/chain", override) for override in (
        "agent/backup=double", "agent/chain=iterated", "agent/rewards=scaled", "agent/rewards=clip", "agent/rewards=raw",
        "agent/normalize=running", "agent/torso=mlp", "agent/explore=greedy_after_warmup", "agent.head.loss=huber", "replay=prioritized",
        "agent/head=bounded", "agent/head=categorical", "agent/head=quantile", "agent/head=implicit_quantile",
    )),
    *(("td3", "classic/pendulum", override) for override in (
        "agent/normalize=running", "agent/reduce=mean", "agent/reduce@agent.actor_reduce=minimum", "agent/rewards=scaled",
    )),
]  # fmt: skip


@pytest.mark.parametrize(("agent", "env", "override"), SLOTS)
def test_every_slot_takes_its_options(agent, env, override):
    survives(settled(f"agent={agent}", f"env={env}", override), spec_of(env))


def test_a_torso_without_layers_can_be_shared():
    config = settled("agent=idqn", "env=toy/chain", "agent/torso=mlp", "agent.torso.hidden=[]")
    assert config["agent"]["chain"]["torso"] == "shared"
    survives(config, spec_of("toy/chain"))


def test_settings_of_another_option_are_not_asked_and_keys_of_the_user_that_the_option_lacks_are_refused():
    config = settled("agent=idqn", "env=classic/cartpole", "agent/chain=single")
    assert set(config["agent"]["chain"]) == {"_target_", "_partial_", "target_update_period"}
    with pytest.raises(ConfigError, match=r"there is no key agent\.chain\.length\. agent/chain=single has target_update_period"):
        settled("agent=idqn", "env=classic/cartpole", "agent/chain=single", "agent.chain.length=2")


def test_a_budget_has_the_last_word_and_passes_over_keys_that_the_parts_lack():
    atari, toy = (settled(f"env={env}", "agent=dqn", "steps=9000", "budget=tiny") for env in ("atari/pong", "toy/chain"))
    assert (atari["steps"], toy["steps"]) == (400, 400)
    assert "protocol" not in toy["env"]
    assert toy["agent"]["explore"]["schedule"]["begin"] == 100  # follows learning_starts
    assert settled("env=toy/chain", "agent=dqn", "budget=tiny", "budget.steps=30")["steps"] == 30


def test_bounds_of_a_budget_lower_only_what_the_command_does_not_set():
    atari = settled("env=atari/pong", "agent=dqn", "budget=tiny", "replay.batch_size=48")
    assert atari["env"]["protocol"]["max_episode_steps"] == 100
    assert (atari["replay"]["batch_size"], atari["replay"]["ratio"], atari["runtime"]["threads"]) == (48, 0.1, 1)
    small = ("env=toy/chain", "agent=dqn", "agent.torso.hidden=[8]", "budget=tiny")
    assert settled(*small, "budget.at_most.replay.batch_size=500")["replay"]["batch_size"] == settled(*small[:-1])["replay"]["batch_size"]
    assert settled(*small, "replay.ratio=2", "runtime.threads=2")["replay"]["ratio"] == 2


@pytest.mark.parametrize(
    ("words", "every"),
    [
        (("steps=4",), 1),  # a tenth would be none
        (("steps=1500",), 150),  # tuned: 10,000
        (("steps=10000",), 1000),  # only at the end, as 10,001
        (("steps=10001",), 10_000),
        (("steps=1500", "evaluation.every=10000"), 10_000),
        (("steps=1500", "evaluation.every=null"), None),
    ],
)
def test_evaluations_fit_a_short_run(words, every, capsys):
    assert settled("env=gym", "env.id=Pendulum-v1", "agent=td3", *words)["evaluation"]["every"] == every
    assert (f"evaluation.every={every} replaces 10,000" in capsys.readouterr().err) == (every in (1, 150, 1000))


@pytest.mark.parametrize(
    ("word", "warned"), [("replay.learning_starts=300", True), ("replay.ratio=0.001", True), ("replay.learning_starts=299", False)]
)
def test_a_run_that_will_make_no_update_says_so(word, warned, capsys):
    settled("env=toy/chain", "agent=dqn", "steps=300", "replay.learning_starts=0", "replay.ratio=1", word)
    text = capsys.readouterr().err
    assert ("no update" in text) == warned
    if warned:
        assert "steps=300" in text
        assert word in text


def test_the_schedule_of_beta_is_set_by_its_ends_and_a_share_of_steps():
    config = settled(
        "agent=dqn", "env=classic/cartpole", "replay=prioritized", "replay.sampler.beta.start=0.4", "replay.sampler.beta.end=1"
    )
    beta = config["replay"]["sampler"]["beta"]
    assert (beta["start"], beta["end"], beta["duration"]) == (0.4, 1, config["steps"])


def test_shares_of_steps_become_steps():
    config = settled("env=classic/cartpole", "agent=dqn", "steps=2000", "evaluation.every=0.1", "agent.explore.schedule.duration=0.5")
    assert config["evaluation"]["every"] == 200
    assert config["agent"]["explore"]["schedule"]["duration"] == 1000
    assert config["agent"]["optimizer"]["schedule"]["duration"] == 2000
    with pytest.raises(ConfigError, match=r"agent\.explore\.schedule\.duration=1\.5 is out of range: it takes a whole number of steps, or"):
        settled("env=classic/cartpole", "agent=dqn", "agent.explore.schedule.duration=1.5")


# ---- refusals


def test_which_agents_would_do():
    found = agents_for("continuous")
    assert {"td3", "ppo"} < set(found)
    assert not {"dqn", "lab/dtr"} & set(found)
    first = agents_for("continuous", "mujoco/hopper")
    assert first.index("td3") < first.index("bc")  # which has no tuned settings there
    assert sorted(first) == found


@pytest.mark.parametrize("agent", presets())
@pytest.mark.parametrize("env", DISCRETE_ENVS + CONTINUOUS_ENVS)
def test_every_other_pair_is_refused_with_both_names_and_the_way_out(agent, env, monkeypatch):
    kind = KINDS[agent]
    monkeypatch.setattr(build, "agents_for", lambda kind, env: sorted(n for n in KINDS if KINDS[n] == kind))  # a second; tested above
    config = {**settled(f"agent={agent}", f"env={ENVS[kind][0]}"), "names": {"agent": agent, "env": env}}
    if env in ENVS[kind]:
        check_actions(config, spec_of(env))
        return
    with pytest.raises(ConfigError) as error:
        check_actions(config, spec_of(env))
    text, way_out = str(error.value).split("choose one of")
    assert f"agent={agent} takes {kind} actions" in text
    assert f"env={env} has" in text
    others = sorted(name for name in KINDS if KINDS[name] != kind)
    assert way_out.split("agent=")[1].split(" and ")[0].split(", ") == others[: alternatives.FEW]
    assert f" and {len(others) - alternatives.FEW} more (`deeprl list agents`), or" in way_out


@pytest.mark.parametrize(("agent", "env"), [("idqn", "mujoco/hopper"), ("td3", "atari/pong")])
def test_a_refused_pair_composes_so_that_it_can_be_refused(agent, env, monkeypatch):
    monkeypatch.setattr(build, "agents_for", lambda kind, env: [])
    with pytest.raises(ConfigError, match=f"agent={agent} .*env={env} "):
        check_actions(settled(f"agent={agent}", f"env={env}"), spec_of(env))


@pytest.mark.parametrize("agent", ["td3", "tqc"])
def test_continuous_agents_take_images(agent):
    config = settled(f"agent={agent}", "env=classic/pendulum", "agent.torso.hidden=[8]", "agent/torso@agent.encoder_torso=minatar")
    spec = Spec((3, 12, 12), torch.uint8, 0, 3)
    check_actions(config, spec)
    survives(config, spec)


def test_settings_of_a_task_reach_the_agents_that_start_from_its_own():
    """Unless the family has settings of theirs: SAC's rate on Hopper is not TD3's."""
    found = {agent: tuned.option("mujoco/hopper", agent) for agent in ("td3", "itd3", "sac", "isac")}
    assert found == {"td3": "mujoco/hopper/td3", "itd3": "mujoco/hopper/td3", "sac": "mujoco/sac", "isac": "mujoco/sac"}
    assert tuned.option("box2d/car_racing", "tqc") == "box2d/car_racing/td3"


def test_tqc_and_redq_have_the_settings_of_their_authors_on_a_task():
    """Quantiles to drop, and MBPO's target entropy: −1 for the three dimensions of Hopper, −2 for the seventeen of Humanoid."""
    dropped = {task: settled("agent=tqc", f"env=mujoco/{task}")["agent"]["reduce"]["drop"] for task in ("hopper", "half_cheetah", "ant")}
    assert dropped == {"hopper": 5, "half_cheetah": 0, "ant": 2}
    sizes = {"hopper": 3, "half_cheetah": 6, "walker2d": 6, "ant": 8, "humanoid": 17, "pusher": 7}
    configs = {task: settled("agent=redq", f"env=mujoco/{task}") for task in sizes}
    entropies = {task: round(sizes[task] * config["agent"]["temperature"]["target_entropy"], 4) for task, config in configs.items()}
    assert entropies == {"hopper": -1, "half_cheetah": -3, "walker2d": -3, "ant": -4, "humanoid": -2, "pusher": -7}
    assert {config["replay"]["ratio"] for config in configs.values()} == {20.0}
    assert {task: config["steps"] for task, config in configs.items() if config["steps"] != 300_000} == {
        "hopper": 125_000,
        "half_cheetah": 400_000,
    }


def test_droq_is_redq_with_the_dropout_of_its_authors_on_a_task():
    rates = {}
    for task in ("hopper", "walker2d", "ant", "humanoid", "half_cheetah"):
        redq, droq = (settled(f"agent={agent}", f"env=mujoco/{task}") for agent in ("redq", "droq"))
        rates[task] = droq["agent"]["torso"]["dropout"]
        assert (droq["steps"], droq["replay"]["ratio"], droq["replay"]["learning_starts"]) == (
            redq["steps"],
            redq["replay"]["ratio"],
            redq["replay"]["learning_starts"],
        )
    assert rates == {"hopper": 0.0001, "walker2d": 0.005, "ant": 0.01, "humanoid": 0.1, "half_cheetah": 0.01}


def test_targets_of_sac_do_not_wait_for_its_actor():
    """Those of TD3 do."""
    targets = {agent: settled(f"agent={agent}", "env=classic/pendulum", "agent.actor_period=4") for agent in ("sac", "isac", "td3")}
    assert {agent: config["agent"]["target_period"] for agent, config in targets.items()} == {"sac": 1, "isac": 1, "td3": None}


def test_a_loss_that_fails_is_found_before_any_step():
    config = settled("agent=dqn", "env=toy/chain")
    agent, spec = build_agent(config, spec_of("toy/chain")), spec_of("toy/chain")
    agent.chain.online.head.advantage.bias_0.fill_(float("inf"))
    with pytest.raises(ConfigError, match="value loss .*finite"):
        dry_run(agent, spec, "cpu")
    with pytest.raises(ConfigError, match="value loss .*batch"):
        dry_run(agent, spec._replace(obs_shape=(7,)), "cpu")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("optimizer.lr", -1, r"agent\.optimizer\.lr .*0, .*-1"),
        ("optimizer.schedule.duration", 0, r"agent\.optimizer\.schedule\.duration .*1, .*0"),
        ("chain.shift_period", 0, r"agent\.chain\.shift_period .*1, .*0"),
        ("chain.length", 1.5, r"agent\.chain\.length=1\.5 .*whole number"),
        ("chain.shift_period", True, r"agent\.chain\.shift_period=True .*whole number"),
        ("explore.schedule.begin", 0.5, r"agent\.explore\.schedule\.begin=0\.5 .*whole number"),
        ("chain.acting", "best", r"agent\.chain\.acting .*uniform.*'best'"),
        ("chain.lenght", 3, r"agent\.chain\.lenght=3.*Iterated.* length\?"),
        ("torso.hidden", 64, r"agent\.torso\.hidden must be a list .*\[64, 64\], not 64"),
        ("torso.hidden", [10**6, 10**6], "agent: it cannot be built here: .*memory"),
        ("explore.schedule.end", 2, r"agent\.explore .*schedule\.end .*between 0 and 1, not 2"),
        ("explore.schedule", 0.1, r"agent\.explore\.schedule must have keys of its own, not the value 0\.1"),
        ("optimizer.schedule", "linear", r"agent\.optimizer\.schedule .*'linear'.*schedule\.start"),
        ("optimizer.lr", float("inf"), r"agent\.optimizer\.lr must be at least 0 and finite, not inf"),
        ("resets", 100, r"agent\.resets=100 .*agent\.resets\.period, agent\.resets\.at"),
        ("head.dueling", "maybe", r"agent\.head\.dueling='maybe' .*true or false"),
        ("_target_", None, r"agent\._target_ .*not None"),
        ("_target_", "os.system", r"agent\._target_=os\.system .*deeprl"),
        (
            "backup._target_",
            "deeprl.running.config.instantiate.importlib",
            r"agent\.backup\._target_=deeprl\.running\.config\.instantiate\.importlib ",
        ),
        ("head._target_", "deeprl.learning.networks.heads.Nothing", r"agent\.head\._target_=deeprl\.learning\.networks\.heads\.Nothing "),
    ],
)
def test_wrong_values_are_refused_with_the_full_key(key, value, message):
    config = copy.deepcopy(settled("agent=idqn", "env=classic/cartpole"))
    put(config["agent"], key, value)
    with pytest.raises(ConfigError, match=f"^{message}"):
        build_agent(config, spec_of("classic/cartpole"))


def test_any_memory_is_drawn_from_by_priorities():
    """The guide promised them with hindsight, and no word chose them: `replay=prioritized` is without goals."""
    words = "agent=dqn env=goals/bit_flip replay=hindsight replay/sampler=prioritized replay.sampler.alpha=0.7"
    replay = settled(*words.split())["replay"]
    assert (replay["strategy"], replay["sampler"]["alpha"], replay["sampler"]["initial"]) == ("future", 0.7, "max")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("device=mps",), r"^device=mps is not supported, because .*: take cpu or cuda\.$"),
        (("env.max_episode_steps=abc",), r"^env\.max_episode_steps must be at least 1, .* not 'abc'\.$"),
    ],
)
def test_wrong_values_beside_the_agent_are_refused_by_key(words, message):
    def begun() -> None:
        config = settled("agent=dqn", "env=classic/cartpole", *words)
        build.check_device(config)
        _, spec = build.environment(config)
        instantiate({**config["replay"], "_partial_": True}, "replay")(spec=spec, num=1, discount=0.9)

    with pytest.raises(ConfigError, match=message):
        begun()


@pytest.mark.parametrize(
    ("group", "name", "updates"), [("tuned", "atari/r2d2", 2500), ("experiment", "btr_atari", 500), ("experiment", "btr_atari_small", 500)]
)
def test_a_target_period_that_the_paper_counts_in_updates_is_that_many_updates(group, name, updates):
    """The key counts environment steps; R2D2's 2,500 updates once stood there as steps, which are 4 updates."""
    own = tuned.content(group, name)
    assert own["agent/chain=single"]["target_update_period"] * own["replay=_memory"]["ratio"] == updates
