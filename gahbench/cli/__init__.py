"""The command line: thin calls to the Python interface."""

from __future__ import annotations

import logging
import sys
import warnings
from typing import Any

from gahbench._util.errors import GahbenchError


def main() -> None:
    """Run the command line, and exit with 2 on bad input, 74 on a failing file system, and 130 on Ctrl-C."""
    from gahbench.cli.app import app

    warnings.showwarning = _print_warning
    # If the home directory is read-only, matplotlib warns at length that its cache is a temporary folder.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    if hasattr(sys.stdout, "reconfigure"):
        # Folder names may not be valid UTF-8.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app()
    except GahbenchError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        # No unit has failed, so a separate exit status tells schedulers that they may retry.
        print(f"error: {error}", file=sys.stderr)
        sys.exit(74)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def _print_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """Print a warning as a single line, without source code."""
    print(f"warning: {' '.join(str(message).split())}", file=sys.stderr)
