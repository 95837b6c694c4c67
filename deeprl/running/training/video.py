"""MP4 files of one episode, and animations made of them.

An evaluation is never rendered. Its actions are recorded and then repeated in a second environment that has the same seed and renders,
because rendering may change an environment, and a failing renderer must not end the evaluation.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import subprocess
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np

from deeprl.errors import ConfigError, on_one_line
from deeprl.running.training.evaluation import Tape
from deeprl.system.files import make_folder, sync_file

for driver in ("SDL_VIDEODRIVER", "SDL_AUDIODRIVER"):  # pygame draws into memory; without a display or a sound card it would complain
    os.environ.setdefault(driver, "dummy")


PATIENCE = 60.0
"""Seconds within which ffmpeg must take bytes, or complete the file"""


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

    H.264 with colours at half resolution (yuv420p), which browsers play. The encoder, ffmpeg, is another process and gets the frames
    through a pipe. They are counted in the finished file, because it may be cut where the disk is full.

    Raises:
        OSError: the file cannot be written.
        ValueError: a frame has another size than the first.
    """

    def __init__(self, path: Path, fps: float):
        self.path, self.fps = path, fps
        self.partial = path.with_name(f".{path.stem}.partial.mp4")
        self._encoder: subprocess.Popen | None = None
        self._size = 0, 0
        self._frames = 0

    def add(self, frame: np.ndarray) -> None:
        """(H, W, 3) uint8, RGB, of the same size each time."""
        high, wide = frame.shape[0] % 2, frame.shape[1] % 2  # padded to even sizes, because the codec halves the resolution of colours
        frame = np.pad(frame, ((0, high), (0, wide), (0, 0)), mode="edge") if high or wide else frame
        size = frame.shape[1], frame.shape[0]
        if self._encoder is None:
            self._size = size
            # a session of its own, because Ctrl-C reaches the whole process group, and the run decides what follows from it
            self._encoder = subprocess.Popen(
                command(self.partial, size, self.fps),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=self._said,
                start_new_session=True,
            )
            os.set_blocking(self._pipe.fileno(), False)
        if size != self._size:
            raise ValueError(f"a frame has {size[0]} x {size[1]} pixels, the first one {self._size[0]} x {self._size[1]}")
        self._write(np.ascontiguousarray(frame).data.cast("B"))
        self._frames += 1

    @property
    def _pipe(self):
        assert self._encoder is not None
        assert self._encoder.stdin is not None
        return self._encoder.stdin

    def _write(self, data: memoryview) -> None:
        ready = select.poll()
        ready.register(self._pipe, select.POLLOUT)
        while data:
            if not ready.poll(1000 * PATIENCE):
                raise OSError(f"ffmpeg takes no frame of {self.path}")
            try:
                data = data[os.write(self._pipe.fileno(), data) :]
            except BrokenPipeError as error:
                raise OSError(self._failed()) from error

    def _failed(self) -> str:
        """Sentence with ffmpeg's last words."""
        self._said.seek(0)
        words = self._said.read().decode(errors="replace").splitlines()
        return f"{self.path} could not be written: " + (words[-1] if words else "ffmpeg has ended")

    def __enter__(self) -> Film:
        make_folder(self.path.parent)
        self.partial.unlink(missing_ok=True)  # left by a process that was killed, or a link
        self._said = tempfile.TemporaryFile()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        try:
            if kind is None:
                self._complete()
        finally:
            if self._encoder is not None:
                self._pipe.close()
                self._encoder.kill()
                self._encoder.wait()
            self._said.close()
            self.partial.unlink(missing_ok=True)

    def _complete(self) -> None:
        """Wait for the encoder, and put the file in its place."""
        if self._encoder is not None:
            self._pipe.close()
            try:
                code = self._encoder.wait(PATIENCE)
            except subprocess.TimeoutExpired as error:
                raise OSError(f"{self.path} could not be written: ffmpeg does not end") from error
            if code:
                raise OSError(self._failed())
        found = count_frames(self.partial)
        if found != self._frames or not found:
            raise OSError(f"{self.path} could not be written: {found} of {self._frames} frames are in it; is the disk full?")
        sync_file(self.partial)
        os.replace(self.partial, self.path)


def command(path: Path, size: tuple[int, int], fps: float) -> list[str]:
    """Words of ffmpeg that encode RGB frames from its standard input, at a quality (crf) without visible loss. It overwrites no file.

    Args:
        size: width and height.

    Raises:
        RuntimeError: the machine has no ffmpeg: no binary of imageio-ffmpeg is for it, and none is installed.
    """
    return [
        *(imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-loglevel", "error", "-nostdin", "-n"),
        *("-f", "rawvideo", "-pixel_format", "rgb24", "-video_size", "{}x{}".format(*size), "-framerate", f"{fps:.6f}", "-i", "pipe:0"),
        *("-c:v", "libx264", "-crf", "18", "-pix_fmt", "yuv420p", "-threads", "1", "-movflags", "+faststart", "-f", "mp4", f"file:{path}"),
    ]


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
                imageio_ffmpeg.get_ffmpeg_exe()
    except Exception as error:  # each graphics library raises its own
        none = isinstance(error, NotImplementedError)  # of gymnasium.Env
        reason = on_one_line(error) or ("it has no method render" if none else type(error).__name__)
        raise ConfigError(f"{key}: {env.name} cannot be rendered here ({reason}). {env.render_remedy}.") from error
