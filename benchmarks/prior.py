"""Whether the values of an earlier run, in the baseline of PPO, save steps.

    python -m benchmarks.prior TASK --folder FOLDER     train what is missing in benchmarks/results/prior.json, print the table
    python -m benchmarks.prior TASK --table             print what is stored
    TASK: cartpole, acrobot, long_pole, acrobot_late

The rule, written before the runs: PPO with its tuned settings, 100,000 steps, seeds 0 to 4, none left out. The values are of one run with
seed 100: DQN with its tuned settings (30,000 steps of CartPole, 60,000 of Acrobot), the same after 8,000 steps ("early"), and after 5,000,
before its first update ("random"); on the long pole, which is twice as long and under 1.5 times the gravity, PPO's own value after 200,000
steps of the plain task. Arms: no prior, `mix` (κ from 0.5), `residual`, `mix` with early and random values, and the prior alone (κ = 1 to
the end). Measured: the first step at which the mean return of the last 100 training episodes is at least the goal (400; −100 on Acrobot); a
run that never is counts with its budget. A task confirms the claim if the interval of the difference (Welch, 95 %) of `mix` to no prior is
below 0; and the values are what helps, if that of random values is not.

No run on CartPole reached the goal. A second measure, chosen then and before it was computed, is the area: the mean over the run of the
mean return of the last 100 training episodes, by the same comparisons with the other sign.

DQN's values after 60,000 steps of Acrobot were those of a policy that seldom arrives. `acrobot_late`, written then and before its runs, has
those of 150,000 steps, which is DQN's tuned budget, and is otherwise `acrobot`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from benchmarks.exploring import difference, interval
from benchmarks.learning import RESULTS, keep, stored
from benchmarks.trained import trained
from deeprl.running.runs.folder import RunFolder

FILE = RESULTS / "prior.json"
SEEDS, PRIOR_SEED, STEPS = range(5), 100, 100_000
COMMON = ("checkpoint.every=null", "runtime.threads=1", "accelerate=fast")
PPO = ("agent=ppo", f"steps={STEPS}", "evaluation.every=null", "evaluation.final_episodes=50", "log.every=0.01", *COMMON)
LONG = (  # the tuned settings of PPO on CartPole, which are found by the name of a task
    "env=function", "env.function=benchmarks.prior:long_pole", "env.num=4", "discount=0.99", "agent.optimizer.lr=2.5e-4",
    "agent.optimizer.schedule.end=0", "agent.surrogate.value_clip=0.2", "agent.surrogate.value_weight=0.5",
    "agent.surrogate.entropy_weight=0.01",
)  # fmt: skip
ACROBOT = ("env=classic/acrobot",)
ENVS = {"cartpole": ("env=classic/cartpole",), "acrobot": ACROBOT, "long_pole": LONG, "acrobot_late": ACROBOT}
GOALS = {"cartpole": 400.0, "acrobot": -100.0, "long_pole": 400.0, "acrobot_late": -100.0}
DQN = ("agent=dqn", "evaluation.final_episodes=50")
PRIORS: dict[str, dict[str, tuple[str, ...]]] = {
    "cartpole": {
        "": (*DQN, "env=classic/cartpole", "steps=30000"),
        "early": (*DQN, "env=classic/cartpole", "steps=8000"),
        "random": (*DQN, "env=classic/cartpole", "steps=5000"),
    },
    "acrobot": {
        "": (*DQN, "env=classic/acrobot", "steps=60000"),
        "early": (*DQN, "env=classic/acrobot", "steps=8000"),
        "random": (*DQN, "env=classic/acrobot", "steps=5000"),
    },
    "long_pole": {
        "": ("agent=ppo", "env=classic/cartpole", "steps=200000", "evaluation.final_episodes=50"),
        "random": (*DQN, "env=classic/cartpole", "steps=5000"),
    },
    "acrobot_late": {"": (*DQN, *ACROBOT, "steps=150000")},
}
"""Task -> which values -> the run that learned them"""
BASELINES = {
    "mix": ("agent/baseline=mix",),
    "residual": ("agent/baseline=residual",),
    "alone": ("agent/baseline=mix", "agent.baseline.kappa.start=1", "agent.baseline.kappa.end=1"),
}


def long_pole() -> gymnasium.Env:
    """CartPole with another pole and gravity, which values of the plain one know nothing of."""
    env = gymnasium.make("CartPole-v1")
    world: Any = env.unwrapped
    world.length, world.gravity = 1.0, 1.5 * 9.8  # half of the pole's length
    world.polemass_length = world.masspole * world.length
    return env


def arms(task: str) -> dict[str, tuple[str, str] | None]:
    """Arm -> its baseline, and which values are in it."""
    others = {f"mix, {kind}": ("mix", kind) for kind in PRIORS[task] if kind}
    return {"none": None, "mix": ("mix", ""), "residual": ("residual", ""), **others, "alone": ("alone", "")}


def prior(folder: Path, task: str, kind: str) -> Path:
    """The run whose values are taken; trained once."""
    path = folder / "-".join(filter(None, ("prior", task, kind)))
    if RunFolder(path).read_summary() is None:
        trained((*PRIORS[task][kind], *COMMON, "evaluation.every=null", f"seed={PRIOR_SEED}"), path)
    return path


def measured(folder: Path, task: str, arm: str, seed: int) -> dict:
    """Train one run; its line of results."""
    own, of = arms(task)[arm], {}
    words = [*PPO, *ENVS[task], f"seed={seed}"]
    if own is not None:
        path = prior(folder, task, own[1])
        words += [*BASELINES[own[0]], f"agent.baseline.run={path}@last"]
        of = {"prior": (RunFolder(path).read_summary() or {})["final"]["mean"]}
    run = trained(words, folder / f"{task}-{arm}-{seed}".replace(", ", "_"))
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    means = [(line["step"], line["rollout/ep_rew_mean"]) for line in lines if line.get("rollout/ep_rew_mean") is not None]
    found = {
        "reached": next((step for step, mean in means if mean >= GOALS[task]), None),
        "area": float(np.mean([mean for _, mean in means])),
    }
    return {"task": task, "arm": arm, "seed": seed, **found, "final": (run.read_summary() or {})["final"]["mean"], **of}


def train(task: str, folder: Path) -> None:
    for arm in arms(task):
        for seed in SEEDS:
            if not any((line["task"], line["arm"], line["seed"]) == (task, arm, seed) for line in stored(FILE)):
                line = measured(folder, task, arm, seed)
                keep(line, FILE)
                print(line, flush=True)


def table(task: str) -> Iterator[str]:
    found = {arm: [line for line in stored(FILE) if (line["task"], line["arm"]) == (task, arm)] for arm in arms(task)}
    found = {arm: lines for arm, lines in found.items() if len(lines) > 1}
    steps = {arm: np.array([line["reached"] or STEPS for line in lines], float) for arm, lines in found.items()}
    areas = {arm: np.array([line["area"] for line in lines]) for arm, lines in found.items()}
    yield f"| arm | seeds | steps to {GOALS[task]:.0f} | minus none | area | minus none | finals | the prior's |"
    yield "|---" * 8 + "|"
    for arm, lines in found.items():
        count = f"{sum(line['reached'] is not None for line in lines)} of {len(lines)}"
        beside = [difference(each[arm], each["none"]) if arm != "none" else "" for each in (steps, areas)]
        finals, of = ", ".join(f"{line['final']:.0f}" for line in lines), lines[0].get("prior")
        cells = [arm, str(len(lines)), f"{count}, {interval(steps[arm])}", beside[0], interval(areas[arm]), beside[1], finals]
        yield f"| {' | '.join(cells)} | {'' if of is None else f'{of:.0f}'} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=ENVS)
    parser.add_argument("--folder", type=Path, help="of the run folders")
    parser.add_argument("--table", action="store_true", help="train nothing")
    given = parser.parse_args()
    if not given.table:
        if given.folder is None:
            parser.error("--folder says where the runs go")
        train(given.task, given.folder.resolve())
    print("\n".join(table(given.task)))


if __name__ == "__main__":
    main()
