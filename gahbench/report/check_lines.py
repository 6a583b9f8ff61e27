"""What a board says of the checks of its rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gahbench.board.optimality import PRACTICAL_KINDS
from gahbench.planning.units import CHECKS_VERSION

if TYPE_CHECKING:
    from gahbench.board.results import Results


def checks_line(results: Results) -> str:
    """Return a line on rows that were checked by weaker rules than those of today; empty if there are none."""
    versions = results.checks["version"]
    count = int((versions < CHECKS_VERSION).sum())
    if not count:
        return ""
    return (
        f"{count} of {len(versions)} rows were checked by earlier rules (version {versions.min()}; today "
        f"{CHECKS_VERSION}): `gahbench run` checks them again."
    )


def memory_line(dataset: str, results: Results) -> str:
    """Return that rows which know the test images cannot be named, where no images were left over for the test."""
    checks = results.checks[(results.checks["dataset"] == dataset) & (results.checks["version"] >= CHECKS_VERSION)]
    kinds = {entry.entrant: entry.kind for entry in results.board.of(dataset).entries}
    practical = checks[checks["entrant"].map(kinds).isin(PRACTICAL_KINDS)]
    if practical.empty or practical["images"].any():
        return ""
    return "Rows that know the test images cannot be told from others: this dataset has no images to spare for a test."
