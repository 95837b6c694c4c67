"""What the documentation claims of learning, each claim with the runs behind it.

    python -m benchmarks.evidence NAME --folder FOLDER [--again] [--reverse] [--tasks TASK …] [--minutes 60]
    python -m benchmarks.evidence NAME --table

The first form trains what is missing in benchmarks/results/NAME.json (see `benchmarks.learning`), then prints the table; several processes
may do it at once. Nothing is missing in the sets that are stored whole: `--again` trains them anew, and writes to FOLDER/NAME.json instead.
No checkpoint is picked: a figure is the final evaluation, with the last weights, or where steps are named the mean of all evaluations of
the last 20,000 up to them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from itertools import combinations, groupby
from pathlib import Path

import numpy as np
import scipy

from benchmarks import atari_others
from benchmarks.headline import against_goal, beside_published
from benchmarks.learning import RESULTS, after, interval, planned, scores, stored, train_all
from benchmarks.learning import compared as compared_at
from benchmarks.recipes import AS_PUBLISHED, COMPOSITIONS, DISCOUNTED, RECIPES, SAC_CHANGED, SETS, SMALL_XQC
from deeprl.tools.report.rank_test import holm, p_value
from deeprl.tools.report.statistics import Interval, improvement, iqm, relative

NAMES = {
    "holds": (("holds", range(10)), ("holds_pendulum", range(10))),
    "actors": (("actors", range(3)), ("actors_pendulum", range(3))),  # beside the same seeds of "holds", which collect in one process
    "successors": (("successors", range(5)),),
    "ipqn": (("ipqn", range(3)),),
    "control": (("control", range(5)),),  # beside the runs that benchmarks.control adds to the same file
    "discounts": (("discounts", range(3)),),
    "log_values": (("log_values", (100, 101)),),
    "composition": (("composition", range(200, 203)),),  # others than those by which settings were chosen on Freeway
    "composition_main": (("composition_main", range(5)),),
    "auxiliary": (("auxiliary", range(3)),),
    "asterix": (("asterix", range(3)),),
    "atari": (("pong_chain", range(2)), ("pong", range(2)), ("atari_breakout", range(1))),
    "atari_choice": (("atari_choice", (700, 701)),),
    "atari_others": (("atari_others", range(3)), ("atari_chosen", range(3))),
    "strong_choice": (("strong_choice", (100,)),),
    "xqc_choice": (("xqc_choice", (300, 301)),),
    "headline": (("headline", range(3)), ("headline_xqc", range(5))),
    "sac_hopper": (("sac_hopper", range(400, 406)),),
    "lost_lead": (("lost_lead", range(600, 605)),),
    "cheetah_run": (("cheetah_run", range(2)),),
    "early": tuple((f"early_{name}", (500, 501)) for name in ("redq", "flash_sac", "droq_bro", "tqc")),
    "remember": (("remember_ppo", range(3)), ("remember_values", range(3)), ("remember_longer", range(3, 6))),
    # the other runs of "values" were given up for those of "second", whose rule is in docs/algorithms/r2d2.md
    "remember_pendulum": (
        ("remember_pendulum_ppo", range(3)),
        ("remember_pendulum_values", range(1)),
        ("remember_pendulum_second", range(3, 6)),
        ("remember_pendulum_third", range(6, 9)),
    ),
    "remember_others": (("repeat", range(2)), ("memory_s7", range(2))),  # beside the lines that benchmarks.peer_learning adds to the file
    "ppo_mujoco": (("ppo_mujoco", range(3)),),  # the same
    "ppo_breakout": (("ppo_breakout", range(1)),),
    # seed 0 of the rivals is in learning.json, in runs of a million steps (Walker2d: half a million)
    "actor_critic": (("mujoco_chains", range(3)), ("mujoco_strong", range(3)), ("mujoco_rivals", (1, 2))),
    "minatar_choice": (("minatar_choice", (100, 101)),),
    "tensor": (("tensor", range(5)), ("tensor_longer", range(5, 10))),
    "minatar": (("rollouts_minatar_short", range(3)), ("minatar_main", range(5))),
}
"""Sets of `benchmarks.recipes`, with their seeds"""
BASELINE = {
    **{name: {"": "dqn"} for name in ("successors", "minatar", "auxiliary", "asterix", "composition", "composition_main")},
    "minatar_choice": {"": "dqn_1000"},
    "lost_lead": {"": "dqn", "idqn_early": "dqn_early"},
    "log_values": {"": "dqn_0.96"},
    "discounts": {"": "dqn_0.99", **{f"log_dqn_{discount}": f"dqn_{discount}" for discount in DISCOUNTED}},
}
"""Agent with which each other agent of a set is compared over several tasks; "": those that are not named"""
ESTIMATED = ("minatar", "log_values", "discounts")
"""Sets whose learned values are shown beside the returns"""
IN_TRAINING = ("ppo_breakout",)
"""Sets whose training returns are shown: what they stand beside was not evaluated apart"""
AGAINST_GOAL = {"strong_choice": (100_000,), "xqc_choice": (60_000,), "headline": (200_000,), "actor_critic": (150_000, 200_000)}
"""Steps at which the agents of a set are compared; the goal is that of the last"""
UP_TO = {"atari": 600_000, "atari_choice": 600_000, "sac_hopper": 100_000, "lost_lead": 200_000}
"""Steps up to which runs are compared by their curves: of different length, or where learning early is the question"""
PAIRS = {
    "actor_critic": (("itd3", "td3"), ("isac", "sac"), ("strong_mujoco", "td3"), ("strong_mujoco", "sac")),
    "ppo_mujoco": (("ppo", "ppo of Stable-Baselines3"),),
    "headline": tuple((small, other) for small in SMALL_XQC for other in ("strong_crossq", "sac", "td3")),
    "sac_hopper": tuple((changed, "sac") for changed in SAC_CHANGED),
    "successors": (("pqn", "dqn"),),
    "composition_main": tuple(("munchausen_quantile_three", part) for part in ("dqn", "munchausen_dqn", "qrdqn", "dqn_three")),
    "control": tuple((f"{agent}_double", f"{agent} of Tianshou") for agent in ("dqn", "qrdqn", "iqn", "c51")),
    "minatar": (("mvi", "mvi_1"), ("dqn_huber", "dqn"), *((agent, "dqn_huber") for agent in ("munchausen_dqn", "mvi", "mvi_1"))),
}
"""Agents whose finals, or curves in sets of `UP_TO`, are compared pair by pair. PQN (500,000 steps, minatar.json) stands beside DQN
(200,000 steps), because DQN takes longer still."""
BESIDE = {"successors": "minatar", "composition_main": "minatar"}
"""File with the runs of agents that stand in a comparison with those of the set, which does not train them; with --again in FOLDER too"""
MINATAR_ANEW = "python -m benchmarks.evidence minatar --folder FOLDER --again"
MILLION_ANEW = "python -m benchmarks.learning --set {} --seeds 0 --folder FOLDER --again"
OTHERS_ANEW = {
    "successors": MINATAR_ANEW,
    "composition_main": MINATAR_ANEW,
    "actor_critic": " and ".join(map(MILLION_ANEW.format, ("mujoco_million", "mujoco_half_million"))),
    "control": "ENV/bin/python -m benchmarks.control --json FOLDER/control.json",
}
"""What trains anew the runs that stand beside those of a set, and which the set itself does not train"""
CHOSEN_FROM = {"composition": COMPOSITIONS}
"""Candidates of which a set chooses one, by the rule in benchmarks/recipes.py"""
WITHIN = 0.02
"""Part of the largest mean within which the area under the curve decides"""
LEAST = {
    "classic/cartpole": 475.0,
    "classic/pendulum": -200.0,
    "classic/cartpole_positions": 450.0,
    "classic/pendulum_positions": -250.0,
}
"""What a preset must hold with every seed; without velocities, with a core"""
SMALL = ("remember_others",)
"""Sets of tasks whose returns are at most 1"""


def table(name: str, results: Path = RESULTS) -> str:
    """A row for each task and agent: the mean of the finals with its interval, the worst of them, how many finals and how many means of the
    last four evaluations of training are below the bar, and all finals.

    Args:
        results: the folder of NAME.json, here and below.
    """
    lines = sorted(stored(results / f"{name}.json"), key=lambda line: (line["env"], line["steps"], line["name"], line["seed"]))
    head = ["task", "agent", "seeds", "mean", "worst", "below the bar", "last four below it", "finals", "commit"]
    digits = ".3f" if name in SMALL else ".1f"
    rows = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for (env, steps, agent), group in groupby(lines, key=lambda line: (line["env"], line["steps"], line["name"])):
        runs = list(group)
        finals, last_four = [run["final"]["mean"] for run in runs], [run["last_four"] for run in runs]
        below = [str(sum(value < LEAST[env] for value in values)) if env in LEAST else "" for values in (finals, last_four)]
        commits = ", ".join(dict.fromkeys(commit for run in runs for commit in run.get("commit", "").split(", ")))
        each = ", ".join(f"{value:{digits}}" for value in finals)
        cells = [with_interval(finals, digits), f"{min(finals):{digits}}", *below, each, commits]
        rows.append(f"| {env}, {steps:,} | {agent} | {len(runs)} | {' | '.join(cells)} |")
    return "\n".join(rows)


def cost(name: str, results: Path = RESULTS) -> str:
    """How many runs are stored, and the sum of their wall times; a run that was suspended counts its pause."""
    seconds = [line["wall_seconds"] for line in stored(results / f"{name}.json")]
    return f"{len(seconds)} runs, whose wall times add up to {sum(seconds) / 3600:.2f} hours."


def each_curve(name: str, results: Path = RESULTS) -> str:
    """A row for each run: its wall time, the standard deviation between the episodes of its final evaluation, and all evaluations."""
    rows = ["| task | agent | seed | hours | deviation of episodes | evaluations, steps: mean |", "|---" * 6 + "|"]
    for line in sorted(stored(results / f"{name}.json"), key=lambda line: (line["env"], line["name"], line["seed"])):
        curve = ", ".join(f"{step:,}: {mean:.1f}" for step, mean in line["curve"])
        cells = [line["env"], line["name"], str(line["seed"]), f"{line['wall_seconds'] / 3600:.2f}", f"{line['final']['std']:.1f}", curve]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def curve_means(name: str, results: Path = RESULTS) -> str:
    """A row for each task and pair of agents that have runs there: of each seed the mean of all evaluations up to `UP_TO` steps, and the
    exact p that one agent's is above the other's, uncorrected."""
    at = UP_TO[name]
    found: dict[tuple[str, str], list[float]] = {}
    for line in sorted(stored(results / f"{name}.json"), key=lambda line: line["seed"]):
        if line["steps"] >= at:
            found.setdefault((line["env"], line["name"]), []).append(up_to(at, line))
    rows = [f"| mean of the evaluations up to {at:,} steps | each seed |  | each seed | p |", "|---" * 5 + "|"]
    for (one, mine), (other, theirs) in combinations(sorted(found.items()), 2):
        if one[0] == other[0]:
            cells = [one[0], with_each(one[1], mine), "beside", with_each(other[1], theirs)]
            rows.append(f"| {' | '.join(cells)} | {three_digits(p_value([np.array(mine)], [np.array(theirs)]))} |")
    return "\n".join(rows)


def up_to(at: int, run: dict) -> float:
    """Mean of the evaluations up to a step."""
    return float(np.mean([mean for step, mean in run["curve"] if step <= at]))


def with_each(agent: str, values: list[float]) -> str:
    return f"{agent} {', '.join(f'{value:.1f}' for value in values)}"


def side_by_side(name: str, results: Path = RESULTS) -> str:
    """A row for each agent, a column for each task: the mean of the finals with its interval, and the final of each seed."""

    def cell(runs: list[dict]) -> str:
        finals = [final(run) for run in runs]
        each = f" ({', '.join(f'{value:.1f}' for value in finals)})" if len(finals) > 1 else ""
        return with_interval(finals, ".1f") + each

    return by_task("agent", sorted(stored(results / f"{name}.json"), key=lambda line: line["seed"]), cell)


def estimates(name: str, results: Path = RESULTS) -> str:
    """A row for each agent, a column for each task: the value that the last weights give to the actions of the final evaluation, the
    discounted return of learned (clipped) rewards that followed, and the gap between the best and the second action, each a mean over the
    runs. Values of soft agents include the entropy bonus."""

    def cell(runs: list[dict]) -> str:
        keys = ("value", "discounted_return", "action_gap")
        return "{:.2f} / {:.2f} / {:.3f}".format(*(np.mean([run["final"]["diagnostics"][key] for run in runs]) for key in keys))

    lines = [line for line in stored(results / f"{name}.json") if "value" in line["final"].get("diagnostics", {})]
    return by_task("value / return / gap", lines, cell)


def by_task(head: str, lines: list[dict], cell: Callable[[list[dict]], str]) -> str:
    """A row for each agent, a column for each task, and in it the cell of their runs; empty where there are none."""
    if not lines:
        return f"{head}: nothing is stored"
    tasks = sorted({(line["env"], line["steps"]) for line in lines})
    rows = [f"| {head} | " + " | ".join(f"{env}, {steps:,}" for env, steps in tasks) + " |", "|---" * (len(tasks) + 1) + "|"]
    for agent in [agent for agent in RECIPES if any(line["name"] == agent for line in lines)]:
        runs = runs_of(agent, tasks, lines)
        rows.append(f"| {agent} | {' | '.join(cell(each) if each else '' for each in runs)} |")
    return "\n".join(rows)


def runs_of(agent: str, tasks: list[tuple[str, int]], lines: list[dict]) -> list[list[dict]]:
    """Runs of an agent on each task, an environment with a number of steps."""
    return [[line for line in lines if (line["name"], line["env"], line["steps"]) == (agent, *task)] for task in tasks]


def with_interval(values: list[float], digits: str) -> str:
    """Mean and half of its interval; the value alone where there is one."""
    return f"{np.mean(values):{digits}}" + (f" ± {interval(values):{digits}}" if len(values) > 1 else "")


def shown(found: Interval) -> str:
    """The point with its interval; the point alone where one run has none."""
    return f"{found.point:.2f}" + ("" if np.isnan(found.low) else f" [{found.low:.2f}, {found.high:.2f}]")


def three_digits(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else "<0.001"


def final(run: dict) -> float:
    return run["final"]["mean"]


def area(run: dict) -> float:
    """Area under the learning curve, as a mean over its evaluations."""
    return float(np.mean([mean for _, mean in run["curve"]]))


def action_gap(run: dict) -> float:
    """Between the values of the best and the second action, with the last weights: a mean over the final evaluation."""
    return run["final"]["diagnostics"]["action_gap"]


def compared(name: str, results: Path = RESULTS) -> str:
    """A row for each agent that was trained on every task of its baseline: its scores in units of the baseline's mean on each.

    Interquartile mean of the finals; probability that a run ends higher than the baseline's on the same task; mean of the area under the
    learning curve; for the sets of `ESTIMATED` the mean of the action gap. With stratified bootstrap intervals of 95 %, over the runs of
    both, which are somewhat too narrow for few seeds. A verdict therefore rests on p, the exact one of the probability, after Holm's
    correction for all rows of the table. Steps/s are those of runs that may have shared their machine.

    Raises:
        ValueError: the baseline's mean is no unit, because it is not positive.
    """
    own = stored(results / f"{name}.json")
    own_tasks, trained = {(line["env"], line["steps"]) for line in own}, {line["name"] for line in own}
    lines = [line for line in with_beside(name, results) if (line["env"], line["steps"]) in own_tasks]
    names = [agent for agent in RECIPES if any(line["name"] == agent for line in lines)]
    means = {"area under the curve": area, **({"action gap": action_gap} if name in ESTIMATED else {})}
    head = ["agent", "baseline", "seeds", "IQM of finals", "probability to end above", "p", *means, "steps/s"]
    rows: dict[str, tuple[list[str], list[str]]] = {}  # the cells before p and after it
    tests: dict[str, float] = {}
    missing = []
    for agent in names:
        baseline = BASELINE[name].get(agent, BASELINE[name][""])
        tasks = sorted({(line["env"], line["steps"]) for line in lines if line["name"] == baseline})
        runs = runs_of(agent, tasks, lines)
        units = runs_of(baseline, tasks, lines)
        if not tasks or not all(runs):
            missing.append(agent)
            continue
        itself = agent == baseline
        finals, final_units = of_tasks(runs, final), of_tasks(units, final)
        measured = [(of_tasks(runs, measure), of_tasks(units, measure)) for measure in means.values()]
        if min(task.mean() for each in (final_units, *(unit for _, unit in measured)) for task in each) <= 0:
            raise ValueError(f"a mean of {baseline} is not positive on one of {tasks}: its scores are no unit")
        if not itself and agent in trained:  # the others are tested in the table of their own file
            tests[agent] = p_value(finals, final_units)
        before = [
            "" if itself else baseline,
            ", ".join(dict.fromkeys(str(len(task)) for task in runs)),
            f"{iqm(np.concatenate([task / task.mean() for task in finals])):.2f}" if itself else shown(relative(finals, final_units)),
            "" if itself else shown(improvement(finals, final_units)),
        ]
        after = [
            *("1.00" if itself else shown(relative(mine, unit, np.mean)) for mine, unit in measured),
            f"{np.median([run['steps_per_second'] for task in runs for run in task]):,.0f}",
        ]
        rows[agent] = before, after
    corrected = {agent: three_digits(p) for agent, p in zip(tests, holm(list(tests.values())))}
    table = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for agent, (before, after) in rows.items():
        table.append(f"| {' | '.join([agent, *before, corrected.get(agent, ''), *after])} |")
    if missing:
        table.append(f"\nNot on every task: {', '.join(missing)}.")
    return "\n".join(table)


def of_tasks(runs: list[list[dict]], measure: Callable[[dict], float]) -> list[np.ndarray]:
    """What is measured of each run, an array for each task, as `deeprl.tools.report.statistics` takes it."""
    return [np.array([measure(run) for run in task]) for task in runs]


def with_beside(name: str, results: Path = RESULTS) -> list[dict]:
    """Runs of a set, and those of the file in `BESIDE` of agents that stand in its comparisons and that it does not train itself."""
    lines = stored(results / f"{name}.json")
    if name not in BESIDE:
        return lines
    own = {agent for part, _ in NAMES[name] for agent in SETS[part][2]}
    named = {agent for pair in PAIRS[name] for agent in pair} - own
    return lines + [line for line in stored(results / f"{BESIDE[name]}.json") if line["name"] in named]


def chosen(name: str, results: Path = RESULTS) -> str:
    """A row for each candidate: mean of the finals, and of the areas under the curve, in units of the baseline's mean on each task. The
    first row is the one that is chosen: the largest mean, or within `WITHIN` of it the larger area."""
    lines = stored(results / f"{name}.json")
    baseline = BASELINE[name][""]
    tasks = sorted({(line["env"], line["steps"]) for line in lines})
    units = runs_of(baseline, tasks, lines)
    found = {}
    for agent in CHOSEN_FROM[name]:
        runs = runs_of(agent, tasks, lines)
        if all(runs):
            found[agent] = [
                float(np.mean([mine.mean() / unit.mean() for mine, unit in zip(of_tasks(runs, measure), of_tasks(units, measure))]))
                for measure in (final, area)
            ]
    ranked = sorted(found, key=lambda agent: found[agent][0], reverse=True)
    near = [agent for agent in ranked if found[agent][0] >= (1 - WITHIN) * found[ranked[0]][0]]
    winner = max(near, key=lambda agent: found[agent][1], default=None)
    ranked.sort(key=lambda agent: agent != winner)  # stable: the others stay in order
    rows = [f"| of {len(CHOSEN_FROM[name])} candidates | mean of finals, {baseline} = 1 | area under the curve |", "|---|---|---|"]
    return "\n".join(rows + [f"| {agent} | {found[agent][0]:.2f} | {found[agent][1]:.2f} |" for agent in ranked])


def with_longer_runs(name: str, results: Path = RESULTS) -> list[dict]:
    """Runs of a set, and those of learning.json of the same agents on the same version of a task."""
    own = stored(results / f"{name}.json")
    if name in AS_PUBLISHED:
        return own
    agents = {agent for part, _ in NAMES[name] for agent in SETS[part][2]}
    return own + [line for line in stored(results / "learning.json") if line["name"] in agents]


def welch(one: list[float], other: list[float]) -> str:
    """Difference of two means with Welch's interval of 95 %; without it where a side has one value."""
    mean = f"{np.mean(one) - np.mean(other):,.1f}"
    if min(len(one), len(other)) < 2:
        return mean
    found = scipy.stats.ttest_ind(one, other, equal_var=False).confidence_interval(0.95)
    return f"{mean} [{found.low:,.1f}, {found.high:,.1f}]"


def differences(name: str, results: Path = RESULTS) -> str:
    """For each pair of `PAIRS`, at each number of steps of `AGAINST_GOAL`: a row for each task that both agents were trained on, with the
    difference, and a row for all of them, with the probability that the first agent ends above the second, and its exact p after Holm's
    correction for all pairs."""
    rows = ["| task | pair | difference | probability to end above | p |", "|---|---|---|---|---|"]
    reached = {f", {at:,}": scores(with_longer_runs(name, results), at) for at in AGAINST_GOAL.get(name, ())}
    for at, found in (reached or {"": ends(name, results)}).items():
        pairs = {}
        for one, other in PAIRS[name]:
            tasks = sorted({task for each, task in found if each == one} & {task for each, task in found if each == other})
            if tasks:
                pairs[one, other] = {task: [np.array(list(found[each, task].values())) for each in (one, other)] for task in tasks}
        corrected = holm([p_value(*zip(*values.values())) for values in pairs.values()])
        for ((one, other), values), p in zip(pairs.items(), corrected):
            rows += [f"| {task}{at} | {one} less {other} | {welch(*each)} |  |  |" for task, each in values.items()]
            rows.append(f"| all{at} | {one} less {other} |  | {shown(improvement(*zip(*values.values())))} | {three_digits(p)} |")
    return "\n".join(rows)


def ends(name: str, results: Path) -> dict[tuple[str, str], dict[int, float]]:
    """Agent and task -> seed -> final, or in sets of `UP_TO` the mean of the curve. Of agents that the set does not train, those in the
    file of `BESIDE`."""
    measure = partial(up_to, UP_TO[name]) if name in UP_TO else final
    found: dict[tuple[str, str], dict[int, float]] = {}
    for line in sorted(with_beside(name, results), key=lambda line: line["seed"]):
        found.setdefault((line["name"], line["env"]), {})[line["seed"]] = measure(line)
    return found


def training_returns(name: str, results: Path) -> str:
    """Mean of the last 100 training episodes of each run."""
    lines = stored(results / f"{name}.json")
    rows = [f"| {line['name']} | {line['env']} | {line['seed']} | {line['steps']:,} | {line['training']:.1f} |" for line in lines]
    return "\n".join(["| agent | task | seed | steps | last 100 training episodes |", "|---|---|---|---|---|", *rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--folder", type=Path, help="of the run folders")
    parser.add_argument("--mode", default="compiled", help="accelerate=…")
    parser.add_argument("--reverse", action="store_true", help="from the end of the list")
    parser.add_argument("--tasks", nargs="+", metavar="TASK", help="train only those of the set, mujoco/hopper and so on; all are shown")
    parser.add_argument("--minutes", type=float, default=None, help="stop after so many; what runs is saved, and goes on at the next call")
    parser.add_argument("--again", action="store_true", help="train what is stored too; the table goes to FOLDER")
    parser.add_argument("--table", action="store_true", help="only print the table")
    options = parser.parse_args()
    if options.folder is None and (options.again or not options.table):
        parser.error("--folder says where the run folders go; or print what there is with --table")
    tasks = sorted({task for name, _ in NAMES[options.name] for task in SETS[name][0]})
    if wrong := sorted(set(options.tasks or ()) - set(tasks)):
        parser.error(f"--tasks {' '.join(wrong)}: {options.name} has {', '.join(tasks)}")
    results = options.folder if options.again else RESULTS
    failed = list[str]()
    if not options.table:
        until = after(options.minutes)
        for name, seeds in NAMES[options.name][:: -1 if options.reverse else 1]:
            runs = [run for run in planned(name, None, seeds) if options.tasks is None or run[1] in options.tasks]
            file = results / f"{options.name}.json"
            failed += train_all(name, runs[::-1] if options.reverse else runs, options.folder, file, options.mode, until)
    print(table(options.name, results))
    print(f"\n{cost(options.name, results)}")
    if options.again and options.name in OTHERS_ANEW:
        print(f"Beside them belong the runs of: {OTHERS_ANEW[options.name].replace('FOLDER', str(options.folder))}")
    if options.name in UP_TO:
        print(f"\n{each_curve(options.name, results)}")
        print(f"\n{curve_means(options.name, results)}")
    if options.name in BASELINE:
        print(f"\n{side_by_side(options.name, results)}")
        print(f"\n{compared(options.name, results)}")
    if options.name in CHOSEN_FROM:
        print(f"\n{chosen(options.name, results)}")
    if options.name in ESTIMATED:
        print(f"\n{estimates(options.name, results)}")
    if options.name in IN_TRAINING:
        print(f"\n{training_returns(options.name, results)}")
    for at in AGAINST_GOAL.get(options.name, ()):
        print(f"\n{compared_at(with_longer_runs(options.name, results), at)}")
    if options.name in AGAINST_GOAL:
        print(f"\n{against_goal(with_longer_runs(options.name, results), AGAINST_GOAL[options.name][-1])}")
    if options.name in PAIRS:
        print(f"\n{differences(options.name, results)}")
    if options.name == "atari_choice":
        print(f"\n{atari_others.chosen(stored(results / 'atari_choice.json'))}")
    if options.name == "atari_others":
        print(f"\n{atari_others.beside_published(stored(results / 'atari_others.json'))}")
    if options.name == "headline":
        print(f"\n{beside_published(stored(results / 'headline.json'))}")
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    main()
