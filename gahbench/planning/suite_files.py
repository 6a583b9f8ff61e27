"""Files of suites: the built-in suites, and the versions of frozen suites."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.resources
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from gahbench._util.core_yaml import load_scalar
from gahbench._util.errors import SuiteError, listing, suggestion
from gahbench._util.readable import brief
from gahbench._util.records import Count, Digest

#: The option that changes fields of a suite, after which its results are not those of its version.
SET = "--set"


@dataclass(frozen=True)
class SuiteVersion:
    """The version of a frozen suite, and the SHA-256 of its text; results of different texts are not combined."""

    version: Count
    digest: Digest

    def __str__(self) -> str:
        return f"version {self.version}, SHA-256 {self.digest[:12]}"


def suite_version(text: str, changes: Sequence[str] = ()) -> SuiteVersion | None:
    """Return the version that the text of a suite states; ``None`` without a version, or if settings were changed.

    ``changes`` are command-line options. Options that select parts of the suite, or add entrants, keep its version.
    """
    # Early plans did not record the text.
    content = None
    with contextlib.suppress(yaml.YAMLError):
        content = load_scalar(text)
    version = content.get("version") if isinstance(content, dict) else None
    if type(version) is not int or version < 0 or any(change.startswith(f"{SET} ") for change in changes):
        return None
    return SuiteVersion(version, hashlib.sha256(text.encode()).hexdigest())


def suite_files() -> dict[str, Path]:
    """Return the files of the built-in suites, by name."""
    folder = Path(str(importlib.resources.files("gahbench_suites")))
    return {file.stem: file for file in sorted(folder.glob("*.yaml"))}


def suite_summary(file: Path) -> str:
    """Return the description of a built-in suite as a single line."""
    return " ".join(load_scalar(file.read_text(encoding="utf-8")).get("description", "").split())


def find_suite(name: str | Path) -> Path:
    """Return the file of a suite, given its path or the name of a built-in suite."""
    shipped = suite_files()
    if os.path.isfile(name):  # noqa: PTH113 (unlike Path.is_file, it accepts names that are no valid paths)
        return Path(name)
    if str(name) not in shipped:
        raise SuiteError(
            f"no suite {brief(repr(str(name)))}: neither a file nor a built-in suite"
            f"{suggestion(str(name), shipped) or ';'} built in: {listing(shipped)}"
        )
    return shipped[str(name)]
