"""Progress of a run for people: a bar on a terminal, elsewhere a line from time to time."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

from deeprl.system.terminal import console, is_terminal, printable, say


def significant(value: float) -> str:
    """A return for people: four significant digits, and no exponent below a thousand millions."""
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:.4g}"


class Progress:
    """Steps, speed, remaining time, the last training return and the last evaluation. Nothing of it is logged.

    `update` may be called often, because most calls only compare two numbers. There is no thread.

    Args:
        total: steps of the run.
        start: step at which this process starts.
        stream: stderr if None.
        live: a bar (True) or lines (False); by default a bar on a terminal.
        notice: asked at each update for a line to print.
    """

    def __init__(
        self,
        total: int,
        start: int = 0,
        stream: TextIO | None = None,
        live: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
        notice: Callable[[], str | None] = lambda: None,
    ):
        self._notice = notice
        self.total, self.stream, self._clock = max(total, 1), sys.stderr if stream is None else stream, clock
        self.step = start
        self._shown_step, self._shown_at = start, clock()
        self._next_time, self._next_step = self._shown_at, start + self.total / 20
        self._speed = 0.0
        self._returned: float | None = None
        self._evaluated: float | None = None
        self._bar: Any = None
        if live if live is not None else is_terminal(self.stream):
            self._bar = _bar(self.stream, self.total, start)
        else:
            self._next_time += 10.0
        self._patience = self._next_line = 0.0
        """Seconds between two lines of an evaluation, and the time of the next one"""

    def update(self, step: int, returned: float | None = None, evaluated: float | None = None) -> None:
        """`returned`: mean training return; `evaluated`: mean evaluation return; None keeps the last one."""
        self.step = step
        if returned is not None:
            self._returned = returned
        if evaluated is not None:
            self._evaluated = evaluated
        if (noticed := self._notice()) is not None:
            self.say(noticed)
        now = self._clock()
        if now < self._next_time or (self._bar is None and step < self._next_step):
            return
        self._show(now)

    def evaluating(self, step: int, episodes: int, played: int, steps: int) -> None:
        """An evaluation of the agent at `step` goes on. A line of it appears after ten seconds, and then ever more rarely, because an
        evaluation may take hours; a bar shows it at once.

        Args:
            episodes: of the evaluation.
            played: of them, those that are over.
            steps: environment steps of the evaluation so far.
        """
        now = self._clock()
        if not steps:  # it begins
            self._patience = 10.0 if self._bar is None else 0.25
            self._next_line = now + self._patience
        if now < self._next_line:
            return
        words = f"evaluation at step {step:,}: {played:,} of {episodes:,} episodes, {steps:,} steps"
        if self._bar is not None:
            self._draw(lambda bar: bar.update(0, words=words, refresh=True))
        else:
            self._patience *= 2
            self.say(words)
        self._next_line = now + self._patience

    def say(self, text: str) -> None:
        """Print a line, above the bar if there is one."""
        if self._bar is None:
            say(text, self.stream)
        else:
            self._draw(lambda bar: bar.console.print(printable(text), markup=False, highlight=False))

    def close(self) -> None:
        if self.step > self._shown_step:
            self._show(self._clock())
        self._draw(lambda bar: bar.stop())
        self._bar = None

    def _draw(self, change: Callable[[Any], None]) -> None:
        """Change the bar, if there is one. If its terminal is gone, no bar is shown any more."""
        try:
            if self._bar is not None:
                change(self._bar)
        except (OSError, ValueError):
            self._bar = None

    def _show(self, now: float) -> None:
        passed = now - self._shown_at
        if passed > 0 and self.step > self._shown_step:
            speed = (self.step - self._shown_step) / passed
            # smoothed for a bar, because it is drawn four times a second
            self._speed = speed if self._bar is None or not self._speed else self._speed + 0.1 * (speed - self._speed)
        self._shown_step, self._shown_at = self.step, now
        if self._bar is not None:
            self._next_time = now + 0.25
            self._draw(lambda bar: bar.update(0, completed=self.step, words=self._words(), refresh=True))
        else:
            self._next_time, self._next_step = now + 10.0, self.step + self.total / 20
            self.say(f"{min(self.step / self.total, 1.0):4.0%}  step {self.step:,} of {self.total:,}  {self._words()}")

    def _words(self) -> str:
        words = [f"{self._speed:,.0f} steps/s" if self._speed >= 10 else f"{self._speed:.2g} steps/s"]
        if self._speed and self.step < self.total:
            words.append(f"{duration((self.total - self.step) / self._speed)} left")
        if self._returned is not None:
            words.append(f"return {significant(self._returned)}")
        if self._evaluated is not None:
            words.append(f"evaluation {significant(self._evaluated)}")
        return "  ".join(words)


def duration(seconds: float) -> str:
    """The two largest units: 45 s, 12 min 5 s, 3 h 20 min, 2 d 4 h."""
    seconds = round(seconds)
    for size, unit, part, name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= size:
            rest = seconds % size // part
            return f"{seconds // size} {unit} {rest} {name}" if rest else f"{seconds // size} {unit}"
    return f"{seconds} s"


def _bar(stream: TextIO, total: int, start: int) -> Any:
    from rich.progress import BarColumn, MofNCompleteColumn, TaskProgressColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (TaskProgressColumn(), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[words]}"))
    bar = Bar(*columns, console=console(stream), auto_refresh=False)
    bar.add_task("", total=total, completed=start, words="")
    bar.start()
    return bar
