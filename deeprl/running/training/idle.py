"""What stands in place of a collector where a source needs no steps of environments."""

from __future__ import annotations

from deeprl.running.training.episodes import Episodes


class Idle:
    """Counts steps, makes no environment, and has no episodes.

    Args:
        num: M, steps that are counted at once.
    """

    def __init__(self, num: int):
        self.num, self.envs, self.episodes = num, self, Episodes(num)

    def choose(self, step: int) -> None:
        """There is nothing to act in."""

    def tick(self, step: int) -> None:
        """Nothing happens at a step."""

    def metrics(self) -> dict[str, float]:
        return {}

    def state_dict(self) -> dict:
        return {}

    def load_state_dict(self, state: dict) -> list[int]:
        return []

    def close(self) -> None:
        """There is nothing to close."""
