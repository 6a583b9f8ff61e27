"""Values of boards that are ratios of the means of two others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from gahbench.board.statistics import DRAWS, Array

if TYPE_CHECKING:
    from gahbench.board.results import Results
    from gahbench.board.scorecube import ScoreCube


@dataclass(frozen=True)
class Ratio:
    """Names, in the table of scores, of a ratio and of what it is a ratio of."""

    metric: str
    numerator: str
    denominator: str


def ratios_of(results: Results) -> list[Ratio]:
    """Return the ratios of a suite's metrics."""
    return [Ratio(*map(str, row)) for row in results.ratios.itertuples(index=False, name=None)]


def joined(ratio: Ratio, cubes: Mapping[str, ScoreCube]) -> ScoreCube | None:
    """Return the values of a ratio's two parts as one cube, with 2 S levels; ``None`` where one was not measured."""
    if ratio.numerator not in cubes or ratio.denominator not in cubes:
        return None
    first, second = cubes[ratio.numerator], cubes[ratio.denominator]
    left_out = first.left_out | {label: why for label, why in second.left_out.items() if label in first.entrants}
    values = np.concatenate([first.values, second.laid_like(first)], axis=1)
    return replace(first, values=values, sigmas=first.sigmas * 2, left_out=left_out)


def decibels(ratio: Array) -> Array:
    """Return ratios of powers in decibels."""
    # An exact output, of an image and its error, has no finite ratio to another error.
    with np.errstate(divide="ignore"):
        return np.asarray(10.0 * np.log10(ratio))


def quotient(values: Array) -> Array:
    """Return the ratio of means (..., 2 S), shape (..., S); NaN where the denominator is not above 0."""
    above, below = np.split(values, 2, axis=-1)
    return np.where(below > 0, above / np.where(below > 0, below, 1.0), np.nan)


def quotients(cube: ScoreCube, spreads: Mapping[str, float], draws: int = DRAWS, seed: int = 0) -> tuple[Array, Array]:
    """Return ratios, shape (E, S), and draws of them, (D, E, S), of a cube of :func:`joined`."""
    return quotient(cube.means()), quotient(cube.draws(draws, seed, spreads))


def ratio_cubes(
    results: Results, others: Mapping[str, Mapping[str, ScoreCube]]
) -> Iterator[tuple[Ratio, dict[str, ScoreCube]]]:
    """Yield every ratio with its cubes by dataset."""
    for ratio in ratios_of(results):
        datasets = others.get(ratio.numerator, {})
        found = {
            dataset: cube
            for dataset in datasets
            if (cube := joined(ratio, {name: of[dataset] for name, of in others.items() if dataset in of})) is not None
        }
        if found:
            yield ratio, found
