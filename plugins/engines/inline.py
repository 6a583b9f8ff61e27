"""The engine that needs no other process."""

from __future__ import annotations

from gahbench import Engine, Job


class Inline(Engine):
    """Runs units one after the other in this process: for debuggers and notebooks."""

    def run(self, job: Job) -> None:
        """Run the units of a job; a unit that exits or crashes takes this process along."""
        from gahbench import UnitRunner

        runner = UnitRunner(job)
        while not job.stop.is_set() and runner.left:
            unit = runner.next()
            if unit is None:
                # Another process does what is left.
                job.stop.wait(1.0)
                continue
            try:
                runner.run(unit)
            except KeyboardInterrupt:
                job.stop.set()
