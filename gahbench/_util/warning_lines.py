"""Warnings of the command line, as single lines without source code."""

from __future__ import annotations

import sys
import warnings
from typing import Any


def print_warnings_as_lines() -> None:
    """Print each warning of this process as a single line, ``warning: TEXT``, on standard error."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        print(f"warning: {' '.join(str(message).split())}", file=sys.stderr)

    warnings.showwarning = show
