"""Findings of checks, and reports of findings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from gahbench._util.errors import error_with_location


@dataclass(frozen=True)
class Finding:
    """The outcome of one check.

    Parameters
    ----------
    check
        The statement that is checked, such as ``is deterministic``.
    passed
        Whether the statement holds; ``None`` for a note, which does not count.
    detail
        The measured values, or the fault and the accepted values.

    Examples
    --------
    >>> Finding("is deterministic", False, "two calls differ by 0.1").passed
    False
    """

    check: str
    passed: bool | None
    detail: str = ""


class CheckFailed(Exception):
    """A check failed without which others cannot be made."""


def expect(check: str, passed: object, fault: object = "") -> Finding:
    """Return the finding of a check whose details are only of interest if it failed."""
    return Finding(check, bool(passed), "" if passed else str(fault))


def require(check: str, passed: object, fault: object = "") -> Finding:
    """Return the finding of a check that passed, or end the checks of the plugin by raising ``CheckFailed``."""
    finding = expect(check, passed, fault)
    if not finding.passed:
        raise CheckFailed(finding)
    return finding


def attempt(check: str, fault: Callable[[], str | None]) -> Finding:
    """Return the finding of a check: passed if ``fault`` returns ``None`` and raises nothing."""
    try:
        detail = fault()
    except Exception as error:
        detail = error_with_location(error)
    return Finding(check, detail is None, detail or "")


def check_notes(notes: object) -> Finding:
    """Check the notes of a plugin."""
    is_valid = isinstance(notes, tuple) and all(isinstance(note, str) for note in notes)
    return expect("notes are a tuple of strings", is_valid, f"{notes!r:.100}")


@dataclass
class Report:
    """All findings about a plugin.

    Parameters
    ----------
    kind
        Kind of the plugin.
    label
        Name and parameters of the plugin.
    origin
        File or package of the plugin.
    findings
        A finding for each check.

    Examples
    --------
    >>> report = Report("basis", "mine", "mine.py", [Finding("is linear", True), Finding("is orthonormal", False)])
    >>> report.passed, report.failed
    (False, ['is orthonormal'])
    """

    kind: str
    label: str
    origin: str
    findings: list[Finding] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return not self.failed

    @property
    def failed(self) -> list[str]:
        """The checks that failed."""
        return [finding.check for finding in self.findings if finding.passed not in (None, True)]

    def __str__(self) -> str:
        marks = {True: "ok  ", False: "FAIL", None: "note"}
        lines = [f"{self.kind} {self.label} ({self.origin})"]
        for finding in self.findings:
            detail = f": {finding.detail}" if finding.detail else ""
            lines.append(f"  {marks[finding.passed]} {finding.check}{detail}")
        count = sum(finding.passed is not None for finding in self.findings)
        failed = f"; failed: {'; '.join(self.failed)}" if self.failed else ""
        return "\n".join([*lines, f"  {count - len(self.failed)} of {count} checks passed{failed}"])
