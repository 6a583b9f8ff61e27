"""The engine that needs no other process."""

from __future__ import annotations

from gahbench import Engine, Event, Job


class Inline(Engine):
    """Runs units one after the other in this process: for debuggers and notebooks."""

    def run(self, job: Job) -> None:
        """Run the units of a job; a unit that exits or crashes takes this process along."""
        from gahbench.registry.registry import default_registry
        from gahbench.runs.worker import Worker, do_and_record, progress_message

        worker = Worker(default_registry(), job.store, should_stop=job.stop.is_set)
        failed: set[str] = set()
        for unit in job.units:
            if job.stop.is_set():
                return
            if failed.intersection(unit.needs):
                failed.add(unit.key)
                continue
            worker.progress = lambda progress, unit=unit: job.report(  # type: ignore[misc]
                Event("progress", unit, progress_message(progress))
            )
            worker.note = lambda text, unit=unit: job.report(Event("note", unit, {"text": text}))  # type: ignore[misc]
            job.report(Event("started", unit))
            try:
                message = do_and_record(worker, unit)
            except KeyboardInterrupt:
                job.stop.set()
                return
            if message["event"] == "failed":
                failed.add(unit.key)
            if message["event"] in ("finished", "failed"):
                job.report(Event(message.pop("event"), unit, message))
