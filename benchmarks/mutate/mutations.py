"""Mutations of a run folder: each changes one thing and says what it did. `forge` then lets sizes and hashes fit, as a stranger would."""

from __future__ import annotations

import hashlib
import json
import os
import random
import struct
from pathlib import Path

import yaml

from benchmarks.mutate.parts import part

NASTY = [
    None, True, -1, 0, 2**31, 2**63, 10**30, -(2**63), 0.5, 1e308, "", "..", "../../../etc/passwd", "/etc/passwd", "a" * 10_000,
    "\x1b[2J", [], {}, [[]] * 1000, {"$tensor": "w"}, {"$float": "inf"}, {"$float": "nan"}, {"$array": ["w", "O"]},
    {"$object": "os.system"}, {"$dict": [[1, 2]]}, {"$tuple": []}, "${oc.env:HOME}", 25_000, [25_000, 25_000], "meta",
    "canary", "canary.Thing", "canary:Thing-v0", "deeprl.system.files.replace_file", "deeprl.agents.dvw.DVW",
    {"_target_": "canary.Thing"}, {"path": "canary.Thing", "kwargs": {}}, {"path": "deeprl.system.files.sync_folder"},
]  # fmt: skip
"""The canary is a package that can be imported, and must not be."""
TEXTS = ("NaN", "1e999", "{", "[" * 10_000, '"a":1,"a":1', "9" * 5000, "\0", "\\ud800", "[" + "1," * 3_000_000 + "1]")
"""Put into the text of a JSON file."""


# ---- bytes of a checkpoint's files


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


# ---- one leaf of a JSON or YAML file


def leaf(folder: Path, dice: random.Random) -> str:
    """Another value in place of one, a key less, or a key more."""
    path = dice.choice(structured(folder.parent.parent, folder))
    lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    at = dice.randrange(len(lines))
    if path.suffix != ".yaml" and dice.random() < 0.1:
        place, text = dice.randrange(len(lines[at])), dice.choice(TEXTS)
        lines[at] = lines[at][:place] + text + lines[at][place:]
        path.write_text("\n".join(lines) + "\n")
        return f"text of {named(path)}: {text[:20]!r}"
    content = yaml.safe_load(lines[at]) if path.suffix == ".yaml" else json.loads(lines[at])
    parent, key = dice.choice(list(walk(content)))
    kind, old = dice.random(), parent[key]
    if kind < 0.1:
        del parent[key]
        new = "removed"
    elif kind < 0.3 and isinstance(old, (int, float)) and not isinstance(old, bool):
        new = parent[key] = old * dice.choice((-1, 2, 1000, 10**12)) + dice.choice((-1, 0, 1))
    elif kind < 0.4 and isinstance(parent, dict):
        new = parent[dice.choice(("more", "_target_", "_partial_", "$tensor", "xml_file"))] = dice.choice(NASTY)
    else:
        new = parent[key] = dice.choice(NASTY)
    lines[at] = yaml.safe_dump(content) if path.suffix == ".yaml" else json.dumps(content)
    path.write_text("\n".join(lines) + "\n")
    return f"{named(path)}: {key!s:.40} = {new!r:.60}"


def structured(run: Path, newest: Path) -> list[Path]:
    """Files with leaves, the configuration thrice, because it has the most of them."""
    names = ("status.json", "system.json", "summary.json", "evaluations.jsonl", "metrics.jsonl", *["config.yaml"] * 3)
    (bundle,) = (run / "crash").iterdir()
    saved = (folder / name for folder in (newest, bundle) for name in ("state.json", "manifest.json"))
    return [*(run / name for name in names), *saved, bundle / "config.yaml"]


def named(path: Path) -> str:
    return "/".join(path.parts[-2:]) if "crash" in path.parts else path.name


# ---- links


def link(folder: Path, dice: random.Random) -> str:
    """A link, or a pipe, at a name that resuming writes."""
    run = folder.parent.parent
    path = run / dice.choice(written(run, folder))
    if path.is_dir() and not path.is_symlink():
        path.rename(path.with_name(f"{path.name}_aside"))
    path.unlink(missing_ok=True)
    outside = run.parent / "outside"
    target = dice.choice((outside / "precious", outside / "new", outside, None))
    if target is None:
        os.mkfifo(path)
    else:
        path.symlink_to(target)
    return f"{path.relative_to(run)} -> {target.name if target else 'a pipe'}"


def written(run: Path, newest: Path) -> list[str]:
    """Names below a run folder that resuming makes, or replaces."""
    step, after = newest.name, "step_000000000240"
    return [
        *("config.yaml", "status.json", "system.json", "summary.json", "metrics.jsonl", "evaluations.jsonl", "lock", "stacks.txt"),
        *("traceback.txt", "crash", "videos", "replay", "checkpoints", "events.out.tfevents.9999999999.host.1.0"),
        *(f".{name}.{'0' * 16}.partial" for name in ("config.yaml", "status.json", "metrics.jsonl")),
        *(f"checkpoints/{name}" for name in ("last", "best", step, after, f".{after}.partial", f"{step}~replaced", f"{after}~replaced")),
        *(f"replay/segment_{number:08d}.safetensors" for number in range(1, 8)),
        *(f"replay/.segment_{number:08d}.safetensors.partial" for number in range(1, 8)),
    ]


MUTATIONS = (leaf, leaf, leaf, part, part, part, part, link, flip, truncate, remove, swap, header, numbers)


# ---- what they share


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
