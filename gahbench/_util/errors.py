"""Errors that a user can fix, which the command line prints without a traceback, and texts of errors of plugins."""

from __future__ import annotations

import contextlib
import difflib
import re
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path

from gahbench._util.readable import brief, printable, shorten

#: Maximum number of characters of a message, which may quote input of any size.
LONGEST_MESSAGE = 3000
#: The frames of a traceback with their lines of code; the first group is the file.
_FRAMES = re.compile(r'  File "(.+)", line \d+.*\n(?:    .*\n|  \[Previous line .*\n)*')
_PACKAGES = "|".join(folder.name for folder in Path(__file__).parents[1].iterdir() if folder.is_dir())
#: Files of gahbench, installed packages and Python, possibly on another machine.
_LIBRARY = re.compile(
    rf"^<|/gahbench/({_PACKAGES})/|/(site|dist)-packages/|/lib(64)?/python3\.\d+/".replace("/", r"[/\\]")
)
#: Maximum number of characters of the text of a plugin's error.
MAX_ERROR = 2000


class GahbenchError(Exception):
    """Base class of errors about invalid input, whose messages name the problem, its location, and accepted values.

    Messages are safe to print: unprintable characters are escaped, and long messages are shortened.

    Examples
    --------
    >>> import gahbench
    >>> try:
    ...     gahbench.create("basis", "harr")
    ... except gahbench.GahbenchError as error:
    ...     print(str(error)[:41])
    unknown basis 'harr'; did you mean 'haar'
    """

    def __str__(self) -> str:
        # Errors that quote input are printed on a single line.
        kept = "" if isinstance(self, PluginError | ParameterError | SuiteError | DataError) else "\n"
        # Escapes make the text longer, so shorten it again.
        return shorten(printable(shorten(super().__str__(), LONGEST_MESSAGE), kept), LONGEST_MESSAGE)


class PluginError(GahbenchError):
    """A plugin cannot be found, loaded or registered."""


class ParameterError(GahbenchError):
    """A parameter is unknown, has the wrong type, or is out of range."""


class SuiteError(GahbenchError):
    """A suite file cannot be read or is invalid."""


class DataError(GahbenchError):
    """Images are missing, unreadable, or too few."""


class OptimumError(GahbenchError):
    """A property of a dataset's optimum is unknown, or cannot be computed accurately enough."""


class BasisError(GahbenchError):
    """A basis is used before it is fitted or adapted, or by a denoiser that may not use it."""


class ResultsError(GahbenchError):
    """A results folder is unreadable, in use, or belongs to a different suite."""


@contextlib.contextmanager
def prefix_errors(where: str) -> Iterator[None]:
    """Prefix the messages of errors with a location; errors about suites name their location already."""
    try:
        yield
    except SuiteError:
        raise
    except GahbenchError as error:
        raise type(error)(f"{where}: {error}") from error


def suggestion(wrong: str, accepted: Iterable[str], most: int = 1) -> str:
    """Return ``; did you mean 'x'?`` for the closest accepted names, or an empty string."""
    near = difflib.get_close_matches(wrong, list(dict.fromkeys(accepted)), n=most, cutoff=0.5)
    return f"; did you mean {listing(map(repr, near))}?" if near else ""


def listing(names: Iterable[str]) -> str:
    """Join names by commas; return ``none`` for an empty list."""
    return ", ".join(names) or "none"


def error_text(error: BaseException) -> str:
    """Format an error as ``ValueError: text``; if converting it to text fails, give the reason."""
    name = type(error).__name__
    try:
        text = str(error)
    except BaseException as other:
        return f"{name}, whose text is not available: {type(other).__name__}"
    return f"{name}: {brief(text, MAX_ERROR)}" if text.strip() else name


def error_with_location(error: BaseException) -> str:
    """Format an error with the file and line of the innermost frame outside gahbench and libraries."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not _LIBRARY.search(frame.filename) and Path(frame.filename).is_file():
            return f"{error_text(error)} ({frame.filename}:{frame.lineno})"
    return error_text(error)


def remove_library_frames(text: str) -> str:
    """Remove the frames of gahbench, installed packages and Python from a traceback, unless no other frame is left."""
    trimmed = _FRAMES.sub(lambda frame: "" if _LIBRARY.search(frame[1]) else frame[0], text)
    return trimmed if _FRAMES.search(trimmed) else text
