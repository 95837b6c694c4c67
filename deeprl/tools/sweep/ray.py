"""Jobs as actors of a Ray cluster, whose machines share the file system with this one."""

from __future__ import annotations

import subprocess
from typing import Any

from deeprl.errors import FAILED, STOPPED, ConfigError
from deeprl.running.collect.connection import connect
from deeprl.system.files import appending
from deeprl.tools.sweep.launcher import LaunchedJob
from deeprl.tools.sweep.process import Task, stop, wait


class Worker:
    """An actor of Ray with one job. A plain task could not be stopped: its cancellation interrupts no process."""

    def __init__(self) -> None:
        self.process: subprocess.Popen | None = None
        self.stopped = False

    def train(self, task: Task) -> int:
        self.process = task.begin()
        if self.stopped:  # before there was a process
            stop(self.process)
        return wait(self.process)

    def stop(self) -> None:
        """Called in a second thread of the actor."""
        self.stopped = True
        if self.process is not None:
            stop(self.process)


class Ray:
    """
    Args:
        address: of a cluster, or auto; None starts one on this machine.
        threads: of each job.
        slots: jobs side by side; None: as many as Ray has cores for.
    """

    stays, near, pause = False, False, 0.5

    def __init__(self, address: str | None, threads: int, slots: int | None = None):
        self.ray, self.slots = connect(address, "--on ray", "--ray-address"), slots
        if not any(node["Resources"].get("CPU", 0) >= threads for node in self.ray.nodes()):
            self.ray.shutdown()
            raise ConfigError(f"runtime.threads={threads}: no machine of the Ray cluster has so many cores.")
        self.worker = self.ray.remote(num_cpus=threads, max_concurrency=2)(Worker)

    def start(self, task: Task) -> LaunchedJob:
        return Remote(self.ray, self.worker.remote(), task)

    def farewell(self) -> str:
        self.ray.shutdown()
        return ""


class Remote:
    def __init__(self, ray: Any, worker: Any, task: Task):
        self.ray, self.worker, self.task = ray, worker, task
        self.code = worker.train.remote(task)
        self.alive = worker.__ray_ready__.remote()
        self.cancelled = False

    def poll(self) -> int | None:
        if self.cancelled:
            return STOPPED
        done, _ = self.ray.wait([self.code], timeout=0)
        if not done:
            return None
        try:
            code = self.ray.get(self.code)
        except self.ray.exceptions.RayError as error:  # the worker or its machine died
            code = FAILED
            with appending(self.task.log) as file:
                file.write(f"\n{error}\n")
        self.ray.kill(self.worker)  # its cores are for the next job
        return code

    def stop(self) -> None:
        """A worker that still waits for its cores is cancelled."""
        if self.ray.wait([self.alive], timeout=0)[0]:
            self.worker.stop.remote()
        else:
            self.cancelled = True
            self.kill()

    def kill(self) -> None:
        self.ray.kill(self.worker)
