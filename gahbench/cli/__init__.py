"""The command line: thin calls to the Python interface."""

from __future__ import annotations

import logging
import sys

from gahbench._util.errors import GahbenchError
from gahbench._util.warning_lines import print_warnings_as_lines


def main() -> None:
    """Run the command line; bad input ends in one message and exit status 2, a file system that fails in 74."""
    from gahbench.cli.app import app

    print_warnings_as_lines()
    # Where the home cannot be written to, matplotlib says at length that its cache is a temporary folder.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    if hasattr(sys.stdout, "reconfigure"):
        # Names of folders need not be UTF-8.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app()
    except GahbenchError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        # Not a failure of units: schedulers may try again.
        print(f"error: {error}", file=sys.stderr)
        sys.exit(74)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
