"""Signals to a whole pipeline, `train.py 2>&1 | tee log`, at random moments: the run must be saved, and go on when it is resumed.

python -m benchmarks.pipelines [--number 40] [--seed N]

A terminal sends Ctrl-C to every process of a pipeline, and a scheduler sends its signal to a whole group. `tee` and `head` then die first,
so that the next word of the run meets a closed pipe. For each trial a pipeline is started in a process group of its own and gets one
signal: in its first second, in training, or in an evaluation, as it falls. What counts: the exit code of the run is 75, its status says
"stopped", and `deeprl resume` ends with 0. A signal before training has begun may end the run with nothing to save, and one after its end
comes too late: such trials are counted apart, and made again.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks.kill_and_resume import resume
from deeprl.running.runs.folder import RunFolder

ROOT = Path(__file__).resolve().parent.parent
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGXCPU)
READERS = ("tee {log}", "head -1 > {log}", "cat > {log}")
WORDS = (
    "agent=dqn", "steps=12000", "replay.learning_starts=500", "replay.capacity=3000", "evaluation.every=0.1",
    "evaluation.final_episodes=50",
    "checkpoint.every=0.3", "log.every=0.01", "runtime.threads=1",
)  # fmt: skip


def trial(folder: Path, number: signal.Signals, reader: str, delay: float) -> str:
    """One pipeline and one signal. Returns what came of it."""
    run, code = folder / "run", folder / "code"
    train = " ".join([sys.executable, str(ROOT / "train.py"), *WORDS, f"hydra.run.dir={run}"])
    script = f"({train}; echo $? > {code}) 2>&1 | {reader.format(log=folder / 'log')}"
    # the shells ignore the signal, so that they live to note the code; a handler of the run's own replaces that
    pipeline = subprocess.Popen(["bash", "-c", script], cwd=folder, start_new_session=True, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (run / "status.json").exists() and pipeline.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(delay)
    status = RunFolder(run).read_status()
    if status is None or status["state"] != "running":
        kill(pipeline, signal.SIGKILL)
        return "too late"
    pid = child(pipeline.pid)
    kill(pipeline, number)
    ended = wait(pid, 60)
    if not ended:
        kill(pipeline, signal.SIGKILL)
        return "BAD: still there after a minute"
    status = RunFolder(run).read_status() or {}
    if status.get("state") == "finished":
        return "too late"
    if status.get("state") != "stopped":
        return f"BAD: {status.get('state')}: {status.get('error')}"
    if resume(run).wait() != 0:
        return "BAD: resume failed"
    return "saved and resumed"


def child(shell: int) -> int:
    """The process that trains, below the shells of the pipeline."""
    for line in subprocess.run(["ps", "-eo", "pid,pgid,args"], capture_output=True, text=True, check=True).stdout.splitlines()[1:]:
        pid, group, words = line.split(None, 2)
        if int(group) == shell and words.startswith(sys.executable) and "train.py" in words:
            return int(pid)
    raise ProcessLookupError("no process of the pipeline trains")


def kill(pipeline: subprocess.Popen, number: signal.Signals) -> None:
    try:
        os.killpg(pipeline.pid, number)
    except ProcessLookupError:
        pass
    pipeline.poll()


def wait(pid: int, seconds: float) -> bool:
    """Whether the process ends in time. It is no child of this one."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=40)
    parser.add_argument("--seed", type=int, default=None, help="of the moments; by default the clock")
    options = parser.parse_args()
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # every SIGHUP would come too late, again and again
        parser.error("SIGHUP is ignored here, as under nohup, and so the runs would ignore it: start this without nohup")
    dice, counted, made = random.Random(options.seed), Counter[str](), 0
    while made < options.number:
        number, reader = SIGNALS[made % len(SIGNALS)], READERS[made % len(READERS)]
        with tempfile.TemporaryDirectory() as folder:
            came = trial(Path(folder), number, reader, dice.uniform(0, 6))
        made += came != "too late"
        counted[came.partition(":")[0]] += 1
        print(f"{made}: {number.name}, {reader.split()[0]}: {came}", flush=True)
    print(", ".join(f"{count} {what}" for what, count in counted.most_common()))
    return min(counted["BAD"], 100)


if __name__ == "__main__":
    sys.exit(main())
