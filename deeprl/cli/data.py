"""`deeprl data`: what data there are to learn from, what is in them, and run folders as data sets of Minari."""

from __future__ import annotations

import argparse
from pathlib import Path

from deeprl.cli.arguments import allow_package
from deeprl.system.terminal import print_result


def arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="action")
    actions.add_parser("list", help="the data sets of Minari on this machine ($MINARI_DATASETS_PATH)")
    show = actions.add_parser("show", help="spaces, episodes, returns, ends, and what is missing")
    convert = actions.add_parser("convert", help="write the stored transitions of a run as a data set of Minari")
    for each in (show, convert):
        each.add_argument(
            "data", help="a run folder (FOLDER@best, FOLDER@STEP)" + (", a data set's, or minari:NAME" if each is show else "")
        )
        allow_package(each)
    convert.add_argument("name", help="of the data set, such as hopper/medium-v0")


def run(options: argparse.Namespace) -> int:
    {"list": listed, "show": show, "convert": convert}[options.action](options)
    return 0


def listed(options: argparse.Namespace) -> None:
    from deeprl.running.collect import minari

    found = sorted(path.parent.parent for path in minari.root().glob("**/data/metadata.json"))
    for folder in found:
        name = folder.relative_to(minari.root())
        try:
            metadata = minari.described(str(folder)).metadata
            counts = [minari.shown(metadata.get(f"total_{what}")) for what in ("episodes", "steps")]
            print_result(f"minari:{name}  {counts[0]} episodes, {counts[1]} steps")
        except (ValueError, OSError) as error:
            print_result(f"minari:{name}  cannot be read: {error}")
    if not found:
        print_result(f"no data set in {minari.root()}")


def show(options: argparse.Namespace) -> None:
    from deeprl.errors import ConfigError
    from deeprl.running.collect import minari
    from deeprl.tools.data.episodes import episodes, read, told

    try:
        spec = minari.described(options.data).spec if minari.is_data_set(options.data) else of_run(options)[0]
        stored = read(options.data, spec)
    except (ValueError, OSError) as error:
        raise ConfigError(str(error)) from error
    of_actions = f"{spec.num_actions} actions" if spec.num_actions else f"actions of {spec.action_dim} number{'s' * (spec.action_dim != 1)}"
    lines = [f"observations of shape {spec.obs_shape}, {of_actions}", *told([*episodes(stored)]), f"digest {stored.digest}"]
    print_result("\n".join([options.data, *(f"  {line}" for line in lines)]))


def convert(options: argparse.Namespace) -> None:
    from deeprl.errors import ConfigError
    from deeprl.tools.data.convert import write
    from deeprl.tools.data.episodes import episodes, read

    spec, actions, env = of_run(options)
    try:
        stored = read(options.data, spec)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    found = [*episodes(stored)]
    count = write(options.name, found, spec, actions, description=f"{env}, by deeprl")
    left = f"; {len(found) - count} without their start" if count < len(found) else ""
    print_result(f"minari:{options.name}: {count} episodes of {env}{left}")


def of_run(options: argparse.Namespace):
    """Spaces and actions of the environment of a run folder, and its name."""
    from deeprl.running.runs.config_file import folder_of
    from deeprl.running.session.api import load

    run = load(Path(folder_of(options.data)), allow=tuple(options.allow_package))
    game = run.env.build()
    try:
        return run.agent.spec, game.actions, run.config["names"]["env"]
    finally:
        game.close()
