"""Every suspicion by a record in which it is the only one, and by the nearest record without it."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from deeprl.agents.stock import ExponentialUtility
from deeprl.learning.backups.bottleneck import Bottleneck
from deeprl.learning.values.utility import Utility
from deeprl.running.session.prospect import Target, discounts, imitates, targets, torsos
from deeprl.tools.check.record import forecast
from deeprl.tools.check.suspicions import suspicions
from deeprl.types import ObsPart, Spec
from tests.tools.check.records import SOUND, with_keys, within


def test_a_sound_record_has_none():
    assert suspicions(SOUND) == []


UNLIMITED = within("environment", limit=None)
BOUNDED = replace(SOUND, support=(-10.0, 10.0))  # min(1 / (1 - 0.99), 200) = 100 steps
WRONG = {
    "tuned": (replace(SOUND, tuned=None), "agent", "agent=dqn on toy"),
    "never learns": (replace(with_keys(replay__learning_starts=10_000), updates=0), "replay.learning_starts", "starts=10000"),
    "no update": (replace(with_keys(replay__ratio=1e-5), updates=0), "replay.ratio", "replay.ratio=1e-05"),
    "evaluation": (with_keys(evaluation__every=100), "evaluation.every", "100 evaluations"),
    "memory": (within("memory", available=10**9), "replay.capacity", "to 4,000"),
    "disk": (within("memory", disk_available=10**8), "checkpoint.replay", "0.1 GB"),
    "short replay": (with_keys(replay__capacity=399), "replay.capacity", "replay.capacity=399"),
    "few targets": (replace(SOUND, targets=(Target("agent.chain.shift_period", 1_000, 9),)), "agent.chain.shift_period", "9 times"),
    "slow targets": (replace(SOUND, targets=(Target("agent.chain.tau", 0.001, 4.5),)), "agent.chain.tau", "agent.chain.tau=0.001"),
    "n-step": (with_keys(replay__n_step=201), "replay.n_step", "200 steps at most"),
    "sequences": (replace(with_keys(replay__length=201), sequences=True), "replay.length", "replay.length=201"),
    "n-step, by episodes seen": (with_keys(UNLIMITED, replay__n_step=101), "replay.n_step", "100 steps on average"),
    "threads": (with_keys(runtime__threads=5), "runtime.threads", "runtime.threads=4"),
    "checkpoints": (with_keys(within("speed", startup=7_000.0), checkpoint__every=None), "checkpoint.every", "checkpoint.minutes=30"),
    "horizon": (with_keys(discount=0.9999), "discount", "discount=0.995 looks"),
    "no discount": (replace(with_keys(discount=1.0), asked={"discount"}), "discount", "discount=1 has no horizon"),
    "actor": (with_keys(agent__actor_period=20, replay__ratio=1.0), "replay.ratio", "replay.ratio=20"),
    "resets": (with_keys(agent__resets__at=[2_000, 4_500]), "agent.resets.at", "4,500, so"),
    "LAP": (with_keys(replay__sampler__least=1.0, agent__head__loss="squared"), "agent.head.loss", "set agent.head.loss=huber"),
    "imitation": (replace(SOUND, imitates=True), "replay", "replay=uniform has what this policy itself plays"),
    "narrow head": (BOUNDED, "agent.head.high", "give 50"),
    "wide head": (replace(SOUND, support=(0.0, 1_002.0)), "agent.head.high", "at most 100"),
    "large rewards": (within("seen", reward_size=101.0, reward_largest=200.0), "agent/rewards", "101"),
    "large observations": (within("seen", largest=101.0), "agent/normalize", "101"),
    "constants": (within("seen", constant=2), "env", "2 of 3"),
    # just beyond the limits, whose other sides are in RIGHT
    "evaluation, just": (within("evaluating", setup=3.64), "evaluation.every", "10 evaluations"),  # 38.6 s beside 38.5
    "disk, just": (within("memory", disk_available=10**9 - 1), "checkpoint.replay", "1.0 GB"),
    "checkpoints, just": (with_keys(within("speed", startup=3_559.4), checkpoint__every=None), "checkpoint.every", "1 h"),  # 3,600.1 s
    "narrow head, just": (replace(SOUND, support=(0.0, 24.9)), "agent.head.high", "give 50"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_one_thing_wrong_is_one_suspicion_with_key_and_value(name):
    record, key, words = WRONG[name]
    (found,) = suspicions(record)
    assert found.key == key
    assert words in found.text


RIGHT = {
    "memory": within("memory", available=1_250_000_000),  # 80 % of it is what the replay takes
    "replay never full": with_keys(within("memory", available=10**9), replay__capacity=50_000),  # the run fills a fifth
    "one episode": with_keys(replay__capacity=400),
    "replay holds the run": with_keys(
        steps=300, replay__capacity=399, evaluation__every=None, checkpoint__every=None, replay__learning_starts=0
    ),
    "ten targets": replace(SOUND, targets=(Target("agent.chain.shift_period", 900, 10),)),
    "n-step": with_keys(replay__n_step=200),
    "resets": with_keys(agent__resets__at=[2_000, 4_499]),
    "LAP": with_keys(replay__sampler__least=1.0, agent__head__loss="huber"),
    "length without sequences": with_keys(replay__length=201),
    "horizon without a time limit": with_keys(UNLIMITED, discount=0.9999),
    "threads": with_keys(runtime__threads=4),
    "minutes": with_keys(within("speed", startup=7_000.0), checkpoint__every=None, checkpoint__minutes=30),
    "horizon": with_keys(discount=0.9995),
    "average reward": replace(with_keys(discount=1.0), without_discount=True, asked={"discount"}),
    "an experiment's own discount": with_keys(discount=1.0),
    "actor": with_keys(agent__actor_period=20, replay__ratio=20.0),
    "td3": with_keys(agent__actor_period=2, replay__ratio=0.5),
    "narrow head": replace(SOUND, support=(0.0, 25.0)),
    "wide head": replace(SOUND, support=(0.0, 1_000.0)),
    "no reward seen": within("seen", replace(SOUND, support=(0.0, 1e6)), reward_size=0.0, reward_largest=0.0),
    "observations": within("seen", largest=100.0),
    "rewards": within("seen", reward_size=100.0, reward_largest=200.0),
    "evaluation": within("evaluating", setup=3.62),
    "disk": within("memory", disk_available=10**9),
    "checkpoints": with_keys(within("speed", startup=3_559.2), checkpoint__every=None),
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_the_other_side_of_each_limit_is_fine(name):
    assert suspicions(RIGHT[name]) == []


def test_duration_of_a_run():
    """Of the 0.7 s in the window the parts take all: 2 ms a step, 3 ms an update."""
    found = forecast(SOUND)
    assert SOUND.speed.rest == pytest.approx(0.0)
    assert found.training == pytest.approx(5 + 10_000 * 0.002 + 4_500 * 0.003)
    # nine evaluations of 2 episodes for each environment, and one of 4, of 100 steps; at most 200
    assert found.evaluations == 10
    assert found.evaluation == pytest.approx(9 * (0.5 + 0.2) + 0.5 + 0.4)
    assert found.evaluation_most == pytest.approx(9 * (0.5 + 0.4) + 0.5 + 0.8)
    assert found.checkpoints == 6  # after 2,000 ... 8,000 steps, and two at the end
    assert found.total == pytest.approx(found.training + found.evaluation + 1.5)


def test_steps_are_rounded_up_to_whole_ticks():
    assert forecast(with_keys(steps=9_999)).steps == 10_000


def test_without_an_ended_episode_evaluations_are_taken_at_the_time_limit():
    found = forecast(within("seen", episodes=0, length=None))
    assert found.evaluation == found.evaluation_most == forecast(SOUND).evaluation_most


def test_an_agent_of_another_package_is_judged_as_far_as_it_is_known():
    """The run ended at its start, with an error about `encoded`, about observations of two axes, or about the missing chain."""
    spec = Spec(obs_shape=(4, 4), obs_dtype=torch.float32, num_actions=2, action_dim=0)
    agent = SimpleNamespace(spec=spec, encoder=torch.nn.Linear(4, 2), clock=SimpleNamespace(periods={}))
    config = with_keys(agent__torso={"_target_": "deeprl.learning.networks.torsos.Auto"}, agent__chain=None).config
    assert torsos(config, agent) == {}
    assert targets(config, agent) == ()
    config["agent"]["chain"], agent.clock.periods = 4, {"sync": 10}
    assert targets(config, agent) == ()


def test_parts_that_need_no_discount():
    """discount=1 was doubted, and less is refused with a utility of whole totals."""
    plain = SimpleNamespace(utility=Utility(), backup=None)
    found = [discounts(each) for each in (plain, SimpleNamespace(utility=ExponentialUtility()), SimpleNamespace(backup=Bottleneck()))]
    assert found == [True, False, False]


def test_a_policy_that_sees_no_image_has_the_layers_of_vectors():
    """With a privileged camera `agent.torso.hidden` was said to have no effect, and it made the policy."""
    auto = {"_target_": "deeprl.learning.networks.torsos.Auto"}
    camera = ObsPart("camera", (3, 8, 8), torch.uint8, image=True, privileged=True)
    spec = Spec(
        obs_shape=(196,), obs_dtype=torch.float32, num_actions=2, action_dim=0, parts=(ObsPart("joints", (4,), torch.float32), camera)
    )
    agent = SimpleNamespace(spec=spec)
    assert torsos(with_keys(agent__torso=auto, agent__actor_torso=None).config, agent) == {}
    assert [*torsos(with_keys(agent__torso=auto, agent__actor_torso=auto).config, agent)] == ["agent.torso"]


def test_a_key_of_another_form_spoils_one_judgement_alone():
    """Keys of other packages may have names of ours. Those of agents are told apart by their type."""
    strange = with_keys(within("seen", largest=101.0), agent__resets__at=5_000, agent__actor_period="often", replay__n_step="whole")
    other, large = suspicions(strange)
    assert "of windows: TypeError in" in other.text
    assert large.key == "agent/normalize"


def test_steps_of_a_model_are_no_data_to_imitate():
    """A source that has data, and imagines steps with actions of the agent beside them, raised no doubt."""
    agent = SimpleNamespace(imitates=True)
    found = [imitates(agent, SimpleNamespace(imagines=imagines, provenance={"name": "run"})) for imagines in (False, True)]
    assert found == [False, True]
