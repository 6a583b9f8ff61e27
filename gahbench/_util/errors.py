"""Errors that a user can mend; the command line prints them without a traceback and exits with 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class GahbenchError(Exception):
    """Base of every error that gahbench raises for bad input: names the fault, its place, and accepted values."""


class PluginError(GahbenchError):
    """A plugin cannot be found, loaded or registered."""


class ParameterError(GahbenchError):
    """A parameter is unknown, has the wrong type, or lies out of range."""


class SuiteError(GahbenchError):
    """A suite file cannot be read or does not validate."""


class DataError(GahbenchError):
    """Images are missing, unreadable, or too few."""


class OptimumError(GahbenchError):
    """A property of a dataset's optimum is unknown, or cannot be computed accurately enough."""


class BasisError(GahbenchError):
    """A basis is used before it was fitted to a dataset or adapted to images, or by a denoiser that may not use it."""


class ResultsError(GahbenchError):
    """A results folder is unreadable, in use, or belongs to something else."""


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
