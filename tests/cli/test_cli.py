"""The commands, in this process: what a run leaves behind, eval, list, load and train from Python, and wrong command lines."""

from __future__ import annotations

import errno
import json
import re
import shutil
import subprocess
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import scipy
import torch
from omegaconf import OmegaConf

import deeprl
from deeprl.cli import exits
from deeprl.cli import main as cli
from deeprl.cli import train as door
from deeprl.cli.farewell import ANOTHER, above_runs, another, following
from deeprl.cli.main import COMMANDS
from deeprl.cli.resume import changed
from deeprl.errors import ConfigError
from deeprl.running.config.compose import compose
from deeprl.running.runs.folder import RunFolder, read_lines
from deeprl.running.runs.loggers import JsonLines
from deeprl.running.training.evaluation import evaluation_seed, interval, summarise
from deeprl.system.portable import peak_memory
from tests.builders import CARTPOLE, console, front_door, lines, settled

ROOT = Path(__file__).resolve().parents[2]

# ---- what a run leaves behind


def test_the_files_of_a_run(finished):
    names = {re.sub(r"^events\.out\.tfevents\..*", "events", p.name) for p in finished.iterdir()}
    assert names == {
        ".hydra", "checkpoints", "config.yaml", "evaluations.jsonl", "events", "lock", "metrics.jsonl", "replay", "status.json",
        "summary.json", "system.json",
    }  # fmt: skip
    assert {p.name for p in (finished / "checkpoints").iterdir()} >= {"last", "best", "step_000000000300"}
    assert all(re.fullmatch(r"step_\d{12}|last|best", p.name) for p in (finished / "checkpoints").iterdir())
    assert (finished / "checkpoints" / "last").read_text().strip() == "step_000000000300"
    assert all(p.name.startswith("segment_") for p in (finished / "replay").iterdir())
    assert "agent=dqn" in (finished / ".hydra" / "overrides.yaml").read_text()
    assert not list(finished.rglob("*.pkl"))


def test_status_summary_and_system(finished):
    status = json.loads((finished / "status.json").read_text())
    assert (status["state"], status["step"], status["updates"], status["error"]) == ("finished", 300, 60, None)
    assert status["stopped_early"] is None
    summary = json.loads((finished / "summary.json").read_text())
    speeds = {"steps_per_second", "updates_per_second"}
    assert set(summary) == {"final", "best", "steps", "stopped_early", "updates", "wall_seconds", "peak_memory_bytes", *speeds}
    assert set(summary["final"]) >= {"mean", "iqm", "std", "episodes", "step"}
    assert (summary["steps"], summary["updates"], summary["final"]["episodes"], summary["final"]["step"]) == (300, 60, 3, 300)
    assert 100e6 < summary["peak_memory_bytes"] <= peak_memory()  # of this process; torch alone takes more than 100 MB
    (start,) = json.loads((finished / "system.json").read_text())
    assert "agent=dqn" in start["command"]
    assert start["resumed_from"] is None
    assert start["packages"]["torch"] == metadata.version("torch")


def test_the_configuration_is_resolved_and_pinned(finished):
    config = RunFolder(finished).read_config()
    assert config["accelerate"]["mode"] == "fast"
    assert config["accelerate"]["matmul_precision"] in ("highest", "medium")
    assert config["runtime"]["threads"] == 1
    assert config["agent"]["explore"]["schedule"]["begin"] == 60
    assert "${" not in (finished / "config.yaml").read_text()


def test_metrics_have_their_names_and_periods(finished):
    metrics = lines(finished, "metrics.jsonl")
    # 100 and 200 carry the evaluation in the same line; the final one has a line of its own
    assert [line["step"] for line in metrics] == [50, 100, 150, 200, 250, 300, 300]
    assert set(metrics[3]) >= {
        "rollout/ep_rew_mean", "rollout/ep_len_mean", "rollout/episodic_return", "rollout/exploration_rate", "eval/mean_reward",
        "eval/mean_ep_length", "train/loss", "train/q_values", "train/learning_rate", "train/n_updates",
    }  # fmt: skip
    assert not any(name.startswith("train/loss") for name in metrics[0])  # nothing learned yet
    # ε: 1 until step 60, 0.05 from step 160 on
    assert [line["rollout/exploration_rate"] for line in metrics[:4]] == pytest.approx([1.0, 1.0 - 0.4 * 0.95, 1.0 - 0.9 * 0.95, 0.05])
    assert metrics[3]["train/n_updates"] == 35
    assert metrics[3]["rollout/ep_rew_mean"] == metrics[3]["rollout/ep_len_mean"]  # CartPole pays 1 a step
    timed = [line for _, line in read_lines(finished / "metrics.jsonl")]
    assert all({"time/time_elapsed", "time"} <= set(line) for line in timed[:-1])
    assert "time/fps" in timed[2]


def test_evaluations_have_seeds_that_are_functions_of_the_step(finished):
    evaluations = RunFolder(finished).read_evaluations()
    assert [(e["step"], e["seed"], len(e["returns"]), len(e["lengths"])) for e in evaluations] == [
        (step, evaluation_seed(0, step), episodes, episodes) for step, episodes in ((100, 2), (200, 2), (300, 3))
    ]
    assert len({e["seed"] for e in evaluations}) == 3
    assert all(e["returns"] == e["lengths"] for e in evaluations)


def test_a_run_that_is_good_enough_ends_early_and_says_so(tmp_path, capsys):
    """Every CartPole episode is longer than 5 steps, so the first evaluation, at step 100, is the last."""
    path = tmp_path / "good"
    assert front_door(*CARTPOLE, "stop.return=5", f"hydra.run.dir={path}") == exits.FINISHED
    assert RunFolder(path).read_status()["step"] == RunFolder(path).read_summary()["steps"] == 100
    chosen, final = RunFolder(path).read_evaluations()
    assert [(len(e["returns"]), e["seed"]) for e in (chosen, final)] == [
        (2, evaluation_seed(0, 100)), (3, evaluation_seed(0, 100, "final"))
    ]  # fmt: skip
    assert "stopped early at step 100 of 300, because stop.return=5 was reached" in capsys.readouterr().out
    assert console("eval", path, "--json") == exits.FINISHED  # repeats the final one
    assert json.loads(capsys.readouterr().out)["returns"] == final["returns"]
    reason = "stop.return=5 was reached"
    assert RunFolder(path).read_status()["stopped_early"] == RunFolder(path).read_summary()["stopped_early"] == reason
    assert console("resume", path) == exits.FINISHED  # as resume=auto: a run that met its criterion has done what it was to do
    assert f"finished early at step 100, because {reason}. To train on: deeprl resume {path} stop.return=null" in capsys.readouterr().out
    assert RunFolder(path).read_status()["step"] == 100
    assert console("resume", path, "stop.return=null") == exits.FINISHED
    assert RunFolder(path).read_status()["step"] == 300


def test_the_clock_is_read_although_no_line_is_due(tmp_path):
    """After 100 steps, where the next line of the log is due at step 300. At its last step a run has not stopped early."""
    words = (*CARTPOLE, "stop.hours=1e-9", "log.every=300", "evaluation.every=null", "checkpoint.every=null")
    assert front_door(*words, f"hydra.run.dir={tmp_path / 'long'}") == exits.FINISHED
    status = RunFolder(tmp_path / "long").read_status()
    assert (status["step"], status["stopped_early"]) == (100, "stop.hours=1e-09 have passed")
    assert front_door(*words, "steps=80", f"hydra.run.dir={tmp_path / 'short'}") == exits.FINISHED
    status = RunFolder(tmp_path / "short").read_status()
    assert (status["step"], status["stopped_early"]) == (80, None)


def test_numbers_of_a_summary():
    assert summarise([8.0, 1.0, 2.0, 4.0, 3.0]) == pytest.approx({"mean": 3.6, "iqm": 3.0, "std": 2.4166, "episodes": 5}, abs=1e-4)
    assert summarise([5.0])["iqm"] == 5.0


def test_the_default_folder_is_named_after_the_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert front_door("agent=idqn", *TOY[1:], "seed=7") == exits.FINISHED
    (folder,) = (tmp_path / "runs" / "toy_chain" / "idqn").iterdir()
    assert re.fullmatch(r"\d{6}-\d{6}_seed7", folder.name)
    said, told = capsys.readouterr()
    assert re.search(r"^agent.chain.shift_period=\d+: the target networks change 0 times in the run, .*: lower it", told, re.MULTILINE)
    assert said.startswith("idqn on toy/chain: return ")
    assert f"deeprl eval runs/toy_chain/idqn/{folder.name}" in said


def test_closing_lines_can_be_pasted_and_suggest_something_else(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert front_door(*TOY, "hydra.run.dir=my runs/ü 1") == exits.FINISHED
    text = capsys.readouterr().out
    assert "'hydra.run.dir=my runs/ü 1'" in RunFolder(Path("my runs/ü 1")).read_system()[0]["command"]  # as it was given
    assert "deeprl eval 'my runs/ü 1' --episodes 100" in text
    assert "deeprl report 'my runs'" in text
    assert "deeprl record" not in text  # a chain has no pictures
    assert "tensorboard --logdir 'my runs'" in text
    assert another("td3", "mujoco/hopper") != another("idqn", "classic/cartpole")
    for words in ANOTHER:
        agent, env = (word.split("=")[1] for word in words.split()[:2])
        assert agent not in another(agent, "toy/chain").split()[0].split("=")
        assert env not in another("idqn", env)


def test_the_next_run_of_an_own_environment_has_another_seed():
    own = ["env=gym", "env.id=Acrobot-v1", "agent=dqn", "hydra.run.dir=runs/mine", "seed=4", "env.kwargs={a: 1}"]
    expected = ["env=gym env.id=Acrobot-v1 agent=dqn 'env.kwargs={a: 1}' seed=5"]
    for words in (own, ["train", *own]):
        assert following({"agent": "dqn", "env": "gym"}, 4, words) == expected
    assert following({"agent": "dqn", "env": "gym"}, 4, ["resume", "runs/mine", "steps=500"]) == []
    assert following({"agent": "dqn", "env": "classic/cartpole"}, 4, []) == [another("dqn", "classic/cartpole")]


def test_a_command_without_a_word_ends_when_cartpole_is_solved(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["train.py"])
    door.read_command_line()
    assert sys.argv[1:] == ["stop.return=475"]
    assert "stop.return=475" in capsys.readouterr().err
    assert compose([])[2]["env"] == "classic/cartpole"
    assert gymnasium.spec("CartPole-v1").reward_threshold == 475


TOY = ("agent=dqn", "env=toy/chain", "steps=40", "replay.learning_starts=20", "replay.capacity=100", "evaluation.every=null",
       "evaluation.final_episodes=1", "env.max_episode_steps=20")  # fmt: skip


def test_deeprl_train_is_train_py(tmp_path, monkeypatch, capsys):
    """The same run, and its command line is recorded as it was given."""
    monkeypatch.setattr(sys, "argv", ["deeprl"])
    cli.main(["train", *TOY, f"hydra.run.dir={tmp_path / 'one'}"])
    assert sys.argv == ["deeprl", "train", *TOY, f"hydra.run.dir={tmp_path / 'one'}"]
    assert front_door(*TOY, f"hydra.run.dir={tmp_path / 'other'}") == exits.FINISHED
    assert lines(tmp_path / "one", "metrics.jsonl") == lines(tmp_path / "other", "metrics.jsonl")
    commands = [json.loads((tmp_path / name / "system.json").read_text())[0]["command"] for name in ("one", "other")]
    assert [command.split()[:3] for command in commands] == [["deeprl", "train", "agent=dqn"], ["train.py", "agent=dqn", "env=toy/chain"]]
    assert capsys.readouterr().out.startswith("dqn on toy/chain: return ")


def test_deeprl_train_leaves_with_the_same_codes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert console("train", "agent=dqnn") == exits.WRONG
    assert "agent=dqnn is not an option of agent. Did you mean dqn" in capsys.readouterr().err
    assert front_door("agent=rainbow") == exits.WRONG  # an agent of which there are only a paper's settings
    assert "agent=rainbow is not an option of agent. There is experiment=rainbow_paper. " in capsys.readouterr().err


def test_a_sweep_has_a_folder_for_each_job(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert front_door("-m", "seed=1,2", *TOY) == exits.FINISHED
    runs = sorted((tmp_path / "runs" / "toy_chain" / "dqn").iterdir(), key=lambda p: p.name[-1])
    assert [RunFolder(run).read_config()["seed"] for run in runs] == [1, 2]
    assert all(RunFolder(run).read_status()["state"] == "finished" for run in runs)


# ---- eval, list, load


def test_options_are_not_abbreviated():
    """The --seed of one command would be the --seeds of another."""
    with pytest.raises(ConfigError, match=r"unrecognized arguments: --episode=3.*--episodes"):
        cli.parsed(["eval", "run", "--episode=3"])


def test_a_permission_where_none_is_asked_for_is_told():
    """It is part of the commands that a run of another package prints at its end, which are edited into others."""
    with pytest.raises(ConfigError, match="--allow-package mine; leave it out"):
        cli.parsed(["report", "runs", "--allow-package", "mine"])
    with pytest.raises(ConfigError, match=r"`deeprl resume` takes the setting itself again, such as logger.wandb=true"):
        cli.parsed(["resume", "run", "--allow-connection", "logger.wandb=true"])


def test_eval_with_the_recorded_seed_repeats_the_final_evaluation(finished, capsys):
    final = RunFolder(finished).read_evaluations()[-1]
    assert console("eval", finished, "--seed", final["seed"], "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["returns"], told["lengths"], told["step"]) == (final["returns"], final["lengths"], 300)
    recorded = json.loads((finished / "summary.json").read_text())["final"]
    assert (told["mean"], told["diagnostics"]) == (recorded["mean"], recorded["diagnostics"])
    assert console("eval", finished, "--json") == 0  # the same seed is what it takes by itself
    assert json.loads(capsys.readouterr().out)["returns"] == final["returns"]
    assert console("eval", finished, "--seed", final["seed"] + 1, "--json") == 0
    assert json.loads(capsys.readouterr().out)["returns"] != final["returns"]


def test_a_run_repeats_its_final_evaluation_from_python_and_leaves_the_generators_alone(finished):
    run, final = deeprl.load(finished), RunFolder(finished).read_evaluations()[-1]
    before, threads, had = torch.get_rng_state(), torch.get_num_threads(), []
    torch.set_num_threads(2)  # as those of another run that was read since, by which last bits differ

    def draw(*counts: int) -> None:
        had.append(torch.get_num_threads())
        torch.rand(1)  # as an environment may

    told = run.evaluate(each_tick=draw)
    assert (set(had), torch.get_num_threads()) == ({run.config["runtime"]["threads"]}, 2)
    torch.set_num_threads(threads)
    assert (told["step"], told["seed"], told["returns"]) == (300, final["seed"], final["returns"])
    assert torch.equal(torch.get_rng_state(), before)
    assert run.evaluate(2, seed=5)["returns"] != told["returns"]
    assert deeprl.load(finished, checkpoint="best").evaluate(1)["seed"] != final["seed"]
    with pytest.raises(ConfigError, match="episodes must be at least 1, not 0"):
        run.evaluate(0)
    with pytest.raises(ConfigError, match="episodes must be a whole number, not 2.0"):
        run.evaluate(2.0)


def test_eval_of_the_best_checkpoint_repeats_its_evaluation(finished, capsys):
    best = json.loads((finished / "summary.json").read_text())["best"]
    (line,) = [e for e in RunFolder(finished).read_evaluations() if e["step"] == best["step"]]
    words = ("eval", finished, "--checkpoint", "best", "--seed", line["seed"], "--episodes", len(line["returns"]), "--json")
    assert console(*words) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["step"], told["returns"]) == (best["step"], line["returns"])
    assert console("eval", finished, "--checkpoint", "best", "--json") == 0  # on episodes that did not choose it
    told = json.loads(capsys.readouterr().out)
    assert (told["step"], told["seed"] == line["seed"]) == (best["step"], False)


def test_eval_reads_many_runs_and_writes_for_people(finished, capsys):
    assert console("eval", finished.parent, "--episodes", 2) == 0
    text = capsys.readouterr().out
    assert f"{finished}, step 300, seed" in text
    found = re.search(r"learned rewards: the agent predicted ([\d.-]+), ([\d.-]+) came: overestimation ([+-][\d.]+)", text)
    value, returned, over = map(float, found.groups())
    assert over == pytest.approx(value - returned, abs=0.011)  # each is rounded to two places
    assert over != 0
    assert re.search(r"mean [\d.]+ +95 % interval \[[\d.-]+, [\d.]+\] +IQM [\d.]+ +std [\d.]+", text)


@pytest.mark.parametrize("words", [("eval", "--episodes", 1), ("record",), ("export", "--format", "torch")])
def test_one_run_that_cannot_be_read_keeps_no_other_from_its_turn(words, finished, tmp_path, capsys):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "config.yaml").write_text("steps: 3\nnames: {}")
    shutil.copytree(finished, tmp_path / "b")
    assert console(words[0], tmp_path, *words[1:]) == exits.FAILED
    told = capsys.readouterr()
    assert f"deeprl: {tmp_path / 'a'} is left out: " in told.err
    assert f"{tmp_path / 'b'}" in told.out


def test_interval_of_few_episodes():
    """Of 1, 2, 3: standard deviation 1, t(2) = 4.3027, so 2 ± 4.3027 / √3. Of 0 and 2: t(1) = 12.7062, deviation √2."""
    assert interval([1.0, 2.0, 3.0]) == pytest.approx([2 - 2.4842, 2 + 2.4842], abs=1e-4)
    assert interval([0.0, 2.0]) == pytest.approx([1 - 12.7062, 1 + 12.7062])
    assert interval([4.0]) is None
    for number in (4, 5, 10, 100):
        low, high = interval(list(range(number)))
        found = (high - low) / 2 / (np.std(range(number), ddof=1) / number**0.5)
        assert found == pytest.approx(scipy.stats.t.ppf(0.975, number - 1), rel=2e-3)


def test_one_episode_has_no_interval(finished, capsys):
    assert console("eval", finished, "--episodes", 1) == exits.FINISHED
    assert "no interval of one episode" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("--episodes", "0"), 2, "--episodes"),
        (("--checkpoint", "7"), 1, "step 7"),
        (("--checkpoint", "newest"), 1, "newest names no checkpoint; there are last, best, "),
    ],
)
def test_eval_says_what_is_wrong(finished, capsys, words, code, says):
    assert console("eval", finished, *words) == code
    assert says in capsys.readouterr().err


def test_eval_of_no_run(tmp_path, capsys):
    assert console("eval", tmp_path) == 1
    assert f"{tmp_path} is no run folder" in capsys.readouterr().err


def edited(finished: Path, path: Path, old: str, new: str) -> Path:
    """A copy with another configuration, as a stranger may send one."""
    path.mkdir()
    (path / "checkpoints").symlink_to(finished / "checkpoints")
    text = (finished / "config.yaml").read_text()
    assert old in text
    (path / "config.yaml").write_text(text.replace(old, new, 1))
    return path


def test_a_strangers_run_may_not_name_code(finished, tmp_path, capsys):
    target = edited(finished, tmp_path / "a", "_target_: deeprl.learning.backups.bellman.Max", "_target_: os.system")
    package = edited(finished, tmp_path / "b", "id: CartPole-v1", "id: antigravity:CartPole-v1")
    for words in (("eval",), ("resume",)):
        more = ("steps=400",) if words == ("resume",) else ()
        assert console(*words, target, *more) == 2
        assert "agent.backup._target_=os.system " in capsys.readouterr().err
        assert console(*words, target, *more, "--allow-package", "os") == 2
        assert "agent.backup._target_=os.system " in capsys.readouterr().err
        assert console(*words, package, *more, "--allow-package", "antigravity") == 2
        assert "env.id=antigravity:CartPole-v1: a stored configuration may call nothing of antigravity" in capsys.readouterr().err
    assert "antigravity" not in sys.modules


def test_a_slot_without_a_name_is_refused(capsys):
    assert console("list", "") == exits.WRONG
    assert "there is no such slot" in capsys.readouterr().err


def test_list_combinations(capsys):
    assert console("list", "combinations") == 0
    table = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines() if line}
    heads = table["bounded"]  # the first line starts with the first head
    assert table["max"] == ["yes"] * (len(heads) + 1)
    path, soft, retrace = (dict(zip(["bounded", *heads], table[backup])) for backup in ("bottleneck", "soft", "retrace"))
    assert (path["scalar"], path["categorical"], path["asinh"]) == ("yes", "yes", "(1)")
    assert (retrace["scalar"], retrace["asinh"], retrace["categorical"], retrace["log"]) == ("yes", "yes", "(2)", "(2)")
    assert (soft["bounded"], soft["signed_root"], soft["log"]) == ("yes", "yes", "(3)")
    assert table["(3)"][:6] == ["this", "row", "needs", "values", "that", "may"]


def test_load_and_act(finished):
    run = deeprl.load(finished)
    assert (run.step, run.summary["steps"], run.folder) == (300, 300, finished)
    obs = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    q = run.agent.chain.online(run.agent.normalize(torch.from_numpy(obs))).mean()[0]
    assert run.act(obs).tolist() == q.argmax(-1).tolist()
    assert run.act(obs[3]) == q[3].argmax()
    wide = np.random.default_rng(1).normal(scale=30, size=(500, 4)).astype(np.float32)
    assert len(set(run.act(wide).tolist())) == 2
    with pytest.raises(ValueError, match=r"\(4,\).*\(3,\)"):
        run.act(obs[:, :3])
    assert deeprl.load(str(finished), checkpoint="best").step == json.loads((finished / "summary.json").read_text())["best"]["step"]


def test_train_from_python_and_actions_as_the_environment_takes_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = ["agent.actor_torso.hidden=[8]", "agent.torso.hidden=[8]", "replay.capacity=100", "replay.batch_size=8"]
    short = ["steps=60", "replay.learning_starts=40", "evaluation.every=null", "evaluation.final_episodes=1"]
    run = deeprl.train(["agent=td3", "env=classic/pendulum", "env.max_episode_steps=20", *small, *short])
    assert run.folder.parent == Path("runs/classic_pendulum/td3").absolute()
    assert run.summary["updates"] == 20
    obs = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 5.0]], np.float32)
    unit = run.agent.actor(torch.from_numpy(obs)).numpy()
    np.testing.assert_allclose(run.act(obs), 2 * unit, rtol=1e-6)  # Pendulum takes torques in [-2, 2]
    assert run.act(obs[0]).shape == (1,)
    np.testing.assert_array_equal(deeprl.load(run.folder).act(obs), run.act(obs))
    with pytest.raises(ConfigError, match="agent=td4 "):
        deeprl.train(["agent=td4"])


# ---- wrong command lines


WRONG = [
    (["agent=dqnn"], ("agent=dqnn", " dqn")),
    (["env=classic/cartpol"], ("env=classic/cartpol", "classic/cartpole?")),
    (["agent/backup=dubble"], ("agent/backup=dubble", "double?")),
    (["agent.optimiser.lr=0.1"], ("agent.optimiser.lr=0.1", "agent.optimizer.lr?")),
    (["agent.lr=0.1"], ("agent.lr", "Did you mean")),
    (["lr=0.1"], ("lr=0.1", "Did you mean agent.optimizer.lr?")),
    (["gamma=0.9"], ("gamma=0.9", "Did you mean discount?")),
    (["agent=DQN"], ("agent=DQN", "Did you mean dqn?")),
    (["env=CartPole-v1"], ("Did you mean classic/cartpole? An id of Gymnasium is env=gym env.id=CartPole-v1.",)),
    (["env=ant"], ("Did you mean mujoco/ant?",)),
    (["steps"], ("steps", "key=value")),
    (["steps=["], ("steps=[",)),
    (["steps=0"], ("steps=0", "between 1 and 999999999999")),
    (["steps=many"], ("steps='many'",)),
    (["discount=1.5"], ("discount=1.5", "between 0 and 1")),
    (["evaluation.every=-0.1"], ("evaluation.every=-0.1",)),
    (["checkpoint.replay=3"], ("checkpoint.replay=3", "true or false")),
    (["resume=yes_please"], ("resume='yes_please'", "false or auto")),
    (["replay.capacity=10", "replay.batch_size=32"], ("replay.capacity=10", "replay.batch_size=32")),
    (["device=cuda:99"], ("device=cuda:99",)),
    (["env=gym"], ("env.id", "env.id=...")),
    (["agent=td3", "env=classic/cartpole"], ("agent=td3", "env=classic/cartpole", "continuous", "2 discrete")),
    (["agent=idqn", "agent.chain.length=0"], ("agent.chain.length", "at least 1", " 0")),
    (["agent.optimizer.lr=-1"], ("agent.optimizer.lr", "at least 0", "-1")),
    (["agent=dqn", "agent.chain.length=3"], ("agent.chain.length",)),
    (["agent/torso=nature"], ("needs images", "agent/torso=mlp")),
    (["agent/normalize=running", "env=atari/pong"], ("agent/normalize=none",)),
    (["accelerate.mode=warp"], ("accelerate", "reference, fast, compiled", "'warp'")),
    (["accelerate.matmul_precision=half"], ("accelerate.matmul_precision", "highest, high, medium, bfloat16", "'half'")),
    (["replay.sampler.alpha=0.5"], ("replay.sampler.alpha",)),
    (["agent.backup._target_=os.system"], ("agent.backup._target_=os.system",)),
]
"""A command line; what the refusal has to name: the key, the value, the way out."""


@pytest.mark.parametrize(("overrides", "says"), WRONG, ids=[" ".join(overrides) for overrides, _ in WRONG])
def test_a_wrong_command_line_leaves_with_2_and_names_the_key(overrides, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "deeprl.running.config.build.agents_for", lambda kind, env: ["dqn"]
    )  # composes every agent; tests/running/config asks it
    assert front_door(*overrides) == exits.WRONG == 2
    error = capsys.readouterr().err
    assert [word for word in says if word not in error] == []
    assert [line.startswith("deeprl: ") for line in error.splitlines()].count(True) == 1
    assert "Traceback" not in error
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []  # and nothing is left behind


@pytest.mark.skipif(find_spec("wandb") is not None, reason="wandb is installed")
def test_wandb_is_asked_for_where_it_is_not_installed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert front_door("logger=wandb", "env=toy/chain") == exits.WRONG
    assert "logger=wandb " in capsys.readouterr().err


def test_compiling_without_a_compiler_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("deeprl.running.session.needs.has_compiler", lambda: False)
    assert front_door("accelerate=compiled", "env=toy/chain") == exits.WRONG
    assert "accelerate=compiled " in capsys.readouterr().err


def test_flags_and_overrides_are_told_apart():
    flags, overrides = door.split(["a=-1", "-m", "seed=1,2", "--cfg", "job", "--config-dir", "/usr", "b=2"])
    assert (flags.multirun, flags.cfg, flags.config_dir) == (True, "job", "/usr")
    assert overrides == ["a=-1", "seed=1,2", "b=2"]


def test_a_folder_that_holds_a_run_is_not_trained_in_again(finished, capsys):
    before = (finished / ".hydra" / "overrides.yaml").read_text()
    assert front_door(*CARTPOLE, "seed=9", f"hydra.run.dir={finished}") == exits.WRONG
    assert f"hydra.run.dir={finished} " in capsys.readouterr().err
    assert (finished / ".hydra" / "overrides.yaml").read_text() == before


def test_a_folder_with_files_is_not_trained_in(tmp_path, finished, capsys):
    """A run would remove checkpoints and lines that another program wrote there, and hide runs below its folder."""
    mine = tmp_path / "mine" / "checkpoints" / "step_000000000100" / "weights"
    mine.parent.mkdir(parents=True)
    mine.write_text("a week's work")
    assert front_door(*CARTPOLE, f"hydra.run.dir={tmp_path / 'mine'}") == exits.WRONG
    assert f"hydra.run.dir={tmp_path / 'mine'} is not empty (checkpoints)" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["checkpoints"]
    assert front_door(*CARTPOLE, "resume=auto", f"hydra.run.dir={tmp_path / 'mine'}") == exits.WRONG
    assert front_door(*CARTPOLE, f"hydra.run.dir={finished.parent}") == exits.WRONG
    assert f"{finished.name}" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="folder=.*mine is not empty"):
        deeprl.train([*CARTPOLE], folder=tmp_path / "mine")
    assert mine.read_text() == "a week's work"


def test_a_log_may_lie_in_the_folder_before_the_run(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "slurm-12.out").write_text("node 3")
    assert front_door(*TOY, f"hydra.run.dir={tmp_path / 'run'}") == exits.FINISHED
    assert (tmp_path / "run" / "slurm-12.out").read_text() == "node 3"


def test_a_current_folder_that_takes_no_run_has_a_remedy(monkeypatch, capsys):
    """As on a read-only disk. OmegaConf told of an interpolation there."""

    def read_only(*names):
        raise OSError(errno.EROFS, "Read-only file system", "runs")

    monkeypatch.setattr("deeprl.running.config.resolvers.claim", read_only)
    assert front_door(*TOY) == exits.WRONG
    said = capsys.readouterr().err
    assert "Read-only file system: 'runs'. Name another one: hydra.run.dir=FOLDER" in said
    assert "interpolation" not in said


@pytest.mark.parametrize("form", ["~/run", "'~/run'"])
def test_a_tilde_that_the_shell_left_is_refused(form, capsys):
    assert front_door(*TOY, f"hydra.run.dir={form}") == exits.WRONG
    assert f"Write hydra.run.dir={Path.home() / 'run'}" in capsys.readouterr().err


def test_a_sweep_takes_no_folder_of_one_run(tmp_path, capsys):
    assert front_door("-m", "seed=1,2", *TOY, f"hydra.run.dir={tmp_path / 'run'}") == exits.WRONG
    assert f"hydra.sweep.dir={tmp_path / 'run'}" in capsys.readouterr().err


def test_the_printed_configuration_is_that_of_the_run(tmp_path, capsys):
    words = [*TOY, "agent=dqn", "budget=tiny"]
    assert front_door(*words, "--cfg", "job", "--resolve") == exits.FINISHED
    printed = OmegaConf.create(capsys.readouterr().out)
    assert front_door(*words, "--cfg", "job") == exits.FINISHED
    written = OmegaConf.create(capsys.readouterr().out)
    assert OmegaConf.to_container(written.replay) == OmegaConf.to_container(printed.replay)  # without the file's line budget=tiny
    assert front_door(*words, f"hydra.run.dir={tmp_path / 'run'}") == exits.FINISHED
    stored = OmegaConf.load(tmp_path / "run" / "config.yaml")
    for automatic in ("runtime", "accelerate", "budget"):
        printed.pop(automatic, None), stored.pop(automatic, None)
    assert printed == stored
    assert printed.steps == 400
    assert "target networks" not in capsys.readouterr().err  # a budget is for a trial


def test_a_finished_run_says_which_words_would_change_nothing(tmp_path, capsys):
    assert front_door(*TOY, f"hydra.run.dir={tmp_path / 'run'}") == exits.FINISHED
    capsys.readouterr()
    assert console("resume", tmp_path / "run", "evaluation.final_episodes=1000") == exits.FINISHED
    said = capsys.readouterr().out
    assert "so that evaluation.final_episodes=1000 would change nothing" in said
    assert "->" not in said


def test_the_last_of_two_values_counts(tmp_path):
    stored = settled("agent=dqn", "steps=100", "evaluation.every=10")
    assert changed(stored, ["steps=200", "steps=100"])["steps"] == 100
    for hours in ("23:30", "0100", "0x10"):  # 1,410, 64 and 16 to YAML
        with pytest.raises(ConfigError, match="stop.hours="):
            changed(stored, [f"stop.hours={hours}"])
    stored["logger"]["project"] = said = "mine: ablation #2"  # a run repeats what it has been told, which was read as YAML
    assert changed(stored, [f"logger.project={said}"])["logger"]["project"] == said


def test_a_folder_below_a_file_is_refused(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert front_door(*CARTPOLE, f"hydra.run.dir={tmp_path}/file/run") == exits.WRONG
    assert f"{tmp_path}/file is a file" in capsys.readouterr().err


def test_the_first_job_of_a_sweep_is_checked():
    assert front_door("-m", "seed=1,2", "agent=dqnn") == exits.WRONG
    assert [door.first_of(o) for o in ("seed=1,2", "agent.torso.hidden=[1,2]", "a=${b,c}", "steps=5")] == [
        "seed=1", "agent.torso.hidden=[1,2]", "a=${b,c}", "steps=5",
    ]  # fmt: skip


def test_help_waits_for_no_torch():
    """Of all commands in one process: none of them loads it."""
    code = """
import contextlib, sys
from deeprl.cli.main import COMMANDS, main
for words in ([], *([name] for name in COMMANDS if name != "train")):
    with contextlib.suppress(SystemExit):
        main([*words, "--help"])
    assert "torch" not in sys.modules, words
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert all(re.search(rf"^    {name}\s", done.stdout, flags=re.MULTILINE) for name in COMMANDS)
    assert all(f"usage: deeprl {name} " in done.stdout for name in COMMANDS if name != "train")


def test_only_the_run_is_required_by_resume(capsys):
    assert console("resume") == exits.WRONG
    assert "the following arguments are required: run (see deeprl resume --help)" in capsys.readouterr().err


def test_the_console_script_imports_nothing_of_ours():
    code = "import sys, deeprl.cli.main; print(sorted(name for name in sys.modules if name.startswith('deeprl')))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "['deeprl', 'deeprl.cli', 'deeprl.cli.main']"


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["train.py", "agent.optimizer.lrr=1"], 2, "agent.optimizer.lr?"),
        pytest.param(["-m", "deeprl", "train", "agent.optimizer.lrr=1"], 2, "agent.optimizer.lr?", marks=pytest.mark.exhaustive),
        (["-m", "deeprl.cli.main", "resume", "nowhere"], 1, "nowhere is no run folder"),
    ],
)
def test_as_processes_of_their_own(words, code, says):
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == code
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_folder_without_a_run_is_told_before_torch_is_loaded():
    code = (
        "import sys\nfrom deeprl.cli.main import main\n"
        "for word in ('resume', 'eval', 'record', 'export', 'pack'):\n"
        "    try:\n        main([word, 'nowhere'])\n    except SystemExit as left:\n        assert left.code == 1\n"
        "assert not {'torch', 'numpy'} & {*sys.modules}"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("nowhere is no run folder") == 5


def test_lines_are_written_whole(tmp_path):
    """What `lines` above relies on: NaN is null, and each line is JSON."""
    writer = JsonLines(tmp_path)
    writer.scalars(3, {"a": float("nan"), "b": 1.5}, 0.12345)
    writer.close()
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 3, "time": 0.123, "a": null, "b": 1.5}\n'


@pytest.mark.parametrize(
    ("agent", "part", "says"),
    [
        ("dqn", "agent/explore=gaussian", ("agent/explore=gaussian", "actor")),
        ("dqn", "agent/backup=policy", ("agent/backup=policy", "actor")),
        ("td3", "agent/backup=max", ("agent/backup=max", "agent/actor=deterministic")),
    ],
)
def test_parts_of_another_kind_of_agent_are_refused_by_name(agent, part, says, tmp_path, capsys):
    env = "classic/pendulum" if agent == "td3" else "toy/chain"
    assert front_door(f"agent={agent}", f"env={env}", part, f"hydra.run.dir={tmp_path / 'run'}") == exits.WRONG
    error = capsys.readouterr().err
    assert [word for word in says if word not in error] == []


@pytest.mark.parametrize(
    ("override", "first"), [("seed=1,2,3", "seed=1"), ("seed=range(4,6)", "seed=4"), ("env.id=a", "env.id=a"), ("agent=glob(*)", None)]
)
def test_the_first_job_of_a_sweep_is_the_one_that_is_checked(override, first):
    assert door.first_of(override) == first


def test_a_packed_policy_is_no_run_to_resume(finished, tmp_path, capsys):
    """`deeprl resume` named a command, which refused then what it had named."""
    assert console("pack", finished, "--out", tmp_path / "my p.zip") == exits.FINISHED
    assert console("unpack", tmp_path / "my p.zip", tmp_path / "policy") == exits.FINISHED
    # `deeprl train init_from=` was printed, which fails without the agent and the environment
    assert f"init_from={tmp_path / 'policy'} starts a run of the same agent and environment" in capsys.readouterr().out
    assert "deeprl eval 'my p.zip'\n" in (tmp_path / "policy" / "README.md").read_text()  # the name came without quotes
    assert console("resume", tmp_path / "policy") == exits.FINISHED
    assert f"To train longer, start another run with init_from={tmp_path / 'policy'}".lower() in capsys.readouterr().out.lower()
    assert console("resume", tmp_path / "policy", "steps=600") != exits.FINISHED
    told = capsys.readouterr()
    assert f"holds weights alone, as a packed policy does: start another run with init_from={tmp_path / 'policy'}" in told.err
    assert "300 -> 600" not in told.out


@pytest.mark.parametrize(
    ("run", "above"),
    [
        ("runs/classic_cartpole/dqn/1", "runs"),
        ("my runs", "my runs"),
        ("out/a", "out"),
        ("tmp/lab/runs/classic_cartpole/dqn/1", "tmp/lab/runs"),
        ("tmp/lab/moved/a", "tmp/lab/moved"),  # it was tmp
        ("/tmp/a", "/tmp/a"),
        (".", "."),
    ],
)
def test_the_runs_beside_a_run_are_in_the_folder_above_it(run, above):
    assert above_runs(Path(run)) == Path(above)
