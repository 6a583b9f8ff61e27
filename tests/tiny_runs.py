"""Runs of the tiny suite in this process, and queries of their results."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import gahbench
from gahbench.contracts.unit import Unit
from gahbench.planning.plan import Plan, make_plan
from gahbench.planning.suite import SuiteChanges, load_suite
from gahbench.registry.registry import open_registry
from gahbench.runs.preparation import find_missing
from gahbench.runs.progress import Display
from gahbench.store.plan_file import require_plan
from gahbench.store.store import Store

#: The network of the tiny suite.
UNET = "unet[width=2,levels=1]"


def run(suite: Path, out: Path, **options: Any) -> Any:
    """Run a suite in this process, with one thread, since rounding depends on threads."""
    return gahbench.run(suite, out, engine="inline", **{"threads": 1} | options)


def render_no_figures(patch: pytest.MonkeyPatch) -> None:
    """Publish a placeholder instead of figures, since drawing takes most of the time of a small run."""
    patch.setattr("gahbench.report.figures.render_figures", lambda results: [("gains.svg", b"<svg/>")])


def run_for_fixture(suite: Path, out: Path, **options: Any) -> None:
    """Run a suite in this process for a fixture of several tests, with placeholders instead of figures."""
    with pytest.MonkeyPatch.context() as patch:
        render_no_figures(patch)
        run(suite, out, **options)


def plan_suite(suite: Path, *, plugins: Any = (), **changes: Any) -> Plan:
    """Plan a suite like ``gahbench plan``."""
    registry, suite_changes = open_registry(plugins), SuiteChanges(**changes)
    loaded = load_suite(suite, registry, suite_changes)
    find_missing(loaded)
    return make_plan(loaded)


def run_and_list(suite: Path, out: Path, **options: Any) -> tuple[Any, list[Any]]:
    """Run a suite in this process; return the outcome and the finished units."""
    done: list[Any] = []

    class Listing(Display):
        def finish(self, unit: Unit, seconds: float, means: Mapping[str, float]) -> None:
            done.append(unit)
            super().finish(unit, seconds, means)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gahbench.runs.running.Display", Listing)
        return run(suite, out, **options), done


def board(results: Any) -> pd.DataFrame:
    """Return the board of results, without the times of training."""
    return results.leaderboard(full=True).drop(columns=["train_seconds", "seconds_per_megapixel"])


def entrants(results: Any) -> set[str]:
    """Return the entrants on the board of results."""
    return set(results.leaderboard(full=True)["entrant"])


def units_of(folder: Path, **facts: object) -> list[Any]:
    """Return the finished units of a folder's plan whose attributes have the given values."""
    finished = Store(folder).finished()
    units = [unit for unit in require_plan(folder).units if unit.folder in finished]
    return [unit for unit in units if all(getattr(unit, name) == value for name, value in facts.items())]
