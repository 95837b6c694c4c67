"""A TensorBoard event file, written without torch's SummaryWriter, because SummaryWriter imports TensorFlow if installed and writes from a
thread. Of TensorBoard only the messages are imported: its record writer and the constants of the page HPARAMS would import a stub of
TensorFlow with a hundred modules, file systems of clouds among them (about 0.2 s of CPU time in every start)."""

from __future__ import annotations

import os
import re
import socket
import struct
import time
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.plugins.custom_scalar import metadata as custom_scalars
from tensorboard.plugins.custom_scalar.layout_pb2 import Category, Chart, Layout, MultilineChartContent
from tensorboard.plugins.hparams.api_pb2 import Status
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo

from deeprl.running.runs.config_file import Config
from deeprl.running.runs.logger import Logger
from deeprl.system.files import Appender

HPARAMS = "hparams"
"""Name of TensorBoard's plugin, the version of whose data is 0"""
SESSION_START, SESSION_END = "_hparams_/session_start_info", "_hparams_/session_end_info"
"""Its tags"""

STAMPED = re.compile(r"events\.out\.tfevents\.([0-9]{1,12})\.")
"""Name of an event file, with the second in which it was begun. A stranger's may have so many digits that the next name is too long."""

WHOLE = "whole_run"
"""Group of the final metrics. HPARAMS shows scalars only, and TIME SERIES would open with their charts of single points, if their group did
not come last in the alphabet."""

OF_VALUES, OF_POLICY = "loss|critic_loss|value_loss", "actor_loss|policy_loss"
CHARTS = {
    "returns": {
        "evaluation: mean return": "eval/mean_reward",
        "training: mean return of the last 100 episodes": "rollout/ep_rew_mean",
        "training: mean length of the last 100 episodes": "rollout/ep_len_mean",
    },
    "losses": {
        "loss of the values": f"train/({OF_VALUES})",
        "loss of the policy": f"train/({OF_POLICY})",
        "other losses": rf"train/(?!({OF_VALUES}|{OF_POLICY})$)\w*loss\w*",
        "values": "train/(q_|state_)?values",
    },
    "speed": {"environment steps a second": "time/fps", "updates a second": "time/updates_per_second"},
}
"""The page CUSTOM SCALARS: by category and title, a regular expression of the metrics that a chart shows."""


def _table() -> list[int]:
    """CRC-32C of each byte (Castagnoli's polynomial, reflected)."""
    found = list(range(256))
    for _ in range(8):
        found = [one >> 1 ^ 0x82F63B78 * (one & 1) for one in found]
    return found


TABLE = _table()


def crc(data: bytes) -> int:
    """CRC-32C."""
    value = 0xFFFFFFFF
    for byte in data:
        value = TABLE[(value ^ byte) & 0xFF] ^ value >> 8
    return value ^ 0xFFFFFFFF


def masked(data: bytes) -> bytes:
    """The CRC as records store it: rotated right by 15 bits, plus a constant."""
    value = crc(data)
    return struct.pack("<I", ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def record(data: bytes) -> bytes:
    """Length and its CRC, data and its CRC."""
    length = struct.pack("<Q", len(data))
    return length + masked(length) + data + masked(data)


class TensorBoard(Logger):
    """The logger of one process: scalars, text pages, animations, a page of charts (`CHARTS`), and hyper-parameters with final metrics for
    the page HPARAMS. TensorBoard reads all event files of a folder in the order of their names.

    Args:
        folder: the run folder.
        purge_step: first step that a resumed run logs. TensorBoard hides the events of this and later steps in earlier files.
    """

    def __init__(self, folder: Path, purge_step: int | None = None):
        stamps = [int(found[1]) for found in map(STAMPED.match, os.listdir(folder)) if found]
        stamp = max(int(time.time()), *(old + 1 for old in stamps)) if stamps else int(time.time())  # sorts after all existing files
        path = folder / f"events.out.tfevents.{stamp:010d}.{socket.gethostname()}.{os.getpid()}.0"
        first = Event(file_version="brain.Event:2", step=purge_step or 0, wall_time=time.time())
        self._records = Appender(path, record(first.SerializeToString()))
        self._started, self._step = time.time(), 0
        if purge_step is not None:
            self._add(Event(step=purge_step, session_log=SessionLog(status=SessionLog.START)))
        self.flush()

    def scalars(self, step: int, values: dict[str, float], elapsed: float = 0.0) -> None:
        self._step = step
        self._summary(step, *(Summary.Value(tag=name, simple_value=value) for name, value in values.items()))

    def text(self, step: int, name: str, text: str) -> None:
        """Log a page of Markdown."""
        self._summary(step, Summary.Value(tag=f"{name}/text_summary", metadata=_plugin("text"), tensor=_string(text.encode())))

    def animation(self, step: int, name: str, gif: bytes) -> None:
        """Log an animated GIF, which the page IMAGES plays."""
        width, height = (int.from_bytes(gif[at : at + 2], "little") for at in (6, 8))
        self._summary(
            step, Summary.Value(tag=name, image=Summary.Image(width=width, height=height, colorspace=3, encoded_image_string=gif))
        )

    def hparams(self, config: Config, final: dict[str, float] | None = None) -> None:
        """Log the hyper-parameters and, with `final`, the final metrics and the end of the session; without, the layout of the charts.

        No experiment is declared, because a declaration lists the parameters and metrics of one run, and TensorBoard would use this list
        for all runs. Without a declaration it collects the names from all runs.
        """
        start = SessionStartInfo(start_time_secs=self._started)
        for name, value in columns(config).items():
            if isinstance(value, bool):
                start.hparams[name].bool_value = value
            elif isinstance(value, (int, float)):
                start.hparams[name].number_value = value
            elif value is not None:
                start.hparams[name].string_value = str(value)
        self._plugin_data(SESSION_START, HParamsPluginData(session_start_info=start))
        if final is None:
            tag, plugin = custom_scalars.CONFIG_SUMMARY_TAG, _plugin(custom_scalars.PLUGIN_NAME)
            self._summary(0, Summary.Value(tag=tag, metadata=plugin, tensor=_string(_layout().SerializeToString())))
        else:
            self.scalars(self._step, {f"{WHOLE}/{name}": value for name, value in final.items()})
            end = SessionEndInfo(status=Status.Value("STATUS_SUCCESS"), end_time_secs=time.time())
            self._plugin_data(SESSION_END, HParamsPluginData(session_end_info=end))

    def flush(self, durable: bool = False) -> None:
        self._records.flush()

    def close(self) -> None:
        self._records.close()

    def _plugin_data(self, tag: str, data: HParamsPluginData) -> None:
        data.version = 0
        empty = TensorProto(dtype="DT_FLOAT", tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=0)]))
        self._summary(0, Summary.Value(tag=tag, metadata=_plugin(HPARAMS, data.SerializeToString()), tensor=empty))

    def _summary(self, step: int, *values: Summary.Value) -> None:
        self._add(Event(step=step, summary=Summary(value=values)))

    def _add(self, event: Event) -> None:
        event.wall_time = time.time()
        self._records.write(record(event.SerializeToString()))


def columns(config: Config) -> dict[str, Any]:
    """Hyper-parameters for the table HPARAMS, which shows those that differ first, in the order of their names: agent, env and seed stand
    before `settings`, and a part is told by its class, without the module.

    Args:
        config: full keys and values.
    """
    found = {}
    for key, value in config.items():
        if key in ("names.agent", "names.env", "seed"):
            found[key.removeprefix("names.")] = value
        elif key.endswith("._target_"):
            found[f"settings.{key.removesuffix('._target_')}"] = str(value).rpartition(".")[2]
        else:
            found[f"settings.{key}"] = value
    return found


def _plugin(name: str, content: bytes = b"") -> SummaryMetadata:
    return SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name=name, content=content))


def _string(content: bytes) -> TensorProto:
    return TensorProto(dtype="DT_STRING", string_val=[content], tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)]))


def _layout() -> Layout:
    return Layout(
        category=[
            Category(
                title=title, chart=[Chart(title=name, multiline=MultilineChartContent(tag=[f"{tag}$"])) for name, tag in charts.items()]
            )
            for title, charts in CHARTS.items()
        ]
    )
