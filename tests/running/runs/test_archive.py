"""Archives of policies: what is packed is what comes out, and a stranger's archive writes nothing outside."""

import json
import struct
import warnings
import zipfile

import pytest
import torch

from deeprl.errors import ConfigError, RunFolderError
from deeprl.running.runs import archive, checkpoint
from deeprl.running.runs.archive import pack, unpack
from deeprl.running.runs.checkpoints import Checkpoints
from deeprl.running.training.evaluation import evaluation_seed, repeated_seed

AGENT = {"module": {"w": torch.arange(6.0)}, "optimizers": {"all": {"m": torch.ones(6)}}, "updates": 3, "step": 40, "periods": {}}


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "run"
    made.mkdir()
    logger = {"_target_": "x", "also": {"mlflow": {"uri": "http://me:secret@host"}}}
    (made / "config.yaml").write_text(json.dumps({"seed": 0, "logger": logger, "collect": {"address": "10.0.0.1:6379"}}))
    (made / "metrics.jsonl").write_text('{"step": 1}\n')
    (made / "system.json").write_text('[{"host": "mine"}]')
    return made


def test_what_is_packed_comes_out_without_optimizers_and_machine(folder, tmp_path):
    for name in ("one.zip", "two.zip"):
        pack(folder, 40, AGENT, "card", tmp_path / name)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    unpack(tmp_path / "one.zip", out := tmp_path / "out")
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()) == [
        "README.md", "checkpoints/last", "checkpoints/step_000000000040/agent.safetensors", "checkpoints/step_000000000040/manifest.json",
        "checkpoints/step_000000000040/state.json", "config.yaml", "metrics.jsonl",
    ]  # fmt: skip
    found = checkpoint.load(out / "checkpoints" / "step_000000000040")["agent"]
    assert torch.equal(found["module"]["w"], torch.arange(6.0))
    with pytest.raises(RunFolderError, match=r"out already holds a run: name another folder"):
        unpack(tmp_path / "one.zip", out)
    assert "secret" not in (config := (out / "config.yaml").read_text())
    assert "10.0.0.1" not in config
    assert found.keys() == {"module", "updates", "step", "periods"}
    with pytest.raises(RunFolderError, match="exists"):
        pack(folder, 40, AGENT, "card", tmp_path / "one.zip")


def test_the_evaluation_that_chose_an_archive_is_not_repeated(folder, tmp_path):
    """An archive of the best checkpoint was evaluated with the very seed of that evaluation."""
    (folder / "evaluations.jsonl").write_text('{"step": 40, "seed": 7, "returns": [9.0]}\n')
    for name, best, seed in (("last", False, 7), ("best", True, evaluation_seed(0, 40, "fresh"))):
        pack(folder, 40, AGENT, "card", tmp_path / f"{name}.zip", best=best)
        unpack(tmp_path / f"{name}.zip", out := tmp_path / f"{name}_run")
        assert repeated_seed(out, 0, 40, "last") == seed
        assert Checkpoints(out).load(only={"agent"})[0] == 40


def zipped(tmp_path, entries, **options):
    path = tmp_path / "given.zip"
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", **options) as file:
        warnings.simplefilter("ignore")
        for name, data in entries:
            file.writestr(name, data)
    return path


def link(name):
    info = zipfile.ZipInfo(name)
    info.external_attr = 0o120777 << 16
    return info


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([("config.yaml", "a"), ("../outside", "x")], "'../outside', which no policy has"),
        ([("config.yaml", "a"), ("/tmp/outside", "x")], "which no policy has"),
        ([("config.yaml", "a"), ("checkpoints/../../outside", "x")], "which no policy has"),
        ([("config.yaml", "a"), ("replay/segment_00000000.safetensors", "x")], "which no policy has"),
        ([("config.yaml", "a"), ("envs.py", "import os")], "which no policy has"),
        ([("config.yaml", "a"), ("config.yaml", "b")], "a name twice"),
        ([("README.md", "a")], "no config.yaml"),
    ],
)
def test_names_that_no_policy_has_are_refused(tmp_path, entries, said):
    with pytest.raises(RunFolderError, match=said):
        unpack(zipped(tmp_path, entries), tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["given.zip"]


def test_a_link_becomes_a_plain_file(tmp_path):
    (secret := tmp_path / "secret").write_text("mine")
    unpack(zipped(tmp_path, [("config.yaml", "a"), (link("README.md"), str(secret))]), tmp_path / "out")
    assert not (tmp_path / "out" / "README.md").is_symlink()
    assert (tmp_path / "out" / "README.md").read_text() == str(secret)


def test_a_bomb_is_refused_by_what_it_says_and_by_what_it_holds(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "LIMIT", 1 << 20)
    bomb = zipped(tmp_path, [("config.yaml", "a"), ("metrics.jsonl", bytes(2 << 20))], compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(RunFolderError, match="more than 1,048,576 bytes"):
        unpack(bomb, tmp_path / "out")
    said = bomb.read_bytes().replace(struct.pack("<I", 2 << 20), struct.pack("<I", 100))  # it says less than it holds
    bomb.write_bytes(said)
    with pytest.raises(RunFolderError, match="no archive of a policy that is whole"):
        unpack(bomb, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["given.zip"]


@pytest.mark.parametrize("kind", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compression_without_a_bound_is_refused(tmp_path, kind):
    """`zipfile` inflates both at once, whatever size an entry says: 600 bytes took a gigabyte."""
    with pytest.raises(RunFolderError, match=r"config\.yaml is encrypted, or compressed in another way"):
        unpack(zipped(tmp_path, [("config.yaml", bytes(1 << 16))], compression=kind), tmp_path / "out")


@pytest.mark.parametrize("at", [0.02, 0.3, 0.6, 0.9])
def test_a_damaged_archive_is_refused(folder, tmp_path, at):
    whole = pack(folder, 40, AGENT, "card", tmp_path / "one.zip").read_bytes()
    place = int(at * len(whole))
    for data in (whole[:place], whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :]):
        (tmp_path / "one.zip").write_bytes(data)
        try:
            unpack(tmp_path / "one.zip", tmp_path / "out")
        except RunFolderError:
            assert not (tmp_path / "out").exists()
        else:  # a byte that nothing reads, such as a date
            checkpoint.load(tmp_path / "out" / "checkpoints" / "step_000000000040")
            break


def test_no_archive_at_all(tmp_path):
    (tmp_path / "x.zip").write_bytes(b"GIF89a")
    with pytest.raises(RunFolderError, match="no archive of a policy"):
        unpack(tmp_path / "x.zip", tmp_path / "out")
    (tmp_path / "y.zip").symlink_to(tmp_path / "x.zip")
    with pytest.raises(RunFolderError, match="cannot be unpacked"):
        unpack(tmp_path / "y.zip", tmp_path / "out")


def test_a_place_of_another_step_is_not_told_as_that_of_the_archive(folder, tmp_path, monkeypatch):
    """ "p.zip cannot be made. Name another one" was said where the folder for temporary files could not be written."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"--out FILE"):
        pack(folder, 40, AGENT, "card", tmp_path / "file" / "p.zip")

    def refuse(*arguments):
        raise PermissionError(13, "Permission denied", "/elsewhere")

    with monkeypatch.context() as patch:
        patch.setattr(archive, "replace_file", refuse)
        with pytest.raises(ConfigError, match=r"p\.zip cannot be made: .*Name another one: --out FILE"):
            pack(folder, 40, AGENT, "card", tmp_path / "p.zip")
    monkeypatch.setattr(archive, "temporary", refuse)
    with pytest.raises(PermissionError, match="/elsewhere"):
        pack(folder, 40, AGENT, "card", tmp_path / "p.zip")


def test_a_folder_with_a_log_is_not_new(folder, tmp_path):
    """It was refused without a remedy, when all was unpacked."""
    pack(folder, 40, AGENT, "card", tmp_path / "p.zip")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "job.log").write_text("")
    with pytest.raises(RunFolderError, match="out is not empty: name another folder"):
        unpack(tmp_path / "p.zip", tmp_path / "out")
