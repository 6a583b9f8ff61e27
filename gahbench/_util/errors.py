"""Errors that a user can mend; the command line prints them without a traceback and exits with 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

#: Characters of a message, and of a value in it: what is given may be of any size.
LONGEST_MESSAGE, LONGEST_VALUE = 3000, 200


class GahbenchError(Exception):
    """Base of every error that gahbench raises for bad input: names the fault, its place, and accepted values.

    Its text can be printed anywhere: control characters and the like are escaped, and very long ones are cut.
    """

    #: Line breaks in its text stay.
    _has_lines = True

    def __str__(self) -> str:
        text = printable(shortened(super().__str__(), LONGEST_MESSAGE))
        # Escapes make a text longer.
        return shortened(text if self._has_lines else text.replace("\n", "\\n"), LONGEST_MESSAGE)


class _OneLineError(GahbenchError):
    """An error about what was given, which is in its text: in one line, whatever that is."""

    _has_lines = False


class PluginError(_OneLineError):
    """A plugin cannot be found, loaded or registered."""


class ParameterError(_OneLineError):
    """A parameter is unknown, has the wrong type, or lies out of range."""


class SuiteError(_OneLineError):
    """A suite file cannot be read or does not validate."""


class DataError(_OneLineError):
    """Images are missing, unreadable, or too few."""


class OptimumError(GahbenchError):
    """A property of a dataset's optimum is unknown, or cannot be computed accurately enough."""


class BasisError(GahbenchError):
    """A basis is used before it was fitted to a dataset or adapted to images, or by a denoiser that may not use it."""


class ResultsError(GahbenchError):
    """A results folder is unreadable, in use, or belongs to something else."""


def printable(text: str) -> str:
    r"""Return a text with escapes for characters that cannot be printed, except line breaks.

    Parameters
    ----------
    text
        Any text.

    Examples
    --------
    >>> print(printable("bell \x07"))
    bell \x07
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char == "\n" else repr(char)[1:-1] for char in text)


def shortened(text: str, longest: int) -> str:
    """Return a text without its middle if it is long.

    Parameters
    ----------
    text
        Any text.
    longest
        How many characters it may have.

    Examples
    --------
    >>> shortened("abcdefghijklmnopqrstuvwxyz", 11)
    'abcdef … yz'
    """
    if len(text) <= longest:
        return text
    end = (longest - 3) // 3
    return f"{text[: longest - 3 - end]} … {text[len(text) - end :]}"


def shown(value: Any) -> str:
    """Return a given value as errors show it: as Python writes it, cut if it is long.

    Parameters
    ----------
    value
        Any value.
    """
    return shortened(repr(value), LONGEST_VALUE)


def suggestion(wrong: str, accepted: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the nearest accepted name, or an empty string.

    Parameters
    ----------
    wrong
        The given name.
    accepted
        The names that are accepted.

    Examples
    --------
    >>> suggestion("unett", ["unet", "vit"])
    "; did you mean 'unet'?"
    """
    near = difflib.get_close_matches(wrong, list(accepted), n=1, cutoff=0.5)
    return f"; did you mean '{near[0]}'?" if near else ""


def listing(names: Iterable[str]) -> str:
    """Return names as one comma-separated line, or ``none`` if there are none.

    Parameters
    ----------
    names
        The names.

    Examples
    --------
    >>> listing(["dct", "sym4"])
    'dct, sym4'
    """
    return ", ".join(names) or "none"
