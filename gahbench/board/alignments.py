"""Alignment out of the tidy table of scores, for figures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gahbench._util.errors import ParameterError, ResultsError, listing, suggestion
from gahbench.board.metric_names import parse_metric_name
from gahbench.board.scorecube import ScoreCube, score_cube
from gahbench.board.statistics import bootstrap_means, interval, means

if TYPE_CHECKING:
    from gahbench.board.results import Results

Array = NDArray[np.float64]
#: By basis and part.
_Cubes = dict[str, dict[str, ScoreCube]]

#: The name of the filters of the best denoiser among the bases.
TRUTH = "best denoiser"
DEFAULT_BASIS = "graph-laplacian"


@dataclass(frozen=True)
class Aligned:
    """Alignment of a denoiser with one basis.

    Parameters
    ----------
    value, low, high
        The mean over images, and the ends of its interval; NaN where there is none.
    null, ceiling
        Means of the parts of the metric; NaN where they were not measured.
    retrieval
        Share of images whose own filter is the most alike; NaN likewise.
    single
        That of one image, by which bases are then ranked.
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    null: float = math.nan
    ceiling: float = math.nan
    retrieval: float = math.nan
    single: float = math.nan

    @property
    def ranked(self) -> float:
        """The value that it is ranked by."""
        return self.value if math.isnan(self.single) else self.single


@dataclass(frozen=True, eq=False)
class Course:
    """Alignment at noise levels.

    Parameters
    ----------
    sigmas
        Noise levels, shape (S,).
    value, low, high
        Means and the ends of their intervals, shape (S,).
    null
        Means with the filter of another image, shape (S,).
    """

    sigmas: Sequence[float]
    value: Array
    low: Array
    high: Array
    null: Array


def rankings(
    results: Results, datasets: Sequence[str] | None = None, entrants: Sequence[str] | None = None
) -> dict[tuple[str, str], dict[str, Aligned]]:
    """Return the alignment with every basis, by dataset and entrant, the mean over noise levels.

    The noise levels are those at which an entrant's alignment with each of the bases is known, so that bases are
    compared at the same ones. Intervals are 95 % bootstrap intervals over images, and over seeds if there are several.

    Parameters
    ----------
    datasets, entrants
        Which; all that have any alignment by default.

    Raises
    ------
    ParameterError
        If a dataset or an entrant is not in the results.
    ResultsError
        If none of them has any alignment.
    """
    found: dict[tuple[str, str], dict[str, Aligned]] = {}
    for dataset, cubes in _by_dataset(results, datasets):
        for entrant in _chosen(entrants, results.entrants, "entrant"):
            known = {basis: values for basis in cubes if (values := _values(cubes, basis, "", entrant))}
            common = set.intersection(*map(set, known.values())) if known else set()
            if common:
                found[dataset, entrant] = {basis: _aligned(cubes, basis, entrant, sorted(common)) for basis in known}
    if not found:
        raise ResultsError(_nothing(results))
    return found


def courses(
    results: Results,
    basis: str = DEFAULT_BASIS,
    datasets: Sequence[str] | None = None,
    entrants: Sequence[str] | None = None,
) -> dict[str, dict[str, Course]]:
    """Return the alignment with one basis at every noise level, by dataset and entrant.

    Parameters
    ----------
    basis
        As the metric's label names it; ``best denoiser`` for the metric ``truth-alignment``.
    datasets, entrants
        Which; all that have it by default.

    Raises
    ------
    ParameterError
        If a dataset, an entrant or the basis is not in the results.
    ResultsError
        If there is no alignment at all.
    """
    tables = dict(_by_dataset(results, datasets))
    held = list(dict.fromkeys(name for cubes in tables.values() for name in cubes))
    if not held:
        raise ResultsError(_nothing(results))
    if basis not in held:
        raise ParameterError(
            f"basis '{basis}': the results hold no alignment with it{suggestion(basis, held) or ';'} "
            f"accepted: {listing(held)}"
        )
    found: dict[str, dict[str, Course]] = {}
    for dataset, cubes in tables.items():
        for entrant in _chosen(entrants, results.entrants, "entrant"):
            known = _values(cubes, basis, "", entrant)
            if not known:
                continue
            values = np.stack(list(known.values()))
            null = _values(cubes, basis, "null", entrant)
            beside = np.array([means(null[sigma]) if sigma in null else np.nan for sigma in known])
            ends = interval(bootstrap_means(values))
            found.setdefault(dataset, {})[entrant] = Course(tuple(known), means(values), *ends, beside)
    if not found:
        raise ResultsError(_nothing(results))
    return found


def margin(
    results: Results, dataset: str, entrant: str, basis: str, other: str, sigma: float | None = None
) -> tuple[float, float, float] | None:
    """Return by how much an entrant is more aligned with one basis than with another, and the ends of the interval.

    The difference is paired: it is taken image by image, at one noise level or in the mean over those at which both are
    known. ``None`` where they are not.

    Parameters
    ----------
    basis, other
        As the metric's label names them; ``best denoiser`` for the metric ``truth-alignment``.
    """
    cubes = dict(_by_dataset(results, [dataset]))[dataset]
    known = [_values(cubes, name, "", entrant) for name in (basis, other)]
    sigmas = sorted(set(known[0]) & set(known[1]) & ({sigma} if sigma is not None else set(known[0])))
    if not sigmas:
        return None
    values = np.mean([known[0][level] - known[1][level] for level in sigmas], axis=0)
    low, high = interval(bootstrap_means(values))
    return float(means(values)), float(low), float(high)


def parts_of(metric: str) -> tuple[str, str] | None:
    """Return the basis and the part of a name in the table of scores; ``None`` if it is no alignment's.

    Examples
    --------
    >>> parts_of("alignment[wavelet[db2,levels=3]].null")
    ('wavelet[db2,levels=3]', 'null')
    """
    found = parse_metric_name(metric)
    if found.label == "truth-alignment":
        return TRUTH, found.part
    return (found.parameters, found.part) if found.name == "alignment" and found.parameters else None


def _by_dataset(results: Results, datasets: Sequence[str] | None) -> Iterator[tuple[str, _Cubes]]:
    """Yield the scores of each dataset by basis and part."""
    table = results.scores[results.scores["split"] == "test"]
    for dataset in _chosen(datasets, list(map(str, results.datasets["dataset"])), "dataset"):
        rows = table[table["dataset"] == dataset]
        cubes: _Cubes = {}
        for metric, scores in rows.groupby("metric", sort=False):
            if (named := parts_of(str(metric))) is not None:
                cubes.setdefault(named[0], {})[named[1]] = score_cube(scores, results.entrants)
        yield dataset, {basis: parts for basis, parts in cubes.items() if "" in parts}


def _values(cubes: _Cubes, basis: str, part: str, entrant: str) -> dict[float, Array]:
    """Return the values (R, N) of an entrant by noise level, where every image has one."""
    cube = cubes.get(basis, {}).get(part)
    if cube is None or entrant not in cube.entrants:
        return {}
    found = zip(cube.sigmas, cube.values[cube.entrants.index(entrant)], strict=True)
    return {sigma: values for sigma, values in found if np.isfinite(values).all(axis=-1).any()}


def _aligned(cubes: _Cubes, basis: str, entrant: str, sigmas: Sequence[float]) -> Aligned:
    """Return the means over noise levels."""
    values = _over_levels(_values(cubes, basis, "", entrant), sigmas)
    assert values is not None
    low, high = interval(bootstrap_means(values))

    def mean_of(part: str) -> float:
        found = _over_levels(_values(cubes, basis, part, entrant), sigmas)
        return math.nan if found is None else float(means(found))

    parts = (mean_of(part) for part in ("null", "ceiling", "retrieval"))
    return Aligned(float(means(values)), float(low), float(high), *parts)


def _over_levels(values: dict[float, Array], sigmas: Sequence[float]) -> Array | None:
    """Return the mean over noise levels, shape (R, N), if all of them are known."""
    return np.mean([values[sigma] for sigma in sigmas], axis=0) if set(sigmas) <= set(values) else None


def _chosen(asked: Sequence[str] | None, held: Sequence[str], what: str) -> list[str]:
    if unknown := [name for name in asked or () if name not in held]:
        raise ParameterError(f"{what}s {listing(unknown)} are not in the results; accepted: {listing(held)}")
    return list(asked or held)


def _nothing(results: Results) -> str:
    return (
        f"results of suite '{results.suite}' hold none of those alignments; a suite measures alignment with the "
        "metrics alignment[BASIS] and truth-alignment, of entrants that have a Jacobian"
    )
