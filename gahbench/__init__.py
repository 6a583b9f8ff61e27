"""gahbench: how good is an image denoiser really, and why.

Plugins bring denoiser architectures, dataset families, references and bases; a suite is a grid of them; a run trains,
scores, and ends in a leaderboard. In a notebook::

    import gahbench

    run = gahbench.run("quick", out="runs/quick")
    run.leaderboard()

    unet = gahbench.create("architecture", "unet", width=16)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gahbench.contracts import Basis, Card, Dataset, Engine, Metric, Optimum, Reference, Scores, Truth
from gahbench.errors import (
    BasisError,
    DataError,
    GahbenchError,
    OptimumError,
    ParameterError,
    PluginError,
    ResultsError,
    SuiteError,
)
from gahbench.hookspecs import hookimpl
from gahbench.parameters import File, Names

if TYPE_CHECKING:
    from gahbench.api import check, create, inspect, load_results, plan_suite, preview, run, sample
    from gahbench.examples import Examples
    from gahbench.optima import Posterior, TrueBasis
    from gahbench.registry import Registry
    from gahbench.results import Results

__version__ = "0.1.0"

#: Names that are imported when first used, since what they need takes long to import.
_LAZY = {
    "Examples": "gahbench.examples",
    "Posterior": "gahbench.optima",
    "Registry": "gahbench.registry",
    "Results": "gahbench.results",
    "TrueBasis": "gahbench.optima",
    "check": "gahbench.api",
    "create": "gahbench.api",
    "inspect": "gahbench.api",
    "load_results": "gahbench.api",
    "plan_suite": "gahbench.api",
    "preview": "gahbench.api",
    "run": "gahbench.api",
    "sample": "gahbench.api",
}

__all__ = [
    "Basis",
    "BasisError",
    "Card",
    "DataError",
    "Dataset",
    "Engine",
    "Examples",
    "File",
    "GahbenchError",
    "Metric",
    "Names",
    "Optimum",
    "OptimumError",
    "ParameterError",
    "PluginError",
    "Posterior",
    "Reference",
    "Registry",
    "Results",
    "ResultsError",
    "Scores",
    "SuiteError",
    "TrueBasis",
    "Truth",
    "check",
    "create",
    "hookimpl",
    "inspect",
    "load_results",
    "plan_suite",
    "preview",
    "run",
    "sample",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'gahbench' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
