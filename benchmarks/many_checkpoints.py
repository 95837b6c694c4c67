"""Ten thousand checkpoints of one run: time and bytes of the tenth, the thousandth and the last.

python -m benchmarks.many_checkpoints [--number 10000] [--envs 8] [--rows 400] [--folder FOLDER]

Each checkpoint holds a small agent and adds `rows` replay rows of 100 bytes, as a run with frequent checkpoints does. The ring holds a
quarter of all rows, so that old segments are dropped.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

from deeprl.running.runs.checkpoint import read_manifest, step_folder
from deeprl.running.runs.checkpoints import Checkpoints

BYTES = 100


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=10_000)
    parser.add_argument("--envs", type=int, default=8)
    parser.add_argument("--rows", type=int, default=400, help="of all environments, each time")
    parser.add_argument("--folder", type=Path, default=None, help="where the disk to be measured is")
    options = parser.parse_args()
    each, capacity = options.rows // options.envs, options.number * options.rows // options.envs // 4
    agent = {"weights": torch.zeros(10_000)}
    seconds: list[float] = []
    print("| checkpoint | seconds, median of the last ten | bytes of the manifest | segments | bytes of the run folder |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        run, began = Path(folder) / "run", time.perf_counter()
        checkpoints = Checkpoints(run)
        totals = {}
        for number in range(1, options.number + 1):
            start = torch.full((options.envs,), (number - 1) * each)
            rows = {"rows": torch.zeros(options.envs * each, BYTES, dtype=torch.uint8), "start": start, "stop": start + each}
            done = checkpoints.save(number, {"agent": agent}, rows, live_from=[max(0, number * each - capacity)] * options.envs)
            seconds.append(done["seconds"])
            totals[number] = time.perf_counter() - began
            if number in (10, options.number // 10, options.number):
                manifest = run / "checkpoints" / step_folder(number)
                size = sum(path.stat().st_size for path in run.rglob("*") if path.is_file())
                listed = len(read_manifest(manifest)["segments"])
                median = statistics.median(seconds[-10:])
                print(f"| {number:,} | {median:.4f} | {(manifest / 'manifest.json').stat().st_size:,} | {listed} | {size:,} |", flush=True)
    tenth = options.number // 10
    first, all_of_them = totals[tenth], totals[options.number]
    print(f"{tenth:,} took {first:.1f} s, {options.number:,} {all_of_them:.1f} s: {all_of_them / first:.1f} times as long")
    return 0


if __name__ == "__main__":
    sys.exit(main())
