"""Policies on the Hub, which a folder stands in for."""

import errno
import shutil
import sys
import types
import zipfile

import pytest

from deeprl.cli.main import parsed
from deeprl.errors import RunFolderError


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A module with the calls of huggingface_hub that are made, on a folder."""
    root = tmp_path / "hub"

    class Api:
        def create_repo(self, name, private=None, exist_ok=False):
            (root / name).mkdir(parents=True, exist_ok=exist_ok)

        def create_commit(self, name, operations, commit_message):
            for operation in operations:
                content = operation.content
                (root / name / operation.path).write_bytes(content if isinstance(content, bytes) else content.read_bytes())
            return types.SimpleNamespace(commit_url=f"https://hub/{name}")

        def get_paths_info(self, name, paths, revision=None):
            if not (root / name).is_dir():
                raise LookupError(f"404: {name}")
            return [types.SimpleNamespace(size=(root / name / path).stat().st_size) for path in paths if (root / name / path).exists()]

    module = types.ModuleType("huggingface_hub")
    module.__spec__ = types.SimpleNamespace(name="huggingface_hub")
    module.HfApi = Api
    module.CommitOperationAdd = lambda path, content: types.SimpleNamespace(path=path, content=content)
    module.hf_hub_download = lambda name, path, revision=None, local_dir=None: shutil.copy(root / name / path, local_dir)
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    monkeypatch.chdir(tmp_path)
    return root


def deeprl(*words):
    run, options = parsed(["hub", *words])
    return run(options)


def archive(path, names=("config.yaml", "README.md"), content="# A policy\n"):
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            file.writestr(name, content)
    return path


def test_a_policy_goes_to_the_hub_with_its_card_and_comes_back_as_it_was(hub, tmp_path):
    path = archive(tmp_path / "mine.zip")
    deeprl("push", str(path), "me/cart.pole")
    card = (hub / "me/cart.pole/README.md").read_text()
    assert card.startswith("---\nlibrary_name: deeprl\n")
    assert card.endswith("# A policy\n")
    deeprl("pull", "me/cart.pole")
    assert (tmp_path / "cart.pole.zip").read_bytes() == path.read_bytes()
    with pytest.raises(RunFolderError, match=r"cart.pole.zip exists: name another file"):
        deeprl("pull", "me/cart.pole")


def test_a_full_disk_leaves_no_half_of_an_archive(hub, tmp_path, monkeypatch):
    deeprl("push", str(archive(tmp_path / "mine.zip")), "me/pole")

    def full(path, pieces):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("deeprl.system.files.replace_file", full)
    with pytest.raises(RunFolderError, match="No space left"):
        deeprl("pull", "me/pole", "--out", "new/pole.zip")
    assert not list((tmp_path / "new").iterdir())


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("config.yaml", "../evil.py"), "which no policy has"),
        (("config.yaml", "payload.pkl"), "which no policy has"),
        ((), "no config.yaml"),
    ],
)
def test_a_hostile_archive_is_refused_and_nothing_is_written(hub, tmp_path, names, said):
    (hub / "you/bad").mkdir(parents=True)
    archive(hub / "you/bad/policy.zip", names)
    with pytest.raises(RunFolderError, match=said):
        deeprl("pull", "you/bad")
    with pytest.raises(RunFolderError, match=said):
        deeprl("push", str(hub / "you/bad/policy.zip"), "me/bad")
    assert not (tmp_path / "bad.zip").exists()
    assert not (hub / "me").exists()


def test_a_bomb_is_no_card(hub, tmp_path):
    path = archive(tmp_path / "bomb.zip", content=b"\0" * (2 << 20))
    with pytest.raises(RunFolderError, match=r"its README.md has more than 1,048,576 bytes"):
        deeprl("push", str(path), "me/bad")


def test_what_is_not_there_is_told(hub):
    with pytest.raises(RunFolderError, match="me/none on the Hub: .*404"):
        deeprl("pull", "me/none")
    (hub / "me/empty").mkdir(parents=True)
    with pytest.raises(RunFolderError, match=r"me/empty has no policy.zip"):
        deeprl("pull", "me/empty")
    for wrong in ("me", "me/../x", "https://hub/me/x", "me/x y"):
        with pytest.raises(Exception, match="USER/NAME on the Hub"):
            deeprl("pull", wrong)
