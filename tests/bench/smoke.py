"""``--smoke`` of every bench: sizes that measure nothing and take seconds, to see that it still runs."""

from __future__ import annotations

import argparse
import atexit
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path


def parse(
    parser: argparse.ArgumentParser, small: str | Callable[[], str], arguments: Sequence[str] | None = None
) -> argparse.Namespace:
    """Return the options of a bench, which are those of ``small`` if ``--smoke`` is among the arguments.

    Parameters
    ----------
    parser
        Of the bench; gets the option ``--smoke``.
    small
        The arguments that ``--smoke`` stands for, or a function that makes them.
    arguments
        As given; ``None`` for those of the command line. Those after ``--smoke`` override ``small``, which overrides
        those before it.
    """
    parser.add_argument("--smoke", action="store_true", help="run in seconds, on sizes that measure nothing")
    given = list(sys.argv[1:] if arguments is None else arguments)
    if "--smoke" in given:
        place = given.index("--smoke")
        given[place:place] = shlex.split(small if isinstance(small, str) else small())
    return parser.parse_args(given)


def folder() -> Path:
    """Return an empty folder, deleted when the bench ends."""
    path = Path(tempfile.mkdtemp(prefix="smoke-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def images() -> Path:
    """Return a file of eight grey images of 16 x 16, of 0 to 255."""
    import numpy as np

    file = folder() / "images.npz"
    np.savez(file, np.random.default_rng(0).integers(0, 256, (8, 16, 16), dtype=np.uint8))
    return file
