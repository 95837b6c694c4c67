"""Exported policies beside the agent that they were made of, on observations that its greedy policy and random actions meet in turn.

    deeprl export RUN && python -m benchmarks.exported RUN [RUN ...] [--observations 1000]

Both forms, ONNX by onnxruntime and torch.export; the evaluation environment has seed 12345.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

import deeprl
from deeprl.running.session.api import Run


def met(run: Run, count: int) -> np.ndarray:
    """(count, *obs)"""
    envs, spec, random = run.make_evaluation(12345, 1), run.agent.spec, np.random.default_rng(0)
    rows = [envs.reset()]
    while len(rows) < count:
        if len(rows) % 2:
            action = run.act(rows[-1])
        elif spec.num_actions:
            action = random.integers(spec.num_actions, size=1)
        else:
            action = random.uniform(-1.0, 1.0, (1, spec.action_dim)).astype(np.float32)
        rows.append(envs.step(action).obs)
    envs.close()
    return np.concatenate(rows)


def main() -> None:
    import onnxruntime

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--observations", type=int, default=1000)
    options = parser.parse_args()
    for folder in options.runs:
        run = deeprl.load(folder)
        obs = met(run, options.observations)
        wanted, exports = run.act(obs), folder / "exports"
        found = {
            "onnx": onnxruntime.InferenceSession(str(exports / "policy.onnx")).run(["action"], {"obs": obs})[0],
            "torch.export": torch.export.load(exports / "policy.pt2").module()(torch.from_numpy(obs)).numpy(),
        }
        different = len(np.unique(obs.reshape(len(obs), -1), axis=0))
        for form, actions in found.items():
            apart = np.abs(actions.astype(np.float64) - wanted).max()
            print(f"{folder} {form}: {len(obs)} observations, {different} different, largest difference of actions {apart:.3g}")


if __name__ == "__main__":
    main()
