"""The Python interface; the command line is a thin layer over it."""

from __future__ import annotations

from gahbench.api.folders import adopt, collect, load_results, status, work, write_plan
from gahbench.api.looks import check, create, inspect, preview, sample
from gahbench.api.running import plan_suite, plan_with, results_folder, run

__all__ = [
    "adopt",
    "check",
    "collect",
    "create",
    "inspect",
    "load_results",
    "plan_suite",
    "plan_with",
    "preview",
    "results_folder",
    "run",
    "sample",
    "status",
    "work",
    "write_plan",
]
