"""Data sets of Minari: what is read, what is refused. A stranger's file runs nothing, and names no other file."""

from __future__ import annotations

import errno
import json
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from deeprl.cli import exits
from deeprl.envs.vector.actions import Actions
from deeprl.errors import ConfigError, MachineError
from deeprl.packing import packed_spec
from deeprl.replay.sequences import Recurrence
from deeprl.running.collect import minari
from deeprl.running.collect.found import find
from deeprl.running.collect.minari_rows import unit
from deeprl.running.collect.stored import Stored, StoredSequences
from deeprl.tools.data.convert import write_folder
from deeprl.types import ObsPart, Spec
from tests.builders import console

h5py = pytest.importorskip("h5py")

SPEC = Spec((1,), torch.float32, 0, 1)
BOX = {"type": "Box", "dtype": "float32", "shape": [1], "low": [-2.0], "high": [2.0]}
WIDE = {**BOX, "low": [float("-inf")], "high": [float("inf")]}


def written(folder, observation=WIDE, action=BOX, **changed):
    """The fixture: one episode, T 3, o = (0, 1, 2, 3), r = (1, 1, 5), truncated."""
    (folder / "data").mkdir(parents=True)
    metadata = {
        "total_episodes": 1, "total_steps": 3, "data_format": "hdf5", "dataset_id": "own/fixture-v0",
        "observation_space": json.dumps(observation), "action_space": json.dumps(action),
    }  # fmt: skip
    (folder / "data" / "metadata.json").write_text(json.dumps(metadata))
    arrays = {
        "observations": np.arange(4, dtype=np.float32)[:, None], "actions": np.array([[-2], [1], [0]], np.float32),
        "rewards": np.array([1, 1, 5]), "terminations": np.zeros(3, bool), "truncations": np.array([0, 0, 1], bool), **changed,
    }  # fmt: skip
    with h5py.File(folder / "data" / "main_data.hdf5", "w") as file:
        for name, array in arrays.items():
            if array is not None:
                file[f"episode_0/{name}"] = array
    return folder


def stored(folder, spec=SPEC, **given):
    return Stored(data=str(folder), **{"batch_size": 3, "num": 1, "discount": 0.9, "spec": spec, **given})


def test_the_fixture_becomes_its_rows(tmp_path):
    found = stored(written(tmp_path / "set")).transitions(np.arange(3))
    assert found.obs[:, 0].tolist() == [0, 1, 2]
    assert found.next_obs[:, 0].tolist() == [1, 2, 3]
    assert found.reward.tolist() == [1, 1, 5]
    assert found.action[:, 0].tolist() == [-1, 0.5, 0]
    assert (found.ended.tolist(), found.terminated.tolist()) == ([False, False, True], [False] * 3)


def test_the_fixture_as_sequences(tmp_path):
    """Starts are o = 0 and o = 1; the truncation at o = 2 is none for the bootstrap. A core's state is zero."""
    given = {"spec": SPEC, "num": 1, "discount": 0.9, "batch_size": 2, "needs": frozenset({"sequences", "state"})}
    folder = str(written(tmp_path / "set"))
    found = StoredSequences(data=folder, length=2, recurrence=Recurrence(state_size=3), **given)
    batch = found.draw(torch.tensor([0.0, 0.5], dtype=torch.float64))
    assert batch.obs[..., 0].tolist() == [[0, 1], [1, 2]]
    assert batch.next_obs[..., 0].tolist() == [[1, 2], [2, 3]]
    assert batch.reward.tolist() == [[1, 1], [1, 5]]
    assert batch.ended.tolist() == [[False, False], [False, True]]
    assert batch.discount.unique().tolist() == pytest.approx([0.9])
    assert batch.extra["state"].tolist() == [[0, 0, 0]] * 2
    with pytest.raises(ValueError, match="length=5 with burn_in=0 takes 5 rows, and the data have 4"):
        StoredSequences(data=folder, length=5, **given)
    with pytest.raises(ValueError, match="has no sequence of 4 rows: choose a smaller replay.length"):
        StoredSequences(data=folder, length=4, **given)


def test_actions_go_to_their_bounds_and_back():
    actions = Actions(0, low=np.array([-2, 0], np.float32), high=np.array([2, 10], np.float32), shape=(2,))
    space = {"type": "Box", "shape": [2], "low": [-2, 0], "high": [2, 10]}
    given = np.random.default_rng(0).uniform(-1, 1, (50, 2)).astype(np.float32)
    back = unit(actions.to_env(given), minari.DataSet(None, {}, {}, space))
    assert np.abs(back - given).max() <= 2e-7


def test_parts_are_flattened_as_gymnasium_does(tmp_path, capsys):
    from gymnasium import spaces

    parts = {"a": {"type": "Discrete", "n": 3, "start": 1}, "b": {"type": "Tuple", "subspaces": [BOX, {"type": "MultiBinary", "n": 2}]}}
    obs = {
        "observations": None, "observations/a": np.array([1, 2, 3, 1]), "observations/b/_index_0": np.ones((4, 1), np.float32),
        "observations/b/_index_1": np.array([[0, 1]] * 4, np.int8),
    }  # fmt: skip
    folder = written(
        tmp_path / "set", {"type": "Dict", "subspaces": parts}, {"type": "Discrete", "n": 2}, actions=np.array([0, 1, 1]), **obs
    )
    found = stored(folder, Spec((6,), torch.float32, 2, 0)).transitions(np.arange(3))
    space = spaces.Dict({"a": spaces.Discrete(3, start=1), "b": spaces.Tuple([spaces.Box(-2, 2, (1,)), spaces.MultiBinary(2)])})
    flat = [spaces.flatten(space, {"a": a, "b": (np.ones(1, np.float32), np.array([0, 1], np.int8))}) for a in (1, 2, 3)]
    assert found.obs.tolist() == np.array(flat).tolist()
    assert found.action.tolist() == [0, 1, 1]
    assert console("data", "show", folder) == exits.FINISHED
    assert "observations of shape (6,), with their parts as one vector, 2 actions" in capsys.readouterr().out


def broken(folder, how):
    """A folder in which something of the fixture is not as it should be."""
    written(folder)
    path = folder / "data" / "main_data.hdf5"
    if how == "truncated":
        path.write_bytes(path.read_bytes()[:-600])
    elif how == "garbage":
        path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(range(256)) * 8)
    elif how == "no file":
        path.unlink()
    elif how == "link to the file":
        path.rename(folder / "elsewhere")
        path.symlink_to(folder / "elsewhere")
    elif how == "link to the folder":
        (folder / "data").rename(folder / "other")
        (folder / "data").symlink_to(folder / "other")
    elif how == "metadata":
        (folder / "data" / "metadata.json").write_text("[" * 5000)
    elif how == "arrow":
        (folder / "data" / "metadata.json").write_text((folder / "data" / "metadata.json").read_text().replace('"hdf5"', '"arrow"'))
    else:
        with h5py.File(path, "a") as file:
            group = file["episode_0"]
            if how == "pickle":
                del group["rewards"]
                group.create_dataset("rewards", (3,), dtype=h5py.string_dtype())[:] = [b"cos\nsystem\n(S'touch x'\ntR."] * 3
            elif how == "external link":
                del group["rewards"]
                group["rewards"] = h5py.ExternalLink("/etc/passwd", "/rewards")
            elif how == "soft link":
                del group["rewards"]
                group["rewards"] = h5py.SoftLink("/episode_0/rewards")
            elif how == "external storage":
                del group["rewards"]
                group.create_dataset("rewards", (3,), "f8", external=[("/etc/passwd", 0, 24)])
            elif how == "virtual":
                del group["rewards"]
                made = h5py.VirtualLayout((3,), "f8")
                made[:] = h5py.VirtualSource("/etc/passwd", "rewards", (3,))
                group.create_virtual_dataset("rewards", made)
            elif how == "bomb":
                del group["observations"]
                group.create_dataset("observations", (4, 1 << 40), "f4", chunks=(1, 1 << 20), compression="gzip")
            elif how == "chunks larger than the array":
                del group["rewards"]
                group.create_dataset("rewards", (3,), "f4", chunks=(1 << 23,), maxshape=(None,), compression="gzip")[:] = 1
            elif how in ("inflates", "inflates twice", "a chunk too small"):
                del group["rewards"]
                made = group.create_dataset("rewards", (3,), "f4", chunks=(3,), compression="gzip")
                if how == "inflates twice":
                    del group["rewards"]
                    made = twice(group)
                raw = zlib.compress(bytes(4 if how == "a chunk too small" else 1 << 26), 9)
                made.id.write_direct_chunk((0,), zlib.compress(raw, 9) if how == "inflates twice" else raw)
            elif how == "a group for an array":
                del group["rewards"]
                group.create_group("rewards")
    return folder


def twice(group):
    """An array with two deflations."""
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_chunk((3,))
    plan.set_deflate(9)
    plan.set_deflate(9)
    return h5py.Dataset(h5py.h5d.create(group.id, b"rewards", h5py.h5t.NATIVE_FLOAT, h5py.h5s.create_simple((3,)), plan))


HOW = (
    "truncated", "garbage", "no file", "link to the file", "link to the folder", "metadata", "arrow", "pickle", "external link",
    "soft link", "external storage", "virtual", "bomb", "chunks larger than the array", "inflates", "inflates twice", "a chunk too small",
    "a group for an array",
)  # fmt: skip


@pytest.mark.parametrize("how", HOW)
def test_what_is_damaged_or_hostile_is_refused_in_a_sentence(how, tmp_path, monkeypatch):
    folder = broken(tmp_path / "set", how)
    before = sorted((path.name, path.lstat().st_size) for path in tmp_path.rglob("*"))
    monkeypatch.setattr(os, "system", lambda *words: pytest.fail("something was executed"))
    with pytest.raises(ValueError, match=r"data=.*set: .+") as refused:
        stored(folder)
    assert "\n" not in str(refused.value)[:200]
    assert "Errno" not in str(refused.value)
    assert sorted((path.name, path.lstat().st_size) for path in tmp_path.rglob("*")) == before


WRONG = {
    "not finite": ({"rewards": np.array([1, np.nan, 2])}, "not finite"),
    "leaves its bounds": ({"actions": np.array([[3.0], [0], [0]])}, "leave the bounds"),
    "ends and goes on": ({"terminations": np.array([1, 0, 0], bool)}, "ends at its step 0, and goes on to 3"),
    "other flags": ({"truncations": np.array([0, 0, 2])}, "or other flags"),
    "a row is missing": ({"observations": np.zeros((3, 1), np.float32)}, "has 3 rows, not 4"),
    "another width": ({"observations": np.zeros((4, 2), np.float32)}, "which its space does not"),
    "no rewards": ({"rewards": None}, "rewards is missing"),
    "no steps": ({"rewards": np.zeros(0)}, "0 rows"),
}


@pytest.mark.parametrize("what", WRONG)
def test_content_is_checked(what, tmp_path):
    changed, why = WRONG[what]
    with pytest.raises(ValueError, match=why):
        stored(written(tmp_path / "set", **changed))


def test_another_environment_is_refused(tmp_path):
    folder = written(tmp_path / "set")
    with pytest.raises(ValueError, match=r"observations \(1,\) and actions \(1,\), and this run has \(3,\)"):
        stored(folder, Spec((3,), torch.float32, 0, 1))
    with pytest.raises(ValueError, match="2 actions"):
        stored(folder, Spec((1,), torch.float32, 2, 0))
    with pytest.raises(ValueError, match=r"observations \(3, 8, 8\) and actions \(1,\), and this run has \(1,\)"):
        stored(written(tmp_path / "images", {**BOX, "dtype": "uint8", "shape": [8, 8, 3]}))


def test_bounds_of_the_actions_of_a_data_set_are_told(tmp_path, capsys):
    """Torques within 5 were learned as torques within 2 in silence."""
    stored(written(tmp_path / "one"))
    assert "; its actions, -2 to 2, are scaled to the bounds of the environment" in "".join(capsys.readouterr())


def test_other_content_has_another_digest(tmp_path):
    one, other = (stored(written(tmp_path / name, rewards=rewards)) for name, rewards in (("a", np.ones(3)), ("b", np.array([1, 1, 1.5]))))
    assert one.digest != other.digest
    with pytest.raises(ValueError, match="the run learned from data with the digest"):
        other.load({**other.state_dict(), "data": one.digest}, ())


def test_honest_chunks_are_read(tmp_path):
    """Shuffled and deflated, with a chunk over the edge, and one that is stored as it is."""
    folder = written(tmp_path / "set", rewards=None)
    with h5py.File(folder / "data" / "main_data.hdf5", "a") as file:
        made = file["episode_0"].create_dataset("rewards", (3,), "f4", chunks=(2,), compression="gzip", shuffle=True)
        made[:] = [1, 1, 5]
        made.id.write_direct_chunk((0,), np.array([7, 8], "f4").tobytes(), filter_mask=3)
    assert stored(folder).transitions(np.arange(3)).reward.tolist() == [7, 8, 5]


def test_a_number_of_many_is_counted_as_many(tmp_path, monkeypatch):
    """Four rows of 2^18 numbers."""
    monkeypatch.setattr("deeprl.running.collect.hdf5.available_memory", lambda: 1 << 22)
    many = {"type": "Discrete", "n": 1 << 18}
    with pytest.raises(ValueError, match=r"observations claims 4,194,304 bytes"):
        stored(written(tmp_path / "set", many, observations=np.arange(4)), Spec((1 << 18,), torch.float32, 0, 1))


def nested(levels: int) -> dict:
    return BOX if levels == 0 else {"type": "Tuple", "subspaces": [nested(levels - 1)]}


METADATA = {
    "2^64 numbers": ({**BOX, "shape": [1 << 16] * 4}, "Box of 18446744073709551616 numbers has 1 and 1 bounds"),
    "many axes": ({**BOX, "shape": [2] * 33}, r"shape=\[2, 2, 2, 2, 2, 2, \.\.\.\]$"),
    "many levels": (nested(17), "more than 16 levels"),
    "a list of levels": ({**BOX, "shape": json.loads("[" * 200 + "]" * 200)}, r"shape=\[+\.\.\.\]+$"),
    "a bound": ({**BOX, "low": {}}, "bounds that are no numbers"),
    "no list": ({"type": "Tuple", "subspaces": 5}, "is damaged"),
    "no object": ([1], "is damaged"),
}


@pytest.mark.parametrize("what", METADATA)
def test_metadata_are_checked(what, tmp_path):
    space, why = METADATA[what]
    with pytest.raises(ValueError, match=why) as refused:
        minari.bounds(minari.described(str(written(tmp_path / "set", action=space))).action_space)
    assert len(str(refused.value)) < 300


def test_a_strangers_name_is_cut(tmp_path):
    found = minari.DataSet(tmp_path, {"dataset_id": "\x1b[31m" + "x" * 10_000}, {}, {})
    assert found.name == "\\x1b[31m" + "x" * 92
    with pytest.raises(ValueError, match="too long a name"):
        minari.size_of({"type": "Dict", "subspaces": {"x" * 101: BOX}})


# ---- images

PIXELS = {"type": "Box", "dtype": "uint8", "low": 0, "high": 255}


def of_images(folder, shape, images, seen, **changed):
    """The transitions of the fixture with images of this shape, as a run sees them that has images (C, H, W)."""
    space = {**PIXELS, "shape": [*shape], "low": np.zeros(shape).tolist(), "high": np.full(shape, 255).tolist()}
    return stored(written(folder, space, observations=images, **changed), Spec(seen, torch.uint8, 0, 1))


IMAGES = np.random.default_rng(0).integers(0, 256, (4, 2, 5, 6), np.uint8)


@pytest.mark.parametrize(
    ("images", "seen"),
    [(IMAGES, (2, 5, 6)), (IMAGES.transpose(0, 2, 3, 1), (2, 5, 6)), (IMAGES[:, 0], (1, 5, 6))],
    ids=["channels first", "channels last", "one channel"],
)
def test_images_have_their_channels_first(images, seen, tmp_path):
    found = of_images(tmp_path / "set", images.shape[1:], images, seen).transitions(np.arange(3))
    assert np.array_equal(found.obs, IMAGES[:3, : seen[0]])
    assert np.array_equal(found.next_obs, IMAGES[1:, : seen[0]])


def test_images_that_are_others_are_refused(tmp_path):
    cube = np.zeros((4, 5, 5, 5), np.uint8)
    with pytest.raises(ValueError, match="whether the channels of its images"):
        of_images(tmp_path / "cube", (5, 5, 5), cube, (5, 5, 5))
    with pytest.raises(ValueError, match="float32 of shape"):
        of_images(tmp_path / "floats", (2, 5, 6), IMAGES.astype(np.float32), (2, 5, 6))
    with pytest.raises(ValueError, match="jpeg_encoding=False"):
        of_images(tmp_path / "jpeg", (40, 40, 3), np.zeros((4, 99), np.uint8), (3, 40, 40))
    folder = written(tmp_path / "stacks", {**PIXELS, "shape": [2, 5, 6]}, observations=IMAGES)
    with pytest.raises(ValueError, match="no stacks of the 2 last frames"):
        stored(folder, Spec((2, 5, 6), torch.uint8, 0, 1, frame_stack=2))


def test_parts_that_are_kept_apart_take_no_others(tmp_path):
    parts = (ObsPart("image", (1, 3, 3), torch.uint8, True), ObsPart("speed", (2,), torch.float32))
    with pytest.raises(ValueError, match=r"parts of one vector, and those of this run image, speed: .* or env.parts=flat"):
        find(str(written(tmp_path / "set")), packed_spec(parts, 0, 1))
    some = {"type": "Dict", "subspaces": {"image": {**PIXELS, "shape": [3, 3]}, "speed": BOX}}
    changed = {"observations": None, "observations/image": np.zeros((4, 3, 3), np.uint8), "observations/speed": np.zeros((4, 1))}
    with pytest.raises(ValueError, match="its part speed is .* and that of this run has shape"):
        find(str(written(tmp_path / "some", some, **changed)), packed_spec(parts, 0, 1))
    vector = Spec((10,), torch.float32, 0, 1)
    assert stored(tmp_path / "some", vector).transitions(np.arange(3)).obs.shape == (3, 10)
    # the folder of its rows was answered with "take a run with the same env.parts", though its set has them
    with pytest.raises(ValueError, match=r"the parts none, .*take the data set itself, .* or env.parts=flat"):
        find(str(folder_of(tmp_path / "some", vector)), packed_spec(parts, 0, 1))


# ---- as a folder of its rows


def folder_of(source, spec=SPEC, name="rows"):
    """The same data without Minari's file, beside it."""
    write_folder(source.parent / name, minari.described(str(source)), stored(source, spec))
    return source.parent / name


@pytest.mark.parametrize("n_step", [1, 2])
def test_a_folder_gives_the_batches_of_its_data_set(n_step, tmp_path):
    """And may take its place in a run that goes on, since the digest is the same."""
    source = written(tmp_path / "set", terminations=np.array([0, 0, 1], bool), truncations=np.zeros(3, bool))
    ours, theirs = (stored(each, n_step=n_step) for each in (folder_of(source), source))
    u = torch.rand(3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    one, other = (each.batch(each.draw(u)) for each in (ours, theirs))
    assert all(
        torch.equal(getattr(one, name), getattr(other, name)) for name in ("obs", "action", "reward", "discount", "next_obs", "steps")
    )
    assert ours.digest == theirs.digest


def test_a_folder_of_images_has_them_whole(tmp_path):
    seen = Spec((2, 5, 6), torch.uint8, 0, 1)
    source = written(tmp_path / "set", {**PIXELS, "shape": [5, 6, 2]}, observations=IMAGES.transpose(0, 2, 3, 1))
    found = stored(folder_of(source, seen), seen).transitions(np.arange(3))
    assert np.array_equal(found.obs, IMAGES[:3])
    with pytest.raises(ValueError, match=r"observations of 60 numbers, .* have observations of 2 frames of 30 numbers"):
        stored(tmp_path / "rows", seen._replace(frame_stack=2))


def changed(path, **content):
    path.write_text(json.dumps({**json.loads(path.read_text()), **content}))


def linked(path):
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


SEGMENT = "replay/segment_00000001.safetensors"
HARMED = {
    "cut rows": (SEGMENT, lambda path: path.write_bytes(path.read_bytes()[:-8]), "bytes instead of"),
    "other rows": (SEGMENT, lambda path: path.write_bytes(path.read_bytes()[:-8] + b"\x01" * 8), "its hash differs"),
    "a link to rows": (SEGMENT, linked, "not a plain file"),
    "no rows": (SEGMENT, os.unlink, "is missing"),
    "no checkpoint": ("checkpoints/last", lambda path: path.parent.rename(path.parent.with_name("moved")), "holds no checkpoint"),
    "garbage": ("data.json", lambda path: path.write_bytes(b"\x80\x04cos\nsystem"), "data.json is damaged"),
    "a link": ("data.json", linked, "not a plain file"),
    "no spaces": ("data.json", lambda path: path.write_text("{}"), "data.json is damaged: 'observation_space'"),
    "levels": ("data.json", lambda path: changed(path, action_space="[" * 5000), "data.json is damaged"),
    "another format": ("data.json", lambda path: changed(path, format=2), "has format 2, not 1"),
    "rows that are no number": ("data.json", lambda path: changed(path, rows="4"), "data.json is damaged: rows=4 is no number"),
    "negative rows": ("data.json", lambda path: changed(path, rows=-1), "rows=-1 is no number of rows"),
    "rows that no float holds": ("data.json", lambda path: changed(path, rows=10**400), "rows=1000000000000000.* is no number of rows"),
    "few rows": ("data.json", lambda path: changed(path, rows=1), "cursors that none can have"),
}


@pytest.mark.parametrize("how", HARMED)
def test_a_folder_that_is_damaged_or_hostile_is_refused(how, tmp_path):
    name, harm, why = HARMED[how]
    folder = folder_of(written(tmp_path / "set"))
    harm(folder / name)
    with pytest.raises(ValueError, match=why):
        stored(folder)


def test_a_folder_is_whole_or_not_there(tmp_path, monkeypatch):
    source = written(tmp_path / "set")
    folder_of(source, name="whole")
    with pytest.raises(ConfigError, match="whole exists: name another folder"):
        folder_of(source, name="whole")
    monkeypatch.chdir(tmp_path)
    for name, read in (("best@12", "checkpoint of .*best"), ("minari:own", "data set of Minari")):  # were written, and not found again
        with pytest.raises(ConfigError, match=f"would read the {read}: name another folder"):
            write_folder(Path(name), minari.described(str(source)), stored(source))

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("deeprl.tools.data.convert.create", full)
    with pytest.raises(MachineError, match=r"half cannot be written: No space left.*\. Make space, or name another folder; nothing"):
        folder_of(source, name="half")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set", "whole"]


def test_a_folder_of_data_is_no_run(tmp_path, capsys):
    folder = folder_of(written(tmp_path / "set"))
    for command in ("resume", "eval", "report", "status"):
        assert console(command, folder) != exits.FINISHED
        assert (
            f"{folder} is no run folder: it holds data alone, and no weights; runs learn from it with replay.data="
            in capsys.readouterr().err
        )
    (folder / "config.yaml").write_text("names: {}\n")
    with pytest.raises(ValueError, match="holds no transitions"):  # a run's, whatever else lies there
        stored(folder)


def test_a_data_set_has_no_probabilities_of_actions(tmp_path):
    """A trace would divide by the 1 that stands in their place."""
    with pytest.raises(ValueError, match="does not say with which probability each action was taken"):
        stored(written(tmp_path / "set"), needs=frozenset({"behavior_probability"}))
