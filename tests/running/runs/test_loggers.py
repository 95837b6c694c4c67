"""Loggers: what other programs read is what was logged."""

import errno
import io
import json
import math
import os
import re
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata
from tensorboard.summary.writer.record_writer import RecordWriter

from deeprl.errors import ConfigError, RunFolderError
from deeprl.running.config.instantiate import resolve
from deeprl.running.runs import event_file
from deeprl.running.runs.event_file import CHARTS
from deeprl.running.runs.guarded import Guarded
from deeprl.running.runs.logger import Logger, LoggerChoice, own_id
from deeprl.running.runs.loggers import JsonLines, Loggers, Logging, TensorBoard
from deeprl.running.runs.mlflow import MLflow
from deeprl.running.runs.trackio import Trackio
from deeprl.running.runs.wandb import WandB
from tests.builders import begin

ROOT = Path(__file__).resolve().parents[3]
CONFIGS = ROOT / "configs" / "logger"


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def events(folder):
    found = EventAccumulator(str(folder))
    found.Reload()
    return found


def scalars(folder, name):
    return [(event.step, event.value) for event in events(folder).Scalars(name)]


# ---- JSON lines


def test_a_logger_that_cannot_be_closed_costs_the_others_no_line(tmp_path):
    class Offline(JsonLines):
        def close(self):
            raise RuntimeError("no network")

    (tmp_path / "offline").mkdir()
    loggers = Loggers([Offline(tmp_path / "offline"), JsonLines(tmp_path), Offline(tmp_path / "offline")])
    loggers.scalars(1, {"a": 2.0})
    with pytest.raises(RuntimeError, match="no network"):
        loggers.close()
    assert [line["a"] for line in lines(tmp_path)] == [2.0]


def test_json_lines_hold_exact_numbers_in_order(tmp_path):
    clock = Clock()
    loggers = Loggers([JsonLines(tmp_path)], clock)
    clock.now += 1.5
    loggers.scalars(5, {"train/loss": torch.tensor(0.1, dtype=torch.float64), "rollout/ep_rew_mean": 1 / 3})
    loggers.scalars(10, {"train/loss": math.nan, "x": -math.inf})
    loggers.close()
    assert lines(tmp_path) == [
        {"step": 5, "time": 1.5, "train/loss": 0.1, "rollout/ep_rew_mean": 1 / 3},
        {"step": 10, "time": 1.5, "train/loss": None, "x": None},
    ]
    assert list(lines(tmp_path)[0]) == ["step", "time", "train/loss", "rollout/ep_rew_mean"]


def test_a_flush_puts_lines_on_disk_and_watchers_get_them_every_few_seconds(tmp_path):
    clock = Clock()
    loggers = Loggers([JsonLines(tmp_path)], clock)
    loggers.scalars(1, {"x": 1})
    assert lines(tmp_path) == []
    loggers.flush()
    assert len(lines(tmp_path)) == 1
    loggers.scalars(2, {"x": 1})
    assert len(lines(tmp_path)) == 1
    clock.now += 6
    loggers.scalars(3, {"x": 1})
    assert len(lines(tmp_path)) == 3


def test_a_resumed_run_appends_and_its_time_goes_on(tmp_path):
    clock = Clock()
    first = Loggers([JsonLines(tmp_path)], clock)
    clock.now += 10
    first.scalars(1, {"x": 1})
    state = first.state_dict()
    first.close()
    clock.now += 1000
    second = Loggers([JsonLines(tmp_path)], clock)
    second.load_state_dict(state)
    clock.now += 2
    second.scalars(2, {"x": 2})
    second.close()
    assert [(line["step"], line["time"]) for line in lines(tmp_path)] == [(1, 10.0), (2, 12.0)]


# ---- TensorBoard


def test_tensorboard_reads_scalars_and_text(tmp_path):
    loggers = Loggers([TensorBoard(tmp_path)])
    for step in range(0, 300, 100):
        loggers.scalars(step, {"train/loss": 0.5 * step, "rollout/ep_rew_mean": 1.25})
    loggers.text(0, "config", "    seed: 0\n    name: ü")
    loggers.close()
    assert scalars(tmp_path, "train/loss") == [(0, 0.0), (100, 50.0), (200, 100.0)]
    assert scalars(tmp_path, "rollout/ep_rew_mean") == [(0, 1.25), (100, 1.25), (200, 1.25)]
    found = events(tmp_path)
    assert found.SummaryMetadata("config/text_summary").plugin_data.plugin_name == "text"
    (page,) = found.Tensors("config/text_summary")
    assert page.tensor_proto.string_val[0].decode() == "    seed: 0\n    name: ü"


def test_tensorboard_reads_hyper_parameters_and_final_metrics(tmp_path):
    loggers = Loggers([TensorBoard(tmp_path)])
    part = {
        "_target_": "deeprl.learning.backups.bellman.Double",
        "lr": 1e-4,
        "double": True,
        "sizes": [64, 64],
        "clip": None,
        "_partial_": True,
    }
    config = {"agent": {"backup": part}, "names": {"agent": "idqn", "env": "classic/cartpole"}, "seed": 3}
    loggers.hparams(config)
    loggers.scalars(500, {"eval/mean_reward": 4.0})
    loggers.hparams(config, {"final/mean": 21.5})
    loggers.close()
    found = events(tmp_path).summary_metadata
    start = metadata.parse_session_start_info_plugin_data(found[metadata.SESSION_START_INFO_TAG].plugin_data.content)
    values = {name: getattr(value, value.WhichOneof("kind")) for name, value in start.hparams.items()}
    settings = {"": "Double", ".lr": 1e-4, ".double": True, ".sizes": "[64, 64]"}
    assert values == {
        "agent": "idqn", "env": "classic/cartpole", "seed": 3, **{f"settings.agent.backup{key}": value for key, value in settings.items()},
    }  # fmt: skip
    end = metadata.parse_session_end_info_plugin_data(found[metadata.SESSION_END_INFO_TAG].plugin_data.content)
    assert end.status == 1
    assert scalars(tmp_path, "whole_run/final/mean") == [(500, 21.5)]


def served(folder):
    """What a plugin of TensorBoard gets, for `--logdir folder`."""
    from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
    from tensorboard.plugins.base_plugin import TBContext

    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(folder))
    multiplexer.Reload()
    return TBContext(logdir=str(folder), multiplexer=multiplexer, data_provider=MultiplexerDataProvider(multiplexer, str(folder)))


def test_the_hparams_page_gathers_all_runs(tmp_path):
    """TensorBoard's own query, over two runs that share only some of their hyper-parameters."""
    from tensorboard.context import RequestContext
    from tensorboard.plugins.hparams.backend_context import Context

    for name, config in (("one", {"lr": 0.1, "seed": 0, "tau": 0.5}), ("two", {"lr": 0.2, "seed": 1, "steps": 3})):
        (tmp_path / name).mkdir()
        loggers = Loggers([TensorBoard(tmp_path / name)])
        loggers.hparams(config, {"final/mean": 1.0})
        loggers.close()
    context = Context(served(tmp_path))
    request = RequestContext()
    runs = context.hparams_metadata(request, "x")
    found = context.experiment_from_metadata(request, "x", True, runs, context.hparams_from_data_provider(request, "x", 100))
    assert [info.name for info in found.hparam_infos] == ["seed", "settings.lr", "settings.steps", "settings.tau"]
    assert [info.name.tag for info in found.metric_infos] == ["whole_run/final/mean"]


def test_the_metrics_of_the_whole_run_come_last(tmp_path):
    """TIME SERIES has its groups in alphabetical order, and would open with charts of single points."""
    assert begin(tmp_path / "run", "agent=dqn", "budget=tiny", "runtime.threads=1") == 0
    groups = sorted({tag.partition("/")[0] for tag in events(tmp_path / "run").Tags()["scalars"]})
    assert groups[0] == "eval"
    assert groups[-1] == "whole_run"


def test_regular_expressions_select_runs_by_their_folders(tmp_path):
    """Those of docs/tensorboard.md, on names as TensorBoard reads them: two environments, two agents, and a sweep."""
    folders = (
        "classic_cartpole/dqn/260130-120000_seed0", "classic_cartpole/idqn/260131-120000_seed0",
        "minatar_breakout/dqn/260201-120000_seed2", "sweep_260201-120000/agent=dqn,seed=1",
        "sweep_260201-120000/agent=idqn,seed=1",
    )  # fmt: skip
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
        TensorBoard(tmp_path / folder).close()
    names = sorted(served(tmp_path).multiplexer.Runs())
    assert names == sorted(folders)
    page = (CONFIGS.parents[1] / "docs" / "tensorboard.md").read_text()
    table = page.split("| expression | runs |")[1].split("\n\n")[0]
    expressions = re.findall(r"^\| `(.*?)` \|", table, flags=re.MULTILINE)
    found = {text: [folders.index(name) for name in names if re.search(text, name)] for text in expressions}
    assert found == {
        "/dqn/": [0, 2],
        "cartpole/.*seed0$": [0, 1],
        "/i?dqn/.*seed[01]$": [0, 1],
        "/26013": [0, 1],
        "sweep_.*/agent=idqn": [4],
    }


def test_the_custom_scalars_page_has_one_layout_for_all_runs(tmp_path):
    """TensorBoard's own merge of the runs' layouts."""
    from tensorboard.context import RequestContext
    from tensorboard.plugins.custom_scalar.custom_scalars_plugin import CustomScalarsPlugin

    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        loggers = Loggers([TensorBoard(tmp_path / name)])
        loggers.hparams({"seed": 0})
        loggers.hparams({"seed": 0}, {"final/mean": 1.0})
        loggers.close()
    layout = json.loads(CustomScalarsPlugin(served(tmp_path)).layout_impl(RequestContext(), "x"))
    charts = {category["title"]: [chart["multiline"]["tag"] for chart in category["chart"]] for category in layout["category"]}
    assert charts == {
        "returns": [["eval/mean_reward$"], ["rollout/ep_rew_mean$"], ["rollout/ep_len_mean$"]],
        "losses": [[f"{tag}$"] for tag in CHARTS["losses"].values()],
        "speed": [["time/fps$"], ["time/updates_per_second$"]],
    }


def test_every_loss_that_an_agent_reports_is_in_one_chart():
    sources = [path for room in ("deeprl/learning", "agents", "deeprl_lab") for path in (ROOT / room).rglob("*.py")]
    reported = {name for path in sources for name in re.findall(r'"(train/\w*loss\w*)"', path.read_text())}
    assert {"train/loss", "train/score_loss", "train/energy_loss"} < reported
    assert {name: sum(bool(re.match(f"{tag}$", name)) for tag in CHARTS["losses"].values()) for name in reported} == dict.fromkeys(
        reported, 1
    )


@pytest.mark.parametrize("agent", ["agent=dqn", "agent=td3 env=classic/pendulum", "agent=ppo"])
def test_every_chart_of_the_layout_has_a_metric(agent, tmp_path):
    """But those of the policy's loss and of other losses, where an agent has none."""
    assert begin(tmp_path / "run", *agent.split(), "budget=tiny", "budget.steps=240", "log.every=40", "runtime.threads=1") == 0
    logged = {name for line in lines(tmp_path / "run") for name in line}
    charts = [pair for charts in CHARTS.values() for pair in charts.items()]
    empty = [title for title, tag in charts if not any(re.fullmatch(tag, name) for name in logged)]
    assert empty == [*(["loss of the policy"] if agent == "agent=dqn" else []), "other losses"]


def test_what_followed_the_checkpoint_is_hidden_after_a_resume(tmp_path):
    first = Loggers([TensorBoard(tmp_path)])
    for step in range(1, 6):
        first.scalars(step, {"x": step})
    first.flush()  # killed: never closed, and the last record torn
    (file,) = tmp_path.glob("events*")
    with open(file, "ab") as torn:
        torn.write(b"\x20\0\0\0\0")
    second = Loggers([TensorBoard(tmp_path, purge_step=4)])  # the same second: its name must still come later
    second.scalars(4, {"x": 40})
    second.close()
    assert scalars(tmp_path, "x") == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 40.0)]
    first.close()


# ---- configuration


def test_configurations_name_a_choice_that_opens_loggers(tmp_path):
    config = OmegaConf.to_container(OmegaConf.load(CONFIGS / "default.yaml"))
    config.pop("defaults")
    choice = resolve(config.pop("_target_"), "logger")(**config)
    assert choice == Logging()
    loggers = choice.open(tmp_path)
    loggers.scalars(1, {"x": 2.0})
    loggers.close()
    assert lines(tmp_path)[0]["x"] == scalars(tmp_path, "x")[0][1] == 2.0
    extra = OmegaConf.to_container(OmegaConf.load(CONFIGS / "wandb.yaml"))
    assert extra.pop("defaults") == ["default"]
    assert Logging(**extra) == Logging(wandb=True)
    with pytest.raises(ValueError, match=r"logger\.mode .*online, offline or disabled.*'fast'"):
        Logging(mode="fast")


def test_a_missing_extra_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(RuntimeError, match='pip install "wandb>='):
        Logging(wandb=True).open(tmp_path)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("place", ["wandb", ".wandb", "wandb_id"])
def test_wandb_writes_where_no_link_and_no_id_of_a_stranger_leads(tmp_path, monkeypatch, place):
    calls: list[str] = []
    fake = SimpleNamespace(setup=lambda: None, init=lambda **options: calls.append("init"))
    monkeypatch.setitem(sys.modules, "wandb", fake)
    if place == "wandb_id":
        (tmp_path / place).write_text("../../mine\n")
    else:
        (tmp_path / place).symlink_to(tmp_path.parent)
    with pytest.raises(RunFolderError, match="no id of a run|is a link"):
        WandB(tmp_path, "project", resume=True)
    assert not calls


def test_a_run_goes_on_where_wandb_cannot_be_reached(tmp_path, monkeypatch, capsys):
    """It ended, as with no other logger."""

    def unreachable(**options):
        raise ConnectionError("it has timed out")

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(setup=lambda: None, init=unreachable))
    loggers = Logging(wandb=True).open(tmp_path)
    loggers.scalars(3, {"x": 1})
    loggers.close()
    assert "the logger wandb has failed, and the run goes on without it: ConnectionError: it has timed out" in capsys.readouterr().err
    assert json.loads((tmp_path / "metrics.jsonl").read_text())["x"] == 1


def test_a_run_without_a_login_at_wandb_is_told_before_it_begins(monkeypatch, capsys):
    """The logger's thread was the first to find out, when the run had begun, and at a terminal it would ask from there."""

    class UsageError(Exception):
        pass

    def without_a_key(verify):
        raise UsageError("No API key configured.")

    fake = SimpleNamespace(setup=lambda: None, login=without_a_key, errors=SimpleNamespace(UsageError=UsageError))
    monkeypatch.setitem(sys.modules, "wandb", fake)
    with pytest.raises(ConfigError, match=r"logger=wandb: No API key configured\. Or set logger\.mode=offline"):
        Logging(wandb=True).log_in(goes_on=False)
    Logging(wandb=True).log_in(goes_on=True)  # which goes on without it
    assert "logger=wandb cannot log in, and the run goes on: No API key configured" in capsys.readouterr().err
    unshown, unknown = (
        (lambda verify: False),
        (lambda verify: {}["host"]),
    )
    for fake.login, told in ((unshown, "there is no login"), (unknown, "'host'")):
        with pytest.raises(ConfigError, match=f"logger=wandb: {told}"):
            Logging(wandb=True).log_in(goes_on=False)
        Logging(wandb=True).log_in(goes_on=True)
    Logging(wandb=True, mode="offline").log_in(goes_on=False)


def test_wandb_gets_the_same_numbers(tmp_path, monkeypatch):
    class Fake(dict):
        """A run: notes what is called, and is its own config and summary."""

        def __init__(self):
            super().__init__()
            self.calls, self.summary = [], {}
            self.config = self

        def setup(self):
            self.set_up_in = os.getcwd()

        def init(self, **options):
            assert options["settings"] == {"disable_git": True}
            self.calls.append(("init", options["id"], options["resume"]))
            return self

        def log(self, values, step):
            self.calls.append((step, values))

        def update(self, values, allow_val_change):
            super().update(values)

        def finish(self, exit_code):
            self.calls.append(("finish", exit_code))

    fake = Fake()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    (tmp_path / "wandb").mkdir()
    monkeypatch.chdir(tmp_path)  # where wandb would read wandb/settings: a stranger's named another server
    loggers = Loggers([WandB(tmp_path, "project", resume=True).begun()])
    assert not Path(fake.set_up_in).is_relative_to(tmp_path)
    loggers.hparams({"a": {"b": 1}}, {"final/mean": 2.0})
    loggers.text(0, "config", "text")
    loggers.scalars(3, {"x": 1})
    loggers.flush()
    loggers.ended("failed")
    loggers.close()
    assert fake.calls == [("init", tmp_path.name, "allow"), (3, {"x": 1.0}), ("finish", 1)]  # of a run from before `wandb_id`
    assert dict(fake) == {"a.b": 1, "config": "text"}
    assert fake.summary == {"final/mean": 2.0}
    (tmp_path / "wandb").rmdir()  # a run that goes on and had no W&B before: folders of other runs may have its name
    WandB(tmp_path, "project", resume=True).begun()
    assert fake.calls[-1] == ("init", (tmp_path / "wandb_id").read_text().strip(), "allow")
    assert fake.calls[-1][1] != tmp_path.name
    fake.calls.clear()
    for place in ("one", "other"):  # two runs of one name stay two runs, and each goes on as itself
        (tmp_path / place / "seed=1 ü").mkdir(parents=True)
        for resume in (False, True):
            WandB(tmp_path / place / "seed=1 ü", "project", resume=resume).begun()
    (one, begun), (same, resumed), (other, _), _ = ((name, resume) for _, name, resume in fake.calls)
    assert re.fullmatch(r"seed=1__-[0-9a-f]{8}", one)
    assert (begun, resumed, same == one, other == one) == (None, "allow", True, False)


def test_records_are_those_of_tensorboard():
    """The check value of CRC-32C is that of the digits 1 to 9."""
    assert event_file.crc(b"123456789") == 0xE3069283
    for data in (b"", b"a", bytes(range(256)) * 5):
        theirs = io.BytesIO()
        RecordWriter(theirs).write(data)
        assert event_file.record(data) == theirs.getvalue()


def test_constants_are_those_of_tensorboard():
    ours = event_file.HPARAMS, event_file.SESSION_START, event_file.SESSION_END, 0
    theirs = metadata.PLUGIN_NAME, metadata.SESSION_START_INFO_TAG, metadata.SESSION_END_INFO_TAG, metadata.PLUGIN_DATA_VERSION
    assert ours == theirs


def test_a_start_imports_no_stub_of_tensorflow():
    code = "import sys; import deeprl.running.runs.event_file; print({'tensorboard.compat.tensorflow_stub', 'fsspec'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "set()"


# ---- loggers of others


class Kept(Logger):
    """Notes what it gets."""

    def __init__(self):
        self.got = []

    def scalars(self, step, values, elapsed):
        self.got.append((step, values))

    def ended(self, state):
        self.got.append(state)

    def close(self):
        self.got.append("closed")


class Broken(Kept):
    def __init__(self, error):
        super().__init__()
        self.error = error

    def scalars(self, step, values, elapsed):
        raise self.error


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("no network"), SystemExit(1)])
def test_a_logger_of_others_that_fails_costs_its_lines_and_not_the_run(tmp_path, capsys, error):
    kept = Kept()
    loggers = Loggers([Guarded("broken", lambda: Broken(error)), Guarded("kept", lambda: kept), JsonLines(tmp_path)])
    for step in range(3):
        loggers.scalars(step, {"a": 2.0})
        loggers.flush()
    loggers.ended("stopped")
    loggers.close()
    assert kept.got == [*((step, {"a": 2.0}) for step in range(3)), "stopped", "closed"]
    assert len(lines(tmp_path)) == 3
    assert f"the logger broken has failed, and the run goes on without it: {type(error).__name__}" in capsys.readouterr().err


def test_a_logger_without_a_word_for_the_end_is_closed(tmp_path):
    """One of before that word failed at the end of its run, and lost the lines that it had not written."""

    class Older:
        closed = False

        def close(self):
            self.closed = True

    older = Older()
    loggers = Loggers([Guarded("older", lambda: older)])
    loggers.ended("finished")
    loggers.close()
    assert older.closed


def test_a_logger_may_change_what_it_is_given(tmp_path):
    """Others lacked what one had taken away, or raised because it was taken away meanwhile."""

    class Taking(Kept):
        def scalars(self, step, values, elapsed):
            values.clear()

    kept = Kept()
    loggers = Loggers([Guarded("taking", Taking), Guarded("kept", lambda: kept), JsonLines(tmp_path)])
    for step in range(50):
        loggers.scalars(step, {"a": 2.0})
    loggers.close()
    assert kept.got == [*((step, {"a": 2.0}) for step in range(50)), "closed"]
    assert [line["a"] for line in lines(tmp_path)] == [2.0] * 50


def test_a_logger_that_does_not_answer_is_not_waited_for(tmp_path, capsys):
    answer = threading.Event()

    def blocked():
        answer.wait()
        return Kept()

    loggers = Loggers([Guarded("slow", blocked, most=2, patience=0.05), JsonLines(tmp_path)])
    for step in range(5):
        loggers.scalars(step, {"a": 2.0})
    loggers.close()
    said = capsys.readouterr().err
    assert "the logger slow does not answer" in said
    assert "it may lack 5 lines" in said
    assert len(lines(tmp_path)) == 5
    answer.set()


def test_a_slow_logger_with_a_full_queue_is_closed_all_the_same(tmp_path):
    class Slow(Kept):
        def scalars(self, step, values, elapsed):
            time.sleep(0.02)
            super().scalars(step, values, elapsed)

        def hparams(self, config, final):
            self.got.append((config, final))

    kept = Slow()
    loggers = Loggers([Guarded("slow", lambda: kept, most=2, patience=30.0)])
    for step in range(10):
        loggers.scalars(step, {"a": 2.0})
    loggers.hparams({"seed": 0}, {"return": 1.0})  # as the state at the end, it was left out
    loggers.ended("failed")
    loggers.close()
    assert kept.got[-3:] == [({"seed": 0}, {"return": 1.0}), "failed", "closed"]


def test_a_logger_that_fails_with_a_full_queue_is_not_waited_for():
    go = threading.Event()

    def failing():
        go.wait()
        raise RuntimeError("no network")

    loggers = Loggers([Guarded("failing", failing, most=2, patience=30.0)])
    for step in range(5):
        loggers.scalars(step, {"a": 2.0})
    threading.Timer(0.2, go.set).start()  # while the end is waiting for room in the queue
    began = time.monotonic()
    loggers.close()
    assert time.monotonic() - began < 10.0


def test_the_logger_of_a_package_is_opened_by_its_choice(tmp_path):
    @dataclass(frozen=True)
    class Mine(LoggerChoice):
        def open(self, folder, resumed):
            return Broken(RuntimeError(f"{folder.name} {resumed}"))

    with pytest.raises(ValueError, match="also.mine must be a logger"):
        Logging(also={"mine": Logging()})
    loggers = Logging(also={"mine": Mine(), "off": Mine(enabled=False)}).open(tmp_path)
    assert [logger.name for logger in loggers.loggers if isinstance(logger, Guarded)] == ["mine"]
    loggers.close()


def test_mlflow_gets_the_same_numbers_and_goes_on_under_its_id(tmp_path):
    mlflow = pytest.importorskip("mlflow")
    uri = f"sqlite:///{tmp_path / 'runs.db'}"
    for resumed in (False, True):
        logger = MLflow(uri=uri).open(tmp_path, resumed)
        logger.hparams({"seed": 0, "agent.lr": 0.2, "new": 1} if resumed else {"seed": 0, "agent.lr": 0.1}, None)  # it takes no other value
        logger.scalars(5 + resumed, {"train/loss": 0.5, "rollout/nan": math.nan}, 1.0)
        logger.ended("failed")
        logger.close()
    (run,) = mlflow.MlflowClient(uri).search_runs(["1"])
    assert run.info.status == "FAILED"
    assert run.info.run_id == (tmp_path / "mlflow_id").read_text().strip()
    assert run.data.params == {"seed": "0", "agent.lr": "0.1", "new": "1"}  # one that was killed before it had told any had none for ever
    history = mlflow.MlflowClient(uri).get_metric_history(run.info.run_id, "train/loss")
    assert [(each.step, each.value) for each in history] == [(5, 0.5), (6, 0.5)]


def test_trackio_gets_the_same_numbers_and_goes_on_under_its_name(tmp_path, monkeypatch):
    calls = []
    run = SimpleNamespace(log=lambda values, step=None: calls.append((step, values)), finish=lambda: calls.append("finish"))
    fake = SimpleNamespace(init=lambda project, name, **options: calls.append((name, options["config"], options["resume"])) or run)
    monkeypatch.setitem(sys.modules, "trackio", fake)
    for resumed in (False, True):
        logger = Trackio().open(tmp_path, resumed)
        logger.hparams({"seed": 0}, None)
        logger.scalars(5 + resumed, {"train/loss": 0.5}, 1.0)
        logger.close()
    name = (tmp_path / "trackio_id").read_text().strip()
    assert calls == [
        (name, {"seed": 0}, "allow"), (5, {"train/loss": 0.5}), "finish", (name, {"seed": 0}, "allow"), (6, {"train/loss": 0.5}), "finish",
    ]  # fmt: skip


def test_an_id_of_a_stranger_leads_nowhere(tmp_path):
    (tmp_path / "mlflow_id").write_text("../../mine\n")
    with pytest.raises(RunFolderError, match="no id of a run"):
        own_id(tmp_path, "mlflow_id", resumed=True)
