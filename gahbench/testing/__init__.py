"""Checks of the contract of plugins, for ``gahbench check FILE`` and for a plugin's own tests.

Each check of a plugin gives a :class:`Finding`::

    from gahbench.testing import check_file

    def test_my_plugin():
        (report,) = check_file("two_layer.py")
        assert report.passed, str(report)
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import gahbench
from gahbench._util.errors import PluginError, error_with_location, listing
from gahbench.registry.configured import HOOKS, KINDS, Configured, Kind, citations, preparation
from gahbench.registry.registry import Registry
from gahbench.testing.architectures import check_architecture
from gahbench.testing.bases import check_basis
from gahbench.testing.datasets import check_dataset
from gahbench.testing.findings import CheckFailed, Finding, Report, attempt, require
from gahbench.testing.metrics import check_metric
from gahbench.testing.references import check_reference
from gahbench.testing.runners import check_claims, check_engine, check_tracker

__all__ = ["Finding", "Report", "check_configured", "check_file"]

_CHECKS: dict[Kind, Callable[[Configured], Iterator[Finding]]] = {
    "architecture": check_architecture,
    "dataset": check_dataset,
    "reference": check_reference,
    "basis": check_basis,
    "metric": check_metric,
    "engine": check_engine,
    "tracker": check_tracker,
    "claim": check_claims,
}


def check_configured(configured: Configured, progress: Callable[[Report], None] = lambda report: None) -> Report:
    """Run the checks of a plugin with the given parameters.

    An exception ends the checks and becomes a finding.

    Parameters
    ----------
    configured
        The plugin with its parameters, as :meth:`gahbench.Registry.configure` returns it.
    progress
        Called with the report before the first check and after each check.

    Examples
    --------
    >>> import gahbench
    >>> report = check_configured(gahbench.Registry(packages=()).configure("basis", "pixel"))
    >>> report.passed
    True
    """
    report = Report(configured.kind, configured.label, configured.plugin.origin)
    progress(report)
    try:
        # The findings are added one by one, so that the report keeps them if an exception follows.
        for finding in _findings(configured):
            report.findings.append(finding)
            progress(report)
    except CheckFailed as failed:
        report.findings += failed.args
    except Exception as error:
        report.findings.append(Finding("runs", False, error_with_location(error)))
    return report


def check_file(file: str | Path, progress: Callable[[Report], None] = lambda report: None) -> list[Report]:
    """Run the checks of every plugin in a file, or in a folder of plugin files.

    Parameters
    ----------
    file
        A plugin file, or a folder of plugin files.
    progress
        Called with the report of a plugin before its first check and after each check.

    Returns
    -------
    list of Report
        A report for each plugin. ``report.passed`` and ``report.failed`` hold the outcome; ``print(report)`` shows all.

    Raises
    ------
    PluginError
        If the file does not exist, cannot be loaded, or registers nothing.
    """
    registry = Registry((Path(file),))
    origins = {str(source) for source in registry.files}
    problems = [problem for problem in registry.problems if problem.origin in origins]
    if problems:
        raise PluginError("; ".join(f"{problem.origin}: cannot be loaded: {problem.error}" for problem in problems))
    plugins = [plugin for kind in KINDS for plugin in registry.plugins(kind) if plugin.origin in origins]
    if not plugins:
        raise PluginError(
            f"{file}: registers no plugin; implement one of {listing(HOOKS.values())} under @gahbench.hookimpl"
        )
    reports = []
    for plugin in plugins:
        try:
            configured = registry.configure(plugin.kind, plugin.name)
        except Exception as error:
            finding = Finding("can be configured", False, error_with_location(error))
            reports.append(Report(plugin.kind, plugin.name, plugin.origin, [finding]))
        else:
            reports.append(check_configured(configured, progress))
    return reports


def _findings(configured: Configured) -> Iterator[Finding]:
    """Check citation and preparation of a plugin, that it is of the class of its kind, and then everything else."""
    try:
        if works := citations(configured.plugin):
            yield Finding("citations are valid", True, "; ".join(map(str, works)))
    except PluginError as error:
        yield Finding("citations are valid", False, str(error))
    if (steps := preparation(configured)) is not None:
        refuse = mock.Mock(side_effect=OSError("missing() may not use a network"))
        with mock.patch.object(socket.socket, "connect", refuse), mock.patch.object(socket, "getaddrinfo", refuse):
            missing = steps.missing()
        yield require("missing() returns a tuple of strings", isinstance(missing, tuple | list), f"{missing!r}")
        fault = f"it connected to {refuse.call_args.args}; look only for files" if refuse.called else ""
        yield Finding("missing() works without a network", not refuse.called, fault or "; ".join(missing))

        def still_missing() -> str | None:
            steps.prepare()
            return "; ".join(steps.missing()) or None

        yield attempt("nothing is missing after prepare()", still_missing)
    # Other kinds have no base class.
    if base := getattr(gahbench, configured.kind.capitalize(), None):
        plugin = configured.build()
        yield require(f"is a gahbench.{base.__name__}", isinstance(plugin, base), f"it is a {type(plugin).__name__}")
    yield from _CHECKS[configured.kind](configured)
