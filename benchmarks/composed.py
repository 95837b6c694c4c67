"""The values that every recipe has on every family of environments, and every experiment, beside those that are stored.

python -m benchmarks.composed            the keys that differ, with the commands that they differ for
python -m benchmarks.composed --write    store today's values: benchmarks/results/composed.json
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from deeprl.running.config import tuned
from deeprl.running.config.build import agent_actions
from deeprl.running.config.compose import compose
from deeprl.running.config.menu import options
from deeprl.running.config.option_names import option_target
from deeprl.running.runs.config_file import flatten
from deeprl.running.session.complete import complete

STORED = Path(__file__).parent / "results" / "composed.json"
ENVIRONMENTS = {
    "discrete": ("classic/cartpole", "atari/pong", "minatar/breakout", "box2d/lunar_lander", "toy/chain", "tensor/cartpole"),
    "continuous": ("classic/pendulum", "mujoco/half_cheetah", "box2d/bipedal_walker", "tensor/pendulum"),
}
"""For the kind of an agent's actions, an environment of each family"""
ANY = ("gym env.id=CartPole-v1", "function env.function=gymnasium:make")
ABSENT = "-"
Values = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    if parser.parse_args().write:
        found = {words: values(words) for words in commands()}
        STORED.write_text(folded(found))
        print(f"{STORED.name}: {len(found)} configurations")
        return
    print(report(stored(), {words: values(words) for words in commands()}))


def commands() -> list[str]:
    """A command for each agent on each family whose actions it takes, and on each task with a tuned file; and each experiment."""
    found = []
    tasks = [name for name in options("env") if name.count("/") == 1 and not name.startswith("lab/")]
    for agent in options("agent"):
        kind = agent_actions({"_target_": option_target("agent", agent)})
        if agent.startswith("lab/"):
            environments = [f"lab/{lab}" for lab in (agent.removeprefix("lab/"),) if f"lab/{lab}" in options("env")] or ["lab/garnet"]
        else:
            kinds = ENVIRONMENTS if kind == "any" else (kind,)
            environments = [env for each in kinds for env in ENVIRONMENTS[each]] + [*ANY]
            environments += [env for env in tasks if tuned.option(env, agent).startswith(f"{env}/")]
        found += [" ".join((f"agent={agent} env={env}", *data_of(agent))) for env in dict.fromkeys(environments)]
    return [*found, *(f"experiment={name}" for name in options("experiment"))]


def data_of(agent: str) -> tuple[str, ...]:
    """Words for an agent whose recipe names a source of stored data, which are not read here."""
    source = tuned.slots("agent", agent).get("replay", "uniform")
    return ("replay.data=runs/NAME",) if tuned.values("replay", source).get("data") == "???" else ()


def values(words: str) -> Values:
    """What config.yaml would hold, as flat keys."""
    with contextlib.redirect_stderr(io.StringIO()):
        return dict(flatten(complete(*compose(words.split())[:2])))


def folded(found: dict[str, Values]) -> str:
    """JSON of all values. Each line has those in which it differs from the one that it is `like`: an agent from the recipe that it starts
    from, a configuration from its agent; the section `env` from that of its environment."""
    agents, envs = defaultdict(list), defaultdict(list)
    for each in found.values():
        of_env = {key: value for key, value in each.items() if key.startswith(("env.", "names.env"))}
        envs[f"env={each['names.env']}"].append(of_env)
        agents[f"agent={each['names.agent']}"].append({key: value for key, value in each.items() if key not in of_env})
    own = {name: usual(group) for name, group in sorted({**agents, **envs}.items())}
    own |= {"any agent": usual([own[name] for name in agents]), "any env": usual([own[name] for name in envs])}
    lines = {name: {"like": [], **own[name]} for name in ("any agent", "any env")}
    for name in sorted({**agents, **envs}):
        starts = [f"agent={each}" for each in tuned.lineage(name.removeprefix("agent="))[1:] if f"agent={each}" in agents]
        start = [*starts, "any agent" if name in agents else "any env"][0]
        lines[name] = {"like": [start], **change(own[start], own[name])}
    for words, each in sorted(found.items()):
        like = [f"agent={each['names.agent']}", f"env={each['names.env']}"]
        lines[words] = {"like": like, **change(own[like[0]] | own[like[1]], each)}
    return "{\n" + ",\n".join(f"{json.dumps(name)}: {json.dumps(values)}" for name, values in lines.items()) + "\n}\n"


def unfolded(name: str, lines: dict[str, Values]) -> Values:
    whole: Values = {}
    for start in lines[name]["like"]:
        whole |= unfolded(start, lines)
    whole |= {key: value for key, value in lines[name].items() if key != "like"}
    return {key: value for key, value in whole.items() if value != ABSENT}


def usual(found: list[Values]) -> Values:
    """Of each key the value that most have, if they have the key."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for key in {key for each in found for key in each}:
        for each in found:
            counts[key][json.dumps(each.get(key, ABSENT))] += 1
    most = {key: json.loads(max(count, key=lambda text: (count[text], text))) for key, count in sorted(counts.items())}
    return {key: value for key, value in most.items() if value != ABSENT}


def change(before: Values, after: Values) -> Values:
    """The entries of `after` that `before` does not have, and `ABSENT` for those that only `before` has."""
    return {key: after.get(key, ABSENT) for key in sorted({**before, **after}) if before.get(key, ABSENT) != after.get(key, ABSENT)}


def stored() -> dict[str, Values]:
    lines = json.loads(STORED.read_text())
    return {name: unfolded(name, lines) for name, values in lines.items() if len(values["like"]) == 2}


def report(before: dict[str, Values], after: dict[str, Values]) -> str:
    """Each difference once, with the commands that it is in."""
    found: dict[str, list[str]] = defaultdict(list)
    for words in [*before, *(words for words in after if words not in before)]:
        if words not in before or words not in after:
            found["only stored" if words in before else "not stored"].append(words)
            continue
        after_json = json.loads(json.dumps(after[words]))  # tuples are lists in the file
        for key, value in change(before[words], after_json).items():
            found[f"{key}: {json.dumps(before[words].get(key, ABSENT))} -> {json.dumps(value)}"].append(words)
    lines = [
        f"{difference}\n    {len(words)}: {'; '.join(words[:6])}{' …' * (len(words) > 6)}" for difference, words in sorted(found.items())
    ]
    return "\n".join([*lines, f"{len(after)} configurations, {len({words for each in found.values() for words in each})} differ"])


if __name__ == "__main__":
    main()
