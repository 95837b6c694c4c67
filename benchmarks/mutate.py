"""Checkpoints mutated as chance and as strangers would, loaded in process under a memory limit. No mutation may crash, hang or run code.

python -m benchmarks.mutate [--number 10000] [--seed 0] [--results benchmarks/results/mutate.jsonl]

A short run with prioritised replay is trained. Each mutation is applied to a copy of its folder and then loaded in all ways:
`deeprl.load` as `deeprl eval` does, then `Trainer.restore` and a few steps of training as `deeprl resume` does. Half of them get a
manifest whose sizes and hashes fit. Outcomes:

    refused    a CheckpointError or ConfigError, a sentence that says why
    previous   detected and skipped: the checkpoint before it was used, with a warning
    trained    what was changed is a checkpoint still, with other numbers; it loads, and training goes on
    stopped    it loads, and training ends with a sentence: a weight or loss that is not finite, an environment that refuses
    harmless   the same, but weights and step are as they were
    BAD        anything else: another exception, a crash, a hang; the exit code counts these
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

ROOM = 2 << 30
"""Bytes of address space on top of what the process has when it starts to load."""
PATIENCE = 60
"""Seconds until a mutation counts as a hang."""
WORDS = (
    "agent=dqn", "env=classic/cartpole", "env.num=2", "steps=240", "learning_starts=60", "replay_ratio=0.5",
    "replay=prioritized", "replay.capacity=150", "replay.batch_size=16", "agent.torso.hidden=[16]",
    "agent.explore.schedule.duration=100", "evaluation.every=null", "evaluation.episodes=1", "evaluation.final_episodes=1",
    "checkpoint.every=100", "log.every=50", "runtime.threads=1",
)  # fmt: skip
NASTY = [
    None, True, -1, 0, 2**31, 2**63, 10**30, -(2**63), 0.5, 1e308, "", "..", "../../../etc/passwd", "/etc/passwd", "a" * 10_000,
    "\x1b[2J", [], {}, [[]] * 1000, {"$tensor": "w"}, {"$float": "inf"}, {"$float": "nan"}, {"$array": ["w", "O"]},
    {"$object": "os.system"}, {"$dict": [[1, 2]]}, {"$tuple": []}, "${oc.env:HOME}",
]  # fmt: skip


# ---- mutations: each changes one file of a checkpoint's folder and says what it did


def flip(folder: Path, dice: random.Random) -> str:
    path = any_file(folder, dice)
    data = bytearray(path.read_bytes())
    for _ in range(dice.choice((1, 1, 1, 8, 64))):
        if data:
            data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    path.write_bytes(data)
    return f"bits of {path.name}"


def truncate(folder: Path, dice: random.Random) -> str:
    path = any_file(folder, dice)
    data = path.read_bytes()
    path.write_bytes(data[: dice.randrange(len(data))] if dice.random() < 0.7 and data else data + dice.randbytes(dice.randrange(1, 5000)))
    return f"length of {path.name}"


def remove(folder: Path, dice: random.Random) -> str:
    path = any_file(folder, dice)
    path.unlink()
    if dice.random() < 0.3:
        path.symlink_to("/dev/zero")
    elif dice.random() < 0.3:
        os.mkfifo(path)
    return f"{path.name} removed"


def swap(folder: Path, dice: random.Random) -> str:
    one, other = any_file(folder, dice), any_file(folder, dice, tensors=True)
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
    return f"{one.name} and {other.name} swapped"


def edit(folder: Path, dice: random.Random) -> str:
    """Somewhere in a JSON file: another value, a key more, less, or twice; or the text itself."""
    path = folder / dice.choice(("state.json", "state.json", "manifest.json"))
    if dice.random() < 0.1:
        text = path.read_text()
        at = dice.randrange(len(text))
        path.write_text(
            text[:at] + dice.choice(("NaN", "1e999", "{", "[" * 10_000, '"a":1,"a":1', "9" * 5000, "\0", "\\ud800")) + text[at:]
        )
        return f"text of {path.name}"
    content = json.loads(path.read_text())
    places = list(walk(content))
    parent, key = dice.choice(places)
    kind = dice.random()
    if kind < 0.15:
        del parent[key]
    elif kind < 0.3:
        _, other = places[dice.randrange(len(places))], dice.choice(places)
        parent[key] = json.loads(json.dumps(other[0][other[1]])) if depth(other[0][other[1]]) < 30 else None
    elif kind < 0.5 and isinstance(parent[key], (int, float)) and not isinstance(parent[key], bool):
        parent[key] = parent[key] * dice.choice((-1, 2, 1000, 10**12)) + dice.choice((-1, 0, 1))
    else:
        parent[key] = dice.choice(NASTY)
    path.write_text(json.dumps(content))
    return f"values of {path.name}"


def header(folder: Path, dice: random.Random) -> str:
    """The table of a tensor file: names, types, shapes, places."""
    path = any_file(folder, dice, tensors=True)
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    if dice.random() < 0.2:
        path.write_bytes(struct.pack("<Q", dice.choice((0, 2**20, 2**24, 2**32, 2**63, 2**64 - 1))) + data[8:])
        return f"length of the header of {path.name}"
    table = json.loads(data[8 : 8 + length])
    name = dice.choice([key for key in table if key != "__metadata__"])
    entry, kind = table[name], dice.randrange(5)
    if kind == 0:
        entry["dtype"] = dice.choice(("F64", "F32", "F16", "BF16", "U8", "I64", "BOOL", "U64", "F8_E4M3", "O"))
    elif kind == 1:
        entry["shape"] = dice.choice(([2**40], [2**33, 2**33], [0], [], [1, *entry["shape"]], entry["shape"][::-1], [-1]))
    elif kind == 2:
        entry["data_offsets"] = [dice.choice((0, 4, 2**40, -8)), dice.choice((0, 8, 2**41))]
    elif kind == 3:
        table[dice.choice(("../x", "", "__metadata__", "a" * 1000))] = table.pop(name)
    else:
        other = dice.choice([key for key in table if key != "__metadata__"])
        table[name], table[other] = table[other], table[name]
    text = json.dumps(table).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])
    return f"table of {path.name}"


def numbers(folder: Path, dice: random.Random) -> str:
    """Some tensor's values: what no hash protects if the manifest is a stranger's."""
    path = any_file(folder, dice, tensors=True)
    data = bytearray(path.read_bytes())
    (length,) = struct.unpack("<Q", data[:8])
    start, stop = dice.choice([e["data_offsets"] for k, e in json.loads(data[8 : 8 + length]).items() if k != "__metadata__"])
    pattern = dice.choice(
        (b"\xff", b"\0", b"\x7f", struct.pack("<f", float("nan")), struct.pack("<f", float("inf")), struct.pack("<q", 2**62))
    )
    size = stop - start
    data[8 + length + start : 8 + length + stop] = (pattern * (size // len(pattern) + 1))[:size]
    path.write_bytes(data)
    return f"numbers of {path.name}"


MUTATIONS = (flip, flip, truncate, remove, swap, edit, edit, edit, header, header, numbers)


def any_file(folder: Path, dice: random.Random, tensors: bool = False) -> Path:
    """Of the checkpoint or, one time in five, a replay segment."""
    found = sorted(p for p in folder.iterdir() if p.suffix == ".safetensors" or not tensors)
    if dice.random() < 0.2:
        found = sorted((folder.parent.parent / "replay").glob("segment_*"))
    return dice.choice(found)


def walk(content):
    """(parent, key) of everything in it."""
    for key, item in content.items() if isinstance(content, dict) else enumerate(content):
        yield content, key
        if isinstance(item, (dict, list)):
            yield from walk(item)


def depth(content) -> int:
    inside = content.values() if isinstance(content, dict) else content if isinstance(content, list) else ()
    return 1 + max(map(depth, inside), default=0)


def forge(folder: Path) -> None:
    """Make sizes and hashes fit whatever is there now, as far as the manifest can still be read."""
    if not plain(folder / "manifest.json"):
        return
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest.pop("sha256", None)
        for path in folder.iterdir():
            if path.name != "manifest.json" and plain(path):
                manifest["files"][path.name] = fitting(path)
        for entry in manifest["segments"]:
            path = folder.parent.parent / "replay" / entry["file"]
            if plain(path):
                entry.update(fitting(path))
        manifest["sha256"] = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
        (folder / "manifest.json").write_text(json.dumps(manifest))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass


def plain(path: Path) -> bool:
    """Neither missing nor a link to /dev/zero nor a pipe, which would never end."""
    return path.is_file() and not path.is_symlink()


def fitting(path: Path) -> dict:
    data = path.read_bytes()
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


# ---- loading


def outcome(path: Path, trainer, whole: dict) -> str:
    """Load the run at `path` in all ways."""
    import torch

    import deeprl
    from deeprl.envs.vector.environments import EnvironmentFailed
    from deeprl.errors import CheckpointError, CheckpointWarning, ConfigError, NotFinite, RunFolderError
    from deeprl.runs.checkpoints import Checkpoints
    from deeprl.runs.folder import RunFolder

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            deeprl.load(path)
            trainer.folder, trainer.checkpoints = RunFolder(path), Checkpoints(path, 2)
            trainer.best = trainer.final = trainer.learned = None
            trainer.restore()
        except (CheckpointError, ConfigError, RunFolderError):
            return "refused"
        if any(issubclass(w.category, CheckpointWarning) for w in said):
            return "previous"
        same = all(torch.equal(v, whole["module"].get(k)) for k, v in trainer.agent.state()["module"].items())
        step = trainer.step
        try:
            trainer.metrics()
            for _ in range(10):
                trainer.collector.tick(trainer.step)
                trainer.step += 2
                trainer.learn()
                trainer.agent.tick(trainer.step - 2, trainer.step)
        except (NotFinite, EnvironmentFailed):
            return "stopped"
    return "harmless" if same and step == whole["step"] else "trained"


def work(source: Path, seed: int, first: int, last: int, pipe) -> None:
    """Mutations `first` to `last`, each announced before it is loaded: if this process dies, the parent knows at which."""
    import torch

    from deeprl.runs.folder import RunFolder
    from deeprl.session.assemble import assemble

    config = RunFolder(source).read_config()
    with open(os.devnull, "w") as nowhere:
        sys.stderr = nowhere
        trainer = assemble(config, RunFolder(source))
        trainer.started = time.monotonic()
        trainer.restore()
        state = trainer.agent.state()
        whole = {"module": {k: v.clone() for k, v in state["module"].items()}, "step": trainer.step}
        torch.set_num_threads(1)
        now = int(next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmSize")).split()[1]) << 10
        resource.setrlimit(resource.RLIMIT_AS, (now + ROOM, now + ROOM))
        with tempfile.TemporaryDirectory() as place:
            for number in range(first, last):
                dice, run = random.Random(f"{seed}/{number}"), Path(place) / str(number)
                shutil.copytree(source, run)
                newest = max((run / "checkpoints").glob("step_*"))
                forged = number % 2 == 0
                mutation = dice.choice(MUTATIONS)
                what = mutation(newest, dice)
                if forged:
                    forge(newest)
                pipe.send({"number": number, "mutation": mutation.__name__, "what": what, "forged": forged})
                signal.alarm(PATIENCE)
                try:
                    found = outcome(run, trainer, whole)
                except BaseException as error:  # this is what is looked for
                    found = f"BAD {type(error).__name__}: {str(error)[:300]}"
                signal.alarm(0)
                pipe.send(found)
                shutil.rmtree(run)


def campaign(source: Path, seed: int, number: int, results: Path) -> list[dict]:
    """Goes on where `results` ends."""
    done = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    context = multiprocessing.get_context("spawn")
    while len(done) < number:
        ours, theirs = context.Pipe()
        worker = context.Process(target=work, args=(source, seed, len(done), min(number, len(done) + 2000), theirs))
        worker.start()
        theirs.close()
        with open(results, "a") as file:
            while True:
                try:
                    entry = ours.recv()
                except EOFError:
                    break
                try:
                    entry["outcome"] = ours.recv()
                except EOFError:
                    worker.join()
                    entry["outcome"] = f"BAD exit code {worker.exitcode}"
                done.append(entry)
                file.write(json.dumps(entry) + "\n")
        worker.join()
        if worker.exitcode and (not done or "exit code" not in done[-1]["outcome"]):
            raise SystemExit(f"the loading process ended with {worker.exitcode} before it loaded anything")
    return done


def table(done: list[dict]) -> str:
    kinds = ("refused", "previous", "stopped", "trained", "harmless", "BAD")
    rows = [["mutation", "manifest", "number", *kinds]]
    for name in sorted({entry["mutation"] for entry in done}):
        for forged in (False, True):
            counted = Counter(e["outcome"].split()[0] for e in done if (e["mutation"], e["forged"]) == (name, forged))
            rows.append([name, "fits" if forged else "as it was", str(sum(counted.values())), *(str(counted[kind]) for kind in kinds)])
    counted = Counter(entry["outcome"].split()[0] for entry in done)
    rows.append(["all", "", str(len(done)), *(str(counted[kind]) for kind in kinds)])
    return "\n".join(["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0]), *("| " + " | ".join(row) + " |" for row in rows[1:])])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=None, help="a file that the campaign goes on with")
    options = parser.parse_args()
    from benchmarks.kill_and_resume import start

    with tempfile.TemporaryDirectory() as folder:
        source, began = Path(folder) / "run", time.monotonic()
        if start(source, [*WORDS, "checkpoint.keep=2"]).wait() != 0:
            raise SystemExit("the run to be mutated failed")
        done = campaign(source, options.seed, options.number, options.results or Path(folder) / "results.jsonl")
        print(table(done))
        bad = [entry for entry in done if entry["outcome"].startswith("BAD")]
        for entry in bad[:50]:
            print(f"{entry['number']}: {entry['what']}{', manifest fits' if entry['forged'] else ''}: {entry['outcome']}")
        print(f"{len(done):,} mutations in {time.monotonic() - began:.0f} s, memory limit {ROOM >> 20:,} MiB, {len(bad)} bad")
    return min(len(bad), 100)


if __name__ == "__main__":
    sys.exit(main())
