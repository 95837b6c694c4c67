"""`deeprl train ...` and `python train.py ...`: compose and check, claim the folder, train."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ValueType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict

from deeprl.cli.exits import FINISHED, ended, guarded
from deeprl.config import folders
from deeprl.config.compose import compose, prepare, resolve
from deeprl.errors import ConfigError
from deeprl.runs.folder import RunFolder, auto_folder, holds_run

VALUED = {"--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd", "--cfg", "-c", "--package", "-p", "--experimental-rerun"}
"""Flags of Hydra that take the word after them."""
ASKING = {"--help", "-h", "--hydra-help", "--version", "--info", "-i", "--shell-completion", "-sc", "--cfg", "-c"}
"""Flags that print something instead of training."""


def main() -> None:
    """The command line is `sys.argv`, because Hydra reads it there; "train", its first word after `deeprl`, is left out meanwhile."""
    command = ["train"] if sys.argv[1:2] == ["train"] else []
    del sys.argv[1 : 1 + len(command)]

    def job(cfg: DictConfig) -> None:
        """One run, called by Hydra with its folder made."""
        sys.argv[1:1] = command  # system.json records a command that can be repeated
        command.clear()
        if code := start(cfg, Path(HydraConfig.get().runtime.output_dir)):
            sys.exit(code)

    if code := guarded(checked):
        sys.exit(code)
    hydra.main(version_base="1.3", config_path=str(folders.CONFIGS), config_name="train")(job)()


def checked() -> int:
    """Check the command line once before Hydra does, because Hydra leaves with 1 and many lines."""
    flags, overrides = split(sys.argv[1:])
    for flag, _, value in (flag.partition("=") for flag in flags):
        if flag in ("--config-dir", "-cd"):
            folders.add(Path(value))
    if not ASKING & {flag.split("=")[0] for flag in flags}:
        check(overrides, sweep=bool({"-m", "--multirun"} & set(flags)))
    prepare()
    return FINISHED


def split(words: list[str]) -> tuple[list[str], list[str]]:
    """Hydra's flags, as "--flag=value", and the overrides."""
    flags, overrides, rest = [], [], iter(words)
    for word in rest:
        if not word.startswith("-"):
            overrides.append(word)
            continue
        flag, equals, value = word.partition("=")
        if flag in VALUED and not equals:
            value = next(rest, "")
        flags.append(f"{flag}={value}" if value else flag)
    return flags, overrides


def check(overrides: list[str], sweep: bool) -> None:
    """Compose, of a sweep the first job. With resume=auto it may end here, in the run that it continues.

    Raises:
        ConfigError
    """
    if sweep:
        overrides = [first for o in overrides if (first := first_of(o))]
    config, user, chosen = compose(overrides)
    folder = next((o.split("=", 1)[1] for o in overrides if o.startswith("hydra.run.dir=")), None)
    if folder and config["resume"] != "auto" and holds_run(Path(folder)):
        raise ConfigError(
            f"hydra.run.dir={folder} already holds a run: choose another folder, or go on with `deeprl resume {folder}` or resume=auto."
        )
    if sweep and config["resume"] == "auto":
        raise ConfigError("resume=auto goes on with one run: leave -m out, or start each run of the sweep by a command of its own.")
    root = Path(folder or "runs")
    for parent in [root, *root.parents]:
        if parent.exists() and not parent.is_dir():
            raise ConfigError(f"hydra.run.dir={root}: {parent} is a file, so no run folder can be made there. Choose another folder.")
    if config["resume"] == "auto":
        from deeprl.session.assemble import settle

        settled = settle(config, user)
        target = Path(folder) if folder else auto_folder(settled, env=chosen["env"], agent=chosen["agent"])
        sys.argv = [sys.argv[0], *[a for a in sys.argv[1:] if not a.startswith("hydra.run.dir=")], f"hydra.run.dir={target}"]
        if holds_run(target):
            sys.exit(go_on(target, settled))


def first_of(override: str) -> str | None:
    """The first job of a sweep: seed=1,2,3 or seed=range(1,4) -> seed=1. None where only Hydra knows, as for glob(*)."""
    try:
        parsed = OverridesParser.create().parse_override(override)
    except HydraException:
        return override  # the composition reports what is wrong with it
    if not parsed.is_sweep_override():
        return override
    if not parsed.is_discrete_sweep() or parsed.value_type is ValueType.GLOB_CHOICE_SWEEP:
        return None
    return f"{override.split('=', 1)[0]}={next(iter(parsed.sweep_string_iterator()))}"


def go_on(path: Path, config: dict) -> int:
    """Continue the run that resume=auto found in its folder."""
    from deeprl.cli.resume import resume
    from deeprl.session.api import named_packages

    folder = RunFolder(path)
    stored = folder.read_config()
    different = [k for k in config if k not in ("resume", "accelerate", "runtime") and stored.get(k) != config.get(k)]
    if different:
        raise ConfigError(
            f"resume=auto: {path} holds a run of another configuration ({', '.join(different)} differ): choose another folder."
        )
    status = folder.read_status() or {}
    if status.get("state") == "finished":
        print(f"{path}: this run is finished at step {status['step']:,}; nothing to do")
        return FINISHED
    # the command line that started this names the same packages, and it is the user's own
    return resume(path, [], tuple(named_packages(stored)))


def start(cfg: DictConfig, path: Path) -> int:
    """Train in `path`. Returns the exit code."""
    full = cfg.copy()
    OmegaConf.set_struct(full, False)
    with open_dict(full):
        full["hydra"] = HydraConfig.get()

    def trained() -> int:
        from deeprl.session.assemble import settle
        from deeprl.session.session import train

        try:
            config, user = resolve(full)
            return ended(*train(settle(config, user), path), path)
        except ConfigError:
            discard(path)
            raise

    return guarded(trained, path)


def discard(path: Path) -> None:
    """Remove the folder of a run that never began: it holds nothing but Hydra's record of the command line."""
    if path.is_dir() and all(entry.name in (".hydra", "lock") for entry in path.iterdir()):
        shutil.rmtree(path)
