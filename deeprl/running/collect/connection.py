"""The one place that joins or starts Ray: who can reach it, and where its processes find their modules.

By itself, Ray listens on every interface of the machine, and lets its processes search the current folder of this one first. That may be a
run folder of somebody else, with a `deeprl` or a `yaml.py` of its own.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
from pathlib import Path
from typing import Any

from deeprl.errors import ConfigError, on_one_line
from deeprl.system.machine import extra
from deeprl.system.portable import open_plain
from deeprl.system.terminal import say

OLDEST = (2, 59)
"""The first Ray whose local instances ask for a token by default"""
LOOPBACK = ("127.0.0.1", "::1")


def package(wanted: str) -> Any:
    """Ray, imported.

    Args:
        wanted: the words that ask for it.

    Raises:
        ConfigError: it is missing.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # sends nothing home
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # an actor without a GPU sees the same devices as before
    os.environ.setdefault("RAY_worker_niceness", "0")  # the learner waits for actors: other work must not go before them
    try:
        import ray
    except ImportError:
        raise ConfigError(f"{wanted} needs the package ray: {extra('ray')}; or leave {wanted} out.") from None
    return ray


def connect(address: str | None, wanted: str, key: str, **own: object) -> Any:
    """Join a Ray, or start one that listens on this machine's loopback address only, and asks for a token. Returns the package.

    Args:
        address: of a cluster, or auto; None starts Ray on this machine.
        wanted: the words that ask for Ray.
        key: of the address, for messages.
        own: further arguments for a Ray that is started.

    Raises:
        ConfigError: Ray is missing or too old, or the address is that of no cluster that takes this user's token.
    """
    if address in ("", "local"):  # by which Ray would start one that listens everywhere
        raise ConfigError(f"{key}={address!r} is no cluster: without an address, Ray is started on this machine.")
    if address is None:
        # read when ray is imported: by this Ray keeps to the loopback address on Windows and macOS; the name is all that is theirs
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        own = {"include_dashboard": False, **own}
    ray = package(wanted)
    if address is None:
        require_tokens(ray, wanted)
    try:
        if address is None:
            prepare_token()
        path = search_path()
        job = ray.job_config.JobConfig(_py_driver_sys_path=path[::-1])  # Ray puts one before the other, and the current folder before all
        with contextlib.chdir(next(entry for entry in path if os.path.isdir(entry))):
            ray.init(address=address or "local", log_to_driver=False, logging_level="ERROR", job_config=job, **own)
    except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        raise ConfigError(f"{key}={address}: {on_one_line(error)}") from error
    if address is None and (host := ray.util.get_node_ip_address()) not in LOOPBACK:
        say(
            f"Ray listens on {host}, because the package ray was imported before deeprl could tell it not to: import it later, or set "
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0"
        )
    return ray


def search_path() -> list[str]:
    """Where this process finds modules, in its order. The current folder is there only if this process searches it too."""
    return [os.path.abspath(entry) for entry in sys.path if os.path.exists(entry or os.curdir)]


def require_tokens(ray: Any, wanted: str) -> None:
    """
    Raises:
        ConfigError: this Ray is too old to ask for a token by default.
    """
    if tuple(int(part) for part in ray.__version__.split(".")[:2]) < OLDEST:
        wants = ".".join(map(str, OLDEST))
        raise ConfigError(f"{wanted} needs ray>={wants}, and {ray.__version__} is installed: {extra('ray')}.")


def prepare_token() -> None:
    """Let the Ray that this process starts ask for the user's token, which is made if there is none.

    Raises:
        OSError: it cannot be written.
    """
    os.environ.pop("RAY_AUTH_MODE", None)  # which may switch tokens off; without it Ray switches them on
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return
    file = Path.home() / ".ray" / "auth_token"  # where Ray would make it, readable for others
    if not file.exists():
        write_token(file)
    elif file.stat().st_mode & 0o077:
        say(f"{file} lets other users of this machine run code in your Ray: chmod 600 {file}")


def write_token(file: Path) -> None:
    """Make a token that its owner alone can read. Another process that makes one meanwhile is obeyed."""
    file.parent.mkdir(exist_ok=True)
    new = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    handle = open_plain(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(handle, "w") as stream:
            stream.write(secrets.token_hex(32))
        with contextlib.suppress(FileExistsError):
            os.link(new, file)  # unlike a rename, it replaces nothing
    finally:
        new.unlink()
