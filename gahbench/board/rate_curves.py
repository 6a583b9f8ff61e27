"""Curves of the distance from the bound against epsilon, and the noise levels at which errors have collapsed.

The curves are computed from rows of the metric ``optimality-slope``: for each image and noise level, the squared error
of the entrant and the closed-form error of the bound. A distance is a ratio of errors averaged over images, never an
average of the images' ratios.

**Collapse**: white noise of standard deviation sigma in images of side N is, in the continuous image, noise of strength
epsilon = sigma / N. Images of side N and 2N that are block averages of the same large images show the same content. If
their errors at the same epsilon differ by less than :data:`MAX_DIFFERENCE`, the error at that level is the error for
the continuous image; at weaker noise, it is determined by the pixels. Images that are drawn independently for each size
are never compared, since their difference is not due to the number of pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gahbench._util.errors import ParameterError
from gahbench.board.board import Value
from gahbench.board.facts import entrant_kinds, label_without, optimum_of, rendered_families, sources_of
from gahbench.board.metric_names import parse_metric_name
from gahbench.board.optimality import squared_errors
from gahbench.board.rate_verdicts import DeficitCurve, RateVerdict, judge
from gahbench.board.scorecube import LeftOut, ScoreCube, decibels, psnr_cubes, score_cube, spreads_of
from gahbench.board.statistics import UNKNOWN, Array, Interval, SampledMeans, means, sampled_means
from gahbench.contracts.row_labels import row_label, split_label
from gahbench.evaluation.rates import MIN_LEVELS, fit_slope, input_psnr
from gahbench.registry.spec import parse_spec

if TYPE_CHECKING:
    from gahbench.board.seed_effects import Spread
    from gahbench.board.tables import Tables

#: The metric from which curves are computed, and its parts.
METRIC, ERROR, BOUND = "optimality-slope", "error", "bound"
#: Messages that say why it is unknown which levels have collapsed.
NO_RENDER_SIZE = "images of other sizes are not the same images: give the dataset a 'render_size'"
NO_PAIR = "no images with the same 'render_size' have half or twice as many pixels a side"
#: Draws of errors are clipped below at this share of the mean.
_SMALLEST_DRAW = 1e-3
_STEPS = "training.steps"
#: Ascending noise levels and the mean squared errors at these levels, NaN if unknown, both of shape (S,).
Curve = tuple[Array, Array]

#: Errors for images of side N and 2N have collapsed if they differ by less than this, in dB.
MAX_DIFFERENCE = 0.1
#: Levels are equal if epsilon differs by at most this share, which changes an error by about 0.01 dB.
_RELATIVE_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class Errors:
    """Mean squared errors of the entrants and of the bound on one dataset, with bootstrap draws."""

    entrants: list[str]
    sigmas: Array
    own: Array
    own_draws: Array
    bound: Array
    bound_draws: Array
    images: list[int]


def is_optimality_slope(name: str) -> bool:
    """Return whether a name in the table of scores is ``optimality-slope`` or a part of it."""
    return parse_metric_name(name).name == METRIC


def deficit_curves(results: Tables, left_out: LeftOut) -> dict[str, dict[str, DeficitCurve]]:
    """Return the curve of every entrant, by dataset, for datasets on which ``optimality-slope`` was measured."""
    errors = _load_errors(results, left_out)
    kinds, facts = entrant_kinds(results), results.datasets
    sides = dict(zip(map(str, facts["dataset"]), map(int, facts["height"]), strict=True))
    paired = _paired_datasets(results, errors)
    curves_by_dataset: dict[str, dict[str, DeficitCurve]] = {}
    for dataset, own in errors.items():
        if dataset not in sides:
            continue
        size = sides[dataset]
        members = {side: errors[name] for side, name in paired.get(dataset, {size: dataset}).items()}
        bounds = {side: (member.sigmas, member.bound) for side, member in members.items()}
        collapsed = collapsed_levels(size, bounds)
        bound, bound_draws = _fill_bound(size, members, collapsed)
        reason = NO_RENDER_SIZE if dataset not in paired else "" if is_paired(size, members) else NO_PAIR
        curves = {}
        for index, label in enumerate(own.entrants):
            errors_by_side = {
                side: (member.sigmas, member.own[member.entrants.index(label)])
                for side, member in members.items()
                if label in member.entrants
            }
            deficits = decibels(own.own[index] / bound)
            draws = decibels(own.own_draws[:, index] / bound_draws)
            longer_trained = _find_longer_trained(results, dataset, label)
            changes = change_draws = None
            if longer_trained in own.entrants:
                longer_index = own.entrants.index(longer_trained)
                changes = decibels(own.own[longer_index] / own.own[index])
                change_draws = decibels(own.own_draws[:, longer_index] / own.own_draws[:, index])
            curves[label] = DeficitCurve(
                own.sigmas / size,
                deficits,
                draws,
                collapsed,
                collapsed_levels(size, errors_by_side),
                kinds.get(label) == "trained",
                changes,
                change_draws,
                reason,
            )
        curves_by_dataset[dataset] = curves
    return curves_by_dataset


def judge_rates(
    results: Tables, curves_by_dataset: Mapping[str, Mapping[str, DeficitCurve]]
) -> dict[str, dict[str, RateVerdict]]:
    """Return the verdict on each entrant's rate, by dataset."""
    return {
        dataset: {label: judge(curve, optimum_of(results, dataset)[1]) for label, curve in curves.items()}
        for dataset, curves in curves_by_dataset.items()
    }


def rate_values(verdicts_by_dataset: Mapping[str, Mapping[str, RateVerdict]]) -> Iterator[Value]:
    """Yield the slope of D, its largest deviation (dB) and the span (dB) of the levels that decided each verdict."""
    for dataset, verdicts in verdicts_by_dataset.items():
        for label, verdict in verdicts.items():
            yield Value(dataset, label, METRIC, "", None, verdict.slope)
            yield Value(dataset, label, METRIC, "deviation", None, verdict.deviation)
            yield Value(dataset, label, METRIC, "span", None, Interval(verdict.span) if verdict.span else UNKNOWN)


def _load_errors(results: Tables, left_out: LeftOut) -> dict[str, Errors]:
    scores = results.scores
    names = [str(name) for name in scores["metric"].unique() if is_optimality_slope(str(name))]
    rows = scores[scores["metric"].isin(names) & (scores["split"] == "test") & scores["sigma"].notna()]
    cubes: dict[str, dict[str, ScoreCube]] = {ERROR: {}, BOUND: {}}
    for dataset, dataset_rows in rows.groupby("dataset", sort=False):
        parts = dataset_rows["metric"].map(lambda name: parse_metric_name(str(name)).part)
        for part, cubes_by_dataset in cubes.items():
            part_rows = dataset_rows[parts == part]
            if not part_rows.empty:
                # The errors do not depend on the metric's parameters, so read the rows of a single choice.
                cubes_by_dataset[str(dataset)] = score_cube(
                    part_rows[part_rows["metric"] == part_rows["metric"].min()],
                    results.entrants,
                    sources=sources_of(results, str(dataset)),
                    left_out=left_out.get(str(dataset)),
                )
    spreads = spreads_of(cubes[ERROR])
    return {dataset: _mean_errors(cube, cubes[BOUND].get(dataset), spreads) for dataset, cube in cubes[ERROR].items()}


def _mean_errors(cube: ScoreCube, bound: ScoreCube | None, spreads: Mapping[str, Spread]) -> Errors:
    bound_values = np.full(cube.values.shape, np.nan) if bound is None else bound.reindex_like(cube)
    # The bound is the same for all entrants that have it, and for their seeds.
    shared_bound = np.max(np.where(np.isfinite(bound_values), bound_values, -np.inf), axis=(0, 2), keepdims=True)
    shared_bound = np.where(np.isfinite(shared_bound), shared_bound, np.nan).repeat(cube.values.shape[2], axis=2)
    values = np.concatenate([cube.values, shared_bound])
    mean_values = means(values)
    draws = sampled_means(
        values,
        names=[*cube.entrants, BOUND],
        spreads=spreads,
        sources=cube.sources,
        relative=True,
        excluded=cube.left_out,
    ).draws()
    draws = np.maximum(draws, _SMALLEST_DRAW * mean_values)
    sigmas = np.asarray(cube.sigmas, dtype=np.float64)
    return Errors(cube.entrants, sigmas, mean_values[:-1], draws[:, :-1], mean_values[-1], draws[:, -1], cube.images)


def _fill_bound(size: int, members: Mapping[int, Errors], collapsed: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Return the bound at the levels of a size, shape (S,), with draws; gaps are filled from smaller sizes."""
    own = members[size]
    bound, draws = own.bound.copy(), own.bound_draws.copy()
    for index in np.flatnonzero(np.isnan(bound) & collapsed):
        for side in sorted((side for side in members if side < size), reverse=True):
            other_index = index_of_level(members[side].sigmas, float(own.sigmas[index]) * side / size)
            if other_index is not None and np.isfinite(members[side].bound[other_index]):
                bound[index], draws[:, index] = (
                    members[side].bound[other_index],
                    members[side].bound_draws[:, other_index],
                )
                break
    return bound, draws


def _find_longer_trained(results: Tables, dataset: str, label: str) -> str | None:
    """Return the entrant that differs only in having twice as many training steps, or ``None``."""
    # Networks that this suite did not train have no number of steps.
    rows = results.fits[(results.fits["dataset"] == dataset) & results.fits["steps"].notna()]
    steps = dict(zip(map(str, rows["entrant"]), rows["steps"], strict=True))
    if label not in steps:
        return None
    label_without_steps = _without_steps(label)
    for other, count in steps.items():
        if count == 2 * steps[label] and _without_steps(other) == label_without_steps:
            return other
    return None


def _without_steps(label: str) -> str:
    """Return the label of an entrant without its own number of training steps."""
    entrant, number = split_label(label)
    try:
        base = label_without(parse_spec(entrant), _STEPS)
    except ParameterError:
        return label
    return base if number is None else row_label(base, number)


def _paired_datasets(
    results: Tables, scored: Mapping[str, Errors] | Mapping[str, ScoreCube]
) -> dict[str, dict[int, str]]:
    """Return, for each dataset with a ``render_size``, the datasets of equal ``render_size`` and images, by side."""
    return {
        dataset: {
            side: name
            for side, name in members.items()
            if name in scored and dataset in scored and scored[name].images == scored[dataset].images
        }
        for members in rendered_families(results).values()
        for dataset in members.values()
    }


def value_at(curve: Curve, sigma: float) -> float:
    """Return the error of a curve at a noise level; NaN if unknown."""
    index = index_of_level(curve[0], sigma)
    return math.nan if index is None else float(curve[1][index])


def index_of_level(sigmas: ArrayLike, sigma: float) -> int | None:
    """Return the index of a noise level, up to rounding; ``None`` if the level is missing."""
    indices = np.flatnonzero(np.abs(np.asarray(sigmas, dtype=np.float64) / sigma - 1) <= _RELATIVE_TOLERANCE)
    return int(indices[0]) if len(indices) else None


def collapsed_levels(size: int, curves: Mapping[int, Curve]) -> NDArray[np.bool_]:
    """Return whether the error has collapsed at each noise level of one size, shape (S,)."""
    pairs = [(side, 2 * side) for side in sorted(curves, reverse=True) if side <= size and 2 * side in curves]
    has_collapsed = np.zeros(len(curves[size][0]), dtype=np.bool_)
    for index, sigma in enumerate(curves[size][0]):
        for sides in pairs:
            first, second = (value_at(curves[side], float(sigma) * side / size) for side in sides)
            if first > 0 and second > 0:
                has_collapsed[index] = abs(10 * math.log10(first / second)) < MAX_DIFFERENCE
                break
    return has_collapsed


def is_paired(size: int, sides: Iterable[int]) -> bool:
    """Return whether two of the sides allow :func:`collapsed_levels` to decide which levels have collapsed."""
    known_sides = set(sides)
    return any(side <= size and 2 * side in known_sides for side in known_sides)


def entrant_windows(results: Tables, windows: Mapping[str, Sequence[float]]) -> dict[str, dict[str, list[float]]]:
    """Return the noise levels of a window at which an entrant's error has collapsed, by dataset and entrant."""
    # Only means are used, and means do not depend on which entrants are left out.
    cubes = psnr_cubes(results, {})
    errors = {dataset: means(squared_errors(cube)) for dataset, cube in cubes.items()}
    members_by_dataset = _paired_datasets(results, cubes)
    windows_by_dataset: dict[str, dict[str, list[float]]] = {}
    for dataset in (dataset for dataset in windows if dataset in cubes):
        members = members_by_dataset.get(dataset, {})
        size = next((side for side, name in members.items() if name == dataset), 0)
        for index, entrant in enumerate(cubes[dataset].entrants):
            curves = {
                side: (np.asarray(cubes[name].sigmas), errors[name][cubes[name].entrants.index(entrant)])
                for side, name in members.items()
                if entrant in cubes[name].entrants
            }
            is_usable = np.isfinite(errors[dataset][index])
            if is_paired(size, curves):
                is_usable &= collapsed_levels(size, curves)
            usable_sigmas = [sigma for sigma, usable in zip(cubes[dataset].sigmas, is_usable, strict=True) if usable]
            windows_by_dataset.setdefault(dataset, {})[entrant] = [
                sigma for sigma in usable_sigmas if sigma in windows[dataset]
            ]
    return windows_by_dataset


def window_slopes(
    cubes: Mapping[str, ScoreCube],
    members: Mapping[int, str],
    windows: Mapping[str, Mapping[str, Sequence[float]]],
    entrant: str,
) -> dict[int, tuple[float, float, float]]:
    """Return the slope of an entrant within its window of each dataset, and the ends of its interval, by size."""
    slopes = {}
    for size, dataset in members.items():
        cube, levels = cubes[dataset], windows.get(dataset, {}).get(entrant, ())
        level_indices = [index for index, sigma in enumerate(cube.sigmas) if sigma in levels]
        if len(level_indices) < MIN_LEVELS:
            continue
        entrant_index = cube.entrants.index(entrant)
        slope = _slope(cube.shared_sample.row(entrant_index).at(level_indices), [cube.sigmas[i] for i in level_indices])
        low, high = slope.ends()
        slopes[size] = (float(slope.values), float(low), float(high))
    return slopes


def _slope(psnr: SampledMeans, sigmas: Sequence[float]) -> SampledMeans:
    return psnr.apply(lambda array: fit_slope(input_psnr(sigmas), array))
