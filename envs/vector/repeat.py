"""Restoring environments from their journals: a seeded reset, and every action since."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from .backend import Backend, Failure, usable
from .journal import Journal
from .observations import fault_of_shown


class Repeated(NamedTuple):
    """Result of `repeat`. Each environment is either in `failures` or in the state that it had."""

    journals: dict[int, Journal]
    """Journals of all environments in `entries`"""
    obs: dict[int, np.ndarray]
    """Present observation of each environment"""
    failures: dict[int, Failure]
    interrupted: list[int]
    """Environments that failed during the replay, and must be rebuilt before they are reset alone"""


def repeat(backend: Backend, entries: Mapping[int, dict], limit: int) -> Repeated:
    """Replay the journals `entries` (`Journal.entry`, by environment) of at most `limit` actions.

    All replays end together and shorter ones start later, because a library's vector can only step all environments. Those that wait, or
    have failed, take a valid action, because an invalid one may raise.
    """
    spec, num = backend.spec, backend.num
    journals, obs = {i: Journal(spec, -1) for i in entries}, {}
    failures = {i: failure for i, entry in entries.items() if (failure := _too_long(entry, limit))}
    interrupted: list[int] = []
    recorded = {i: entry["actions"] for i, entry in entries.items() if i not in failures}
    total = max(map(len, recorded.values()), default=0)
    action = np.zeros(num, np.int64) if spec.num_actions else np.zeros((num, spec.action_dim), np.float32)
    unseeded: list[int | None] = [None] * num  # resets since the last seeded one had no seed
    waits = spec.masked and backend.one_by_one and not backend.replaces
    started = backend.reset(dict.fromkeys(range(num), 0)) if waits else {}
    seen = {i: row for i, row in started.items() if not isinstance(row, Failure)}  # present observations, for their masks

    def fail(index: int, failure: Failure) -> None:
        failures[index] = Failure(f"its replay failed: {failure.cause}", failure.error)
        interrupted.append(index)

    for t in range(total + 1):
        seeds = {i: int(entries[i]["seed"]) for i, actions in recorded.items() if total - len(actions) == t}
        for i, first in backend.reset(seeds).items() if seeds else ():
            if isinstance(first, Failure):
                fail(i, first)
            elif fault := fault_of_shown(first, spec):
                fail(i, Failure(fault))
            else:
                journals[i].begin(seeds[i], first)
                obs[i] = first.copy()
        running = [i for i in obs if i not in failures]
        if t == total:
            break
        for i, row in seen.items():
            action[i] = row[-spec.num_actions :].argmax()
        for i in running:
            action[i] = recorded[i][t - total + len(recorded[i])]
        answers = backend.step(backend.actions.to_env(action), unseeded, running) if running else []
        if waits:
            seen |= {i: answer[0] for i, answer in enumerate(answers) if answer and not isinstance(answer, Failure)}
        for i in running:
            answer = usable(answers[i], spec)
            if isinstance(answer, Failure):
                fail(i, answer)
                continue
            journals[i].note(action[i], answer, limit)
            if answer[4]:
                journals[i].begin(None, answer[0])
            obs[i] = answer[0].copy()
    for i, journal in journals.items():
        entry = entries[i]
        if i not in failures and journal.entry()["hash"] != entry["hash"]:
            failures[i] = Failure("its replay from seed and actions came out differently, so it is not deterministic")
        journal.episode, journal.steps = int(entry["episode"]), int(entry["steps"])
    return Repeated(journals, obs, failures, interrupted)


def _too_long(entry: dict, limit: int) -> Failure | None:
    count = int(entry["count"])
    if count <= limit and len(entry["actions"]) == count:
        return None
    return Failure(f"{count} actions since its last seeded reset are more than checkpoint.replay_actions={limit}")
