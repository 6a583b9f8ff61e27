"""Direction and alignment out of the tidy table of scores, for figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from gahbench._util.errors import ParameterError, ResultsError, listing, suggestion
from gahbench.board.metric_names import parse_metric_name
from gahbench.board.scorecube import ScoreCube, metric_cubes
from gahbench.board.selection import chosen_labels
from gahbench.board.statistics import UNKNOWN, Array, Interval, estimate, interval, means
from gahbench.registry.spec import parse_spec

if TYPE_CHECKING:
    from gahbench.board.results import Results

#: By basis and part.
_Cubes = dict[str, dict[str, ScoreCube]]

#: The metrics that compare filters with filters in a basis.
Measure = Literal["direction", "alignment"]
MEASURES: tuple[Measure, ...] = get_args(Measure)

#: The name of the filters of the best denoiser among the bases.
TRUTH = "best denoiser"
#: The metric that compares with them.
TRUTH_ALIGNMENT = "truth-alignment"
DEFAULT_BASIS = "graph-laplacian"


@dataclass(frozen=True)
class Aligned:
    """How far a denoiser and filters in one basis adapt alike."""

    direction: Interval = UNKNOWN
    alignment: Interval = UNKNOWN
    ceiling: float = math.nan
    retrieval: float = math.nan
    single: float = math.nan

    @property
    def headline(self) -> Interval:
        """The direction, or where it is not known, as for large images, the alignment."""
        return self.direction if self.direction.is_known else self.alignment

    @property
    def ranked(self) -> float:
        """The value that it is ranked by."""
        return self.headline.value if math.isnan(self.single) else self.single


@dataclass(frozen=True, eq=False)
class AgreementCurve:
    """Direction, or alignment, at noise levels."""

    sigmas: Sequence[float]
    value: Array
    low: Array
    high: Array
    ceiling: Array


def rankings(
    results: Results, datasets: Sequence[str] | None = None, entrants: Sequence[str] | None = None
) -> dict[tuple[str, str], dict[str, Aligned]]:
    """Return direction and alignment with every basis, by dataset and entrant, the means over noise levels."""
    found: dict[tuple[str, str], dict[str, Aligned]] = {}
    for dataset, cubes in _by_dataset(results, datasets):
        for entrant in chosen_labels(entrants, results.entrants, "entrant"):
            rows = _aligned(cubes, entrant)
            if rows:
                found[dataset, entrant] = rows
    if not found:
        raise ResultsError(_nothing(results))
    return found


def courses(
    results: Results,
    basis: str = DEFAULT_BASIS,
    datasets: Sequence[str] | None = None,
    entrants: Sequence[str] | None = None,
    metric: Measure = "direction",
) -> dict[str, dict[str, AgreementCurve]]:
    """Return direction or alignment with one basis at every noise level, by dataset and entrant."""
    tables = [(dataset, cubes.get(metric, {})) for dataset, cubes in _by_dataset(results, datasets)]
    held = list(dict.fromkeys(name for _, cubes in tables for name in cubes))
    if not held:
        raise ResultsError(_nothing(results))
    if basis not in held:
        raise ParameterError(
            f"basis '{basis}': the results hold no {metric} with it{suggestion(basis, held) or ';'} "
            f"accepted: {listing(held)}"
        )
    found: dict[str, dict[str, AgreementCurve]] = {}
    for dataset, cubes in tables:
        for entrant in chosen_labels(entrants, results.entrants, "entrant"):
            known = _values(cubes, basis, "", entrant)
            if not known:
                continue
            values, cube = np.stack(list(known.values())), cubes[basis][""]
            ceilings = _values(cubes, basis, "ceiling", entrant)
            ceiling = np.array([_reachable(ceilings[sigma]) if sigma in ceilings else np.nan for sigma in known])
            ends = interval(_draws(cube, entrant, list(known)))
            found.setdefault(dataset, {})[entrant] = AgreementCurve(tuple(known), means(values), *ends, ceiling)
    if not found:
        raise ResultsError(_nothing(results))
    return found


def margin(
    results: Results,
    dataset: str,
    entrant: str,
    basis: str,
    other: str,
    sigma: float | None = None,
    metric: Measure = "direction",
) -> tuple[float, float, float] | None:
    """Return by how much an entrant agrees more with one basis than with another, and the ends of the interval."""
    cubes = dict(_by_dataset(results, [dataset]))[dataset].get(metric, {})
    known = [_values(cubes, name, "", entrant) for name in (basis, other)]
    sigmas = sorted(set(known[0]) & set(known[1]) & ({sigma} if sigma is not None else set(known[0])))
    if not sigmas:
        return None
    first = cubes[basis][""]
    paired = replace(first, values=first.values - cubes[other][""].laid_like(first))
    found = _estimate(paired, entrant, sigmas)
    return found.value, found.low, found.high


def parts_of(metric: str) -> tuple[Measure, str, str] | None:
    """Parse a name in the table of scores to the measure, the basis and the part; ``None`` for other names."""
    found = parse_metric_name(metric)
    if found.label == TRUTH_ALIGNMENT:
        return ("direction", TRUTH, "") if found.part == "direction" else ("alignment", TRUTH, found.part)
    for measure in MEASURES:
        if found.name == measure and found.parameters:
            # The basis is the first parameter.
            return measure, str(parse_spec(found.label).positional[0]), found.part
    return None


def _by_dataset(results: Results, datasets: Sequence[str] | None) -> Iterator[tuple[str, dict[str, _Cubes]]]:
    """Yield the scores of each dataset by metric, basis and part."""
    names = {str(name): found for name in results.scores["metric"].unique() if (found := parts_of(str(name)))}
    cubes = metric_cubes(results, {}, names)
    for dataset in chosen_labels(datasets, list(map(str, results.datasets["dataset"])), "dataset"):
        measures: dict[str, _Cubes] = {}
        for name, (measure, basis, part) in names.items():
            if (cube := cubes.get(name, {}).get(dataset)) is not None:
                measures.setdefault(measure, {}).setdefault(basis, {})[part] = cube
        yield (
            dataset,
            {
                measure: {basis: parts for basis, parts in bases.items() if "" in parts}
                for measure, bases in measures.items()
            },
        )


def _values(cubes: _Cubes, basis: str, part: str, entrant: str) -> dict[float, Array]:
    """Return the values (R, N) of an entrant by noise level, where there are any; NaN for images that are left out."""
    cube = cubes.get(basis, {}).get(part)
    if cube is None or entrant not in cube.entrants:
        return {}
    found = zip(cube.sigmas, cube.values[cube.entrants.index(entrant)], strict=True)
    return {sigma: values for sigma, values in found if np.isfinite(values).any()}


def _draws(cube: ScoreCube, entrant: str, sigmas: Sequence[float]) -> Array:
    """Return draws of an entrant's means at noise levels, shape (D, S)."""
    return cube.shared_draws[:, cube.entrants.index(entrant)][:, [cube.sigmas.index(sigma) for sigma in sigmas]]


def _estimate(cube: ScoreCube, entrant: str, sigmas: Sequence[float]) -> Interval:
    """Return an entrant's mean over noise levels."""
    places = [cube.sigmas.index(sigma) for sigma in sigmas]
    middle = cube.means()[cube.entrants.index(entrant), places].mean()
    return estimate(middle, _draws(cube, entrant, sigmas).mean(axis=1))


def _aligned(cubes: dict[str, _Cubes], entrant: str) -> dict[str, Aligned]:
    """Return the means over noise levels by basis."""
    found: dict[str, Aligned] = {}
    # Direction last: it ranks, and the ceiling is its own, where it is measured.
    for measure in sorted(cubes, key=MEASURES.index, reverse=True):
        bases = cubes[measure]
        known = {basis: values for basis in bases if (values := _values(bases, basis, "", entrant))}
        common = sorted(set.intersection(*map(set, known.values()))) if known else []
        if not common:
            continue
        for basis in known:
            row = found.get(basis, Aligned())
            value = _estimate(bases[basis][""], entrant, common)
            row = replace(row, ceiling=_over_levels(_values(bases, basis, "ceiling", entrant), common, _reachable))
            if measure == "direction":
                row = replace(row, direction=value)
            else:
                retrieval = _over_levels(_values(bases, basis, "retrieval", entrant), common, means)
                row = replace(row, alignment=value, retrieval=retrieval)
            found[basis] = row
    return found


def _reachable(ceiling: Array) -> float:
    """Return the mean square root of agreements with fresh noise, those below 0 as 0."""
    return float(means(np.sqrt(np.clip(ceiling, 0, None))))


def _over_levels(values: dict[float, Array], sigmas: Sequence[float], of_level: Callable[[Array], ArrayLike]) -> float:
    """Return the mean over noise levels of what is found of the values (R, N) of each; NaN if one is not known."""
    if not set(sigmas) <= set(values):
        return math.nan
    return float(np.mean([of_level(values[sigma]) for sigma in sigmas]))


def _nothing(results: Results) -> str:
    return (
        f"results of suite '{results.suite}' hold neither direction nor alignment of those; a suite measures them with "
        "the metrics direction[BASIS], alignment[BASIS] and truth-alignment, of entrants that have a Jacobian"
    )
