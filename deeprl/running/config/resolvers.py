"""OmegaConf resolvers, `${word:...}` in YAML files, for the run folder and the tuned settings."""

from __future__ import annotations

import os
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from deeprl.running.config import tuned
from deeprl.running.runs.places import claim


def register_resolvers() -> None:
    """Register the resolvers of these keys. Idempotent.

    hydra.run.dir:       ${run_folder:runs}
    hydra.sweep.subdir:  ${run_subfolder:runs}    created under hydra.sweep.dir, and relative to it
    optional tuned:      ${tuned:${env},${agent}}
    """
    for word in (run_folder, run_subfolder):
        OmegaConf.register_new_resolver(word.__name__, word, replace=True)
    OmegaConf.register_new_resolver("tuned", tuned.option, replace=True)


def run_folder(root: str, *, _root_: DictConfig) -> str:
    """The folder of a run. The first call creates it; later calls return the same folder."""
    return str(_create(root, _root_))


def run_subfolder(root: str, *, _root_: DictConfig) -> str:
    root = OmegaConf.select(_root_, "hydra.sweep.dir") or root
    return os.path.relpath(_create(root, _root_), root)


def _create(root: str, config: DictConfig) -> Path:
    # Hydra resolves a key more than once, and later in a copy of the configuration that has neither this cache nor the seed. A resolver
    # with _root_ cannot use OmegaConf's own cache (use_cache).
    chosen = OmegaConf.select(config, "hydra.runtime.output_dir", throw_on_missing=False)
    if chosen is not None:
        return Path(chosen)
    cache = OmegaConf.get_cache(config)["run_folder"]
    if root not in cache:
        cache[root] = claim(root, env_name(config), config.hydra.runtime.choices["agent"], config.seed)
    return cache[root]


def env_name(config: DictConfig) -> str:
    """Name of the environment: "classic/cartpole". With the options `gym`, `function` and `vector`, which are for all ids and functions, it
    contains that: "gym/Blackjack-v1", "gym/last_action/Blackjack-v1", "function/my_module:make"."""
    name = str(config.hydra.runtime.choices["env"])
    keys = {"gym": ["env.id"], "function": ["env.function"], "vector": ["env.id", "env.function"]}.get(name.split("/")[0], [])
    inside = next(filter(None, (OmegaConf.select(config, key, throw_on_missing=False) for key in keys)), None)
    return f"{name}/{inside}" if inside else name
