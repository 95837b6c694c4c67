"""`deeprl record RUN`: films episodes of the greedy policy, as `deeprl eval` plays them. Never allocates the replay."""

from __future__ import annotations

import argparse
import contextlib

from deeprl.errors import RunFolderError
from deeprl.runs.folder import find_runs
from deeprl.session.api import load
from deeprl.system.files import printable
from deeprl.training.evaluation import Tape, evaluate, evaluation_seed
from deeprl.training.video import check_rendering, film


def record_runs(options: argparse.Namespace) -> int:
    """Episode i has the seed of the checkpoint's evaluation plus i, and is the one of `deeprl eval --episodes 1 --seed` with that seed."""
    if options.episodes < 1:
        raise ValueError(f"--episodes must be at least 1, not {options.episodes}")
    for path in find_runs(options.run):
        run = load(path, options.checkpoint, tuple(options.allow_package))
        check_rendering(run.env, "deeprl record")
        first = options.seed if options.seed is not None else evaluation_seed(run.config["seed"], run.step)
        for seed in range(first, first + options.episodes):
            tape = Tape()
            result = evaluate(run.agent, run.make_evaluation, 1, 1, seed, run.step, run.config["device"], listeners=[tape])
            target = path / "videos" / f"step_{run.step:012d}_seed_{seed}.mp4"
            try:
                with contextlib.closing(run.make_evaluation(seed, 1, render=True)) as envs:
                    returned = film(envs, tape, target)
            except OSError as error:
                raise RunFolderError(f"no video: {error}") from error
            line = f"{target}: return {returned:.2f}, {result['lengths'][0]:,} steps"
            if returned != tape.returned:
                line += f"; without drawing the return was {tape.returned:.2f}: this environment does not repeat itself when it is drawn"
            print(printable(line))
    return 0
