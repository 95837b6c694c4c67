"""Jobs as tasks of a Ray cluster, whose machines share the file system with this one."""

from __future__ import annotations

from typing import Any

from deeprl.errors import FAILED, STOPPED, ConfigError
from deeprl.sweep.launcher import Running
from deeprl.sweep.process import Task, stop, wait


def package() -> Any:
    """
    Raises:
        ConfigError: Ray is missing.
    """
    try:
        import ray
    except ImportError:
        raise ConfigError('--on ray needs the package ray: pip install "deeprl[ray]", or in a checkout -e ".[ray]".') from None
    return ray


def train(task: Task) -> int:
    """What a worker of Ray runs."""
    process = task.begin()
    try:
        return wait(process)
    except KeyboardInterrupt:  # the cancellation of the task
        stop(process)
        return wait(process)


class Ray:
    """
    Args:
        address: of a cluster, or auto; None starts one on this machine.
        threads: of each job.
        slots: jobs side by side; None: as many as Ray has cores for.
    """

    stays, pause = False, 0.5

    def __init__(self, address: str | None, threads: int, slots: int | None = None):
        self.ray, self.slots = package(), slots
        try:
            self.ray.init(address=address, log_to_driver=False, include_dashboard=False if address is None else None)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ConfigError(f"--ray-address={address}: {' '.join(str(error).split())}") from error
        if not any(node["Resources"].get("CPU", 0) >= threads for node in self.ray.nodes()):
            self.ray.shutdown()
            raise ConfigError(f"runtime.threads={threads}: no machine of the Ray cluster has so many cores.")
        self.remote = self.ray.remote(num_cpus=threads, max_retries=0)(train)

    def start(self, task: Task) -> Running:
        return Remote(self.ray, self.remote.remote(task), task)

    def farewell(self) -> str:
        self.ray.shutdown()
        return ""


class Remote:
    def __init__(self, ray: Any, reference: Any, task: Task):
        self.ray, self.reference, self.task = ray, reference, task

    def poll(self) -> int | None:
        done, _ = self.ray.wait([self.reference], timeout=0)
        if not done:
            return None
        try:
            return self.ray.get(self.reference)
        except self.ray.exceptions.TaskCancelledError:  # stopped, or cancelled before it began
            return STOPPED
        except self.ray.exceptions.RayError as error:  # the worker or its machine died
            with open(self.task.log, "a") as file:
                file.write(f"\n{error}\n")
            return FAILED

    def stop(self) -> None:
        self.ray.cancel(self.reference)

    def kill(self) -> None:
        self.ray.cancel(self.reference, force=True)
