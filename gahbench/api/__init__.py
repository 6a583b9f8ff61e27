"""The Python interface; the command line is a thin layer over it."""

from __future__ import annotations

from gahbench.api.folders import adopt, collect, load_results, merge, remove, status, verify, weights, work, write_plan
from gahbench.api.looks import check, create, inspect, preview, sample
from gahbench.api.running import begin, plan_suite, plan_with, plans_of_run, results_folder, run

__all__ = [
    "adopt",
    "begin",
    "check",
    "collect",
    "create",
    "inspect",
    "load_results",
    "merge",
    "plan_suite",
    "plan_with",
    "plans_of_run",
    "preview",
    "remove",
    "results_folder",
    "run",
    "sample",
    "status",
    "verify",
    "weights",
    "work",
    "write_plan",
]
