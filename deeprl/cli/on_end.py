"""What the user's own command, or address, is told when a run ends: `DEEPRL_ON_END`.

It is a variable of the environment and no key, because keys are stored in run folders, and a stranger's folder must not call anything.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from pathlib import Path

from deeprl.errors import FINISHED, STOPPED, RunFolderError
from deeprl.running.runs.folder import RunFolder, holder
from deeprl.system import terminal
from deeprl.system.portable import end_group
from deeprl.system.progress import significant
from deeprl.system.terminal import say

VARIABLE = "DEEPRL_ON_END"
SECONDS = 60
"""Longest time that it may take. The run has been saved before, and its exit code stays"""
STATES = {FINISHED: "finished", STOPPED: "stopped"}


def tell(run: Path, code: int) -> None:
    """Call the command of `DEEPRL_ON_END`, or post JSON to its address, at the end of a run; of several processes the first one does.

    A command finds the facts in its environment: `DEEPRL_RUN`, the folder; `DEEPRL_STATE`, finished, stopped or failed; `DEEPRL_CODE`,
    the exit code; `DEEPRL_STEP`; `DEEPRL_RETURN`, the mean of the final evaluation, if there is one; and a sentence of all in
    `DEEPRL_TEXT`. JSON has them as run, state and so on. Where it fails or takes too long, one line says so.

    Args:
        code: with which the process is about to exit.
    """
    target = os.environ.get(VARIABLE)
    if not target or terminal.rank or holder(run):  # another process trains there: this one has only asked
        return
    http = target.startswith(("http://", "https://"))
    try:
        facts = {name: str(value) for name, value in facts_of(run, code).items()}
        post(target, facts) if http else call(target, {f"DEEPRL_{name.upper()}": value for name, value in facts.items()})
    except KeyboardInterrupt:
        say(f"{VARIABLE} was interrupted")
    except Exception as error:  # whose text may hold the address, hence a password
        say(f"{VARIABLE}: {'the address was not reached' if http else 'the command was not run'} ({type(error).__name__})")


def call(command: str, facts: dict[str, str]) -> None:
    """Run a command of the shell, and end it with all that it has started if it takes too long. Its own text, which may hold a password,
    is not repeated."""
    process = subprocess.Popen(command, shell=True, env={**os.environ, **facts}, start_new_session=True)
    try:
        if code := process.wait(SECONDS):
            say(f"the command of {VARIABLE} ended with code {code}")
    except subprocess.TimeoutExpired:
        say(f"the command of {VARIABLE} took longer than {SECONDS} s and was ended")
    finally:
        end_group(process)


def post(address: str, facts: dict[str, str]) -> None:
    """
    Raises:
        Exception: nobody answers there, or with an error; it is no address.
    """
    import urllib.request  # a tenth of a second

    request = urllib.request.Request(address, json.dumps(facts).encode(), {"Content-Type": "application/json"})
    urllib.request.urlopen(request, timeout=SECONDS).close()


def facts_of(run: Path, code: int) -> dict[str, object]:
    """Of a run folder, which may be damaged or gone."""
    found: dict[str, object] = {"run": run.absolute(), "state": STATES.get(code, "failed"), "code": code}
    folder, score = RunFolder(run), ""
    with contextlib.suppress(RunFolderError):
        found["step"] = (folder.read_status() or {}).get("step", 0)
        final = (folder.read_summary() or {}).get("final") if code == FINISHED else None
        mean = final.get("mean") if isinstance(final, dict) else None
        if isinstance(mean, int | float) and not isinstance(mean, bool):
            found["return"], score = mean, f", return {significant(mean)}"
    return {**found, "text": f"deeprl: {found['run']} {found['state']} at step {found.get('step', 'unknown')}{score}"}
