"""Findings of checks, and reports of findings."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from gahbench._util.error_text import error_with_location


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

    def __post_init__(self) -> None:
        # Comparisons may return booleans of numpy or torch.
        object.__setattr__(self, "passed", None if self.passed is None else bool(self.passed))


def expect(check: str, passed: object, fault: object = "") -> Finding:
    """Return the finding of a check whose details are only of interest if it failed."""
    return Finding(check, bool(passed), "" if passed else str(fault))


#: The fault of a plugin that changes its arguments.
COPY = "it writes into them; work on a copy"


class CheckFailed(Exception):
    """A check failed without which others cannot be made."""


def require(check: str, passed: object, fault: object = "") -> Finding:
    """Return the finding of a check that passed, or end the checks of the plugin by raising ``CheckFailed``."""
    if not passed:
        raise CheckFailed(Finding(check, False, str(fault)))
    return Finding(check, True)


def expect_notes(notes: object) -> Finding:
    """Return the finding about the notes of a plugin."""
    is_valid = isinstance(notes, tuple) and all(isinstance(note, str) for note in notes)
    return expect("notes are a tuple of strings", is_valid, f"{notes!r:.100}")


def none_supported(families: Iterable[str]) -> Finding:
    """Return the note about a plugin that supports no dataset of its checks."""
    detail = f"it does not support {', '.join(families)}, so nothing is checked"
    return Finding("supports a dataset of the checks", None, detail)


def attempt(check: str, fault: Callable[[], str | None]) -> Finding:
    """Return the finding of a check: passed if ``fault`` returns ``None`` and raises nothing."""
    try:
        detail = fault()
    except Exception as error:
        detail = error_with_location(error)
    return Finding(check, detail is None, detail or "")


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
        return all(finding.passed is not False for finding in self.findings)

    @property
    def failed(self) -> list[str]:
        """The checks that failed."""
        return [finding.check for finding in self.findings if finding.passed is False]

    @property
    def summary(self) -> str:
        """The number of checks that passed and the checks that failed, in one line."""
        num_checks, failed = sum(finding.passed is not None for finding in self.findings), self.failed
        if not failed:
            return f"all {num_checks} checks passed"
        return f"{num_checks - len(failed)} of {num_checks} checks passed; failed: {'; '.join(failed)}"

    def __str__(self) -> str:
        marks = {True: "ok  ", False: "FAIL", None: "note"}
        lines = [f"{self.kind} {self.label} ({self.origin})"]
        lines += [
            f"  {marks[finding.passed]} {finding.check}" + (f": {finding.detail}" if finding.detail else "")
            for finding in self.findings
        ]
        return "\n".join([*lines, f"  {self.summary}"])
