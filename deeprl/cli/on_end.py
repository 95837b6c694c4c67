"""What the user's own command, or address, is told when a run ends: `DEEPRL_ON_END`.

It is a variable of the environment and no key, because keys are stored in run folders, and a stranger's folder must not call anything.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from deeprl.errors import FINISHED, STOPPED, RunFolderError
from deeprl.running.runs.folder import RunFolder
from deeprl.system import terminal
from deeprl.system.terminal import described, say

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
    if not target or terminal.rank:
        return
    facts = {name: str(value) for name, value in facts_of(run, code).items()}
    try:
        if target.startswith(("http://", "https://")):
            post(target, facts)
        else:
            named = {f"DEEPRL_{name.upper()}": value for name, value in facts.items()}
            subprocess.run(target, shell=True, env={**os.environ, **named}, timeout=SECONDS, check=True)
    except subprocess.CalledProcessError as error:  # whose text has the command, which may hold a password
        say(f"the command of {VARIABLE} ended with code {error.returncode}")
    except subprocess.TimeoutExpired:
        say(f"the command of {VARIABLE} took longer than {SECONDS} s and was ended")
    except (OSError, ValueError) as error:
        say(f"the address of {VARIABLE} was not reached: {described(error)}")


def post(address: str, facts: dict[str, str]) -> None:
    """
    Raises:
        OSError, ValueError: nobody answers there, or with an error; it is no address.
    """
    import urllib.request  # a tenth of a second

    request = urllib.request.Request(address, json.dumps(facts).encode(), {"Content-Type": "application/json"})
    urllib.request.urlopen(request, timeout=SECONDS).close()


def facts_of(run: Path, code: int) -> dict[str, object]:
    """Of a run folder, which may be damaged or gone."""
    found: dict[str, object] = {"run": run.absolute(), "state": STATES.get(code, "failed"), "code": code}
    try:
        found["step"] = (RunFolder(run).read_status() or {}).get("step", 0)
        if code == FINISHED:
            found["return"] = ((RunFolder(run).read_summary() or {}).get("final") or {})["mean"]
    except (RunFolderError, KeyError):
        pass
    score = f", return {found['return']:.4g}" if isinstance(found.get("return"), float) else ""
    return {**found, "text": f"deeprl: {found['run']} {found['state']} at step {found.get('step', 'unknown')}{score}"}
