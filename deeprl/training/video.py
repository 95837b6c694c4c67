"""MP4 files of one episode, and animations made of them.

An evaluation is never rendered. Its actions are recorded and then repeated in a second environment that has the same seed and renders,
because rendering may change an environment, and a failing renderer must not end the evaluation.
"""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from deeprl.errors import ConfigError
from deeprl.training.evaluation import Tape

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame draws into memory; without a display it would complain at every start


def film(envs, tape: Tape, path: Path, each_frame: Callable[[], None] = lambda: None) -> float:
    """Repeat the actions of a tape in the first environment of `envs`, made with `render=True` and the tape's seed, and write its frames.

    Returns:
        Return of the filmed episode. It differs from the tape's if the environment is not deterministic.

    Raises:
        OSError: the file cannot be written.
        Exception: of the environment or of `each_frame`; no file is left then.
    """
    game = envs.backend.game(0)
    for _ in range(tape.resets):
        envs.reset()
    returned = 0.0
    with Film(path, game.fps) as written:
        written.add(game.frame())
        for action in tape.actions:
            each_frame()
            _, reward, _, ended = game.step(envs.to_env_action(action)[0])
            returned += float(np.float32(reward))
            written.add(game.frame())
            if ended:
                break
    return returned


class Film:
    """Writer of an MP4 file: `with Film(path, fps) as film: film.add(frame) …`. The file appears at `path` only once it is complete.

    Its frames are read again and counted, because OpenCV does not report a full disk.
    """

    def __init__(self, path: Path, fps: float):
        self.path, self.fps = path, fps
        self.partial = path.with_name(f".{path.stem}.partial.mp4")  # the last suffix tells OpenCV the format
        self._writer: cv2.VideoWriter | None = None
        self._frames = 0

    def add(self, frame: np.ndarray) -> None:
        """(H, W, 3) uint8, RGB, of the same size each time."""
        high, wide = frame.shape[0] % 2, frame.shape[1] % 2  # padded to even sizes, because the codec halves the resolution of colours
        frame = np.pad(frame, ((0, high), (0, wide), (0, 0)), mode="edge") if high or wide else frame
        if self._writer is None:
            size = frame.shape[1], frame.shape[0]
            self._writer = cv2.VideoWriter(str(self.partial), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), self.fps, size)
            if not self._writer.isOpened():
                raise OSError(f"{self.partial} cannot be written as MP4")
        self._writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        self._frames += 1

    def __enter__(self) -> Film:
        self.path.parent.mkdir(exist_ok=True)
        if self.path.parent.is_symlink():
            raise OSError(f"{self.path.parent} is a link and is not followed")
        self.partial.unlink(missing_ok=True)  # left by a process that was killed, or a link
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        try:
            if self._writer is not None:
                self._writer.release()
            if kind is None:
                found = count_frames(self.partial)
                if found != self._frames:
                    raise OSError(f"{self.path} could not be written: {found} of {self._frames} frames are in it; is the disk full?")
                with open(self.partial, "rb") as file:
                    os.fsync(file.fileno())
                os.replace(self.partial, self.path)
        finally:
            self.partial.unlink(missing_ok=True)


def count_frames(path: Path) -> int:
    """Number of frames in a video file; 0 if the file is no video."""
    if not path.is_file() or not path.stat().st_size:
        return 0  # OpenCV would write to stderr
    video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    try:
        return int(video.get(cv2.CAP_PROP_FRAME_COUNT)) if video.isOpened() else 0
    finally:
        video.release()


def animation(path: Path, frames: int = 100, width: int = 240) -> bytes:
    """A video file as an animated GIF, which browsers play: at most so many frames, evenly spaced, and at most so many pixels wide."""
    from PIL import Image

    count, pictures = count_frames(path), []
    every = -(-count // frames)
    video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    try:
        milliseconds = max(1000 * every / video.get(cv2.CAP_PROP_FPS), 20)  # browsers slow down what is faster
        for number in range(count):
            _, frame = video.read()
            if number % every == 0:
                pictures.append(Image.fromarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)))
                pictures[-1].thumbnail((width, 4 * width))
    finally:
        video.release()
    content = io.BytesIO()
    pictures[0].save(content, "GIF", save_all=True, append_images=pictures[1:], duration=milliseconds, loop=0)
    return content.getvalue()


def check_rendering(env, key: str) -> None:
    """Render one frame.

    Args:
        key: key or command that needs frames, for the message.

    Raises:
        ConfigError: rendering fails on this machine; the message names the environment and the remedy.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the graphics library: the refusal below has its reason
            with contextlib.closing(env.make(0, num=1, vector="sync", evaluation=True, render=True)) as envs:
                envs.reset()
                envs.backend.game(0).frame()
    except Exception as error:  # each graphics library raises its own
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(f"{key}: {env.name} cannot be rendered here ({reason}). {env.render_remedy}.") from error
