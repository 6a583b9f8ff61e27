"""From the tidy table to rates: the distance of every entrant from the bound against epsilon, and what has collapsed.

The rows are those of the metric ``optimality-slope``: of each image at each noise level the error of the entrant, and
that of the bound in closed form. Distances are of mean squared errors over images, never means of the images' own.

**Collapse**: white noise of standard deviation sigma in images of side N is, in the continuous image, noise of strength
epsilon = sigma / N. Where images of side N and 2N are averages of the same masters, so that they are the same images,
and their errors at the same epsilon differ by less than :data:`MAX_DIFFERENCE`, the error at that level is that of the
continuous image; at weaker noise it is that of the pixels. Images that are drawn anew for each size are never compared:
how much they differ is not what the number of pixels does.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gahbench._util.errors import ParameterError
from gahbench.board.board import Value
from gahbench.board.facts import entrant_kinds, optimum_of, sources_of
from gahbench.board.metric_names import parse_metric_name
from gahbench.board.optimality import squared_errors
from gahbench.board.rate_verdicts import DeficitCurve, RateVerdict, judge
from gahbench.board.scorecube import LeftOut, ScoreCube, decibels, psnr_cubes, score_cube, spreads_of
from gahbench.board.statistics import UNKNOWN, Array, Interval, bootstrap_means, interval, means
from gahbench.contracts.row_labels import row_label, split_label
from gahbench.evaluation.rates import MIN_LEVELS, fit_slope, input_psnr
from gahbench.registry.spec import Spec, format_value, parse_spec

if TYPE_CHECKING:
    from gahbench.board.tables import Tables

#: The metric whose rows are read, and its parts.
METRIC, ERROR, BOUND = "optimality-slope", "error", "bound"
#: Reasons for which it is unknown what has collapsed.
NO_MASTER = "images of other sizes are not the same images: give the dataset a 'master' size"
NO_PAIR = "no images of the same masters have half or twice as many pixels a side"
#: Draws of errors are no smaller than this share of the mean.
_LEAST = 1e-3
_STEPS = "training.steps"
#: Noise levels, ascending, and mean squared errors at them, NaN where one is not known, both of shape (S,).
Curve = tuple[Array, Array]

#: Errors at N and 2N that differ by less, in dB, have collapsed.
MAX_DIFFERENCE = 0.1
#: Levels are the same if epsilon differs by no more than this share, which moves an error by 0.01 dB or so.
_SAME = 1e-3


@dataclass(frozen=True, eq=False)
class Errors:
    """Mean squared errors on the images of one dataset."""

    entrants: list[str]
    sigmas: Array
    own: Array
    own_draws: Array
    bound: Array
    bound_draws: Array
    images: list[int]


def is_of_metric(name: str) -> bool:
    """Return whether a name in the table of scores is that of the metric, or of a part of it."""
    return parse_metric_name(name).name == METRIC


def courses(results: Tables, out: LeftOut) -> dict[str, dict[str, DeficitCurve]]:
    """Return the course of every entrant, by dataset; none where the metric ``optimality-slope`` was not measured."""
    errors = _errors(results, out)
    kinds, facts = entrant_kinds(results), results.datasets
    sides = dict(zip(map(str, facts["dataset"]), map(int, facts["height"]), strict=True))
    family = _sizes(results, errors)
    found: dict[str, dict[str, DeficitCurve]] = {}
    for dataset, own in errors.items():
        if dataset not in sides:
            continue
        size = sides[dataset]
        members = {side: errors[name] for side, name in family.get(dataset, {size: dataset}).items()}
        bounds = {side: (one.sigmas, one.bound) for side, one in members.items()}
        collapsed = collapsed_levels(size, bounds)
        bound, bound_draws = _bound(size, members, collapsed)
        why_not = NO_MASTER if dataset not in family else "" if is_paired(size, members) else NO_PAIR
        made = {}
        for at, label in enumerate(own.entrants):
            curves = {
                side: (one.sigmas, one.own[one.entrants.index(label)])
                for side, one in members.items()
                if label in one.entrants
            }
            deficits = decibels(own.own[at] / bound)
            drawn = decibels(own.own_draws[:, at] / bound_draws)
            twice = _trained_twice(results, dataset, label)
            changes = change_draws = None
            if twice in own.entrants:
                other = own.entrants.index(twice)
                changes = decibels(own.own[other] / own.own[at])
                change_draws = decibels(own.own_draws[:, other] / own.own_draws[:, at])
            made[label] = DeficitCurve(
                own.sigmas / size,
                deficits,
                drawn,
                collapsed,
                collapsed_levels(size, curves),
                kinds.get(label) == "trained",
                changes,
                change_draws,
                why_not,
            )
        found[dataset] = made
    return found


def verdicts(results: Tables, found: Mapping[str, Mapping[str, DeficitCurve]]) -> dict[str, dict[str, RateVerdict]]:
    """Return whether each entrant reaches the optimal rate, by dataset, where ``optimality-slope`` was measured."""
    return {
        dataset: {label: judge(course, optimum_of(results, dataset)[1]) for label, course in made.items()}
        for dataset, made in found.items()
    }


def rate_values(verdicts: Mapping[str, Mapping[str, RateVerdict]]) -> Iterator[Value]:
    """Yield the slope of D over the levels that were read, its largest deviation (dB), and their span (dB)."""
    for dataset, found in verdicts.items():
        for label, verdict in found.items():
            yield Value(dataset, label, METRIC, "", None, verdict.slope)
            yield Value(dataset, label, METRIC, "deviation", None, verdict.deviation)
            yield Value(dataset, label, METRIC, "span", None, Interval(verdict.span) if verdict.span else UNKNOWN)


def _errors(results: Tables, out: LeftOut) -> dict[str, Errors]:
    scores = results.scores
    names = [str(name) for name in scores["metric"].unique() if is_of_metric(str(name))]
    rows = scores[scores["metric"].isin(names) & (scores["split"] == "test") & scores["sigma"].notna()]
    cubes: dict[str, dict[str, ScoreCube]] = {ERROR: {}, BOUND: {}}
    for dataset, of in rows.groupby("dataset", sort=False):
        parts = of["metric"].map(lambda name: parse_metric_name(str(name)).part)
        for part, held in cubes.items():
            chosen = of[parts == part]
            if not chosen.empty:
                # Several choices of the metric's parameters measure the same errors: the first is read.
                held[str(dataset)] = score_cube(
                    chosen[chosen["metric"] == chosen["metric"].min()],
                    results.entrants,
                    sources=sources_of(results, str(dataset)),
                    left_out=out.get(str(dataset)),
                )
    spreads = spreads_of(cubes[ERROR])
    return {
        dataset: _dataset_errors(cube, cubes[BOUND].get(dataset), spreads) for dataset, cube in cubes[ERROR].items()
    }


def _dataset_errors(cube: ScoreCube, bound: ScoreCube | None, spreads: Mapping[str, float]) -> Errors:
    laid = np.full(cube.values.shape, np.nan) if bound is None else bound.laid_like(cube)
    # The same for all entrants that have it, and their seeds.
    shared = np.max(np.where(np.isfinite(laid), laid, -np.inf), axis=(0, 2), keepdims=True)
    shared = np.where(np.isfinite(shared), shared, np.nan).repeat(cube.values.shape[2], axis=2)
    together = np.concatenate([cube.values, shared])
    middle = means(together)
    drawn = bootstrap_means(
        together,
        names=[*cube.entrants, BOUND],
        spreads=spreads,
        sources=cube.sources,
        relative=True,
        apart=cube.left_out,
    )
    drawn = np.maximum(drawn, _LEAST * middle)
    sigmas = np.asarray(cube.sigmas, dtype=np.float64)
    return Errors(cube.entrants, sigmas, middle[:-1], drawn[:, :-1], middle[-1], drawn[:, -1], cube.images)


def _bound(size: int, members: Mapping[int, Errors], collapsed: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Return the bound at the levels of one size, shape (S,), and draws of it."""
    own = members[size]
    bound, draws = own.bound.copy(), own.bound_draws.copy()
    for place in np.flatnonzero(np.isnan(bound) & collapsed):
        for side in sorted((side for side in members if side < size), reverse=True):
            at = place_of(members[side].sigmas, float(own.sigmas[place]) * side / size)
            if at is not None and np.isfinite(members[side].bound[at]):
                bound[place], draws[:, place] = members[side].bound[at], members[side].bound_draws[:, at]
                break
    return bound, draws


def _trained_twice(results: Tables, dataset: str, label: str) -> str | None:
    """Return the entrant that differs in its number of steps alone, which is twice as large; ``None`` if none does."""
    # Weights from elsewhere have no number of steps.
    rows = results.fits[(results.fits["dataset"] == dataset) & results.fits["steps"].notna()]
    steps = dict(zip(map(str, rows["entrant"]), rows["steps"], strict=True))
    if label not in steps:
        return None
    same = _without_steps(label)
    for other, count in steps.items():
        if count == 2 * steps[label] and _without_steps(other) == same:
            return other
    return None


def _without_steps(label: str) -> str:
    """Return the label of an entrant without the number of steps that it is trained for, if that is its own."""
    entrant, number = split_label(label)
    try:
        base = _without(parse_spec(entrant), _STEPS)
    except ParameterError:
        return label
    return base if number is None else row_label(base, number)


def _without(spec: Spec, parameter: str) -> str:
    """Return the text of a spec without one of its parameters."""
    others = [f"{name}={format_value(value)}" for name, value in spec.keywords.items() if name != parameter]
    written = ",".join([*map(format_value, spec.positional), *others])
    return f"{spec.name}[{written}]" if written else spec.name


def families(results: Tables) -> dict[str, dict[int, str]]:
    """Return the datasets that differ by their parameter ``size`` alone, by their side in pixels."""
    found: dict[str, dict[int, str]] = {}
    facts = results.datasets
    for dataset, size in zip(map(str, facts["dataset"]), facts["height"], strict=True):
        # A label without the parameter has the default size.
        with contextlib.suppress(ParameterError):
            found.setdefault(_without(parse_spec(dataset), "size"), {})[int(size)] = dataset
    return {name: dict(sorted(members.items())) for name, members in found.items()}


def of_one_master(results: Tables) -> dict[str, dict[int, str]]:
    """Return those of :func:`families` whose images are averages of the same masters, by the parameter ``master``."""
    return {
        name: members
        for name, members in families(results).items()
        if parse_spec(name).keywords.get("master") is not None
    }


def _sizes(results: Tables, held: Mapping[str, Errors] | Mapping[str, ScoreCube]) -> dict[str, dict[int, str]]:
    """Return, for each dataset of a master, the datasets of the master whose same images were scored, by their side."""
    return {
        dataset: {
            side: name
            for side, name in members.items()
            if name in held and dataset in held and held[name].images == held[dataset].images
        }
        for members in of_one_master(results).values()
        for dataset in members.values()
    }


def value_at(curve: Curve, sigma: float) -> float:
    """Return the error of a curve at a noise level; NaN where it is not known."""
    place = place_of(curve[0], sigma)
    return math.nan if place is None else float(curve[1][place])


def place_of(sigmas: ArrayLike, sigma: float) -> int | None:
    """Return which of some noise levels is the one given, up to rounding; ``None`` if none is."""
    near = np.flatnonzero(np.abs(np.asarray(sigmas, dtype=np.float64) / sigma - 1) <= _SAME)
    return int(near[0]) if len(near) else None


def collapsed_levels(size: int, curves: Mapping[int, Curve]) -> NDArray[np.bool_]:
    """Return at which noise levels of one size the error has collapsed."""
    pairs = [(side, 2 * side) for side in sorted(curves, reverse=True) if side <= size and 2 * side in curves]
    found = np.zeros(len(curves[size][0]), dtype=np.bool_)
    for place, sigma in enumerate(curves[size][0]):
        for sides in pairs:
            first, second = (value_at(curves[side], float(sigma) * side / size) for side in sides)
            if first > 0 and second > 0:
                found[place] = abs(10 * math.log10(first / second)) < MAX_DIFFERENCE
                break
    return found


def is_paired(size: int, sides: Iterable[int]) -> bool:
    """Return whether images of two sides show which levels of a size have collapsed (:func:`collapsed_levels`)."""
    there = set(sides)
    return any(side <= size and 2 * side in there for side in there)


def entrant_windows(results: Tables, windows: Mapping[str, Sequence[float]]) -> dict[str, dict[str, list[float]]]:
    """Return the noise levels in the window of each dataset at which an entrant's error has collapsed as well."""
    # Means alone are read, for which nothing is left out.
    cubes = psnr_cubes(results, {})
    errors = {dataset: means(squared_errors(cube)) for dataset, cube in cubes.items()}
    family = _sizes(results, cubes)
    found: dict[str, dict[str, list[float]]] = {}
    for dataset in (dataset for dataset in windows if dataset in cubes):
        members = family.get(dataset, {})
        size = next((side for side, name in members.items() if name == dataset), 0)
        for at, entrant in enumerate(cubes[dataset].entrants):
            curves = {
                side: (np.asarray(cubes[name].sigmas), errors[name][cubes[name].entrants.index(entrant)])
                for side, name in members.items()
                if entrant in cubes[name].entrants
            }
            held = np.isfinite(errors[dataset][at])
            if is_paired(size, curves):
                held &= collapsed_levels(size, curves)
            inside = [sigma for sigma, yes in zip(cubes[dataset].sigmas, held, strict=True) if yes]
            found.setdefault(dataset, {})[entrant] = [sigma for sigma in inside if sigma in windows[dataset]]
    return found


def window_slopes(
    cubes: Mapping[str, ScoreCube],
    members: Mapping[int, str],
    windows: Mapping[str, Mapping[str, Sequence[float]]],
    entrant: str,
) -> dict[int, tuple[float, float, float]]:
    """Return the slope of an entrant in its window of each dataset, with its interval, by size."""
    found = {}
    for size, dataset in members.items():
        cube, levels = cubes[dataset], windows.get(dataset, {}).get(entrant, ())
        inside = [place for place, sigma in enumerate(cube.sigmas) if sigma in levels]
        if len(inside) < MIN_LEVELS:
            continue
        at = cube.entrants.index(entrant)
        x, values = input_psnr(cube.sigmas)[inside], cube.values[at, inside]
        low, high = interval(fit_slope(x, cube.draws()[:, at, inside]))
        found[size] = (float(fit_slope(x, means(values))), float(low), float(high))
    return found
