"""The version of a frozen suite: results are combined only if they follow the same text of the suite."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import yaml

# Before Python 3.12, pydantic does not support ``typing.TypedDict``.
from typing_extensions import TypedDict

from gahbench._util.checks import Count, Digest, check_record
from gahbench._util.core_yaml import load_scalar
from gahbench.planning.suite_changes import SET


class _Record(TypedDict):
    version: Count
    digest: Digest


@dataclass(frozen=True)
class SuiteVersion:
    """The version of a frozen suite, and the SHA-256 of the text of its file."""

    version: int
    digest: str

    @classmethod
    def from_record(cls, record: object) -> SuiteVersion | None:
        """Return the version in ``results.json``, which is absent for suites without a version."""
        if record is None:
            return None
        check_record(_Record, record, "the version of the suite")
        return cls(**dict(record))  # type: ignore[call-overload]

    def __str__(self) -> str:
        return f"version {self.version}, SHA-256 {self.digest[:12]}"


def suite_version(text: str, changes: Sequence[str] = ()) -> SuiteVersion | None:
    """Return the version that the text of a suite states; ``None`` without a version, or if settings were changed.

    ``changes`` are command-line options. Options that select parts of the suite, or add entrants, keep its version.
    """
    content = None
    with contextlib.suppress(yaml.YAMLError):
        content = load_scalar(text)
    version = content.get("version") if isinstance(content, dict) else None
    if not isinstance(version, int) or isinstance(version, bool) or any(c.startswith(f"{SET} ") for c in changes):
        return None
    return SuiteVersion(version, hashlib.sha256(text.encode()).hexdigest())
