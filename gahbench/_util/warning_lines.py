"""Warnings of the command line: one line each, without the line of code that raised them."""

from __future__ import annotations

import sys
import warnings
from typing import Any


def print_warnings_as_lines() -> None:
    """Have this process print each warning as one line, ``warning: TEXT``, on standard error."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        print(f"warning: {' '.join(str(message).split())}", file=sys.stderr)

    warnings.showwarning = show
