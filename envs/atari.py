"""Atari 2600 games through ALE: (4, 84, 84) uint8, the last four frames, zeros from before the start of an episode.

Every agent step repeats its action for four emulator frames. The stored frame is the maximum of the last two at each pixel, in ALE's
luminance, resized with INTER_AREA. `Protocol` holds the settings in which papers differ. Sticky actions apply to emulator frames, so that
one step draws four times. Rewards stay raw, because clipping is the agent's task.

`sync` and `async` drive ALE's single interface, `ale` its vector of C++ threads. Both give the same episodes bit for bit. Two details of
the C++ are therefore repeated here: its draw of no-ops (`Noops`), and the observation of a step that the end of the game cuts short. The
last frame stays unread, and the frames read before it are pooled, as in Gymnasium's `AtariPreprocessing`. Dopamine did so until April 2022;
since then it reads the last frame, if that is the third or fourth of the step.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from deeprl.choice import Choice, bounds_above_zero, in_range
from deeprl.types import Spec

from .games import GAMES
from .vector.actions import Actions
from .vector.backend import Backend, Game
from .vector.choice import EnvChoice
from .vector.info import NOTHING

__all__ = ["GAMES", "Atari", "Protocol"]

SIZE, STACK = 84, 4


@dataclass(frozen=True, kw_only=True)
class Protocol(Choice):
    """Settings in which papers differ. The published protocols are in configs/env/protocol."""

    sticky: float = 0.25
    """Probability, per emulator frame, that the previous action is taken instead"""
    noop_max: int = 0
    """An episode starts with 0 to `noop_max` emulator frames without action"""
    eval_noop_max: int = 0
    """The same in evaluation"""
    life_loss_terminal: bool = False
    """In training, a lost life is terminated without ended: no bootstrap, but the game goes on. Never in evaluation."""
    max_episode_steps: int = 27_000
    """Truncation, in agent steps; 27,000 are 108,000 frames, half an hour of play"""
    frame_skip: int = 4
    """Emulator frames per agent step"""
    fire_reset: bool = False
    """Press FIRE after every reset, where the game has that action"""
    full_action_set: bool = False
    """All 18 actions instead of those that do something in the game"""

    def __post_init__(self) -> None:
        in_range(self, sticky=(0, 1), noop_max=(0, None), eval_noop_max=(0, None), max_episode_steps=(1, None), frame_skip=(1, None))

    def noops(self, evaluation: bool) -> int:
        return self.eval_noop_max if evaluation else self.noop_max


class Noops:
    """Uniform numbers from 0 to `most`, as ALE's vector draws them: std::mt19937 and libstdc++'s uniform_int_distribution, which
    multiplies and rejects (Lemire, 2019). NumPy has the generator, but turns its bits into numbers in another way."""

    def __init__(self, most: int):
        self.range = most + 1
        self.bits = np.random.MT19937()

    def seed(self, seed: int) -> None:
        self.bits._legacy_seeding(seed)  # init_genrand, the seeding of std::mt19937; SeedSequence would give other numbers

    def __call__(self) -> int:
        if self.range == 1:
            return 0
        while True:
            product = int(self.bits.random_raw()) * self.range
            if product & 0xFFFFFFFF >= 2**32 % self.range:
                return product >> 32


class AleGame(Game):
    """One game on ALE's single interface."""

    def __init__(self, game: str, protocol: Protocol, evaluation: bool):
        import ale_py
        import cv2

        self.resize, self.area = cv2.resize, cv2.INTER_AREA
        self.protocol = protocol
        rom = ale_py.roms.get_rom_path(game)
        assert rom is not None, game
        self.rom = rom
        ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)  # before the first instance, which would print a banner
        self.ale = ale_py.ALEInterface()
        self.ale.setFloat("repeat_action_probability", protocol.sticky)
        self.ale.setInt("random_seed", 0)
        self.ale.loadROM(self.rom)
        self.set = self.ale.getLegalActionSet() if protocol.full_action_set else self.ale.getMinimalActionSet()
        self.noop, self.fire = ale_py.Action.NOOP, ale_py.Action.FIRE
        self.fires = protocol.fire_reset and self.fire in self.set
        self.noops = Noops(protocol.noops(evaluation))
        self.life_loss = protocol.life_loss_terminal and not evaluation
        self.actions = Actions(num=len(self.set))
        self.spec = Spec((STACK, SIZE, SIZE), torch.uint8, len(self.set), 0, STACK)
        self.observation = (
            f"the last {STACK} frames of {SIZE} x {SIZE} in ALE's luminance, oldest first, zeros from before the start of an episode; "
            f"a frame is the maximum of the last two of {protocol.frame_skip} emulator frames, resized with cv2.INTER_AREA"
        )
        self.raw = [np.zeros(self.ale.getScreenDims(), np.uint8) for _ in range(2)]  # the last frame of a step and the one before
        self.obs = np.zeros((STACK, SIZE, SIZE), np.uint8)
        self.elapsed = self.lives = 0
        self.fps = 60 / protocol.frame_skip
        self.limit = protocol.max_episode_steps

    def reset(self, seed):
        ale = self.ale
        if seed is not None:
            ale.setInt("random_seed", seed)
            ale.loadROM(self.rom)  # ALE takes a seed only here
            self.noops.seed(seed)
        ale.reset_game()
        if self.fires:
            ale.act(self.fire)
        for _ in range(self.noops() - int(self.fires)):
            ale.act(self.noop)
            if ale.game_over():
                ale.reset_game()
        ale.getScreenGrayscale(self.raw[0])
        self.raw[1].fill(0)
        self.obs = np.zeros_like(self.obs)
        self._shift(self.obs)
        self.elapsed, self.lives = 0, ale.lives()
        return self.obs

    def step(self, action):
        ale, button, reward, over = self.ale, self.set[action], 0, False
        for left in range(self.protocol.frame_skip, 0, -1):
            reward += ale.act(button)
            over = ale.game_over()
            if over:
                break
            if left <= 2:
                ale.getScreenGrayscale(self.raw[left - 1])
        old, self.obs = self.obs, np.empty_like(self.obs)
        self.obs[:-1] = old[1:]
        self._shift(self.obs)
        self.elapsed += 1
        lives = ale.lives()
        lost = self.life_loss and 0 < lives < self.lives
        self.lives = lives
        return self.obs, float(reward), over or lost, over or self.elapsed >= self.protocol.max_episode_steps

    def layers(self):
        at = self.protocol
        return [
            f"last {STACK} frames",
            f"grey {SIZE}x{SIZE}",
            f"maximum of the last 2 of {at.frame_skip} frames",
            *(["lost lives terminate"] if self.life_loss else []),
            *(["FIRE after a reset"] if self.fires else []),
            *([f"0 to {self.noops.range - 1} no-ops after a reset"] if self.noops.range > 1 else []),
            *([f"sticky actions {at.sticky:g}"] if at.sticky else []),
            "ALE",
        ]

    def frame(self):
        return self.ale.getScreenRGB()

    def _shift(self, obs: np.ndarray) -> None:
        """Write the newest frame to the end of the stack."""
        np.maximum(self.raw[0], self.raw[1], out=self.raw[0])
        obs[-1] = self.resize(self.raw[0], (SIZE, SIZE), interpolation=self.area)


class AleVector(Backend):
    """ALE's own vector, its threads stepping all games at once.

    The vector resets a game in the step after an episode's end; this class resets it before that step. Life losses and the time limit are
    computed here, because the vector's options would replace the frame at the limit, and `episodic_life` would restart the game.
    """

    replaces = False

    def __init__(self, game: str, protocol: Protocol, evaluation: bool, num: int):
        import ale_py
        from ale_py.vector_env import AtariVectorEnv

        ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)

        self.num, self.protocol = num, protocol
        self.life_loss = protocol.life_loss_terminal and not evaluation
        self.vector = AtariVectorEnv(
            game,
            num,
            batch_size=num,
            max_num_frames_per_episode=2**30,
            repeat_action_probability=protocol.sticky,
            full_action_space=protocol.full_action_set,
            autoreset_mode="NextStep",
            img_height=SIZE,
            img_width=SIZE,
            grayscale=True,
            stack_num=STACK,
            frameskip=protocol.frame_skip,
            maxpool=True,
            noop_max=protocol.noops(evaluation) + 1,  # the vector draws below this number
            episodic_life=False,
            life_loss_info=False,
            reward_clipping=False,
            use_fire_reset=protocol.fire_reset,
        )
        self.actions = Actions(num=len(self.vector.ale.get_action_set()))
        self.spec = Spec((STACK, SIZE, SIZE), torch.uint8, self.actions.num, 0, STACK)
        self.elapsed = np.zeros(num, np.int64)
        self.lives = np.zeros(num, np.int32)
        self.vector.reset()  # it refuses a partial reset before the first full one

    def reset(self, seeds):
        mask = np.zeros(self.num, bool)
        mask[list(seeds)] = True
        numbers = np.array([-1 if seeds[i] is None else seeds[i] for i in sorted(seeds)], dtype=np.int64)
        obs, info = self.vector.reset(seed=numbers, options={"reset_mask": mask})
        self.elapsed[mask] = 0
        self.lives[mask] = info["lives"][mask]
        return {i: obs[i] for i in seeds}

    def step(self, actions, seeds, only=None):
        next_obs, reward, over, _, info = self.vector.step(actions)
        self.elapsed += 1
        lives = info["lives"]
        terminated = over | (self.life_loss & (lives > 0) & (lives < self.lives))
        self.lives = np.array(lives)
        ended = over | (self.elapsed >= self.protocol.max_episode_steps)
        first = self.reset({int(i): seeds[i] for i in np.flatnonzero(ended)}) if ended.any() else {}
        return [(first.get(i, next_obs[i]), next_obs[i], float(reward[i]), terminated[i], ended[i], NOTHING) for i in range(self.num)]

    def rebuild(self, index):
        raise NotImplementedError("ALE's vector runs all games in one library and cannot replace one of them: use env.vector=async")

    def close(self):
        self.vector.close()


@dataclass(frozen=True, kw_only=True)
class Atari(EnvChoice):
    """A game of ALE's list, under a protocol. `game` is the ROM's name: pong, space_invaders."""

    pictures: ClassVar[bool] = True
    vectors: ClassVar[tuple[str, ...]] = ("sync", "async", "ale")

    game: str
    protocol: Protocol = Protocol()
    reseed_every: int = 20
    """Episodes between fresh seeds. ALE reloads the ROM for each seed: with 1, random play is half as fast
    (`benchmarks.speed atari_loop` with replay.learning_starts beyond its end)"""
    reward_clip: float | None = 1.0
    """Bound at which agents clip rewards, None for no bound (`agent/rewards=auto` reads it); rewards stay raw here"""

    def __post_init__(self) -> None:
        super().__post_init__()
        bounds_above_zero(self, "reward_clip")
        if self.game not in GAMES:
            near = difflib.get_close_matches(self.game, GAMES, n=1, cutoff=0.0)
            raise ValueError(f"env.game={self.game} is not a game of ale-py, the nearest is {near[0] if near else 'none: install ale-py'}")

    @property
    def name(self) -> str:
        return self.game

    def build(self, evaluation: bool = False) -> Game:
        return AleGame(self.game, self.protocol, evaluation)

    def backend(self, vector: str, num: int, evaluation: bool) -> Backend:
        if vector == "ale":
            if self.on_error == "restart":
                raise ValueError("on_error must be fail with env.vector=ale, because none of its environments can be replaced")
            return AleVector(self.game, self.protocol, evaluation, num)
        return super().backend(vector, num, evaluation)
