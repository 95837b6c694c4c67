"""`deeprl record RUN`: film episodes of the greedy policy, as `deeprl eval` plays them, for files and for TensorBoard. The replay is never
allocated."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path

from deeprl.cli.arguments import at_least_one, checkpoints, out_of, written_to
from deeprl.cli.each import each_policy
from deeprl.errors import RunFolderError
from deeprl.running.runs.config_file import Config
from deeprl.running.runs.folder import RunFolder
from deeprl.system.terminal import print_end, say


def arguments(parser: argparse.ArgumentParser) -> None:
    checkpoints(parser, episodes=1, seed="seed of the first episode; each further episode adds 1")
    written_to(parser, "videos")


def run(options: argparse.Namespace) -> int:
    """Film episodes. The seed of episode i is that of the checkpoint's evaluation, or --seed, plus i. `deeprl eval --episodes 1 --seed`
    with this seed plays the same episode."""

    episodes, out = at_least_one(options.episodes), out_of(options, "videos")

    def one(path: Path) -> None:
        from deeprl.running.session.api import load
        from deeprl.running.training.evaluation import Tape, evaluate, recorded, repeated_seed
        from deeprl.running.training.video import animation, check_rendering, film

        run = load(path, options.checkpoint, tuple(options.allow_package))
        check_rendering(run.env, "deeprl record")
        animations = {}
        first = options.seed if options.seed is not None else repeated_seed(path, run.config["seed"], run.step, options.checkpoint)
        make, device = run.make_evaluation, run.config["device"]
        longest = recorded(path, run.step, first, run.config["evaluation"]).longest
        for seed in range(first, first + episodes):
            tape = Tape()
            result = evaluate(run.agent, make, 1, 1, seed, run.step, device, listeners=[tape], longest=longest)
            name = f"step_{run.step:012d}_seed_{seed}.mp4"
            target = out.resolve() / f"{of_run(run.config)}{name}" if out else path / "videos" / name
            try:
                if out:
                    out.mkdir(parents=True, exist_ok=True)
                with contextlib.closing(make(seed, 1, render=True)) as envs:
                    returned = film(envs, tape, target)
            except OSError as error:
                raise RunFolderError(f"no video: {error}") from error
            line = f"{target}: return {returned:.2f}, {result['lengths'][0]:,} steps"
            if returned != tape.returned:
                line += f"; without rendering it was {tape.returned:.2f}: rendering changes this environment"
            print_end(line)
            animations[f"video/seed_{seed}"] = animation(target)
        if options.run.is_dir():
            show(path, run.step, animations)

    return each_policy(options.run, one, options.out)


def of_run(config: Config) -> str:
    """Begin of a name in a folder for many runs, whose steps and seeds may be equal."""
    names = config["names"]
    return f"{names['agent']}_{names['env']}_seed{config['seed']}_".replace("/", "_")


def show(path: Path, step: int, animations: dict[str, bytes]) -> None:
    """Add animations to the event files of a run. While it trains it has a file open, after which TensorBoard must find no other."""
    from deeprl.running.runs.event_file import TensorBoard

    folder = RunFolder(path)
    try:
        with folder.lock(), contextlib.closing(TensorBoard(path)) as events:
            for name, gif in animations.items():
                events.animation(step, name, gif)
    except (RunFolderError, OSError) as error:
        say(f"TensorBoard does not show the videos: {error}")
