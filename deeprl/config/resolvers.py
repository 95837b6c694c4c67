"""The run folder, as Hydra asks for it: two resolvers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from deeprl.runs.folder import claim


def register_resolvers() -> None:
    """Teach OmegaConf two resolvers that create the folder when Hydra first asks, and give the same answer ever after:

    hydra.run.dir:       ${run_folder:runs}
    hydra.sweep.subdir:  ${run_subfolder:runs}    created under hydra.sweep.dir, and relative to it
    """

    def create(root: str, config: Any) -> Path:
        # Hydra resolves a key more than once, and later from a copy that has neither this cache nor the seed. OmegaConf's own cache
        # (use_cache) cannot be had together with _root_.
        chosen = OmegaConf.select(config, "hydra.runtime.output_dir", throw_on_missing=False)
        if chosen is not None:
            return Path(chosen)
        cache = OmegaConf.get_cache(config)["run_folder"]
        if root not in cache:
            choices = config.hydra.runtime.choices
            cache[root] = claim(root, choices["env"], choices["agent"], config.seed)
        return cache[root]

    def run_folder(root: str, *, _root_: Any) -> str:
        return str(create(root, _root_))

    def run_subfolder(root: str, *, _root_: Any) -> str:
        root = OmegaConf.select(_root_, "hydra.sweep.dir") or root
        return os.path.relpath(create(root, _root_), root)

    OmegaConf.register_new_resolver("run_folder", run_folder, replace=True)
    OmegaConf.register_new_resolver("run_subfolder", run_subfolder, replace=True)
