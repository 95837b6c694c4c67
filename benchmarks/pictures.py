"""Every figure of README and docs, from files of benchmarks/results alone. Learning curves, docs/pictures, are drawn as `deeprl report`
draws those of run folders; `lab` and `log_chain` have figures of their own kind.

python -m benchmarks.pictures [NAME ...]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks import log_chain
from benchmarks.lab.__main__ import page
from benchmarks.learning import RESULTS, ROOT, stored
from deeprl.tools.report.figures import curves
from deeprl.tools.report.results import Results
from deeprl.tools.report.runs import LAST, Curve, Final, RunRecord
from deeprl.tools.report.stored import stored_run

FOLDER = ROOT / "docs" / "pictures"


class Picture(NamedTuple):
    results: tuple[str, ...]
    """Files of benchmarks/results, without .json"""
    agents: dict[str, str]
    """Its agents, and their names in the legend"""
    tasks: tuple[str, ...]
    least: int = 0
    """Steps of a run that belongs to the picture"""
    most: float = float("inf")
    """Steps that are shown of a run"""


PICTURES = {
    "successors": Picture(
        ("successors",),
        {"dqn": "DQN", "idqn": "i-DQN, K = 4", "is_dqn": "iS-DQN, K = 4", "target_free_dqn": "DQN without target network"},
        ("minatar/asterix", "minatar/breakout"),
    ),
    "minatar": Picture(  # the others are in the next picture, because ten curves cannot be told apart
        ("minatar",),
        {
            "dqn": "DQN", "mvi_1": "MVI(q = 1)", "mvi": "MVI(q = 2)", "munchausen_dqn": "Munchausen DQN", "qrdqn": "QR-DQN", "iqn": "IQN",
        },
        ("minatar/asterix", "minatar/breakout", "minatar/space_invaders"),
    ),
    "minatar_others": Picture(
        ("minatar",),
        {"dqn": "DQN", "c51": "C51", "dvw": "DVW", "idqn": "i-DQN, K = 4", "log_dqn": "LogDQN, discount 0.96"},
        ("minatar/asterix", "minatar/breakout", "minatar/space_invaders"),
    ),
    "mujoco_million": Picture(
        ("learning",), {"td3": "TD3", "sac": "SAC"}, ("mujoco/half_cheetah", "mujoco/hopper", "mujoco/walker2d"), 500_000
    ),
    "chains": Picture(  # seed 0 of TD3 and SAC is in learning.json, in runs of a million steps
        ("actor_critic", "learning"), {"td3": "TD3", "itd3": "i-TD3, K = 3", "sac": "SAC", "isac": "i-SAC, K = 3"},
        ("mujoco/half_cheetah", "mujoco/hopper"), 150_000, 150_000,
    ),
    "strong": Picture(
        ("actor_critic", "learning"), {"td3": "TD3", "sac": "SAC", "strong_mujoco": "CrossQ, 304-304"},
        ("mujoco/half_cheetah", "mujoco/hopper", "mujoco/walker2d"), 200_000, 200_000,
    ),
    "pong": Picture(("atari",), {"pong_dqn": "DQN", "pong_idqn": "i-DQN, K = 5"}, ("atari/pong",)),
    "breakout": Picture(("atari",), {"pong_dqn": "DQN"}, ("atari/breakout",)),
}  # fmt: skip


def run(line: dict, most: float) -> RunRecord:
    """A stored line as a run of a report, up to `most` steps. Its score is the mean of the last `LAST` evaluations until then."""
    whole = stored_run(line, f"{line['name']}-{line['env']}-{line['seed']}", Path())
    curve = Curve(*(each[whole.curve.step <= most] for each in whole.curve))
    return replace(whole, curve=curve, final=Final(float(np.mean(curve.reward[-LAST:])), line["steps"], "curve"))


def draw(picture: Picture) -> bytes:
    """Mean over seeds with Student's interval of 95 %, and every seed."""
    lines = [line for name in picture.results for line in stored(RESULTS / f"{name}.json") if line["steps"] >= picture.least]
    lines.sort(key=lambda line: -line["steps"])
    each = {(line["name"], line["env"], line["seed"]): line for line in lines}  # of a seed, the smallest budget
    groups = {
        shown: [run(line, picture.most) for (name, task, _), line in each.items() if name == agent and task in picture.tasks]
        for agent, shown in picture.agents.items()
    }
    return curves(Results(groups), "step")


def chain(path: Path) -> None:
    path.write_text(log_chain.plot(json.loads((RESULTS / "log_chain.json").read_text())["rows"], log_chain.GAMMAS))


OTHERS: dict[str, tuple[Path, Callable[[Path], None]]] = {
    "lab": (ROOT / "docs" / "algorithms" / "lab.png", page),
    "log_chain": (RESULTS / "log_chain.svg", chain),
}
"""Figures that are no learning curves of runs: where each lies, and what draws it there"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [*PICTURES, *OTHERS]
    parser.add_argument("names", nargs="*", default=names, metavar="NAME", help=", ".join(names))
    options = parser.parse_args()
    if unknown := set(options.names) - {*names}:
        parser.error(f"{', '.join(sorted(unknown))}: there is no such figure; there are {', '.join(names)}")
    for name in options.names:
        if name in PICTURES:
            path = FOLDER / f"{name}.png"
            path.write_bytes(draw(PICTURES[name]))
        else:
            path, draws = OTHERS[name]
            draws(path)
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
