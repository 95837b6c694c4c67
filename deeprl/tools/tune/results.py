"""What a study leaves behind: `trials.csv`, and the best settings as an experiment that `--config-dir` takes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterator
from pathlib import Path

import optuna
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from optuna.trial import FrozenTrial, TrialState

from deeprl.errors import RunFolderError
from deeprl.running.config.compose import compose
from deeprl.running.config.menu import groups
from deeprl.running.config.overrides import key_of
from deeprl.running.config.settings import places
from deeprl.running.runs.config_file import Config
from deeprl.system.files import make_folder, own_folder, replace_file
from deeprl.system.tables import csv_bytes
from deeprl.tools.tune.settings import Settings
from deeprl.tools.tune.space import Space

OPEN = "interrupted"


def best(study: optuna.Study) -> FrozenTrial | None:
    """The complete trial with the highest value; on a tie the first one."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return max(complete, key=lambda trial: trial.values[0], default=None)


def require_own(path: Path) -> None:
    """
    Raises:
        RunFolderError: `best` is a link. The folder of a study may be a stranger's, and best.yaml would be written where the link points.
    """
    try:
        own_folder(path / "best")
        own_folder(path / "best" / "experiment")
    except OSError as error:
        raise RunFolderError(f"{error.filename}: {error.strerror}; remove it to go on") from None


def write(path: Path, study: optuna.Study, space: Space, settings: Settings) -> None:
    """Write the table of trials and, once a trial is complete, best/experiment/best.yaml.

    Raises:
        OSError: a file cannot be written, or `best` is a link.
    """
    replace_file(path / "trials.csv", table(study, space, settings))
    if (trial := best(study)) is not None:
        make_folder(path / "best")
        file = make_folder(path / "best" / "experiment") / "best.yaml"
        seeds = ", ".join(str(space.seed + place) for place in range(settings.seeds))
        caption = (
            f"# The best of {len(study.trials)} trials of deeprl tune: trial {trial.number}, return {trial.values[0]:.4g}, seeds {seeds}."
        )
        content = OmegaConf.to_yaml(OmegaConf.create(experiment([*space.fixed, *space.settings(trial.params)])))
        replace_file(file, f"# @package _global_\n{caption}\n{content}")


def table(study: optuna.Study, space: Space, settings: Settings) -> bytes:
    """One line a trial. The value of a pruned trial is the last one that its pruner saw."""
    seeds = [f"seed {space.seed + place}" for place in range(settings.seeds)]

    def row(trial: FrozenTrial) -> list[object]:
        state = OPEN if trial.state is TrialState.RUNNING else trial.state.name.lower()
        values = [text.partition("=")[2] for text in space.settings(trial.params)]
        scores = trial.user_attrs.get("scores")
        if not isinstance(scores, list) or len(scores) != settings.seeds:
            scores = [""] * settings.seeds
        return [trial.number, state, trial.value, *values, *scores, trial.last_step, trial.user_attrs.get("error")]

    return csv_bytes(["trial", "state", "value", *space.heads, *seeds, "last_step", "error"], map(row, study.get_trials(deepcopy=False)))


def experiment(overrides: list[str]) -> Config:
    """The content of a file of the group `experiment` that does what overrides do, but for budget=, which is for trying commands out."""
    known, below = groups(), options_below(overrides)
    defaults: list[object] = []
    keys: Config = {}
    for override in overrides:
        head, value = override.split("=", 1)[0].lstrip("+"), OverridesParser.create().parse_override(override).value()
        if key_of(override) == "budget":
            continue
        if key_of(override) == "experiment":
            defaults.insert(0, value)
        elif key_of(override) in known:
            defaults.append({f"override /{head}": value})
        else:
            for key, number in by_slot(head, value, below):
                slot = max((slot for slot in below if key.startswith(f"{slot}.")), key=len, default="")
                *parents, last = key.removeprefix(f"{slot}.").split(".")
                place = keys.setdefault(below[slot], {}) if slot else keys
                for each in parents:
                    place = place.setdefault(each, {})
                place[last] = number
    return {"defaults": [*defaults, "_self_"], **keys}


def by_slot(key: str, value: object, slots: Collection[str]) -> Iterator[tuple[str, object]]:
    """The value of a key, which may be a dictionary, agent.optimizer={lr: 1e-4}: by the keys of each slot at or below it."""
    if isinstance(value, dict) and any(f"{slot}.".startswith(f"{key}.") for slot in slots):
        for name, item in value.items():
            yield from by_slot(f"{key}.{name}", item, slots)
    else:
        yield key, value


def options_below(overrides: list[str]) -> dict[str, str]:
    """For each slot whose keys overrides set, agent.optimizer, the words in a file below which its values stand: agent/optimizer=adam."""
    if not any(key_of(override).startswith(("agent.", "replay.")) for override in overrides):
        return {}
    chosen = places(compose(overrides)[2])
    return {
        slot.replace("/", "."): f"{slot}={option}"
        for slot, (_, option) in chosen.items()
        if slot == "replay" or slot.startswith(("agent/", "replay/"))
    }


def command(path: Path, settings: Settings, space: Space) -> str:
    """How to train with the best settings, on a seed that no trial has seen."""
    seed = space.seed + settings.seeds
    if settings.config_dir is None:
        return f"deeprl train --config-dir {shlex.quote(str(path / 'best'))} experiment=best seed={seed}"
    file, folder = path / "best" / "experiment" / "best.yaml", Path(settings.config_dir)
    name = "_".join(["best", *re.findall(r"[\w-]+", path.absolute().name)])  # of the study, so that the files of several stay
    copy = shlex.quote(str(folder / "experiment" / f"{name}.yaml"))
    copied = f"mkdir -p {shlex.quote(str(folder / 'experiment'))} && cp {shlex.quote(str(file))} {copy}"
    return f"{copied} && deeprl train --config-dir {shlex.quote(str(folder))} experiment={name} seed={seed}"
