"""The engine that runs rows in the current process."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future

from gahbench import Engine, Row


class Inline(Engine):
    """Runs rows one after the other in the current process, for debuggers and notebooks.

    A plugin that changes the state of the process, such as torch's settings, may change the results of other plugins.
    """

    def submit(self, function: Callable[..., None], row: Row) -> Future[None]:
        """Run a row; a unit that exits or crashes ends this process."""
        job: Future[None] = Future()
        try:
            function(row, self.stop)
        except Exception as error:
            job.set_exception(error)
        else:
            job.set_result(None)
        return job
