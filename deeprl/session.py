"""One process working on one run folder: build what the configuration says, train, and leave the folder in order whatever happens."""

from __future__ import annotations

import contextlib
import importlib.util
import os
from pathlib import Path
from typing import Any

import torch

from deeprl import accelerate, build
from deeprl.checkpoint import Checkpoints
from deeprl.compiled import CompiledAnswer, CompiledStep, has_compiler
from deeprl.config import ConfigError, family, file_keys, finalise, get, task
from deeprl.files import printable
from deeprl.loggers import Progress
from deeprl.networks.blocks import Block
from deeprl.progress import say
from deeprl.replay.sequences import Sequences
from deeprl.run_folder import RunFolder, system_entry
from deeprl.signals import Signals
from deeprl.trainer import Trainer
from deeprl.watchdog import Watchdog

MACHINE_THREADS = torch.get_num_threads()
"""As torch found it, before any run of this process set a number."""


def settle(config: dict[str, Any], user: set[str]) -> dict[str, Any]:
    """From a composed configuration to the one that `config.yaml` holds: checked, shares turned into steps, foreign tuned keys dropped.

    Raises:
        ConfigError
    """
    names = config["names"]
    pair = f"{family(names['env'])}_{names['agent']}"
    tuned = file_keys("tuned", pair) | file_keys("tuned/task", f"{task(names['env'])}_{names['agent']}")
    if not tuned:
        say(f"no tuned settings for {names['agent']} on {family(names['env'])}: defaults of the agent")
    dropped = build.drop_foreign(config, tuned, user)
    if dropped:
        say(f"not taken by the chosen parts, so left out of tuned/{pair}: {', '.join(dropped)}")
    return finalise(config)


def assemble(config: dict[str, Any], folder: RunFolder, allowed: build.Allowed = None) -> Trainer:
    """Build every part of a run. Pins threads, mode and product in `config`.

    Args:
        allowed: packages that the configuration may name; None for one that the user has just written.

    Raises:
        ConfigError
    """
    if config["runtime"]["deterministic"]:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it once, at its first use
    if config["runtime"]["deterministic"] != torch.are_deterministic_algorithms_enabled():  # the call imports the compiler
        torch.use_deterministic_algorithms(config["runtime"]["deterministic"])
    build.check_device(config)
    if config["logger"].get("wandb") and importlib.util.find_spec("wandb") is None:
        raise ConfigError("logger=wandb needs the package wandb: pip install 'deeprl[wandb]', or leave logger=wandb out.")
    accelerate.keep_memory()
    accelerate.flush_denormals()
    env = build.instantiate(config["env"], "env", allowed)
    try:
        spec = env.spec()
    except ValueError as error:
        raise ConfigError(f"env: {error}") from error
    if get(config, "evaluation.video", False):
        from deeprl.video import check_rendering  # OpenCV: only videos need it

        check_rendering(env, "evaluation.video=true")
    build.check_actions(config, spec)
    agent = build.build_agent(config, spec, allowed)
    product = pin(config, agent, folder)
    torch.set_num_threads(config["runtime"]["threads"])
    memory = build.instantiate({**config["replay"], "_partial_": True}, "replay", allowed)
    build.check_replay(config, agent, memory)
    build.dry_run(agent, spec, config["device"], issubclass(memory.cls, Sequences))
    replay = memory(
        spec=spec,
        num=config["env"]["num"],
        discount=config["discount"],
        rewards=agent.rewards,
        needs=agent.needs,
        seed=config["seed"],
        device=config["device"],
    )
    say(f"replay: {replay.capacity:,} rows, {replay.bytes / 1e9:.2f} GB when full")
    envs = env.make(config["seed"])
    envs.replay_actions = config["checkpoint"]["replay_actions"]
    checkpoints = Checkpoints(folder.path, config["checkpoint"]["keep"])

    def make_evaluation(seed: int, number: int, render: bool = False):
        return env.make(seed, num=number, vector="sync", evaluation=True, render=render)

    return Trainer(config, agent, envs, replay, make_evaluation, folder, checkpoints, product)


def pin(config: dict[str, Any], agent, folder: RunFolder) -> str:
    """Decide `accelerate.mode`, the float32 product and the number of threads by fixed rules, once, and write them into the
    configuration. A resumed run finds them there.

    Args:
        folder: whose config.yaml is written again if a mode that was not asked for turns out not to work.

    Raises:
        ConfigError: the mode is unknown.
    """
    chosen = config["accelerate"]
    automatic = chosen["mode"] == "auto"
    if automatic:
        updates = (config["steps"] - config["learning_starts"]) * config["replay_ratio"]
        chosen["mode"] = accelerate.choose(updates, str(config["device"]), has_compiler())
    try:
        accelerate.apply(agent, chosen["mode"])
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if chosen["mode"] == "compiled":
        if not has_compiler():
            raise ConfigError("accelerate=compiled needs a C++ compiler and found none: install g++, or use accelerate=fast.")

        def failed(error: Exception) -> None:
            say(f"the optimizer step could not be compiled ({type(error).__name__}), this run goes on with accelerate=fast")
            chosen["mode"] = "fast"
            accelerate.apply(agent, "fast")
            step.broken = answer.broken = True
            folder.write_config(config)

        step = agent.descend = CompiledStep(agent, failed=failed if automatic else None)
        answer = agent.exploring = CompiledAnswer(agent, failed=failed if automatic else None)
    blocks = [b for b in agent.modules() if isinstance(b, Block)]
    widest = max((max(getattr(b, "sizes", (1,))) for b in blocks), default=1)
    if "product" not in chosen:
        stack = max((getattr(b, "n", 1) for b in blocks), default=1)
        chosen["product"] = accelerate.product(stack, widest) if str(config["device"]).startswith("cpu") else "highest"
    if config["runtime"]["threads"] is None:
        # A second thread costs small networks more than it gives, and very much more when the cores are busy.
        config["runtime"]["threads"] = MACHINE_THREADS if widest >= 256 else 1
    return chosen["product"]


def train(config: dict[str, Any], path: Path, resume: bool = False, allowed: build.Allowed = None) -> tuple[str, Trainer]:
    """Train in `path`, a claimed folder; with `resume`, from its last checkpoint.

    Returns:
        "finished" or "stopped", and the trainer.
    """
    folder = RunFolder(path)
    with folder.lock(), Signals() as signals:
        status = folder.read_status() if resume else None
        trainer = assemble(config, folder, allowed)
        restored = False
        try:
            if resume and trainer.checkpoints.steps():
                trainer.restore()
                restored = True
                if status and status["state"] == "finished":  # it is to be trained for longer
                    trainer.done = False
            folder.cut_after(trainer.step if restored else -1, trainer.lines)
            folder.write_config(config)
            folder.append_system({**system_entry(config["device"]), "resumed_from": trainer.step if restored else None})
            folder.write_status("running", trainer.step, trainer.agent.updates)
            loggers = build.instantiate(config["logger"], "logger", allowed).open(
                path, purge_step=trainer.step + (trainer.pending is None) if restored else (0 if resume else None)
            )
            if not restored:
                loggers.text(0, "config", as_page(config))
                loggers.hparams(config)
            else:
                loggers.load_state_dict(trainer.loggers_state)
                say(f"resumed from step {trainer.step:,}" + (f" (the run had reached step {status['step']:,})" if status else ""))
            progress = Progress(config["steps"], trainer.step)
            minutes = config["runtime"]["watchdog"]
            try:
                with Watchdog(folder, minutes, lambda: (trainer.step, trainer.agent.updates)) as watchdog:
                    outcome = trainer.run(loggers, progress, signals, watchdog)
            finally:
                progress.close()
                loggers.close()
        except BaseException as error:
            with contextlib.suppress(OSError):  # the disk may be what failed
                folder.write_status("failed", trainer.step, trainer.agent.updates, error=f"{type(error).__name__}: {error}")
            raise
        finally:
            trainer.envs.close()
    return outcome, trainer


def as_page(config: dict[str, Any]) -> str:
    """The configuration as text for TensorBoard."""
    from omegaconf import OmegaConf

    return "```yaml\n" + OmegaConf.to_yaml(OmegaConf.create(config)) + "```"


def farewell(outcome: str, trainer: Trainer, path: Path) -> str:
    """The last lines of a run: what was learned, where it is, what to try next."""
    shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    if outcome == "stopped":
        return f"stopped at step {trainer.step:,} and saved. Go on with:  deeprl resume {shown}"
    summary = trainer.folder.read_summary() or {}
    final, names = summary["final"], trainer.config["names"]
    return printable(
        "\n".join(
            [
                f"{names['agent']} on {names['env']}: return {final['mean']:.1f} ± {final['std']:.1f} over {final['episodes']} evaluation"
                f" episodes after {trainer.step:,} steps and {trainer.agent.updates:,} updates ({summary['wall_seconds']:.0f} s)",
                f"run folder: {shown}",
                "try next:",
                f"  tensorboard --logdir {shown.parts[0] if not shown.is_absolute() else shown}",
                f"  deeprl eval {shown} --episodes 100",
                "  python train.py agent=td3 env=mujoco/hopper steps=200000",
            ]
        )
    )
