"""Contract checks of engines and trackers, which run a tiny suite, and of claims, which name suites."""

from __future__ import annotations

import dataclasses
import functools
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

from gahbench._util.core_yaml import dump_flow
from gahbench._util.errors import GahbenchError, listing
from gahbench.board.claims import DEFICIT
from gahbench.board.metric_names import parse_metric_name
from gahbench.board.optimality import DISTANCE
from gahbench.contracts.claims import Claim
from gahbench.contracts.engines import Row
from gahbench.planning.plan import make_plan
from gahbench.planning.suite import load_suite
from gahbench.registry.configured import Configured
from gahbench.registry.registry import Registry
from gahbench.runs.execute import execute
from gahbench.runs.running import run
from gahbench.runs.watch import Watch
from gahbench.store.store import Store
from gahbench.testing.findings import Finding, attempt

_SUITE = """
name: check
datasets: ["discs[size=16]"]
entrants: [identity, "unet[width=2,levels=1]"]
training: {steps: 2, batch_size: 2, compile: never}
scoring: {sigmas: [0.1], images: 2}
"""
#: Steps of a fit that takes seconds, unless it is stopped.
_LONG = 2000


def check_engine(configured: Configured) -> Iterator[Finding]:
    """Check the engine on a tiny plan in which one unit fails."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "check.yaml"
        file.write_text(_SUITE, encoding="utf-8")
        plan = make_plan(load_suite(file, configured.registry))
        broken = dataclasses.replace(plan.units[-1], key="broken", payload={})
        store, stop = Store(Path(folder) / "results"), threading.Event()
        execute(Row(store.folder, (*plan.units, broken), device="cpu"), configured.build(), stop)
        undamaged = store.examine(plan.units).undamaged
        done = [unit.folder in undamaged for unit in plan.units]
        yield Finding("finishes units in the store", all(done), f"{sum(done)} of {len(done)}")
        yield Finding("records a failure and continues", broken.folder in store.failed())
        (fit,) = [unit for unit in plan.units if unit.kind == "fit"]
        training = {**fit.payload["training"], "steps": _LONG}
        long = dataclasses.replace(fit, key="long", payload={**fit.payload, "training": training})
        stopped = Store(Path(folder) / "stopped")
        # The display asks the fit to stop once it has started.
        with Watch([long], stopped, mock.Mock(begin=lambda unit: stop.set()), configured.registry.manager):
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


def check_claims(configured: Configured) -> Iterator[Finding]:
    """Check that the suites of claims load and have the metric, unless gahbench lacks something to measure a claim."""
    claims: tuple[Claim, ...] = configured.build()
    for claim in claims:
        metric = parse_metric_name(claim.measure.metric).name
        for role, suite in (("suite", claim.suite), ("full-scale suite", claim.full_scale)):
            if suite is not None and not claim.missing:
                check = f"the {role} of {claim.id} loads and has the metric"
                yield attempt(check, functools.partial(_suite_fault, suite, configured.registry, metric))


def _suite_fault(suite: str | Mapping[str, Any], registry: Registry, metric: str) -> str | None:
    """Return why a suite cannot be read or lacks a metric; files that the user lacks are not a fault."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # Warnings about noise levels only concern the author of the suite.
        warnings.simplefilter("ignore")
        file = Path(folder) / "suite.yaml"
        try:
            if not isinstance(suite, str):
                file.write_text(dump_flow(dict(suite)), encoding="utf-8")
            loaded = load_suite(suite if isinstance(suite, str) else file, registry)
        except GahbenchError as error:
            return None if "neither a file nor a folder" in str(error) or "no such file" in str(error) else str(error)
    measured = sorted({item.plugin.name for item in loaded.metrics})
    needed = DISTANCE if metric == DEFICIT else metric
    fault = f"it does not measure {needed}; it measures {listing(measured)}; accepted: a claim with 'missing'"
    return None if needed in measured else fault
