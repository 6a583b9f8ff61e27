"""Contract checks of claims."""

from __future__ import annotations

import functools
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gahbench._util.core_yaml import dump_flow
from gahbench._util.errors import GahbenchError, listing
from gahbench.board.claim_values import DEFICIT
from gahbench.board.metric_names import parse_metric_name
from gahbench.board.optimality import DISTANCE
from gahbench.contracts.claims import Claim
from gahbench.planning.suite import load_suite
from gahbench.registry.configured import Configured
from gahbench.registry.registry import Registry
from gahbench.testing.findings import Finding, attempt


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
