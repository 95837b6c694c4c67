"""`deeprl record RUN`: film episodes of the greedy policy, as `deeprl eval` plays them. The replay is never allocated."""

from __future__ import annotations

import argparse
import contextlib

from deeprl.cli.arguments import at_least_one, checkpoints
from deeprl.errors import RunFolderError
from deeprl.runs.folder import find_runs
from deeprl.system.terminal import answer


def arguments(parser: argparse.ArgumentParser) -> None:
    checkpoints(parser, episodes=1, seed="seed of the first episode; each further episode adds 1")


def run(options: argparse.Namespace) -> int:
    """Film episodes. The seed of episode i is that of the checkpoint's evaluation, or --seed, plus i. `deeprl eval --episodes 1 --seed`
    with this seed plays the same episode."""
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
                line += f"; without rendering it was {tape.returned:.2f}: rendering changes this environment"
            answer(line)
    return 0
