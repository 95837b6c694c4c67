"""Weights & Biases, an optional package."""

from __future__ import annotations

import contextlib
from functools import partial
from pathlib import Path
from typing import Any, Literal

from deeprl.errors import ConfigError, RunFolderError, on_one_line
from deeprl.running.runs.config_file import Config
from deeprl.running.runs.logger import Logger, keep_id, new_id, own_id
from deeprl.system.files import own_folder
from deeprl.system.machine import extra
from deeprl.system.terminal import say

Mode = Literal["online", "offline", "disabled"]


def outside() -> contextlib.AbstractContextManager[None]:
    """Another current folder, because this one may be a stranger's: its wandb/settings would name a server, and its .git/config programs
    that git starts."""
    return contextlib.chdir(Path(__file__).parent)


def log_in(goes_on: bool) -> None:
    """Find the key of the user, before a run begins and in the main thread, because W&B may ask for it at the terminal.

    Args:
        goes_on: the run has begun before, and does without its logger rather than end.

    Raises:
        ConfigError: there is none, or one that W&B refuses.
    """
    import wandb

    with outside():
        wandb.setup()
        try:
            told = "" if wandb.login(verify=False) else "there is no login"
        except Exception as error:  # a key of a wrong form, a server without an address, a question that nobody answered
            told = on_one_line(error).rstrip(".")
    if told and goes_on:
        say(f"logger=wandb cannot log in, and the run goes on: {told}")
    elif told:
        raise ConfigError(f"logger=wandb: {told}. Or set logger.mode=offline, or leave logger=wandb out.")


class WandB(Logger):
    """Weights & Biases, an optional package. The id of a run there is drawn when it starts and stays in its folder, in `wandb_id`, because
    folders of different runs may have one name. A resumed run continues under it; older runs without the file have their folder's name."""

    def __init__(self, folder: Path, project: str, entity: str | None = None, mode: Mode = "online", resume: bool = False):
        try:
            import wandb
        except ImportError:
            raise RuntimeError(f"logger=wandb needs the package wandb: {extra('wandb')}; or leave logger=wandb out") from None
        with outside():
            wandb.setup()
        folder = Path(folder)
        name = folder.resolve().name
        own = own_id(folder, "wandb_id", resume) or (name if resume and (folder / "wandb").exists() else None)
        if own is None:  # a run may switch it on when it goes on
            own = new_id(folder)
            keep_id(folder, "wandb_id", own)
        try:
            for place in ("wandb", ".wandb"):
                own_folder(folder / place)
        except OSError as error:
            raise RunFolderError(f"{error.filename}: {error.strerror}; remove it to go on") from None
        home = str(folder.absolute())
        git = {"disable_git": True}  # system.json has the commit of deeprl
        again: Any = "allow" if resume else None
        self._code = 0
        self._begin = partial(
            wandb.init, project=project, entity=entity, mode=mode, dir=home, id=own, name=name, resume=again, settings=git
        )

    def begun(self) -> WandB:
        """The same, connected to its server."""
        self._run = self._begin()
        return self

    def scalars(self, step: int, values: dict[str, float], elapsed: float) -> None:
        self._run.log(dict(values), step=step)

    def text(self, step: int, name: str, text: str) -> None:
        self._run.config.update({name: text}, allow_val_change=True)

    def hparams(self, config: Config, final: dict[str, float] | None) -> None:
        self._run.config.update(config, allow_val_change=True)
        self._run.summary.update(final or {})

    def ended(self, state: str) -> None:
        self._code = 1 if state == "failed" else 0

    def close(self) -> None:
        self._run.finish(exit_code=self._code)
