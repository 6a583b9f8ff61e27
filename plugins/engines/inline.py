"""The engine that needs no other process."""

from __future__ import annotations

from gahbench import Engine, Job


class Inline(Engine):
    """Runs units one after the other in this process: for debuggers and notebooks."""

    def run(self, job: Job) -> None:
        """Run the units of a job; a unit that exits or crashes takes this process along."""
        from gahbench import UnitRunner

        runner = UnitRunner(job)
        failed: set[str] = set()
        for unit in job.units:
            if job.stop.is_set():
                return
            if failed.intersection(unit.needs):
                failed.add(unit.key)
                continue
            try:
                ended = runner.run(unit)
            except KeyboardInterrupt:
                job.stop.set()
                return
            if ended == "failed":
                failed.add(unit.key)
