"""Comparison of two results folders: paired differences in PSNR of the entrants that both have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gahbench._util.errors import ResultsError
from gahbench.board.combined import combine, labels_of_earlier_parts, part_label, relabel
from gahbench.board.facts import dataset_names
from gahbench.board.results import Results, load_results
from gahbench.board.scorecube import psnr_cube
from gahbench.board.statistics import total
from gahbench.store.plan_file import short_names

if TYPE_CHECKING:
    import pandas as pd


def compare(first: str | Path, second: str | Path) -> pd.DataFrame:
    """Compare two results folders by paired differences in PSNR.

    The folders are compared on the datasets that they share, which are matched by content, not by label.

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
        If the folders share no dataset, or scored a shared dataset on different images or with different noise.

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
    labels = labels_of_earlier_parts(parts)
    parts = {name: relabel(part, labels[name]) for name, part in parts.items()}
    datasets = {name: sorted(part.datasets["dataset"]) for name, part in parts.items()}
    if not set.intersection(*map(set, datasets.values())):
        held = ", and ".join(f"{name} has {', '.join(labels)}" for name, labels in datasets.items())
        raise ResultsError(f"no common dataset: {held}")
    columns = ["dataset", "entrant", "sigma", "first", "second", "difference", "low", "high"]
    return pd.DataFrame(_differences(parts), columns=columns)


def _differences(parts: Mapping[str, Results]) -> Iterator[tuple[Any, ...]]:
    both, first = combine(parts), next(iter(parts.values()))
    pairs = [set(part.scores[["dataset", "entrant"]].itertuples(index=False, name=None)) for part in parts.values()]
    for dataset in dataset_names(first):
        shared = [label for label in first.entrants if (dataset, label) in set.intersection(*pairs)]
        if not shared:
            continue
        cube = psnr_cube(both, dataset, both.left_out)
        row_of = {label: row for row, label in enumerate(cube.entrants)}
        for label in shared:
            # An entrant with the same scores in both folders has a single row.
            indices = [row_of.get(part_label(label, name), row_of.get(label)) for name in parts]
            pair = [cube.shared_sample.row(index) for index in indices if index is not None]
            if len(pair) < 2:
                continue
            samples = [*pair, total([pair[1], pair[0].apply(np.negative)])]
            means = [sample.apply(lambda array: array.mean(axis=-1, keepdims=True)) for sample in samples]
            for sigmas, (old, new, difference) in (((np.nan,), means), (cube.sigmas, samples)):
                for sigma, *psnr, change in zip(sigmas, old.values, new.values, difference.intervals(), strict=True):
                    yield dataset, label, sigma, *map(float, psnr), change.value, change.low, change.high
