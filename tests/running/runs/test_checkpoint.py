"""Checkpoints: round trips to the bit, crashes at every stage, damage and attacks, replay segments."""

import errno
import hashlib
import json
import math
import os
import shutil
import struct

import numpy as np
import pytest
import torch

from deeprl.errors import CheckpointError, CheckpointWarning, UnreadableError
from deeprl.running.runs import checkpoint
from deeprl.running.runs.checkpoint import load, save
from deeprl.running.runs.checkpoints import Checkpoints
from deeprl.system import files as files_of_a_run

TORCH = [torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float16, torch.bfloat16, torch.float32]
TORCH += [torch.float64, torch.complex64, torch.complex128, torch.uint16, torch.uint32, torch.uint64]
NUMPY = ["bool", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8", "c8", "c16", ">f8", ">i4"]


def bits(shape, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*shape, width), dtype=np.uint8)


def same(a, b):
    if isinstance(a, torch.Tensor):
        assert type(b) is torch.Tensor
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        flat = [(torch.view_as_real(t) if t.is_complex() else t).contiguous().flatten() for t in (a, b)]
        assert flat[0].view(torch.uint8).equal(flat[1].view(torch.uint8))
    elif isinstance(a, (np.ndarray, np.generic)):
        assert type(a) is type(b)
        assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
    elif isinstance(a, dict):
        assert list(a) == list(b)
        assert [type(key) for key in a] == [type(key) for key in b]
        for key in a:
            same(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        assert type(a) is type(b)
        assert len(a) == len(b)
        for one, other in zip(a, b):
            same(one, other)
    else:
        assert type(a) is type(b)
        assert repr(a) == repr(b)  # tells -0.0 from 0.0, and nan is nan


def forge(folder, **files):
    """Put bytes where files were and write the manifest that fits them: as a forger would."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for name, data in files.items():
        name = name.replace("__", ".")
        (folder / name).write_bytes(data)
        manifest["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    rewrite(folder, manifest)


def rewrite(folder, manifest):
    manifest.pop("sha256", None)
    manifest["sha256"] = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))


# ---- round trips


@pytest.mark.parametrize("dtype", TORCH, ids=str)
def test_tensors_come_back_bit_for_bit(tmp_path, dtype):
    width = torch.empty((), dtype=dtype).element_size()
    raw = torch.from_numpy(bits((3, 4), width))
    full = (raw[..., 0] & 1).bool() if dtype is torch.bool else raw.flatten(1).view(dtype)
    value = {"full": full, "scalar": full.flatten()[0].clone(), "empty": full[:0].clone(), "transposed": full.T}
    save(tmp_path / "c", {"part": value})
    same(value, load(tmp_path / "c")["part"])


@pytest.mark.parametrize("code", NUMPY)
def test_arrays_come_back_as_the_type_they_were(tmp_path, code):
    dtype = np.dtype(code)
    full = bits((3, 4), 1)[..., 0] > 99 if dtype.kind == "b" else bits((3, 4), dtype.itemsize).view(dtype)[..., 0]
    value = {"full": full, "scalar": full[0, 0], "0-d": np.array(full[0, 0]), "empty": full[:0], "fortran": np.asfortranarray(full)}
    save(tmp_path / "c", {"part": value})
    same(value, load(tmp_path / "c")["part"])


def test_everything_else_comes_back_as_it_was(tmp_path):
    value = {
        "numbers": [0, -1, 2**200, 0.1, -0.0, 5e-324, 1.7976931348623157e308, math.inf, -math.inf, math.nan],
        "text": ["", "ü☃", "\ud800", "a\nb"],
        "none": None,
        "flags": (True, False),
        "tuples": ((), (1, (2.5,)), []),
        "keys": {0: "int", "0": "text", 1.5: "float", None: "none", (1, 2): "tuple"},
        "$tensor": "a name that means something else",
        "": {},
        "order": {"z": 1, "a": 2},
    }
    save(tmp_path / "c", {"part": value, "empty": {}, "number": 3})
    found = load(tmp_path / "c")
    same(value, found["part"])
    assert found["empty"] == {}
    assert found["number"] == 3


def test_shared_storage_names_that_meet_and_a_part_that_is_a_tensor(tmp_path):
    flat = torch.arange(6.0)
    value = {"w": flat[:3], "b": flat[3:], "all": flat, "a/b": torch.ones(1), "a": {"b": torch.zeros(1)}, "__metadata__": torch.ones(2)}
    value["keys"] = {0: torch.ones(1), "0": torch.zeros(1)}
    save(tmp_path / "c", {"part": value, "alone": flat})
    found = load(tmp_path / "c")
    same(value, found["part"])
    same(flat, found["alone"])
    found["part"]["w"] += 1  # copies, neither shared nor mapped from the file
    assert found["part"]["all"].equal(flat)
    same(value, load(tmp_path / "c")["part"])


def test_state_dicts_of_torch_and_numpy(tmp_path):
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    generator = np.random.default_rng(1)
    parts = {"agent": {"model": model.state_dict(), "optimizer": optimizer.state_dict()}, "numpy": generator.bit_generator.state}
    save(tmp_path / "c", parts)
    found = load(tmp_path / "c")
    same(dict(parts["agent"]["model"]), found["agent"]["model"])
    same(parts["agent"]["optimizer"], found["agent"]["optimizer"])
    assert found["numpy"] == parts["numpy"]


def test_equal_states_make_equal_files(tmp_path):
    one, two = torch.ones(2), torch.zeros(3)
    save(tmp_path / "a", {"part": {"one": one, "two": two}})
    save(tmp_path / "b", {"part": {"two": two, "one": one}})
    files = [(tmp_path / name / "part.safetensors").read_bytes() for name in "ab"]
    assert files[0] == files[1]
    assert b"__metadata__" not in files[0]


@pytest.mark.parametrize(
    "bad",
    [object(), {1, 2}, b"bytes", 1j, np.array(["text"]), np.array([None]), torch.eye(2).to_sparse()],
    ids=lambda bad: type(bad).__name__,
)
def test_what_cannot_be_saved_is_named_and_changes_nothing(tmp_path, bad):
    save(tmp_path / "c", {"part": 1})
    with pytest.raises(TypeError, match="part/inner/1"):
        save(tmp_path / "c", {"part": {"inner": [0, bad]}})
    assert load(tmp_path / "c") == {"part": 1}
    assert os.listdir(tmp_path) == ["c"]


def test_a_path_that_is_no_utf8_is_no_damage(tmp_path):
    """Safetensors takes no other, and called the file damaged."""
    parts, there = {"agent": {"w": torch.ones(2)}}, tmp_path / "m\udcfcller"
    with pytest.raises(CheckpointError, match="cannot be written: its path is no UTF-8"):
        save(there / "step", parts)
    save(tmp_path / "step", parts)
    (tmp_path / "step").rename(tmp_path / "m\udcfc")
    with pytest.raises(CheckpointError, match="cannot be read: its path is no UTF-8; rename the folder"):
        load(tmp_path / "m\udcfc")


def test_part_names_must_be_file_names(tmp_path):
    for parts in ({"../x": 1}, {"a": 1, "A": 2}, {"": 1}, {".hidden": 1}):
        with pytest.raises(ValueError, match="become file names"):
            save(tmp_path / "c", parts)


def test_only_some_parts_leave_the_others_alone(tmp_path):
    save(tmp_path / "c", {"agent": {"w": torch.ones(2)}, "replay": {"rows": torch.ones(5)}})
    (tmp_path / "c" / "replay.safetensors").unlink()
    assert list(load(tmp_path / "c", only={"agent"})) == ["agent"]
    with pytest.raises(CheckpointError, match=r"critic.*agent, replay"):
        load(tmp_path / "c", only={"critic"})
    with pytest.raises(CheckpointError, match=r"replay\.safetensors is missing"):
        load(tmp_path / "c")


# ---- crashes


class Crash(BaseException):
    """No Exception, so that no handler catches it on the way."""


def crash_at(monkeypatch, count):
    """The `count`-th rename, removal or flush of the next save never happens, nor does anything after it. Returns a way to stop that."""
    left = [count]

    def wrap(function):
        def call(*args, **kwargs):
            left[0] -= 1
            if left[0] <= 0:
                raise Crash
            return function(*args, **kwargs)

        return call

    with_crash = monkeypatch.context()
    context = with_crash.__enter__()
    for module, name in ((os, "rename"), (os, "replace"), (os, "fsync"), (shutil, "rmtree")):
        context.setattr(module, name, wrap(getattr(module, name)))
    return lambda: with_crash.__exit__(None, None, None), left


@pytest.mark.filterwarnings("error")  # nothing is damaged, so nothing may be passed over
@pytest.mark.parametrize("segment", [0, 1 << 20], ids=["apart", "joined"])
@pytest.mark.parametrize("again", [False, True], ids=["next step", "same step"])
def test_a_crash_at_any_stage_leaves_a_readable_checkpoint(tmp_path, monkeypatch, again, segment):
    rows = {"rows": torch.arange(4), "start": torch.tensor([0]), "stop": torch.tensor([4])}
    more = {"rows": torch.arange(4, 6), "start": torch.tensor([4]), "stop": torch.tensor([6])}
    stages = 0
    while True:
        stages += 1
        (run := tmp_path / str(stages)).mkdir()
        checkpoints = Checkpoints(run, keep=1, segment_bytes=segment)
        checkpoints.save(1, {"agent": {"w": torch.ones(2)}, "n": 1}, rows, live_from=[0])
        stop, left = crash_at(monkeypatch, stages)
        try:
            checkpoints.save(1 if again else 2, {"agent": {"w": torch.zeros(2)}, "n": 2}, more, live_from=[0])
        except Crash:
            pass
        finally:
            stop()
        finished = left[0] > 0
        fresh = Checkpoints(run, keep=1)
        step, parts = fresh.load()
        held = torch.cat([segment["rows"] for segment in fresh.segments(step)]).tolist()
        assert (parts["n"], held) in ((1, [0, 1, 2, 3]), (2, [0, 1, 2, 3, 4, 5]))
        assert parts["agent"]["w"].tolist() == [2.0 - parts["n"]] * 2
        fresh.save(3, parts, live_from=[0])
        assert sorted(os.listdir(run / "checkpoints")) == ["last", "step_000000000003"]
        assert len(os.listdir(run / "replay")) == (2 if parts["n"] == 2 and not segment else 1)
        if finished:
            break
    assert parts["n"] == 2
    assert stages > 8


# ---- damage and attacks


@pytest.fixture
def folder(tmp_path):
    save(tmp_path / "c", {"agent": {"w": torch.arange(8.0), "n": 1}, "other": {"w": torch.arange(8.0) + 1}})
    return tmp_path / "c"


def damaged(folder, name, reason):
    with pytest.raises(CheckpointError, match=reason) as caught:
        load(folder)
    assert name in str(caught.value)


@pytest.mark.parametrize("name", ["agent.safetensors", "state.json", "manifest.json"])
def test_missing_truncated_and_flipped_files_are_named(folder, name):
    path = folder / name
    whole = path.read_bytes()
    for position in range(0, len(whole), max(len(whole) // 40, 1)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        damaged(folder, name, "is damaged")
    path.write_bytes(whole[:-1])
    damaged(folder, name, "is damaged")
    path.write_bytes(b"")
    damaged(folder, name, "is damaged")
    path.unlink()
    damaged(folder, name, "is missing")
    os.mkfifo(path)  # would never end
    damaged(folder, name, "not a plain file")


def test_swapped_files_and_links_are_recognised(folder):
    (folder / "agent.safetensors").rename(folder / "x")
    (folder / "other.safetensors").rename(folder / "agent.safetensors")
    (folder / "x").rename(folder / "other.safetensors")
    damaged(folder, "agent.safetensors", "its hash differs")
    target = (folder / "agent.safetensors").rename(folder.parent / "elsewhere")
    (folder / "agent.safetensors").symlink_to(target)
    damaged(folder, "agent.safetensors", "not a plain file")


def test_edited_manifests_are_refused(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "step": 7}))
    damaged(folder, "manifest.json", "its own hash")
    rewrite(folder, {**manifest, "format": 2})
    damaged(folder, "manifest.json", "another version")
    for name in ("../agent.safetensors", "/etc/passwd", "a/b.safetensors", "..", ".hidden.safetensors", "agent.safetensors\n"):
        rewrite(folder, {**manifest, "files": {**manifest["files"], name: {"bytes": 1, "sha256": "0"}}})
        damaged(folder, "manifest.json", "refused")
    for segments in ([{"file": "../../x.safetensors"}], [{"file": "segment_00000001.safetensors"}] * 2, {}, [3], None):
        rewrite(folder, {**manifest, "segments": segments})
        damaged(folder, "manifest.json", "is damaged")
    for files in ([], {}, {"state.json": 3}, {"state.json": {}}):
        rewrite(folder, {**manifest, "files": files})
        damaged(folder, str(folder), "is damaged")
    rewrite(folder, {**manifest, "files": {**manifest["files"], "stranger.safetensors": {"bytes": 1, "sha256": "0"}}})
    damaged(folder, "stranger.safetensors", "no part of")
    text = json.dumps(manifest)
    (folder / "manifest.json").write_text('{"format": 1, ' + text[1:])
    damaged(folder, "manifest.json", "'format' is given twice")


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ('{"agent": {"w": {"$tensor": "w"}}, "agent": 1, "other": 1}', "given twice"),
        ('{"agent": {"w": {"$tensor": "w"}, "n": NaN}, "other": 1}', "NaN"),
        ('{"agent": ' + "[" * 100000 + "]" * 100000 + ', "other": 1}', "nested too deeply"),
        ('{"agent": 1, "other": {"w": {"$tensor": "w"}}}', "is not named in the state"),
        ('{"agent": {"v": {"$tensor": "v"}}, "other": 1}', "missing, or named twice"),
        ('{"agent": [{"$tensor": "w"}, {"$tensor": "w"}], "other": 1}', "missing, or named twice"),
        ('{"agent": {"$tensor": ["w", "complex64"]}, "other": 1}', "not written by"),
        ('{"agent": {"$array": ["w", "<f8"]}, "other": 1}', "should have the dtype"),
        ('{"agent": {"$array": ["w", "O"]}, "other": 1}', "should have the dtype"),
        ('{"agent": {"$array": ["w", "V8"]}, "other": 1}', "should have the dtype"),
        ('{"agent": {"$array": "w"}, "other": 1}', "not written by"),
        ('{"agent": {"$array": ["w", {"a": 1}]}, "other": 1}', "damaged"),
        ('{"agent": {"$dict": [[[], 1]]}, "other": 1}', "not written by"),
        ('{"agent": {"$dict": 3}, "other": 1}', "not written by"),
        ('{"agent": {"$float": "__import__"}, "other": 1}', "is unknown"),
        ('{"agent": {"$object": "os.system"}, "other": 1}', "is unknown"),
        ('{"agent": {"$tuple": [], "x": 1}, "other": 1}', "only key of its object"),
        ("[]", "holds no parts"),
        ("", "is damaged"),
    ],
)
def test_forged_states_are_refused(folder, state, reason):
    forge(folder, state__json=state.encode())
    damaged(folder, "state.json", reason)


def tensor_file(header, data=b"", length=None):
    text = header.encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


@pytest.mark.parametrize(
    "data",
    [
        tensor_file("{}", length=2**63),
        tensor_file("{}", length=2**26 + 1),
        tensor_file('{"w":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4]}}', b"1234"),
        tensor_file('{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4398046511104]}}', b"1234"),
        tensor_file('{"w":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}', b"12345678"),
        tensor_file('{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"w":{"dtype":"I32","shape":[1],"data_offsets":[0,4]}}', b"1234"),
        tensor_file('{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', b"12345678"),
        tensor_file("[" * 100000),
        b"\0",
    ],
)
def test_forged_tensor_files_are_refused_before_anything_is_allocated(folder, data):
    forge(folder, agent__safetensors=data)
    damaged(folder, "agent.safetensors", "is damaged")


def test_files_beyond_the_limits_are_not_read(folder, monkeypatch):
    monkeypatch.setattr(checkpoint, "STATE_LIMIT", 10)
    damaged(folder, "state.json", "more than 10 bytes")
    monkeypatch.setattr(checkpoint, "MANIFEST_LIMIT", 10)
    damaged(folder, "manifest.json", "more than 10 bytes")


# ---- the checkpoints of a run


def names(run):
    return sorted(os.listdir(run / "checkpoints"))


def test_newest_best_and_last_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in range(100, 600, 100):
        report = checkpoints.save(step, {"n": step})
        assert report["bytes"] > 0
        assert report["seconds"] >= 0
        if step == 200:
            checkpoints.mark_best(step)
    assert names(tmp_path) == ["best", "last", "step_000000000200", "step_000000000400", "step_000000000500"]
    assert (tmp_path / "checkpoints" / "last").read_text() == "step_000000000500\n"
    assert checkpoints.load() == (500, {"n": 500})
    assert checkpoints.load("best") == (200, {"n": 200})
    assert checkpoints.load(400) == (400, {"n": 400})
    with pytest.raises(CheckpointError, match="300.*200, 400, 500"):
        checkpoints.load(300)
    with pytest.raises(CheckpointError, match="save it first"):
        checkpoints.mark_best(300)
    aside = tmp_path / "checkpoints" / "step_000000000500"
    aside.rename(f"{aside}~replaced")  # as a kill leaves it between two renames
    checkpoints.mark_best(500)
    assert checkpoints.load("best") == (500, {"n": 500})
    aside.with_name(f"{aside.name}~replaced").rename(aside)
    checkpoints.save(600, {"n": 600})
    assert names(tmp_path) == ["best", "last", "step_000000000500", "step_000000000600"]


def test_a_run_without_checkpoints_says_so(tmp_path):
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        Checkpoints(tmp_path).load()
    Checkpoints(tmp_path).save(1, {})
    with pytest.raises(CheckpointError, match="best .*1"):
        Checkpoints(tmp_path).load("best")
    with pytest.raises(ValueError, match=r"checkpoint\.keep"):
        Checkpoints(tmp_path, keep=0)


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save(step, {"agent": torch.full((3,), float(step))})
    path = tmp_path / "checkpoints" / "step_000000000002" / "agent.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.warns(CheckpointWarning, match=r"step_000000000002/agent\.safetensors .*step 1"):
        step, parts = Checkpoints(tmp_path).load()
    assert step == 1
    assert parts["agent"].tolist() == [1, 1, 1]
    with pytest.raises(CheckpointError, match=r"agent\.safetensors"):  # asked for this very one
        Checkpoints(tmp_path).load(2)
    resumed = Checkpoints(tmp_path)
    with pytest.warns(CheckpointWarning):
        resumed.load()
    resumed.save(2, parts)  # the damaged one is replaced
    assert resumed.load()[0] == 2


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOMEM, errno.ESTALE])
@pytest.mark.parametrize("call", ["sha256", "read_regular", "safetensors"])
def test_a_checkpoint_that_the_machine_cannot_read_is_not_taken_for_damaged(tmp_path, monkeypatch, call, number):
    """The one before it would be used, and the newest removed at the next save, though it may be whole."""
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save(step, {"agent": torch.ones(3)})

    def fails(*given):
        if call == "safetensors":  # its own error holds the number
            raise checkpoint.safetensors.SafetensorError(f"I/O error: {os.strerror(number)} (os error {number})")
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(*((checkpoint.safetensors.torch, "load_file") if call == "safetensors" else (checkpoint, call)), fails)
        with pytest.raises(UnreadableError, match=f"step_000000000002/.* cannot be read: {os.strerror(number)}"):
            checkpoints.load()
    assert checkpoints.load()[0] == 2


def test_all_damaged_says_why_for_each(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save(step, {"n": 1})
        (tmp_path / "checkpoints" / f"step_{step:012d}" / "state.json").unlink()
    with pytest.warns(CheckpointWarning), pytest.raises(CheckpointError, match=r"0002/state\.json .*0001/state\.json "):
        checkpoints.load()


@pytest.mark.parametrize("content", [None, "", "../../elsewhere\n", "step_1\n", "step_000000000001/../x\n", "x" * 1000, "\udcff"])
def test_a_pointer_that_is_damaged_is_not_followed(tmp_path, content):
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save(step, {"n": step})
    path = tmp_path / "checkpoints" / "last"
    path.unlink() if content is None else path.write_bytes(content.encode(errors="surrogateescape"))
    assert checkpoints.load()[0] == 2


def test_a_folder_under_another_name_is_not_that_step(tmp_path):
    Checkpoints(tmp_path).save(1, {"n": 1})
    shutil.copytree(tmp_path / "checkpoints" / "step_000000000001", tmp_path / "checkpoints" / "step_000000000002")
    with pytest.raises(CheckpointError, match="manifest .*step 1"):
        Checkpoints(tmp_path).load(2)


def test_a_future_that_was_given_up_is_removed(tmp_path):
    for step in (1, 2, 3):
        Checkpoints(tmp_path, keep=3).save(step, {"n": step})
    resumed = Checkpoints(tmp_path, keep=3)
    assert resumed.load(1)[0] == 1
    resumed.save(2, {"n": -2})
    assert names(tmp_path) == ["last", "step_000000000001", "step_000000000002"]
    assert resumed.load() == (2, {"n": -2})


# ---- replay segments


def rows(start, stop):
    data = [torch.arange(a, b) + 1000 * e for e, (a, b) in enumerate(zip(start, stop))]
    return {"rows": torch.cat(data), "start": torch.tensor(start), "stop": torch.tensor(stop)}


def files(run):
    return [int(name[8:16]) for name in sorted(os.listdir(run / "replay"))]


def held(checkpoints, step):
    return [(segment["start"].tolist(), segment["stop"].tolist()) for segment in checkpoints.segments(step)]


def test_segments_are_written_once_shared_and_dropped_when_overwritten(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2, segment_bytes=0)  # two environments, a ring of 10 rows each
    first = checkpoints.save(1, {}, rows([0, 0], [5, 4]), live_from=[0, 0])
    second = checkpoints.save(2, {}, rows([5, 4], [8, 9]), live_from=[0, 0])
    third = checkpoints.save(3, {}, rows([8, 9], [14, 14]), live_from=[4, 4])  # row 4 of the first environment is still there
    assert files(tmp_path) == [1, 2, 3]
    assert held(checkpoints, 3) == [([0, 0], [5, 4]), ([5, 4], [8, 9]), ([8, 9], [14, 14])]
    assert min(report["bytes"] for report in (first, second, third)) > 0
    checkpoints.save(4, {}, rows([14, 14], [15, 14]), live_from=[5, 4])
    assert held(checkpoints, 4) == [([5, 4], [8, 9]), ([8, 9], [14, 14]), ([14, 14], [15, 14])]
    assert files(tmp_path) == [1, 2, 3, 4]  # the checkpoint of step 3 still needs the first
    checkpoints.save(5, {}, rows([15, 14], [15, 14]), live_from=[5, 4])  # nothing new: nothing written
    assert files(tmp_path) == [2, 3, 4]
    assert held(checkpoints, 5) == held(checkpoints, 4)


def test_a_resumed_run_goes_on_with_the_segments_of_its_checkpoint(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=3, segment_bytes=0)
    for step in (1, 2, 3):
        checkpoints.save(step, {}, rows([5 * step - 5], [5 * step]), live_from=[0])
    resumed = Checkpoints(tmp_path, keep=3, segment_bytes=0)
    resumed.load(2)
    resumed.save(4, {}, rows([10], [20]), live_from=[0])
    assert held(resumed, 4) == [([0], [5]), ([5], [10]), ([10], [20])]
    assert files(tmp_path) == [1, 2, 3, 4]
    resumed.save(5, {}, live_from=[10])
    resumed.save(6, {}, live_from=[10])
    resumed.save(7, {}, live_from=[10])
    assert files(tmp_path) == [4]


def test_best_keeps_its_segments_and_a_checkpoint_may_leave_the_replay_out(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(1, {}, rows([0], [5]), live_from=[0])
    checkpoints.mark_best(1)
    checkpoints.save(2, {}, rows([5], [50]), live_from=[40])
    assert files(tmp_path) == [1, 2]
    checkpoints.save(3, {})
    assert files(tmp_path) == [1]
    assert held(checkpoints, 3) == []
    assert held(checkpoints, 1) == [([0], [5])]


def test_a_damaged_segment_is_named_and_the_checkpoint_before_it_used(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"n": 1}, rows([0], [5]), live_from=[0])
    checkpoints.save(2, {"n": 2}, rows([5], [9]), live_from=[0])
    path = tmp_path / "replay" / "segment_00000002.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.warns(CheckpointWarning, match=r"segment_00000002\.safetensors is damaged"):
        assert Checkpoints(tmp_path).load()[0] == 1
    assert Checkpoints(tmp_path).load(only={"n"})[0] == 2  # an evaluation does not need it
    with pytest.raises(CheckpointError, match=r"segment_00000002"):
        list(checkpoints.segments(2))


def test_a_segment_that_changes_after_it_was_checked_is_recognised(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {}, rows([0], [5]), live_from=[0])
    checkpoints.load()
    (tmp_path / "replay" / "segment_00000001.safetensors").write_bytes(b"something else")
    with pytest.raises(CheckpointError, match="segment_00000001"):
        list(checkpoints.segments(1))


def test_leftovers_of_crashes_are_removed(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {}, rows([0], [5]), live_from=[0])
    for name in ("segment_00000009.safetensors", ".segment_00000010.safetensors.partial"):
        (tmp_path / "replay" / name).write_bytes(b"torn")
    (tmp_path / "checkpoints" / ".step_000000000009.partial").mkdir()
    checkpoints.save(2, {}, rows([5], [6]), live_from=[0])
    assert files(tmp_path) == [1, 10]
    assert names(tmp_path) == ["last", "step_000000000001", "step_000000000002"]


def test_what_was_written_ahead_goes_when_the_ring_overwrites_it(tmp_path):
    """Three segments of ten rows; the ring holds fifteen rows when the third is written, and ten at the checkpoint."""
    checkpoints = Checkpoints(tmp_path)

    def ahead(start: int, live: int) -> list[str]:
        rows = {"rows": torch.full((10, 2), float(start)), "start": torch.tensor([start]), "stop": torch.tensor([start + 10])}
        checkpoints.write_ahead(rows, [live])
        return sorted(path.name for path in checkpoints.replay.iterdir())

    assert len(ahead(0, 0)) == 1
    assert len(ahead(10, 5)) == 2
    assert ahead(20, 15) == ["segment_00000002.safetensors", "segment_00000003.safetensors"]
    done = checkpoints.save(7, {"agent": {"w": torch.zeros(1)}}, live_from=[20])
    assert done["bytes"] > 2 * 10 * 2 * 4  # both, though one is of no use any more
    assert [path.name for path in checkpoints.replay.iterdir()] == ["segment_00000003.safetensors"]
    assert [segment["rows"][0, 0].item() for segment in checkpoints.segments(7)] == [20.0]


def test_small_segments_are_joined(tmp_path):
    """250 checkpoints of ten rows each: segments double in size up to the limit, so that a manifest lists few of them."""
    checkpoints = Checkpoints(tmp_path, keep=2, segment_bytes=1 << 14)
    for step in range(250):
        checkpoints.save(step, {}, rows([5 * step, 5 * step], [5 * step + 5, 5 * step + 5]), live_from=[0, 0])
    listed = checkpoint.read_manifest(tmp_path / "checkpoints" / "step_000000000249")["segments"]
    assert len(listed) < 10  # 20 kB of rows
    starts, stops = zip(*held(checkpoints, 249))
    assert starts == ([0, 0], *stops[:-1])
    assert stops[-1] == [1250, 1250]
    split = [part["rows"].split((part["stop"] - part["start"]).tolist()) for part in checkpoints.segments(249)]
    for e in (0, 1):
        assert torch.cat([parts[e] for parts in split]).equal(torch.arange(1250) + 1000 * e)


def test_rows_that_do_not_follow_are_not_joined(tmp_path):
    """The ring was overwritten before these rows could be saved: there is a gap."""
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {}, rows([0], [5]), live_from=[0])
    checkpoints.save(2, {}, rows([7], [12]), live_from=[0])
    assert held(checkpoints, 2) == [([0], [5]), ([7], [12])]


def test_what_could_not_be_read_back_is_not_published(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"a": 1}, rows([0], [5]), live_from=[0])
    monkeypatch.setattr(checkpoint, "MANIFEST_LIMIT", 100)
    with pytest.raises(CheckpointError, match="more than the 100 that can be read back"):
        checkpoints.save(2, {"a": 2}, rows([5], [10]), live_from=[0])
    monkeypatch.undo()
    assert Checkpoints(tmp_path).load() == (1, {"a": 1})


def test_segments_stay_while_a_kept_manifest_is_unreadable(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2, segment_bytes=0)
    checkpoints.save(1, {}, rows([0], [5]), live_from=[0])
    (tmp_path / "checkpoints" / "step_000000000001" / "manifest.json").write_text("{")
    checkpoints.save(2, {}, rows([5], [10]), live_from=[5])
    assert files(tmp_path) == [1, 2]
    checkpoints.save(3, {}, rows([10], [15]), live_from=[10])
    assert files(tmp_path) == [2, 3]


# ---- full disks


def test_a_disk_that_is_full_for_one_write_loses_nothing(tmp_path, monkeypatch):
    """Each single write of the best checkpoint in turn; the next one is written, `best` names the right one, and no row is missing."""
    write, refused = files_of_a_run.create, 0
    for refuse in range(1, 100):
        run, left = tmp_path / str(refuse), [refuse]
        run.mkdir()

        def create(path, data=b"", left=left):
            left[0] -= 1
            if left[0] == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return write(path, data)

        checkpoints = Checkpoints(run, keep=1)
        checkpoints.save(1, {"agent": torch.ones(2)}, rows([0], [5]), live_from=[0], best=True)
        with monkeypatch.context() as patch:
            patch.setattr(files_of_a_run, "create", create)
            patch.setattr(checkpoint, "create", create)
            try:
                checkpoints.save(2, {"agent": torch.full((2,), 2.0)}, rows([5], [9]), live_from=[0], best=True)
                saved = True
            except OSError:
                saved = False
        assert Checkpoints(run).load()[0] == (2 if saved else 1)
        more = rows([9], [12]) if saved else rows([5], [12])
        checkpoints.save(3, {"agent": torch.zeros(2)}, more, live_from=[0])
        assert Checkpoints(run).load("best")[0] == (2 if saved else 1)
        assert torch.cat([part["rows"] for part in checkpoints.segments(3)]).tolist() == list(range(12))
        if left[0] > 0:
            break
        refused += 1
    assert refused == 6  # the segment, the agent, state.json, manifest.json, last, best


def test_a_save_that_fails_after_its_checkpoint_is_in_place_leaves_it_whole(tmp_path, monkeypatch):
    """The flush of the folder fails, the last step of a save: the checkpoint is there already, with its segment."""
    flush = checkpoint.sync_folder

    def sync_folder(folder):
        if folder.name == "checkpoints":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        flush(folder)

    checkpoints = Checkpoints(tmp_path, keep=3)
    checkpoints.save(1, {}, rows([0], [5]), live_from=[0])
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "sync_folder", sync_folder)
        with pytest.raises(OSError, match="Input/output"):
            checkpoints.save(2, {}, rows([5], [9]), live_from=[0])
    assert Checkpoints(tmp_path).load()[0] == 1
    reader = Checkpoints(tmp_path)
    assert reader.load(2)[0] == 2
    assert torch.cat([part["rows"] for part in reader.segments(2)]).tolist() == list(range(9))
    checkpoints.save(3, {}, rows([5], [12]), live_from=[0])
    for step, rows_there in ((2, 9), (3, 12)):
        assert torch.cat([part["rows"] for part in checkpoints.segments(step)]).tolist() == list(range(rows_there))


def test_copies_that_a_user_makes_beside_checkpoints_stay(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(1, {"agent": torch.ones(2)})
    (tmp_path / "replay").mkdir(exist_ok=True)
    mine = [tmp_path / "checkpoints" / "step_000000000001.bak", tmp_path / "replay" / "segment_00000001.safetensors.bak"]
    shutil.copytree(checkpoints.at(1), mine[0])
    mine[1].touch()
    leftover = tmp_path / "checkpoints" / ".step_000000000009.partial"
    leftover.mkdir()
    for step in (2, 3):
        checkpoints.save(step, {"agent": torch.ones(2)})
    assert all(path.exists() for path in mine)
    assert not leftover.exists()
    assert checkpoints.steps() == [3]


@pytest.mark.parametrize("which", ["last", "best"])
def test_a_checkpoint_that_its_run_replaces_while_it_is_read(which, tmp_path, monkeypatch):
    """Another one is there: `deeprl eval` of a run that goes on must not fail."""
    run, reader = Checkpoints(tmp_path, keep=1), Checkpoints(tmp_path)
    run.save(1, {"n": 1}, best=True)
    load = reader._load

    def slow(step, *rest):
        if step == 1:
            run.save(2, {"n": 2}, best=True)  # and removes the first
        return load(step, *rest)

    monkeypatch.setattr(reader, "_load", slow)
    assert reader.load(which) == (2, {"n": 2})
