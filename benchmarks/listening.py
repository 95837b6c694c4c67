"""Where a command and the processes that it starts listen for connections.

    python -m benchmarks.listening COMMAND ...

    python -m benchmarks.listening deeprl train agent=td3 env=classic/pendulum collect=ray budget=tiny
    python -m benchmarks.listening torchrun --nproc-per-node=2 train.py learner=distributed env=classic/cartpole budget=tiny

The command runs to its end. /proc is read every tenth of a second, so that a socket of a shorter life is missed. Linux only.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

LISTENING = "0A"
"""State of a socket, in /proc/net/tcp"""


def ip(digits: str) -> str:
    """The address that /proc/net/tcp spells as words of four bytes, each in the order of this machine."""
    words = [bytes.fromhex(digits[start : start + 8]) for start in range(0, len(digits), 8)]
    packed = b"".join(word[::-1] if sys.byteorder == "little" else word for word in words)
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed).removeprefix("::ffff:")


def sockets() -> dict[str, tuple[str, int]]:
    """Address and port of all listening TCP sockets, by the number of their inode."""
    found = {}
    for name in ("tcp", "tcp6"):
        for line in Path("/proc/net", name).read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == LISTENING:
                address, port = words[1].split(":")
                found[words[9]] = ip(address), int(port, 16)
    return found


def family(pid: int) -> list[int]:
    """A process and those that it has started, directly or not."""
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended
            continue
        parents.setdefault(parent, []).append(int(path.parent.name))
    found = [pid]
    for each in found:
        found.extend(parents.get(each, []))
    return found


def listening(pid: int) -> dict[tuple[str, int], str]:
    """Each address and port where a process or one that it has started listens by TCP, and the words of that process."""
    found, known = dict[tuple[str, int], str](), sockets()
    for each in family(pid):
        try:
            links = [os.readlink(path) for path in Path(f"/proc/{each}/fd").iterdir()]
            words = Path(f"/proc/{each}/cmdline").read_text().split("\0")
        except OSError:  # it has ended
            continue
        inodes = {link.removeprefix("socket:[").removesuffix("]") for link in links}
        found |= {known[inode]: " ".join(os.path.basename(word) for word in words[:3]).strip() for inode in inodes & set(known)}
    return found


def main() -> int:
    if not sys.argv[1:]:
        print(__doc__)
        return 2
    process, found = subprocess.Popen(sys.argv[1:]), dict[tuple[str, int], str]()
    while process.poll() is None:
        found |= listening(process.pid)
        time.sleep(0.1)
    for (address, port), words in sorted(found.items()):
        print(f"{address:>15} {port:>5}  {words.splitlines()[0][:60]}")
    return process.returncode


if __name__ == "__main__":
    sys.exit(main())
