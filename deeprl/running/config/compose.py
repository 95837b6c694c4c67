"""Composition of overrides to a resolved configuration, with errors that name the nearest right key, group or value."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any, TypeGuard

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from deeprl.errors import ConfigError, on_one_line
from deeprl.running.config import captions, folders, own_files, settings, source, tuned
from deeprl.running.config.composition import composed
from deeprl.running.config.foreign_keys import ELSEWHERE, PUBLISHED, key_of_others
from deeprl.running.config.menu import groups, options
from deeprl.running.config.overrides import FREE, check_words, fault_of_grammar, for_hydra, key_of, keys_of, unplaced
from deeprl.running.config.resolvers import env_name, register_resolvers
from deeprl.running.config.rules import RULES, nearest
from deeprl.running.runs.config_file import Config, container, flatten
from deeprl.running.runs.moved import renamed

FAULTS = (HydraException, OmegaConfBaseException, YAMLError)
"""Errors of a composition."""

NEITHER = [f"{slot}=null" for slot in FREE]
"""Overrides of a run without an experiment and without a budget"""

MANY = ("seeds", "num_seeds", "n_seeds")
"""Words for several runs of one setting, which are a sweep here"""


def prepare() -> None:
    """Register the resolvers and folders that a composition needs. Idempotent."""
    register_resolvers()
    source.register()


def compose(overrides: Iterable[str]) -> tuple[Config, set[str], dict[str, str]]:
    """Compose a configuration.

    Returns:
        the resolved configuration; the keys that the overrides set; the chosen options, {"env": "classic/cartpole", "agent": "idqn", ...}.

    Raises:
        ConfigError: an override is wrong; the message names the nearest right key, group or value.
    """
    return compose_with_folder(overrides)[:3]


def compose_with_folder(overrides: Iterable[str]) -> tuple[Config, set[str], dict[str, str], str | None]:
    """As `compose`, and last the value of hydra.run.dir, interpolations resolved; None if the overrides do not set it."""
    overrides = [for_hydra(override) for override in overrides]
    prepare()
    check_words(overrides)
    try:
        cfg = _compose(overrides)
        chosen = choices(cfg)
        folder = folder_of(cfg, overrides)
        return (*resolve(cfg), chosen, folder)
    except FAULTS as error:
        absent = folders.left_out() if isinstance(error, MissingConfigException) else ""
        raise ConfigError(explain(overrides, error) + absent) from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(own_files.fault(error)) from error


def folder_of(cfg: DictConfig, overrides: list[str]) -> str | None:
    """hydra.run.dir, if an override sets it.

    Raises:
        ConfigError: its interpolations have no value.
    """
    word = next((override for override in reversed(overrides) if key_of(override) == "hydra.run.dir"), None)
    try:
        return None if word is None else str(cfg.hydra.run.dir or "")
    except OmegaConfBaseException as error:
        raise ConfigError(f"{word}: {on_one_line(error)}") from error


def one_run(overrides: list[str]) -> DictConfig | None:
    """The composition of one run, with Hydra's part; None if hydra.mode says what Hydra shall make."""
    config = _compose(overrides)
    if config.hydra.mode:
        return None
    config.hydra.mode = "RUN"
    config.hydra.overrides.hydra.append("hydra.mode=RUN")
    return config


def run_once(job: Callable[[DictConfig], None], config: DictConfig) -> None:
    """As `hydra.main` makes one run, but of a composition that is known. `hydra.main` composes twice, first to look for hydra.mode."""
    with _initialized():
        hydra: Any = GlobalHydra.instance().hydra
        hydra.config_loader = Composed(hydra.config_loader, config)
        hydra.run(config_name="train", task_function=job, overrides=[])


class Composed:
    """Hydra's loader of configurations, for a run that is composed already."""

    def __init__(self, loader: object, config: DictConfig):
        self.loader, self.config = loader, config

    def load_configuration(self, **ignored: object) -> DictConfig:
        return self.config

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)


def _initialized() -> AbstractContextManager[None]:
    GlobalHydra.instance().clear()
    return initialize_config_dir(str(folders.CONFIGS), job_name="train", version_base="1.3")  # type: ignore[return-value]


def _compose(overrides: list[str]) -> DictConfig:
    return composed(overrides, by_hydra)


def by_hydra(name: str | None, overrides: list[str]) -> DictConfig:
    """The composition of Hydra, from the file of this name (none: Hydra's own part) to the last override."""
    # for which Hydra takes no null
    words = [f"~{override.removesuffix('=null')}" if override in NEITHER else override for override in overrides]
    try:
        with _initialized():
            return hydra_compose(name, overrides=words, return_hydra_config=True)
    except (*FAULTS, UnicodeDecodeError):  # the last one names the file elsewhere
        raise
    except ValueError as error:  # such as that for tuned=null
        raise HydraException(str(error)) from error


def choices(cfg: DictConfig) -> dict[str, str]:
    chosen = {name: str(value) for name, value in cfg.hydra.runtime.choices.items() if not name.startswith("hydra/")}
    return {**dict.fromkeys(FREE, "None"), **chosen, "env": env_name(cfg)}


def resolve(cfg: DictConfig) -> tuple[Config, set[str]]:
    """The resolved configuration of a run, without Hydra's part and with `names`, of which `complete` takes those away that no run has; and
    the keys that the command line set.

    Args:
        cfg: as it is composed; it is used up.

    Raises:
        ConfigError: a key has no value.
    """
    chosen, user, unset = apply_settings(cfg)
    try:
        resolved = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException:
        if missing := OmegaConf.missing_keys(cfg):
            raise ConfigError(without_value(min(missing), chosen)) from None
        raise
    assert isinstance(resolved, dict)
    own_files.check_chosen(chosen, resolved)  # type: ignore[arg-type]
    refuse_idle(chosen, user)
    resolved["names"] = {name: chosen[name] for name in ("env", "agent", "replay", "experiment") if chosen.get(name, "None") != "None"}
    options_of = ((slot, *settings.places(chosen)[slot]) for slot in unset)
    if others := [f"{slot}={option}" for slot, group, option in options_of if not own_files.of_users(group, option)]:
        resolved["names"]["others"] = others  # type: ignore[assignment]
    return resolved, user  # type: ignore[return-value]


def apply_settings(cfg: DictConfig) -> tuple[dict[str, str], set[str], list[str]]:
    """Put what files say of options and budgets in its place, and take Hydra's part away.

    Returns:
        the chosen options, the keys that the command line set, and what `settings.apply` returns.
    """
    chosen = choices(cfg)
    user = keys_of(cfg.hydra.overrides.task)
    with open_dict(cfg):
        cfg.pop("hydra")
        cfg.pop("experiment", None)
        budget = container(cfg.pop("budget", None) or {})
    budget = settings.spread(budget, cfg, chosen)
    unset = settings.apply(cfg, chosen, user)
    shorten(cfg, budget, user)
    return chosen, user, unset


def unresolved(overrides: list[str]) -> DictConfig:
    """The configuration of a run, interpolations as they are written. Errors are those of OmegaConf: `compose` explains them."""
    cfg = _compose(overrides)
    apply_settings(cfg)
    return cfg


def without_value(key: str, chosen: dict[str, str]) -> str:
    """The message of a key that has no default, with what the file of its option says of it, or one from which that starts."""
    files = [
        (f"{group}/{each}", f"{slot.replace('/', '.')}.")
        for slot, (group, option) in settings.places(chosen).items()
        for each in tuned.lineage(option, group)
    ]
    comment = next((entry.comment for file, prefix in files for entry in captions.keys(file, prefix) if entry.name == key), "")
    return f"{key} has no value: give one, {key}=...{comment and f', {comment}'}"


def shorten(cfg: DictConfig, budget: Config, user: set[str]) -> None:
    """Apply a budget (configs/budget/tiny.yaml), keys and values. They replace all others, so that it comes last; those under `at_most`
    bound numbers that the command line does not set. Keys that the chosen parts do not have are passed over.

    A value out of range stays, so that it is refused with a budget too: of the keys of `RULES`; and of others if the command line sets, in
    place of a positive number, something else, such as null.

    Raises:
        ConfigError: a bound is no number.
    """
    for key, value in budget.items():
        name = key.removeprefix("at_most.")
        now = OmegaConf.select(cfg, name, default=settings.ABSENT)
        if now is settings.ABSENT:
            continue
        if key == name:
            applies = RULES[name].takes(now) if name in RULES else name not in user or (now is not None and alike(now, value))
        elif is_number(value):
            applies = name not in user and (now is None or (is_number(now) and now > value))
        else:
            raise ConfigError(f"{key}={value!r} of a budget is no number, and bounds nothing.")
        if applies:
            OmegaConf.update(cfg, name, value)


def alike(now: object, value: object) -> bool:
    """Whether a value may be one of the key that a budget sets: a positive number, and a whole one, where its own value is such."""
    if not is_number(value):
        return True
    return is_number(now) and now > 0 and (isinstance(value, float) or float(now).is_integer())


def is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def refuse_idle(chosen: dict[str, str], user: set[str]) -> None:
    """
    Raises:
        ConfigError: the chosen experiment only names an agent and an environment, for whose settings a tuned file stands, and another
            environment was chosen to which these do not apply.
    """
    name = chosen.get("experiment", "None")
    if name == "None":
        return
    lineage = tuned.lineage(name, "experiment")
    slots = {slot: option for each in reversed(lineage) for slot, option in tuned.slots("experiment", each).items()}
    if tuned.values("experiment", name) or slots.keys() - {"agent", "env", *user}:
        return
    if "env" not in slots or ("env" in user and tuned.family(slots["env"]) != tuned.family(chosen["env"])):
        agent, env = chosen["agent"], chosen["env"]
        family = tuned.family(slots.get("env", ""))
        made = f"Its settings are for {family}: choose an environment of {family}, or write" if family else "Write"
        raise ConfigError(f"experiment={name} sets nothing on env={env}. {made} agent={agent} env={env} without it.")


def explain(overrides: list[str], error: Exception) -> str:
    """Message for overrides that do not compose: the first wrong override, and the nearest right one."""
    known = groups()
    for override in overrides:
        key, value = key_of(override), override.partition("=")[2].strip("'\"")  # quoted, where it comes from Python
        offered = options(key) if key in known else []
        if not offered or value in ("", "null", "~", *offered) or any(c in value for c in ",({["):
            continue
        short = {option.rpartition("/")[2]: option for option in reversed(offered)}  # the first of a name
        part_of = [option for option in offered if value in re.split(r"[/_]", option)]
        part_of.sort(key=lambda option: ("/" in option, not option.startswith(value)))
        family = [option for option in offered if "/" in value and option.startswith(f"{value.partition('/')[0]}/")]
        near = nearest(value, family) or (
            f" Did you mean {part_of[0]}?" if part_of else nearest(value, short, short) or nearest(value, offered)
        )
        if key == "env" and re.search(r"-v\d+$", value):
            id = value.rpartition("/")[2] if family else value  # mujoco/Hopper-v5: of ours is the folder
            near += f" An id of Gymnasium is env=gym env.id={id}."
        if key == "agent" and not part_of and (published := [name for name in options("experiment") if name.startswith(f"{value}_")]):
            near = f" There is {' and '.join(f'experiment={name}' for name in published)}."
        if owners := [slot for slot in slots_of(known) if value in options(slot)]:
            near = f"{near if part_of else ''} It is one of {owners[0]}: {owners[0]}={value}."
        if f"{key}={value}" in PUBLISHED:
            near = f" Did you mean {PUBLISHED[f'{key}={value}']}?"
        near = renamed(override) or near
        if override == "replay=auto":
            near = " Leave it out: the recipe of the agent, or its backup, chooses the replay."
        large = key in ("agent", "env")
        listed = "" if large and (near or len(offered) > 12) else f" It takes {', '.join(offered)}."
        return f"{key}={value} is not an option of {key}.{near}{listed}" + (f" (`deeprl list {key}s` shows them all.)" if large else "")

    def fault(words: list[str]) -> Exception | None:
        try:
            resolve(_compose(words))
        except ConfigError:  # a value that a later override may supply
            pass
        except FAULTS as found:
            return found
        return None

    def rank(override: str) -> int:
        """As Hydra takes them: agents and environments, the options of their slots, keys."""
        return key_of(override).count("/") if key_of(override) in known else 9

    ordered = sorted(overrides, key=rank)
    good = [override for override in ordered if key_of(override) in known]
    if not good or fault(good):
        good = []
    for override in ordered[len(good) :]:
        last = len(good) + 1 == len(ordered)  # all others compose, so that `error` is of this one
        if found := error if last else fault([*good, override]):
            return _explain_one(good, override, found, known)
        good = [*good, override]
    return on_one_line(error)


def slots_of(known: list[str]) -> list[str]:
    """Groups of which a run chooses an option: neither tuned files nor the families of env."""
    return [group for group in known if group == "env/protocol" or not group.startswith(("tuned", "env/"))]


def nearest_option(file: str, known: list[str]) -> str:
    """' Did you mean …?' with the option of a slot whose name is nearest to that of a file, env/tensor/cartpol."""
    slot = max((slot for slot in slots_of(known) if file.startswith(f"{slot}/")), key=len, default=None)
    return nearest(file.removeprefix(f"{slot}/"), options(slot)) if slot else ""


def owner_of(slot: str, chosen: dict[str, str]) -> str:
    """The option that a slot would belong to: agent=dqn of agent/actor."""
    group = slot.partition("/")[0]
    return f"{group}={chosen.get(group)}"


def _explain_one(good: list[str], override: str, error: Exception, known: list[str]) -> str:
    """Message for `override`, which fails although the overrides `good` before it compose."""
    if fault := fault_of_grammar(override):
        return f"{override}: {fault}."
    key = key_of(override)
    composed = _compose(good)
    chosen = choices(composed)
    target, owner = override.partition("=")[0], key.rpartition("/")[0]  # together with a package, agent/torso@agent.actor_torso
    if key in known and target not in chosen and (owner or target == key) and not override.startswith(("+", "~")):
        slots = ", ".join(unplaced(slot) for slot in chosen if slot.startswith(f"{owner}/"))
        word = unplaced(override)
        near = f" Did you mean {word.replace('/critic/', '/')}?" if "/critic/" in word else ""
        return f"{word}: {owner}={chosen.get(owner)} has no slot {unplaced(target)}.{near} It has {slots or 'none'}."
    base: Any = OmegaConf.to_container(composed, resolve=False)  # as it is, because a required key may come later
    keys = [k for k, _ in flatten({name: part for name, part in base.items() if name not in ("hydra", "experiment", "budget")})]
    keys = [k for k in keys if not settings.is_setting(k)]
    parents = {".".join(k.split(".")[:i]) for k in keys for i in range(1, len(k.split(".")))}
    if override.partition("=")[2].startswith("{"):  # the first wrong entry
        key = next((entry for entry in sorted(keys_of([override])) if entry not in (*keys, *parents)), key)
    if key in keys or key in known or key.startswith("hydra"):
        file = str(getattr(error, "missing_cfg_file", ""))
        slot, _, option = file.rpartition("/")
        said, _, _ = on_one_line(error).partition(" Config search path:")
        if found := re.match(r"In '(\w+)/(\w+)': Could not override '((\w+)/\w+)'", said):
            file, option, slot, owner = found.groups()
            lacks = f"chooses an option of {slot}, a slot that this {owner} does not have"
            return f"{override}: {file}={option} {lacks}: take another {owner} or another {file}."
        return f"{override}: {said}{renamed(f'{slot}={option}') or nearest_option(file, known)}"
    if key in parents and not override.partition("=")[2].startswith("{"):
        within = [k for k in keys if k.startswith(f"{key}.") and not k.endswith("._target_")]
        return f"{override}: {key} is no single value, but has the keys {', '.join(within)}: set these."
    name = key.rpartition(".")[2]
    last = [k for k in keys if k.rpartition(".")[2] == name] or [k for k in ELSEWHERE.get(name, ()) if k in keys]
    part = key.rpartition(".")[0]
    slot = part.replace(".", "/")
    if slot in chosen and slot not in ("agent", "env"):
        last = [k for k in last if k.startswith((f"{part}.", f"{part}_"))]  # a key of another slot would be another thing
    if slot in chosen and not last:
        own = {k.removeprefix(f"{part}."): k for k in keys if k.startswith(f"{part}.") and not k.rpartition(".")[2].startswith("_")}
        shown = [k for k in own if slot != "agent" or "." not in k] + ["agent.SLOT.KEY (--cfg=job prints them)"] * (slot == "agent")
        offered = f"has {', '.join(shown)}" if shown else "has no keys"
        other = key_of_others(slot, name, chosen)
        near = renamed(key) or ("" if other else nearest(name, own, own))
        return f"{override}: there is no key {key}.{near} {slot}={chosen[slot]} {offered}.{other}"
    if slot in known and slot not in chosen:
        return f"{override}: {owner_of(slot, chosen)} has no slot {slot}, and {key} is a key of it: leave it out."
    meant = [unplaced(slot) for slot in chosen if slot.partition("@")[2].replace(".", "/") == key]  # agent/actor_torso
    meant += [slot for slot in slots_of(known) if slot.rpartition("/")[2] == key.rpartition("/")[2]]
    if "/" in key:  # agent/target=polyak: the slot that has such an option
        meant += [unplaced(slot) for slot in chosen if override.partition("=")[2] in options(slot.partition("@")[0])]
    hint = f" Did you mean {meant[0]}={override.partition('=')[2]}?" if meant else nearest(key, last)
    if key in MANY:
        hint = ' A run has one seed: deeprl sweep … "seed=range(0,10)" trains ten of them side by side.'
    all_names = [k for k in (*keys, *parents, *known) if "._" not in k]
    hint = renamed(key) or hint or (f" Did you mean {last[0]}?" if last else nearest(key, all_names))
    return f"{override}: there is no key {key}.{hint}"
