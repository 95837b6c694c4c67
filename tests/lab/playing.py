"""An agent of the lab in its own world, played by the collector of training."""

from functools import partial
from typing import TypeVar

from deeprl.running.training.collector import Collector
from deeprl_lab.planning_agent import PlanningAgent

A = TypeVar("A", bound=PlanningAgent)


def played(agent: A, episodes: int, seed: int = 0, num: int = 1) -> A:
    collector = Collector(agent, partial(agent.act, explore=True), agent.world.make(seed, num), agent.observe, seed)
    while agent.meter[1] < episodes:
        collector.tick(0)
    return agent
