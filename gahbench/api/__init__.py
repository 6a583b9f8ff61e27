"""The Python interface; the command line is a thin layer over it."""

from __future__ import annotations

from gahbench.api.folders import (
    adopt,
    collect,
    compare,
    load_results,
    merge,
    remove,
    status,
    verify,
    weights,
    work,
    write_plan,
)
from gahbench.api.looks import check, cite, create, inspect, preview, sample, score
from gahbench.api.running import openings, plan_suite, request, run
from gahbench.api.verdicts import claims, write_claim_suites

__all__ = [
    "adopt",
    "check",
    "cite",
    "claims",
    "collect",
    "compare",
    "create",
    "inspect",
    "load_results",
    "merge",
    "openings",
    "plan_suite",
    "preview",
    "remove",
    "request",
    "run",
    "sample",
    "score",
    "status",
    "verify",
    "weights",
    "work",
    "write_claim_suites",
    "write_plan",
]
