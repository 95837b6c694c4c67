"""From a checked configuration to an agent, and checks that agent, environment, replay and device go together."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Mapping
from typing import Any, Protocol, get_args

import torch
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from deeprl.choice import Choice, keys_of
from deeprl.errors import ConfigError, MachineError, UnknownNameError, line_of_users, located, on_one_line, origin
from deeprl.learning.agent import Agent
from deeprl.learning.networks.cores import Memoryless
from deeprl.learning.values.mapping import Identity
from deeprl.noise import initial_seed
from deeprl.running.config import tuned
from deeprl.running.config.alternatives import few, instead, option_class
from deeprl.running.config.combinations import CHAIN, CONSUMERS, CORE, Refusal, against_actor, among_parts, class_of, refusals
from deeprl.running.config.instantiate import PACKAGES, Allowed, Deferred, accepted, instantiate, resolve
from deeprl.running.config.menu import groups, options
from deeprl.running.config.option_names import in_options, option_target
from deeprl.running.config.own_files import of_users
from deeprl.running.config.rules import asked_info, get
from deeprl.running.runs.config_file import Config
from deeprl.system import generators
from deeprl.system.allowance import Allowance
from deeprl.system.files import machine_fault
from deeprl.types import Spec


def agent_actions(config: Config, allowed: Allowed = None) -> str:
    """ "discrete", "continuous" or "any": the kind of actions that the agent of a configuration takes."""
    found = resolve(config.get("_target_"), "agent", allowed)
    if not issubclass(found, Agent):
        raise ConfigError(f"agent._target_={config['_target_']} is no agent.")
    return found.actions


def agents_for(kind: str, env: str = "") -> list[str]:
    """Names of the agents that take "discrete" or "continuous" actions, or both, and run on any such environment; first those with tuned
    settings of their own for `env`."""
    found = [name for name, takes in kinds().items() if takes in (kind, "any")]
    return sorted(found, key=lambda name: not tuned.is_tuned(env, name))


def kinds() -> dict[str, str]:
    """The kind of actions that each agent takes, as `agent_actions` says; without those of families of them, `agent=FAMILY/mine`."""
    found = {}
    for name in options("agent"):
        with contextlib.suppress(UnicodeDecodeError, YAMLError, OmegaConfBaseException):  # a file of the user's that nobody chose
            if "/" not in name and (target := option_target("agent", name)):
                found[name] = agent_actions({"_target_": target})
    return found


def check_actions(config: Config, spec: Spec, allowed: Allowed = None) -> None:
    """
    Raises:
        ConfigError: agent and environment differ in their kind of actions.
    """
    has = "discrete" if spec.num_actions else "continuous"
    takes = agent_actions(config["agent"], allowed)
    agent, env = (f"{slot}={config['names'][slot]}" for slot in ("agent", "env"))
    if spec.choices and takes != "any":
        raise ConfigError(
            f"env.components=true needs an agent whose policy chooses each component, not {agent}: leave it out, or choose one of agent="
            f"{', '.join(name for name, kind in kinds().items() if kind == 'any')}."
        )
    if takes not in ("discrete", "continuous", "any"):
        raise ConfigError(f'{agent}: the attribute actions of its class must be "discrete", "continuous" or "any", not {takes!r:.100}.')
    if takes not in (has, "any"):
        number = spec.num_actions or spec.action_dim
        raise ConfigError(
            f"{agent} takes {takes} actions, and {env} has {number} {has} action{'s' * (number != 1)}: "
            f"choose one of agent={few(agents_for(has, config['names']['env']))}, or another environment."
        )


UNBUILDABLE = (MemoryError, RuntimeError, AttributeError, TypeError, NameError, LookupError, ArithmeticError, AssertionError)
"""Errors of a constructor: memory is missing, for which torch has no class of its own, or a value has the wrong type."""


def with_info(env: Any, config: Config) -> Any:
    """An environment that hands on the numbers of `info` for which `log.info` asks; one of one's own may not know how."""
    return env.asked(asked_info(config)) if hasattr(env, "asked") else env


def environment(config: Config, allowed: Allowed = PACKAGES, trains: bool = False) -> tuple[Any, Spec]:
    """The object that `env` describes, and the `Spec` of its environments.

    Args:
        trains: environments for the run's evaluations are tried too.

    Raises:
        ConfigError: the environment cannot be made, or has a key with another value than the run.
        MachineError: it cannot be made now, for want of memory, or because a disk or a server does not answer.
    """
    env = instantiate(config["env"], "env", allowed)
    if not all(hasattr(env, name) for name in ("spec", "make")):
        raise ConfigError(f"env._target_={config['env'].get('_target_')!r:.100} is no environment.")
    require_of_run(env, "env", config)
    env = with_info(env, config)
    try:
        spec = env.spec()
        if trains and hasattr(env, "try_evaluation"):
            evaluation = config["evaluation"]
            env.try_evaluation(min(evaluation["num"], max(evaluation["episodes"], evaluation["final_episodes"])))
        return env, spec
    except ValueError as error:
        if place := line_of_users(error, installed=False):  # an installed package's own message says enough
            raise ConfigError(f"env: {env.name} cannot be made, because it raised ValueError in {place}: {error}") from error
        raise ConfigError(of_env(env, str(error))) from error
    except (Exception, SystemExit) as error:
        passing = machine_fault(error) or isinstance(error, (ConnectionError, TimeoutError))
        kind = MachineError if passing else ConfigError
        raise kind(f"env: {env.name} cannot be made, because it raised {origin(error)}: {error}") from error


def of_env(env: Any, text: str) -> str:
    """A message with its key: env.function=m:f for function=m:f."""
    if text.startswith("env"):
        return text
    return f"env.{text}" if text.split()[:1] and text.split()[0].partition("=")[0] in accepted(type(env)) else f"env: {text}"


def require_of_run(part: object, place: str, config: Config) -> None:
    """
    Args:
        place: of the part in the configuration.

    Raises:
        ConfigError: a key that the part lists in `of_run` has another value than the run's.
    """
    for key in getattr(part, "of_run", ()):
        if (own := getattr(part, key)) != config[key]:
            raise ConfigError(f"{place}.{key}={own!r} must be that of the run, {key}={config[key]!r}: leave {place}.{key} out.")


def build_agent(config: Config, spec: Spec, allowed: Allowed = PACKAGES, saved: int | None = None) -> Agent:
    """Build the agent, without environments and replay, because `eval` and `load` do not need them.

    Args:
        saved: bytes of the file that holds its weights and optimizers. An agent that needs much more is refused before it allocates.

    Raises:
        ConfigError: the agent cannot be built.
    """
    part = instantiate({**config["agent"], "_partial_": True}, "agent", allowed)
    limit = contextlib.nullcontext() if saved is None else Allowance(4 * saved + (1 << 20))  # initial values are drawn beside the weights
    require_of_run(part.kwargs.get("utility"), "agent.utility", config)
    try:
        check_parts(part)
    except ConfigError as error:
        raise type(error)(in_options(str(error))) from error
    except UNBUILDABLE as error:  # a node is not that of a part
        raise ConfigError(f"agent: it cannot be built here: {on_one_line(error)}") from error
    try:
        with torch.device(config["device"]), limit, generators.seeded(initial_seed(config["seed"], "agent")):
            agent = part(spec=spec, seed=config["seed"])
    except ConfigError as error:
        raise ConfigError(in_options(str(error))) from error
    except (MemoryError, RuntimeError) as error:  # torch has no class of its own for missing memory
        raise ConfigError(f"agent: it cannot be built here: {on_one_line(error)}") from error
    except UNBUILDABLE as error:
        raise ConfigError(f"agent: it cannot be built: {located(error)}") from error
    return agent


def check_parts(part: Deferred) -> None:
    """
    Raises:
        ConfigError: a part is missing, has the wrong class, or needs what actor, head with its mapping, chain, or core do not offer.
    """
    given, parameters = part.kwargs, keys_of(part.cls, eval_str=True)
    slots = {slot: each for slot, each in given.items() if issubclass(class_of(each), Choice)}  # another agent may have a word there
    needed = {slot for slot, each in parameters.items() if each.default is each.empty and each.kind is not each.VAR_KEYWORD}
    missing = [slot for slot in parameters if slot in needed - {*given, "spec", "seed"}]
    if missing:
        raise UnknownNameError(f"agent.{missing[0]} is missing: `deeprl list agent/{missing[0]}` shows what it may be.")
    consumers = {slot: slots[slot] for slot in CONSUMERS if slot in slots}
    if "head" in slots and (refused := against_actor(consumers, slots.get("actor"))):
        # before the classes, because it says why
        raise ConfigError(instead(refused[0], lambda parts: against_actor(parts, slots.get("actor"))))
    for slot, parameter in parameters.items():
        *_, wanted = get_args(parameter.annotation) or [parameter.annotation]  # Callable[..., Chain] -> Chain
        checked = inspect.isclass(wanted) and slot in given and (Protocol in wanted.__bases__ or issubclass(wanted, Choice))
        if checked and not fits(class_of(given[slot]), wanted):
            if f"agent/{slot}" not in groups():
                keys = ", ".join(f"agent.{slot}.{name}" for name in inspect.signature(wanted).parameters)
                raise ConfigError(f"agent.{slot}={given[slot]!r:.100} is out of range: it takes the keys {keys}.")
            raise ConfigError(
                f"agent/{slot}={class_of(given[slot]).__name__} does not fit, because this agent takes {wanted.__name__} there: "
                f"`deeprl list agent/{slot}` shows what each option is for."
            )
    if "head" not in slots:
        return
    rewards = slots["rewards"]()

    chain: Any = class_of(slots["chain"]) if "chain" in slots else None

    def among(parts: Mapping[str, object]) -> list[Refusal]:
        joint = {f"agent/{slot}": parts[slot] for slot in ("torso", "weighting") if slot in parts}
        found = among_parts(slots["head"], slots.get("mapping", Identity()), rewards, parts, slots.get("actor"))
        return found if chain is None else found + refusals(joint, f"agent/chain={chain.__name__}", chain.offers, CHAIN)

    try:
        refused = among({**consumers, **{slot: slots[slot] for slot in ("torso",) if slot in slots}})
        core: Any = class_of(slots.get("core", Memoryless()))
        remembering = refusals(
            {f"agent/{slot}": part for slot, part in consumers.items()}, f"agent/core={core.__name__}", core.offers, CORE
        )
    except ValueError as error:
        raise ConfigError(f"agent.{error}.") from error
    if refused:
        raise ConfigError(instead(refused[0], among))
    if remembering:
        slot = remembering[0].consumer.partition("=")[0]
        raise ConfigError(f"{remembering[0]} Leave agent/core out, or take {slot}=none.")


def fits(found: type, wanted: type) -> bool:
    """Whether a class is derived from another, or has the methods of a protocol."""
    if Protocol not in wanted.__bases__:
        return issubclass(found, wanted)
    methods = [name for name, value in vars(wanted).items() if inspect.isfunction(value) and name != "__init__"]
    return all(any(name in vars(base) for base in found.__mro__) for name in methods)


def check_replay(config: Config, agent: Agent, replay: Deferred) -> None:
    """
    Raises:
        ConfigError: a part of the agent needs what the replay does not offer.
    """
    slots = ("backup", "weighting", "auxiliary", "rate", "core")
    consumers = {**{f"agent/{slot}": getattr(agent, slot, None) for slot in slots}, "agent": agent}
    refused = refusals(consumers, f"replay={config['names']['replay']}", replay.cls.offers)  # type: ignore[attr-defined]
    if refused:
        ours = [name for name in options("replay") if not of_users("replay", name)]
        fitting = {name: option_class("replay", name) for name in ours}
        others = [name for name, cls in fitting.items() if is_served(agent, cls) and not refusals(consumers, "", cls.offers)]
        needy = refused[-1]
        if needy.consumer.startswith("agent="):
            needy = needy._replace(consumer=f"agent={config['names']['agent']}")
        # a recipe may have chosen the replay, so that "leave it out" alone is no remedy
        kept = [name for name in others if not left_with(config, name, fitting[name])]
        base = left_with(config, others[0], fitting[others[0]]) if others and not kept else ""  # replay alone would be refused next
        choice = f"agent={base} with " if base else ""
        remedy = f"Choose {choice}replay={', '.join(nearest_first(config, kept or others))}." if others else "Leave replay out."
        raise ConfigError(f"{in_options(str(needy))} {remedy}")
    if not is_served(agent, replay.cls):
        raise ConfigError(
            f"replay={config['names']['replay']} is made for other agents than agent={config['names']['agent']}, which would misread its "
            "batches: leave replay out. `deeprl list replay` says what each option is for."
        )


def require_model(config: Config, replay: Deferred) -> None:
    """
    Raises:
        ConfigError: the recipe of the agent names a source that imagines transitions, and the run has another one, with which the agent
            is another recipe: one without a model, or with the loss of another model.
    """
    chosen, agent = config["names"]["replay"], config["names"]["agent"]
    if base := left_with(config, chosen, replay.cls):
        raise ConfigError(
            f"replay={chosen} leaves agent={base} of agent={agent}, which learns from what a model imagines (replay={sources(agent)[0][1]}"
            f"): leave replay out, or choose agent={base}."
        )


def left_with(config: Config, chosen: str, cls: Any) -> str:
    """The recipe that the agent becomes when the run has another option of replay than the recipe names: agent=ravl without a model is
    EDAC, agent=vagram with the loss of model is MBPO. "" where it stays what its name says.

    Args:
        chosen, cls: the option of the run, and its class.
    """
    (_, own), *_ = recipes = sources(config["names"]["agent"])
    if own in (None, chosen) or not imagines(own):
        return ""
    without: tuple[str | None, ...] = (None, chosen)
    if cls.imagines and chosen not in dict(recipes).values():
        # both imagine, so that the recipes differ in the loss of the model: nothing is left if it is that of the recipe
        loss = "model.loss._target_"
        made = tuned.values("replay", own).get(loss)
        without = tuple(each for _, each in recipes if each and imagines(each) and tuned.values("replay", each).get(loss) != made)
        if not without or get(config, f"replay.{loss}") == made:
            return ""
    return next(recipe for recipe, source in recipes if source in without)


def sources(agent: str) -> list[tuple[str, str | None]]:
    """A recipe and those from which it starts, each with the option of replay that it names or inherits."""
    recipes = tuned.lineage(agent)
    named = [tuned.slots("agent", recipe).get("replay") for recipe in recipes]
    return [(recipe, next((option for option in named[place:] if option), None)) for place, recipe in enumerate(recipes)]


def imagines(source: str) -> bool:
    """Whether an option of the slot replay imagines transitions."""
    return getattr(option_class("replay", source), "imagines", False)


def nearest_first(config: Config, replays: list[str]) -> list[str]:
    """Options of the slot replay: first those with a word of the configuration's own, such as stored_sequences for stored; those that read
    data as it does before others; rollouts, which keep nothing, last."""
    own = config["names"]["replay"]

    def far(name: str) -> tuple[bool, bool, bool]:
        cls = option_class("replay", name)
        reads = "data" in accepted(cls)
        return not set(own.split("_")) & set(name.split("_")), reads != ("data" in config["replay"]), "rollout" in cls.offers

    return sorted(replays, key=far)


def is_served(agent: Agent, source: Any) -> bool:
    """Whether the batches of a source are made for the agent."""
    return not source.serves or source.serves in agent.needs


def check_device(config: Config) -> None:
    """
    Raises:
        ConfigError: the device is not available.
    """
    name = str(config["device"])
    try:
        torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device={name}: there is no such device. Take cpu, or cuda for a GPU of NVIDIA.") from error
    try:
        torch.zeros(1, device=name).item()  # item() fails on the device "meta", which holds no numbers
    except (RuntimeError, AssertionError) as error:
        count = torch.cuda.device_count()
        have = ["cpu", *(f"cuda:{i}" for i in range(count))]
        raise ConfigError(f"device={name} is not available here: this machine has {', '.join(have)}.") from error
