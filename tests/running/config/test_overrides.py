"""Words of a command line that cannot be meant are refused before Hydra composes, by names that the user has typed."""

from __future__ import annotations

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from deeprl.errors import ConfigError
from deeprl.replay.none import NoReplay
from deeprl.replay.replay import Replay
from deeprl.replay.rollout import Rollout
from deeprl.running.config.by_hydra import by_hydra, prepare
from deeprl.running.config.compose import compose
from deeprl.running.config.foreign_keys import key_of_others
from deeprl.running.config.option_names import in_options
from deeprl.running.config.overrides import check_words, for_hydra, given_twice, keys_of, parsed, quoted, unplaced
from deeprl.running.config.resolve import choices
from deeprl.running.config.rules import check
from deeprl.running.config.sources import planned_updates
from deeprl.running.runs.moved import RENAMED
from deeprl.tools.sweep.grid import expand


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("agent=dqn agent=idqn", "agent is given twice, as dqn and as idqn"),
        ("agent/reduce=mean agent/reduce=first", "agent/reduce is given twice"),
        ("~replay", "~replay: every run needs replay"),
        ("env=null", "env=null: every run needs env"),
        ("~seed", "~seed: every run needs seed"),
        ("collect=null", "collect=null: collect is a slot, and every run has an option of it: here, ray"),
        ("agent/explore=null", "agent/explore=null: agent/explore is a slot.*epsilon_greedy"),
        ("~agent/explore", "~agent/explore: agent/explore is a slot"),
        ("~agent._target_", "agent._target_"),
        ("+agent=dqn", r"\+agent=dqn: .*without \+: agent=dqn"),
        ("+evaluation.evry=3", "evaluation.evry.* evaluation.every?"),
        ("+replay_ratio=3", "there is no key replay_ratio. Its name is replay.ratio now"),
        ("agent.backup=max", "agent/backup=max"),
        ("agent=rvi_sac agent.rate=0.1", "agent.rate is a slot"),
        ("agent=[dqn,idqn]", "-m agent=dqn,idqn"),
        ("seed=40,41", r"-m seed=40,41.* seed=\[40,41\]"),
        ("agent=dqn seed=40,41", "deeprl sweep agent=dqn seed=40,41`, or .* -m agent=dqn seed=40,41`"),
        ("agent.optimizer.lr=0,001", r"A decimal number has a point: agent\.optimizer\.lr=0\.001"),
        ("agent.torso.hidden=[64, 64]", r"64\] is not of .* A value with spaces is quoted: 'agent\.torso\.hidden=\[64, 64\]'$"),
        ("agent.optimizer.lr 1e-3", r"Write agent\.optimizer\.lr=1e-3$"),
        ("agent=dqn,idqn", "-m agent=dqn,idqn"),
        ("dqn", "dqn is not of the form key=value"),
        ("=3", "=3 is not of the form key=value"),
    ],
)
def test_refused(words, says):
    with pytest.raises(ConfigError, match=says):
        check_words(words.split())


def test_not_refused():
    twice = ["agent=dqn", "agent=dqn", "steps=3", "steps=4", "agent/reduce=mean", "agent/reduce@agent.actor_reduce=first"]
    check_words(["agent.rate=0.1", "agent=lab/contextual"])  # a number there, and a slot elsewhere
    check_words([*twice, "~agent.optimizer.eps", "+agent.new=3", "+hydra.x=1", "experiment=null", "agent.torso.hidden=[1,2]", "a='1,2'"])


def test_entries_of_an_open_dictionary_need_no_plus():
    assert for_hydra("env.kwargs.size=5") == "++env.kwargs.size=5"
    assert [for_hydra(word) for word in ("env.kwargsize=5", "+env.kwargs.size=5", "seed=1")] == [
        "env.kwargsize=5", "+env.kwargs.size=5", "seed=1",
    ]  # fmt: skip
    base = ["env=gym", "env.id=CartPole-v1"]
    for word in ("env.kwargs.size=5", "env.kwargs={size: 5}", "+env.kwargs.size=5"):
        assert compose([*base, word])[0]["env"]["kwargs"] == {"size": 5}


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("env/protocol=nature", "env=classic/cartpole has no slot env/protocol"),
        ("agent/actor=deterministic", "agent=dqn has no slot agent/actor. It has agent/.*agent/backup"),
        ("agent/actor/torso=mlp", "agent/actor/torso=mlp: agent=dqn has no slot agent/actor/torso"),
        ("env.parts=flat", "there is no key env.parts.*env=classic/cartpole has"),  # a family of environments has this name
        ("seeds=10", r"there is no key seeds\. A run has one seed: deeprl sweep"),
        ("replay.data=runs/a", r"replay=uniform has .*\. replay.data is a key of replay=mixed, replay=mixed_sequences,"),
        pytest.param(
            "agent/target=polyak", r"there is no key agent/target\. Did you mean agent/chain=polyak\?", marks=pytest.mark.exhaustive
        ),
        pytest.param("agent.loss=huber", r"there is no key agent\.loss\. Did you mean agent\.head\.loss\?", marks=pytest.mark.exhaustive),
    ],
)
def test_a_slot_that_the_choice_lacks(word, says):
    """Of the agent that is chosen, wherever it stands; beside a slot without an option, of which Hydra itself knows nothing."""
    with pytest.raises(ConfigError, match=says):
        compose([word, "agent=dqn", "budget=null"])


def test_a_slot_that_an_experiment_fills_and_another_task_lacks():
    """It was "Could not override 'env/protocol'. No match in the defaults list.", without a remedy."""
    says = "env=minatar/breakout: experiment=pong chooses an option of env/protocol, a slot that this env does not have: take another"
    with pytest.raises(ConfigError, match=says):
        compose(["experiment=pong", "env=minatar/breakout"])


def test_a_key_of_another_option_is_known():
    """Of the slot, and, of an agent's own key, of each of its slots, that of Stable-Baselines3's name first."""
    chosen = {"agent": "dqn", "agent/chain": "single", "agent/utility": "mean"}
    tau = " agent.chain.tau is a key of agent/chain=iterated_polyak, agent/chain=polyak, agent/chain=polyak_joint."
    assert key_of_others("agent/chain", "tau", chosen) == tau
    assert key_of_others("agent", "tau", chosen).startswith(f"{tau} agent.")
    assert key_of_others("agent/chain", "nothing", chosen) == ""
    assert in_options("agent/rewards=Clip, agent/head=Quantile") == "agent/rewards=clip, agent/head=quantile"
    assert in_options("agent/explore=EpsilonGreedy") == "agent/explore=epsilon_greedy"  # whose class fading has too


def test_a_slot_without_an_option():
    """Removed, which is Hydra's word for none; and one that no run chooses, for which Hydra raises an error that is none of its own."""
    prepare()
    assert choices(by_hydra("train", ["~budget"]))["budget"] == "None"
    with pytest.raises(ConfigError, match="there is no key tuned"):
        compose(["tuned=null"])


def test_a_key_of_a_slot_that_the_choice_lacks():
    with pytest.raises(
        ConfigError, match="agent=lab/tagi has no slot agent/optimizer, and agent.optimizer.lr is a key of it: leave it out"
    ):
        compose(["agent.optimizer.lr=1", "agent=lab/tagi"])


@pytest.mark.parametrize(("before", "now"), RENAMED.items())
def test_a_name_of_before_is_answered_with_the_name_of_today(before, now):
    option = "=" in before
    with pytest.raises(ConfigError, match=f"{before}.* Its name is {now} now"):
        compose(["agent=dqn", before if option else f"{before}=2"])


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("steps=1000000000000", "between 1 and 999999999999"),
        ("seed=-1", "between 0 and 2147483647"),
        ("runtime.threads=1024", "between 1 and 256"),
        ("evaluation.final_episodes=1000000000000000", "between 1 and 100000"),
        ("env.num=1000000000", "between 1 and 4096"),
        ("replay.batch_size=100000000", "between 1 and 1048576"),
        ("replay.ratio=inf", "above 0 and at most"),
        ("discount=1.5", "between 0 and 1[.]"),
    ],
)
def test_ranges_have_two_ends(key, says):
    with pytest.raises(ConfigError, match=f"^{key.split('=')[0]}=.*{says}"):
        check(compose([key])[0])


@pytest.mark.parametrize(
    ("steps", "starts", "ratio", "num", "updates"),
    [
        (100, 100, 1.0, 1, 0),
        (101, 100, 1.0, 1, 1),
        (101, 100, 1.0, 8, 4),
        (1000, 10, 0.001, 1, 1),
        (999, 10, 0.001, 1, 0),
        (50, 100, 1.0, 1, 0),
    ],
)
def test_planned_updates(steps, starts, ratio, num, updates):
    config = {"steps": steps, "env": {"num": num}, "replay": {"learning_starts": starts, "ratio": ratio}}
    assert planned_updates(config, Replay) == updates


@pytest.mark.parametrize(
    ("source", "settings", "ratio"),
    [
        (Replay, {"learning_starts": 1000, "ratio": 1 / 3}, 1 / 3),
        (Rollout, {"length": 128, "epochs": 4, "minibatches": 4}, 16 / (128 * 6)),
        (NoReplay, {}, 0.0),
    ],
)
def test_updates_of_a_step_follow_from_those_of_a_run(source, settings, ratio):
    assert source.ratio_of(settings, num=6) == pytest.approx(ratio, rel=1e-6)


@pytest.mark.parametrize("text", ["", "plain", "it's", "a\\b", "\\", "\\d+ \\'", "ends with \\\\", "a\\'b", "${x}", "a\\\n"])
def test_any_text_is_the_value_of_an_override(text):
    value = OverridesParser.create().parse_override(f"key={quoted(text)}").value()
    assert getattr(value, "text", value) == text


@pytest.mark.parametrize(
    "path",
    ["runs/größe", "runs/ж", "runs/😀", "my run (1)", "it's", "a,b", "a=b", "[a]", "1e3", "true", "runs/$HOME", "plain", "007", "a#b"],
)
def test_a_path_is_taken_as_it_stands(path):
    """Hydra's grammar refused some of these, and read others as a number, a list or a sweep."""
    for key in ("hydra.run.dir", "hydra.sweep.dir"):
        word = for_hydra(f"{key}={path}")
        value = OverridesParser.create().parse_override(word).value()
        assert getattr(value, "text", value) == path
        assert for_hydra(word) == word


def test_a_path_in_quotes_or_with_an_interpolation_is_hydras():
    for word in ("hydra.run.dir='my run'", 'hydra.run.dir="a,b"', "hydra.run.dir=${run_folder:runs}", "hydra.run.dir=", "seed=1,2"):
        assert for_hydra(word) == word


def test_the_run_of_a_job_of_a_sweep_is_taken_as_it_stands():
    """Hydra refuses the = in its name; names that it takes stay, a sweep over them too."""
    for key in ("init_from", "replay.data"):
        value = parsed(for_hydra(f"{key}=runs/sweep/agent=dqn,seed=0@best")).value()
        assert getattr(value, "text", value) == "runs/sweep/agent=dqn,seed=0@best"
        assert [for_hydra(f"{key}={value}") for value in ("null", "runs/a,runs/b", "runs/a@3")] == [
            f"{key}=null", f"{key}=runs/a,runs/b", f"{key}=runs/a@3",
        ]  # fmt: skip


def test_an_interpolation_in_a_folder_is_blamed_on_no_other_word():
    with pytest.raises(ConfigError, match=r"^hydra\.run\.dir=.*nope"):
        compose(["hydra.run.dir=${nope}", "seed=1"])


def test_a_slot_of_a_network_is_named_by_the_network():
    """agent/actor/torso: what Hydra calls agent/torso@agent.actor_torso."""
    assert for_hydra("agent/actor/torso=simba") == "agent/torso@agent.actor_torso=simba"
    assert [job.overrides[0].rpartition("/")[2] for job in expand(["agent/actor/reduce=first,mean"])] == [
        "reduce@agent.actor_reduce=first", "reduce@agent.actor_reduce=mean",
    ]  # fmt: skip
    assert unplaced("agent/torso@agent.actor_torso=simba") == "agent/actor/torso=simba"
    for word in ("agent/torso=simba", "agent=lab/dtr", "agent/torso@agent.actor_torso=simba", "env/atari/pong=1", "agent/actor/tors=mlp"):
        assert for_hydra(word) == word
    with pytest.raises(ConfigError, match=r"there is no key agent/actor_torso\. Did you mean agent/actor/torso=simba\?"):
        compose(["agent=td3", "env=classic/pendulum", "agent/actor_torso=simba"])


def test_a_key_with_two_values_is_told():
    """The last one counted without a word."""
    assert given_twice(["seed=1", "steps=3", "+seed=2", "steps=3", "a={b: 1}", "a={c: 2}"]) == "seed is given 2 times, and 2 counts"
    assert given_twice(["seed=1", "agent.seed=2"]) == ""


def test_keys_that_overrides_set():
    found = keys_of(["agent.chain={length: 3, a: {b: 1}}", "+seed=1", "agent/chain=single", "~x", "agent/torso@agent.actor_torso=mlp"])
    assert found == {"agent.chain", "agent.chain.length", "agent.chain.a.b", "seed", "agent/chain", "x", "agent/actor_torso"}
