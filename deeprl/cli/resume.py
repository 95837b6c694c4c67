"""`deeprl resume RUN [key=value ...]`: go on exactly where the run's last checkpoint stands, in the same folder."""

from __future__ import annotations

import copy
from pathlib import Path

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from deeprl.checkpoint import CheckpointError
from deeprl.config import IDENTITY, ConfigError, finalise, flatten, nearest, put
from deeprl.run_folder import RunFolder, RunFolderError


def resume(path: Path, overrides: list[str], allow: tuple[str, ...] = ()) -> int:
    """Returns the exit code. `allow`: packages beside ours that the run's configuration may name; it may be a stranger's."""
    from deeprl.build import PACKAGES
    from deeprl.cli.train import FAILED, FINISHED, STOPPED, WRONG, complain, failure
    from deeprl.compose import prepare
    from deeprl.run import untrusted
    from deeprl.session import farewell, train

    folder = RunFolder(path)
    try:
        stored = folder.read_config()
        untrusted(stored, (*PACKAGES, *allow))
        config = changed(stored, overrides)
        prepare()
        status = folder.read_status() or {}
        if status.get("state") == "finished" and config["steps"] <= int(status["step"]):
            print(f"{path} is finished at step {status['step']:,}. To train longer: deeprl resume {path} steps={2 * int(status['step'])}")
            return FINISHED
        outcome, trainer = train(config, path, resume=True, allowed=(*PACKAGES, *allow))
    except ConfigError as error:
        return complain(WRONG, str(error))
    except (RunFolderError, CheckpointError) as error:
        return complain(FAILED, str(error))
    except KeyboardInterrupt:
        return complain(FAILED, f"interrupted. What was saved before can be resumed: deeprl resume {path}")
    except Exception as error:
        return complain(FAILED, failure(error, path))
    print(farewell(outcome, trainer, path))
    return FINISHED if outcome == "finished" else STOPPED


def changed(stored: dict, overrides: list[str]) -> dict:
    """The stored configuration with overrides, whose difference is printed.

    Raises:
        ConfigError: an unknown key, or one that would change what the run is.
    """
    config = copy.deepcopy(stored)
    leaves = dict(flatten(stored))
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise ConfigError(f"{override} is not of the form key=value.")
        if key.split(".")[0] in IDENTITY:
            raise ConfigError(
                f"{override}: {key.split('.')[0]} is part of what this run is and cannot be changed. Start another run for it."
            )
        if key not in leaves:
            raise ConfigError(f"{override}: there is no key {key}.{nearest(key, leaves)}")
        try:
            value = OmegaConf.to_container(OmegaConf.create(f"value: {text}"))["value"]  # type: ignore[index,call-overload]
        except (OmegaConfBaseException, YAMLError, ValueError) as error:
            raise ConfigError(f"{override}: {' '.join(str(error).split())}") from error
        if value != leaves[key]:
            print(f"{key}: {leaves[key]} -> {value}")
            put(config, key, value)
    return finalise(config)
