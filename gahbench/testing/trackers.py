"""Contract checks of trackers."""

from __future__ import annotations

import contextlib
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

from gahbench.contracts.trackers import Tracker
from gahbench.registry.configured import Configured
from gahbench.runs.hooks import Trackings
from gahbench.runs.opening import RunRequest, open_run
from gahbench.runs.running import run_opened
from gahbench.testing.findings import Finding

_SUITE = """
name: tracker-check
datasets: ["discs[size=16]"]
entrants: [identity, "unet[width=2,levels=1]"]
training: {steps: 2, batch_size: 2, compile: never}
scoring: {sigmas: [0.1], images: 2}
"""


def check_tracker(configured: Configured) -> Iterator[Finding]:
    """Track a tiny run, and then the same again, in which nothing is left to do."""
    tracker = configured.build()
    is_one = isinstance(tracker, Tracker)
    yield Finding("is a gahbench.Tracker", is_one, f"it is a {type(tracker).__name__}")
    if not is_one:
        return
    with tempfile.TemporaryDirectory() as folder:
        file, out = Path(folder) / "tracker-check.yaml", Path(folder) / "results"
        file.write_text(_SUITE, encoding="utf-8")
        for check in ("follows a run", "follows a run in which nothing is left to do"):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                opened = open_run(RunRequest(str(file), str(out)), configured.registry)
                with contextlib.closing(Trackings([configured.text])) as trackings:
                    run_opened(opened, configured.registry, "inline[trusted=true]", track=trackings)
            given_up = [str(one.message) for one in caught if "the tracker " in str(one.message)]
            yield Finding(check, not given_up, "; ".join(given_up))
