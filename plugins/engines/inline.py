"""The engine that runs rows in the current process."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future

from gahbench import Engine, Execution, PluginError, Row


class Inline(Engine):
    """Runs rows one after the other in the current process, for debuggers and notebooks.

    Parameters
    ----------
    trusted
        Whether plugins that are not built in may run; in a shared process, a plugin can change the results of other
        plugins.
    """

    def __init__(self, trusted: bool = False) -> None:
        self.trusted = trusted

    def start(self, run: Execution) -> None:
        """Keep the event that ends rows."""
        self._stop = run.stop

    def submit(self, function: Callable[..., None], row: Row) -> Future[None]:
        """Run a row; a unit that exits or crashes ends this process."""
        if not self.trusted and any(unit.origins for unit in row.units):
            raise PluginError(
                f"engine 'inline': plugins of {row} would run in this process, where they can change other results; "
                "use --engine \"inline[trusted=true]\" for your own plugins, or the engine 'local'"
            )
        job: Future[None] = Future()
        try:
            function(row, self._stop)
        except Exception as error:
            job.set_exception(error)
        else:
            job.set_result(None)
        return job
