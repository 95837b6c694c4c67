"""Exported policies beside the agent that they were made of, observation by observation, in episodes in which its greedy policy and random
actions take turns. An agent with a core and its programs remember on their own, from the first observation of each episode on.

    deeprl export RUN && python -m benchmarks.exported RUN [RUN ...] [--observations 1000]

Both forms, ONNX by onnxruntime and torch.export; the evaluation environment has seed 12345.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

import deeprl
from deeprl.learning.agent import Agent
from deeprl.running.session.run import Run
from deeprl.tools.export import programs
from deeprl.tools.export.policy import divided


def met(run: Run, count: int) -> tuple[list[np.ndarray], list[bool], list[np.ndarray]]:
    """Observations (1, *obs), which of them are the first of an episode, and the actions of the agent."""
    envs, spec, random = run.make_evaluation(12345, 1), run.agent.spec, np.random.default_rng(0)
    rows, first, acted = [envs.reset()], [True], []
    while True:
        if first[-1]:
            run.reset()
        acted.append(run.act_on_rows(rows[-1]))
        if len(acted) == count:
            envs.close()
            return rows, first, acted
        if len(acted) % 2:
            action = acted[-1]
        elif spec.num_actions:
            action = random.integers(spec.num_actions, size=1)
        else:
            action = random.uniform(-1.0, 1.0, (1, spec.action_dim)).astype(np.float32)
        step = envs.step(action)
        rows.append(step.obs)
        first.append(bool(step.ended[0]))


def answers(runner: programs.Runner, rows: list[np.ndarray], first: list[bool], agent: Agent) -> list[np.ndarray]:
    """Actions of a program for the rows of its agent."""
    found, state, size = [], [], agent.state_size
    for obs, start in zip(rows, first):
        if start and size:
            state = [np.zeros((1, size), np.float32)]
        action, *state = runner(*divided(agent, obs), *state)
        found.append(action)
    return found


def largest(found: list[np.ndarray], wanted: list[np.ndarray]) -> float:
    return float(np.abs(np.concatenate(found).astype(np.float64) - np.concatenate(wanted)).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--observations", type=int, default=1000)
    options = parser.parse_args()
    for folder in options.runs:
        run = deeprl.load(folder)
        rows, first, acted = met(run, options.observations)
        exports = folder / "exports"
        runners = {
            "onnx": programs.onnx_runner((exports / "policy.onnx").read_bytes())[1],
            "torch.export": programs.runner(torch.export.load(exports / "policy.pt2")),
        }
        different = len({row.tobytes() for row in rows})
        for form, runner in runners.items():
            apart = largest(answers(runner, rows, first, run.agent), acted)
            print(
                f"{folder} {form}: {len(rows)} observations of {sum(first)} episodes, {different} different, "
                f"largest difference of actions {apart:.3g}"
            )


if __name__ == "__main__":
    main()
