"""`deeprl data`: what data there are to learn from, what is in them, and run folders as data sets of Minari, and back."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from deeprl.cli.arguments import allow_package
from deeprl.system.terminal import counted, print_end, print_result

if TYPE_CHECKING:
    from deeprl.extend import Actions
    from deeprl.running.collect.minari import DataSet
    from deeprl.types import Spec


def arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="action")
    actions.add_parser("list", help="the data sets of Minari on this machine ($MINARI_DATASETS_PATH)")
    show = actions.add_parser("show", help="spaces, episodes, returns, ends, and what is missing")
    convert = actions.add_parser("convert", help="write stored transitions as a data set of Minari, or those of one as a folder of data")
    for each in (show, convert):
        each.add_argument("data", help="a run folder (FOLDER@best, FOLDER@STEP), a folder of data, a data set's, or minari:NAME")
        allow_package(each)
    convert.add_argument("target", help="name of the data set, such as hopper/medium-v0; from a data set, the new folder")


def run(options: argparse.Namespace) -> int:
    {"list": listed, "show": show, "convert": convert}[options.action](options)
    return 0


def listed(options: argparse.Namespace) -> None:
    from deeprl.running.collect import minari
    from deeprl.running.collect.minari_rows import episodes_of

    found = sorted(path.parent.parent for path in minari.root().glob("**/data/metadata.json"))
    found = [folder for folder in found if not str(folder.relative_to(minari.root())).startswith(".")]  # unfinished
    for folder in found:
        name = folder.relative_to(minari.root())
        try:
            metadata = (described := minari.described(str(folder))).metadata
            episodes_of(described)
            counts = [minari.shown(metadata.get(f"total_{what}")) for what in ("episodes", "steps")]
            print_result(f"minari:{name}  {counts[0]} episodes, {counts[1]} steps")
        except (ValueError, OSError) as error:
            print_result(f"minari:{name}  cannot be read: {error}")
    if not found:
        print_result(f"no data set in {minari.root()}")


def show(options: argparse.Namespace) -> None:
    from deeprl.tools.data.episodes import episodes, told

    spec, _, _, stored = read(options)
    parts = ", ".join(f"{part.name} {tuple(part.shape)}" for part in spec.parts)
    of_obs = f"observations of the parts {parts}" if parts else f"observations of shape {spec.obs_shape}{in_one_vector(options.data)}"
    of_actions = f"{spec.num_actions} actions" if spec.num_actions else f"actions of {counted(spec.action_dim, 'number')}"
    lines = [f"{of_obs}, {of_actions}", *told([*episodes(stored)]), f"digest {stored.digest}"]
    print_result("\n".join([options.data, *(f"  {line}" for line in lines)]))


def in_one_vector(data: str) -> str:
    """What to say of the observations of a data set of Minari that have parts."""
    from deeprl.running.collect.minari import described, is_data_set

    several = is_data_set(data) and described(data).observation_space.get("type") in ("Dict", "Tuple")
    return ", with their parts as one vector" if several else ""


def convert(options: argparse.Namespace) -> None:
    from deeprl.running.collect.minari import described, is_data_set
    from deeprl.tools.data.convert import write, write_folder
    from deeprl.tools.data.episodes import episodes

    spec, actions, env, stored = read(options)
    found = [*episodes(stored)]
    if is_data_set(options.data):
        write_folder(Path(options.target).expanduser(), described(options.data), stored)
        print_end(f"{options.target}: {len(found)} episodes of {env}, for replay.data={options.target}{in_one_vector(options.data)}")
        return
    count = write(options.target, found, spec, actions, description=f"{env}, by deeprl")
    left = f"; {len(found) - count} without their start" if count < len(found) else ""
    print_end(f"minari:{options.target}: {count} episodes of {env}{left}")


def read(options: argparse.Namespace):
    """Spaces and actions of data, the name of their environment or data set, and their transitions."""
    from deeprl.errors import ConfigError
    from deeprl.running.collect import data_folder, minari
    from deeprl.running.runs.config_file import folder_of
    from deeprl.tools.data import episodes

    path = Path(folder_of(options.data))
    try:
        if minari.is_data_set(options.data):
            about = of_spaces(minari.described(options.data))
        else:
            about = of_spaces(data_folder.described(path)) if data_folder.holds_data(path) else of_run(path, options.allow_package)
        return *about, episodes.read(options.data, about[0])
    except (ValueError, OSError) as error:
        raise ConfigError(str(error)) from error


def of_spaces(found: DataSet) -> tuple[Spec, Actions, str]:
    from deeprl.extend import Actions
    from deeprl.running.collect.minari import bounds, whole

    space, spec = found.action_space, found.spec
    if spec.num_actions:
        return spec, Actions(spec.num_actions, start=whole({"start": 0, **space}, "start", -(1 << 31))), found.name
    low, high = bounds(space)
    return spec, Actions(0, low=low, high=high, shape=low.shape), found.name


def of_run(folder: Path, allowed: list[str]) -> tuple[Spec, Actions, str]:
    from deeprl.running.session.api import load

    run = load(folder, allow=tuple(allowed))
    game = run.env.build()
    try:
        return run.agent.spec, game.actions, run.config["names"]["env"]
    finally:
        game.close()
