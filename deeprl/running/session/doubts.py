"""What looks wrong in a run before its first step: facts that a user may not intend, each as one sentence with its key and a remedy. A run
says them when it begins; `deeprl check` adds what it measures."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

from deeprl.errors import origin
from deeprl.learning.networks.encoders import ImageEncoder
from deeprl.learning.networks.torsos import Auto, MinAtarTorso, Nature, PartsTorso
from deeprl.running.config.rules import get
from deeprl.running.runs.config_file import Config, flatten
from deeprl.running.session.prospect import Prospect, prospect
from deeprl.running.training.trainer import Trainer
from deeprl.system.terminal import counted, say

FEW_TARGETS = 10
"""Updates of the target networks below which a run hardly iterates the Bellman operator"""
FAR = 10.0
"""Ratio of two quantities of the same kind from which they count as far apart"""
MOST_MEMORY = 0.8
"""Share of the free memory above which networks, environments and evaluations may find too little"""
COUNTS_WITH = {
    "agent.head.sigma": ("agent.head.noisy", False),
    "agent.explore.exponent": ("agent.explore.longest", 1),
}
"""Keys that nothing reads while another one has a value, which can be changed in every run"""
IMAGE_ENCODER = f"{ImageEncoder.__module__}.{ImageEncoder.__qualname__}"
Found = Iterator[tuple[str, str]]
Finders = tuple[Callable[[Prospect], Found], ...]


class Suspicion(NamedTuple):
    key: str
    text: str


def tell_doubts(trainer: Trainer, asked: Collection[str]) -> None:
    """Say what looks wrong in a run that begins, a line each. One without updates is not judged, and the sizes that a budget sets are not.

    Args:
        asked: keys that the user set.
    """
    if not trainer.source.paced_by:
        return
    try:
        run = prospect(trainer, asked)
        found = doubts(run, AT_ANY_SIZE if "budget" in asked else FINDERS)
    except Exception as error:  # a part of another package may have values of another form, and its run goes on
        found = [Suspicion("", unknown("this run", error))]
    for doubt in found:
        say(doubt.text.removesuffix("."))


def doubts(run: Prospect, finders: Finders) -> list[Suspicion]:
    found = []
    for find in finders:
        try:
            found += [Suspicion(key, text) for key, text in find(run)]
        except Exception as error:  # the key of a part of another package may have the name of one of ours, and values of another form
            found.append(Suspicion("", unknown(find.__name__, error)))
    return found


def unknown(what: str, error: Exception) -> str:
    return f"Nothing can be said of {what}: {origin(error)}: {error}."


def setting(config: Config, key: str) -> str:
    """`key=value` of a configuration."""
    return f"{key}={shown(get(config, key))}"


def shown(value: object) -> str:
    """A value as on a command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def replay_memory(run: Prospect) -> Found:
    config = run.config
    capacity = get(config, "replay.capacity")
    if capacity is None:  # what it holds is as large as its updates ask
        return
    used = run.replay * min(config["steps"] / capacity, 1.0)
    if run.available is not None and used > MOST_MEMORY * run.available:
        yield (
            "replay.capacity",
            f"{setting(config, 'replay.capacity')} takes {used / 1e9:.1f} of {run.available / 1e9:.1f} GB of free memory: lower "
            f"replay.capacity to {int(MOST_MEMORY * run.available / run.replay * capacity):,}, or free memory.",
        )


def disk(run: Prospect) -> Found:
    if run.disk > run.disk_available:
        yield (
            "checkpoint.replay",
            f"Checkpoints need up to {run.disk / 1e9:.1f} GB, and the disk of the run folder has {run.disk_available / 1e9:.1f} GB: "
            "set checkpoint.replay=false, or put the run elsewhere with hydra.run.dir=FOLDER.",
        )


def short_replay(run: Prospect) -> Found:
    config, length = run.config, run.episode
    capacity = get(config, "replay.capacity")
    if capacity is None:  # a rollout, which goes on with the episode
        return
    rows = capacity / config["env"]["num"]
    if length is not None and rows < length and capacity < config["steps"]:
        yield (
            "replay.capacity",
            f"{setting(config, 'replay.capacity')} holds less than one episode of up to {length:,.0f} steps"
            f"{' for each of ' + str(config['env']['num']) + ' environments' if config['env']['num'] > 1 else ''}, "
            "so that batches are correlated: raise replay.capacity.",
        )


def target_updates(run: Prospect) -> Found:
    if not run.updates:
        return
    for target in run.targets:
        if target.updates < FEW_TARGETS:
            often = (
                f"the target networks cover {target.updates:.2g} of their distance to the online ones, summed over the run"
                if target.key.endswith("tau")
                else f"the target networks change {counted(round(target.updates), 'time')} in the run"
            )
            remedy = "raise it" if target.key.endswith("tau") else "lower it"
            yield target.key, f"{target.key}={target.value:g}: {often}, and values need at least {FEW_TARGETS}: {remedy}, or raise steps."


def windows(run: Prospect) -> Found:
    config, length = run.config, run.episode
    usual = " on average" if run.limit is None else " at most"
    for key in ("replay.n_step", "replay.length") if run.sequences else ("replay.n_step",):
        value = get(config, key)
        if value is not None and length is not None and value > max(length, 1):
            yield key, f"{setting(config, key)} is longer than an episode, which has {length:,.0f} steps{usual}: lower it."


def threads(run: Prospect) -> Found:
    if run.config["runtime"]["threads"] > run.cores:
        yield (
            "runtime.threads",
            f"{setting(run.config, 'runtime.threads')} is more than the {run.cores} cores of this process, which slows it down: "
            f"set runtime.threads={run.cores}.",
        )


def horizon(run: Prospect) -> Found:
    config, length = run.config, run.limit
    discount = config["discount"]
    if run.without_discount or length is None or (discount == 1 and "discount" not in run.asked):  # an experiment knows its episodes
        return
    steps = 1 / (1 - discount) if discount < 1 else float("inf")
    if steps > 1.001 * FAR * length:  # 1 / (1 - γ) is not exact
        digits = len(str(length))
        far = f"looks {steps:,.0f} steps ahead" if discount < 1 else "has no horizon"
        yield (
            "discount",
            f"{setting(config, 'discount')} {far}, and episodes have at most {counted(length, 'step')}: lower it; "
            f"discount={1 - 1 / length:.{digits}f} looks as far as an episode.",
        )


def actor(run: Prospect) -> Found:
    config = run.config
    period, ratio = get(config, "agent.actor_period"), get(config, "replay.ratio")
    if isinstance(period, int) and ratio is not None and period >= FAR and period > 2 * ratio:
        yield (
            "replay.ratio",
            f"agent.actor_period={period} with {setting(config, 'replay.ratio')} updates the actor once in {period / ratio:,.0f} steps: "
            f"set replay.ratio={period}, or agent.actor_period={max(round(ratio), 1)}.",
        )


def resets(run: Prospect) -> Found:
    config = run.config
    at = get(config, "agent.resets.at")
    if run.updates and isinstance(at, (list, tuple)) and at and at[-1] >= run.updates:
        yield (
            "agent.resets.at",
            f"{setting(config, 'agent.resets.at')} counts updates, of which the run makes {run.updates:,}, so that the last "
            "reset does not come: lower it, or raise steps.",
        )


def lap(run: Prospect) -> Found:
    config = run.config
    if get(config, "replay.sampler.least") and get(config, "agent.head.loss") == "squared":
        yield (
            "agent.head.loss",
            f"{setting(config, 'replay.sampler.least')} gives errors below it equal priorities, because a Huber loss is squared there, and "
            f"{setting(config, 'agent.head.loss')}: set agent.head.loss=huber.",
        )


def imitation(run: Prospect) -> Found:
    if run.imitates:
        names = run.config["names"]
        yield (
            "replay",
            f"agent={names['agent']} learns the policy of its data, and replay={names['replay']} has what this policy itself plays: "
            "set replay=stored replay.data=RUN.",
        )


def units(run: Prospect) -> Found:
    """Numbers that look like those of another unit."""
    rates = [key for key, value in flatten(run.config["agent"], "agent.") if key.endswith("optimizer.lr") and value == 0]
    for key in rates:
        yield key, f"{key}=0 is a learning rate with which nothing is learned: set it above 0."
    std, clip = get(run.config, "agent.explore.std"), get(run.config, "agent.surrogate.clip")
    if isinstance(std, (int, float)) and std > 1:
        yield (
            "agent.explore.std",
            f"{setting(run.config, 'agent.explore.std')} is counted in halves of the range of the actions, so that most actions lie at an "
            "end of it: lower it; TD3 has 0.1.",
        )
    if isinstance(clip, (int, float)) and clip >= 1:
        lowest = "lets ratios of probabilities fall to 0 without clipping"
        yield "agent.surrogate.clip", f"{setting(run.config, 'agent.surrogate.clip')} {lowest}: lower it; PPO has 0.2."


def idle(run: Prospect) -> Found:
    """Keys of the user's that nothing reads in this run, each with the reason and the remedy."""
    for key in sorted(run.asked):
        for why in (unread_layers, unread_switch, unread_schedule):
            if because := why(run, key):
                yield key, f"{setting(run.config, key)} has no effect here, because {because}."


def unread_layers(run: Prospect, key: str) -> str:
    """Why nothing reads a key of layers; "" if something does."""
    place, _, name = key.rpartition(".")
    torso = run.torsos.get(place)
    image = torso.image if isinstance(torso, PartsTorso) else torso
    if name in ("hidden", "activation") and type(image) in (Auto, Nature, MinAtarTorso):
        dense = "" if place == "agent.encoder_torso" else "; agent/torso=nature, minatar and impala have dense layers in head_hidden"
        return f"images get convolutions, and {name} is of the layers of vectors: leave it out, or choose the torso{dense}"
    ours = get(run.config, "agent.encoder._target_", None) == IMAGE_ENCODER
    if ours and key.startswith(("agent.encoder.", "agent.encoder_torso.")) and "agent.encoder_torso" not in run.torsos:
        return "observations hold no image that is encoded: leave it out"
    critic = run.torsos.get("agent.torso")
    if key == "agent.head.layer_norm" and get(run.config, key) is True and critic is not None and not critic.head_hidden:
        before = (
            "agent.torso.layer_norm=true is of those before it" if get(run.config, "agent.torso.layer_norm") is not None else "leave it out"
        )
        return f"the head has no hidden layers: {before}"
    return ""


def unread_switch(run: Prospect, key: str) -> str:
    """Why nothing reads a key beside the value of another one; "" if something does."""
    if key == "agent.backup.clip" and get(run.config, "agent.backup.smoothing") == 0:  # which a temperature asks for
        return "agent.backup.smoothing=0 leaves no noise to clip: leave it out"
    other, off = COUNTS_WITH.get(key, ("", None))
    idle = bool(other) and get(run.config, other, None) == off
    return f"{setting(run.config, other)}: change {other} too, or leave {key} out" if idle else ""


def unread_schedule(run: Prospect, key: str) -> str:
    """Why a duration is of a constant schedule; "" if it is not."""
    schedule, _, name = key.rpartition(".")
    target, start, end = (get(run.config, f"{schedule}.{each}", None) for each in ("_target_", "start", "end"))
    if name in ("duration", "begin") and str(target).startswith("deeprl.schedules.") and start == end:
        return f"{schedule} stays at {shown(start)}: set {schedule}.end too, or leave it out"
    return ""


AT_ANY_SIZE: Finders = (units, idle)
"""What a budget does not change"""
FINDERS: Finders = (
    replay_memory, disk, short_replay, target_updates, windows, threads, horizon, actor, resets, lap, imitation, *AT_ANY_SIZE,
)  # fmt: skip
