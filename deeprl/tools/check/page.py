"""The page of a check, and the same content as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict

from deeprl.replay.source import rows_and_memory
from deeprl.running.config.sources import update_ratio
from deeprl.running.session.doubts import Suspicion
from deeprl.system.progress import duration
from deeprl.system.strict_json import plain
from deeprl.system.terminal import amount, columns
from deeprl.tools.check.record import Forecast, Record, forecast

Rows = list[tuple[str, str]]
BUSY = 0.8
"""Share of processor time below which other processes slow the measurement down"""
STEADY = 30
"""Updates from which their mean duration is taken as it is"""


def page(record: Record, suspicions: list[Suspicion]) -> str:
    """Suspicions come last, because a terminal shows the end."""
    found = forecast(record)
    sections = {
        "run": run(record, found),
        "speed": speed(record),
        "memory": memory(record),
        "parameters": parameters(record),
        "environment": environment(record),
        "chosen automatically": [(f"{each.key}: {each.value}", each.why) for each in record.decisions],
        "machine": machine(record),
    }
    lines = []
    for title, rows in sections.items():
        if rows:
            lines += [title, *columns(rows), ""]
    if not suspicions:
        return "\n".join([*lines, "nothing suspicious"])
    return "\n".join([*lines, f"suspicious ({len(suspicions)})", *columns([(each.key, each.text) for each in suspicions])])


def run(record: Record, found: Forecast) -> Rows:
    config = record.config
    most = f"; up to {duration(found.most)} if evaluation episodes reach the time limit" if found.most > 1.1 * found.total else ""
    if record.seen.length is None:
        most = ", with evaluation episodes at the time limit, because none ended in the measurement"
    share = f"training {duration(found.training)}, {found.evaluations:,} evaluations {duration(found.evaluation)}"
    return [
        ("what", f"agent={config['names']['agent']} env={config['names']['env']} seed={config['seed']}"),
        ("tuned settings", record.tuned or "none for this agent on this family"),
        ("steps, updates", f"{found.steps:,} steps, {record.updates:,} updates"),
        ("time", f"about {duration(found.total)}{most}"),
        ("of it", f"{share}, {found.checkpoints:,} checkpoints {duration(found.checkpoint)}"),
    ]


def speed(record: Record) -> Rows:
    measured, evaluating = record.speed, record.evaluating
    ratio = update_ratio(record.config)
    step = measured.step + ratio * measured.each_update
    acting = {"environment": measured.environment, "acting": measured.acting}
    if not measured.environment:  # a function of its own, with acting, or none
        acting = {"acting and environments": measured.acting}
    parts = {
        **{name: seconds / measured.steps for name, seconds in acting.items()},
        "storing": measured.replay / measured.steps,
        "batches": ratio * measured.drawing / measured.updates,
        "updates": ratio * measured.update / measured.updates,
        "the rest": measured.rest / measured.steps,
    }
    split = ", ".join(f"{name} {part / step:.0%}" for name, part in parts.items())
    away = "" if str(record.config["device"]).startswith("cpu") else " (a GPU's time counts where this process waits for it)"
    length = record.seen.length
    episodes = f"{record.seen.episodes:,} episodes ended" + ("" if length is None else f", {length:,.1f} steps on average")
    made = milliseconds(evaluating.setup)
    return [
        ("training", f"{rate(1 / step)} steps/s, {rate(ratio / step)} updates/s once it learns{away}"),
        ("of it", split),
        ("an update", milliseconds(measured.each_update) + " with its batch"),
        ("before", f"{measured.startup:.1f} s until the first update of every loss, {measured.compiling:.1f} s of it compiling"),
        ("an evaluation", f"{made} to make {evaluating.num} environments, then {milliseconds(evaluating.tick)} for a step of all"),
        ("measured", f"{measured.steps:,} steps and {measured.updates:,} updates in {measured.seconds:.1f} s; {episodes}"),
        *trust(record),
    ]


def milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.3g} ms" if seconds < 0.9995 else f"{seconds:.3g} s"  # three digits of it would be 1e+03 ms


def rate(number: float) -> str:
    """Events a second, with three digits where there are few: 1,204 or 0.913."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def trust(record: Record) -> Rows:
    """Reasons why the speeds may be wrong."""
    measured, rows, (key, first) = record.speed, [], record.first_phase
    if 0 < first < record.updates:
        rows.append(("note", f"{key}={first}: the first {first:,} updates learn less and are cheaper, so that the time is an upper bound"))
    alone = record.config["env"]["vector"] == "sync" and str(record.config["device"]).startswith("cpu")
    if alone and measured.busy < BUSY * measured.seconds:
        share = f"this process computed in {measured.busy / measured.seconds:.0%} of the measured time, because others hold the cores"
        fewer = ", or set runtime.threads=1" if record.config["runtime"]["threads"] > 1 else ""
        rows.append(("note", f"{share}: check again when they are idle{fewer}"))
    if measured.updates < STEADY:
        rows.append(
            ("note", f"{measured.updates:,} updates are few to measure: --seconds {10 * measured.seconds:.0f} gives steadier numbers")
        )
    return rows


def memory(record: Record) -> Rows:
    at, config = record.memory, record.config
    steps = config["steps"]
    part = f"; this run writes {steps:,}: {amount(at.replay * steps / at.rows)}" if at.collects and steps < at.rows else ""
    place, available = ("", at.available) if at.replay_device == "cpu" else (f", on {at.replay_device}", at.device_available)
    free = "" if available is None else f", {amount(available)} free"
    rows = [
        ("replay", f"{rows_and_memory(at.rows, at.replay)}{part}{place}{free}"),
        ("agent", f"{amount(at.weights)}, its optimizers {amount(at.optimizer)}"),
        ("this process", f"{amount(at.process)} at most while it measured, with few rows in the replay"),
    ]
    if at.workers is not None:
        rows.append(("workers", f"{amount(at.workers)} for {config['env']['num']} processes, shared pages counted in each"))
    if at.device is not None:
        of = "" if at.device_available is None else f", {amount(at.device_available)} free before"
        rows.append(("device", f"{amount(at.device)} at most{of}"))
    kept = f"{config['checkpoint']['keep']} and the best are kept"
    replay = ", with the replay" if config["checkpoint"]["replay"] else ", without the replay"
    rows.append(("a checkpoint", f"{amount(at.checkpoint)} beside the replay; {kept}"))
    rows.append(("disk", f"{amount(at.disk)} at the end{replay}, {amount(at.disk_available)} free"))
    return rows


def parameters(record: Record) -> Rows:
    def training(total: int, trained: int) -> str:
        return "trained" if trained == total else "not trained" if not trained else f"{trained:,} of them trained"

    networks = record.networks
    rows = [(each.name, f"{each.parameters:,}, {training(each.parameters, each.trained)}") for each in networks]
    total, trained = (sum(numbers) for numbers in zip(*[each[1:] for each in networks]))
    return [*rows, ("all", f"{total:,}, {trained:,} of them trained")]


def environment(record: Record) -> Rows:
    at = record.environment
    declared = "none is declared" if at.reward_range is None else f"{at.reward_range[0]:g} to {at.reward_range[1]:g} declared"
    seen = record.seen
    return [
        ("observation", at.observation),
        ("actions", at.actions),
        ("rewards", f"{declared}; seen {seen.reward_low:.4g} to {seen.reward_high:.4g}"),
        ("wrappers", " > ".join(at.layers) + (" (from the outermost to the environment)" if len(at.layers) > 1 else "")),
        ("time limit", "none is known" if at.limit is None else f"{at.limit:,} steps"),
        ("copies", f"{at.num}, env.vector={at.vector}"),
    ]


def machine(record: Record) -> Rows:
    system, config = record.system, record.config
    packages = {name: version for name, version in system["packages"].items() if name in PACKAGES}
    threads = config["runtime"]["threads"]
    gpu = "" if system["gpu"] is None else f": {system['gpu']}, CUDA {system['cuda']}, driver {system['driver'] or 'unknown'}"
    return [
        ("versions", ", ".join(f"{name} {version}" for name, version in packages.items())),
        ("processor", f"{system['cpu']}, {system['cores']} cores for this process, {threads} {'thread' if threads == 1 else 'threads'}"),
        ("device", f"{config['device']}{gpu}"),
        ("computed", f"accelerate={config['accelerate']['mode']}, products {config['accelerate']['matmul_precision']}"),
    ]


PACKAGES = ("deeprl", "torch", "numpy", "gymnasium", "mujoco", "ale-py", "minatar", "python")
"""Packages that the page shows; the JSON holds all."""


def as_json(record: Record, suspicions: list[Suspicion]) -> str:
    """The record with `forecast` and `suspicions`; times are in seconds, memory in bytes."""
    found = forecast(record)
    content = asdict(record)
    for name in ("decisions", "networks", "targets"):
        content[name] = [each._asdict() for each in getattr(record, name)]
    content["torsos"] = {place: type(torso).__name__ for place, torso in record.torsos.items()}
    content["asked"] = sorted(record.asked)
    content["forecast"] = {**asdict(found), "total": found.total, "most": found.most}
    content["suspicions"] = [each._asdict() for each in suspicions]
    return json.dumps(plain(content), allow_nan=False)
