"""The engine that runs units in the current process."""

from __future__ import annotations

from gahbench import Engine, Job
from gahbench._util.errors import PluginError


class Inline(Engine):
    """Runs units sequentially in the current process, for debuggers and notebooks.

    Parameters
    ----------
    trusted
        Whether plugins that are not built in may run; in a shared process, a plugin can change the results of other
        plugins.
    """

    def __init__(self, trusted: bool = False) -> None:
        self.trusted = trusted

    def run(self, job: Job) -> None:
        """Run the units of a job; a unit that exits or crashes ends this process."""
        from gahbench import UnitRunner

        if job.outside and not self.trusted:
            raise PluginError(
                f"engine 'inline': {', '.join(job.outside)} would run in this process, where a plugin can change the "
                'results of others; use --engine "inline[trusted=true]" for your own plugins, or the engine '
                "'processes', which isolates plugins"
            )
        runner = UnitRunner(job)
        while not job.stop.is_set() and runner.left:
            unit = runner.next()
            if unit is None:
                # Another process runs the remaining units.
                job.stop.wait(1.0)
                continue
            try:
                runner.run(unit)
            except KeyboardInterrupt:
                job.stop.set()
