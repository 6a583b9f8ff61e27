"""Errors that a user can mend; the command line prints them without a traceback and exits with 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

#: Characters of a message: what is given, and shown in it, may be of any size.
LONGEST_MESSAGE = 3000


class GahbenchError(Exception):
    """Base of every error that gahbench raises for bad input: names the fault, its place, and accepted values.

    Its text can be printed anywhere: control characters and the like are escaped, and very long ones are cut.
    """

    #: Line breaks in its text stay.
    _has_lines = True

    def __str__(self) -> str:
        text = _printable(_shortened(super().__str__()))
        # Escapes make a text longer.
        return _shortened(text if self._has_lines else text.replace("\n", "\\n"))


class _OneLineError(GahbenchError):
    """An error about what was given, which is in its text: in one line, whatever that is."""

    _has_lines = False


class PluginError(_OneLineError):
    """A plugin cannot be found, loaded or registered."""


class ParameterError(_OneLineError):
    """A parameter is unknown, has the wrong type, or lies out of range."""


class UntrustedError(ParameterError):
    """A results folder chose a parameter that names code, files or a download, without ``--trust``."""


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


def _printable(text: str) -> str:
    """Return a text with escapes for characters that cannot be printed, except line breaks."""
    return "".join(char if char.isprintable() or char == "\n" else ascii(char)[1:-1] for char in text)


def _shortened(text: str) -> str:
    """Return a text without its middle if it is long; what is accepted mostly stands at the end."""
    end = LONGEST_MESSAGE // 3
    return text if len(text) <= LONGEST_MESSAGE else f"{text[: 2 * end - 3]} … {text[-end:]}"


def suggestion(wrong: str, accepted: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the nearest accepted name, or an empty string."""
    near = difflib.get_close_matches(wrong, list(accepted), n=1, cutoff=0.5)
    return f"; did you mean '{near[0]}'?" if near else ""


def nearest(wrong: str, accepted: Iterable[str]) -> str:
    """Return ``; did you mean 'x', 'y'?`` for up to three near names: for errors that cannot list all names."""
    near = difflib.get_close_matches(wrong, list(dict.fromkeys(accepted)), n=3, cutoff=0.5)
    return f"; did you mean {listing(map(repr, near))}?" if near else ""


def listing(names: Iterable[str]) -> str:
    """Return names as one comma-separated line, or ``none`` if there are none."""
    return ", ".join(names) or "none"
