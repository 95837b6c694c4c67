"""The console script `deeprl`: everything that works on finished or running runs. One subcommand a file."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from deeprl.errors import CheckpointError, ConfigError, RunFolderError
from deeprl.system.files import printable


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="deeprl", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    resume = commands.add_parser("resume", help="go on where a run's last checkpoint stands")
    resume.add_argument("run", type=Path)
    resume.add_argument(
        "--allow-package", action="append", default=[], metavar="NAME", help="a package that the run's configuration may name"
    )
    resume.add_argument(
        "overrides", nargs="*", metavar="key=value", help="what may change: steps, evaluation, checkpoint, log, stop, logger"
    )

    evaluate = commands.add_parser("eval", help="evaluate a checkpoint on fresh environments")
    evaluate.add_argument("run", type=Path, help="a run folder, or one above many")
    evaluate.add_argument("--checkpoint", default="last", help="best, last or a step")
    evaluate.add_argument("--episodes", type=int, default=None)
    evaluate.add_argument("--seed", type=int, default=None, help="one from evaluations.jsonl repeats that evaluation")
    evaluate.add_argument("--json", action="store_true", help="for machines")
    evaluate.add_argument(
        "--allow-package", action="append", default=[], metavar="NAME", help="a package that the run's configuration may name"
    )

    record = commands.add_parser("record", help="film episodes of the greedy policy: MP4 files under videos/")
    record.add_argument("run", type=Path, help="a run folder, or one above many")
    record.add_argument("--checkpoint", default="last", help="best, last or a step")
    record.add_argument("--episodes", type=int, default=1)
    record.add_argument("--seed", type=int, default=None, help="of the first episode; the others count on from it")
    record.add_argument(
        "--allow-package", action="append", default=[], metavar="NAME", help="a package that the run's configuration may name"
    )

    crashed = commands.add_parser("replay-crash", help="repeat the update that produced NaN or Inf")
    crashed.add_argument("bundle", type=Path, help="a folder in crash/ of a run, or the run folder for its newest one")
    crashed.add_argument(
        "--allow-package", action="append", default=[], metavar="NAME", help="a package that the run's configuration may name"
    )

    menu = commands.add_parser("list", help="what there is to choose from")
    menu.add_argument("what", choices=("agents", "envs", "experiments", "combinations"))

    options, rest = parser.parse_known_args(arguments)
    if options.command == "resume":  # argparse takes no key=value after an option that stands between them
        options.overrides += [word for word in rest if not word.startswith("-")]
        rest = [word for word in rest if word.startswith("-")]
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        sys.exit(_run(options))
    except (ConfigError, ValueError) as error:
        print(printable(f"deeprl: {error}"), file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # `deeprl list envs | head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except (RunFolderError, CheckpointError, FileNotFoundError) as error:
        print(printable(f"deeprl: {error}"), file=sys.stderr)
        sys.exit(1)


def _run(options: argparse.Namespace) -> int:
    # Each command is imported when it is asked for: `deeprl list` should not wait for what `deeprl eval` needs.
    if options.command == "resume":
        from deeprl.cli.resume import resume

        return resume(options.run, options.overrides, tuple(options.allow_package))
    if options.command == "eval":
        from deeprl.cli.eval import evaluate_runs

        return evaluate_runs(options)
    if options.command == "record":
        from deeprl.cli.record import record_runs

        return record_runs(options)
    if options.command == "replay-crash":
        from deeprl.cli.replay_crash import replay

        return replay(options.bundle, tuple(options.allow_package))
    from deeprl.cli.list import show

    return show(options.what)


if __name__ == "__main__":
    main()
