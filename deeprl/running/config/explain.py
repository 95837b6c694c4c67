"""What is wrong with overrides that do not compose, in a message that names the nearest right key, group or value."""

from __future__ import annotations

import re
from typing import Any

from omegaconf import OmegaConf

from deeprl.errors import ConfigError, on_one_line
from deeprl.running.config import composition, own_files, own_keys, settings
from deeprl.running.config.by_hydra import FAULTS
from deeprl.running.config.foreign_keys import ELSEWHERE, PUBLISHED, key_of_others
from deeprl.running.config.menu import groups, options
from deeprl.running.config.overrides import by_name, fault_of_grammar, key_of, keys_of, unplaced
from deeprl.running.config.resolve import choices, resolve
from deeprl.running.config.rules import nearest
from deeprl.running.runs.config_file import flatten
from deeprl.running.runs.moved import renamed

MANY = ("seeds", "num_seeds", "n_seeds")
"""Words for several runs of one setting, which are a sweep here"""
WRITTEN = ("tensorboard", "tb", "csv", "json", "jsonl", "stdout", "none")
"""Words for what every run writes without a logger"""


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
        # the whole name first: env=hopper is mujoco/hopper rather than dmc/hopper_hop
        part_of.sort(key=lambda option: (option.rpartition("/")[2] != value, "/" in option, not option.startswith(value)))
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
        if key == "experiment" and value.endswith((".yaml", ".yml")):
            near = f" {by_name(value)}."
        if key == "logger" and value in WRITTEN:
            near = " TensorBoard's event file and metrics.jsonl are always written: leave it out."
        if override == "replay=auto":
            near = " Leave it out: the recipe of the agent, or its backup, chooses the replay."
        large = key in ("agent", "env")
        listed = "" if large and (near or len(offered) > 12) else f" It takes {', '.join(offered)}."
        return f"{key}={value} is not an option of {key}.{near}{listed}" + (f" (`deeprl list {key}s` shows them all.)" if large else "")

    def fault(words: list[str]) -> Exception | None:
        try:
            resolve(composition.composed(words))
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
    config = composition.composed(good)
    chosen = choices(config)
    target, owner = override.partition("=")[0], key.rpartition("/")[0]  # together with a package, agent/torso@agent.actor_torso
    if key in known and target not in chosen and (owner or target == key) and not override.startswith(("+", "~")):
        slots = ", ".join(unplaced(slot) for slot in chosen if slot.startswith(f"{owner}/"))
        word = unplaced(override)
        near = f" Did you mean {word.replace('/critic/', '/')}?" if "/critic/" in word else ""
        return f"{word}: {owner}={chosen.get(owner)} has no slot {unplaced(target)}.{near} It has {slots or 'none'}."
    base: Any = OmegaConf.to_container(config, resolve=False)  # as it is, because a required key may come later
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
        entry = re.search(r"Could not (?:find|override|load) 'experiment/|^Multiple values|defaults must be a list", said)
        if key == "experiment" and entry and own_files.of_users(key, override.partition("=")[2]):
            said = f"{said.partition(' To override a value')[0].rstrip('.')}. The list of defaults has entries as - override /agent: dqn"
        return f"{override}: {said}{renamed(f'{slot}={option}') or nearest_option(file, known)}"
    if key in parents and not override.partition("=")[2].startswith("{"):
        within = [k for k in keys if k.startswith(f"{key}.") and not k.endswith("._target_")]
        return f"{override}: {key} is no single value, but has the keys {', '.join(within)}: set these."
    name = key.rpartition(".")[2]
    theirs = [k for k in ELSEWHERE.get(name, ()) if k in keys]
    last = theirs if key == name and theirs else [k for k in keys if k.rpartition(".")[2] == name] or theirs
    part = key.rpartition(".")[0]
    slot = part.replace(".", "/")
    if slot in chosen and slot not in ("agent", "env"):
        last = [k for k in last if k.startswith((f"{part}.", f"{part}_"))]  # a key of another slot would be another thing
    plain = not override.startswith(("+", "~")) and not override.partition("=")[2].startswith("{")
    if plain and slot in chosen and (path := own_files.of_users(slot, chosen[slot])) and own_keys.is_taken(key, base):
        return f"{override}: {path} does not list {key}, which its class takes: write +{override}, or add the key there."
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
    option = override.partition("=")[2]
    meant += [slot for slot in slots_of(known) if slot.rpartition("/")[2] == key.rpartition("/")[2] and option in ("", *options(slot))]
    if "/" in key:  # agent/target=polyak: the slot that has such an option
        meant += [unplaced(slot) for slot in chosen if option in options(slot.partition("@")[0])]
    hint = f" Did you mean {meant[0]}={option}?" if meant else nearest(key, last)
    if key in MANY:
        hint = ' A run has one seed: deeprl sweep … "seed=range(0,10)" trains ten of them side by side.'
    all_names = [k for k in (*keys, *parents, *known) if "._" not in k]
    if name in ELSEWHERE and not last:  # of another option than those that are chosen
        hint = hint or key_of_others("agent", ELSEWHERE[name][0].rpartition(".")[2], chosen, ELSEWHERE[name])
    if override in PUBLISHED:
        hint = f" Did you mean {PUBLISHED[override]}?"
    hint = renamed(key) or hint or (f" Did you mean {last[0]}?" if last else nearest(key, all_names))
    return f"{override}: there is no key {key}.{hint}"
