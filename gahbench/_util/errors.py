"""Errors that a user can fix; the command line prints them without a traceback and exits with status 2."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable, Iterator

from gahbench._util.readable import printable, shorten

#: Maximum number of characters of a message, which may quote input of any size.
LONGEST_MESSAGE = 3000


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
