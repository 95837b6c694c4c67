"""Ten trained policies to start from, in benchmarks/results/packed.

    python -m benchmarks.packed --folder FOLDER [NAME ...]    trains and packs what is missing, one after the other, and prints the table
    python -m benchmarks.packed                               prints the table

The rule of seeds, written before the runs: seed 0 of each, and no choice among seeds or checkpoints. What is packed is the last checkpoint,
and the score beside it is that of the run's final evaluation of 100 episodes, whatever it is. Settings are those of the repository but for
what the words say: budgets of some minutes on one core, and smaller networks where the files would be large.

Not decided before: a first choice was too short to learn (IQN on Acrobot, 50,000 steps, -499.4; MVI on MinAtar's Asterix, 100,000 steps,
1.2; `inverted_pendulum_td3` with 10,000 steps 73.1; `reach_hindsight` with 6,000 steps -14.5), and was replaced by these, which were to be
published whatever they reached. MVI, i-DQN and `recall_elstm` were chosen while the first scores of others were known. `breakout_pqn` is
the run with seed 0 of benchmarks/results/minatar_pqn.json. After a change of the table: python -m benchmarks.tables.
"""

from __future__ import annotations

import argparse
import json
import zipfile
from pathlib import Path

from benchmarks.learning import RESULTS, train
from deeprl.cli.main import parsed
from deeprl.running.runs.folder import RunFolder

PLACE = RESULTS / "packed"
SEED, EPISODES = 0, 100
COMMON = f"seed={SEED} evaluation.final_episodes={EPISODES} accelerate=fast runtime.threads=1"
POLICIES = {
    "cartpole_dqn": "agent=dqn env=tensor/cartpole",
    "cartpole_idqn": "agent=idqn env=classic/cartpole stop.return=475",
    "cartpole_iqn": "agent=iqn env=classic/cartpole stop.return=475",
    "cartpole_mvi": "agent=mvi env=classic/cartpole stop.return=475",
    "breakout_pqn": (
        "agent=pqn env=tensor/minatar_breakout steps=5000000 evaluation.every=250000 evaluation.episodes=50 evaluation.num=50 "
        "checkpoint.every=250000 accelerate=compiled"
    ),
    "acrobot_ppo": "agent=ppo env=tensor/acrobot",
    "recall_elstm": "experiment=recall",
    "pendulum_sac": "agent=sac env=tensor/pendulum",
    "inverted_pendulum_td3": (
        "agent=td3 env=mujoco/inverted_pendulum steps=30000 agent.torso.hidden=[128,128] agent.actor_torso.hidden=[128,128]"
    ),
    "reach_hindsight": (
        "agent=td3 env=goals/reach replay=hindsight env.num=4 steps=24000 discount=0.98 agent.torso.hidden=[64,64] "
        "agent.actor_torso.hidden=[64,64] agent.optimizer.lr=1e-3 agent.actor_optimizer.lr=1e-3 replay.learning_starts=500 "
        "replay.ratio=0.4 replay.batch_size=128 evaluation.every=null"
    ),
}
"""The name of each -> the words of its command, beside those of `COMMON`"""


def archive(name: str) -> Path:
    return PLACE / f"{name}.zip"


def command(name: str) -> list[str]:
    """Words of `train.py`. The policy's own replace the common ones."""
    own = POLICIES[name].split()
    keys = {word.partition("=")[0] for word in own}
    return [*own, *(word for word in COMMON.split() if word.partition("=")[0] not in keys)]


def make(name: str, folder: Path) -> None:
    """Train and pack one policy. A run that was interrupted is resumed.

    Raises:
        SystemExit: it did not finish.
    """
    path = folder.resolve() / name
    if not RunFolder(path).read_summary() and not train(path, command(name)):
        raise SystemExit(1)
    run, options = parsed(["pack", str(path), "--out", str(archive(name))])
    run(options)


def final(name: str) -> dict:
    """The final evaluation that an archive tells of."""
    with zipfile.ZipFile(archive(name)) as file:
        return json.loads(file.read("summary.json"))["final"]


def table() -> str:
    """A row for each policy that is packed."""
    head = "file | `python train.py` … | steps | return of 100 episodes | KB"
    rows = [head, " | ".join(["---"] * (head.count("|") + 1))]
    for name, words in POLICIES.items():
        if archive(name).exists():
            found = final(name)
            score = f"{found['mean']:.1f} ± {found['std']:.1f}"
            rows.append(f"`{name}.zip` | `{words}` | {found['step']:,} | {score} | {archive(name).stat().st_size / 1000:,.0f}")
    return "\n".join(f"| {row} |" for row in rows) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(POLICIES)}; default: all")
    parser.add_argument("--folder", type=Path, help="of the run folders; without one nothing is trained")
    options = parser.parse_args()
    if unknown := {*options.names} - {*POLICIES}:
        parser.error(f"{', '.join(unknown)}: the names are {', '.join(POLICIES)}")
    for name in options.names or POLICIES:
        if options.folder and not archive(name).exists():
            make(name, options.folder)
    print(table(), end="")


if __name__ == "__main__":
    main()
