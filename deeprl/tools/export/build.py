"""The files of an exported policy: checked against the agent first, then written."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

import deeprl
from deeprl.errors import RunFolderError
from deeprl.learning.agent import Agent
from deeprl.learning.networks.convolutions import ImageBlock
from deeprl.running.session.run import Run
from deeprl.running.training.evaluation import evaluation_seed
from deeprl.system.files import make_folder, read_regular, replace_file
from deeprl.system.strict_json import JsonObject, plain, strict_json
from deeprl.system.terminal import say
from deeprl.tools.export import check, programs
from deeprl.tools.export.policy import STATE, ExportedPolicy, divided, inputs_of, without_privileged

FORMATS = {"onnx": "policy.onnx", "torch": "policy.pt2"}
"""Files by format"""
ABOUT_LIMIT = 1 << 20
"""Largest bytes of policy.json"""
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
        raise RunFolderError(f"agent={run.config['names']['agent']} has no network of torch to export: act with `deeprl.load(RUN).act`.")
    if run.agent.spec.choices:
        raise RunFolderError("policies of components (env.components=true) are not exported: act with `deeprl.load(RUN).act`.")
    if out is not None:
        names = run.config["names"]
        require_own(out, {"agent": names["agent"], "environment": names["env"], "env": run.config["env"]})
    obs, states, game = played(run)
    obs = without_privileged(run.agent.spec, np.concatenate([obs, check.made_up(run.agent.spec)]))
    states = [np.resize(state, (len(obs), state.shape[1])) for state in states]  # those of play, again and again
    policy, about = ExportedPolicy(run.agent, game.actions), metadata(run, game)
    program = programs.exported(policy)
    contents: dict[str, bytes] = {}
    # checked for either format, because the ONNX model is made from it
    found: dict[str, check.Agreement | None] = {
        "torch": compared(run, policy, programs.runner(program), obs, states, "the torch.export program")
    }
    if "torch" in formats:
        contents["torch"] = programs.saved(program, about)
    if "onnx" in formats:
        contents["onnx"] = converted(program, about, [each.name for each in inputs_of(run.agent)])
        found["onnx"] = compared_onnx(run, policy, contents["onnx"], obs, states)
    about["checked"] = {kind: result and asdict(result) for kind, result in found.items()}
    folder = out or run.folder / "exports"
    try:
        write(folder, contents, about, follow=out is not None)
    except OSError as error:
        raise RunFolderError(f"the policy cannot be written to {folder}: {error.strerror or error}") from error
    return {folder / FORMATS[kind]: found[kind] for kind in contents}


def played(run: Run, seed: int = 0) -> tuple[np.ndarray, list[np.ndarray], Any]:
    """Observations (PLAYED, *obs) of an evaluation environment; with a core its states before them, (PLAYED, S), else none; and the game.
    Every other action is random among the valid ones, because a policy alone may see a few states only."""
    spec, generator = run.agent.spec, np.random.default_rng(seed)
    with contextlib.closing(run.make_evaluation(evaluation_seed(run.config["seed"], run.step), 1)) as envs, torch.no_grad():
        rows, device = [envs.reset()], run.config["device"]
        states = [torch.zeros(1, run.agent.state_size, device=device)]
        while len(rows) < PLAYED:
            obs = torch.from_numpy(rows[-1]).to(device)
            greedy, *after = run.agent.greedy(obs, states[-1]) if run.agent.state_size else (run.agent.greedy(obs),)
            if len(rows) % 2:
                action = greedy.cpu().numpy()
            elif spec.masked:
                action = generator.choice(np.flatnonzero(rows[-1][0, -spec.num_actions :]), size=1)
            elif spec.num_actions:
                action = generator.integers(spec.num_actions, size=1)
            else:
                action = generator.uniform(-1.0, 1.0, (1, spec.action_dim)).astype(np.float32)
            step = envs.step(action)
            rows.append(step.obs)
            states += [state * float(not step.ended[0]) for state in after]
        kept = [torch.cat(states).cpu().numpy()] if run.agent.state_size else []
        return np.concatenate(rows), kept, envs.backend.game(0)


def compared(
    run: Run, policy: ExportedPolicy, runner: programs.Runner, obs: np.ndarray, states: list[np.ndarray], name: str
) -> check.Agreement:
    """
    Args:
        states: of `played`, for each observation.

    Raises:
        RunFolderError: the program takes other actions than the agent.
    """
    there = [torch.from_numpy(each).to(run.config["device"]) for each in (obs, *states)]
    with torch.no_grad():
        greedy = run.agent.greedy(*there)
        values = run.agent.greedy_values(*there) if policy.discrete else None
    if states:
        greedy, after = greedy
        values = values and values[0]
        states = [*states, after.cpu().numpy()]
    expected = run.for_environment(greedy)
    if values is not None:
        values = values.cpu().numpy()
        distance = check.of_values(values, policy.first, policy.sizes)
    else:
        expected = expected.astype(np.float32, copy=False)
        distance = check.of_actions(expected, policy.reach.numpy().reshape(policy.shape))
    try:
        return check.agreement(runner, divided(run.agent, obs), expected, distance, states, pixel_of(run.agent))
    except check.Differs as error:
        raise RunFolderError(f"{name} is not the policy of {run.folder}: {error}. Nothing was written.") from error


def pixel_of(agent: Agent) -> float:
    """Largest factor of the bytes of an image in its networks: a torso without convolutions takes them as they are."""
    return max((block.scale for block in agent.modules() if isinstance(block, ImageBlock)), default=1.0)


def compared_onnx(run: Run, policy: ExportedPolicy, model: bytes, obs: np.ndarray, states: list[np.ndarray]) -> check.Agreement | None:
    """`compared`, if an evaluator can run the model."""
    try:
        name, runner, most = programs.onnx_runner(model)
        runner(*(each[:1] for each in (*divided(run.agent, obs), *states)))
    except Exception as error:  # each evaluator raises its own
        say(f"warning: the ONNX model has not been checked, because it could not be run: {type(error).__name__}: {error}")
        return None
    if most is not None and most < len(obs):
        some = np.linspace(0, len(obs) - 1, most).astype(int)  # of all kinds
        obs, states = obs[some], [state[some] for state in states]
    return compared(run, policy, runner, obs, states, f"the ONNX model ({name})")


def converted(program: torch.export.ExportedProgram, about: JsonObject, inputs: list[str]) -> bytes:
    """
    Args:
        inputs: their names.

    Raises:
        RunFolderError: torch does not convert the program to ONNX, mostly because onnx, onnxscript or onnx_ir is older than it expects.
    """
    try:
        return programs.onnx_model(program, about, inputs)
    except Exception as error:  # the converter raises its own, and what breaks inside it
        reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        remedy = "pip install -U onnx onnxscript onnx_ir, or take --format torch"
        raise RunFolderError(f"torch {torch.__version__} could not convert the policy to ONNX ({reason}): {remedy}") from error


def metadata(run: Run, game: Any) -> JsonObject:
    """What a user of the policy has to know."""
    spec, actions, config = run.agent.spec, game.actions, run.config
    inputs = [
        {"name": each.name, "shape": ["M", *each.shape], "dtype": str(each.dtype).removeprefix("torch.")}
        for each in inputs_of(run.agent)
        if each.name != STATE
    ]
    obs = {"parts": inputs} if spec.parts else inputs[0]
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
        **({"state": state_of(run.agent)} if run.agent.state_size else {}),
        "normalize": type(run.agent.normalize).__name__,
        "simplified": run.agent.simplified(),
        "env": {key: value for key, value in config["env"].items() if key not in OF_TRAINING},
        "versions": {"deeprl": deeprl.__version__, "torch": torch.__version__},
    }
    return plain(found)


def state_of(agent: Agent) -> JsonObject:
    """What a user of a policy with a core has to know of its state."""
    names = {"name": STATE, "next": programs.AFTER}
    return {**names, "shape": ["M", agent.state_size], "dtype": "float32", "start": "zeros at the first observation of an episode"}


def require_own(folder: Path, about: JsonObject) -> None:
    """
    Raises:
        RunFolderError: the folder holds a file of a name that is written or removed here, and not of an export of this agent there.
    """
    there = [name for name in ("policy.json", *FORMATS.values()) if os.path.lexists(folder / name)]
    try:
        earlier = strict_json(read_regular(folder / "policy.json", ABOUT_LIMIT)) if there else about
        same = all(earlier[key] == about[key] for key in ("agent", "environment"))
        same = same and all(earlier["env"].get(key) == about["env"].get(key) for key in ("id", "function"))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        same = False
    if not same:
        raise RunFolderError(f"{folder} holds {', '.join(there)} of something else: remove it, or name another folder (--out)")


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
