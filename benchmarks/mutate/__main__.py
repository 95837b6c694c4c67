"""Run folders mutated as chance and as strangers would, read by the commands. No mutation may crash, hang, run code or reach outside.

python -m benchmarks.mutate [--number 10000] [--seed 0] [--results benchmarks/results/mutate.jsonl]

A short run with prioritised replay is trained, and a crash bundle is put beside it. Each mutation is applied to a copy of its folder, which
commands then read in one process: bytes of a checkpoint's files, one leaf of any JSON or YAML file, a link at a name that resuming writes
(`deeprl eval`, `resume` and `status`, a run with `init_from`, or `replay-crash`); or a whole part of the configuration, made of names that
call something, files and connections (`eval`, `resume`, `record`, `export` or `replay-crash`). Half of them get manifests whose sizes and
hashes fit. A trial may take 5 s of processor time and 2 GiB of memory; an audit hook sees what it starts, connects to, imports, or writes
elsewhere. `benchmarks.mutate.texts` and `.studies` follow, with one sweep or study in a hundred mutations. `benchmarks/mutate/trial.py`
explains the outcomes; the exit code counts the bad ones.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.kill_and_resume import start
from benchmarks.mutate import studies, texts
from benchmarks.mutate.campaign import ROOM, campaign, shown, table
from benchmarks.mutate.trial import WORDS, add_bundle


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=None, help="a file that the campaign goes on with")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source, began = Path(folder) / "run", time.monotonic()
        if start(source, [*WORDS, "checkpoint.keep=2"]).wait() != 0:
            raise SystemExit("the run to be mutated failed")
        add_bundle(source)
        done = campaign(source, options.seed, options.number, options.results or Path(folder) / "results.jsonl")
        print(table(done))
        bad = [entry for entry in done if entry["outcome"].startswith("BAD")]
        for entry in [*bad[:50], *[entry for entry in done if entry["outcome"].startswith("failed")][:50]]:
            print(shown(entry))
        print("the ten slowest:")
        for entry in sorted(done, key=lambda entry: -entry["seconds"])[:10]:
            print(f"  {entry['seconds']:.2f} s  {shown(entry)[:160]}")
        print(f"{len(done):,} mutations in {time.monotonic() - began:.0f} s, memory limit {ROOM >> 20:,} MiB, {len(bad)} bad")
    return min(len(bad) + texts.run() + studies.run(options.number // 100), 100)


if __name__ == "__main__":
    sys.exit(main())
