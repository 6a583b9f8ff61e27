"""The default engine: worker processes on this machine, each of which may die without harm to the others."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gahbench import Engine, Job, supervise


class Processes(Engine):
    """Runs units in worker processes that live long: on GPUs, or the processors shared out among them.

    Parameters
    ----------
    workers
        Number of workers; null for ``workers_per_gpu`` to a GPU or, on CPU, one to each share of the plan's threads.
    workers_per_gpu
        How many workers share a GPU, which one small network cannot fill; null for as many as suit its memory and the
        size of the networks.
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
