"""`deeprl hub push | pull`: packed policies on the Hugging Face Hub."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deeprl.cli.arguments import allow_package
from deeprl.errors import FINISHED, ConfigError, RunFolderError
from deeprl.running.runs.places import make_place, making
from deeprl.system.machine import extra, lacking
from deeprl.system.temporary import temporary
from deeprl.system.terminal import described, print_end

POLICY, CARD = "policy.zip", "README.md"
REPOSITORY = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*", re.ASCII)
LONGEST = 1 << 20
"""Bytes of a card"""
FRONT = "---\nlibrary_name: deeprl\npipeline_tag: reinforcement-learning\ntags: [reinforcement-learning, deeprl]\n---\n\n"
"""By which the Hub lists a repository"""


def arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="action")
    push = actions.add_parser("push", help="upload a policy; with the token of `hf auth login`, or of HF_TOKEN")
    push.add_argument("run", type=Path, help="a run folder, or an archive of deeprl pack")
    push.add_argument("repository", type=repository, help="USER/NAME; made if there is none")
    push.add_argument("--checkpoint", default="last", help="of a run folder: best, last or a step")
    push.add_argument("--private", action="store_true", help="if the repository is made now")
    allow_package(push)
    pull = actions.add_parser("pull", help="download a policy as an archive; nothing in it is executed")
    pull.add_argument("repository", type=repository, help="USER/NAME")
    pull.add_argument("--out", type=Path, metavar="FILE", help="where to write (default: NAME.zip, here)")
    pull.add_argument("--revision", help="a commit, branch or tag; name a commit to get the same policy again")


def repository(text: str) -> str:
    if REPOSITORY.fullmatch(text):
        return text
    raise argparse.ArgumentTypeError(f"it is USER/NAME on the Hub, not {text!r:.80}")


def run(options: argparse.Namespace) -> int:
    if lacking(["huggingface_hub"]):
        raise ConfigError(f"deeprl hub needs huggingface_hub: {extra('hub')}")
    {"push": push, "pull": pull}[options.action](options)
    return FINISHED


def push(options: argparse.Namespace) -> None:
    from huggingface_hub import CommitOperationAdd, HfApi

    with temporary() as made:
        archive = options.run if options.run.is_file() else packed(options, made)
        card = require_policy(archive, str(archive))
        files = [CommitOperationAdd(POLICY, archive), CommitOperationAdd(CARD, FRONT.encode() + card)]
        with reached(options.repository):
            api = HfApi()
            api.create_repo(options.repository, private=options.private or None, exist_ok=True)
            commit = api.create_commit(options.repository, files, commit_message=f"{archive.name} of deeprl pack")
    print_end(f"{options.repository}: {commit.commit_url}. To use it: deeprl hub pull {options.repository}")


def packed(options: argparse.Namespace, folder: Path) -> Path:
    """The archive of a run folder, in `folder`."""
    from deeprl.running.runs.archive import pack
    from deeprl.running.runs.folder import RunFolder
    from deeprl.running.session.api import load
    from deeprl.tools.export.card import card

    found = load(options.run, options.checkpoint, tuple(options.allow_package))
    text = card(found, RunFolder(options.run).read_system(), f"{options.repository.split('/')[1]}.zip")
    return pack(options.run, found.step, found.agent.state(), text, folder / POLICY, best=options.checkpoint == "best")


def pull(options: argparse.Namespace) -> None:
    from huggingface_hub import HfApi, hf_hub_download

    from deeprl.running.runs.archive import LIMIT, PIECE
    from deeprl.system.files import opened, replace_file

    out = options.out or Path(f"{options.repository.split('/')[1]}.zip")
    if os.path.lexists(out):
        raise RunFolderError(f"{out} exists: name another file (--out FILE), or remove it")
    make_place(out.parent, str(out.parent), "--out FILE")
    with temporary() as made:
        with reached(options.repository):
            sizes = [info.size for info in HfApi().get_paths_info(options.repository, [POLICY], revision=options.revision)]
            if not sizes or sizes[0] > LIMIT:
                raise RunFolderError(f"{options.repository} has no {POLICY} of at most {LIMIT:,} bytes")
            path = Path(hf_hub_download(options.repository, POLICY, revision=options.revision, local_dir=made))
        require_policy(path, options.repository)
        with opened(path) as file, making(str(out), "--out FILE"):
            replace_file(out, iter(lambda: file.read(PIECE), b""))
    quoted = shlex.quote(str(out))
    print_end(f"{out}: {out.stat().st_size:,} bytes. To use it: deeprl eval {quoted}, or deeprl unpack {quoted} FOLDER")


def require_policy(path: Path, name: str) -> bytes:
    """The card of an archive.

    Args:
        name: of the archive, in messages.

    Raises:
        RunFolderError: it is none of `deeprl pack`, or its card is longer than `LONGEST`.
    """
    from deeprl.running.runs.archive import WRONG, checked
    from deeprl.system.files import opened, said

    try:
        with opened(path) as file, zipfile.ZipFile(file) as archive:
            checked(archive)
            if archive.getinfo(CARD).file_size > LONGEST:
                raise ValueError(f"its {CARD} has more than {LONGEST:,} bytes")
            return archive.read(CARD)
    except (*WRONG, OSError) as error:
        raise RunFolderError(f"{name} is no archive of deeprl pack: {said(error)}") from None


@contextmanager
def reached(name: str) -> Iterator[None]:
    """
    Raises:
        RunFolderError: the Hub does not answer, or refuses.
    """
    try:
        yield
    except RunFolderError:
        raise
    except Exception as error:  # of the library, or of one of those with which it connects
        raise RunFolderError(f"{name} on the Hub: {described(error)}") from error
