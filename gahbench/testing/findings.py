"""Findings of checks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from gahbench._util.error_text import error_with_place


@dataclass(frozen=True)
class Finding:
    """The outcome of one check.

    Parameters
    ----------
    check
        The checked statement, which should hold.
    passed
        Whether it does; ``None`` for a fact that is reported, not judged.
    detail
        The measured values, or the fault and accepted values.
    """

    check: str
    passed: bool | None
    detail: str = ""

    def __post_init__(self) -> None:
        if self.passed is not None:
            # A comparison of a plugin's values may be a boolean of numpy or torch.
            object.__setattr__(self, "passed", bool(self.passed))


def attempt(check: str, fault: Callable[[], str | None]) -> Finding:
    """Return the finding of a check: passed if ``fault`` returns ``None`` and raises nothing."""
    try:
        found = fault()
    except Exception as error:
        found = error_with_place(error)
    return Finding(check, found is None, found or "")


@dataclass
class Report:
    """All findings about one plugin.

    Parameters
    ----------
    kind, label, origin
        The plugin, with its parameters, and its origin.
    findings
        One for each check.
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
        """How many checks passed, and which failed, in a line."""
        judged = sum(finding.passed is not None for finding in self.findings)
        if not self.failed:
            return f"all {judged} checks passed"
        return f"{judged - len(self.failed)} of {judged} checks passed; failed: {'; '.join(self.failed)}"

    def __str__(self) -> str:
        marks = {True: "ok  ", False: "FAIL", None: "note"}
        lines = [f"{self.kind} {self.label} ({self.origin})"]
        lines += [
            f"  {marks[finding.passed]} {finding.check}" + (f": {finding.detail}" if finding.detail else "")
            for finding in self.findings
        ]
        return "\n".join([*lines, f"  {self.summary}"])
