"""Direction and alignment of denoisers with bases: values for figures, from the tidy table of scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from gahbench._util.errors import ParameterError, ResultsError, listing, suggestion
from gahbench.board.metric_names import parse_metric_name
from gahbench.board.scorecube import ScoreCube, left_out_rows, metric_cubes, with_shared_spreads
from gahbench.board.selection import choose_labels
from gahbench.board.statistics import UNKNOWN, Array, Interval, SampledMeans, means
from gahbench.registry.spec import parse_spec

if TYPE_CHECKING:
    from gahbench.board.tables import Tables

#: Cubes of scores by basis and part of the metric.
_Cubes = dict[str, dict[str, ScoreCube]]

#: The metrics that compare a denoiser's filters with filters in a basis.
Measure = Literal["direction", "alignment"]
MEASURES: tuple[Measure, ...] = get_args(Measure)

#: The name that stands for the filters of the best denoiser in lists of bases.
TRUTH = "best denoiser"
#: The metrics that compare a denoiser's filters with those of the best denoiser, by measure.
TRUTH_METRICS: dict[Measure, str] = {"direction": "truth-direction", "alignment": "truth-alignment"}
DEFAULT_BASIS = "graph-laplacian"
#: The part of these metrics that is the agreement of a denoiser with itself under fresh noise.
CEILING = "ceiling"


@dataclass(frozen=True)
class Agreement:
    """Agreement between a denoiser and filters in one basis, over all noise levels.

    A mean is unknown if a noise level, or a seed at a noise level, has no value. ``ceiling`` is the largest value that
    a basis independent of the noise can reach, and ``retrieval`` is the share of images whose filter agrees best with
    the geometry of its own image. ``share`` is the smallest directional share, over noise levels and training runs, of
    the basis's own adaptation to an image or, where only the alignment was measured, the share that is not a change of
    strength; below 0.02 the agreement has no value. ``single`` is the value for a single image, which
    ``gahbench inspect`` shows; it is NaN on boards.
    """

    direction: Interval = UNKNOWN
    alignment: Interval = UNKNOWN
    ceiling: float = math.nan
    retrieval: float = math.nan
    share: float = math.nan
    single: float = math.nan


@dataclass(frozen=True, eq=False)
class AgreementCurve:
    """Direction or alignment against the noise level."""

    sigmas: Sequence[float]
    value: Array
    low: Array
    high: Array
    ceiling: Array


def mean_agreements(
    results: Tables, datasets: Sequence[str] | None = None, entrants: Sequence[str] | None = None
) -> dict[tuple[str, str], dict[str, Agreement]]:
    """Return mean direction and alignment over noise levels with every basis, by dataset and entrant."""
    agreements: dict[tuple[str, str], dict[str, Agreement]] = {}
    for dataset, cubes in _cubes_by_dataset(results, datasets):
        for entrant in choose_labels(entrants, results.entrants, "entrant"):
            rows = _mean_agreements(cubes, entrant)
            if rows:
                agreements[dataset, entrant] = rows
    if not agreements:
        raise ResultsError(_not_measured_message(results))
    return agreements


def agreement_curves(
    results: Tables,
    basis: str = DEFAULT_BASIS,
    datasets: Sequence[str] | None = None,
    entrants: Sequence[str] | None = None,
    metric: Measure = "direction",
) -> dict[str, dict[str, AgreementCurve]]:
    """Return direction or alignment with one basis at every noise level, by dataset and entrant."""
    tables = [(dataset, cubes.get(metric, {})) for dataset, cubes in _cubes_by_dataset(results, datasets)]
    bases = list(dict.fromkeys(name for _, cubes in tables for name in cubes))
    if not bases:
        raise ResultsError(_not_measured_message(results))
    if basis not in bases:
        raise ParameterError(
            f"basis '{basis}': the results hold no {metric} with this basis{suggestion(basis, bases) or ';'} "
            f"accepted: {listing(bases)}"
        )
    curves: dict[str, dict[str, AgreementCurve]] = {}
    for dataset, cubes in tables:
        for entrant in choose_labels(entrants, results.entrants, "entrant"):
            values_by_sigma = _values_by_sigma(cubes, basis, "", entrant)
            if not values_by_sigma:
                continue
            values, cube = np.stack(list(values_by_sigma.values())), cubes[basis][""]
            ceilings = _values_by_sigma(cubes, basis, "ceiling", entrant)
            ceiling = np.array(
                [_mean_root(ceilings[sigma]) if sigma in ceilings else np.nan for sigma in values_by_sigma]
            )
            ends = _sample(cube, entrant, list(values_by_sigma)).ends()
            curves.setdefault(dataset, {})[entrant] = AgreementCurve(
                tuple(values_by_sigma), means(values), *ends, ceiling
            )
    if not curves:
        raise ResultsError(_not_measured_message(results))
    return curves


def margin(
    results: Tables,
    dataset: str,
    entrant: str,
    basis: str,
    other: str,
    sigma: float | None = None,
    metric: Measure = "direction",
) -> tuple[float, float, float] | None:
    """Return the difference between an entrant's agreements with two bases, and the ends of its interval.

    The value is ``None`` if an agreement is missing at a noise level, or at ``sigma``.
    """
    cubes_by_dataset = {name: measures.get(metric, {}) for name, measures in _cubes_by_dataset(results, None)}
    cubes = cubes_by_dataset[dataset]
    shared_sigmas = set.intersection(*(set(_values_by_sigma(cubes, name, "", entrant)) for name in (basis, other)))
    levels = set.union(*(_levels(cubes, name, entrant) for name in (basis, other))) if sigma is None else {sigma}
    if not levels or not levels <= shared_sigmas:
        return None
    pairs = {
        name: (compared[basis][""], compared[other][""])
        for name, compared in cubes_by_dataset.items()
        if all("" in compared.get(each, {}) for each in (basis, other))
    }
    paired = {name: replace(one, values=one.values - two.reindex_like(one)) for name, (one, two) in pairs.items()}
    difference = _estimate(with_shared_spreads(paired)[dataset], entrant, sorted(levels))
    return difference.value, difference.low, difference.high


def parse_agreement(metric: str) -> tuple[Measure, str, str] | None:
    """Parse the name of a metric in the table of scores as measure, basis and part; ``None`` for other metrics."""
    name = parse_metric_name(metric)
    for measure in MEASURES:
        if name.label == TRUTH_METRICS[measure]:
            return measure, TRUTH, "basis-share" if name.part == "truth-share" else name.part
        if name.name == measure and name.parameters:
            # The basis is the first parameter.
            return measure, str(parse_spec(name.label).positional[0]), name.part
    return None


def _cubes_by_dataset(results: Tables, datasets: Sequence[str] | None) -> Iterator[tuple[str, dict[str, _Cubes]]]:
    """Yield the scores of each dataset by metric, basis and part."""
    cubes = _all_cubes(results)
    for dataset in choose_labels(datasets, list(map(str, results.datasets["dataset"])), "dataset"):
        yield dataset, cubes[dataset]


# Tables of margins ask for the cubes of the same results many times.
@lru_cache(maxsize=1)
def _all_cubes(results: Tables) -> dict[str, dict[str, _Cubes]]:
    """Return the scores of all datasets by metric, basis and part."""
    parsed_names = {
        str(name): parsed for name in results.scores["metric"].unique() if (parsed := parse_agreement(str(name)))
    }
    # Ranks and intervals of a selection are those of the complete results.
    cubes = metric_cubes(results.selected_from or results, left_out_rows(results), parsed_names)
    cubes = {name: with_shared_spreads(of_metric) for name, of_metric in cubes.items()}
    by_dataset: dict[str, dict[str, _Cubes]] = {}
    for dataset in map(str, results.datasets["dataset"]):
        measures: dict[str, _Cubes] = {}
        for name, (measure, basis, part) in parsed_names.items():
            if (cube := cubes.get(name, {}).get(dataset)) is not None:
                measures.setdefault(measure, {}).setdefault(basis, {})[part] = cube
        by_dataset[dataset] = {
            measure: {basis: bases[basis] for basis in sorted(bases, key=lambda name: name != TRUTH)}
            for measure, bases in measures.items()
        }
    return by_dataset


def _values_by_sigma(cubes: _Cubes, basis: str, part: str, entrant: str) -> dict[float, Array]:
    """Return the values (R, N) of an entrant at each noise level that has any; NaN for images that are left out."""
    cube = cubes.get(basis, {}).get(part)
    if cube is None or entrant not in cube.entrants:
        return {}
    pairs = zip(cube.sigmas, cube.values[cube.entrants.index(entrant)], strict=True)
    return {sigma: values for sigma, values in pairs if np.isfinite(values).any()}


def _levels(cubes: _Cubes, basis: str, entrant: str) -> set[float]:
    """Return the noise levels at which an entrant was measured, with or without a value."""
    return {sigma for part in ("", "left-out") for sigma in _values_by_sigma(cubes, basis, part, entrant)}


def _sample(cube: ScoreCube, entrant: str, sigmas: Sequence[float]) -> SampledMeans:
    """Return an entrant's means at noise levels, shape (S,), with their samples."""
    row, levels = cube.entrants.index(entrant), [cube.sigmas.index(sigma) for sigma in sigmas]
    return cube.shared_sample.row(row).at(levels)


def _estimate(cube: ScoreCube, entrant: str, sigmas: Sequence[float]) -> Interval:
    """Return an entrant's mean over noise levels."""
    return _sample(cube, entrant, sigmas).apply(lambda array: array.mean(axis=-1, keepdims=True)).intervals()[0]


def _mean_agreements(cubes: dict[str, _Cubes], entrant: str) -> dict[str, Agreement]:
    """Return an entrant's means over noise levels, by basis."""
    agreements: dict[str, Agreement] = {}
    # Direction comes last because it is the headline: its ceiling and share replace those of the alignment.
    for measure in reversed(MEASURES):
        bases = cubes.get(measure, {})
        for basis in bases:
            if levels := sorted(_levels(bases, basis, entrant)):
                row = agreements.get(basis, Agreement())
                agreements[basis] = _add_measure(row, measure, bases, basis, entrant, levels)
    if not any(row.direction.is_known or row.alignment.is_known for row in agreements.values()):
        return {}
    return {basis: agreements[basis] for basis in sorted(agreements, key=lambda name: name != TRUTH)}


def _add_measure(
    row: Agreement, measure: Measure, cubes: _Cubes, basis: str, entrant: str, levels: Sequence[float]
) -> Agreement:
    """Return a row with one more measure of its basis."""

    def mean(part: str, reduce: Callable[[Array], ArrayLike]) -> float:
        return _mean_over_levels(_values_by_sigma(cubes, basis, part, entrant), levels, reduce)

    is_complete = set(levels) <= set(_values_by_sigma(cubes, basis, "", entrant))
    value = _estimate(cubes[basis][""], entrant, levels) if is_complete else UNKNOWN
    row = replace(row, ceiling=mean("ceiling", _mean_root), share=_smallest_share(cubes, basis, entrant))
    if measure == "direction":
        return replace(row, direction=value)
    return replace(row, alignment=value, retrieval=mean("retrieval", means))


def _smallest_share(cubes: _Cubes, basis: str, entrant: str) -> float:
    """Return the smallest share of a basis over noise levels and training runs; NaN if it was not measured."""
    shares = _values_by_sigma(cubes, basis, "basis-share", entrant).values()
    return min((float(np.nanmin(means(values[:, None, :]))) for values in shares), default=math.nan)


def reachable(ceiling: Array) -> Array:
    """Return the square roots of agreements under fresh noise, with negative agreements set to 0."""
    return np.asarray(np.sqrt(np.clip(ceiling, 0, None)))


def _mean_root(ceiling: Array) -> float:
    return float(means(reachable(ceiling)))


def _mean_over_levels(
    values: dict[float, Array], sigmas: Sequence[float], reduce: Callable[[Array], ArrayLike]
) -> float:
    """Return the mean over noise levels of the reduced values (R, N); NaN if a level is missing."""
    if not set(sigmas) <= set(values):
        return math.nan
    return float(np.mean([reduce(values[sigma]) for sigma in sigmas]))


def _not_measured_message(results: Tables) -> str:
    return (
        f"results of suite '{results.suite}' hold neither direction nor alignment of the chosen datasets and entrants; "
        "a suite measures them with the metrics direction[BASIS], alignment[BASIS], truth-direction and "
        "truth-alignment, for entrants that have a Jacobian"
    )
