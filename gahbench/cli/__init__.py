"""The command line: thin calls to the Python interface."""

from __future__ import annotations

import logging
import sys

from gahbench._util.errors import GahbenchError
from gahbench._util.warning_lines import print_warnings_as_lines


def main() -> None:
    """Run the command line, and exit with 2 on bad input, 74 on a failing file system, and 130 on Ctrl-C."""
    from gahbench.cli.app import app

    print_warnings_as_lines()
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
