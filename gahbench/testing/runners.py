"""Contract checks of engines and trackers, which run a tiny suite."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

from gahbench.contracts.engines import Engine, Event, Job
from gahbench.planning.plan import make_plan
from gahbench.planning.suite import load_suite
from gahbench.registry.configured import Configured
from gahbench.runs.hooks import RunTrackers
from gahbench.runs.opening import RunRequest, open_run
from gahbench.runs.running import run_opened
from gahbench.store.folder import Folder
from gahbench.store.store import Store
from gahbench.testing.findings import Finding

_SUITE = """
name: check
datasets: ["discs[size=16]"]
entrants: [identity, "unet[width=2,levels=1]"]
training: {steps: 2, batch_size: 2, compile: never}
scoring: {sigmas: [0.1], images: 2}
"""


def check_engine(configured: Configured) -> Iterator[Finding]:
    """Check the engine on a tiny plan in which one unit fails."""
    engine: Engine = configured.build()
    registry = configured.registry
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "check.yaml"
        file.write_text(_SUITE, encoding="utf-8")
        plan = make_plan(load_suite(file, registry), registry)
        broken = dataclasses.replace(plan.units[-1], key="broken", payload={})
        units = (*plan.units, broken)
        store, events = Store(Path(folder) / "results"), list[Event]()
        # External workers read the units from the folder.
        Folder(store.folder).open(dataclasses.replace(plan, units=units), registry, threads=1)
        engine.run(Job(units, store, registry, events.append, threading.Event(), 1))
        undamaged = store.undamaged(plan.units)
        done = [unit.folder in undamaged for unit in plan.units]
        yield Finding("finishes units in the store", all(done), f"{sum(done)} of {len(done)}")
        yield Finding("records a failure and continues", store.failure(broken) is not None)
        kinds = [event.kind for event in events]
        started, finished = kinds.count("started"), kinds.count("finished")
        yield Finding("reports every start and end", (started, finished) == (len(units), len(done)), f"{kinds}")
        stop, stopped_store = threading.Event(), Store(Path(folder) / "stopped")
        stop.set()
        engine = configured.build()
        engine.run(Job(plan.units, stopped_store, registry, events.append, stop, 1))
        unfinished = [not stopped_store.is_done(unit) for unit in plan.units]
        num_done = len(unfinished) - sum(unfinished)
        yield Finding("starts no unit after a request to stop", not num_done, f"{num_done} of {len(unfinished)} done")


def check_tracker(configured: Configured) -> Iterator[Finding]:
    """Check the tracker on a tiny run, and on a second run with no units left to do."""
    with tempfile.TemporaryDirectory() as folder:
        file, out = Path(folder) / "check.yaml", Path(folder) / "results"
        file.write_text(_SUITE, encoding="utf-8")
        for check in ("tracks a run", "tracks a run with no units left to do"):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                opened = open_run(RunRequest(str(file), out), configured.registry)
                with contextlib.closing(RunTrackers([configured.text])) as trackers:
                    run_opened(opened, configured.registry, "inline[trusted=true]", track=trackers)
            messages = [str(warning.message) for warning in caught if "the tracker " in str(warning.message)]
            yield Finding(check, not messages, "; ".join(messages))
