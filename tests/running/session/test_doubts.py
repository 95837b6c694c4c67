"""What looks wrong in a configuration."""

from __future__ import annotations

from types import SimpleNamespace

from deeprl.learning.networks.torsos import Auto, MLPTorso, Nature, PartsTorso
from deeprl.running.session import doubts
from deeprl.running.session.doubts import FINDERS, IMAGE_ENCODER, horizon, idle, tell_doubts, units


def test_numbers_of_another_unit_are_told():
    """A newcomer's deviation of 50, clip of 20 and learning rate of 0 trained without a word."""
    agent = {"explore": {"std": 50}, "surrogate": {"clip": 20}, "optimizer": {"lr": 0.0}, "actor_optimizer": {"lr": 1e-3}}
    found = dict(units(SimpleNamespace(config={"agent": agent})))
    assert [*found] == ["agent.optimizer.lr", "agent.explore.std", "agent.surrogate.clip"]
    assert units in FINDERS
    usual = {"explore": {"std": 0.1}, "surrogate": {"clip": 0.2}, "optimizer": {"lr": 1e-3}}
    assert not dict(units(SimpleNamespace(config={"agent": usual})))


def test_a_discount_of_one_has_no_number_of_steps():
    """It was said to look inf steps ahead."""
    told = dict(horizon(SimpleNamespace(config={"discount": 1}, limit=500, without_discount=False, asked={"discount"})))
    assert told["discount"].startswith("discount=1 has no horizon, and episodes have at most 500 steps: lower it; discount=0.998 looks")


def test_a_key_that_nothing_reads_is_told_to_who_set_it():
    """Widths of an MLP did nothing on Atari without a word, as did the scale of noise and norms of layers that a head does not have."""
    agent = {
        "torso": {"hidden": [64], "activation": "tanh"},
        "actor_torso": {"hidden": [64]},
        "head": {"sigma": 0.3, "noisy": False, "layer_norm": True},
    }
    keys = ("agent.torso.hidden", "agent.torso.activation", "agent.actor_torso.hidden", "agent.head.sigma", "agent.head.layer_norm")

    def found(torso, asked=keys, noisy=False):
        head = {**agent["head"], "noisy": noisy}
        torsos = {"agent.torso": torso, "agent.actor_torso": torso}
        return {*dict(idle(SimpleNamespace(config={"agent": {**agent, "head": head}}, torsos=torsos, asked=asked)))}

    assert idle in FINDERS
    assert found(Nature()) == {*keys[:4]}
    assert found(PartsTorso(Auto(), (512,), "torch", "none")) == {*keys[:4]}
    assert found(MLPTorso()) == {*keys[3:]}
    assert not found(MLPTorso(head_hidden=(64,)), noisy=True)
    assert (
        "leave it out" in dict(idle(SimpleNamespace(config={"agent": agent}, torsos={"agent.torso": MLPTorso()}, asked=keys[4:])))[keys[4]]
    )
    agent |= {"encoder": {"_target_": IMAGE_ENCODER, "shift": 4}, "backup": {"smoothing": 0.0, "clip": 0.5}}
    others = ("agent.encoder.shift", "agent.backup.clip")
    assert found(MLPTorso(), others) == {*others}
    agent["encoder"]["_target_"] = "mine.Encoder"
    assert found(MLPTorso(), others) == {*others[1:]}
    line = {"_target_": "deeprl.schedules.Linear", "start": 1.0}
    agent |= {"optimizer": {"schedule": {**line, "end": 1.0}}, "explore": {"schedule": {**line, "end": 0.1}}}
    durations = ("agent.optimizer.schedule.duration", "agent.explore.schedule.duration")
    assert found(MLPTorso(), durations) == {durations[0]}
    assert not found(Nature(), asked=())  # agent=ppo has widths for vectors, which its user did not choose


def test_the_run_goes_on_where_nothing_can_be_said_of_it(capsys):
    """It ended before its first step with a number as `agent.chain` of another package's agent."""
    tell_doubts(SimpleNamespace(source=SimpleNamespace(paced_by="rows"), config={}, agent=None), asked=())
    assert "Nothing can be said of this run: AttributeError" in capsys.readouterr().err


def test_a_short_run_tells_what_does_not_depend_on_its_size(monkeypatch, capsys):
    """With budget=tiny, with which a command is tried out, a width that images do not have was told in the long run alone."""
    agent = {"head": {"sigma": 0.3, "noisy": False}, "optimizer": {"lr": 0.0}}
    monkeypatch.setattr(doubts, "prospect", lambda trainer, asked: SimpleNamespace(config={"agent": agent}, torsos={}, asked=asked))
    tell_doubts(SimpleNamespace(source=SimpleNamespace(paced_by="rows")), asked={"agent.head.sigma", "budget"})
    lines = capsys.readouterr().err.splitlines()
    assert ["agent.optimizer.lr=0 is" in lines[0], "agent.head.sigma=0.3 has no effect" in lines[1], len(lines)] == [True, True, 2]
