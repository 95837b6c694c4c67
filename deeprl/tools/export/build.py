"""The files of an exported policy: checked against the agent first, then written."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

import deeprl
from deeprl.errors import RunFolderError
from deeprl.running.session.api import Run
from deeprl.running.training.evaluation import evaluation_seed
from deeprl.system.files import JsonObject, make_folder, plain, replace_file
from deeprl.system.terminal import say
from deeprl.tools.export import check, programs
from deeprl.tools.export.policy import ExportedPolicy

FORMATS = {"onnx": "policy.onnx", "torch": "policy.pt2"}
"""Files by format"""
PLAYED = 256
"""Observations from the environment with which a program is checked"""
OF_TRAINING = ("num", "vector", "reseed_every", "on_error", "timeout")
"""Keys of `env` that say how environments are run, not what they are"""


def export(run: Run, formats: Iterable[str] = tuple(FORMATS), out: Path | None = None) -> dict[Path, check.Agreement | None]:
    """Write the greedy policy of a run, `Run.act`, and `policy.json` beside it.

    Args:
        formats: of `FORMATS`.
        out: folder; None: `exports` in the run folder.

    Returns:
        the programs, with their agreement with the agent; None if a program could not be run.

    Raises:
        RunFolderError: a program takes other actions than the agent, or cannot be made, and nothing was written; or the files cannot be
            written.
    """
    formats = set(formats)
    if not run.agent.objectives:
        raise RunFolderError(
            f"agent={run.config['names']['agent']} has no network: its policy is `deeprl.load(RUN).agent.choose`, in NumPy."
        )
    if run.agent.state_size:
        core = type(run.agent.core).__name__
        raise RunFolderError(
            f"agent/core={core} has a state, which an exported program does not keep: take `deeprl.load(RUN).act`, which does."
        )
    obs, game = played(run)
    obs = np.concatenate([obs, check.made_up(run.agent.spec)])
    policy, about = ExportedPolicy(run.agent, game.actions), metadata(run, game)
    program = programs.exported(policy)
    contents: dict[str, bytes] = {}
    # checked for either format, because the ONNX model is made from it
    found: dict[str, check.Agreement | None] = {"torch": compared(run, policy, programs.runner(program), obs, "the torch.export program")}
    if "torch" in formats:
        contents["torch"] = programs.saved(program, about)
    if "onnx" in formats:
        contents["onnx"] = converted(program, about)
        found["onnx"] = compared_onnx(run, policy, contents["onnx"], obs)
    about["checked"] = {kind: result and asdict(result) for kind, result in found.items()}
    folder = out or run.folder / "exports"
    try:
        write(folder, contents, about, follow=out is not None)
    except OSError as error:
        raise RunFolderError(f"the policy cannot be written to {folder}: {error.strerror or error}") from error
    return {folder / FORMATS[kind]: found[kind] for kind in contents}


def played(run: Run, seed: int = 0) -> tuple[np.ndarray, Any]:
    """Observations (PLAYED, *obs) of an evaluation environment, and its game. Every other action is random among the valid ones, because a
    policy alone may see a few states only."""
    spec, generator = run.agent.spec, np.random.default_rng(seed)
    with contextlib.closing(run.make_evaluation(evaluation_seed(run.config["seed"], run.step), 1)) as envs, torch.no_grad():
        rows = [envs.reset()]
        while len(rows) < PLAYED:
            if len(rows) % 2:
                action = run.agent.greedy(torch.from_numpy(rows[-1]).to(run.config["device"])).cpu().numpy()
            elif spec.masked:
                action = generator.choice(np.flatnonzero(rows[-1][0, -spec.num_actions :]), size=1)
            elif spec.num_actions:
                action = generator.integers(spec.num_actions, size=1)
            else:
                action = generator.uniform(-1.0, 1.0, (1, spec.action_dim)).astype(np.float32)
            rows.append(envs.step(action).obs)
        return np.concatenate(rows), envs.backend.game(0)


def compared(run: Run, policy: ExportedPolicy, runner: programs.Runner, obs: np.ndarray, name: str) -> check.Agreement:
    """
    Raises:
        RunFolderError: the program takes other actions than the agent.
    """
    expected = run.act_on_rows(obs)
    if policy.discrete:
        with torch.no_grad():
            values = run.agent.greedy_values(torch.from_numpy(obs).to(run.config["device"])).cpu().numpy()
        distance = check.of_values(values, policy.first, policy.sizes)
    else:
        expected = expected.astype(np.float32, copy=False)
        distance = check.of_actions(expected, policy.reach.numpy().reshape(policy.shape))
    try:
        return check.agreement(runner, obs, expected, distance)
    except check.Differs as error:
        raise RunFolderError(f"{name} is not the policy of {run.folder}: {error}. Nothing was written.") from error


def compared_onnx(run: Run, policy: ExportedPolicy, model: bytes, obs: np.ndarray) -> check.Agreement | None:
    """`compared`, if an evaluator can run the model."""
    try:
        name, runner, most = programs.onnx_runner(model)
        runner(obs[:1])
    except Exception as error:  # each evaluator raises its own
        say(f"warning: the ONNX model has not been checked, because it could not be run: {type(error).__name__}: {error}")
        return None
    if most is not None and most < len(obs):
        obs = obs[np.linspace(0, len(obs) - 1, most).astype(int)]  # of all kinds
    return compared(run, policy, runner, obs, f"the ONNX model ({name})")


def converted(program: torch.export.ExportedProgram, about: JsonObject) -> bytes:
    """
    Raises:
        RunFolderError: torch does not convert the program to ONNX, mostly because onnx, onnxscript or onnx_ir is older than it expects.
    """
    try:
        return programs.onnx_model(program, about)
    except Exception as error:  # the converter raises its own, and what breaks inside it
        reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        remedy = "pip install -U onnx onnxscript onnx_ir, or take --format torch"
        raise RunFolderError(f"torch {torch.__version__} could not convert the policy to ONNX ({reason}): {remedy}") from error


def metadata(run: Run, game: Any) -> JsonObject:
    """What a user of the policy has to know."""
    spec, actions, config = run.agent.spec, game.actions, run.config
    obs = {"name": programs.INPUT, "shape": ["M", *spec.obs_shape], "dtype": str(spec.obs_dtype).removeprefix("torch.")}
    action: JsonObject = {"name": programs.OUTPUT, "shape": ["M", *actions.shape], "dtype": "int64" if actions.num else "float32"}
    if actions.num:
        first = np.broadcast_to(actions.start, actions.shape)
        action |= {"low": first, "high": first + np.reshape(actions.sizes or actions.num, actions.shape) - 1}
    else:
        action |= {"low": actions.low.reshape(actions.shape), "high": actions.high.reshape(actions.shape)}
    found = {
        "agent": config["names"]["agent"],
        "environment": config["names"]["env"],
        "step": run.step,
        "input": {**obs, "content": game.observation},
        "output": action,
        "normalize": type(run.agent.normalize).__name__,
        "simplified": run.agent.simplified(),
        "env": {key: value for key, value in config["env"].items() if key not in OF_TRAINING},
        "versions": {"deeprl": deeprl.__version__, "torch": torch.__version__},
    }
    return plain(found)


def write(folder: Path, contents: dict[str, bytes], about: JsonObject, follow: bool) -> None:
    """
    Args:
        follow: whether the folder may be a link, as one that the user named.
    """
    if follow:
        folder.mkdir(parents=True, exist_ok=True)
    else:
        make_folder(folder)
    for kind in FORMATS.keys() - contents.keys():  # of an earlier export, and so perhaps of another checkpoint than policy.json tells
        (folder / FORMATS[kind]).unlink(missing_ok=True)
    for kind, content in contents.items():
        replace_file(folder / FORMATS[kind], content)
    files = {FORMATS[kind]: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()} for kind, content in contents.items()}
    replace_file(folder / "policy.json", json.dumps({**about, "files": files}, indent=2) + "\n")
