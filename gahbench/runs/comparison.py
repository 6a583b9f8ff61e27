"""Comparison of two results folders: paired differences in PSNR of the entrants that both have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gahbench._util.errors import ResultsError
from gahbench.board.combined import combine, part_label
from gahbench.board.cube import metric_cube
from gahbench.board.results import Results, load_results
from gahbench.board.statistics import total, with_mean
from gahbench.store.plan_file import short_names

if TYPE_CHECKING:
    import pandas as pd


def compare(first: str | Path, second: str | Path) -> pd.DataFrame:
    """Compare two results folders by paired differences in PSNR.

    The folders are compared on the datasets that they share, which have the same label in both.

    Parameters
    ----------
    first
        Path of the first results folder.
    second
        Path of the second results folder; differences are second minus first.

    Returns
    -------
    pandas.DataFrame
        A row for each shared dataset, shared entrant and noise level, and a row for the mean over all levels, whose
        ``sigma`` is NaN. The columns ``first`` and ``second`` are mean PSNRs in dB, ``difference`` is second minus
        first, and ``low`` and ``high`` bound its 95 % interval.

    Raises
    ------
    ResultsError
        If the folders share no entrant on a dataset, or scored a dataset on different images or with different noise.

    Examples
    --------
    In a clone of the repository, compare two boards on the images and noise levels that they share:

    >>> import warnings
    >>> import gahbench
    >>> with warnings.catch_warnings(action="ignore"):
    ...     table = gahbench.compare("results/basis", "results/posteriors")
    >>> table["dataset"][0], table["entrant"][0], float(table["difference"][0])
    ('c-alpha[alpha=2,size=24]', 'lower-bound', 0.0)
    """
    import pandas as pd

    names = short_names([Path(first), Path(second)])
    parts = {name: load_results(folder) for name, folder in zip(names, (first, second), strict=True)}
    columns = ["dataset", "entrant", "sigma", "first", "second", "difference", "low", "high"]
    table = pd.DataFrame(_differences(parts), columns=columns)
    if table.empty:
        raise ResultsError(f"{first} and {second} have no common dataset with a common entrant")
    return table


def _differences(parts: Mapping[str, Results]) -> Iterator[tuple[Any, ...]]:
    both, first = combine(parts), next(iter(parts.values()))
    pairs = [{*zip(part.scores["dataset"], part.scores["entrant"], strict=True)} for part in parts.values()]
    shared = set.intersection(*pairs)
    for dataset in first.facts:
        cube = metric_cube(both, dataset, "psnr")
        rows = {label: cube.shared_sample.row(row) for row, label in enumerate(cube.entrants)}
        for label in first.entrants:
            # An entrant with the same scores in both folders has a single row.
            old, new = (rows.get(part_label(label, name), rows.get(label)) for name in parts)
            if (dataset, label) in shared and old is not None and new is not None:
                # The mean over noise levels comes first.
                old, new, difference = (
                    sample.apply(with_mean) for sample in (old, new, total([new, old.apply(np.negative)]))
                )
                table = zip((np.nan, *cube.sigmas), old.values, new.values, difference.intervals(), strict=True)
                for sigma, psnr, other, change in table:
                    yield dataset, label, sigma, float(psnr), float(other), change.value, change.low, change.high
