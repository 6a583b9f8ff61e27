"""Comparison of two results folders: paired differences in PSNR of the entrants that both have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gahbench._util.errors import ResultsError
from gahbench.board.combined import combine, labels_of_earlier_parts, part_label, relabel
from gahbench.board.display_names import DisplayNames, display_names
from gahbench.board.facts import dataset_names
from gahbench.board.results import Results, load_results
from gahbench.board.scorecube import psnr_cube
from gahbench.board.statistics import Interval, total
from gahbench.registry.registry import built_in_registry
from gahbench.store.plan_file import short_names

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Difference:
    """The mean PSNR of an entrant in two runs and its difference, in dB.

    The values are those of one noise level, or of all levels if ``sigma`` is ``None``. ``difference`` is ``second``
    minus ``first``, with its 95 % interval.
    """

    dataset: str
    entrant: str
    sigma: float | None
    first: float
    second: float
    difference: Interval


@dataclass(frozen=True)
class Comparison:
    """The differences between two runs.

    Attributes
    ----------
    names
        Short names of the two folders.
    rows
        Differences in PSNR, by dataset, entrant and noise level.
    unmatched
        Entrants that only one of the folders has, each as a line of text.
    display_names
        Display names of entrants and datasets; ``rows`` hold labels.
    """

    names: tuple[str, str]
    rows: tuple[Difference, ...] = field(repr=False)
    unmatched: tuple[str, ...] = ()
    display_names: DisplayNames = field(default_factory=DisplayNames, repr=False)

    def table(self) -> pd.DataFrame:
        """Return the rows as a table; ``low`` and ``high`` bound the 95 % interval; sigma is NaN for all levels."""
        import pandas as pd

        values = [
            {**vars(row), "difference": row.difference.value, "low": row.difference.low, "high": row.difference.high}
            for row in self.rows
        ]
        return pd.DataFrame(values)


def compare(first: str | Path, second: str | Path) -> Comparison:
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
    Comparison
        Its ``table()`` has one row for each shared dataset, shared entrant and noise level, and one for the mean over
        all levels.

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
    ...     comparison = gahbench.compare("results/basis", "results/posteriors")
    >>> row = comparison.rows[0]
    >>> row.dataset, row.entrant, float(row.difference.value)
    ('c-alpha[alpha=2,size=24]', 'lower-bound', 0.0)
    """
    names = short_names([Path(first), Path(second)])
    parts = {name: load_results(folder) for name, folder in zip(names, (first, second), strict=True)}
    new_labels = labels_of_earlier_parts(parts)
    parts = {name: relabel(part, new_labels[name]) for name, part in parts.items()}
    old, new = parts.values()
    specs = [dict(zip(part.datasets["dataset"], part.datasets["spec"], strict=True)) for part in (old, new)]
    if not specs[0].keys() & specs[1].keys():
        raise ResultsError(
            f"no common dataset: {names[0]} has {', '.join(sorted(specs[0]))}, and {names[1]} has "
            f"{', '.join(sorted(specs[1]))}"
        )
    shown = display_names(built_in_registry(), [*old.entrants, *new.entrants], specs[0] | specs[1])
    unmatched = tuple(
        f"{shown.entrant(label)}: only in {name}"
        for name, part, other in ((names[0], old, new), (names[1], new, old))
        for label in sorted(set(part.entrants) - set(other.entrants))
    )
    return Comparison((names[0], names[1]), tuple(_compare_scores(parts)), unmatched, shown)


def _compare_scores(parts: Mapping[str, Results]) -> Iterator[Difference]:
    both = combine(parts)
    pairs = [set(part.scores[["dataset", "entrant"]].itertuples(index=False, name=None)) for part in parts.values()]
    shared, first = set.intersection(*pairs), next(iter(parts.values()))
    for dataset in dataset_names(first):
        labels = [label for label in first.entrants if (dataset, label) in shared]
        if not labels:
            continue
        cube = psnr_cube(both, dataset, both.left_out)
        sample, row_of = cube.shared_sample, {label: row for row, label in enumerate(cube.entrants)}
        for label in labels:
            # An entrant with the same scores in both folders has a single row.
            rows = [row_of.get(part_label(label, name), row_of.get(label)) for name in parts]
            pair = [sample.row(row) for row in rows if row is not None]
            if len(pair) < 2:
                continue
            differences = total([pair[1], pair[0].apply(np.negative)])
            overall = differences.apply(lambda array: array.mean(axis=-1, keepdims=True)).intervals()[0]
            old, new = (part.values for part in pair)
            yield Difference(dataset, label, None, float(old.mean()), float(new.mean()), overall)
            for level, (sigma, difference) in enumerate(zip(cube.sigmas, differences.intervals(), strict=True)):
                yield Difference(dataset, label, sigma, float(old[level]), float(new[level]), difference)
