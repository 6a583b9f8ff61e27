"""Warnings of the command line: one line each, without the line of code that raised them."""

from __future__ import annotations

import sys
import warnings
from typing import TextIO


def print_warnings_as_lines() -> None:
    """Have this process print each warning as one line, ``warning: TEXT``, on standard error."""
    warnings.showwarning = _print_warning


def _print_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    print(f"warning: {' '.join(str(message).split())}", file=sys.stderr)
