"""Wrong command lines: each must leave with its exit code, soon, with one sentence and no traceback. `python -m benchmarks.wrong_commands`

The words of a command follow `python train.py`, or `python -m deeprl` where the first one is "deeprl". {run} is a finished run, {file} a
file, {broken} a folder of configurations with a syntax error. "exit 1" stands where a run folder is wrong and no configuration.
`benchmarks.odd_commands` has the rest: environments with a fault, files and parts of one's own, and oddities that must work.
"""

from __future__ import annotations

import argparse
import os
import resource
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks import odd_commands
from benchmarks.odd_commands import TINY, Case

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = {
    "keys and groups": [
        "agent.chian.length=3", "agnet=dqn", "agent=idqnn", "agent=дqn", "env=classic/cartpol", "env=atari/pong2", "agent.backup.alpha=3",
        "agent=dqn agent=idqn", "agent=td3 agent/surrogate=plain", "env/protocol=nature", "seed=40,41", "seed=[0,1]", "dqn", "config.yaml",
        "~replay", "~logger", "~seed", "~runtime.deterministic", "~env.num", "+agent=dqn", "+new.key=3", "steps=1 =3", "agent.backup=max",
        "experiment=dqn", "steps:3", "agent = dqn", "agent=", "env=null", "agent=[dqn,idqn]", "agent/torso=mlp,nature",
        "agent=DQN", "env=CartPole-v1", "env=cartpole", "env=HalfCheetah-v5", "learning_rate=1e-3", "lr=1e-3", "gamma=0.9",
        "total_timesteps=1000", "batch_size=32", "n_envs=2", "agent.optimizer=adam", "agent/optimizer=sgd", "replay=per", "budget=small",
        "logger=tensorboard", "agent/replay=prioritized", "agent=td3_mujoco", "env=classic/pendulum env=toy/chain", "seed =3",
        "agent.explore.epsilon=0.1", "evaluation=false",
    ],
    "values": [
        "steps=abc", "steps=nan", "steps=''", "steps=-5", "steps=1e30", "steps=99999999999999999999", "seed=-1", "seed=1.5", "seed=null",
        "replay.batch_size=-32", "replay.batch_size=0", "replay.capacity=1000000000000", "replay.capacity=64 replay.batch_size=128",
        "replay.batch_size=100000000 replay.capacity=100000000", "replay.n_step=0", "replay.learning_starts=-1", "replay.ratio=0",
        "replay.ratio=inf", "discount=1.5", "discount=true", "device=cuda:7", "device=gpu", "runtime.threads=1000000", "runtime.threads=0",
        "evaluation.every=2.5", "evaluation.video=yes", "evaluation.num=0", "evaluation.num=100000000", "checkpoint.keep=0",
        "checkpoint.every=0", "stop.return=high", "stop.hours=-1", "log.every=null", "resume=yes",
        "replay.length=8", "agent=ppo replay.length=0", "agent=pqn replay.epochs=0", "agent=ppo replay.minibatches=null",
        "agent=ppo replay.length=-1", "agent=ppo replay.epochs=1.5", "stop.return=5 evaluation.every=null", "accelerate.mode=warp",
        "accelerate=compiled2", "logger=wandb logger.mode=nowhere", "logger.wandb=7",
        "steps=10k", "'steps=5 000'", "agent.optimizer.lr=0,001", "agent.torso.hidden=64,64", "'agent.torso.hidden=(64,64)'",
        "resume=true", "resume=runs/x", "'agent.torso.hidden=[64 64]'", "device=0", "device=mps", "init_from=/nowhere",
        "init_from={run}@7", "init_from={run} agent=td3 env=classic/pendulum", "replay.capacity=50 replay.batch_size=64",
        "checkpoint.every=1h", "stop.hours=0", "agent=c51 agent.head.low=0 agent.head.high=-10", "agent=ppo batch_size=32",
        "agent=ppo replay.learning_starts=10", "agent=ppo replay=prioritized", "agent=sac env=classic/cartpole",
    ],
    "parts": [
        "agent.optimizer.lr=-1", "agent.optimizer.lr=nan", "agent.optimizer.lr=fast", "agent=idqn agent.chain.length=0",
        "agent=idqn agent.chain.length=abc", "agent.explore.schedule.end=2", "agent.explore.schedule.start=-0.5",
        "agent.explore.schedule.duration=1.5", "agent.explore.schedule.begin=0.5", "agent=idqn agent.chain.length=1.5",
        "agent.chain.target_update_period=2.5", "agent=td3 env=classic/pendulum agent.explore.random_steps=0.3",
        "agent.explore.schedule.duration=0", "agent.explore.schedule=0.1", "agent.torso.hidden=64", "agent.torso.hidden=[a]",
        "agent.torso.hidden=[0]", "agent.torso.hidden=[-3]", "agent.torso.hidden=[1000000,1000000]",
        "agent.head.dueling=maybe", "agent.head.loss=l1",
        "agent=dqn agent/backup=policy", "agent=dqn agent/explore=gaussian", "agent=dqn agent/temperature=fixed",
        "agent=td3 env=classic/pendulum agent/backup=max", "agent=td3 env=classic/pendulum agent/temperature=learned",
        "agent=td3 env=classic/pendulum agent/explore=epsilon_greedy", "agent=iqn agent/backup=retrace", "agent/torso=nature",
        "agent/normalize=running env=atari/pong", "agent=td3 env=atari/pong", "agent=dqn env=mujoco/hopper",
        "agent.backup._target_=os.system", "agent._target_=deeprl.types.Spec", "~agent._target_", "agent=log_dqn agent/rewards=raw",
        "replay=uniform agent=rbis_dqn", "replay.sampler.alpha=0.5", "replay=prioritized replay.sampler.alpha=-1",
    ],
    "environments": [
        "env=gym", "env=gym env.id=CartPol-v1", "env=gym env.id=mypkg/Vec-v0", "env=gym 'env.id=Cart Pole'", "env=gym env.id=7",
        "env=gym env.id=nopkg:Cart-v0", "env=gym env.id=CartPole-v1 env.package=no_such_package", "env.kwargs=5", "env.kwargs.size=5",
        "'env.kwargs={size: 5}'", "env=gym env.id=CartPole-v1 'env.wrappers=[gymnasium.wrappers.Nothing]'",
        "env=gym env.id=CartPole-v1 env.wrappers=gymnasium.wrappers.Nothing", "env.num=-2", "env.num=1000000000", "env.vector=ale",
        "env.vector=parallel", "env.num=100000 env.vector=async", "env.obs_scale=[1,2]", "env.obs_scale=big", "env.timeout=-1",
        "env.max_episode_steps=0", "env=atari/pong env/protocol=atari", "env=atari/pong env.protocol.sticky=2", "env.on_error=ignore",
        "env=gym env.id=PongNoFrameskip-v4", "env=gym env.id=CartPole-v1 'env.wrappers=[gymnasium.wrappers.TimeLimit'",
        "env=gym env.id=CartPole-v1 'env.wrappers=[{_target_: gymnasium.wrappers.TimeLimit, max_episode_steps: 10}]'",
    ],
    "folders": [
        "hydra.run.dir={file}/run", "hydra.run.dir={run}", "hydra.run.dir={run}/checkpoints", "hydra.run.dir=~/run",
        "hydra.run.dir={file}", "hydra.run.dir=.", "hydra.run.dir=",
        "hydra.run.dir=/proc/x", "--config-dir /nowhere", "--config-dir {broken}", "--config-dir", "--config-dir {file}",
        "--config-name nothing", "--config-path /nowhere",
        "hydra.run.dir={long}", "--config-name mine",
    ],
    "in /proc, where no folder can be made": ["env=toy/chain", "-m seed=1,2"],
    "flags and sweeps": [
        "--foo", "-x", "--allow-package mypkg", "--steps 500", "--seed=3", "-m seed=1,2 agent=dqnn", "-m seed=", "-m agent=dqn,idqnn",
        "-m resume=auto seed=1,2", "-m seed=range(3,1)", "hydra/launcher=nothing", "hydra.sweep.dir={file} -m seed=1,2", "--cfg pages",
        "hydra.mode=FAST", "hydra.verbose=[",
        "-seed=3", "--dry-run", "--verbose", "--help=agent", "help",
    ],
    "deeprl": [
        "deeprl", "deeprl trian", "deeprl train agent=dqnn", "deeprl list everything", "deeprl list agent/backups", "deeprl --foo",
        "deeprl list agents --foo", "deeprl resume", "deeprl resume {run} stpes=3", "deeprl resume {run} seed=3",
        "deeprl resume {run} steps", "deeprl resume {run} steps=abc", "deeprl resume {run} init_from=x",
        "deeprl resume {run} --checkpoint 3", "deeprl eval",
        "deeprl eval {run} --episodes 0", "deeprl eval {run} --episodes many", "deeprl eval {run} --seed -1",
        "deeprl record {run} --episodes 0", "deeprl record {run} --seed x", "deeprl report", "deeprl report /nowhere",
        "deeprl report {file}", "deeprl report {run} --group agnet", "deeprl report {run} --names a,b", "deeprl report {run} --out {file}",
        "deeprl list slotz", "deeprl help nothing", "deeprl status --watch soon", "deeprl eval {run} --episodes 1.5",
        "deeprl eval {run} --n-eval-episodes 5", "deeprl eval {run} episodes=5", "deeprl export {run} --format onnxx",
        "deeprl report {empty}", "deeprl resume {run} -m", "deeprl resume {run} steps=700,800",
        "deeprl resume {run} agent.optimizer.lr=1", "deeprl resume {run} env=toy/chain", "deeprl sweep",
        "deeprl sweep seed=0,1 --jobs 0", "deeprl sweep seed=0,1 --jobs many", "deeprl sweep seed=0..3", "deeprl sweep seed=0,0",
        "deeprl sweep seed=0,1 --dir {empty}/..", "deeprl sweep seed=0,1 --on pbs", "deeprl sweep seed=0,1 --slurm partition=gpu",
        "deeprl sweep seed=0,1 hydra.run.dir=x", "deeprl sweep seed=0,1 steps=nope", "deeprl tune agent=dqn",
        "deeprl tune 'agent.optimizer.lr=interval(1,0)'", "deeprl tune 'agent.optimizer.lr=tag(log,interval(0,1))'",
        "deeprl tune 'agent.optimizer.lr=loguniform(1e-5,1e-2)'", "deeprl tune replay.n_step=1,2 --trials 0",
        "deeprl tune replay.n_step=1,2 --pruner hyperband", "deeprl check {run}", "deeprl check --seconds -1",
    ],
    "exit 1": [
        "deeprl export /nowhere --format torch",
        "deeprl eval {run} --checkpoint 7", "deeprl eval {run} --checkpoint newest", "deeprl eval {run} --checkpoint -3",
        "deeprl eval /nowhere", "deeprl resume /nowhere", "deeprl record /nowhere", "deeprl replay-crash {run}",
        "deeprl replay-crash /nowhere", "deeprl eval {file}", "deeprl resume {file}", "deeprl record {run} --checkpoint 7",
        "deeprl eval {run} --checkpoint Best", "deeprl resume {empty}", "deeprl eval {empty}", "deeprl record {empty}",
        "deeprl status {empty}", "deeprl export {empty} --format torch", "deeprl status /nowhere", "deeprl resume {run}/config.yaml",
        "deeprl sweep resume /nowhere", "deeprl sweep resume {run}",
    ],
}  # fmt: skip
SECONDS = 6.0
"""Of processor time, which other work on the machine does not change. An idle machine needs no more by the clock."""


def command(text: str, **names: object) -> list[str]:
    words = [word.format(**names) if "{size" not in word and "{_target_" not in word else word for word in shlex.split(text)]
    return [sys.executable, "-m", "deeprl", *words[1:]] if words[0] == "deeprl" else [sys.executable, str(ROOT / "train.py"), *words]


def processor_seconds() -> float:
    """Of all commands so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def cases() -> Iterator[tuple[Case, bool]]:
    """Every case, and whether it must leave within `SECONDS`, because its words alone decide."""
    for group, texts in COMMANDS.items():
        for text in texts:
            yield Case(group, 1 if group == "exit 1" else 2, text), True
    for case in odd_commands.cases():
        yield case, False


def as_it_should_be(case: Case, done: subprocess.CompletedProcess[str]) -> bool:
    """One sentence on stderr, the last one of a command that fails; further lines of it are indented."""
    lines = done.stderr.splitlines()
    if done.returncode != case.code or (case.code and case.group == "from Python"):
        return done.returncode == case.code and lines[-1].startswith(("deeprl.", "ConfigError", "ValueError"))
    if not case.code:
        return "Traceback" not in done.stderr
    told = [line.startswith("deeprl: ") for line in lines]
    return told.count(True) == 1 and all(line.startswith("  ") for line in lines[told.index(True) + 1 :]) and "Traceback" not in done.stderr


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="a part of the command")
    parser.add_argument("--group", default="", help="a part of the group's name")
    options = parser.parse_args()
    wrong = tried = 0
    with tempfile.TemporaryDirectory() as folder:
        names = odd_commands.lay_out(Path(folder))
        subprocess.run([*command(" ".join(TINY)), f"hydra.run.dir={names['run']}"], check=True, capture_output=True)
        for case, soon in cases():
            if options.only not in case.text or options.group not in case.group:
                continue
            words = case.words(names) if case.group in odd_commands.GROUPS else command(case.text, **names)
            words += ["env=toy/chain", "agent=dqn"] if "{broken}" in case.text else []
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(names["own"]), *case.paths(names)])}
            began, cwd = processor_seconds(), "/proc" if "/proc" in case.group else folder
            try:
                done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, timeout=180, check=False)
            except subprocess.TimeoutExpired:
                print(f"BAD  still running after 180 s: {case.text}", flush=True)
                wrong, tried = wrong + 1, tried + 1
                continue
            seconds = processor_seconds() - began
            good = as_it_should_be(case, done) and (not soon or (seconds < SECONDS and not done.stdout))
            wrong, tried = wrong + (not good), tried + 1
            print(f"{'ok ' if good else 'BAD'}  exit {done.returncode} of {case.code}  {seconds:4.1f} s  {case.text}", flush=True)
            print(f"     {(done.stdout + done.stderr).strip()[-700:]}", flush=True)
    print(f"{tried - wrong} of {tried} as they should be")
    return wrong


if __name__ == "__main__":
    sys.exit(main())
