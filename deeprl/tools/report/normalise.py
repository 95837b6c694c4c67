"""Normalised scores, without which scores of different tasks cannot be averaged: (score − zero) / (one − zero).

All tasks of one aggregate are normalised in the same way, the first of these that every task allows:

- human: 0 is a random agent, 1 a professional human tester. Atari only.
- threshold: 0 is a return of 0, 1 the `reward_threshold` at which Gymnasium's registry calls the task solved.
- range: 0 is the lowest, 1 the highest final score of the runs that are compared. The numbers then depend on which runs these are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from deeprl.running.runs.config_file import Config

WORDS = {
    "human": "human-normalised: 0 is a random agent, 1 a professional human tester (constants as in Wang and others, 2016)",
    "threshold": "divided by the reward threshold at which Gymnasium's registry calls the task solved",
    "range": "min-max: 0 is the lowest and 1 the highest final score of a task among the runs compared here, so that the numbers "
    "cannot be compared with those of another report",
}


class ScoreScale(NamedTuple):
    """Scores of a task that become 0 and 1."""

    zero: float
    one: float

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        if self.zero == self.one:  # all runs score the same
            return np.full(len(scores), 0.5)
        return (scores - self.zero) / (self.one - self.zero)


def scales(environments: Mapping[str, Sequence[Any]], scores: Mapping[str, np.ndarray]) -> tuple[str, dict[str, ScoreScale]]:
    """The kind of normalisation, a key of `WORDS`, and the scale of each task.

    Args:
        environments: for each task, `env` of the configuration of each of its runs.
        scores: for each task, the final scores of all runs, (runs,).
    """
    for kind, constant in (("human", human), ("threshold", threshold)):
        found = {task: {constant(env) if isinstance(env, dict) else None for env in envs} for task, envs in environments.items()}
        if all(len(each) == 1 and None not in each for each in found.values()):
            return kind, {task: scale for task, each in found.items() for scale in each if scale}
    return "range", {task: ScoreScale(float(values.min()), float(values.max())) for task, values in scores.items()}


def human(env: Config) -> ScoreScale | None:
    if not str(env.get("_target_")).startswith("deeprl.envs.atari."):
        return None
    constants = ATARI.get(str(env.get("game")))
    return ScoreScale(*constants) if constants else None


def threshold(env: Config) -> ScoreScale | None:
    """None where the registry has no positive threshold, or where wrappers, arguments or another time limit may have changed the returns.
    The environment is only looked up, because a stranger's id may name a module to import."""
    import gymnasium

    spec = gymnasium.registry.get(str(env.get("id")))
    if spec is None or not spec.reward_threshold or spec.reward_threshold <= 0 or env.get("wrappers") or env.get("kwargs"):
        return None
    if env.get("max_episode_steps") not in (None, spec.max_episode_steps):
        return None
    return ScoreScale(0.0, float(spec.reward_threshold))


ATARI = {
    "alien": (227.8, 7127.7), "amidar": (5.8, 1719.5), "assault": (222.4, 742.0), "asterix": (210.0, 8503.3),
    "asteroids": (719.1, 47388.7), "atlantis": (12850.0, 29028.1), "bank_heist": (14.2, 753.1), "battle_zone": (2360.0, 37187.5),
    "beam_rider": (363.9, 16926.5), "berzerk": (123.7, 2630.4), "bowling": (23.1, 160.7), "boxing": (0.1, 12.1),
    "breakout": (1.7, 30.5), "centipede": (2090.9, 12017.0), "chopper_command": (811.0, 7387.8), "crazy_climber": (10780.5, 35829.4),
    "defender": (2874.5, 18688.9), "demon_attack": (152.1, 1971.0), "double_dunk": (-18.6, -16.4), "enduro": (0.0, 860.5),
    "fishing_derby": (-91.7, -38.7), "freeway": (0.0, 29.6), "frostbite": (65.2, 4334.7), "gopher": (257.6, 2412.5),
    "gravitar": (173.0, 3351.4), "hero": (1027.0, 30826.4), "ice_hockey": (-11.2, 0.9), "jamesbond": (29.0, 302.8),
    "kangaroo": (52.0, 3035.0), "krull": (1598.0, 2665.5), "kung_fu_master": (258.5, 22736.3), "montezuma_revenge": (0.0, 4753.3),
    "ms_pacman": (307.3, 6951.6), "name_this_game": (2292.3, 8049.0), "phoenix": (761.4, 7242.6), "pitfall": (-229.4, 6463.7),
    "pong": (-20.7, 14.6), "private_eye": (24.9, 69571.3), "qbert": (163.9, 13455.0), "riverraid": (1338.5, 17118.0),
    "road_runner": (11.5, 7845.0), "robotank": (2.2, 11.9), "seaquest": (68.4, 42054.7), "skiing": (-17098.1, -4336.9),
    "solaris": (1236.3, 12326.7), "space_invaders": (148.0, 1668.7), "star_gunner": (664.0, 10250.0), "surround": (-10.0, 6.5),
    "tennis": (-23.8, -8.3), "time_pilot": (3568.0, 5229.2), "tutankham": (11.4, 167.6), "up_n_down": (533.4, 11693.2),
    "venture": (0.0, 1187.5), "video_pinball": (16256.9, 17667.9), "wizard_of_wor": (563.5, 4756.5),
    "yars_revenge": (3092.9, 54576.9), "zaxxon": (32.5, 9173.3),
}  # fmt: skip
"""Game -> returns of a random agent and of a professional human tester, from episodes that start with up to 30 no-op actions and last at
most 30 minutes (Mnih and others, 2015, extended to 57 games by Wang and others, 2016). Human scores were played without sticky actions."""
