"""`deeprl record RUN`: film episodes of the greedy policy, as `deeprl eval` plays them. It never allocates the replay."""

from __future__ import annotations

import argparse
import contextlib

from deeprl.cli.arguments import at_least_one, checkpoints
from deeprl.errors import RunFolderError
from deeprl.runs.folder import find_runs
from deeprl.system.terminal import answer


def arguments(parser: argparse.ArgumentParser) -> None:
    checkpoints(parser, episodes=1, seed="of the first episode; the others count on from it")


def run(options: argparse.Namespace) -> int:
    """Episode i has the seed of the checkpoint's evaluation plus i, and is the one of `deeprl eval --episodes 1 --seed` with that seed."""
    from deeprl.session.api import load
    from deeprl.training.evaluation import Tape, evaluate, evaluation_seed
    from deeprl.training.video import check_rendering, film

    episodes = at_least_one(options.episodes)
    for path in find_runs(options.run):
        run = load(path, options.checkpoint, tuple(options.allow_package))
        check_rendering(run.env, "deeprl record")
        first = options.seed if options.seed is not None else evaluation_seed(run.config["seed"], run.step)
        for seed in range(first, first + episodes):
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
            answer(line)
    return 0
