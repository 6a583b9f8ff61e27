"""Contract checks of claims."""

from __future__ import annotations

import functools
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
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
from gahbench.testing.findings import Finding, attempt, expect, require


def check_claims(configured: Configured) -> Iterator[Finding]:
    """Check that claims name metrics that exist, and suites that load and measure them."""
    claims: Sequence[Claim] = configured.build()
    is_valid = isinstance(claims, Sequence) and bool(claims) and all(isinstance(claim, Claim) for claim in claims)
    yield require("is a sequence of gahbench.Claim", is_valid, f"it is {claims!r:.200}")
    registry = configured.registry
    names = {claim.id: parse_metric_name(claim.measure.metric).name for claim in claims if not claim.missing}
    unknown = [f"{id_}: {name}" for id_, name in names.items() if name != DEFICIT and not registry.find("metric", name)]
    fault = f"{listing(unknown)}; accepted: names of metrics, or a claim with 'missing'"
    yield expect("metrics are registered, or the claim has 'missing'", not unknown, fault)
    for claim in claims:
        for role, suite in (("suite", claim.suite), ("full-scale suite", claim.full_scale)):
            if suite is not None and claim.id in names:
                check = f"the {role} of {claim.id} loads and has the metric"
                yield attempt(check, functools.partial(_suite_fault, suite, registry, names[claim.id]))


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
    if needed in measured or registry.find("metric", needed) is None:
        return None  # Another check reports metrics that are not registered.
    return f"it does not measure {needed}; it measures {listing(measured)}"
