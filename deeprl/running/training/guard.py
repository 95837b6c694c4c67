"""The batches that may have produced NaN or Inf: kept until the device has been read, then saved as a crash bundle or dropped."""

from __future__ import annotations

import shlex
from collections.abc import Callable

from deeprl.errors import NotFinite
from deeprl.replay.gather import Sample
from deeprl.running.accelerate.modes import precision
from deeprl.running.config.trust import words_of_trust
from deeprl.running.runs.folder import RunFolder
from deeprl.running.training import crash
from deeprl.running.training.learner import Learner
from deeprl.types import Report


class Guard:
    """Updates of a learner, checked: one that is not finite becomes a crash bundle, of the rank whose batch it was.

    Args:
        matmul_precision: of float32 matrix products, set for the time of an update.
        step: the environment step, for the bundle.
        intact: whether a draw still gives its batch, see `Replay.intact`. Draws that do not are no suspects any more.
    """

    def __init__(
        self,
        learner: Learner,
        matmul_precision: precision,
        folder: RunFolder,
        config: dict,
        step: Callable[[], int],
        intact: Callable[..., bool],
    ):
        self.learner, self.matmul_precision, self.folder, self.config = learner, matmul_precision, folder, config
        self.step, self.intact = step, intact
        self.suspects: list[Sample] = []
        """Draws of the updates since the last check; on a CPU only the last one"""

    def update(self, drawn: Sample, then: Callable[[Report], None]) -> Report:
        """See `Learner.update`.

        Args:
            then: called with the `Report` of the update; it may raise `NotFinite` too.

        Raises:
            NotFinite: naming the bundle.
        """
        if self.learner.watch.immediate:
            self.suspects.clear()
        elif len(self.suspects) >= crash.CHECK_PERIOD:
            self.check()
        self.suspects.append(drawn)
        try:
            with self.matmul_precision:
                report = self.learner.update(drawn)
            then(report)
        except NotFinite as error:
            raise self.crashed(error) from error
        return report

    def check(self, weights: bool = False) -> None:
        """Check that all updates so far were finite, and with `weights` all weights too, because a checkpoint must hold nothing else.

        Raises:
            NotFinite: one was not; a crash bundle was written.
        """
        try:
            self.learner.watch.check()
            found = crash.weights_fault(self.learner.agent) if weights else None
            if found:
                raise NotFinite(found)
        except NotFinite as error:
            raise self.crashed(error) from error
        self.suspects.clear()

    def crashed(self, error: NotFinite) -> NotFinite:
        """Save the bundle. Returns an error that names its content."""
        agent, batch, objective, found = self.learner.agent, None, error.objective, None
        suspects = [self.learner.to_batch(each) for each in self.suspects if self.intact(each)]
        with self.matmul_precision:
            if objective is not None:
                batch, found = suspects[-1], crash.fault(agent, suspects[-1], objective)
            elif suspects:
                batch, objective, found = crash.locate(agent, suspects)
        what = f"update {agent.updates:,} (step {self.step():,}) of " + (f"the loss {objective!r}" if objective else "the agent")
        ranks = self.learner.ranks
        if found is None and ranks.size > 1:
            return NotFinite(f"{what} is not finite on another rank, which has saved its batch; checkpoints are untouched")
        found = found or str(error)
        failure = {"step": self.step(), "update": agent.updates, "objective": objective, "tensor": found, "rank": ranks.rank}
        failure["product"] = self.matmul_precision.choice
        bundle = crash.write(self.folder, self.config, agent, batch, failure)
        again = f"deeprl replay-crash {shlex.quote(str(bundle))}{words_of_trust(self.config)}"
        return NotFinite(
            f"{what} is not finite: {found}. The batch, its noise and the weights are in {bundle}, `{again}` repeats it; checkpoints are "
            "untouched"
        )
