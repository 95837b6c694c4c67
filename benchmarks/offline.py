"""Learning offline from data sets of our own: random, medium, medium-replay and medium-expert.

    python -m benchmarks.offline --folder FOLDER [--env classic/pendulum] [--sets medium] [--agents iql]    plays and learns what is missing
    python -m benchmarks.offline --folder FOLDER --npz medium         a set as arrays, for `benchmarks.offline_peer`
    python -m benchmarks.offline --table
    python -m benchmarks.offline … --results FILE           one's own file of results, in place of benchmarks/results/offline.json

Tasks are Pendulum, and Hopper and HalfCheetah of MuJoCo. One run is the player, of SAC on Pendulum, of CrossQ on the others. Its first
checkpoint from which on no evaluation is below a third of the way from random play to its own final is "medium":

    random          uniform actions
    medium          actions that the medium checkpoint draws, without learning
    medium-replay   what the player had stored until then
    medium-expert   medium, and as many transitions of the last checkpoint

Each agent learns from each set with seeds 0, 1 and 2, and its last weights play 100 episodes. A score is (return - random) / (expert -
random) · 100, where random is the mean of the set of that name, and expert the player's final evaluation. What is stored in
benchmarks/results/offline.json is not made again; a run that was interrupted goes on. A processor of another kind rounds otherwise, so that
its player may be another: learners on its sets need a file of their own.

The rule of QGPO, written before its runs: on medium-expert it is above the behaviour if each of its three seeds ends above each seed of
`behaviour`, the same diffusion model without an energy, of as many updates. Settings were chosen with seed 100 (-278 beside -587; with the
authors' frequencies, 3,000 updates of the energy and β = 1 or 3 it ended below the behaviour, -705 and -841).

MuJoCo, written before any run there. The player is `experiment=strong_mujoco` with seed 0 for 60,000 steps, some 13 minutes of one core,
because SAC comes to 300 there on Hopper, and to 600 after 100,000 (benchmarks/results/actor_critic.json, where CrossQ has 3,125 after
60,000 with this seed, and 2,955 and 894 with two others). Losses have the settings of the recipes, which are the authors' or CORL's, AWAC
the 1/λ = 3 of CORL's locomotion. A run shall take at most five minutes of one core, where papers have 1,000,000 to 3,000,000 updates with
networks of 256: so networks are two layers of 64, critics and actors learn at 0.001 in place of 0.0003, and each learner makes 20,000
updates. CQL has 4 sampled actions of each kind in place of 10, and EDAC 10 critics, on Hopper in place of 50. Learners are compiled, but
for 20 of Hopper that have no `mode` in the file, and were trained before; the updates differ by rounding.

The rules there, of the means of three seeds: `bc` *is the behaviour* on medium if its score is within 10 of the mean of the data; a
learner *passes* if its score is at least 5 above that of `bc` on medium-replay, and at least 90 on medium-expert, 90 % of the expert. What
is found is stated for each task and learner, and no setting changes after a run of seeds 0 to 2.
"""

from __future__ import annotations

import argparse
import math
import operator
import time
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import deeprl
from benchmarks.evidence import welch
from benchmarks.learning import RESULTS, commits, interval, keep, stored
from deeprl.running.collect.stored import Stored
from deeprl.running.config.build import environment
from deeprl.running.config.compose import compose
from deeprl.running.runs.folder import RunFolder
from deeprl.running.session.complete import complete
from deeprl.types import Rows

FILE = RESULTS / "offline.json"
"""Beside it, the file of d3rlpy's runs on the same sets has `_peer` behind its name"""
SETS = ("random", "medium", "medium-replay", "medium-expert")
AGENTS = {
    **{name: f"agent={name}" for name in ("bc", "td3_bc", "iql", "awac", "cql", "edac", "qgpo")},
    "behaviour": "agent=qgpo agent.guidance.scale=0",  # the diffusion model of the data, without an energy
}
SEEDS = (0, 1, 2)
SMALL = ("agent.torso.hidden=[64,64]",)
SMALL_ACTOR = (*SMALL, "agent.actor_torso.hidden=[64,64]")
QUICK = ("agent.optimizer.lr=1e-3",)
RATES = (*SMALL_ACTOR, *QUICK, "agent.actor_optimizer.lr=1e-3")
QUICK_ACTOR = (*RATES, "agent.chain.tau=0.05", "discount=0.95")
FALLING = ("agent.optimizer.schedule.end=0", "agent.score_optimizer.schedule.end=0", "agent.score_optimizer.lr=1e-3")
DIFFUSION = (*SMALL, "agent.hidden=[64,64]", "agent.frequency=1", *FALLING)
GUIDED = (
    *DIFFUSION, "agent.optimizer.lr=3e-3", "agent.tau=0.05", "discount=0.95", "agent.guidance.candidates=4", "agent.guidance.clone=12000",
)  # fmt: skip
MUJOCO = {
    "bc": (*SMALL, *QUICK),
    "td3_bc": RATES,
    "iql": RATES,
    "awac": (*RATES, "agent.improvement.beta=3"),
    "cql": (*RATES, "agent.auxiliary.actions=4"),
    "edac": RATES,
}
OWN: dict[str, dict[str, tuple[str, ...]]] = {
    "classic/pendulum": {
        "bc": (*SMALL, *QUICK),
        "td3_bc": QUICK_ACTOR,
        "iql": (*QUICK_ACTOR, "agent.improvement.beta=0.3"),  # one over an advantage, which is some units of this task's cost
        "awac": (*QUICK_ACTOR, "agent.improvement.beta=0.3"),
        "cql": (*QUICK_ACTOR, "agent.auxiliary.actions=4"),
        "edac": (*QUICK_ACTOR, "agent.ensemble=5"),
        "qgpo": GUIDED,
        "behaviour": (*DIFFUSION, "agent.guidance.clone=20000"),
    },
    "mujoco/hopper": MUJOCO,
    "mujoco/half_cheetah": MUJOCO,
}
"""Settings by task and agent that are not those of the recipe. On Pendulum: small networks and ensembles, rates for few updates, and what
follows from the units. With slower targets, and with a discount of 0.99 (runs of seeds 0, 1 and 100 that are not stored), values still fell
when the updates ended"""
STRONG = ("experiment=strong_mujoco",)
PLAYER = {"classic/pendulum": ("agent=sac", *SMALL_ACTOR), "mujoco/hopper": STRONG, "mujoco/half_cheetah": STRONG}


class Size(NamedTuple):
    """Of a task."""

    transitions: int
    """Of a set; medium-expert has twice as many"""
    played: int
    """Steps of the player"""
    every: int
    """Steps between two of its checkpoints and evaluations"""
    updates: int
    """Of a learner"""
    episodes: int
    """Of an evaluation of the player, but its last"""
    mode: str
    """`accelerate` of the player and of learners"""


LARGE = Size(50_000, 60_000, 2_500, 20_000, 10, "compiled")
SIZES = {"classic/pendulum": Size(20_000, 10_000, 250, 2_000, 20, "fast"), "mujoco/hopper": LARGE, "mujoco/half_cheetah": LARGE}
LONGER = {"classic/pendulum": dict.fromkeys(("qgpo", "behaviour"), 20_000)}
"""Updates of a learner that needs more: a diffusion model of 2,000 plays little better than random (-1075)"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="of the run folders")
    parser.add_argument("--env", default="classic/pendulum", choices=SIZES)
    parser.add_argument("--sets", nargs="+", default=SETS, choices=SETS)
    parser.add_argument("--agents", nargs="+", choices=AGENTS, help="all that have settings for the task")
    parser.add_argument("--npz", choices=SETS, help="write a set as FOLDER/NAME.npz")
    parser.add_argument("--results", type=Path, default=FILE, help="the file of results")
    parser.add_argument("--table", action="store_true", help="of what is stored")
    options = parser.parse_args()
    if options.table:
        lines, peers = stored(options.results), stored(options.results.with_stem(f"{options.results.stem}_peer"))
        passed = [verdict for env, own in OWN.items() if own is MUJOCO for verdict in verdicts(lines, env)]
        print("\n".join([table(lines), "", *passed, "", *beside(lines, peers)]))
        return
    if options.folder is None:
        parser.error("--folder names where run folders are, or shall be")
    agents = options.agents or list(OWN[options.env])
    if missing := [agent for agent in agents if agent not in OWN[options.env]]:
        parser.error(f"{', '.join(missing)}: no settings for {options.env}, see OWN")
    task = Task(options.env, options.folder.resolve(), options.results.resolve())
    if options.npz:
        task.export(options.npz)
        return
    for name in options.sets:
        task.play(name)
        for seed in SEEDS:
            for agent in agents:
                task.learn(name, agent, seed)
    print(table(stored(options.results)))


class Task:
    """An environment, and the folders of its player, its data sets and its learners."""

    def __init__(self, env: str, folder: Path, file: Path):
        self.env, self.folder, self.file = env, folder / env.replace("/", "-"), file
        self.size = SIZES[env]

    def run(self, name: str, words: list[str], mode: str = "fast") -> Path:
        """The folder of a run that has finished, now or before. A line beside it holds the processor time."""
        path = self.folder / name
        if not RunFolder(path).read_summary():
            began = time.process_time()
            common = [f"env={self.env}", "runtime.threads=1", f"accelerate={mode}", "evaluation.num=50"]
            deeprl.train([*common, *words], folder=path, resume=True)
            with open(f"{path}.seconds", "a") as seconds:
                seconds.write(f"{time.process_time() - began:.1f}\n")
        return path

    def player(self) -> Path:
        _, played, every, _, episodes, mode = self.size
        words = [
            *PLAYER[self.env], "seed=0", f"steps={played}", f"evaluation.every={every}", f"evaluation.episodes={episodes}",
            "evaluation.final_episodes=100", f"checkpoint.every={every}", f"checkpoint.keep={math.ceil(played / every)}",
        ]  # fmt: skip
        return self.run("player", words, mode)

    def medium(self) -> int:
        """Step of the medium checkpoint."""
        folder = RunFolder(self.folder / "player")
        low, high = self.references()
        bar = low + (high - low) / 3
        return settled(folder.read_evaluations(), bar)

    def references(self) -> tuple[float, float]:
        """Returns of random play and of the expert: scores 0 and 100."""
        summary = RunFolder(self.folder / "player").read_summary()
        assert summary is not None
        return float(self.returns("random").mean()), float(summary["final"]["mean"])

    def words_of(self, name: str) -> str:
        """The value of `replay.data` for a data set."""
        return f"{self.folder / 'player'}@{self.medium()}" if name == "medium-replay" else str(self.folder / name)

    def play(self, name: str) -> None:
        """Make a data set, and those that it is made from, and store what it holds."""
        acting = [*PLAYER[self.env], "seed=1", f"steps={self.size.transitions}", "evaluation.every=null", "evaluation.final_episodes=1"]
        acting += [f"replay.learning_starts={self.size.transitions}", "checkpoint.every=null"]
        self.player()
        self.run("random", acting)
        drawn = [*acting, "agent.explore.random_steps=0", f"replay.capacity={5 * self.size.transitions}"]
        if name in ("medium", "medium-expert"):
            self.run("medium", [*drawn, f"init_from={self.folder / 'player'}@{self.medium()}"])
        if name == "medium-expert":
            both = [
                f"init_from={self.folder / 'player'}@last",
                "replay=mixed",
                f"replay.data={self.folder / 'medium'}",
                "replay.share=null",
            ]
            self.run(name, [*drawn, *both])
        before = [line for line in stored(self.file) if line["kind"] == "data" and (line["env"], line["set"]) == (self.env, name)]
        made = self.described(name)
        if not before:
            keep(made, self.file)
        elif made["digest"] != before[0]["digest"]:
            raise SystemExit(
                f"{self.env} {name}: digest {made['digest']}, where that of the stored learners is {before[0]['digest']}; on another "
                "processor the player may be another: --results FILE, a file of its own"
            )

    def source(self, name: str) -> Stored:
        config = complete(*compose([f"env={self.env}", *PLAYER[self.env]])[:2])
        _, spec = environment(config)
        return Stored(data=self.words_of(name), batch_size=1, spec=spec, num=1, discount=config["discount"])

    def rows(self, name: str) -> Rows:
        """All transitions, in order."""
        source = self.source(name)
        return source.transitions(np.arange(source.live.first, source.live.last))

    def returns(self, name: str) -> np.ndarray:
        """Of the episodes that are whole."""
        return np.array([rows.sum() for rows in episodes(self.rows(name))], np.float64)

    def described(self, name: str) -> dict[str, Any]:
        source, returns, low_high = self.source(name), self.returns(name), self.references()
        place = self.folder / ("player" if name == "medium-replay" else name)
        return {
            "kind": "data", "env": self.env, "set": name, "transitions": len(source), "episodes": len(returns), "digest": source.digest,
            "mean": round(float(returns.mean()), 1), "best": round(float(returns.max()), 1), "random": round(low_high[0], 1),
            "expert": round(low_high[1], 1), "medium_step": self.medium(), "commit": commits(place),
        }  # fmt: skip

    def learn(self, name: str, agent: str, seed: int) -> None:
        """Train, if it is not stored, and store the final evaluation."""
        own = [
            line
            for line in stored(self.file)
            if line["kind"] == "run" and (line["env"], line["set"], line["agent"]) == (self.env, name, agent)
        ]
        updates = LONGER.get(self.env, {}).get(agent, self.size.updates)
        if any(line["seed"] == seed and line["updates"] == updates for line in own):
            return
        words = [
            *AGENTS[agent].split(), "replay=stored", f"replay.data={self.words_of(name)}", f"seed={seed}", f"steps={updates}",
            "evaluation.every=null", "evaluation.final_episodes=100", "checkpoint.every=null", *OWN[self.env][agent],
        ]  # fmt: skip
        path = self.run(f"{name}-{agent}-{seed}", words, self.size.mode)
        summary = RunFolder(path).read_summary()
        assert summary is not None
        final, seconds = summary["final"], sum(map(float, Path(f"{path}.seconds").read_text().split()))
        line = {
            "kind": "run", "env": self.env, "set": name, "agent": agent, "seed": seed, "updates": updates, "final": final["mean"],
            "std": final["std"], "processor_seconds": seconds, "mode": self.size.mode, "commit": commits(path),
            "overrides": [*words[: words.index("replay=stored")], *OWN[self.env][agent]],
        }  # fmt: skip
        keep(line, self.file)
        print(f"{path.name}: {final['mean']:.1f}", flush=True)

    def export(self, name: str) -> None:
        """A file of arrays (T, …) for learners of others, with the references of the score."""
        rows, (low, high) = self.rows(name), self.references()
        columns = {key: np.asarray(getattr(rows, key)) for key in ("obs", "action", "reward", "next_obs", "terminated", "ended")}
        np.savez(self.folder / f"{name}.npz", **columns, references=np.array([low, high]))
        print(self.folder / f"{name}.npz")


def settled(evaluations: Iterable[dict], bar: float) -> int:
    """Step of the first evaluation from which on none is below the bar."""
    found: int | None = None
    for line in evaluations:
        reached = float(np.mean(line["returns"])) >= bar
        found = (line["step"] if found is None else found) if reached else None
    assert found is not None, "the player ends below its bar"
    return found


def episodes(rows: Rows) -> Iterator[np.ndarray]:
    """Rewards of each whole episode of rows in order."""
    ends = np.flatnonzero(rows.ended) + 1
    for start, end in zip([0, *ends[:-1]], ends):
        yield rows.reward[start:end]


def table(lines: list[dict]) -> str:
    """The data sets, and below them the scores of each learner: mean with Student's 95 % interval, and each seed."""
    data = {(line["env"], line["set"]): line for line in lines if line["kind"] == "data"}
    shown = ["| task | set | transitions | episodes | mean return | best | score |", "|---" * 7 + "|"]
    for (env, name), line in sorted(data.items(), key=lambda item: (item[0][0], SETS.index(item[0][1]))):
        numbers = [f"{value:.0f}" for value in (line["episodes"], line["mean"], line["best"], score(line, line["mean"]))]
        shown.append(f"| {env} | {name} | {line['transitions']:,} | {' | '.join(numbers)} |")
    shown += ["", "| task | learner | " + " | ".join(SETS) + " |", "|---" * (len(SETS) + 2) + "|"]
    found = scores(lines)
    for env, agent in sorted({(env, agent) for env, _, agent in found}):
        cells = []
        for values in (found.get((env, name, agent), []) for name in SETS):
            each = ", ".join(f"{value:.0f}" for value in values)
            cells.append(f"{np.mean(values):.0f} ± {interval(values):.0f} ({each})" if values else "")
        shown.append(f"| {env} | {agent} | {' | '.join(cells)} |")
    return "\n".join(shown)


def scores(lines: list[dict]) -> dict[tuple[str, str, str], list[float]]:
    """(Task, set, learner) -> score of each seed, in order of the seeds."""
    data, found = {(line["env"], line["set"]): line for line in lines if line["kind"] == "data"}, {}
    for line in sorted((line for line in lines if line["kind"] == "run"), key=lambda line: line["seed"]):
        found.setdefault((line["env"], line["set"], line["agent"]), []).append(score(data[line["env"], line["set"]], line["final"]))
    return found


def verdicts(lines: list[dict], env: str) -> list[str]:
    """By the rules of MuJoCo, where all of a task is stored."""
    means = {
        (name, agent): np.mean(values) for (task, name, agent), values in scores(lines).items() if task == env and len(values) == len(SEEDS)
    }
    data = {line["set"]: score(line, line["mean"]) for line in lines if line["kind"] == "data" and line["env"] == env}
    if not means.keys() >= {(name, agent) for name in SETS for agent in OWN[env]}:
        return []
    is_it = "is" if abs(means["medium", "bc"] - data["medium"]) <= 10 else "is not"
    passed = [
        agent for agent in OWN[env]
        if agent != "bc" and means["medium-replay", agent] >= means["medium-replay", "bc"] + 5 and means["medium-expert", agent] >= 90
    ]  # fmt: skip
    return [f"{env}: bc {is_it} the behaviour on medium; {', '.join(passed) or 'none'} passed, of {len(OWN[env]) - 1} learners"]


def beside(lines: list[dict], peers: list[dict]) -> list[str]:
    """d3rlpy's scores (`benchmarks.offline_peer`) beside ours, each seed, and Welch's interval of the difference."""
    ours, ids = scores(lines), {"Pendulum-v1": "classic/pendulum", "Hopper-v5": "mujoco/hopper", "HalfCheetah-v5": "mujoco/half_cheetah"}
    rows = ["| task | set | learner | here | d3rlpy | difference |", "|---" * 6 + "|"]
    data = {(line["env"], line["set"]): line for line in lines if line["kind"] == "data"}
    key = operator.itemgetter("env", "set", "learner")
    for (env, name, agent), group in groupby(sorted(peers, key=lambda line: (*key(line), line["seed"])), key=key):
        own = ours.get((ids[env], name, agent), [])
        if own:
            theirs = [score(data[ids[env], name], line["final"]) for line in group]  # its own `score` is rounded
            each = (", ".join(f"{value:.0f}" for value in values) for values in (own, theirs))
            rows.append(f"| {ids[env]} | {name} | {agent} | {' | '.join(each)} | {welch(own, theirs)} |")
    return rows


def score(data: dict, value: float) -> float:
    """0 is random play, 100 the expert."""
    return 100.0 * (value - data["random"]) / (data["expert"] - data["random"])


if __name__ == "__main__":
    main()
