"""The engine that needs no other process."""

from __future__ import annotations

from gahbench import Engine, Job
from gahbench._util.errors import PluginError


class Inline(Engine):
    """Runs units one after the other in this process: for debuggers and notebooks.

    Parameters
    ----------
    trusted
        Whether plugins from outside gahbench may run: in one process each can change what all others compute.
    """

    def __init__(self, trusted: bool = False) -> None:
        self.trusted = trusted

    def run(self, job: Job) -> None:
        """Run the units of a job; a unit that exits or crashes takes this process along."""
        from gahbench import UnitRunner

        if job.outside and not self.trusted:
            raise PluginError(
                f"engine 'inline': {', '.join(job.outside)} would run in this process, where a plugin can change what "
                "all others compute; for your own, use --engine \"inline[trusted=true]\"; the engine 'processes' "
                "keeps plugins apart"
            )
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
