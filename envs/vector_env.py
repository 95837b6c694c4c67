"""M environments inside one `gymnasium.vector.VectorEnv`, EnvPool's among them, as a `Backend`.

A vector environment starts the next episode in one of three ways, which its `metadata["autoreset_mode"]` declares:

    NEXT_STEP   the step after an end takes no action and answers with the first observation, reward 0
    SAME_STEP   the step of the end answers with the first observation; the last one is in info["final_obs"]
    DISABLED    the caller resets

Here every tick is M steps that count. With NEXT_STEP and DISABLED an ended environment is therefore reset at once and alone, by
`reset(options={"reset_mask": mask})`, so that the step without an action never comes, and the episode has a seed of its own. A vector that
cannot do that is refused where M > 1. With SAME_STEP the vector resets by itself, without a seed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.vector.utils import batch_space, iterate

from .answers import flags, numbers
from .conversion import Conversion
from .gym import layers_of, refuse_statistics
from .masks import KEY, GymInfo
from .vector.backend import Backend, Failure, Game, StepResult, close_quietly, own
from .vector.info import NOTHING, EpisodeInfo
from .vector.parts import Form

ALONE = (
    'an ended environment must be reset alone, by options={"reset_mask": mask} of reset, as gymnasium.vector.SyncVectorEnv can (for an id: '
    "env.kwargs.vectorization_mode=sync). Or make it with AutoresetMode.SAME_STEP, or use env.num=1 with evaluation.num=1"
)
Seeds = list[int | None] | np.ndarray | int | None
"""Seeds as some vector takes them"""
Make = Callable[[int, list[int] | None], Any]
"""`make(num_envs, seeds)` -> vector environment; None where seeds are given to `reset`"""


def mode_of(vector: VectorEnv) -> AutoresetMode:
    """The declared mode.

    Raises:
        ValueError: none is declared.
    """
    inner = vector.unwrapped
    # ALE's vector writes its mode into the dictionary of the base class, where every class without one of its own would find it
    metadata = {} if inner.metadata is VectorEnv.metadata else vector.metadata
    declared = metadata.get("autoreset_mode", getattr(inner, "autoreset_mode", None))
    try:
        return AutoresetMode(declared)
    except ValueError as error:
        modes = ", ".join(map(str, AutoresetMode))
        raise ValueError(
            f'{type(inner).__name__} declares metadata["autoreset_mode"] {declared!r}, which must be one of {modes}, because under a wrong '
            "one the first observation of an episode would be taken for the last one of the episode before"
        ) from error


def limit_of(vector: VectorEnv) -> int | None:
    """Steps after which each environment truncates its episodes, at the latest; None: it is not known.

    A vector of an id has them in its `spec`, EnvPool's in the `config` of it. Of one that a function made, each environment is asked for
    its `gymnasium.wrappers.TimeLimit`."""
    spec, name = vector.spec, "_max_episode_steps"
    told = getattr(spec, "max_episode_steps", None) or getattr(getattr(spec, "config", None), "max_episode_steps", None)
    each = vector.unwrapped
    if told is None and isinstance(each, SyncVectorEnv | AsyncVectorEnv) and all(each.call("has_wrapper_attr", name)):
        limits = each.call("get_wrapper_attr", name)
        return max(limits) if all(isinstance(limit, int) for limit in limits) else None
    return told


def listed(seeds: list[int | None]) -> Seeds:
    """Seeds as Gymnasium's own vectors take them."""
    return list(seeds)


def in_array(seeds: list[int | None]) -> Seeds:
    """Seeds as ALE's vector takes them."""
    return np.array([-1 if seed is None else seed for seed in seeds], np.int64)


def one_for_all(seeds: list[int | None]) -> Seeds:
    """The seed that the base class `VectorEnv` takes."""
    return seeds[0]


class VectorGames(Backend):
    """
    Args:
        make: makes the vector.
        num: M.
        form: how observations are seen.
        names: of the numbers that episodes tell, see `EpisodeInfo`.
        seeded: the vector takes its seeds when it is made, like EnvPool's, and is made again for new ones.

    Raises:
        ValueError: the vector declares no autoreset mode, has another number of environments, spaces that are not supported, or takes no
            seeds.
    """

    replaces = False
    conversion: Conversion

    def __init__(self, make: Make, num: int, form: Form, seeded: bool, names: Mapping[str, str] | None = None):
        self.make, self.num, self.seeded = make, num, seeded
        self.names = names or {}
        self.info = [EpisodeInfo(self.names) for _ in range(num)]
        self.all = np.ones(num, bool)
        self.vector = make(num, list(range(num)) if seeded else None)
        try:
            if self.vector.num_envs != num:
                raise ValueError(f"{self.vector} has {self.vector.num_envs} environments, not the {num} that num_envs asks for")
            for env in (self.vector, *getattr(self.vector.unwrapped, "envs", ())):
                for layer in layers_of(env):
                    refuse_statistics(layer)
            self.mode = mode_of(self.vector)
            self.conversion = Conversion(self.vector.single_observation_space, self.vector.single_action_space, form)
            self.seed_form = self._form_of_seeds()
        except BaseException:
            self.close()
            raise
        self.spec, self.actions = self.conversion.spec._replace(frame_stack=frames(self.vector)), self.conversion.actions
        self.limit = limit_of(self.vector)
        self.one_by_one = self.mode != AutoresetMode.SAME_STEP and not seeded and (num == 1 or self.seed_form is not one_for_all)

    def _form_of_seeds(self) -> Callable[[list[int | None]], Seeds]:
        """The first of three forms of seeds that `reset` takes. Resets all environments."""
        if self.seeded:
            self.vector.reset()
            return one_for_all
        if hasattr(self.vector, "all_env_ids"):  # EnvPool's reset ignores seeds
            raise ValueError(
                "EnvPool takes seeds only when it is made: give the function a parameter `seed`, which is a list of num_envs integers, "
                "and hand it on: envpool.make_gymnasium(ID, num_envs=num_envs, seed=seed)"
            )
        first: Exception | None = None
        for form in (listed, in_array, one_for_all):
            try:
                self.vector.reset(seed=form(list(range(self.num))))
                return form
            except Exception as error:
                first = first or error
        assert first is not None
        raise ValueError(f"{self.vector} cannot be reset: {type(first).__name__}: {first}") from first

    def reset(self, seeds):
        for i in seeds:
            self.info[i].begin()
        try:
            return self._reset_all(seeds) if len(seeds) == self.num else self._reset_some(seeds, None)
        except BaseException as error:
            return dict.fromkeys(seeds, Failure(f"reset raised {type(error).__name__}: {error}", own(error)))

    def _reset_all(self, seeds: Mapping[int, int | None]) -> dict[int, np.ndarray]:
        given = [seeds[i] for i in range(self.num)]
        if not self.seeded:
            obs, info = self.vector.reset(seed=self.seed_form(given))
        else:
            if None not in given:
                close_quietly(self.vector)
                self.vector = self.make(self.num, [seed for seed in given if seed is not None])
            obs, info = self.vector.reset()
        return dict(enumerate(self._rows(obs, info, [False] * self.num)))

    def _reset_some(self, seeds: Mapping[int, int | None], before: list[np.ndarray] | None) -> dict[int, np.ndarray]:
        """
        Args:
            before: rows of all environments, which the reset of some must not change in the others.

        Raises:
            RuntimeError: it did.
        """
        chosen = sorted(seeds)
        mask = np.isin(np.arange(self.num), chosen)
        given = None
        if self.one_by_one:
            given = self.seed_form([seeds.get(i) for i in range(self.num)] if self.seed_form is listed else [seeds[i] for i in chosen])
        obs, info = self.vector.reset(seed=given, options={"reset_mask": mask})
        if size(obs) == len(chosen):  # EnvPool answers with these environments only
            rows = self._rows(obs, info, [False] * len(chosen))
            return dict(zip(map(int, info.get("env_id", chosen)), rows))
        rows = self._rows(obs, info, ~mask)
        same = slice(0, -self.spec.mask_size if self.spec.masked else None)  # the others' masks may stand in `info`, which has none of them
        for i in np.flatnonzero(~mask):
            if before and not np.array_equal(rows[i][same], before[i][same]):
                raise RuntimeError(f"a reset of the environments {chosen} alone changed environment {i} too: {ALONE}")
        return {i: rows[i] for i in chosen}

    def _rows(self, obs: object, info: GymInfo, terminated: Sequence[bool] | np.ndarray) -> list[np.ndarray]:
        """Observations as agents see them."""
        parts = list(iterate(batch_space(self.vector.single_observation_space, size(obs)), obs))
        return [self.conversion.row(part, info_of(info, i), terminated[i]) for i, part in enumerate(parts)]

    def told(self, which):
        return [self.info[i].so_far() for i in which]

    def step(self, actions, seeds, only=None):
        try:
            return self._step(self.conversion.action(actions), seeds)
        except BaseException as error:
            return [Failure(f"the vector raised {type(error).__name__}: {error}", own(error))] * self.num

    def _step(self, actions: np.ndarray, seeds: list[int | None] | None) -> list[StepResult | Failure | None]:
        """
        Args:
            seeds: of the next episodes; None: what has ended is not reset.
        """
        obs, reward, terminated, truncated, info = self.vector.step(actions)
        rewards, terminated = numbers(reward), flags("terminated", terminated)
        ended = terminated | flags("truncated", truncated)
        which = np.flatnonzero(ended).tolist()
        of_task = self._task_numbers(info, which) if self.names else {}
        if self.mode == AutoresetMode.SAME_STEP:
            firsts = self._rows(obs, info, [False] * self.num)
            lasts = {i: self._last(i, info, bool(terminated[i])) for i in which}
            rows = [lasts.get(i, row) for i, row in enumerate(firsts)]
        else:
            if which and "final_obs" in info:
                raise RuntimeError(f'info["final_obs"] belongs to AutoresetMode.SAME_STEP, and metadata["autoreset_mode"] is {self.mode}')
            rows = self._rows(obs, info, terminated)
            firsts = list(rows)
            if which and seeds is not None:
                rows = [row.copy() for row in rows]  # some vectors write all observations into one buffer
                again = {i: seeds[i] for i in which}
                for i, row in (self._reset_all(again) if len(which) == self.num else self._reset_some(again, rows)).items():
                    firsts[i] = row
        return [(firsts[i], rows[i], rewards[i], bool(terminated[i]), bool(ended[i]), of_task.get(i, NOTHING)) for i in range(self.num)]

    def _task_numbers(self, info: GymInfo, ended: list[int]) -> dict[int, Mapping[str, float]]:
        """Numbers of the episodes that this step has ended."""
        for i, episode in enumerate(self.info):
            of_step = info.get("final_info", info) if i in ended and self.mode == AutoresetMode.SAME_STEP else info
            episode.note({name: of_step[name][i] for name in episode.reads if name in of_step and of_step.get(f"_{name}", self.all)[i]})
        found = {i: self.info[i].of_episode() for i in ended}
        for i in ended:
            self.info[i].begin()
        return found

    def _last(self, index: int, info: GymInfo, terminated: bool) -> np.ndarray:
        """Last observation of an environment that the vector has reset."""
        final = info.get("final_obs")
        if final is None or not info.get("_final_obs", self.all)[index]:
            raise RuntimeError(
                f'environment {index} ended, and info["final_obs"] has no last observation of it, as metadata["autoreset_mode"]='
                f"{self.mode} promises"
            )
        if isinstance(final, np.ndarray):
            last = final[index]
        else:
            last = list(iterate(batch_space(self.vector.single_observation_space, self.num), final))[index]
        return self.conversion.row(last, info_of(info.get("final_info", {}), index), terminated)

    def rebuild(self, index):
        raise NotImplementedError("a vector environment cannot replace one of its environments")

    def game(self, index):
        if self.num > 1:
            raise NotImplementedError("the environments of a vector environment are steps of one call")
        return Alone(self)

    def close(self):
        close_quietly(self.vector)
        for process in getattr(self.vector.unwrapped, "processes", ()):
            process.kill()  # AsyncVectorEnv leaves workers behind if one of them has failed, for which Python would wait at its end


def size(obs: Any) -> int:
    """Number of environments in observations of a vector."""
    while isinstance(obs, (dict, tuple)):
        obs = next(iter(obs.values() if isinstance(obs, dict) else obs))
    return len(obs)


def info_of(info: GymInfo, index: int) -> GymInfo:
    """The part of one environment, as far as it is read here."""
    return {**dict.fromkeys(info), KEY: info[KEY][index]} if KEY in info else dict.fromkeys(info)


def frames(vector: VectorEnv) -> int:
    """Frames in an observation, oldest first and zeros from before the start of an episode; 1 if nothing is known. ALE's vector promises
    them, and a wrapper might change them."""
    kind = type(vector)
    ale = f"{kind.__module__}.{kind.__name__}" == "ale_py.vector_env.AtariVectorEnv"
    return vector.single_observation_space.shape[0] if ale and vector.grayscale else 1  # type: ignore[attr-defined,index]


class Alone(Game):
    """The only environment of a vector."""

    def __init__(self, games: VectorGames):
        self.games, vector = games, games.vector
        self.spec, self.actions, self.observation = games.spec, games.actions, games.conversion.observation
        self.conversion = games.conversion
        self.fps = float((vector.metadata or {}).get("render_fps") or self.fps)
        self.limit = games.limit
        self.gone = False
        """The state in which the last episode ended is no longer there"""
        self.picture: np.ndarray | None = None

    def layers(self):
        return [type(layer).__name__ for layer in layers_of(self.games.vector)]

    def reset(self, seed):
        self.gone = False
        return answered(self.games.reset({0: seed})[0])

    def step(self, action):
        _, obs, reward, terminated, ended, _ = answered(self.games.step(np.asarray(action)[None], None)[0])
        self.gone = ended and self.games.mode == AutoresetMode.SAME_STEP
        return obs, reward, terminated, ended

    def frame(self):
        """The picture of the last step. A vector that has reset has none of it: then the one before."""
        if not self.gone or self.picture is None:
            self.picture = self._picture()
        return self.picture

    def _picture(self) -> np.ndarray:
        images = self.games.vector.render()
        if images is None or not isinstance(images[0], np.ndarray) or images[0].ndim != 3:
            raise ValueError("render() of the vector gives no picture for each environment")
        return images[0]

    def close(self):
        self.games.close()


def answered(answer: object) -> Any:
    """The answer itself.

    Raises:
        RuntimeError: it is a failure.
    """
    if isinstance(answer, Failure):
        raise RuntimeError(answer.cause) from answer.error
    return answer
