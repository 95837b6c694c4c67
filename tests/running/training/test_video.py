"""Videos: what is in the file, that nothing else changes, and what happens where there can be none."""

from __future__ import annotations

import io
import shutil
import subprocess
import warnings
from contextlib import closing
from functools import partial
from itertools import chain, repeat

import cv2
import imageio_ffmpeg
import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from deeprl.cli import exits
from deeprl.envs.atari import Atari, Protocol
from deeprl.envs.classic import Classic
from deeprl.envs.gym import GymGame
from deeprl.envs.minatar import CELL, MinAtar
from deeprl.envs.mujoco import MuJoCo
from deeprl.envs.toy import Chain
from deeprl.errors import ConfigError
from deeprl.running.runs.checkpoints import Checkpoints
from deeprl.running.runs.folder import RunFolder
from deeprl.running.training.evaluation import Tape, evaluate
from deeprl.running.training.video import Film, animation, check_rendering, film
from deeprl.types import AgentStep
from tests.builders import CARTPOLE, begin, console, front_door, lines, same
from tests.promises.test_faults import in_evaluation, send
from tests.toy_envs import Counting, CountingGame

VIDEOS = ["step_000000000100.mp4", "step_000000000200.mp4", "step_000000000300.mp4"]


def frames(path) -> list[np.ndarray]:
    """RGB."""
    video, found = cv2.VideoCapture(str(path)), []
    while (read := video.read())[0]:
        found.append(read[1][..., ::-1])
    return found


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def assert_same_results(path, finished) -> None:
    """Weights, metrics and evaluations, bit for bit."""
    (_, left), (_, right) = (Checkpoints(folder).load(only={"agent"}) for folder in (path, finished))
    assert same(left["agent"]["module"], right["agent"]["module"])
    assert (path / "evaluations.jsonl").read_bytes() == (finished / "evaluations.jsonl").read_bytes()
    assert lines(path, "metrics.jsonl") == lines(finished, "metrics.jsonl")


@pytest.fixture(scope="module")
def filmed(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "run"
    assert begin(path, *CARTPOLE, "evaluation.video=true") == exits.FINISHED
    return path


# ---- with a run


def test_videos_change_nothing_else(filmed, finished):
    assert_same_results(filmed, finished)


def test_a_video_is_the_first_episode_of_its_evaluation(filmed):
    """One frame before the first step and one after each."""
    assert names(filmed / "videos") == VIDEOS
    for line in RunFolder(filmed).read_evaluations():
        shown = frames(filmed / "videos" / f"step_{line['step']:012d}.mp4")
        assert len(shown) == line["lengths"][0] + 1
        assert shown[0].shape == (400, 600, 3)


def test_tensorboard_plays_the_videos(filmed):
    """As animated GIFs, with a frame before the first step and one after each."""
    shown = EventAccumulator(str(filmed), {"images": 0}).Reload().Images("video/evaluation")
    lengths = {line["step"]: line["lengths"][0] for line in RunFolder(filmed).read_evaluations()}
    assert [event.step for event in shown] == list(lengths)
    for event in shown:
        with Image.open(io.BytesIO(event.encoded_image_string)) as gif:
            assert (event.width, event.height) == gif.size == (240, 160)
            assert gif.n_frames == lengths[event.step] + 1
            assert gif.info["duration"] == 20


def test_the_final_evaluation_of_a_run_that_stopped_by_its_result_has_a_video_of_its_own(tmp_path):
    """Its episodes are others than those by which the run was stopped, at the same step."""
    path = tmp_path / "run"
    assert begin(path, *CARTPOLE, "evaluation.video=true", "stop.return=5") == exits.FINISHED
    selected, final = RunFolder(path).read_evaluations()
    assert selected["step"] == final["step"] == 100
    assert names(path / "videos") == ["step_000000000100.mp4", "step_000000000100_final.mp4"]
    for line, name in ((selected, "step_000000000100.mp4"), (final, "step_000000000100_final.mp4")):
        assert len(frames(path / "videos" / name)) == line["lengths"][0] + 1


def test_an_animation_of_a_long_video_leaves_frames_out(tmp_path):
    """250 frames at 50 a second, each as bright as its number: every third one, 60 ms each."""
    with Film(tmp_path / "videos" / "long.mp4", 50) as film:
        for number in range(250):
            film.add(np.full((20, 500, 3), number, np.uint8))
    with Image.open(io.BytesIO(animation(tmp_path / "videos" / "long.mp4"))) as gif:
        assert gif.size == (240, 10)
        assert gif.n_frames == 84
        assert gif.info["duration"] == 60
        gif.seek(83)
        assert gif.convert("L").getpixel((120, 5)) == pytest.approx(249, abs=5)


def test_a_signal_while_filming_repeats_the_evaluation(finished, tmp_path, monkeypatch):
    path = tmp_path / "run"
    plain, count = GymGame.frame, [0]

    def frame(self):
        count[0] += 1
        if count[0] == 4:  # the first frame is the check's at start, the next ones are those of the first video
            send(15)()
        return plain(self)

    with monkeypatch.context() as patch:
        patch.setattr(GymGame, "frame", frame)
        assert begin(path, *CARTPOLE, "evaluation.video=true") == exits.STOPPED
    assert names(path / "videos") == []
    assert not lines(path, "evaluations.jsonl")
    assert console("resume", path) == exits.FINISHED
    assert names(path / "videos") == VIDEOS
    assert_same_results(path, finished)


def test_a_renderer_that_fails_costs_its_video(finished, tmp_path, monkeypatch, capsys):
    path, plain, count = tmp_path / "run", GymGame.frame, [0]

    def frame(self):
        count[0] += 1
        if count[0] == 4:
            raise RuntimeError("lost the display")
        return plain(self)

    monkeypatch.setattr(GymGame, "frame", frame)
    assert begin(path, *CARTPOLE, "evaluation.video=true") == exits.FINISHED
    assert "no video of step 100 (RuntimeError: lost the display). Training goes on" in capsys.readouterr().err
    assert names(path / "videos") == VIDEOS[1:]
    assert_same_results(path, finished)


def test_resume_can_switch_videos_on(tmp_path, monkeypatch):
    path = tmp_path / "run"
    with monkeypatch.context() as patch:
        in_evaluation(patch, 2, send(15))
        assert begin(path, *CARTPOLE) == exits.STOPPED
    assert console("resume", path, "evaluation.video=true") == exits.FINISHED
    assert names(path / "videos") == VIDEOS[1:]


# ---- deeprl record


def test_record_films_what_eval_plays(finished, tmp_path, monkeypatch, capsys):
    path = tmp_path / "run"
    shutil.copytree(finished, path)
    assert console("record", path, "--episodes", 2, "--seed", 5) == 0
    said = capsys.readouterr().out
    found = names(path / "videos")
    assert found == ["step_000000000300_seed_5.mp4", "step_000000000300_seed_6.mp4"]
    for seed, name in zip((5, 6), found):
        assert console("eval", path, "--episodes", 1, "--seed", seed) == 0
        (length,) = [int(word) for word in capsys.readouterr().out.split("mean ")[1].split(".")[:1]]  # CartPole pays 1 a step
        assert len(frames(path / "videos" / name)) == length + 1
        assert f"{name}: return {length:.2f}, {length} steps" in said
    monkeypatch.chdir(tmp_path)
    assert console("pack", path, "--out", "policy.zip") == console("record", "policy.zip", "--seed", 5) == 0
    other = f"dqn_classic_cartpole_seed0_{found[0]}"  # in a folder of the user's, where films of other runs may be
    assert (tmp_path / "videos" / "policy" / other).read_bytes() == (path / "videos" / found[0]).read_bytes()
    events = EventAccumulator(str(path)).Reload()
    assert events.Tags()["images"] == ["video/seed_5", "video/seed_6"]  # TensorBoard shows one picture a name and step
    assert [events.Images(name)[0].step for name in events.Tags()["images"]] == [300, 300]


def test_record_leaves_the_event_files_of_a_run_that_trains(finished, tmp_path, capsys):
    path = tmp_path / "run"
    shutil.copytree(finished, path)
    before = sorted(path.glob("events*"))
    with RunFolder(path).lock():
        assert console("record", path) == 0
    assert "TensorBoard does not show the videos" in capsys.readouterr().err
    assert len(names(path / "videos")) == 1
    assert sorted(path.glob("events*")) == before


def test_record_follows_no_link(finished, tmp_path, capsys):
    path, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    shutil.copytree(finished, path)
    elsewhere.mkdir()
    (path / "videos").symlink_to(elsewhere)
    assert console("record", path) == 1
    assert "is a link, which is refused" in capsys.readouterr().err
    assert names(elsewhere) == []


@pytest.mark.parametrize("number", ["0", "-1"])
def test_record_wants_an_episode(finished, number):
    assert console("record", finished, f"--episodes={number}") == 2


# ---- where there can be none


def test_no_pictures_is_refused_at_start(tmp_path, capsys):
    toy = ("agent=dqn", "env=toy/chain", "steps=40", "replay.learning_starts=20", "replay.capacity=100")
    assert front_door(*toy, "evaluation.video=true", f"hydra.run.dir={tmp_path / 'run'}") == exits.WRONG
    assert "evaluation.video=true: Chain cannot be rendered here (it draws no frames)" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Gymnasium's viewer, half made
def test_a_missing_display_names_the_remedy(monkeypatch):
    import gymnasium.envs.mujoco.mujoco_rendering as rendering

    monkeypatch.setattr(rendering, "_ALL_RENDERERS", {})
    monkeypatch.setenv("MUJOCO_GL", "nonsense")
    with pytest.raises(ConfigError, match="evaluation.video=true: Hopper-v5 cannot be rendered here .* MUJOCO_GL=egl"):
        check_rendering(MuJoCo(id="Hopper-v5"), "evaluation.video=true")


def test_an_environment_that_cannot_draw_at_all_is_told_so(monkeypatch):
    def frame(self):
        raise NotImplementedError

    monkeypatch.setattr(GymGame, "frame", frame)
    with pytest.raises(ConfigError, match=r"CartPole-v1 cannot be rendered here \(it has no method render\)"):
        check_rendering(Classic(id="CartPole-v1"), "deeprl record")


def test_graphics_libraries_are_quiet(monkeypatch, capfd):
    """SDL complains without a display; GLFW warns before it fails, and the refusal has the reason."""
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    check_rendering(Classic(id="CartPole-v1"), "evaluation.video=true")

    def frame(self):
        warnings.warn("GLFW is not initialized", stacklevel=1)
        raise RuntimeError("no display")

    monkeypatch.setattr(GymGame, "frame", frame)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ConfigError, match=r"CartPole-v1 cannot be rendered here \(no display\)"):
            check_rendering(Classic(id="CartPole-v1"), "evaluation.video=true")
    assert capfd.readouterr().err == ""


def test_only_evaluations_in_this_process_are_rendered():
    for keys in ({"evaluation": False, "vector": "sync"}, {"evaluation": True, "vector": "async"}):
        with pytest.raises(ValueError, match="can be rendered"):
            Chain().make(0, render=True, **keys)


# ---- frames and files


@pytest.mark.parametrize(
    ("choice", "shape"),
    [
        (Classic(id="Pendulum-v1"), (500, 500, 3)),
        (MinAtar(game="breakout"), (10 * CELL, 10 * CELL, 3)),
        (Atari(game="pong", protocol=Protocol(max_episode_steps=50)), (210, 160, 3)),
    ],
)
def test_drawing_changes_no_episode(choice, shape):
    """The same observations and rewards from an environment that draws at every step as from one that cannot."""
    with (
        closing(choice.make(3, num=1, vector="sync", evaluation=True, render=True)) as drawn,
        closing(choice.make(3, num=1, vector="sync", evaluation=True)) as plain,
    ):
        assert np.array_equal(drawn.reset(), plain.reset())
        game = drawn.backend.game(0)
        for t in range(60):
            image = game.frame()
            assert (image.shape, image.dtype) == (shape, np.uint8)
            action = np.full((1,), t % 3) if drawn.spec.num_actions else np.full((1, drawn.spec.action_dim), np.sin(t), np.float32)
            for left, right in zip(drawn.step(action), plain.step(action)):
                assert np.array_equal(left, right)


def test_minatar_colours():
    """Breakout begins with its paddle in the middle of the last row; bricks have the last channel's colour."""
    with closing(MinAtar(game="breakout").make(0, num=1, vector="sync", evaluation=True, render=True)) as envs:
        envs.reset()
        image = envs.backend.game(0).frame()[CELL // 2 :: CELL, CELL // 2 :: CELL]  # one pixel a cell
    assert image[9, 4].tolist() == [255, 64, 64]  # hue 0, saturation 3/4
    assert image[1:3].reshape(-1, 3).tolist() == [[159, 64, 255]] * 20  # hue 3/4
    assert (image[0] == 0).all()


def test_odd_sizes_and_colours_survive(tmp_path):
    path = tmp_path / "videos" / "odd.mp4"
    with Film(path, 10) as film:
        for _ in range(5):
            film.add(np.broadcast_to(np.array([200, 30, 30], np.uint8), (33, 21, 3)))
    found = frames(path)
    assert len(found) == 5
    assert found[4].shape == (34, 22, 3)
    assert np.abs(found[4][16, 10].astype(int) - [200, 30, 30]).max() < 10  # red stays red


@pytest.mark.filterwarnings("ignore:environment 0 of counting failed")
def test_an_episode_that_a_failure_cut_off_is_not_filmed(tmp_path, monkeypatch):
    """The first action raises, and the film is of the episode after."""
    monkeypatch.setattr(CountingGame, "frame", lambda game: np.zeros((16, 16, 3), np.uint8), raising=False)
    choice, tape, actions = Counting(failure="raise", on_error="restart"), Tape(), chain([2], repeat(1))

    class Scripted:
        def act_noise(self, size, generator):
            return {"unused": torch.zeros(size)}

        def act(self, *args, **kwargs):
            return AgentStep(torch.tensor([next(actions)]), torch.ones(1), {})

    make = partial(choice.make, vector="sync", evaluation=True)
    result = evaluate(Scripted(), make, 1, 1, 0, 0, listeners=[tape])
    assert len(tape.actions) == result["lengths"][0]
    assert film(make(0, 1), tape, tmp_path / "film.mp4") == tape.returned == result["returns"][0]


def test_browsers_can_play_it(tmp_path):
    """H.264, and the index before the pictures."""
    path = tmp_path / "videos" / "film.mp4"
    with Film(path, 7.5) as film:
        for _ in range(3):
            film.add(np.zeros((32, 48, 3), np.uint8))
    video = cv2.VideoCapture(str(path))
    assert int(video.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little") in (b"h264", b"avc1")
    assert video.get(cv2.CAP_PROP_FPS) == pytest.approx(7.5)
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


def test_a_frame_of_another_size_is_refused(tmp_path):
    with Film(tmp_path / "videos" / "film.mp4", 10) as film:
        film.add(np.zeros((32, 32, 3), np.uint8))
        with pytest.raises(ValueError, match="48 x 32 pixels, the first one 32 x 32"):
            film.add(np.zeros((32, 47, 3), np.uint8))
        film.add(np.zeros((31, 32, 3), np.uint8))  # the same, once it is padded
    assert len(frames(tmp_path / "videos" / "film.mp4")) == 2


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("echo no space left >&2; exit 1", "could not be written: no space left"),  # before, or while it gets a frame
        ("exec sleep 60", "ffmpeg takes no frame"),
        ("cat > /dev/null; exec sleep 60", "ffmpeg does not end"),
        ("cat > /dev/null", "0 of 1 frames are in it"),
    ],
)
def test_an_encoder_that_fails_or_hangs_is_ended(tmp_path, monkeypatch, program, words):
    encoder = tmp_path / "ffmpeg"
    encoder.write_text(f"#!/bin/sh\n{program}\n")
    encoder.chmod(0o755)
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", lambda: str(encoder))
    monkeypatch.setattr("deeprl.running.training.video.PATIENCE", 1.0)
    with pytest.raises(OSError, match=words), Film(tmp_path / "videos" / "film.mp4", 10) as film:
        film.add(np.zeros((400, 400, 3), np.uint8))
    assert names(tmp_path / "videos") == []
    assert film._encoder.returncode is not None


def test_a_machine_without_ffmpeg_is_refused_at_start(monkeypatch):
    def nowhere():
        raise RuntimeError("No ffmpeg exe could be found.")

    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", nowhere)
    monkeypatch.setattr(GymGame, "frame", lambda self: np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(ConfigError, match=r"cannot be rendered here \(No ffmpeg exe could be found\.\)"):
        check_rendering(Classic(id="CartPole-v1"), "evaluation.video=true")


def test_what_raises_leaves_no_file(tmp_path):
    def half():
        with Film(tmp_path / "videos" / "half.mp4", 10) as film:
            film.add(np.zeros((32, 32, 3), np.uint8))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half()
    assert names(tmp_path / "videos") == []


def test_a_full_disk_leaves_no_file(tmp_path):
    """A file system of one megabyte, where mounting one is permitted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("mounting is not permitted")

    def long():
        noise = np.random.default_rng(0)
        with Film(disk / "videos" / "long.mp4", 10) as film:
            for _ in range(60):
                film.add(noise.integers(0, 256, (240, 320, 3), np.uint8))

    try:
        with pytest.raises(OSError, match="could not be written"):
            long()
        assert names(disk / "videos") == []
    finally:
        subprocess.run(["umount", disk], check=True)
