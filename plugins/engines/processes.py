"""The default engine: isolated worker processes on this machine."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gahbench import Engine, Job, supervise


class Processes(Engine):
    """Runs units in long-lived worker processes on this machine, which share its GPUs or processors.

    Parameters
    ----------
    workers
        Number of workers. ``null`` for ``workers_per_gpu`` workers on each GPU or, on a CPU, for the number of
        processors divided by the threads per worker in the plan.
    workers_per_gpu
        Number of workers per GPU, since a small network does not occupy a GPU. ``null`` for a number that suits the
        memory of the GPU and the size of the networks.
    """

    def __init__(
        self,
        workers: Annotated[int, Field(ge=1)] | None = None,
        workers_per_gpu: Annotated[int, Field(ge=1)] | None = None,
    ) -> None:
        self.workers = workers
        self.workers_per_gpu = workers_per_gpu

    def run(self, job: Job) -> None:
        """Run the units of a job until all are done, failed, or the job is stopped."""
        supervise(job, job.workers or self.workers, self.workers_per_gpu)
