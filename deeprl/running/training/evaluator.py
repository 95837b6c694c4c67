"""The evaluations of a run: their seeds, lines in evaluations.jsonl, videos, and which one was the best."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from deeprl.errors import Stopped
from deeprl.learning.agent import Agent
from deeprl.running.config.rules import get
from deeprl.running.runs.folder import RunFolder
from deeprl.running.training.episodes import success_rate
from deeprl.running.training.evaluation import LONGEST, Tape, evaluate, evaluation_seed, summarise, task_means
from deeprl.running.training.overestimation import Overestimation
from deeprl.system import generators


class Evaluator:
    """Evaluation of an agent: its returns, its line in evaluations.jsonl, its video.

    Args:
        make: `make(seed, num, render=False)` -> environments for evaluation.

    Attributes:
        best: summary of the evaluation with the largest mean so far.
        filmed: the newest evaluation's video as an animated GIF, if it has one.
    """

    def __init__(self, config: dict, agent: Agent, make: Callable[..., Any], folder: RunFolder):
        self.config, self.agent, self.make, self.folder = config, agent, make, folder
        self.best: dict | None = None
        self.filmed: bytes | None = None

    def __call__(
        self,
        step: int,
        episodes: int,
        each_tick: Callable[[int, int], None],
        say: Callable[[str], object],
        part: str = "run",
        longest: int = LONGEST,
    ) -> tuple[dict, bool]:
        """Evaluate the agent as it is at `step`. Returns the summary of the returns, and whether it is the best.

        Args:
            each_tick: as in `evaluate`; called for each frame of the video too.
            say: prints a warning.
            part: see `evaluation_seed`.
            longest: see `cut_off`.
        """
        seed = evaluation_seed(self.config["seed"], step, part)
        num, device = self.config["evaluation"]["num"], self.config["device"]
        overestimation, tape = Overestimation.of_run(self.agent.rewards, self.config), Tape()
        self.filmed = None
        with generators.kept():  # an environment may draw from the process's generators, and training must not see that it was evaluated
            result = evaluate(self.agent, self.make, episodes, num, seed, step, device, each_tick, (overestimation, tape), longest)
            if get(self.config, "evaluation.video", False):
                played, steps = len(result["returns"]), sum(result["lengths"])
                self.film(seed, step, tape, lambda: each_tick(played, steps), say, "_final" if part == "final" else "")
        self.folder.append_evaluation({"step": step, "num": num, **result})
        length = sum(result["lengths"]) / len(result["lengths"])
        info = task_means(result)
        summary = {**summarise(result["returns"]), "step": step, "length": length, "diagnostics": overestimation.metrics(), "info": info}
        better = self.best is None or summary["mean"] > self.best["mean"]
        if better:
            self.best = summary
        return summary, better

    def film(self, seed: int, step: int, tape: Tape, each_tick: Callable[[], None], say: Callable[[str], object], end: str = "") -> None:
        """Write videos/step_….mp4 and set `filmed`. An error becomes a warning, because a run must not end for a video.

        Raises:
            Stopped: by a signal. The evaluation is not recorded yet; a resumed run makes it again, with its video.
        """
        from deeprl.running.training.video import animation, film  # OpenCV is slow to import, and only videos need it

        path = self.folder.path / "videos" / f"step_{step:012d}{end}.mp4"
        try:
            with contextlib.closing(self.make(seed, 1, render=True)) as envs:
                returned = film(envs, tape, path, each_tick)
            if returned != tape.returned:
                say(
                    f"{path} shows an episode of return {returned:.4g}, in the evaluation it was {tape.returned:.4g}: "
                    "rendering changes this environment"
                )
            self.filmed = animation(path)
        except Stopped:
            raise
        except Exception as error:
            say(f"no video of step {step:,} ({type(error).__name__}: {error}). Training goes on")


def way_past(config: dict, last: bool) -> str:
    """Override with which a resumed run gets past an evaluation that hangs, for the message of the watchdog. Without one it hangs again,
    because the episodes follow from the seed and the step.

    Args:
        last: it is the one at the end of the run.
    """
    if get(config, "env.vector") == "async":  # each step ends after env.timeout, but for those of a video, which are made in this process
        return "evaluation.video=false" if get(config, "evaluation.video", False) else "env.timeout=SECONDS"
    return "steps=STEPS" if last else "evaluation.every=STEPS"


def evaluation_metrics(summary: dict) -> dict[str, float]:
    """Metrics of an evaluation by name."""
    more = {f"eval/{name}": value for name, value in summary["diagnostics"].items()}
    more |= {f"eval/info/{name}": value for name, value in summary["info"].items()} | success_rate("eval/success_rate", summary["info"])
    return {"eval/mean_reward": summary["mean"], "eval/mean_ep_length": summary["length"], **more}
