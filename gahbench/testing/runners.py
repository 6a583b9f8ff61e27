"""Contract checks of engines and trackers, which run a tiny suite."""

from __future__ import annotations

import dataclasses
import tempfile
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

from gahbench.contracts.engines import Engine, Row
from gahbench.contracts.unit import Unit
from gahbench.planning.plan import make_plan
from gahbench.planning.suite import load_suite
from gahbench.registry.configured import Configured
from gahbench.runs.execute import execute
from gahbench.runs.progress import Display
from gahbench.runs.running import run
from gahbench.runs.watch import Watch
from gahbench.store.store import Store
from gahbench.testing.findings import Finding

_SUITE = """
name: check
datasets: ["discs[size=16]"]
entrants: [identity, "unet[width=2,levels=1]"]
training: {steps: 2, batch_size: 2, compile: never}
scoring: {sigmas: [0.1], images: 2}
"""
#: Steps of a fit that takes seconds, unless it is stopped.
_LONG = 2000


class _StopAtStart(Display):
    """Sets an event when a unit has started."""

    def __init__(self, stop: threading.Event) -> None:
        super().__init__(1, quiet=True)
        self._stop = stop

    def begin(self, unit: Unit) -> None:
        super().begin(unit)
        self._stop.set()


def check_engine(configured: Configured) -> Iterator[Finding]:
    """Check the engine on a tiny plan in which one unit fails."""
    engine: Engine = configured.build()
    registry = configured.registry
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "check.yaml"
        file.write_text(_SUITE, encoding="utf-8")
        plan = make_plan(load_suite(file, registry))
        broken = dataclasses.replace(plan.units[-1], key="broken", payload={})
        store, stop = Store(Path(folder) / "results"), threading.Event()
        execute(Row(store.folder, (*plan.units, broken), device="cpu"), engine, stop)
        undamaged = store.examine(plan.units).undamaged
        done = [unit.folder in undamaged for unit in plan.units]
        yield Finding("finishes units in the store", all(done), f"{sum(done)} of {len(done)}")
        yield Finding("records a failure and continues", broken.folder in store.failed())
        (fit,) = [unit for unit in plan.units if unit.kind == "fit"]
        training = {**fit.payload["training"], "steps": _LONG}
        long = dataclasses.replace(fit, key="long", payload={**fit.payload, "training": training})
        stopped = Store(Path(folder) / "stopped")
        with Watch([long], stopped, _StopAtStart(stop), registry.manager):
            execute(Row(stopped.folder, (long,), device="cpu"), configured.build(), stop)
        has_stopped = not stopped.ended()[0] and stopped.checkpoint_time(long.folder) > 0
        yield Finding("a fit that is asked to stop writes a checkpoint and ends", has_stopped)


def check_tracker(configured: Configured) -> Iterator[Finding]:
    """Check the tracker on a tiny run, and on a second run with no units left to do."""
    with tempfile.TemporaryDirectory() as folder:
        file, out = Path(folder) / "check.yaml", Path(folder) / "results"
        file.write_text(_SUITE, encoding="utf-8")
        for check in ("tracks a run", "tracks a run with no units left to do"):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                sources, track = configured.registry.sources, [configured.text]
                run(file, out, plugins=sources, engine="inline", track=track, quiet=True)
            messages = [str(warning.message) for warning in caught if "the tracker " in str(warning.message)]
            yield Finding(check, not messages, "; ".join(messages))
