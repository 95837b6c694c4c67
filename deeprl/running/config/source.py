"""How Hydra reads our folders: the plugins that tell it where they are and what is in them."""

from __future__ import annotations

import os
import pickle
from importlib import resources

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

from deeprl.running.config import folders
from deeprl.running.config.defaults import FAMILIES, anchored
from deeprl.running.config.menu import GAMES, games
from deeprl.running.config.parsed import parsed


class Folder(ConfigSource):
    """A folder of configurations, as Hydra's own source for `file://`, but each file is parsed once for the process; and the games."""

    @staticmethod
    def scheme() -> str:
        return "deeprl"

    def load_config(self, config_path: str) -> ConfigResult:
        path = self._file(config_path)
        if os.path.isfile(path):
            found = parsed(path)
            config, header = pickle.loads(found.config), self._get_header_dict(found.head)
            folder, content = os.path.dirname(config_path), found.content
            if folder.partition("/")[0] in FAMILIES and isinstance(content, dict) and isinstance(content.get("defaults"), list):
                config["defaults"] = anchored(folder, content["defaults"])
        elif game := self._game(config_path):
            config, header = OmegaConf.create({"defaults": anchored(GAMES, ["_atari", "_self_"]), "game": game}), {"package": None}
        else:
            raise ConfigLoadError(f"Config not found : {path}")
        return ConfigResult(config=config, path=self.full_path(), provider=self.provider, header=header)

    def available(self) -> bool:
        return self.is_group("")

    def is_group(self, config_path: str) -> bool:
        return os.path.isdir(os.path.join(self.path, config_path)) or (self._is_first() and config_path.rstrip("/") == GAMES)

    def is_config(self, config_path: str) -> bool:
        return os.path.isfile(self._file(config_path)) or self._game(config_path) is not None

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        folder, found = os.path.join(self.path, config_path), list[str]()
        for name in os.listdir(folder) if os.path.isdir(folder) else ():
            self._list_add_result(found, os.path.join(config_path, name), name, results_filter)
        return sorted({*found, *(games() if self._is_first() and config_path == GAMES else ())})

    def _file(self, config_path: str) -> str:
        return os.path.join(self.path, self._normalize_file_name(config_path))

    def _game(self, config_path: str) -> str | None:
        group, _, name = config_path.removesuffix(".yaml").rpartition("/")
        return name if self._is_first() and group == GAMES and name in games() else None

    def _is_first(self) -> bool:
        return self.path == str(folders.CONFIGS)


class SearchPath(SearchPathPlugin):
    """Hydra asks this plugin for folders before each composition."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        ours = {str(folders.CONFIGS): folders.CONFIGS, "pkg://hydra.conf": resources.files("hydra.conf")}
        for element in search_path.get_path():
            if element.path.removeprefix("file://") in ours:
                element.path = f"{Folder.scheme()}://{ours[element.path.removeprefix('file://')]}"
        for folder in folders.folders()[1:]:
            search_path.append(provider="deeprl", path=f"{Folder.scheme()}://{folder}")


def register() -> None:
    """Idempotent."""
    Plugins.instance().register(Folder)
    Plugins.instance().register(SearchPath)
