"""What checks find."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Finding:
    """The outcome of one check.

    Parameters
    ----------
    check
        What was checked, as a statement that should hold.
    passed
        Whether it does; ``None`` for a fact that is reported and judged by nobody.
    detail
        The measured values, or what is wrong and what would be accepted.
    """

    check: str
    passed: bool | None
    detail: str = ""

    def __post_init__(self) -> None:
        if self.passed is not None:
            # A comparison of a plugin's values may give numpy's or torch's idea of true.
            object.__setattr__(self, "passed", bool(self.passed))


@dataclass
class Report:
    """All findings about one plugin."""

    kind: str
    label: str
    origin: str
    findings: list[Finding] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return all(finding.passed is not False for finding in self.findings)

    def __str__(self) -> str:
        marks = {True: "ok  ", False: "FAIL", None: "note"}
        lines = [f"{self.kind} {self.label} ({self.origin})"]
        lines += [
            f"  {marks[finding.passed]} {finding.check}" + (f": {finding.detail}" if finding.detail else "")
            for finding in self.findings
        ]
        return "\n".join(lines)
